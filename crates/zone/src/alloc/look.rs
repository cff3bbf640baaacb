//! What those who build on the page allocator need to know of the machine below it.

use super::{Hooks, PageAllocator};
use pagewright_addr::NodeId;
use pagewright_page::{FrameIdx, PageMap};
use pagewright_platform::Interrupts;

impl<'a, I: Interrupts, H: Hooks> PageAllocator<'_, '_, '_, 'a, I, H> {
    /// The map of all frames.
    pub fn map(&self) -> &PageMap<'a> {
        &self.ground.map
    }

    /// The node that serves a node (`node_to_mem_node`): itself if it has memory that the kernel sees at all times, else the nearest that has; `None` for no node of this machine.
    pub fn memory_node(&self, nid: NodeId) -> Option<NodeId> {
        self.fallbacks.first(nid, crate::ZoneKind::Normal).map(|candidate| candidate.nid)
    }

    /// The node of a frame, if it is in a zone.
    pub fn node_of(&self, idx: FrameIdx) -> Option<NodeId> {
        let zone = self.ground.blocks.zone_of(idx)?;
        self.zones.get(zone.index()).map(super::ZoneCell::nid)
    }
}
