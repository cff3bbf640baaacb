//! This processor's interrupts: masked, and as they were.
//!
//! The page allocator and the per-CPU allocator do this in every call, where a function behind a pointer costs more than the instructions. So
//! they are here, for each architecture, and not among the rest of its instructions in the image.

#[cfg(target_os = "none")]
use core::arch::asm;

/// Masks interrupts; tells how it was.
#[inline(always)]
pub fn mask() -> usize {
    let before: usize;
    // SAFETY: taking no interrupts changes nothing else; the stack is as before. (It orders memory accesses around it for the compiler.)
    #[cfg(all(target_os = "none", target_arch = "x86_64"))]
    unsafe {
        asm!("pushfq", "pop {}", "cli", out(reg) before, options(preserves_flags));
    }
    // SAFETY: the same.
    #[cfg(all(target_os = "none", target_arch = "aarch64"))]
    unsafe {
        asm!("mrs {}, daif", "msr daifset, #2", out(reg) before, options(nostack, preserves_flags));
    }
    // SAFETY: the same.
    #[cfg(all(target_os = "none", target_arch = "arm"))]
    unsafe {
        asm!("mrs {}, cpsr", "cpsid i", out(reg) before, options(nostack, preserves_flags));
    }
    // A program is not interrupted.
    #[cfg(not(target_os = "none"))]
    {
        before = 0;
    }
    before
}

/// As it was.
///
/// # Safety
/// `before` is what [`mask`] returned on this processor, in the mode that it is in.
#[inline(always)]
pub unsafe fn restore(before: usize) {
    // IF, of the flags.
    #[cfg(all(target_os = "none", target_arch = "x86_64"))]
    if before & 1 << 9 != 0 {
        // SAFETY: interrupts were taken before; nothing depends on their being masked any more.
        unsafe { asm!("sti", options(nostack, preserves_flags)) };
    }
    // SAFETY: a value of the register's own; nothing depends on interrupts being masked any more.
    #[cfg(all(target_os = "none", target_arch = "aarch64"))]
    unsafe {
        asm!("msr daif, {}", in(reg) before, options(nostack, preserves_flags));
    }
    // SAFETY: the same mode (the contract) and masks as before; nothing depends on interrupts being masked any more.
    #[cfg(all(target_os = "none", target_arch = "arm"))]
    unsafe {
        asm!("msr cpsr_c, {}", in(reg) before, options(nostack));
    }
    #[cfg(not(target_os = "none"))]
    let _ = before;
}
