//! Small objects: caches of equal objects, cut from blocks of pages.
//!
//! - [`slabs`]: SLUB. [`Slabs`] makes caches over a page allocator, gives objects and takes them back, on all processors at once; kmalloc over that.
//! - [`heap`]: the same for Rust: caches of a type ([`KmemCache`]), and a global allocator ([`Global`]), which with the feature `allocator-api2` is one
//!   for single collections too.
//! - [`slub`]: the geometry of a cache, as Linux 6.1 chooses it: bytes for each object, objects in a slab, pages of a slab, and how
//!   much is kept near a processor and a node.
//! - [`kmalloc`]: the size classes of an architecture, their names and kinds.
//! - [`kv`]: memory that need not be contiguous (kvmalloc), and what is freed when its readers have left (`kvfree_rcu`).
//! - [`shrink`]: what gives memory back under pressure, and when the reaper comes.
//! - [`hotplug`]: what slabs do when a node's memory comes and goes.
//! - [`memory`]: what is asked of a machine; [`DirectMemory`] has it where RAM is mapped at a constant distance from its addresses.
//!
//! This crate owns objects: it turns pages into them by unsafe code and gives the pages back when a slab is empty. Caches live in tables that the caller
//! brings; everything else comes from the page allocator.
//!
//! ```
//! use pagewright_slab::slub::{ObjectSpec, Slub};
//!
//! // 40-byte objects on a machine with four processors: a page holds 102 of them.
//! let cache = Slub::new(4).geometry(&ObjectSpec::new(40))?;
//! assert_eq!((cache.size, cache.objects, cache.order.get()), (40, 102, 0));
//! # Ok::<(), pagewright_slab::GeometryError>(())
//! ```
#![no_std]

#[cfg(test)]
extern crate std;

mod account;
#[cfg(feature = "allocator-api2")]
mod collections;
mod direct;
mod error;
mod faults;
pub mod flags;
pub mod heap;
pub mod hotplug;
pub mod kmalloc;
pub mod kv;
mod large;
pub mod memory;
pub mod objects;
mod random;
pub mod shrink;
pub mod slab;
pub mod slabs;
pub mod slob;
pub mod slub;
mod usercopy;

pub use account::{SlabCounters, SlabPages};
pub use direct::DirectMemory;
pub use error::GeometryError;
pub use flags::CacheFlags;
pub use heap::{Global, Heap, HeapOn, KmemCache, Object};
pub use memory::{PageSource, PagesFor, SlabMemory};
pub use slabs::{CacheId, CacheSpec, SlabContext, SlabError, Slabs};
pub use usercopy::{Place, UsercopyError};

/// Bytes of a pointer of the machine that this code runs on.
pub(crate) const HOST_WORD: u32 = size_of::<usize>() as u32;
