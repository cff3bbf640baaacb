//! Per-CPU memory in the types of an image.

use crate::masking::Masking;
use pagewright_addr::VirtAddr;
use pagewright_page::Frames;
use pagewright_percpu::{ChunkSource, How, PerCpuAllocator};

/// The right to the memory of a chunk.
#[derive(Debug)]
pub enum ChunkMemory {
    /// Areas of vmalloc's.
    Areas {
        /// What their places are counted from.
        base: VirtAddr,
        /// From there to behind the last.
        bytes: u64,
    },
    /// A block of the page allocator's.
    Block(Frames<'static>),
}

/// Where further chunks come from: vmalloc, or the page allocator.
pub type Chunks<'p> = dyn ChunkSource<Memory = ChunkMemory> + Sync + 'p;
/// The image's allocator of per-CPU memory.
pub type PerCpuPages<'p> = PerCpuAllocator<'p, &'p Chunks<'p>, Masking>;

/// Allocates `size` bytes for each processor and gives them back, `rounds` times. Returns how often something failed.
#[inline(never)]
pub fn pairs(percpu: &PerCpuPages<'_>, size: usize, rounds: usize) -> usize {
    let mut failed = 0;
    for _ in 0..rounds {
        // A size that the compiler does not know, in the processor's words.
        match percpu.alloc(core::hint::black_box(size) as u64, 8, How::Atomic) {
            Ok(bytes) => failed += usize::from(percpu.free(bytes).is_err()),
            Err(_) => failed += 1,
        }
    }
    failed
}
