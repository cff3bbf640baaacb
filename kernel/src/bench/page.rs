//! `bench=page`: the page allocator, as the image's own code calls it.

use super::clock::Value;
use super::{Bench, Failed};
use crate::pages::Cx;
use crate::selftest::census::free_pages;
use pagewright_addr::Order;
use pagewright_page::Frames;
use pagewright_platform::carve::bytes_for;
use pagewright_zone::Gfp;

/// What is asked for.
const KERNEL: Gfp = Gfp::GFP_KERNEL.union(Gfp::NOWARN);
/// Pairs of an allocation and a free of one order, measured together.
const PAIRS: u32 = 4096;

fn order(n: u8) -> Order {
    Order::new(n).unwrap_or_default()
}

/// The group.
pub(super) fn run(bench: &Bench<'_>) -> Result<(), Failed> {
    let pages = bench.subject.pages;
    let before = free_pages(pages, bench.subject.metal);
    let mut missing = None;
    for n in 0..=10 {
        match pairs(bench, n) {
            Some(value) => bench.value(format_args!("page.order{n}"), value),
            None => missing = missing.or(Some(Failed::NoBlock(n))),
        }
    }
    for (n, blocks) in [(0, 4096), (3, 512)] {
        match batch(bench, n, blocks) {
            Some(value) => bench.value(format_args!("page.batch{blocks}.order{n}"), value),
            None => missing = missing.or(Some(Failed::NoBlock(n))),
        }
    }
    match bulk(bench, 512) {
        Some([alloc, free]) => {
            bench.value(format_args!("page.bulk"), alloc);
            bench.value(format_args!("page.bulk_free"), free);
        }
        None => missing = missing.or(Some(Failed::NoBlock(0))),
    }
    let after = free_pages(pages, bench.subject.metal);
    match missing {
        _ if before != after => Err(Failed::Lost(before, after)),
        Some(missing) => Err(missing),
        None => Ok(()),
    }
}

/// A block is allocated and freed at once, again and again, by a processor that knows which one it is.
fn pairs(bench: &Bench<'_>, n: u8) -> Option<Value> {
    let pages = bench.subject.pages;
    // What no block was taken from yet is prepared before.
    pages.free(pages.alloc(order(n)).ok()?);
    let mut failed = 0;
    let value = pages.undisturbed(|| {
        pages.here(|cx| {
            let allocator = pages.allocator();
            bench.clock.each(PAIRS, |_| match allocator.alloc_pages(cx, KERNEL, order(n)) {
                Ok(frames) => allocator.free_pages(cx, frames),
                Err(_) => failed += 1,
            })
        })
    });
    value.filter(|_| failed == 0)
}

/// An array of so many blocks is filled, and emptied: ticks of each. `fill` says whether it could.
fn held(
    bench: &Bench<'_>,
    blocks: usize,
    fill: impl Fn(&Cx<'_>, &mut [Option<Frames<'static>>]) -> bool,
    empty: impl Fn(&Cx<'_>, &mut [Option<Frames<'static>>]),
) -> Option<[u64; 2]> {
    let pages = bench.subject.pages;
    let bytes = bytes_for::<Option<Frames<'static>>>(blocks);
    let room = (bytes >> pages.page_shift().get()) + 1;
    let mut memory = pages.alloc(order(room.next_power_of_two().ilog2() as u8)).ok()?;
    let ticks = pages.carve(&mut memory).and_then(|mut carve| {
        let slots = carve.slice(blocks, || None)?;
        let mut both = || {
            pages.undisturbed(|| {
                pages.here(|cx| {
                    let mut there = false;
                    let filling = bench.clock.ticks(|| there = fill(cx, slots));
                    let emptying = bench.clock.ticks(|| empty(cx, slots));
                    there.then_some([filling, emptying])
                })
            })
        };
        // The first time prepares memory that no block was taken from yet.
        both()?;
        both()?
    });
    pages.free(memory);
    ticks
}

/// Blocks that are held until all are there; then they are freed in the order in which they came. The loops and the array of
/// blocks are part of the value.
fn batch(bench: &Bench<'_>, n: u8, blocks: usize) -> Option<Value> {
    let allocator = bench.subject.pages.allocator();
    let fill = |cx: &Cx<'_>, slots: &mut [Option<Frames<'static>>]| {
        for slot in slots.iter_mut() {
            *slot = allocator.alloc_pages(cx, KERNEL, order(n)).ok();
        }
        slots.iter().all(Option::is_some)
    };
    let empty = |cx: &Cx<'_>, slots: &mut [Option<Frames<'static>>]| {
        for frames in slots.iter_mut().filter_map(Option::take) {
            allocator.free_pages(cx, frames);
        }
    };
    let [filling, emptying] = held(bench, blocks, fill, empty)?;
    Some(Value::quotient(filling + emptying, blocks as u64))
}

/// So many pages by few calls, and back by one: for each page, the array included.
fn bulk(bench: &Bench<'_>, pages: usize) -> Option<[Value; 2]> {
    let allocator = bench.subject.pages.allocator();
    let fill = |cx: &Cx<'_>, slots: &mut [Option<Frames<'static>>]| {
        let mut filled = 0;
        while filled < slots.len() {
            let now = allocator.alloc_pages_bulk(cx, KERNEL, slots);
            if now == filled {
                return false;
            }
            filled = now;
        }
        true
    };
    let empty = |cx: &Cx<'_>, slots: &mut [Option<Frames<'static>>]| {
        allocator.free_pages_bulk(cx, slots.iter_mut().filter_map(Option::take));
    };
    let ticks = held(bench, pages, fill, empty)?;
    Some(ticks.map(|ticks| Value::quotient(ticks, pages as u64)))
}
