//! Zonelists: in which order an allocation that starts on a node tries the zones of all nodes.
//!
//! [`ZoneLists`] owns one *node order* for each possible node: the node itself, then every node with memory, nearest
//! first (`build_zonelists`). The zones of a list follow from it: node by node, highest populated zone first, so only
//! the orders are stored, in a slice that the caller brings. The boot path builds them once before `mem_init`; memory
//! hotplug builds them again.
//!
//! Also here, because Linux decides them at the same place: the policy zone, "Total pages", and whether grouping by
//! mobility is worth it.

mod validate;

pub use validate::ZoneListViolation;

use crate::kind::{NodeMask, ZoneKind, ZoneSet};
use crate::layout::{Layout, NodeLayout};
use core::fmt;
use pagewright_addr::NodeId;

/// A distance of a node to itself (LOCAL_DISTANCE).
pub const LOCAL_DISTANCE: u32 = 10;
/// The distance of two nodes about which the firmware says nothing (REMOTE_DISTANCE).
pub const REMOTE_DISTANCE: u32 = 20;

/// Which of a node's two lists an allocation uses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ListKind {
    /// All nodes (ZONELIST_FALLBACK), "general" in the log.
    Fallback,
    /// Only the node itself (ZONELIST_NOFALLBACK, for `__GFP_THISNODE`), "thisnode" in the log.
    NoFallback,
}

/// What the node orders depend on, apart from the layout.
#[derive(Clone, Copy)]
pub struct Topology<'a> {
    /// `node_distance(from, to)`.
    pub distance: &'a dyn Fn(NodeId, NodeId) -> u32,
    /// Nodes whose `cpumask_of_node` is not empty. While booting no CPU has been added to its node yet on x86 and
    /// arm64, so the set is empty there.
    pub nodes_with_cpus: NodeMask,
    /// Nodes that are online when the lists are built; more than during `free_area_init` if CPUs have brought nodes
    /// without memory online.
    pub online: NodeMask,
    /// CONFIG_NUMA. Without it the order is by node number, starting at the node.
    pub numa: bool,
}

/// Why lists could not be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneListError {
    /// The slice for the node orders is too short.
    TooShort {
        /// Its length.
        len: usize,
        /// What [`ZoneLists::required_len`] asks for.
        required: usize,
    },
}

impl fmt::Display for ZoneListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::TooShort { len, required } = self;
        write!(f, "room for {len} zonelist entries, {required} are needed")
    }
}

impl core::error::Error for ZoneListError {}

/// The node orders of all possible nodes.
#[derive(Debug)]
pub struct ZoneLists<'a> {
    orders: &'a [NodeId],
    stride: usize,
    zones: ZoneSet,
    online: NodeMask,
    numa: bool,
    /// The highest zone, of those in any list, that memory policies apply to (`policy_zone`).
    pub policy_zone: ZoneKind,
}

impl<'a> ZoneLists<'a> {
    /// How many entries the caller's slice needs for a layout.
    pub fn required_len(layout: &Layout<'_>) -> usize {
        layout.nodes().len() * stride(layout)
    }

    /// Builds every node's order (`__build_all_zonelists`).
    ///
    /// # Errors
    /// [`ZoneListError::TooShort`] if `buffer` is smaller than [`Self::required_len`]. Nothing has changed then.
    pub fn build(
        layout: &Layout<'_>,
        topology: &Topology<'_>,
        buffer: &'a mut [NodeId],
    ) -> Result<Self, ZoneListError> {
        let (stride, required) = (stride(layout), Self::required_len(layout));
        let len = buffer.len();
        let Some(orders) = buffer.get_mut(..required) else {
            return Err(ZoneListError::TooShort { len, required });
        };
        let mut load = [0u32; NodeId::LIMIT];
        for (node, order) in layout.nodes().iter().zip(orders.chunks_exact_mut(stride)) {
            if !node.possible {
                continue;
            }
            // Unused places keep the node's own number, which occurs first and so ends the order.
            order.fill(node.nid);
            let mut places = order.iter_mut();
            each_node_of(
                node.nid,
                &layout.memory_nodes,
                topology,
                &mut load,
                &mut |next| match places.next() {
                    Some(place) => {
                        *place = next;
                        places.len() > 0
                    }
                    None => false,
                },
            );
        }
        Ok(Self {
            orders,
            stride,
            zones: layout.config().zones,
            online: topology.online,
            numa: topology.numa,
            policy_zone: policy_zone(layout),
        })
    }

