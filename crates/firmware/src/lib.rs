//! What firmware says, read into a [`Machine`]: device trees, e820 maps, ACPI and EFI tables, ATAGs, command lines
//! and kernel configurations.
//!
//! Every parser here takes bytes or text from outside. None of them allocates, none panics; what cannot be read is
//! an error that says what stood where and what was expected.
//!
//! A pasted kernel log, say, becomes a map, and a command line the parameters in it:
//!
//! ```
//! use pagewright_firmware::Arch;
//! use pagewright_firmware::cmdline::CommandLine;
//! use pagewright_firmware::e820::parse_dmesg_line;
//!
//! let line = "[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000007ffdefff] usable";
//! let entry = parse_dmesg_line(line).expect("a line of the map")?;
//! assert_eq!(entry.range().len(), 0x7fed_f000);
//!
//! let (params, _) = CommandLine::new("quiet cma=64M").parse(Arch::Arm64);
//! assert_eq!(params.cma.map(|cma| cma.size), Some(64 << 20));
//! # Ok::<(), pagewright_firmware::e820::E820Error>(())
//! ```
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

pub use machine::{
    Arch, Arm64Image, ArmAcpi, ArmCpu, ArmFeatures, BuildFacts, CacheFlush, Cpus, Firmware, I386Features,
    I386Image, KernelImage, Machine, MpTable, Pc, X86Image,
};
