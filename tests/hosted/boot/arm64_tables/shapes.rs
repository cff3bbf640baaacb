//! Page and address sizes: the tables of each are what the software MMU reads as meant.

use super::*;
use pagewright_memblock::Flags;
use proptest::prelude::*;

/// All that is memory is in the linear map at its place, the image's sections have their rights, and nothing else is mapped.
#[track_caller]
fn check(built: &Built) {
    let image = built.spec.image;
    let page = built.spec.config.page_shift.bytes();
    let kernel = PhysRange::new(image.text_start, image.init_begin);
    for bank in built.facts.memory.iter().filter(|b| !b.flags.contains(Flags::NOMAP)) {
        let (start, end) = (bank.range.start.align_up(page).get(), bank.range.end.align_down(page).get());
        if start >= end {
            continue;
        }
        for phys in [start, start + (end - start) / 3 / page * page, end - 1] {
            let expected = if kernel.contains(PhysAddr::new(phys)) { "r--" } else { "rw-" };
            assert_eq!(built.linear(phys), expected, "{phys:#x}");
        }
    }
    assert_eq!(built.linear(kernel.start.get()), "r--");
    for (at, rights) in [
        (image.text_start, "r-x"),
        (image.text_end.saturating_sub(1), "r-x"),
        (image.text_end, "r--"),
        (image.init_begin.saturating_sub(1), "r--"),
        (image.init_begin, "---"),
        (image.init_end.saturating_sub(1), "---"),
        (image.data_start, "rw-"),
        (image.end.saturating_sub(1), "rw-"),
        (image.end, "---"),
        (image.load_start(), "---"),
    ] {
        assert_eq!(built.image(at.get()), rights, "{at:?}");
    }
    let both = AttrFlags::WRITE | AttrFlags::EXEC;
    assert!(built.leaves.iter().all(|l| !l.flags.contains(both) && !l.flags.contains(AttrFlags::USER)));
    // Bytes of the linear map: memory, as far as it is whole pages.
    let linear = VirtRange { start: VirtAddr::new(built.linear), len: 16 * GIB };
    let mapped: u64 =
        built.leaves.iter().filter(|l| linear.contains(l.range.start)).map(|l| l.range.len).sum();
    let memory: u64 = built.facts.memory.iter().map(|b| b.range.len()).sum();
    let banks = built.facts.memory.len() as u64;
    assert!(mapped >= memory && mapped < memory + 2 * banks * page, "{mapped:#x} of {memory:#x}");
}

#[test]
fn every_page_size_and_address_size_boots_with_tables_that_a_processor_reads_as_meant() {
    for (shift, bits) in SHAPES {
        for line in ["rodata=on", "rodata=full", "crashkernel=64M"] {
            let built = newest(shaped(shift, bits, 512).cmdline(line));
            check(&built);
            let shape = built.kernel.with(|tree| (tree.shape().page_shift(), tree.shape().count()));
            let levels = (u32::from(bits) - shift.get()).div_ceil(shift.get() - 3);
            assert_eq!(shape, (shift.get(), levels as usize), "{shift:?} {bits}");
        }
    }
}

#[test]
fn rodata_off_leaves_code_writable_with_every_page_size() {
    for (shift, bits) in SHAPES {
        let built = newest(shaped(shift, bits, 512).cmdline("rodata=off"));
        let image = built.spec.image;
        for (at, rights) in [(image.text_start, "rwx"), (image.text_end, "rw-"), (image.init_begin, "---")] {
            assert_eq!(built.image(at.get()), rights, "{shift:?} {bits}");
        }
        assert_eq!(built.linear(image.text_start.get()), "r--", "{shift:?} {bits}");
    }
}

