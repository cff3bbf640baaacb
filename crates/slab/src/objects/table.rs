//! What SLUB and SLAB do alike with their tables of caches.

use crate::memory::Counting;
use crate::slabs::{CacheId, SlabContext, Slot};
use pagewright_addr::NodeId;

/// A table of caches whose slabs lie on nodes.
pub(crate) trait CacheTable<'k, 'a> {
    /// What is kept of a cache.
    type Cache: 'k;

    /// The places.
    fn slots(&self) -> &'k [Slot<Self::Cache>];

    /// How many nodes have structures.
    fn nodes(&self) -> usize;

    /// Called when somebody has let a cache go that he had held.
    fn let_go(&self, cx: &SlabContext<'_, 'k, 'a>, at: usize);

    /// How many slabs of a cache are in the lists of a node.
    fn slabs_on(&self, id: CacheId, node: usize) -> u64;

    /// Pages of those of which no object is out.
    fn empty_pages_on(&self, id: CacheId, cache: &Self::Cache, node: usize) -> u64;

    /// Gives back what a cache has free; whether it has slabs yet.
    fn shrink_one(&self, cx: &SlabContext<'_, 'k, 'a>, id: CacheId) -> bool;

    /// Keeps a cache from ending as long as `f` runs, if it is not about to.
    fn holding(&self, cx: &SlabContext<'_, 'k, 'a>, at: usize, f: &mut dyn FnMut(CacheId, &Self::Cache)) {
        let slots = self.slots();
        let Some(slot) = slots.get(at) else { return };
        if slot.tenancy.hold().is_some() {
            if let Some(id) = Slot::living_at(slots, at)
                && let Some(cache) = slot.get(id)
            {
                f(id, cache);
            }
            slot.tenancy.leave();
        }
        // Its last user may have gone meanwhile, and left the end to whoever has it last.
        self.let_go(cx, at);
    }

    /// How many slabs lie on a node.
    fn all_slabs_on(&self, nid: NodeId) -> u64 {
        let (slots, node) = (self.slots(), nid.index());
        if node >= self.nodes() {
            return 0;
        }
        (0..slots.len()).filter_map(|at| Slot::living_at(slots, at)).map(|id| self.slabs_on(id, node)).sum()
    }

    /// Pages of slabs of which no object is out.
    fn all_empty_pages(&self, cx: &SlabContext<'_, 'k, 'a>) -> u64 {
        let mut pages = 0;
        for at in 0..self.slots().len() {
            self.holding(cx, at, &mut |id, cache| {
                pages += (0..self.nodes()).map(|node| self.empty_pages_on(id, cache, node)).sum::<u64>();
            });
        }
        pages
    }

    /// Shrinks caches one after the other, until at least so many pages have gone back; how many it was. Caches may come and go meanwhile.
    fn shrink_until(&self, cx: &SlabContext<'_, 'k, 'a>, most: u64) -> u64 {
        let counting = Counting::new(cx.pages);
        let cx = &SlabContext { pages: &counting, ..*cx };
        // The first caches are those whose objects the design itself uses: what others give up of them shall go with them.
        for at in (0..self.slots().len()).rev() {
            if counting.freed() >= most {
                break;
            }
            self.holding(cx, at, &mut |id, _| _ = self.shrink_one(cx, id));
        }
        counting.freed()
    }
}
