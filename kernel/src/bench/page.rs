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
const PAIRS: u64 = 4096;

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
        Some(value) => bench.value(format_args!("page.bulk"), value),
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

/// What happens to an array of so many blocks, for each of them: `work` fills and empties it, and says whether it was full.
fn held(
    bench: &Bench<'_>,
    blocks: usize,
    mut work: impl FnMut(&Cx<'_>, &mut [Option<Frames<'static>>]) -> bool,
) -> Option<Value> {
    let pages = bench.subject.pages;
    let bytes = bytes_for::<Option<Frames<'static>>>(blocks);
    let room = (bytes >> pages.page_shift().get()) + 1;
    let mut memory = pages.alloc(order(room.next_power_of_two().ilog2() as u8)).ok()?;
    let value = pages.carve(&mut memory).and_then(|mut carve| {
        let slots = carve.slice(blocks, || None)?;
        // The first time prepares memory that no block was taken from yet.
        let there = pages.here(|cx| work(cx, slots))?;
        let ticks = pages.undisturbed(|| pages.here(|cx| bench.clock.ticks(|| _ = work(cx, slots))))?;
        there.then(|| Value::quotient(ticks, blocks as u64))
    });
    pages.free(memory);
    value
}

/// Blocks that are held until all are there; then they are freed in the order in which they came. The loop and the array of
/// blocks are part of the value.
fn batch(bench: &Bench<'_>, n: u8, blocks: usize) -> Option<Value> {
    let allocator = bench.subject.pages.allocator();
    held(bench, blocks, |cx, slots| {
        for slot in slots.iter_mut() {
            *slot = allocator.alloc_pages(cx, KERNEL, order(n)).ok();
        }
        let all = slots.iter().all(Option::is_some);
        for frames in slots.iter_mut().filter_map(Option::take) {
            allocator.free_pages(cx, frames);
        }
        all
    })
}

/// So many pages by few calls, and back by one: for each page, the array included.
fn bulk(bench: &Bench<'_>, pages: usize) -> Option<Value> {
    let allocator = bench.subject.pages.allocator();
    held(bench, pages, |cx, slots| {
        let mut filled = 0;
        loop {
            let now = allocator.alloc_pages_bulk(cx, KERNEL, slots);
            if now == filled || now == slots.len() {
                filled = now;
                break;
            }
            filled = now;
        }
        let all = filled == slots.len();
        allocator.free_pages_bulk(cx, slots.iter_mut().filter_map(Option::take));
        all
    })
}
