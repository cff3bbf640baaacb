//! Compound pages: heads, tails, and the way back.

use super::*;

fn compound<'a>(map: PageMap<'a>, all: Pristine<'a>) -> Frames<'a> {
    let mut frames = all.into_frames();
    map.make_compound(&mut frames);
    frames
}

#[test]
fn a_compound_page_stays_one_while_it_is_deposited() {
    with_map(1, |map, all| {
        let idx = map.deposit(compound(map, all), Use::Slab, OwnerHandle::NONE);
        assert_eq!((map.is_head(idx), map.compound_order(idx)), (true, ALIGN));
        assert_eq!(map.compound_head(FrameIdx::new(9)), idx);
        assert_eq!(map.validate(), Ok(()));
        let mut frames = map.withdraw(idx, Use::Slab, OwnerHandle::NONE);
        assert!(map.is_head(idx) && frames.len() == 16);
        assert_eq!(map.validate(), Ok(()));
        map.prepare_free(&mut frames);
        assert_eq!((map.word(idx), map.is_tail(FrameIdx::new(1))), (Word::OWNED, false));
        assert_eq!(map.put_block(frames), idx);
        assert_eq!(map.validate(), Ok(()));
    });
}

#[test]
fn a_plain_block_has_neither_head_nor_tails() {
    with_map(1, |map, all| {
        let idx = map.deposit(all.into_frames(), Use::Slab, OwnerHandle::NONE);
        assert!(!map.is_head(idx) && !map.is_tail(FrameIdx::new(1)));
        assert_eq!((map.compound_order(idx), map.compound_head(FrameIdx::new(3)).get()), (Order::ZERO, 3));
        assert_eq!(map.word(map.withdraw(idx, Use::Slab, OwnerHandle::NONE).start()), Word::OWNED);
    });
}

#[test]
fn a_map_with_a_tail_that_leads_elsewhere_is_not_valid() {
    with_map(1, |map, all| {
        let frames = compound(map, all);
        let idx = FrameIdx::new(5);
        for wrong in [None, Some(FrameIdx::new(4))] {
            map.set_next(idx, wrong);
            assert_eq!(map.check_tails(frames.start(), ALIGN), Err(idx));
            assert_eq!(map.validate(), Err(MapViolation::Fields { idx, state: State::Tail }));
        }
        map.set_next(idx, Some(frames.start()));
        assert_eq!(map.validate(), Ok(()));
    });
}

#[test]
fn frames_that_are_no_block_do_not_become_one() {
    with_map(2, |map, mut all| {
        let _ = all.take_front(1);
        let mut three = all.take_front(3).into_frames();
        assert!(panic_of(|| map.make_compound(&mut three)).contains("is not one block"));
        let mut four = all.take_front(4).into_frames();
        map.make_compound(&mut four);
        assert!(panic_of(|| map.make_compound(&mut four)).contains("not to become a compound page"));
    });
}
