//! Sizes of zones: bounds from the architecture's limits, spans, holes, and the memory map's share.

use super::{Layout, LayoutConfig, MemFlags, MemRange, NodeLayout, ZoneLayout};
use crate::kind::ZoneKind;
use pagewright_addr::{Pfn, PfnRange};

/// The frames each kind may hold. Kinds follow each other without gaps from the first frame of RAM; a limit below
/// that start makes its zone empty.
pub(super) fn zone_bounds(cfg: &LayoutConfig, ranges: &[MemRange]) -> [PfnRange; ZoneKind::COUNT] {
    let mut bounds = [PfnRange::default(); ZoneKind::COUNT];
    let mut start = ranges.first().map_or(Pfn::ZERO, |r| r.pfns.start);
    for kind in cfg.zones.iter().filter(|&k| k != ZoneKind::Movable) {
        let end = cfg.max_zone_pfn[kind.index()].max(start);
        bounds[kind.index()] = PfnRange::new(start, end);
        start = end;
    }
    bounds
}

/// Fills in every node's zones, the node states and the page totals (`free_area_init_node` for each node).
pub(super) fn size_zones(layout: &mut Layout<'_>) {
    for i in 0..layout.nodes.len() {
        if !layout.nodes[i].possible {
            continue;
        }
        for kind in layout.cfg.zones.iter() {
            let zone = size_zone(layout, &layout.nodes[i], kind);
            let node = &mut layout.nodes[i];
            node.spanned += zone.spanned;
            node.present += zone.present;
            node.zones[kind.index()] = zone;
        }
        for kind in layout.cfg.zones.iter() {
            account(layout, i, kind);
        }
        set_states(layout, i);
    }
}

fn size_zone(layout: &Layout<'_>, node: &NodeLayout, kind: ZoneKind) -> ZoneLayout {
    let mut zone = ZoneLayout::empty(kind);
    if node.pfns.is_empty() {
        return zone;
    }
    let span = span_on_node(layout, node, kind);
    if span.is_empty() {
        return zone;
    }
    zone.start_pfn = span.start;
    zone.spanned = span.len();
    zone.present = present_in(layout, node, kind, &span);
    zone
}

/// The frames of a zone on a node: the node's span cut to the zone's bounds, then shaped around ZONE_MOVABLE.
fn span_on_node(layout: &Layout<'_>, node: &NodeLayout, kind: ZoneKind) -> PfnRange {
    let bounds = layout.bounds[kind.index()];
    let mut span = node.pfns.intersection(&bounds);
    if let Some(movable) = node.movable_start {
        if kind == ZoneKind::Movable {
            let top = layout.bounds[layout.movable_zone.index()].end;
            return PfnRange::new(movable, node.pfns.end.min(top));
        }
        if span.start >= movable {
            return PfnRange::default();
        }
        // Mirrored and other memory alternate: then the zones overlap, and each counts the other's as absent.
        if !layout.cfg.mirrored_kernelcore() {
            span.end = span.end.min(movable);
        }
    }
    span
}

fn present_in(layout: &Layout<'_>, node: &NodeLayout, kind: ZoneKind, span: &PfnRange) -> u64 {
    let mirrored = layout.cfg.mirrored_kernelcore() && node.movable_start.is_some();
    let ranges = overlapping(layout.ranges, span);
    ranges
        .iter()
        .filter(|r| r.nid == node.nid)
        .filter(|r| match kind {
            ZoneKind::Movable if mirrored => !r.flags.contains(MemFlags::MIRROR),
            ZoneKind::Normal if mirrored => r.flags.contains(MemFlags::MIRROR),
            _ => true,
        })
        .map(|r| r.pfns.intersection(span).len())
        .sum()
}

/// The entries of a sorted list that share frames with `span`.
pub(super) fn overlapping<'a>(ranges: &'a [MemRange], span: &PfnRange) -> &'a [MemRange] {
    let first = ranges.partition_point(|r| r.pfns.end <= span.start);
    let past = ranges.partition_point(|r| r.pfns.start < span.end);
    ranges.get(first..past).unwrap_or(&[])
}

/// `calc_memmap_size`: pages that a zone's metadata takes. With SPARSEMEM a zone that is more than 1/16 hole pays
/// for its present frames only.
fn memmap_pages(cfg: &LayoutConfig, zone: &ZoneLayout) -> u64 {
    let holey = zone.spanned > zone.present + (zone.present >> 4);
    let pages = if holey && cfg.section_pages.is_some() { zone.present } else { zone.spanned };
    cfg.page_shift.pages_for(pages * u64::from(cfg.struct_page_bytes))
}

/// The counting half of `free_area_init_core`: what a zone may expect to manage, and the two running totals.
fn account(layout: &mut Layout<'_>, node: usize, kind: ZoneKind) {
    let high = layout.is_highmem(kind);
    let mut zone = *layout.nodes[node].zone(kind);
    zone.memmap_pages = memmap_pages(&layout.cfg, &zone);
    let mut free = zone.present;
    if !high && free >= zone.memmap_pages {
        free -= zone.memmap_pages;
    }
    if layout.cfg.zones.number(kind) == Some(0) && free > layout.cfg.dma_reserve {
        free -= layout.cfg.dma_reserve;
    }
    if !high {
        layout.nr_kernel_pages += free;
    } else if layout.nr_kernel_pages > zone.memmap_pages * 2 {
        // High memory's map lies in low memory: charge for it when there is enough of that.
        layout.nr_kernel_pages -= zone.memmap_pages;
    }
    layout.nr_all_pages += free;
    zone.early_managed = free;
    layout.nodes[node].zones[kind.index()] = zone;
}

/// N_MEMORY, N_NORMAL_MEMORY and N_HIGH_MEMORY (`check_for_memory`): the lowest populated zone below Movable decides.
fn set_states(layout: &mut Layout<'_>, node: usize) {
    let NodeLayout { nid, online, present, .. } = layout.nodes[node];
    if !online {
        return;
    }
    if present > 0 {
        layout.memory_nodes.insert(nid);
    }
    let lowest = layout.nodes[node].populated().map(|z| z.kind).find(|&k| k < ZoneKind::Movable);
    let Some(kind) = lowest else { return };
    if kind <= ZoneKind::Normal {
        layout.normal_memory_nodes.insert(nid);
    }
    if layout.cfg.highmem || kind <= ZoneKind::Normal {
        layout.high_memory_nodes.insert(nid);
    }
}
