//! vmalloc on two CPUs at once.
//!
//! `cargo run --release -p pagewright-bench --bin vmalloc_threads` has two pinned threads make and free areas, each on a CPU of its own, and compares with one alone:
//! how many times its throughput they have, beyond what two threads do to each other that only count. Times are the threads' own, of slices during
//! which both ran ([`at_once`](pagewright_bench::at_once)), so that what else runs on the machine matters little. Many short slices, the mean of them, since
//! not each has a purge in it; one thread, two, and the controls take turns. An argument names one of the sizes.

use pagewright_bench::at_once::{AtOnce, at_once};
use pagewright_bench::loops::count_alone;
use pagewright_bench::region::with_region;
use pagewright_kspace::vmalloc::OnPages;
use pagewright_pagetable::NotLive;
use std::hint::black_box;

const ROUNDS: usize = 40;
const SLICES: usize = 100;

/// Pairs of a slice, and what the control counts to take about as long.
const SIZES: [(&str, u64, u64, u64); 2] = [("4 KiB", 4 << 10, 2000, 10), ("64 KiB", 64 << 10, 500, 60)];

fn main() {
    println!("Throughput of two threads, in times of one's, and of two that only count. Goal: 1.8.");
    println!("| area | times | one, ns a pair | two, ns a pair | counting | slices in which both ran |");
    println!("|---|---|---|---|---|---|");
    let only = std::env::args().nth(1);
    for (name, bytes, pairs, weight) in SIZES {
        if only.as_ref().is_some_and(|only| !name.starts_with(only.as_str())) {
            continue;
        }
        with_region(2, true, |region, pages| {
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
            let loops: [&(dyn Fn(usize, u64) + Sync); 2] = [&control, &run];
            let mut seen = [const { [const { AtOnce { nanos: vec![], of: 0 } }; 2] }; 2];
            for _ in 0..ROUNDS {
                for (run, seen) in loops.iter().zip(&mut seen) {
                    for (threads, seen) in [1, 2].into_iter().zip(seen) {
                        seen.extend(at_once(threads, SLICES, pairs, *run));
                    }
                }
            }
            let [counting, areas] = seen.each_ref().map(|[one, two]| two.mean() / one.mean());
            let [one, two] = &seen[1];
            println!(
                "| {name} | {:.2} | {:.0} | {:.0} | {:.2} | {} ({:.0} %) |",
                2.0 * counting / areas,
                one.mean(),
                two.mean(),
                2.0 / counting,
                two.nanos.len(),
                two.percent()
            );
        });
    }
}
