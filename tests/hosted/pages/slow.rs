//! The slow path: which branches an allocation takes when there is no memory to spare.

mod apart;
mod report;
mod rows;
mod script;
mod table;

use super::*;
use crate::whole::with_plain_machine;
use pagewright_page::Frames;
use pagewright_zone::alloc::{AllocFlags, CompactResult, Context, NoHooks, Step, TaskFlags};
use pagewright_zone::watermark::ZoneMarks;
use pagewright_zone::{Gfp, NodeMask, ZoneKind};
use script::{Script, Used, words};

#[test]
fn reclaim_goes_on_as_long_as_it_helps_and_sixteen_rounds_when_it_does_not() {
    // Much could be freed, nothing is: sixteen fruitless rounds, then the killer, once, and once more in vain.
    let script = Script { reclaimable: 1 << 20, kills: 1.into(), ..Script::default() };
    let (steps, ok) = Used::of(&machine(16, 1)).alloc(&script, Gfp::GFP_KERNEL, Order::ZERO);
    assert!(!ok);
    let count = |step: Step| steps.iter().filter(|&&s| s == step).count();
    assert_eq!((count(Step::Oom(true)), count(Step::Oom(false))), (1, 1));
    assert_eq!(count(Step::RetryReclaim), 2 * 16);
    assert_eq!(count(Step::LastReserves(false)), 2);
}

#[test]
fn progress_towards_a_cheap_order_starts_the_count_anew() {
    // Each seventeenth round would be the last, were it not for a page now and then.
    let freed: Vec<u64> = (0..60).map(|n| u64::from(n % 16 == 15)).chain([0]).collect();
    let script = Script { reclaimable: 1 << 20, freed: freed.into(), ..Script::default() };
    let (steps, _) = Used::of(&machine(16, 1)).alloc(&script, Gfp::GFP_KERNEL, Order::ZERO);
    let rounds = steps.iter().filter(|s| matches!(s, Step::Reclaim(_))).count();
    assert_eq!(rounds, 48 + 17);
}

#[test]
fn blocks_that_compaction_makes_and_others_take_are_worth_sixteen_tries_a_quarter_for_costly_orders() {
    for (n, gfp, tries) in [(2, Gfp::GFP_KERNEL, 16), (5, Gfp::GFP_KERNEL | Gfp::RETRY_MAYFAIL, 4)] {
        let script = Script {
            freed: vec![1].into(),
            compact: vec![CompactResult::Success].into(),
            ..Script::default()
        };
        let (steps, ok) = Used::of(&machine(16, 1)).alloc(&script, gfp, order(n));
        assert!(!ok);
        // The first, asynchronous one does not count. A cheap order is tried again with full priority.
        let rounds = steps.iter().filter(|s| matches!(s, Step::Compact(..))).count() - 1;
        assert_eq!(rounds, if n == 2 { 2 * (tries + 1) } else { tries + 1 }, "{}", words(&steps));
    }
}

#[test]
fn masks_that_want_zeroes_get_them_on_every_path() {
    let script = Script::default();
    with_plain_machine(&machine(16, 1), &script, |m| {
        m.on_cpu(0, |cx| {
            for n in [0, 0, 3, 9] {
                let frames = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL | Gfp::ZERO, order(n)).unwrap();
                m.allocator.free_pages(cx, frames);
            }
            assert_eq!(script.zeroed(), 1 + 1 + 8 + 512);
        });
    });
}

#[test]
fn kswapd_is_told_what_is_wanted_on_every_node_that_would_do() {
    let script = Script::default();
    let _ = Used::of(&machine(16, 1)).alloc(&script, Gfp::GFP_NOWAIT, order(2));
    assert_eq!(script.woken(), [(node(0), order(2), ZoneKind::Normal); 2]);
    let script = Script::default();
    let _ = Used::of(&table::two_nodes()).alloc(&script, Gfp::GFP_NOWAIT, Order::ZERO);
    let both = [0, 1, 0, 1].map(|n| (node(n), Order::ZERO, ZoneKind::Normal));
    assert_eq!(script.woken(), both);
}

