//! How many pages objects take, by node and by whether reclaim can ask for them back: what vmstat, meminfo and zoneinfo count as slabs' (NR_SLAB_RECLAIMABLE_B,
//! NR_SLAB_UNRECLAIMABLE_B). Slabs count from the page allocator to the page allocator, those that wait for readers too; so do kmalloc's blocks of pages.

use crate::slab::MOST_NODES;
use core::ops::{Add, Deref};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use pagewright_addr::NodeId;

/// Pages that objects take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SlabPages {
    /// Of caches with [`CacheFlags::RECLAIM_ACCOUNT`](crate::CacheFlags::RECLAIM_ACCOUNT): shrinkers can give them back (`nr_slab_reclaimable`).
    pub reclaimable: u64,
    /// All others (`nr_slab_unreclaimable`).
    pub unreclaimable: u64,
}

impl SlabPages {
    /// Both.
    pub const fn all(&self) -> u64 {
        self.reclaimable + self.unreclaimable
    }
}

impl Add for SlabPages {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            reclaimable: self.reclaimable + other.reclaimable,
            unreclaimable: self.unreclaimable + other.unreclaimable,
        }
    }
}

/// The counters of a machine. Those of nodes beyond the last that slabs tell apart are the last's.
///
/// Each design has some; who is asked how many pages there are before there is a design, or while it is out of reach (the page allocator's hooks, which report a
/// failure), brings these ([`Objects::count_in`](crate::objects::Objects::count_in)).
#[derive(Debug)]
pub struct SlabCounters {
    nodes: [[AtomicUsize; 2]; MOST_NODES],
}

impl SlabCounters {
    /// No pages yet.
    pub const fn new() -> Self {
        Self { nodes: [const { [const { AtomicUsize::new(0) }; 2] }; MOST_NODES] }
    }

    fn counter(&self, node: NodeId, reclaimable: bool) -> &AtomicUsize {
        &self.nodes[node.index().min(MOST_NODES - 1)][usize::from(reclaimable)]
    }

    /// So many pages of a node became slabs.
    pub(crate) fn add(&self, node: NodeId, reclaimable: bool, pages: u64) {
        self.counter(node, reclaimable).fetch_add(pages as usize, Relaxed);
    }

    /// So many go back.
    pub(crate) fn sub(&self, node: NodeId, reclaimable: bool, pages: u64) {
        self.counter(node, reclaimable).fetch_sub(pages as usize, Relaxed);
    }

    /// What there is on a node now.
    pub fn of(&self, node: NodeId) -> SlabPages {
        let count = |reclaimable| self.counter(node, reclaimable).load(Relaxed) as u64;
        match node.index() {
            ..MOST_NODES => SlabPages { reclaimable: count(true), unreclaimable: count(false) },
            _ => SlabPages::default(),
        }
    }
}

impl Default for SlabCounters {
    fn default() -> Self {
        Self::new()
    }
}

/// A design's counters: its own, or those that somebody brought.
#[derive(Debug)]
pub(crate) struct Account<'k> {
    own: SlabCounters,
    lent: Option<&'k SlabCounters>,
}

impl<'k> Account<'k> {
    pub(crate) const fn new() -> Self {
        Self { own: SlabCounters::new(), lent: None }
    }

    /// Counts there from now on, what was counted before included.
    pub(crate) fn count_in(&mut self, counters: &'k SlabCounters) {
        for (from, to) in self.nodes.iter().flatten().zip(counters.nodes.iter().flatten()) {
            to.fetch_add(from.swap(0, Relaxed), Relaxed);
        }
        self.lent = Some(counters);
    }
}

impl Deref for Account<'_> {
    type Target = SlabCounters;

    fn deref(&self) -> &SlabCounters {
        self.lent.unwrap_or(&self.own)
    }
}

#[cfg(test)]
mod tests;
