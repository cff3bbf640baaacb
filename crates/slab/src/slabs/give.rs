//! Objects come back to their slabs, and slabs go that are empty and too many, under the lock of a node's lists.

use super::Slabs;
use super::cache::{CacheId, Info};
use super::cpu::SlabContext;
use super::node::NodeSlabs;
use super::report::Damage;
use super::shared::Slab;
use super::word::{Listed, SlabWord};
use crate::memory::SlabMemory;
use pagewright_page::FrameIdx;
use pagewright_platform::Interrupts;

impl<'a, I: Interrupts, M: SlabMemory> Slabs<'_, 'a, I, M> {
    /// Gives objects back to their slabs, and slabs to the page allocator that are empty and too many. What is no object of the cache, or
    /// free already, is reported and left alone.
    ///
    /// # Safety
    /// Nobody uses the objects, and each is either nobody's or no object that somebody else has.
    pub(crate) unsafe fn give_back(
        &self,
        cx: &SlabContext<'_, '_, 'a>,
        cache: CacheId,
        info: &Info,
        mut objects: &[usize],
    ) {
        while let Some(&next) = objects.first() {
            let Some(mut slab) = self.slab_at(next).filter(|slab| self.is_of(cache, slab.head)) else {
                self.report(Damage::NotAllocated, Some(info), next);
                objects = &objects[1..];
                continue;
            };
            let node = self.word(&slab).node();
            let mut empty = None;
            let quiet = self.quiet();
            let mut lists = self.lists_of(cache, node).lock();
            loop {
                // SAFETY: as the caller says.
                let (taken, word) = unsafe { self.take_in(info, &slab, objects) };
                self.settle(info, &mut lists, &slab, word, &mut empty);
                objects = &objects[taken..];
                let Some(other) = objects.first().and_then(|&next| self.slab_at(next)) else { break };
                if !self.is_of(cache, other.head) || self.word(&other).node() != node {
                    break;
                }
                slab = other;
            }
            drop(lists);
            drop(quiet);
            self.discard(cx, cache, empty);
        }
    }

    /// Puts the first of these objects into a slab's list, as many as lie in it one after the other, under its lock: how many, and the word
    /// by then.
    ///
    /// # Safety
    /// As for [`Self::give_back`].
    #[inline(always)]
    pub(super) unsafe fn take_in(&self, info: &Info, slab: &Slab, objects: &[usize]) -> (usize, SlabWord) {
        let (word, places, slab) = (self.word(slab), info.places, *slab);
        let mut first = word.first_free().map_or(0, |offset| offset + 1);
        let (mut taken, mut back, out) = (0, 0, word.out() as usize);
        while taken < objects.len() {
            // As many as are in order, which is all of them; none can be too many.
            let run = objects[taken..].iter().take(out - back);
            let before = taken;
            for &address in run {
                let offset = address.wrapping_sub(slab.base);
                if !places.is_inside(offset, slab.bytes) || first == offset + 1 {
                    break;
                }
                // SAFETY: an object of the slab, not in its list, and nobody's, as the caller says.
                unsafe { self.set_link(&places, &slab, offset, first) };
                first = offset + 1;
                taken += 1;
            }
            back += taken - before;
            let Some(&address) = objects.get(taken) else { break };
            let offset = address.wrapping_sub(slab.base);
            if offset >= slab.bytes {
                break;
            }
            let known = places.is_inside(offset, slab.bytes);
            let damage = if known { Damage::DoubleFree } else { Damage::InvalidPointer };
            self.report(damage, Some(info), address);
            taken += 1;
        }
        (taken, word.take_back(back as u32).with_first_free(first.checked_sub(1)))
    }

    /// Stores a slab's word after objects came back, with the slab in the list where it belongs, or among those that are given up.
    pub(super) fn settle(
        &self,
        info: &Info,
        lists: &mut NodeSlabs,
        slab: &Slab,
        mut word: SlabWord,
        empty: &mut Option<FrameIdx>,
    ) {
        if word.listed() == Listed::Nowhere {
            // It was given up and waits for readers; what came back had been freed before, and was refused.
            return;
        }
        if word.first_free().is_some() {
            word = lists.relist(&self.map, slab.head, word, Listed::Partial);
        }
        self.set_word(slab, word);
        if word.out() == 0 && lists.partial.len > info.knobs.min_partial() {
            self.give_up(info, lists, slab, word, empty);
        }
    }

    /// Takes an empty slab out of the lists and puts it before `empty`, a chain of such.
    pub(crate) fn give_up(
        &self,
        info: &Info,
        lists: &mut NodeSlabs,
        slab: &Slab,
        word: SlabWord,
        empty: &mut Option<FrameIdx>,
    ) {
        let word = lists.relist(&self.map, slab.head, word, Listed::Nowhere);
        lists.objects -= u64::from(info.objects(self.map.word(slab.head).order()));
        self.set_word(slab, word);
        self.map.set_next(slab.head, *empty);
        *empty = Some(slab.head);
    }
}
