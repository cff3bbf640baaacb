//! The modes of ZONE_MOVABLE, limits, memory models and refusals.

use super::*;

const GIB: u64 = 1 << 30;

/// Pages in so many GiB.
const fn gib(n: u64) -> u64 {
    n * GIB / 4096
}

fn starts(cfg: LayoutConfig, ranges: &[MemRange], count: usize) -> Vec<Option<u64>> {
    let mut nodes = std::vec![NodeLayout::EMPTY; count];
    let layout = free_area_init(cfg, ranges, &mut nodes).unwrap();
    layout.nodes().iter().map(|n| n.movable_start.map(Pfn::get)).collect()
}

/// Two nodes of 4 GiB above 4 GiB, so that all of it can be movable.
fn two_nodes() -> [MemRange; 3] {
    [ram(0, 0x10_0000, GIB - 1), ram(0, 4 * GIB, 8 * GIB - 1), ram(1, 8 * GIB, 12 * GIB - 1)]
}

#[test]
fn kernelcore_is_spread_evenly_over_nodes() {
    let cfg = LayoutConfig { kernelcore: CoreAmount::Pages(gib(4)), ..x86_64(2, gib(12)) };
    // Node 0: 2 GiB less the GiB (less 1 MiB) below 4 GiB. Node 1: its half.
    assert_eq!(
        starts(cfg, &two_nodes(), 2),
        [Some((5 * GIB + 0x10_0000).next_multiple_of(4 << 20) >> 12), Some(gib(10))]
    );
}

#[test]
fn a_node_too_small_for_its_share_leaves_the_rest_to_the_others() {
    let ranges = [ram(0, 0x10_0000, GIB - 1), ram(1, 4 * GIB, 8 * GIB - 1)];
    let cfg = LayoutConfig { kernelcore: CoreAmount::Pages(gib(3)), ..x86_64(2, gib(8)) };
    // Node 0 has 1 GiB less 1 MiB, all below the movable zone; node 1 takes 1.5 GiB and then what is missing.
    let missing = 3 * GIB - (GIB - 0x10_0000);
    assert_eq!(starts(cfg, &ranges, 2), [None, Some((4 * GIB + missing).next_multiple_of(4 << 20) >> 12)]);
}

#[test]
fn percentages_are_of_all_memory() {
    let ranges = [ram(0, 4 * GIB, 8 * GIB - 1)];
    let base = x86_64(1, gib(8));
    let half = LayoutConfig { kernelcore: CoreAmount::Percent(50), ..base.clone() };
    assert_eq!(starts(half, &ranges, 1), [Some(gib(6))]);
    let movable = LayoutConfig { movablecore: CoreAmount::Percent(25), ..base.clone() };
    assert_eq!(starts(movable, &ranges, 1), [Some(gib(7))]);
    let all = LayoutConfig { kernelcore: CoreAmount::Percent(100), ..base };
    assert_eq!(starts(all, &ranges, 1), [None]);
}

#[test]
fn the_larger_wish_for_the_kernel_wins() {
    let ranges = [ram(0, 4 * GIB, 8 * GIB - 1)];
    let cfg = LayoutConfig {
        kernelcore: CoreAmount::Pages(gib(3)),
        movablecore: CoreAmount::Pages(gib(2)),
        ..x86_64(1, gib(8))
    };
    assert_eq!(starts(cfg, &ranges, 1), [Some(gib(7))]);
}

#[test]
fn movablecore_beyond_all_memory_means_no_movable_zone() {
    let ranges = [ram(0, 4 * GIB, 8 * GIB - 1)];
    for pages in [gib(4), u64::MAX] {
        let cfg = LayoutConfig { movablecore: CoreAmount::Pages(pages), ..x86_64(1, gib(8)) };
        assert_eq!(starts(cfg, &ranges, 1), [None]);
    }
}

#[test]
fn a_movable_start_is_rounded_up_to_the_largest_block_and_may_vanish() {
    let ranges = [ram(0, 4 * GIB, 8 * GIB - 1)];
    let near_end = LayoutConfig { kernelcore: CoreAmount::Pages(gib(4) - 100), ..x86_64(1, gib(8)) };
    assert_eq!(starts(near_end, &ranges, 1), [None]);
}

