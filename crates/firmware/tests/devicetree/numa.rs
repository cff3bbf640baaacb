use crate::build::{cpu, cpus, memory, node, root};
use pagewright_firmware::devicetree::{DeviceTree, PropertyProblem};

#[test]
fn numa_memory_counts_when_disabled_and_anywhere_in_the_tree() {
    let blob = root(2, 2)
        .with(memory("40000000", &[0, 0x4000_0000, 0, 0x1000]).cells("numa-node-id", &[1]))
        .with(memory("50000000", &[0, 0x5000_0000, 0, 0x1000]))
        .with(
            memory("60000000", &[0, 0x6000_0000, 0, 0x1000])
                .text("status", "disabled")
                .cells("numa-node-id", &[0]),
        )
        .with(
            node("bus")
                .cells("#address-cells", &[1])
                .cells("#size-cells", &[1])
                .cells("ranges", &[0, 0, 0x7000_0000, 0x1000_0000])
                .with(memory("100", &[0x100, 0x1000]).cells("numa-node-id", &[2])),
        )
        .blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let found: Vec<_> = tree
        .numa_memory()
        .map(|m| m.unwrap())
        .map(|m| (m.node, m.regions.map(|r| r.base.get()).collect::<Vec<_>>()))
        .collect();
    assert_eq!(found, [(1, vec![0x4000_0000]), (0, vec![0x6000_0000]), (2, vec![0x7000_0100])]);
    assert!(tree.has_numa());
}

#[test]
fn numa_looks_at_reg_and_keeps_sizes_of_zero() {
    let blob = root(1, 1)
        .with(
            memory("0", &[0, 0x8000, 0x9000, 0, 0xa000, 0x1000])
                .cells("linux,usable-memory", &[0, 0x1000])
                .cells("numa-node-id", &[0]),
        )
        .blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let memory = tree.numa_memory().next().unwrap().unwrap();
    let sizes: Vec<_> = memory.regions.map(|r| r.size).collect();
    assert_eq!(sizes, [0x8000, 0, 0x1000]);
}

#[test]
fn a_node_id_without_memory_or_too_short_is_an_error() {
    let blob = root(1, 1)
        .with(node("memory@0").text("device_type", "memory").cells("numa-node-id", &[0]))
        .with(memory("1000", &[0x1000, 0x1000]).bytes("numa-node-id", &[1]))
        .with(node("bus").cells("#address-cells", &[1]).cells("#size-cells", &[1]).with(
            // No ranges: the address has no translation.
            memory("2000", &[0x2000, 0x1000]).cells("numa-node-id", &[0]),
        ))
        .blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    let problems: Vec<_> =
        tree.numa_memory().map(|m| m.unwrap_err()).map(|e| (e.property, e.problem)).collect();
    let short = PropertyProblem::BadLength { len_bytes: 1, expected_bytes: 4 };
    assert_eq!(
        problems,
        [("reg", PropertyProblem::Missing), ("numa-node-id", short), ("reg", PropertyProblem::Missing)]
    );
}

#[test]
fn processors_alone_make_a_numa_tree_and_nothing_makes_none() {
    let blob = root(1, 1).with(cpus().with(cpu(0).cells("numa-node-id", &[0]))).blob();
    assert!(DeviceTree::parse(&blob).unwrap().has_numa());
    let blob = root(1, 1).with(memory("0", &[0, 0x1000])).with(cpus().with(cpu(0))).blob();
    assert!(!DeviceTree::parse(&blob).unwrap().has_numa());
}

fn map(matrix: &[u32]) -> Vec<u8> {
    let map = node("distance-map")
        .bytes("compatible", b"foo\0NUMA-distance-map-v1\0")
        .cells("distance-matrix", matrix);
    root(1, 1).with(node("below").with(map)).blob()
}

#[test]
fn distances_are_triples_and_a_rest_is_not_seen() {
    let blob = map(&[0, 0, 10, 0, 1, 25, 1, 0, 30, 1]);
    let distances = DeviceTree::parse(&blob).unwrap().distances().unwrap();
    assert_eq!(distances.first_invalid(), None);
    assert_eq!(distances.collect::<Vec<_>>(), [(0, 0, 10), (0, 1, 25), (1, 0, 30)]);
}

#[test]
fn a_distance_to_oneself_is_ten_and_any_other_is_more() {
    for (matrix, bad) in [
        ([0, 0, 10, 0, 1, 10], (0, 1, 10)),
        ([0, 0, 11, 0, 1, 20], (0, 0, 11)),
        ([1, 1, 10, 1, 0, 9], (1, 0, 9)),
    ] {
        let blob = map(&matrix);
        let distances = DeviceTree::parse(&blob).unwrap().distances().unwrap();
        assert_eq!(distances.first_invalid(), Some(bad));
    }
}

#[test]
fn a_map_without_matrix_is_refused() {
    let blob = root(1, 1).with(node("m").text("compatible", "numa-distance-map-v1")).blob();
    let tree = DeviceTree::parse(&blob).unwrap();
    assert_eq!(tree.distance_map().unwrap().unwrap_err().problem, PropertyProblem::Missing);
    assert!(tree.distances().is_none());
    let odd = node("m").text("compatible", "numa-distance-map-v1").bytes("distance-matrix", &[0; 5]);
    let blob = root(1, 1).with(odd).blob();
    assert!(DeviceTree::parse(&blob).unwrap().distance_map().unwrap().is_err());
    let blob = root(1, 1).blob();
    assert!(DeviceTree::parse(&blob).unwrap().distance_map().is_none());
}
