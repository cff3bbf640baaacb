//! Choices of the kernel configuration: for each, a machine on which it changes a fact.
//!
//! Memory models have a file of their own, and so have the splits of arm's address space (`arm/lowmem.rs`), number of
//! processors (`cpus`), deferred initialisation (`available`) and Thumb-2, which moves the modules only (`kspace`).

use crate::support::facts::Facts;
use crate::support::spec::{
    RAM, Spec, affinity, arm, arm64, arm64_banks, cpu_affinity, image, larger_pages, pc, pc_of, range,
};
use crate::support::{GIB, KIB, MIB};
use pagewright_addr::PageShift;
use pagewright_firmware::config::{CmaSize, Flavour, Slab};
use pagewright_memblock::Event;
use pagewright_zone::ZoneKind;

/// Bytes that memory maps take.
fn maps(facts: &Facts) -> u64 {
    facts.maps.iter().map(|m| m.len()).sum()
}

/// An arm64 machine with these pages and this address space.
fn pages(spec: Spec, shift: PageShift, va_bits: u8) -> Spec {
    let mut spec = spec.config(|c| larger_pages(c, shift, va_bits));
    spec.image = image(spec.config.arch, RAM + 2 * MIB, va_bits);
    spec
}

#[test]
fn each_split_of_i386_leaves_another_amount_of_low_memory() {
    let low = |page_offset| {
        let facts = pc_of(Flavour::I686, 2048).config(|c| c.page_offset = page_offset).boot();
        facts.zone(0, ZoneKind::Normal).expect("low memory").pfns.end.get() * 4096 / MIB
    };
    // What lies between the kernel's half and the end of vmalloc space, less the 128 MiB kept for that.
    let end = 0xfebf_e000_u64;
    for split in [0xc000_0000, 0xb000_0000] {
        assert_eq!(low(split), (end - u64::from(split)) / MIB - 128, "{split:#x}");
    }
    assert_eq!(low(0x4000_0000), 2048, "all of it");
}

#[test]
fn large_physical_addresses_keep_memory_above_4_gib() {
    let above = |flavour| {
        let facts = arm(flavour, 512).with(crate::support::tree::memory(4 * GIB, 512 * MIB)).boot();
        facts.memory.iter().filter(|b| b.range.start.get() >= 4 * GIB).count()
    };
    assert_eq!((above(Flavour::Armmp), above(Flavour::ArmmpLpae)), (0, 1));
    // i386 does not even look at what lies above.
    let high =
        |flavour| pc_of(flavour, 5120).boot().zone(0, ZoneKind::HighMem).expect("high memory").pfns.end;
    assert_eq!(high(Flavour::I686).get(), 3 * GIB / 4096);
    assert_eq!(high(Flavour::I686Pae).get(), 6 * GIB / 4096);
}

#[test]
fn large_physical_addresses_make_bounce_buffers_and_larger_boot_tables() {
    let spec = |flavour| arm(flavour, 512).with(crate::support::tree::memory(4 * GIB, 512 * MIB));
    assert!(spec(Flavour::Armmp).boot().swiotlb.is_none());
    assert!(spec(Flavour::ArmmpLpae).boot().swiotlb.is_some());
    let boot_tables = |flavour: Flavour| {
        let spec = arm(flavour, 128);
        let start = spec.image.text_start;
        let facts = spec.boot();
        facts
            .reserved
            .iter()
            .find(|r| r.end == start || r.contains(start))
            .map(|r| start.get() - r.start.get())
    };
    assert_eq!(boot_tables(Flavour::Armmp), Some(16 * KIB));
    assert_eq!(boot_tables(Flavour::ArmmpLpae), Some(20 * KIB));
}

#[test]
fn address_bits_bound_the_linear_map() {
    let banks = [(RAM, 256 * MIB), (300 * GIB, 256 * MIB)];
    let short = pages(arm64_banks(&banks), PageShift::SHIFT_4K, 39).boot();
    short.expect("Memory doesn't fit in the linear mapping, VA_BITS too small");
    assert_eq!(short.ram_mib(), [(1024, 1280)]);
    assert_eq!(arm64_banks(&banks).boot().ram(), 512 * MIB);
}

#[test]
fn address_bits_change_how_many_tables_the_linear_map_takes() {
    let tables = |spec: Spec| {
        let by = |e: &&Event| matches!(e, Event::PhysAllocRange { caller: "early_pgtable_alloc", .. });
        spec.cmdline("rodata=off").boot().events.iter().filter(by).count()
    };
    // One level fewer: the table above the one for each GiB is the top one.
    let (four, three) = (tables(arm64(64)), tables(pages(arm64(64), PageShift::SHIFT_4K, 39)));
    assert!(four > three, "{four} {three}");
}

#[test]
fn page_sizes_change_zones_pageblocks_and_first_chunks() {
    let facts: Vec<Facts> =
        [(PageShift::SHIFT_4K, 48), (PageShift::SHIFT_16K, 47), (PageShift::SHIFT_64K, 48)]
            .into_iter()
            .map(|(shift, va)| {
                let spec = if va == 48 && shift == PageShift::SHIFT_4K {
                    arm64(1024)
                } else {
                    pages(arm64(1024), shift, va)
                };
                spec.cmdline("cma=0").boot()
            })
            .collect();
    let frames: Vec<u64> = facts.iter().map(|f| f.zone(0, ZoneKind::Dma).expect("a zone").present).collect();
    assert_eq!(frames, [GIB >> 12, GIB >> 14, GIB >> 16]);
    let units: Vec<u64> = facts.iter().map(|f| f.percpu.as_ref().expect("a chunk").unit_size).collect();
    // Units are whole pages.
    assert!(units.iter().zip([4 * KIB, 16 * KIB, 64 * KIB]).all(|(unit, page)| unit % page == 0));
    assert!(units[0] < units[2], "{units:?}");
}

