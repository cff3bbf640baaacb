//! The models, with the numbers of real boots where Linux printed them.

mod maps;
mod sections;

use super::*;
use pagewright_addr::{NodeId, PageShift, PhysAddr};
use std::string::ToString;
use std::vec::Vec;

const K4: PageShift = PageShift::SHIFT_4K;
/// Memory lists of models that need none.
const NO_MEMORY: &[PfnRange] = &[];

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

/// i386 without PAE.
fn i386() -> Geometry {
    Geometry::new(26, 32, K4).unwrap()
}

/// Runs `f` on sections with room for `runs` runs and `subsections` runs of subsections.
fn with_sections<R>(
    geometry: Geometry,
    (runs, subsections): (usize, usize),
    f: impl FnOnce(Sections<'_>) -> R,
) -> R {
    let mut runs = std::vec![SectionRun::EMPTY; runs];
    let mut subsections = std::vec![PfnRange::default(); subsections];
    f(Sections::new(geometry, &mut runs, &mut subsections))
}

fn numbers(sections: &Sections<'_>) -> Vec<u64> {
    sections.iter().map(|s| s.nr()).collect()
}

#[test]
fn section_tables_have_the_sizes_of_real_boots() {
    let bits = AddrBits::Bits64;
    let (la57, arm64) = (Geometry::new(27, 52, K4).unwrap(), Geometry::new(27, 48, K4).unwrap());
    assert_eq!((x86().sections_shift(), la57.sections_shift(), arm64.sections_shift()), (19, 25, 21));
    // sparse_init asks for 32768, 2097152 and 131072 bytes on these three, and for pages of entries.
    assert_eq!(
        (x86().roots_bytes(bits), la57.roots_bytes(bits), arm64.roots_bytes(bits)),
        (32768, 2_097_152, 131_072)
    );
    assert_eq!((x86().sections_per_root(bits), x86().root_bytes(bits)), (128, 4096));
    // 2 GiB are 16 sections: 896 bytes of usemaps and 32 MiB of struct page.
    let usemap = UsemapConfig { bits, vmemmap: true, rcu_head: true, pageblock_pages: 512 };
    assert_eq!(usemap.section_bytes(&x86()) * 16, 896);
    assert_eq!(x86().section_map_bytes(64, Some(2 << 20)) * 16, 33_554_432);
}

#[test]
fn flat_maps_and_usemaps_have_the_sizes_of_real_boots() {
    use AddrBits::Bits32;
    // i386, 2 GiB: 40 bytes for each of 524288 frames, and usemaps of three zones.
    assert_eq!(node_map_pfns(pfns(1, 524_255), 1024).len() * 40, 20_971_520);
    assert_eq!(zone_usemap_bytes(pfns(1, 4096), 1024, Bits32), 4);
    assert_eq!(zone_usemap_bytes(pfns(4096, 224_254), 1024, Bits32), 108);
    assert_eq!(zone_usemap_bytes(pfns(224_254, 524_255), 1024, Bits32), 148);
    // The same with PAE has pageblocks of 2 MiB.
    assert_eq!(zone_usemap_bytes(pfns(4096, 190_462), 512, Bits32), 184);
    assert_eq!(zone_usemap_bytes(pfns(190_462, 262_111), 512, Bits32), 72);
    // arm, 1 GiB: low memory and high memory; LPAE's blocks are 2 MiB.
    assert_eq!(zone_usemap_bytes(pfns(262_144, 458_752), 2048, Bits32), 48);
    assert_eq!(zone_usemap_bytes(pfns(262_144, 458_752), 512, Bits32), 192);
    assert_eq!(node_map_pfns(pfns(262_144, 524_288), 2048).len() * 36, 9_437_184);
    assert!(node_map_pfns(pfns(5, 5), 2048).is_empty());
    assert_eq!(zone_usemap_bytes(pfns(7, 7), 2048, Bits32), 0);
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
fn the_linear_map_of_a_32_bit_kernel_leads_above_4_gib() {
    let map = PhysToVirt::new(PhysAddr::new(0x2_f000_0000), VirtAddr::new(0xc000_0000), AddrBits::Bits32);
    assert_eq!(map.virt(PhysAddr::new(0x3_0687_d000)), VirtAddr::new(0xd687_d000));
    assert_eq!(map.phys(VirtAddr::new(0xd687_d000)), PhysAddr::new(0x3_0687_d000));
}

#[test]
fn unused_parts_of_the_map_are_the_pageblocks_between_regions() {
    let memory = [pfns(0x800, 0x1001), pfns(0x3fff, 0x5000), pfns(0x5000, 0x5800)];
    let holes: Vec<_> = unused_memmap(memory, 2048, None).collect();
    assert_eq!(holes, [pfns(0x1800, 0x3800)]);
}

#[test]
fn with_classic_sparsemem_holes_end_with_the_section() {
    let memory = [pfns(0x8000, 0x9000), pfns(0x2_0000, 0x2_1000)];
    let holes: Vec<_> = unused_memmap(memory, 2048, Some(0x8000)).collect();
    assert_eq!(holes, [pfns(0x9000, 0x1_0000), pfns(0x2_1000, 0x2_8000)]);
    assert_eq!(unused_memmap([], 2048, Some(0x8000)).count(), 0);
}

#[test]
fn a_hole_gets_metadata_by_whole_pageblocks() {
    let (memory, nodes) = ([pfns(0x100, 0x480), pfns(0xb00, 0x1000)], [pfns(0x100, 0x1000)]);
    let hole = pfns(0x480, 0xb00);
    let count = |rule: PfnValidity| rule.count_in(&hole, 0x200, &memory, &nodes);
    assert_eq!(count(PfnValidity::Blocks { pages: 0x200 }), 0x600 - 0x480 + 0xb00 - 0xa00);
    assert_eq!(count(PfnValidity::Blocks { pages: 0x1000 }), hole.len());
    // A pageblock counts if its first frame does.
    assert_eq!(count(PfnValidity::Flat { pfns: pfns(0, 0x601) }), 0x800 - 0x480);
    assert_eq!(count(PfnValidity::NodeSpans), hole.len());
    assert_eq!(PfnValidity::NodeSpans.count_in(&pfns(0, 0x100), 0x200, &memory, &nodes), 0);
}
