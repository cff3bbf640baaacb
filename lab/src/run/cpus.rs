//! Which node each processor is on.

use pagewright::Boot;
use pagewright_addr::NodeId;
use pagewright_firmware::Firmware;
use pagewright_firmware::acpi::PxmMap;

/// The node of each processor that comes up, in processor order. Without NUMA all are on node 0.
pub(super) fn nodes(boot: &Boot<'_>) -> Vec<NodeId> {
    let machine = boot.machine;
    let count = machine.cpus.possible.max(1) as usize;
    let mut nodes = match &machine.firmware {
        Firmware::DeviceTree { tree, .. } => {
            let node = |id: Option<u32>| id.and_then(|n| u16::try_from(n).ok()).and_then(NodeId::new);
            tree.cpus().map(|c| node(c.node).unwrap_or(NodeId::ZERO)).collect()
        }
        Firmware::Pc(pc) => {
            let mut map = PxmMap::new();
            let possible = machine.config.max_numnodes() as usize;
            pc.numa
                .cpus
                .iter()
                .filter(|c| c.enabled)
                .map(|c| map.map(c.pxm, possible).unwrap_or(NodeId::ZERO))
                .collect()
        }
        Firmware::Atags(_) => Vec::new(),
    };
    nodes.resize(count, NodeId::ZERO);
    for node in &mut nodes {
        // A node that is not there (NUMA off, a wrong table) is node 0.
        if boot.numa_off || !boot.nodes_online.contains(*node) {
            *node = NodeId::ZERO;
        }
    }
    nodes
}
