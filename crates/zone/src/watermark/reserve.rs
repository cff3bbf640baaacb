//! Lowmem protection and the pages that count as reserved.

use super::{Watermarks, ZoneMarks};
use crate::kind::ZoneKind;
use pagewright_addr::NodeId;

impl Watermarks<'_> {
    /// Protects lower zones from allocations that could use higher ones (`setup_per_zone_lowmem_reserve`): each zone
    /// holds back a fraction of what the zones above it, on its node, manage. A zone above that is empty still shows the
    /// protection of those between.
    pub fn setup_lowmem_reserve(&mut self) {
        let kinds = self.tunables.zones;
        for i in 0..self.zones.len() {
            let ZoneMarks { nid, kind, managed, .. } = self.zones[i];
            let ratio = self.tunables.lowmem_reserve_ratio[kind.index()];
            let mut above = 0;
            for upper in kinds.iter().filter(|&k| k > kind) {
                above += self.zone(nid, upper).map_or(0, |z| z.managed);
                self.zones[i].lowmem_reserve[upper.index()] =
                    if ratio == 0 || managed == 0 { 0 } else { above / ratio };
            }
        }
    }

    /// Pages of a node that no user allocation gets (`totalreserve_pages` of the node): in each zone the largest
    /// protection and the high watermark, but no more than it manages.
    pub fn node_totalreserve_pages(&self, nid: NodeId) -> u64 {
        self.zones.iter().filter(|z| z.nid == nid).map(reserved).sum()
    }

    /// The same over all nodes (`totalreserve_pages`), used by overcommit accounting.
    pub fn totalreserve_pages(&self) -> u64 {
        self.zones.iter().map(reserved).sum()
    }

    /// `ratio` percent of what a node manages, zone by zone: `min_unmapped_pages` (`vm.min_unmapped_ratio`, 1) and
    /// `min_slab_pages` (`vm.min_slab_ratio`, 5) of node reclaim.
    pub fn node_percentage(&self, nid: NodeId, ratio: u64) -> u64 {
        self.zones.iter().filter(|z| z.nid == nid).map(|z| z.managed * ratio / 100).sum()
    }

    /// A zone's protection as zoneinfo lists it: one number for each configured zone, lowest first.
    pub fn protection(&self, zone: &ZoneMarks) -> impl Iterator<Item = u64> {
        let reserve = zone.lowmem_reserve;
        self.tunables.zones.iter().map(move |k: ZoneKind| reserve[k.index()])
    }
}

fn reserved(z: &ZoneMarks) -> u64 {
    let protection = z.lowmem_reserve.iter().copied().max().unwrap_or(0);
    (protection + z.high).min(z.managed)
}
