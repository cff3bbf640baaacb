//! Tokens and blocks, state by state.

mod compound;
mod extents;
mod grow;
mod park;
mod property;
mod rack;
mod run;
mod sections;
mod threads;
mod validate;

use super::*;
use pagewright_addr::{Order, Pfn, PfnRange};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;
use std::vec::Vec;

const ALIGN: Order = order(4);

const fn order(n: u8) -> Order {
    match Order::new(n) {
        Some(order) => order,
        None => panic!("no such order"),
    }
}

/// Runs `f` over a map of `blocks` blocks of 16 frames at pfn 0x100.
fn with_map<R>(blocks: u64, f: impl FnOnce(PageMap<'_>, Pristine<'_>) -> R) -> R {
    let mut entries = [Section::EMPTY; 1];
    let ram = [PfnRange::from_len(Pfn::new(0x100), blocks * ALIGN.pages())];
    let table = SectionTable::build(&mut entries, ram, ALIGN).unwrap();
    let mut slots = Vec::with_capacity(table.frames() as usize);
    let (map, all) = PageMap::new(PageStorage::zero(slots.spare_capacity_mut()), table).unwrap();
    f(map, all)
}

/// The message `f` panics with.
fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| _ = f())).expect_err("it must panic");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => String::from(*other.downcast::<&str>().unwrap()),
    }
}

#[test]
fn a_new_map_is_pristine_everywhere() {
    with_map(2, |map, all| {
        assert_eq!((all.start(), all.len()), (0, 32));
        assert!((0..32).all(|i| map.state(FrameIdx::new(i)) == State::Pristine));
    });
}

#[test]
fn splitting_pristine_frames_writes_no_metadata() {
    with_map(4, |map, mut all| {
        let _ = all.take_front(5);
        let back = all.take_back(7);
        assert_eq!((back.start(), back.len()), (57, 7));
        let (head, blocks, tail) = all.split_blocks(ALIGN);
        assert_eq!((head.start(), head.len()), (5, 11));
        assert_eq!((blocks.start(), blocks.len()), (16, 32));
        assert_eq!((tail.start(), tail.len()), (48, 9));
        assert!((0..64).all(|i| map.word(FrameIdx::new(i)) == Word::PRISTINE));
    });
}

#[test]
fn without_a_whole_block_everything_is_head() {
    with_map(2, |_, mut all| {
        let _ = all.take_front(9);
        let (head, blocks, tail) = all.take_front(14).split_blocks(ALIGN);
        assert_eq!((head.len(), blocks.len(), tail.len()), (14, 0, 0));
    });
}

#[test]
fn a_block_goes_from_pristine_to_free_to_owned_and_back() {
    with_map(1, |map, all| {
        let idx = map.put_block(all.into_frames());
        assert_eq!(map.free_order(idx), Some(ALIGN));
        assert_eq!(map.refcount(idx), 0);
        let frames = map.take_block(idx, ALIGN);
        assert_eq!((map.state(idx), map.refcount(idx)), (State::Owned, 1));
        assert_eq!(map.state(FrameIdx::new(1)), State::Inner);
        let (low, high) = map.split_at(frames, 8);
        assert_eq!(high.order(), Some(order(3)));
        assert_eq!(map.refcount(high.start()), 1);
        let upper = map.put_block(high);
        let mut joining = map.join(low, order(3));
        joining.absorb();
        assert_eq!((joining.start(), joining.order()), (idx, ALIGN));
        assert_eq!(map.state(upper), State::Inner);
        assert_eq!(joining.finish(), idx);
        assert!(map.is_free_block(idx, ALIGN) && !map.is_free_block(idx, order(3)));
        assert_eq!(map.refcount(idx), 0);
    });
}

#[test]
fn absorbing_the_lower_buddy_moves_the_head_down() {
    with_map(1, |map, all| {
        let (low, high) = map.split_at(all.into_frames(), 8);
        let low = map.put_block(low);
        let mut joining = map.join(high, order(3));
        joining.absorb();
        assert_eq!((joining.start(), joining.order()), (low, ALIGN));
        assert_eq!(joining.finish(), low);
        assert_eq!((map.refcount(low), map.refcount(FrameIdx::new(8))), (0, 0));
        assert_eq!((map.free_order(low), map.state(FrameIdx::new(8))), (Some(ALIGN), State::Inner));
        assert_eq!(map.validate(), Ok(()));
    });
}