#[test]
fn kernels_of_52_bits_boot_on_processors_that_have_them_and_on_others() {
    for wide in [false, true] {
        for line in ["rodata=on", "rodata=full", "crashkernel=64M"] {
            let mut spec = shaped(PageShift::SHIFT_64K, 48, 1024).cmdline(line);
            spec = spec.config(|c| larger_pages(c, PageShift::SHIFT_64K, 52));
            spec.cpus.la57 = wide;
            let mut start = 0;
            let (result, _) =
                spec.boot_looking(Depth::Memblock, |_| (), |boot| start = boot.linear_start().get());
            result.unwrap_or_else(|e| panic!("{e}"));
            // What the first byte of the processor's own linear map shows.
            let built = newest(spec);
            let lowest = 0u64.wrapping_sub(1 << if wide { 52 } else { 48 });
            assert_eq!(built.linear - lowest, RAM - start, "{wide}");
            check(&built);
        }
    }
}

#[test]
fn leaves_are_as_large_as_the_page_size_has_them() {
    let largest = |shift, bits, mib| newest(shaped(shift, bits, mib).cmdline("rodata=on")).linear_leaves();
    // Blocks of 1 GiB with pages of 4 KiB only: 2 GiB above the first.
    assert_eq!(largest(PageShift::SHIFT_4K, 48, 3 << 10), (Level::PUD, true));
    assert_eq!(largest(PageShift::SHIFT_4K, 39, 512).0, Level::PMD);
    // 32 MiB and 512 MiB.
    assert_eq!(largest(PageShift::SHIFT_16K, 47, 512).0, Level::PMD);
    assert_eq!(largest(PageShift::SHIFT_64K, 48, 2 << 10).0, Level::PMD);
    let built = newest(shaped(PageShift::SHIFT_64K, 42, 2 << 10).cmdline("rodata=on"));
    let blocks = built.leaves.iter().filter(|l| l.level == Level::PMD);
    assert_eq!(blocks.map(|l| l.range.len).sum::<u64>() % (512 * MIB), 0);
}

#[test]
fn short_addresses_need_fewer_tables() {
    let tables = |shift, bits| newest(shaped(shift, bits, 256).cmdline("rodata=on")).counts.total();
    assert!(tables(PageShift::SHIFT_4K, 39) < tables(PageShift::SHIFT_4K, 48));
    assert!(tables(PageShift::SHIFT_16K, 36) < tables(PageShift::SHIFT_16K, 47));
    assert!(tables(PageShift::SHIFT_64K, 42) < tables(PageShift::SHIFT_64K, 48));
}

/// A machine of any shape and version, with banks of any number of pages and gaps of any number of pages.
fn any_machine() -> impl Strategy<Value = (Spec, Version)> {
    let bank = (0..200u64, prop_oneof![1..40u64, 500..600u64, 1..20_000u64]);
    let lines: &'static [&str] = &["", "rodata=on", "rodata=full", "crashkernel=48M", "mem=200M", "kpti=on"];
    (
        proptest::collection::vec(bank, 0..6),
        proptest::sample::select(SHAPES.to_vec()),
        proptest::sample::select(lines),
        proptest::sample::select(VERSIONS.to_vec()),
        any::<bool>(),
    )
        .prop_map(|(banks, (shift, bits), line, (major, minor), zones)| {
            let page = shift.bytes();
            let mut at = RAM + 256 * MIB;
            let mut spec = shaped(shift, bits, 256).cmdline(line);
            spec = spec.config(|c| (c.zone_dma, c.zone_dma32) = (zones, zones));
            for (gap, pages) in banks {
                at += gap * page;
                if at + pages * page > RAM + 12 * GIB {
                    break;
                }
                spec = spec.with(crate::support::tree::memory(at, pages * page));
                at += pages * page;
            }
            (spec, Version::new(major, minor))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_machine_of_any_version_is_mapped_page_for_page((spec, version) in any_machine()) {
        let (counted, _) = spec.boot_with(Depth::Allocator, |b| b.set_version(version));
        let built = build(spec, version);
        prop_assert_eq!(&counted.unwrap().events, &built.facts.events);
        check(&built);
    }
}
