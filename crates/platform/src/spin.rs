//! A lock that waits by spinning.

use core::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use lock_api::{GuardNoSend, RawMutex};

/// A value behind a [`Spin`] lock.
pub type Mutex<T> = lock_api::Mutex<Spin, T>;
/// The right to that value.
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, Spin, T>;

/// A ticket lock: whoever comes first is served first, so no CPU starves.
///
/// Two halves of a word: the ticket that is served (low) and the next to be drawn (high). Whoever may be interrupted
/// by a handler that takes the same lock disables interrupts first.
#[derive(Debug)]
pub struct Spin {
    tickets: AtomicU32,
}

const NEXT: u32 = 1 << 16;

/// Whether a word says that nobody holds the lock or waits for it.
const fn is_free(word: u32) -> bool {
    word & 0xffff == word >> 16
}

/// The word once a ticket more is served: the low half counts round by itself.
const fn served(word: u32) -> u32 {
    (word & !0xffff) | (word.wrapping_add(1) & 0xffff)
}

// SAFETY: a ticket is drawn by one atomic addition, so no two waiters have the same one until 65,536 wait at once; the
// holder's is the one served until `unlock` serves the next. `try_lock` draws a ticket only if it is served at
// once. Drawing and seeing one's ticket served are acquiring, serving the next is releasing.
unsafe impl RawMutex for Spin {
    const INIT: Self = Self { tickets: AtomicU32::new(0) };

    type GuardMarker = GuardNoSend;

    #[inline]
    fn lock(&self) {
        let mine = self.tickets.fetch_add(NEXT, Acquire) >> 16;
        while self.tickets.load(Acquire) & 0xffff != mine {
            core::hint::spin_loop();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        let word = self.tickets.load(Relaxed);
        is_free(word)
            && self.tickets.compare_exchange(word, word.wrapping_add(NEXT), Acquire, Relaxed).is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        // Waiters draw tickets meanwhile, so the half is replaced by exchange.
        let _ = self.tickets.fetch_update(Release, Relaxed, |word| Some(served(word)));
    }

    fn is_locked(&self) -> bool {
        !is_free(self.tickets.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_count_round() {
        assert!(is_free(0) && is_free(0xffff_ffff) && !is_free(NEXT));
        assert_eq!(served(0x0001_0000), 0x0001_0001);
        assert_eq!(served(0x0000_ffff), 0, "the low half wraps without touching the high one");
        assert_eq!(served(0xffff_fffe), 0xffff_ffff);
    }
}
