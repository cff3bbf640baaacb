use super::with_map;
use crate::{ExtentViolation, FrameIdx, Pristine, PristineExtents};
use std::vec::Vec;

fn ranges(extents: &PristineExtents<'_, '_>) -> Vec<(u64, u64)> {
    extents.validate().unwrap();
    extents.iter().map(|r| (r.start, r.end)).collect()
}

/// Three extents of 16 frames, with 16 frames between them, inserted out of order.
fn three(mut all: Pristine<'_>, f: impl FnOnce(PristineExtents<'_, '_>)) {
    let mut slots = [const { None }; 3];
    let mut extents = PristineExtents::new(&mut slots);
    let a = all.take_front(16);
    let _ = all.take_front(16);
    let b = all.take_front(16);
    let _ = all.take_front(16);
    let c = all.take_front(16);
    for part in [c, a, b] {
        extents.insert(part).unwrap();
    }
    f(extents);
}

#[test]
fn extents_are_kept_in_order_and_counted() {
    with_map(5, |_, all| {
        three(all, |extents| {
            assert_eq!(ranges(&extents), [(0, 16), (32, 48), (64, 80)]);
            assert_eq!(extents.frames(), 48);
            assert!(extents.contains(FrameIdx::new(47)) && !extents.contains(FrameIdx::new(48)));
            assert!(!extents.contains(FrameIdx::new(31)) && extents.contains(FrameIdx::new(0)));
        });
    });
}

#[test]
fn frames_are_taken_from_either_end() {
    with_map(5, |_, all| {
        three(all, |mut extents| {
            assert_eq!(extents.take_lowest(4).map(|p| (p.start(), p.len())), Some((0, 4)));
            assert_eq!(extents.take_highest(4).map(|p| (p.start(), p.len())), Some((76, 4)));
            // More than the extent has: what it has, and the extent is gone.
            assert_eq!(extents.take_lowest(99).map(|p| (p.start(), p.len())), Some((4, 12)));
            assert_eq!(ranges(&extents), [(32, 48), (64, 76)]);
            assert_eq!(extents.frames(), 28);
        });
    });
}

#[test]
fn a_full_table_gives_the_token_back() {
    with_map(5, |_, all| {
        three(all, |mut extents| {
            let whole = extents.take_containing(FrameIdx::new(40)).unwrap();
            let (low, rest) = whole.split_at(8);
            let (wanted, high) = rest.split_at(4);
            extents.insert(low).unwrap();
            let back = extents.insert(high).unwrap_err();
            assert_eq!((wanted.start(), back.start()), (40, 44));
            assert_eq!(ranges(&extents), [(0, 16), (32, 40), (64, 80)]);
        });
    });
}

#[test]
fn what_is_in_no_extent_cannot_be_taken() {
    with_map(5, |_, all| {
        three(all, |mut extents| {
            assert!(extents.take_containing(FrameIdx::new(20)).is_none());
            assert!(extents.take_containing(FrameIdx::new(80)).is_none());
            while extents.take_highest(7).is_some() {}
            assert!(extents.is_empty() && extents.take_lowest(1).is_none());
            assert_eq!(extents.frames(), 0);
        });
    });
}

#[test]
fn an_empty_token_needs_no_slot() {
    with_map(1, |_, mut all| {
        let mut extents = PristineExtents::new(&mut []);
        extents.insert(all.take_front(0)).unwrap();
        assert_eq!(extents.insert(all).unwrap_err().len(), 16);
    });
}

#[test]
fn overlap_is_noticed_by_validate() {
    // Tokens of two maps overlap in their indices; tokens of one map never do.
    with_map(1, |_, one| {
        with_map(1, |_, other| {
            let mut slots = [const { None }; 2];
            let mut extents = PristineExtents::new(&mut slots);
            extents.insert(one).unwrap();
            extents.insert(other).unwrap();
            assert_eq!(extents.validate(), Err(ExtentViolation::OutOfOrder { slot: 1 }));
        });
    });
}
