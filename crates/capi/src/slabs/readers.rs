//! Readers of objects that keep their type (`SLAB_TYPESAFE_BY_RCU`), for C.
//!
//! One thread at a time uses the library, so there is one reader, whose sections lie one inside the other. A grace period is over when the outermost section
//! that was open when it began has ended; then a slab's pages go with the next free that empties one, a shrink, or a reap.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_platform::GracePeriods;

/// The reader's sections. Nobody but the one thread comes here, so what is atomic is so for the sake of the type alone.
pub(super) struct Sections {
    /// The last grace period that began.
    period: AtomicU64,
    /// How many sections are open.
    depth: AtomicU64,
    /// The last grace period that had begun when the outermost of them did.
    since: AtomicU64,
}

pub(super) static SECTIONS: Sections =
    Sections { period: AtomicU64::new(0), depth: AtomicU64::new(0), since: AtomicU64::new(0) };

impl Sections {
    fn lock(&self) {
        if self.depth.fetch_add(1, Relaxed) == 0 {
            self.since.store(self.period.load(Relaxed), Relaxed);
        }
    }

    /// Whether a section was open.
    fn unlock(&self) -> bool {
        let depth = self.depth.load(Relaxed);
        self.depth.store(depth.saturating_sub(1), Relaxed);
        depth > 0
    }
}

// SAFETY: a section is open from `lock` to its `unlock`, and all of them are one thread's (crate head), so what was done in them happened before whatever
// that thread does later. A period is over only while no section is open, or when the outermost began after it.
unsafe impl GracePeriods for Sections {
    fn begin(&self) -> u64 {
        self.period.fetch_add(1, Relaxed) + 1
    }

    fn is_over(&self, period: u64) -> bool {
        self.depth.load(Relaxed) == 0 || self.since.load(Relaxed) >= period
    }
}

/// Begins a section in which objects of caches with SLAB_TYPESAFE_BY_RCU may be looked at that others may free meanwhile (`rcu_read_lock`); sections may lie inside
/// each other.
#[unsafe(no_mangle)]
pub extern "C" fn pagewright_rcu_read_lock() {
    SECTIONS.lock();
}

/// Ends it (`rcu_read_unlock`). Returns whether one was open.
#[unsafe(no_mangle)]
pub extern "C" fn pagewright_rcu_read_unlock() -> bool {
    SECTIONS.unlock()
}
