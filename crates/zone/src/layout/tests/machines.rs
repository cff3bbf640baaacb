//! Machines whose logs real kernels printed.

use super::*;

const LOW_RAM: [(u64, u64); 2] = [(0x1000, 0x9_efff), (0x10_0000, 0x7ffd_efff)];

fn pc(last_byte: u64) -> [MemRange; 3] {
    [ram(0, LOW_RAM[0].0, LOW_RAM[0].1), ram(0, LOW_RAM[1].0, LOW_RAM[1].1), ram(0, 1 << 32, last_byte)]
}

#[test]
fn a_pc_with_16_gib_has_the_log_of_linux() {
    let ranges = pc(0x4_7fff_ffff);
    let mut nodes = [NodeLayout::EMPTY; 1];
    let layout = free_area_init(x86_64(1, 0x48_0000), &ranges, &mut nodes).unwrap();
    assert_log(
        &layout,
        "\
Zone ranges:
  DMA      [mem 0x0000000000001000-0x0000000000ffffff]
  DMA32    [mem 0x0000000001000000-0x00000000ffffffff]
  Normal   [mem 0x0000000100000000-0x000000047fffffff]
  Device   empty
Movable zone start for each node
Early memory node ranges
  node   0: [mem 0x0000000000001000-0x000000000009efff]
  node   0: [mem 0x0000000000100000-0x000000007ffdefff]
  node   0: [mem 0x0000000100000000-0x000000047fffffff]
Initmem setup node 0 [mem 0x0000000000001000-0x000000047fffffff]
mminit::memmap_init Initialising map node 0 zone 0 pfns 1 -> 4096
mminit::memmap_init Initialising map node 0 zone 1 pfns 4096 -> 1048576
mminit::memmap_init Initialising map node 0 zone 2 pfns 1048576 -> 4718592
On node 0, zone DMA: 1 pages in unavailable ranges
On node 0, zone DMA: 97 pages in unavailable ranges
On node 0, zone Normal: 33 pages in unavailable ranges
",
    );
    assert_eq!(total_pages(&layout), 4_128_479);
    let node = &layout.nodes()[0];
    assert_eq!((node.zone(ZoneKind::Dma).spanned, node.zone(ZoneKind::Dma).present), (4095, 3998));
    assert_eq!(node.zone(ZoneKind::Dma32).present, 520_159);
    // The hole below 4 GiB breaks DMA32; the two others are whole.
    let whole: Vec<_> = node.populated().map(|z| (z.kind, z.contiguous)).collect();
    assert_eq!(whole, [(ZoneKind::Dma, true), (ZoneKind::Dma32, false), (ZoneKind::Normal, true)]);
    // One section of the highest zone is initialised early.
    assert_eq!(node.first_deferred_pfn, Some(Pfn::new(0x10_8000)));
}

#[test]
fn the_hole_up_to_the_end_of_the_last_section_has_metadata() {
    let ranges = &pc(0)[..2];
    let mut nodes = [NodeLayout::EMPTY; 1];
    let layout = free_area_init(x86_64(1, 0x7_ffdf), ranges, &mut nodes).unwrap();
    let log = log_of(&layout);
    assert_eq!(log.last().unwrap(), "On node 0, zone DMA32: 33 pages in unavailable ranges");
    assert_eq!(log[3], "  Normal   empty");
    assert_eq!(total_pages(&layout), 515_807);
    assert_eq!(layout.nodes()[0].first_deferred_pfn, Some(Pfn::new(0x1_0000)));
    assert!(layout.nodes()[0].populated().all(|z| z.contiguous));
}

#[test]
fn a_node_without_memory_that_is_not_online_is_set_up_as_memoryless() {
    let ranges = [
        ram(0, 0x1000, 0x9_efff),
        ram(0, 0x10_0000, 0x3fff_ffff),
        ram(1, 0x4000_0000, 0x7ffd_efff),
        ram(2, 0x1_0000_0000, 0x1_7fff_ffff),
    ];
    let mut nodes = [NodeLayout::EMPTY; 4];
    let cfg = LayoutConfig { online: mask(3), ..x86_64(4, 0x18_0000) };
    let layout = free_area_init(cfg, &ranges, &mut nodes).unwrap();
    let log = log_of(&layout);
    assert_eq!(
        log[11..],
        [
            "Initmem setup node 0 [mem 0x0000000000001000-0x000000003fffffff]",
            "mminit::memmap_init Initialising map node 0 zone 0 pfns 1 -> 4096",
            "mminit::memmap_init Initialising map node 0 zone 1 pfns 4096 -> 262144",
            "Initmem setup node 1 [mem 0x0000000040000000-0x000000007ffdefff]",
            "mminit::memmap_init Initialising map node 1 zone 1 pfns 262144 -> 524255",
            "Initmem setup node 2 [mem 0x0000000100000000-0x000000017fffffff]",
            "mminit::memmap_init Initialising map node 2 zone 2 pfns 1048576 -> 1572864",
            "Initializing node 3 as memoryless",
            "Initmem setup node 3 as memoryless",
            "On node 0, zone DMA: 1 pages in unavailable ranges",
            "On node 0, zone DMA: 97 pages in unavailable ranges",
            "On node 2, zone Normal: 33 pages in unavailable ranges",
        ]
    );
    assert_eq!(total_pages(&layout), 1_031_903);
    assert_eq!(layout.memory_nodes, mask(3));
}

