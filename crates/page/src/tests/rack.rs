//! Racks: what lies on a shelf is its CPU's alone, and comes back as it went.

use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

/// Runs `f` with a rack of one shelf, for blocks of 2^`n` frames and with `places` places, and the frames 16 to 80.
fn with_shelf<R>(
    n: u8,
    places: usize,
    f: impl for<'x> FnOnce(PageMap<'x>, &mut Rack<'_, 'x>, VecDeque<Frames<'x>>) -> R,
) -> R {
    fn run<'a, R>(
        map: PageMap<'a>,
        mut all: Pristine<'a>,
        n: u8,
        places: usize,
        f: impl FnOnce(PageMap<'a>, &mut Rack<'_, 'a>, VecDeque<Frames<'a>>) -> R,
    ) -> R {
        let _below = all.take_front(16);
        let mut room = vec![FrameIdx::new(0); places];
        let mut shelves = [Shelf::new(order(n), &mut room)];
        let mut rack = Rack::new(&map, &mut shelves);
        let blocks = (0..64 >> n).map(|_| all.take_front(1 << n).into_frames()).collect();
        f(map, &mut rack, blocks)
    }
    with_map(5, |map, all| run(map, all, n, places, f))
}

use std::vec;

fn starts(shelf: &Shelf<'_>) -> Vec<u32> {
    shelf.iter().map(FrameIdx::get).collect()
}

#[test]
fn what_was_pushed_last_comes_out_first_and_is_the_same_block() {
    with_shelf(1, 8, |map, rack, mut blocks| {
        for _ in 0..3 {
            rack.push(0, blocks.pop_front().unwrap()).unwrap();
        }
        assert_eq!(starts(&rack.shelves()[0]), [20, 18, 16]);
        let top = rack.pop(0).unwrap();
        assert_eq!((top.start().get(), top.len()), (20, 2));
        assert_eq!(rack.shelves()[0].pops(), 1);
        // It is a block like any other.
        map.put_block(top);
        assert_eq!(map.free_order(FrameIdx::new(20)), Some(order(1)));
    });
}

#[test]
fn a_shelf_takes_no_more_than_its_limit_and_its_room() {
    with_shelf(0, 4, |_, rack, mut blocks| {
        assert_eq!(rack.set_limit(0, 2), 2);
        for left in [1, 0] {
            rack.push(0, blocks.pop_front().unwrap()).unwrap();
            assert_eq!(rack.shelves()[0].left(), left);
        }
        let refused = rack.push(0, blocks.pop_front().unwrap()).unwrap_err();
        assert_eq!(refused.start().get(), 18, "the block comes back");
        assert_eq!(rack.set_limit(0, 10), 2, "there is room for two more");
        rack.push(0, refused).unwrap();
        rack.push(0, blocks.pop_front().unwrap()).unwrap();
        assert!(rack.push(0, blocks.pop_front().unwrap()).is_err());
        assert!(rack.push(1, blocks.pop_front().unwrap()).is_err(), "there is no such shelf");
    });
}

#[test]
fn a_cut_block_comes_out_lowest_first_after_what_lay_there() {
    with_shelf(0, 16, |map, rack, mut blocks| {
        let whole =
            (0..3).fold(blocks.pop_front().unwrap(), |low, _| map.merge(low, blocks.pop_front().unwrap()));
        rack.push(0, blocks.pop_front().unwrap()).unwrap();
        assert_eq!(rack.make_room(0, 4), 4);
        rack.push_bottom(0, whole).unwrap();
        let out: Vec<_> = core::iter::from_fn(|| rack.pop(0)).map(|f| (f.start().get(), f.len())).collect();
        assert_eq!(out, [(20, 1), (16, 1), (17, 1), (18, 1), (19, 1)]);
    });
}

#[test]
fn refilling_does_not_let_more_be_pushed() {
    with_shelf(0, 16, |map, rack, mut blocks| {
        rack.set_limit(0, 6);
        let four =
            (0..3).fold(blocks.pop_front().unwrap(), |low, _| map.merge(low, blocks.pop_front().unwrap()));
        rack.make_room(0, 4);
        rack.push_bottom(0, four).unwrap();
        assert_eq!((rack.shelves()[0].len(), rack.shelves()[0].left()), (4, 2));
    });
}

#[test]
fn runs_from_the_bottom_are_one_token() {
    with_shelf(1, 16, |map, rack, mut blocks| {
        // 16, 18, 20 upwards, then 30, 28 downwards, then 40 alone.
        let wanted = [16, 18, 20, 30, 28, 40];
        let mut by_start: Vec<_> = blocks.drain(..).collect();
        for start in wanted {
            let at = by_start.iter().position(|f| f.start().get() == start).unwrap();
            rack.push(0, by_start.swap_remove(at)).unwrap();
        }
        let run = rack.pop_bottom_run(0, 2).unwrap();
        assert_eq!((run.start().get(), run.len()), (16, 4), "two of the three that touch");
        let mut rest = vec![];
        while let Some(run) = rack.pop_bottom_run(0, 9) {
            rest.push((run.start().get(), run.len()));
            // The run is a token: it splits into blocks again.
            let (low, high) = map.split_front(run, 2);
            map.put_block(low);
            high.map(|high| map.put_block(high));
        }
        assert_eq!(rest, [(20, 2), (28, 4), (40, 2)]);
        assert_eq!(map.validate(), Ok(()));
    });
}

