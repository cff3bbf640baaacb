//! Pages that wait for the rest of their pageblock: on machines of other shapes, beside memory that comes and goes, and seen by who looks without the lock.

use super::contig::{all_leave, settle};
use super::*;
use crate::whole::{with_broken_machine, with_plain_machine};
use pagewright_addr::{Pfn, PfnRange};
use pagewright_page::Frames;
use pagewright_platform::Interrupts;
use pagewright_sim::pages::{with_interrupted_machine, with_pluggable_machine};
use pagewright_sim::random::Random;
use pagewright_sim::tenants::Tenants;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::hotplug::{MemoryBlock, MemoryBlocks, NoNotifier, OnlineType};
use pagewright_zone::alloc::{Context, NoHooks, NodeReclaim, NotZeroed, Step, TaskFlags};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Every page that there is.
pub(super) fn take_all<'m, 'a, H: Hooks>(
    m: &Pages<'_, 'm, '_, 'a, H>,
    cx: &Context<'_, 'm, 'a>,
) -> Vec<Frames<'a>> {
    let (all, gfp) = (cx.with_task(TaskFlags::MEMALLOC), Gfp::GFP_ATOMIC | Gfp::NOWARN);
    core::iter::from_fn(|| m.allocator.alloc_pages(&all, gfp, Order::ZERO).ok()).collect()
}

pub(super) fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut random = Random::new(seed);
    for n in (1..items.len()).rev() {
        items.swap(n, random.below(n as u64 + 1) as usize);
    }
}

fn waiting<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>) -> u64 {
    zone_ids(m).into_iter().map(|zone| m.allocator.waiting_pages(zone)).sum()
}

/// Frees pages one by one and empties the CPU's lists.
pub(super) fn free<'m, 'a, H: Hooks>(
    m: &Pages<'_, 'm, '_, 'a, H>,
    cx: &Context<'_, 'm, 'a>,
    pages: Vec<Frames<'a>>,
) {
    pages.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
    m.allocator.drain_local_pages(cx);
}

pub(super) fn at(page: &Frames<'_>) -> u32 {
    page.start().get()
}

/// By definition: each free frame is in the largest aligned block whose frames are all free.
fn blocks_of(free: &BTreeSet<u32>, largest: u8) -> Vec<u64> {
    let mut blocks = vec![0; usize::from(largest) + 1];
    let mut next = 0;
    while let Some(&at) = free.range(next..).next() {
        let whole = |&n: &u8| {
            let end = at + (1 << n);
            at.is_multiple_of(1 << n) && free.range(at..end).count() == 1 << n
        };
        let order = (0..=largest).rev().find(whole).unwrap();
        blocks[usize::from(order)] += 1;
        next = at + (1 << order);
    }
    blocks
}

/// Takes all of a machine of one zone and frees a part of it at random: how many pages wait then. Who looks finds the blocks that there are by definition.
fn part_freed(machine: &PlainMachine, part: usize, seed: u64) -> u64 {
    with_plain_machine(machine, NoHooks, |m| {
        let before = buddyinfo(m);
        let waited = m.on_cpu(0, |cx| {
            let mut held = take_all(m, cx);
            shuffle(&mut held, seed);
            let rest = held.split_off(held.len() * part / 100);
            let lying: BTreeSet<u32> = held.iter().map(at).collect();
            free(m, cx, held);
            let waited = waiting(m);
            assert_eq!(buddyinfo(m)[0], blocks_of(&lying, m.base.largest_order().get()));
            assert_eq!((waiting(m), m.allocator.validate()), (0, Ok(())));
            free(m, cx, rest);
            waited
        });
        expect_all_back(m, &before);
        waited
    })
}

#[test]
fn pages_of_a_zone_that_begins_inside_a_pageblock_wait_like_others() {
    for hole in [1, 100, 511] {
        // The first pageblock begins in a hole, the last one ends in another.
        let ram = vec![(NodeId::ZERO, 0x4_0000 + hole, 2048 - hole - 37)];
        for seed in 0..3 {
            let waited = part_freed(&PlainMachine { ram: ram.clone(), ..machine(8, 1) }, 60, seed);
            assert!(waited > 300, "a hole of {hole}, seed {seed}: only {waited} pages waited");
        }
    }
}

