//! Tests of this module.

mod model;

use super::*;
use pagewright_addr::Pfn;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use E820Kind::{Acpi, Nvs, Other, Pmem, Pram, Ram, Reserved, ReservedKern, SoftReserved, Unusable};

fn table(entries: &[(u64, u64, E820Kind)]) -> E820Table {
    let entries: Vec<_> =
        entries.iter().map(|(start, end, kind)| E820Entry::new(*start, end - start, *kind)).collect();
    E820Table::from_entries(&entries).unwrap()
}

fn spans(table: &E820Table) -> Vec<(u64, u64, E820Kind)> {
    table.iter().map(|e| (e.start.get(), e.end().get(), e.kind)).collect()
}

fn sanitized(entries: &[(u64, u64, E820Kind)]) -> Vec<(u64, u64, E820Kind)> {
    let mut table = table(entries);
    table.sanitize().unwrap();
    spans(&table)
}

#[test]
fn a_sanitized_map_is_sorted_and_neighbours_of_one_kind_are_joined() {
    assert_eq!(
        sanitized(&[
            (0x3000, 0x4000, Ram),
            (0, 0x1000, Ram),
            (0x1000, 0x3000, Ram),
            (0x5000, 0x6000, Reserved)
        ]),
        [(0, 0x4000, Ram), (0x5000, 0x6000, Reserved)]
    );
}

#[test]
fn the_higher_type_number_wins_where_entries_overlap() {
    assert_eq!(
        sanitized(&[(0, 0x10000, Ram), (0x4000, 0x6000, Reserved), (0x5000, 0x8000, Nvs)]),
        [(0, 0x4000, Ram), (0x4000, 0x5000, Reserved), (0x5000, 0x8000, Nvs), (0x8000, 0x10000, Ram)]
    );
    assert_eq!(sanitized(&[(0, 9, Other(200)), (0, 9, ReservedKern)]), [(0, 9, Other(200))]);
}

#[test]
fn persistent_and_soft_reserved_neighbours_stay_apart() {
    for kind in [Pmem, Pram, SoftReserved] {
        assert_eq!(sanitized(&[(0, 4, kind), (4, 9, kind)]), [(0, 4, kind), (4, 9, kind)]);
        // ... and are split wherever any entry starts or ends.
        assert_eq!(sanitized(&[(0, 9, kind), (3, 4, Ram)]), [(0, 3, kind), (3, 4, kind), (4, 9, kind)]);
    }
}

#[test]
fn empty_entries_and_type_zero_vanish() {
    assert_eq!(sanitized(&[(5, 5, Reserved), (0, 9, Ram)]), [(0, 9, Ram)]);
    assert_eq!(sanitized(&[(0, 9, Other(0)), (2, 4, Ram)]), [(2, 4, Ram)]);
}

#[test]
fn a_single_entry_is_left_alone() {
    let mut one = E820Table::from_entries(&[E820Entry::new(7, 0, Ram)]).unwrap();
    one.sanitize().unwrap();
    assert_eq!(one.entries().len(), 1);
}

#[test]
fn an_entry_past_the_address_space_leaves_the_map_as_it_was() {
    let bad = E820Entry::new(u64::MAX - 1, 2, Reserved);
    let entries = [E820Entry::new(0x1000, 0x1000, Ram), E820Entry::new(0, 0x1000, Ram), bad];
    let mut map = E820Table::from_entries(&entries).unwrap();
    assert_eq!(map.sanitize(), Err(E820TableError::Wraps(bad)));
    assert_eq!(map.entries(), entries);
    assert_eq!(E820Table::from_firmware(&entries), Err(E820TableError::Wraps(bad)));
}

#[test]
fn firmware_maps_of_fewer_than_two_entries_are_not_believed() {
    assert_eq!(E820Table::from_firmware(&[]), Err(E820TableError::TooFew { count: 0 }));
    assert_eq!(
        E820Table::from_firmware(&[E820Entry::new(0, 1 << 30, Ram)]),
        Err(E820TableError::TooFew { count: 1 })
    );
}

