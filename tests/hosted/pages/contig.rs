//! Isolation, migration and contiguous ranges.

use super::*;
use crate::whole::with_plain_machine;
use pagewright_addr::{Pfn, PfnRange};
use pagewright_sim::tenants::Tenants;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{Context, ContigError, IsolateFor, Migrate, MigrateMode, Migrated, NoHooks};

const BASE: u64 = 0x4_0000;

/// Blocks of 16 frames, so that a small machine has many.
pub(super) fn small(frames: u64, cpus: usize) -> PlainMachine {
    PlainMachine { pageblock: order(4), ..PlainMachine::new(frames, cpus) }
}

pub(super) fn pfns(start: u64, len: u64) -> PfnRange {
    PfnRange::from_len(Pfn::new(BASE + start), len)
}

/// Types of all pageblocks, in order.
pub(super) fn types<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>) -> Vec<MigrateType> {
    let block = m.base.pageblocks().order().pages();
    (0..m.base.map().len())
        .step_by(block as usize)
        .map(|at| m.base.pageblocks().migrate_type(pagewright_page::FrameIdx::new(at as u32)))
        .collect()
}

/// Movable pages of an order for new tenants, as many as `count`.
pub(super) fn settle<'m, 'a, H: Hooks>(
    m: &Pages<'_, 'm, '_, 'a, H>,
    cx: &Context<'_, 'm, 'a>,
    tenants: &Tenants<'a>,
    count: usize,
    which: Order,
) -> Vec<u64> {
    (0..count)
        .map(|_| {
            let gfp = Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN;
            tenants.settle(m.allocator.alloc_pages(cx, gfp, which).expect("room for a tenant"))
        })
        .collect()
}

pub(super) fn all_leave<'m, 'a, H: Hooks>(
    m: &Pages<'_, 'm, '_, 'a, H>,
    cx: &Context<'_, 'm, 'a>,
    tenants: &Tenants<'a>,
) {
    tenants.check();
    for name in tenants.names() {
        m.allocator.free_pages(cx, tenants.leave(name).expect("nobody is isolated"));
    }
}

