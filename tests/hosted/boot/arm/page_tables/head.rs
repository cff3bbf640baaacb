//! The tables that the head makes before the MMU is on.

use super::super::{banks_of, with_ram};
use super::*;
use pagewright::pgtable::arm::head::create_page_tables;
use pagewright::pgtable::arm::{FDT_FIXED_BASE, swapper_bytes, swapper_pg_dir};
use pagewright_firmware::config::Flavour;
use pagewright_kspace::Version;

fn head(spec: &Spec, version: Version) -> (Vec<Shown>, PhysAddr) {
    let memory = ram(spec);
    let built = spec.lend(|machine| {
        // Whatever lay there before does not matter.
        let root = swapper_pg_dir(machine);
        memory.write(root, &[0xff; 4096]).unwrap();
        let tables = create_page_tables(memory, machine, PhysAddr::new(RAM), version).expect("tables");
        (shown(&tables), tables.root)
    });
    built.expect("the tree can be read")
}

#[test]
fn its_table_ends_where_the_image_begins() {
    for (flavour, bytes) in [(Flavour::Armmp, 16 << 10), (Flavour::ArmmpLpae, 20 << 10)] {
        let spec = banks_of(flavour, &[(0, 64)]);
        let (_, root) = head(&spec, Version::V6_1);
        assert_eq!(root.get() + bytes, spec.image.load_start().get());
        assert_eq!(swapper_bytes(spec.config.lpae), bytes);
    }
}

#[test]
fn the_code_that_turns_the_mmu_on_is_mapped_one_to_one() {
    let spec = with_ram(64);
    let (all, _) = head(&spec, Version::V6_1);
    let idmap = spec.image.idmap_text.start.align_down(MIB).get();
    assert_eq!((all[0].start, all[0].phys, all[0].len), (idmap, idmap, MIB));
}

#[test]
fn the_image_and_the_device_tree_are_mapped_by_sections_for_anybody() {
    for (flavour, section) in [(Flavour::Armmp, MIB), (Flavour::ArmmpLpae, 2 * MIB)] {
        let spec = banks_of(flavour, &[(0, 64)]);
        let (all, _) = head(&spec, Version::V6_1);
        let [_, image, fdt] = all[..] else { panic!("{all:x?}") };
        let end = spec.image.end.align_up(section).get();
        assert_eq!((image.start, image.phys, image.len, image.size), (PAGE_OFFSET, RAM, end - RAM, section));
        let at = spec.tree_at().align_down(section).get();
        assert_eq!((fdt.start, fdt.phys, fdt.len), (FDT_FIXED_BASE, at, 2 * section));
        assert!(all.iter().all(|s| s.attr.flags.contains(AttrFlags::WRITE | AttrFlags::ACCESSED)));
    }
}

#[test]
fn no_section_is_kept_from_the_kernels_execution() {
    for flavour in [Flavour::Armmp, Flavour::ArmmpLpae] {
        let spec = banks_of(flavour, &[(0, 64)]);
        let memory = ram(&spec);
        let word = spec.lend(|machine| {
            let version = Version::V6_1;
            let tables = create_page_tables(memory, machine, PhysAddr::new(RAM), version).expect("tables");
            tables.with(|tree| tree.path(VirtAddr::new(PAGE_OFFSET)).last().unwrap().word)
        });
        // XN and PXN.
        let mask = if spec.config.lpae { 3 << 53 } else { 1 << 4 | 1 };
        assert_eq!(word.unwrap() & mask, 0);
    }
}

#[test]
fn older_heads_show_the_device_tree_in_the_linear_map() {
    let spec = with_ram(64);
    let (all, _) = head(&spec, Version::new(5, 10));
    let at = spec.tree_at().align_down(MIB).get();
    let fdt = all.last().unwrap();
    assert_eq!((fdt.start - PAGE_OFFSET, fdt.phys, fdt.len), (at - RAM, at, 2 * MIB));
}

#[test]
fn a_table_that_would_lie_outside_memory_is_an_error() {
    let mut spec = with_ram(64);
    spec.image = crate::support::spec::image(spec.config.arch, RAM, 32);
    let error = try_build(&spec, |_| ()).err().expect("the boot stops");
    assert!(matches!(error, BootError::PageTables(_)), "{error}");
}
