//! An owned machine description: what [`pagewright_firmware::Machine`] borrows, kept together.

mod load;
mod owned;

pub use load::{Layout, after_initrd, place};
pub use owned::{OwnedFirmware, OwnedMachine, OwnedPc};
