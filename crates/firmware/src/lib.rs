//! What firmware says, read into a [`Machine`]: device trees, e820 maps, ACPI and EFI tables, ATAGs, command lines
//! and kernel configurations.
//!
//! Every parser here takes bytes or text from outside. None of them allocates, none panics; what cannot be read is
//! an error that says what stood where and what was expected.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod acpi;
pub mod atags;
pub mod cmdline;
pub mod config;
pub mod devicetree;
pub mod dmesg;
pub mod e820;
pub mod efi;
pub mod machine;

pub use machine::{Arch, BuildFacts, Cpus, Firmware, KernelImage, Machine, MpTable, Pc};