    /// The nodes that an allocation starting on `nid` tries, in order. Empty for a node that cannot exist.
    pub fn node_order(&self, nid: NodeId) -> &[NodeId] {
        let from = nid.index() * self.stride;
        let Some(order) = self.orders.get(from..from + self.stride) else { return &[] };
        if order.first() != Some(&nid) {
            return &[];
        }
        let len = order[1..].iter().position(|&n| n == nid).map_or(order.len(), |i| i + 1);
        &order[..len]
    }

    /// Calls `f` with each zone of a list, up to and including kind `highest`, in the order in which an allocation
    /// tries them (`for_each_zone_zonelist`).
    pub fn for_each_zone(
        &self,
        layout: &Layout<'_>,
        nid: NodeId,
        list: ListKind,
        highest: ZoneKind,
        f: &mut dyn FnMut(NodeId, ZoneKind),
    ) {
        let order = self.node_order(nid);
        let len = if list == ListKind::NoFallback { order.len().min(1) } else { order.len() };
        for &n in &order[..len] {
            let Some(node) = layout.nodes().get(n.index()) else { continue };
            for zone in node.populated().rev().filter(|z| z.kind <= highest) {
                f(n, zone.kind);
            }
        }
    }

    /// Pages beyond the high watermark in every zone up to `highest` (`nr_free_zone_pages`), seen from node `nid`.
    /// `zone` returns a zone's managed pages and high watermark.
    pub fn free_zone_pages(
        &self,
        layout: &Layout<'_>,
        nid: NodeId,
        highest: ZoneKind,
        zone: &dyn Fn(NodeId, ZoneKind) -> (u64, u64),
    ) -> u64 {
        let mut sum = 0u64;
        self.for_each_zone(layout, nid, ListKind::Fallback, highest, &mut |n, kind| {
            let (managed, high) = zone(n, kind);
            sum += managed.saturating_sub(high);
        });
        sum
    }

    /// "Total pages" of the boot log (`vm_total_pages`): all pages that a movable allocation on `nid` can use, from
    /// the layout's early estimate, watermarks being 0 then.
    pub fn total_pages_at_boot(&self, layout: &Layout<'_>, nid: NodeId) -> u64 {
        self.free_zone_pages(layout, nid, ZoneKind::Movable, &|n, kind| {
            (layout.nodes()[n.index()].zone(kind).early_managed, 0)
        })
    }

    /// Sends "Fallback order for Node ..." of each possible node (NUMA kernels), as `build_zonelists` prints it.
    pub fn fallback_lines(&self, layout: &Layout<'_>, line: &mut dyn FnMut(fmt::Arguments<'_>)) {
        for node in layout.nodes().iter().filter(|n| self.numa && n.possible) {
            line(format_args!("Fallback order for Node {}: {}", node.nid, Order(self.node_order(node.nid))));
        }
    }

    /// Sends the "mminit::zonelist" lines of `mminit_loglevel=4` (`mminit_verify_zonelist`).
    pub fn verify_lines(&self, layout: &Layout<'_>, line: &mut dyn FnMut(fmt::Arguments<'_>)) {
        let lists = [(ListKind::Fallback, "general"), (ListKind::NoFallback, "thisnode")];
        for node in layout.nodes().iter().filter(|n| self.online.contains(n.nid)) {
            for &(list, name) in &lists[..if self.numa { 2 } else { 1 }] {
                for kind in self.zones.iter().filter(|&k| node.zone(k).is_populated()) {
                    let zones = ListLine { lists: self, layout, node, list, kind };
                    line(format_args!("mminit::zonelist {name} {}:{kind} = {zones}", node.nid));
                }
            }
        }
    }
}

/// An order holds the node itself and every other node with memory.
fn stride(layout: &Layout<'_>) -> usize {
    layout.memory_nodes.len() + 1
}

