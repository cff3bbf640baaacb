//! The layout in the wording of Linux's boot log.
//!
//! Each line is a value that prints itself without a newline; the boot path sends them to its log at the places where
//! Linux prints them: [`range_lines`] first, then for each node [`InitmemLine`] and a [`MemmapInitLine`] for each
//! zone, last the [`super::UnavailableRange`]s.

use super::{Layout, MemRange, NodeLayout, ZoneLayout};
use crate::kind::{ZoneKind, ZoneSet};
use core::fmt;
use pagewright_addr::{NodeId, PageShift, Pfn, PfnRange};

/// Sends "Zone ranges:", "Movable zone start for each node", "Early memory node ranges" and what belongs under them.
pub fn range_lines(layout: &Layout<'_>, line: &mut dyn FnMut(fmt::Arguments<'_>)) {
    let shift = layout.cfg.page_shift;
    line(format_args!("Zone ranges:"));
    for kind in layout.cfg.zones.iter().filter(|&k| k != ZoneKind::Movable) {
        line(format_args!("{}", ZoneRangeLine { kind, pfns: layout.zone_bounds(kind), shift }));
    }
    line(format_args!("Movable zone start for each node"));
    for node in layout.nodes() {
        if let Some(start) = node.movable_start {
            line(format_args!("{}", MovableStartLine { nid: node.nid, start, shift }));
        }
    }
    line(format_args!("Early memory node ranges"));
    for range in layout.ranges() {
        line(format_args!("{}", NodeRangeLine { range: *range, shift }));
    }
}

/// `[mem 0x0000000000001000-0x0000000000ffffff]` (`%#018Lx`).
struct Mem(PfnRange, PageShift);

impl fmt::Display for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.bytes(self.1);
        write!(f, "[mem {:#018x}-{:#018x}]", bytes.start, bytes.end.saturating_sub(1))
    }
}

/// A zone's line under "Zone ranges:".
#[derive(Clone, Copy, Debug)]
pub struct ZoneRangeLine {
    /// The kind.
    pub kind: ZoneKind,
    /// The frames it may hold.
    pub pfns: PfnRange,
    /// The page size.
    pub shift: PageShift,
}

impl fmt::Display for ZoneRangeLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pfns.is_empty() {
            write!(f, "  {:<8} empty", self.kind)
        } else {
            write!(f, "  {:<8} {}", self.kind, Mem(self.pfns, self.shift))
        }
    }
}

/// A node's line under "Movable zone start for each node".
#[derive(Clone, Copy, Debug)]
pub struct MovableStartLine {
    /// The node.
    pub nid: NodeId,
    /// Where ZONE_MOVABLE starts.
    pub start: Pfn,
    /// The page size.
    pub shift: PageShift,
}

impl fmt::Display for MovableStartLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  Node {}: {:#018x}", self.nid, self.start.phys(self.shift))
    }
}

/// A range's line under "Early memory node ranges".
#[derive(Clone, Copy, Debug)]
pub struct NodeRangeLine {
    /// The range.
    pub range: MemRange,
    /// The page size.
    pub shift: PageShift,
}

impl fmt::Display for NodeRangeLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  node {:>3}: {}", self.range.nid, Mem(self.range.pfns, self.shift))
    }
}

/// "Initializing node 3 as memoryless": printed, before its node data is allocated, for a possible node that is not
/// online.
#[derive(Clone, Copy, Debug)]
pub struct MemorylessLine {
    /// The node.
    pub nid: NodeId,
}

impl fmt::Display for MemorylessLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Initializing node {} as memoryless", self.nid)
    }
}

/// "Initmem setup node ..." of a node.
#[derive(Clone, Copy, Debug)]
pub struct InitmemLine<'a> {
    /// The node.
    pub node: &'a NodeLayout,
    /// The page size.
    pub shift: PageShift,
}

impl fmt::Display for InitmemLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.node.pfns.is_empty() {
            write!(f, "Initmem setup node {} as memoryless", self.node.nid)
        } else {
            write!(f, "Initmem setup node {} {}", self.node.nid, Mem(self.node.pfns, self.shift))
        }
    }
}

/// The memory-map line of a zone that spans something (`mminit_loglevel=4`).
#[derive(Clone, Copy, Debug)]
pub struct MemmapInitLine<'a> {
    /// The kernel's zone kinds, which number the zone.
    pub zones: ZoneSet,
    /// The node.
    pub nid: NodeId,
    /// The zone.
    pub zone: &'a ZoneLayout,
}

impl fmt::Display for MemmapInitLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pfns = self.zone.pfns();
        write!(
            f,
            "mminit::memmap_init Initialising map node {} zone {} pfns {} -> {}",
            self.nid,
            self.zones.number(self.zone.kind).unwrap_or_default(),
            pfns.start.get(),
            pfns.end.get()
        )
    }
}
