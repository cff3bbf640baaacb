//! Pages that are freed one by one wait for the rest of their pageblock: nobody can tell but by asking for it.

use super::waiting;
use super::*;
use crate::whole::with_plain_machine;
use pagewright_page::{FrameIdx, Frames};
use pagewright_sim::random::Random;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{Context, NoHooks};
use pagewright_zone::debug::BadFree;
use std::collections::BTreeSet;

type Machine<'z, 'm, 's, 'a> = Pages<'z, 'm, 's, 'a, NoHooks>;

/// Every page that a CPU can have.
fn take_all<'m, 'a>(m: &Machine<'_, 'm, '_, 'a>, cx: &Context<'_, 'm, 'a>) -> Vec<Frames<'a>> {
    let gfp = Gfp::GFP_ATOMIC | Gfp::NOWARN;
    core::iter::from_fn(|| m.allocator.alloc_pages(cx, gfp, Order::ZERO).ok()).collect()
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for n in (1..items.len()).rev() {
        items.swap(n, random.below(n as u64 + 1) as usize);
    }
}

fn pages_that_wait(m: &Machine<'_, '_, '_, '_>) -> u64 {
    zone_ids(m).into_iter().map(|zone| m.allocator.waiting_pages(zone)).sum()
}

fn free_pages(m: &Machine<'_, '_, '_, '_>) -> u64 {
    m.allocator.zones().iter().map(ZoneCell::free_pages).sum()
}

/// By definition: each free frame is in the largest aligned block whose frames are all free.
fn blocks_of(free: &BTreeSet<u32>) -> Vec<u64> {
    let mut blocks = vec![0; 11];
    let mut next = 0;
    while let Some(&at) = free.range(next..).next() {
        let whole =
            |&n: &u8| at.is_multiple_of(1 << n) && (at..at + (1 << n)).all(|frame| free.contains(&frame));
        let order = (0..=10).rev().find(whole).unwrap();
        blocks[usize::from(order)] += 1;
        next = at + (1 << order);
    }
    blocks
}

/// Takes all of a machine, gives back a part in random order, and returns what is free then, by the lists and by the frames.
fn part_freed(machine: &PlainMachine, part: usize, seed: u64) -> (Vec<u64>, Vec<u64>, u64) {
    with_plain_machine(machine, NoHooks, |m| {
        let before = buddyinfo(m);
        let mut random = Random::new(seed);
        let result = m.on_cpu(0, |cx| {
            let mut held = take_all(m, cx);
            shuffle(&mut held, &mut random);
            let all: u64 = machine.ram.iter().map(|ram| ram.2).sum();
            let mut free: BTreeSet<u32> = (0..all as u32).collect();
            let keep = held.len() - held.len() * part / 100;
            held.drain(keep..).for_each(|frames| m.allocator.free_pages(cx, frames));
            held.iter().for_each(|frames| _ = free.remove(&frames.start().get()));
            m.allocator.drain_local_pages(cx);
            let waited = pages_that_wait(m);
            assert_eq!(free_pages(m), free.len() as u64, "what waits is free");
            let lists = buddyinfo(m).remove(0);
            assert_eq!(
                (pages_that_wait(m), free_pages(m)),
                (0, free.len() as u64),
                "who looks finds all in lists"
            );
            assert_eq!(m.allocator.validate(), Ok(()));
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
            (lists, blocks_of(&free), waited)
        });
        expect_all_back(m, &before);
        result
    })
}

/// Or kernels' memory would be spread over everybody's, only since somebody else freed it one by one.
#[test]
fn what_waits_of_a_type_is_merged_before_another_types_is_taken() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let movable = Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN;
            let low: Vec<_> =
                (0..1024).map(|_| m.allocator.alloc_pages(cx, movable, Order::ZERO).unwrap()).collect();
            let high = waiting::take_all(m, cx);
            let of_kernels =
                |page: &Frames<'_>| m.base.pageblocks().migrate_type(page.start()) == MigrateType::Unmovable;
            let (gone, rest): (Vec<_>, Vec<_>) =
                low.into_iter().chain(high).partition(|page| waiting::at(page).is_multiple_of(2));
            // What is merged first is the lowest: more of others than anybody merges at once.
            let others = gone.iter().take_while(|page| !of_kernels(page)).count();
            assert!(others > 300, "{others}");
            let own: BTreeSet<u32> = gone.iter().filter(|page| of_kernels(page)).map(waiting::at).collect();
            waiting::free(m, cx, gone);
            assert!(pages_that_wait(m) > 1500, "{}", pages_that_wait(m));
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_NOWAIT, Order::ZERO).unwrap();
            assert!(own.contains(&waiting::at(&page)), "{}", waiting::at(&page));
            m.allocator.free_pages(cx, page);
            waiting::free(m, cx, rest);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn free_blocks_are_those_of_pages_that_merge_when_they_come() {
    for (part, least) in [(3, 100), (25, 800), (50, 1600), (75, 2000), (97, 200)] {
        for seed in 0..3 {
            let (lists, blocks, waited) = part_freed(&machine(16, 1), part, seed);
            assert_eq!(lists, blocks, "{part} % of the pages, seed {seed}");
            assert!(waited >= least, "{part} %, seed {seed}: only {waited} pages waited");
            let eager = PlainMachine { parked: 0, ..machine(16, 1) };
            assert_eq!(part_freed(&eager, part, seed), (lists, blocks, 0));
        }
    }
    let (lists, blocks, _) = part_freed(&PlainMachine { pageblock: order(4), ..machine(4, 1) }, 60, 7);
    assert_eq!(lists, blocks);
}

