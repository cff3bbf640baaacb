//! Slabs of caches whose objects keep their type wait for readers before their pages go (`SLAB_TYPESAFE_BY_RCU`), as those of SLUB do
//! ([`crate::slabs::deferred`]): whoever frees a slab, shrinks, destroys, reaps or polls takes those whose time has come.

use super::Slab;
use super::cache::SlabCache;
use super::word::{PLACE_UNIT, SlabWord};
use crate::memory::SlabMemory;
use crate::slabs::{CacheId, SlabContext};
use core::sync::atomic::Ordering::{AcqRel, Relaxed};
use pagewright_page::FrameIdx;
use pagewright_platform::{GracePeriods, Interrupts};
use pagewright_zone::Gfp;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slab<'k, 'a, I, M> {
    /// From here on there can be caches whose objects keep their type: who reads them does so in sections that these grace periods wait for. Slabs may wait for
    /// them from then on, so others cannot take their place: whether these are the ones.
    pub const fn set_grace_periods(&mut self, grace: &'k dyn GracePeriods) -> bool {
        if self.grace.is_some() {
            return false;
        }
        self.grace = Some(grace);
        true
    }

    /// Gives the pages of a chain of slabs back, and the lists that they have off the slab; after their readers have left where there can be any.
    pub(super) fn discard(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
        cache: &SlabCache,
        mut empty: Option<FrameIdx>,
    ) {
        while let Some(head) = empty {
            empty = self.map.next(head);
            self.map.set_next(head, None);
            debug_assert!(CacheId::of_home(self.map.owner(head)) == id, "the caller's slabs");
            if !cache.typesafe {
                self.release(cx, cache, head);
                continue;
            }
            if let Some(slot) = self.space.slots.get(id.index()) {
                slot.deferred.fetch_add(1, Relaxed);
            }
            let _quiet = self.quiet();
            self.deferred.lock().push(&self.map, head);
        }
        if cache.typesafe {
            self.release_deferred(cx);
        }
    }

    /// Gives the pages of a slab back that is in no list and that nobody looks at, and its list.
    fn release(&self, cx: &SlabContext<'_, 'k, 'a>, cache: &SlabCache, head: FrameIdx) {
        let word = SlabWord::from_bits(self.map.data(head));
        self.map.set_data(head, 0);
        let frames = self.map.withdraw_slab(head, self.map.owner(head));
        let reclaimable = cache.gfp.contains(Gfp::RECLAIMABLE);
        self.account.sub(cx.pages.node_of(head), reclaimable, frames.len());
        cx.pages.free(frames);
        if let Some(lists) = cache.freelists {
            let (frame, unit) = word.place();
            if let Some(page) = self.memory.address(FrameIdx::new(frame)) {
                // SAFETY: it was this slab's list, which is gone.
                unsafe { self.give_back(cx, lists, &[page + unit * PLACE_UNIT]) };
            }
        }
    }

    /// Gives back what waited for readers that have left.
    pub(super) fn release_deferred(&self, cx: &SlabContext<'_, 'k, 'a>) {
        let Some(grace) = self.grace else { return };
        loop {
            let mut over = {
                let _quiet = self.quiet();
                self.deferred.lock().step(grace)
            };
            if over.is_none() {
                return;
            }
            while let Some(head) = over {
                over = self.map.next(head);
                self.map.set_next(head, None);
                let id = CacheId::of_home(self.map.owner(head));
                // A cache does not end while slabs of it wait.
                if let Some(cache) = self.cache(id) {
                    self.release(cx, cache, head);
                }
                // Last: who sees it may end the cache.
                if let Some(slot) = self.space.slots.get(id.index()) {
                    slot.deferred.fetch_sub(1, AcqRel);
                }
            }
        }
    }
}