#[test]
fn a_full_map_refuses_and_stays_as_it_was() {
    let entries: Vec<_> = (0..256).map(|i| E820Entry::new(i * 16, 8, Ram)).collect();
    let mut map = E820Table::from_entries(&entries).unwrap();
    assert_eq!(map.add(entries[0]), Err(E820TableError::Full));
    // Splitting an entry needs room too.
    assert_eq!(map.range_update(PhysAddr::new(2), 2, Ram, Reserved), Err(E820TableError::Full));
    assert_eq!(map.range_remove(PhysAddr::new(2), 2, Some(Ram)), Err(E820TableError::Full));
    assert_eq!(map.entries(), entries);
    // Whole entries need none.
    assert_eq!(map.range_update(PhysAddr::new(0), 8, Ram, Reserved), Ok(8));
    let more: Vec<_> = (0..257).map(|i| E820Entry::new(i * 16, 8, Ram)).collect();
    assert_eq!(E820Table::from_entries(&more), Err(E820TableError::Full));
}

#[test]
fn overlaps_that_need_more_entries_than_fit_are_refused() {
    // 129 reserved ranges inside one of RAM: 259 pieces.
    let mut entries = Vec::from([E820Entry::new(0, 1 << 20, Ram)]);
    entries.extend((0..129).map(|i| E820Entry::new(16 + i * 32, 8, Reserved)));
    let mut map = E820Table::from_entries(&entries).unwrap();
    assert_eq!(map.sanitize(), Err(E820TableError::Full));
    assert_eq!(map.entries(), entries);
}

#[test]
fn an_update_changes_only_the_kind_it_looks_for_and_counts_bytes() {
    let mut map = table(&[(0, 0x10000, Ram), (0x10000, 0x20000, Nvs)]);
    assert_eq!(map.range_update(PhysAddr::new(0x8000), 0x10000, Ram, Reserved), Ok(0x8000));
    assert_eq!(spans(&map), [(0, 0x8000, Ram), (0x10000, 0x20000, Nvs), (0x8000, 0x10000, Reserved)]);
    assert_eq!(map.range_update(PhysAddr::new(0), u64::MAX, Ram, Ram), Ok(0));
}

#[test]
fn a_removal_may_look_at_the_kind_or_not() {
    let start = [(0, 0x1000, Ram), (0x1000, 0x2000, Acpi), (0x2000, 0x3000, Unusable)];
    let mut map = table(&start);
    assert_eq!(map.range_remove(PhysAddr::new(0x800), 0x2000, Some(Acpi)), Ok(0x1000));
    assert_eq!(spans(&map), [(0, 0x1000, Ram), (0x2000, 0x3000, Unusable)]);
    let mut map = table(&start);
    assert_eq!(map.range_remove(PhysAddr::new(0x800), 0x2000, None), Ok(0x2000));
    assert_eq!(spans(&map), [(0, 0x800, Ram), (0x2800, 0x3000, Unusable)]);
}

#[test]
fn the_end_of_ram_is_the_last_whole_page_below_the_limit() {
    let map = table(&[(0, 0x9fc00, Ram), (0x100000, 0x7ffdf800, Ram), (0x80000000, 0x90000000, Reserved)]);
    assert_eq!(map.end_of_ram_pfn(Pfn::MAX), Pfn::new(0x7ffdf));
    assert_eq!(map.end_of_ram_pfn(Pfn::new(0x50000)), Pfn::new(0x50000));
    assert_eq!(map.end_of_ram_pfn(Pfn::new(0x100)), Pfn::new(0x9f));
    assert_eq!(E820Table::new().end_of_ram_pfn(Pfn::MAX), Pfn::ZERO);
}

#[test]
fn coverage_questions_see_across_neighbours() {
    let map = table(&[(0, 0x1000, Ram), (0x1000, 0x2000, Ram), (0x3000, 0x4000, Ram)]);
    let at = PhysAddr::new;
    assert!(map.mapped_all(at(0x800), at(0x2000), Ram));
    assert!(!map.mapped_all(at(0x800), at(0x2001), Ram));
    assert!(map.mapped_any(at(0x2000), at(0x3001), Ram));
    assert!(!map.mapped_any(at(0x2000), at(0x3000), Ram));
    assert!(!map.mapped_any(at(0), at(0x4000), Nvs));
}

