//! Frees and links that are wrong: each is named, and nothing is lost.

use super::*;
use crate::whole::{with_broken_debugged_machine, with_broken_machine};

/// Without any help, with each, and with both: debugging, and whether lists are hardened.
pub(in super::super) fn in_all_modes<'q, 'd>(
    debugging: &'q Debugging<'d>,
) -> [(Option<&'q Debugging<'d>>, bool); 4] {
    [(None, false), (None, true), (Some(debugging), false), (Some(debugging), true)]
}

#[test]
fn what_must_not_be_freed_is_named_and_stays() {
    let (watch, arrays) = (Watch::default(), Arrays::new());
    let debugging = Debugging::new(&watch, &arrays.failed).with_owners(&arrays.owners);
    for (debug, hardened) in in_all_modes(&debugging) {
        let machine = PlainMachine { cma: vec![(0x4_0400, 512)], reserved: 5, ..machine(64, 1) };
        with_debugged_machine(&machine, NoHooks, debug, |m| {
            m.allocator.set_hardened(hardened);
            let before = buddyinfo(m);
            m.on_cpu(0, |cx| {
                let map = m.base.map();
                let refused = |pfn, n, expected: BadFree, text: &str| {
                    assert_eq!(m.allocator.free_pages_at(cx, pfn, order(n)), Err(expected));
                    assert!(expected.to_string().contains(text), "{expected}");
                    assert!(expected.to_string().starts_with("BUG: Bad page state pfn:"), "{expected}");
                    let told = if debug.is_some() { vec![Trouble::BadFree(expected)] } else { vec![] };
                    assert_eq!(watch.troubles(), told);
                };
                let get = |n| m.allocator.get_free_pages(cx, Gfp::GFP_KERNEL, order(n)).unwrap();
                let (pfn, far) = (get(3), Pfn::new(1));
                let (idx, tail) = (map.idx(pfn).unwrap(), Pfn::new(pfn.get() + 3));
                refused(far, 0, BadFree::NoFrame(far), "no such frame");
                let reserved = map.pfn(FrameIdx::new(4));
                refused(reserved, 0, BadFree::Reserved(reserved), "reserved page");
                let (three, two) = (order(3), order(2));
                refused(pfn, 2, BadFree::Order { pfn, allocated: three, freed: two }, "wrong order");
                refused(tail, 0, BadFree::Tail { pfn: tail, head: pfn }, "tail page");
                assert_eq!(map.take_reference(idx), 2);
                let referenced = BadFree::Referenced { pfn, references: 2, mappings: 0 };
                refused(pfn, 3, referenced, "2 references");
                assert_eq!(map.drop_reference(idx), 1);
                map.set_flags(idx, PageFlags::LOCKED);
                refused(pfn, 3, BadFree::Flags(pfn, PageFlags::LOCKED), "LOCKED");
                map.clear_flags(idx, PageFlags::LOCKED);
                assert_eq!(m.allocator.free_pages_at(cx, pfn, three), Ok(()));
                // In a CPU's list, and then in the zone's.
                refused(pfn, 3, BadFree::NotByNumber(pfn), "double free");
                m.allocator.drain_local_pages(cx);
                refused(pfn, 3, BadFree::DoubleFree(pfn), "double free");
                refused(tail, 0, BadFree::DoubleFree(tail), "double free");
                // A token's frames are nobody's by number.
                let owned = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(4)).unwrap();
                let (first, inside) = (map.pfn(owned.start()), Pfn::new(map.pfn(owned.start()).get() + 2));
                refused(first, 4, BadFree::NotByNumber(first), "not allocated by number");
                refused(inside, 0, BadFree::NotByNumber(inside), "not allocated by number");
                m.allocator.free_pages(cx, owned);
            });
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn a_token_of_a_page_in_use_is_not_freed_where_frees_are_looked_at() {
    let (watch, arrays) = (Watch::default(), Arrays::new());
    let debugging = Debugging::new(&watch, &arrays.failed).with_owners(&arrays.owners);
    for (debug, hardened) in in_all_modes(&debugging).into_iter().skip(1) {
        for (n, referenced) in [(0, false), (0, true), (3, false), (3, true), (10, false), (10, true)] {
            with_broken_debugged_machine(&machine(64, 1), NoHooks, debug, |m| {
                m.allocator.set_hardened(hardened);
                m.on_cpu(0, |cx| {
                    let map = m.base.map();
                    let frames = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(n)).unwrap();
                    if referenced {
                        assert_eq!(map.take_reference(frames.start()), 2);
                    } else {
                        map.set_flags(frames.start(), PageFlags::LOCKED);
                    }
                    let free = buddyinfo(m);
                    let text = panic_of(|| m.allocator.free_pages(cx, frames));
                    assert!(text.contains("bad page state"), "order {n}, {hardened}: {text}");
                    assert_eq!(buddyinfo(m), free, "the page stays with nobody");
                });
            });
        }
    }
}

#[test]
fn the_last_reference_is_not_dropped_and_a_free_page_gets_none() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        m.on_cpu(0, |cx| {
            let pfn = m.allocator.get_free_pages(cx, Gfp::GFP_KERNEL, order(6)).unwrap();
            let idx = m.base.map().idx(pfn).unwrap();
            let panics = |f: &dyn Fn() -> u32| catch_unwind(AssertUnwindSafe(f)).is_err();
            assert!(panics(&|| m.base.map().drop_reference(idx)));
            m.allocator.free_pages_at(cx, pfn, order(6)).unwrap();
            assert!(panics(&|| m.base.map().take_reference(idx)));
            assert_eq!(m.allocator.validate(), Ok(()));
        });
    });
}

