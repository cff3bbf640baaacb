//! Random operations against a set of frames: nothing is handed out twice, nothing is lost.

use super::*;
use crate::whole::with_plain_machine;
use pagewright_page::{FrameIdx, Frames};
use pagewright_sim::exercise::MASKS;
use pagewright_sim::random::{Random, from_env};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{AllocFailure, Context, NoHooks};
use std::collections::BTreeMap;

/// By first index: the frames that somebody has.
type Held<'a> = BTreeMap<u32, Frames<'a>>;

/// Notes that somebody has frames, which nobody else may have.
fn hold<'a>(held: &mut Held<'a>, frames: Frames<'a>) {
    let (start, end) = (frames.start().get(), frames.start().get() + frames.len() as u32);
    let below = held.range(..end).next_back();
    let free = below.is_none_or(|(&at, f)| at + f.len() as u32 <= start);
    assert!(free, "frame {start:#x} was handed out twice");
    held.insert(start, frames);
}

/// Allocates in bulk around pages that are held already, and gives about half of the result back at once. Returns by how many pages
/// more are held.
fn in_bulk<'m, 'a>(
    m: &Pages<'_, 'm, '_, 'a, NoHooks>,
    cx: &Context<'_, 'm, 'a>,
    random: &mut Random,
    held: &mut Held<'a>,
) -> u64 {
    let mut slots: Vec<Option<Frames<'a>>> = (0..1 + random.below(300)).map(|_| None).collect();
    let mut old = vec![];
    for slot in &mut slots {
        let start = held.range(random.below(1 << 16) as u32..).next().map(|(&start, _)| start);
        if let Some(start) = start.filter(|_| random.below(16) == 0) {
            *slot = held.remove(&start);
            old.push(start);
        }
    }
    let gfp = MASKS[random.below(MASKS.len() as u64) as usize] | Gfp::NOWARN;
    let filled = m.allocator.alloc_pages_bulk(cx, gfp, &mut slots);
    let still = slots.iter().take_while(|slot| slot.is_some()).count();
    assert_eq!(filled, still, "what is said to be filled is");
    let mut more = 0;
    let mut back = vec![];
    for frames in slots.into_iter().flatten() {
        if old.contains(&frames.start().get()) {
            hold(held, frames);
            continue;
        }
        assert_eq!(frames.len(), 1);
        if random.below(2) == 0 {
            more += 1;
            hold(held, frames);
        } else {
            back.push(frames);
        }
    }
    m.allocator.free_pages_bulk(cx, back);
    more
}

/// `ops` operations from a seed on the machine's CPUs, one after another.
fn play(machine: &PlainMachine, ops: u64, seed: u64) {
    with_plain_machine(machine, NoHooks, |m| {
        let before = buddyinfo(m);
        let mut random = Random::new(seed);
        let mut held = Held::new();
        let mut pages = 0;
        for op in 0..ops {
            let cpu = random.below(m.cpus() as u64) as usize;
            m.on_cpu(cpu, |cx| {
                // Phases of filling and of emptying.
                let fill = if op / 512 % 3 == 2 { 3 } else { 6 };
                if random.below(64) == 0 {
                    pages += in_bulk(m, cx, &mut random, &mut held);
                } else if random.below(10) < fill {
                    let order = order([0, 0, 0, 0, 1, 2, 3, 4, 6, 9][random.below(10) as usize]);
                    let mut gfp = MASKS[random.below(MASKS.len() as u64) as usize] | Gfp::NOWARN;
                    let exact = random.below(16) == 0;
                    gfp.set(Gfp::COMP, !exact && random.below(4) == 0);
                    // What an exact number ignores anyway.
                    gfp.set(Gfp::HIGHMEM, !exact && gfp.contains(Gfp::HIGHMEM));
                    // More than half of a block, so that this order is what it takes.
                    let len = order.pages() - if exact { random.below(order.pages().div_ceil(2)) } else { 0 };
                    let found = if exact {
                        m.allocator.alloc_pages_exact(cx, gfp, len)
                    } else {
                        m.allocator.alloc_pages(cx, gfp, order)
                    };
                    match found {
                        Ok(frames) => {
                            assert!(frames.start().is_aligned(order));
                            assert_eq!(frames.len(), len);
                            let compound = gfp.contains(Gfp::COMP) && !order.is_zero();
                            assert_eq!(m.base.map().is_head(frames.start()), compound);
                            pages += frames.len();
                            hold(&mut held, frames);
                        }
                        Err(e) => {
                            assert_eq!(e, AllocFailure::NoMemory { order, gfp });
                            assert!(pages > 0, "an empty machine serves");
                        }
                    }
                } else if let Some(start) =
                    held.range(random.below(1 << 16) as u32..).next().map(|(&start, _)| start)
                    && let Some(frames) = held.remove(&start)
                {
                    pages -= frames.len();
                    // Now and then in two parts.
                    let map = m.base.map();
                    let (idx, whole) = (frames.start(), map.is_head(frames.start()));
                    if whole {
                        let inside = FrameIdx::new(idx.get() + random.below(frames.len()) as u32);
                        assert_eq!(map.compound_head(inside), idx);
                        assert_eq!(map.compound_order(idx).pages(), frames.len());
                    }
                    if !whole && frames.len() > 2 && random.below(4) == 0 {
                        let at = 1 + random.below(frames.len() - 1);
                        let (low, high) = m.base.map().split_at(frames, at);
                        m.allocator.free_pages(cx, high);
                        m.allocator.free_pages(cx, low);
                    } else {
                        m.allocator.free_pages(cx, frames);
                    }
                }
            });
            if op % 4096 == 4095 {
                assert_eq!(m.allocator.validate(), Ok(()), "after {op} operations");
                let free: u64 = m.allocator.zones().iter().map(|z| z.free_pages()).sum();
                let listed: u64 = (0..m.cpus())
                    .map(|cpu| {
                        m.on_cpu(cpu, |cx| {
                            let own = cx.cpu.enter().unwrap();
                            zone_ids(m).into_iter().map(|z| u64::from(own.count(z))).sum::<u64>()
                        })
                    })
                    .sum();
                let all: u64 = machine.ram.iter().map(|r| r.2).sum();
                assert_eq!(free + listed + pages, all, "every page is somewhere, and only there");
            }
        }
        m.on_cpu(0, |cx| held.into_values().for_each(|frames| m.allocator.free_pages(cx, frames)));
        expect_all_back(m, &before);
    });
}

#[test]
fn random_operations_lose_and_double_nothing() {
    let ops = from_env("PAGEWRIGHT_PAGE_OPS", if cfg!(miri) { 60 } else { 1_000_000 }) / 3;
    let seed = from_env("PAGEWRIGHT_SEED", 1);
    if cfg!(miri) {
        return play(&PlainMachine { pageblock: order(4), ..PlainMachine::new(2048, 2) }, ops, seed);
    }
    play(&machine(64, 2), ops, seed);
    let numa = PlainMachine {
        ram: vec![(node(0), 0x4_0000, 40 << 8), (node(1), 0x8_0000, 24 << 8)],
        cpus: vec![node(0), node(1), node(1)],
        dma32_end: 0x4_1000,
        ..PlainMachine::new(0, 0)
    };
    play(&numa, ops, seed + 1);
    play(&PlainMachine { pageblock: order(5), ..machine(16, 1) }, ops, seed + 2);
}
