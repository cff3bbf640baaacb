//! Exact numbers of pages, single pages of a split block, and pages by number and address.

use super::bulk::Zeroer;
use super::debug::{Arrays, Memory, Watch};
use super::*;
use crate::whole::{with_debugged_machine, with_plain_machine};
use pagewright_addr::{PageShift, Pfn, PhysAddr, VirtAddr};
use pagewright_page::Frames;
use pagewright_page::model::{AddrBits, PhysToVirt};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{AllocFailure, NoHooks, NotZeroed, Step};
use pagewright_zone::debug::{BadFree, Debugging, PAGE_POISON, Switches, Trouble};
use pagewright_zone::gfp::GfpWarning;
use std::sync::Mutex;

#[derive(Default)]
struct Steps(Mutex<Vec<Step>>);

impl Hooks for Steps {
    fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
        Err(NotZeroed)
    }
    fn step(&self, step: Step) {
        self.0.lock().unwrap().push(step);
    }
}

#[test]
fn exactly_as_many_pages_as_asked_for_leave_the_zone() {
    with_plain_machine(&machine(64, 1), Steps::default(), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let cell = &m.allocator.zones()[0];
            for pages in [1, 2, 3, 5, 7, 9, 31, 64, 65, 513, 1023, 1024] {
                m.allocator.drain_local_pages(cx);
                let free = cell.free_pages();
                let frames = m.allocator.alloc_pages_exact(cx, Gfp::GFP_KERNEL, pages).unwrap();
                assert_eq!(frames.len(), pages);
                m.allocator.drain_local_pages(cx);
                assert_eq!(cell.free_pages(), free - pages);
                let nid = m.allocator.alloc_pages_exact_nid(cx, node(0), Gfp::GFP_KERNEL, pages).unwrap();
                assert_eq!(nid.len(), pages);
                m.allocator.free_pages(cx, nid);
                m.allocator.free_pages(cx, frames);
            }
            for pages in [0, 1025, 1 << 15, (1 << 15) + 1, u64::MAX] {
                let refused = m.allocator.alloc_pages_exact(cx, Gfp::GFP_KERNEL, pages).unwrap_err();
                assert!(matches!(refused, AllocFailure::TooLarge { largest, .. } if largest == order(10)));
            }
            assert!(m.allocator.hooks().0.lock().unwrap().is_empty());
            let gfp = Gfp::GFP_KERNEL | Gfp::COMP;
            let frames = m.allocator.alloc_pages_exact(cx, gfp, 3).unwrap();
            assert!(!m.base.map().is_head(frames.start()));
            assert_eq!(*m.allocator.hooks().0.lock().unwrap(), [Step::Warn(GfpWarning::Exact)]);
            m.allocator.free_pages(cx, frames);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_split_block_is_so_many_pages_each_of_which_goes_its_way() {
    let (watch, arrays) = (Watch::default(), Arrays::new());
    let debugging = Debugging::new(&watch, &arrays.failed).with_owners(&arrays.owners);
    with_debugged_machine(&machine(64, 1), NoHooks, Some(&debugging), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let block = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(3)).unwrap();
            let mut slots: Vec<_> = (0..8).map(|_| None).collect();
            m.allocator.split_page(cx, block, &mut slots);
            for page in slots.into_iter().flatten().rev() {
                let owner = m.allocator.page_owner(page.start()).unwrap();
                assert!(owner.allocated && owner.order == Order::ZERO);
                assert_eq!(page.len(), 1);
                m.allocator.free_pages(cx, page);
            }
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn pages_by_number_are_freed_whole_split_or_one_by_one_and_only_once() {
    with_plain_machine(&machine(64, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let at = |pfn: Pfn, n: u64| Pfn::new(pfn.get() + n);
            let pfn = m.allocator.get_free_pages(cx, Gfp::GFP_KERNEL, order(2)).unwrap();
            assert_eq!(
                m.allocator.split_page_at(cx, at(pfn, 1), order(0)),
                Err(BadFree::Tail { pfn: at(pfn, 1), head: pfn })
            );
            m.allocator.split_page_at(cx, pfn, order(2)).unwrap();
            let wrong = BadFree::Order { pfn, allocated: order(0), freed: order(2) };
            assert_eq!(m.allocator.free_pages_at(cx, pfn, order(2)), Err(wrong));
            assert_eq!(m.allocator.free_pages_at(cx, at(pfn, 2), Order::ZERO), Ok(()));
            // One of these is free by now: none is freed.
            let refused = m.allocator.free_pages_exact_at(cx, pfn, 4).unwrap_err();
            assert_eq!(refused, BadFree::NotByNumber(at(pfn, 2)));
            m.allocator.free_pages_exact_at(cx, pfn, 2).unwrap();
            assert_eq!(m.allocator.put_page(cx, at(pfn, 3)), Ok(true), "its last reference");
            let exact = m.allocator.get_free_pages_exact(cx, Gfp::GFP_KERNEL, 11).unwrap();
            assert_eq!(
                m.allocator.free_pages_exact_at(cx, exact, 12),
                Err(m.allocator.free_pages_at(cx, at(exact, 11), Order::ZERO).unwrap_err())
            );
            m.allocator.free_pages_exact_at(cx, exact, 11).unwrap();
            let mut numbers = vec![None; 70];
            let mut batch: Vec<_> = (0..16).map(|_| None).collect();
            numbers[20] = Some(Pfn::new(1));
            let got = m.allocator.get_free_pages_bulk(cx, Gfp::GFP_KERNEL, &mut batch, &mut numbers);
            assert_eq!((got, numbers[20]), (70, Some(Pfn::new(1))));
            numbers.remove(20);
            for pfn in numbers.into_iter().flatten() {
                assert_eq!(m.allocator.free_pages_at(cx, pfn, Order::ZERO), Ok(()));
            }
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn addresses_are_those_of_the_linear_map_and_never_of_high_memory() {
    let small = PlainMachine { dma32_end: 0x4_1000, ..machine(64, 1) };
    with_plain_machine(&small, Zeroer::default(), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let base = 0xffff_8880_0000_0000;
            let map = PhysToVirt::new(PhysAddr::ZERO, VirtAddr::new(base), AddrBits::Bits64);
            let pages = m.allocator.by_address(map, PageShift::SHIFT_4K);
            let zeroed = || std::mem::take(&mut *m.allocator.hooks().0.lock().unwrap());
            let at = pages.get_free_pages(cx, Gfp::GFP_HIGHUSER, order(2)).unwrap();
            assert_eq!(pages.address_of(pages.page_at(at)), at);
            assert!(at.get() >= base + 0x4000_0000 && at.get() < base + 0x4400_0000);
            assert!(zeroed().is_empty());
            assert_eq!(pages.free_pages(cx, at, order(2)), Ok(()));
            assert_eq!(pages.free_pages(cx, VirtAddr::ZERO, order(2)), Ok(()), "nothing");
            let page = pages.get_zeroed_page(cx, Gfp::GFP_KERNEL).unwrap();
            assert_eq!(zeroed(), [m.base.map().idx(pages.page_at(page)).unwrap().get()]);
            let node = pages.get_free_pages_node(cx, node(0), Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            let low = pages.get_dma_pages(cx, Gfp::GFP_KERNEL | Gfp::NOWARN, Order::ZERO).unwrap();
            for at in [page, node, low] {
                pages.free_pages(cx, at, Order::ZERO).unwrap();
            }
            let room = pages.alloc_pages_exact(cx, 5 * 4096 + 1, Gfp::GFP_KERNEL | Gfp::ZERO).unwrap();
            assert_eq!(zeroed().len(), 8, "of the block that it was cut from");
            assert_eq!(pages.free_pages_exact(cx, room, 5 * 4096 + 1), Ok(()));
            assert!(pages.alloc_pages_exact(cx, 0, Gfp::GFP_KERNEL).is_err());
            let nowhere = VirtAddr::new(base);
            assert_eq!(pages.free_pages(cx, nowhere, Order::ZERO), Err(BadFree::NoFrame(Pfn::new(0))));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn each_form_that_is_made_to_fail_has_taken_nothing() {
    with_plain_machine(&machine(16, 1), Zeroer::default(), |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            for n in 1..=8 {
                m.allocator.fail_nth(n);
                let gfp = Gfp::GFP_KERNEL;
                let exact = m.allocator.alloc_pages_exact(cx, gfp, 5);
                let nid = m.allocator.alloc_pages_exact_nid(cx, node(0), gfp, 6);
                let compound = m.allocator.alloc_pages(cx, gfp | Gfp::COMP, order(3));
                let number = m.allocator.get_free_pages(cx, gfp, order(1));
                let on_node = m.allocator.get_free_pages_node(cx, node(0), gfp, order(1));
                let zeroed = m.allocator.get_zeroed_page(cx, gfp);
                let dma = m.allocator.get_dma_pages(cx, gfp, order(1));
                let exact_number = m.allocator.get_free_pages_exact(cx, gfp, 3);
                m.allocator.fail_nth(0);
                let failed = [
                    exact.is_err(),
                    nid.is_err(),
                    compound.is_err(),
                    number.is_err(),
                    on_node.is_err(),
                    zeroed.is_err(),
                    dma.is_err(),
                    exact_number.is_err(),
                ];
                let expected: Vec<_> = (1..=8).map(|call| call == n).collect();
                assert_eq!(failed[..], expected[..]);
                for frames in [exact, nid, compound].into_iter().flatten() {
                    m.allocator.free_pages(cx, frames);
                }
                for pfn in [number, on_node, dma].into_iter().flatten() {
                    m.allocator.free_pages_at(cx, pfn, order(1)).unwrap();
                }
                zeroed.into_iter().for_each(|pfn| m.allocator.free_pages_at(cx, pfn, Order::ZERO).unwrap());
                exact_number.into_iter().for_each(|pfn| m.allocator.free_pages_exact_at(cx, pfn, 3).unwrap());
            }
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn pages_of_every_form_are_looked_at_like_any_others() {
    for switches in [Switches::POISON, Switches::INIT_ON_ALLOC, Switches::INIT_ON_FREE, Switches::PAGEALLOC] {
        let (memory, watch, arrays) = (Memory::default(), Watch::default(), Arrays::new());
        let debugging =
            Debugging::new(&watch, &arrays.failed).with_contents(switches, &memory, &arrays.marks);
        with_debugged_machine(&machine(64, 1), NoHooks, Some(&debugging), |m| {
            let before = buddyinfo(m);
            m.on_cpu(0, |cx| {
                let map = m.base.map();
                for round in 0..2 {
                    let exact = m.allocator.get_free_pages_exact(cx, Gfp::GFP_KERNEL, 11).unwrap();
                    let comp = m.allocator.get_free_pages(cx, Gfp::GFP_KERNEL | Gfp::COMP, order(3)).unwrap();
                    let pages: Vec<_> = (0..11)
                        .map(|n| exact.get() + n)
                        .chain((0..8).map(|n| comp.get() + n))
                        .map(|pfn| map.idx(Pfn::new(pfn)).unwrap())
                        .collect();
                    if switches == Switches::INIT_ON_ALLOC {
                        assert!(pages.iter().all(|&idx| memory.read(idx) == [0; 4096]), "{round}");
                    }
                    pages.iter().for_each(|&idx| memory.write(idx, 3, 9));
                    m.allocator.free_pages_exact_at(cx, exact, 11).unwrap();
                    assert_eq!(m.allocator.put_page(cx, comp), Ok(true));
                    let left = match switches {
                        Switches::POISON => Some(PAGE_POISON),
                        Switches::INIT_ON_FREE => Some(0),
                        _ => None,
                    };
                    if let Some(byte) = left {
                        assert!(pages.iter().all(|&idx| memory.read(idx) == [byte; 4096]));
                    }
                }
                let trouble = m.allocator.free_pages_at(cx, Pfn::new(7), Order::ZERO).unwrap_err();
                assert_eq!(watch.troubles(), [Trouble::BadFree(trouble)]);
            });
            expect_all_back(m, &before);
            assert!(watch.troubles().is_empty());
        });
    }
}
