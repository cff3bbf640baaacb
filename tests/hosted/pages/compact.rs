//! Compaction: blocks made of scattered pages.

mod stale;

use super::contig::{all_leave, small};
use super::*;
use crate::whole::with_plain_machine;
use pagewright_page::{FrameIdx, Frames};
use pagewright_sim::tenants::Tenants;
use pagewright_zone::alloc::compact::{Kcompactd, Outcome};
use pagewright_zone::alloc::{
    AllocFlags, AllocRequest, Context, Hooks, Migrate, MigrateMode, Migrated, NoHooks, NotZeroed, Progress,
    TaskFlags,
};
use pagewright_zone::{Gfp, ZoneKind};
use std::cell::RefCell;
use std::sync::OnceLock;

/// Fills the machine with tenants of single pages, and lets all but every `keep`-th leave: nothing larger than a few pages is free.
fn scatter<'m, 'a, H: Hooks>(
    m: &Pages<'_, 'm, '_, 'a, H>,
    cx: &Context<'_, 'm, 'a>,
    tenants: &Tenants<'a>,
    keep: usize,
) {
    let mut names = vec![];
    let all = cx.with_task(TaskFlags::MEMALLOC);
    while let Ok(page) = m.allocator.alloc_pages(&all, Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN, Order::ZERO) {
        names.push(tenants.settle(page));
    }
    for name in names.into_iter().enumerate().filter(|(n, _)| n % keep != 0).map(|(_, name)| name) {
        m.allocator.free_pages(cx, tenants.leave(name).unwrap());
    }
    m.allocator.drain_local_pages(cx);
}

fn largest_free<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>) -> u8 {
    buddyinfo(m)[0].iter().rposition(|&blocks| blocks > 0).unwrap_or(0) as u8
}

