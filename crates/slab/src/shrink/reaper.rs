//! When the reaper comes.

use crate::objects::ObjectAllocator;
use crate::slabs::SlabContext;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Whoever knows the time.
pub trait Clock {
    /// Milliseconds since some moment.
    fn now_ms(&self) -> u64;
}

/// One processor's reaper timer (`slab_reap_work`). As it is by default the reaper comes with the first tick. Asked at every tick, or whenever the processor has time, it lets the reaper come every two seconds.
#[derive(Debug, Default)]
pub struct ReapTimer {
    next: AtomicU64,
    round: AtomicU64,
}

impl ReapTimer {
    /// From one time to the next (REAPTIMEOUT_AC).
    pub const PERIOD_MS: u64 = 2000;
    /// From the start to the first.
    const FIRST_MS: u64 = 1000;
    /// So that processors do not come all at once.
    const APART_MS: u64 = 3;

    /// The timer of a processor of that number.
    pub fn new(cpu: u32, clock: &dyn Clock) -> Self {
        let first = clock.now_ms() + Self::FIRST_MS + u64::from(cpu) * Self::APART_MS;
        Self { next: AtomicU64::new(first), round: AtomicU64::new(0) }
    }

    /// How often it came.
    pub fn rounds(&self) -> u64 {
        self.round.load(Relaxed)
    }

    /// Lets the reaper come if it is time, on the processor that this belongs to; whether it came. After a pause it comes once.
    pub fn tick<'k, 'a, O: ObjectAllocator<'k, 'a> + ?Sized>(
        &self,
        clock: &dyn Clock,
        objects: &O,
        cx: &SlabContext<'_, 'k, 'a>,
    ) -> bool {
        let now = clock.now_ms();
        if now < self.next.load(Relaxed) {
            return false;
        }
        self.next.store(now + Self::PERIOD_MS, Relaxed);
        objects.reap(cx, self.round.fetch_add(1, Relaxed));
        true
    }
}
