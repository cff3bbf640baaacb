//! Whatever the bytes are, reading them ends with a value or an error.

use pagewright_firmware::devicetree::{DeviceTree, ReservedKind};
use proptest::prelude::*;

const SEEDS: [&[u8]; 4] = [
    include_bytes!("../data/odd.dtb"),
    include_bytes!("../data/virt-arm64.dtb"),
    include_bytes!("../data/virt-arm64-numa.dtb"),
    include_bytes!("../data/virt-arm-reserved.dtb"),
];

/// Calls every accessor and adds up something of each result. `None` if the blob is refused.
fn read_everything(blob: &[u8]) -> Option<u64> {
    let tree = DeviceTree::parse(blob).ok()?;
    let mut sum = tree.total_size();
    let mut add = |n: u64| sum = sum.wrapping_add(n);
    add(tree.model().map_or(0, str::len) as u64 + tree.compatible_root().count() as u64);
    tree.memory_reservations().for_each(|r| add(r.len()));
    tree.memory_banks().for_each(|b| add(b.range.len() ^ b.size));
    add(tree.memory_node_unit_address().map_or(1, |a| a.get()));
    add(tree.memory_nodes().count() as u64);
    add(u64::from(matches!(tree.reserved_memory_root(), Some(Err(_)))));
    for node in tree.reserved_memory() {
        for kind in [&node.kind, &node.dynamic_kind()] {
            match kind {
                ReservedKind::Static(r) => r.clone().for_each(|r| add(r.range().len())),
                ReservedKind::Dynamic { size, alloc_ranges, .. } => {
                    add(size ^ alloc_ranges.clone().map_or(0, |r| r.count() as u64));
                }
                ReservedKind::Neither => {}
                ReservedKind::Invalid(error) => add(error.to_string().len() as u64),
            }
        }
    }
    let chosen = tree.chosen();
    add(chosen.bootargs.map_or(0, str::len) as u64 + chosen.initrd.map_or(0, |r| r.len()));
    chosen.problems.iter().for_each(|p| add(p.to_string().len() as u64));
    tree.cpus().for_each(|c| add(c.reg.unwrap_or(0)));
    add(u64::from(tree.possible_cpus_arm64(256) + tree.possible_cpus_arm(32)));
    for memory in tree.numa_memory() {
        match memory {
            Ok(m) => m.regions.for_each(|r| add(r.size)),
            Err(error) => add(error.to_string().len() as u64),
        }
    }
    if let Some(distances) = tree.distances() {
        add(u64::from(distances.first_invalid().is_some()) + distances.count() as u64);
    }
    add(u64::from(tree.has_numa()) ^ tree.dma_max_cpu_address());
    for pointer_bytes in [4, 8] {
        add(tree.unflattened_size(pointer_bytes));
        tree.alias_allocations(pointer_bytes).for_each(|a| add(a.bytes));
    }
    add(tree.find("/chosen/bootargs").is_some().into());
    Some(sum)
}

#[test]
fn the_seeds_themselves_are_read_and_not_refused() {
    for seed in SEEDS {
        assert!(read_everything(seed).is_some());
    }
}

#[test]
fn no_prefix_of_a_tree_panics() {
    for seed in SEEDS {
        for len in (0..seed.len()).step_by(7) {
            assert_eq!(read_everything(&seed[..len]), None, "a cut tree was taken");
            // The same with a header that says the cut is meant.
            let mut cut = seed[..len].to_vec();
            if len >= 8 {
                cut[4..8].copy_from_slice(&(len as u32).to_be_bytes());
            }
            let _ = read_everything(&cut);
        }
    }
}

/// A change to a blob.
#[derive(Clone, Debug)]
enum Change {
    Byte(usize, u8),
    Bit(usize, u8),
    Cell(usize, u32),
    Cut(usize),
    Move(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0..usize::MAX;
    let cell = prop_oneof![
        Just(0),
        Just(1),
        Just(2),
        Just(3),
        Just(4),
        Just(9),
        Just(u32::MAX),
        Just(0x7fff_fffc),
        any::<u32>(),
        0_u32..4096
    ];
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, b)| Change::Byte(at, b)),
        (at.clone(), 0_u8..8).prop_map(|(at, b)| Change::Bit(at, b)),
        (at.clone(), cell).prop_map(|(at, c)| Change::Cell(at, c)),
        at.clone().prop_map(Change::Cut),
        (at.clone(), at).prop_map(|(from, to)| Change::Move(from, to)),
    ]
}

fn apply(blob: &mut Vec<u8>, change: &Change) {
    let len = blob.len().max(1);
    match *change {
        Change::Byte(at, b) => blob[at % len] = b,
        Change::Bit(at, bit) => blob[at % len] ^= 1 << bit,
        Change::Cell(at, cell) => {
            let at = (at % (len / 4)) * 4;
            blob[at..at + 4].copy_from_slice(&cell.to_be_bytes());
        }
        Change::Cut(at) if len > 64 => blob.truncate(64 + at % (len - 64)),
        Change::Cut(_) => {}
        Change::Move(from, to) => {
            let (from, to) = (from % (len / 4) * 4, to % (len / 4) * 4);
            blob.copy_within(from..from + 4, to);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutated_tree_panics(
        seed in 0..SEEDS.len(),
        changes in prop::collection::vec(change(), 1..8),
        fit_size in any::<bool>(),
    ) {
        let mut blob = SEEDS[seed].to_vec();
        for change in &changes {
            apply(&mut blob, change);
        }
        if fit_size {
            let len = blob.len() as u32;
            blob[4..8].copy_from_slice(&len.to_be_bytes());
        }
        let _ = read_everything(&blob);
    }

    #[test]
    fn no_row_of_tokens_panics(tokens in prop::collection::vec(
        prop_oneof![Just(1_u32), Just(1), Just(2), Just(3), Just(3), Just(4), Just(9), Just(0), 0_u32..64, any::<u32>()],
        0..200,
    )) {
        let strings = b"reg\0device_type\0#address-cells\0memory\0compatible\0status\0dma-ranges\0ranges\0size\0";
        let structure: Vec<u8> = tokens.iter().flat_map(|t| t.to_be_bytes()).collect();
        let (start, size) = (56_u32, structure.len() as u32);
        let total = start + size + strings.len() as u32;
        let header = [
            0xd00d_feed, total, start, start + size, 40, 17, 16, 0, strings.len() as u32, size, 0, 0, 0, 0,
        ];
        let mut blob: Vec<u8> = header.iter().flat_map(|w| w.to_be_bytes()).collect();
        blob.extend(structure);
        blob.extend(strings);
        let _ = read_everything(&blob);
    }
}
