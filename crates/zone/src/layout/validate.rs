//! The invariants of a layout, checked against the memory that it was computed from.

use super::{Layout, NodeLayout};
use crate::kind::ZoneKind;
use core::fmt;
use pagewright_addr::{NodeId, Pfn, PfnRange};

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutViolation {
    /// A node that is not at the place of its number.
    Node {
        /// The place.
        index: usize,
        /// The node there.
        nid: NodeId,
    },
    /// A zone of a kind that the kernel does not have, or of a node that cannot exist.
    Unconfigured {
        /// The zone's node.
        nid: NodeId,
        /// Its kind.
        kind: ZoneKind,
    },
    /// A zone that reaches out of its node, or starts below the end of the zone before it.
    Span {
        /// The zone's node.
        nid: NodeId,
        /// Its kind.
        kind: ZoneKind,
    },
    /// Present and absent frames do not add up to the spanned ones.
    Present {
        /// The zone's node.
        nid: NodeId,
        /// Its kind.
        kind: ZoneKind,
        /// What the layout says.
        present: u64,
        /// Frames of the node's memory in the zone's span.
        memory: u64,
    },
    /// A zone that expects to manage more frames than are present.
    Managed {
        /// The zone's node.
        nid: NodeId,
        /// Its kind.
        kind: ZoneKind,
    },
    /// A node's spanned or present frames are not the sums over its zones.
    NodeSum {
        /// The node.
        nid: NodeId,
        /// Spanned and present frames of the node.
        node: (u64, u64),
        /// The sums.
        zones: (u64, u64),
    },
    /// ZONE_MOVABLE does not start where the node says, or that place is outside the node or ragged.
    Movable {
        /// The node.
        nid: NodeId,
    },
    /// The first deferred frame is outside the node or no section's first.
    Deferred {
        /// The node.
        nid: NodeId,
    },
    /// The node is in a set of nodes that it does not belong to, or is missing from one.
    States {
        /// The node.
        nid: NodeId,
    },
    /// Memory below the zones' limits that no zone counts as present, or counted twice.
    Memory {
        /// Frames present in all zones.
        present: u64,
        /// Frames of memory below the limits.
        memory: u64,
    },
    /// The running totals are not what the zones expect to manage.
    Totals {
        /// `nr_all_pages`.
        all: u64,
        /// `nr_kernel_pages`, which is no more than that.
        kernel: u64,
        /// The sum over the zones.
        summed: u64,
    },
}

impl fmt::Display for LayoutViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Node { index, nid } => write!(f, "node {nid} is at place {index}"),
            Self::Unconfigured { nid, kind } => write!(f, "zone {kind} of node {nid} cannot exist"),
            Self::Span { nid, kind } => write!(f, "zone {kind} of node {nid} is out of its node or of order"),
            Self::Present { nid, kind, present, memory } => {
                write!(
                    f,
                    "zone {kind} of node {nid}: {present} frames present, {memory} of memory in its span"
                )
            }
            Self::Managed { nid, kind } => {
                write!(f, "zone {kind} of node {nid} manages more than is present")
            }
            Self::NodeSum { nid, node, zones } => {
                write!(f, "node {nid}: spanned and present frames are {node:?}, its zones have {zones:?}")
            }
            Self::Movable { nid } => write!(f, "node {nid}: ZONE_MOVABLE does not start where it should"),
            Self::Deferred { nid } => {
                write!(f, "node {nid}: deferred frames start outside or inside a section")
            }
            Self::States { nid } => write!(f, "node {nid} is in the wrong sets of nodes"),
            Self::Memory { present, memory } => {
                write!(f, "{present} frames present in all zones, {memory} of memory below their limits")
            }
            Self::Totals { all, kernel, summed } => {
                write!(f, "{all} pages in all, {kernel} for the kernel; the zones add up to {summed}")
            }
        }
    }
}

impl core::error::Error for LayoutViolation {}

