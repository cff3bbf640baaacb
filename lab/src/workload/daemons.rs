//! The kernel's threads that make memory: kswapd and kcompactd of each node, whenever a workload gives them a turn.

use super::drive::Machine;
use pagewright_addr::NodeId;
use pagewright_zone::alloc::{Context, ZoneCell};

/// `vm.compaction_proactiveness` as kernels start with it.
const PROACTIVENESS: u32 = 20;

/// What kswapd and kcompactd of each node do when they were woken: the former has no caches to reclaim and so asks the latter at once for
/// the block that was wanted, or for a pageblock where watermarks were raised, which it lowers again; with `nap` also what the latter does after
/// a nap, ahead of need.
pub(super) fn daemons<'m, 'a>(pages: &Machine<'_, 'm, '_, 'a, '_>, cx: &Context<'_, 'm, 'a>, nap: bool) {
    let (blocks, pageblock) = (pages.allocator.hooks(), pages.base.pageblocks().order());
    for (thread, wake) in blocks.woken() {
        let work = wake.is_some_and(|(order, highest)| {
            let order = if lower_boosts(pages, thread.nid()) { order.max(pageblock) } else { order };
            pages.allocator.wakeup_kcompactd(thread, order, highest)
        });
        if work || nap {
            pages.allocator.kcompactd(cx, *blocks, thread, PROACTIVENESS, false);
        }
    }
}

/// The end of a kswapd's round: watermarks are no longer raised. Whether any of the node's were.
fn lower_boosts(pages: &Machine<'_, '_, '_, '_, '_>, nid: NodeId) -> bool {
    let raised = |zone: &&ZoneCell<'_, '_>| zone.nid() == nid && zone.boost_pages() > 0;
    let mut any = false;
    for zone in pages.allocator.zones().iter().filter(raised) {
        pages.allocator.lower_boost(zone.id(), zone.boost_pages());
        any = true;
    }
    any
}
