//! By how much two threads slow each other down.
//!
//! A machine's cores are not alike, and what they do from one moment to the next is not either: one may be a tenth faster than the other for a second
//! because of its clock, or of a neighbour that a virtual machine does not see. So each core is compared with itself: a thread alone on the one core, a
//! thread alone on the other, then both, within some ten milliseconds, and right before them the same of a control, two threads that count by themselves. Of many such rounds the one in the
//! middle is told, and the quarters beside it. Two threads stay for all rounds, each pinned to its core; who has nothing to do sleeps.

use crate::loops::{Nanos, count_alone, pin};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

/// Does so many operations as one of the two CPUs.
pub type Work<'w> = &'w (dyn Fn(usize, u64) + Sync + 'w);

const ROUNDS: usize = 100;
const SLICES: usize = 10;
/// Shorter than what a scheduler gives a thread in one piece.
const SLICE_NANOS: f64 = 300_000.0;

/// The ratio of the round in the middle, and of those a quarter of the way from each end.
#[derive(Clone, Copy, Debug)]
pub struct Quartiles {
    /// A quarter of the rounds has less.
    pub low: f64,
    /// Half of them has less.
    pub middle: f64,
    /// A quarter has more.
    pub high: f64,
}

impl Quartiles {
    fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let at = |quarter: usize| rounds[quarter * (rounds.len() - 1) / 4];
        Self { low: at(1), middle: at(2), high: at(3) }
    }
}

/// What a thread needs beside another one, in times of what it needs alone on its core; and that in times of the same ratio of two threads that only count.
#[derive(Clone, Copy, Debug)]
pub struct TwoThreads {
    /// By the least of each round's slices.
    pub least: Quartiles,
    /// By the slice in the middle.
    pub median: Quartiles,
    /// Nanoseconds for an operation, of one thread alone and of one beside another: of the round in the middle, by its slices in the middle.
    pub nanos: [f64; 2],
}

/// A round of a kind of work on one core.
#[derive(Clone, Copy)]
struct Round {
    alone: Nanos,
    beside: Nanos,
}

/// How many operations a slice has.
fn enough(work: Work<'_>) -> u64 {
    const TRIED: u64 = 10_000;
    work(0, TRIED);
    let start = Instant::now();
    work(0, TRIED);
    (SLICE_NANOS / (start.elapsed().as_secs_f64() * 1e9 / TRIED as f64)) as u64 + 1
}

/// A round's slices of so many operations each; goes on for as long as it is told to, without looking at the clock.
fn slices(cpu: usize, work: Work<'_>, count: u64, mut goes_on: impl FnMut() -> bool) -> Nanos {
    work(cpu, count);
    let mut took = [0.0; SLICES];
    for slice in &mut took {
        let start = Instant::now();
        work(cpu, count);
        *slice = start.elapsed().as_secs_f64() * 1e9 / count as f64;
    }
    while goes_on() {
        work(cpu, count);
    }
    Nanos::of(&mut took)
}

/// Where the two threads wait for each other.
struct Meeting {
    asleep: Barrier,
    began: AtomicUsize,
    ended: AtomicUsize,
}

impl Meeting {
    /// What one of the threads does in the round of that number, of all rounds of all works.
    fn round(&self, cpu: usize, work: Work<'_>, count: u64, number: usize) -> Round {
        let mut alone = Nanos::default();
        for turn in [0, 1] {
            self.asleep.wait();
            if turn == cpu {
                alone = slices(cpu, work, count, || false);
            }
        }
        self.asleep.wait();
        let both = 2 * (number + 1);
        self.began.fetch_add(1, SeqCst);
        while self.began.load(SeqCst) < both {
            std::hint::spin_loop();
        }
        let mut told = false;
        let beside = slices(cpu, work, count, || {
            if !std::mem::replace(&mut told, true) {
                self.ended.fetch_add(1, SeqCst);
            }
            self.ended.load(SeqCst) < both
        });
        Round { alone, beside }
    }
}

/// Compares one thread with two, for each kind of work, all of them and the control taking turns.
///
/// # Panics
/// If a kind of work does.
pub fn two_threads<const N: usize>(works: [Work<'_>; N]) -> [TwoThreads; N] {
    let control = |_: usize, n: u64| count_alone(n);
    let all: Vec<(Work<'_>, u64)> =
        [&control as Work<'_>].into_iter().chain(works).map(|work| (work, enough(work))).collect();
    let meeting = Meeting { asleep: Barrier::new(2), began: AtomicUsize::new(0), ended: AtomicUsize::new(0) };
    let rounds = |cpu: usize| -> Vec<Round> {
        pin(cpu);
        let one = |number: usize| {
            let (work, count) = all[number % all.len()];
            meeting.round(cpu, work, count, number)
        };
        (0..ROUNDS * all.len()).map(one).collect()
    };
    let seen = std::thread::scope(|scope| {
        let threads = [0, 1].map(|cpu| {
            let rounds = &rounds;
            scope.spawn(move || rounds(cpu))
        });
        threads.map(|thread| thread.join().expect("a thread that does not fail"))
    });
    let slower = |number: usize, of: fn(Nanos) -> f64| {
        seen.iter().map(|rounds| of(rounds[number].beside) / of(rounds[number].alone)).sum::<f64>()
    };
    std::array::from_fn(|work| {
        let ratios = |of: fn(Nanos) -> f64| {
            let first = |round: usize| round * all.len();
            (0..ROUNDS).map(|n| slower(first(n) + 1 + work, of) / slower(first(n), of)).collect()
        };
        let nanos = |of: fn(&Round) -> f64| {
            let rounds = (0..ROUNDS).map(|n| n * all.len() + 1 + work);
            let both = rounds.flat_map(|n| seen.each_ref().map(|cpu| of(&cpu[n])));
            Quartiles::of(both.collect()).middle
        };
        TwoThreads {
            least: Quartiles::of(ratios(|n| n.least)),
            median: Quartiles::of(ratios(|n| n.median)),
            nanos: [nanos(|round| round.alone.median), nanos(|round| round.beside.median)],
        }
    })
}
