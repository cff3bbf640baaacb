//! What is reserved, and where it is placed.

use super::{asked, at, banks, banks_of, no_map, touched, with_ram};
use crate::support::spec::{RAM, range};
use crate::support::tree::{node, root};
use crate::support::{GIB, MIB, Spec};
use pagewright_firmware::config::{Flavour, KernelConfig};

#[test]
fn the_image_and_the_boot_page_tables_below_it_are_reserved() {
    for (flavour, bytes) in [(Flavour::Armmp, 16 << 10), (Flavour::ArmmpLpae, 20 << 10)] {
        let mut machine = banks_of(flavour, &[(0, 256)]);
        // The kernel's text comes after its head.
        machine.image.text_start = machine.image.text_start.saturating_add(MIB);
        machine.image.head_len = MIB;
        let image = machine.image;
        let facts = machine.boot();
        let kernel = range(image.text_start.get(), image.end.get() - image.text_start.get());
        let tables = range(RAM + 3 * MIB - bytes, bytes);
        assert_eq!(touched(&facts, "arm_memblock_init"), [kernel, tables]);
    }
}

#[test]
fn the_device_tree_is_reserved_although_the_log_does_not_say_so() {
    let machine = with_ram(256);
    let tree = range(machine.tree_at().get(), machine.blob().len() as u64);
    assert!(machine.boot().is_reserved(tree));
}

#[test]
fn a_ram_disk_is_reserved_in_whole_pages() {
    let mut machine = with_ram(256);
    machine.initrd = Some(range(RAM + 100 * MIB + 0x800, 0x1000));
    let facts = machine.boot();
    assert_eq!(touched(&facts, "reserve_initrd_mem"), [range(RAM + 100 * MIB, 0x2000)]);
    assert_eq!(facts.initrd, machine.initrd);
}

#[test]
fn a_ram_disk_outside_memory_is_given_up() {
    let facts = with_ram(256).cmdline("initrd=0x60000000,1M").boot();
    facts.expect("INITRD: 0x60000000+0x00100000 is not a memory region - disabling initrd");
    assert_eq!(facts.initrd, None);
}

#[test]
fn a_ram_disk_in_the_kernel_is_given_up() {
    let facts = with_ram(256).cmdline("initrd=0x40400000,4096").boot();
    facts.expect("INITRD: 0x40400000+0x00001000 overlaps in-use memory region");
    facts.expect(" - disabling initrd");
    assert_eq!(facts.initrd, None);
}

#[test]
fn the_command_line_names_another_ram_disk_than_the_boot_loader() {
    let mut machine = with_ram(256).cmdline("initrd=0x48000000,1M");
    machine.initrd = Some(at(100, 1));
    assert_eq!(machine.boot().initrd, Some(range(0x4800_0000, MIB)));
}

#[test]
fn cma_lies_in_high_memory_where_there_is_some() {
    let facts = with_ram(1024).boot();
    assert_eq!(facts.cma[0].range, at(1008, 16));
    assert_eq!(asked(&facts, "iotable_init"), []);
}

#[test]
fn cma_above_4_gib_is_looked_for_last_and_leaves_the_high_memory_it_had_reserved() {
    let facts = banks_of(Flavour::ArmmpLpae, &[(0, 5120)]).boot();
    // Below the end of low memory, although high memory had room: that stays reserved for nobody.
    assert_eq!(facts.cma[0].range, at(752, 16));
    assert_eq!(facts.lines("cma: Reserved").len(), 1);
    let lost = range(4 * GIB - 18 * MIB, 16 * MIB);
    assert!(touched(&facts, "cma_declare_contiguous_nid").is_empty());
    assert!(facts.is_reserved(lost));
}

#[test]
fn the_crash_kernel_lies_on_a_multiple_of_128_mib_in_low_memory() {
    let facts = with_ram(1024).cmdline("crashkernel=64M").boot();
    assert_eq!(facts.crash.main, Some(at(640, 64)));
    facts.expect("Reserving 64MB of memory at 1664MB for crashkernel (System RAM: 768MB)");
    assert_eq!(facts.crash.low, None);
}

#[test]
fn the_crash_kernel_can_be_told_where_to_lie() {
    let facts = with_ram(1024).cmdline("crashkernel=32M@0x60000000").boot();
    assert_eq!(facts.crash.main, Some(range(0x6000_0000, 32 * MIB)));
    let facts = with_ram(1024).cmdline("crashkernel=32M@0x40000000").boot();
    assert_eq!(facts.crash.main, None);
    facts.expect("crashkernel reservation failed - memory is in use.");
}

#[test]
fn a_crash_kernel_without_room_is_given_up() {
    let facts = with_ram(256).cmdline("crashkernel=200M").boot();
    facts.expect("crashkernel reservation failed - No suitable area found.");
    assert_eq!(facts.crash.main, None);
}

#[test]
fn a_crash_kernel_by_range_looks_at_low_memory_only() {
    // 1 GiB of RAM, but only 768 MiB of it count.
    let facts = with_ram(1024).cmdline("crashkernel=800M-:64M").boot();
    assert_eq!(facts.crash.main, None);
}

