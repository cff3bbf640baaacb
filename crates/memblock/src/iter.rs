//! Walking over regions: all of them, the free parts, whole frames; from below and from above.

use crate::region::{NO_NODE, node_from_number, node_number};
use crate::{Flags, Memblock, Region, Set};
use pagewright_addr::{NodeId, PfnRange, PhysAddr, PhysRange};

/// Which memory regions a walk shows (`should_skip_region`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    /// The node, or [`NO_NODE`] for all.
    pub(crate) nid: i32,
    /// What is wanted: mirrored memory only, unmapped or driver-managed or hot-pluggable memory too.
    pub(crate) flags: Flags,
    /// Hot-pluggable memory is left alone.
    pub(crate) movable_node: bool,
    /// Regions have nodes; otherwise all are on node 0.
    pub(crate) numa: bool,
}

impl Filter {
    fn node(&self, r: &Region) -> i32 {
        if self.numa { r.nid } else { 0 }
    }

    pub(crate) fn shows(&self, r: &Region) -> bool {
        let has = |flag| r.flags.contains(flag);
        let asked = |flag| self.flags.contains(flag);
        (self.nid == NO_NODE || self.nid == self.node(r))
            && !(self.movable_node && has(Flags::HOTPLUG) && !asked(Flags::HOTPLUG))
            && (has(Flags::MIRROR) || !asked(Flags::MIRROR))
            && (asked(Flags::NOMAP) || !has(Flags::NOMAP))
            && (asked(Flags::DRIVER_MANAGED) || !has(Flags::DRIVER_MANAGED))
    }
}

/// The parts of memory that are not reserved, within a window of addresses; from both ends.
///
/// A part never reaches across two memory regions, even where they touch. None is empty.
#[derive(Clone, Debug)]
pub struct FreeRanges<'m> {
    memory: &'m [Region],
    reserved: &'m [Region],
    /// Which regions of `memory` count; all without one.
    filter: Option<Filter>,
    /// What is left of the window.
    lo: u64,
    hi: u64,
    /// The first memory region, and the first reserved one, that can matter at `lo`.
    front: (usize, usize),
    /// One past the last ones that can matter at `hi`.
    back: (usize, usize),
}

impl<'m> FreeRanges<'m> {
    pub(crate) fn new(
        memory: &'m [Region],
        reserved: &'m [Region],
        filter: Option<Filter>,
        lo: u64,
        hi: u64,
    ) -> Self {
        let above = |set: &[Region]| set.partition_point(|r| r.last() <= lo);
        let below = |set: &[Region]| set.partition_point(|r| r.base < hi);
        let front = (above(memory), above(reserved));
        let back = (below(memory), below(reserved));
        Self { memory, reserved, filter, lo, hi, front, back }
    }

    fn shows(&self, m: &Region) -> bool {
        self.filter.is_none_or(|f| f.shows(m))
    }

    fn node(&self, m: &Region) -> i32 {
        self.filter.map_or(m.nid, |f| f.node(m))
    }

    /// The next range from below: start, end, and the node's number as stored.
    pub fn next_raw(&mut self) -> Option<(u64, u64, i32)> {
        while let Some(m) = self.memory.get(self.front.0) {
            let start = m.base.max(self.lo);
            if start >= self.hi {
                return None;
            }
            if start >= m.last() || !self.shows(m) {
                self.front.0 += 1;
                continue;
            }
            while self.reserved.get(self.front.1).is_some_and(|r| r.last() <= start) {
                self.front.1 += 1;
            }
            let mut end = m.last().min(self.hi);
            if let Some(r) = self.reserved.get(self.front.1) {
                if r.base <= start {
                    self.lo = r.last();
                    continue;
                }
                end = end.min(r.base);
            }
            self.lo = end;
            return Some((start, end, self.node(m)));
        }
        None
    }

    /// The next range from above, as [`Self::next_raw`].
    pub fn next_back_raw(&mut self) -> Option<(u64, u64, i32)> {
        while let Some(m) = self.back.0.checked_sub(1).and_then(|i| self.memory.get(i)) {
            let end = m.last().min(self.hi);
            if end <= self.lo {
                return None;
            }
            if end <= m.base || !self.shows(m) {
                self.back.0 -= 1;
                continue;
            }
            let last_reserved = |back: usize| back.checked_sub(1).and_then(|i| self.reserved.get(i));
            while last_reserved(self.back.1).is_some_and(|r| r.base >= end) {
                self.back.1 -= 1;
            }
            let mut start = m.base.max(self.lo);
            if let Some(r) = last_reserved(self.back.1) {
                if r.last() >= end {
                    self.hi = r.base;
                    continue;
                }
                start = start.max(r.last());
            }
            self.hi = start;
            return Some((start, end, self.node(m)));
        }
        None
    }
}

