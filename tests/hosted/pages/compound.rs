//! Compound pages: every frame leads to the head, and the whole is freed or nothing.

use super::debug::{Arrays, Watch, in_all_modes, panic_of};
use super::*;
use crate::whole::{with_debugged_machine, with_plain_machine};
use pagewright_addr::Pfn;
use pagewright_page::{FrameIdx, PageFlags, State};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::NoHooks;
use pagewright_zone::debug::{BadFree, Debugging, Trouble};

const COMP: Gfp = Gfp::GFP_KERNEL.union(Gfp::COMP);

#[test]
fn every_frame_of_a_compound_page_leads_to_its_head_until_it_is_freed() {
    with_plain_machine(&machine(64, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let map = m.base.map();
            for n in [1, 2, 3, 4, 9, 10] {
                let frames = m.allocator.alloc_pages(cx, COMP, order(n)).unwrap();
                let (head, pages) = (frames.start(), 1_u32 << n);
                assert_eq!(frames.order(), Some(order(n)));
                assert!(map.is_head(head) && !map.is_tail(head));
                assert_eq!(map.compound_order(head), order(n));
                for idx in (head.get() + 1..head.get() + pages).map(FrameIdx::new) {
                    assert!(map.is_tail(idx) && !map.is_head(idx));
                    assert_eq!((map.compound_head(idx), map.compound_order(idx)), (head, Order::ZERO));
                }
                assert_eq!(map.check_tails(head, order(n)), Ok(()));
                assert_eq!(m.allocator.validate(), Ok(()));
                m.allocator.free_pages(cx, frames);
                assert!(!map.is_head(head));
                assert!(
                    (head.get() + 1..head.get() + pages).all(|i| map.state(FrameIdx::new(i)) == State::Inner)
                );
            }
            let single = m.allocator.alloc_pages(cx, COMP, Order::ZERO).unwrap();
            assert!(!map.is_head(single.start()));
            m.allocator.free_pages_bulk(cx, [single]);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn the_last_reference_to_any_of_its_pages_frees_the_whole() {
    with_plain_machine(&machine(64, 1), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let map = m.base.map();
            let pfn = m.allocator.get_free_pages(cx, COMP, order(4)).unwrap();
            let tail = Pfn::new(pfn.get() + 7);
            assert_eq!(map.compound_order(map.idx(pfn).unwrap()), order(4), "of a deposited block too");
            assert_eq!(m.allocator.get_page(tail), Ok(2));
            assert_eq!(m.allocator.get_page(pfn), Ok(3));
            assert_eq!(m.allocator.put_page(cx, pfn), Ok(false));
            let referenced = BadFree::Referenced { pfn, references: 2, mappings: 0 };
            assert_eq!(m.allocator.free_pages_at(cx, pfn, order(4)), Err(referenced));
            assert_eq!(m.allocator.put_page(cx, tail), Ok(false));
            assert_eq!(m.allocator.put_page(cx, tail), Ok(true));
            assert_eq!(m.allocator.put_page(cx, pfn), Err(BadFree::DoubleFree(pfn)));
            assert_eq!(m.allocator.get_page(tail), Err(BadFree::DoubleFree(tail)));
            // A block that is not compound has no length to go by.
            let plain = m.allocator.get_free_pages(cx, Gfp::GFP_KERNEL, order(4)).unwrap();
            let wrong = BadFree::Order { pfn: plain, allocated: order(4), freed: order(0) };
            assert_eq!(m.allocator.put_page(cx, plain), Err(wrong));
            let inside = Pfn::new(plain.get() + 1);
            assert_eq!(m.allocator.get_page(inside), Err(BadFree::Tail { pfn: inside, head: plain }));
            m.allocator.free_pages_at(cx, plain, order(4)).unwrap();
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn what_must_not_become_of_a_compound_page_is_named_and_it_stays() {
    let (watch, arrays) = (Watch::default(), Arrays::new());
    let debugging = Debugging::new(&watch, &arrays.failed).with_owners(&arrays.owners);
    for (debug, hardened) in in_all_modes(&debugging) {
        with_debugged_machine(&machine(64, 1), NoHooks, debug, |m| {
            m.allocator.set_hardened(hardened);
            let before = buddyinfo(m);
            m.on_cpu(0, |cx| {
                let map = m.base.map();
                let pfn = m.allocator.get_free_pages(cx, COMP, order(3)).unwrap();
                let (head, at) = (map.idx(pfn).unwrap(), |n: u64| Pfn::new(pfn.get() + n));
                let refused = |found: Result<(), BadFree>, expected: BadFree, text: &str| {
                    assert_eq!(found, Err(expected));
                    assert!(expected.to_string().contains(text), "{expected}");
                    assert_eq!(map.compound_order(head), order(3));
                    let told = if debug.is_some() { vec![Trouble::BadFree(expected)] } else { vec![] };
                    assert_eq!(watch.troubles(), told);
                };
                let tail = BadFree::Tail { pfn: at(5), head: pfn };
                refused(m.allocator.free_pages_at(cx, at(5), Order::ZERO), tail, "tail page");
                let wrong = BadFree::Order { pfn, allocated: order(3), freed: order(2) };
                refused(m.allocator.free_pages_at(cx, pfn, order(2)), wrong, "wrong order");
                let compound = BadFree::Compound(pfn, order(3));
                refused(m.allocator.split_page_at(cx, pfn, order(3)), compound, "compound page of order 3");
                // Something overwrites a tail's link; then it is as it was.
                let idx = FrameIdx::new(head.get() + 3);
                map.set_next(idx, Some(FrameIdx::new(head.get() + 1)));
                let torn = BadFree::TornTail { pfn: at(3), head: pfn };
                refused(m.allocator.free_pages_at(cx, pfn, order(3)), torn, "corrupted or mapped tail page");
                assert!(m.allocator.validate().is_err());
                map.set_next(idx, Some(head));
                map.set_flags(idx, PageFlags::LOCKED);
                refused(m.allocator.free_pages_at(cx, pfn, order(3)), torn, "tail page");
                map.clear_flags(idx, PageFlags::LOCKED);
                assert_eq!(map.take_reference(head), 2);
                let shared = BadFree::Referenced { pfn, references: 2, mappings: 0 };
                refused(m.allocator.free_pages_at(cx, pfn, order(3)), shared, "2 references");
                map.drop_reference(head);
                m.allocator.free_pages_at(cx, pfn, order(3)).unwrap();
                m.allocator.drain_local_pages(cx);
                assert_eq!(m.allocator.free_pages_at(cx, pfn, order(3)), Err(BadFree::DoubleFree(pfn)));
                assert_eq!(watch.troubles().len(), usize::from(debug.is_some()));
            });
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn a_compound_page_is_neither_split_nor_joined_nor_freed_in_use() {
    let attempt = |what: &str| {
        panic_of(|| {
            with_plain_machine(&machine(16, 1), NoHooks, |m| {
                m.on_cpu(0, |cx| {
                    let map = m.base.map();
                    let frames = m.allocator.alloc_pages(cx, COMP, order(2)).unwrap();
                    let idx = frames.start();
                    match what {
                        "split" => drop(map.split_at(frames, 1)),
                        "cut" => m.allocator.split_page(cx, frames, &mut [None, None, None, None]),
                        "join" => {
                            let next = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(2)).unwrap();
                            assert_eq!(next.start().get(), idx.get() + 4);
                            drop(map.merge(frames, next));
                        }
                        "put" => drop(map.put_block(frames)),
                        "referenced" => {
                            map.take_reference(idx);
                            m.allocator.free_pages(cx, frames);
                        }
                        "flags" => {
                            map.set_flags(idx, PageFlags::DIRTY);
                            m.allocator.free_pages(cx, frames);
                        }
                        _ => {
                            map.set_next(FrameIdx::new(idx.get() + 2), None);
                            m.allocator.free_pages(cx, frames);
                        }
                    }
                });
            });
        })
    };
    for what in ["split", "cut", "join", "put"] {
        let text = attempt(what);
        assert!(text.contains("a compound page is freed whole, not split or joined"), "{what}: {text}");
    }
    for what in ["referenced", "flags"] {
        let text = attempt(what);
        assert!(text.contains("freed while it has flags, references or mappings"), "{what}: {text}");
    }
    let text = attempt("torn");
    assert!(text.contains("corrupted, referenced or mapped tail page"), "{text}");
}
