//! free_area_init: turns the memory ranges of memblock into nodes and zones.
//!
//! Owns the decisions between "memblock knows the RAM" and "the page metadata is initialised": where each zone
//! begins and ends on each node, where ZONE_MOVABLE starts, how many frames are spanned and present, how many of
//! them the memory map takes, which frames are initialised early, and which holes get metadata although no RAM
//! stands behind them. It changes nothing; the boot path ([`free_area_init`]'s caller) acts on the result and
//! prints the lines of [`log`] at Linux's places.
//!
//! Guarantees: ranges of zones on one node do not overlap unless `kernelcore=mirror` is in force; the present
//! counts of all zones add up to the frames of the ranges that lie below the zones' limits (but for what
//! `kernelcore=mirror` loses below a rounded movable start, as in Linux); the same input gives the same result.

mod config;
mod memmap;
mod movable;
mod span;
mod validate;

pub mod log;

pub use config::{CoreAmount, LayoutConfig, LayoutError, MemFlags, MemRange};
pub use memmap::UnavailableRange;
pub use pagewright_page::model::PfnValidity;
pub use validate::LayoutViolation;

use crate::kind::{NodeMask, ZoneKind};
use pagewright_addr::{NodeId, Pfn, PfnRange};
use pagewright_page::model::{AddrBits, HasSpan, node_map_pfns, zone_usemap_bytes};

/// One zone of one node. All counts are in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneLayout {
    /// The zone's kind.
    pub kind: ZoneKind,
    /// The first frame (`zone_start_pfn`); 0 if the zone spans nothing.
    pub start_pfn: Pfn,
    /// Frames from the first to the last, holes included (`spanned_pages`).
    pub spanned: u64,
    /// Frames with RAM behind them (`present_pages`).
    pub present: u64,
    /// Frames that the zone's own memory map is estimated to take (`calc_memmap_size`).
    pub memmap_pages: u64,
    /// What `managed_pages` is set to before the buddy knows the truth: present, less the memory map (not for
    /// high memory), less the DMA reserve (lowest zone). The boot zonelists and "Total pages" use it.
    pub early_managed: u64,
    /// Whether every pageblock lies wholly in this zone (`zone->contiguous`), as found after the memory map is
    /// complete.
    pub contiguous: bool,
}

impl ZoneLayout {
    const fn empty(kind: ZoneKind) -> Self {
        Self {
            kind,
            start_pfn: Pfn::ZERO,
            spanned: 0,
            present: 0,
            memmap_pages: 0,
            early_managed: 0,
            contiguous: false,
        }
    }

    /// The spanned frames.
    pub const fn pfns(&self) -> PfnRange {
        PfnRange::from_len(self.start_pfn, self.spanned)
    }

    /// Whether RAM is present (`populated_zone`).
    pub const fn is_populated(&self) -> bool {
        self.present > 0
    }
}

/// One node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeLayout {
    /// The node's number.
    pub nid: NodeId,
    /// The node can exist (N_POSSIBLE). Other fields mean nothing when it cannot.
    pub possible: bool,
    /// The node was online when the layout was computed (N_ONLINE).
    pub online: bool,
    /// From the first to past the last frame of the node; empty on a node without memory.
    pub pfns: PfnRange,
    /// Frames that its zones span (`node_spanned_pages`; holes between zones are not in it).
    pub spanned: u64,
    /// Frames with RAM (`node_present_pages`).
    pub present: u64,
    /// Where ZONE_MOVABLE starts on this node (`zone_movable_pfn`).
    pub movable_start: Option<Pfn>,
    /// With deferred initialisation, the first frame whose metadata is left for later (`first_deferred_pfn`).
    pub first_deferred_pfn: Option<Pfn>,
    zones: [ZoneLayout; ZoneKind::COUNT],
}

