//! Instructions that are counted beforehand, for a counter to be tried with.

#[cfg(target_os = "none")]
use core::arch::asm;

/// Runs that many instructions (an even number), besides a few at the ends.
pub fn instructions(count: u64) {
    // From 1 at least.
    let rounds = (count / 2).max(1) as usize;
    // SAFETY: counts a register down to 0.
    #[cfg(all(target_os = "none", target_arch = "x86_64"))]
    unsafe {
        asm!("2: dec {0}", "jnz 2b", inout(reg) rounds => _, options(nomem, nostack));
    }
    // SAFETY: the same.
    #[cfg(all(target_os = "none", target_arch = "aarch64"))]
    unsafe {
        asm!("2: subs {0}, {0}, #1", "b.ne 2b", inout(reg) rounds => _, options(nomem, nostack));
    }
    // SAFETY: the same.
    #[cfg(all(target_os = "none", target_arch = "arm"))]
    unsafe {
        asm!("2: subs {0}, {0}, #1", "bne 2b", inout(reg) rounds => _, options(nomem, nostack));
    }
    // A program of the host's is not counted.
    #[cfg(not(target_os = "none"))]
    let _ = rounds;
}
