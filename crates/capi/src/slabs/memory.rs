//! The memory of pages, where C sees it.

use crate::pages::Machine;
use pagewright_addr::{PageShift, PhysAddr, VirtAddr};
use pagewright_page::model::PhysToVirt;
use pagewright_page::{FrameIdx, PageMap};
use pagewright_slab::memory::SlabMemory;

/// Frames at their linear address.
pub(super) struct LinearMemory {
    map: PageMap<'static>,
    linear: PhysToVirt,
    offset: u64,
    shift: PageShift,
}

impl LinearMemory {
    /// The machine's memory; `None` if the largest blocks are not aligned where C sees them.
    pub(super) fn new(machine: &Machine) -> Option<Self> {
        let offset = machine.linear.virt(PhysAddr::ZERO).get();
        let map = *machine.base.map();
        let block = machine.shift.bytes() << map.sections().align().get();
        offset.is_multiple_of(block).then_some(Self {
            map,
            linear: machine.linear,
            offset,
            shift: machine.shift,
        })
    }
}

// SAFETY: a frame is seen at its physical address plus one offset, which is a multiple of the largest block's size (`new`), as the header has C
// promise; C makes all memory that it told memblock of accessible there, and it is C's and so initialised. No frame lies at virtual address 0: it would be
// the null pointer in C as well, and memblock gives page 0 to nobody.
unsafe impl SlabMemory for LinearMemory {
    fn address(&self, idx: FrameIdx) -> Option<usize> {
        let at = self.linear.virt(self.map.pfn(idx).phys(self.shift)).get() as usize;
        (at != 0).then_some(at)
    }

    fn frame_of(&self, address: usize) -> usize {
        let phys = PhysAddr::new(VirtAddr::new(address as u64).get().wrapping_sub(self.offset));
        self.map.idx(phys.pfn(self.shift)).map_or(usize::MAX, FrameIdx::index)
    }

    fn pointer(&self, address: usize) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(address)
    }
}