impl NodeLayout {
    /// A node about which nothing is known yet: what the caller fills its slice with.
    pub const EMPTY: Self = Self {
        nid: NodeId::ZERO,
        possible: false,
        online: false,
        pfns: PfnRange { start: Pfn::ZERO, end: Pfn::ZERO },
        spanned: 0,
        present: 0,
        movable_start: None,
        first_deferred_pfn: None,
        zones: [
            ZoneLayout::empty(ZoneKind::Dma),
            ZoneLayout::empty(ZoneKind::Dma32),
            ZoneLayout::empty(ZoneKind::Normal),
            ZoneLayout::empty(ZoneKind::HighMem),
            ZoneLayout::empty(ZoneKind::Movable),
            ZoneLayout::empty(ZoneKind::Device),
        ],
    };

    /// The zone of a kind; all zero if the kernel has no such zones.
    pub fn zone(&self, kind: ZoneKind) -> &ZoneLayout {
        &self.zones[kind.index()]
    }

    /// The zones that have RAM, lowest first.
    pub fn populated(&self) -> impl DoubleEndedIterator<Item = &ZoneLayout> {
        self.zones.iter().filter(|z| z.is_populated())
    }
}

impl HasSpan for NodeLayout {
    fn span(&self) -> PfnRange {
        self.pfns
    }

    fn nid(&self) -> Option<NodeId> {
        Some(self.nid)
    }
}

/// The result: every node and zone, and the totals.
#[derive(Debug)]
pub struct Layout<'a> {
    cfg: LayoutConfig,
    ranges: &'a [MemRange],
    nodes: &'a mut [NodeLayout],
    bounds: [PfnRange; ZoneKind::COUNT],
    movable_zone: ZoneKind,
    /// Nodes with memory of any kind (N_MEMORY).
    pub memory_nodes: NodeMask,
    /// Nodes with memory at or below ZONE_NORMAL (N_NORMAL_MEMORY).
    pub normal_memory_nodes: NodeMask,
    /// Nodes with regular or high memory, ZONE_MOVABLE apart (N_HIGH_MEMORY; the same set as
    /// `normal_memory_nodes` without CONFIG_HIGHMEM).
    pub high_memory_nodes: NodeMask,
    /// Frames that the kernel can use directly, less memory maps (`nr_kernel_pages`): hash tables are scaled by it.
    pub nr_kernel_pages: u64,
    /// The same with high memory (`nr_all_pages`).
    pub nr_all_pages: u64,
    /// `kernelcore=mirror` left memory below 4 GiB that is not mirrored; Linux warns "This configuration results in
    /// unmirrored kernel memory."
    pub unmirrored_kernel_memory: bool,
}

/// Computes nodes and zones: Linux's `free_area_init`, without its side effects.
///
/// `ranges` are the whole frames of each memblock memory region in address order (`for_each_mem_pfn_range`), one
/// entry for each region, and `nodes` has room for every possible node, indexed by node number.
///
/// # Errors
/// [`LayoutError`] names a range or node that breaks these rules, or a configuration that cannot exist. Nothing but
/// `nodes`' content has changed then.
pub fn free_area_init<'a>(
    cfg: LayoutConfig,
    ranges: &'a [MemRange],
    nodes: &'a mut [NodeLayout],
) -> Result<Layout<'a>, LayoutError> {
    cfg.check(ranges, nodes.len())?;
    for (i, node) in nodes.iter_mut().enumerate() {
        *node = NodeLayout::EMPTY;
        if let Some(nid) = NodeId::new(i as u16) {
            node.nid = nid;
            node.possible = cfg.possible.contains(nid);
            node.online = cfg.online.contains(nid);
        }
    }
    for r in ranges {
        let node = &mut nodes[r.nid.index()];
        if node.pfns.is_empty() {
            node.pfns = r.pfns;
        } else {
            node.pfns.end = r.pfns.end;
        }
    }

    let bounds = span::zone_bounds(&cfg, ranges);
    let movable_zone = movable::usable_zone(&cfg, &bounds);
    let unmirrored = movable::find_starts(&cfg, ranges, &bounds, movable_zone, nodes);
    let mut layout = Layout {
        cfg,
        ranges,
        nodes,
        bounds,
        movable_zone,
        memory_nodes: NodeMask::EMPTY,
        normal_memory_nodes: NodeMask::EMPTY,
        high_memory_nodes: NodeMask::EMPTY,
        nr_kernel_pages: 0,
        nr_all_pages: 0,
        unmirrored_kernel_memory: unmirrored,
    };
    span::size_zones(&mut layout);
    memmap::find_deferred(&mut layout);
    memmap::find_contiguous(&mut layout);
    Ok(layout)
}

