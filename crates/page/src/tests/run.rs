//! Lists of pages that were deposited one by one.

use super::*;
use crate::{DepositedList, PageFlags};

const OWNER: OwnerHandle = OwnerHandle::new(5, 3).unwrap();
const OTHER: OwnerHandle = OwnerHandle::new(5, 4).unwrap();

#[test]
fn pages_that_follow_each_other_come_back_as_one_token() {
    with_map(1, |map, mut all| {
        let mut slots: Vec<_> = (0..16).map(|_| Some(all.take_front(1).into_frames())).collect();
        // 3, 4, 5, then 9, 10, then 8: three runs.
        let mut order: Vec<_> = [3, 4, 5, 9, 10, 8].map(|n: usize| slots[n].take()).into();
        order.insert(2, None);
        let mut list = DepositedList::default();
        let (front, back) = order.split_at_mut(3);
        map.deposit_list(front, Use::Kernel, OWNER, &mut list);
        map.deposit_list(back, Use::Kernel, OWNER, &mut list);
        map.end_list(&list);
        let idx = |n| Some(FrameIdx::new(n));
        assert_eq!(list, DepositedList { first: idx(3), last: idx(8), pages: 6, bottom: 3, top: 10 });
        assert_eq!(
            [3, 4, 5, 9, 10, 8].map(|n| map.next(FrameIdx::new(n))),
            [idx(4), idx(5), idx(9), idx(10), idx(8), None]
        );
        assert_eq!(map.validate(), Ok(()));
        let mut at = list.first;
        let mut runs = Vec::new();
        while let Some(idx) = at {
            let (frames, next) = map.withdraw_run(idx, Use::Kernel, OWNER);
            assert_eq!(map.refcount(frames.start()), 1);
            runs.push((frames.start().get(), frames.len()));
            slots.push(Some(frames));
            at = next;
        }
        assert_eq!(runs, [(3, 3), (9, 2), (8, 1)]);
        assert_eq!(map.validate(), Ok(()));
        assert!([3, 4, 5, 9, 10, 8].iter().all(|&n| map.next(FrameIdx::new(n)).is_none()));
    });
}

#[test]
fn a_page_of_somebody_elses_or_one_that_is_referenced_ends_a_run() {
    with_map(1, |map, mut all| {
        let mut list = DepositedList::default();
        for (n, owner) in (0..4).zip([OWNER, OWNER, OWNER, OTHER]) {
            let _: u32 = n;
            map.deposit_list(&mut [Some(all.take_front(1).into_frames())], Use::Kernel, owner, &mut list);
        }
        map.end_list(&list);
        map.take_reference(FrameIdx::new(1));
        let (one, next) = map.withdraw_run(FrameIdx::new(0), Use::Kernel, OWNER);
        assert_eq!((one.len(), next), (1, Some(FrameIdx::new(1))));
        assert!(
            panic_of(|| drop(map.withdraw_run(FrameIdx::new(1), Use::Kernel, OWNER))).contains("referenced")
        );
        assert_eq!(map.drop_reference(FrameIdx::new(1)), 1);
        let (two, next) = map.withdraw_run(FrameIdx::new(2), Use::Kernel, OWNER);
        assert_eq!((two.len(), next), (1, Some(FrameIdx::new(3))));
        assert_eq!(map.owner(FrameIdx::new(3)), OTHER);
        assert_eq!(map.validate(), Ok(()));
    });
}

#[test]
fn a_block_in_a_list_comes_back_alone() {
    with_map(2, |map, mut all| {
        let mut list = DepositedList::default();
        let blocks = &mut [Some(all.take_front(16).into_frames()), Some(all.take_front(1).into_frames())];
        map.deposit_list(blocks, Use::Kernel, OWNER, &mut list);
        map.end_list(&list);
        assert_eq!(list.pages, 17);
        let (block, next) = map.withdraw_run(FrameIdx::new(0), Use::Kernel, OWNER);
        assert_eq!((block.len(), next), (16, Some(FrameIdx::new(16))));
    });
}

