//! The counter as benchmarks want it.

use super::this::cpu;

unsafe extern "C" {
    #[link_name = "entry_ticks"]
    static ENTRY_TICKS: u64;
}

/// The counter, in nanoseconds (QEMU's steps are 16 of them).
pub(crate) fn ticks() -> u64 {
    nanos(cpu::counter())
}

/// The counter at the image's first instructions.
pub(crate) fn entry_ticks() -> u64 {
    // SAFETY: `entry.s` wrote it before any Rust ran.
    nanos(unsafe { ENTRY_TICKS })
}

fn nanos(count: u64) -> u64 {
    count.wrapping_mul(1_000_000_000 / cpu::frequency().max(1))
}
