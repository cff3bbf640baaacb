//! What can be tuned while the allocator runs, and watermarks that are raised for a while.
//!
//! When an allocation takes a part of another type's pageblock, memory is getting fragmented. The zone's watermarks then
//! rise by a pageblock each time, up to a share of the high mark, so that kswapd frees more and the next allocations find whole blocks.
//! kswapd lowers them when it has done so; where there is none, nothing is raised.

use super::flags::AllocFlags;
use super::hooks::{Hooks, Step};
use super::{PageAllocator, ZoneCell};
use crate::buddy::{BuddyZone, ZoneId};
use crate::policy::Weights;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use pagewright_addr::{NodeId, Order};
use pagewright_platform::Interrupts;

/// Nodes farther away than this do not reclaim for each other (RECLAIM_DISTANCE).
const RECLAIM_DISTANCE: u8 = 30;

/// Switches of a running allocator, by their names under /proc/sys/vm.
#[derive(Debug)]
pub struct Tuning {
    boost_factor: AtomicU32,
    node_reclaim_mode: AtomicU32,
    weights: Weights,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            boost_factor: AtomicU32::new(15_000),
            node_reclaim_mode: AtomicU32::new(0),
            weights: Weights::new(),
        }
    }
}

impl Tuning {
    /// How far watermarks may rise, in parts of 10,000 of the high mark (`watermark_boost_factor`).
    pub fn watermark_boost_factor(&self) -> u32 {
        self.boost_factor.load(Relaxed)
    }

    /// Sets it; 0 raises nothing.
    pub fn set_watermark_boost_factor(&self, factor: u32) {
        self.boost_factor.store(factor, Relaxed);
    }

    /// What near nodes are asked for before farther ones are used (`zone_reclaim_mode`): bit 0 unmapped cache pages, bit 1
    /// dirty ones too, bit 2 mapped ones. Any bit turns it on.
    pub fn node_reclaim_mode(&self) -> u32 {
        self.node_reclaim_mode.load(Relaxed)
    }

    /// Sets it; 0 turns it off.
    pub fn set_node_reclaim_mode(&self, mode: u32) {
        self.node_reclaim_mode.store(mode & 7, Relaxed);
    }

    /// How many pages in a row each node gets from weighted interleaving.
    pub const fn weights(&self) -> &Weights {
        &self.weights
    }
}

impl ZoneCell<'_, '_> {
    /// By how much the watermarks are raised (`watermark_boost`).
    pub fn boost_pages(&self) -> u64 {
        self.boost.load()
    }
}

impl<'m, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, 's, 'a, I, H> {
    /// What can be tuned.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// Whether Movable pageblocks are spared: before pages that cannot move enter one, the smallest block that serves is taken from the other
    /// type that moves as little (Reclaimable for Unmovable, and the other way around). Off at first: Linux takes the largest block there is, in
    /// the hope to get its whole pageblock. A page more in a block that has immovable ones already does less harm than one in a block
    /// that could be freed as a whole; for that whoever comes next may have to fall back sooner.
    pub fn set_spares_movable_blocks(&self, on: bool) {
        for cell in self.zones {
            self.with_zone(cell, |zone| zone.spares_movable = on);
        }
    }

    /// Whether a zone's node reclaims for allocations that began at another (`zone_allows_reclaim`).
    pub(super) fn near(&self, from: NodeId, to: NodeId) -> bool {
        self.hooks.node_distance(from, to) <= RECLAIM_DISTANCE
    }

    /// Under a zone's lock, after a block was chosen: raises the watermarks if that mixed types (`boost_watermark`). Returns whether it did.
    pub(super) fn boost(
        &self,
        cell: &ZoneCell<'s, 'a>,
        zone: &mut BuddyZone<'s, 'a>,
        flags: AllocFlags,
    ) -> bool {
        if !zone.take_mixed() || !self.hooks.has_kswapd() {
            return false;
        }
        let (factor, block) = (self.tuning.watermark_boost_factor(), self.ground.blocks.order().pages());
        let most = cell.high_pages() * u64::from(factor) / 10_000;
        // On a small machine a pageblock is too much to keep free.
        if factor == 0 || most == 0 || 4 * block > zone.managed_pages() {
            return false;
        }
        cell.boost.store((cell.boost_pages() + block).min(most.max(block)));
        if flags.contains(AllocFlags::KSWAPD) {
            cell.boosted.store(true, Relaxed);
        }
        true
    }

    /// After the lock was given back: tells kswapd of a boost.
    pub(super) fn tell_boost(&self, cell: &ZoneCell<'s, 'a>, flags: AllocFlags, boosted: bool) {
        if boosted {
            self.hooks.step(Step::Boost(cell.id()));
        }
        if flags.contains(AllocFlags::KSWAPD)
            && cell.boosted.load(Relaxed)
            && cell.boosted.swap(false, Relaxed)
        {
            self.hooks.wake_kswapd(cell.nid(), Order::ZERO, cell.kind());
        }
    }

    /// Lowers a zone's watermarks by what kswapd freed because of the boost (the end of `balance_pgdat`).
    pub fn lower_boost(&self, zone: ZoneId, pages: u64) {
        if let Some(cell) = self.zones.get(zone.index()) {
            self.with_zone(cell, |_| cell.boost.store(cell.boost_pages().saturating_sub(pages)));
        }
    }
}
