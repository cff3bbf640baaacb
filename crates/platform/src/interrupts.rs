//! Keeping interrupt handlers away.

use core::fmt;

/// This CPU's interrupts.
///
/// # Safety
/// From [`Self::disable`] until [`Self::restore`] gets what it returned, no interrupt handler runs on this CPU that uses the
/// memory manager.
pub unsafe trait Interrupts {
    /// What is restored: whether they were enabled.
    type Before: Copy;

    /// Keeps handlers away (`local_irq_save`). Nests.
    fn disable(&self) -> Self::Before;

    /// Lets them come again if they could before (`local_irq_restore`).
    fn restore(&self, before: Self::Before);
}

/// A machine that has none: threads of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NoInterrupts;

// SAFETY: there are no handlers.
unsafe impl Interrupts for NoInterrupts {
    type Before = ();

    #[inline]
    fn disable(&self) {}

    #[inline]
    fn restore(&self, (): ()) {}
}

/// A stretch without interrupts: from its making until it is dropped.
pub struct WithoutInterrupts<'i, I: Interrupts> {
    interrupts: &'i I,
    before: I::Before,
}

impl<'i, I: Interrupts> WithoutInterrupts<'i, I> {
    /// Begins it.
    #[inline]
    pub fn new(interrupts: &'i I) -> Self {
        Self { before: interrupts.disable(), interrupts }
    }
}

impl<I: Interrupts> Drop for WithoutInterrupts<'_, I> {
    #[inline]
    fn drop(&mut self) {
        self.interrupts.restore(self.before);
    }
}

impl<I: Interrupts> fmt::Debug for WithoutInterrupts<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithoutInterrupts").finish_non_exhaustive()
    }
}
