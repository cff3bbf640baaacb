//! The table of sections: what becomes a run, what is refused, and what a damaged table looks like.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn memory_beyond_the_address_width_is_left_out_and_reported() {
    with_sections(i386(), (4, 4), |mut sections| {
        let range = pfns(0xf_c000, 0x10_4000);
        let error = sections.memory_present(node(0), range).unwrap_err();
        assert_eq!(error.to_string(), "End of range 1032192 -> 1064960 exceeds SPARSEMEM max 1048576");
        assert_eq!(numbers(&sections), [63]);
        let above = sections.memory_present(node(0), pfns(0x10_0001, 0x10_4000)).unwrap_err();
        assert!(above.to_string().starts_with("Start of range"));
        assert_eq!(sections.count(), 1);
    });
}

#[test]
fn a_full_section_table_is_left_as_it_was() {
    with_sections(x86(), (1, 3), |mut sections| {
        sections.memory_present(node(0), pfns(0x8000, 0x8001)).unwrap();
        let full = sections.memory_present(node(0), pfns(0x2_0000, 0x2_8000));
        assert_eq!(full, Err(SectionsError::Full { capacity: 1 }));
        assert_eq!((numbers(&sections), sections.subsections().len()), (std::vec![1], 1));
        // Sections that follow lengthen the run and need no entry.
        sections.memory_present(node(0), pfns(0x8001, 0x1_8000)).unwrap();
        assert_eq!((numbers(&sections), sections.runs().len()), (std::vec![1, 2], 1));
    });
    with_sections(x86(), (3, 1), |mut sections| {
        sections.memory_present(node(0), pfns(0, 1)).unwrap();
        let full = sections.memory_present(node(0), pfns(0x400, 0x401));
        assert_eq!(full, Err(SectionsError::SubsectionsFull { capacity: 1 }));
        assert_eq!(sections.subsections(), [pfns(0, 0x200)]);
    });
}

#[test]
fn a_map_in_the_middle_of_a_run_cuts_it() {
    with_sections(x86(), (3, 1), |mut sections| {
        sections.memory_present(node(0), pfns(0, 5 * 0x8000)).unwrap();
        sections.set_mem_map(2, array(0, 0, 64)).unwrap();
        let valid: Vec<_> = sections.iter().map(|s| s.is_valid()).collect();
        assert_eq!(valid, [false, false, true, false, false]);
        let full = sections.set_mem_map(4, array(0, 0, 64));
        assert_eq!(full, Err(SectionsError::Full { capacity: 3 }));
        // The next one joins; those below need an entry each, or come first.
        sections.set_mem_map(3, array(0, 0, 64)).unwrap();
        sections.set_mem_map(4, array(0, 0, 64)).unwrap();
        assert_eq!((sections.runs().len(), sections.validate()), (2, Ok(())));
    });
}

#[test]
fn a_shared_section_stays_with_its_first_node() {
    with_sections(x86(), (1, 1), |mut sections| {
        sections.memory_present(node(3), pfns(0, 0x100)).unwrap();
        sections.memory_present(node(1), pfns(0x100, 0x200)).unwrap();
        assert_eq!(sections.section_of(Pfn::new(0x150)).map(|s| s.nid()), Some(node(3)));
    });
}

#[test]
fn the_next_present_section_skips_holes() {
    with_sections(x86(), (2, 2), |mut sections| {
        sections.memory_present(node(0), pfns(0x8000, 0x1_8000)).unwrap();
        sections.memory_present(node(0), pfns(0x4_0000, 0x4_8000)).unwrap();
        let next = |nr| sections.next_present(nr).map(|s| s.nr());
        assert_eq!(
            [next(0), next(1), next(2), next(3), next(8), next(9)],
            [Some(1), Some(1), Some(2), Some(8), Some(8), None]
        );
    });
}

/// A table as `damage` leaves it.
fn damaged(damage: impl FnOnce(&mut [SectionRun], &mut [PfnRange])) -> Result<(), ModelViolation> {
    let mut runs = [SectionRun::EMPTY; 3];
    let mut subsections = [PfnRange::default(); 2];
    let mut sections = Sections::new(x86(), &mut runs, &mut subsections);
    sections.memory_present(node(0), pfns(0, 0x1_0000)).unwrap();
    sections.memory_present(node(1), pfns(0x4_0000, 0x4_8000)).unwrap();
    for nr in [0, 1, 8] {
        sections.set_mem_map(nr, array(0, 0, 64)).unwrap();
    }
    assert_eq!(sections.validate(), Ok(()));
    sections.damage(damage);
    sections.validate()
}

