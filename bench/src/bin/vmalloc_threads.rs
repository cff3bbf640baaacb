//! vmalloc on two CPUs at once.
//!
//! `cargo run --release -p pagewright-bench --bin vmalloc_threads` has two pinned threads make and free areas, each on a CPU of its own, and compares each with itself
//! alone ([`pagewright_bench::two_threads`]): how many times one's throughput they have, beyond what two threads do to each other that only count. A slice has several
//! purges in it, so the slice in the middle of each round is what counts. An argument names one of the sizes.

use pagewright_bench::region::with_region;
use pagewright_bench::two_threads::two_threads;
use pagewright_kspace::vmalloc::OnPages;
use pagewright_pagetable::NotLive;
use std::hint::black_box;

const SIZES: [(&str, u64); 2] = [("4 KiB", 4 << 10), ("64 KiB", 64 << 10)];

fn main() {
    println!(
        "Throughput of two threads, in times of one's, and of two that only count: the rounds' quartiles. Goal: 1.8."
    );
    println!(
        "| area | a quarter has less than | middle | a quarter has more than | one, ns a pair | two, ns a pair |\n|---|---|---|---|---|---|"
    );
    let only = std::env::args().nth(1);
    for (name, bytes) in SIZES {
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
            let [two] = two_threads([&run]);
            let slower = two.median;
            let [low, middle, high] = [slower.high, slower.middle, slower.low].map(|times| 2.0 / times);
            let [one, both] = two.nanos;
            println!("| {name} | {low:.2} | {middle:.2} | {high:.2} | {one:.0} | {both:.0} |");
        });
    }
}
