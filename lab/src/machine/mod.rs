//! An owned machine description: what [`pagewright_firmware::Machine`] borrows, kept together; and the ways to one:
//! a shipped description, a device tree, a pasted log.

pub mod description;
pub mod dts;
mod image;
mod load;
mod owned;

pub use load::{Layout, after_initrd, place};
pub use owned::{OwnedFirmware, OwnedMachine, OwnedPc};
