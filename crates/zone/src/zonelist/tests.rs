extern crate std;

use super::*;
use crate::layout::{CoreAmount, LayoutConfig, MemFlags, MemRange, PfnValidity, free_area_init};
use pagewright_addr::{PageShift, Pfn, PfnRange};
use std::string::{String, ToString};
use std::vec::Vec;

fn nid(n: usize) -> NodeId {
    NodeId::new(n as u16).unwrap()
}

/// Nodes with `pages[n]` frames each, one after the other; 0 for a node without memory. DMA32 ends at 4 GiB.
fn config(nodes: usize) -> LayoutConfig {
    let mut max_zone_pfn = [Pfn::ZERO; ZoneKind::COUNT];
    max_zone_pfn[ZoneKind::Dma.index()] = Pfn::new(0x1000);
    max_zone_pfn[ZoneKind::Dma32.index()] = Pfn::new(0x10_0000);
    max_zone_pfn[ZoneKind::Normal.index()] = Pfn::new(1 << 40);
    let all: NodeMask = (0..nodes).map(nid).collect();
    LayoutConfig {
        zones: [ZoneKind::Dma, ZoneKind::Dma32, ZoneKind::Device].into_iter().collect(),
        max_zone_pfn,
        kernelcore: CoreAmount::None,
        movablecore: CoreAmount::None,
        movable_node: false,
        possible: all,
        online: all,
        page_shift: PageShift::SHIFT_4K,
        bits_per_long: 64,
        highmem: false,
        struct_page_bytes: 64,
        section_pages: Some(0x8000),
        pfn_valid: PfnValidity::Blocks { pages: 0x8000 },
        max_order: 11,
        pageblock_order: 9,
        dma_reserve: 0,
        deferred: false,
    }
}

fn ranges(spans: &[(usize, u64, u64)]) -> Vec<MemRange> {
    spans
        .iter()
        .map(|&(n, start, end)| MemRange {
            pfns: PfnRange::new(Pfn::new(start), Pfn::new(end)),
            nid: nid(n),
            flags: MemFlags::empty(),
        })
        .collect()
}

struct Case<'a> {
    cfg: LayoutConfig,
    spans: &'a [(usize, u64, u64)],
    distances: &'a [&'a [u32]],
    with_cpus: NodeMask,
    numa: bool,
}

fn log_of(case: Case<'_>) -> Vec<String> {
    let ranges = ranges(case.spans);
    let mut nodes = std::vec![NodeLayout::EMPTY; case.cfg.possible.len()];
    let online = case.cfg.possible;
    let layout = free_area_init(case.cfg, &ranges, &mut nodes).unwrap();
    let distance = |a: NodeId, b: NodeId| case.distances[a.index()][b.index()];
    let topology = Topology { distance: &distance, nodes_with_cpus: case.with_cpus, online, numa: case.numa };
    let mut buffer = std::vec![NodeId::ZERO; ZoneLists::required_len(&layout)];
    let lists = ZoneLists::build(&layout, &topology, &mut buffer).unwrap();
    assert_eq!(lists.validate(&layout, &topology), Ok(()));
    let mut lines = Vec::new();
    lists.fallback_lines(&layout, &mut |l| lines.push(l.to_string()));
    lists.verify_lines(&layout, &mut |l| lines.push(l.to_string()));
    let total_pages = lists.total_pages_at_boot(&layout, NodeId::ZERO);
    let mobility_grouping = !mobility_grouping_disabled(total_pages, 512, 5);
    lines.push(BuiltLine { nodes: online.len(), mobility_grouping, total_pages }.to_string());
    lines.push(PolicyZoneLine { zone: lists.policy_zone }.to_string());
    lines
}

const GIB: u64 = 1 << 18;

