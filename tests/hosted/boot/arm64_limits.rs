//! arm64: what of the described memory the kernel takes, and where its linear map begins.

use crate::support::facts::{Depth, Facts};
use crate::support::spec::{RAM, Spec, arm64, arm64_banks, image, larger_pages, range};
use crate::support::tree::{N, node, reserved_memory};
use crate::support::{GIB, KIB, MIB};
use pagewright_addr::{PageShift, PhysAddr};
use pagewright_memblock::Flags;
use pagewright_zone::ZoneKind;

/// With 39 bits of virtual addresses the linear map reaches 256 GiB.
fn short(spec: Spec) -> Spec {
    let at = spec.image.load_start().get();
    let mut spec = spec.config(|c| larger_pages(c, PageShift::SHIFT_4K, 39));
    spec.image = image(spec.config.arch, at, 39);
    spec
}

/// With the kernel's image at this address.
fn image_at(mut spec: Spec, at: u64) -> Spec {
    spec.image = image(spec.config.arch, at, spec.config.va_bits);
    spec
}

/// Virtual addresses of the first byte of RAM and of its `struct page`.
fn addresses(spec: &Spec) -> (u64, u64) {
    let mut out = (0, 0);
    let (result, _) = spec.boot_looking(
        Depth::Memblock,
        |_| (),
        |boot| {
            let first = boot.mb.start_of_dram();
            let page = boot.vmemmap().page(first.pfn(boot.machine.config.page_shift));
            out = (boot.linear_map().virt(first).get(), page.get());
        },
    );
    result.unwrap_or_else(|e| panic!("{e}"));
    out
}

fn zone_end(facts: &Facts, kind: ZoneKind) -> u64 {
    facts.zone(0, kind).map_or(0, |z| z.pfns.end.get() * 4096)
}

#[test]
fn a_plain_machine_keeps_all_its_memory() {
    let facts = arm64(256).boot();
    assert_eq!(facts.ram_mib(), [(1024, 1280)]);
    assert_eq!(facts.memstart.get(), RAM);
}

#[test]
fn the_linear_map_begins_at_a_multiple_of_what_its_largest_block_maps() {
    let facts = arm64_banks(&[(RAM + 192 * MIB, 256 * MIB)]).boot();
    assert_eq!(facts.memstart.get(), RAM);
    let mut spec = arm64_banks(&[(3 * GIB / 2, GIB)]).config(|c| larger_pages(c, PageShift::SHIFT_64K, 48));
    spec.image = image(spec.config.arch, 3 * GIB / 2 + 2 * MIB, 48);
    assert_eq!(spec.boot().memstart.get(), 3 * GIB / 2, "512 MiB with 64 KiB pages");
}

#[test]
fn what_the_processor_cannot_address_is_dropped() {
    let facts = arm64_banks(&[(RAM, 256 * MIB), (1 << 48, 256 * MIB)]).boot();
    assert_eq!(facts.ram_mib(), [(1024, 1280)]);
}

#[test]
fn memory_below_goes_where_the_kernel_lies_too_high_to_reach_both() {
    let spec =
        short(image_at(arm64_banks(&[(RAM, 256 * MIB), (300 * GIB, 256 * MIB)]), 300 * GIB + 128 * MIB));
    let facts = spec.boot();
    facts.expect("Memory doesn't fit in the linear mapping, VA_BITS too small");
    // What follows the image goes, too: memory is cut at its end first.
    let end = spec.image.end;
    assert_eq!(facts.memory.iter().map(|b| b.range.end).collect::<Vec<_>>(), [end]);
    assert_eq!(facts.ram(), end.get() - 300 * GIB);
    assert!(facts.memstart.get() > RAM && facts.memstart.is_aligned(GIB));
}

#[test]
fn a_limit_keeps_the_image_wherever_it_is() {
    let spec = image_at(arm64(512), RAM + 300 * MIB).cmdline("mem=128M cma=0");
    let facts = spec.boot();
    assert_eq!(facts.ram_mib(), [(1024, 1152), (1324, 1334)]);
    assert!(facts.is_reserved(range(RAM + 300 * MIB + 64 * KIB, 9 * MIB)));
}

#[test]
fn a_ram_disk_beyond_the_linear_map_is_given_up() {
    let with = |start| {
        let mut spec = arm64(256);
        spec.initrd = Some(range(start, MIB));
        spec.boot()
    };
    let facts = with(RAM - 2 * MIB);
    facts.expect("initrd not fully accessible via the linear mapping -- please check your bootloader ...");
    assert_eq!((facts.initrd, facts.ram()), (None, 256 * MIB));
    // One in a hole of memory is memory from then on.
    let facts = with(RAM + GIB);
    assert_eq!(facts.initrd, Some(range(RAM + GIB, MIB)));
    assert_eq!(facts.ram(), 257 * MIB);
}

