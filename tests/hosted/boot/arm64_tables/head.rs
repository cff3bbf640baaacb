//! The head's tables, before there is a linear map.

use super::*;
use pagewright::pgtable::arm64::Places;

/// Both designs.
const OLD: Version = Version::new(5, 19);
const NEW: Version = Version::new(6, 0);

#[test]
fn older_heads_show_only_the_code_that_turns_the_mmu_on_one_to_one() {
    for (shift, bits) in SHAPES {
        let built = build(shaped(shift, bits, 256), OLD);
        let image = built.spec.image;
        let code = image.idmap_text.start.get();
        assert_eq!(built.at_head(code), ("rwx".into(), Some(code)), "{shift:?} {bits}");
        // A block of 2 MiB with pages of 4 KiB, else a page.
        let block = if shift == PageShift::SHIFT_4K { 2 * MIB } else { shift.bytes() };
        let (first, end) = (code & !(block - 1), (code & !(block - 1)) + block);
        assert_eq!(built.at_head(end - 1), ("rwx".into(), Some(end - 1)));
        for outside in [first - 1, end, image.end.get() - 1, built.spec.tree_at().get()] {
            assert_eq!(built.at_head(outside), ("---".into(), None), "{shift:?} {bits}: {outside:#x}");
        }
    }
}

#[test]
fn newer_heads_show_the_whole_image_one_to_one_and_the_device_tree_behind_it() {
    for (shift, bits) in SHAPES {
        let built = build(shaped(shift, bits, 256), NEW);
        let image = built.spec.image;
        let shown = |at: u64| built.at_head(at);
        for at in [image.load_start(), image.idmap_text.start, image.init_begin] {
            assert_eq!(shown(at.get()), ("r-x".into(), Some(at.get())), "{shift:?} {bits}");
        }
        let tables = image.init_pg_dir.start.get();
        assert_eq!(shown(tables), ("rwx".into(), Some(tables)), "{shift:?} {bits}");
        // The device tree follows the image's last block.
        let block = if shift == PageShift::SHIFT_4K { 2 * MIB } else { shift.bytes() };
        let after = (image.end.get() + block) & !(block - 1);
        let tree = built.spec.tree_at().get();
        assert_eq!(shown(after), ("rwx".into(), Some(tree & !(block - 1))), "{shift:?} {bits}");
        assert_eq!(shown(tree).1, None, "{shift:?} {bits}");
    }
}

#[test]
fn every_head_shows_the_image_at_its_link_address_and_nothing_else_there() {
    for (shift, bits) in SHAPES {
        for version in versions().filter(|v| *v == OLD || *v == Version::V6_1 || *v == Version::new(5, 3)) {
            let built = build(shaped(shift, bits, 256), version);
            let image = built.spec.image;
            let offset = built.switched.kimage_voffset;
            let virt = |at: u64| at.wrapping_add(offset);
            let (start, end) = (image.load_start().get(), image.end.get());
            for at in [start, image.text_end.get(), end - 1] {
                assert_eq!(built.at_head(virt(at)), ("rwx".into(), Some(at)), "{version} {shift:?} {bits}");
            }
            assert_eq!(built.at_head(virt(start) - 1).1, None, "{version} {shift:?} {bits}");
            assert_eq!(built.at_head(virt(end)).1, None, "{version} {shift:?} {bits}");
            // No linear map yet.
            assert_eq!(built.at_head(built.linear).1, None);
        }
    }
}

#[test]
fn the_heads_tables_lie_inside_the_image_and_take_as_many_pages_as_levels() {
    for version in [OLD, NEW] {
        let built = build(shaped(PageShift::SHIFT_4K, 48, 256), version);
        let image = built.spec.image;
        let inside = |at: PhysAddr| (image.load_start()..image.end).contains(&at);
        assert!(inside(built.head.ttbr0) && inside(built.head.ttbr1), "{:?}", built.head);
        // The image's 10 MiB lie in one gigabyte: a table for each level but that of pages.
        assert_eq!(built.head_tables, [3, 3], "{version}");
        assert_eq!(built.head.ttbr1, image.init_pg_dir.start);
    }
    // Pages of 64 KiB have no blocks here: one more level, and 10 MiB are one table of it.
    let built = build(shaped(PageShift::SHIFT_64K, 48, 256), OLD);
    assert_eq!(built.head_tables, [3, 3]);
    let old = build(shaped(PageShift::SHIFT_4K, 48, 256), OLD);
    let places = old.spec.lend(Places::of).unwrap();
    assert_eq!(old.head.ttbr0.get() + 3 * 4096, places.idmap.get() + 4096);
}

