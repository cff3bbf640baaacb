//! Contiguous memory areas in service.

use super::contig::{all_leave, pfns, settle, small, types};
use super::*;
use crate::whole::with_plain_machine;
use pagewright_sim::tenants::Tenants;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::cma::{CmaArea, DmaAreas};
use pagewright_zone::alloc::{AllocFailure, NoHooks, TaskFlags};

/// 4096 frames, of which 1024 and, further up, 256 are lent.
fn lent() -> PlainMachine {
    PlainMachine { cma: vec![(0x4_0400, 1024), (0x4_0c00, 256)], ..small(4096, 1) }
}

#[test]
fn an_area_gives_every_page_and_gets_every_page_back() {
    with_plain_machine(&lent(), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            let mut words = [0; 4];
            let area = CmaArea::new("reserved", pfns(1024, 1024), order(2), &mut words).unwrap();
            assert_eq!(m.allocator.cma_totals(), (1280, 1280));
            // Lent out to tenants meanwhile: movable allocations take CMA pages when they are most of what is free.
            settle(m, cx, &tenants, 2600, Order::ZERO);
            m.allocator.drain_local_pages(cx);
            assert!(m.allocator.cma_totals().1 < 1280);
            // Then most tenants elsewhere leave.
            for name in tenants.names() {
                if tenants.place(name).unwrap().get() < 1024 {
                    m.allocator.free_pages(cx, tenants.leave(name).unwrap());
                }
            }
            let all = m.allocator.cma_alloc(cx, &tenants, &area, (1024, Order::ZERO, false)).unwrap();
            assert_eq!((all.start().get(), all.len()), (1024, 1024));
            tenants.check();
            let full = m.allocator.cma_alloc(cx, &tenants, &area, (1, Order::ZERO, true)).unwrap_err();
            assert_eq!((full.errno(), full.cause), (-12, None));
            assert_eq!((m.allocator.cma_events().success(), m.allocator.cma_events().fail()), (1, 1));
            let (low, high) = m.base.map().split_at(all, 1000);
            m.allocator.cma_release(cx, &area, low).unwrap();
            let figures = m.allocator.cma_figures(&area);
            assert_eq!((figures.count, figures.used, figures.max_chunk), (1024, 24, 1000));
            assert_eq!((figures.alloc_pages_success, figures.alloc_pages_fail), (1024, 1));
            let mut text = String::new();
            m.allocator.write_cma_available(&mut text, &area).unwrap();
            assert_eq!(text, "cma: number of available pages: 1000@0=> 1000 free of 1024 total pages\n");
            m.allocator.cma_release(cx, &area, high).unwrap();
            // What is not the area's stays its holder's.
            let other = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            let other = m.allocator.cma_release(cx, &area, other).unwrap_err();
            m.allocator.free_pages(cx, other);
            all_leave(m, cx, &tenants);
            m.allocator.drain_local_pages(cx);
            assert_eq!(m.allocator.cma_totals(), (1280, 1280));
            assert_eq!(types(m)[64..128], [MigrateType::Cma; 64]);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_page_that_does_not_move_sends_an_allocation_to_the_next_place() {
    with_plain_machine(&lent(), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            let mut words = [0; 4];
            let area = CmaArea::new("video", pfns(3072, 256), Order::ZERO, &mut words).unwrap();
            settle(m, cx, &tenants, 3300, Order::ZERO);
            let names = tenants.names();
            let inside = |name: &u64| (3072..3328).contains(&tenants.place(*name).unwrap().get());
            let lodgers: Vec<u64> = names.iter().copied().filter(inside).collect();
            assert!(lodgers.len() > 200, "{}", lodgers.len());
            tenants.pin(lodgers[10], true);
            let pinned = u64::from(tenants.place(lodgers[10]).unwrap().get());
            let (was, free) = {
                m.allocator.drain_local_pages(cx);
                (types(m), m.allocator.zones()[0].free_pages())
            };
            let whole = m.allocator.cma_alloc(cx, &tenants, &area, (256, Order::ZERO, false)).unwrap_err();
            assert_eq!(whole.errno(), -16);
            assert_eq!(
                whole.to_string(),
                "cma: cma_alloc: video: alloc failed, req-size: 256 pages, ret: -16"
            );
            m.allocator.drain_local_pages(cx);
            assert_eq!((types(m), m.allocator.zones()[0].free_pages()), (was, free));
            assert_eq!(m.allocator.cma_figures(&area).used, 0);
            // A quarter of it lies elsewhere, aligned.
            let quarter = m.allocator.cma_alloc(cx, &tenants, &area, (64, order(6), false)).unwrap();
            let at = u64::from(quarter.start().get());
            assert!(at.is_multiple_of(64) && !(at..at + 64).contains(&pinned), "{at} {pinned}");
            m.allocator.cma_release(cx, &area, quarter).unwrap();
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn kernel_memory_is_never_lent_memory_and_movable_memory_prefers_it_when_it_is_most() {
    with_plain_machine(&lent(), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let is_cma = |f: &pagewright_page::Frames<'_>| {
                m.base.pageblocks().migrate_type(f.start()) == MigrateType::Cma
            };
            let all = cx.with_task(TaskFlags::MEMALLOC);
            let mut held = vec![];
            while let Ok(page) = m.allocator.alloc_pages(&all, Gfp::GFP_KERNEL | Gfp::NOWARN, Order::ZERO) {
                assert!(!is_cma(&page));
                held.push(page);
                let free = m.allocator.zones()[0].free_pages();
                if free == 2560 {
                    // Exactly half of what is free is CMA: not more.
                    let page = m.allocator.alloc_pages(cx, Gfp::GFP_HIGHUSER_MOVABLE, order(5)).unwrap();
                    assert!(!is_cma(&page));
                    m.allocator.free_pages(cx, page);
                }
            }
            assert_eq!(held.len(), 4096 - 1280, "all but the lent ones");
            let page = m.allocator.alloc_pages(&all, Gfp::GFP_HIGHUSER_MOVABLE, Order::ZERO).unwrap();
            assert!(is_cma(&page));
            m.allocator.free_pages(cx, page);
            m.allocator.drain_local_pages(cx);
            // To an ordinary request nothing is free, to a movable one more than a quarter of the machine.
            let gfp = Gfp::GFP_NOWAIT | Gfp::NOWARN;
            assert!(m.allocator.alloc_pages(cx, gfp, Order::ZERO).is_err());
            let page = m.allocator.alloc_pages(cx, gfp | Gfp::MOVABLE, Order::ZERO).unwrap();
            assert!(is_cma(&page));
            m.allocator.free_pages(cx, page);
            held.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn memory_for_devices_comes_from_areas_and_then_from_pages() {
    with_plain_machine(&lent(), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            let (mut one, mut two) = ([0; 16], [0; 4]);
            let default = CmaArea::new("reserved", pfns(1024, 1024), Order::ZERO, &mut one).unwrap();
            let own = CmaArea::new("camera", pfns(3072, 256), Order::ZERO, &mut two).unwrap();
            let areas = DmaAreas { device: None, per_node: &[], default: Some(&default) };
            let camera = DmaAreas { device: Some(&own), ..areas };
            let get = |areas, pages| {
                let request = (pages, Gfp::GFP_KERNEL | Gfp::NOWARN);
                m.allocator.dma_alloc_pages(cx, &tenants, areas, None, request).unwrap()
            };
            for pages in [0, 1025, u64::MAX] {
                let request = (pages, Gfp::GFP_KERNEL | Gfp::NOWARN);
                let none = m.allocator.dma_alloc_pages(cx, &tenants, &areas, None, request);
                assert!(matches!(none, Err(AllocFailure::TooLarge { .. })), "{pages}: {none:?}");
            }
            let odd = get(&areas, 5);
            assert_eq!((odd.start().get(), odd.len()), (1024, 5));
            let next = get(&areas, 5);
            assert_eq!(next.start().get(), 1032, "aligned as eight pages are");
            let single = get(&areas, 1);
            assert!(!(1024..2048).contains(&single.start().get()));
            let view = get(&camera, 200);
            assert_eq!((view.start().get(), view.len()), (3072, 200));
            let more = get(&camera, 200);
            assert_eq!(more.len(), 256, "its area has no room, so a block of pages");
            let released: Vec<_> =
                vec![(areas, odd), (areas, next), (areas, single), (camera, view), (camera, more)];
            for (areas, frames) in released {
                m.allocator.dma_free_contiguous(cx, &areas, frames);
            }
            assert_eq!(m.allocator.cma_figures(&default).used + m.allocator.cma_figures(&own).used, 0);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn an_allocation_that_is_interrupted_marks_nothing() {
    with_plain_machine(&lent(), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            let mut words = [0; 16];
            let area = CmaArea::new("reserved", pfns(1024, 1024), Order::ZERO, &mut words).unwrap();
            settle(m, cx, &tenants, 3000, Order::ZERO);
            let mut interrupted = 0;
            for n in 1.. {
                tenants.interrupt_at(n);
                let result = m.allocator.cma_alloc(cx, &tenants, &area, (512, Order::ZERO, false));
                tenants.interrupt_at(0);
                let failure = match result {
                    Ok(frames) => {
                        m.allocator.cma_release(cx, &area, frames).unwrap();
                        break;
                    }
                    Err(failure) => failure,
                };
                interrupted += 1;
                assert_eq!((failure.errno(), m.allocator.cma_figures(&area).used), (-4, 0));
                m.allocator.drain_local_pages(cx);
                assert_eq!(m.allocator.validate(), Ok(()));
                tenants.check();
            }
            assert!(interrupted > 2, "{interrupted}");
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}
