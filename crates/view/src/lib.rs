//! What a booted machine shows: the kernel log, and the text files in which Linux 6.1 shows its memory.
//!
//! Everything is written into a [`core::fmt::Write`] that the caller brings, byte for byte as Linux writes it, without an
//! allocator: the hosted command collects it in a string, a kernel sends it to its serial port. [`log`] words what a boot
//! says while it says it; a [`View`] is one file, [`Views`] a list of them by their names (`show=zoneinfo,buddyinfo`), and
//! [`State`] the machine that they show.
//!
//! Each module of a file has two halves: functions that write a line from plain numbers, which readers of captured
//! files share, and `write`, which takes the numbers from a [`State`].
//!
//! ```
//! use pagewright_view::{View, Views};
//!
//! let views = Views::parse("zoneinfo,memblock/memory")?;
//! assert!(views.iter().eq([View::Zoneinfo, View::MemblockMemory]));
//! let fault = Views::parse("zoneinfo,slabs").unwrap_err();
//! assert!(fault.to_string().starts_with("no view `slabs`; expected one of zoneinfo, buddyinfo, "));
//! # Ok::<(), pagewright_view::UnknownView<'static>>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod buddyinfo;
pub mod cma;
pub mod extfrag;
pub mod huge;
pub mod iomem;
pub mod layout;
pub mod log;
pub mod memblock;
pub mod meminfo;
mod names;
pub mod page_tables;
pub mod pagetypeinfo;
pub mod slab;
mod state;
mod text;
mod views;
pub mod vmallocinfo;
pub mod vmstat;
pub mod zoneinfo;

pub use state::{Live, State};
pub use views::{NotShown, UnknownView, View, ViewError, Views};