fn with_node((start, end, nid): (u64, u64, i32)) -> (PhysRange, Option<NodeId>) {
    (PhysRange::new(PhysAddr::new(start), PhysAddr::new(end)), node_from_number(nid))
}

impl Iterator for FreeRanges<'_> {
    type Item = (PhysRange, Option<NodeId>);

    fn next(&mut self) -> Option<Self::Item> {
        self.next_raw().map(with_node)
    }
}

impl DoubleEndedIterator for FreeRanges<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.next_back_raw().map(with_node)
    }
}

impl core::iter::FusedIterator for FreeRanges<'_> {}

impl Memblock<'_> {
    pub(crate) fn filter(&self, nid: Option<NodeId>, flags: Flags) -> Filter {
        let (movable_node, numa) = (self.movable_node, self.config.numa);
        Filter { nid: node_number(nid), flags, movable_node, numa }
    }

    /// The regions of a set, lowest first; empty for `physmem` where there is none.
    ///
    /// Unlike Linux's array this has no dummy region when the set is empty.
    pub fn regions(&self, which: Set) -> &[Region] {
        self.set(which).map_or(&[], |s| s.live())
    }

    /// Memory that is not reserved (`for_each_free_mem_range`, and `_reverse` from the back).
    ///
    /// `nid` limits it to a node. Unmapped and driver-managed memory is left out, and with `movable_node` the
    /// hot-pluggable, unless `flags` ask for it; `MIRROR` in `flags` leaves out all that is not mirrored.
    pub fn free_ranges(&self, nid: Option<NodeId>, flags: Flags) -> FreeRanges<'_> {
        let (memory, reserved) = (self.memory.live(), self.reserved.live());
        FreeRanges::new(memory, reserved, Some(self.filter(nid, flags)), 0, u64::MAX)
    }

    /// All memory that is mapped (`for_each_mem_range`): without the `NOMAP` regions, one range for each region.
    pub fn mem_ranges(&self) -> impl DoubleEndedIterator<Item = PhysRange> {
        let filter = self.filter(None, Flags::HOTPLUG | Flags::DRIVER_MANAGED);
        self.memory.live().iter().filter(move |r| filter.shows(r)).map(Region::range)
    }

    /// All reservations (`for_each_reserved_mem_range`).
    pub fn reserved_ranges(&self) -> impl DoubleEndedIterator<Item = PhysRange> {
        self.reserved.live().iter().map(Region::range)
    }

    /// The firmware's RAM that is not in `without`, if given (`for_each_physmem_range`).
    pub fn physmem_ranges(&self, without: Option<Set>) -> impl DoubleEndedIterator<Item = PhysRange> {
        let (of, without) = (self.regions(Set::Physmem), without.map_or(&[][..], |s| self.regions(s)));
        FreeRanges::new(of, without, None, 0, u64::MAX).map(|(range, _)| range)
    }

    /// The parts of `of` that are not in `without`, inside a window (`__next_mem_range` for any two sets).
    ///
    /// Both slices must be sorted and free of overlaps. `only` limits it to a node and by flags as
    /// [`Self::free_ranges`] does; without it all regions count.
    pub fn ranges_outside<'m>(
        &self,
        of: &'m [Region],
        without: &'m [Region],
        only: Option<(Option<NodeId>, Flags)>,
        window: PhysRange,
    ) -> FreeRanges<'m> {
        let filter = only.map(|(nid, flags)| self.filter(nid, flags));
        FreeRanges::new(of, without, filter, window.start.get(), window.end.get())
    }

    /// The whole frames of each memory region, whatever its flags (`for_each_mem_pfn_range`).
    ///
    /// Regions without a whole frame are left out. `nid` limits it to a node.
    pub fn mem_pfn_ranges(
        &self,
        nid: Option<NodeId>,
    ) -> impl DoubleEndedIterator<Item = (PfnRange, Option<NodeId>)> {
        let shift = self.config.page_shift;
        let filter = self.filter(nid, Flags::NONE);
        self.memory.live().iter().filter_map(move |r| {
            let frames = r.range().frames_inside(shift);
            let node = filter.node(r);
            let wanted = filter.nid == NO_NODE || filter.nid == node;
            (wanted && !frames.is_empty()).then(|| (frames, node_from_number(node)))
        })
    }
}
