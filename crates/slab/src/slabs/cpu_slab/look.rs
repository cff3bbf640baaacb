//! Slabs that are in no list: found by walking through the page metadata, checked, counted.

use super::CpuSlab;
use crate::memory::SlabMemory;
use crate::slabs::Slabs;
use crate::slabs::cache::{CacheId, Info};
use crate::slabs::shared::Slab;
use crate::slabs::view::Broken;
use crate::slabs::word::{Listed, SlabWord};
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use pagewright_page::FrameIdx;
use pagewright_platform::Interrupts;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// A cache's slabs on a node that are in no list, but for those that wait for readers.
    pub(crate) fn slabs_apart<'i>(
        &'i self,
        cache: CacheId,
        node: usize,
    ) -> impl Iterator<Item = (Slab, SlabWord)> + 'i {
        let frames = if self.has_cpu_slabs() { self.map.len() as usize } else { 0 };
        (0..frames).filter_map(FrameIdx::from_usize).filter_map(move |idx| {
            if !self.is_of(cache, idx) {
                return None;
            }
            let (head, order) = self.map.slab_head(idx).filter(|&(head, _)| head == idx)?;
            let word = SlabWord::from_bits(self.map.data_word(head).load(Acquire));
            let apart = matches!(word.listed(), Listed::Frozen | Listed::Nowhere);
            let kept = word.listed() == Listed::Frozen || word.out() > 0;
            if !apart || !kept || word.node() != node {
                return None;
            }
            Some((self.slab(head, order)?, word))
        })
    }

    /// Checks a cache's slabs on a node that are in no list, while nobody uses it: how many, and their objects.
    pub(crate) fn validate_apart(
        &self,
        cache: CacheId,
        info: &Info,
        node: usize,
    ) -> Result<(u64, u64), Broken> {
        let (mut slabs, mut objects) = (0, 0);
        for (slab, word) in self.slabs_apart(cache, node) {
            let broken = |what| Err(Broken { slab: slab.head, what });
            let all = self.objects_of(info, &slab);
            let free = self.free_list(info, &slab, word).count() as u32;
            if self.free_list(info, &slab, word).any(|free| free.is_err()) {
                return broken("a link leads nowhere");
            }
            if free + word.out() != all {
                return broken("objects are missing");
            }
            let having = |cpu: &&CpuSlab| cpu.place().0 == slab.base;
            let mut owners = self.cpu_slabs(cache).filter(having);
            if let Some(cpu) = owners.next() {
                let first = word.with_first_free(cpu.list.read().first());
                let own = self.free_list(info, &slab, first);
                let Some(own) = own.map(Result::ok).collect::<Option<Count>>() else {
                    return broken("a link of the processor's list leads nowhere");
                };
                if own.0 > word.out() {
                    return broken("a processor has more of it than there is");
                }
                if word.listed() != Listed::Frozen || owners.next().is_some() {
                    return broken("it is not one processor's");
                }
            } else if word.listed() == Listed::Frozen && free == 0 {
                return broken("it is frozen, and nobody has it");
            }
            slabs += 1;
            objects += u64::from(all);
        }
        Ok((slabs, objects))
    }

    /// The processors' parts of a cache.
    fn cpu_slabs(&self, cache: CacheId) -> impl Iterator<Item = &'k CpuSlab> {
        self.cpus.iter().filter_map(move |cpu| cpu.slabs().slabs.get(cache.index()))
    }

    /// How many partial slabs a processor has of a cache.
    pub(crate) fn count_cpu_partial(&self, cache: CacheId, cpu: usize) -> u64 {
        let part = self.cpus.get(cpu).and_then(|cpu| cpu.slabs().slabs.get(cache.index()));
        part.map_or(0, |part| part.partial_slabs.load(Relaxed).into())
    }

    /// How many slabs of a node processors have of a cache: to take from, and to go on with, all of which are taken to lie where the first does.
    pub(crate) fn count_cpu_slabs(&self, cache: CacheId, node: usize) -> u64 {
        let on = |head: FrameIdx| SlabWord::from_bits(self.map.data_word(head).load(Relaxed)).node() == node;
        let mut counted = 0;
        for cpu in self.cpu_slabs(cache) {
            counted += u64::from(self.slab_of(cpu).is_some_and(|slab| on(slab.head)));
            let first =
                cpu.partial.load(Relaxed).checked_sub(1).and_then(|idx| FrameIdx::from_usize(idx as usize));
            if first.is_some_and(on) {
                counted += u64::from(cpu.partial_slabs.load(Relaxed));
            }
        }
        counted
    }
}

/// How many items there were.
struct Count(u32);

impl FromIterator<usize> for Count {
    fn from_iter<T: IntoIterator<Item = usize>>(items: T) -> Self {
        Self(items.into_iter().count() as u32)
    }
}
