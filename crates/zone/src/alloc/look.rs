//! What those who build on the page allocator need to know of the machine below it.

use super::flags::AllocFlags;
use super::{Context, Hooks, PageAllocator};
use crate::gfp::Gfp;
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

    /// The node that a request with this mask, starting on `from`, tries after `tried`, as the zonelist has them: `from` itself first if it has memory, then by distance. Nodes that the task's
    /// cpuset keeps it from are left out, and those without a zone that the mask allows; `None` after the last. Where memory comes or goes between two questions, a node may be named twice or not at
    /// all.
    pub fn node_after(
        &self,
        cx: &Context<'_, '_, 'a>,
        from: NodeId,
        tried: Option<NodeId>,
        gfp: Gfp,
    ) -> Option<NodeId> {
        let highest = gfp.zone(self.kinds).ok()?;
        let mut nodes = self.fallbacks.of(from).filter(|zone| zone.kind <= highest).map(|zone| zone.nid);
        if let Some(tried) = tried {
            nodes.find(|&nid| nid == tried)?;
        }
        nodes.find(|&nid| Some(nid) != tried && cx.allows(nid, gfp, AllocFlags::CPUSET))
    }

    /// The node of a frame, if it is in a zone.
    pub fn node_of(&self, idx: FrameIdx) -> Option<NodeId> {
        let zone = self.ground.blocks.zone_of(idx)?;
        self.zones.get(zone.index()).map(super::ZoneCell::nid)
    }
}