impl Layout<'_> {
    /// Checks every node and zone against the memory ranges: zones ascend inside their node without overlap (but for
    /// `kernelcore=mirror`), spanned frames are the present and the absent ones, sums and totals add up, ZONE_MOVABLE
    /// and deferred frames start where they may, and node states follow from the zones.
    ///
    /// # Errors
    /// The first [`LayoutViolation`].
    pub fn validate(&self) -> Result<(), LayoutViolation> {
        let mut all = 0;
        for (index, node) in self.nodes.iter().enumerate() {
            if node.nid.index() != index {
                return Err(LayoutViolation::Node { index, nid: node.nid });
            }
            self.validate_zones(node)?;
            self.validate_starts(node)?;
            self.validate_states(node)?;
            all += node.zones.iter().map(|z| z.early_managed).sum::<u64>();
        }
        if all != self.nr_all_pages || self.nr_kernel_pages > all {
            let (kernel, all) = (self.nr_kernel_pages, self.nr_all_pages);
            return Err(LayoutViolation::Totals {
                all,
                kernel,
                summed: self.nodes.iter().flat_map(|n| &n.zones).map(|z| z.early_managed).sum(),
            });
        }
        self.validate_memory()
    }

    /// Mirror mode loses count of memory below a rounded movable start, and its zones overlap.
    fn is_exact(&self) -> bool {
        !self.cfg.mirrored_kernelcore()
    }

    fn validate_zones(&self, node: &NodeLayout) -> Result<(), LayoutViolation> {
        let nid = node.nid;
        let mut end = Pfn::ZERO;
        let mut zones = (0, 0);
        for zone in &node.zones {
            let (kind, span) = (zone.kind, zone.pfns());
            if zone.spanned == 0 && zone.present == 0 {
                continue;
            }
            if !node.possible || !self.cfg.zones.contains(kind) {
                return Err(LayoutViolation::Unconfigured { nid, kind });
            }
            if !node.pfns.contains_range(&span) || self.is_exact() && span.start < end {
                return Err(LayoutViolation::Span { nid, kind });
            }
            end = span.end;
            let ranges = super::span::overlapping(self.ranges, &span);
            let memory =
                ranges.iter().filter(|r| r.nid == nid).map(|r| r.pfns.intersection(&span).len()).sum();
            let present = zone.present;
            if present > memory || self.is_exact() && present != memory {
                return Err(LayoutViolation::Present { nid, kind, present, memory });
            }
            if zone.early_managed > present {
                return Err(LayoutViolation::Managed { nid, kind });
            }
            zones = (zones.0 + zone.spanned, zones.1 + present);
        }
        let sums = (node.spanned, node.present);
        if sums == zones { Ok(()) } else { Err(LayoutViolation::NodeSum { nid, node: sums, zones }) }
    }

    fn validate_starts(&self, node: &NodeLayout) -> Result<(), LayoutViolation> {
        let nid = node.nid;
        let movable = node.zone(ZoneKind::Movable);
        let start = node.movable_start;
        let ragged = start.is_some_and(|s| s >= node.pfns.end || !s.is_aligned(self.cfg.max_order_pages()));
        if ragged || movable.spanned > 0 && start != Some(movable.start_pfn) {
            return Err(LayoutViolation::Movable { nid });
        }
        let section = self.cfg.section_pages.unwrap_or(1);
        match node.first_deferred_pfn {
            Some(pfn) if !node.pfns.contains(pfn) || !pfn.is_aligned(section) => {
                Err(LayoutViolation::Deferred { nid })
            }
            _ => Ok(()),
        }
    }

    fn validate_states(&self, node: &NodeLayout) -> Result<(), LayoutViolation> {
        let nid = node.nid;
        let memory = self.memory_nodes.contains(nid);
        let normal = self.normal_memory_nodes.contains(nid);
        let high = self.high_memory_nodes.contains(nid);
        let sound = memory == (node.online && node.present > 0) && (!normal || high) && (!high || memory);
        if sound { Ok(()) } else { Err(LayoutViolation::States { nid }) }
    }

    fn validate_memory(&self) -> Result<(), LayoutViolation> {
        if !self.is_exact() {
            return Ok(());
        }
        let start = self.ranges.first().map_or(Pfn::ZERO, |r| r.pfns.start);
        let end = self.bounds.iter().filter(|b| !b.is_empty()).map(|b| b.end).max().unwrap_or(start);
        let limits = PfnRange::new(start, end);
        let memory = self.ranges.iter().map(|r| r.pfns.intersection(&limits).len()).sum();
        let present = self.nodes.iter().map(|n| n.present).sum();
        if memory == present { Ok(()) } else { Err(LayoutViolation::Memory { present, memory }) }
    }
}
