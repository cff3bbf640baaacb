//! Nodes: who has which memory, how far they are from each other, and what is done with tables that cannot be right.

use crate::support::facts::{Depth, Facts};
use crate::support::spec::{RAM, Spec, affinity, arm64, cpu_affinity, pc, range};
use crate::support::tree::{N, cpu, cpus, memory, node, root};
use crate::support::{GIB, MIB};
use pagewright_addr::NodeId;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_memblock::Flags;
use pagewright_zone::ZoneKind;

fn on(n: N, nid: u32) -> N {
    n.cells("numa-node-id", &[nid])
}

/// An arm64 machine with these processors and banks of 256 MiB, each on a node (`None`: on no node).
pub(crate) fn board(processors: &[u32], banks: &[Option<u32>]) -> Spec {
    let list = processors.iter().zip(0..).fold(cpus(0), |list, (nid, id)| list.with(on(cpu(id), *nid)));
    let root = banks.iter().zip(0_u64..).fold(root().with(list), |root, (nid, i)| {
        let bank = memory(RAM + i * 256 * MIB, 256 * MIB);
        root.with(nid.map_or(bank.clone(), |nid| on(bank, nid)))
    });
    let mut spec = Spec::tree(KernelConfig::debian(Flavour::Arm64), root, RAM + 2 * MIB).cmdline("cma=0");
    spec.cpus.possible = processors.len().max(1) as u32;
    spec
}

fn distances(rows: &[(u32, u32, u32)]) -> N {
    let cells: Vec<u32> = rows.iter().flat_map(|(a, b, d)| [*a, *b, *d]).collect();
    node("distance-map").text("compatible", "numa-distance-map-v1").cells("distance-matrix", &cells)
}

/// A PC of 768 MiB with this much of it on each node, in MiB.
fn nodes(sizes: &[u64]) -> Spec {
    let mut start = 0;
    let mut srat = Vec::new();
    for (pxm, mib) in (0..).zip(sizes) {
        srat.push(affinity(pxm, start, mib * MIB));
        start += mib * MIB;
    }
    let cpus = (0..sizes.len() as u32).map(|i| cpu_affinity(i, i)).collect();
    pc(768).cpus(sizes.len() as u32).tables(|pc| (pc.srat, pc.srat_cpus) = (srat, cpus))
}

fn present(facts: &Facts, nid: u16) -> u64 {
    facts.zones.iter().filter(|z| z.nid == nid).map(|z| z.present * 4096 / MIB).sum()
}

fn distance(facts: &Facts, from: u16, to: u16) -> u8 {
    let node = |n| NodeId::new(n).expect("a node");
    facts.distances.get(node(from), node(to))
}

#[test]
fn a_tree_s_nodes_get_the_memory_that_names_them() {
    let facts = board(&[0, 1], &[Some(0), Some(1), Some(1)]).boot();
    assert_eq!((facts.online.as_slice(), facts.possible.as_slice()), (&[0, 1][..], &[0, 1][..]));
    assert_eq!((present(&facts, 0), present(&facts, 1)), (256, 512));
    let groups = &facts.percpu.as_ref().expect("a first chunk").groups;
    let places: Vec<_> =
        groups.iter().map(|g| (g.node.map(NodeId::get), g.base.get() / (256 * MIB) - 4)).collect();
    // The second node's units lie in its memory, the second or third bank.
    assert_eq!(places[0], (Some(0), 0));
    assert!(places[1].0 == Some(1) && places[1].1 >= 1, "{places:?}");
    facts.expect("Fallback order for Node 0: 0 1");
    facts.expect("Fallback order for Node 1: 1 0");
}

#[test]
fn node_data_lies_on_its_node() {
    let facts = board(&[0, 1], &[Some(0), Some(1)]).boot();
    let places: Vec<u64> = facts
        .lines("NODE_DATA [mem")
        .iter()
        .map(|l| u64::from_str_radix(&l.split("0x").nth(1).expect("an address")[..8], 16).expect("hex"))
        .collect();
    assert!((RAM..RAM + 256 * MIB).contains(&places[0]), "{places:x?}");
    assert!((RAM + 256 * MIB..RAM + 512 * MIB).contains(&places[1]), "{places:x?}");
}

#[test]
fn distances_of_a_tree_hold_in_both_directions_and_order_the_fallback() {
    let spec = board(&[0, 1, 2], &[Some(0), Some(1), Some(2)]);
    let facts = spec.with(distances(&[(0, 1, 40), (0, 2, 15), (1, 2, 21)])).boot();
    assert_eq!((distance(&facts, 1, 0), distance(&facts, 2, 0), distance(&facts, 2, 1)), (40, 15, 21));
    facts.expect("Fallback order for Node 0: 0 2 1");
    facts.expect("Fallback order for Node 1: 1 2 0");
}

