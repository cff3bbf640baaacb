//! FLATMEM and DISCONTIGMEM.

use super::PageArray;
use pagewright_addr::{NodeId, Order, Pfn, PfnRange, VirtAddr};

/// Which frames a FLATMEM kernel calls valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlatValid<'a> {
    /// Between the array's first frame and this many frames on (the generic pfn_valid).
    MaxMapnr {
        /// Frames in the array (max_mapnr).
        frames: u64,
    },
    /// In a pageblock that some memory region touches (arm, which frees the map over larger holes).
    NearMemory {
        /// Memory regions, ascending (memblock.memory).
        memory: &'a [PfnRange],
        /// pageblock_order.
        pageblock: Order,
    },
}

/// One `mem_map` over all frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flat<'a> {
    /// `mem_map`; `first` is ARCH_PFN_OFFSET.
    pub mem_map: PageArray,
    /// The architecture's rule for pfn_valid.
    pub valid: FlatValid<'a>,
}

impl Flat<'_> {
    pub(super) fn pfn_valid(&self, pfn: Pfn) -> bool {
        match self.valid {
            FlatValid::MaxMapnr { frames } => PfnRange::from_len(self.mem_map.first, frames).contains(pfn),
            FlatValid::NearMemory { memory, pageblock } => {
                let block = PfnRange::from_len(pfn.align_down(pageblock.pages()), pageblock.pages());
                let at = memory.partition_point(|range| range.end <= block.start);
                memory.get(at).is_some_and(|range| range.overlaps(&block))
            }
        }
    }
}

/// One node's array (node_mem_map).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeMap {
    /// The node.
    pub nid: NodeId,
    /// node_start_pfn to the node's end.
    pub span: PfnRange,
    /// node_mem_map; `first` is node_start_pfn.
    pub mem_map: PageArray,
}

/// One array for each node. Linux dropped this model in 5.14; it remains for the machines that used it.
#[derive(Clone, Copy, Debug)]
pub struct Discontig<'a> {
    /// The nodes by ascending, disjoint spans.
    pub nodes: &'a [NodeMap],
}

impl<'a> Discontig<'a> {
    /// The node whose span holds the frame (pfn_to_nid).
    pub fn node(&self, pfn: Pfn) -> Option<&'a NodeMap> {
        let node = self.nodes.get(self.nodes.partition_point(|node| node.span.end <= pfn))?;
        node.span.contains(pfn).then_some(node)
    }

    pub(super) fn page_to_pfn(&self, page: VirtAddr) -> Option<Pfn> {
        self.nodes.iter().find_map(|node| node.mem_map.pfn(page).filter(|pfn| node.span.contains(*pfn)))
    }
}

/// The holes whose part of `mem_map` is given back at the end of boot (free_unused_memmap), as frames.
///
/// `memory` ascends. Each region keeps the map for the pageblocks that it touches; with classic SPARSEMEM
/// (`section_pages`) no hole reaches into a section's array beyond its end, and the last section's tail counts as a hole.
/// Kernels with SPARSEMEM_VMEMMAP or the generic pfn_valid give nothing back.
pub fn unused_memmap<I>(
    memory: I,
    pageblock: Order,
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
                    let mut start = region.start.align_down(pageblock.pages());
                    if let (Some(section), Some(end)) = (section_pages, previous_end) {
                        start = start.min(end.align_up(section));
                    }
                    let hole = previous_end.map(|end| PfnRange::new(end, start));
                    previous_end = Some(region.end.align_up(pageblock.pages()));
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
