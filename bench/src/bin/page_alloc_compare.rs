//! The page allocator beside others from the crate registry, on the host, in one run.
//!
//! `cargo run --release -p pagewright-bench --bin page_alloc_compare` prints two tables. Every allocator goes through the same loops
//! ([`pagewright_bench::loops`]) in a pinned thread, one after the other; two threads are compared with one, each core with itself and
//! beside two threads that count by themselves ([`pagewright_bench::two_threads`]). Ours has migrate types, watermarks, NUMA fallback, statistics and checks of each
//! free on; none of the others has such things. Its second row is of a machine without memory for pages that wait to be merged
//! ([`pagewright_zone::buddy`]). Beside each two threads of one machine stand, in the same rounds, two that share nothing but the host: each has a machine of
//! its own. With `ours` as its argument it measures no others; with a number of pages it only frees such a
//! pool of ours in random order, for a profiler.

use pagewright_bench::loops::{self, Bulk, Nanos, Source};
use pagewright_bench::others::{self, Bitmap, BuddySlab, Locked, Pool, Ranges, Thread};
use pagewright_bench::ours::Ours;
use pagewright_bench::two_threads::{Quartiles, TwoThreads, two_threads};
use pagewright_sim::pages::{Pages, PlainMachine, with_plain_machine};
use pagewright_zone::alloc::NoHooks;

const ROUNDS: usize = 11;
/// Pages of the pools: 64 MiB and 1 GiB.
const POOLS: [usize; 2] = [1 << 14, 1 << 18];

/// The memory of a machine that has a pool to give: an eighth more.
const fn machine(pool: usize) -> usize {
    pool + pool / 8
}

/// What was measured of one allocator.
struct Row {
    name: &'static str,
    pair: Nanos,
    order9: Nanos,
    bulk: [Option<Bulk>; 2],
    two: Option<TwoThreads>,
    /// Two threads that have an allocator each.
    apart: Option<TwoThreads>,
}

/// Measures an allocator as one thread: with a small pool, then with a large one.
fn alone<S: Source>(name: &'static str, mut small: S, large: impl FnOnce() -> Option<Bulk>) -> Row {
    let (pair, order9) = (loops::pair(&mut small, 0), loops::pair(&mut small, 9));
    let bulk = loops::bulk(&mut small, POOLS[0], ROUNDS);
    drop(small);
    Row { name, pair, order9, bulk: [Some(bulk), large()], two: None, apart: None }
}

fn large<S: Source>(mut source: S) -> Option<Bulk> {
    S::LARGE_POOL.then(|| loops::bulk(&mut source, POOLS[1], 5))
}

/// A page allocated and freed on one of a machine's CPUs, again and again.
fn pairs(pages: &Pages<'_, '_, '_, '_, NoHooks>, cpu: usize, n: u64) {
    pages.on_cpu(cpu, |cx| loops::pairs(&mut Ours { pages, cx: *cx }, 0, n));
}

/// So many pages of a zone can wait to be merged; with 0 each merges when it comes back.
fn ours(name: &'static str, parked: u64) -> Row {
    let plain = |pool: usize| PlainMachine { parked, ..PlainMachine::new(machine(pool) as u64, 2) };
    let big = || {
        with_plain_machine(&plain(POOLS[1]), NoHooks, |pages| {
            pages.on_cpu(0, |cx| large(Ours { pages, cx: *cx }))
        })
    };
    let small = plain(POOLS[0]);
    with_plain_machine(&small, NoHooks, |pages| {
        let row = pages.on_cpu(0, |cx| alone(name, Ours { pages, cx: *cx }, big));
        with_plain_machine(&small, NoHooks, |second| {
            let one_machine = |cpu: usize, n: u64| pairs(pages, cpu, n);
            let two_machines = |cpu: usize, n: u64| match cpu {
                0 => pairs(pages, cpu, n),
                _ => pairs(second, cpu, n),
            };
            let [two, apart] = two_threads([&one_machine, &two_machines]).map(Some);
            Row { two, apart, ..row }
        })
    })
}

