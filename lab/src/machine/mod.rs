//! An owned machine description: what [`pagewright_firmware::Machine`] borrows, kept together; and the ways to one:
//! a shipped description, a device tree, a list of ATAGs,
//! a pasted log.

mod cores;
pub mod description;
pub mod dts;
mod efi;
mod image;
mod load;
mod owned;
pub mod tags;

pub use cores::flavour_of;
pub use efi::{OwnedArmAcpi, OwnedEfi};
pub(crate) use image::{init_tables, init_text_bytes, late_parts};
pub use load::{Layout, after_initrd, place};
pub use owned::{OwnedFirmware, OwnedMachine, OwnedPc, Taken};

/// An architecture as Linux's `uname -m` and its packages write it, in one word.
pub const fn arch_name(arch: pagewright_firmware::Arch) -> &'static str {
    use pagewright_firmware::Arch;
    match arch {
        Arch::X86_64 => "x86_64",
        Arch::I386 => "i386",
        Arch::Arm64 => "arm64",
        Arch::Arm => "arm",
    }
}
