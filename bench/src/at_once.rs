//! What threads need for an operation while all of them run at the same time, on machines that others use as well.
//!
//! Wall time says little there: two threads that take turns on a core never wait for each other's cache lines. So each slice is timed twice, by the wall's
//! clock and by the thread's own, and counts only if both say the same for it and for every slice that another thread was in meanwhile.

use crate::loops::pin;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

/// Of a slice's time, so much was the thread's own if it ran all the while: the rest are interrupts, and the looks at the clocks.
const ALL: f64 = 0.97;

/// A slice, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Slice {
    start: f64,
    end: f64,
    own: f64,
}

impl Slice {
    fn ran(&self) -> bool {
        self.own > ALL * (self.end - self.start)
    }
}

/// Nanoseconds of this thread alone.
fn own_nanos() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// What an operation cost in slices during which all threads ran, in nanoseconds of its thread's own.
#[derive(Clone, Debug, Default)]
pub struct AtOnce {
    /// The slices that count, of all threads.
    pub nanos: Vec<f64>,
    /// Of how many.
    pub of: usize,
}

impl AtOnce {
    /// With what was seen another time.
    pub fn extend(&mut self, other: Self) {
        self.nanos.extend(other.nanos);
        self.of += other.of;
    }

    /// The mean of all but the dearest tenth, in which the machine had other things to do as well; not a number if no slice counts.
    pub fn mean(&self) -> f64 {
        let mut sorted = self.nanos.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.truncate(sorted.len() - sorted.len() / 10);
        sorted.iter().sum::<f64>() / sorted.len() as f64
    }

    /// How many in a hundred slices count.
    pub fn percent(&self) -> f64 {
        100.0 * self.nanos.len() as f64 / self.of as f64
    }
}

/// Runs so many threads, each pinned to a core, until each has done `slices` slices of `count` operations.
///
/// # Panics
/// If a thread does.
pub fn at_once(threads: usize, slices: usize, count: u64, run: &(dyn Fn(usize, u64) + Sync)) -> AtOnce {
    let (ready, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let origin = Instant::now();
    let now = || origin.elapsed().as_secs_f64() * 1e9;
    let each = |cpu: usize| {
        pin(cpu);
        run(cpu, count);
        ready.fetch_add(1, SeqCst);
        while ready.load(SeqCst) < threads {
            std::hint::spin_loop();
        }
        let mut took = Vec::with_capacity(2 * slices);
        while took.len() < slices || done.load(SeqCst) < threads {
            let (start, own) = (now(), own_nanos());
            run(cpu, count);
            let own = own_nanos() - own;
            took.push(Slice { start, end: now(), own });
            if took.len() == slices {
                done.fetch_add(1, SeqCst);
            }
        }
        took
    };
    let all: Vec<Vec<Slice>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|cpu| scope.spawn(move || each(cpu))).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread that does not fail")).collect()
    });
    let counts = |slice: &&Slice| all.iter().all(|of| ran_through(of, slice));
    let nanos = all.iter().flatten().filter(counts).map(|slice| slice.own / count as f64).collect();
    AtOnce { nanos, of: all.iter().map(Vec::len).sum() }
}

/// Whether the thread of these slices, which follow each other, ran from a slice's start to its end.
fn ran_through(slices: &[Slice], during: &Slice) -> bool {
    let covers = slices.first().is_some_and(|first| first.start <= during.start)
        && slices.last().is_some_and(|last| during.end <= last.end);
    covers && slices.iter().filter(|s| s.start < during.end && during.start < s.end).all(Slice::ran)
}
