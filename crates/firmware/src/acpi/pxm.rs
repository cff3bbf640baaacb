//! From proximity domains to node numbers.

use arrayvec::ArrayVec;
use pagewright_addr::NodeId;

/// The node number of each proximity domain, given out in order of first mention (`acpi_map_pxm_to_node`).
///
/// The boot path walks processors first, then memory, which fixes the order. Domains may be any 32-bit number;
/// nodes are small and without gaps.
#[derive(Clone, Debug, Default)]
pub struct PxmMap {
    /// The domain of each node.
    domains: ArrayVec<u32, { NodeId::LIMIT }>,
}

impl PxmMap {
    /// A map without any domain.
    pub fn new() -> Self {
        Self::default()
    }

    /// The domain's node, a new one if it has none yet. `None` when `max_nodes` are in use
    /// ("SRAT: Too many proximity domains.").
    pub fn map(&mut self, pxm: u32, max_nodes: usize) -> Option<NodeId> {
        if let Some(node) = self.node(pxm) {
            return Some(node);
        }
        if self.domains.len() >= max_nodes {
            return None;
        }
        self.domains.try_push(pxm).ok()?;
        self.node(pxm)
    }

    /// The domain's node, if it has one.
    pub fn node(&self, pxm: u32) -> Option<NodeId> {
        let index = self.domains.iter().position(|d| *d == pxm)?;
        NodeId::new(u16::try_from(index).ok()?)
    }

    /// The domain of a node, if it has one.
    pub fn pxm(&self, node: NodeId) -> Option<u32> {
        self.domains.get(node.index()).copied()
    }
}
