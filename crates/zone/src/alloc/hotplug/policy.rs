//! Which zone memory goes to when it comes online (`zone_for_pfn_range`).

use super::{Hooks, MemoryBlocks, PageAllocator};
use crate::ZoneKind;
use core::fmt;
use pagewright_addr::{NodeId, PfnRange};
use pagewright_platform::Interrupts;

/// What is asked for when a block is brought online.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OnlineType {
    /// Whatever the policy says (`online`).
    Online,
    /// A zone that the kernel itself can use (`online_kernel`).
    Kernel,
    /// ZONE_MOVABLE (`online_movable`).
    Movable,
}

impl OnlineType {
    /// As it is written to `memoryN/state` and `auto_online_blocks`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Kernel => "online_kernel",
            Self::Movable => "online_movable",
        }
    }

    /// Reads it.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Online, Self::Kernel, Self::Movable].into_iter().find(|how| how.name() == text.trim_end())
    }
}

impl fmt::Display for OnlineType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the zone is chosen where nobody asks for one (`memory_hotplug.online_policy`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum OnlinePolicy {
    /// The zone that the frames lie in already, the kernel's if in doubt (`contig-zones`).
    #[default]
    ContigZones,
    /// ZONE_MOVABLE as long as that stays in proportion to what the kernel can use (`auto-movable`).
    AutoMovable {
        /// Percent of the kernel's memory that may be movable (`auto_movable_ratio`, 301 at first).
        ratio: u64,
        /// Each node must be in proportion as well (`auto_movable_numa_aware`, so at first).
        numa_aware: bool,
    },
}

impl OnlinePolicy {
    /// `auto-movable` as it is at first.
    pub const AUTO_MOVABLE: Self = Self::AutoMovable { ratio: 301, numa_aware: true };
}

impl<'a, I: Interrupts, H: Hooks> PageAllocator<'_, '_, '_, 'a, I, H> {
    /// The kind of zone that frames of a node would go to.
    pub fn zone_for_pfn_range(
        &self,
        blocks: &MemoryBlocks<'_, '_>,
        nid: NodeId,
        pfns: PfnRange,
        how: OnlineType,
    ) -> ZoneKind {
        let kernel = self.default_kernel_zone(nid, pfns);
        match (how, blocks.policy) {
            (OnlineType::Kernel, _) => kernel,
            (OnlineType::Movable, _) => ZoneKind::Movable,
            (OnlineType::Online, OnlinePolicy::ContigZones) => {
                let (in_kernel, in_movable) =
                    (self.intersects(nid, kernel, pfns), self.intersects(nid, ZoneKind::Movable, pfns));
                let movable = if in_kernel == in_movable { blocks.movable_node } else { in_movable };
                if movable { ZoneKind::Movable } else { kernel }
            }
            (OnlineType::Online, OnlinePolicy::AutoMovable { ratio, numa_aware }) => {
                let fits = |of: Option<NodeId>| self.can_online_movable(of, pfns.len(), ratio);
                let movable = ratio > 0 && fits(None) && (!numa_aware || fits(Some(nid)));
                if movable { ZoneKind::Movable } else { kernel }
            }
        }
    }

    /// The zones that a block can be online in, the one it is in or would be in first (`memoryN/valid_zones`).
    pub fn valid_zones(&self, blocks: &MemoryBlocks<'_, '_>, number: u64) -> impl Iterator<Item = ZoneKind> {
        let pfns = blocks.pfns(number);
        let mut kinds = [None; 3];
        if let Some(block) = blocks.block(number) {
            if block.online {
                kinds[0] = block.zone.and_then(|zone| Some(self.zones.get(zone.index())?.kind()));
            } else {
                let types = [OnlineType::Online, OnlineType::Kernel, OnlineType::Movable];
                kinds = types.map(|how| Some(self.zone_for_pfn_range(blocks, block.nid, pfns, how)));
            }
        }
        let first = kinds[0];
        kinds
            .into_iter()
            .enumerate()
            .filter(move |&(n, kind)| n == 0 || kind != first)
            .filter_map(|(_, kind)| kind)
    }

    /// The lowest zone below Normal in which the frames lie, or Normal.
    fn default_kernel_zone(&self, nid: NodeId, pfns: PfnRange) -> ZoneKind {
        let below = self.kinds.iter().filter(|&kind| kind < ZoneKind::Normal);
        below.into_iter().find(|&kind| self.intersects(nid, kind, pfns)).unwrap_or(ZoneKind::Normal)
    }

    /// Whether frames lie between a zone's first and last.
    fn intersects(&self, nid: NodeId, kind: ZoneKind, pfns: PfnRange) -> bool {
        self.cell_of(nid, kind).is_some_and(|cell| cell.pfns().overlaps(&pfns))
    }

    /// Whether so many movable pages more are in proportion, on a node or on all (`auto_movable_can_online_movable`). Memory of CMA areas serves movable
    /// pages.
    fn can_online_movable(&self, nid: Option<NodeId>, pages: u64, ratio: u64) -> bool {
        let (mut kernel, mut movable) = (0u64, pages);
        for cell in self.zones.iter().filter(|cell| nid.is_none_or(|nid| cell.nid() == nid)) {
            let (present, cma) = (cell.present_pages(), self.with_zone(cell, |z| z.cma_pages()));
            if cell.kind() == ZoneKind::Movable {
                movable += present;
            } else {
                // What came later may go again, and is no base for more.
                kernel += cell.early_pages().min(present).saturating_sub(cma);
                movable += cma;
            }
        }
        u128::from(movable) * 100 <= u128::from(kernel) * u128::from(ratio)
    }
}