#[test]
fn a_zone_counts_in_its_nodes_score_with_all_its_memory() {
    // Most of the lower zone is reserved.
    let machine = PlainMachine { dma32_end: 0x4_0000 + 8192, reserved: 6144, ..machine(64, 1) };
    with_plain_machine(&machine, NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let (low, normal) = (&m.allocator.zones()[0], &m.allocator.zones()[1]);
            assert_eq!((low.present_pages(), normal.present_pages()), (8192, 8192));
            let tenants = Tenants::new(*m.base.map());
            scatter(m, cx, &tenants, 4);
            let scores = [low, normal].map(|zone| u64::from(m.allocator.zone_score(zone)));
            // Normal is emptied again.
            for name in tenants.names() {
                if tenants.place(name).unwrap().get() >= 8192 {
                    m.allocator.free_pages(cx, tenants.leave(name).unwrap());
                }
            }
            m.allocator.drain_local_pages(cx);
            assert!(scores[0] > 90 && m.allocator.zone_score(normal) == 0, "{scores:?}");
            let low = u64::from(m.allocator.zone_score(low));
            assert_eq!(u64::from(m.allocator.node_score(NodeId::ZERO)), low * 8192 / (16384 + 1));
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_whole_node_is_compacted_into_blocks() {
    with_plain_machine(&small(4096, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            scatter(m, cx, &tenants, 4);
            assert!(largest_free(m) < 9);
            let score = m.allocator.node_score(NodeId::ZERO);
            m.allocator.compact_node(cx, &tenants, NodeId::ZERO);
            assert_eq!(m.allocator.validate(), Ok(()));
            tenants.check();
            // Everybody is at the top, and the bottom is free.
            let lowest = tenants.names().into_iter().map(|n| tenants.place(n).unwrap().get()).min().unwrap();
            assert!(lowest > 2500, "{lowest}");
            assert_eq!(largest_free(m), 10);
            assert!(m.allocator.node_score(NodeId::ZERO) < score);
            let events = m.allocator.compact_events();
            for name in ["compact_migrate_scanned", "compact_free_scanned", "compact_isolated"] {
                assert!(events.get(name) > 500, "{name}");
            }
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn pinned_pages_stay_and_the_rest_is_compacted() {
    with_plain_machine(&small(4096, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            scatter(m, cx, &tenants, 4);
            let pinned: Vec<_> = tenants.names().into_iter().step_by(50).collect();
            let at: Vec<_> = pinned.iter().map(|&name| tenants.place(name)).collect();
            pinned.iter().for_each(|&name| tenants.pin(name, true));
            m.allocator.compact_node(cx, &tenants, NodeId::ZERO);
            tenants.check();
            assert_eq!(pinned.iter().map(|&name| tenants.place(name)).collect::<Vec<_>>(), at);
            assert!(m.allocator.migrate_events().fail() > 0);
            assert!(largest_free(m) >= 6);
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}

/// Whom the slow path asks: tenants that come into being after the allocator.
#[derive(Default)]
struct Late {
    mover: OnceLock<Behind>,
    reclaim: RefCell<u64>,
}

/// A mover whose pages are only named: it has no lifetime of the machine's.
#[derive(Default)]
struct Behind {
    owned: RefCell<std::collections::BTreeMap<u32, bool>>,
}

impl Migrate for Behind {
    fn isolate(&self, _: &pagewright_page::PageMap<'_>, page: FrameIdx, _: MigrateMode) -> bool {
        match self.owned.borrow_mut().get_mut(&page.get()) {
            Some(isolated) if !*isolated => {
                *isolated = true;
                true
            }
            _ => false,
        }
    }
    fn migrate<'b>(
        &self,
        map: &pagewright_page::PageMap<'b>,
        page: FrameIdx,
        to: pagewright_page::Frames<'b>,
        _: MigrateMode,
    ) -> Migrated<'b> {
        let mut owned = self.owned.borrow_mut();
        assert_eq!(owned.remove(&page.get()), Some(true));
        let nobody = pagewright_page::OwnerHandle::NONE;
        let old = map.withdraw(page, pagewright_page::Use::Movable, nobody);
        owned.insert(map.deposit(to, pagewright_page::Use::Movable, nobody).get(), false);
        Migrated::Moved(old)
    }
    fn putback<'b>(
        &self,
        _: &pagewright_page::PageMap<'b>,
        page: FrameIdx,
    ) -> Option<pagewright_page::Frames<'b>> {
        self.owned.borrow_mut().insert(page.get(), false);
        None
    }
}

impl Hooks for Late {
    fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
        Err(NotZeroed)
    }
    fn mover(&self) -> Option<&dyn Migrate> {
        self.mover.get().map(|mover| mover as &dyn Migrate)
    }
    fn reclaim(&self, _: &AllocRequest<'_>) -> Progress {
        *self.reclaim.borrow_mut() += 1;
        Progress::default()
    }
}

#[test]
fn an_allocation_that_finds_no_block_compacts_and_gets_one() {
    let late = Late::default();
    with_plain_machine(&small(4096, 1), &late, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let gfp = Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN;
            let nobody = pagewright_page::OwnerHandle::NONE;
            let mover = late.mover.get_or_init(Behind::default);
            let mut scattered = vec![];
            let all = cx.with_task(TaskFlags::MEMALLOC);
            while let Ok(page) = m.allocator.alloc_pages(&all, gfp, Order::ZERO) {
                scattered.push(page);
            }
            for (n, page) in scattered.into_iter().enumerate() {
                if n % 4 == 0 {
                    let at = m.base.map().deposit(page, pagewright_page::Use::Movable, nobody);
                    mover.owned.borrow_mut().insert(at.get(), false);
                } else {
                    m.allocator.free_pages(cx, page);
                }
            }
            m.allocator.drain_local_pages(cx);
            assert!(largest_free(m) < 8);
            let reclaimed = late.reclaim.take();
            let block = m.allocator.alloc_pages(cx, gfp, order(8)).expect("compaction makes one");
            assert_eq!(late.reclaim.take(), 0, "before reclaim is asked ({reclaimed})");
            let events = m.allocator.compact_events();
            assert!(events.get("compact_success") >= 1);
            assert_eq!(
                events.get("compact_stall"),
                events.get("compact_success") + events.get("compact_fail")
            );
            m.allocator.free_pages(cx, block);
            for (at, isolated) in mover.owned.take() {
                assert!(!isolated);
                let page = m.base.map().withdraw(FrameIdx::new(at), pagewright_page::Use::Movable, nobody);
                m.allocator.free_pages(cx, page);
            }
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn what_is_wanted_decides_whether_compaction_can_help() {
    with_plain_machine(&small(4096, 1), NoHooks, |m| {
        m.on_cpu(0, |cx| {
            let cell = &m.allocator.zones()[0];
            let suitable = |n| {
                m.allocator.zone_compaction_suitable(cell, order(n), AllocFlags::WMARK_MIN, ZoneKind::Normal)
            };
            assert_eq!(suitable(10), Outcome::Success, "there is a block");
            let tenants = Tenants::new(*m.base.map());
            scatter(m, cx, &tenants, 2);
            assert_eq!(suitable(9), Outcome::Continue, "there is memory, and it lies scattered");
            // Nearly everything in use: memory is wanted.
            let gfp = Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN;
            while let Ok(page) = m.allocator.alloc_pages(cx, gfp | Gfp::NORETRY, Order::ZERO) {
                tenants.settle(page);
            }
            m.allocator.drain_local_pages(cx);
            assert_eq!(suitable(9), Outcome::Skipped);
            all_leave(m, cx, &tenants);
        });
    });
}

#[test]
fn kcompactd_makes_what_it_was_asked_for_and_then_sleeps() {
    with_plain_machine(&small(4096, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            let thread = Kcompactd::new(NodeId::ZERO);
            assert!(!m.allocator.wakeup_kcompactd(&thread, order(7), ZoneKind::Movable), "nothing to do");
            scatter(m, cx, &tenants, 2);
            assert!(!m.allocator.wakeup_kcompactd(&thread, Order::ZERO, ZoneKind::Movable));
            assert!(m.allocator.wakeup_kcompactd(&thread, order(9), ZoneKind::Movable));
            assert_eq!(thread.wanted(), Some(order(9)));
            let nap = m.allocator.kcompactd(cx, &tenants, &thread, 0, false);
            assert_eq!((nap.msec, thread.wanted()), (500, None));
            m.allocator.drain_local_pages(cx);
            assert!(largest_free(m) >= 9, "{}", largest_free(m));
            assert_eq!(m.allocator.compact_events().get("compact_daemon_wake"), 1);
            assert!(m.allocator.compact_events().get("compact_daemon_migrate_scanned") > 0);
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn compaction_ahead_of_need_begins_above_a_score_and_rests_when_it_is_in_vain() {
    // The score looks at blocks of a pageblock's size.
    let machine = PlainMachine { pageblock: order(9), ..PlainMachine::new(4096, 1) };
    with_plain_machine(&machine, NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            let thread = Kcompactd::new(NodeId::ZERO);
            assert!(!m.allocator.should_compact_proactively(NodeId::ZERO, 20));
            scatter(m, cx, &tenants, 3);
            assert!(m.allocator.should_compact_proactively(NodeId::ZERO, 20));
            assert!(!m.allocator.should_compact_proactively(NodeId::ZERO, 0));
            let idle = m.allocator.kcompactd(cx, &tenants, &thread, 20, true);
            assert_eq!((idle.msec, m.allocator.migrate_events().success()), (500, 0), "kswapd is at work");
            // In vain, as long as nothing can be moved.
            let names = tenants.names();
            names.iter().for_each(|&name| tenants.pin(name, true));
            assert_eq!(m.allocator.kcompactd(cx, &tenants, &thread, 20, false).msec, 32_000);
            names.iter().for_each(|&name| tenants.pin(name, false));
            assert_eq!(m.allocator.kcompactd(cx, &tenants, &thread, 20, false).msec, 500);
            assert!(!m.allocator.should_compact_proactively(NodeId::ZERO, 20));
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn failures_put_compaction_off_longer_and_longer() {
    let late = Late::default();
    with_plain_machine(&small(4096, 1), &late, |m| {
        m.on_cpu(0, |cx| {
            late.mover.get_or_init(Behind::default);
            // Pages that nobody moves: every second one.
            let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN;
            let mut held = vec![];
            let all = cx.with_task(TaskFlags::MEMALLOC);
            while let Ok(page) = m.allocator.alloc_pages(&all, gfp, Order::ZERO) {
                held.push(page);
            }
            let mut kept = vec![];
            for (n, page) in held.into_iter().enumerate() {
                if n % 2 == 0 { kept.push(page) } else { m.allocator.free_pages(cx, page) }
            }
            m.allocator.drain_local_pages(cx);
            let state = m.allocator.zones()[0].compact_state();
            let scanned = || m.allocator.compact_events().get("compact_migrate_scanned");
            let mut rounds = vec![];
            for _ in 0..40 {
                let before = scanned();
                assert!(m.allocator.alloc_pages(cx, gfp | Gfp::RETRY_MAYFAIL, order(6)).is_err());
                rounds.push((scanned() > before, state.defer_shift()));
            }
            // Nothing has succeeded yet, so no order is known to be worth it.
            assert_eq!(state.order_failed(), 0);
            assert_eq!(state.defer_shift(), 6, "at most 64 requests");
            assert!(rounds.iter().any(|&(looked, _)| !looked), "some were put off: {rounds:?}");
            kept.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
            m.allocator.drain_local_pages(cx);
            assert_eq!(m.allocator.validate(), Ok(()));
        });
    });
}

#[test]
fn an_interrupted_compaction_leaves_every_page_somewhere() {
    with_plain_machine(&small(2048, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            scatter(m, cx, &tenants, 3);
            let free = m.allocator.zones()[0].free_pages();
            for n in 1..if cfg!(miri) { 3 } else { 60 } {
                tenants.interrupt_at(n);
                m.allocator.compact_node(cx, &tenants, NodeId::ZERO);
                tenants.interrupt_at(0);
                assert_eq!(m.allocator.zones()[0].free_pages(), free);
                assert_eq!(m.allocator.validate(), Ok(()));
                tenants.check();
            }
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}