/// Calls `f` with the nodes that an allocation starting on `nid` tries, the node itself first, until it returns false (`build_zonelists`). `memory` are the
/// nodes that have some; `load` goes on from node to node.
pub(crate) fn each_node_of(
    nid: NodeId,
    memory: &NodeMask,
    topology: &Topology<'_>,
    load: &mut [u32; NodeId::LIMIT],
    f: &mut dyn FnMut(NodeId) -> bool,
) {
    let mut used = NodeMask::only(nid);
    let mut previous = nid;
    let mut go_on = f(nid);
    while go_on && let Some(next) = next_best_node(memory, topology, nid, &used, load) {
        used.insert(next);
        // The first node of a distance group becomes less attractive to later nodes: round robin.
        if topology.numa && (topology.distance)(nid, next) != (topology.distance)(nid, previous) {
            load[next.index()] += 1;
        }
        previous = next;
        go_on = f(next);
    }
}

/// The node that a list takes next (`find_next_best_node`): the nearest unused one with memory. Of equals, one
/// without CPUs is preferred, then one that is first choice of fewer nodes; nodes below `nid` count as one farther, so
/// that the choice goes round.
fn next_best_node(
    memory: &NodeMask,
    topology: &Topology<'_>,
    nid: NodeId,
    used: &NodeMask,
    load: &[u32; NodeId::LIMIT],
) -> Option<NodeId> {
    let candidates = memory.iter().filter(|&n| !used.contains(n));
    if !topology.numa {
        // Upwards from the node, then from 0.
        return candidates.min_by_key(|&n| (n < nid, n));
    }
    candidates.min_by_key(|&n| {
        let distance = u64::from((topology.distance)(nid, n))
            + u64::from(n < nid)
            + u64::from(topology.nodes_with_cpus.contains(n));
        (distance, load[n.index()])
    })
}

/// The highest zone in any list, Movable and Device apart; the lowest configured zone without any memory.
fn policy_zone(layout: &Layout<'_>) -> ZoneKind {
    let lowest = layout.config().zones.iter().next().unwrap_or(ZoneKind::Normal);
    let populated = layout.nodes().iter().flat_map(NodeLayout::populated).map(|z| z.kind);
    populated.filter(|&k| k < ZoneKind::Movable).max().unwrap_or(lowest)
}

/// Whether grouping pages by mobility is switched off (`page_group_by_mobility_disabled`): there is not even one
/// pageblock for each of the kernel's migrate types.
pub const fn mobility_grouping_disabled(total_pages: u64, pageblock_pages: u64, migrate_types: u32) -> bool {
    total_pages < pageblock_pages * migrate_types as u64
}

struct Order<'a>(&'a [NodeId]);

impl fmt::Display for Order<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|nid| write!(f, "{nid} "))
    }
}

struct ListLine<'a> {
    lists: &'a ZoneLists<'a>,
    layout: &'a Layout<'a>,
    node: &'a NodeLayout,
    list: ListKind,
    kind: ZoneKind,
}

impl fmt::Display for ListLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut result = Ok(());
        self.lists.for_each_zone(self.layout, self.node.nid, self.list, self.kind, &mut |nid, kind| {
            if result.is_ok() {
                result = write!(f, "{nid}:{kind} ");
            }
        });
        result
    }
}

/// "Built 1 zonelists, mobility grouping on.  Total pages: 260416".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuiltLine {
    /// Online nodes.
    pub nodes: usize,
    /// Whether pages are grouped by mobility.
    pub mobility_grouping: bool,
    /// `vm_total_pages`.
    pub total_pages: u64,
}

impl fmt::Display for BuiltLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = if self.mobility_grouping { "on" } else { "off" };
        write!(
            f,
            "Built {} zonelists, mobility grouping {on}.  Total pages: {}",
            self.nodes, self.total_pages
        )
    }
}

/// "Policy zone: Normal", printed by NUMA kernels.
#[derive(Clone, Copy, Debug)]
pub struct PolicyZoneLine {
    /// The zone.
    pub zone: ZoneKind,
}

impl fmt::Display for PolicyZoneLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy zone: {}", self.zone)
    }
}

#[cfg(test)]
mod tests;
