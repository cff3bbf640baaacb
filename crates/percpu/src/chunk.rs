//! One chunk.

use crate::geometry::MIN_ALLOC;
use crate::map::ChunkMap;
use crate::memory::PerCpuBytes;
use crate::slots::Link;

/// A chunk: a map, and where its first piece lies.
#[derive(Debug)]
pub(crate) struct Chunk<'m, M> {
    pub(crate) map: ChunkMap<'m>,
    /// The address of the map's first piece in the lowest unit.
    addr: usize,
    /// What the source gets back; `None` in the first chunk, which stays.
    pub(crate) memory: Option<M>,
    /// Allocations that are in use.
    pub(crate) allocations: u32,
    /// The largest of all that were made, in bytes.
    pub(crate) max_alloc: u32,
    pub(crate) link: Link,
}

impl<'m, M> Chunk<'m, M> {
    pub(crate) const fn new(map: ChunkMap<'m>, addr: usize, memory: Option<M>) -> Self {
        Self { map, addr, memory, allocations: 0, max_alloc: 0, link: Link::OUT }
    }

    /// Whether it can be given back to its source.
    pub(crate) const fn is_spare(&self) -> bool {
        self.allocations == 0 && self.memory.is_some()
    }

    /// Takes pieces of it, as chunk `number`.
    #[inline]
    pub(crate) fn alloc(&mut self, want: u32, align: u32, number: u16) -> Option<PerCpuBytes> {
        let bit = self.map.alloc(want, align)?;
        let size = want * MIN_ALLOC as u32;
        self.allocations += 1;
        self.max_alloc = self.max_alloc.max(size);
        Some(PerCpuBytes { addr: self.addr + bit as usize * MIN_ALLOC as usize, size, chunk: number })
    }

    /// The piece that an address lies at, if it is this chunk's and a piece's first.
    #[inline]
    pub(crate) fn bit_at(&self, addr: usize) -> Option<u32> {
        let within = addr.checked_sub(self.addr)?;
        let bit = within / MIN_ALLOC as usize;
        (within.is_multiple_of(MIN_ALLOC as usize) && bit < self.map.bits() as usize).then_some(bit as u32)
    }

    /// Takes back what begins at an address; `false` if no allocation does.
    #[inline]
    pub(crate) fn free(&mut self, addr: usize) -> bool {
        let freed = self.bit_at(addr).and_then(|bit| self.map.free(bit));
        self.allocations -= u32::from(freed.is_some());
        freed.is_some()
    }
}
