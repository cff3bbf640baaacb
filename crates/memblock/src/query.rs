//! Questions about the sets. All searches are binary.

use crate::region::node_from_number;
use crate::{Flags, Memblock, Set};
use pagewright_addr::{NodeId, Pfn, PfnRange, PhysAddr, PhysRange};

impl Memblock<'_> {
    /// Bytes of RAM added less those removed (`memblock_phys_mem_size`); see [`Self::trim_memory`].
    pub fn phys_mem_size(&self) -> u64 {
        self.memory.total
    }

    /// Bytes reserved (`memblock_reserved_size`).
    pub fn reserved_size(&self) -> u64 {
        self.reserved.total
    }

    /// The lowest address of RAM; 0 if there is none (`memblock_start_of_DRAM`).
    pub fn start_of_dram(&self) -> PhysAddr {
        self.memory.live().first().map_or(PhysAddr::ZERO, |r| r.base())
    }

    /// One past the highest address of RAM; 0 if there is none (`memblock_end_of_DRAM`).
    pub fn end_of_dram(&self) -> PhysAddr {
        self.memory.live().last().map_or(PhysAddr::ZERO, |r| r.end())
    }

    /// The index, in [`Self::regions`], of the region that holds `addr` (`memblock_search`).
    pub fn search(&self, which: Set, addr: PhysAddr) -> Option<usize> {
        let set = self.set(which)?;
        let i = set.first_above(addr.get());
        set.live().get(i).filter(|r| r.base <= addr.get()).map(|_| i)
    }

    /// Whether `addr` is RAM (`memblock_is_memory`).
    pub fn is_memory(&self, addr: PhysAddr) -> bool {
        self.search(Set::Memory, addr).is_some()
    }

    /// Whether `addr` is RAM and in the linear map (`memblock_is_map_memory`).
    pub fn is_map_memory(&self, addr: PhysAddr) -> bool {
        let found = self.search(Set::Memory, addr);
        found.is_some_and(|i| !self.memory.live()[i].flags.contains(Flags::NOMAP))
    }

    /// Whether `addr` is reserved (`memblock_is_reserved`).
    pub fn is_reserved(&self, addr: PhysAddr) -> bool {
        self.search(Set::Reserved, addr).is_some()
    }

    /// Whether one region of memory holds the whole range (`memblock_is_region_memory`). An empty range counts
    /// as its first address.
    pub fn is_region_memory(&self, range: PhysRange) -> bool {
        let end = range.end.get().min(self.config.width.max_addr());
        let found = self.search(Set::Memory, range.start);
        found.is_some_and(|i| self.memory.live()[i].last() >= end)
    }

    /// Whether any of the range is reserved (`memblock_is_region_reserved`).
    pub fn is_region_reserved(&self, range: PhysRange) -> bool {
        self.overlaps_region(Set::Reserved, range)
    }

    /// Whether any region of the set overlaps the range (`memblock_overlaps_region`). As in Linux, an empty
    /// range strictly inside a region overlaps it.
    pub fn overlaps_region(&self, which: Set, range: PhysRange) -> bool {
        let Some(set) = self.set(which) else { return false };
        let end = range.end.max(range.start).get().min(self.config.width.max_addr());
        set.live().get(set.first_above(range.start.get())).is_some_and(|r| r.base < end)
    }

    /// Whether every byte of `start..end` is reserved.
    pub(crate) fn is_reserved_throughout(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        for r in &self.reserved.live()[self.reserved.first_above(start)..] {
            if at >= end || r.base > at {
                break;
            }
            at = r.last();
        }
        at >= end
    }

    /// The frames of the memory region that holds frame `pfn`, and its node (`memblock_search_pfn_nid`).
    ///
    /// The frames run from the one that holds the region's first byte to the one that holds its end.
    pub fn search_pfn_nid(&self, pfn: Pfn) -> Option<(PfnRange, Option<NodeId>)> {
        let shift = self.config.page_shift;
        let r = self.memory.live()[self.search(Set::Memory, pfn.phys(shift))?];
        let frames = PfnRange::new(r.base().pfn(shift), r.end().pfn(shift));
        Some((frames, node_from_number(if self.config.numa { r.nid } else { 0 })))
    }
}
