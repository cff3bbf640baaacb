//! Parks: what lies there comes back as runs, or as a whole span, and nothing twice.

use super::*;
use core::sync::atomic::AtomicU32;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::vec;

/// 64 frames: two words of bits.
const SPAN: Order = order(6);

/// Runs `f` with a park of so many slots and single frames of 16 blocks, four spans, by index.
fn with_park<R>(
    slots: usize,
    f: impl for<'x> FnOnce(PageMap<'x>, &mut Park<'_, 'x>, BTreeMap<u32, Frames<'x>>) -> R,
) -> R {
    fn run<'a, R>(
        map: PageMap<'a>,
        mut all: Pristine<'a>,
        slots: usize,
        f: impl FnOnce(PageMap<'a>, &mut Park<'_, 'a>, BTreeMap<u32, Frames<'a>>) -> R,
    ) -> R {
        // What lay in the room before does not matter.
        let mut room = vec![u32::MAX; Park::required_words(SPAN, slots)];
        let mut park = Park::new(&map, SPAN, &mut room);
        let singles = (0..all.len() as u32).map(|at| (at, all.take_front(1).into_frames())).collect();
        f(map, &mut park, singles)
    }
    with_map(16, |map, all| run(map, all, slots, f))
}

fn extent(frames: &Frames<'_>) -> (u32, u64) {
    (frames.start().get(), frames.len())
}

/// Puts frames, the first of their span as such.
fn put<'a>(park: &mut Park<'_, 'a>, frames: Frames<'a>) -> Option<Frames<'a>> {
    match park.put(frames) {
        Ok(whole) => whole,
        Err(frames) => park.begin(frames).expect("an empty slot"),
    }
}

#[test]
fn the_last_frame_brings_its_whole_span() {
    with_park(4, |map, park, mut singles| {
        // 37 has no factor in common with 64: every frame once, never two neighbours.
        for n in 0..63 {
            assert!(put(park, singles.remove(&(64 + n * 37 % 64)).unwrap()).is_none());
            assert_eq!(park.frames(), n as usize + 1);
        }
        let whole = put(park, singles.remove(&(64 + 63 * 37 % 64)).unwrap()).unwrap();
        assert_eq!((extent(&whole), park.frames()), ((64, 64), 0));
        assert!(park.take_run().is_none());
        let (low, high) = map.split_at(whole, 16);
        map.put_block(low);
        drop(high);
        assert_eq!(map.validate(), Ok(()));
    });
}

#[test]
fn runs_are_as_long_as_they_can_be() {
    with_park(4, |_, park, mut singles| {
        for at in [3, 5, 4, 31, 32, 30, 33, 63, 64, 128, 191] {
            assert!(put(park, singles.remove(&at).unwrap()).is_none());
        }
        let runs: Vec<_> = core::iter::from_fn(|| park.take_run()).map(|run| extent(&run)).collect();
        assert_eq!(runs, [(3, 3), (30, 4), (63, 1), (64, 1), (128, 1), (191, 1)]);
        assert_eq!(park.frames(), 0);
    });
}

#[test]
fn short_runs_lie_beside_single_frames() {
    with_park(4, |map, park, mut singles| {
        let mut take = |at: u32| singles.remove(&at).unwrap();
        let three = map.merge(map.merge(take(10), take(11)), take(12));
        assert!(put(park, three).is_none());
        assert!(put(park, take(13)).is_none());
        assert_eq!(park.frames(), 4);
        assert_eq!(extent(&park.take_run().unwrap()), (10, 4));
    });
}

#[test]
fn what_does_not_belong_there_is_given_back() {
    with_park(2, |map, park, mut singles| {
        let mut take = |at: u32| singles.remove(&at).unwrap();
        let first = park.put(take(1)).expect_err("nothing of its span lies there");
        assert!(park.begin(first).unwrap().is_none());
        let second = park.begin(take(2)).expect_err("its slot is not empty");
        assert!(park.put(second).unwrap().is_none());
        // Spans 0 and 2 have one slot.
        let other = park.put(take(130)).expect_err("of another span");
        let other = park.begin(other).expect_err("of another span");
        assert_eq!(extent(&park.take_run().unwrap()), (1, 2));
        assert!(park.begin(other).unwrap().is_none());
        let crossing = map.merge(take(191), take(192));
        let crossing = park.put(crossing).expect_err("of two spans");
        drop(park.begin(crossing).expect_err("of two spans"));
        let long = (132..148).map(&mut take).reduce(|low, high| map.merge(low, high)).unwrap();
        assert!(park.put(long).unwrap().is_none());
        let longer = (150..167).map(&mut take).reduce(|low, high| map.merge(low, high)).unwrap();
        drop(park.put(longer).expect_err("longer than runs that wait"));
        assert_eq!(park.frames(), 17);
    });
}