#[test]
fn pages_on_both_sides_of_a_limit_between_zones_do_not_wait_for_each_other() {
    // ZONE_DMA32 ends inside a pageblock.
    let machine = PlainMachine { dma32_end: 0x4_0000 + 1300, ..machine(16, 1) };
    with_plain_machine(&machine, NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let mut held = take_all(m, cx);
            shuffle(&mut held, 4);
            let (mut low, mut high) = (0, 0);
            for page in &held {
                match m.base.pageblocks().zone_of(page.start()).unwrap().index() {
                    0 => low += 1,
                    _ => high += 1,
                }
            }
            let before = [0, 1].map(|zone: usize| m.allocator.zones()[zone].free_pages());
            free(m, cx, held);
            let now = [0, 1].map(|zone: usize| m.allocator.zones()[zone].free_pages());
            assert_eq!(before, [0, 0]);
            assert_eq!(now, [low, high], "each zone got its own");
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn pageblocks_of_order_13_wait_as_smaller_ones_do() {
    // As arm64 has them with pages of 64 KiB: 512 MiB.
    let machine = PlainMachine { pageblock: order(13), largest: order(13), ..PlainMachine::new(3 << 13, 1) };
    let waited = part_freed(&machine, 50, 1);
    assert!(waited > 5000, "only {waited} pages waited");
    with_plain_machine(&machine, NoHooks, |m| {
        let before = buddyinfo(m);
        assert_eq!(before[0][13], 3);
        m.on_cpu(0, |cx| {
            let mut held = take_all(m, cx);
            shuffle(&mut held, 2);
            free(m, cx, held);
            // A whole pageblock waits no longer; of each at most one that began as a run of neighbours is left.
            assert!(waiting(m) < 2 << 13, "{}", waiting(m));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn without_memory_for_them_no_page_waits_and_all_merge_at_once() {
    for machine in [machine(16, 1), PlainMachine { single_lists: true, ..machine(16, 1) }] {
        let machine = PlainMachine { parked: 0, ..machine };
        for seed in 0..3 {
            assert_eq!(part_freed(&machine, 70, seed), 0);
        }
        with_plain_machine(&machine, NoHooks, |m| {
            let before = buddyinfo(m);
            m.on_cpu(0, |cx| {
                let mut held = take_all(m, cx);
                shuffle(&mut held, 9);
                for page in held {
                    m.allocator.free_pages(cx, page);
                    assert_eq!(waiting(m), 0);
                }
            });
            expect_all_back(m, &before);
        });
    }
}

/// Reclaim on a node, by somebody else who frees what he has.
struct Reclaim {
    ask: Mutex<Option<(SyncSender<()>, Receiver<()>)>>,
    steps: Mutex<Vec<Step>>,
}

impl Hooks for Reclaim {
    fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
        Err(NotZeroed)
    }
    fn node_reclaim(&self, _: NodeId, _: Order, _: Gfp) -> NodeReclaim {
        if let Some((ask, done)) = &*self.ask.lock().unwrap() {
            ask.send(()).unwrap();
            done.recv().unwrap();
        }
        NodeReclaim::Success
    }
    fn step(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
    }
}

#[test]
fn who_looks_again_after_reclaim_on_the_node_sees_what_waits_by_then() {
    let hooks = Reclaim { ask: Mutex::default(), steps: Mutex::default() };
    with_plain_machine(&machine(16, 2), &hooks, |m| {
        let before = buddyinfo(m);
        let (held, mut freed) = m.on_cpu(0, |cx| {
            let held = take_all(m, cx);
            // All of a block of order 5, and lone pages that are enough for the watermarks.
            let goes =
                |page: &Frames<'_>| at(page) / 32 == 70 || (at(page) > 2600 && at(page).is_multiple_of(2));
            let (goes, stays): (Vec<_>, Vec<_>) = held.into_iter().partition(goes);
            (stays, goes)
        });
        shuffle(&mut freed, 6);
        m.allocator.tuning().set_node_reclaim_mode(1);
        let (ask, asked) = sync_channel(0);
        let (answer, answered) = sync_channel(0);
        *hooks.ask.lock().unwrap() = Some((ask, answered));
        hooks.steps.lock().unwrap().clear();
        let got = thread::scope(|scope| {
            scope.spawn(move || {
                asked.recv().unwrap();
                m.on_cpu(1, |cx| free(m, cx, freed));
                assert!(waiting(m) > 500, "{}", waiting(m));
                answer.send(()).unwrap();
            });
            let got = m.on_cpu(0, |cx| m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL | Gfp::NOWARN, order(5)));
            hooks.ask.lock().unwrap().take();
            got
        });
        let block = got.expect("it is there");
        assert_eq!(at(&block), 70 * 32);
        let steps = hooks.steps.lock().unwrap().clone();
        assert_eq!(steps, [Step::ReclaimNode(node(0), NodeReclaim::Success)], "nothing else was needed");
        m.on_cpu(0, |cx| {
            m.allocator.free_pages(cx, block);
            free(m, cx, held);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn every_block_that_was_freed_before_is_found_while_others_free_and_look() {
    const GROUPS: u32 = 64;
    if cfg!(miri) {
        return;
    }
    with_plain_machine(&machine(32, 4), NoHooks, |m| {
        let before = buddyinfo(m);
        for seed in 0..6 {
            let held = m.on_cpu(0, |cx| take_all(m, cx));
            // Lone pages above, so that no watermark is in the way; below, blocks of order 5 that come one by one.
            let (mut lone, held): (Vec<_>, Vec<_>) =
                held.into_iter().partition(|page| at(page) > 4400 && at(page).is_multiple_of(2));
            let (groups, rest): (Vec<_>, Vec<_>) =
                held.into_iter().partition(|page| at(page) < 2 * GROUPS * 32);
            shuffle(&mut lone, seed);
            m.on_cpu(0, |cx| free(m, cx, lone));
            let mut of: Vec<Vec<Frames<'_>>> = (0..2 * GROUPS).map(|_| vec![]).collect();
            groups.into_iter().for_each(|page| of[at(&page) as usize / 32].push(page));
            of.iter_mut().for_each(|group| shuffle(group, seed));
            shuffle(&mut of, seed);
            let second = of.split_off(GROUPS as usize);
            let (there, done) = (AtomicU64::new(0), AtomicBool::new(false));
            let found = thread::scope(|scope| {
                for (cpu, groups) in [(0, of), (1, second)] {
                    let there = &there;
                    scope.spawn(move || {
                        m.on_cpu(cpu, |cx| {
                            for group in groups {
                                free(m, cx, group);
                                there.fetch_add(1, SeqCst);
                            }
                        });
                    });
                }
                // Somebody merges all the while what another may just be looking for.
                scope.spawn(|| {
                    while !done.load(SeqCst) {
                        assert!(buddyinfo(m)[0][0] > 0);
                    }
                });
                let looker = scope.spawn(|| {
                    m.on_cpu(3, |cx| {
                        // By the zonelist, where watermarks are looked at without the lock.
                        let gfp = Gfp::GFP_NOWAIT | Gfp::NOWARN | Gfp::THISNODE;
                        let mut found = vec![];
                        while found.len() < 2 * GROUPS as usize {
                            if there.load(SeqCst) > found.len() as u64 {
                                let block = m.allocator.alloc_pages(cx, gfp, order(5));
                                found.push(block.expect("as many were freed and not taken yet"));
                            } else {
                                thread::yield_now();
                            }
                        }
                        found
                    })
                });
                let found = looker.join();
                done.store(true, SeqCst);
                found.expect("every block is found")
            });
            assert!(found.iter().all(|block| at(block) < 2 * GROUPS * 32), "there was nothing else");
            m.on_cpu(0, |cx| {
                found.into_iter().for_each(|block| m.allocator.free_pages(cx, block));
                free(m, cx, rest);
            });
            expect_all_back(m, &before);
        }
    });
}

thread_local! {
    /// Whether this thread is the one that merges.
    static MERGES: Cell<bool> = const { Cell::new(false) };
}

/// Whenever the one who merges lets interrupts come, has another thread look at the zone under its lock.
struct Turns {
    /// Whether to look; if not, that was all.
    ask: SyncSender<bool>,
    answer: Mutex<Receiver<u64>>,
    seen: Mutex<Vec<u64>>,
}

// SAFETY: there are no handlers.
unsafe impl Interrupts for &Turns {
    type Before = ();

    fn disable(&self) {}

    fn restore(&self, (): ()) {
        if MERGES.get() {
            self.ask.send(true).unwrap();
            let answer = self.answer.lock().unwrap().recv_timeout(Duration::from_secs(60));
            self.seen.lock().unwrap().push(answer.expect("the zone's lock can be had"));
        }
    }
}

#[test]
fn who_merges_all_that_waits_lets_others_have_the_lock_in_between() {
    if cfg!(miri) {
        return;
    }
    // Merged at a time, at most: a part, and the run of pages with which it ends.
    const PART: u64 = 256 + 512;
    let ((ask, asked), (tell, answer)) = (sync_channel(0), sync_channel(0));
    let turns = Turns { ask, answer: Mutex::new(answer), seen: Mutex::default() };
    with_interrupted_machine(&machine(64, 1), &turns, |m| {
        let zone = m.allocator.zones()[0].id();
        m.on_cpu(0, |cx| {
            let all = cx.with_task(TaskFlags::MEMALLOC);
            let take = || m.allocator.alloc_pages(&all, Gfp::GFP_ATOMIC | Gfp::NOWARN, Order::ZERO).ok();
            let held: Vec<_> = core::iter::from_fn(take).collect();
            let (mut lone, rest): (Vec<_>, Vec<_>) =
                held.into_iter().partition(|page| at(page).is_multiple_of(2));
            shuffle(&mut lone, 3);
            lone.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
            m.allocator.drain_local_pages(cx);
            let mut last = m.allocator.waiting_pages(zone);
            assert!(last > 6000, "{last}");
            let smallest = thread::scope(|scope| {
                scope.spawn(move || {
                    for _ in asked.iter().take_while(|look| *look) {
                        tell.send(m.allocator.waiting_pages(zone)).unwrap();
                    }
                });
                MERGES.set(true);
                let areas = m.allocator.free_areas(zone);
                MERGES.set(false);
                turns.ask.send(false).unwrap();
                areas.blocks(Order::ZERO)
            });
            assert!(smallest > 6000, "{smallest}");
            for now in turns.seen.lock().unwrap().drain(..) {
                assert!(last - now <= PART, "{last} pages waited, then {now}");
                last = now;
            }
            assert_eq!(last, 0);
            rest.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
            m.allocator.drain_local_pages(cx);
        });
        assert_eq!(m.allocator.validate(), Ok(()));
    });
}

#[test]
fn memory_goes_offline_and_comes_back_while_pages_of_it_wait() {
    use super::hotplug::plug;
    const BLOCK: u64 = 1024;
    const FIRST: u64 = 0x4_0000 / BLOCK;
    let spare = pagewright_sim::pages::Pluggable { frames: 2 * BLOCK, nodes: vec![node(1)] };
    let machine = PlainMachine { plug: spare, ..PlainMachine::new(6 * BLOCK, 2) };
    for seed in 0..3 {
        with_pluggable_machine(&machine, NoHooks, None, |m, marks| {
            let mut room = vec![];
            room.resize_with(8, || MemoryBlock::EMPTY);
            let mut blocks =
                MemoryBlocks::new(&mut room, &m.allocator, BLOCK, pagewright_addr::PageShift::SHIFT_4K)
                    .unwrap();
            let before = buddyinfo(m);
            let mut plug = plug(marks, &NoNotifier);
            m.on_cpu(0, |cx| {
                let tenants = Tenants::new(*m.base.map());
                settle(m, cx, &tenants, 5 * BLOCK as usize, Order::ZERO);
                // Two thirds leave, one here and one there: their pages wait, and the others are in the way of whoever takes the block.
                let mut names = tenants.names();
                shuffle(&mut names, seed);
                names.truncate(names.len() * 2 / 3);
                let left: Vec<_> = names.into_iter().map(|name| tenants.leave(name).unwrap()).collect();
                free(m, cx, left);
                let inside = |tenants: &Tenants<'_>| {
                    let inside = |n: u32| (2 * BLOCK..3 * BLOCK).contains(&u64::from(n));
                    tenants.places().iter().filter(|place| inside(place.1.get())).count()
                };
                assert!(waiting(m) > 1000, "{}", waiting(m));
                assert!(inside(&tenants) > 100, "{}", inside(&tenants));
                let (free_before, number) = (m.allocator.zones()[0].free_pages(), FIRST + 2);
                let moved = inside(&tenants) as u64;
                m.allocator.offline_pages(cx, &tenants, &mut blocks, number, &mut plug).unwrap();
                tenants.check();
                assert_eq!((inside(&tenants), waiting(m)), (0, 0));
                m.allocator.drain_local_pages(cx);
                assert_eq!(m.allocator.zones()[0].free_pages(), free_before - BLOCK, "{moved} pages moved");
                // Others wait while it comes back.
                let mut names = tenants.names();
                shuffle(&mut names, seed + 10);
                names.truncate(names.len() / 2);
                let left: Vec<_> = names.into_iter().map(|name| tenants.leave(name).unwrap()).collect();
                let many = left.len() as u64;
                free(m, cx, left);
                assert!(waiting(m) > 0);
                m.allocator.online_pages(&mut blocks, number, OnlineType::Online, &mut plug).unwrap();
                assert_eq!(m.allocator.zones()[0].free_pages(), free_before + many);
                assert_eq!(m.allocator.validate(), Ok(()));
                all_leave(m, cx, &tenants);
            });
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn a_contiguous_range_is_had_from_among_pages_that_wait() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            settle(m, cx, &tenants, 3500, Order::ZERO);
            let mut names = tenants.names();
            shuffle(&mut names, 8);
            names.truncate(2500);
            let left: Vec<_> = names.into_iter().map(|name| tenants.leave(name).unwrap()).collect();
            free(m, cx, left);
            assert!(waiting(m) > 500, "{}", waiting(m));
            let range = PfnRange::from_len(Pfn::new(0x4_0000 + 700), 900);
            let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN;
            let had = m.allocator.alloc_contig_range(cx, &tenants, range, MigrateType::Movable, gfp).unwrap();
            assert_eq!((at(&had), had.len()), (700, 900));
            m.allocator.free_pages(cx, had);
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn hardened_lists_cost_allocations_nothing_and_look_at_each_page_that_is_freed() {
    with_broken_machine(&machine(16, 1), NoHooks, |m| {
        m.on_cpu(0, |cx| {
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            m.allocator.free_pages(cx, page);
            m.allocator.set_hardened(true);
            // Served by the CPU's lists alone, or not at all.
            let page = m.allocator.alloc_listed(cx, Gfp::GFP_KERNEL, Order::ZERO);
            let page = page.expect("the list has some, and nothing else is to be done");
            m.base.map().set_flags(page.start(), pagewright_page::PageFlags::DIRTY);
            let freed = std::panic::AssertUnwindSafe(|| m.allocator.free_pages(cx, page));
            let text = std::panic::catch_unwind(freed).unwrap_err().downcast::<String>().unwrap();
            assert!(text.contains("bad page state"), "{text}");
            m.allocator.set_hardened(false);
        });
    });
}