/// Or an atomic allocation would pay for all that others freed.
#[test]
fn who_fills_a_list_merges_a_part_of_what_waits() {
    with_plain_machine(&machine(32, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let (freed, kept): (Vec<_>, Vec<_>) =
                take_all(m, cx).into_iter().partition(|frames| frames.start().get() % 2 == 0);
            freed.into_iter().rev().for_each(|frames| m.allocator.free_pages(cx, frames));
            m.allocator.drain_local_pages(cx);
            let waited = pages_that_wait(m);
            assert!(waited > 2000, "only {waited} pages wait");
            let one = m.allocator.alloc_pages(cx, Gfp::GFP_ATOMIC, Order::ZERO).expect("half is free");
            let merged = waited - pages_that_wait(m);
            assert!((1..=512).contains(&merged), "{merged} of {waited}");
            // For all there is, the rest is merged as well, and nothing is said to be gone that waits.
            let rest = take_all(m, cx);
            assert_eq!(pages_that_wait(m), 0);
            let all = [kept, rest, vec![one]].into_iter().flatten();
            all.for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn double_frees_of_pages_that_wait_have_their_name() {
    for hardened in [false, true] {
        with_plain_machine(&machine(16, 1), NoHooks, |m| {
            let before = buddyinfo(m);
            m.allocator.set_hardened(hardened);
            m.on_cpu(0, |cx| {
                let get = || m.allocator.get_free_pages(cx, Gfp::GFP_ATOMIC | Gfp::NOWARN, Order::ZERO).ok();
                let mut held: Vec<_> = core::iter::from_fn(get).collect();
                held.sort_unstable();
                // One by itself, and then three that follow each other, which its neighbours are not.
                let at = held.iter().position(|pfn| pfn.get() % 512 == 64).expect("a pageblock");
                let (lone, run) = (held[at], [held[at + 5], held[at + 6], held[at + 7]]);
                let other = held[at + 40];
                held.retain(|pfn| *pfn != lone && *pfn != other && !run.contains(pfn));
                for pfn in [other, lone, run[0], run[1], run[2]] {
                    assert_eq!(m.allocator.free_pages_at(cx, pfn, Order::ZERO), Ok(()));
                }
                m.allocator.drain_local_pages(cx);
                assert_eq!(pages_that_wait(m), 5);
                for pfn in [run[1], run[2], run[0], lone, other] {
                    let refused = m.allocator.free_pages_at(cx, pfn, Order::ZERO);
                    assert_eq!(refused, Err(BadFree::DoubleFree(pfn)));
                }
                held.into_iter().for_each(|pfn| m.allocator.free_pages_at(cx, pfn, Order::ZERO).unwrap());
            });
            m.allocator.set_hardened(false);
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn a_pageblock_waits_no_longer_when_it_is_whole() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let mut held = take_all(m, cx);
            shuffle(&mut held, &mut Random::new(5));
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
            m.allocator.drain_local_pages(cx);
        });
        // Two that are neighbours came as a run, perhaps of a pageblock of which nothing lay there: only that one can be left.
        assert!(pages_that_wait(m) < 1024, "{}", pages_that_wait(m));
        expect_all_back(m, &before);
    });
}

#[test]
fn blocks_of_every_order_are_made_of_pages_that_wait() {
    let own = (1..=10).map(|n| (n, Gfp::GFP_ATOMIC));
    // And the largest for a type that has to take the pageblocks over.
    for (n, gfp) in own.chain([(10, Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN)]) {
        with_plain_machine(&machine(16, 1), NoHooks, |m| {
            let before = buddyinfo(m);
            m.on_cpu(0, |cx| {
                let held = take_all(m, cx);
                let (wanted, first) = (order(n), 2048);
                let inside = |frames: &Frames<'_>| {
                    (first..first + wanted.pages()).contains(&u64::from(frames.start().get()))
                };
                let (mut inside, rest): (Vec<_>, Vec<_>) = held.into_iter().partition(inside);
                assert_eq!(inside.len() as u64, wanted.pages());
                // Enough for the watermarks, but every other page: nothing merges.
                let (mut lone, rest): (Vec<_>, Vec<_>) = rest
                    .into_iter()
                    .partition(|frames| frames.start().get() > 3100 && frames.start().get() % 2 == 0);
                let mut random = Random::new(u64::from(n));
                shuffle(&mut inside, &mut random);
                lone.append(&mut inside);
                shuffle(&mut lone, &mut random);
                lone.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
                m.allocator.drain_local_pages(cx);
                assert!(pages_that_wait(m) > 0);
                let block = m.allocator.alloc_pages(cx, gfp, wanted).expect("it is there");
                assert_eq!((u64::from(block.start().get()), pages_that_wait(m)), (first, 0));
                m.allocator.free_pages(cx, block);
                rest.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
            });
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn pages_of_cma_do_not_wait() {
    let area = (0x4_0800, 1024);
    with_plain_machine(&PlainMachine { cma: vec![area], ..machine(16, 1) }, NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let gfp = Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN;
            let mut held: Vec<_> =
                core::iter::from_fn(|| m.allocator.alloc_pages(cx, gfp, Order::ZERO).ok()).collect();
            let lent =
                |frames: &Frames<'_>| m.base.pageblocks().migrate_type(frames.start()) == MigrateType::Cma;
            shuffle(&mut held, &mut Random::new(3));
            let (lent, others): (Vec<_>, Vec<_>) = held.into_iter().partition(lent);
            assert!(lent.len() > 500);
            let cma_before = m.allocator.zones()[0].free_cma_pages();
            let count = lent.len() as u64;
            lent.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
            m.allocator.drain_local_pages(cx);
            assert_eq!(m.allocator.zones()[0].free_cma_pages(), cma_before + count);
            assert_eq!(pages_that_wait(m), 0);
            others.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn what_finds_its_slot_taken_settles_that_first() {
    // 2048 pageblocks, twice as many as can wait: those of half the machine share their slots with the others.
    let machine = PlainMachine { pageblock: order(4), parked: 1024 << 4, ..machine(128, 1) };
    with_plain_machine(&machine, NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let mut held = take_all(m, cx);
            shuffle(&mut held, &mut Random::new(11));
            let mut most = 0;
            for frames in held {
                m.allocator.free_pages(cx, frames);
                most = most.max(pages_that_wait(m));
            }
            assert!((1024..=1024 * 15).contains(&most), "{most}");
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn contiguous_ranges_have_pages_that_wait() {
    use pagewright_addr::{Pfn, PfnRange};
    use pagewright_sim::tenants::Tenants;
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        let nobody = Tenants::new(*m.base.map());
        m.on_cpu(0, |cx| {
            let mut held = take_all(m, cx);
            shuffle(&mut held, &mut Random::new(2));
            let range = PfnRange::from_len(Pfn::new(0x4_0000 + 1030), 700);
            let is_inside = |frames: &Frames<'_>| {
                (1030..1730).contains(&frames.start().get()) || frames.start().get() > 3500
            };
            let (inside, rest): (Vec<_>, Vec<_>) = held.into_iter().partition(is_inside);
            inside.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
            m.allocator.drain_local_pages(cx);
            assert!(pages_that_wait(m) > 700);
            let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN;
            let had = m.allocator.alloc_contig_range(cx, &nobody, range, MigrateType::Movable, gfp);
            let had = had.expect("all of it is free");
            assert_eq!((had.start(), had.len()), (FrameIdx::new(1030), 700));
            m.allocator.free_pages(cx, had);
            rest.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn two_cpus_free_at_random_while_others_look() {
    if cfg!(miri) {
        return;
    }
    with_plain_machine(&machine(32, 3), NoHooks, |m| {
        let before = buddyinfo(m);
        for seed in 0..4 {
            let mut held = m.on_cpu(0, |cx| take_all(m, cx));
            shuffle(&mut held, &mut Random::new(seed));
            let second = held.split_off(held.len() / 2);
            std::thread::scope(|scope| {
                for (cpu, frames) in [(0, held), (1, second)] {
                    scope.spawn(move || {
                        m.on_cpu(cpu, |cx| {
                            frames.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames))
                        });
                    });
                }
                scope.spawn(|| {
                    m.on_cpu(2, |cx| {
                        for n in 0..400_u32 {
                            let order = order((n % 11) as u8);
                            if let Ok(block) =
                                m.allocator.alloc_pages(cx, Gfp::GFP_NOWAIT | Gfp::NOWARN, order)
                            {
                                m.allocator.free_pages(cx, block);
                            }
                            let free = m.allocator.free_areas(zone_ids(m)[0]).pages();
                            assert!(free <= 32 << 8, "{free}");
                        }
                    });
                });
            });
            expect_all_back(m, &before);
        }
    });
}
