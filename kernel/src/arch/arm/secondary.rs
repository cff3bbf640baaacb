//! What a processor that is being started gets on this architecture.

use super::image::Loaded;
use core::sync::atomic::{AtomicU64, Ordering};
use pagewright::Boot;
use pagewright_addr::PhysAddr;

/// The first tables, which have the head's code one to one.
static FIRST: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    fn secondary_switched();
}

/// Notes where the first tables are.
pub(super) fn set_first(image: &Loaded) {
    FIRST.store(image.early_pg_dir().get(), Ordering::Relaxed);
}

/// TTBR0 while the MMU is turned on, and from then on.
pub(crate) fn tables(boot: &Boot<'_>) -> Option<[u64; 2]> {
    let kernel: PhysAddr = boot.pgtable?.root;
    let flags = u64::from(super::TTBR_FLAGS);
    Some([FIRST.load(Ordering::Relaxed) | flags, kernel.get() | flags])
}

/// Where it goes on once its MMU is on.
pub(crate) fn switched() -> u64 {
    secondary_switched as *const () as usize as u64
}

/// Leaves the tables that it came by: `entry.s` has done that.
pub(crate) fn settle() {}
