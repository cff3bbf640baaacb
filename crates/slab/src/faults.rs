//! Allocations that fail because a test says so.

use crate::slabs::SlabError;
use crate::slabs::cpu::{Requests, SlabCpu};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Which allocation from now on is to fail, and how many there were.
#[derive(Debug)]
pub(crate) struct Faults {
    asked: AtomicU32,
    /// 1 is the next, 0 is none.
    at: AtomicU32,
    /// Whether only caches that are marked count.
    marked: AtomicBool,
}

impl Faults {
    /// None.
    pub(crate) const fn none() -> Self {
        Self { asked: AtomicU32::new(0), at: AtomicU32::new(0), marked: AtomicBool::new(false) }
    }

    /// The `n`-th from now on; processors are sent the way that asks, or no longer.
    pub(crate) fn set(&self, n: u32, cpus: &[SlabCpu<'_>]) {
        self.asked.store(0, Relaxed);
        self.at.store(n, Relaxed);
        for cpu in cpus {
            if n == 0 {
                cpu.requests().take(Requests::FAULT);
            } else {
                cpu.requests().post(Requests::FAULT);
            }
        }
    }

    /// Whether only caches that are marked count, and fail.
    pub(crate) fn only_marked(&self, only: bool) {
        self.marked.store(only, Relaxed);
    }

    /// Whether an allocation goes on; `marked` is whether it is for a cache that is.
    pub(crate) fn pass_for(&self, marked: bool) -> Result<(), SlabError> {
        if self.marked.load(Relaxed) && !marked { Ok(()) } else { self.pass() }
    }

    /// Whether an allocation goes on, whatever it is for.
    pub(crate) fn pass(&self) -> Result<(), SlabError> {
        let at = self.at.load(Relaxed);
        if at != 0 && self.asked.fetch_add(1, Relaxed) + 1 == at {
            return Err(SlabError::Injected);
        }
        Ok(())
    }
}
