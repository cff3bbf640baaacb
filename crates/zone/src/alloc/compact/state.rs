//! What a zone remembers between compactions, and when a failed one is put off.

#[cfg(test)]
mod tests;

use super::super::migrate::MigrateMode;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use pagewright_addr::Order;

/// Compaction that failed is put off for at most 2 to the power of this many requests (COMPACT_MAX_DEFER_SHIFT).
pub const COMPACT_MAX_DEFER_SHIFT: u32 = 6;

/// One zone's. Hints only: whoever reads a stale one scans in vain or too much, nothing worse, so no lock is needed.
#[derive(Debug)]
pub struct CompactState {
    /// Where the migration scanner goes on, asynchronous and other compactions apart (`compact_cached_migrate_pfn`).
    migrate: [AtomicU64; 2],
    /// Where the free scanner does (`compact_cached_free_pfn`).
    free: AtomicU64,
    considered: AtomicU32,
    defer_shift: AtomicU32,
    order_failed: AtomicU32,
    /// The scanners met: the hints that pass blocks over should go (`compact_blockskip_flush`).
    pub(super) flush: AtomicBool,
    /// Whether the positions were ever set.
    placed: AtomicBool,
}

impl CompactState {
    /// Of a zone that was never compacted.
    pub(in crate::alloc) const fn new() -> Self {
        Self {
            migrate: [const { AtomicU64::new(0) }; 2],
            free: AtomicU64::new(0),
            considered: AtomicU32::new(0),
            defer_shift: AtomicU32::new(0),
            order_failed: AtomicU32::new(0),
            flush: AtomicBool::new(false),
            placed: AtomicBool::new(false),
        }
    }

    /// Requests that were put off since the last failure (`compact_considered`).
    pub fn considered(&self) -> u32 {
        self.considered.load(Relaxed)
    }

    /// How many are, as a power of two (`compact_defer_shift`).
    pub fn defer_shift(&self) -> u32 {
        self.defer_shift.load(Relaxed)
    }

    /// The smallest order that is put off (`compact_order_failed`).
    pub fn order_failed(&self) -> u32 {
        self.order_failed.load(Relaxed)
    }

    /// Compaction for this order failed: the next ones wait twice as long (`defer_compaction`).
    pub(in crate::alloc) fn defer(&self, order: Order) {
        self.considered.store(0, Relaxed);
        self.defer_shift.store((self.defer_shift() + 1).min(COMPACT_MAX_DEFER_SHIFT), Relaxed);
        self.order_failed.fetch_min(order.get().into(), Relaxed);
    }

    /// Whether compaction for this order is put off once more (`compaction_deferred`).
    pub(in crate::alloc) fn is_deferred(&self, order: Order) -> bool {
        if u32::from(order.get()) < self.order_failed() {
            return false;
        }
        let limit = 1 << self.defer_shift();
        let now = self.considered() + 1;
        self.considered.store(now.min(limit), Relaxed);
        now < limit
    }

    /// A block of this order is free, or, with `allocated`, was had (`compaction_defer_reset`).
    pub(in crate::alloc) fn defer_reset(&self, order: Order, allocated: bool) {
        if allocated {
            self.considered.store(0, Relaxed);
            self.defer_shift.store(0, Relaxed);
        }
        if u32::from(order.get()) >= self.order_failed() {
            self.order_failed.store(u32::from(order.get()) + 1, Relaxed);
        }
    }

    /// Whether this is the first try after the longest wait (`compaction_restarting`).
    pub(super) fn is_restarting(&self, order: Order) -> bool {
        u32::from(order.get()) >= self.order_failed()
            && self.defer_shift() == COMPACT_MAX_DEFER_SHIFT
            && self.considered() >= 1 << self.defer_shift()
    }

    /// Both scanners begin at the zone's ends (`reset_cached_positions`).
    pub(super) fn reset(&self, ends: (u64, u64)) {
        self.migrate.iter().for_each(|at| at.store(ends.0, Relaxed));
        self.free.store(ends.1, Relaxed);
        self.placed.store(true, Relaxed);
    }

    /// Where the scanners of a mode go on; at the ends if they have not begun or the zone has shrunk since.
    pub(super) fn positions(&self, mode: MigrateMode, ends: (u64, u64)) -> (u64, u64) {
        if !self.placed.load(Relaxed) {
            self.reset(ends);
        }
        let inside = |at: u64, or: u64| if (ends.0..=ends.1).contains(&at) { at } else { or };
        let migrate = self.migrate[usize::from(mode != MigrateMode::Async)].load(Relaxed);
        (inside(migrate, ends.0), inside(self.free.load(Relaxed), ends.1))
    }

    /// There is nothing to move below `at`, as this mode sees it (`update_cached_migrate`).
    pub(super) fn passed_migrate(&self, mode: MigrateMode, at: u64) {
        self.migrate[0].fetch_max(at, Relaxed);
        if mode != MigrateMode::Async {
            self.migrate[1].fetch_max(at, Relaxed);
        }
    }

    /// There is nothing free from `at` on.
    pub(super) fn passed_free(&self, at: u64) {
        self.free.fetch_min(at, Relaxed);
    }

    /// Free pages above the free scanner came back.
    pub(super) fn returned_free(&self, at: u64) {
        self.free.fetch_max(at, Relaxed);
    }
}

/// What compaction did since the boot, by vmstat's names.
#[derive(Debug, Default)]
pub struct CompactEvents {
    pub(super) migrate_scanned: AtomicU64,
    pub(super) free_scanned: AtomicU64,
    pub(super) isolated: AtomicU64,
    pub(in crate::alloc) stall: AtomicU64,
    pub(in crate::alloc) fail: AtomicU64,
    pub(in crate::alloc) success: AtomicU64,
    pub(super) daemon_wake: AtomicU64,
    pub(super) daemon_migrate_scanned: AtomicU64,
    pub(super) daemon_free_scanned: AtomicU64,
}

impl CompactEvents {
    /// The counters, in vmstat's order.
    pub fn all(&self) -> [(&'static str, u64); 9] {
        [
            ("compact_migrate_scanned", &self.migrate_scanned),
            ("compact_free_scanned", &self.free_scanned),
            ("compact_isolated", &self.isolated),
            ("compact_stall", &self.stall),
            ("compact_fail", &self.fail),
            ("compact_success", &self.success),
            ("compact_daemon_wake", &self.daemon_wake),
            ("compact_daemon_migrate_scanned", &self.daemon_migrate_scanned),
            ("compact_daemon_free_scanned", &self.daemon_free_scanned),
        ]
        .map(|(name, count)| (name, count.load(Relaxed)))
    }

    /// One of them; 0 for a name that is none.
    pub fn get(&self, name: &str) -> u64 {
        self.all().into_iter().find(|(n, _)| *n == name).map_or(0, |(_, count)| count)
    }
}

pub(in crate::alloc) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}
