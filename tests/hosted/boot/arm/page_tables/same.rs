//! Building is counting: the same tables, the same calls to memblock.

use super::super::{banks, banks_of, with_ram};
use super::*;
use pagewright_firmware::config::Flavour;

/// Boots with and without tables.
#[track_caller]
fn same(spec: &Spec) -> TableCounts {
    let built = build(spec);
    let counted = spec.boot_with(Depth::Allocator, |_| ()).0.expect("the boot went through with tables");
    assert_eq!(built.facts.events, counted.events);
    assert_eq!(built.facts.reserved, counted.reserved);
    assert_eq!(built.counts.mismatch(), None, "{:?}", built.counts);
    assert!(built.counts.steps().iter().all(|step| step.built.is_some()));
    built.counts
}

#[test]
fn tables_are_built_as_they_are_counted() {
    let total = |spec: &Spec| same(spec).total();
    // swapper_pg_dir, bm_pte, and the tables of vectors, kmaps and fixed mappings.
    assert_eq!(total(&with_ram(64).cmdline("cma=0")), 4 + 1 + 3);
    assert_eq!(total(&banks_of(Flavour::ArmmpLpae, &[(0, 64)]).cmdline("cma=0")), 5 + 1 + 3);
    assert_eq!(total(&with_ram(256).cmdline("cma=32M")), 4 + 1 + 3 + 16);
    // A ragged end takes one more.
    assert_eq!(
        total(&banks(&[(0, 65), (128, 63)]).cmdline("cma=0 mem=66048K mem=60M@0x48000000")),
        4 + 1 + 3 + 1
    );
}

#[test]
fn no_split_of_addresses_and_no_processor_makes_a_difference() {
    for flavour in [Flavour::Armmp, Flavour::ArmmpLpae] {
        for split in [0xc000_0000, 0x8000_0000, 0x4000_0000] {
            same(&banks_of(flavour, &[(0, 256)]).config(|c| c.page_offset = split));
        }
        let mut spec = banks_of(flavour, &[(0, 256)]).config(|c| c.have_tcm = true);
        spec.cpus.arm.low_vectors = true;
        spec.cpus.arm.dtcm_bytes = 4096;
        same(&spec);
    }
}

#[test]
fn the_failure_of_any_allocation_stops_the_boot_or_does_not_matter() {
    let spec = with_ram(64).cmdline("cma=8M");
    let plain = build(&spec);
    let mut stopped = 0;
    for n in 1..=plain.facts.events.len() as u64 + 1 {
        match try_build(&spec, |boot| boot.mb.fail_nth(Some(n))) {
            Err(e) => {
                assert!(!e.to_string().is_empty());
                stopped += 1;
            }
            Ok(built) => assert_eq!(built.counts.mismatch(), None),
        }
    }
    // Among them every table: four of the CMA area, three others.
    assert!(stopped >= 7, "{stopped}");
}
