//! Local kmaps in the formats of arm's images: the loop that is measured, with the processor's own flush.

use core::arch::asm;
use core::hint::black_box;
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
        let mut at = scope.range.start.get() as u32 & !0xfff;
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
}

/// Pairs of `kmap_local_page` and `kunmap_local` of one page, on the processor that this runs on: how many there were before one failed.
pub type KmapPairs<F> = fn(&KmapCpu<'_, F>, &KmapStack, PhysAddr, u64) -> u64;

#[inline(always)]
fn pairs<F: Format>(local: &KmapCpu<'_, F>, stack: &KmapStack, page: PhysAddr, pairs: u64) -> u64 {
    // A register's width: the loop is to take two instructions.
    for done in 0..pairs as u32 {
        let Ok(map) = local.kmap_local_page(stack, black_box(page), &mut Here) else { return done.into() };
        black_box(map.address());
        if local.kunmap_local(stack, map, &mut Here).is_err() {
            return done.into();
        }
    }
    pairs
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
    for _ in 0..count as u32 {
        black_box(black_box(page));
    }
}