#[test]
fn a_node_without_memory_comes_first_in_its_own_order_only() {
    let lines = log_of(Case {
        cfg: LayoutConfig { dma_reserve: 158, online: (0..3).map(nid).collect(), ..config(4) },
        spans: &[(0, 1, 0x9f), (0, 0x100, GIB), (1, GIB, 0x7_ffdf), (2, 4 * GIB, 6 * GIB)],
        distances: &[&[10, 15, 25, 40], &[15, 10, 30, 22], &[25, 30, 10, 17], &[40, 22, 17, 10]],
        with_cpus: NodeMask::EMPTY,
        numa: true,
    });
    assert_eq!(
        lines,
        [
            "Fallback order for Node 0: 0 1 2 ",
            "Fallback order for Node 1: 1 0 2 ",
            "Fallback order for Node 2: 2 0 1 ",
            "Fallback order for Node 3: 3 2 1 0 ",
            "mminit::zonelist general 0:DMA = 0:DMA ",
            "mminit::zonelist general 0:DMA32 = 0:DMA32 0:DMA 1:DMA32 ",
            "mminit::zonelist thisnode 0:DMA = 0:DMA ",
            "mminit::zonelist thisnode 0:DMA32 = 0:DMA32 0:DMA ",
            "mminit::zonelist general 1:DMA32 = 1:DMA32 0:DMA32 0:DMA ",
            "mminit::zonelist thisnode 1:DMA32 = 1:DMA32 ",
            "mminit::zonelist general 2:Normal = 2:Normal 0:DMA32 0:DMA 1:DMA32 ",
            "mminit::zonelist thisnode 2:Normal = 2:Normal ",
            "Built 4 zonelists, mobility grouping on.  Total pages: 1031903",
            "Policy zone: Normal",
        ]
    );
}

#[test]
fn equal_distances_go_round_upwards() {
    let same: &[u32] = &[10; 4];
    let lines = log_of(Case {
        cfg: config(4),
        spans: &[(0, 1, GIB), (1, GIB, 2 * GIB), (2, 4 * GIB, 5 * GIB), (3, 5 * GIB, 6 * GIB)],
        distances: &[same; 4],
        with_cpus: NodeMask::EMPTY,
        numa: true,
    });
    assert_eq!(
        lines[..4],
        [
            "Fallback order for Node 0: 0 1 2 3 ",
            "Fallback order for Node 1: 1 2 3 0 ",
            "Fallback order for Node 2: 2 3 0 1 ",
            "Fallback order for Node 3: 3 0 1 2 ",
        ]
    );
}

/// Two near pairs, far from each other: each pair's first choice of the other pair takes turns.
#[test]
fn load_spreads_the_first_far_choice() {
    let lines = log_of(Case {
        cfg: config(4),
        spans: &[(0, 1, GIB), (1, GIB, 2 * GIB), (2, 4 * GIB, 5 * GIB), (3, 5 * GIB, 6 * GIB)],
        distances: &[&[10, 12, 20, 20], &[12, 10, 20, 20], &[20, 20, 10, 12], &[20, 20, 12, 10]],
        with_cpus: NodeMask::EMPTY,
        numa: true,
    });
    assert_eq!(
        lines[..4],
        [
            "Fallback order for Node 0: 0 1 2 3 ",
            "Fallback order for Node 1: 1 0 3 2 ",
            "Fallback order for Node 2: 2 3 0 1 ",
            "Fallback order for Node 3: 3 2 1 0 ",
        ]
    );
}

#[test]
fn a_node_without_cpus_is_preferred_at_equal_distance() {
    let lines = log_of(Case {
        cfg: config(3),
        spans: &[(0, 1, GIB), (1, GIB, 2 * GIB), (2, 4 * GIB, 5 * GIB)],
        distances: &[&[10, 20, 20], &[20, 10, 20], &[20, 20, 10]],
        with_cpus: [nid(0), nid(1)].into_iter().collect(),
        numa: true,
    });
    assert_eq!(lines[0], "Fallback order for Node 0: 0 2 1 ");
}

#[test]
fn without_numa_there_is_one_list_and_no_order_line() {
    let lines = log_of(Case {
        cfg: config(1),
        spans: &[(0, 1, GIB)],
        distances: &[],
        with_cpus: NodeMask::EMPTY,
        numa: false,
    });
    assert_eq!(
        lines[..2],
        ["mminit::zonelist general 0:DMA = 0:DMA ", "mminit::zonelist general 0:DMA32 = 0:DMA32 0:DMA ",]
    );
    assert_eq!(lines[3], "Policy zone: DMA32");
}

