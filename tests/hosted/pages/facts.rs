//! What single operations do.

use super::*;
use crate::whole::{with_broken_machine, with_plain_machine};
use pagewright_page::Frames;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{AllocFailure, NoHooks, Reasons, TaskFlags};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn pages_come_in_batches_lowest_first_and_the_last_freed_is_used_next() {
    with_plain_machine(&machine(256, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let zone = zone_ids(m)[0];
            let batch = cx.cpu.enter().unwrap().zone(zone).unwrap().batch();
            let free = m.allocator.zones()[0].free_pages();
            let pages: Vec<_> =
                (0..3).map(|_| m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap()).collect();
            let starts: Vec<_> = pages.iter().map(|p| p.start().get()).collect();
            assert_eq!(starts, [starts[0], starts[0] + 1, starts[0] + 2]);
            assert_eq!(
                m.allocator.zones()[0].free_pages(),
                free - u64::from(batch),
                "one batch left the zone"
            );
            assert_eq!(cx.cpu.enter().unwrap().count(zone), batch - 3);
            for page in pages {
                m.allocator.free_pages(cx, page);
            }
            assert_eq!(cx.cpu.enter().unwrap().count(zone), batch);
            let again = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            assert_eq!(again.start().get(), starts[2]);
            assert_eq!(cx.cpu.enter().unwrap().served(zone), 4);
            m.allocator.free_pages(cx, again);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn lists_never_hold_as_much_as_high_and_give_more_back_the_longer_pages_are_only_freed() {
    with_plain_machine(&machine(256, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let zone = zone_ids(m)[0];
            let (high, batch) = {
                let own = cx.cpu.enter().unwrap();
                let figures = own.zone(zone).unwrap();
                (figures.high(), figures.batch())
            };
            let pages: Vec<_> = (0..6000)
                .map(|_| m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap())
                .collect();
            let mut given_back = vec![];
            for page in pages {
                let before = cx.cpu.enter().unwrap().count(zone);
                m.allocator.free_pages(cx, page);
                let after = cx.cpu.enter().unwrap().count(zone);
                assert!(after < high, "{after}");
                if after <= before {
                    assert_eq!(before + 1, high, "nothing goes back before there is too much");
                    given_back.push(before + 1 - after);
                }
            }
            let doubled: Vec<_> = (0..given_back.len()).map(|n| (batch << n).min(high - batch)).collect();
            assert!(given_back.len() > 2);
            assert_eq!(given_back, doubled);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn cpus_that_list_single_pages_only_have_the_rest_from_the_zone_and_give_it_back_there() {
    let single = PlainMachine { single_lists: true, ..machine(64, 1) };
    with_plain_machine(&single, NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let zone = zone_ids(m)[0];
            let listed = || cx.cpu.enter().unwrap().count(zone);
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            let batch = cx.cpu.enter().unwrap().zone(zone).unwrap().batch();
            assert_eq!(listed(), batch - 1);
            let free = || m.allocator.zones()[0].free_pages();
            for n in [1, 2, 3, 9, 10] {
                let now = free();
                let block = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(n)).unwrap();
                assert_eq!((free(), listed()), (now - (1 << n), batch - 1), "order {n}");
                m.allocator.free_pages(cx, block);
                assert_eq!((free(), listed()), (now, batch - 1), "order {n}");
            }
            m.allocator.free_pages(cx, page);
            assert_eq!(listed(), batch);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn every_order_is_an_aligned_block_of_its_size() {
    with_plain_machine(&machine(64, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            for n in 0..=10 {
                let frames = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(n)).unwrap();
                assert_eq!(frames.order(), Some(order(n)));
                m.allocator.free_pages(cx, frames);
            }
            let refused = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(11)).unwrap_err();
            assert_eq!(refused, AllocFailure::TooLarge { order: order(11), largest: order(10) });
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_mask_that_contradicts_itself_is_refused() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        m.on_cpu(0, |cx| {
            for gfp in [Gfp::DMA | Gfp::HIGHMEM, Gfp::MOVABLE | Gfp::RECLAIMABLE | Gfp::GFP_KERNEL] {
                let refused = m.allocator.alloc_pages(cx, gfp, Order::ZERO).unwrap_err();
                assert_eq!(refused, AllocFailure::Mask(gfp));
                assert!(refused.to_string().starts_with("GFP mask"), "{refused}");
            }
        });
    });
}

#[test]
fn a_handler_that_interrupts_the_use_of_the_lists_allocates_and_frees_all_the_same() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let interrupted = cx.cpu.enter().unwrap();
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_ATOMIC, Order::ZERO).unwrap();
            assert_eq!(interrupted.count(zone_ids(m)[0]), 0, "the lists were not touched");
            m.allocator.free_pages(cx, page);
            drop(interrupted);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn who_may_dig_deeper_gets_more_of_the_last_pages() {
    with_plain_machine(&machine(64, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let cell = &m.allocator.zones()[0];
            let min = cell.min_pages();
            let mut held = vec![];
            let mut exhaust = |gfp: Gfp, task: TaskFlags| {
                let cx = cx.with_task(task);
                while let Ok(frames) = m.allocator.alloc_pages(&cx, gfp | Gfp::NOWARN, Order::ZERO) {
                    held.push(frames);
                }
                cell.free_pages()
            };
            let ordinary = exhaust(Gfp::GFP_KERNEL, TaskFlags::empty());
            assert!(ordinary <= min, "{ordinary} {min}");
            let high = exhaust(Gfp::GFP_KERNEL | Gfp::HIGH, TaskFlags::empty());
            assert!(high <= min / 2 && high + 64 > min / 2, "{high} {min}");
            let atomic = exhaust(Gfp::GFP_ATOMIC, TaskFlags::empty());
            let floor = min - min / 2 - (min - min / 2) / 4;
            assert!(atomic <= floor && atomic + 64 > floor, "{atomic} {floor}");
            let victim = exhaust(Gfp::GFP_KERNEL | Gfp::HIGH, TaskFlags::OOM_VICTIM);
            assert!(victim <= atomic);
            assert_eq!(exhaust(Gfp::GFP_KERNEL | Gfp::NOMEMALLOC, TaskFlags::MEMALLOC), victim);
            assert_eq!(exhaust(Gfp::GFP_KERNEL, TaskFlags::MEMALLOC), 0, "it may have everything");
            let unique: HashSet<_> = held.iter().map(|f| f.start()).collect();
            assert_eq!(unique.len() as u64, 64 << 8, "each page once");
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn all_cpus_are_told_when_a_zone_falls_below_its_low_mark_and_when_it_recovers() {
    with_plain_machine(&machine(64, 2), NoHooks, |m| {
        m.on_cpu(0, |cx| {
            let pressed = |cpu: usize| m.attention(cpu).reasons().contains(Reasons::PRESSURE);
            let cell = &m.allocator.zones()[0];
            let mut held = vec![];
            while !pressed(0) {
                assert!(cell.free_pages() > cell.low_pages());
                held.push(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap());
            }
            assert!(cell.free_pages() <= cell.low_pages() && pressed(1));
            // Below low, the first attempt fails and the second, against min, serves.
            held.push(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap());
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
            assert!(!pressed(0) && !pressed(1) && cell.free_pages() > cell.low_pages());
        });
    });
}

#[test]
fn a_page_in_use_is_not_freed() {
    with_broken_machine(&machine(16, 1), NoHooks, |m| {
        m.allocator.set_hardened(true);
        m.on_cpu(0, |cx| {
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            m.base.map().set_flags(page.start(), pagewright_page::PageFlags::LOCKED);
            let result = catch_unwind(AssertUnwindSafe(|| m.allocator.free_pages(cx, page)));
            let text = result.expect_err("it is locked").downcast::<String>().unwrap();
            assert!(text.contains("bad page state"), "{text}");
        });
    });
}

#[test]
fn without_hardening_a_page_in_use_is_found_when_it_leaves_its_list() {
    for way in ["popped", "in bulk", "drained"] {
        with_broken_machine(&machine(16, 1), NoHooks, |m| {
            m.on_cpu(0, |cx| {
                let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
                m.base.map().set_flags(page.start(), pagewright_page::PageFlags::LOCKED);
                m.allocator.free_pages(cx, page);
                let leave = || match way {
                    "popped" => _ = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO),
                    "in bulk" => {
                        _ = m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL, &mut [const { None }; 8]);
                    }
                    _ => {
                        m.allocator.drain_local_pages(cx);
                        _ = m.allocator.validate();
                    }
                };
                let text = catch_unwind(AssertUnwindSafe(leave)).expect_err("it is locked");
                let text = text.downcast::<String>().unwrap();
                assert!(text.contains("bad page state"), "{way}: {text}");
            });
        });
    }
}

#[test]
fn the_nth_allocation_fails_on_request_and_leaves_nothing_behind() {
    with_plain_machine(&machine(16, 2), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            for (n, which) in [(1, Order::ZERO), (3, Order::ZERO), (2, order(4)), (1, order(9))] {
                m.allocator.fail_nth(n);
                for at in 1..n + 2 {
                    let free = m.allocator.zones()[0].free_pages();
                    match m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, which) {
                        Ok(frames) => {
                            assert_ne!(at, n);
                            m.allocator.free_pages(cx, frames);
                        }
                        Err(e) => {
                            assert_eq!((at, e), (n, AllocFailure::Injected { nth: n }));
                            assert_eq!(m.allocator.zones()[0].free_pages(), free);
                        }
                    }
                }
                m.allocator.fail_nth(0);
                let frames = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, which).unwrap();
                m.allocator.free_pages(cx, frames);
            }
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn an_urgent_block_keeps_its_pageblock_for_the_next_ones() {
    let small = PlainMachine { pageblock: order(6), ..machine(64, 1) };
    with_plain_machine(&small, NoHooks, |m| {
        m.on_cpu(0, |cx| {
            let cell = &m.allocator.zones()[0];
            // Below the low mark the first attempt fails; the second is urgent.
            let mut held = vec![];
            while cell.free_pages() > cell.min_pages() {
                held.push(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap());
            }
            let urgent = m.allocator.alloc_pages(cx, Gfp::GFP_ATOMIC, order(4)).unwrap();
            assert_eq!(m.base.pageblocks().migrate_type(urgent.start()), MigrateType::HighAtomic);
            assert_eq!(cell.highatomic_pages(), 64);
            m.allocator.free_pages(cx, urgent);
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        drain(m);
        assert_eq!(m.allocator.validate(), Ok(()));
    });
}

#[test]
fn urgent_blocks_of_orders_that_have_lists_come_from_what_is_kept() {
    let small = PlainMachine { pageblock: order(6), ..machine(64, 1) };
    with_plain_machine(&small, NoHooks, |m| {
        m.on_cpu(0, |cx| {
            let cell = &m.allocator.zones()[0];
            let mut pages = vec![];
            while cell.free_pages() > cell.min_pages() {
                pages.push(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap());
            }
            let urgent = m.allocator.alloc_pages(cx, Gfp::GFP_ATOMIC, order(4)).unwrap();
            // Elsewhere no two pages that adjoin each other are free.
            m.allocator.drain_local_pages(cx);
            let all = cx.with_task(TaskFlags::MEMALLOC);
            let mut held = vec![urgent];
            while let Ok(pair) = m.allocator.alloc_pages(&all, Gfp::GFP_KERNEL | Gfp::NOWARN, order(1)) {
                held.push(pair);
            }
            let starts: HashSet<u32> = pages.iter().map(|page| page.start().get()).collect();
            let beside_a_held_one = |page: &Frames<'_>| {
                let start = page.start().get();
                start.is_multiple_of(2) && starts.contains(&(start + 1))
            };
            let (free, kept): (Vec<_>, Vec<_>) = pages.into_iter().partition(beside_a_held_one);
            held.extend(kept);
            free.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
            m.allocator.drain_local_pages(cx);
            assert!(cell.free_pages() > cell.high_pages());
            let pair = m.allocator.alloc_pages(cx, Gfp::GFP_ATOMIC, order(1)).unwrap();
            assert_eq!(m.base.pageblocks().migrate_type(pair.start()), MigrateType::HighAtomic);
            held.push(pair);
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        drain(m);
        assert_eq!(m.allocator.validate(), Ok(()));
    });
}

#[test]
fn a_posted_drain_is_answered_with_the_next_operation() {
    with_plain_machine(&machine(16, 2), NoHooks, |m| {
        let before = buddyinfo(m);
        for cpu in 0..2 {
            m.on_cpu(cpu, |cx| {
                let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
                m.allocator.free_pages(cx, page);
            });
        }
        m.allocator.post_drain();
        m.on_cpu(1, |cx| {
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(5)).unwrap();
            assert_eq!(cx.cpu.enter().unwrap().count(zone_ids(m)[0]), 0);
            assert_eq!(m.attention(1).reasons(), Reasons::empty());
            assert_eq!(m.attention(0).reasons(), Reasons::DRAIN, "the other has not run yet");
            m.allocator.free_pages(cx, page);
        });
        expect_all_back(m, &before);
    });
}
