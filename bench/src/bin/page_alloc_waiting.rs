//! Pages that wait for the rest of their pageblock ([`pagewright_zone::buddy`]): the longest that anybody waits on their account, and large pools that are
//! freed in random order.
//!
//! `cargo run --release -p pagewright-bench --bin page_alloc_waiting [GIB ...]` prints three tables:
//! - every other page of so many pageblocks is freed, so that none merges with another but for a few. Somebody wants a block of these; then somebody looks at a free list, and
//!   all that waits is merged, a part at a time;
//! - of so many pageblocks all pages wait but one, and these come back: what each pageblock takes that becomes whole;
//! - pools of so many GiB (1, 4 and 8) are freed in order and at random, with memory for all that waits, for 1024 pageblocks of it, and for none.

use pagewright_addr::Order;
use pagewright_bench::loops;
use pagewright_bench::ours::Ours;
use pagewright_page::Frames;
use pagewright_sim::pages::{Pages, PlainMachine, with_plain_machine};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{Context, NoHooks, TaskFlags};
use std::time::Instant;

/// Pages of a pageblock.
const BLOCK: u64 = 512;
const ROUNDS: u64 = 5;

/// Every page that there is.
fn take_all<'m, 'a>(m: &Pages<'_, 'm, '_, 'a, NoHooks>, cx: &Context<'_, 'm, 'a>) -> Vec<Frames<'a>> {
    let (all, gfp) = (cx.with_task(TaskFlags::MEMALLOC), Gfp::GFP_KERNEL | Gfp::NOWARN);
    std::iter::from_fn(|| m.allocator.alloc_pages(&all, gfp, Order::ZERO).ok()).collect()
}

/// In each round: pages for which `goes` holds were freed at random, and wait; `then` is called with the others.
fn rounds(
    blocks: u64,
    goes: impl Fn(u64) -> bool,
    mut then: impl for<'m, 'a> FnMut(&Pages<'_, 'm, '_, 'a, NoHooks>, &Context<'_, 'm, 'a>, Vec<Frames<'a>>),
) {
    with_plain_machine(&PlainMachine::new(blocks * BLOCK, 1), NoHooks, |m| {
        m.on_cpu(0, |cx| {
            for _ in 0..ROUNDS {
                let mut held = take_all(m, cx);
                held.sort_by_key(|page| page.start().get());
                let (mut free, mut others): (Vec<_>, Vec<_>) =
                    held.into_iter().partition(|page| goes(page.start().get().into()));
                loops::shuffle(&mut free, 1);
                loops::shuffle(&mut others, 2);
                free.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
                m.allocator.drain_local_pages(cx);
                then(m, cx, others);
                m.allocator.drain_local_pages(cx);
            }
        });
    });
}

/// What it costs that every other page waits.
#[derive(Clone, Copy)]
struct Merged {
    /// How many waited.
    pages: u64,
    /// Microseconds for a block of order 2, of which there is one among them.
    block_us: f64,
    /// Milliseconds for all others.
    all_ms: f64,
}

fn merge_all(blocks: u64) -> Merged {
    let mut best = Merged { pages: 0, block_us: f64::INFINITY, all_ms: f64::INFINITY };
    let goes = |at: u64| !at.is_multiple_of(2) || (BLOCK..BLOCK + 4).contains(&at);
    let order = Order::new(2).expect("an order");
    rounds(blocks, goes, |m, cx, others| {
        let zone = m.allocator.zones()[0].id();
        let waiting = m.allocator.waiting_pages(zone);
        let start = Instant::now();
        let block = m.allocator.alloc_pages(cx, Gfp::GFP_NOWAIT, order).expect("there is one");
        best.block_us = best.block_us.min(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        let lone = m.allocator.free_areas(zone).blocks(Order::ZERO);
        best.all_ms = best.all_ms.min(start.elapsed().as_secs_f64() * 1e3);
        best.pages = waiting;
        assert!(lone >= waiting / 2, "{lone} of {waiting}");
        m.allocator.free_pages(cx, block);
        others.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
    });
    best
}

/// Microseconds for each pageblock of which all pages wait but one, when these come.
fn last_pages(blocks: u64) -> f64 {
    let mut best = f64::INFINITY;
    let all_but_one = |at: u64| at % BLOCK != 77;
    rounds(blocks, all_but_one, |m, cx, others| {
        let count = others.len() as f64;
        let start = Instant::now();
        others.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
        m.allocator.drain_local_pages(cx);
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / count);
    });
    best
}

/// Nanoseconds for each page of a pool that is freed, in order and at random.
fn pool(gib: u64, parked: u64) -> [f64; 2] {
    let pages = (gib << 18) as usize;
    let machine = PlainMachine { parked, ..PlainMachine::new((pages + pages / 8) as u64, 1) };
    with_plain_machine(&machine, NoHooks, |m| {
        m.on_cpu(0, |cx| {
            let bulk = loops::bulk(&mut Ours { pages: m, cx: *cx }, pages, 2);
            [bulk.put.least, bulk.random.least]
        })
    })
}

fn main() {
    if !loops::pin(0) {
        println!("This host pins no threads: read the figures with care.");
    }
    println!(
        "| pageblocks | pages that wait | a block of order 2, us | all merged, ms | ns a page | a part of 256, us |"
    );
    println!("|---|---|---|---|---|---|");
    for blocks in [256, 1024, 4096] {
        let Merged { pages, block_us, all_ms } = merge_all(blocks);
        let each = all_ms * 1e6 / pages as f64;
        println!(
            "| {blocks} | {pages} | {block_us:.0} | {all_ms:.1} | {each:.0} | {:.0} |",
            each * 256.0 / 1e3
        );
    }
    println!("\n| pageblocks that wait for one page | us for each |");
    println!("|---|---|");
    for blocks in [256, 1024, 4096] {
        println!("| {blocks} | {:.2} |", last_pages(blocks));
    }
    println!(
        "\n| pool | in order, ns a page | at random | ratio | 1024 pageblocks, at random | merging at once |"
    );
    println!("|---|---|---|---|---|---|");
    let named: Vec<u64> = std::env::args().skip(1).filter_map(|gib| gib.parse().ok()).collect();
    for &gib in if named.is_empty() { &[1, 4, 8][..] } else { &named } {
        let ([put, random], [_, some], [_, none]) =
            (pool(gib, u64::MAX), pool(gib, 1024 * BLOCK), pool(gib, 0));
        println!("| {gib} GiB | {put:.1} | {random:.1} | {:.2} | {some:.1} | {none:.1} |", random / put);
    }
}
