//! The machine that is shown.

use pagewright::{Boot, Running};
use pagewright_addr::{NodeId, Order};
use pagewright_zone::ZoneKind;
use pagewright_zone::buddy::{BuddyZone, ZoneId};
use pagewright_zone::layout::NodeLayout;

/// A machine whose page allocator serves.
///
/// It stands right after its initcalls: nothing runs on it yet. What a running system would count (cache, faults,
/// page-table pages) is shown as zero.
#[derive(Clone, Copy)]
pub struct State<'b, 'z, 's, 'p, 'a> {
    /// The state that the boot built.
    pub boot: &'b Boot<'a>,
    /// The page allocator with its watermarks.
    pub running: &'b Running<'z, 's, 'p>,
}

impl<'b, 's, 'p> State<'b, '_, 's, 'p, '_> {
    /// The online nodes in order.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &'b NodeLayout> + use<'b> {
        let (nodes, online) =
            (self.boot.layout.as_ref().map_or(&[][..], |l| l.nodes()), self.boot.nodes_online);
        nodes.iter().filter(move |n| n.possible && online.contains(n.nid))
    }

    /// The kernel's zone kinds in order.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = ZoneKind> + use<> {
        self.running.watermarks.tunables.zones.iter()
    }

    pub(crate) fn buddy_zone(&self, nid: NodeId, kind: ZoneKind) -> Option<(ZoneId, &BuddyZone<'s, 'p>)> {
        let id = self.running.buddy.find(nid, kind)?;
        Some((id, &self.running.buddy.zones()[id.index()]))
    }

    pub(crate) fn page_kib(&self) -> u64 {
        self.boot.page_bytes() >> 10
    }

    pub(crate) fn orders(&self) -> impl Iterator<Item = Order> + use<> {
        (0..=self.running.buddy.largest_order().get()).filter_map(Order::new)
    }

    /// A sum over all zones.
    pub(crate) fn sum(&self, count: impl Fn(&BuddyZone<'s, 'p>) -> u64) -> u64 {
        self.running.buddy.zones().iter().map(count).sum()
    }

    /// A sum over all zones of one kind.
    pub(crate) fn sum_of(&self, kind: ZoneKind, count: impl Fn(&BuddyZone<'s, 'p>) -> u64) -> u64 {
        self.running.buddy.zones().iter().filter(|z| z.kind() == kind).map(count).sum()
    }
}