#[test]
fn tiny_machines_do_not_group_by_mobility() {
    let lines = log_of(Case {
        cfg: config(1),
        spans: &[(0, 0, 2560)],
        distances: &[&[10]],
        with_cpus: NodeMask::EMPTY,
        numa: true,
    });
    // 40 pages of the 2560 hold the memory map.
    assert_eq!(lines[3], "Built 1 zonelists, mobility grouping off.  Total pages: 2520");
    assert!(!mobility_grouping_disabled(2560, 512, 5));
}

#[test]
fn a_short_buffer_is_refused_with_what_is_needed() {
    let ranges = ranges(&[(0, 1, GIB), (1, GIB, 2 * GIB)]);
    let mut nodes = [NodeLayout::EMPTY; 2];
    let layout = free_area_init(config(2), &ranges, &mut nodes).unwrap();
    let topology = Topology {
        distance: &|_, _| 10,
        nodes_with_cpus: NodeMask::EMPTY,
        online: NodeMask::EMPTY,
        numa: true,
    };
    let mut buffer = [NodeId::ZERO; 5];
    let err = ZoneLists::build(&layout, &topology, &mut buffer).unwrap_err();
    assert_eq!(err, ZoneListError::TooShort { len: 5, required: 6 });
}

/// What is found of damage to the orders of three nodes with memory and one without.
fn damaged(damage: impl FnOnce(&mut [NodeId], &mut ZoneKind)) -> Result<(), ZoneListViolation> {
    let ranges = ranges(&[(0, 0x100, GIB), (1, GIB, 2 * GIB), (2, 4 * GIB, 6 * GIB)]);
    let mut nodes = std::vec![NodeLayout::EMPTY; 4];
    let layout = free_area_init(config(4), &ranges, &mut nodes).unwrap();
    let distances = [[10, 15, 25, 40], [15, 10, 30, 22], [25, 30, 10, 17], [40, 22, 17, 10]];
    let distance = |a: NodeId, b: NodeId| distances[a.index()][b.index()];
    let online = layout.config().online;
    let topology = Topology { distance: &distance, nodes_with_cpus: NodeMask::EMPTY, online, numa: true };
    let mut buffer = std::vec![NodeId::ZERO; ZoneLists::required_len(&layout)];
    let lists = ZoneLists::build(&layout, &topology, &mut buffer).unwrap();
    assert_eq!(lists.validate(&layout, &topology), Ok(()));
    let (mut orders, mut policy_zone) = (lists.orders.to_vec(), lists.policy_zone);
    damage(&mut orders, &mut policy_zone);
    ZoneLists { orders: &orders, policy_zone, ..lists }.validate(&layout, &topology)
}

#[test]
fn damaged_orders_are_caught() {
    // Orders of four places: 0 1 2 -, 1 0 2 -, 2 0 1 -, 3 2 1 0.
    assert_eq!(damaged(|o, _| o[4] = nid(0)), Err(ZoneListViolation::Start { nid: nid(1) }));
    let far = Err(ZoneListViolation::Distance { nid: nid(0), other: nid(1) });
    assert_eq!(damaged(|o, _| o.swap(1, 2)), far, "node 2 is farther than node 1");
    let missing = Err(ZoneListViolation::Missing { nid: nid(1), other: nid(2) });
    assert_eq!(damaged(|o, _| o[6] = nid(1)), missing);
    let repeated = Err(ZoneListViolation::Repeated { nid: nid(3), other: nid(2) });
    assert_eq!(damaged(|o, _| o[14] = nid(2)), repeated);
    let memoryless = Err(ZoneListViolation::Memoryless { nid: nid(0), other: nid(3) });
    assert_eq!(damaged(|o, _| o[2] = nid(3)), memoryless);
    let policy = Err(ZoneListViolation::PolicyZone { kind: ZoneKind::Dma });
    assert_eq!(damaged(|_, policy| *policy = ZoneKind::Dma), policy);
}