#[test]
fn a_ram_disk_is_freed_where_it_fills_pages() {
    let mut spec = arm64(256);
    spec.initrd = Some(range(RAM + 128 * MIB + 100, MIB));
    spec.boot().expect("Freeing initrd memory: 1020K");
    assert!(!spec.cmdline("retain_initrd").boot().said("Freeing initrd"));
}

#[test]
fn memory_without_a_mapping_is_mapped_for_a_ram_disk_only_before_it_is_named() {
    let fw: N = node("fw@48000000").reg(RAM + 128 * MIB, 2 * MIB).flag("no-map");
    let mut spec = arm64(256).with(reserved_memory([fw]));
    spec.initrd = Some(range(RAM + 128 * MIB, MIB));
    let facts = spec.boot();
    // The region comes after the RAM disk, which is in use: it is refused.
    facts.expect("OF: fdt: Reserved memory: failed to reserve memory for node 'fw@48000000'");
    assert!(facts.memory.iter().all(|b| !b.flags.contains(Flags::NOMAP)));
}

#[test]
fn a_crash_kernel_uses_what_it_was_given() {
    let usable =
        node("chosen").wide("linux,usable-memory-range", &[RAM, 64 * MIB, RAM + 128 * MIB, 16 * MIB]);
    let facts = arm64(256).with(usable).cmdline("cma=0").boot();
    assert_eq!(facts.ram_mib(), [(1024, 1088), (1152, 1168)]);
}

#[test]
fn the_narrowest_bus_ends_the_dma_zone() {
    let bus = |bytes: u64| {
        let soc = node("soc").cells("#address-cells", &[2]).cells("#size-cells", &[2]).flag("ranges");
        arm64(4096).with(soc.wide("dma-ranges", &[0, 0, bytes])).boot()
    };
    assert_eq!(zone_end(&bus(2 * GIB), ZoneKind::Dma), 2 * GIB);
    assert_eq!(zone_end(&bus(2 * GIB), ZoneKind::Dma32), 4 * GIB);
    // Up to the next power of two, and no further than 4 GiB.
    assert_eq!(zone_end(&bus(2 * GIB + MIB), ZoneKind::Dma), 4 * GIB);
    assert_eq!(zone_end(&bus(1 << 40), ZoneKind::Dma), 4 * GIB);
    assert_eq!(zone_end(&bus(1 << 40), ZoneKind::Normal), 5 * GIB);
}

#[test]
fn memory_that_starts_above_4_gib_is_all_in_reach_of_dma() {
    let facts = arm64_banks(&[(8 * GIB, GIB)]).boot();
    assert_eq!(facts.zones.len(), 1);
    assert_eq!(zone_end(&facts, ZoneKind::Dma), 9 * GIB);
    assert!(facts.swiotlb.is_none());
}

#[test]
fn a_seed_moves_the_start_of_the_linear_map() {
    let with = |seed, words: &str| {
        let mut spec = arm64(256).cmdline(words);
        spec.seed = seed;
        spec
    };
    let plain = addresses(&with(None, ""));
    assert_eq!(plain.0, 0xffff_0000_0000_0000);
    assert_eq!(addresses(&with(Some(0x8000), "nokaslr")), plain);
    let (memory, page) = addresses(&with(Some(0x8000), ""));
    // Half of the room that a processor of 40 bits leaves, in steps of 1 GiB.
    let moved = ((1_u64 << 47) - (1 << 40)) / GIB / 2 * GIB;
    assert_eq!(memory - plain.0, moved);
    // The array of metadata moves along, also where the start lies before address 0.
    assert_eq!(page - plain.1, moved / 4096 * 64);
}

#[test]
fn a_kernel_for_52_bits_moves_memory_up_on_a_processor_without_them() {
    let with = |wide| {
        let mut spec = arm64_banks(&[(RAM, GIB)]).config(|c| larger_pages(c, PageShift::SHIFT_64K, 52));
        spec.image = image(spec.config.arch, RAM + 2 * MIB, 52);
        spec.cpus.la57 = wide;
        spec
    };
    let (narrow, wide) = (addresses(&with(false)), addresses(&with(true)));
    assert_eq!((narrow.0, wide.0), (0xffff_0000_0000_0000, 0xfff0_0000_0000_0000));
    // Pages of 64 KiB have 64 bytes each; the array covers the whole map.
    assert_eq!(narrow.1 - wide.1, (narrow.0 - wide.0) / 0x1_0000 * 64);
    let far = |wide| {
        let mut spec = with(wide);
        if let crate::support::spec::Fw::Tree { root, .. } = &mut spec.fw {
            *root = root.clone().with(crate::support::tree::memory((1 << 47) + 4 * GIB, GIB));
        }
        spec.boot().ram()
    };
    assert_eq!((far(false), far(true)), (GIB, 2 * GIB));
    let start = PhysAddr::new(RAM);
    assert_eq!(with(true).boot().memstart, start);
}
