//! Runs of sections alike, and one section out of a run.
//!
//! Sections follow each other by the hundred and differ in nothing but their number, so they are kept as runs; the
//! places of their maps are an arithmetic progression. Linux has an entry for each.

use super::{Geometry, PageArray};
use pagewright_addr::{NodeId, Pfn, VirtAddr};

/// Consecutive sections of one node, with or without their maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SectionRun {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) nid: NodeId,
    pub(super) early: bool,
    pub(super) online: bool,
    pub(super) maps: Option<RunMaps>,
}

/// The arrays of a run's sections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RunMaps {
    /// Of the first section.
    pub(super) array: PageArray,
    /// From one section's array to the next one's, in bytes; modulo the pointer width, since arrays may descend.
    pub(super) step: u64,
}

impl SectionRun {
    /// An unused entry, to make room for runs.
    pub const EMPTY: Self =
        Self { first: 0, count: 0, nid: NodeId::ZERO, early: false, online: false, maps: None };

    /// One past the last section's number.
    pub(super) const fn end(&self) -> u64 {
        self.first + self.count
    }

    /// A section of the run.
    pub(super) fn section(&self, nr: u64, geometry: &Geometry) -> MemSection {
        let mem_map = self.maps.map(|maps| maps.nth(nr - self.first, geometry));
        MemSection { nr, nid: self.nid, early: self.early, online: self.online, mem_map }
    }

    /// Whether sections of both may share a run, maps aside.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.nid, self.early, self.online) == (other.nid, other.early, other.online)
    }
}

impl RunMaps {
    /// The array of the run's `n`-th section.
    pub(super) fn nth(&self, n: u64, geometry: &Geometry) -> PageArray {
        let PageArray { first, base, stride, bits } = self.array;
        PageArray {
            first: first.saturating_add(n * geometry.pages_per_section()),
            base: VirtAddr::new(bits.wrap(base.get().wrapping_add(n.wrapping_mul(self.step)))),
            stride,
            bits,
        }
    }

    /// Bytes between neighbouring arrays, and whether they descend.
    fn distance(&self) -> (u64, bool) {
        let back = self.array.bits.wrap(self.step.wrapping_neg());
        if self.step <= back { (self.step, false) } else { (back, true) }
    }

    /// The frame that the element at `page` describes, among `count` sections.
    pub(super) fn pfn(&self, page: VirtAddr, count: u64, geometry: &Geometry) -> Option<Pfn> {
        let (distance, descending) = self.distance();
        let lowest = if descending { self.nth(count - 1, geometry) } else { self.array };
        let offset = lowest.bits.wrap(page.get().wrapping_sub(lowest.base.get()));
        // A single array has no distance to a neighbour.
        let n = if count == 1 { 0 } else { offset.checked_div(distance)?.min(count - 1) };
        let array = self.nth(if descending { count - 1 - n } else { n }, geometry);
        array.pfn(page).filter(|pfn| pfn.get() - array.first.get() < geometry.pages_per_section())
    }

    /// Whether the arrays of neighbouring sections share no byte.
    pub(super) fn are_apart(&self, geometry: &Geometry) -> bool {
        self.distance().0 >= geometry.vmemmap_step_bytes(self.array.stride)
    }
}

/// One section that has memory (struct mem_section).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemSection {
    nr: u64,
    nid: NodeId,
    early: bool,
    online: bool,
    mem_map: Option<PageArray>,
}

impl MemSection {
    /// The section number.
    pub const fn nr(&self) -> u64 {
        self.nr
    }

    /// The node that its first memory belongs to.
    pub const fn nid(&self) -> NodeId {
        self.nid
    }

    /// Present since boot (SECTION_IS_EARLY): every frame of it counts as valid.
    pub const fn is_early(&self) -> bool {
        self.early
    }

    /// In use as ordinary memory (SECTION_IS_ONLINE).
    pub const fn is_online(&self) -> bool {
        self.online
    }

    /// It has an array of `struct page` (valid_section, SECTION_HAS_MEM_MAP).
    pub const fn is_valid(&self) -> bool {
        self.mem_map.is_some()
    }

    /// Its array; `first` is the section's first frame.
    pub const fn mem_map(&self) -> Option<PageArray> {
        self.mem_map
    }
}
