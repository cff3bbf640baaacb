//! vmalloc on two CPUs at once.
//!
//! `cargo run --release -p pagewright-bench --bin vmalloc_threads` has two pinned threads make and free areas, each on a CPU of its own, and compares with one alone:
//! how many times its throughput they have, beyond what two threads do to each other that only count. Slices are so long that each has
//! purges in it; 11 rounds, each with its own control, of which the one in the middle counts.

use pagewright_bench::loops::{Nanos, count_alone, threads};
use pagewright_bench::region::with_region;
use pagewright_kspace::vmalloc::OnPages;
use pagewright_pagetable::NotLive;
use std::hint::black_box;

const ROUNDS: usize = 11;
const SLICES: usize = 7;

/// Pairs of a slice, and what the control counts to take about as long.
const SIZES: [(&str, u64, u64, u64); 2] = [("4 KiB", 4 << 10, 20_000, 1), ("64 KiB", 64 << 10, 4000, 3)];

fn main() {
    println!(
        "Throughput of two threads, in times of one: of the slices disturbed least, and (median). Goal: 1.8."
    );
    println!("| area | two threads | one, ns a pair | two, ns a pair |\n|---|---|---|---|");
    for (name, bytes, pairs, weight) in SIZES {
        let rows = with_region(2, true, |region, pages| {
            let run = |cpu: usize, n: u64| {
                pages.on_cpu(cpu, |context| {
                    let mut tlb = NotLive;
                    let on = &mut OnPages { allocator: &pages.allocator, context, cpu, tlb: &mut tlb };
                    for _ in 0..n {
                        let at = region.vmalloc(on, black_box(bytes)).expect("memory for an area");
                        region.vfree(on, black_box(at)).expect("an area");
                    }
                });
            };
            let control = |_: usize, n: u64| count_alone(n * weight);
            let measure = || {
                let [c1, c2] = [1, 2].map(|n| threads(n, SLICES, pairs, &control));
                let [a1, a2] = [1, 2].map(|n| threads(n, SLICES, pairs, &run));
                let times = |one: f64, two: f64, of: (f64, f64)| 2.0 * (one / two) * (of.1 / of.0);
                [
                    times(a1.least, a2.least, (c1.least, c2.least)),
                    times(a1.median, a2.median, (c1.median, c2.median)),
                    a1.least,
                    a2.least,
                ]
            };
            (0..ROUNDS).map(|_| measure()).collect::<Vec<_>>()
        });
        let of = |n: usize| Nanos::of(&mut rows.iter().map(|row| row[n]).collect::<Vec<_>>()).median;
        println!("| {name} | {:.2} ({:.2}) | {:.0} | {:.0} |", of(0), of(1), of(2), of(3));
    }
}