#[test]
fn code_above_what_the_kernels_addresses_reach_is_mapped_with_more_of_them() {
    // The image lies above 2^39; the kernel's addresses have 39 bits.
    let high = 1u64 << 40;
    let ram: &'static PhysMemory = Box::leak(Box::new(PhysMemory::new(
        [PhysRange::from_len(PhysAddr::new(high), GIB)],
        EntryWidth::Bits64,
    )));
    for version in [OLD, NEW] {
        let mut spec = crate::support::spec::arm64_banks(&[(high, 256 * MIB)])
            .config(|c| larger_pages(c, PageShift::SHIFT_4K, 39));
        spec.image = image(spec.config.arch, high + 2 * MIB, 39);
        let mut head = None;
        let (result, _) = spec.boot_looking(
            Depth::Memblock,
            |b| {
                b.set_version(version);
                b.set_table_memory(ram);
            },
            |boot| head = boot.arm64_head.map(|h| (h.registers, h.switched.kimage_voffset)),
        );
        result.unwrap_or_else(|e| panic!("{version}: {e}"));
        let (registers, offset) = head.expect("a head");
        let code = spec.image.idmap_text.start.get();
        assert_eq!(seen(ram, &registers, &spec, code).1, Some(code), "{version}");
        assert_eq!(seen(ram, &registers, &spec, code.wrapping_add(offset)).1, Some(code), "{version}");
        // T0SZ is for 48 bits, T1SZ for 39.
        assert_eq!((registers.tcr & 0x3f, registers.tcr >> 16 & 0x3f), (16, 25));
    }
}

#[test]
fn the_registers_are_those_of_the_page_size_and_the_address_size() {
    let tcr = |shift, bits| newest(shaped(shift, bits, 256)).head.tcr;
    // T0SZ, T1SZ; TG0 and TG1, which count differently.
    let sizes = |tcr: u64| (tcr & 0x3f, tcr >> 16 & 0x3f, tcr >> 14 & 3, tcr >> 30 & 3);
    assert_eq!(sizes(tcr(PageShift::SHIFT_4K, 48)), (16, 16, 0, 2));
    assert_eq!(sizes(tcr(PageShift::SHIFT_16K, 47)), (17, 17, 2, 1));
    assert_eq!(sizes(tcr(PageShift::SHIFT_64K, 42)), (22, 22, 1, 3));
    let tcr = tcr(PageShift::SHIFT_4K, 39);
    // Walks: inner and outer write-back with allocation, inner shareable, in both halves; 48 bits of physical addresses.
    assert_eq!((tcr >> 8 & 0x3f, tcr >> 24 & 0x3f, tcr >> 32 & 7), (0b11_0101, 0b11_0101, 5));
    // A1, AS, TBI0; walks are on in both halves.
    assert_eq!((tcr >> 22 & 1, tcr >> 36 & 1, tcr >> 37 & 1, tcr >> 7 & 1, tcr >> 23 & 1), (1, 1, 1, 0, 0));
}

#[test]
fn the_first_code_at_the_link_address_knows_vectors_stack_device_tree_and_offset() {
    let mut spec = arm64(256);
    spec.image.arm64.vectors = spec.image.text_start.saturating_add(2048);
    let tree = spec.tree_at();
    let (image, base) = (spec.image, 0xffff_8000_0800_0000u64);
    let built = newest(spec);
    let switched = built.switched;
    assert_eq!(switched.kimage_voffset, base - image.load_start().get());
    assert_eq!(switched.fdt_pointer, Some(tree));
    assert_eq!(switched.vectors, Some(VirtAddr::new(base + image.head_len + 2048)));
    // 16 KiB, aligned to twice that, where the image's data begin.
    let stack = base + (image.data_start.get() - image.load_start().get());
    assert_eq!((switched.init_stack.start.get(), switched.init_stack.len), (stack, 16 << 10));
    assert_eq!(built.rights(stack, image.data_start.get()), "rw-");
    // Pages of 64 KiB make larger stacks; an image that does not tell has no known vectors.
    let large = newest(shaped(PageShift::SHIFT_64K, 48, 256)).switched;
    assert_eq!((large.init_stack.len, large.vectors), (64 << 10, None));
}

#[test]
fn registers_are_written_in_the_order_of_a_boot() {
    for version in [OLD, NEW] {
        let built = build(arm64(256), version);
        let [TableEvent::EnableMmu(on), TableEvent::PrimarySwitched(switched), replaced] = built.events[..]
        else {
            panic!("{:?}", built.events)
        };
        assert_eq!((on, switched), (built.head, built.switched));
        assert_eq!(replaced, TableEvent::ReplaceTtbr1 { old: on.ttbr1, new: built.kernel.root });
    }
}

#[test]
fn images_and_trees_beyond_all_physical_addresses_have_no_head() {
    let mut spec = shaped(PageShift::SHIFT_4K, 48, 256);
    spec.image.end = PhysAddr::new(1 << 52);
    let counted = spec.lend(|machine| {
        use pagewright::pgtable::arm64::head::{Entry, count};
        count(&Entry { machine, version: OLD, kimage_voffset: 0, fdt: None })
    });
    assert_eq!(counted, Some(None));
}

#[test]
fn images_whose_address_and_place_disagree_near_address_0_have_no_head() {
    let mut spec = shaped(PageShift::SHIFT_4K, 48, 256);
    (spec.image.text_start, spec.image.head_len) = (PhysAddr::new(0x1_0000), 0);
    let counted = spec.lend(|machine| {
        use pagewright::pgtable::arm64::head::{Entry, count};
        // 64 KiB into memory, but 1 MiB into a block of its addresses.
        count(&Entry { machine, version: OLD, kimage_voffset: 0xf_0000, fdt: None })
    });
    assert_eq!(counted, Some(None));
}