#[test]
fn percentages_overflow_on_32_bit_kernels_as_in_linux() {
    let ranges = [ram(0, 0x1000_0000, 0xffff_ffff)];
    let cfg = LayoutConfig { kernelcore: CoreAmount::Percent(60), ..arm(0x3_0000, 1 << 20) };
    // 983040 pages * 100 * 60 wraps at 2^32; without that it would be 589824 pages.
    let wrapped = (983_040u64 * 6000 % (1 << 32)) / 10_000;
    let in_high_memory = wrapped - 0x2_0000;
    assert_eq!(starts(cfg, &ranges, 1), [Some((0x3_0000 + in_high_memory).next_multiple_of(2048))]);
}

#[test]
fn movable_node_takes_hotpluggable_memory_and_overrides_the_rest() {
    let ranges = [
        ram(0, 0x10_0000, GIB - 1),
        ram(0, 4 * GIB, 5 * GIB - 1),
        flagged(1, 5 * GIB, 6 * GIB - 1, MemFlags::HOTPLUG),
        flagged(1, 6 * GIB, 7 * GIB - 1, MemFlags::HOTPLUG),
    ];
    let cfg = LayoutConfig { movable_node: true, kernelcore: CoreAmount::Pages(1), ..x86_64(2, gib(7)) };
    let mut nodes = [NodeLayout::EMPTY; 2];
    let layout = free_area_init(cfg, &ranges, &mut nodes).unwrap();
    assert_eq!(layout.nodes()[0].movable_start, None);
    assert_eq!(layout.nodes()[1].zone(ZoneKind::Movable).present, gib(2));
    assert_eq!(layout.nodes()[1].zone(ZoneKind::Normal).spanned, 0);
}

#[test]
fn mirrored_memory_stays_with_the_kernel_and_both_zones_span_each_other() {
    let ranges = [
        flagged(0, 0x10_0000, GIB - 1, MemFlags::MIRROR),
        flagged(0, 4 * GIB, 5 * GIB - 1, MemFlags::MIRROR),
        ram(0, 5 * GIB, 6 * GIB - 1),
        flagged(0, 6 * GIB, 7 * GIB - 1, MemFlags::MIRROR),
    ];
    let cfg = LayoutConfig { kernelcore: CoreAmount::Mirror, ..x86_64(1, gib(7)) };
    let mut nodes = [NodeLayout::EMPTY; 1];
    let layout = free_area_init(cfg, &ranges, &mut nodes).unwrap();
    let node = &layout.nodes()[0];
    let (normal, movable) = (node.zone(ZoneKind::Normal), node.zone(ZoneKind::Movable));
    assert_eq!((normal.spanned, normal.present), (gib(3), gib(2)));
    assert_eq!((movable.spanned, movable.present), (gib(2), gib(1)));
    assert!(!normal.contiguous && !movable.contiguous);
    assert!(!layout.unmirrored_kernel_memory);
    let zone = |addr: u64| layout.zone_of(Pfn::new(addr >> 12)).unwrap().1;
    assert_eq!(zone(5 * GIB), ZoneKind::Movable);
    assert_eq!(zone(6 * GIB), ZoneKind::Normal);
}

#[test]
fn mirror_mode_loses_count_of_memory_below_an_unaligned_movable_start() {
    let ranges = [flagged(0, 4 * GIB, 5 * GIB - 1, MemFlags::MIRROR), ram(0, 5 * GIB + 0x1000, 6 * GIB - 1)];
    let cfg = LayoutConfig { kernelcore: CoreAmount::Mirror, ..x86_64(1, gib(6)) };
    let mut nodes = [NodeLayout::EMPTY; 1];
    let layout = free_area_init(cfg, &ranges, &mut nodes).unwrap();
    // Movable starts at the next multiple of 4 MiB; what is below is not mirrored, so Normal does not count it.
    assert_eq!(layout.nodes()[0].zone(ZoneKind::Movable).present, gib(1) - 1024);
    assert_eq!(layout.nodes()[0].zone(ZoneKind::Normal).present, gib(1));
}

#[test]
fn unmirrored_memory_below_4_gib_is_reported_and_stays_with_the_kernel() {
    let ranges = [ram(0, 0x10_0000, GIB - 1), flagged(0, 4 * GIB, 5 * GIB - 1, MemFlags::MIRROR)];
    let cfg = LayoutConfig { kernelcore: CoreAmount::Mirror, ..x86_64(1, gib(5)) };
    let mut nodes = [NodeLayout::EMPTY; 1];
    let layout = free_area_init(cfg, &ranges, &mut nodes).unwrap();
    assert!(layout.unmirrored_kernel_memory);
    assert_eq!(layout.nodes()[0].movable_start, None);
}

