//! A CPU's data cache, where it has to be told.

use pagewright_addr::VirtAddr;

/// The maintenance operations of the data cache of the CPU that this is used on, by virtual address.
///
/// An address means the lines that an access there would find: of one colour, if the cache's index has bits above the page's offset. The range has to be
/// mapped, and may begin and end inside a line; all of the line is meant then.
pub trait DataCache {
    /// Writes dirty lines back and forgets all (`flush_kern_dcache_area`, `dmac_flush_range`).
    fn clean_invalidate(&self, at: VirtAddr, bytes: u64);

    /// Writes dirty lines back and keeps them (`dmac_clean_range`).
    fn clean(&self, at: VirtAddr, bytes: u64);

    /// Forgets all lines, dirty ones too (`dmac_inv_range`).
    fn invalidate(&self, at: VirtAddr, bytes: u64);

    /// Writes everything back and forgets it (`flush_cache_all`).
    fn clean_invalidate_all(&self);
}

impl<C: DataCache + ?Sized> DataCache for &C {
    fn clean_invalidate(&self, at: VirtAddr, bytes: u64) {
        (**self).clean_invalidate(at, bytes);
    }

    fn clean(&self, at: VirtAddr, bytes: u64) {
        (**self).clean(at, bytes);
    }

    fn invalidate(&self, at: VirtAddr, bytes: u64) {
        (**self).invalidate(at, bytes);
    }

    fn clean_invalidate_all(&self) {
        (**self).clean_invalidate_all();
    }
}
