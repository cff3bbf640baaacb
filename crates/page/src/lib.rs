//! Page metadata, ownership tokens, the page-flag layout and the memory models.
//!
//! Every page frame of a machine has one 32-byte slot of metadata, [`meta::PageMeta`], in a gap-free array that
//! the caller brings ([`PageStorage`]). This crate owns that array's unsafe code and the rule that makes frames
//! safe to hand around: **for every frame there is at most one token**, and only this crate makes tokens.
//!
//! ```text
//!  Pristine ──into_frames──▶ Frames ──put_block──▶ Free (in the metadata) ──take_block──▶ Frames
//!     │                        ▲  └────deposit────▶ Slab, PageTable, Anon ... ──withdraw──▶ Frames
//!     └─into_reserved─▶ Reserved ──release──┘
//! ```
//!
//! - [`Pristine`]: frames whose metadata has never been written. [`PageMap::new`] mints one for the whole map;
//!   it is only ever split. Counting such frames as free costs nothing ([`PristineExtents`]).
//! - [`Reserved`]: frames that were taken before the page allocator existed.
//! - [`Frames`]: the sole right to use the memory of these frames. A platform's direct map turns it into memory.
//!
//! Each arrow is a checked transition of the frame's state word. A policy crate that asks for a wrong one (frees
//! twice, takes what is not free) gets a panic that names the frame, never two tokens. Tokens that are
//! dropped leak their frames; nothing is reused.
//!
//! `zone` calls this crate for free blocks, `slab`, `percpu`, `aspace` and `reclaim` for what they own, `mm` to build
//! the map from the memory that the machine describes.
//!
//! ```
//! use pagewright_addr::{Order, Pfn, PfnRange};
//! use pagewright_page::{PageMap, PageMeta, PageStorage, Section, SectionTable};
//!
//! // RAM at 0x4000_0000 and again far above: the hole costs nothing.
//! let ram = [
//!     PfnRange::from_len(Pfn::new(0x4_0000), 1024),
//!     PfnRange::from_len(Pfn::new(0x4_0000_0000), 2048),
//! ];
//! let mut sections = [Section::EMPTY; 4];
//! let table = SectionTable::build(&mut sections, ram, Order::new(10).unwrap())?;
//!
//! let mut slots = Vec::<PageMeta>::with_capacity(table.frames() as usize);
//! let (map, mut all) = PageMap::new(PageStorage::zero(slots.spare_capacity_mut()), table)?;
//!
//! // The first block becomes a free block of order 10, and is taken, split and put back.
//! let block = all.take_front(1024).into_frames();
//! let idx = map.put_block(block);
//! let (low, high) = map.split_at(map.take_block(idx, Order::new(10).unwrap()), 512);
//! assert_eq!(map.pfn(high.start()), Pfn::new(0x4_0200));
//! map.put_block(low);
//! map.put_block(high);
//! # Ok::<(), pagewright_page::MapError>(())
//! ```
#![no_std]

#[cfg(any(test, doc))]
extern crate std;

mod counts;
mod extents;
pub mod flags_layout;
mod frames;
mod idx;
mod map;
pub mod meta;
pub mod model;
mod park;
mod pristine;
mod rack;
mod sections;
mod storage;
mod word;

pub use extents::{ExtentViolation, PristineExtents};
pub use frames::{Frames, Reserved};
pub use idx::FrameIdx;
pub use map::{DepositedList, Joining, MapError, MapViolation, Node, PageMap, SlabMarks};
pub use meta::{OwnerHandle, PageMeta};
pub use park::Park;
pub use pristine::Pristine;
pub use rack::{Rack, Shelf};
pub use sections::{GrownSection, GrownSections, Section, SectionTable, TableViolation};
pub use storage::PageStorage;
pub use word::{PageFlags, State, Use, Word};

#[cfg(test)]
mod tests;
