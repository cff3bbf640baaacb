//! What the layout is computed from, and how bad input is refused.

use super::ZoneKind;
use crate::kind::{NodeMask, ZoneSet};
use core::fmt;
use pagewright_addr::{NodeId, PageShift, Pfn, PfnRange};
use pagewright_page::model::{HasSpan, PfnValidity};

bitflags::bitflags! {
    /// Flags of a memory region that matter here (MEMBLOCK_*).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct MemFlags: u8 {
        /// MEMBLOCK_HOTPLUG: the region can be removed while running; with `movable_node` it becomes ZONE_MOVABLE.
        const HOTPLUG = 1;
        /// MEMBLOCK_MIRROR: the region is mirrored; with `kernelcore=mirror` only such memory is for the kernel.
        const MIRROR = 2;
        /// MEMBLOCK_NOMAP: the region has no kernel mapping. It counts as present all the same.
        const NOMAP = 4;
    }
}

/// The whole frames of one memory region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemRange {
    /// The frames; not empty.
    pub pfns: PfnRange,
    /// The node they belong to.
    pub nid: NodeId,
    /// The region's flags.
    pub flags: MemFlags,
}

/// A value of `kernelcore=` or `movablecore=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CoreAmount {
    /// Not given.
    #[default]
    None,
    /// So many pages (the parameter's bytes, rounded down to pages).
    Pages(u64),
    /// A percentage of all memory.
    Percent(u64),
    /// `kernelcore=mirror`. Means nothing for `movablecore=`.
    Mirror,
}

impl HasSpan for MemRange {
    fn span(&self) -> PfnRange {
        self.pfns
    }

    fn nid(&self) -> Option<NodeId> {
        Some(self.nid)
    }
}

/// Everything but the memory itself that decides the layout.
#[derive(Clone, Debug)]
pub struct LayoutConfig {
    /// The kernel's zone kinds.
    pub zones: ZoneSet,
    /// One past the last frame of each kind, as the architecture passes it to `free_area_init`; 0 for a kind that
    /// is not used. Movable's entry is ignored.
    pub max_zone_pfn: [Pfn; ZoneKind::COUNT],
    /// `kernelcore=`.
    pub kernelcore: CoreAmount,
    /// `movablecore=`.
    pub movablecore: CoreAmount,
    /// `movable_node`: hot-pluggable memory is movable; overrides the other two.
    pub movable_node: bool,
    /// Nodes that can exist (N_POSSIBLE).
    pub possible: NodeMask,
    /// Nodes that are online; a possible node outside gets "Initializing node N as memoryless".
    pub online: NodeMask,
    /// The page size.
    pub page_shift: PageShift,
    /// 32 or 64: some of Linux's sums are `unsigned long` and wrap on 32-bit kernels.
    pub bits_per_long: u8,
    /// CONFIG_HIGHMEM: N_HIGH_MEMORY is a state of its own.
    pub highmem: bool,
    /// The stride of `struct page` in bytes.
    pub struct_page_bytes: u32,
    /// Frames in a section with SPARSEMEM; `None` with FLATMEM and DISCONTIGMEM.
    pub section_pages: Option<u64>,
    /// Which frames have metadata.
    pub pfn_valid: PfnValidity,
    /// Linux 6.1's MAX_ORDER: the largest buddy order plus one.
    pub max_order: u8,
    /// `pageblock_order`: the huge page's order where there are huge pages, else `max_order - 1`.
    pub pageblock_order: u8,
    /// Pages of the lowest zone that were in use before (`set_dma_reserve`); x86 counts what memblock has reserved
    /// below 16 MiB, everyone else has 0.
    pub dma_reserve: u64,
    /// CONFIG_DEFERRED_STRUCT_PAGE_INIT (and no early page_ext user). Needs `section_pages`.
    pub deferred: bool,
}

impl LayoutConfig {
    /// A plain machine: one node, all memory below `end` in ZONE_NORMAL, FLATMEM, largest blocks of order 10 and
    /// pageblocks of order 9. A start for tests and small embedders; change what differs.
    pub fn one_node(page_shift: PageShift, end: Pfn) -> Self {
        let mut max_zone_pfn = [Pfn::ZERO; ZoneKind::COUNT];
        max_zone_pfn[ZoneKind::Normal.index()] = end;
        Self {
            zones: ZoneSet::BASE,
            max_zone_pfn,
            kernelcore: CoreAmount::None,
            movablecore: CoreAmount::None,
            movable_node: false,
            possible: NodeMask::only(NodeId::ZERO),
            online: NodeMask::only(NodeId::ZERO),
            page_shift,
            bits_per_long: 64,
            highmem: false,
            struct_page_bytes: 64,
            section_pages: None,
            pfn_valid: PfnValidity::Flat { pfns: PfnRange::new(Pfn::ZERO, end) },
            max_order: 11,
            pageblock_order: 9,
            dma_reserve: 0,
            deferred: false,
        }
    }

