//! Racks: what lies on a shelf is its CPU's alone, and comes back as it went.

use super::*;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use proptest::prelude::*;
use std::collections::VecDeque;

const ORDERS: [Order; 2] = [Order::ZERO, order(1)];

/// A directory by which everything goes to the first group.
static FIRST: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];

/// Runs `f` with a rack whose shelf `n` has room, for blocks of 2^`n` frames and with `places` places, and the frames 16 to 80.
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
        let mut shelves = [Shelf::new(Order::ZERO, &mut []), Shelf::new(order(1), &mut [])];
        shelves[usize::from(n)] = Shelf::new(order(n), &mut room);
        let mut rack = Rack::new(&map, &FIRST, ALIGN, &ORDERS, &mut shelves);
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
            rack.push(blocks.pop_front().unwrap()).unwrap();
        }
        assert_eq!(starts(&rack.shelves()[1]), [20, 18, 16]);
        let top = rack.pop(1).unwrap();
        assert_eq!((top.start().get(), top.len()), (20, 2));
        assert_eq!(rack.shelves()[1].pops(), 1);
        // It is a block like any other.
        map.put_block(top);
        assert_eq!(map.free_order(FrameIdx::new(20)), Some(order(1)));
    });
}

#[test]
fn many_come_out_in_the_order_of_single_ones_and_none_replaces_what_is_in_use() {
    with_shelf(0, 8, |map, rack, mut blocks| {
        let mine = blocks.pop_front().unwrap();
        for _ in 0..5 {
            rack.push(blocks.pop_front().unwrap()).unwrap();
        }
        let mut slots = [None, None, Some(mine), None, None, None, None];
        assert_eq!(rack.pop_into(0, &mut slots), 2, "up to what is in use");
        assert_eq!(rack.pop_into(0, &mut slots[3..]), 3, "all there are");
        let got: Vec<_> = slots.iter().map(|slot| slot.as_ref().map(|f| f.start().get())).collect();
        assert_eq!(got, [Some(21), Some(20), Some(16), Some(19), Some(18), Some(17), None]);
        assert_eq!((rack.shelves()[0].pops(), rack.pop_into(0, &mut slots[6..])), (5, 0));
        assert_eq!(rack.pop_into(9, &mut slots[6..]), 0, "no such shelf");
        // They are tokens like any others.
        let joined = slots.into_iter().flatten().filter(|f| f.start().get() < 18);
        let [low, high] = {
            let mut two: Vec<_> = joined.collect();
            two.sort_by_key(|f| f.start());
            two
        }
        .try_into()
        .unwrap();
        assert_eq!(map.merge(low, high).len(), 2);
    });
}

#[test]
fn frames_are_cut_into_single_ones_that_join_again() {
    with_shelf(1, 8, |map, _, mut blocks| {
        let whole = map.merge(blocks.pop_front().unwrap(), blocks.pop_front().unwrap());
        let mut slots = [None, None, None, None];
        map.split_into(whole, &mut slots);
        let whole = slots.into_iter().flatten().reduce(|low, high| map.merge(low, high)).unwrap();
        assert_eq!((whole.start().get(), whole.order()), (16, Some(order(2))));
        assert_eq!(map.put_block(whole).get(), 16);
    });
}

#[test]
#[should_panic(expected = "cannot be cut for 3 slots")]
fn frames_are_not_cut_for_too_few_slots() {
    with_shelf(1, 8, |map, _, mut blocks| {
        map.split_into(blocks.pop_front().unwrap(), &mut [None, None, None]);
    });
}

#[test]
fn a_shelf_takes_no_more_than_its_limit_and_its_room() {
    with_shelf(0, 4, |_, rack, mut blocks| {
        assert_eq!(rack.set_limit(0, 2), 2);
        for left in [1, 0] {
            rack.push(blocks.pop_front().unwrap()).unwrap();
            assert_eq!(rack.shelves()[0].left(), left);
        }
        let refused = rack.push(blocks.pop_front().unwrap()).unwrap_err();
        assert_eq!(refused.start().get(), 18, "the block comes back");
        assert_eq!(rack.set_limit(0, 10), 2, "there is room for two more");
        rack.push(refused).unwrap();
        rack.push(blocks.pop_front().unwrap()).unwrap();
        assert!(rack.push(blocks.pop_front().unwrap()).is_err());
    });
}

