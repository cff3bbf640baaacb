//! The models, with the numbers of real boots where Linux printed them.

use super::*;
use pagewright_addr::{NodeId, Order, PageShift, PfnRange, PhysAddr};
use std::string::ToString;
use std::vec::Vec;

const K4: PageShift = PageShift::SHIFT_4K;

fn order(n: u8) -> Order {
    Order::new(n).unwrap()
}

fn pfns(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

fn node(n: u16) -> NodeId {
    NodeId::new(n).unwrap()
}

fn array(first: u64, base: u64, stride: u64) -> PageArray {
    PageArray { first: Pfn::new(first), base: VirtAddr::new(base), stride, bits: AddrBits::Bits64 }
}

/// x86_64 with 4-level tables.
fn x86() -> Geometry {
    Geometry::new(27, 46, K4).unwrap()
}

#[test]
fn section_tables_have_the_sizes_of_real_boots() {
    let (la57, arm64) = (Geometry::new(27, 52, K4).unwrap(), Geometry::new(27, 48, K4).unwrap());
    assert_eq!((x86().sections_shift(), la57.sections_shift(), arm64.sections_shift()), (19, 25, 21));
    // sparse_init asks for 32768, 2097152 and 131072 bytes on these three.
    assert_eq!(
        (x86().roots_bytes(32), la57.roots_bytes(32), arm64.roots_bytes(32)),
        (32768, 2_097_152, 131_072)
    );
    // 2 GiB are 16 sections: 896 bytes of usemaps and 32 MiB of struct page.
    let usemap = UsemapConfig { bits: AddrBits::Bits64, vmemmap: true, rcu_head: true, pageblock: order(9) };
    let section = usemap.section_bytes(x86().pages_per_section(), x86().subsections());
    assert_eq!(section * 16, 896);
    assert_eq!(x86().section_map_bytes(64, Some(2 << 20)) * 16, 33_554_432);
}

#[test]
fn flat_maps_and_usemaps_have_the_sizes_of_real_boots() {
    use AddrBits::Bits32;
    // i386, 2 GiB: 40 bytes for each of 524288 frames, and usemaps of three zones.
    assert_eq!(flat_memmap_pages(pfns(1, 524_255), order(10)) * 40, 20_971_520);
    assert_eq!(zone_usemap_bytes(pfns(1, 4096), order(10), Bits32), 4);
    assert_eq!(zone_usemap_bytes(pfns(4096, 224_254), order(10), Bits32), 108);
    assert_eq!(zone_usemap_bytes(pfns(224_254, 524_255), order(10), Bits32), 148);
    // The same with PAE has pageblocks of 2 MiB.
    assert_eq!(zone_usemap_bytes(pfns(4096, 190_462), order(9), Bits32), 184);
    assert_eq!(zone_usemap_bytes(pfns(190_462, 262_111), order(9), Bits32), 72);
    // arm, 1 GiB: low memory and high memory; LPAE's blocks are 2 MiB.
    assert_eq!(zone_usemap_bytes(pfns(262_144, 458_752), order(11), Bits32), 48);
    assert_eq!(zone_usemap_bytes(pfns(262_144, 458_752), order(9), Bits32), 192);
    assert_eq!(flat_memmap_pages(pfns(262_144, 524_288), order(11)) * 36, 9_437_184);
    assert_eq!(flat_memmap_pages(pfns(5, 5), order(11)), 0);
}

#[test]
fn flatmem_is_valid_up_to_max_mapnr_from_its_first_frame() {
    let mem_map = array(0x4_0000, 0xc100_0000, 36);
    let model = MemoryModel::Flat(Flat { mem_map, valid: FlatValid::MaxMapnr { frames: 0x100 } });
    assert!(!model.pfn_valid(Pfn::new(0x3_ffff)) && model.pfn_valid(Pfn::new(0x4_0000)));
    assert!(model.pfn_valid(Pfn::new(0x4_00ff)) && !model.pfn_valid(Pfn::new(0x4_0100)));
    let page = model.pfn_to_page(Pfn::new(0x4_0002)).unwrap();
    assert_eq!(page, VirtAddr::new(0xc100_0048));
    assert_eq!(model.page_to_pfn(page), Some(Pfn::new(0x4_0002)));
    assert_eq!(model.page_to_pfn(VirtAddr::new(0xc100_0049)), None);
}

#[test]
fn a_32_bit_array_may_start_below_its_base_and_wraps() {
    let bits = AddrBits::Bits32;
    let mem_map = PageArray { first: Pfn::new(0x8_0000), base: VirtAddr::new(0x40), stride: 32, bits };
    assert_eq!(mem_map.page(Pfn::new(0x7_fffd)), VirtAddr::new(0xffff_ffe0));
}

#[test]
fn arm_calls_frames_valid_in_any_pageblock_that_memory_touches() {
    let memory = [pfns(0x800, 0x900), pfns(0x2100, 0x2800)];
    let flat = Flat {
        mem_map: array(0x800, 0xc000_0000, 36),
        valid: FlatValid::NearMemory { memory: &memory, pageblock: order(11) },
    };
    let model = MemoryModel::Flat(flat);
    let valid = |pfn| model.pfn_valid(Pfn::new(pfn));
    assert!(valid(0x800) && valid(0xfff), "the rest of the first region's pageblock");
    assert!(!valid(0x1000) && !valid(0x1fff), "a whole pageblock without memory");
    assert!(valid(0x2000), "below the region, in its pageblock");
    assert!(valid(0x27ff) && !valid(0x2800) && !valid(0x7ff));
}

#[test]
fn discontigmem_asks_the_node_that_spans_the_frame() {
    let nodes = [
        NodeMap { nid: node(0), span: pfns(0, 0x100), mem_map: array(0, 0x1000, 64) },
        NodeMap { nid: node(2), span: pfns(0x800, 0x900), mem_map: array(0x800, 0x9_0000, 64) },
    ];
    let model = MemoryModel::Discontig(Discontig { nodes: &nodes });
    assert!(model.pfn_valid(Pfn::new(0xff)) && !model.pfn_valid(Pfn::new(0x100)));
    assert!(!model.pfn_valid(Pfn::new(0x7ff)) && !model.pfn_valid(Pfn::new(0x900)));
    let page = model.pfn_to_page(Pfn::new(0x801)).unwrap();
    assert_eq!(page, VirtAddr::new(0x9_0040));
    assert_eq!(model.page_to_pfn(page), Some(Pfn::new(0x801)));
    assert_eq!(model.pfn_to_page(Pfn::new(0x100)), None);
    let Discontig { nodes } = Discontig { nodes: &nodes };
    assert_eq!(Discontig { nodes }.node(Pfn::new(0x850)).map(|n| n.nid), Some(node(2)));
}

#[test]
fn an_early_section_is_valid_to_its_end_and_a_hole_is_not() {
    let mut entries = [MemSection::EMPTY; 8];
    let mut sections = Sections::new(x86(), &mut entries);
    // 640 KiB, and a little above 4 GiB: two sections out of 32.
    sections.memory_present(node(0), pfns(1, 0x9f)).unwrap();
    sections.memory_present(node(1), pfns(0x10_0000, 0x10_0010)).unwrap();
    assert!(sections.set_mem_map(0, array(0, 0, 64)) && sections.set_mem_map(32, array(0, 0, 64)));
    assert!(!sections.set_mem_map(1, array(0, 0, 64)));
    let model = MemoryModel::SparseVmemmap { sections, vmemmap: array(0, 0xffff_ea00_0000_0000, 64) };
    let valid = |pfn| model.pfn_valid(Pfn::new(pfn));
    assert!(valid(0) && valid(0x7fff) && !valid(0x8000));
    assert!(valid(0x10_7fff) && !valid(0x10_8000) && !valid(0xf_ffff));
    assert_eq!(model.pfn_to_page(Pfn::new(0x10_0000)), Some(VirtAddr::new(0xffff_ea00_0400_0000)));
    assert_eq!(model.page_to_pfn(VirtAddr::new(0xffff_ea00_0400_0040)), Some(Pfn::new(0x10_0001)));
}

#[test]
fn a_section_without_a_map_is_not_valid() {
    let mut entries = [MemSection::EMPTY; 1];
    let mut sections = Sections::new(x86(), &mut entries);
    sections.memory_present(node(0), pfns(0, 1)).unwrap();
    assert!(!MemoryModel::Sparse(sections).pfn_valid(Pfn::new(0)));
}

#[test]
fn classic_sparsemem_finds_each_sections_array() {
    let mut entries = [MemSection::EMPTY; 2];
    let mut sections = Sections::new(Geometry::new(28, 32, K4).unwrap(), &mut entries);
    sections.memory_present(node(0), pfns(0x1_0000, 0x2_0000)).unwrap();
    sections.memory_present(node(0), pfns(0x8_0000, 0x8_0001)).unwrap();
    sections.set_mem_map(1, array(0x1_0000, 0xc080_0000, 32));
    sections.set_mem_map(8, array(0x8_0000, 0xc0c0_0000, 32));
    let model = MemoryModel::Sparse(sections);
    for pfn in [0x1_0000, 0x1_ffff, 0x8_0000, 0x8_ffff].map(Pfn::new) {
        assert!(model.pfn_valid(pfn));
        assert_eq!(model.page_to_pfn(model.pfn_to_page(pfn).unwrap()), Some(pfn));
    }
    assert_eq!(model.pfn_to_page(Pfn::new(0x2_0000)), None);
    assert_eq!(model.page_to_pfn(VirtAddr::new(0xc070_0000)), None);
}

#[test]
fn later_memory_is_valid_by_subsection_and_fills_early_holes() {
    let mut entries = [MemSection::EMPTY; 4];
    let mut sections = Sections::new(x86(), &mut entries);
    sections.memory_present(node(0), pfns(0, 0x400)).unwrap();
    sections.set_mem_map(0, array(0, 0, 64));
    // Device memory: two subsections in a section of its own, and one in the early section's hole.
    sections.activate(node(0), pfns(0x8200, 0x8600), array(0, 0, 64), false).unwrap();
    sections.activate(node(0), pfns(0x600, 0x800), array(0, 0, 64), false).unwrap();
    assert_eq!(
        sections.activate(node(0), pfns(0x8400, 0x8800), array(0, 0, 64), false),
        Err(SectionsError::Present { pfn: Pfn::new(0x8400) })
    );
    assert_eq!(
        sections.activate(node(0), pfns(0x8601, 0x8800), array(0, 0, 64), true),
        Err(SectionsError::Unaligned { range: pfns(0x8601, 0x8800) })
    );
    let later = *sections.section_of(Pfn::new(0x8000)).unwrap();
    assert!(!later.is_early() && !later.is_online());
    let model = MemoryModel::SparseVmemmap { sections, vmemmap: array(0, 0, 64) };
    let valid = |pfn| model.pfn_valid(Pfn::new(pfn));
    assert!(!valid(0x81ff) && valid(0x8200) && valid(0x85ff) && !valid(0x8600));
}

#[test]
fn memory_beyond_the_address_width_is_left_out_and_reported() {
    let geometry = Geometry::new(26, 32, K4).unwrap();
    let mut entries = [MemSection::EMPTY; 64];
    let mut sections = Sections::new(geometry, &mut entries);
    let range = pfns(0xf_c000, 0x10_4000);
    let error = sections.memory_present(node(0), range).unwrap_err();
    assert_eq!(error.to_string(), "End of range 1032192 -> 1064960 exceeds SPARSEMEM max 1048576");
    assert_eq!(sections.sections().iter().map(MemSection::nr).collect::<Vec<_>>(), [63]);
    let above = sections.memory_present(node(0), pfns(0x10_0000, 0x10_4000)).unwrap_err();
    assert!(above.to_string().starts_with("Start of range"));
}

#[test]
fn a_full_section_table_is_left_as_it_was() {
    let mut entries = [MemSection::EMPTY; 2];
    let mut sections = Sections::new(x86(), &mut entries);
    sections.memory_present(node(0), pfns(0x8000, 0x8001)).unwrap();
    // Sections 0, 1 and 2, of which 1 exists: two more do not fit.
    let full = sections.memory_present(node(0), pfns(0, 0x1_8000));
    assert_eq!(full, Err(SectionsError::Full { capacity: 2 }));
    assert_eq!(sections.sections().len(), 1);
    sections.memory_present(node(0), pfns(0, 0x1_0000)).unwrap();
    assert_eq!(sections.sections().iter().map(MemSection::nr).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_shared_section_stays_with_its_first_node() {
    let mut entries = [MemSection::EMPTY; 1];
    let mut sections = Sections::new(x86(), &mut entries);
    sections.memory_present(node(3), pfns(0, 0x100)).unwrap();
    sections.memory_present(node(1), pfns(0x100, 0x200)).unwrap();
    assert_eq!(sections.section_of(Pfn::new(0x150)).map(MemSection::nid), Some(node(3)));
}

#[test]
fn impossible_section_sizes_are_refused() {
    for (size, width) in [(20, 32), (30, 48), (27, 27), (27, 53), (u32::MAX, u32::MAX)] {
        let error = Geometry::new(size, width, K4).unwrap_err();
        assert_eq!((error.section_size_bits, error.max_physmem_bits), (size, width));
    }
    // arm64 with 64 KiB pages: 512 MiB sections of 256 subsections.
    let large = Geometry::new(29, 48, PageShift::SHIFT_64K).unwrap();
    assert_eq!((large.pages_per_section(), large.subsections()), (8192, 256));
}

#[test]
fn the_linear_map_is_one_wrapping_addition() {
    // arm64 with RAM far below the linear region's start: memstart_addr is "negative".
    let memstart = 0x4000_0000u64.wrapping_sub(1 << 40);
    let arm64 =
        PhysToVirt::new(PhysAddr::new(memstart), VirtAddr::new(0xffff_0000_0000_0000), AddrBits::Bits64);
    assert_eq!(arm64.virt(PhysAddr::new(0x4000_0000)), VirtAddr::new(0xffff_0100_0000_0000));
    assert_eq!(arm64.phys(VirtAddr::new(0xffff_0100_0000_1000)), PhysAddr::new(0x4000_1000));
    // arm: PHYS_OFFSET above PAGE_OFFSET.
    let arm = PhysToVirt::new(PhysAddr::new(0xe000_0000), VirtAddr::new(0xc000_0000), AddrBits::Bits32);
    assert_eq!(arm.virt(PhysAddr::new(0xe100_0000)), VirtAddr::new(0xc100_0000));
    assert_eq!(arm.phys(VirtAddr::new(0xc100_0000)), PhysAddr::new(0xe100_0000));
}

#[test]
fn unused_parts_of_the_map_are_the_pageblocks_between_regions() {
    let memory = [pfns(0x800, 0x1001), pfns(0x3fff, 0x5000), pfns(0x5000, 0x5800)];
    let holes: Vec<_> = unused_memmap(memory, order(11), None).collect();
    assert_eq!(holes, [pfns(0x1800, 0x3800)]);
}

#[test]
fn with_classic_sparsemem_holes_end_with_the_section() {
    let memory = [pfns(0x8000, 0x9000), pfns(0x2_0000, 0x2_1000)];
    let holes: Vec<_> = unused_memmap(memory, order(11), Some(0x8000)).collect();
    assert_eq!(holes, [pfns(0x9000, 0x1_0000), pfns(0x2_1000, 0x2_8000)]);
    assert_eq!(unused_memmap([], order(11), Some(0x8000)).count(), 0);
}
