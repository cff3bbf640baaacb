//! The page allocator beside a reference model, driven by bytes: a property test's, a fuzzer's, or a seed's.
//!
//! The first byte chooses a machine; each four that follow are an operation: allocation (also of compound pages, exact numbers, by number, near a node or by a policy), free (whole or in parts), bulk allocation, pages of tenants
//! that may be moved and pinned, contiguous ranges, CMA areas, compaction, drains, memory that goes offline and comes back, injected failures. The model is a set of frames:
//! who has each. After every operation nobody has what another has, contents of pages that move are theirs, and at intervals every
//! list is validated and every frame counted. Policies are held to oracles: fallbacks to [`crate::ageing::check`], failures and successes to watermarks (a
//! request may fail only if no zone had enough; it is served by the first that has, which had enough before), contiguous ranges to what is in them.
//!
//! At the end everything goes back, and free memory is what it was.

mod hot;
mod model;
mod oracle;

use crate::ageing::check::{Rules, Violation, replay};
use crate::pages::{PlainMachine, Pluggable, Watchers, with_machine};
use hot::Hot;
pub use model::MASKS;
use model::Model;
use pagewright_addr::{NodeId, Order};
use pagewright_zone::alloc::{NoHooks, PageEvent, PageEvents, Reasons};
use pagewright_zone::buddy::{Fallback, WatchFallbacks};
use std::sync::{Mutex, PoisonError};

/// Bytes of an operation.
pub const OPERATION: usize = 4;
/// Pageblocks of all machines.
const PAGEBLOCK: Order = match Order::new(4) {
    Some(order) => order,
    None => panic!("a small order"),
};
/// How many machines there are.
pub const MACHINES: u8 = 5;

/// What was exercised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Operations.
    pub operations: u64,
    /// Requests for blocks that were served, and that failed.
    pub allocations: (u64, u64),
    /// Blocks that were compound pages, exact numbers of pages, blocks by number, blocks near a node or of all in turn, blocks of one node that a policy binds to.
    pub forms: [u64; 5],
    /// Blocks whose zone was held to the watermarks.
    pub justified: u64,
    /// Contiguous ranges, likewise.
    pub ranges: (u64, u64),
    /// CMA allocations, likewise.
    pub cma: (u64, u64),
    /// Memory blocks that went offline, and that did not.
    pub offline: (u64, u64),
    /// Pages that were moved.
    pub moved: u64,
    /// Fallbacks that were replayed.
    pub fallbacks: u64,
    /// Pages that waited to be merged after many were freed, added up.
    pub waited: u64,
}

/// Replays fallbacks as they happen, and keeps the first wrong one.
#[derive(Default)]
struct Referee(Mutex<(u64, Option<(Violation, Fallback)>)>);

impl WatchFallbacks for Referee {
    fn fallback(&self, event: &Fallback) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0 += 1;
        if let Err(violation) = replay(event, Rules { grouping: true, spares_movable: false })
            && seen.1.is_none()
        {
            seen.1 = Some((violation, *event));
        }
    }
}

impl PageEvents for Referee {
    fn event(&self, _: &PageEvent<'_>) {}
}

/// First frame of all machines.
const BASE: u64 = 0x4_0000;

fn machine(which: u8) -> PlainMachine {
    let pageblock = PAGEBLOCK;
    let plain = |frames, cpus| PlainMachine { pageblock, ..PlainMachine::new(frames, cpus) };
    match which % MACHINES {
        0 => plain(2048, 2),
        1 => PlainMachine { dma32_end: BASE + 1024, single_lists: true, ..plain(4096, 1) },
        2 => {
            let far = NodeId::new(1).unwrap_or_default();
            let ram = vec![(NodeId::ZERO, BASE, 1536), (far, BASE + 0x1000, 1024)];
            PlainMachine { ram, cpus: vec![NodeId::ZERO, far], ..plain(0, 0) }
        }
        3 => PlainMachine { cma: vec![(BASE + 1024, 1024)], ..plain(4096, 2) },
        // Whoever is at work can empty all lists.
        _ => {
            PlainMachine { plug: Pluggable { frames: hot::BLOCK, nodes: vec![] }, ..plain(4 * hot::BLOCK, 1) }
        }
    }
}

/// Runs an input.
///
/// # Panics
/// If the allocator and the model disagree.
pub fn exercise(data: &[u8]) -> Summary {
    let Some((&which, operations)) = data.split_first() else { return Summary::default() };
    let machine = machine(which);
    let referee = Referee::default();
    let lent = machine.cma.first().map_or(0, |area| area.1);
    let mut words = vec![0; lent.div_ceil(64) as usize];
    let watchers = Watchers { events: Some(&referee), ..Watchers::default() };
    let mut summary = with_machine(&machine, NoHooks, watchers, |pages, marks| {
        pages.allocator.set_events(true);
        // Fallbacks alone: the fast path stays what it is.
        (0..pages.cpus()).for_each(|cpu| _ = pages.attention(cpu).take(Reasons::EVENTS));
        let mut room = vec![];
        let hot = (machine.plug.frames > 0).then(|| Hot::new(&pages.allocator, &mut room, marks));
        let mut model = Model::new(pages, &machine, &mut words, hot);
        for operation in operations.as_chunks::<OPERATION>().0 {
            model.operation(*operation);
            let seen = referee.0.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(seen.1.is_none(), "{:?}", seen.1);
        }
        model.end()
    });
    summary.fallbacks = referee.0.into_inner().unwrap_or_else(PoisonError::into_inner).0;
    summary
}