#[test]
fn a_cut_block_comes_out_lowest_first_after_what_lay_there() {
    with_shelf(0, 16, |map, rack, mut blocks| {
        let whole =
            (0..3).fold(blocks.pop_front().unwrap(), |low, _| map.merge(low, blocks.pop_front().unwrap()));
        rack.push(blocks.pop_front().unwrap()).unwrap();
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
            rack.push(by_start.swap_remove(at)).unwrap();
        }
        let run = rack.pop_bottom_run(1, 2).unwrap();
        assert_eq!((run.start().get(), run.len()), (16, 4), "two of the three that touch");
        let mut rest = vec![];
        while let Some(run) = rack.pop_bottom_run(1, 9) {
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
        let two = rack.push(two).expect_err("too long");
        let (low, high) = map.split_at(two, 2);
        rack.push(low).unwrap();
        map.set_flags(high.start(), PageFlags::LOCKED);
        let high = rack.push(high).expect_err("locked");
        map.clear_flags(high.start(), PageFlags::LOCKED);
        rack.push(high).unwrap();
    });
}

#[test]
fn a_block_that_is_referenced_or_mapped_does_not_leave_its_shelf() {
    with_shelf(1, 8, |map, rack, mut blocks| {
        let block = blocks.pop_front().unwrap();
        let counts = &map.slots[block.start().index()].counts;
        rack.push(block).unwrap();
        for (references, mappings) in [(2, 0), (1, 1)] {
            counts.set_both(references, mappings);
            assert!(rack.pop(0).is_none() && rack.pop(1).is_none());
            rack.expect_top(0);
            assert!(panic_of(|| rack.expect_top(1)).contains("bad page state"));
        }
        counts.set(1);
        rack.expect_top(1);
        assert!(rack.pop(1).is_some());
    });
}

#[test]
fn a_single_frame_in_use_is_named_when_it_leaves() {
    let leave: [fn(&mut Rack<'_, '_>); 4] = [
        |rack| {
            assert!(rack.pop(0).is_none());
            rack.expect_top(0);
        },
        |rack| _ = rack.pop_into(0, &mut [const { None }; 4]),
        |rack| _ = rack.pop_bottom_run(0, 1),
        |rack| _ = rack.pop_bottom_run(0, 4),
    ];
    for leave in leave {
        for flags in [false, true] {
            with_shelf(0, 8, |map, rack, mut blocks| {
                for _ in 0..2 {
                    let frame = blocks.pop_front().unwrap();
                    if flags {
                        map.set_flags(frame.start(), PageFlags::LOCKED);
                    } else {
                        map.take_reference(frame.start());
                    }
                    rack.push(frame).unwrap();
                }
                let text = panic_of(|| leave(rack));
                assert!(
                    text.contains("bad page state: freed while it has flags, references or mappings"),
                    "{text}"
                );
            });
        }
    }
}

