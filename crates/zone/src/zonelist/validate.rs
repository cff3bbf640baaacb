//! The invariants of zonelists, checked against the layout and the distances that they were built from.

use super::{ListKind, Topology, ZoneLists};
use crate::kind::{NodeMask, ZoneKind};
use crate::layout::{Layout, NodeLayout};
use core::fmt;
use pagewright_addr::NodeId;

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneListViolation {
    /// A node that can exist without an order that starts with it.
    Start {
        /// The node.
        nid: NodeId,
    },
    /// A node that is twice in an order.
    Repeated {
        /// Whose order.
        nid: NodeId,
        /// The node.
        other: NodeId,
    },
    /// A node with memory that is missing in an order.
    Missing {
        /// Whose order.
        nid: NodeId,
        /// The node.
        other: NodeId,
    },
    /// A node without memory in another node's order.
    Memoryless {
        /// Whose order.
        nid: NodeId,
        /// The node.
        other: NodeId,
    },
    /// A node behind one that is farther away.
    Distance {
        /// Whose order.
        nid: NodeId,
        /// The node.
        other: NodeId,
    },
    /// A list that has not each zone with memory once, a node's highest first.
    Zones {
        /// Whose list.
        nid: NodeId,
        /// Which.
        list: ListKind,
    },
    /// A policy zone without memory while others have some, or one that policies never apply to.
    PolicyZone {
        /// The zone.
        kind: ZoneKind,
    },
}

impl fmt::Display for ZoneListViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Start { nid } => write!(f, "the order of node {nid} does not start with it"),
            Self::Repeated { nid, other } => write!(f, "node {other} is twice in the order of node {nid}"),
            Self::Missing { nid, other } => write!(f, "node {other} is missing in the order of node {nid}"),
            Self::Memoryless { nid, other } => {
                write!(f, "node {other} has no memory and is in the order of node {nid}")
            }
            Self::Distance { nid, other } => {
                write!(f, "node {other} is behind a farther one in the order of node {nid}")
            }
            Self::Zones { nid, list } => write!(f, "{list:?} list of node {nid} has not each zone once"),
            Self::PolicyZone { kind } => write!(f, "{kind} is not the highest zone that policies apply to"),
        }
    }
}

impl core::error::Error for ZoneListViolation {}

impl ZoneLists<'_> {
    /// Checks that each possible node's order starts with it and then has every other node with memory once, nearest
    /// first, and that lists have every populated zone once, a node's highest first. `layout` and `topology` are those
    /// of [`ZoneLists::build`].
    ///
    /// # Errors
    /// The first [`ZoneListViolation`].
    pub fn validate(&self, layout: &Layout<'_>, topology: &Topology<'_>) -> Result<(), ZoneListViolation> {
        for node in layout.nodes() {
            let nid = node.nid;
            let order = self.node_order(nid);
            if !node.possible {
                continue;
            }
            if order.first() != Some(&nid) {
                return Err(ZoneListViolation::Start { nid });
            }
            validate_order(layout, topology, nid, order)?;
            self.validate_list(layout, node, ListKind::Fallback, order)?;
            self.validate_list(layout, node, ListKind::NoFallback, &order[..1])?;
        }
        let kind = self.policy_zone;
        let populated = |k: ZoneKind| layout.nodes().iter().any(|n| n.zone(k).is_populated());
        let of_policies = layout.config().zones.iter().filter(|&k| k < ZoneKind::Movable);
        let highest = of_policies.clone().rfind(|&k| populated(k)).or(of_policies.clone().next());
        if highest == Some(kind) { Ok(()) } else { Err(ZoneListViolation::PolicyZone { kind }) }
    }

    fn validate_list(
        &self,
        layout: &Layout<'_>,
        node: &NodeLayout,
        list: ListKind,
        order: &[NodeId],
    ) -> Result<(), ZoneListViolation> {
        let zones = |n: &NodeId| layout.nodes().get(n.index()).into_iter().flat_map(NodeLayout::populated);
        let expected = order.iter().flat_map(|n| zones(n).rev().map(move |z| (*n, z.kind)));
        let (mut expected, mut sound) = (expected, true);
        self.for_each_zone(layout, node.nid, list, ZoneKind::Device, &mut |nid, kind| {
            sound &= expected.next() == Some((nid, kind));
        });
        if sound && expected.next().is_none() {
            return Ok(());
        }
        Err(ZoneListViolation::Zones { nid: node.nid, list })
    }
}

fn validate_order(
    layout: &Layout<'_>,
    topology: &Topology<'_>,
    nid: NodeId,
    order: &[NodeId],
) -> Result<(), ZoneListViolation> {
    let mut seen = NodeMask::only(nid);
    // What find_next_best_node compares before the load.
    let away = |n: NodeId| {
        u64::from((topology.distance)(nid, n))
            + u64::from(n < nid)
            + u64::from(topology.nodes_with_cpus.contains(n))
    };
    let mut farthest = 0;
    for &other in &order[1..] {
        if !seen.insert(other) {
            return Err(ZoneListViolation::Repeated { nid, other });
        }
        if !layout.memory_nodes.contains(other) {
            return Err(ZoneListViolation::Memoryless { nid, other });
        }
        if topology.numa && away(other) < farthest {
            return Err(ZoneListViolation::Distance { nid, other });
        }
        farthest = away(other);
    }
    match layout.memory_nodes.iter().find(|&n| !seen.contains(n)) {
        Some(other) => Err(ZoneListViolation::Missing { nid, other }),
        None => Ok(()),
    }
}
