//! Linux's memblock: which RAM a machine has, what of it is in use, and the allocator of early boot.
//!
//! A [`Memblock`] keeps two sorted sets of regions (three on kernels with `physmem`): **memory**, the RAM that
//! the kernel may use, and **reserved**, the ranges in use. Allocating finds a place that is in the first and
//! not in the second, and reserves it. It behaves as Linux 6.1's does: same addresses, same merging, same
//! region counts, same log lines.
//!
//! The caller brings the region arrays; a full array grows into memory that memblock itself hands out, through
//! a [`RegionMemory`]. Every operation is reported to a [`Sink`] as an [`Event`]. After an error nothing has
//! changed, and any allocation can be made to fail ([`Memblock::fail_nth`]). At the end,
//! [`Memblock::free_all`] gives all free frames to the page allocator; from then on an operation that comes too
//! late is an error that names the phase.
//!
//! The boot path is the caller; `pagewright-capi` runs the same code over C's global variables.
//!
//! ```
//! use pagewright_memblock::{Config, Memblock, Quiet, Region, Set};
//! use pagewright_addr::{PhysAddr, PhysRange};
//!
//! let (mut memory, mut reserved) = ([Region::default(); 128], [Region::default(); 128]);
//! let mut memblock = Memblock::new(&mut memory, &mut reserved, Config::default(), &Quiet);
//!
//! let ram = PhysRange::from_len(PhysAddr::new(0x8000_0000), 256 << 20);
//! let kernel = PhysRange::from_len(PhysAddr::new(0x8020_0000), 24 << 20);
//! memblock.add(ram)?;
//! memblock.reserve(kernel)?;
//! let table = memblock.alloc(4096, 64)?;
//!
//! assert_eq!(table, PhysAddr::new(0x8fff_f000));
//! assert_eq!(memblock.regions(Set::Reserved).len(), 2);
//! let file = memblock.debugfs(Set::Reserved).to_string();
//! assert!(file.starts_with("   0: 0x0000000080200000..0x00000000819fffff\n"));
//! # Ok::<(), pagewright_memblock::Error>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod alloc;
mod config;
mod dump;
mod edit;
mod error;
mod event;
mod grow;
mod handover;
mod iter;
mod limit;
mod memblock;
mod query;
mod region;
mod set;
mod validate;

pub use alloc::ARCH_LOW_ADDRESS_LIMIT;
pub use config::{AddrWidth, Config};
pub use dump::{Debugfs, Dump};
pub use error::{Error, Phase};
pub use event::{AllocVariant, Event, EventLine, Printed, Quiet, Sink};
pub use grow::RegionMemory;
pub use iter::FreeRanges;
pub use memblock::{ArrayParts, Memblock, Parts};
pub use region::{Flags, Region, Set};
pub use validate::Violation;

use pagewright_addr::PhysAddr;

/// An upper bound that allows every address.
pub const MEMBLOCK_ALLOC_ANYWHERE: PhysAddr = PhysAddr::MAX;
/// An upper bound that stands for the current limit.
pub const MEMBLOCK_ALLOC_ACCESSIBLE: PhysAddr = PhysAddr::ZERO;
/// The same, and the kernel's leak detector is not told.
pub const MEMBLOCK_ALLOC_NOLEAKTRACE: PhysAddr = PhysAddr::new(1);

/// Slots that Linux starts with, for memory and for reserved, unless the architecture has its own number.
pub const INIT_MEMBLOCK_REGIONS: usize = 128;
/// Slots that Linux starts with for `physmem`.
pub const INIT_PHYSMEM_REGIONS: usize = 4;
