//! Which node served whom: the numbers of /sys/devices/system/node/node*/numastat.
//!
//! Nearly every allocation is served by the node it began with, on a CPU of that node, from a list that counts what it serves. So
//! only the exceptions are counted here, and the rest is derived.

use super::{Hooks, PageAllocator, ZoneCell};
use crate::buddy::ZoneId;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use pagewright_addr::NodeId;
use pagewright_page::Frames;
use pagewright_platform::{Interrupts, WithoutInterrupts};

/// Exceptions of one zone.
#[derive(Debug, Default)]
pub(super) struct NumaEvents {
    miss: AtomicU64,
    foreign: AtomicU64,
    interleave_hit: AtomicU64,
    other: AtomicU64,
}

impl NumaEvents {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }

    /// An interleaved allocation came from the node whose turn it was.
    pub(super) fn count_interleave_hit(&self) {
        Self::add(&self.interleave_hit, 1);
    }
}

/// What Linux counts for each zone and adds up by node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NumaStat {
    /// Allocations that began here and were served here.
    pub hit: u64,
    /// Served here although they began at another node.
    pub miss: u64,
    /// Began here and were served by another node.
    pub foreign: u64,
    /// Interleaved allocations that were served by the node whose turn it was, this one.
    pub interleave_hit: u64,
    /// Served here to a CPU of this node.
    pub local: u64,
    /// Served here to a CPU of another node.
    pub other: u64,
}

impl NumaStat {
    /// The names and values, in the order of numastat.
    pub fn rows(&self) -> [(&'static str, u64); 6] {
        [
            ("numa_hit", self.hit),
            ("numa_miss", self.miss),
            ("numa_foreign", self.foreign),
            ("interleave_hit", self.interleave_hit),
            ("local_node", self.local),
            ("other_node", self.other),
        ]
    }

    /// Both together: a node's numbers are those of its zones.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            hit: self.hit + other.hit,
            miss: self.miss + other.miss,
            foreign: self.foreign + other.foreign,
            interleave_hit: self.interleave_hit + other.interleave_hit,
            local: self.local + other.local,
            other: self.other + other.other,
        }
    }
}

impl<'s, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, '_, 's, 'a, I, H> {
    /// Counts `n` allocations that took the slower way and were served by `cell` (`zone_statistics`).
    pub(super) fn count_numa(&self, cell: &ZoneCell<'s, 'a>, preferred: ZoneId, here: NodeId, n: u64) {
        if cell.nid() != here {
            NumaEvents::add(&cell.numa.other, n);
        }
        let Some(wanted) = self.zones.get(preferred.index()).filter(|wanted| wanted.nid() != cell.nid())
        else {
            return;
        };
        NumaEvents::add(&cell.numa.miss, n);
        NumaEvents::add(&wanted.numa.foreign, n);
    }

    /// Notes where an allocation came from whose turn it was to come from `nid`.
    pub(crate) fn count_interleaved(&self, frames: &Frames<'a>, nid: NodeId) {
        let zone = self.ground.blocks.zone_of(frames.start());
        let cell = zone.and_then(|zone| self.zones.get(zone.index()));
        if let Some(cell) = cell.filter(|cell| cell.nid() == nid) {
            cell.numa.count_interleave_hit();
        }
    }

    /// How many allocations a zone served under its lock, past the CPUs' lists, and how many pages they got.
    pub(super) fn direct(&self, cell: &ZoneCell<'s, 'a>) -> (u64, u64) {
        let _quiet = WithoutInterrupts::new(&self.interrupts);
        cell.lists.lock().direct()
    }

    /// A zone's numbers. `served` is how often the lists of all CPUs served allocations from it
    /// ([`CpuPages::served`](super::CpuPages::served)), which only each CPU itself can tell.
    pub fn numa_stat(&self, zone: ZoneId, served: u64) -> NumaStat {
        let Some(cell) = self.zones.get(zone.index()) else { return NumaStat::default() };
        let events = &cell.numa;
        let (miss, other) = (events.miss.load(Relaxed), events.other.load(Relaxed));
        let all = served + self.direct(cell).0;
        NumaStat {
            hit: all.saturating_sub(miss),
            miss,
            foreign: events.foreign.load(Relaxed),
            interleave_hit: events.interleave_hit.load(Relaxed),
            local: all.saturating_sub(other),
            other,
        }
    }
}
