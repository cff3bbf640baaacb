//! vmalloc where the data cache has to be told of aliases.
//!
//! A page of an area is in the linear map as well. With a cache that aliases, what was stored through one address is not seen through the other, so
//! kernels write the cache back whenever an area is mapped (`flush_cache_vmap`) and before it is unmapped (`flush_cache_vunmap`). [`OnCached`] is
//! a context that does so around any other; whose cache does not alias uses the other as it is, and pays nothing.

use super::VmContext;
use crate::dcache::Behaviour;
use pagewright_addr::{NodeId, Order};
use pagewright_page::{FrameIdx, Frames};
use pagewright_pagetable::FlushScope;
use pagewright_platform::DataCache;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::AllocFailure;

/// A context on a CPU whose data cache behaves like that. Caches that alias are those of machines with one CPU: no other is told.
#[derive(Debug)]
pub struct OnCached<'o, C, D> {
    /// Everything else.
    pub on: &'o mut C,
    /// The CPU's cache.
    pub cache: &'o D,
    /// What of it decides.
    pub behaviour: Behaviour,
}

impl<'a, C: VmContext<'a>, D: DataCache> VmContext<'a> for OnCached<'_, C, D> {
    fn cpu(&self) -> usize {
        self.on.cpu()
    }

    fn alloc(&mut self, node: Option<NodeId>, gfp: Gfp, order: Order) -> Result<Frames<'a>, AllocFailure> {
        self.on.alloc(node, gfp, order)
    }

    fn alloc_listed(&mut self, node: Option<NodeId>, gfp: Gfp, order: Order) -> Option<Frames<'a>> {
        self.on.alloc_listed(node, gfp, order)
    }

    fn alloc_bulk(&mut self, node: Option<NodeId>, gfp: Gfp, slots: &mut [Option<Frames<'a>>]) -> usize {
        self.on.alloc_bulk(node, gfp, slots)
    }

    fn alloc_runs(
        &mut self,
        node: Option<NodeId>,
        gfp: Gfp,
        pages: u64,
        slots: &mut [Option<Frames<'a>>],
    ) -> usize {
        self.on.alloc_runs(node, gfp, pages, slots)
    }

    fn free(&mut self, frames: impl Iterator<Item = Frames<'a>>) {
        self.on.free(frames);
    }

    fn node_of(&self, idx: FrameIdx) -> NodeId {
        self.on.node_of(idx)
    }

    fn flush(&mut self, scope: &FlushScope) {
        self.on.flush(scope);
    }

    /// New entries are an area's that nobody has yet: what its pages hold is written back, so that it is found there.
    fn publish(&mut self) {
        self.on.publish();
        self.behaviour.flush_cache_vmap(self.cache);
    }

    fn before_unmap(&mut self) {
        self.behaviour.flush_cache_vunmap(self.cache);
        self.on.before_unmap();
    }
}
