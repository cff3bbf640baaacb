//! What of an image is compiled for speed: the images are small, and most of their code runs once.
//!
//! Generic code is compiled where its types become known. So what an image does again and again with page tables and per-CPU memory is
//! called from here, with the image's own types ([`Masking`], [`PerCpuPages`]) or with any format of page tables.
#![no_std]

pub mod irq;
pub mod known;
mod masking;
mod pagetable;
mod percpu;

pub use masking::Masking;
pub use pagetable::{PageTables, Timed};
pub use percpu::{Chunks, PerCpuPages, pairs};