#[test]
fn an_overwritten_link_is_named_before_it_spreads() {
    // Two free blocks of order 5, neighbours in their list: the first one's link to the second is overwritten.
    for what in ["next", "prev", "far"] {
        with_broken_machine(&machine(16, 1), NoHooks, |m| {
            m.on_cpu(0, |cx| {
                let map = m.base.map();
                let alloc = || m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(5)).unwrap();
                let blocks: Vec<_> = (0..4).map(|_| alloc()).collect();
                let at: Vec<_> = blocks.iter().map(Frames::start).collect();
                let mut kept = vec![];
                for (n, block) in blocks.into_iter().enumerate() {
                    if n % 2 == 0 { m.allocator.free_pages(cx, block) } else { kept.push(block) }
                }
                m.allocator.set_hardened(true);
                // The second came before the first, unless that came last.
                let (head, other) =
                    if map.next(at[0]) == Some(at[2]) { (at[0], at[2]) } else { (at[2], at[0]) };
                assert_eq!((map.next(head), map.prev(other)), (Some(other), Some(head)));
                let wrong = map.idx(map.pfn(kept[0].start())).unwrap();
                match what {
                    "next" => map.set_next(head, Some(wrong)),
                    "prev" => map.set_prev(other, Some(wrong)),
                    _ => map.set_next(head, Some(FrameIdx::new(u32::MAX - 1))),
                }
                let text = panic_of(|| drop(alloc()));
                assert!(text.starts_with("list_del corruption"), "{what}: {text}");
                let named = match what {
                    "next" => format!("frame index {head}->next is frame index {wrong}"),
                    "prev" => format!("next->prev should be frame index {head}, but was frame index {wrong}"),
                    _ => format!("frame index {head}->next is"),
                };
                assert!(text.contains(&named), "{what}: {text}\n{named}");
            });
        });
    }
}

#[test]
fn hardened_lists_serve_as_others_do() {
    with_plain_machine(&machine(16, 1), NoHooks, |m| {
        m.allocator.set_hardened(true);
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            for n in [5, 9, 0, 10, 3, 7, 1] {
                let held: Vec<_> =
                    std::iter::from_fn(|| m.allocator.alloc_pages(cx, Gfp::GFP_NOWAIT, order(n)).ok())
                        .collect();
                assert!(!held.is_empty());
                held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
            }
        });
        expect_all_back(m, &before);
    });
}
