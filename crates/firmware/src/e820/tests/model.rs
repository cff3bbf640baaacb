//! The map against a model that knows every unit of a small address space by itself.

use super::*;
use proptest::prelude::*;

/// Units of the model's address space.
const SPACE: u64 = 96;

/// Kinds whose neighbours are joined, so that the model need not know bounds.
fn joining_kind() -> impl Strategy<Value = E820Kind> {
    prop::sample::select(Vec::from([Other(0), Ram, Reserved, Acpi, Nvs, Unusable, ReservedKern, Other(6)]))
}

fn any_kind() -> impl Strategy<Value = E820Kind> {
    prop_oneof![joining_kind(), prop::sample::select(Vec::from([Pmem, Pram, SoftReserved]))]
}

fn entry(kind: impl Strategy<Value = E820Kind>) -> impl Strategy<Value = E820Entry> {
    (0..SPACE, 0..SPACE / 2, kind).prop_map(|(start, size, kind)| {
        let size = size.min(SPACE - start);
        E820Entry::new(start, size, kind)
    })
}

fn map(kind: impl Strategy<Value = E820Kind>) -> impl Strategy<Value = E820Table> {
    prop::collection::vec(entry(kind), 2..24).prop_map(|entries| E820Table::from_entries(&entries).unwrap())
}

/// The kind of each unit: the highest number of what covers it.
fn units(map: &E820Table) -> Vec<u32> {
    let covering = |unit| map.iter().filter(move |e| e.range().contains(PhysAddr::new(unit)));
    (0..SPACE).map(|unit| covering(unit).map(|e| e.kind.number()).max().unwrap_or(0)).collect()
}

/// The runs of equal units.
fn runs(units: &[u32]) -> Vec<(u64, u64, E820Kind)> {
    let mut runs: Vec<(u64, u64, E820Kind)> = Vec::new();
    for (at, number) in units.iter().enumerate() {
        let (at, kind) = (at as u64, E820Kind::from_number(*number));
        match runs.last_mut() {
            Some(run) if run.2 == kind => run.1 = at + 1,
            _ => runs.push((at, at + 1, kind)),
        }
    }
    runs.retain(|run| run.2 != Other(0));
    runs
}

proptest! {
    #[test]
    fn sanitizing_yields_the_models_runs(map in map(joining_kind())) {
        let expected = runs(&units(&map));
        let mut map = map;
        map.sanitize().unwrap();
        prop_assert_eq!(spans(&map), expected);
    }

    #[test]
    fn sanitizing_keeps_every_unit_and_leaves_no_overlap(map in map(any_kind())) {
        let before = units(&map);
        let mut map = map;
        map.sanitize().unwrap();
        prop_assert_eq!(units(&map), before);
        prop_assert!(map.entries().windows(2).all(|pair| pair[0].end() <= pair[1].start));
        prop_assert!(map.iter().all(|e| e.size > 0));
        let once = map.clone();
        map.sanitize().unwrap();
        prop_assert_eq!(map, once);
    }

    #[test]
    fn an_update_changes_the_models_units(
        map in map(joining_kind()),
        start in 0..SPACE,
        size in prop_oneof![0..SPACE, Just(u64::MAX)],
        old in joining_kind(),
        new in joining_kind(),
    ) {
        let mut map = map;
        map.sanitize().unwrap();
        let mut expected = units(&map);
        let mut changed = 0;
        for unit in start..SPACE.min(start.saturating_add(size)) {
            let covered = map.iter().any(|e| e.kind == old && e.range().contains(PhysAddr::new(unit)));
            if covered && old != new {
                expected[unit as usize] = new.number();
                changed += 1;
            }
        }
        prop_assert_eq!(map.range_update(PhysAddr::new(start), size, old, new), Ok(changed));
        prop_assert_eq!(units(&map), expected);
    }

    #[test]
    fn a_removal_empties_the_models_units(
        map in map(any_kind()),
        start in 0..SPACE,
        size in 0..SPACE,
        kind in prop::option::of(any_kind()),
    ) {
        let mut map = map;
        map.sanitize().unwrap();
        let mut expected = units(&map);
        let mut removed = 0;
        for unit in start..SPACE.min(start + size) {
            let number = &mut expected[unit as usize];
            if *number != 0 && kind.is_none_or(|k| k.number() == *number) {
                *number = 0;
                removed += 1;
            }
        }
        prop_assert_eq!(map.range_remove(PhysAddr::new(start), size, kind), Ok(removed));
        prop_assert_eq!(units(&map), expected);
    }

    #[test]
    fn printed_maps_read_back(start in any::<u64>(), size in any::<u64>(), kind in any_kind()) {
        let size = size.min(u64::MAX - start).max(1);
        let start = start.min(u64::MAX - size);
        let entry = E820Entry::new(start, size, kind);
        let read = parse_dmesg_line(&format!("[    0.000000] BIOS-e820: {entry}")).unwrap().unwrap();
        let same = |kind| if kind == ReservedKern { Ram } else { kind };
        prop_assert_eq!(read, E820Entry { kind: same(kind), ..entry });
    }

    #[test]
    fn no_line_makes_the_reader_panic(line in "(BIOS-e820: |user: )?[\\[mem 0-9a-fx\\]\\-usable type()]{0,60}") {
        let _ = parse_map_line(&line);
    }
}