    /// MAX_ORDER_NR_PAGES: frames in the largest buddy block.
    pub const fn max_order_pages(&self) -> u64 {
        1 << (self.max_order - 1)
    }

    /// pageblock_nr_pages.
    pub const fn pageblock_pages(&self) -> u64 {
        1 << self.pageblock_order
    }

    /// Whether `kernelcore=mirror` is in force. `movable_node` leaves the flag set in Linux too, so zones are then
    /// sized as for mirrored memory.
    pub(super) fn mirrored_kernelcore(&self) -> bool {
        self.kernelcore == CoreAmount::Mirror
    }

    pub(super) fn check(&self, ranges: &[MemRange], nodes: usize) -> Result<(), LayoutError> {
        if self.max_order == 0
            || usize::from(self.max_order) > pagewright_addr::Order::LIMIT
            || self.pageblock_order >= self.max_order
        {
            return Err(LayoutError::Orders {
                max_order: self.max_order,
                pageblock_order: self.pageblock_order,
            });
        }
        let block = match self.pfn_valid {
            PfnValidity::Blocks { pages } => Some(pages),
            PfnValidity::Flat { .. } | PfnValidity::NodeSpans => None,
        };
        for pages in [block, self.section_pages].into_iter().flatten() {
            if !pages.is_power_of_two() || pages < self.pageblock_pages() {
                return Err(LayoutError::Block { pages });
            }
        }
        if self.deferred && self.section_pages.is_none() {
            return Err(LayoutError::DeferredWithoutSections);
        }
        let mut last = Pfn::ZERO;
        for (index, r) in ranges.iter().enumerate() {
            if r.pfns.is_empty() {
                return Err(LayoutError::EmptyRange { index });
            }
            if r.pfns.start < last {
                return Err(LayoutError::Unsorted { index });
            }
            // Sums of page counts stay far from wrapping, and alignment never saturates.
            if r.pfns.end.get() > 1 << 52 {
                return Err(LayoutError::TooHigh { index });
            }
            if r.nid.index() >= nodes || !self.online.contains(r.nid) || !self.possible.contains(r.nid) {
                return Err(LayoutError::UnknownNode { index, nid: r.nid });
            }
            last = r.pfns.end;
        }
        match self.possible.iter().find(|nid| nid.index() >= nodes) {
            Some(nid) => Err(LayoutError::NoRoomForNode { nid, nodes }),
            None => Ok(()),
        }
    }
}

/// Why no layout could be computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// `max_order` is 0 or beyond the largest known, or `pageblock_order` is not below it.
    Orders {
        /// The configuration's `max_order`.
        max_order: u8,
        /// The configuration's `pageblock_order`.
        pageblock_order: u8,
    },
    /// A section or validity block whose size is not a power of two, or less than a pageblock.
    Block {
        /// Its size in pages.
        pages: u64,
    },
    /// Deferred initialisation was asked for without SPARSEMEM.
    DeferredWithoutSections,
    /// A memory range without frames.
    EmptyRange {
        /// Its place in the list.
        index: usize,
    },
    /// A memory range that starts before the previous one ends.
    Unsorted {
        /// Its place in the list.
        index: usize,
    },
    /// A memory range beyond 2^52 frames.
    TooHigh {
        /// Its place in the list.
        index: usize,
    },
    /// A memory range on a node that is not online.
    UnknownNode {
        /// The range's place in the list.
        index: usize,
        /// Its node.
        nid: NodeId,
    },
    /// The caller's slice is too short for a possible node.
    NoRoomForNode {
        /// The node.
        nid: NodeId,
        /// The slice's length.
        nodes: usize,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Orders { max_order, pageblock_order } => {
                write!(f, "pageblock order {pageblock_order} does not fit MAX_ORDER {max_order}")
            }
            Self::Block { pages } => {
                write!(f, "a block of {pages} pages is no power of two of at least a pageblock")
            }
            Self::DeferredWithoutSections => f.write_str("deferred page initialisation needs SPARSEMEM"),
            Self::EmptyRange { index } => write!(f, "memory range {index} has no frames"),
            Self::Unsorted { index } => write!(f, "memory range {index} starts before the previous one ends"),
            Self::TooHigh { index } => write!(f, "memory range {index} ends beyond frame 2^52"),
            Self::UnknownNode { index, nid } => {
                write!(f, "memory range {index} is on node {nid}, not online")
            }
            Self::NoRoomForNode { nid, nodes } => write!(f, "node {nid} is possible, room is for {nodes}"),
        }
    }
}

impl core::error::Error for LayoutError {}
