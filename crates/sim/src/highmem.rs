//! The page allocator's zeroing on a hosted machine with high memory: what has no address is zeroed through a local kmap.

use crate::mmu::{CpuSet, Mmu};
use pagewright_addr::{Pfn, PhysAddr};
use pagewright_kspace::highmem::{KmapCpu, KmapStack, OnCpu};
use pagewright_page::Frames;
use pagewright_pagetable::Format;
use pagewright_zone::alloc::{Hooks, NotZeroed};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Hooks that zero pages as a simulated CPU does it: through its MMU, in the linear map or in a local kmap.
///
/// Whoever allocates meanwhile waits for its turn: it is one CPU's slots that are used.
pub struct Zeroing<'h, 'm, F: Format> {
    mmu: &'h Mmu<'m>,
    local: KmapCpu<'h, F>,
    first: Pfn,
    stack: Mutex<KmapStack>,
}

impl<F: Format> fmt::Debug for Zeroing<'_, '_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zeroing on CPU {}", self.local.cpu())
    }
}

impl<'h, 'm, F: Format> Zeroing<'h, 'm, F> {
    /// Zeroes as the CPU of `local`, on a machine whose RAM is one run from frame `first` on.
    pub fn new(mmu: &'h Mmu<'m>, local: KmapCpu<'h, F>, first: Pfn) -> Self {
        Self { mmu, local, first, stack: Mutex::new(KmapStack::new()) }
    }
}

impl<F: Format> Hooks for Zeroing<'_, '_, F> {
    /// # Panics
    /// When the simulated CPU cannot write the page: the machine's tables are wrong.
    fn zero(&self, frames: &Frames<'_>) -> Result<(), NotZeroed> {
        let stack = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        let cpu = self.local.cpu() as usize;
        let memory = self.mmu.memory_of(cpu);
        let mut tlb = CpuSet::new(self.mmu, vec![cpu]);
        let cx = &mut OnCpu { stack: &stack, memory: &memory, tlb: &mut tlb };
        let start = self.first.get() + u64::from(frames.start().get());
        for n in 0..frames.len() {
            let page = PhysAddr::new((start + n) << F::SHAPE.page_shift());
            if let Err(e) = self.local.clear_highpage(cx, page) {
                panic!("zeroing the page at {page:#x}: {e}");
            }
        }
        Ok(())
    }
}