#[test]
fn a_damaged_table_is_caught() {
    use ModelViolation::{Arrays, Run, Subsections, Unpopulated, Unsectioned};
    assert_eq!(damaged(|runs, _| runs[0].count = 0), Err(Run { index: 0 }));
    assert_eq!(damaged(|runs, _| runs[0].count = 9), Err(Run { index: 1 }));
    assert_eq!(damaged(|runs, _| runs[1].count = u64::MAX), Err(Run { index: 1 }));
    assert_eq!(damaged(|runs, _| runs.swap(0, 1)), Err(Run { index: 1 }));
    assert_eq!(damaged(|runs, _| runs[1].first += 1), Err(Arrays { index: 1 }));
    assert_eq!(damaged(|runs, _| runs[0].maps.as_mut().unwrap().step = 64), Err(Arrays { index: 0 }));
    assert_eq!(damaged(|_, subs| subs[1] = subs[0]), Err(Subsections { index: 1 }));
    assert_eq!(damaged(|_, subs| subs[1].end = Pfn::new(0x4_0001)), Err(Subsections { index: 1 }));
    assert_eq!(damaged(|_, subs| subs[0].end = Pfn::new(0x8000)), Err(Unpopulated { nr: 1 }));
    assert_eq!(
        damaged(|_, subs| subs[1].end = Pfn::new(0x4_8200)),
        Err(Unsectioned { pfn: Pfn::new(0x4_0000) })
    );
}

/// Memory, maps and later memory in any order, as (kind, node, start, length) in quarter subsections.
fn steps() -> impl Strategy<Value = Vec<(u8, u16, u64, u64)>> {
    let most = if cfg!(miri) { 6 } else { 40 };
    prop::collection::vec((0..3u8, 0..3u16, 0..2560u64, 1..600u64), 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 256 }) })]

    #[test]
    fn runs_say_what_one_entry_for_each_section_would(steps in steps()) {
        with_sections(x86(), (128, 128), |mut sections| {
            let map = array(0, 0xffff_ea00_0000_0000, 64);
            let geometry = *sections.geometry();
            let mut naive: BTreeMap<u64, (NodeId, bool, bool)> = BTreeMap::new();
            let mut populated: BTreeSet<u64> = BTreeSet::new();
            for (kind, nid, start, len) in steps {
                let range = pfns(start * 0x80, (start + len) * 0x80);
                let numbers = geometry.section_nr(range.start)..=geometry.section_nr(range.end.saturating_sub(1));
                let subs = range.start.get() / 0x200..range.end.get().div_ceil(0x200);
                match kind {
                    0 => {
                        sections.memory_present(node(nid), range).unwrap();
                        populated.extend(subs);
                        for nr in numbers {
                            naive.entry(nr).or_insert((node(nid), true, false));
                        }
                    }
                    1 => for nr in numbers {
                        let done = sections.set_mem_map(nr, map);
                        match naive.get_mut(&nr) {
                            None => assert_eq!(done, Err(SectionsError::Absent { nr })),
                            Some((_, _, true)) => assert_eq!(done, Err(SectionsError::Mapped { nr })),
                            Some((_, _, mapped)) => { done.unwrap(); *mapped = true; }
                        }
                    },
                    _ => match sections.activate(node(nid), range, map, false) {
                        Ok(()) => {
                            assert!(subs.clone().all(|s| !populated.contains(&s)));
                            populated.extend(subs);
                            for nr in numbers {
                                naive.entry(nr).or_insert((node(nid), false, true));
                            }
                        }
                        Err(SectionsError::Present { pfn }) => assert!(populated.contains(&(pfn.get() / 0x200))),
                        Err(SectionsError::Unaligned { .. }) => assert!(start % 4 != 0 || len % 4 != 0),
                        Err(e) => panic!("{e}"),
                    },
                }
                sections.validate().unwrap();
            }
            let seen: Vec<_> = sections.iter().map(|s| (s.nr(), (s.nid(), s.is_early(), s.is_valid()))).collect();
            assert_eq!(seen, naive.iter().map(|(nr, s)| (*nr, *s)).collect::<Vec<_>>());
            assert_eq!(sections.count(), naive.len() as u64);
            for sub in (0..800).step_by(if cfg!(miri) { 7 } else { 1 }) {
                assert_eq!(sections.is_populated(Pfn::new(sub * 0x200)), populated.contains(&sub));
            }
            for (nr, section) in &naive {
                let first = geometry.section_pfns(*nr).start;
                let array = sections.section(*nr).unwrap().mem_map();
                assert_eq!(array.map(|a| a.base), section.2.then(|| map.page(first)));
            }
        });
    }
}
