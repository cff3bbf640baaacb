//! What is mapped, where, and with which rights.

use super::super::{banks_of, with_ram};
use super::*;
use pagewright::pgtable::arm::{DOMAIN_IO, DOMAIN_KERNEL, DOMAIN_VECTORS, FDT_FIXED_BASE, FIXADDR_START};
use pagewright_firmware::CacheFlush;
use pagewright_firmware::config::{Flavour, KernelConfig};

const VECTORS: u64 = 0xffff_0000;

/// The linear map's pieces: start and length in MiB, rights.
pub(super) fn rights_of(all: &[Shown]) -> Vec<(u64, u64, &'static str)> {
    let linear = inside(all, PAGE_OFFSET, 0xff00_0000);
    linear.iter().map(|s| ((s.start - PAGE_OFFSET) >> 20, s.len >> 20, rights(s.attr))).collect()
}

// The image of these machines lies 3 MiB above the start of RAM: 4 MiB of text, 2 of read-only data, 2 of init sections, 2 of data.

#[test]
fn the_image_is_executable_up_to_its_data_until_init_memory_is_freed() {
    let built = build(&with_ram(64).cmdline("cma=0"));
    assert_eq!(rights_of(&built.early), [(0, 11, "rwx"), (11, 53, "rw-")]);
    assert_eq!(
        rights_of(&built.late),
        [(0, 3, "rw-"), (3, 4, "r-x"), (7, 2, "r--"), (9, 55, "rw-")],
        "{:#x?}",
        built.late
    );
    assert!(inside(&built.late, PAGE_OFFSET, 0xff00_0000).iter().all(|s| s.size == MIB));
}

#[test]
fn without_rodata_the_text_stays_writable_and_the_rest_loses_execution_all_the_same() {
    let built = build(&with_ram(64).cmdline("cma=0 rodata=off"));
    assert_eq!(rights_of(&built.late), [(0, 3, "rw-"), (3, 4, "rwx"), (7, 57, "rw-")]);
    let built = build(&with_ram(64).cmdline("cma=0").config(|c| c.strict_kernel_rwx = false));
    assert_eq!(rights_of(&built.late), [(0, 11, "rwx"), (11, 53, "rw-")]);
}

#[test]
fn sections_that_do_not_begin_with_an_entry_keep_their_rights() {
    // LPAE's sections are twice as large: the text begins in the middle of one.
    let built = build(&banks_of(Flavour::ArmmpLpae, &[(0, 64)]).cmdline("cma=0"));
    assert_eq!(rights_of(&built.late), [(0, 12, "rwx"), (12, 52, "rw-")]);
}

#[test]
fn lpae_maps_by_two_mebibytes() {
    let mut spec = banks_of(Flavour::ArmmpLpae, &[(0, 64)]).cmdline("cma=0");
    spec.image = crate::support::spec::image(spec.config.arch, RAM + 4 * MIB, 32);
    let built = build(&spec);
    let linear = inside(&built.late, PAGE_OFFSET, 0xff00_0000);
    assert!(linear.iter().all(|s| s.size == 2 * MIB));
    assert_eq!(rights_of(&built.late), [(0, 4, "rw-"), (4, 4, "r-x"), (8, 2, "r--"), (10, 54, "rw-")]);
}

#[test]
fn memory_is_normal_global_and_shared_by_all_processors() {
    for flavour in [Flavour::Armmp, Flavour::ArmmpLpae] {
        let built = build(&banks_of(flavour, &[(0, 64)]));
        for s in inside(&built.late, PAGE_OFFSET, 0xff00_0000) {
            assert_eq!((s.attr.memory, s.attr.share), (MemoryType::Normal, Shareability::Inner), "{s:x?}");
            assert!(s.attr.flags.contains(AttrFlags::GLOBAL) && !s.attr.flags.contains(AttrFlags::USER));
        }
    }
}

/// Nothing of low memory is shared, and it is written back without being allocated on writes.
#[track_caller]
fn alone(spec: &Spec) {
    let built = build(spec);
    let linear = inside(&built.late, PAGE_OFFSET, 0xff00_0000);
    assert!(linear.iter().all(|s| s.attr.share == Shareability::None));
    let word = built.tables().with(|tree| tree.path(VirtAddr::new(PAGE_OFFSET)).last().unwrap().word);
    // TEX[0], C and B, or the index into MAIR.
    let index = if spec.config.lpae { word >> 2 & 7 } else { (word >> 12 & 1) << 2 | word >> 2 & 3 };
    assert_eq!(index, 3, "{word:#x}");
}

#[test]
fn a_kernel_for_one_processor_shares_nothing_and_does_not_allocate_on_writes() {
    for flavour in [Flavour::Armmp, Flavour::ArmmpLpae] {
        alone(&banks_of(flavour, &[(0, 64)]).config(|c| (c.smp, c.nr_cpus) = (false, 1)));
    }
}

