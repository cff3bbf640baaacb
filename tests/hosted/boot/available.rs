//! What the `Memory:` line says: available, present, reserved, high.

use crate::support::facts::Facts;
use crate::support::spec::{Spec, arm64, pc, pc_of};
use crate::support::{GIB, KIB, MIB};
use pagewright_firmware::config::Flavour;
use pagewright_zone::ZoneKind;

/// KiB available, present, and of one more kind.
fn line(facts: &Facts, kind: &str) -> (u64, u64, u64) {
    let line = facts.lines("Memory: ")[0];
    let number = |text: &str| text.trim().trim_end_matches('K').parse().expect("a number of KiB");
    let (free, rest) = line["Memory: ".len()..].split_once('/').expect("a slash");
    let (present, list) = rest.split_once(" available (").expect("available");
    let of_kind =
        list.trim_end_matches(')').split(", ").find_map(|s| s.strip_suffix(kind)).expect("the kind");
    (number(free), number(present), number(of_kind))
}

fn gigantic(mut spec: Spec) -> Spec {
    spec.cpus.gbpages = true;
    spec
}

#[test]
fn memory_above_the_first_section_waits_for_deferred_initialisation() {
    let deferred = |on| pc(1024).config(|c| c.deferred_struct_page_init = on).boot();
    let (late, now) = (deferred(true), deferred(false));
    let (available, _, reserved) = line(&late, "reserved");
    // A whole section after the DMA zone, which ends within one: two.
    assert!(available < 256 * MIB / KIB, "{available}");
    assert_eq!(line(&now, "reserved").2, reserved);
    // Everything but what is reserved, and 64 tables for vmalloc space.
    assert_eq!(line(&now, "reserved").0, line(&now, "reserved").1 - reserved - 64 * 4);
}

#[test]
fn a_zone_whose_first_section_is_taken_grows_for_the_tables_of_vmalloc_space() {
    let plain = gigantic(pc(5 * GIB / MIB)).boot();
    let taken = gigantic(pc(5 * GIB / MIB)).cmdline("hugepagesz=1G hugepages=1").boot();
    let pool = taken.pools.iter().find(|p| p.size == GIB).expect("a pool of gigantic pages");
    assert_eq!(pool.gigantic, 1);
    let (before, after) = (line(&plain, "reserved"), line(&taken, "reserved"));
    assert_eq!(after.2 - before.2, GIB / KIB, "reserved");
    // Another section stands in for the one that the page took.
    assert!(before.0.abs_diff(after.0) < MIB / KIB, "{before:?} {after:?}");
}

#[test]
fn tables_that_the_per_cpu_chunk_needed_already_are_not_taken_again() {
    for (la57, tables) in [(false, 64), (true, 50)] {
        let taken = |words: &str| {
            let mut spec = pc(256).cmdline(words).config(|c| c.deferred_struct_page_init = false);
            spec.cpus.la57 = la57;
            let (available, present, reserved) = line(&spec.boot(), "reserved");
            (present - reserved - available) / 4
        };
        assert_eq!((taken(""), taken("percpu_alloc=page")), (tables, tables - 1));
    }
}

#[test]
fn arm64_takes_no_tables_and_no_zone_grows() {
    let facts = arm64(1024).config(|c| c.deferred_struct_page_init = false).cmdline("cma=0").boot();
    let (available, present, reserved) = line(&facts, "reserved");
    assert_eq!(available, present - reserved);
}

#[test]
fn memory_that_highmem_leaves_out_is_neither_available_nor_high() {
    let facts = pc_of(Flavour::I686, 2048).cmdline("highmem=256M").boot();
    let (available, present, high) = line(&facts, "highmem");
    let zone = facts.zone(0, ZoneKind::HighMem).expect("high memory");
    assert_eq!(zone.present, 256 * MIB / 4096);
    assert_eq!(high, 256 * MIB / KIB);
    assert!(available < present && present < 1200 * MIB / KIB);
    assert_eq!(line(&facts, "reserved").2, present - available);
}

#[test]
fn memory_for_contiguous_areas_is_neither_available_nor_reserved() {
    let spec = || arm64(512).config(|c| c.deferred_struct_page_init = false);
    let line_of = |words: &str| line(&spec().cmdline(words).boot(), "reserved");
    let (with, without) = (line_of("cma=64M"), line_of("cma=0"));
    assert_eq!((without.0 - with.0, with.2), (64 * MIB / KIB, without.2));
}