#[test]
fn runs_are_deposited_page_by_page_and_linked_across() {
    with_map(1, |map, mut all| {
        let [one, _, two] = [4, 3, 2].map(|n| all.take_front(n).into_frames());
        let mut list = DepositedList::default();
        let (first, second) = (two.start(), one.start());
        map.deposit_singles(two, Use::Kernel, OWNER, &mut list);
        map.deposit_singles(one, Use::Kernel, OWNER, &mut list);
        map.end_list(&list);
        let idx = |n| Some(FrameIdx::new(n));
        assert_eq!(list, DepositedList { first: idx(7), last: idx(3), pages: 6, bottom: 0, top: 8 });
        assert_eq!(
            [7, 8, 0, 1, 2, 3].map(|n| map.next(FrameIdx::new(n))),
            [idx(8), idx(0), idx(1), idx(2), idx(3), None]
        );
        assert!([7, 8, 0, 3].iter().all(|&n| map.refcount(FrameIdx::new(n)) == 1));
        assert_eq!(map.validate(), Ok(()));
        assert_eq!(map.linked_run(first, 9), (2, idx(0)));
        assert_eq!(map.linked_run(second, 9), (4, None));
        assert_eq!(map.linked_run(second, 3), (3, idx(3)));
        let (two, next) = map.withdraw_run(first, Use::Kernel, OWNER);
        let (one, end) = map.withdraw_run(next.unwrap(), Use::Kernel, OWNER);
        assert_eq!((two.len(), one.len(), end), (2, 4, None));
        assert_eq!(map.validate(), Ok(()));
        // Frames 4 to 6 lie between.
        let (two, one) = map.try_merge(two, one).unwrap_err();
        assert_eq!((two.len(), one.len()), (2, 4));
    });
}

#[test]
fn a_list_that_nobody_has_touched_is_found_as_it_was_deposited() {
    with_map(1, |map, mut all| {
        let [one, between, two] = [4, 3, 2].map(|n| all.take_front(n).into_frames());
        let mut list = DepositedList::default();
        map.deposit_singles(two, Use::Kernel, OWNER, &mut list);
        map.deposit_singles(one, Use::Kernel, OWNER, &mut list);
        map.deposit_singles(between, Use::Kernel, OWNER, &mut list);
        map.end_list(&list);
        let first = list.first.unwrap();
        let found = || map.deposited_list(first, 9, Use::Kernel, OWNER);
        assert_eq!(found(), Some(list));
        assert_eq!(map.deposited_list(first, 8, Use::Kernel, OWNER), None, "it has one more");
        assert_eq!(map.deposited_list(first, 10, Use::Kernel, OWNER), None, "it ends before");
        assert_eq!(map.deposited_list(first, 9, Use::Kernel, OTHER), None, "somebody else's");
        assert_eq!(map.deposited_list(first, 9, Use::PageTable, OWNER), None, "for something else");
        for n in 0..9 {
            let idx = FrameIdx::new(n);
            map.take_reference(idx);
            assert_eq!(found(), None, "{n} is referenced");
            map.drop_reference(idx);
            map.set_flags(idx, PageFlags::HWPOISON);
            assert_eq!(found(), None, "{n} has a flag");
            map.clear_flags(idx, PageFlags::HWPOISON);
            assert_eq!(found(), Some(list));
        }
    });
}

#[test]
fn tokens_that_touch_become_one_and_others_stay_two() {
    with_map(1, |map, mut all| {
        let [low, high] = [4, 2].map(|n| all.take_front(n).into_frames());
        let at = high.start();
        map.take_reference(at);
        let (high, low) = map.try_merge(high, low).unwrap_err();
        map.drop_reference(at);
        let both = map.try_merge(high, low).unwrap();
        assert_eq!((both.start().get(), both.len()), (0, 6));
        assert_eq!(map.refcount(at), 0);
        assert_eq!(map.validate(), Ok(()));
    });
}