#[test]
fn a_kernel_for_many_finds_out_that_its_processor_can_only_be_alone() {
    let on = |processor: &str| {
        let cpu = super::super::node("cpu@0").text("device_type", "cpu").text("compatible", processor);
        let root = super::super::root()
            .with(super::super::node("cpus").with(cpu))
            .with(super::super::memory(RAM, 64 * MIB));
        Spec::tree(KernelConfig::debian(Flavour::Armmp), root, RAM + 3 * MIB)
    };
    for processor in ["arm,cortex-a8", "arm,arm926ej-s"] {
        alone(&on(processor));
    }
    for processor in ["arm,cortex-a9", "arm,arm11mpcore", "marvell,pj4b"] {
        let linear = inside(&build(&on(processor)).late, PAGE_OFFSET, 0xff00_0000);
        assert!(linear.iter().all(|s| s.attr.share == Shareability::Inner), "{processor}");
    }
}

#[test]
fn a_ragged_end_of_a_bank_is_mapped_by_pages_as_far_as_its_table_reaches() {
    // 3.5 MiB above the last whole pair of sections: one and a half of the last pair, all in pages.
    let built = build(&with_ram(64).cmdline("cma=0 mem=61952K"));
    let linear = inside(&built.early, PAGE_OFFSET, 0xff00_0000);
    assert_eq!(kib(&linear[1..]), [(11 << 10, 49 << 10, 11 << 10, 1024), (60 << 10, 512, 60 << 10, 4)]);
    let built = build(&with_ram(64).cmdline("cma=0 mem=62976K"));
    let linear = inside(&built.early, PAGE_OFFSET, 0xff00_0000);
    assert_eq!(kib(&linear[1..]), [(11 << 10, 49 << 10, 11 << 10, 1024), (60 << 10, 1536, 60 << 10, 4)]);
}

#[test]
fn contiguous_areas_are_mapped_by_pages_that_are_not_executed() {
    let built = build(&with_ram(256).cmdline("cma=32M"));
    let area = built.facts.cma[0].range;
    let pages: Vec<_> = built.late.iter().filter(|s| s.start >= PAGE_OFFSET && s.size == 4096).collect();
    let linear: Vec<_> = pages.iter().filter(|s| s.start < 0xff00_0000).collect();
    assert_eq!(linear.len(), 1);
    assert_eq!((linear[0].phys, linear[0].len), (area.start.get(), area.len()));
    assert_eq!(linear[0].start - PAGE_OFFSET, linear[0].phys - RAM);
    assert_eq!(rights(linear[0].attr), "rw-");
}

#[test]
fn nothing_is_mapped_below_the_kernel_and_low_memory_at_one_place_only() {
    let built = build(&with_ram(1024));
    assert_eq!(built.late[0].start, PAGE_OFFSET);
    let low = built.facts.high_memory.get() - RAM;
    let linear = inside(&built.late, PAGE_OFFSET, PAGE_OFFSET + low);
    assert!(linear.iter().all(|s| s.phys - RAM == s.start - PAGE_OFFSET), "{linear:x?}");
    assert_eq!(linear.iter().map(|s| s.len).sum::<u64>(), low);
    assert!(inside(&built.late, PAGE_OFFSET + low, FDT_FIXED_BASE).is_empty());
}

#[test]
fn user_code_may_call_helpers_in_the_vectors_page_and_see_nothing_else_of_the_kernel() {
    let users = |built: &Built| -> Vec<u64> {
        built.late.iter().filter(|s| s.attr.flags.contains(AttrFlags::USER)).map(|s| s.start).collect()
    };
    for flavour in [Flavour::Armmp, Flavour::ArmmpLpae] {
        let built = build(&banks_of(flavour, &[(0, 64)]));
        assert_eq!(users(&built), [VECTORS]);
        let [helpers, stubs] = inside(&built.late, VECTORS, 1 << 32)[..] else { panic!("{:x?}", built.late) };
        assert!(helpers.attr.flags.contains(AttrFlags::USER_EXEC));
        assert!(!helpers.attr.flags.contains(AttrFlags::WRITE));
        assert_eq!((stubs.start, stubs.len, stubs.phys), (VECTORS + 4096, 4096, helpers.phys + 4096));
        assert_eq!(rights(stubs.attr), "r-x");
        // They and the linear map's view of them are the pages that were allocated for them.
        assert!(built.facts.is_reserved(PhysRange::from_len(PhysAddr::new(helpers.phys), 8192)));
    }
    assert_eq!(users(&build(&with_ram(64).config(|c| c.kuser_helpers = false))), []);
}

#[test]
fn low_vectors_are_mapped_at_zero_besides() {
    let mut spec = with_ram(64);
    let plain = build(&spec);
    spec.cpus.arm.low_vectors = true;
    let built = build(&spec);
    let [low, ..] = built.late[..] else { panic!("nothing is mapped") };
    let high = inside(&built.late, VECTORS, 1 << 32);
    assert_eq!((low.start, low.len, low.phys, rights(low.attr)), (0, 8192, high[0].phys, "r-x"));
    assert!(!low.attr.flags.contains(AttrFlags::USER));
    assert_eq!(built.counts.total(), plain.counts.total() + 1);
}

