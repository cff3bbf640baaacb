//! Per-CPU memory: an allocation is one address and has a copy for each CPU.
//!
//! Memory comes in *chunks*. A chunk has one *unit* for each CPU, and unit `c` lies [`Geometry::offset`]`(c)` bytes behind the
//! chunk's lowest address, in every chunk alike. What is allocated is a range of a unit; its copies lie at the same place
//! of all units, so the copy of another CPU is an addition away.
//!
//! - [`ChunkMap`]: which of a unit's 4-byte pieces are in use, where allocations begin, and hints for each page's worth of them.
//! - [`PerCpuAllocator`]: the chunks, kept by the largest hole that they may have; the first chunk, whose units begin with
//!   the kernel's static per-CPU data and a part reserved for modules; further chunks from a [`ChunkSource`].
//! - [`PerCpuBytes`]: the right to an allocation. Whoever has it gives it back, once.
//! - [`PerCpuBox`]: a value of a Rust type for each CPU, dropped with it.
//!
//! One lock, taken with interrupts off, guards all chunks; it is never held while a source is asked for memory. Copies are
//! reached without it.
//!
//! Words and rules are those of Linux's percpu allocator (chunks, units, reserved and dynamic parts of the first chunk, slots by size,
//! one empty chunk kept); the hints are upper bounds that a failing search corrects, where Linux's are exact.
#![no_std]

#[cfg(test)]
extern crate std;

mod allocator;
mod chunk;
mod error;
mod geometry;
mod map;
mod memory;
mod shelf;
mod slots;
mod stats;
mod typed;

pub use allocator::{How, PerCpuAllocator};
pub use error::{AllocError, FreeError, Violation};
pub use geometry::{FirstChunk, Geometry, MAX_SIZE, MIN_ALLOC};
pub use map::{ChunkMap, Run, RunKind};
pub use memory::{ChunkLayout, ChunkSource, NoChunks, PerCpuBytes};
pub use stats::{ChunkStats, Stats};
pub use typed::{PerCpuBox, PerCpuMemory};

#[cfg(test)]
mod tests;
