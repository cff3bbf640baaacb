//! Which node each processor is on.

use pagewright::Boot;
use pagewright_addr::NodeId;

/// The node of each processor, in processor order, as the per-CPU areas were grouped. Without NUMA all are on node 0.
pub fn nodes(boot: &Boot<'_>) -> Vec<NodeId> {
    (0..boot.possible_cpus.ids().max(1)).map(|cpu| boot.node_of_cpu(cpu)).collect()
}