#[test]
fn the_largest_block_has_no_buddy_because_indices_may_skip_a_hole_there() {
    with_map(2, |map, mut all| {
        let low = all.take_front(16).into_frames();
        map.put_block(all.into_frames());
        let mut joining = map.join(low, ALIGN);
        assert!(panic_of(|| joining.absorb()).contains("has no buddy"));
        assert_eq!(map.free_order(FrameIdx::new(16)), Some(ALIGN));
    });
}

#[test]
fn a_part_is_taken_and_the_rest_stays_free_in_blocks_that_double() {
    with_map(1, |map, all| {
        let idx = map.put_block(all.into_frames());
        let mut rest = std::vec![];
        let part = map.take_part(idx, ALIGN, 2, |at, order| rest.push((at.get(), order.get())));
        assert_eq!((part.start(), part.order()), (idx, Some(order(1))));
        assert_eq!(rest, [(2, 1), (4, 2), (8, 3)]);
        assert!(rest.iter().all(|&(at, n)| map.is_free_block(FrameIdx::new(at), order(n))));
        assert_eq!((map.state(idx), map.refcount(idx), map.refcount(FrameIdx::new(8))), (State::Owned, 1, 0));
        assert_eq!(map.validate(), Ok(()));
        let mut joining = map.join(part, order(1));
        (0..3).for_each(|_| joining.absorb());
        assert_eq!((joining.order(), joining.finish()), (ALIGN, idx));
        assert_eq!(map.validate(), Ok(()));
        assert!(panic_of(|| map.take_part(idx, order(3), 2, |_, _| ())).contains("to cut up"));
    });
}

#[test]
fn a_part_may_be_any_number_of_pages_but_none_and_all() {
    with_map(1, |map, all| {
        let idx = map.put_block(all.into_frames());
        for (pages, wanted) in
            [(5, &[(5, 0), (6, 1), (8, 3)][..]), (15, &[(15, 0)]), (1, &[(1, 0), (2, 1), (4, 2), (8, 3)])]
        {
            let mut rest = std::vec![];
            let part = map.take_part(idx, ALIGN, pages, |at, order| rest.push((at.get(), order.get())));
            assert_eq!((part.start(), part.len(), &rest[..]), (idx, u64::from(pages), wanted));
            assert!((0..pages).all(|at| at == 0 || map.state(FrameIdx::new(at)) == State::Inner));
            assert_eq!(map.validate(), Ok(()));
            let rest = rest.into_iter().map(|(at, n)| map.take_block(FrameIdx::new(at), order(n)));
            assert_eq!(map.put_block(rest.fold(part, |low, high| map.merge(low, high))), idx);
        }
        for pages in [0, 16, 17] {
            assert!(panic_of(|| map.take_part(idx, ALIGN, pages, |_, _| ())).contains("to cut up"));
        }
    });
}

#[test]
fn only_whole_unreferenced_blocks_join_their_buddies() {
    with_map(1, |map, all| {
        let (low, high) = map.split_at(all.into_frames(), 8);
        assert!(panic_of(|| map.join(low, order(2))).contains("is not one block"));
        map.take_reference(high.start());
        assert!(panic_of(|| map.join(high, order(3))).contains("while referenced"));
    });
}

#[test]
fn taking_a_block_twice_panics_and_names_the_frame() {
    with_map(2, |map, mut all| {
        let _ = all.take_front(16);
        let idx = map.put_block(all.into_frames());
        let held = map.take_block(idx, ALIGN);
        let text = panic_of(|| map.take_block(idx, ALIGN));
        assert!(text.contains("frame index 0x10") && text.contains("Owned"), "{text}");
        assert_eq!(held.len(), 16);
    });
}

#[test]
fn a_block_is_not_taken_under_another_order_or_from_its_middle() {
    with_map(1, |map, all| {
        let idx = map.put_block(all.into_frames());
        assert!(panic_of(|| map.take_block(idx, order(3))).contains("order 4"));
        assert!(panic_of(|| map.take_block(FrameIdx::new(8), order(3))).contains("Inner"));
        assert_eq!(map.free_order(idx), Some(ALIGN));
    });
}

#[test]
fn unaligned_or_odd_frames_are_no_block() {
    with_map(1, |map, all| {
        let (low, high) = map.split_at(all.into_frames(), 3);
        assert_eq!((low.order(), high.order()), (None, None));
        assert!(panic_of(|| map.put_block(low)).contains("not one block"));
        let (one, rest) = map.split_at(high, 1);
        assert_eq!(one.order(), Some(Order::ZERO));
        // Four frames from index 4 are a block, from index 5 they are not.
        let (_, shifted) = map.split_at(rest, 1);
        let (four, _) = map.split_at(shifted, 4);
        assert_eq!(four.order(), None);
    });
}

