//! The page allocator's paths, in instructions for each pair of an allocation and a free.
//!
//! `cargo run --release -p pagewright-bench --bin page_alloc` counts with callgrind and times each loop. Migrate types, watermarks,
//! NUMA fallback and per-CPU lists are on, as they always are. Linux's figures are instructions of a guest under
//! `-icount`; these are the host's for the same loops, without the loop's own.

use pagewright_addr::Order;
use pagewright_bench::table::{Loop, show};
use pagewright_page::Frames;
use pagewright_sim::pages::{Pages, PlainMachine, with_plain_machine};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{Context, NoHooks};
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

type Machine<'x, 'm, 's, 'a> = Pages<'x, 'm, 's, 'a, NoHooks>;

/// Of bulk allocations and bulk frees each half counts by itself, for a page; their times are of both halves.
const LOOPS: [Loop; 11] = [
    Loop::new("order0", "measured_order", 100_000, 70, 705),
    Loop::new("order3", "measured_order", 100_000, 90, 884),
    Loop::new("order9", "measured_order", 20_000, 400, 9979),
    Loop::new("order10", "measured_order", 20_000, 900, 33679),
    Loop::new("batch0", "measured_batch0", 4096 * 20, 180, 705),
    Loop::new("bulk16", "measured_bulk_alloc", 16 * 4096, 40, 0),
    Loop::new("bulk64", "measured_bulk_alloc", 64 * 1024, 40, 0),
    Loop::new("bulk4096", "measured_bulk_alloc", 4096 * 20, 40, 0),
    Loop::new("free64", "measured_bulk_free", 64 * 1024, 0, 0),
    Loop::new("free4096", "measured_bulk_free", 4096 * 20, 0, 0),
    Loop::new("empty", "measured_empty", 100_000, 0, 0),
];

fn order(n: u8) -> Order {
    Order::new(n).unwrap_or_default()
}

fn run(which: &Loop) -> f64 {
    with_plain_machine(&PlainMachine::new(1 << 18, 1), NoHooks, |m| {
        m.on_cpu(0, |cx| {
            let start = Instant::now();
            match which.name {
                "batch0" => measured_batch0(m, cx, which.pairs),
                "empty" => measured_empty(which.pairs),
                name if which.counts.starts_with("measured_bulk") => {
                    let at = name.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
                    let pages: usize = name[at..].parse().unwrap_or(1);
                    let mut slots: Vec<_> = (0..pages).map(|_| None).collect();
                    for _ in 0..which.pairs / pages as u64 {
                        measured_bulk_alloc(m, cx, &mut slots);
                        measured_bulk_free(m, cx, &mut slots);
                    }
                }
                name => {
                    let n = name.trim_start_matches("order").parse().unwrap_or(0);
                    measured_order(m, cx, order(n), which.pairs);
                }
            }
            start.elapsed().as_secs_f64()
        })
    })
}

#[inline(never)]
fn measured_order<'m, 'a>(m: &Machine<'_, 'm, '_, 'a>, cx: &Context<'_, 'm, 'a>, order: Order, pairs: u64) {
    for _ in 0..pairs {
        match m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, black_box(order)) {
            Ok(frames) => m.allocator.free_pages(cx, frames),
            Err(_) => return,
        }
    }
}

#[inline(never)]
fn measured_batch0<'m, 'a>(m: &Machine<'_, 'm, '_, 'a>, cx: &Context<'_, 'm, 'a>, pairs: u64) {
    let mut held: Vec<Frames<'a>> = Vec::with_capacity(4096);
    for _ in 0..pairs / 4096 {
        for _ in 0..4096 {
            if let Ok(frames) = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO) {
                held.push(frames);
            }
        }
        for frames in held.drain(..) {
            m.allocator.free_pages(cx, frames);
        }
    }
}

/// Until all slots are filled: one call, but for the first pages of a fresh machine.
#[inline(never)]
fn measured_bulk_alloc<'m, 'a>(
    m: &Machine<'_, 'm, '_, 'a>,
    cx: &Context<'_, 'm, 'a>,
    slots: &mut [Option<Frames<'a>>],
) {
    let mut filled = 0;
    while filled < slots.len() {
        let now = m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL, slots);
        if now == filled {
            return;
        }
        filled = now;
    }
}

#[inline(never)]
fn measured_bulk_free<'m, 'a>(
    m: &Machine<'_, 'm, '_, 'a>,
    cx: &Context<'_, 'm, 'a>,
    slots: &mut [Option<Frames<'a>>],
) {
    m.allocator.free_pages_bulk(cx, slots.iter_mut().filter_map(Option::take));
}

#[inline(never)]
fn measured_empty(pairs: u64) {
    for i in 0..pairs {
        black_box(i);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    show(&LOOPS, run)
}
