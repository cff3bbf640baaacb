//! Memory that is plugged in: sections are appended, and nothing that was there moves.

use super::*;
use proptest::prelude::*;
use std::vec;

fn pfns(start: u64, len: u64) -> PfnRange {
    PfnRange::from_len(Pfn::new(start), len)
}

/// A map of 32 frames from 64 on with metadata for `capacity` and room for two more sections.
fn with_map<R>(capacity: usize, then: impl FnOnce(&PageMap<'_>) -> R) -> R {
    let entries = [const { GrownSection::unused() }; 2];
    let grown = GrownSections::new(&entries);
    let mut sections = [Section::EMPTY; 1];
    let table = SectionTable::build(&mut sections, [pfns(64, 32)], order(3)).unwrap().growing(&grown);
    let mut slots = Vec::<PageMeta>::with_capacity(capacity);
    let storage = PageStorage::zero(&mut slots.spare_capacity_mut()[..capacity]);
    let (map, _all) = PageMap::new(storage, table).unwrap();
    then(&map)
}

#[test]
fn frames_that_are_plugged_in_get_the_next_indices_wherever_they_lie() {
    with_map(96, |map| {
        assert_eq!((map.len(), map.capacity()), (32, 96));
        let above = map.grow(pfns(256, 16)).unwrap();
        assert_eq!((above.start(), above.len()), (32, 16));
        let below = map.grow(pfns(0, 8)).unwrap();
        assert_eq!((below.start(), below.len()), (48, 8));
        assert_eq!(map.len(), 56);
        let places = [
            (64, Some(0)),
            (95, Some(31)),
            (96, None),
            (256, Some(32)),
            (271, Some(47)),
            (0, Some(48)),
            (8, None),
        ];
        for (pfn, index) in places {
            assert_eq!(map.idx(Pfn::new(pfn)), index.map(FrameIdx::new), "frame {pfn}");
            if let Some(index) = index {
                assert_eq!(map.pfn(FrameIdx::new(index)), Pfn::new(pfn));
            }
        }
        assert_eq!(map.validate(), Ok(()));
    });
}

#[test]
fn a_section_that_goes_on_needs_no_entry_and_runs_reach_across() {
    with_map(96, |map| {
        let mut parts = vec![];
        for start in [96, 104, 112, 120] {
            parts.push(map.grow(pfns(start, 8)).unwrap());
        }
        assert_eq!(map.sections().grown().count(), 1);
        assert_eq!(map.sections().run(Pfn::new(70), 1000), 58);
        assert_eq!(map.sections().run(Pfn::new(70), 20), 20);
        assert_eq!(map.sections().run(Pfn::new(128), 20), 0);
        assert!(map.grow(pfns(0, 8)).is_ok());
        assert_eq!(map.grow(pfns(16, 8)).unwrap_err(), MapError::SectionsFull { capacity: 2 });
        assert_eq!(map.validate(), Ok(()));
    });
}

#[test]
fn what_cannot_be_plugged_in_is_named_and_changes_nothing() {
    with_map(40, |map| {
        let cases = [
            (pfns(4, 8), MapError::Ragged { range: pfns(4, 8), align: 8 }),
            (pfns(8, 4), MapError::Ragged { range: pfns(8, 4), align: 8 }),
            (pfns(8, 0), MapError::Ragged { range: pfns(8, 0), align: 8 }),
            (pfns(56, 16), MapError::Known { range: pfns(56, 16) }),
            (pfns(0, 16), MapError::StorageTooSmall { needed: 48, given: 40 }),
        ];
        for (range, error) in cases {
            assert_eq!(map.grow(range).unwrap_err(), error);
            assert_eq!((map.len(), map.sections().grown().count()), (32, 0));
        }
        assert_eq!(map.grow(pfns(0, 8)).unwrap().start(), 32);
        assert_eq!(map.grow(pfns(0, 8)).unwrap_err(), MapError::Known { range: pfns(0, 8) });
    });
}

#[test]
fn erased_frames_are_untouched_again() {
    with_map(64, |map| {
        let frames = map.grow(pfns(0, 16)).unwrap().into_frames();
        map.set_data(frames.start(), 7);
        map.set_next(frames.start(), Some(FrameIdx::new(3)));
        assert_eq!(map.state(frames.start()), State::Owned);
        let pristine = map.erase(frames);
        assert_eq!((pristine.start(), pristine.len()), (32, 16));
        assert!((32..48).all(|at| map.state(FrameIdx::new(at)) == State::Pristine));
        assert_eq!(map.validate(), Ok(()));
        // The token serves again.
        let head = map.put_block(map.split_at(pristine.into_frames(), 8).0);
        assert_eq!(map.free_order(head), Some(order(3)));
    });
}

#[test]
#[should_panic(expected = "bad page state")]
fn frames_that_somebody_refers_to_are_not_erased() {
    with_map(64, |map| {
        let frames = map.grow(pfns(0, 16)).unwrap().into_frames();
        map.take_reference(frames.start());
        let _ = map.erase(frames);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]

    #[test]
    fn lookups_agree_with_a_list_of_all_frames(ranges in prop::collection::vec((0u64..40, 1u64..4), 1..8)) {
        let entries = [const { GrownSection::unused() }; 8];
        let grown = GrownSections::new(&entries);
        let mut sections = [Section::EMPTY; 1];
        let table = SectionTable::build(&mut sections, [pfns(64, 32)], order(3)).unwrap().growing(&grown);
        let mut slots = Vec::<PageMeta>::with_capacity(160);
        let storage = PageStorage::zero(&mut slots.spare_capacity_mut()[..160]);
        let (map, _all) = PageMap::new(storage, table).unwrap();
        let mut known: Vec<u64> = (64..96).collect();
        for (start, blocks) in ranges {
            let (start, len) = (start * 8, blocks * 8);
            let fits = (start..start + len).all(|pfn| !known.contains(&pfn)) && known.len() as u64 + len <= 160;
            let got = map.grow(pfns(start, len));
            prop_assert_eq!(got.is_ok(), fits);
            if fits {
                known.extend(start..start + len);
            }
        }
        prop_assert_eq!(map.len(), known.len() as u64);
        for pfn in (0..400).step_by(if cfg!(miri) { 5 } else { 1 }) {
            let at = known.iter().position(|&other| other == pfn);
            prop_assert_eq!(map.idx(Pfn::new(pfn)).map(FrameIdx::index), at);
            let run = at.map_or(0, |at| known[at..].iter().enumerate().take_while(|&(n, &p)| p == pfn + n as u64).count());
            prop_assert_eq!(map.sections().run(Pfn::new(pfn), 1000), run as u64);
        }
        for (at, &pfn) in known.iter().enumerate() {
            prop_assert_eq!(map.pfn(FrameIdx::new(at as u32)), Pfn::new(pfn));
        }
        prop_assert_eq!(map.validate(), Ok(()));
    }
}
