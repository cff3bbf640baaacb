//! Slabs between processors and nodes: taken from a node's list (`get_partial_node`), made, deactivated (`deactivate_slab`), given back (`unfreeze_partials`).

use super::CpuSlab;
use super::frozen::{self, Chain};
use crate::memory::SlabMemory;
use crate::slabs::Slabs;
use crate::slabs::cache::{CacheId, Info};
use crate::slabs::cpu::SlabContext;
use crate::slabs::node::NodeSlabs;
use crate::slabs::shared::Slab;
use crate::slabs::word::{Listed, SlabWord};
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::NodeId;
use pagewright_page::FrameIdx;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// Gives a processor that has no slab the first partial one of a node, and more to go on with: until it has half as many as it may.
    pub(super) fn take_partial_slabs(
        &self,
        cache: CacheId,
        info: &Info,
        node: usize,
        cpu: &CpuSlab,
    ) -> Option<Slab> {
        let _quiet = self.quiet();
        let mut lists = self.lists_of(cache, node).lock();
        let mut taken = None;
        while let Some(head) = lists.partial.first()
            && let Some(slab) = self.slab(head, self.map.word(head).order())
        {
            lists.partial.remove(&self.map, head);
            lists.apart += 1;
            let first =
                frozen::freeze(self.map.data_word(head), self.objects_of(info, &slab), taken.is_none());
            if taken.is_none() {
                cpu.set_slab(Some(&slab));
                cpu.list.replace(first);
                taken = Some(slab);
            } else {
                self.push_partial(cpu, head);
            }
            let most = info.knobs.cpu_partial_slabs();
            if most == 0 || cpu.partial_slabs.load(Relaxed) > most / 2 {
                break;
            }
        }
        taken
    }

    /// One object of a node's partial slabs.
    pub(super) fn take_one_partial(&self, cache: CacheId, info: &Info, node: usize) -> Option<usize> {
        let _quiet = self.quiet();
        let mut lists = self.lists_of(cache, node).lock();
        let head = lists.partial.first()?;
        let slab = self.slab(head, self.map.word(head).order())?;
        let mut listed = true;
        let next = |offset| self.next_free_or_end(info, &slab, offset);
        let taken = frozen::take_one(self.map.data_word(head), next, || {
            // Before the word says so: whoever frees the next object then may put it into the list of partial slabs.
            if core::mem::take(&mut listed) {
                lists.partial.remove(&self.map, head);
                lists.apart += 1;
            }
        });
        let (offset, word) = taken?;
        if !listed && word.listed() == Listed::Partial {
            lists.apart -= 1;
            lists.partial.push_front(&self.map, head);
        }
        Some(slab.base + offset)
    }

    /// A new slab, frozen, with all of its objects in a list that is the caller's: its first.
    pub(super) fn new_frozen(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        info: &Info,
        at: (Option<NodeId>, Gfp, u64),
    ) -> Option<(Slab, usize)> {
        let new = self.link_slab(cx, cache, info, at, &mut [])?;
        let node = NodeId::new(new.node as u16).unwrap_or_default();
        self.set_word(&new.slab, SlabWord::new(node, new.objects).with_listed(Listed::Frozen));
        let _quiet = self.quiet();
        let mut lists = self.lists_of(cache, new.node).lock();
        lists.objects += u64::from(new.objects);
        lists.apart += 1;
        Some((new.slab, new.first?))
    }

    /// The processor gives its slab up, and what it has of its objects.
    pub(super) fn deactivate(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        info: &Info,
        cpu: &CpuSlab,
    ) {
        let Some(slab) = self.slab_of(cpu) else { return };
        let first = cpu.list.replace(None);
        cpu.set_slab(None);
        self.put_back(cx, cache, info, &slab, first);
    }

    /// The processor gives its partial slabs up.
    pub(super) fn unfreeze_partials(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        info: &Info,
        cpu: &CpuSlab,
    ) {
        while let Some(slab) = self.pop_partial(cpu) {
            self.put_back(cx, cache, info, &slab, None);
        }
    }

    /// Makes a frozen slab nobody's, with the objects of it that the caller has in a list.
    pub(super) fn put_back(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        info: &Info,
        slab: &Slab,
        first: Option<usize>,
    ) {
        let chain = first.map(|first| self.chain(info, slab, first));
        let word = self.map.data_word(slab.head);
        if chain.is_none() && frozen::unfreeze_full(word) {
            return;
        }
        let mut empty = None;
        {
            let _quiet = self.quiet();
            let mut lists = self.lists_of(cache, self.word(slab).node()).lock();
            let link = |last, next: Option<usize>| {
                // SAFETY: the last of the chain, whose objects are free and the caller's alone.
                unsafe { self.set_link(&info.places, slab, last, next.map_or(0, |next| next + 1)) };
            };
            let (seen, new) = frozen::unfreeze(word, chain, link);
            // What others have freed to it is not in this processor's cache.
            self.list_again(info, &mut lists, slab, new, seen.first_free().is_some(), &mut empty);
        }
        self.discard(cx, cache, empty);
    }

    /// The objects that hang together, from the first on: as far as links lead, and as many as there can be.
    fn chain(&self, info: &Info, slab: &Slab, first: usize) -> Chain {
        let mut chain = Chain { first, last: first, count: 1 };
        let most = self.objects_of(info, slab);
        while chain.count < most
            && let Some(next) = self.next_free_or_end(info, slab, chain.last)
        {
            chain.last = next;
            chain.count += 1;
        }
        chain
    }

    /// Puts a slab that is in no list into that of partial ones, if its word says that it is one; among those that are given up if it is empty and too many.
    pub(super) fn list_again(
        &self,
        info: &Info,
        lists: &mut NodeSlabs,
        slab: &Slab,
        word: SlabWord,
        last: bool,
        empty: &mut Option<FrameIdx>,
    ) {
        if word.listed() != Listed::Partial {
            return;
        }
        lists.apart -= 1;
        match last {
            true => lists.partial.push_back(&self.map, slab.head),
            false => lists.partial.push_front(&self.map, slab.head),
        }
        if word.out() == 0 && lists.partial.len > info.knobs.min_partial() {
            self.give_up(info, lists, slab, word, empty);
        }
    }
}
