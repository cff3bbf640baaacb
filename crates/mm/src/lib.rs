//! The boot sequence in `start_kernel`'s order, and the facade an embedder uses.
//!
//! [`boot()`] takes a [`Machine`](pagewright_firmware::Machine) from what its firmware says to a running page
//! allocator, taking at every step the decision that Linux 6.1 takes.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod arm;
pub mod arm64;
pub mod boot;
pub mod census;
mod check;
pub mod cma;
pub mod crash;
mod derived;
pub mod early;
pub mod error;
pub mod fdt;
pub mod free_area;
mod heapsort;
pub mod hugetlb;
pub mod memtest;
pub mod numa;
pub mod percpu;
pub mod reserved_mem;
pub mod running;
pub mod sink;
pub mod sparse;
pub mod text;
pub mod x86;
pub mod zonelists;

pub use boot::{Boot, Workspace, boot};
pub use error::BootError;
pub use running::{Running, Space, hand_over};
pub use sink::{EventSink, Level, Phase, Quiet};
