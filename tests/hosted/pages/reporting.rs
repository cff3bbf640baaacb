//! Free memory that a hypervisor is told of: once, whole, and never while anybody has it.

use super::contig::small;
use super::*;
use crate::whole::with_plain_machine;
use pagewright_addr::PfnRange;
use pagewright_page::{Frames, State};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::reporting::{CAPACITY, Reported, Reporter};
use pagewright_zone::alloc::{Context, NoHooks, NotZeroed};
use pagewright_zone::buddy::MigrateType;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

const LEAST: Order = order(4);

/// A hypervisor: which frames it knows to be unused, and which report it refuses.
struct Host<'q, 'a> {
    map: &'q pagewright_page::PageMap<'a>,
    unused: RefCell<BTreeSet<u64>>,
    reports: RefCell<Vec<usize>>,
    refuse: Cell<usize>,
}

impl<'q, 'a> Host<'q, 'a> {
    fn new(map: &'q pagewright_page::PageMap<'a>) -> Self {
        Self { map, unused: RefCell::default(), reports: RefCell::default(), refuse: Cell::new(0) }
    }

    /// Somebody writes to these frames.
    fn touch(&self, frames: &Frames<'_>) {
        let start = self.map.pfn(frames.start()).get();
        (start..start + frames.len()).for_each(|pfn| _ = self.unused.borrow_mut().remove(&pfn));
    }
}

impl Reporter for Host<'_, '_> {
    fn report(&self, blocks: &[PfnRange]) -> Result<(), i32> {
        assert!(!blocks.is_empty() && blocks.len() <= CAPACITY);
        self.reports.borrow_mut().push(blocks.len());
        for block in blocks {
            assert!(block.len() >= LEAST.pages() && block.start.is_aligned(block.len()));
            let head = self.map.idx(block.start).unwrap();
            assert_eq!(self.map.state(head), State::Owned, "nobody can allocate it meanwhile");
        }
        if self.reports.borrow().len() == self.refuse.get() {
            return Err(-5);
        }
        for block in blocks {
            self.unused.borrow_mut().extend(block.start.get()..block.end.get());
        }
        Ok(())
    }
}

/// Allocates and frees everything, so that nothing is untouched.
fn touch_all<'m, 'a, H: Hooks>(m: &Pages<'_, 'm, '_, 'a, H>, cx: &Context<'_, 'm, 'a>) {
    let gfp = Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN | Gfp::NORETRY;
    let pages: Vec<_> =
        std::iter::from_fn(|| m.allocator.alloc_pages(cx, gfp, m.base.largest_order()).ok()).collect();
    pages.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
}

/// Passes until there is no more.
fn report_all<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>, host: &Host<'_, '_>) -> u64 {
    let mut pages = 0;
    loop {
        let Reported { pages: more, again, .. } = m.allocator.report_free_pages(host, LEAST).unwrap();
        assert_eq!(m.allocator.validate(), Ok(()));
        pages += more;
        if !again {
            return pages;
        }
    }
}

