//! Fixed mappings and short kmaps.

use super::*;

#[test]
fn every_fixed_address_and_persistent_kmap_has_a_table() {
    for spec in machines() {
        let built = build(spec);
        let areas = built.areas;
        let fixed = pagewright_kspace::Fixmap::of(&pagewright_kspace::Facts::new(built.spec.config)).unwrap();
        let moved = if built.spec.cmdline.contains("reservetop") { 16 * MIB } else { 0 };
        let (lowest, top) = (fixed.tot_start().get() - moved, fixed.top().get() - moved);
        for va in (lowest..=top).step_by(64 * KIB as usize) {
            assert!(built.table(va).is_some(), "{va:#x}");
        }
        let kmaps = areas.pkmap..areas.pkmap + areas.pmd_bytes;
        assert!(
            kmaps.step_by(64 * KIB as usize).all(|va| built.table(va).is_some() == built.spec.config.highmem)
        );
        let entries = areas.cpu_entry_area..areas.cpu_entry_area + areas.entry_bytes;
        assert!(entries.step_by(4 * KIB as usize).all(|va| built.table(va).is_some()));
        // There is none for the LDT yet, nor for vmalloc space.
        assert_eq!(built.table(areas.ldt), None);
        assert_eq!(built.table(areas.vmalloc_end - areas.pmd_bytes), None);
    }
}

/// Captured kernels: with PAE the brk buffer's six pages go to low memory's end, the fixed mappings and the persistent kmaps, and the
/// entry areas take two from memblock, at the addresses that the log names.
#[test]
fn tables_of_the_fixed_mappings_are_those_that_debians_kernels_take() {
    let built = build(pc(Flavour::I686Pae, 1023).cmdline("vmalloc=256M"));
    assert_eq!(built.count("init_mem_mapping"), 1);
    // Short kmaps lie in two tables, which must be neighbours; two more for what has none; one for persistent kmaps.
    assert_eq!(built.count("page_table_range_init"), 2 + 2 + 1);
    assert_eq!(built.count("setup_cpu_entry_areas"), 2);
    let taken: Vec<_> =
        built.facts.events.iter().filter(|e| format!("{e:?}").contains("alloc_low_pages")).collect();
    assert_eq!(taken.len(), 2, "{taken:#?}");

    // An end between large pages: low memory takes none, and the brk buffer serves although the last range had it inside.
    let built = build(pc(Flavour::I686Pae, 256).cmdline("mem=128M"));
    assert_eq!((built.count("init_mem_mapping"), built.count("page_table_range_init")), (0, 5));
    let taken: Vec<_> =
        built.facts.events.iter().filter(|e| format!("{e:?}").contains("alloc_low_pages")).collect();
    assert_eq!(taken.len(), 1, "{taken:#?}");

    let built = build(pc(Flavour::I686, 2047));
    assert_eq!(built.count("init_mem_mapping"), 1);
    // All fixed mappings are in tables of the image.
    assert_eq!(built.count("page_table_range_init"), 1);
    assert_eq!(built.count("setup_cpu_entry_areas"), 1);
    assert!(!built.facts.events.iter().any(|e| format!("{e:?}").contains("alloc_low_pages")));
}

#[test]
fn tables_of_short_kmaps_lie_side_by_side() {
    for (flavour, nr_cpus) in [(Flavour::I686Pae, 32), (Flavour::I686Pae, 64), (Flavour::I686, 64)] {
        let built = build(pc(flavour, 512).config(|c| c.nr_cpus = nr_cpus));
        let fixed = pagewright_kspace::Fixmap::of(&pagewright_kspace::Facts::new(built.spec.config)).unwrap();
        let kmap = fixed.range(pagewright_kspace::Slot::Kmap).unwrap();
        let bytes = built.areas.pmd_bytes;
        let first = kmap.start.get() & !(bytes - 1);
        let tables: Vec<_> = (first..=kmap.last().get())
            .step_by(bytes as usize)
            .map(|va| built.table(va).unwrap().get())
            .collect();
        assert!(tables.len() > 1, "{nr_cpus}");
        assert!(tables.windows(2).all(|pair| pair[0] + 4096 == pair[1]), "{tables:x?}");
    }
}

#[test]
fn interrupt_controllers_are_mapped_uncached_where_the_fixed_mappings_have_them() {
    for flavour in BOTH {
        let built = build(pc(flavour, 64));
        let apic = built.runs.iter().find(|r| r.1 == 0xfee0_0000).expect("a local APIC");
        assert_eq!((apic.0.start.get(), apic.0.len), (0xffff_c000, 4 * KIB));
        let moved = build(pc(flavour, 64).cmdline("reservetop=16M"));
        let apic = moved.runs.iter().find(|r| r.1 == 0xfee0_0000).expect("a local APIC");
        assert_eq!(apic.0.start.get(), 0xfeff_c000);
    }
}

#[test]
fn the_idt_is_read_only_in_both_its_views() {
    for flavour in BOTH {
        let mut spec = pc(flavour, 64);
        let idt = spec.image.bss_start.align_up(4 * KIB).saturating_add(64 * KIB);
        spec.image.x86.idt_table = idt;
        let built = build(spec);
        let nx = built.spec.config.lpae;
        assert_eq!(built.rights(idt.get()), if nx { "r--" } else { "r-x" });
        assert_eq!(built.probe(built.areas.cpu_entry_area, Access::READ), Some(idt.get()));
        assert_eq!(built.probe(built.areas.cpu_entry_area, Access::WRITE), None);
        assert_eq!(built.rights(idt.get() + 4096), if nx { "rw-" } else { "rwx" });
    }
}
