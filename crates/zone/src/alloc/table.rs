//! A CPU's lists: where each GFP class is served first, and how that changes while the machine runs.

use super::fallback::Fallbacks;
use super::pcp::{CpuPages, First, ZoneFigures};
use super::{Context, Hooks, PageAllocator, Reasons};
use crate::ZoneSet;
use crate::buddy::{Base, Ground};
use crate::gfp::Gfp;
use core::sync::atomic::{Ordering::Acquire, fence};
use pagewright_addr::NodeId;
use pagewright_page::Shelf;
use pagewright_platform::Interrupts;

/// Where a class is served first on a CPU of `node`.
fn first_of(
    ground: &Ground<'_>,
    kinds: ZoneSet,
    fallbacks: &Fallbacks<'_>,
    node: NodeId,
    class: usize,
) -> Option<First> {
    let gfp = Gfp::from_bits_retain(class as u32);
    let highest = gfp.zone(kinds).ok()?;
    let migrate = gfp.migrate_type(ground.mobility_grouping).ok()?;
    Some(First { zone: fallbacks.first(node, highest)?.zone, migrate, highest })
}

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
        Self::new(ground, shelves, zones, |class| first_of(ground, kinds, fallbacks, node, class))
    }
}

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// Does what others asked this CPU for: gives its lists back, and looks anew where memory is. An interrupt handler that finds the lists in
    /// use leaves it to what it interrupted.
    pub(super) fn answer(&self, cx: &Context<'_, 'm, 'a>) {
        let posted = cx.cpu.shared().reasons();
        if !posted.intersects(Reasons::DRAIN | Reasons::ZONES) {
            return;
        }
        let Some(mut own) = cx.cpu.enter() else { return };
        if posted.contains(Reasons::DRAIN) {
            self.answer_drain(cx, &mut own);
        }
        if cx.cpu.shared().take(Reasons::ZONES) {
            fence(Acquire);
            let ground = &self.ground;
            own.lead(|class| first_of(ground, self.kinds, &self.fallbacks, cx.node, class));
            for cell in self.zones {
                own.resize(cell.id(), cell.pageset(), cell.asked.reclaim_is_active());
            }
        }
    }
}