#[test]
fn maps_of_holes_go_back_in_whole_pages() {
    let facts = banks(&[(0, 64), (128, 64)]).cmdline("cma=0").boot();
    let third = 64 * 256 * 36;
    let start = facts.maps[0].start.get();
    assert_eq!(facts.maps, [range(start, third), range(start + 2 * third, third)]);
    let hole = range(start + third, third);
    assert_eq!(touched(&facts, "memblock_free_all"), [hole]);
    assert!(facts.is_free(hole));
}

#[test]
fn a_hole_that_shares_a_pageblock_with_a_bank_keeps_its_map() {
    // Pageblocks are 8 MiB: nothing of this hole is a whole one.
    let facts = banks(&[(0, 63), (71, 57)]).boot();
    assert_eq!(touched(&facts, "memblock_free_all"), []);
}

#[test]
fn each_mapped_range_has_a_resource_of_its_own() {
    for (flavour, bytes) in [(Flavour::Armmp, 32), (Flavour::ArmmpLpae, 40)] {
        let facts = banks_of(flavour, &[(0, 256)]).reserved([no_map(at(64, 4)), no_map(at(128, 4))]).boot();
        assert_eq!(asked(&facts, "setup_arch"), [(bytes, 64); 3]);
    }
}

#[test]
fn bounce_buffers_are_for_lpae_and_memory_above_4_gib() {
    assert_eq!(banks_of(Flavour::ArmmpLpae, &[(0, 3072)]).boot().swiotlb.map(|r| r.len()), Some(64 * MIB));
    assert_eq!(banks_of(Flavour::ArmmpLpae, &[(0, 3064)]).boot().swiotlb, None);
    assert_eq!(with_ram(1024).cmdline("swiotlb=force").boot().swiotlb, None);
}

/// A machine with RAM at 0 and this `compatible`.
fn board(compatible: &str, flavour: Flavour) -> Spec {
    let root = root().text("compatible", compatible).with(super::memory(0, GIB)).with(super::cpus(1));
    Spec::tree(KernelConfig::debian(flavour), root, 3 * MIB)
}

#[test]
fn a_board_can_limit_dma() {
    assert_eq!(board("some,board", Flavour::Armmp).boot().dma_limit.get(), 4 * GIB);
    assert_eq!(board("brcm,bcm2836", Flavour::Armmp).boot().dma_limit.get(), GIB);
    // With one gigabyte for user space the DMA zone is the narrower of the two.
    let split = |c: &mut KernelConfig| c.page_offset = 0x4000_0000;
    let facts = board("brcm,bcm2836", Flavour::Armmp).config(split).boot();
    assert!(facts.percpu.is_some());
    assert_eq!(facts.dma_limit.get(), GIB);
}

#[test]
fn coherent_pools_need_a_region_without_a_mapping() {
    let pool = |name: &str, r| no_map(r).text("compatible", name);
    let mapped = node("pool@44000000").reg(0x4400_0000, MIB).text("compatible", "shared-dma-pool");
    let facts = with_ram(256).reserved([pool("shared-dma-pool", at(96, 1)), mapped]).boot();
    facts.expect("Reserved memory: created DMA memory pool at 0x46000000, size 1 MiB");
    facts.expect("Reserved memory: regions without no-map are not yet supported");
}

#[test]
fn the_core_header_of_a_crashed_kernel_is_kept_before_dynamic_regions_are_placed() {
    let dynamic = node("pool").wide("size", &[MIB]);
    let facts = with_ram(256).cmdline("elfcorehdr=64K@0x4ff00000 cma=0").reserved([dynamic]).boot();
    facts.expect("OF: fdt: Reserving 64 KiB of memory at 0x4ff00000 for elfcorehdr");
    assert!(facts.is_reserved(range(0x4ff0_0000, 64 << 10)));
    // The top megabyte is not whole any more.
    assert_eq!(facts.verdicts[0].range, at(254, 1));
}

#[test]
fn the_command_line_moves_the_core_header_and_may_leave_its_size() {
    let chosen = node("chosen").wide("linux,elfcorehdr", &[0x4800_0000, 0x3000]);
    let facts = with_ram(256).with(chosen).cmdline("elfcorehdr=0x4a000000").boot();
    assert!(facts.is_reserved(range(0x4a00_0000, 0x3000)));
    assert!(facts.is_free(range(0x4800_0000, 0x3000)));
}

#[test]
fn a_kernel_without_smp_has_one_unit_for_dynamic_allocation_only() {
    let facts = with_ram(256).config(|c| (c.smp, c.nr_cpus) = (false, 1)).boot();
    facts.expect("pcpu-alloc: s0 r0 d32768 u32768 alloc=1*32768");
    assert!(!facts.said("percpu: Embedded"));
    let chunk = facts.percpu.as_ref().expect("a first chunk").groups[0].base;
    assert!(facts.is_reserved(range(chunk.get(), 32 << 10)));
}
