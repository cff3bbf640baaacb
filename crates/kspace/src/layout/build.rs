//! Putting regions together: in address order, nested ones after their container, holes filled.

use super::{Kind, LayoutError, Region};
use arrayvec::ArrayVec;
use pagewright_addr::{VirtAddr, VirtRange};

/// Regions of one layout, at most.
pub(super) const MAX_REGIONS: usize = 64;

/// A layout that is being put together.
pub(super) struct Builder {
    regions: ArrayVec<Region, MAX_REGIONS>,
    full: bool,
}

impl Builder {
    pub(super) const fn new() -> Self {
        Self { regions: ArrayVec::new_const(), full: false }
    }

    /// `len` bytes at `start`; nothing if there are none.
    pub(super) fn add(&mut self, kind: Kind, start: u64, len: u64) {
        self.push(kind, start, len, 0);
    }

    /// From `start` to `end`, where 0 is the end of a 64-bit address space. An end below the start is empty.
    pub(super) fn span(&mut self, kind: Kind, start: u64, end: u64) {
        if start <= end || end == 0 {
            self.add(kind, start, end.wrapping_sub(start));
        }
    }

    /// `len` bytes at `start` inside a region.
    pub(super) fn inside(&mut self, kind: Kind, start: u64, len: u64) {
        self.push(kind, start, len, 1);
    }

    fn push(&mut self, kind: Kind, start: u64, len: u64, depth: u8) {
        if len > 0 {
            let range = VirtRange::from_len(VirtAddr::new(start), len);
            self.full |= self.regions.try_push(Region { kind, range, depth }).is_err();
        }
    }

    /// The regions up to `last`, the last address there is: sorted, checked, without gaps.
    pub(super) fn finish(mut self, last: u64) -> Result<ArrayVec<Region, MAX_REGIONS>, LayoutError> {
        if self.full {
            return Err(LayoutError::TooManyRegions);
        }
        self.regions.sort_unstable_by_key(|r| (r.range.start, r.depth));
        let mut done: ArrayVec<Region, MAX_REGIONS> = ArrayVec::new();
        let mut push =
            |region| if done.try_push(region).is_err() { Err(LayoutError::TooManyRegions) } else { Ok(()) };
        // The first address that no region has yet; `None` when all have one.
        let mut next = Some(0u64);
        let mut outer: Option<Region> = None;
        for region in self.regions {
            let (start, end) = (region.range.start.get(), region.range.last().get());
            if region.depth == 0 {
                let free = next.filter(|n| *n <= start && end <= last);
                let Some(free) = free else {
                    return Err(LayoutError::Overlap(outer.unwrap_or(region), region));
                };
                if free < start {
                    let range = VirtRange::from_len(VirtAddr::new(free), start - free);
                    push(Region { kind: Kind::Hole, range, depth: 0 })?;
                }
                next = end.checked_add(1).filter(|n| *n <= last);
                outer = Some(region);
            } else if !outer.is_some_and(|o| o.range.contains_range(&region.range)) {
                return Err(LayoutError::Overlap(outer.unwrap_or(region), region));
            }
            push(region)?;
        }
        if let Some(free) = next {
            let range = VirtRange::from_len(VirtAddr::new(free), (last - free).saturating_add(1));
            push(Region { kind: Kind::Hole, range, depth: 0 })?;
        }
        Ok(done)
    }
}