#[test]
fn kept_blocks_go_to_the_needy_at_last() {
    let small = PlainMachine { pageblock: order(6), ..machine(64, 1) };
    let script = Script { reclaimable: 1 << 20, ..Script::default() };
    with_plain_machine(&small, &script, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let cell = &m.allocator.zones()[0];
            let mut held = vec![];
            while cell.free_pages() > cell.min_pages() {
                held.push(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap());
            }
            let urgent = m.allocator.alloc_pages(cx, Gfp::GFP_ATOMIC, order(4)).unwrap();
            assert_eq!(cell.highatomic_pages(), 64);
            script.forget();
            held.extend(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO));
            let steps = script.steps();
            assert!(steps.contains(&Step::LastReserves(true)), "{}", words(&steps));
            assert_eq!(cell.highatomic_pages(), 0);
            held.push(urgent);
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn as_many_blocks_are_kept_as_reach_a_hundredth_of_the_zone_and_one_more() {
    // Of 256 pageblocks of 64 pages.
    let small = PlainMachine { pageblock: order(6), ..machine(64, 1) };
    with_plain_machine(&small, NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let cell = &m.allocator.zones()[0];
            let pages = cell.present_pages();
            // Nearly all is kept for the urgent, so that they find much, and find it with their reserves.
            let mut marks = ZoneMarks::new(node(0), ZoneKind::Normal, pages, true);
            (marks.min, marks.low, marks.high) = (pages, pages, pages);
            marks.pageset = cell.pageset();
            cell.set_marks(&marks);
            let urgent = |_| m.allocator.alloc_pages(cx, Gfp::GFP_ATOMIC, order(4)).unwrap();
            let (mut held, mut kept) = (vec![], vec![0]);
            for n in 0..200 {
                held.push(urgent(n));
                if *kept.last().unwrap() != cell.highatomic_pages() {
                    kept.push(cell.highatomic_pages());
                }
            }
            assert_eq!(pages / 100 + 64, 227, "and no more once there are as many");
            assert_eq!(kept, [0, 64, 128, 192, 256]);
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        expect_all_back(m, &before);
    });
}

