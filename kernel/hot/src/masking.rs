//! This processor's interrupts, as the allocators ask for them.

use crate::irq;
use pagewright_platform::Interrupts;

/// This processor's interrupts, for the page allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Masking;

/// How interrupts were: nobody but [`Masking`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Before(usize);

// SAFETY: between `mask` and `restore` with what it returned the processor takes no interrupts, and the pair nests; of what is never masked (faults,
// non-maskable interrupts) no handler uses the memory manager.
unsafe impl Interrupts for Masking {
    type Before = Before;

    #[inline(always)]
    fn disable(&self) -> Before {
        Before(irq::mask())
    }

    #[inline(always)]
    fn restore(&self, before: Before) {
        // SAFETY: `mask` returned it, as nothing else makes one; on this processor and in this mode, as whoever masks stays on both (the trait).
        unsafe { irq::restore(before.0) };
    }
}
