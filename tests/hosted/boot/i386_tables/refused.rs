//! Boots that find no room for their tables.

use super::*;

#[test]
fn a_boot_that_finds_no_page_for_a_table_stops_as_it_does_when_tables_are_counted() {
    for flavour in BOTH {
        let spec = pc(flavour, 256);
        let mut stopped = 0;
        for n in 1..60 {
            let fail = |b: &mut Boot<'_>| b.mb.fail_nth(Some(n));
            let (counted, _) = spec.boot_with(Depth::Memblock, fail);
            let ram = ram(spec.config.lpae, GIB);
            let (built, _) = spec.boot_with(Depth::Memblock, |b| {
                b.set_table_memory(ram);
                fail(b);
            });
            assert_eq!(counted.as_ref().err(), built.as_ref().err(), "allocation {n}");
            stopped += u32::from(built.is_err());
        }
        assert!(stopped > 5, "{stopped}");
    }
}

#[test]
fn a_machine_without_memory_for_its_static_tables_is_refused() {
    for flavour in BOTH {
        let spec = pc(flavour, 64);
        let ram = ram(spec.config.lpae, MIB);
        let (result, _) = spec.boot_with(Depth::Memblock, |b| b.set_table_memory(ram));
        assert!(matches!(result, Err(BootError::PageTables(_))), "{result:?}");
    }
}

#[test]
fn a_reservation_at_the_top_that_leaves_no_room_for_low_memory_is_refused() {
    // What is kept from the kernel is 1 GiB at most, all that it has with the usual split.
    for flavour in BOTH {
        let spec = pc(flavour, 64).cmdline("reservetop=1G");
        let (result, _) = spec.boot_with(Depth::Memblock, |_| ());
        assert!(matches!(result, Err(BootError::Machine { .. })), "{result:?}");
    }
}

#[test]
fn the_heads_tables_are_reserved_even_where_nothing_tells_how_long_the_brk_area_is() {
    for flavour in BOTH {
        let mut spec = pc(flavour, 64);
        spec.image.brk_used = 0;
        let end = spec.image.end;
        let built = build(spec);
        let brk = built.facts.reserved.iter().find(|r| r.contains(end)).expect("a brk area");
        let head = built.count("mk_early_pgtbl_32") + 6;
        assert!(brk.end >= end.saturating_add(head * 4 * KIB));
    }
}
