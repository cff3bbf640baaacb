//! What of an image is compiled for speed: the images are small, and most of their code runs once.
//!
//! Generic code is compiled where its types become known. So what an image does again and again with page tables, areas of vmalloc, per-CPU memory and objects is
//! called from here, with the image's own types ([`Masking`], [`PerCpuPages`]) or with any format of page tables.
#![no_std]

pub mod irq;
#[cfg(all(feature = "bench", target_os = "none", target_arch = "arm"))]
mod kmap;
pub mod known;
mod masking;
mod pagetable;
mod percpu;
mod region;
mod serve;
mod slab;
mod space;
mod vmalloc;
mod zeroing;

#[cfg(all(feature = "bench", target_os = "none", target_arch = "arm"))]
pub use kmap::{KmapPairs, empty_kmap_pairs, lpae_kmap_pairs, short_kmap_pairs};
pub use masking::Masking;
pub use pagetable::{PageTables, Timed};
pub use percpu::{ChunkMemory, Chunks, PerCpuPages, pairs};
pub use region::{ModuleParts, RegionView};
pub use serve::{Here, SpaceError, SpaceSetup, WithSpace};
pub use slab::{Asks, ImageSlabs, ObjectsFrom, give_objects, object_pairs, take_objects};
pub use space::KernelSpace;
pub use vmalloc::On;
pub use zeroing::Zeroing;
