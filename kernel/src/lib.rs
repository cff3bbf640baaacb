//! What the bare-metal images have in common, whatever the processor.
//!
//! An image is `main.rs` with one folder of `arch/`: head code, exceptions, console, timers. Everything here runs on any
//! host too, and is tested there: what the command line asks of the image ([`options`]), where devices are in a device
//! tree ([`devices`]), the memory that a boot borrows ([`workspace`]), the boot itself from a
//! [`Machine`](pagewright_firmware::Machine) to a running page allocator ([`boot`]), what an image does then ([`run`]): the
//! tests that it runs on itself ([`selftest`]), its benchmarks ([`mod@bench`]) and the views, and the end with a verdict that the host of a virtual machine
//! sees ([`exit`]). An architecture gives what is its own through one trait ([`metal`]).
//!
//! # Unsafe
//! Small modules own what the rest of the library stands on: a device that a failed processor takes back ([`console`]) and the memory
//! behind a token ([`pages`]). RAM by physical address, slices carved out of it and a `static` that is taken once are
//! `pagewright-platform`'s.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod bench;
pub mod boot;
pub mod code;
pub mod console;
pub mod devices;
pub mod dump;
pub mod dynamic;
pub mod early_tables;
pub mod exit;
pub mod extable;
pub mod fault;
pub mod inject;
pub mod metal;
pub mod objects;
pub mod options;
pub mod pages;
pub mod pc;
pub mod percpu;
pub mod run;
pub mod selftest;
pub mod service;
pub mod space;
pub mod stack;
pub mod team;
pub mod work;

pub use pagewright::workspace;
pub use pagewright_platform::{carve, direct_map, take};
