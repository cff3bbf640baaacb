//! Small objects beside other allocators, on the host, in one run.
//!
//! `cargo run --release -p pagewright-bench --bin slab_compare` prints a table. Every allocator goes through the same loops ([`pagewright_bench::heaps`]) in pinned
//! threads: an object of 64 bytes allocated and freed; 4096 of them allocated, then freed; two threads beside one ([`pagewright_bench::two_threads`]);
//! two threads that replace objects of random sizes, each also the other's (larson); two that free for each other (xmalloc). Ours have accounting of
//! nodes, checks of each free and random order on; those from the registry are called as their documentation shows first.
//!
//! With `larson N` behind it, it measures larson's loop alone, N times, each time on new machines: SLUB, SLAB and mimalloc.

use pagewright_addr::NodeId;
use pagewright_bench::heaps::{self, BuddySlabs, Global, Heap, Mailboxes, Ours, Table, Zone};
use pagewright_bench::loops::{self, Nanos};
use pagewright_bench::others::Pool;
use pagewright_bench::two_threads::{TwoThreads, two_threads};
use pagewright_sim::designs::with_design;
use pagewright_sim::pages::{PlainMachine, with_plain_machine};
use pagewright_slab::objects::{Design, Objects};
use pagewright_slab::slabs::Silent;
use pagewright_zone::alloc::NoHooks;
use std::alloc::{GlobalAlloc, System};
use std::time::Instant;

const BYTES: usize = 64;
const BATCH: usize = 4096;
/// All allocators are measured so many times in turn: a machine may be slower for a second.
const PASSES: usize = 3;

/// What was measured of one allocator in one pass.
#[derive(Clone, Default)]
struct Row {
    name: String,
    pair: Nanos,
    batch: Nanos,
    two: Option<TwoThreads>,
    larson: Option<Nanos>,
    xmalloc: Option<Nanos>,
}

/// Nanoseconds of `count` operations, from many slices.
fn slices(n: usize, count: usize, mut run: impl FnMut()) -> Nanos {
    let mut took: Vec<f64> = (0..n)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e9 / count as f64
        })
        .collect();
    Nanos::of(&mut took)
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Everything,
    Larson,
}

/// What one thread can tell.
fn alone<H: Heap>(name: &str, wanted: Wanted, heap: &mut H) -> Row {
    loops::pin(0);
    let row = Row { name: name.to_owned(), ..Row::default() };
    if wanted == Wanted::Larson {
        return row;
    }
    let pair = slices(301, 10_000, || heaps::pairs(heap, BYTES, 10_000));
    let mut held = Vec::with_capacity(BATCH);
    let batch = slices(61, BATCH, || heaps::batch(heap, BYTES, &mut held, BATCH));
    Row { pair, batch, ..row }
}