#[test]
fn the_device_tree_can_be_read_in_two_sections_of_its_own() {
    for (flavour, section) in [(Flavour::Armmp, MIB), (Flavour::ArmmpLpae, 2 * MIB)] {
        let spec = banks_of(flavour, &[(0, 64)]);
        let built = build(&spec);
        let [fdt] = inside(&built.late, FDT_FIXED_BASE, FIXADDR_START)[..] else {
            panic!("{:x?}", built.late)
        };
        let at = spec.tree_at().align_down(section).get();
        assert_eq!((fdt.start, fdt.phys, fdt.len, fdt.size), (FDT_FIXED_BASE, at, 2 * section, section));
        assert_eq!(rights(fdt.attr), "r--");
    }
}

#[test]
fn registers_of_a_board_are_device_memory_in_a_domain_of_their_own() {
    let board = |compatible: &str| {
        let root = super::super::root().text("compatible", compatible).with(super::super::cpus(1));
        let root = root.with(super::super::memory(RAM, 64 * MIB));
        build(&Spec::tree(KernelConfig::debian(Flavour::Armmp), root, RAM + 3 * MIB))
    };
    let built = board("nvidia,tegra124");
    let maps: Vec<_> = inside(&built.late, 0xf000_0000, 0xff00_0000);
    let places: Vec<_> = maps.iter().map(|s| (s.start, s.phys, s.len, s.size)).collect();
    assert_eq!(
        places,
        [
            (0xfe00_0000, 0x7000_0000, MIB, MIB),
            (0xfe20_0000, 0x6000_0000, MIB, MIB),
            (0xfe40_0000, 0x4000_0000, 256 << 10, 4096),
            (0xfe44_0000, 0x5004_0000, 16 << 10, 4096),
        ]
    );
    for map in maps {
        assert_eq!((map.attr.memory, rights(map.attr)), (MemoryType::Device, "rw-"));
        assert_eq!(built.domain(map.start), DOMAIN_IO);
    }
    assert_eq!(built.domain(PAGE_OFFSET), DOMAIN_KERNEL);
    assert_eq!(built.domain(VECTORS), DOMAIN_VECTORS);
    // The chip's number: a page, of which less is asked for.
    let chip = inside(&board("samsung,exynos4210").late, 0xf800_0000, 0xf900_0000);
    assert_eq!((chip[0].phys, chip[0].len), (0x1000_0000, 4096));
}

#[test]
fn tables_of_kmaps_and_fixed_mappings_are_there_and_empty() {
    let pkmap = PAGE_OFFSET - 2 * MIB;
    let built = build(&with_ram(64));
    for va in [pkmap, FIXADDR_START] {
        assert!(built.has_table(va), "{va:#x}");
        assert!(inside(&built.late, va, va + 0x10_0000).is_empty());
    }
    assert!(!build(&with_ram(64).no_highmem()).has_table(pkmap));
}

#[test]
fn tightly_coupled_memory_is_uncached_and_its_data_part_not_executed() {
    let mut spec = with_ram(64).config(|c| c.have_tcm = true);
    (spec.cpus.arm.itcm_bytes, spec.cpus.arm.dtcm_bytes) = (16 << 10, 1 << 20);
    let built = build(&spec);
    let tcm = inside(&built.late, 0xfffe_0000, VECTORS);
    let found: Vec<_> = tcm.iter().map(|s| (s.start, s.phys, s.len, rights(s.attr))).collect();
    assert_eq!(
        found,
        [(0xfffe_0000, 0xfffe_0000, 16 << 10, "rwx"), (0xfffe_8000, 0xfffe_8000, 32 << 10, "rw-"),]
    );
    assert!(tcm.iter().all(|s| s.attr.memory == MemoryType::StronglyOrdered));
    // Without the choice the kernel leaves it alone.
    let none = build(&spec.config(|c| c.have_tcm = false));
    assert!(inside(&none.late, 0xfffe_0000, VECTORS).is_empty());
}

#[test]
fn windows_for_flushing_the_cache_are_read_only_sections() {
    let mut spec = with_ram(64);
    let (main, mini) = (VirtAddr::new(0xf500_0000), VirtAddr::new(0xf510_0000));
    let phys = PhysAddr::new(0xe000_0000);
    spec.cpus.arm.cache_flush = Some(CacheFlush { phys, main, mini: Some(mini) });
    let windows = inside(&build(&spec).late, 0xf500_0000, 0xf600_0000);
    let [window] = windows[..] else { panic!("{windows:x?}") };
    assert_eq!(
        (window.phys, window.len, window.size, rights(window.attr)),
        (0xe000_0000, 2 * MIB, MIB, "r--")
    );
}