fn measure() -> Vec<Row> {
    let (small, big) = (machine(POOLS[0]), machine(POOLS[1]));
    let pool = || Pool::new(small);
    let large_pool = Pool::new(big);
    let mut rows = vec![ours("pagewright", u64::MAX), ours("pagewright, merging at once", 0)];
    if std::env::args().nth(1).is_some_and(|only| only == "ours") {
        return rows;
    }

    let memory = pool();
    let summary = others::summary(&memory);
    let row = alone("frame-alloc, SummaryBuddy", &summary, || large(&others::summary(&large_pool)));
    let run = |_: usize, n: u64| loops::pairs(&mut &summary, 0, n);
    rows.push(Row { two: Some(two_threads([&run])[0]), ..row });

    let memory = pool();
    let depot = others::depot(&memory);
    let row = alone("frame-alloc, Depot", &depot, || large(&others::depot(&large_pool)));
    let run = |cpu: usize, n: u64| {
        Thread::is(cpu);
        loops::pairs(&mut &depot, 0, n);
    };
    rows.push(Row { two: Some(two_threads([&run])[0]), ..row });
    drop(large_pool);

    let row =
        alone("buddy_system_allocator", others::buddy_system(small), || large(others::buddy_system(big)));
    let locked = Locked::new(small);
    let run = |_: usize, n: u64| loops::pairs(&mut &locked, 0, n);
    rows.push(Row { two: Some(two_threads([&run])[0]), ..row });

    let mut memory = pool();
    let last = || large(BuddySlab::new(&mut Pool::new(big)));
    rows.push(alone("buddy-slab-allocator", BuddySlab::new(&mut memory), last));
    rows.push(alone("bitmap-allocator", Bitmap::new(small), || large(Bitmap::new(big))));
    rows.push(alone("free-list", Ranges::new(small), || large(Ranges::new(big))));
    rows
}

fn nanos(n: Nanos) -> String {
    format!("{:.1} ({:.1})", n.least, n.median)
}

/// How much more freeing in random order costs, by the least and (by the median) of the slices.
fn ratio(bulk: Option<Bulk>) -> String {
    bulk.map_or("-".into(), |b| {
        format!("{:.2} ({:.2})", b.random.least / b.put.least, b.random.median / b.put.median)
    })
}

/// Under callgrind (`--toggle-collect='*loops::empty*'`): a pool taken and given back, at random.
fn profile(pool: usize) {
    with_plain_machine(&PlainMachine::new(machine(pool) as u64, 1), NoHooks, |pages| {
        pages.on_cpu(0, |cx| {
            let mut ours = Ours { pages, cx: *cx };
            let mut held = vec![];
            loops::fill(&mut ours, pool, &mut held);
            loops::shuffle(&mut held, 1);
            loops::empty(&mut ours, &mut held);
        });
    });
}

fn main() {
    if let Some(pool) = std::env::args().nth(1).and_then(|pages| pages.parse().ok()) {
        return profile(pool);
    }
    if !loops::pin(0) {
        println!("This host pins no threads: read the figures with care.");
    }
    let rows = measure();
    println!(
        "Nanoseconds, least (median) of the slices; bulk and random for each page of a pool of 64 MiB.\n"
    );
    println!("| allocator | pair, order 0 | bulk get | bulk put | random put | pair, order 9 |");
    println!("|---|---|---|---|---|---|");
    for row in &rows {
        let b = row.bulk[0].unwrap_or_default();
        let [get, put, random] = [b.get, b.put, b.random].map(nanos);
        println!("| {} | {} | {get} | {put} | {random} | {} |", row.name, nanos(row.pair), nanos(row.order9));
    }
    println!("\nRatios: two threads to one, beyond what two counting threads do to each other;");
    println!("freeing a pool in random order to freeing it in the order of allocation.\n");
    println!("| allocator | two threads | random, 64 MiB | random, 1 GiB | random put at 1 GiB, ns |");
    println!("|---|---|---|---|---|");
    for row in &rows {
        let two = row.two.map_or("-".into(), |t| format!("{:.2} ({:.2})", t.least.middle, t.median.middle));
        let big = row.bulk[1].map_or("-".into(), |b| nanos(b.random));
        println!("| {} | {two} | {} | {} | {big} |", row.name, ratio(row.bulk[0]), ratio(row.bulk[1]));
    }
    println!(
        "\nTwo threads, the rounds' quartiles: by the least of the slices, by the slice in the middle.\n"
    );
    println!("| allocator | of one machine | | with a machine each | |\n|---|---|---|---|---|");
    for (name, [one, each]) in rows.iter().filter_map(|r| Some((r.name, [r.two?, r.apart?]))) {
        println!("| {name} | {} | {} |", quartiles(one), quartiles(each));
    }
}

fn quartiles(two: TwoThreads) -> String {
    [two.least, two.median]
        .map(|Quartiles { low, middle, high }| format!("{low:.3} {middle:.3} {high:.3}"))
        .join(" | ")
}
