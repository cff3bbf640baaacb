//! FLATMEM and DISCONTIGMEM: the map of a node, and what arm gives back of it.

use super::{HasSpan, PageArray};
use pagewright_addr::{NodeId, Pfn, PfnRange};

/// One node's array (node_mem_map). FLATMEM has one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeMap {
    /// The node.
    pub nid: NodeId,
    /// From the node's first frame to past its last.
    pub span: PfnRange,
    /// The frames that the array has elements for: [`node_map_pfns`].
    pub pfns: PfnRange,
    /// The array; `first` is that of `pfns`.
    pub mem_map: PageArray,
}

impl NodeMap {
    /// An unused entry, to make room for maps.
    pub const EMPTY: Self = Self {
        nid: NodeId::ZERO,
        span: PfnRange::new(Pfn::ZERO, Pfn::ZERO),
        pfns: PfnRange::new(Pfn::ZERO, Pfn::ZERO),
        mem_map: PageArray::NONE,
    };
}

impl HasSpan for NodeMap {
    fn span(&self) -> PfnRange {
        self.span
    }

    fn nid(&self) -> Option<NodeId> {
        Some(self.nid)
    }
}

/// Frames that a node's array covers (alloc_node_mem_map): what its zones span, grown to whole blocks of
/// `block_pages`, the largest order's. Times the size of `struct page`, that is the allocation.
pub fn node_map_pfns(zones: PfnRange, block_pages: u64) -> PfnRange {
    if zones.is_empty() {
        return PfnRange::default();
    }
    PfnRange::new(zones.start.align_down(block_pages), zones.end.align_up(block_pages))
}

/// The holes whose part of the memory map is given back at the end of boot (free_unused_memmap), as frames.
///
/// `memory` ascends. Each region keeps the map for the pageblocks that it touches; with classic SPARSEMEM
/// (`section_pages`) no hole reaches into a section's array beyond its end, and the last section's tail counts as a hole.
/// Kernels with SPARSEMEM_VMEMMAP or the generic pfn_valid give nothing back.
pub fn unused_memmap<I>(
    memory: I,
    pageblock_pages: u64,
    section_pages: Option<u64>,
) -> impl Iterator<Item = PfnRange>
where
    I: IntoIterator<Item = PfnRange>,
{
    let mut memory = memory.into_iter();
    let mut previous_end: Option<Pfn> = None;
    let mut finished = false;
    core::iter::from_fn(move || {
        while !finished {
            let hole = match memory.next() {
                Some(region) => {
                    let mut start = region.start.align_down(pageblock_pages);
                    if let (Some(section), Some(end)) = (section_pages, previous_end) {
                        start = start.min(end.align_up(section));
                    }
                    let hole = previous_end.map(|end| PfnRange::new(end, start));
                    previous_end = Some(region.end.align_up(pageblock_pages));
                    hole
                }
                None => {
                    finished = true;
                    let tail = previous_end.zip(section_pages);
                    tail.map(|(end, section)| PfnRange::new(end, end.align_up(section)))
                }
            };
            if let Some(hole) = hole.filter(|hole| !hole.is_empty()) {
                return Some(hole);
            }
        }
        None
    })
}
