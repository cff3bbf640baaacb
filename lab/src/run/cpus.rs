//! Which node each processor is on.

use pagewright::Boot;
use pagewright_addr::NodeId;

/// The node of each processor, in processor order, as the per-CPU areas were grouped. Without NUMA all are on node 0.
pub fn nodes(boot: &Boot<'_>) -> Vec<NodeId> {
    let mut nodes = vec![NodeId::ZERO; boot.possible_cpus.ids().max(1) as usize];
    for (info, group) in boot.percpu.iter().flat_map(|p| p.groups.iter().map(move |g| (p, g))) {
        for &cpu in info.cpus(group) {
            if let (Some(slot), Some(node)) = (nodes.get_mut(cpu as usize), group.node) {
                *slot = node;
            }
        }
    }
    nodes
}
