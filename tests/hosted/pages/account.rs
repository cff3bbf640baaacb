//! Pages that somebody is charged for.

use super::*;
use crate::whole::{with_plain_machine, with_watched_machine};
use pagewright_page::Frames;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{AllocFailure, NotZeroed, PageEvent, PageEvents, Step};
use pagewright_zone::buddy::{Fallback, WatchFallbacks};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// A control group with a limit, and the frames that it pays for.
struct Group {
    limit: usize,
    paid: Mutex<BTreeSet<u32>>,
    steps: Mutex<Vec<Step>>,
    asked: Mutex<Vec<(Gfp, u64)>>,
}

impl Group {
    fn new(limit: usize) -> Self {
        Self { limit, paid: Mutex::default(), steps: Mutex::default(), asked: Mutex::default() }
    }

    fn pages(&self) -> usize {
        self.paid.lock().unwrap().len()
    }
}

fn each(frames: &Frames<'_>) -> impl Iterator<Item = u32> {
    let start = frames.start().get();
    start..start + frames.len() as u32
}

impl Hooks for &Group {
    /// This machine's frames have no contents.
    fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
        Ok(())
    }
    fn charge(&self, gfp: Gfp, frames: &Frames<'_>) -> bool {
        self.asked.lock().unwrap().push((gfp, frames.len()));
        let mut paid = self.paid.lock().unwrap();
        if paid.len() + frames.len() as usize > self.limit && !gfp.contains(Gfp::NOFAIL) {
            return false;
        }
        assert!(each(frames).all(|idx| paid.insert(idx)), "paid for twice");
        true
    }
    fn uncharge(&self, frames: &Frames<'_>) {
        let mut paid = self.paid.lock().unwrap();
        each(frames).for_each(|idx| _ = paid.remove(&idx));
    }
    fn step(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
    }
}

#[test]
fn masks_say_what_is_charged_and_who_has_spent_all_gets_no_more() {
    let account = Gfp::GFP_KERNEL_ACCOUNT;
    // Mask, order, whether accounting is on, what is paid for afterwards of 4 pages at most, whether there is a block.
    let table = [
        (account, 0, false, 0, true),
        (Gfp::GFP_KERNEL, 2, true, 0, true),
        (account, 0, true, 1, true),
        (account | Gfp::ZERO, 0, true, 1, true),
        (account | Gfp::COMP, 2, true, 4, true),
        (account, 2, true, 4, true),
        (account, 3, true, 0, false),
        (account | Gfp::COMP, 3, true, 0, false),
        (account, 10, true, 0, false),
        (account | Gfp::NOFAIL, 3, true, 8, true),
    ];
    for (gfp, n, on, paid, ok) in table {
        let group = Group::new(4);
        with_plain_machine(&machine(16, 1), &group, |m| {
            let before = buddyinfo(m);
            m.on_cpu(0, |cx| {
                m.allocator.set_accounting(on);
                let got = m.allocator.alloc_pages(cx, gfp, order(n));
                assert_eq!((group.pages(), got.is_ok()), (paid, ok), "{gfp} order {n}");
                match got {
                    Ok(frames) => m.allocator.free_pages(cx, frames),
                    Err(why) => assert_eq!(why, AllocFailure::NotCharged { order: order(n), gfp }),
                }
                assert_eq!(group.pages(), 0, "who gives a page back pays no more");
                assert!(group.steps.lock().unwrap().iter().all(|step| matches!(step, Step::Warn(_))));
            });
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn parts_of_a_block_are_given_back_by_themselves() {
    let group = Group::new(64);
    with_plain_machine(&machine(16, 1), &group, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            m.allocator.set_accounting(true);
            let exact = m.allocator.alloc_pages_exact(cx, Gfp::GFP_KERNEL_ACCOUNT, 5).unwrap();
            assert_eq!(group.pages(), 5, "the rest of the block went back at once");
            let (front, back) = m.base.map().split_front(exact, 2);
            m.allocator.free_pages(cx, front);
            assert_eq!(group.pages(), 3);
            m.allocator.free_pages(cx, back.unwrap());
            assert_eq!(group.pages(), 0);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn many_at_once_are_charged_one_by_one() {
    let group = Group::new(3);
    with_plain_machine(&machine(16, 1), &group, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let mut slots: Vec<Option<Frames<'_>>> = (0..8).map(|_| None).collect();
            m.allocator.set_accounting(true);
            for filled in [1, 2, 3, 3] {
                assert_eq!(m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL_ACCOUNT, &mut slots), filled);
            }
            assert_eq!(group.pages(), 3);
            let mut runs: Vec<Option<Frames<'_>>> = (0..8).map(|_| None).collect();
            let runs = m.allocator.alloc_pages_runs(cx, node(0), Gfp::GFP_KERNEL_ACCOUNT, 64, &mut runs);
            assert_eq!(runs, 0, "one by one only");
            assert_eq!(m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL, &mut slots), 8, "of others many");
            m.allocator.free_pages_bulk(cx, slots.into_iter().flatten());
            assert_eq!(group.pages(), 0);
            assert_eq!(*group.asked.lock().unwrap(), [(Gfp::GFP_KERNEL_ACCOUNT, 1); 4]);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn while_nothing_is_charged_nobody_looks() {
    let group = Group::new(0);
    with_plain_machine(&machine(16, 1), &group, |m| {
        m.on_cpu(0, |cx| {
            m.allocator.set_accounting(true);
            assert!(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL_ACCOUNT, Order::ZERO).is_err());
            m.allocator.set_accounting(false);
            assert!(m.attention(0).reasons().is_empty());
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL_ACCOUNT, Order::ZERO).unwrap();
            m.allocator.free_pages(cx, page);
            assert_eq!(group.asked.lock().unwrap().len(), 1);
        });
    });
}

#[test]
fn a_page_that_nobody_may_be_charged_for_is_told_as_none() {
    #[derive(Default)]
    struct Told(Mutex<Vec<bool>>);
    impl WatchFallbacks for Told {
        fn fallback(&self, _: &Fallback) {}
    }
    impl PageEvents for Told {
        fn event(&self, event: &PageEvent<'_>) {
            match event {
                PageEvent::Alloc { pfn, .. } => self.0.lock().unwrap().push(pfn.is_some()),
                PageEvent::Fallback { .. } => {}
                PageEvent::Free { .. } => panic!("nothing was given back"),
            }
        }
    }
    let (group, told) = (Group::new(0), Told::default());
    with_watched_machine(&machine(16, 1), &group, &told, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            m.allocator.set_events(true);
            m.allocator.set_accounting(true);
            assert!(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL_ACCOUNT, order(4)).is_err());
            m.allocator.set_events(false);
            m.allocator.set_accounting(false);
        });
        assert_eq!(*told.0.lock().unwrap(), [false]);
        expect_all_back(m, &before);
    });
}
