//! What happens to page tables and is seen by nothing else: registers are written.

use pagewright_addr::PhysAddr;

/// An event that a sink may want to know of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TableEvent {
    /// arm64's head turns the MMU on (`__enable_mmu`): from here on addresses are translated.
    EnableMmu {
        /// TTBR0_EL1: the identity map.
        ttbr0: PhysAddr,
        /// TTBR1_EL1: the kernel's half.
        ttbr1: PhysAddr,
    },
    /// arm64's kernel half gets another top table (`cpu_replace_ttbr1`), while code runs in the identity map.
    ReplaceTtbr1 {
        /// The table that was in use.
        old: PhysAddr,
        /// The one from here on.
        new: PhysAddr,
    },
}