#[test]
fn a_frame_in_use_inside_a_run_is_named() {
    with_shelf(0, 8, |map, rack, mut blocks| {
        for n in 0..3 {
            let frame = blocks.pop_front().unwrap();
            if n == 2 {
                map.take_reference(frame.start());
            }
            rack.push(frame).unwrap();
        }
        let text = panic_of(|| _ = rack.pop_bottom_run(0, 3));
        assert!(text.contains("bad page state") && text.contains("frame index 0x12:"), "{text}");
        // Nothing is half done: with nobody else on it all come out.
        assert_eq!(map.drop_reference(FrameIdx::new(0x12)), 1);
        assert_eq!(rack.pop_bottom_run(0, 3).unwrap().len(), 3);
        assert_eq!(map.validate(), Ok(()));
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
    let mut rack = Rack::new(&one, &FIRST, ALIGN, &ORDERS, &mut shelves);
    assert!(rack.push(others.take_front(1).into_frames()).is_err());
    assert!(rack.shelves()[0].is_empty());
}

#[test]
fn a_block_goes_to_the_group_that_the_directory_says_and_to_its_orders_shelf() {
    with_map(5, |map, mut all| {
        let mut rooms = vec![[FrameIdx::new(0); 4]; 16];
        let shelves = rooms.iter_mut().enumerate().map(|(n, room)| {
            let order = ORDERS.get(n % Rack::GROUP);
            Shelf::new(*order.unwrap_or(&Order::ZERO), if order.is_some() { room } else { &mut [] })
        });
        let mut shelves: Vec<_> = shelves.collect();
        const fn word(group: u32) -> AtomicU32 {
            AtomicU32::new(group << Rack::GROUP_BITS_SHIFT)
        }
        static WORDS: [AtomicU32; 5] = [word(0), word(1), word(2), word(255), word(0)];
        let mut rack = Rack::new(&map, &WORDS, ALIGN, &ORDERS, &mut shelves);
        let mut take = |start: u64, len| {
            let _skipped = all.take_front(start - all.start());
            all.take_front(len).into_frames()
        };
        let cases = [
            (0, 1, Some(0)),
            (4, 2, Some(1)),
            (8, 4, None),
            (16, 1, Some(8)),
            (18, 2, Some(9)),
            (21, 2, None),
        ];
        for (start, len, shelf) in cases {
            let frames = take(start, len);
            assert_eq!(rack.shelf_of(&frames), shelf, "{frames:?}");
            assert_eq!(rack.push(frames).is_ok(), shelf.is_some(), "{start}");
        }
        for nowhere in [32, 48] {
            assert!(rack.push(take(nowhere, 1)).is_err(), "no such group");
        }
        // What the directory says now counts.
        WORDS[4].store(1 << Rack::GROUP_BITS_SHIFT | 7, Relaxed);
        rack.push(take(64, 1)).unwrap();
        assert_eq!(starts(&rack.shelves()[8]), [64, 16]);
        assert_eq!(rack.pop(9).map(|f| f.start().get()), Some(18));
        assert!(rack.pop(7).is_none() && rack.pop(16).is_none(), "there is no such shelf");
        assert_eq!(rack.shelf_of_order(8, order(1)), Some(9));
        assert_eq!(rack.shelf_of_order(8, order(2)), None);
    });
}

#[test]
fn a_long_run_of_frames_is_no_block_of_a_small_order() {
    with_shelf(0, 4, |map, rack, mut blocks| {
        // 2^16 frames are of order 16, which no block has; its lowest four bits are those of order 0. The map is not that long,
        // so the token is made up, and only asked about.
        let head = blocks.pop_front().unwrap().head();
        assert_eq!(map.pfn(FrameIdx::new(16)), Pfn::new(0x110));
        let long = |frames| rack.shelf_of(&Frames::from_parts(head, FrameIdx::new(0), frames));
        assert_eq!([long(1), long(1 << 16), long(1 << 20), long(Frames::MAX)], [Some(0), None, None, None]);
    });
}

#[test]
fn a_rack_that_was_laid_out_wrongly_is_refused() {
    with_map(5, |map, _all| {
        let made = |words: usize, orders: &[Order], of: Order| {
            let mut room = [FrameIdx::new(0); 4];
            let mut shelves = [Shelf::new(of, &mut room)];
            panic_of(|| Rack::new(&map, &FIRST[..words], ALIGN, orders, &mut shelves).shelves().len())
        };
        assert!(made(4, &ORDERS, Order::ZERO).contains("ends before word 4"));
        assert!(made(5, &ORDERS, order(1)).contains("shelf 0 is for blocks of order 1"));
        assert!(made(5, &[order(1)], order(1)).contains("a group's orders cannot be"));
        assert!(made(5, &[Order::ZERO; 8], Order::ZERO).contains("a group's orders cannot be"));
    });
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
                        match rack.push(block) {
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
