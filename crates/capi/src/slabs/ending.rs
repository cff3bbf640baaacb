//! Caches that C has destroyed while readers may look at what were their objects (SLAB_TYPESAFE_BY_RCU): they end when the readers have left.
//!
//! There is a place for each cache, so one is always found. [`Service::end_left`] looks at them: it is called by whatever gives memory back, and before a
//! cache is made, which may need the place of one of them.

use super::caches::remains;
use super::{Allocator, At, Service};
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_slab::CacheId;
use pagewright_slab::slabs::DestroyError;

/// Caches that wait for their end, as numbers; 0 is none.
pub(super) type Ending = [AtomicU32];

impl Service {
    /// Whether C has destroyed this cache already.
    pub(super) fn is_ending(&self, id: CacheId) -> bool {
        self.ending.iter().any(|place| place.load(Relaxed) == id.to_raw())
    }

    /// Keeps a cache that nobody uses any more until its readers have left.
    pub(super) fn end_later(&self, id: CacheId) {
        if let Some(place) = self.ending.iter().find(|place| place.load(Relaxed) == 0) {
            place.store(id.to_raw(), Relaxed);
        }
    }

    /// Ends those whose readers have left.
    pub(super) fn end_left(&self, slabs: &Allocator<'_>, cx: &At<'_>) {
        for place in self.ending {
            let Some(id) = CacheId::from_raw(place.load(Relaxed)).filter(|_| place.load(Relaxed) != 0) else {
                continue;
            };
            // SAFETY: C uses it no more since it called `kmem_cache_destroy`, which put it here.
            match unsafe { slabs.destroy(cx, id) } {
                Err(DestroyError::Readers { .. }) => continue,
                Err(why) => remains(slabs, id, why),
                Ok(_) => {}
            }
            place.store(0, Relaxed);
        }
    }
}
