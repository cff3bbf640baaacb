//! What is flushed for the kernel's own aliases of pages: areas of vmalloc's, and kmaps.

use super::Behaviour;
use pagewright_addr::VirtAddr;
use pagewright_platform::DataCache;

impl Behaviour {
    /// Whether two of the kernel's addresses of one page can hold different bytes of it.
    pub const fn aliases(self) -> bool {
        !matches!(self, Self::NonAliasing)
    }

    /// Pages were mapped into an area, which nobody has used yet (`flush_cache_vmap`): what was stored through their other addresses is written back,
    /// or the area would show what RAM had before.
    pub fn flush_cache_vmap<C: DataCache + ?Sized>(self, cache: &C) {
        if self.aliases() {
            cache.clean_invalidate_all();
        }
    }

    /// An area is about to be unmapped (`flush_cache_vunmap`): what was stored through it is written back, and old lines of other addresses go, or its
    /// lines would be written over what the pages hold by then. All of the cache, since not every page of an area need be mapped, and an operation by address faults
    /// where none is.
    pub fn flush_cache_vunmap<C: DataCache + ?Sized>(self, cache: &C) {
        if self.aliases() {
            cache.clean_invalidate_all();
        }
    }

    /// What was stored through an area is to be seen through its pages' other addresses, or by a device (`flush_kernel_vmap_range`). Of those addresses
    /// lines may be in the cache too: [`super::Dcache::flush_dcache_page`] is for them. All of it is mapped.
    pub fn flush_kernel_vmap_range<C: DataCache + ?Sized>(self, cache: &C, at: VirtAddr, bytes: u64) {
        if self.aliases() {
            cache.clean_invalidate(at, bytes);
        }
    }

    /// What was stored through other addresses, or by a device, is to be seen through an area from now on (`invalidate_kernel_vmap_range`). Lines at its
    /// ends may have bytes of others, so they are written back as well, as arm does. All of it is mapped.
    pub fn invalidate_kernel_vmap_range<C: DataCache + ?Sized>(self, cache: &C, at: VirtAddr, bytes: u64) {
        self.flush_kernel_vmap_range(cache, at, bytes);
    }
}