#[test]
fn isolated_pageblocks_are_neither_counted_nor_allocated_and_grow_together_again() {
    with_plain_machine(&small(4096, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        let cell = &m.allocator.zones()[0];
        m.on_cpu(0, |cx| {
            // In the middle of untouched blocks, not aligned to anything.
            let range = pfns(1500, 700);
            let isolated = m
                .allocator
                .start_isolate_page_range(range, IsolateFor::Contig(MigrateType::Movable))
                .unwrap();
            assert_eq!(m.allocator.validate(), Ok(()));
            let blocks = (2200u64.div_ceil(16) - 1500 / 16) * 16;
            assert_eq!(cell.free_pages(), 4096 - blocks);
            assert_eq!(m.allocator.test_pages_isolated(&isolated), Ok(()));
            let mut held = vec![];
            let all = cx.with_task(pagewright_zone::alloc::TaskFlags::MEMALLOC);
            while let Ok(page) = m.allocator.alloc_pages(&all, Gfp::GFP_KERNEL | Gfp::NOWARN, Order::ZERO) {
                let at = u64::from(page.start().get());
                assert!(!(1500..2200).contains(&at), "{at} is isolated");
                held.push(page);
            }
            assert_eq!(held.len() as u64, 4096 - blocks);
            held.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
            m.allocator.undo_isolate_page_range(isolated, None);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_pageblock_is_isolated_once_and_gets_its_type_back() {
    with_plain_machine(&small(2048, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            // Unmovable memory of its own, freed again: the block stays Unmovable.
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            let at = u64::from(page.start().get());
            m.allocator.free_pages(cx, page);
            m.allocator.drain_local_pages(cx);
            let was = types(m);
            assert_eq!(was[(at / 16) as usize], MigrateType::Unmovable);
            let purpose = IsolateFor::Contig(MigrateType::Movable);
            let one = m.allocator.start_isolate_page_range(pfns(at, 40), purpose).unwrap();
            assert_eq!(types(m)[(at / 16) as usize], MigrateType::Isolate);
            let twice = m.allocator.start_isolate_page_range(pfns(at & !1023, 1024), purpose).unwrap_err();
            assert_eq!(twice, ContigError::Busy { pfns: pfns(at & !1023, 1024), at: None });
            m.allocator.undo_isolate_page_range(one, None);
            assert_eq!(types(m), was);
            let one = m.allocator.start_isolate_page_range(pfns(at, 1), purpose).unwrap();
            m.allocator.undo_isolate_page_range(one, Some(MigrateType::Movable));
            assert_eq!(types(m)[(at / 16) as usize], MigrateType::Movable);
            // Not one zone's.
            for wrong in [pfns(2000, 100), pfns(0, 0), PfnRange::from_len(Pfn::new(3), 4)] {
                let refused = m.allocator.start_isolate_page_range(wrong, purpose).unwrap_err();
                assert_eq!(refused, ContigError::Range { pfns: wrong });
            }
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn what_is_freed_in_an_isolated_block_stays_there() {
    with_plain_machine(&small(2048, 2), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            let names = settle(m, cx, &tenants, 64, Order::ZERO);
            m.allocator.drain_local_pages(cx);
            let at = u64::from(tenants.place(names[10]).unwrap().get());
            let purpose = IsolateFor::Contig(MigrateType::Movable);
            let isolated = m.allocator.start_isolate_page_range(pfns(at & !15, 16), purpose).unwrap();
            let busy = m.allocator.test_pages_isolated(&isolated).unwrap_err();
            assert_eq!(busy.errno(), -16);
            let free = m.allocator.zones()[0].free_pages();
            m.allocator.free_pages(cx, tenants.leave(names[10]).unwrap());
            assert_eq!(m.allocator.zones()[0].free_pages(), free);
            assert_eq!(cx.cpu.enter().unwrap().count(zone_ids(m)[0]), 0, "not into this CPU's lists");
            m.allocator.undo_isolate_page_range(isolated, None);
            assert_eq!(m.allocator.zones()[0].free_pages(), free + 1);
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_range_in_use_is_emptied_and_taken_and_tenants_keep_their_bytes() {
    with_plain_machine(&small(4096, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            settle(m, cx, &tenants, 600, Order::ZERO);
            settle(m, cx, &tenants, 40, order(3));
            settle(m, cx, &tenants, 6, order(5));
            let range = pfns(77, 1001);
            let frames = m
                .allocator
                .alloc_contig_range(cx, &tenants, range, MigrateType::Movable, Gfp::GFP_KERNEL)
                .unwrap();
            assert_eq!((m.base.map().pfn(frames.start()), frames.len()), (range.start, 1001));
            assert_eq!(m.allocator.migrate_events().fail(), 0);
            assert!(m.allocator.migrate_events().success() > 900);
            let inside = |name| (77..1078).contains(&tenants.place(name).unwrap().get());
            assert!(!tenants.names().into_iter().any(inside));
            tenants.check();
            m.allocator.drain_local_pages(cx);
            assert_eq!(m.allocator.validate(), Ok(()));
            // In parts, as an area's users give it back.
            let (low, high) = m.base.map().split_at(frames, 313);
            m.allocator.free_pages(cx, high);
            m.allocator.free_pages(cx, low);
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn one_pinned_page_keeps_a_range_from_being_had_and_all_is_as_before() {
    with_plain_machine(&small(4096, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            let names = settle(m, cx, &tenants, 900, Order::ZERO);
            let pinned = names[500];
            tenants.pin(pinned, true);
            let at = u64::from(tenants.place(pinned).unwrap().get());
            m.allocator.drain_local_pages(cx);
            let (was, free) = (types(m), m.allocator.zones()[0].free_pages());
            let start = at & !511;
            let get = |range| {
                m.allocator.alloc_contig_range(cx, &tenants, range, MigrateType::Movable, Gfp::GFP_KERNEL)
            };
            let busy = get(pfns(start, 512)).unwrap_err();
            assert_eq!(
                busy,
                ContigError::Busy { pfns: pfns(start, 512), at: Some(pfns(at, 1).start) },
                "the range, and what is in the way"
            );
            let text =
                format!("alloc_contig_range: [{:x}, {:x}) PFNs busy", BASE + start, BASE + start + 512);
            assert_eq!(busy.to_string(), text);
            m.allocator.drain_local_pages(cx);
            assert_eq!((types(m), m.allocator.zones()[0].free_pages()), (was, free));
            assert_eq!(m.allocator.validate(), Ok(()));
            tenants.check();
            // Once it may move, the range is to be had.
            tenants.pin(pinned, false);
            let frames = get(pfns(start, 512)).unwrap();
            m.allocator.free_pages(cx, frames);
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn kernel_memory_is_in_the_way() {
    with_plain_machine(&small(2048, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(2)).unwrap();
            let at = u64::from(page.start().get());
            for range in [pfns(at, 4), pfns(at + 2, 64), pfns(0, 2048)] {
                let busy = m
                    .allocator
                    .alloc_contig_range(cx, &tenants, range, MigrateType::Movable, Gfp::GFP_KERNEL)
                    .unwrap_err();
                assert_eq!(busy, ContigError::Busy { pfns: range, at: None });
            }
            // Beside it in its pageblock is room.
            let beside = m
                .allocator
                .alloc_contig_range(cx, &tenants, pfns(at + 4, 100), MigrateType::Movable, Gfp::GFP_KERNEL)
                .unwrap();
            m.allocator.free_pages(cx, beside);
            m.allocator.free_pages(cx, page);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn every_nth_failure_leaves_nothing_half_done() {
    with_plain_machine(&small(4096, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            settle(m, cx, &tenants, 300, Order::ZERO);
            let get = || {
                let range = pfns(100, 150);
                m.allocator.alloc_contig_range(cx, &tenants, range, MigrateType::Movable, Gfp::GFP_KERNEL)
            };
            m.allocator.drain_local_pages(cx);
            let (was, free) = (types(m), m.allocator.zones()[0].free_pages());
            let mut kinds = [0; 2];
            for n in 1.. {
                // Nothing is left to move when all the pages were moved by earlier tries.
                m.allocator.fail_nth(n % 4 + 1);
                tenants.interrupt_at(u64::from(n));
                let result = get();
                m.allocator.fail_nth(0);
                tenants.interrupt_at(0);
                m.allocator.drain_local_pages(cx);
                match result {
                    Ok(frames) => {
                        m.allocator.free_pages(cx, frames);
                        m.allocator.drain_local_pages(cx);
                        break;
                    }
                    Err(ContigError::NoMemory { .. }) => kinds[0] += 1,
                    Err(ContigError::Interrupted { .. }) => kinds[1] += 1,
                    Err(e) => panic!("{e}"),
                }
                assert_eq!((types(m), m.allocator.zones()[0].free_pages()), (was.clone(), free), "{n}");
                assert_eq!(m.allocator.validate(), Ok(()));
                tenants.check();
            }
            assert!(kinds[0] > 0 && kinds[1] > 0, "{kinds:?}");
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}

/// A mover whose tenants leave while their pages are isolated.
struct Fleeting<'t, 'a>(&'t Tenants<'a>);

impl Migrate for Fleeting<'_, '_> {
    fn isolate(
        &self,
        map: &pagewright_page::PageMap<'_>,
        page: pagewright_page::FrameIdx,
        mode: MigrateMode,
    ) -> bool {
        let names = self.0.names();
        let here = names.into_iter().find(|&name| self.0.place(name) == Some(page));
        let done = self.0.isolate(map, page, mode);
        if done && here.is_some_and(|name| name % 3 == 0) {
            assert!(self.0.leave(here.unwrap()).is_none());
        }
        done
    }
    fn migrate<'b>(
        &self,
        map: &pagewright_page::PageMap<'b>,
        page: pagewright_page::FrameIdx,
        to: pagewright_page::Frames<'b>,
        mode: MigrateMode,
    ) -> Migrated<'b> {
        self.0.migrate(map, page, to, mode)
    }
    fn putback<'b>(
        &self,
        map: &pagewright_page::PageMap<'b>,
        page: pagewright_page::FrameIdx,
    ) -> Option<pagewright_page::Frames<'b>> {
        self.0.putback(map, page)
    }
    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}

#[test]
fn pages_that_nobody_wants_any_more_are_freed_once() {
    with_plain_machine(&small(2048, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            settle(m, cx, &tenants, 200, Order::ZERO);
            for interrupt in [2, 0] {
                // Interrupted after the first batch was isolated: those that are put back are freed as well.
                tenants.interrupt_at(interrupt);
                let result = m.allocator.alloc_contig_range(
                    cx,
                    &Fleeting(&tenants),
                    pfns(0, 512),
                    MigrateType::Movable,
                    Gfp::GFP_KERNEL,
                );
                assert_eq!(result.is_err(), interrupt > 0);
                assert!(tenants.names().len() < 200);
                if let Ok(frames) = result {
                    m.allocator.free_pages(cx, frames);
                }
            }
            assert!(
                tenants
                    .names()
                    .iter()
                    .all(|name| name % 3 != 0 || tenants.place(*name).unwrap().get() >= 512)
            );
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn pages_of_any_number_are_found_where_there_is_room() {
    with_plain_machine(&small(4096, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            // Kernel memory that is never freed in the first quarter, tenants in the second.
            let kernel = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(10)).unwrap();
            settle(m, cx, &tenants, 50, order(3));
            let get =
                |pages| m.allocator.alloc_contig_pages(cx, &tenants, NodeId::ZERO, Gfp::GFP_KERNEL, pages);
            let frames = get(2048).unwrap();
            assert_eq!((frames.start().get() % 2048, frames.len()), (0, 2048));
            assert_eq!(get(2048).unwrap_err().errno(), -12);
            let odd = get(100).unwrap();
            for frames in [frames, odd, kernel] {
                m.allocator.free_pages(cx, frames);
            }
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}
