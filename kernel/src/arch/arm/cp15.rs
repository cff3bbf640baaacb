//! The system control coprocessor: translation, identification, the counter.

use super::TTBR_FLAGS;
use super::image::LPAE;
use core::arch::asm;
use pagewright_addr::{PhysAddr, VirtRange};

macro_rules! read {
    ($name:ident, $text:literal, $what:literal) => {
        #[doc = $what]
        pub(crate) fn $name() -> u32 {
            let value: u32;
            // SAFETY: reading the register changes nothing (of the interrupt controller's: nothing of memory's).
            unsafe { asm!($text, out(reg) value, options(nostack, preserves_flags)) };
            value
        }
    };
}

macro_rules! write {
    ($name:ident, $text:literal, $what:literal) => {
        #[doc = $what]
        pub(crate) fn $name(value: u32) {
            // SAFETY: none of these registers changes what memory is, or where.
            unsafe { asm!($text, "isb", in(reg) value, options(nostack, preserves_flags)) };
        }
    };
}

/// Reads a register of a table's address, which has two words with long descriptors.
macro_rules! address {
    ($wide:literal, $narrow:literal) => {{
        let (low, high): (u32, u32);
        // SAFETY: reading the register changes nothing.
        unsafe {
            if LPAE {
                asm!($wide, out(reg) low, out(reg) high, options(nomem, nostack, preserves_flags));
            } else {
                asm!($narrow, out(reg) low, options(nomem, nostack, preserves_flags));
                high = 0;
            }
        }
        // PAR and TTBR0: 40 bits.
        (low, (u64::from(high) & 0xff) << 32 | u64::from(low & !0xfff))
    }};
}

read!(mpidr, "mrc p15, 0, {}, c0, c0, 5", "MPIDR: which processor this is.");
read!(frequency, "mrc p15, 0, {}, c14, c0, 0", "CNTFRQ: ticks of the counter in a second.");
read!(tpidrprw, "mrc p15, 0, {}, c13, c0, 4", "TPIDRPRW: this processor's word of the kernel's.");
read!(icc_iar1, "mrc p15, 0, {}, c12, c12, 0", "ICC_IAR1: the interrupt that is pending, which is taken.");
write!(set_tpidrprw, "mcr p15, 0, {}, c13, c0, 4", "TPIDRPRW.");
write!(set_cntv_tval, "mcr p15, 0, {}, c14, c3, 0", "CNTV_TVAL: ticks until the virtual timer interrupts.");
write!(set_cntv_ctl, "mcr p15, 0, {}, c14, c3, 1", "CNTV_CTL: whether it does.");
write!(set_icc_sre, "mcr p15, 0, {}, c12, c12, 5", "ICC_SRE.");
write!(set_icc_pmr, "mcr p15, 0, {}, c4, c6, 0", "ICC_PMR.");
write!(set_icc_igrpen1, "mcr p15, 0, {}, c12, c12, 7", "ICC_IGRPEN1.");
write!(set_icc_eoir1, "mcr p15, 0, {}, c12, c12, 1", "ICC_EOIR1.");

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
pub(crate) fn publish() {
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

/// Forgets this processor's translation of a page that is the same in all address spaces (TLBIMVA).
pub(super) fn flush_page(at: u32) {
    let page = at & !0xfff;
    // SAFETY: a translation that is forgotten is read from the tables again.
    unsafe {
        asm!("dsb", "mcr p15, 0, {}, c8, c7, 1", "dsb", "isb", in(reg) page, options(nostack, preserves_flags))
    };
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

/// Writes the data of an address back, as far as what reads past the caches (DCCMVAC).
pub(crate) fn clean(at: u32) {
    // SAFETY: what is written back is what the processors see already.
    unsafe { asm!("mcr p15, 0, {}, c7, c10, 1", "dsb", in(reg) at, options(nostack, preserves_flags)) };
}

/// Makes what was written there visible to all processors' fetching of instructions: data to where both caches meet (DCCMVAU), instructions and predicted branches
/// forgotten (ICIMVAU, BPIALLIS).
pub(super) fn sync_code(range: VirtRange) {
    // The smallest line that there is.
    const LINE: usize = 16;
    let lines = || (range.start.get() as u32..=range.last().get() as u32).step_by(LINE);
    for at in lines() {
        // SAFETY: what is cleaned is what the processors see already.
        unsafe { asm!("mcr p15, 0, {}, c7, c11, 1", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb", options(nostack, preserves_flags)) };
    for at in lines() {
        // SAFETY: instructions are fetched anew.
        unsafe { asm!("mcr p15, 0, {}, c7, c5, 1", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: branches are predicted anew; barriers.
    unsafe {
        asm!("mcr p15, 0, {}, c7, c1, 6", "dsb", "isb", in(reg) 0, options(nostack, preserves_flags));
    }
}

/// The top table in TTBR0.
pub(super) fn root() -> PhysAddr {
    PhysAddr::new(address!("mrrc p15, 0, {}, {}, c2", "mrc p15, 0, {}, c2, c0, 0").1)
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
    let (low, page) = address!("mrrc p15, 0, {}, {}, c7", "mrc p15, 0, {}, c7, c4, 0");
    (low & 1 == 0).then(|| PhysAddr::new(page | u64::from(at & 0xfff)))
}
