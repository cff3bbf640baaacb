//! Making a CPU's lists: where each GFP class is served first.

use super::fallback::Fallbacks;
use super::pcp::{CpuPages, First, ZoneFigures};
use crate::ZoneSet;
use crate::buddy::Base;
use crate::gfp::Gfp;
use pagewright_addr::NodeId;
use pagewright_page::Shelf;

impl<'m, 'a> CpuPages<'m, 'a> {
    /// The lists of a CPU of `node`: [`SHELVES`](super::pcp::SHELVES) shelves and one element of `zones` for each zone of the machine,
    /// in their order.
    pub fn of_node(
        base: &Base<'a>,
        kinds: ZoneSet,
        fallbacks: &Fallbacks<'_>,
        node: NodeId,
        shelves: &'m mut [Shelf<'m>],
        zones: &'m mut [ZoneFigures],
    ) -> Self {
        let ground = &base.ground;
        Self::new(ground, shelves, zones, |class| {
            let gfp = Gfp::from_bits_retain(class as u32);
            let highest = gfp.zone(kinds).ok()?;
            let migrate = gfp.migrate_type(ground.mobility_grouping).ok()?;
            Some(First { zone: fallbacks.first(node, highest)?.zone, migrate, highest })
        })
    }
}