impl Layout<'_> {
    /// The configuration it was computed from.
    pub fn config(&self) -> &LayoutConfig {
        &self.cfg
    }

    /// The memory ranges it was computed from.
    pub fn ranges(&self) -> &[MemRange] {
        self.ranges
    }

    /// Every node of the caller's slice, indexed by node number; see [`NodeLayout::possible`].
    pub fn nodes(&self) -> &[NodeLayout] {
        self.nodes
    }

    /// The frames that zones of a kind may hold on any node (`arch_zone_lowest_possible_pfn` and
    /// `arch_zone_highest_possible_pfn`); empty for ZONE_MOVABLE.
    pub fn zone_bounds(&self, kind: ZoneKind) -> PfnRange {
        self.bounds[kind.index()]
    }

    /// The zone that ZONE_MOVABLE's frames come from (`movable_zone`): the highest one with frames.
    pub fn movable_zone(&self) -> ZoneKind {
        self.movable_zone
    }

    /// Whether a zone's frames have no permanent kernel mapping (`is_highmem_idx`).
    pub fn is_highmem(&self, kind: ZoneKind) -> bool {
        kind == ZoneKind::HighMem || (kind == ZoneKind::Movable && self.movable_zone == ZoneKind::HighMem)
    }

    /// The node and zone that a frame's metadata names, or `None` for a frame without metadata.
    ///
    /// Holes that have metadata belong to the zone of the memory that follows them, as in Linux's `memmap_init`.
    pub fn zone_of(&self, pfn: Pfn) -> Option<(NodeId, ZoneKind)> {
        memmap::zone_of(self, pfn)
    }

    /// Calls `f` with each run of memory that belongs to one zone, in address order and without overlap.
    pub fn for_each_zone_memory(&self, f: &mut dyn FnMut(NodeId, ZoneKind, PfnRange)) {
        memmap::for_each_zone_memory(self, f);
    }

    /// Calls `f` for each hole that gets metadata, in `memmap_init`'s order ("pages in unavailable ranges").
    pub fn for_each_unavailable(&self, f: &mut dyn FnMut(UnavailableRange)) {
        memmap::for_each_unavailable(self, f);
    }

    /// Bytes of a zone's pageblock bitmap (`setup_usemap`; FLATMEM and DISCONTIGMEM only, sections carry their own),
    /// 0 for a zone that spans nothing.
    pub fn usemap_bytes(&self, zone: &ZoneLayout) -> u64 {
        let bits = if self.cfg.bits_per_long == 32 { AddrBits::Bits32 } else { AddrBits::Bits64 };
        zone_usemap_bytes(zone.pfns(), self.cfg.pageblock_pages(), bits)
    }

    /// The frames that a node's own memory map covers (`alloc_node_mem_map`; FLATMEM and DISCONTIGMEM): what its zones
    /// span, counted from the node's first frame and widened to whole blocks of the largest order. Memory beyond the
    /// last zone has none. Empty for a node without memory.
    pub fn node_mem_map(&self, node: &NodeLayout) -> PfnRange {
        let start = node.pfns.start;
        node_map_pfns(PfnRange::new(start, start.saturating_add(node.spanned)), self.cfg.max_order_pages())
    }
}

#[cfg(test)]
mod tests;
