//! What `memmap_init` finds: frames that are initialised early, holes that get metadata, contiguous zones.

use super::{Layout, MemFlags, MemRange, ZoneLayout};
use crate::kind::ZoneKind;
use core::fmt;
use pagewright_addr::{NodeId, Pfn, PfnRange};

/// A hole whose frames have metadata (in part): they are marked reserved and given to a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnavailableRange {
    /// The node of the zone.
    pub nid: NodeId,
    /// The zone of the memory that follows; after the last memory, the highest zone of the last node.
    pub kind: ZoneKind,
    /// The hole; not all of its frames need have metadata.
    pub hole: PfnRange,
    /// How many have; never 0.
    pub pages: u64,
}

impl fmt::Display for UnavailableRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "On node {}, zone {}: {} pages in unavailable ranges", self.nid, self.kind, self.pages)
    }
}

/// Calls `f` with each piece of memory in the order in which its metadata is initialised: range by range, and within
/// a range zone by zone.
fn for_each_piece(layout: &Layout<'_>, f: &mut dyn FnMut(&MemRange, &ZoneLayout, PfnRange)) {
    for r in layout.ranges {
        for zone in layout.nodes[r.nid.index()].populated() {
            let piece = r.pfns.intersection(&zone.pfns());
            if !piece.is_empty() {
                f(r, zone, piece);
            }
        }
    }
}

/// See [`Layout::for_each_zone_memory`].
pub(super) fn for_each_zone_memory(layout: &Layout<'_>, f: &mut dyn FnMut(NodeId, ZoneKind, PfnRange)) {
    for r in layout.ranges {
        let node = &layout.nodes[r.nid.index()];
        let movable = node.zone(ZoneKind::Movable).pfns();
        let mirror = layout.cfg.mirrored_kernelcore() && r.flags.contains(MemFlags::MIRROR);
        for zone in node.populated() {
            let mut piece = r.pfns.intersection(&zone.pfns());
            // Overlapping zones: Movable has what is not mirrored, the other what is.
            if layout.cfg.mirrored_kernelcore() && piece.overlaps(&movable) {
                match (zone.kind, mirror) {
                    (ZoneKind::Movable, true) => continue,
                    (ZoneKind::Movable, false) | (_, true) => {}
                    (_, false) => piece.end = piece.end.min(movable.start),
                }
            }
            if !piece.is_empty() {
                f(r.nid, zone.kind, piece);
            }
        }
    }
}

/// Finds `first_deferred_pfn` of each node.
///
/// Only the zone that reaches the node's end is deferred, and there only past the first section's worth of frames, at
/// a section boundary. The running count is shared by zones with the same end, as in `defer_init`.
pub(super) fn find_deferred(layout: &mut Layout<'_>) {
    let Some(section) = layout.cfg.section_pages.filter(|_| layout.cfg.deferred) else { return };
    let mirrored = layout.cfg.mirrored_kernelcore();
    let (mut counted_end, mut counted) = (Pfn::ZERO, 0u64);
    for r in layout.ranges {
        let node = &mut layout.nodes[r.nid.index()];
        for kind in ZoneKind::ALL {
            let zone = *node.zone(kind);
            let piece = r.pfns.intersection(&zone.pfns());
            if !zone.is_populated()
                || piece.is_empty()
                || (mirrored && kind == ZoneKind::Movable && r.flags.contains(MemFlags::MIRROR))
            {
                continue;
            }
            let end = zone.pfns().end;
            if counted_end != end {
                (counted_end, counted) = (end, 0);
            }
            if end < node.pfns.end || node.first_deferred_pfn.is_some() {
                continue;
            }
            let pfn = piece.start.saturating_add(section.saturating_sub(counted)).align_up(section);
            if pfn < piece.end {
                node.first_deferred_pfn = Some(pfn);
            } else {
                counted += piece.len();
            }
        }
    }
}