#[test]
fn impossible_distances_are_left_at_what_holds_without_a_word() {
    let spec = board(&[0, 1], &[Some(0), Some(1)]);
    let facts = spec.with(distances(&[(0, 0, 20), (0, 1, 10), (1, 0, 300)])).boot();
    assert_eq!([distance(&facts, 0, 0), distance(&facts, 0, 1), distance(&facts, 1, 0)], [10, 20, 20]);
}

#[test]
fn memory_on_no_node_makes_the_description_void() {
    let facts = board(&[0, 1], &[Some(0), Some(1), None]).boot();
    facts.expect("NUMA: Warning: invalid memblk node 16 [mem 0x0000000060000000-0x000000006fffffff]");
    facts.expect("NUMA: Faking a node at [mem 0x0000000040000000-0x000000006fffffff]");
    assert_eq!((facts.online.as_slice(), present(&facts, 0)), (&[0][..], 768));
    assert_eq!(facts.percpu.expect("a first chunk").groups.len(), 1);
}

#[test]
fn nodes_beyond_those_that_can_be_make_it_void_too() {
    let facts = board(&[0, 0], &[Some(0), Some(16)]).boot();
    facts.expect("NUMA: Node id 16 exceeds maximum value");
    assert_eq!(facts.online, [0]);
    let facts = board(&[0, 0], &[Some(0), Some(15)]).boot();
    assert_eq!(facts.online, [0, 15]);
}

#[test]
fn a_node_of_processors_alone_is_online_without_memory() {
    let facts = board(&[0, 2], &[Some(0)]).boot();
    assert_eq!((facts.online.as_slice(), present(&facts, 2)), (&[0, 2][..], 0));
    facts.expect("NUMA: Initmem setup node 2 [<memory-less node>]");
    facts.expect("NUMA: NODE_DATA(2) on node 0");
    facts.expect("Fallback order for Node 2: 2 0");
}

#[test]
fn a_tree_without_nodes_has_one() {
    let facts = arm64(256).boot();
    facts.expect("NUMA: No NUMA configuration found");
    assert_eq!(facts.online, [0]);
}

#[test]
fn numa_off_puts_all_memory_on_one_node() {
    let facts = board(&[0, 1], &[Some(0), Some(1)]).cmdline("cma=0 numa=off").boot();
    facts.expect("NUMA: NUMA disabled");
    assert_eq!((facts.online.as_slice(), present(&facts, 0)), (&[0][..], 512));
    let facts = nodes(&[256, 512]).cmdline("numa=off").boot();
    facts.expect("NUMA turned off");
    assert_eq!(facts.online, [0]);
}

#[test]
fn a_kernel_without_numa_does_not_look() {
    let off = |c: &mut KernelConfig| {
        (c.numa, c.numa_emu, c.numa_balancing, c.pernuma_cma) = (false, false, false, false);
    };
    for spec in [board(&[0, 1], &[Some(0), Some(1)]), nodes(&[256, 512])] {
        let facts = spec.config(off).boot();
        assert_eq!(facts.online, [0]);
        assert!(!facts.said("NUMA:") && !facts.said("NODE_DATA"));
    }
}

#[test]
fn a_pc_s_nodes_are_those_of_its_affinity_table() {
    let facts = nodes(&[256, 512]).boot();
    assert_eq!(facts.online, [0, 1]);
    // The first 4 KiB and the hole below 1 MiB are no RAM.
    assert_eq!((present(&facts, 0), present(&facts, 1)), (255, 512));
    assert!(facts.zone(1, ZoneKind::Dma).is_none(), "the DMA zone is on the first node");
    facts.expect("ACPI: SRAT: Node 1 PXM 1 [mem 0x10000000-0x2fffffff]");
    let groups = &facts.percpu.as_ref().expect("a first chunk").groups;
    assert_eq!(groups.iter().map(|g| g.node.map(NodeId::get)).collect::<Vec<_>>(), [Some(0), Some(1)]);
}

#[test]
fn proximity_domains_are_numbered_as_they_are_met() {
    let facts = pc(768)
        .cpus(2)
        .tables(|pc| {
            pc.srat = vec![affinity(7, 0, 256 * MIB), affinity(3, 256 * MIB, 512 * MIB)];
            pc.srat_cpus = vec![cpu_affinity(3, 0), cpu_affinity(7, 1)];
        })
        .boot();
    // The first processor's domain is node 0.
    assert_eq!((present(&facts, 0), present(&facts, 1)), (512, 255));
}

#[test]
fn tables_of_overlapping_nodes_are_not_believed() {
    let facts = pc(768).tables(|pc| {
        pc.srat = vec![affinity(0, 0, 512 * MIB), affinity(1, 256 * MIB, 512 * MIB)];
    });
    let facts = facts.boot();
    facts.expect("overlaps with node 1");
    facts.expect("Faking a node at");
    assert_eq!(facts.online, [0]);
}

