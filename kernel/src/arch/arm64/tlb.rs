//! Barriers and flushes around changes of tables that are in use.

use core::arch::asm;

/// Makes entries that were added visible to the table walker.
pub(crate) fn publish() {
    // SAFETY: barriers change nothing.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
}

/// Forgets every translation, on all processors.
pub(super) fn flush_all() {
    // SAFETY: translations that are forgotten are read from the tables again.
    unsafe {
        asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack, preserves_flags));
    }
}

/// Loads TTBR0 and forgets what came of the old one.
///
/// # Safety
/// `root` is a tree for the lower half, and nothing is in use through the old one.
pub(super) unsafe fn set_ttbr0(root: u64) {
    // SAFETY: the caller's.
    unsafe {
        asm!("msr ttbr0_el1, {}", "isb", in(reg) root, options(nostack, preserves_flags));
    }
    flush_all();
}
