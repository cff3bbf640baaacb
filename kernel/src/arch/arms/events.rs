//! Waiting, with instructions that both architectures write alike.

use core::arch::asm;

/// Waits for an interrupt.
pub(crate) fn park() {
    // SAFETY: waiting changes nothing.
    unsafe { asm!("wfi", options(nomem, nostack, preserves_flags)) };
}

/// Waits for an event.
pub(crate) fn wait_for_event() {
    // SAFETY: waiting changes nothing.
    unsafe { asm!("wfe", options(nomem, nostack, preserves_flags)) };
}

/// Wakes those that wait for one.
pub(crate) fn send_event() {
    // SAFETY: an event changes nothing.
    unsafe { asm!("dsb ishst", "sev", options(nostack, preserves_flags)) };
}
