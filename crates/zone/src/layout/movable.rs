//! Where ZONE_MOVABLE starts on each node: `find_zone_movable_pfns_for_nodes`.
//!
//! Four modes, in order of precedence:
//! - `movable_node`: from the first hot-pluggable range of the node on;
//! - `kernelcore=mirror`: from the first range above 4 GiB that is not mirrored;
//! - `kernelcore=` and `movablecore=`, bytes or percent: memory for the kernel is spread evenly over the nodes, and
//!   what lies above each node's share, inside the highest populated zone, is movable;
//! - none: no ZONE_MOVABLE.
//!
//! Every start is rounded up to a block of the largest order; a start at or past the node's end is no start.

use super::{CoreAmount, LayoutConfig, MemFlags, MemRange, NodeLayout};
use crate::kind::ZoneKind;
use pagewright_addr::{Pfn, PfnRange};

/// The highest zone with frames, out of which ZONE_MOVABLE is cut (`find_usable_zone_for_movable`).
pub(super) fn usable_zone(cfg: &LayoutConfig, bounds: &[PfnRange; ZoneKind::COUNT]) -> ZoneKind {
    cfg.zones
        .iter()
        .rev()
        .find(|&k| k != ZoneKind::Movable && !bounds[k.index()].is_empty())
        .unwrap_or(ZoneKind::Normal)
}

/// Sets `movable_start` of every node. Returns whether `kernelcore=mirror` met memory below 4 GiB without mirror.
pub(super) fn find_starts(
    cfg: &LayoutConfig,
    ranges: &[MemRange],
    bounds: &[PfnRange; ZoneKind::COUNT],
    movable_zone: ZoneKind,
    nodes: &mut [NodeLayout],
) -> bool {
    let mut unmirrored = false;
    if cfg.movable_node {
        for r in ranges.iter().filter(|r| r.flags.contains(MemFlags::HOTPLUG)) {
            lower_start(&mut nodes[r.nid.index()], r.pfns.start);
        }
    } else if cfg.mirrored_kernelcore() {
        let four_gib = Pfn::new((1 << 32) >> cfg.page_shift.get());
        for r in ranges.iter().filter(|r| !r.flags.contains(MemFlags::MIRROR)) {
            if r.pfns.start < four_gib {
                unmirrored = true;
            } else {
                lower_start(&mut nodes[r.nid.index()], r.pfns.start);
            }
        }
    } else {
        let total = ranges.iter().map(|r| r.pfns.len()).sum();
        match kernelcore_pages(cfg, total) {
            Some(pages) => spread(ranges, bounds[movable_zone.index()].start, pages, nodes),
            None => return false,
        }
    }
    for node in nodes.iter_mut() {
        node.movable_start = node
            .movable_start
            .map(|pfn| pfn.align_up(cfg.max_order_pages()))
            .filter(|&pfn| pfn > Pfn::ZERO && pfn < node.pfns.end);
    }
    unmirrored
}

fn lower_start(node: &mut NodeLayout, pfn: Pfn) {
    // Frame 0 is how Linux writes "none".
    if pfn == Pfn::ZERO {
        return;
    }
    node.movable_start = Some(node.movable_start.map_or(pfn, |old| old.min(pfn)));
}

/// How many pages must stay usable for any allocation; `None` when there is to be no ZONE_MOVABLE.
fn kernelcore_pages(cfg: &LayoutConfig, total: u64) -> Option<u64> {
    let amount = |a: CoreAmount| match a {
        CoreAmount::Pages(pages) => pages,
        CoreAmount::Percent(percent) => {
            // Computed in `unsigned long`, which a 32-bit kernel with much memory overflows.
            let product = total.wrapping_mul(100).wrapping_mul(percent);
            (if cfg.bits_per_long == 32 { product & 0xffff_ffff } else { product }) / 10_000
        }
        CoreAmount::None | CoreAmount::Mirror => 0,
    };
    let mut kernelcore = amount(cfg.kernelcore);
    let movablecore = amount(cfg.movablecore);
    if movablecore > 0 {
        // Rounded up so that ZONE_MOVABLE is at least as large as asked for; the larger of both wishes for the kernel
        // wins.
        let movable = movablecore.min(total).next_multiple_of(cfg.max_order_pages()).min(total);
        kernelcore = kernelcore.max(total - movable);
    }
    (kernelcore > 0 && kernelcore < total).then_some(kernelcore)
}

/// Hands `required` pages of kernel memory out to the nodes evenly, in passes: a node that is too small for its share
/// leaves the rest to the others in the next pass. Memory below `usable_start` is the kernel's whatever the share.
fn spread(ranges: &[MemRange], usable_start: Pfn, mut required: u64, nodes: &mut [NodeLayout]) {
    let mut usable_nodes = nodes.iter().filter(|n| !n.pfns.is_empty()).count() as u64;
    // What is left for a node is kept in `movable_start`: everything below it has been handed out.
    while usable_nodes > 0 {
        let mut share = required / usable_nodes;
        for node in nodes.iter_mut().filter(|n| !n.pfns.is_empty()) {
            if required < share {
                share = required / usable_nodes;
            }
            take_share(ranges, usable_start, share, &mut required, node);
        }
        usable_nodes -= 1;
        if required <= usable_nodes {
            break;
        }
    }
}

fn take_share(ranges: &[MemRange], usable_start: Pfn, share: u64, required: &mut u64, node: &mut NodeLayout) {
    let mut remaining = share;
    let first = ranges.partition_point(|r| r.pfns.end <= node.pfns.start);
    for r in ranges[first..].iter().take_while(|r| r.pfns.start < node.pfns.end) {
        let mut start = r.pfns.start.max(node.movable_start.unwrap_or(Pfn::ZERO));
        if r.nid != node.nid || start >= r.pfns.end {
            continue;
        }
        if start < usable_start {
            let kernel = r.pfns.end.min(usable_start).get() - start.get();
            remaining = remaining.saturating_sub(kernel);
            *required = required.saturating_sub(kernel);
            if r.pfns.end <= usable_start {
                // Handed out as a whole: the next pass must not count it again.
                node.movable_start = Some(r.pfns.end);
                continue;
            }
            start = usable_start;
        }
        let pages = remaining.min(r.pfns.end.get() - start.get());
        node.movable_start = Some(start.saturating_add(pages));
        *required = required.saturating_sub(pages);
        remaining -= pages;
        if remaining == 0 {
            break;
        }
    }
}