#[test]
fn a_token_of_another_map_is_refused() {
    with_map(1, |one, _| {
        with_map(1, |_, all| {
            // Shortened to a common lifetime, so that the compiler alone would let it pass.
            let text = panic_of(|| one.put_block(all.into_frames()));
            assert!(text.contains("another map"), "{text}");
        });
    });
}

#[test]
fn merged_tokens_are_one_and_gaps_are_refused() {
    with_map(1, |map, all| {
        let (a, rest) = map.split_at(all.into_frames(), 4);
        let (b, c) = map.split_at(rest, 4);
        let b_start = b.start();
        let ab = map.merge(a, b);
        assert_eq!((ab.len(), map.state(b_start), map.refcount(b_start)), (8, State::Inner, 0));
        let (_gap, c) = map.split_at(c, 1);
        assert!(panic_of(|| map.merge(ab, c)).contains("do not touch"));
    });
}

#[test]
fn deposits_come_back_to_their_owner_only() {
    let cache = OwnerHandle::new(7, 1).unwrap();
    let later = OwnerHandle::new(7, 2).unwrap();
    with_map(1, |map, all| {
        let idx = map.deposit(all.into_frames(), Use::Slab, cache);
        assert_eq!((map.state(idx), map.owner(idx), map.word(idx).order()), (State::Slab, cache, ALIGN));
        map.set_flags(idx, PageFlags::LOCKED);
        assert!(panic_of(|| map.withdraw(idx, Use::Slab, later)).contains("nothing deposited"));
        assert!(panic_of(|| map.withdraw(idx, Use::Anon, cache)).contains("Slab"));
        let frames = map.withdraw(idx, Use::Slab, cache);
        assert_eq!((frames.len(), map.word(idx), map.owner(idx)), (16, Word::OWNED, OwnerHandle::NONE));
    });
}

#[test]
fn reserved_frames_are_reserved_one_by_one_and_can_be_released() {
    with_map(1, |map, all| {
        let (first, rest) = all.into_reserved().split_at(8);
        assert!((0..16).all(|i| map.state(FrameIdx::new(i)) == State::Reserved));
        assert_eq!(map.refcount(FrameIdx::new(5)), 1);
        drop(rest);
        let frames = first.release();
        assert_eq!((map.state(FrameIdx::new(5)), map.refcount(FrameIdx::new(5))), (State::Inner, 0));
        assert_eq!(map.free_order(map.put_block(frames)), Some(order(3)));
        assert_eq!(map.state(FrameIdx::new(8)), State::Reserved);
    });
}

#[test]
fn links_reach_every_index_and_zero_is_none() {
    with_map(2, |map, all| {
        let (a, b) = (FrameIdx::new(31), FrameIdx::new(0));
        assert_eq!((map.next(a), map.prev(b)), (None, None));
        map.set_next(a, Some(b));
        map.set_prev(b, Some(a));
        assert_eq!((map.next(a), map.prev(b)), (Some(b), Some(a)));
        map.set_next(a, None);
        assert_eq!(map.next(a), None);
        drop(all);
    });
}

#[test]
fn flags_are_refused_where_they_would_hide_a_state() {
    with_map(1, |map, all| {
        assert!(panic_of(|| map.set_flags(FrameIdx::new(0), PageFlags::DIRTY)).contains("not in use"));
        let idx = map.put_block(all.into_frames());
        assert!(panic_of(|| map.set_flags(idx, PageFlags::DIRTY)).contains("Free"));
    });
}

#[test]
fn an_owner_handle_is_never_zero_and_keeps_its_parts() {
    let handle = OwnerHandle::new((1 << OwnerHandle::INDEX_BITS) - 1, OwnerHandle::MAX_GENERATION).unwrap();
    assert_eq!((handle.index(), handle.generation()), ((1 << 22) - 1, 511));
    assert_eq!(OwnerHandle::new(0, 0), None);
    assert_eq!(OwnerHandle::new(1 << 22, 1), None);
    assert_eq!(OwnerHandle::new(0, 512), None);
    assert_eq!(OwnerHandle::of_slab_mark(handle.slab_mark()), handle);
    assert_eq!(OwnerHandle::of_slab_mark(handle.bits()), OwnerHandle::NONE, "no mark");
}