#[test]
fn a_park_has_as_many_slots_as_its_room_is_for() {
    with_map(1, |map, _| {
        for (slots, rounded) in [(1, 1), (2, 2), (3, 4), (40, 64)] {
            let words = Park::required_words(SPAN, slots);
            let mut room = vec![0; words];
            assert_eq!(Park::new(&map, SPAN, &mut room).slots(), rounded);
            assert_eq!(Park::new(&map, SPAN, &mut room[1..]).slots(), rounded / 2);
        }
    });
}

#[test]
fn a_park_without_room_takes_nothing() {
    with_map(1, |map, mut all| {
        let mut park = Park::new(&map, SPAN, &mut []);
        let frame = park.put(all.take_front(1).into_frames()).expect_err("no slot");
        let frame = park.begin(frame).expect_err("no slot");
        drop(frame);
        assert!(park.take_run().is_none());
        assert_eq!((park.slots(), park.frames()), (0, 0));
    });
}

/// Two maps of the same frames.
fn with_two_maps<R>(f: impl for<'x> FnOnce([(PageMap<'x>, Pristine<'x>); 2]) -> R) -> R {
    let mut entries = [[Section::EMPTY; 1]; 2];
    let ram = [PfnRange::from_len(Pfn::new(0x100), 64)];
    let mut slots = [Vec::with_capacity(64), Vec::with_capacity(64)];
    let [first, second] = &mut slots;
    let [a, b] = &mut entries;
    let one = SectionTable::build(a, ram, ALIGN).unwrap();
    let two = SectionTable::build(b, ram, ALIGN).unwrap();
    f([
        PageMap::new(PageStorage::zero(first.spare_capacity_mut()), one).unwrap(),
        PageMap::new(PageStorage::zero(second.spare_capacity_mut()), two).unwrap(),
    ])
}

#[test]
fn another_maps_frame_is_given_back() {
    with_two_maps(|[(map, mut mine), (_, mut other)]| {
        let mut room = vec![0; Park::required_words(SPAN, 1)];
        let mut park = Park::new(&map, SPAN, &mut room);
        let foreign = park.begin(other.take_front(1).into_frames()).expect_err("of another map");
        assert!(park.begin(mine.take_front(1).into_frames()).unwrap().is_none());
        drop(park.put(foreign).expect_err("of another map"));
        let foreign = other.take_front(1).into_frames();
        drop(park.put(foreign).expect_err("of another map"));
        assert_eq!(park.frames(), 1);
    });
}

#[test]
fn a_shelf_of_another_map_gives_up_nothing() {
    with_two_maps(|[(map, mut mine), (other, mut others)]| {
        let mut room = vec![0; Park::required_words(SPAN, 1)];
        let mut park = Park::new(&map, SPAN, &mut room);
        assert!(park.begin(mine.take_front(1).into_frames()).unwrap().is_none());
        let _first = others.take_front(1);
        with_rack(&other, |rack| {
            rack.push(others.take_front(1).into_frames()).unwrap();
            assert_eq!(rack.park(0, 1, &mut park), 0);
            assert_eq!(rack.shelves()[0].len(), 1);
        });
    });
}

#[test]
fn a_frame_in_use_is_named_when_it_leaves() {
    for flags in [false, true] {
        with_park(1, |map, park, mut singles| {
            for at in [7, 8] {
                assert!(put(park, singles.remove(&at).unwrap()).is_none());
            }
            if flags {
                map.set_flags(FrameIdx::new(8), PageFlags::LOCKED);
            } else {
                map.take_reference(FrameIdx::new(8));
            }
            let text = panic_of(|| _ = park.take_run());
            let named = "bad page state: freed while it has flags, references or mappings, frame index 0x8:";
            assert!(text.contains(named), "{text}");
            // Nothing is half done: with nobody else on it all come out.
            assert_eq!(park.frames(), 2);
            if flags {
                map.clear_flags(FrameIdx::new(8), PageFlags::LOCKED);
            } else {
                map.drop_reference(FrameIdx::new(8));
            }
            assert_eq!(extent(&park.take_run().unwrap()), (7, 2));
            assert_eq!(map.validate(), Ok(()));
        });
    }
}

/// A rack of single frames whose directory leads everything to its first shelf.
fn with_rack<'a, R>(map: &PageMap<'a>, f: impl FnOnce(&mut Rack<'_, 'a>) -> R) -> R {
    static FIRST: [AtomicU32; 16] = [const { AtomicU32::new(0) }; 16];
    let mut room = vec![FrameIdx::new(0); 64];
    let mut shelves = [Shelf::new(Order::ZERO, &mut room)];
    f(&mut Rack::new(map, &FIRST, ALIGN, &[Order::ZERO], &mut shelves))
}

