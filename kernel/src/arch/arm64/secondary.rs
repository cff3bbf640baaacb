//! What a processor that is being started gets on this architecture.

use super::tlb;
use core::sync::atomic::{AtomicU64, Ordering};
use pagewright::Boot;
use pagewright::pgtable::arm64::Places;
use pagewright_addr::PhysAddr;

/// The empty table, for the lower half without a process.
static RESERVED: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    fn secondary_switched();
}

/// Notes where the empty table is.
pub(super) fn set_reserved(table: PhysAddr) {
    RESERVED.store(table.get(), Ordering::Relaxed);
}

/// TTBR0, TTBR1.
pub(crate) fn tables(boot: &Boot<'_>) -> Option<[u64; 2]> {
    Some([Places::of(boot.machine).idmap.get(), boot.pgtable?.root.get()])
}

/// Where it goes on once its MMU is on.
pub(crate) fn switched() -> u64 {
    secondary_switched as *const () as u64
}

/// Leaves the tables that it came by.
pub(crate) fn settle() {
    // SAFETY: the identity map is not used any more; the kernel's lower half is empty.
    unsafe { tlb::set_ttbr0(RESERVED.load(Ordering::Relaxed)) };
}