#[test]
fn tables_that_leave_memory_out_are_not_believed() {
    let facts = nodes(&[256, 256]).boot();
    facts.expect("NUMA: nodes only cover 511MB of your 767MB e820 RAM. Not used.");
    assert_eq!(facts.online, [0]);
}

#[test]
fn distances_of_a_pc_may_differ_by_direction() {
    let facts = nodes(&[256, 512]).tables(|pc| pc.slit = Some((2, vec![10, 30, 21, 10]))).boot();
    facts.expect("NUMA: Initialized distance table, cnt=2");
    assert_eq!((distance(&facts, 0, 1), distance(&facts, 1, 0)), (30, 21));
    // One that says a node is farther from itself than from others is not taken.
    let facts = nodes(&[256, 512]).tables(|pc| pc.slit = Some((2, vec![11, 10, 10, 11]))).boot();
    facts.expect("ACPI: SLIT table looks invalid. Not used.");
    assert!(!facts.said("distance table"));
    assert_eq!(distance(&facts, 0, 1), 20);
}

#[test]
fn faked_nodes_divide_the_memory() {
    let facts = pc(768).cmdline("numa=fake=3").boot();
    assert_eq!(facts.online, [0, 1, 2]);
    let sizes: Vec<u64> = facts.online.iter().map(|n| present(&facts, *n)).collect();
    assert_eq!(sizes.iter().sum::<u64>(), 767);
    assert!(sizes.iter().all(|s| (224..=288).contains(s)), "{sizes:?}");
    let facts = pc(768).config(|c| c.numa_emu = false).cmdline("numa=fake=3").boot();
    assert_eq!(facts.online, [0]);
}

#[test]
fn a_processor_counts_on_every_faked_node_of_its_physical_one() {
    let all = |spec: &Spec, most: u16| {
        let mut counts = Vec::new();
        let look = |boot: &pagewright::Boot<'_>| {
            let cpus = boot.online_by_node();
            counts = (0..most).map(|nid| cpus.on_node(NodeId::new(nid).expect("a node"))).collect();
        };
        let (facts, _) = spec.boot_looking(Depth::Memblock, |_| (), look);
        facts.expect("booted");
        counts
    };
    assert_eq!(all(&pc(768).cpus(2).cmdline("numa=fake=3"), 4), [2, 2, 2, 0]);
    // Two parts of each: the second and third processor are on the second physical node.
    let two = crate::percpu_pages::two_nodes;
    assert_eq!(all(&two().cmdline("numa=fake=2U"), 4), [1, 1, 2, 2]);
    assert_eq!(all(&two(), 3), [1, 2, 0]);
}

#[test]
fn kernel_memory_is_spread_evenly_and_the_rest_of_each_node_is_movable() {
    let movable = |words: &str| {
        let facts = nodes(&[256, 512]).cmdline(words).boot();
        [0, 1].map(|nid| facts.zone(nid, ZoneKind::Movable).map_or(0, |z| z.present * 4096 / MIB))
    };
    let [first, second] = movable("kernelcore=256M");
    // Half of it each, in whole blocks of the largest order.
    assert!((124..=128).contains(&first) && (380..=384).contains(&second), "{first} {second}");
    // A node that is too small for its half leaves more to the other.
    assert_eq!(movable("movablecore=256M"), [0, 256]);
}

#[test]
fn hot_pluggable_memory_is_marked_but_for_what_the_kernel_lies_in() {
    let spec = || nodes(&[256, 512]).tables(|pc| pc.srat.iter_mut().for_each(|m| m.hotpluggable = true));
    let facts = spec().boot();
    let hot: Vec<_> = facts.memory.iter().map(|b| (b.nid, b.flags.contains(Flags::HOTPLUG))).collect();
    assert!(hot.contains(&(Some(1), true)) && !hot.contains(&(Some(0), true)), "{hot:?}");
    // With movable_node such a node is movable as a whole.
    let facts = spec().cmdline("movable_node").boot();
    assert!(facts.zone(1, ZoneKind::Dma32).is_none());
    assert_eq!(facts.zone(1, ZoneKind::Movable).expect("a zone").present, 512 * MIB / 4096);
}

#[test]
fn memory_that_may_come_counts_for_bounce_buffers() {
    let spec = |hot: bool| {
        nodes(&[256, 512]).tables(|pc| {
            if hot {
                let mut later = affinity(1, 8 * GIB, GIB);
                later.hotpluggable = true;
                pc.srat.push(later);
            }
        })
    };
    assert!(spec(false).boot().swiotlb.is_none());
    let facts = spec(true).boot();
    assert!(facts.swiotlb.is_some());
    assert!(facts.memory.iter().all(|b| b.range.end <= range(0, 768 * MIB).end));
}
