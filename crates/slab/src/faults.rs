//! Allocations that fail because a test says so.

use crate::slabs::SlabError;
use crate::slabs::cpu::{Requests, SlabCpu};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Which allocation from now on is to fail, and how many there were.
#[derive(Debug)]
pub(crate) struct Faults {
    asked: AtomicU32,
    /// 1 is the next, 0 is none.
    at: AtomicU32,
}

impl Faults {
    /// None.
    pub(crate) const fn none() -> Self {
        Self { asked: AtomicU32::new(0), at: AtomicU32::new(0) }
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

    /// Whether an allocation goes on.
    pub(crate) fn pass(&self) -> Result<(), SlabError> {
        let at = self.at.load(Relaxed);
        if at != 0 && self.asked.fetch_add(1, Relaxed) + 1 == at {
            return Err(SlabError::Injected);
        }
        Ok(())
    }
}
