//! Many pages at once: what comes, from where, and how it goes back.

use super::debug::{Arrays, Memory, Watch};
use super::*;
use crate::whole::{with_debugged_machine, with_plain_machine};
use pagewright_page::Frames;
use pagewright_zone::Gfp;
use pagewright_zone::NodeMask;
use pagewright_zone::alloc::{NoHooks, NotZeroed, Reasons, TaskFlags};
use pagewright_zone::debug::{Debugging, PAGE_POISON, Switches};
use std::collections::HashSet;
use std::sync::Mutex;

pub(super) fn empty<'a>(n: usize) -> Vec<Option<Frames<'a>>> {
    (0..n).map(|_| None).collect()
}

pub(super) fn starts(slots: &[Option<Frames<'_>>]) -> Vec<u32> {
    slots.iter().flatten().map(|page| page.start().get()).collect()
}

/// Notes which frames were zeroed.
#[derive(Default)]
pub(super) struct Zeroer(pub(super) Mutex<Vec<u32>>);

impl Hooks for Zeroer {
    fn zero(&self, frames: &Frames<'_>) -> Result<(), NotZeroed> {
        let start = frames.start().get();
        self.0.lock().unwrap().extend(start..start + frames.len() as u32);
        Ok(())
    }
}

#[test]
fn pages_in_bulk_are_those_that_one_by_one_would_be() {
    for n in [2, 5, 62, 63, 64, 126, 400, 700, 1500] {
        let singles = with_plain_machine(&machine(64, 1), NoHooks, |m| {
            m.on_cpu(0, |cx| {
                let one = |_| m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).ok();
                let pages: Vec<_> = (0..n).map(one).collect();
                let at = starts(&pages);
                m.allocator.free_pages_bulk(cx, pages.into_iter().flatten());
                at
            })
        });
        with_plain_machine(&machine(64, 1), NoHooks, |m| {
            let before = buddyinfo(m);
            m.on_cpu(0, |cx| {
                let zone = zone_ids(m)[0];
                let mut slots = empty(n);
                let mut filled = 0;
                while filled < n {
                    let now = m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL, &mut slots);
                    assert!(now > filled);
                    filled = now;
                }
                assert_eq!(starts(&slots), singles);
                let listed = cx.cpu.enter().unwrap();
                let batch = listed.zone(zone).unwrap().batch() as usize;
                assert!((listed.count(zone) as usize) < batch, "no more is fetched than is needed");
                let stat = m.allocator.numa_stat(zone, listed.served(zone));
                assert_eq!((stat.hit, stat.local), (n as u64, n as u64));
                drop(listed);
                m.allocator.free_pages_bulk(cx, slots.into_iter().flatten());
            });
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn what_a_slot_has_already_stays_there() {
    with_plain_machine(&machine(64, 1), Zeroer::default(), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let gfp = Gfp::GFP_KERNEL | Gfp::ZERO;
            let mut slots = empty(40);
            for at in [0, 1, 7, 8, 20, 39] {
                slots[at] = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).ok();
            }
            let old = starts(&slots);
            assert_eq!(m.allocator.alloc_pages_bulk(cx, gfp, &mut slots), 40);
            let kept: Vec<_> = [0, 1, 7, 8, 20, 39]
                .iter()
                .filter_map(|&at| Some(slots[at].as_ref()?.start().get()))
                .collect();
            assert_eq!(kept, old);
            let all: HashSet<_> = starts(&slots).into_iter().collect();
            assert_eq!(all.len(), 40);
            let zeroed: HashSet<_> = m.allocator.hooks().0.lock().unwrap().drain(..).collect();
            assert_eq!(zeroed, all.difference(&old.into_iter().collect()).copied().collect());
            // Nothing to do.
            assert_eq!(m.allocator.alloc_pages_bulk(cx, gfp, &mut slots), 40);
            assert_eq!(m.allocator.alloc_pages_bulk(cx, gfp, &mut []), 0);
            m.allocator.free_pages_bulk(cx, slots.iter_mut().filter_map(Option::take));
            assert!(slots.iter().all(Option::is_none));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn no_bulk_goes_below_the_low_watermark_but_one_page_is_had_all_the_same() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let cell = &m.allocator.zones()[0];
            let spare = (cell.free_pages() - cell.low_pages()) as usize;
            // One more than what is to spare.
            let mut slots = empty(spare);
            assert_eq!(m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL, &mut slots), 1);
            let mut filled = 1;
            while filled < spare - 70 {
                let now = m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL, &mut slots[..spare - 70]);
                assert!(now > filled);
                filled = now;
            }
            assert!(cell.free_pages() >= cell.low_pages());
            m.allocator.free_pages_bulk(cx, slots.into_iter().flatten());
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn all_of_a_machine_comes_page_by_page_in_the_end_and_then_none() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let cx = &cx.with_task(TaskFlags::MEMALLOC);
            let mut slots = empty(5000);
            let mut filled = 0;
            loop {
                let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN;
                let now = m.allocator.alloc_pages_bulk(cx, gfp, &mut slots);
                if now == filled {
                    break;
                }
                filled = now;
            }
            assert_eq!(filled, 4096);
            let all: HashSet<_> = starts(&slots).into_iter().collect();
            assert_eq!(all.len(), 4096);
            assert!(slots[filled..].iter().all(Option::is_none));
            m.allocator.free_pages_bulk(cx, slots.into_iter().flatten());
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn pages_of_another_node_come_one_at_a_time() {
    let numa = PlainMachine {
        ram: vec![(node(0), 0x4_0000, 16 << 8), (node(1), 0x8_0000, 32 << 8)],
        cpus: vec![node(0), node(1)],
        ..PlainMachine::new(0, 0)
    };
    with_plain_machine(&numa, NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let mut slots = empty(4096);
            // Node 0 has not so many to spare: one from there.
            assert_eq!(m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL, &mut slots), 1);
            // Node 1 by its name has.
            let mut far = empty(4000);
            let got = m.allocator.alloc_pages_bulk_nodemask(cx, node(1), None, Gfp::GFP_KERNEL, &mut far);
            assert_eq!(got, 4000);
            let on_1 = m.base.map().idx(pagewright_addr::Pfn::new(0x8_0000)).unwrap();
            assert!(starts(&far).iter().all(|&at| at >= on_1.get()));
            let only = NodeMask::only(node(1));
            let nodes = Some(&only);
            let mut more = empty(8);
            let got = m.allocator.alloc_pages_bulk_nodemask(cx, node(0), nodes, Gfp::GFP_KERNEL, &mut more);
            assert_eq!((got, starts(&more).iter().all(|&at| at >= on_1.get())), (8, true));
            let none = m.allocator.alloc_pages_bulk(cx, Gfp::DMA | Gfp::HIGHMEM, &mut slots[1..]);
            assert_eq!(none, 0, "a mask that contradicts itself");
            for slots in [slots, far, more] {
                m.allocator.free_pages_bulk(cx, slots.into_iter().flatten());
            }
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn what_is_pinned_never_comes_from_a_cma_area_in_bulk() {
    let lent = PlainMachine { cma: vec![(0x4_1000, 0x800)], ..machine(64, 1) };
    with_plain_machine(&lent, NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let area = m.base.map().idx(pagewright_addr::Pfn::new(0x4_1000)).unwrap().get();
            let in_area = |slots: &[Option<Frames<'_>>]| {
                starts(slots).iter().filter(|&&at| (area..area + 0x800).contains(&at)).count()
            };
            let mut pinned = empty(2000);
            let cx_pinned = cx.with_task(TaskFlags::PIN);
            while m.allocator.alloc_pages_bulk(&cx_pinned, Gfp::GFP_HIGHUSER_MOVABLE, &mut pinned) < 2000 {}
            assert_eq!(in_area(&pinned), 0);
            let mut movable = empty(12_000);
            let mut filled = 0;
            while filled < movable.len() && m.allocator.zones()[0].free_pages() > 1000 {
                filled = m.allocator.alloc_pages_bulk(cx, Gfp::GFP_HIGHUSER_MOVABLE, &mut movable);
            }
            assert!(in_area(&movable) > 0);
            for slots in [pinned, movable] {
                m.allocator.free_pages_bulk(cx, slots.into_iter().flatten());
            }
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_handler_and_a_cpu_with_requests_get_theirs_too() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let mut slots = empty(8);
            let interrupted = cx.cpu.enter().unwrap();
            assert_eq!(m.allocator.alloc_pages_bulk(cx, Gfp::GFP_ATOMIC, &mut slots), 1);
            m.allocator.free_pages_bulk(cx, slots.iter_mut().filter_map(Option::take));
            drop(interrupted);
            m.attention(0).post(Reasons::DRAIN);
            assert_eq!(m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL, &mut slots), 8);
            m.attention(0).post(Reasons::DRAIN);
            m.allocator.free_pages_bulk(cx, slots.iter_mut().filter_map(Option::take));
            assert!(m.attention(0).is_quiet(Reasons::empty()), "requests are answered");
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_bulk_allocation_that_is_made_to_fail_takes_nothing() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            for n in 1..6 {
                m.allocator.fail_nth(n);
                let mut all = vec![];
                let mut failed = vec![];
                for call in 1..=5_u32 {
                    let mut slots = empty(20);
                    slots[3] = all.pop();
                    let got = m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL, &mut slots);
                    assert!(got == 20 || (got == 0 && starts(&slots).len() <= 1), "{got}");
                    if got == 0 {
                        failed.push(call);
                    }
                    all.extend(slots.into_iter().flatten());
                }
                assert_eq!(failed, [n]);
                m.allocator.fail_nth(0);
                m.allocator.free_pages_bulk(cx, all);
            }
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn pages_in_bulk_are_looked_at_like_any_others() {
    for switches in [Switches::POISON, Switches::INIT_ON_ALLOC, Switches::INIT_ON_FREE, Switches::PAGEALLOC] {
        let (memory, watch, arrays) = (Memory::default(), Watch::default(), Arrays::new());
        let debugging =
            Debugging::new(&watch, &arrays.failed).with_contents(switches, &memory, &arrays.marks);
        with_debugged_machine(&machine(64, 1), NoHooks, Some(&debugging), |m| {
            let before = buddyinfo(m);
            m.on_cpu(0, |cx| {
                let mut slots = empty(100);
                assert_eq!(m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL, &mut slots), 100);
                let pages: Vec<_> = slots.iter().flatten().map(Frames::start).collect();
                let all_hold = |byte: u8| pages.iter().all(|&idx| memory.read(idx) == [byte; 4096]);
                if switches == Switches::INIT_ON_ALLOC {
                    assert!(all_hold(0));
                }
                pages.iter().for_each(|&idx| memory.write(idx, 3, 9));
                m.allocator.free_pages_bulk(cx, slots.iter_mut().filter_map(Option::take));
                match switches {
                    Switches::POISON => assert!(all_hold(PAGE_POISON)),
                    Switches::INIT_ON_FREE => assert!(all_hold(0)),
                    _ => {}
                }
                if switches == Switches::POISON {
                    memory.write(pages[50], 1, 1);
                    assert_eq!(m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL, &mut slots), 100);
                    assert_eq!(watch.troubles().len(), 1, "the one page that was written to");
                    m.allocator.free_pages_bulk(cx, slots.iter_mut().filter_map(Option::take));
                }
            });
            expect_all_back(m, &before);
            assert!(watch.troubles().is_empty());
        });
    }
}

#[test]
fn each_page_in_bulk_has_an_owner_while_owners_are_kept() {
    let (watch, arrays) = (Watch::default(), Arrays::new());
    let debugging = Debugging::new(&watch, &arrays.failed).with_owners(&arrays.owners);
    with_debugged_machine(&machine(64, 1), NoHooks, Some(&debugging), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let mut slots = empty(10);
            for filled in 1..=10 {
                assert_eq!(
                    m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL, &mut slots),
                    filled,
                    "one by one"
                );
            }
            let known = |page: &Frames<'_>| m.allocator.page_owner(page.start()).is_some_and(|r| r.allocated);
            assert!(slots.iter().flatten().all(known));
            m.allocator.free_pages_bulk(cx, slots.into_iter().flatten());
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn runs_are_whole_blocks_and_none_where_each_page_is_looked_at() {
    with_plain_machine(&machine(64, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let runs =
                |gfp, pages, slots: &mut [_]| m.allocator.alloc_pages_runs(cx, cx.node, gfp, pages, slots);
            let mut slots = empty(16);
            assert_eq!(runs(Gfp::GFP_KERNEL, 256 + 16 + 3, &mut slots), 4);
            // The first page of a type has a block taken over for it; which of the runs it is does not matter.
            let mut lens: Vec<_> = slots.iter().flatten().map(Frames::len).collect();
            lens.sort_unstable();
            assert_eq!(lens, [1, 2, 16, 256]);
            // Fewer pages where the slots do not suffice, and as many as are asked for at most.
            let mut two = empty(2);
            assert_eq!(runs(Gfp::GFP_KERNEL, 7, &mut two), 2);
            assert_eq!(two.iter().flatten().map(Frames::len).sum::<u64>(), 6);
            assert_eq!(runs(Gfp::GFP_KERNEL, 0, &mut empty(2)), 0);
            assert_eq!(runs(Gfp::GFP_KERNEL | Gfp::ZERO, 7, &mut empty(2)), 0);
            assert_eq!(runs(Gfp::GFP_KERNEL, 1 << 40, &mut empty(2)), 0, "there are not so many to spare");
            let stat = m.allocator.numa_stat(zone_ids(m)[0], 0);
            assert!(stat.hit >= 256 + 16 + 3 + 6);
            m.allocator.free_pages_bulk(cx, slots.into_iter().chain(two).flatten());
        });
        expect_all_back(m, &before);
    });
}