#[test]
fn movablecore_leaves_the_kernel_the_rest_of_the_highest_zone() {
    let ranges = pc(0x1_7fff_ffff);
    let mut nodes = [NodeLayout::EMPTY; 1];
    let cfg = LayoutConfig { movablecore: CoreAmount::Pages(1 << 18), ..x86_64(1, 0x18_0000) };
    let layout = free_area_init(cfg, &ranges, &mut nodes).unwrap();
    let log = log_of(&layout);
    assert_eq!(log[6], "  Node 0: 0x0000000140000000");
    assert_eq!(
        log[14..16],
        [
            "mminit::memmap_init Initialising map node 0 zone 2 pfns 1048576 -> 1310720",
            "mminit::memmap_init Initialising map node 0 zone 3 pfns 1310720 -> 1572864",
        ]
    );
    assert_eq!(total_pages(&layout), 1_031_903);
}

#[test]
fn kernelcore_met_by_low_memory_makes_a_whole_high_node_movable() {
    let ranges = [ram(0, 0x1000, 0x9_efff), ram(0, 0x10_0000, 0x7ffd_efff), ram(1, 1 << 32, 0x1_7fff_ffff)];
    let mut nodes = [NodeLayout::EMPTY; 2];
    let cfg = LayoutConfig { kernelcore: CoreAmount::Pages(1 << 18), ..x86_64(2, 0x18_0000) };
    let layout = free_area_init(cfg, &ranges, &mut nodes).unwrap();
    assert_eq!(layout.nodes()[0].movable_start, None);
    assert_eq!(layout.nodes()[1].movable_start, Some(Pfn::new(0x10_0000)));
    assert_eq!(log_of(&layout).last().unwrap(), "On node 1, zone Movable: 33 pages in unavailable ranges");
    // A node that has only movable memory has neither normal nor high memory.
    assert_eq!(layout.memory_nodes, mask(2));
    assert_eq!(layout.normal_memory_nodes, mask(1));
    assert_eq!(layout.high_memory_nodes, mask(1));
}

#[test]
fn arm_high_memory_pays_nothing_for_the_memory_map() {
    let ranges = [ram(0, 0x4000_0000, 0xffff_ffff)];
    let mut nodes = [NodeLayout::EMPTY; 1];
    let layout = free_area_init(arm(458_752, 1 << 20), &ranges, &mut nodes).unwrap();
    assert_log(
        &layout,
        "\
Zone ranges:
  DMA      [mem 0x0000000040000000-0x000000006fffffff]
  Normal   empty
  HighMem  [mem 0x0000000070000000-0x00000000ffffffff]
Movable zone start for each node
Early memory node ranges
  node   0: [mem 0x0000000040000000-0x00000000ffffffff]
Initmem setup node 0 [mem 0x0000000040000000-0x00000000ffffffff]
mminit::memmap_init Initialising map node 0 zone 0 pfns 262144 -> 458752
mminit::memmap_init Initialising map node 0 zone 2 pfns 458752 -> 1048576
",
    );
    assert_eq!(total_pages(&layout), 784_704);
    // The kernel's own pages do pay for it, once there are enough of them.
    assert_eq!(layout.nr_kernel_pages, 196_608 - 1728 - 5184);
}

#[test]
fn flatmem_sizes_follow_pageblocks_and_largest_blocks() {
    let ranges = [ram(0, 0x1000, 0x9_efff), ram(0, 0x10_0000, 0x7ffd_efff)];
    let mut nodes = [NodeLayout::EMPTY; 1];
    let cfg = LayoutConfig {
        zones: ZoneSet::BASE.with(ZoneKind::Dma).with(ZoneKind::HighMem),
        max_zone_pfn: limits(&[
            (ZoneKind::Dma, 4096),
            (ZoneKind::Normal, 224_254),
            (ZoneKind::HighMem, 524_255),
        ]),
        struct_page_bytes: 40,
        pfn_valid: PfnValidity::Flat { pfns: PfnRange::new(Pfn::ZERO, Pfn::new(524_255)) },
        max_order: 11,
        pageblock_order: 10,
        ..arm(0, 0)
    };
    let layout = free_area_init(cfg, &ranges, &mut nodes).unwrap();
    let node = &layout.nodes()[0];
    let usemaps: Vec<_> = node.populated().map(|z| layout.usemap_bytes(z)).collect();
    assert_eq!(usemaps, [4, 108, 148]);
    assert_eq!(layout.node_mem_map(node), PfnRange::new(Pfn::ZERO, Pfn::new(0x8_0000)));
    assert_eq!(total_pages(&layout), 521_967);
    let mut holes = Vec::new();
    layout.for_each_unavailable(&mut |h| holes.push(h.pages));
    assert_eq!(holes, [1, 97], "the frames past the last one have no metadata");
}
