//! Kmaps of machines with virtual tags.
//!
//! What was written through a kmap lies in lines of its address: before that address leads elsewhere they are written back and forgotten (arm's
//! `arch_kmap_local_pre_unmap`, `flush_cache_kmaps`), or the page would be read without, and the next page with them. With physical tags that alias there is
//! no high memory at all.

use super::Behaviour;
use core::sync::atomic::AtomicU64;
use pagewright_addr::VirtRange;
use pagewright_pagetable::{FlushScope, TlbFlush};
use pagewright_platform::DataCache;

/// What [`Kmap`](crate::highmem::Kmap) and [`KmapCpu`](crate::highmem::KmapCpu) are given instead of a TLB alone, where the cache has to be told.
#[derive(Debug)]
pub struct FlushKmaps<'c, C, T: ?Sized> {
    /// How the CPU's data cache behaves.
    pub behaviour: Behaviour,
    /// It.
    pub cache: &'c C,
    /// The TLBs.
    pub tlb: &'c mut T,
}

impl<C: DataCache, T: TlbFlush + ?Sized> TlbFlush for FlushKmaps<'_, C, T> {
    fn flush(&mut self, scope: &FlushScope) {
        self.tlb.flush(scope);
    }

    fn publish(&mut self) {
        self.tlb.publish();
    }

    fn before_unmap(&mut self, range: VirtRange) {
        if self.behaviour == Behaviour::Vivt {
            self.cache.clean_invalidate(range.start, range.len);
        }
        self.tlb.before_unmap(range);
    }

    fn is_empty64(&self, entry: &AtomicU64) -> bool {
        self.tlb.is_empty64(entry)
    }

    fn store64(&mut self, entry: &AtomicU64, word: u64) {
        self.tlb.store64(entry, word);
    }
}