#[test]
fn what_is_free_is_reported_once_and_again_after_use() {
    with_plain_machine(&small(8192, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let host = Host::new(m.base.map());
            assert_eq!(report_all(m, &host), 0, "nobody touched anything yet");
            touch_all(m, cx);
            let free = m.allocator.unreported_pages(LEAST);
            assert!(free > 4096);
            assert_eq!((report_all(m, &host), m.allocator.unreported_pages(LEAST)), (free, 0));
            assert_eq!(host.unused.borrow().len() as u64, free);
            assert_eq!(report_all(m, &host), 0, "it knows already");
            let block = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(5)).unwrap();
            host.touch(&block);
            // What was split off is new to it, too.
            let split = m.allocator.unreported_pages(LEAST);
            assert_eq!(split, 1024 - 32);
            m.allocator.free_pages(cx, block);
            assert_eq!(report_all(m, &host), 1024, "the block that grew together");
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_pageblock_that_was_reported_is_movable() {
    with_plain_machine(&small(8192, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let host = Host::new(m.base.map());
            touch_all(m, cx);
            let block = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(5)).unwrap();
            let at = block.start();
            let migrate = || m.base.pageblocks().migrate_type(at);
            assert_eq!(migrate(), MigrateType::Unmovable);
            m.allocator.free_pages(cx, block);
            m.allocator.drain_local_pages(cx);
            assert_eq!(migrate(), MigrateType::Unmovable, "freeing alone changes nothing");
            report_all(m, &host);
            assert_eq!(migrate(), MigrateType::Movable);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_report_that_is_refused_marks_nothing_and_loses_nothing() {
    for nth in 1..=4 {
        with_plain_machine(&small(4096, 1), NoHooks, |m| {
            let before = buddyinfo(m);
            m.on_cpu(0, |cx| {
                let host = Host::new(m.base.map());
                touch_all(m, cx);
                // Blocks that cannot grow together, one of order 4 in two.
                let gfp = Gfp::GFP_HIGHUSER_MOVABLE;
                let mut held: Vec<_> =
                    (0..200).map(|_| Some(m.allocator.alloc_pages(cx, gfp, LEAST).unwrap())).collect();
                for page in held.iter_mut().step_by(2) {
                    m.allocator.free_pages(cx, page.take().unwrap());
                }
                m.allocator.drain_local_pages(cx);
                let (free, all) = (buddyinfo(m), m.allocator.unreported_pages(LEAST));
                host.refuse.set(nth);
                // A pass takes a part of each list.
                let passes = std::iter::repeat_with(|| m.allocator.report_free_pages(&host, LEAST));
                let end = passes.take(nth).find_map(Result::err);
                assert_eq!((end, host.reports.borrow().len()), (Some(-5), nth));
                assert_eq!((buddyinfo(m), m.allocator.validate()), (free, Ok(())));
                assert_eq!(host.unused.borrow().len() as u64 + m.allocator.unreported_pages(LEAST), all);
                host.refuse.set(0);
                report_all(m, &host);
                assert_eq!(host.unused.borrow().len() as u64, all);
                held.into_iter().flatten().for_each(|page| m.allocator.free_pages(cx, page));
            });
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn a_zone_that_is_short_of_memory_is_left_alone() {
    with_plain_machine(&small(4096, 1), NoHooks, |m| {
        m.on_cpu(0, |cx| {
            let host = Host::new(m.base.map());
            touch_all(m, cx);
            let mut held = vec![];
            let mark = m.allocator.zones()[0].low_pages() + (CAPACITY as u64 * LEAST.pages());
            while m.allocator.zones()[0].free_pages() > mark {
                held.push(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, LEAST).unwrap());
            }
            assert!(m.allocator.unreported_pages(LEAST) > 0);
            assert_eq!(m.allocator.report_free_pages(&host, LEAST), Ok(Reported::default()));
            held.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
            assert!(m.allocator.report_free_pages(&host, LEAST).unwrap().pages > 0);
        });
    });
}

#[test]
fn a_boost_counts_among_what_a_zone_is_short_of() {
    struct Kswapd;
    impl Hooks for Kswapd {
        fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
            Err(NotZeroed)
        }
        fn has_kswapd(&self) -> bool {
            true
        }
    }
    with_plain_machine(&small(4096, 1), Kswapd, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let host = Host::new(m.base.map());
            let cell = &m.allocator.zones()[0];
            touch_all(m, cx);
            // Movable pages in every pageblock, three of four free; then unmovable ones have to go between them.
            let gfp = Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN | Gfp::NORETRY;
            let mut movable: Vec<_> =
                std::iter::from_fn(|| m.allocator.alloc_pages(cx, gfp, order(2)).ok().map(Some)).collect();
            for (_, page) in movable.iter_mut().enumerate().filter(|(n, _)| n % 4 != 0) {
                m.allocator.free_pages(cx, page.take().unwrap());
            }
            m.allocator.drain_local_pages(cx);
            let mut held = vec![];
            while cell.boost_pages() < 2 * LEAST.pages() {
                held.push(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(3)).unwrap());
            }
            movable.into_iter().flatten().for_each(|page| m.allocator.free_pages(cx, page));
            m.allocator.drain_local_pages(cx);
            // Enough to report above the low mark, but not above the one that is raised.
            let (boost, unboosted) = (cell.boost_pages(), cell.low_pages() + CAPACITY as u64 * LEAST.pages());
            while cell.free_pages() > unboosted + boost {
                held.push(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, LEAST).unwrap());
            }
            assert!(cell.free_pages() > unboosted && m.allocator.unreported_pages(LEAST) > 0);
            assert_eq!(m.allocator.report_free_pages(&host, LEAST), Ok(Reported::default()));
            m.allocator.lower_boost(cell.id(), boost);
            assert!(m.allocator.report_free_pages(&host, LEAST).unwrap().pages > 0);
            held.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
        });
        expect_all_back(m, &before);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 32 }))]

    #[test]
    fn the_hypervisor_never_thinks_that_a_page_in_use_is_unused(
        steps in prop::collection::vec((0u8..8, 0u8..6, any::<prop::sample::Index>()), 1..if cfg!(miri) { 4 } else { 120 }),
    ) {
        with_plain_machine(&small(4096, 1), NoHooks, |m| {
            let before = buddyinfo(m);
            m.on_cpu(0, |cx| {
                let host = Host::new(m.base.map());
                touch_all(m, cx);
                let mut held: Vec<Frames<'_>> = vec![];
                for (what, n, which) in steps {
                    match what {
                        0 => {
                            let _ = m.allocator.report_free_pages(&host, LEAST).unwrap();
                        }
                        1..=3 if !held.is_empty() => {
                            m.allocator.free_pages(cx, held.swap_remove(which.index(held.len())));
                        }
                        _ => {
                            let gfp = if what % 2 == 0 { Gfp::GFP_KERNEL } else { Gfp::GFP_HIGHUSER_MOVABLE };
                            if let Ok(page) = m.allocator.alloc_pages(cx, gfp | Gfp::NOWARN | Gfp::NORETRY, order(n)) {
                                host.touch(&page);
                                held.push(page);
                            }
                        }
                    }
                    assert_eq!(m.allocator.validate(), Ok(()));
                    for page in &held {
                        let pfn = m.base.map().pfn(page.start()).get();
                        assert!(!(pfn..pfn + page.len()).any(|pfn| host.unused.borrow().contains(&pfn)));
                    }
                }
                held.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
            });
            expect_all_back(m, &before);
        });
    }
}
