//! Giving empty slabs back under pressure, while caches come and go.

use super::Slabs;
use super::cache::{CacheId, Info};
use super::cpu::SlabContext;
use super::word::SlabWord;
use crate::memory::{Counting, SlabMemory};
use core::sync::atomic::Ordering::SeqCst;
use pagewright_platform::Interrupts;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// Keeps a cache from ending as long as `f` runs, if it is not about to.
    fn holding(&self, cx: &SlabContext<'_, 'k, 'a>, at: usize, f: impl FnOnce(CacheId, &Info)) {
        let Some((cache, slot)) = self.hold(at) else { return };
        if let Some(info) = self.info(cache) {
            f(cache, info);
        }
        slot.attached.fetch_sub(1, SeqCst);
        // Its last user may have gone meanwhile, and left the end to whoever has it last.
        self.bury_at(cx, at);
    }

    /// How many slabs of a cache lie on a node.
    pub(crate) fn slabs_on(&self, cache: CacheId, node: usize) -> u64 {
        if node >= self.nodes {
            return 0;
        }
        let _quiet = self.quiet();
        self.lists_of(cache, node).lock().slabs()
    }

    /// Pages of slabs of which no object is out, and as many as the objects in barns take.
    pub(crate) fn empty_pages(&self, cx: &SlabContext<'_, 'k, 'a>) -> u64 {
        let mut pages = self.kept_in_barns() as u64 / self.slub.page_shift.bytes();
        for at in 0..self.slots.len() {
            self.holding(cx, at, |cache, _| {
                for node in 0..self.nodes {
                    let _quiet = self.quiet();
                    let lists = self.lists_of(cache, node).lock();
                    let empty = |&head: &_| SlabWord::from_bits(self.map.data(head)).out() == 0;
                    let slabs = lists.partial.iter(&self.map).filter(empty);
                    pages += slabs.map(|head| self.map.word(head).order().pages()).sum::<u64>();
                }
            });
        }
        pages
    }

    /// Gives back what caches have free, one after the other as in [`Self::shrink`], until it is at least so many pages; how many it was.
    pub(crate) fn shrink_all(&self, cx: &SlabContext<'_, 'k, 'a>, most: u64) -> u64 {
        let counting = Counting::new(cx.pages);
        let cx = &SlabContext { pages: &counting, ..*cx };
        // The cache of rooms is the first: what others give up of it shall go with it.
        for at in (0..self.slots.len()).rev() {
            if counting.freed() >= most {
                break;
            }
            self.holding(cx, at, |cache, _| _ = self.shrink(cx, cache));
        }
        counting.freed()
    }
}
