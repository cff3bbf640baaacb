//! What a cache is asked to be (`slab_flags_t`).

use bitflags::bitflags;

bitflags! {
    /// Flags of `kmem_cache_create`, without Linux's numbers, which are no interface.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct CacheFlags: u32 {
        /// Objects begin at cache lines, or at equal parts of them (SLAB_HWCACHE_ALIGN).
        const HWCACHE_ALIGN = 1 << 0;
        /// A free object's memory keeps its type through a grace period (SLAB_TYPESAFE_BY_RCU).
        const TYPESAFE_BY_RCU = 1 << 1;
        /// Free objects are filled with a pattern that is checked (SLAB_POISON).
        const POISON = 1 << 2;
        /// Bytes around each object tell overruns (SLAB_RED_ZONE).
        const RED_ZONE = 1 << 3;
        /// Each object remembers who took and freed it last (SLAB_STORE_USER).
        const STORE_USER = 1 << 4;
        /// Every allocation and free looks for damage (SLAB_CONSISTENCY_CHECKS).
        const CONSISTENCY_CHECKS = 1 << 5;
        /// Pages count as reclaimable ([`SlabPages`](crate::SlabPages), SLAB_RECLAIM_ACCOUNT).
        const RECLAIM_ACCOUNT = 1 << 6;
        /// Pages count for the task's memory cgroup (SLAB_ACCOUNT).
        const ACCOUNT = 1 << 7;
        /// The machine cannot run without this cache (SLAB_PANIC).
        const PANIC = 1 << 8;
        /// Pages come from ZONE_DMA (SLAB_CACHE_DMA).
        const CACHE_DMA = 1 << 9;
        /// One of `kmalloc`'s (SLAB_KMALLOC).
        const KMALLOC = 1 << 10;
        /// Every allocation and free is told ([`Reports::traced`](crate::slabs::Reports::traced), SLAB_TRACE).
        const TRACE = 1 << 11;
        /// One of those whose allocations fail where only some are to (SLAB_FAILSLAB).
        const FAILSLAB = 1 << 12;
        /// Pages come from ZONE_DMA32 (SLAB_CACHE_DMA32).
        const CACHE_DMA32 = 1 << 13;
        /// Objects are nothing that a search for leaks would look at (SLAB_NOLEAKTRACE): there is none here, but such caches are merged with no other.
        const NOLEAKTRACE = 1 << 14;
    }
}

impl CacheFlags {
    /// What `slub_debug` without letters asks for (DEBUG_DEFAULT_FLAGS).
    pub const DEBUG: Self =
        Self::POISON.union(Self::RED_ZONE).union(Self::STORE_USER).union(Self::CONSISTENCY_CHECKS);

    /// What takes the fast paths away (SLAB_DEBUG_FLAGS): objects are looked at one by one.
    pub const WATCHED: Self = Self::DEBUG.union(Self::TRACE);
}
