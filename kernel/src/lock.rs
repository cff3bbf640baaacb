//! A spinning lock for what the image's processors share: the console, the page allocator under test.
//!
//! Waiting in turn (a ticket lock). It does not mask interrupts: what an interrupt handler uses is not behind such a lock,
//! or the holder masks them itself.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

/// A value that one processor at a time may use.
///
/// # Invariants
/// A [`Guard`] exists only for the ticket that is being served. Established by [`Self::lock`] and [`Self::try_lock`].
#[derive(Debug)]
pub struct SpinLock<T> {
    next: AtomicU32,
    serving: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through a guard, of which there is one at a time, so it moves between processors: `T: Send`.
unsafe impl<T: Send> Sync for SpinLock<T> {}

/// The right to use the value, until it is dropped.
#[derive(Debug)]
pub struct Guard<'l, T> {
    lock: &'l SpinLock<T>,
}

impl<T> SpinLock<T> {
    /// A free lock.
    pub const fn new(value: T) -> Self {
        Self { next: AtomicU32::new(0), serving: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Waits for its turn.
    pub fn lock(&self) -> Guard<'_, T> {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        while self.serving.load(Ordering::Acquire) != ticket {
            core::hint::spin_loop();
        }
        Guard { lock: self }
    }

    /// The lock, if nobody has it.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let ticket = self.serving.load(Ordering::Acquire);
        let free =
            self.next.compare_exchange(ticket, ticket.wrapping_add(1), Ordering::Acquire, Ordering::Relaxed);
        // Made only if it is ours: a guard that is dropped serves the next ticket.
        free.is_ok().then(|| Guard { lock: self })
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.lock.serving.fetch_add(1, Ordering::Release);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard's ticket is being served, so no other guard exists (the invariant).
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::SpinLock;
    use std::thread;

    #[test]
    fn one_thread_at_a_time_has_the_value() {
        let lock = SpinLock::new(0_u32);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|_| *lock.lock() += 1));
            }
        });
        assert_eq!(*lock.lock(), 2000);
    }

    #[test]
    fn a_held_lock_is_not_given_to_a_second() {
        let lock = SpinLock::new(());
        let held = lock.lock();
        assert!(lock.try_lock().is_none());
        drop(held);
        assert!(lock.try_lock().is_some());
    }
}
