//! A machine's RAM where its processors see it, as slabs need it: the frames of a page map through a direct map.

use crate::memory::SlabMemory;
use core::fmt;
use pagewright_addr::{PageShift, PhysAddr, PhysRange};
use pagewright_page::{FrameIdx, PageMap, SlabMarks};
use pagewright_platform::DirectMap;

/// The memory of a page map's frames, at a constant distance from their physical addresses.
///
/// # Invariants
/// The frames of `map` are the RAM that `ram` reaches, at the same physical addresses. Established by [`Self::new`]'s caller.
///
/// The frames from index `first` on are seen in the `bytes` bytes from `base` on, all of which `ram` has.
pub struct DirectMemory<'a> {
    /// The longest run of RAM: nearly all questions are about it.
    base: usize,
    bytes: usize,
    first: usize,
    /// Marks of its frames.
    marks: SlabMarks<'a>,
    page_shift: PageShift,
    map: PageMap<'a>,
    ram: DirectMap,
}

impl fmt::Debug for DirectMemory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectMemory").field("ram", &self.ram.ranges()).finish_non_exhaustive()
    }
}

impl<'a> DirectMemory<'a> {
    /// The memory of the frames of `map` that `ram` reaches. `None` where the distance between addresses is no multiple of the
    /// largest block: objects would not be aligned.
    ///
    /// # Safety
    /// Frames of the map are of the RAM that the direct map reaches, at the same physical addresses, and whoever owns a frame (its token, or the
    /// state in which it was deposited) alone uses its memory.
    pub unsafe fn new(map: PageMap<'a>, ram: DirectMap, page_shift: PageShift) -> Option<Self> {
        let block = page_shift.bytes() << map.sections().align().get();
        let offset = ram.virt(PhysAddr::ZERO).get();
        if !offset.is_multiple_of(block) {
            return None;
        }
        let page = page_shift.bytes();
        let mut longest = (PhysRange::new(PhysAddr::ZERO, PhysAddr::ZERO), 0);
        for section in map.sections().sections() {
            let pfns = section.pfns();
            let (start, end) = (pfns.start.phys(page_shift), pfns.end.phys(page_shift));
            for range in ram.ranges() {
                let (start, end) =
                    (start.max(range.start.align_up(page)), end.min(range.end.align_down(page)));
                // No object is at address 0: a page there has none, and the direct map has no pointer to it either.
                let start =
                    if ram.virt(start).get() == 0 { PhysAddr::new(start.get() + page) } else { start };
                let run = PhysRange::new(start, end.max(start));
                if run.len() > longest.0.len() {
                    let index =
                        u64::from(section.base().get()) + (start.pfn(page_shift).get() - pfns.start.get());
                    longest = (run, index);
                }
            }
        }
        let (run, first) = longest;
        let base = ram.virt(run.start).get() as usize;
        let (bytes, first) = (usize::try_from(run.len()).ok()?, usize::try_from(first).ok()?);
        let marks = map.slab_marks(first, bytes >> page_shift.get())?;
        Some(Self { base, bytes, first, marks, page_shift, map, ram })
    }

    /// The direct map.
    pub const fn ram(&self) -> &DirectMap {
        &self.ram
    }

    /// The frame of an address outside of the longest run.
    #[cold]
    #[inline(never)]
    fn elsewhere(&self, address: usize) -> usize {
        let phys = PhysAddr::new((address as u64).wrapping_sub(self.ram.virt(PhysAddr::ZERO).get()));
        let there = self.ram.pointer(phys, 1).is_some_and(|first| first.addr().get() == address);
        let idx = if there { self.map.idx(phys.pfn(self.page_shift)) } else { None };
        idx.map_or(usize::MAX, FrameIdx::index)
    }
}

// SAFETY: a frame is seen at its physical address plus a constant, which is a multiple of the largest block, where the direct map has it; frames and
// indices of a block are in the same order. The longest run has no hole, neither in the map nor in the direct map, so there the sum is
// exact; elsewhere both are asked. Pointers have the direct map's exposed provenance, which allows reading and writing initialised memory.
// That nobody else uses it is the promise of `new`'s caller.
unsafe impl SlabMemory for DirectMemory<'_> {
    #[inline]
    fn address(&self, idx: FrameIdx) -> Option<usize> {
        let within = idx.index().wrapping_sub(self.first);
        if within < self.bytes >> self.page_shift.get() {
            return Some(self.base + (within << self.page_shift.get()));
        }
        if idx.index() as u64 >= self.map.len() {
            return None;
        }
        let phys = self.map.pfn(idx).phys(self.page_shift);
        self.ram.pointer(phys, self.page_shift.bytes()).map(|first| first.addr().get())
    }

    #[inline(always)]
    fn frame_of(&self, address: usize) -> usize {
        let within = address.wrapping_sub(self.base);
        if within < self.bytes {
            return self.first + (within >> self.page_shift.get());
        }
        self.elsewhere(address)
    }

    // Four instructions less than by the frame's index: where the run begins is in the marks' address already, and one comparison serves for both tables.
    #[inline(always)]
    fn mark_of(&self, map: &PageMap<'_>, address: usize) -> u32 {
        let within = address.wrapping_sub(self.base) >> self.page_shift.get();
        self.marks.get(within).unwrap_or_else(|| map.slab_mark(self.elsewhere(address)))
    }

    #[inline(always)]
    fn pointer(&self, address: usize) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(address)
    }
}