/// See [`Layout::for_each_unavailable`].
pub(super) fn for_each_unavailable(layout: &Layout<'_>, f: &mut dyn FnMut(UnavailableRange)) {
    let mut hole_start = Pfn::ZERO;
    let mut report = |hole: PfnRange, nid, kind| {
        let cfg = &layout.cfg;
        let pages = cfg.pfn_valid.count_in(&hole, cfg.pageblock_pages(), layout.ranges, layout.nodes);
        if pages > 0 {
            f(UnavailableRange { nid, kind, hole, pages });
        }
    };
    for_each_piece(layout, &mut |r, zone, piece| {
        report(PfnRange::new(hole_start, piece.start), r.nid, zone.kind);
        hole_start = piece.end;
    });
    let Some((hole_end, nid, kind)) = trailing(layout) else { return };
    report(PfnRange::new(hole_start, hole_end), nid, kind);
}

/// The end of the last hole (the last section's end with SPARSEMEM) and the zone that takes its frames.
fn trailing(layout: &Layout<'_>) -> Option<(Pfn, NodeId, ZoneKind)> {
    let last = layout.ranges.last()?;
    let kind = layout.nodes[last.nid.index()].populated().next_back()?.kind;
    Some((last.pfns.end.align_up(layout.cfg.section_pages.unwrap_or(1)), last.nid, kind))
}

/// Whether a frame has metadata (`pfn_valid`).
fn pfn_valid(layout: &Layout<'_>, pfn: Pfn) -> bool {
    layout.cfg.pfn_valid.is_valid(pfn, layout.ranges, layout.nodes)
}

/// See [`Layout::zone_of`].
pub(super) fn zone_of(layout: &Layout<'_>, pfn: Pfn) -> Option<(NodeId, ZoneKind)> {
    if !pfn_valid(layout, pfn) {
        return None;
    }
    let index = layout.ranges.partition_point(|r| r.pfns.end <= pfn);
    // In a hole, the next piece of memory decides; its first zone is the lowest that the range meets.
    for r in &layout.ranges[index..] {
        let at = pfn.max(r.pfns.start);
        let mut kinds = layout.nodes[r.nid.index()].populated().filter(|z| z.pfns().contains(at));
        let kind = if pfn < r.pfns.start {
            kinds.next()
        } else if layout.cfg.mirrored_kernelcore() && r.flags.contains(MemFlags::MIRROR) {
            // Zones overlap: mirrored memory is skipped when Movable's metadata is written.
            kinds.find(|z| z.kind != ZoneKind::Movable)
        } else {
            kinds.next_back()
        };
        if let Some(zone) = kind {
            return Some((r.nid, zone.kind));
        }
    }
    trailing(layout).filter(|&(end, ..)| pfn < end).map(|(_, nid, kind)| (nid, kind))
}

/// `set_zone_contiguous` for every zone: the first and last frame of each pageblock (cut at the zone's ends) must
/// have metadata that names the zone.
pub(super) fn find_contiguous(layout: &mut Layout<'_>) {
    for i in 0..layout.nodes.len() {
        for kind in ZoneKind::ALL {
            let zone = *layout.nodes[i].zone(kind);
            if zone.is_populated() {
                layout.nodes[i].zones[kind.index()].contiguous =
                    is_contiguous(layout, layout.nodes[i].nid, &zone);
            }
        }
    }
}

fn is_contiguous(layout: &Layout<'_>, nid: NodeId, zone: &ZoneLayout) -> bool {
    let block = layout.cfg.pageblock_pages();
    let span = zone.pfns();
    let mine = Some((nid, zone.kind));
    let mut start = span.start;
    while start < span.end {
        let end = start.saturating_add(1).align_up(block).min(span.end);
        if zone_of(layout, start) != mine || zone_of(layout, end.saturating_sub(1)) != mine {
            return false;
        }
        // Blocks wholly inside one memory range are alike: go to the one that holds the range's end.
        let index = layout.ranges.partition_point(|r| r.pfns.end <= start);
        start = match layout.ranges.get(index) {
            Some(r) if r.pfns.start <= start => r.pfns.end.align_down(block).max(end),
            _ => end,
        };
    }
    true
}