#[test]
fn kinds_and_numbers_are_the_same_both_ways() {
    for number in 0..200 {
        assert_eq!(E820Kind::from_number(number).number(), number);
    }
    assert_eq!(E820Kind::from_number(0xefff_ffff), SoftReserved);
}

/// A small PC's map as its kernel logged it.
const LOG: &str = include_str!("../../tests/data/e820-small-pc.txt");

#[test]
fn a_logged_map_is_read_with_and_without_time_stamps() {
    let read = |text: &str| -> Vec<E820Entry> {
        text.lines().filter_map(parse_dmesg_line).map(Result::unwrap).collect()
    };
    let entries = read(LOG);
    assert_eq!(entries.len(), 6);
    assert_eq!(entries[0], E820Entry::new(0, 0x9fc00, Ram));
    assert_eq!(entries[5], E820Entry::new(0x1_0000_0000, 0x4000_0000, Ram));
    let bare: String =
        LOG.lines().map(|l| l.split_once("] ").map_or(l, |(_, rest)| rest).to_string() + "\n").collect();
    assert_eq!(read(&bare), entries);
}

#[test]
fn the_firmwares_map_the_users_and_the_modified_one_are_told_apart() {
    let line = "[    0.000000] user: [mem 0x0000000000100000-0x000000002fffffff] usable";
    assert_eq!(parse_dmesg_line(line), None);
    let map = parse_map_line(line).unwrap().unwrap();
    assert_eq!((map.map, map.entry), (MapName::User, E820Entry::new(0x100000, 0x2ff0_0000, Ram)));
    let modified = parse_map_line("modified: [mem 0x0-0xfff] reserved").unwrap().unwrap();
    assert_eq!(modified.map, MapName::Modified);
}

#[test]
fn the_older_form_of_a_line_is_read() {
    let line = " BIOS-e820: 0000000000000000 - 000000000009fc00 (usable)";
    assert_eq!(parse_dmesg_line(line), Some(Ok(E820Entry::new(0, 0x9fc00, Ram))));
}

#[test]
fn every_kind_is_read_as_it_is_printed() {
    for kind in [Ram, Reserved, Acpi, Nvs, Unusable, Pmem, Pram, SoftReserved, Other(6), Other(4_000_000_000)]
    {
        let entry = E820Entry::new(0x1000, 0x1000, kind);
        assert_eq!(parse_dmesg_line(&format!("BIOS-e820: {entry}")), Some(Ok(entry)), "{entry}");
    }
    assert_eq!(ReservedKern.to_string(), "usable");
}

#[test]
fn lines_that_start_like_an_entry_but_are_none_say_what_was_expected() {
    let error = |line| parse_dmesg_line(line).unwrap().unwrap_err();
    assert_eq!(error("BIOS-e820: [mem 0x0-"), E820Error::NoRange);
    assert_eq!(error("BIOS-e820: nonsense"), E820Error::NoRange);
    assert_eq!(error("BIOS-e820: [mem 0x9-0x1] usable"), E820Error::BadRange { first: 9, last: 1 });
    assert_eq!(
        error("BIOS-e820: [mem 0x0-0xffffffffffffffff] usable"),
        E820Error::BadRange { first: 0, last: u64::MAX }
    );
    assert_eq!(error("BIOS-e820: [mem 0x0-0xfff] excellent"), E820Error::UnknownKind);
    assert_eq!(parse_dmesg_line("BIOS-provided physical RAM map:"), None);
}

#[test]
fn edits_are_logged_in_the_kernels_words() {
    let at = PhysAddr::new;
    let update = UpdateLine { start: at(0), size: 0x1000, old: Ram, new: Reserved };
    assert_eq!(update.to_string(), "e820: update [mem 0x00000000-0x00000fff] usable ==> reserved");
    let remove = RemoveLine { start: at(0x5dc0_0000), size: u64::MAX - 0x5dc0_0000, kind: Some(Ram) };
    assert_eq!(remove.to_string(), "e820: remove [mem 0x5dc00000-0xfffffffffffffffe] usable");
    assert_eq!(
        RemoveLine { start: at(0), size: 4, kind: None }.to_string(),
        "e820: remove [mem 0x00000000-0x00000003] "
    );
}
