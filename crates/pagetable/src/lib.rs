//! Page tables: the formats of x86_64, arm64, arm and i386, and one walker for all of them.
//!
//! A [`Format`] is a small codec: the shape of its tree, its entries' bits and how a slot is stored. [`Tables`] is a tree
//! in somebody's [`TableMemory`]; a [`Cursor`] is the right to change a range of it. Mapping and unmapping work on runs of
//! leaves; what is needed is reserved before anything changes, so an operation is done or was never begun.
//! Whatever is taken out of a tree comes with a [`PendingFlush`]: the tables that became empty go back to their
//! source only when it has been flushed.
//!
//! ```
//! use core::sync::atomic::AtomicU64;
//! use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
//! use pagewright_pagetable::format::x86::X86Level4;
//! use pagewright_pagetable::{Attr, AttrFlags, MapOptions, Pool, Tables};
//!
//! let words: Vec<AtomicU64> = (0..8 * 512).map(|_| AtomicU64::new(0)).collect();
//! let pool = Pool::<u64>::new(&words, PhysAddr::new(0x10_0000), 4096).unwrap();
//! let root = pool.alloc_root(1, 4096).unwrap();
//! let mut tables = Tables::new(X86Level4::default(), &pool, root);
//!
//! let four_mib = VirtRange::from_len(VirtAddr::new(0xffff_8880_0000_0000), 4 << 20);
//! let kernel_data = Attr::normal(AttrFlags::WRITE | AttrFlags::GLOBAL | AttrFlags::ACCESSED | AttrFlags::DIRTY);
//! let done = tables.cursor().map(four_mib, PhysAddr::new(0), kernel_data, &MapOptions::default(), &mut &pool).unwrap();
//! // Two blocks of 2 MiB: a PUD and a PMD table were needed, no PTE table.
//! assert_eq!(done.tables, 2);
//! let hit = tables.translate(VirtAddr::new(0xffff_8880_0020_1234)).unwrap();
//! assert_eq!(hit.phys, PhysAddr::new(0x20_1234));
//! ```
#![no_std]
#![deny(unsafe_code)]

mod attr;
mod chain;
mod change;
mod error;
mod flush;
pub mod format;
mod lock;
mod map;
mod memory;
mod proven;
mod row;
mod run;
mod shape;
mod slots;
mod split;
mod table_use;
mod tables;
mod unmap;
mod validate;
mod walk;
mod word;

pub use attr::{Attr, AttrError, AttrFlags, MemoryType, Shareability, TableLimits};
pub use change::{AttrChange, Changed, Live};
pub use error::{Damage, MapError, UnmapError};
pub use flush::{FlushScope, NotLive, PagesFlush, PendingFlush, TlbFlush};
pub use format::{Entry, Format, Leaf, Step};
pub use lock::LockError;
pub use map::{LeafTables, MapOptions, Mapped, PageEntries, PageWords};
pub use memory::{NoTables, Pool, TableMemory, TableSource};
pub use proven::Proven;
pub use row::{Row, Vacant};
pub use shape::{Level, LevelShape, Shape, Window};
pub use slots::{SlotError, SlotFlush, Slots, SlotsError};
pub use table_use::{TableMinimum, TableUse};
pub use tables::{Cursor, Tables, Translation, Unmapped};
pub use validate::{Invalid, TreeStats};
pub use walk::{Run, RunKind, WalkError};
pub use word::Word;

#[cfg(test)]
extern crate std;
#[cfg(test)]
mod tests;
