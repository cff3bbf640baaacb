//! The page allocator in service on hosted machines: facts, a model, threads, and every way to fail.

mod account;
mod ageing;
mod beyond;
mod bulk;
mod cma;
mod compact;
mod compound;
mod contig;
mod debug;
mod events;
mod exact;
mod exercise;
mod facts;
mod hotplug;
mod linear;
mod lists;
mod model;
mod nth;
mod numa;
mod park;
mod parts;
mod policy;
mod reporting;
mod slow;
mod threads;
mod waiting;
mod whole;
mod zero;

use pagewright_addr::{NodeId, Order};
use pagewright_sim::pages::{Pages, PlainMachine};
use pagewright_zone::alloc::{Hooks, ZoneCell};
use pagewright_zone::buddy::{MigrateType, ZoneId};

const fn order(n: u8) -> Order {
    match Order::new(n) {
        Some(order) => order,
        None => panic!("no such order"),
    }
}

const fn node(n: u16) -> NodeId {
    match NodeId::new(n) {
        Some(nid) => nid,
        None => panic!("no such node"),
    }
}

/// One node of `mib` MiB.
fn machine(mib: u64, cpus: usize) -> PlainMachine {
    PlainMachine::new(mib << 8, cpus)
}

fn zone_ids<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>) -> Vec<ZoneId> {
    m.allocator.zones().iter().map(ZoneCell::id).collect()
}

/// buddyinfo over all types: free blocks of each order, zone by zone.
fn buddyinfo<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>) -> Vec<Vec<u64>> {
    let zone = |zone: ZoneId| m.allocator.free_areas(zone).by_order().collect();
    zone_ids(m).into_iter().map(zone).collect()
}

/// Empties the lists of every CPU.
fn drain<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>) {
    for cpu in 0..m.cpus() {
        m.on_cpu(cpu, |cx| m.allocator.drain_local_pages(cx));
    }
}

/// Empties all lists, and expects the machine to be as it was. Pageblocks that are kept for urgent allocations do not merge with
/// others; on a machine that has such, every page must be back and no block be smaller than a pageblock that was not before.
fn expect_all_back<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>, before: &[Vec<u64>]) {
    drain(m);
    assert_eq!(m.allocator.validate(), Ok(()));
    let mut now = buddyinfo(m);
    let mut before = before.to_vec();
    if m.allocator.zones().iter().any(|zone| zone.highatomic_pages() > 0) {
        // In units of pageblocks from their order on.
        let block = usize::from(m.base.pageblocks().order().get());
        let fold = |zone: &mut Vec<u64>| {
            zone[block] = zone[block..].iter().enumerate().map(|(n, blocks)| blocks << n).sum();
            zone.truncate(block + 1);
        };
        now.iter_mut().chain(&mut before).for_each(fold);
    }
    assert_eq!(now, before, "every page is back, in blocks as large as before");
}