/// All memory in movable blocks of half a pageblock, each second one free: the next unmovable page must mix with them.
fn half_used<'m, 'a>(m: &Pages<'_, 'm, '_, 'a, &Script>, cx: &Context<'_, 'm, 'a>) -> Vec<Frames<'a>> {
    let all = cx.with_task(TaskFlags::MEMALLOC);
    let mut held = vec![];
    while let Ok(block) = m.allocator.alloc_pages(&all, Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN, order(8)) {
        held.push(block);
    }
    let mut kept = vec![];
    for block in held {
        if m.base.map().pfn(block.start()).get() >> 8 & 1 == 0 {
            kept.push(block);
        } else {
            m.allocator.free_pages(cx, block);
        }
    }
    kept
}

#[test]
fn watermarks_rise_when_types_mix_and_fall_when_kswapd_is_done() {
    for kswapd in [true, false] {
        let script = Script { kswapd, ..Script::default() };
        with_plain_machine(&machine(64, 1), &script, |m| {
            let before = buddyinfo(m);
            m.on_cpu(0, |cx| {
                let cell = &m.allocator.zones()[0];
                let mut held = half_used(m, cx);
                script.forget();
                let mut steal = || {
                    held.push(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap());
                    // What the lists hold is of this type already; the rest of the pageblock too.
                    while !held.len().is_multiple_of(200) {
                        held.push(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap());
                    }
                    cell.boost_pages()
                };
                let block = 1 << 9;
                let first = steal();
                if !kswapd {
                    assert_eq!(first, 0, "nobody would lower it");
                    return held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
                }
                assert_eq!(first, block, "one pageblock");
                assert!(script.steps().contains(&Step::Boost(cell.id())));
                assert!(script.woken().contains(&(node(0), Order::ZERO, ZoneKind::Normal)));
                let most = cell.high_pages() * 15_000 / 10_000;
                let highest = (0..6).map(|_| steal()).max().unwrap();
                assert!(most > block && highest == most, "{highest} {most}");
                m.allocator.lower_boost(cell.id(), 200);
                assert_eq!(cell.boost_pages(), most - 200);
                m.allocator.lower_boost(cell.id(), 1 << 30);
                assert_eq!(cell.boost_pages(), 0);
                m.allocator.tuning().set_watermark_boost_factor(0);
                (0..6).for_each(|_| assert_eq!(steal(), 0));
                held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
            });
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn a_boost_keeps_nobody_urgent_from_a_page() {
    let script = Script { kswapd: true, ..Script::default() };
    with_plain_machine(&machine(64, 1), &script, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let cell = &m.allocator.zones()[0];
            let mut held = half_used(m, cx);
            let all = cx.with_task(TaskFlags::MEMALLOC);
            while cell.boost_pages() == 0 || cell.free_pages() > 200 {
                held.push(m.allocator.alloc_pages(&all, Gfp::GFP_KERNEL, Order::ZERO).unwrap());
            }
            m.allocator.drain_local_pages(cx);
            let (free, raised) = (cell.free_pages(), cell.min_pages() + cell.boost_pages());
            assert!(free < raised * 3 / 8 && free > cell.min_pages() * 3 / 8, "{free} {raised}");
            let block = m.allocator.alloc_pages(cx, Gfp::GFP_ATOMIC | Gfp::NOWARN, order(1));
            assert!(block.is_err(), "for a block the raised mark holds");
            held.push(m.allocator.alloc_pages(cx, Gfp::GFP_ATOMIC | Gfp::NOWARN, Order::ZERO).unwrap());
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn who_makes_memory_is_told_for_whom() {
    let script = Script { compact: vec![CompactResult::Complete].into(), ..Script::default() };
    let [one, two] = [0, 1].map(|n| NodeMask::only(node(n)));
    let used = Used {
        nodes: Some(&one),
        cpuset: Some(&two),
        task: TaskFlags::DYING,
        ..Used::of(&table::two_nodes())
    };
    let gfp = Gfp::GFP_HIGHUSER - Gfp::HARDWALL;
    let (_, ok) = used.alloc(&script, gfp, order(2));
    assert!(!ok);
    // Compaction, reclaim, compaction, those who give memory back, and the killer.
    let told = script.told.lock().unwrap();
    let both = [Some(one), Some(two)];
    assert_eq!(*told, vec![(node(0), ZoneKind::Normal, both, TaskFlags::DYING); 5]);
}

#[test]
fn a_tasks_limits_change_what_its_masks_mean() {
    let script = Script { kills: 9.into(), ..Script::default() };
    let used = Used { task: TaskFlags::NOFS, ..Used::of(&machine(16, 1)) };
    let (steps, ok) = used.alloc(&script, Gfp::GFP_KERNEL, Order::ZERO);
    assert!(!ok && steps.contains(&Step::OomNoFs));
    assert_eq!(TaskFlags::NOIO.limit(Gfp::GFP_KERNEL), Gfp::GFP_NOIO);
    assert_eq!(TaskFlags::PIN.limit(Gfp::GFP_HIGHUSER_MOVABLE), Gfp::GFP_HIGHUSER);
    with_plain_machine(&machine(16, 1), &Script::default(), |m| {
        m.on_cpu(0, |cx| {
            let pinned = cx.with_task(TaskFlags::PIN);
            let alloc = |cx| m.allocator.alloc_pages(cx, Gfp::GFP_HIGHUSER_MOVABLE, Order::ZERO).unwrap();
            let (movable, kept) = (alloc(cx), alloc(&pinned));
            let of = |frames: &pagewright_page::Frames<'_>| m.base.pageblocks().migrate_type(frames.start());
            assert_eq!((of(&movable), of(&kept)), (MigrateType::Movable, MigrateType::Unmovable));
            m.allocator.free_pages(cx, movable);
            m.allocator.free_pages(cx, kept);
        });
    });
}

#[test]
fn deferred_work_may_use_reserves_for_a_task_that_frees_memory() {
    let both = TaskFlags::INTERRUPT | TaskFlags::MEMALLOC;
    for (task, all) in [(both, false), (both | TaskFlags::SOFTIRQ, true)] {
        let used = Used { task, ..Used::of(&machine(16, 1)) };
        let (steps, _) = used.alloc(&Script::default(), Gfp::GFP_ATOMIC, Order::ZERO);
        let tried = |s: &Step| matches!(s, Step::Attempt(flags) if flags.contains(AllocFlags::NO_WATERMARKS));
        assert_eq!(steps.iter().any(tried), all);
    }
}
