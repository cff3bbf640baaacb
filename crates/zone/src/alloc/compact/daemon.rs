//! kcompactd: the thread of each node that compacts so that allocations need not.
//!
//! The embedder runs the thread. It sleeps for as long as [`PageAllocator::kcompactd`] says or until
//! [`PageAllocator::wakeup_kcompactd`] says that there is work, and calls the former again.

use super::super::extfrag::ScoreMarks;
use super::super::migrate::{Migrate, MigrateMode};
use super::super::{AllocFlags, Context, Hooks, PageAllocator};
use super::state::{COMPACT_MAX_DEFER_SHIFT, add};
use super::{Control, Outcome};
use crate::ZoneKind;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use pagewright_addr::{NodeId, Order};
use pagewright_platform::Interrupts;

/// How often a node's fragmentation is looked at (HPAGE_FRAG_CHECK_INTERVAL_MSEC).
const INTERVAL_MSEC: u32 = 500;

/// What a node's thread is asked for. Requests are posted from anywhere; the thread alone takes them.
#[derive(Debug)]
pub struct Kcompactd {
    nid: NodeId,
    /// The largest order that was asked for; 0 is nothing (`kcompactd_max_order`).
    max_order: AtomicU8,
    /// The highest zone that will do for all who asked (`kcompactd_highest_zoneidx`).
    highest: AtomicU8,
}

/// How long the thread may sleep if nobody wakes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nap {
    /// Milliseconds.
    pub msec: u32,
}

impl Kcompactd {
    /// A node's, with nothing to do.
    pub const fn new(nid: NodeId) -> Self {
        Self { nid, max_order: AtomicU8::new(0), highest: AtomicU8::new(ZoneKind::Device as u8) }
    }

    /// The node.
    pub const fn nid(&self) -> NodeId {
        self.nid
    }

    /// The largest order that was asked for, if any.
    pub fn wanted(&self) -> Option<Order> {
        Order::new(self.max_order.load(Relaxed)).filter(|order| !order.is_zero())
    }
}

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// Asks for blocks of an order in the zones of a node up to `highest` (`wakeup_kcompactd`): kswapd does so when it has made
    /// memory. Whether the thread should be woken: some zone can be helped.
    pub fn wakeup_kcompactd(&self, thread: &Kcompactd, order: Order, highest: ZoneKind) -> bool {
        if order.is_zero() {
            return false;
        }
        thread.max_order.fetch_max(order.get(), Relaxed);
        thread.highest.fetch_min(highest as u8, Relaxed);
        let (order, highest) = (thread.wanted().unwrap_or(order), wanted_zone(thread));
        self.zones.iter().filter(|cell| cell.nid() == thread.nid && cell.kind() <= highest).any(|cell| {
            self.zone_compaction_suitable(cell, order, AllocFlags::WMARK_MIN, highest) == Outcome::Continue
        })
    }

    /// What the thread does when it was woken, or has slept long enough: what was asked for, or else, where
    /// `vm.compaction_proactiveness` says so and kswapd is not at work, some compaction ahead of need.
    pub fn kcompactd(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        thread: &Kcompactd,
        proactiveness: u32,
        kswapd_runs: bool,
    ) -> Nap {
        let nap = Nap { msec: INTERVAL_MSEC };
        if let Some(order) = thread.wanted() {
            self.kcompactd_work(cx, mover, thread, order);
            return nap;
        }
        if kswapd_runs || !self.should_compact_proactively(thread.nid, proactiveness) {
            return nap;
        }
        let before = self.node_score(thread.nid);
        for cell in self.zones.iter().filter(|cell| cell.nid() == thread.nid) {
            let mut cc = Control {
                whole_zone: true,
                ignore_skip: true,
                aim: Some(ScoreMarks::new(proactiveness).low),
                ..Control::new(None, MigrateMode::SyncLight)
            };
            self.compact_zone(cx, mover, cell, &mut cc);
        }
        self.drain_local_pages(cx);
        // In vain: leave it alone for a while.
        if self.node_score(thread.nid) >= before {
            return Nap { msec: INTERVAL_MSEC << COMPACT_MAX_DEFER_SHIFT };
        }
        nap
    }

    /// `kcompactd_do_work`.
    fn kcompactd_work(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        thread: &Kcompactd,
        order: Order,
    ) {
        let highest = wanted_zone(thread);
        add(&self.compacting.daemon_wake, 1);
        for cell in self.zones.iter().filter(|cell| cell.nid() == thread.nid && cell.kind() <= highest) {
            let flags = AllocFlags::WMARK_MIN;
            if cell.compact.is_deferred(order)
                || self.zone_compaction_suitable(cell, order, flags, highest) != Outcome::Continue
            {
                continue;
            }
            let mut cc = Control { flags, highest, ..Control::new(Some(order), MigrateMode::SyncLight) };
            match self.compact_zone(cx, mover, cell, &mut cc) {
                Outcome::Success => cell.compact.defer_reset(order, false),
                Outcome::Complete | Outcome::PartialSkipped => {
                    // Blocks may form of what lies on CPUs' lists.
                    self.drain_all(cx, Some(cell.id()));
                    cell.compact.defer(order);
                }
                _ => {}
            }
        }
        // Larger requests that came meanwhile stay.
        let done = order.get();
        let _ =
            thread.max_order.fetch_update(Relaxed, Relaxed, |now| Some(if now <= done { 0 } else { now }));
        if thread.wanted().is_none() {
            thread.highest.store(ZoneKind::Device as u8, Relaxed);
        }
    }
}

fn wanted_zone(thread: &Kcompactd) -> ZoneKind {
    let at = usize::from(thread.highest.load(Relaxed));
    ZoneKind::ALL.get(at).copied().unwrap_or(ZoneKind::Device)
}
