//! Which ranges of a tree are being changed.
//!
//! A few slots hold the ranges, under one short spin lock: taking a range compares it with all of them. Nothing waits
//! here: a range that is taken is an error that says so, and the caller's scheduler decides what to do.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use pagewright_addr::{VirtAddr, VirtRange};

/// Ranges that can be held at once.
const SLOTS: usize = 16;

/// Why a range was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockError {
    /// Another cursor holds a part of it: this range.
    Busy(VirtRange),
    /// There are too many cursors.
    TooMany,
    /// The range is empty.
    Empty,
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(r) => write!(f, "another cursor holds {r:?}"),
            Self::TooMany => write!(f, "there are {SLOTS} cursors already"),
            Self::Empty => f.write_str("expected a range with at least one address"),
        }
    }
}

impl core::error::Error for LockError {}

/// The ranges that are held: first and last address; free slots have the last below the first.
#[derive(Debug)]
pub(crate) struct RangeLocks {
    busy: AtomicBool,
    slots: [(AtomicU64, AtomicU64); SLOTS],
}

impl RangeLocks {
    pub(crate) const fn new() -> Self {
        Self {
            busy: AtomicBool::new(false),
            slots: [const { (AtomicU64::new(1), AtomicU64::new(0)) }; SLOTS],
        }
    }

    /// Takes a range, or says who holds a part of it.
    pub(crate) fn lock(&self, range: VirtRange) -> Result<RangeGuard<'_>, LockError> {
        if range.is_empty() {
            return Err(LockError::Empty);
        }
        let (start, last) = (range.start.get(), range.last().get());
        self.locked(|| {
            let mut free = None;
            for (slot, (first, end)) in self.slots.iter().enumerate() {
                let (s, l) = (first.load(Ordering::Relaxed), end.load(Ordering::Relaxed));
                if s > l {
                    free = free.or(Some(slot));
                } else if s <= last && start <= l {
                    let len = (l - s).saturating_add(1);
                    return Err(LockError::Busy(VirtRange { start: VirtAddr::new(s), len }));
                }
            }
            let slot = free.ok_or(LockError::TooMany)?;
            self.slots[slot].0.store(start, Ordering::Relaxed);
            self.slots[slot].1.store(last, Ordering::Relaxed);
            Ok(RangeGuard { locks: self, slot })
        })
    }

    /// Runs `work` while no one else looks at the slots.
    fn locked<T>(&self, work: impl FnOnce() -> T) -> T {
        while self.busy.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            core::hint::spin_loop();
        }
        let result = work();
        self.busy.store(false, Ordering::Release);
        result
    }
}

/// The right to a range; it ends with the value.
pub(crate) struct RangeGuard<'t> {
    locks: &'t RangeLocks,
    slot: usize,
}

impl Drop for RangeGuard<'_> {
    fn drop(&mut self) {
        self.locks.locked(|| {
            self.locks.slots[self.slot].0.store(1, Ordering::Relaxed);
            self.locks.slots[self.slot].1.store(0, Ordering::Relaxed);
        });
    }
}