/// What a thread is to do.
enum Work<'w> {
    Pairs(u64),
    Replace(&'w mut Table, u64),
    Exchange(&'w Mailboxes, u64),
    Clear(&'w Mailboxes),
}

impl Work<'_> {
    fn run<H: Heap>(self, cpu: usize, heap: &mut H) {
        match self {
            Self::Pairs(n) => heaps::pairs(heap, BYTES, n),
            Self::Replace(table, 0) => table.clear(heap),
            Self::Replace(table, n) => table.replace(heap, n),
            Self::Exchange(mailboxes, n) => mailboxes.exchange(heap, cpu, n),
            Self::Clear(mailboxes) => mailboxes.clear(heap),
        }
    }
}

/// What two can tell; `run` does a thread's work.
fn together(row: Row, wanted: Wanted, run: impl Fn(usize, Work<'_>) + Sync) -> Row {
    let larson = || heaps::larson(61, 10_000, &|cpu, table, n| run(cpu, Work::Replace(table, n)));
    if wanted == Wanted::Larson {
        return Row { larson: Some(larson()), ..row };
    }
    let [two] = two_threads([&|cpu, n| run(cpu, Work::Pairs(n))]);
    let larson = larson();
    let mailboxes = Mailboxes::default();
    let xmalloc = loops::threads(2, 61, 12_000, &|cpu, n| run(cpu, Work::Exchange(&mailboxes, n)));
    run(0, Work::Clear(&mailboxes));
    Row { two: Some(two), larson: Some(larson), xmalloc: Some(xmalloc), ..row }
}

fn ours(design: Design, wanted: Wanted) -> Row {
    let machine = PlainMachine::new(1 << 16, 2);
    with_plain_machine(&machine, NoHooks, |pages| {
        with_design(design, pages, &[NodeId::ZERO; 2], 64, &Silent, |m| {
            let name = format!("pagewright, {design}");
            match &m.objects {
                Objects::Slub(slabs) => {
                    let row = m.on_cpu(0, |cx| alone(&name, wanted, &mut Ours { slabs, cx }));
                    together(row, wanted, |cpu, work| {
                        m.on_cpu(cpu, |cx| work.run(cpu, &mut Ours { slabs, cx }))
                    })
                }
                Objects::Slab(slabs) => {
                    let row = m.on_cpu(0, |cx| alone(&name, wanted, &mut Ours { slabs, cx }));
                    together(row, wanted, |cpu, work| {
                        m.on_cpu(cpu, |cx| work.run(cpu, &mut Ours { slabs, cx }))
                    })
                }
                Objects::Slob(slabs) => {
                    let row = m.on_cpu(0, |cx| alone(&name, wanted, &mut Ours { slabs, cx }));
                    together(row, wanted, |cpu, work| {
                        m.on_cpu(cpu, |cx| work.run(cpu, &mut Ours { slabs, cx }))
                    })
                }
            }
        })
    })
}

fn global<G: GlobalAlloc + Sync>(name: &str, allocator: &G, wanted: Wanted) -> Row {
    let row = alone(name, wanted, &mut Global(allocator));
    together(row, wanted, |cpu, work| work.run(cpu, &mut Global(allocator)))
}

/// larson's loop alone, so many times.
fn larsons(rounds: usize) {
    println!("Nanoseconds of larson's loop, least of the slices and (median), on a new machine each time.");
    for wanted in (0..rounds).map(|_| Wanted::Larson) {
        let rows = [
            ours(Design::Slub, wanted),
            ours(Design::Slab, wanted),
            global("mimalloc", &mimalloc::MiMalloc, wanted),
        ];
        let line = rows.map(|row| format!("{} {}", row.name, nanos(&[&row], |row| row.larson)));
        println!("{}", line.join(", "));
    }
}

/// All allocators once.
fn pass() -> Vec<Row> {
    let all = Wanted::Everything;
    let mut rows: Vec<Row> = Design::ALL.map(|design| ours(design, all)).into();
    rows.push(global("mimalloc", &mimalloc::MiMalloc, all));
    rows.push(global("glibc malloc", &System, all));
    rows.push(global("talc, behind a lock", &heaps::talc(), all));
    rows.push(alone("slabmalloc, one thread", all, &mut Zone::new()));
    let mut pool = Pool::new(1 << 14);
    rows.push(alone("buddy-slab-allocator, one thread", all, &mut BuddySlabs::new(&mut pool)));
    rows
}

/// The least of an allocator's passes, and the one in the middle.
fn nanos(passes: &[&Row], of: impl Fn(&Row) -> Option<Nanos>) -> String {
    let seen = |of_slices: fn(Nanos) -> f64| -> Option<Nanos> {
        let mut all = passes.iter().map(|row| of(row).map(of_slices)).collect::<Option<Vec<f64>>>()?;
        Some(Nanos::of(&mut all))
    };
    seen(|n| n.least)
        .zip(seen(|n| n.median))
        .map_or_else(|| "-".into(), |(least, median)| format!("{:.1} ({:.1})", least.least, median.median))
}

/// The passes' ratios, each the round in the middle of its hundred.
fn two(passes: &[&Row]) -> String {
    let all: Option<Vec<String>> =
        passes.iter().map(|row| row.two.map(|t| format!("{:.2}", t.least.middle))).collect();
    all.map_or_else(|| "-".into(), |all| all.join(", "))
}

fn main() {
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next().map(|rounds| rounds.parse())) {
        (None, _) => everything(),
        (Some("larson"), Some(Ok(rounds))) => larsons(rounds),
        _ => eprintln!("slab_compare: expected nothing, or `larson` and a number"),
    }
}

fn everything() {
    let passes: Vec<Vec<Row>> = (0..PASSES).map(|_| pass()).collect();
    println!(
        "Nanoseconds: the least of all slices and, of {PASSES} passes, the one in the middle by its slice in the middle."
    );
    println!("Two threads to one: of each pass, by the least of the slices.");
    println!("| allocator | pair | batch | two threads | larson | xmalloc |\n|---|---|---|---|---|---|");
    for (n, row) in passes[0].iter().enumerate() {
        let all: Vec<&Row> = passes.iter().map(|rows| &rows[n]).collect();
        let (pair, batch) = (nanos(&all, |r| Some(r.pair)), nanos(&all, |r| Some(r.batch)));
        let (larson, xmalloc) = (nanos(&all, |r| r.larson), nanos(&all, |r| r.xmalloc));
        println!("| {} | {pair} | {batch} | {} | {larson} | {xmalloc} |", row.name, two(&all));
    }
}
