//! This processor's interrupts, as the allocators ask for them.

use crate::irq;
use pagewright_platform::Interrupts;

/// This processor's interrupts, for the page allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Masking;

// SAFETY: between `mask` and `restore` with what it returned the processor takes no interrupts, and the pair nests; of what is never masked (faults,
// non-maskable interrupts) no handler uses the memory manager.
unsafe impl Interrupts for Masking {
    type Before = usize;

    #[inline(always)]
    fn disable(&self) -> usize {
        irq::mask()
    }

    #[inline(always)]
    fn restore(&self, before: usize) {
        irq::restore(before);
    }
}
