//! What the bare-metal images have in common, whatever the processor.
//!
//! An image is `main.rs` with one folder of `arch/`: head code, exceptions, console, timers. Everything here runs on any
//! host too, and is tested there: what the command line asks of the image ([`options`]), where devices are in a device
//! tree ([`devices`]), the memory that a boot borrows ([`workspace`]), the boot itself from a
//! [`Machine`](pagewright_firmware::Machine) to a running page allocator ([`boot`]), and the end with a verdict that the
//! host of a virtual machine sees ([`exit`]).
//!
//! # Unsafe
//! Four small modules own what the rest of the library stands on: memory that is a `static` and is taken once ([`take`]), a
//! spinning lock ([`lock`]), RAM by physical address ([`direct_map`]), and slices carved out of it ([`carve`]).
#![no_std]

#[cfg(test)]
extern crate std;

pub mod boot;
pub mod carve;
pub mod console;
pub mod devices;
pub mod direct_map;
pub mod exit;
pub mod lock;
pub mod options;
pub mod take;
pub mod workspace;
