//! Work for all processors at once.
//!
//! One processor posts it and does its own part; the others wait for it in [`Post::serve`]. Nobody goes on before all have
//! done it, so the work may borrow from whoever posted it.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering};

/// What every processor is to do; it gets the processor's number.
pub type Work<'w> = dyn Fn(u32) + Sync + 'w;

/// Where work is posted.
///
/// # Invariants
/// `work` is written only by the one processor that posts, between two generations, when nobody reads it; it is read only by processors
/// that have seen a new generation and have not yet counted themselves in `done`.
#[derive(Debug)]
pub struct Post {
    generation: AtomicU32,
    done: AtomicU32,
    work: UnsafeCell<Option<&'static Work<'static>>>,
}

// SAFETY: `work` is a shared reference to something `Sync`; who reads and who writes it when is the type's invariant.
unsafe impl Sync for Post {}

impl Post {
    /// Without work.
    pub const fn new() -> Self {
        Self { generation: AtomicU32::new(0), done: AtomicU32::new(0), work: UnsafeCell::new(None) }
    }

    /// Has `others` processors, which all are in [`Self::serve`], and this one, number `me`, do `work`. `wake` wakes those that wait;
    /// `idle` is called while waiting for them and says whether to go on waiting.
    ///
    /// # Panics
    /// If `idle` gives up: the others still use what the work borrows, so nobody may go on.
    ///
    /// Only one processor may post at a time; it borrows the post for that.
    pub fn all(
        &self,
        me: u32,
        others: u32,
        wake: impl Fn(),
        mut idle: impl FnMut() -> bool,
        work: &Work<'_>,
    ) {
        // SAFETY: the reference is dropped by everybody before this function returns: it waits until all others are done, and
        // otherwise does not return at all.
        let lent: &'static Work<'static> =
            unsafe { core::mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        self.done.store(0, Ordering::Relaxed);
        // SAFETY: the others have done the last work (it was waited for) and have seen no new generation.
        unsafe { *self.work.get() = Some(lent) };
        self.generation.fetch_add(1, Ordering::Release);
        wake();
        work(me);
        while self.done.load(Ordering::Acquire) != others {
            assert!(idle(), "a processor does not come back from its work");
        }
    }

    /// The work that was posted last: none of it is a processor's that is about to arrive. Nobody posts while one is waited for.
    pub fn last(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Does work as it comes, as processor `me`, from the one behind `seen` on ([`Self::last`], asked before it arrived); `wait` returns now and then, and when
    /// there is work.
    pub fn serve(&self, me: u32, mut seen: u32, wait: impl Fn()) -> ! {
        loop {
            let generation = self.generation.load(Ordering::Acquire);
            if generation == seen {
                wait();
                continue;
            }
            seen = generation;
            // SAFETY: a new generation was seen, and `done` is not counted yet.
            if let Some(work) = unsafe { *self.work.get() } {
                work(me);
            }
            self.done.fetch_add(1, Ordering::Release);
        }
    }
}

impl Default for Post {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Post;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    #[test]
    fn everybody_does_the_work_before_it_ends() {
        static POST: Post = Post::new();
        for cpu in 1..4 {
            // They serve until the process ends.
            thread::spawn(move || POST.serve(cpu, 0, thread::yield_now));
        }
        for round in 0..20 {
            let sum = AtomicU32::new(0);
            let idle = || {
                thread::yield_now();
                true
            };
            POST.all(0, 3, || {}, idle, &|cpu| {
                sum.fetch_add(cpu + round, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 1 + 2 + 3 + 4 * round);
        }
    }

    #[test]
    fn who_comes_later_does_no_work_from_before() {
        static POST: Post = Post::new();
        let sum = AtomicU32::new(0);
        let add = |cpu: u32| _ = sum.fetch_add(1 + cpu, Ordering::Relaxed);
        POST.all(0, 0, || {}, || true, &add);
        let seen = POST.last();
        thread::spawn(move || POST.serve(1, seen, thread::yield_now));
        let idle = || {
            thread::yield_now();
            true
        };
        POST.all(0, 1, || {}, idle, &add);
        assert_eq!(sum.into_inner(), 1 + 1 + 2);
    }
}
