//! How slabs' pages go, and which wait for readers before: those of caches whose objects keep their type (`SLAB_TYPESAFE_BY_RCU`).
//!
//! Whoever found such an object in a read section may look at it until the section ends, even when it was freed, and was given to somebody else
//! since: it is still an object of its cache, so what a constructor wrote and nobody changes is there. Objects are used again at once; a slab's pages
//! leave the cache only after a grace period.
//!
//! Slabs wait in two rows. Those that `arrive` have no period yet; when nothing waits, all of them begin one together. Nobody waits for them:
//! whoever frees, shrinks, destroys or polls takes those whose time has come.

use super::cache::{CacheId, Slot};
use super::cpu::SlabContext;
use super::{CreateError, Slabs};
use crate::CacheFlags;
use crate::memory::SlabMemory;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};
use pagewright_page::{FrameIdx, PageMap};
use pagewright_platform::{GracePeriods, Interrupts};
use pagewright_zone::Gfp;

/// Slabs one behind the other, by their links to the next.
#[derive(Debug, Default)]
struct Chain {
    first: Option<FrameIdx>,
    last: Option<FrameIdx>,
}

impl Chain {
    const fn new() -> Self {
        Self { first: None, last: None }
    }

    fn push(&mut self, map: &PageMap<'_>, head: FrameIdx) {
        map.set_next(head, None);
        match self.last {
            Some(last) => map.set_next(last, Some(head)),
            None => self.first = Some(head),
        }
        self.last = Some(head);
    }
}

/// All slabs that wait.
#[derive(Debug)]
pub(crate) struct Deferred {
    /// Until the readers of `period` have left.
    waiting: Chain,
    period: u64,
    /// For the next period.
    arriving: Chain,
}

impl Deferred {
    pub(crate) const fn new() -> Self {
        Self { waiting: Chain::new(), period: 0, arriving: Chain::new() }
    }

    /// One more, which is in no list.
    pub(crate) fn push(&mut self, map: &PageMap<'_>, head: FrameIdx) {
        self.arriving.push(map, head);
    }

    /// Those whose readers have left; the next period begins if it can.
    pub(crate) fn step(&mut self, grace: &dyn GracePeriods) -> Option<FrameIdx> {
        if self.waiting.first.is_none() && self.arriving.first.is_some() {
            self.waiting = core::mem::take(&mut self.arriving);
            self.period = grace.begin();
        }
        if self.waiting.first.is_some() && grace.is_over(self.period) {
            return core::mem::take(&mut self.waiting).first;
        }
        None
    }
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// From here on there can be caches whose objects keep their type (`SLAB_TYPESAFE_BY_RCU`): who reads them does so in sections that these grace
    /// periods wait for. Slabs may wait for them from then on, so others cannot take their place: whether these are the ones.
    pub const fn set_grace_periods(&mut self, grace: &'k dyn GracePeriods) -> bool {
        if self.grace.is_some() {
            return false;
        }
        self.grace = Some(grace);
        true
    }

    /// Whether a cache with these flags can be.
    pub(super) fn allows(&self, flags: CacheFlags) -> Result<(), CreateError> {
        match flags & CacheFlags::TYPESAFE_BY_RCU {
            flag if !flag.is_empty() && self.grace.is_none() => Err(CreateError::Unsupported(flag)),
            _ => Ok(()),
        }
    }

    /// Keeps an empty slab, which is in no list, until its readers have left.
    pub(super) fn defer(&self, cache: CacheId, head: FrameIdx) {
        if let Some(slot) = self.slots.get(cache.index()) {
            slot.deferred.fetch_add(1, Relaxed);
        }
        let _quiet = self.quiet();
        self.deferred.lock().push(&self.map, head);
    }

    /// Gives the pages of slabs back whose readers have left.
    pub fn reap(&self, cx: &SlabContext<'_, 'k, 'a>) {
        self.release_deferred(cx);
    }

    pub(super) fn release_deferred(&self, cx: &SlabContext<'_, '_, 'a>) {
        let Some(grace) = self.grace else { return };
        loop {
            let over = {
                let _quiet = self.quiet();
                self.deferred.lock().step(grace)
            };
            if over.is_none() {
                return;
            }
            let mut at = over;
            while let Some(head) = at {
                at = self.map.next(head);
                self.map.set_next(head, None);
                let owner = self.map.owner(head);
                self.release(cx, head);
                // Last: who sees it may end the cache.
                let at = CacheId::of_home(owner).index();
                if self.slots.get(at).is_some_and(|slot| slot.deferred.fetch_sub(1, AcqRel) == 1) {
                    self.bury_at(cx, at);
                }
            }
        }
    }

    /// How many slabs of a cache wait for readers. Who takes the last of them after this look sees what the caller has said before.
    pub(super) fn waits(slot: &Slot) -> u32 {
        slot.waits()
    }
}

impl<T> Slot<T> {
    /// How many slabs of the cache wait for readers; ordered with whoever takes the last of them.
    pub(crate) fn waits(&self) -> u32 {
        self.deferred.fetch_add(0, AcqRel)
    }
}

impl<'a, I: Interrupts, M: SlabMemory> Slabs<'_, 'a, I, M> {
    /// Gives the pages of a chain of slabs back, after their readers have left where there can be any.
    pub(crate) fn discard(&self, cx: &SlabContext<'_, '_, 'a>, cache: CacheId, mut empty: Option<FrameIdx>) {
        if empty.is_none() {
            return;
        }
        let info = self.info(cache);
        let read = info.is_some_and(|info| info.flags.contains(CacheFlags::TYPESAFE_BY_RCU));
        while let Some(head) = empty {
            empty = self.map.next(head);
            self.map.set_next(head, None);
            if let Some(info) = info.filter(|info| info.is_watched()) {
                self.check_last(info, head);
            }
            debug_assert!(self.is_of(cache, head), "the caller's slabs");
            if read { self.defer(cache, head) } else { self.release(cx, head) }
        }
        if read {
            self.release_deferred(cx);
        }
    }

    /// Gives the pages of a slab back that is in no list, and that nobody looks at.
    pub(crate) fn release(&self, cx: &SlabContext<'_, '_, 'a>, head: FrameIdx) {
        self.map.set_data(head, 0);
        let owner = self.map.owner(head);
        let info = self.info(CacheId::of_home(owner));
        let reclaimable = info.is_some_and(|info| info.gfp.contains(Gfp::RECLAIMABLE));
        let frames = self.map.withdraw_slab(head, owner);
        self.account.sub(cx.pages.node_of(head), reclaimable, frames.len());
        cx.pages.free(frames);
    }
}
