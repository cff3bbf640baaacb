//! Memory of chunks, and the places where bytes of it are touched.
//!
//! Addresses of chunks are numbers whose provenance was exposed: units of the first chunk may come from several pieces
//! of memory, and a copy's address is a sum that leads from one to another.

use crate::chunk::Chunk;
use crate::geometry::{Geometry, MIN_ALLOC};
use crate::map::{Block, ChunkMap, needs};
use core::fmt;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use pagewright_platform::Carve;

/// What a chunk needs of its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkLayout<'m> {
    /// The units: these lie in the first [`Geometry::span`] bytes.
    pub geometry: Geometry<'m>,
    /// Bytes behind the span for the chunk's maps.
    pub maps: u64,
}

impl<'m> ChunkLayout<'m> {
    pub(crate) const fn new(geometry: Geometry<'m>) -> Self {
        Self { geometry, maps: map_bytes(&geometry) }
    }

    /// Bytes in all, a multiple of the page size.
    pub const fn bytes(&self) -> u64 {
        (self.geometry.span() + self.maps).next_multiple_of(self.geometry.page())
    }
}

/// Bytes that the maps of a chunk with whole units take.
pub(crate) const fn map_bytes(geometry: &Geometry<'_>) -> u64 {
    let bits = (geometry.unit() / MIN_ALLOC) as u32;
    let (alloc, bound, blocks) = needs(bits, geometry.block_bits());
    (alloc + bound + blocks) as u64 * 8 + 8
}

/// Where memory for further chunks comes from: the page allocator, or kernel virtual memory where units are far apart.
///
/// # Safety
/// What [`Self::create`] returns is the first of [`ChunkLayout::bytes`] bytes, aligned to the page size, of which each unit's and
/// the maps' can be read and written, with exposed provenance, and which nobody else uses until [`Self::destroy`] gets the memory.
pub unsafe trait ChunkSource {
    /// The right to a chunk's memory.
    type Memory;

    /// Memory for a chunk; `None` if there is none. It may hold anything. May sleep if the allocator's caller may.
    fn create(&self, layout: &ChunkLayout<'_>) -> Option<(Self::Memory, NonNull<u8>)>;

    /// Takes it back.
    fn destroy(&self, memory: Self::Memory);
}

/// No memory but the first chunk's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NoChunks;

// SAFETY: it never returns memory.
unsafe impl ChunkSource for NoChunks {
    type Memory = core::convert::Infallible;

    fn create(&self, _: &ChunkLayout<'_>) -> Option<(Self::Memory, NonNull<u8>)> {
        None
    }

    fn destroy(&self, memory: Self::Memory) {
        match memory {}
    }
}

// SAFETY: the source behind the reference keeps the promise.
unsafe impl<S: ChunkSource + ?Sized> ChunkSource for &S {
    type Memory = S::Memory;

    fn create(&self, layout: &ChunkLayout<'_>) -> Option<(Self::Memory, NonNull<u8>)> {
        (**self).create(layout)
    }

    fn destroy(&self, memory: Self::Memory) {
        (**self).destroy(memory);
    }
}

/// The right to an allocation: its address in the lowest unit. It has to be given back to its allocator; what is dropped stays in use.
#[must_use = "what is dropped stays allocated"]
#[derive(PartialEq, Eq)]
pub struct PerCpuBytes {
    pub(crate) addr: usize,
    pub(crate) size: u32,
    pub(crate) chunk: u16,
}

impl PerCpuBytes {
    /// Bytes for each CPU, a multiple of [`MIN_ALLOC`].
    pub const fn size(&self) -> u64 {
        self.size as u64
    }

    /// The allocation as a number, as C code passes it around: the address of the copy in the lowest unit.
    pub const fn into_raw(self) -> usize {
        self.addr
    }

    /// The copy in the unit that lies `offset` bytes behind the lowest. Valid until the allocation is given back, if such a unit exists.
    #[inline]
    pub fn at(&self, offset: u64) -> NonNull<u8> {
        pointer(self.addr, offset)
    }

    /// Clears the copies.
    #[inline]
    pub(crate) fn zero(&self, offsets: &[u64]) {
        for offset in offsets {
            let copy = self.at(*offset);
            if self.size > SMALL {
                // SAFETY: the copy in each CPU's unit is this token's alone, `size` bytes of memory that can be written
                // (ChunkSource's promise, and that of the allocator's maker for the first chunk).
                unsafe { copy.write_bytes(0, self.size as usize) };
                continue;
            }
            let mut at = 0;
            while at < self.size as usize {
                // SAFETY: as above; allocations begin at multiples of 4 bytes and have a multiple of them. Volatile keeps the compiler
                // from calling memset, which takes 35 instructions where two stores do.
                unsafe { copy.add(at).cast::<u32>().write_volatile(0) };
                at += MIN_ALLOC as usize;
            }
        }
    }
}

/// Up to so many bytes, a word at a time is cheaper than a call.
const SMALL: u32 = 32;

impl fmt::Debug for PerCpuBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PerCpuBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "percpu allocation of {} bytes at {:#x}", self.size, self.addr)
    }
}

/// The byte at `offset` behind `addr`.
#[inline]
pub(crate) fn pointer(addr: usize, offset: u64) -> NonNull<u8> {
    let at = with_exposed_provenance_mut(addr.wrapping_add(offset as usize));
    // A unit never lies at address 0: chunks begin at addresses that pointers came with.
    NonNull::new(at).unwrap_or(NonNull::dangling())
}

/// A map of `bits` pieces with its memory from `carve`; `None` if that has too little.
pub(crate) fn carve_map<'m>(carve: &mut Carve<'m>, bits: u32, block_bits: u32) -> Option<ChunkMap<'m>> {
    let (alloc, bound, blocks) = needs(bits, block_bits);
    let alloc = carve.slice(alloc, || 0_u64)?;
    let bound = carve.slice(bound, || 0_u64)?;
    let blocks = carve.slice(blocks, Block::default)?;
    Some(ChunkMap::new(bits, block_bits, alloc, bound, blocks))
}

/// A chunk in memory of a source, which begins at `first`.
///
/// # Safety
/// The memory came from [`ChunkSource::create`] for this layout, and is the chunk's until it has been dropped.
pub(crate) unsafe fn adopt<'m, M>(
    layout: &ChunkLayout<'m>,
    memory: M,
    first: NonNull<u8>,
) -> Option<Chunk<'m, M>> {
    let geometry = layout.geometry;
    let addr = first.expose_provenance().get();
    let maps = pointer(addr, geometry.span());
    // SAFETY: the source promises `maps` bytes behind the span that can be read and written and that nobody else uses until it gets the
    // memory back, which is after the chunk was dropped, as the caller says.
    let mut carve = unsafe { Carve::new(maps, layout.maps as usize) };
    let map = carve_map(&mut carve, (geometry.unit() / MIN_ALLOC) as u32, geometry.block_bits())?;
    Some(Chunk::new(map, addr, Some(memory)))
}
