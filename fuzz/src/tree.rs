//! Device trees.

use crate::{said, shown};
use pagewright_firmware::devicetree::DeviceTree;

/// More items than this from one property or list are not looked at: a tree of n bytes can describe far more than n
/// facts, and time is better spent on other trees.
const ENOUGH: usize = 4096;

/// Reads a device tree and everything that the boot path would ask of it.
pub fn dtb(data: &[u8]) {
    let tree = match DeviceTree::parse(data) {
        Ok(tree) => tree,
        Err(error) => return said(error),
    };
    assert!(tree.total_size() <= data.len() as u64, "the tree claims more bytes than there are");
    shown((tree.model(), tree.root_cells(), tree.memory_node_unit_address(), tree.has_numa()));
    tree.compatible_root().take(ENOUGH).for_each(shown);
    tree.memory_reservations().take(ENOUGH).for_each(shown);
    for bank in tree.memory_banks().take(ENOUGH) {
        assert!(bank.range.start <= bank.range.end, "a memory bank ends before it starts");
        shown(bank);
    }
    shown(tree.reserved_memory_root().map(|root| root.map(|_| ())));
    for node in tree.reserved_memory().take(ENOUGH) {
        shown((node.name, &node.kind, node.dynamic_kind()));
        shown(node.is_compatible("shared-dma-pool"));
    }
    shown(tree.chosen());
    tree.cpus().take(ENOUGH).for_each(shown);
    shown((tree.possible_cpus_arm64(256), tree.possible_cpus_arm(32), tree.dma_max_cpu_address()));
    for memory in tree.numa_memory().take(ENOUGH) {
        match memory {
            Ok(memory) => memory.regions.take(64).for_each(shown),
            Err(error) => said(error),
        }
    }
    if let Some(distances) = tree.distances() {
        shown(distances.first_invalid());
        distances.take(ENOUGH).for_each(shown);
    }
    for pointer_bytes in [4, 8] {
        shown(tree.unflattened_size(pointer_bytes));
        tree.alias_allocations(pointer_bytes).take(ENOUGH).for_each(shown);
    }
}
