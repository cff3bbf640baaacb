//! The system control coprocessor: translation, identification, the counter.

use super::TTBR_FLAGS;
use super::image::LPAE;
use core::arch::asm;
use pagewright_addr::PhysAddr;

macro_rules! read {
    ($name:ident, $text:literal, $what:literal) => {
        #[doc = $what]
        pub(super) fn $name() -> u32 {
            let value: u32;
            // SAFETY: reading the register changes nothing.
            unsafe { asm!($text, out(reg) value, options(nomem, nostack, preserves_flags)) };
            value
        }
    };
}

read!(mpidr, "mrc p15, 0, {}, c0, c0, 5", "MPIDR: which processor this is.");
read!(frequency, "mrc p15, 0, {}, c14, c0, 0", "CNTFRQ: ticks of the counter in a second.");

/// CNTVCT: ticks so far.
pub(super) fn ticks() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading the counter changes nothing.
    unsafe {
        asm!("isb", "mrrc p15, 1, {}, {}, c14", out(reg) low, out(reg) high, options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Makes entries that were added visible to the table walker.
pub(super) fn publish() {
    // SAFETY: barriers change nothing.
    unsafe { asm!("dsb", "isb", options(nostack, preserves_flags)) };
}

/// Forgets every translation, on all processors.
pub(super) fn flush_all() {
    // SAFETY: translations that are forgotten are read from the tables again.
    unsafe {
        asm!("dsb", "mcr p15, 0, {0}, c8, c3, 0", "mcr p15, 0, {0}, c7, c1, 6", "dsb", "isb",
            in(reg) 0, options(nostack, preserves_flags));
    }
}

/// Loads TTBR0 and forgets what came of the old tree.
///
/// # Safety
/// The tree maps the image where the old one does, and whatever else is in use.
pub(super) unsafe fn load(root: PhysAddr) {
    let low = root.get() as u32 | TTBR_FLAGS;
    let high = (root.get() >> 32) as u32;
    // SAFETY: the caller's.
    unsafe {
        if LPAE {
            asm!("dsb", "mcrr p15, 0, {}, {}, c2", "isb", in(reg) low, in(reg) high, options(nostack, preserves_flags));
        } else {
            asm!("dsb", "mcr p15, 0, {}, c2, c0, 0", "isb", in(reg) low, options(nostack, preserves_flags));
        }
    }
    flush_all();
}

/// The top table in TTBR0.
pub(super) fn root() -> PhysAddr {
    let (low, high): (u32, u32);
    // SAFETY: reading the register changes nothing.
    unsafe {
        if LPAE {
            asm!("mrrc p15, 0, {}, {}, c2", out(reg) low, out(reg) high, options(nomem, nostack, preserves_flags));
        } else {
            asm!("mrc p15, 0, {}, c2, c0, 0", out(reg) low, options(nomem, nostack, preserves_flags));
            high = 0;
        }
    }
    PhysAddr::new((u64::from(high) & 0xff) << 32 | u64::from(low & !0xfff))
}

/// Where the processor's translation of an address for reading (or writing) leads in the tables that are loaded.
pub(super) fn translate(at: u32, write: bool) -> Option<PhysAddr> {
    // SAFETY: address translation touches nothing but PAR.
    unsafe {
        if write {
            asm!("mcr p15, 0, {}, c7, c8, 1", "isb", in(reg) at, options(nomem, nostack, preserves_flags));
        } else {
            asm!("mcr p15, 0, {}, c7, c8, 0", "isb", in(reg) at, options(nomem, nostack, preserves_flags));
        }
    }
    let (low, high): (u32, u32);
    // SAFETY: reading PAR changes nothing.
    unsafe {
        if LPAE {
            asm!("mrrc p15, 0, {}, {}, c7", out(reg) low, out(reg) high, options(nomem, nostack, preserves_flags));
        } else {
            asm!("mrc p15, 0, {}, c7, c4, 0", out(reg) low, options(nomem, nostack, preserves_flags));
            high = 0;
        }
    }
    let page = (u64::from(high) & 0xff) << 32 | u64::from(low & !0xfff);
    (low & 1 == 0).then(|| PhysAddr::new(page | u64::from(at & 0xfff)))
}
