//! Local kmaps in the formats of arm's images: the loop that is measured, with the processor's own flush.

use core::arch::asm;
use core::sync::atomic::AtomicU64;
use pagewright_addr::PhysAddr;
use pagewright_kspace::highmem::{KmapCpu, KmapStack};
use pagewright_pagetable::format::arm::lpae::ArmLpae;
use pagewright_pagetable::format::arm::short::ArmShort;
use pagewright_pagetable::{FlushScope, Format, TlbFlush};

/// This processor's translations (`local_flush_tlb_kernel_page`).
struct Here;

impl TlbFlush for Here {
    #[inline(always)]
    fn flush(&mut self, scope: &FlushScope) {
        // Whole pages: the bits below are zero, which is the ASID's place and does not matter for what is global.
        let mut at = scope.range.start.get() as u32;
        let pages = (scope.range.len as u32).div_ceil(4096);
        // SAFETY: entries are written before what was read of them is forgotten; what is forgotten is read from the tables again.
        unsafe { asm!("dsb nshst", options(nostack, preserves_flags)) };
        for _ in 0..pages {
            // SAFETY: as above (TLBIMVA).
            unsafe { asm!("mcr p15, 0, {}, c8, c7, 1", in(reg) at, options(nostack, preserves_flags)) };
            at = at.wrapping_add(4096);
        }
        // SAFETY: barriers change nothing.
        unsafe { asm!("dsb nsh", "isb", options(nostack, preserves_flags)) };
    }

    #[inline(always)]
    fn publish(&mut self) {
        // SAFETY: barriers change nothing.
        unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
    }

    #[inline(always)]
    fn is_empty64(&self, entry: &AtomicU64) -> bool {
        let low: u32;
        // SAFETY: half of the entry's bytes are read, which this processor alone writes.
        unsafe {
            asm!("ldr {}, [{}]", out(reg) low, in(reg) entry.as_ptr(), options(nostack, preserves_flags, readonly));
        }
        low == 0
    }

    /// What LPAE brings: aligned loads and stores of two registers are single-copy atomic for table walks and in tables (ARM DDI 0406C, A3.5.3).
    #[inline(always)]
    fn store64(&mut self, entry: &AtomicU64, word: u64) {
        // SAFETY: the entry's bytes, which are aligned, are written as by an atomic store.
        unsafe {
            asm!("strd r2, r3, [{}]", in(reg) entry.as_ptr(), in("r2") word as u32, in("r3") (word >> 32) as u32,
                options(nostack, preserves_flags));
        }
    }
}

/// Pairs of `kmap_local_page` and `kunmap_local` of one page, on the processor that this runs on: how many were left when one failed, 0 if none did.
pub type KmapPairs<F> = fn(&KmapCpu<'_, F>, &KmapStack, PhysAddr, u64) -> u64;

/// A page's address, come from memory where the compiler does not look.
#[inline(always)]
fn unknown(page: &PhysAddr) -> PhysAddr {
    // SAFETY: it is a borrowed value.
    unsafe { core::ptr::from_ref(page).read_volatile() }
}

/// Uses an address, in a register.
#[inline(always)]
fn used(at: u32) {
    // SAFETY: there is no instruction.
    unsafe { asm!("/* {} */", in(reg) at, options(nostack, preserves_flags)) };
}

#[inline(always)]
fn pairs<F: Format>(local: &KmapCpu<'_, F>, stack: &KmapStack, page: PhysAddr, pairs: u64) -> u64 {
    // Downwards, and as many as a register counts: the loop is to take two instructions.
    let mut left = pairs as u32;
    while left > 0 {
        let Ok(map) = local.kmap_local_page(stack, unknown(&page), &mut Here) else { break };
        used(map.address().get() as u32);
        if local.kunmap_local(stack, map, &mut Here).is_err() {
            break;
        }
        left -= 1;
    }
    left.into()
}

/// [`KmapPairs`] with short descriptors.
pub fn short_kmap_pairs(local: &KmapCpu<'_, ArmShort>, stack: &KmapStack, page: PhysAddr, count: u64) -> u64 {
    pairs(local, stack, page, count)
}

/// [`KmapPairs`] with long descriptors.
pub fn lpae_kmap_pairs(local: &KmapCpu<'_, ArmLpae>, stack: &KmapStack, page: PhysAddr, count: u64) -> u64 {
    pairs(local, stack, page, count)
}

/// What so many rounds take by themselves, with the same values kept from the compiler.
#[inline(never)]
pub fn empty_kmap_pairs(page: PhysAddr, count: u64) {
    let mut left = count as u32;
    while left > 0 {
        used(unknown(&page).get() as u32);
        left -= 1;
    }
}
