//! Which node's slabs serve a request.
//!
//! The one that is asked for, or the processor's; where that has no memory, the nearest that has, as its zonelist says. Before a slab is made for a request that names no node, another
//! node's are used that has more partial slabs than it keeps anyway, as often as the cache's `remote_node_defrag_ratio` says (`get_any_partial`). Others are asked in the order of the zonelist of the
//! node that should have served, so the nearest first.

use super::Slabs;
use super::cache::{CacheId, Info};
use super::cpu::SlabContext;
use crate::memory::{SlabMemory, zonelist};
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

impl<I: Interrupts, M: SlabMemory> Slabs<'_, '_, I, M> {
    /// The node in whose lists one looks first.
    pub(super) fn serving(&self, cx: &SlabContext<'_, '_, '_>, asked: Option<NodeId>, gfp: Gfp) -> usize {
        match asked {
            _ if self.nodes <= 1 => 0,
            Some(node) if gfp.contains(Gfp::THISNODE) => self.list_node(node.index()),
            Some(node) => self.list_node(cx.pages.memory_node(node).index()),
            None => self.here(cx),
        }
    }

    /// The node whose objects this processor keeps at hand: its own if that has memory, else the nearest that has (`numa_mem_id`).
    pub(super) fn here(&self, cx: &SlabContext<'_, '_, '_>) -> usize {
        if self.nodes <= 1 { 0 } else { self.list_node(cx.pages.memory_node(cx.node).index()) }
    }

    /// How frames of a cache's slabs there are marked.
    pub(super) fn mark_here(&self, cx: &SlabContext<'_, '_, '_>, cache: CacheId) -> u32 {
        cache.home(self.here(cx)).slab_mark()
    }

    /// Whether a cache's object lies there.
    pub(super) fn is_near(&self, cx: &SlabContext<'_, '_, '_>, cache: CacheId, address: usize) -> bool {
        self.memory.mark_of(&self.map, address) == self.mark_here(cx, cache)
    }

    /// The others, if any may serve: the nearest first, as the node's zonelist has them.
    pub(super) fn others(
        &self,
        cx: &SlabContext<'_, '_, '_>,
        node: usize,
        gfp: Gfp,
    ) -> impl Iterator<Item = usize> {
        let alone = self.nodes <= 1 || gfp.contains(Gfp::THISNODE);
        let from = NodeId::new(node as u16).filter(|_| !alone);
        let nodes = from.into_iter().flat_map(move |from| zonelist(cx.pages, from, gfp));
        nodes.map(|other| self.list_node(other.index())).filter(move |&other| other != node)
    }

    /// Those of them that have slabs to spare, if they are to be asked this time.
    pub(super) fn with_slabs_to_spare(
        &self,
        cx: &SlabContext<'_, '_, '_>,
        (cache, info): (CacheId, &Info),
        (node, gfp): (usize, Gfp),
        asked: Option<NodeId>,
        random: u64,
    ) -> impl Iterator<Item = usize> {
        let asks = self.nodes > 1 && asked.is_none() && info.knobs.goes_elsewhere(random);
        let others = asks.then(|| self.others(cx, node, gfp)).into_iter().flatten();
        others.filter(move |&other| {
            let _quiet = self.quiet();
            self.lists_of(cache, other).lock().partial.len > info.knobs.min_partial()
        })
    }
}
