//! A spinning lock for what the image's processors share: the console, the page allocator under test.
//!
//! Whoever comes first when it is free has it. (Waiting in turn would be fairer; but where a virtual machine has more
//! processors than its host, the next in turn is often one that does not run.) It does not mask interrupts: what an
//! interrupt handler uses is not behind such a lock, or the holder masks them itself.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// A value that one processor at a time may use.
///
/// # Invariants
/// A [`Guard`] exists only while `held` is set, and it was made by whoever set it. Established by [`Self::lock`] and
/// [`Self::try_lock`].
#[derive(Debug)]
pub struct SpinLock<T> {
    held: AtomicBool,
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
        Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Waits until it is free.
    pub fn lock(&self) -> Guard<'_, T> {
        loop {
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            // Only looking does not take the line away from the holder.
            while self.held.load(Ordering::Relaxed) {
                core::hint::spin_loop();
            }
        }
    }

    /// The lock, if nobody has it.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        // Made only if it is ours: a guard that is dropped frees the lock.
        (!self.held.swap(true, Ordering::Acquire)).then(|| Guard { lock: self })
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.lock.held.store(false, Ordering::Release);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard was made by whoever set `held`, so no other guard exists (the invariant).
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