#[test]
fn what_may_not_lie_on_a_shelf_is_given_back() {
    with_shelf(1, 8, |map, rack, mut blocks| {
        let two = map.merge(blocks.pop_front().unwrap(), blocks.pop_front().unwrap());
        let two = rack.push(0, two).expect_err("too long");
        let (low, high) = map.split_at(two, 2);
        let refs = &map.slots[low.start().index()].refcount;
        refs.store(2, core::sync::atomic::Ordering::Relaxed);
        let low = rack.push(0, low).expect_err("referenced");
        refs.store(1, core::sync::atomic::Ordering::Relaxed);
        rack.push(0, low).unwrap();
        map.set_flags(high.start(), PageFlags::LOCKED);
        let high = rack.push(0, high).expect_err("locked");
        map.clear_flags(high.start(), PageFlags::LOCKED);
        rack.push(0, high).unwrap();
    });
}

#[test]
fn another_maps_token_is_given_back() {
    let mut entries = [[Section::EMPTY; 1], [Section::EMPTY; 1]];
    let ram = [PfnRange::from_len(Pfn::new(0x100), 32)];
    let mut slots = [Vec::with_capacity(32), Vec::with_capacity(32)];
    let [first, second] = &mut slots;
    let [a, b] = &mut entries;
    let table = SectionTable::build(a, ram, ALIGN).unwrap();
    let (one, _all) = PageMap::new(PageStorage::zero(first.spare_capacity_mut()), table).unwrap();
    let table = SectionTable::build(b, ram, ALIGN).unwrap();
    let (_, mut others) = PageMap::new(PageStorage::zero(second.spare_capacity_mut()), table).unwrap();
    let mut room = [FrameIdx::new(0); 4];
    let mut shelves = [Shelf::new(Order::ZERO, &mut room)];
    let mut rack = Rack::new(&one, &mut shelves);
    assert!(rack.push(0, others.take_front(1).into_frames()).is_err());
    assert!(rack.shelves()[0].is_empty());
}

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    Pop,
    Refill(usize),
    Drain(usize),
    Limit(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..64_usize).prop_map(Op::Push),
        4 => Just(Op::Pop),
        1 => (1..5_usize).prop_map(Op::Refill),
        1 => (1..9_usize).prop_map(Op::Drain),
        1 => (0..12_usize).prop_map(Op::Limit),
    ];
    proptest::collection::vec(op, 0..if cfg!(miri) { 20 } else { 200 })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 256 }))]

    /// Against a deque, whose front is the bottom: nothing is lost, doubled, or out of order.
    #[test]
    fn a_shelf_is_a_stack_that_is_drained_from_below(ops in ops()) {
        with_shelf(0, 12, |map, rack, mut blocks| {
            let mut model: VecDeque<u32> = VecDeque::new();
            let mut limit = 12;
            for op in ops {
                match op {
                    Op::Push(at) if !blocks.is_empty() => {
                        let block = blocks.remove(at % blocks.len()).unwrap();
                        let start = block.start().get();
                        match rack.push(0, block) {
                            Ok(()) => {
                                assert!(model.len() < limit);
                                model.push_back(start);
                            }
                            Err(block) => {
                                assert!(model.len() >= limit || rack.shelves()[0].left() == 0);
                                blocks.push_back(block);
                            }
                        }
                    }
                    Op::Push(_) => {}
                    Op::Pop => {
                        let popped = rack.pop(0);
                        assert_eq!(popped.as_ref().map(|f| f.start().get()), model.pop_back());
                        blocks.extend(popped);
                    }
                    Op::Refill(n) => {
                        let n = rack.make_room(0, n).min(blocks.len());
                        for block in blocks.drain(..n) {
                            model.push_front(block.start().get());
                            rack.push_bottom(0, block).unwrap();
                        }
                        limit = limit.max(model.len());
                    }
                    Op::Drain(most) => {
                        if let Some(run) = rack.pop_bottom_run(0, most) {
                            let mut rest = Some(run);
                            let mut starts = vec![];
                            while let Some(run) = rest {
                                let (one, more) = map.split_front(run, 1);
                                starts.push(one.start().get());
                                blocks.push_back(one);
                                rest = more;
                            }
                            assert!(starts.len() <= most);
                            let mut expected: Vec<_> = model.drain(..starts.len()).collect();
                            expected.sort_unstable();
                            assert_eq!(starts, expected);
                        }
                    }
                    Op::Limit(n) => limit = model.len() + rack.set_limit(0, n),
                }
                assert!(rack.shelves()[0].iter().map(FrameIdx::get).eq(model.iter().rev().copied()));
                assert_eq!(blocks.len() + model.len(), 64);
            }
            assert_eq!(map.validate(), Ok(()));
        });
    }
}
