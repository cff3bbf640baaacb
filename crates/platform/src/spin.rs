//! A lock that waits by spinning.

use core::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use lock_api::{GuardNoSend, RawMutex};

/// A value behind a [`Spin`] lock.
pub type Mutex<T> = lock_api::Mutex<Spin, T>;
/// The right to that value.
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, Spin, T>;

/// One word that whoever swaps it first holds.
///
/// Nobody is served in turn. A ticket lock is fair, but stands still whenever the CPU whose turn it is does not run, and where
/// CPUs are threads of a host with fewer of them, that is most of the time. Whoever may be interrupted
/// by a handler that takes the same lock disables interrupts first.
#[derive(Debug)]
pub struct Spin {
    held: AtomicBool,
}

// SAFETY: `held` is changed to true by an atomic swap that finds it false, so by one at a time, and to false by that holder
// alone (`unlock`'s contract). Taking is acquiring and giving back releasing, so what a holder wrote the next one sees.
unsafe impl RawMutex for Spin {
    const INIT: Self = Self { held: AtomicBool::new(false) };

    type GuardMarker = GuardNoSend;

    #[inline]
    fn lock(&self) {
        while !self.try_lock() {
            // Others read until it is worth trying, so that the holder's cache line stays its own.
            while self.held.load(Relaxed) {
                core::hint::spin_loop();
            }
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        !self.held.swap(true, Acquire)
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.held.store(false, Release);
    }

    fn is_locked(&self) -> bool {
        self.held.load(Relaxed)
    }
}
