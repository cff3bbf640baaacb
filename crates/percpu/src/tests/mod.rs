//! Maps against a plain list of pieces, the allocator against what it gave out, on memory of the host.

mod facts;
mod map;
mod model;
mod typed;

use crate::{ChunkLayout, ChunkSource, FirstChunk, Geometry, PerCpuAllocator};
use core::cell::Cell;
use core::ptr::NonNull;
use pagewright_platform::{Carve, NoInterrupts};
use std::alloc::{Layout, alloc, dealloc};
use std::boxed::Box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::vec;

pub(super) const PAGE: u64 = 4096;
pub(super) const UNIT: u64 = 32 << 10;

/// Memory of the host, and how many pieces of it are still to be had.
pub(super) struct Heap {
    pub(super) left: AtomicUsize,
    pub(super) out: AtomicUsize,
}

impl Heap {
    pub(super) fn new(left: usize) -> Self {
        Self { left: AtomicUsize::new(left), out: AtomicUsize::new(0) }
    }
}

/// A piece of it, given back when dropped.
pub(super) struct Piece(pub(super) NonNull<u8>, Layout);

// SAFETY: memory of the host's heap belongs to no thread.
unsafe impl Send for Piece {}

impl Piece {
    pub(super) fn new(bytes: u64) -> Self {
        let layout = Layout::from_size_align(bytes as usize, PAGE as usize).unwrap();
        // SAFETY: the size is not 0.
        let first = unsafe { alloc(layout) };
        // Whoever gets memory finds in it what others left.
        // SAFETY: it was just allocated with that size.
        unsafe { first.write_bytes(0xa5, layout.size()) };
        Self(NonNull::new(first).unwrap(), layout)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and given back once.
        unsafe { dealloc(self.0.as_ptr(), self.1) };
    }
}

// SAFETY: each piece has as many bytes as asked, aligned to a page, and is nobody else's until it is dropped.
unsafe impl ChunkSource for Heap {
    type Memory = Piece;

    fn create(&self, layout: &ChunkLayout<'_>) -> Option<(Piece, NonNull<u8>)> {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).ok()?;
        self.out.fetch_add(1, Relaxed);
        let piece = Piece::new(layout.bytes());
        let first = piece.0;
        Some((piece, first))
    }

    fn destroy(&self, memory: Piece) {
        self.left.fetch_add(1, Relaxed);
        self.out.fetch_sub(1, Relaxed);
        drop(memory);
    }
}

pub(super) type Tested<'m> = PerCpuAllocator<'m, &'m Heap, NoInterrupts>;

/// Runs `test` with an allocator whose first chunk has units of 32 KiB at `offsets`, with static, reserved and dynamic parts of `parts` bytes.
pub(super) fn with_allocator<R>(
    offsets: &[u64],
    parts: [u64; 3],
    chunks: usize,
    heap: &Heap,
    test: impl FnOnce(&Tested<'_>) -> R,
) -> R {
    let geometry = Geometry::new(PAGE, UNIT, offsets).unwrap();
    let first = Piece::new(geometry.span());
    let mut room =
        vec![0_u64; PerCpuAllocator::<&Heap, NoInterrupts>::bytes_for(&geometry, chunks) as usize / 8 + 1];
    let [static_size, reserved_size, dyn_size] = parts;
    let described = FirstChunk { lowest: first.0, static_size, reserved_size, dyn_size };
    let mut carve = Carve::of(&mut room);
    // SAFETY: the units lie in the piece, which lives longer than the allocator and is used by nobody else.
    let percpu =
        unsafe { PerCpuAllocator::new(geometry, &described, chunks, &mut carve, heap, NoInterrupts) }
            .unwrap();
    percpu.validate().unwrap();
    let result = test(&percpu);
    percpu.validate().unwrap();
    result
}

/// Numbers that look random: splitmix64.
pub(super) struct Random(Cell<u64>);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    pub(super) fn below(&self, end: u64) -> u64 {
        let seed = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(seed);
        let a = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (b ^ (b >> 31)) % end
    }
}

/// Offsets of `cpus` adjacent units.
pub(super) fn adjacent(cpus: u64) -> Box<[u64]> {
    (0..cpus).map(|cpu| cpu * UNIT).collect()
}
