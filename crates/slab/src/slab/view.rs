//! Looking at caches: figures, and whether everything agrees.

use super::cache::SlabCache;
use super::node::NodeCache;
use super::word::{Listed, SlabWord};
use super::{Block, Layout, Slab};
use crate::memory::SlabMemory;
use crate::objects::CacheRow;
use crate::slabs::{Broken, CacheId, Slot};
use core::sync::atomic::Ordering::Relaxed;
use pagewright_page::FrameIdx;
use pagewright_platform::Interrupts;

impl<I: Interrupts, M: SlabMemory> Slab<'_, '_, I, M> {
    /// How a cache's slabs are laid out, and what its arrays hold by now; `None` if it was destroyed.
    pub fn layout(&self, id: CacheId) -> Option<Layout> {
        let cache = self.cache(id)?;
        Some(Layout { tunables: cache.tunables(), ..cache.layout })
    }

    /// A cache's figures, as slabinfo has them; `None` if it was destroyed. Objects in arrays count as active, as they do in Linux.
    pub fn row(&self, id: CacheId) -> Option<CacheRow> {
        let cache = self.cache(id)?;
        let layout = &cache.layout;
        let mut row = CacheRow::new(cache.name, layout.size, layout.objects, layout.order.pages());
        row.tunables = cache.tunables();
        for node in 0..self.nodes {
            let _quiet = self.quiet();
            let lists = self.lists_of(id, node).lock();
            let objects = lists.slabs() * u64::from(layout.objects);
            row.objects += objects;
            row.active_objects += objects - lists.free_objects.min(objects);
            row.slabs += lists.slabs();
            row.active_slabs += lists.slabs() - lists.free.len;
            row.shared_available += lists.shared.len() as u64;
        }
        Some(row)
    }

    pub(crate) fn each_cache(&self, each: &mut dyn FnMut(CacheId, &CacheRow)) {
        let _quiet = self.quiet();
        let _registry = self.registry.lock();
        for id in (0..self.space.slots.len()).rev().filter_map(|at| Slot::living_at(self.space.slots, at)) {
            if let Some(row) = self.row(id) {
                each(id, &row);
            }
        }
    }

    /// How many findings were reported.
    pub fn findings(&self) -> u64 {
        self.found.load(Relaxed)
    }

    /// The slabs of a node, with the list in which each is.
    fn listed<'l>(&'l self, lists: &'l NodeCache) -> impl Iterator<Item = (FrameIdx, Listed)> + 'l {
        let of =
            |list: &'l crate::slabs::node::List, listed| list.iter(&self.map).map(move |head| (head, listed));
        of(&lists.partial, Listed::Partial)
            .chain(of(&lists.full, Listed::Full))
            .chain(of(&lists.free, Listed::Free))
    }

    /// Calls `each` with the address of every object that its slab's list does not have.
    pub(super) fn objects_out(&self, id: CacheId, cache: &SlabCache, mut each: impl FnMut(usize)) {
        for node in 0..self.nodes {
            let _quiet = self.quiet();
            let lists = self.lists_of(id, node).lock();
            for (head, _) in self.listed(&lists) {
                let Some(base) = self.memory.address(head) else { continue };
                let block = Block { head, base };
                let word = self.word(&block);
                for number in 0..cache.layout.objects {
                    if !self.free_numbers(cache, &block, word).any(|free| free == number) {
                        each(self.object_at(cache, &block, word, number));
                    }
                }
            }
        }
    }

    /// The same of a cache by its handle; of one that was destroyed there are none.
    pub(crate) fn each_out(&self, id: CacheId, each: &mut dyn FnMut(usize)) {
        if let Some(cache) = self.cache(id) {
            self.objects_out(id, cache, each);
        }
    }

    /// Checks the lists and every slab of a cache, while nobody uses it.
    ///
    /// # Errors
    /// The first [`Broken`] slab.
    pub fn validate(&self, id: CacheId) -> Result<(), Broken> {
        let Some(cache) = self.cache(id) else { return Ok(()) };
        for node in 0..self.nodes {
            let _quiet = self.quiet();
            let lists = self.lists_of(id, node).lock();
            let (mut slabs, mut free) = (0, 0);
            for (head, listed) in self.listed(&lists) {
                let broken = |what| Err(Broken { slab: head, what });
                let Some(base) = self.memory.address(head) else { return broken("it has no memory") };
                let block = Block { head, base };
                let word = SlabWord::from_bits(self.map.data(head));
                if self.map.slab_head(head).map(|found| found.0) != Some(head)
                    || !self.is_of(id, &block)
                    || self.node_of(&block) != node
                {
                    return broken("its frames are somebody else's");
                }
                if word.listed() != listed || NodeCache::list_for(cache, word) != listed {
                    return broken("it is in the wrong list");
                }
                let numbers = || self.free_numbers(cache, &block, word);
                if numbers().any(|number| number >= cache.layout.objects) {
                    return broken("an index is none of its objects'");
                }
                if numbers().enumerate().any(|(at, number)| numbers().skip(at + 1).any(|n| n == number)) {
                    return broken("an object is free twice");
                }
                slabs += 1;
                free += numbers().count() as u64;
            }
            if slabs != lists.slabs() || free != lists.free_objects {
                return Err(Broken { slab: FrameIdx::default(), what: "the lists count otherwise" });
            }
        }
        Ok(())
    }
}