#[test]
fn a_shelf_gives_up_single_frames_until_a_run_or_the_last_of_a_span() {
    with_park(4, |map, park, mut singles| {
        for n in 1..63 {
            assert!(put(park, singles.remove(&n).unwrap()).is_none());
        }
        for n in [64, 128] {
            assert!(put(park, singles.remove(&n).unwrap()).is_none());
        }
        with_rack(&map, |rack| {
            for at in [70, 140, 74, 0, 63, 80, 200, 90, 91, 95] {
                rack.push(singles.remove(&at).unwrap()).unwrap();
            }
            let next = |rack: &mut Rack<'_, '_>| rack.pop_bottom_run(0, 100).map(|run| extent(&run));
            assert_eq!(rack.park(0, 2, park), 2);
            assert_eq!(
                rack.park(0, 100, park),
                2,
                "74 and 0, with which all but the last of their span lie there"
            );
            assert_eq!(next(rack), Some((63, 1)), "the last of its span");
            assert_eq!(rack.park(0, 100, park), 1);
            assert_eq!(next(rack), Some((200, 1)), "of its span none lies there");
            assert_eq!(rack.park(0, 100, park), 0);
            assert_eq!(next(rack), Some((90, 2)), "a run");
            assert_eq!(rack.park(0, 100, park), 1);
            assert_eq!((rack.park(0, 100, park), rack.park(7, 1, park)), (0, 0));
        });
        let runs: Vec<_> = core::iter::from_fn(|| park.take_run()).map(|run| extent(&run)).collect();
        let rest = [(64, 1), (70, 1), (74, 1), (80, 1), (95, 1), (128, 1), (140, 1)];
        assert_eq!((runs[0], &runs[1..]), ((0, 63), &rest[..]));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 256 }))]

    /// Frames go in and out at random, through two slots for four spans: each is in one place, and all are there in the end.
    #[test]
    fn every_frame_is_in_one_place(steps in prop::collection::vec((0u8..20, 0usize..256), 1..if cfg!(miri) { 60 } else { 600 })) {
        with_park(2, |map, park, mut singles| {
            let mut lying = BTreeSet::new();
            for (kind, pick) in steps {
                if kind > 0 {
                    let Some(&at) = singles.keys().nth(pick % singles.len().max(1)) else { continue };
                    let frame = singles.remove(&at).unwrap();
                    match park.put(frame).or_else(|frame| park.begin(frame)) {
                        Ok(whole) => {
                            lying.insert(at);
                            keep(map, &mut singles, &mut lying, whole.into_iter().collect());
                        }
                        Err(frame) => {
                            let other = |&there: &u32| there / 64 % 2 == at / 64 % 2 && there / 64 != at / 64;
                            assert!(lying.iter().any(other), "{at} was refused");
                            singles.insert(at, frame);
                        }
                    }
                } else {
                    let runs: Vec<_> = core::iter::from_fn(|| park.take_run()).collect();
                    keep(map, &mut singles, &mut lying, runs);
                    assert!(lying.is_empty());
                }
                assert_eq!(park.frames(), lying.len());
            }
            let runs: Vec<_> = core::iter::from_fn(|| park.take_run()).collect();
            keep(map, &mut singles, &mut lying, runs);
            assert!(lying.is_empty() && singles.len() == 256);
            assert_eq!(map.validate(), Ok(()));
        });
    }
}

/// Runs that came out: each is as long as can be, of one span, and of frames that lay there.
fn keep<'a>(
    map: PageMap<'a>,
    singles: &mut BTreeMap<u32, Frames<'a>>,
    lying: &mut BTreeSet<u32>,
    runs: Vec<Frames<'a>>,
) {
    let extents: Vec<_> = runs.iter().map(extent).collect();
    for &(start, len) in &extents {
        let end = start + len as u32;
        assert!(start / 64 == (end - 1) / 64, "{extents:?}");
        let ends =
            |at: u32, inside: bool| inside && extents.iter().any(|&(s, l)| (s..s + l as u32).contains(&at));
        assert!(
            !ends(start.wrapping_sub(1), !start.is_multiple_of(64)) && !ends(end, !end.is_multiple_of(64)),
            "{extents:?}"
        );
    }
    for run in runs {
        let mut rest = Some(run);
        while let Some(frames) = rest {
            let (one, later) = map.split_front(frames, 1);
            let at = one.start().get();
            assert!(lying.remove(&at), "{at} did not lie there");
            assert!(singles.insert(at, one).is_none(), "{at} is in two places");
            rest = later;
        }
    }
}