#[test]
fn a_contiguous_area_is_whole_pageblocks_of_the_page_size() {
    let area = |shift, va| {
        let facts = pages(arm64(2048), shift, va).cmdline("cma=16M").boot();
        facts.cma[0].range.len() / MIB
    };
    assert_eq!((area(PageShift::SHIFT_4K, 39), area(PageShift::SHIFT_16K, 47)), (16, 32));
    assert_eq!(area(PageShift::SHIFT_64K, 48), 512);
}

#[test]
fn the_selector_decides_how_large_the_default_area_is() {
    let area = |size| {
        let facts = arm64(1024).config(|c| c.cma.as_mut().expect("CMA").size = size).boot();
        facts.cma.first().map_or(0, |a| a.range.len() / MIB)
    };
    assert_eq!(area(CmaSize::Mbytes(48)), 48);
    // 102.4 MiB, in whole pageblocks of 2 MiB.
    assert_eq!(area(CmaSize::Percentage(10)), 104);
    assert_eq!((area(CmaSize::Min(48, 10)), area(CmaSize::Max(48, 10))), (48, 104));
    assert_eq!(area(CmaSize::Mbytes(0)), 0);
    assert!(arm64(256).config(|c| (c.cma, c.pernuma_cma) = (None, false)).boot().cma.is_empty());
}

#[test]
fn a_buffer_is_aligned_to_its_size_up_to_the_configured_order() {
    let mut cma = arm64(64).config.cma.expect("CMA");
    cma.alignment = 8;
    assert_eq!([1, 2, 3, 256, 1024].map(|pages| cma.buffer_order(pages)), [0, 1, 2, 8, 8]);
    cma.alignment = 10;
    assert_eq!(cma.buffer_order(1024), 10);
}

#[test]
fn the_slab_allocator_decides_the_stride_of_page_metadata() {
    // Without memcg a struct page is seven words of 64 bits; SLUB alone wants it aligned to two.
    let stride = |slab| {
        let spec = arm64(512).config(|c| (c.slab, c.memcg) = (slab, false));
        (spec.build.struct_page, maps(&spec.boot()))
    };
    let (slub, slab, slob) = (stride(Slab::Slub), stride(Slab::Slab), stride(Slab::Slob));
    assert_eq!((slub.0, slab.0, slob.0), (64, 56, 56));
    assert_eq!(slub.1, 512 * MIB / 4096 * 64);
    assert_eq!(slab, slob);
    // On 32-bit x86 the first zone's metadata shows the same.
    let i386 = |slab| maps(&pc_of(Flavour::I686, 512).config(|c| (c.slab, c.memcg) = (slab, true)).boot());
    assert!(i386(Slab::Slub) > i386(Slab::Slab));
}

#[test]
fn the_number_of_built_in_processors_widens_the_last_cpu_and_lengthens_the_list() {
    let flags = |nr_cpus| {
        let facts = pc(128).config(|c| c.nr_cpus = nr_cpus).boot();
        facts.flags.expect("a layout").last_cpupid_width()
    };
    assert_eq!((flags(64), flags(8192)), (14, 21));
    let facts = pc(128).cpus(8).config(|c| c.nr_cpus = 4).boot();
    facts.expect("setup_percpu: NR_CPUS:4 nr_cpumask_bits:4 nr_cpu_ids:4");
}

#[test]
fn nodes_beyond_nodes_shift_are_not_made() {
    let spec = |shift| {
        pc(512).cpus(2).config(|c| c.nodes_shift = shift).tables(|pc| {
            pc.srat = (0_u32..4).map(|i| affinity(i, u64::from(i) * 128 * MIB, 128 * MIB)).collect();
            pc.srat_cpus = vec![cpu_affinity(0, 0), cpu_affinity(3, 1)];
        })
    };
    assert_eq!(spec(2).boot().online, [0, 1, 2, 3]);
    let few = spec(1).boot();
    assert_eq!(few.online, [0], "the tables are given up");
    few.expect("SRAT: Too many proximity domains.");
    // A node's zonelists have an entry for every node that may be.
    let wide = spec(10).boot();
    assert!(wide.is_reserved(range(512 * MIB - 4 * KIB, 4 * KIB)));
    assert!(spec(10).build.pglist_data > spec(2).build.pglist_data);
    assert_eq!(spec(2).boot().flags.expect("a layout").nodes_width(), 2);
    assert_eq!(wide.flags.expect("a layout").nodes_width(), 10);
}

#[test]
fn the_largest_order_bounds_pageblocks_and_with_them_contiguous_areas() {
    // Without huge pages a pageblock is a block of the largest order.
    let area = |order| {
        let facts = arm(Flavour::Armmp, 256).config(|c| c.max_order = order).cmdline("cma=1M").boot();
        facts.cma[0].range.len() / MIB
    };
    assert_eq!((area(11), area(12), area(13)), (4, 8, 16));
}

#[test]
fn zones_for_dma_come_and_go_with_their_choices() {
    let zones = |dma, dma32| {
        let facts = pc(256).config(|c| (c.zone_dma, c.zone_dma32) = (dma, dma32)).boot();
        facts.zones.iter().map(|z| z.kind).collect::<Vec<_>>()
    };
    assert_eq!(zones(true, true), [ZoneKind::Dma, ZoneKind::Dma32]);
    assert_eq!(zones(false, true), [ZoneKind::Dma32]);
    assert_eq!(zones(true, false), [ZoneKind::Dma, ZoneKind::Normal]);
    assert_eq!(zones(false, false), [ZoneKind::Normal]);
}
