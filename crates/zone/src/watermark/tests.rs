extern crate std;

mod validate;

use super::*;
use std::string::ToString;
use std::vec::Vec;

const K4: PageShift = PageShift::SHIFT_4K;
use ZoneKind::{Dma, Dma32, HighMem, Movable, Normal};

/// What a real kernel showed for a zone: managed when the marks were computed; min, low, high; protection; pcp high and
/// batch, stat threshold (0 without lists).
type Row = (u16, ZoneKind, u64, [u64; 3], &'static [u64], [u64; 3]);

struct Machine {
    zones: ZoneSet,
    movable_zone: ZoneKind,
    pageblock: u64,
    cpus: u32,
    near: fn(NodeId) -> u32,
    huge_pages: bool,
    min_free_kbytes: u64,
    rows: &'static [Row],
}

fn node(nid: u16) -> NodeId {
    NodeId::new(nid).unwrap()
}

fn assert_machine(m: &Machine) {
    // Every configured zone of every node takes part, empty ones too.
    let mut marks = Vec::new();
    for nid in 0..=m.rows.iter().map(|r| r.0).max().unwrap() {
        for kind in m.zones.iter() {
            let row = m.rows.iter().find(|r| r.0 == nid && r.1 == kind);
            let managed = row.map_or(0, |r| r.2);
            marks.push(ZoneMarks::new(node(nid), kind, managed, managed > 0));
        }
    }
    let total = marks.iter().map(|z| z.managed).sum();
    let cpus = Cpus { online: m.cpus, on_node: &m.near };
    let mut w = Watermarks::new(Tunables::new(m.zones, m.movable_zone, K4, m.pageblock), &mut marks);
    w.setup_boot_pagesets();
    w.setup_per_cpu_pageset(&cpus);
    assert_eq!(w.init_per_zone_wmark_min(&cpus), None);
    if m.huge_pages && thp_is_on(total, K4) {
        w.set_recommended_min_free_kbytes(&cpus);
    }
    assert_eq!(w.min_free_kbytes(), m.min_free_kbytes);
    assert_eq!(w.validate(), Ok(()));
    for &(nid, kind, managed, marks, protection, [high, batch, threshold]) in m.rows {
        let z = w.zone(node(nid), kind).unwrap();
        assert_eq!([z.min, z.low, z.high], marks, "{nid} {kind}");
        assert_eq!(w.protection(z).collect::<Vec<_>>(), protection, "{nid} {kind}");
        if managed > 0 {
            assert_eq!([z.pageset.high, z.pageset.batch, z.stat_threshold], [high, batch, threshold]);
        }
    }
}

fn x86_64() -> ZoneSet {
    [Dma, Dma32, ZoneKind::Device].into_iter().collect()
}

fn with_highmem() -> ZoneSet {
    [Dma, HighMem].into_iter().collect()
}

#[test]
fn arm_without_huge_pages() {
    assert_machine(&Machine {
        zones: with_highmem(),
        movable_zone: HighMem,
        pageblock: 2048,
        cpus: 2,
        near: |_| 2,
        huge_pages: false,
        min_free_kbytes: 3414,
        rows: &[
            (0, Dma, 182_186, [853, 1066, 1279], &[0, 0, 1280, 1280], [533, 63, 16]),
            (0, HighMem, 327_680, [128, 511, 894], &[0, 0, 0, 0], [255, 63, 20]),
            // An empty zone of high memory still shows the token min.
            (0, Movable, 0, [32, 32, 32], &[0, 0, 0, 0], [0; 3]),
        ],
    });
}

#[test]
fn arm_lpae_with_huge_pages_counts_only_low_zones() {
    assert_machine(&Machine {
        zones: with_highmem(),
        movable_zone: HighMem,
        pageblock: 512,
        cpus: 2,
        near: |_| 2,
        huge_pages: true,
        min_free_kbytes: 22_528,
        rows: &[
            (0, Dma, 163_105, [5632, 7040, 8448], &[0, 0, 2304, 2304], [3520, 31, 16]),
            (0, HighMem, 589_824, [128, 5219, 10_310], &[0, 0, 0, 0], [2609, 63, 24]),
        ],
    });
}

#[test]
fn i386_is_held_at_five_percent_of_low_memory() {
    assert_machine(&Machine {
        zones: with_highmem(),
        movable_zone: HighMem,
        pageblock: 1024,
        cpus: 1,
        near: |_| 1,
        huge_pages: true,
        min_free_kbytes: 41_792,
        rows: &[
            (0, Dma, 3840, [190, 237, 284], &[0, 806, 1978, 1978], [237, 1, 2]),
            (0, Normal, 206_504, [10_257, 12_821, 15_385], &[0, 0, 9375, 9375], [12_821, 63, 8]),
            (0, HighMem, 300_001, [128, 3853, 7578], &[0, 0, 0, 0], [3853, 63, 10]),
        ],
    });
}

#[test]
fn small_machines_switch_huge_pages_off() {
    assert_machine(&Machine {
        zones: x86_64(),
        movable_zone: Dma32,
        pageblock: 512,
        cpus: 1,
        near: |_| 1,
        huge_pages: true,
        min_free_kbytes: 2656,
        rows: &[
            (0, Dma, 3840, [23, 28, 33], &[0, 415, 415, 415, 415], [28, 1, 2]),
            (0, Dma32, 106_400, [640, 800, 960], &[0, 0, 0, 0, 0], [800, 31, 6]),
        ],
    });
}

#[test]
fn a_movable_zone_has_its_share_but_no_pageblocks_to_keep() {
    assert_machine(&Machine {
        zones: x86_64(),
        movable_zone: Normal,
        pageblock: 512,
        cpus: 2,
        near: |_| 2,
        huge_pages: true,
        min_free_kbytes: 67_584,
        rows: &[
            (0, Dma, 3840, [65, 81, 97], &[0, 1914, 2938, 3873, 3873], [40, 1, 4]),
            (0, Dma32, 490_202, [8320, 10_400, 12_480], &[0, 0, 1024, 1958, 1958], [5200, 63, 20]),
            (0, Normal, 262_144, [4449, 5561, 6673], &[0, 0, 0, 7476, 7476], [2780, 63, 20]),
            (0, Movable, 239_237, [4060, 5075, 6090], &[0, 0, 0, 0, 0], [2537, 63, 16]),
        ],
    });
}

#[test]
fn cpus_of_a_node_share_its_zones_and_protection_stays_on_the_node() {
    assert_machine(&Machine {
        zones: x86_64(),
        movable_zone: Normal,
        pageblock: 512,
        cpus: 4,
        near: |_| 1,
        huge_pages: true,
        min_free_kbytes: 90_112,
        rows: &[
            (0, Dma, 3840, [86, 107, 128], &[0, 939, 939, 939, 939], [107, 1, 6]),
            (0, Dma32, 240_523, [5436, 6795, 8154], &[0, 0, 0, 0, 0], [6795, 63, 24]),
            (1, Dma32, 241_272, [5453, 6816, 8179], &[0, 0, 0, 0, 0], [6816, 63, 24]),
            (2, Normal, 511_070, [11_551, 14_438, 17_325], &[0, 0, 0, 0, 0], [14_438, 63, 30]),
        ],
    });
}

fn one_zone(managed: u64) -> [ZoneMarks; 1] {
    [ZoneMarks::new(NodeId::ZERO, Normal, managed, true)]
}

fn tunables() -> Tunables {
    Tunables::new(ZoneSet::BASE, Normal, K4, 512)
}

const ONE_CPU: Cpus<'static> = Cpus { online: 1, on_node: &|_| 1 };

#[test]
fn lists_are_four_batches_before_watermarks_exist() {
    let mut marks = one_zone(1 << 20);
    let mut w = Watermarks::new(tunables(), &mut marks);
    w.setup_boot_pagesets();
    assert_eq!(w.zones()[0].pageset, Pageset { high: 0, batch: 1 });
    w.setup_per_cpu_pageset(&ONE_CPU);
    assert_eq!(w.zones()[0].pageset, Pageset { high: 252, batch: 63 });
}

#[test]
fn a_node_without_cpus_is_shared_by_all() {
    let mut marks = one_zone(1 << 20);
    let mut w = Watermarks::new(tunables(), &mut marks);
    w.init_per_zone_wmark_min(&Cpus { online: 8, on_node: &|_| 0 });
    let z = &w.zones()[0];
    assert_eq!(z.pageset.high, (z.low / 8).max(252));
}

#[test]
fn the_high_fraction_replaces_the_low_watermark() {
    let mut marks = one_zone(1 << 20);
    let mut w = Watermarks::new(Tunables { percpu_pagelist_high_fraction: 8, ..tunables() }, &mut marks);
    w.init_per_zone_wmark_min(&ONE_CPU);
    assert_eq!(w.zones()[0].pageset.high, 1 << 17);
}

#[test]
fn the_administrators_larger_value_stands_and_a_smaller_one_does_not() {
    let mut marks = one_zone(1 << 18);
    let mut w = Watermarks::new(Tunables { user_min_free_kbytes: Some(1 << 20), ..tunables() }, &mut marks);
    let kept = w.init_per_zone_wmark_min(&ONE_CPU).unwrap();
    assert_eq!(
        kept.to_string(),
        "min_free_kbytes is not updated to 4096 because user defined value 1048576 is preferred"
    );
    w.tunables.user_min_free_kbytes = Some(100);
    assert_eq!(w.init_per_zone_wmark_min(&ONE_CPU), None);
}

#[test]
fn a_written_value_moves_min_in_proportion() {
    let mut marks = one_zone(1 << 18);
    let mut w = Watermarks::new(tunables(), &mut marks);
    w.set_min_free_kbytes(8192, &ONE_CPU);
    assert_eq!([w.zones()[0].min, w.zones()[0].low, w.zones()[0].high], [2048, 2560, 3072]);
}

#[test]
fn the_scale_factor_widens_the_gap_on_large_zones() {
    let mut marks = one_zone(1 << 24);
    let mut w = Watermarks::new(Tunables { watermark_scale_factor: 1000, ..tunables() }, &mut marks);
    w.init_per_zone_wmark_min(&ONE_CPU);
    let z = &w.zones()[0];
    assert_eq!((z.low - z.min, z.high - z.low, z.promo - z.high), (1_677_721, 1_677_721, 1_677_721));
}

#[test]
fn min_free_kbytes_stays_between_128_and_262144() {
    for (managed, expected) in [(1, 128), (1 << 40, 262_144)] {
        let mut marks = one_zone(managed);
        let mut w = Watermarks::new(tunables(), &mut marks);
        w.init_per_zone_wmark_min(&ONE_CPU);
        assert_eq!(w.min_free_kbytes(), expected);
    }
}

#[test]
fn a_machine_that_manages_nothing_divides_by_nothing() {
    let mut marks = one_zone(0);
    let mut w = Watermarks::new(tunables(), &mut marks);
    w.init_per_zone_wmark_min(&ONE_CPU);
    w.set_recommended_min_free_kbytes(&ONE_CPU);
    assert_eq!((w.zones()[0].min, w.totalreserve_pages()), (0, 0));
}

#[test]
fn reserved_pages_are_protection_and_high_but_never_more_than_managed() {
    let mut marks = [
        ZoneMarks::new(NodeId::ZERO, Dma, 3840, true),
        ZoneMarks::new(NodeId::ZERO, Normal, 1 << 22, true),
        ZoneMarks::new(NodeId::ZERO, Movable, 0, false),
    ];
    let zones = ZoneSet::BASE.with(Dma);
    let mut w = Watermarks::new(Tunables::new(zones, Normal, K4, 512), &mut marks);
    w.init_per_zone_wmark_min(&ONE_CPU);
    let normal = w.zone(NodeId::ZERO, Normal).unwrap().high;
    // The DMA zone's protection against Normal is 16384 pages, more than it has.
    assert_eq!(w.node_totalreserve_pages(NodeId::ZERO), 3840 + normal);
    assert_eq!(w.totalreserve_pages(), 3840 + normal);
    assert_eq!(w.node_percentage(NodeId::ZERO, 1), 38 + 41_943);
}

#[test]
fn drift_is_marked_only_where_it_could_hide_the_min_watermark() {
    let mut marks = one_zone(8192);
    let mut w = Watermarks::new(tunables(), &mut marks);
    w.init_per_zone_wmark_min(&Cpus { online: 64, on_node: &|_| 64 });
    let z = w.zones()[0];
    assert_eq!(z.percpu_drift_mark, z.high + 64 * z.stat_threshold);
    let mut marks = one_zone(1 << 20);
    let mut w = Watermarks::new(tunables(), &mut marks);
    w.init_per_zone_wmark_min(&ONE_CPU);
    assert_eq!(w.zones()[0].percpu_drift_mark, 0);
}

#[test]
fn pages_given_late_count_for_the_thresholds_once_kswapd_sleeps_if_a_second_cpu_came_up() {
    let (early, late) = (1 << 18, 1 << 19);
    for (online, expected) in [(1, [10, 10]), (2, [20, 24])] {
        let cpus = Cpus { online, on_node: &|_| online };
        let mut marks = one_zone(early);
        let mut w = Watermarks::new(tunables(), &mut marks);
        w.bring_up_cpus(&cpus);
        w.init_per_zone_wmark_min(&cpus);
        let nid = w.zones()[0].nid;
        let kind = w.zones()[0].kind;
        w.set_managed(nid, kind, late);
        assert_eq!(w.zones()[0].stat_threshold, expected[0]);
        w.kswapd_sleeps(&cpus);
        assert_eq!(w.zones()[0].stat_threshold, expected[1]);
    }
}

#[test]
fn switched_off_huge_pages_leave_min_free_computed_beyond_the_high_watermarks() {
    let mut zones = [ZoneMarks::new(NodeId::ZERO, ZoneKind::Normal, 262_144, true)];
    let tunables = Tunables::new(ZoneSet::BASE, ZoneKind::Normal, PageShift::SHIFT_4K, 512);
    let mut w = Watermarks::new(tunables, &mut zones);
    w.init_per_zone_wmark_min(&ONE_CPU);
    assert_eq!(w.min_free_kbytes(), 4096);
    // 1024 pages, and two steps of 10/10,000 of the zone: sqrt(16 * (1048576 - 4 * 1548)) KiB.
    assert_eq!(w.zones()[0].high, 1548);
    assert_eq!(w.restore_default_min_free_kbytes(&ONE_CPU), None);
    assert_eq!(w.min_free_kbytes(), 4083);
}