#[test]
fn movable_memory_out_of_high_memory_is_high() {
    let ranges = [ram(0, 0x4000_0000, 0xbfff_ffff)];
    let cfg = LayoutConfig { movablecore: CoreAmount::Pages(0x2_0000), ..arm(0x7_0000, 0xc_0000) };
    let mut nodes = [NodeLayout::EMPTY; 1];
    let layout = free_area_init(cfg, &ranges, &mut nodes).unwrap();
    assert!(layout.is_highmem(ZoneKind::Movable));
    let movable = layout.nodes()[0].zone(ZoneKind::Movable);
    assert_eq!(
        (movable.start_pfn.get(), movable.present, movable.early_managed),
        (0xa_0000, 0x2_0000, 0x2_0000)
    );
}

#[test]
fn memory_above_every_limit_is_in_no_zone() {
    let ranges = [ram(0, 0x10_0000, 2 * GIB - 1)];
    let mut nodes = [NodeLayout::EMPTY; 1];
    let layout = free_area_init(x86_64(1, gib(1)), &ranges, &mut nodes).unwrap();
    assert_eq!(layout.nodes()[0].present, (GIB - 0x10_0000) >> 12);
    let mut holes = Vec::new();
    layout.for_each_unavailable(&mut |h| holes.push(h.pages));
    assert_eq!(holes, [256, gib(1)], "frames below the first, then those above the limit");
}

#[test]
fn discontigmem_gives_metadata_to_holes_inside_a_node_only() {
    let ranges = [
        ram(0, 0x1000_0000, 0x1fff_ffff),
        ram(0, 0x2001_0000, 0x2fff_ffff),
        ram(1, 0x8000_0000, 0x8fff_ffff),
    ];
    let cfg = LayoutConfig {
        possible: mask(2),
        online: mask(2),
        pfn_valid: PfnValidity::NodeSpans,
        ..arm(0x9_0000, 0x9_0000)
    };
    let mut nodes = [NodeLayout::EMPTY; 2];
    let layout = free_area_init(cfg, &ranges, &mut nodes).unwrap();
    let mut holes = Vec::new();
    layout.for_each_unavailable(&mut |h| holes.push((h.nid.get(), h.pages)));
    assert_eq!(holes, [(0, 16)]);
    assert_eq!(layout.zone_of(Pfn::new(0x5_0000)), None);
}

#[test]
fn input_that_breaks_the_rules_is_refused_by_name() {
    let mut nodes = [NodeLayout::EMPTY; 1];
    let cfg = x86_64(1, 1 << 20);
    let unsorted = [ram(0, GIB, 2 * GIB - 1), ram(0, 0x1000, GIB - 1)];
    let err = free_area_init(cfg.clone(), &unsorted, &mut nodes).unwrap_err();
    assert_eq!(err, LayoutError::Unsorted { index: 1 });
    let elsewhere = [ram(3, 0, GIB - 1)];
    let err = free_area_init(cfg.clone(), &elsewhere, &mut nodes).unwrap_err();
    assert_eq!(err.to_string(), "memory range 0 is on node 3, not online");
    let orders = LayoutConfig { pageblock_order: 11, ..cfg.clone() };
    assert!(matches!(free_area_init(orders, &[], &mut nodes), Err(LayoutError::Orders { .. })));
    let deferred = LayoutConfig { section_pages: None, ..cfg.clone() };
    assert!(matches!(free_area_init(deferred, &[], &mut nodes), Err(LayoutError::DeferredWithoutSections)));
    let small = LayoutConfig { pfn_valid: PfnValidity::Blocks { pages: 256 }, ..cfg.clone() };
    assert_eq!(
        free_area_init(small, &[], &mut nodes).unwrap_err(),
        LayoutError::Block { pages: 256 },
        "a pageblock has 512"
    );
    let room = LayoutConfig { possible: mask(2), ..cfg };
    assert!(matches!(free_area_init(room, &[], &mut nodes), Err(LayoutError::NoRoomForNode { .. })));
}

#[test]
fn a_machine_without_memory_has_an_empty_layout() {
    let mut nodes = [NodeLayout::EMPTY; 1];
    let layout = free_area_init(x86_64(1, 0), &[], &mut nodes).unwrap();
    assert!(layout.memory_nodes.is_empty());
    assert_eq!(layout.zone_of(Pfn::ZERO), None);
}
