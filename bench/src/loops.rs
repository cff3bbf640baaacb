//! The loops that page allocators are compared by, each the same for all of them, and what is read off the clock.
//!
//! Every figure is taken from many short slices: the least of them is what the code costs where nobody disturbs it, the median what
//! it cost on this machine on this day. Threads are pinned, each to a core of its own.

use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// An allocator of blocks of pages, as one thread sees it.
pub trait Source {
    /// What names an allocated block.
    type Block;
    /// Whether a pool of 1 GiB can be freed in random order within a minute.
    const LARGE_POOL: bool = true;
    /// A block of `2^order` pages.
    fn get(&mut self, order: u8) -> Option<Self::Block>;
    /// Gives it back.
    fn put(&mut self, block: Self::Block, order: u8);
}

/// Nanoseconds for one operation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nanos {
    /// Of the slice that was disturbed least.
    pub least: f64,
    /// Of the slice in the middle.
    pub median: f64,
}

impl Nanos {
    /// Of what the slices took for one operation.
    pub fn of(slices: &mut [f64]) -> Self {
        slices.sort_by(f64::total_cmp);
        let at = |n: usize| slices.get(n).copied().unwrap_or(f64::NAN);
        Self { least: at(0), median: at(slices.len() / 2) }
    }
}

/// Allocates and frees a block, again and again. The pages that lie around it are in use, or free in large blocks.
///
/// # Panics
/// If the allocator has no such block.
#[inline(never)]
pub fn pairs<S: Source>(source: &mut S, order: u8, count: u64) {
    for _ in 0..count {
        let block = source.get(black_box(order)).expect("memory for one block");
        source.put(black_box(block), black_box(order));
    }
}

/// What a pair costs.
pub fn pair<S: Source>(source: &mut S, order: u8) -> Nanos {
    const PAIRS: u64 = 10_000;
    let mut slices: Vec<f64> = (0..61)
        .map(|_| {
            let start = Instant::now();
            pairs(source, order, PAIRS);
            start.elapsed().as_secs_f64() * 1e9 / PAIRS as f64
        })
        .collect();
    Nanos::of(&mut slices)
}

/// What each page costs of a pool that is taken whole and given back whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bulk {
    /// Taking it.
    pub get: Nanos,
    /// Giving it back in the order in which it was taken.
    pub put: Nanos,
    /// Giving it back in a random order.
    pub random: Nanos,
}

/// Takes a pool page by page, and gives it back; in order, and in the next round at random (the same order for every allocator).
///
/// # Panics
/// If the allocator has less memory.
pub fn bulk<S: Source>(source: &mut S, pages: usize, rounds: usize) -> Bulk {
    let (mut get, mut put, mut random) = (vec![], vec![], vec![]);
    let per_page = |start: Instant| start.elapsed().as_secs_f64() * 1e9 / pages as f64;
    let mut held = Vec::with_capacity(pages);
    for round in 0..2 * rounds {
        let start = Instant::now();
        fill(source, pages, &mut held);
        get.push(per_page(start));
        if round % 2 == 1 {
            shuffle(&mut held, round as u64);
        }
        let start = Instant::now();
        empty(source, &mut held);
        if round % 2 == 1 { &mut random } else { &mut put }.push(per_page(start));
    }
    Bulk { get: Nanos::of(&mut get), put: Nanos::of(&mut put), random: Nanos::of(&mut random) }
}

/// Takes `pages` pages.
///
/// # Panics
/// If there are fewer.
#[inline(never)]
pub fn fill<S: Source>(source: &mut S, pages: usize, held: &mut Vec<S::Block>) {
    for _ in 0..pages {
        held.push(source.get(0).expect("memory for the pool"));
    }
}

/// Gives them back in their order.
#[inline(never)]
pub fn empty<S: Source>(source: &mut S, held: &mut Vec<S::Block>) {
    for block in held.drain(..) {
        source.put(block, 0);
    }
}

/// xorshift64*.
pub fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// An order that depends on the seed only.
pub fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for n in (1..items.len()).rev() {
        items.swap(n, (next(&mut state) >> 16) as usize % (n + 1));
    }
}

/// Pins this thread to a core; whether the host did so.
pub fn pin(cpu: usize) -> bool {
    // A pinned thread, and what it spawns, is told of its own core alone: ask before anybody is.
    static CORES: OnceLock<Vec<core_affinity::CoreId>> = OnceLock::new();
    let cores = CORES.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default());
    cores.get(cpu).copied().is_some_and(core_affinity::set_for_current)
}

/// What `threads` threads need for one operation each, all running at once: the mean of theirs. `run` does so many operations as one of the
/// threads. Slices count only while all threads are at work.
pub fn threads(threads: usize, slices: usize, count: u64, run: &(dyn Fn(usize, u64) + Sync)) -> Nanos {
    let (ready, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let each = |cpu: usize| {
        pin(cpu);
        run(cpu, count);
        ready.fetch_add(1, Ordering::SeqCst);
        while ready.load(Ordering::SeqCst) < threads {
            std::hint::spin_loop();
        }
        let mut took = Vec::with_capacity(slices);
        for _ in 0..slices {
            let start = Instant::now();
            run(cpu, count);
            took.push(start.elapsed().as_secs_f64() * 1e9 / count as f64);
        }
        done.fetch_add(1, Ordering::SeqCst);
        while done.load(Ordering::SeqCst) < threads {
            run(cpu, count);
        }
        Nanos::of(&mut took)
    };
    let all: Vec<Nanos> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|cpu| scope.spawn(move || each(cpu))).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread that does not fail")).collect()
    });
    let mean = |of: fn(&Nanos) -> f64| all.iter().map(of).sum::<f64>() / threads as f64;
    Nanos { least: mean(|n| n.least), median: mean(|n| n.median) }
}

/// A counter on a cache line of its own: work that threads cannot hinder each other in.
#[inline(never)]
pub fn count_alone(operations: u64) {
    #[repr(align(128))]
    struct Line(u64);
    let mut line = Line(0);
    for _ in 0..operations {
        // Through memory, and as long a chain of additions as a pair of calls takes about.
        for _ in 0..8 {
            *black_box(&mut line.0) += 1;
        }
    }
    black_box(line.0);
}
