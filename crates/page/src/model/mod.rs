//! The memory models of the kernel that is reproduced: which frame numbers are valid, where Linux keeps each frame's
//! `struct page`, and how large its maps are.
//!
//! This is the only place that knows these facts. `mm` takes from it the sizes of what it allocates (section tables,
//! usemaps, section maps, a node's map) and gives it the places; `zone` asks [`PfnValidity`] which holes have metadata;
//! the finished [`MemoryModel`] converts between frames, `struct page` and, with [`PhysToVirt`], addresses.
//!
//! Values over data that the caller brings ([`MapSpace`]); nothing here touches Pagewright's own metadata, which is
//! found by [`crate::SectionTable`] under every model. Addresses are the modelled kernel's virtual addresses, and
//! the size of `struct page` is data ([`PageArray::stride`]).
//!
//! | model | struct page of a frame | valid frame numbers |
//! |---|---|---|
//! | FLATMEM | one array, `mem_map` | below max_mapnr |
//! | DISCONTIGMEM | one array for each node | inside a node's span |
//! | SPARSEMEM | one array for each section | in a section with memory |
//! | SPARSEMEM_VMEMMAP | one sparse array, `vmemmap` | the same; of sections added later, in a populated subsection |
//!
//! On arm the last column is another one under every model ([`MemoryModel::near_memory`]): it frees the maps of larger
//! holes, so a frame is valid where a memory region shares its pageblock.

mod array;
mod flat;
mod linear;
mod runs;
mod sections;
mod sizes;
mod sparse;
#[cfg(test)]
mod tests;
mod valid;
mod validate;

pub use array::{AddrBits, PageArray};
pub use flat::{NodeMap, node_map_pfns, unused_memmap};
pub use linear::PhysToVirt;
pub use runs::{MemSection, SectionRun};
pub use sections::{Sections, SectionsError};
pub use sizes::{UsemapConfig, mem_section_bytes, zone_usemap_bytes};
pub use sparse::{Exceeds, Geometry, GeometryError};
pub use valid::{HasSpan, PfnValidity};
pub use validate::ModelViolation;

use pagewright_addr::{Pfn, PfnRange, VirtAddr};

/// Memory that the caller lends to a model.
#[derive(Debug, Default)]
pub struct MapSpace<'a> {
    /// Room for runs of sections: as many as there are memory regions, and one more, are enough where a node's
    /// section maps come in one piece.
    pub sections: &'a mut [SectionRun],
    /// Room for runs of subsections: as many as there are memory regions.
    pub subsections: &'a mut [PfnRange],
    /// Room for the maps of nodes: as many as there are nodes (FLATMEM has one).
    pub node_maps: &'a mut [NodeMap],
}

/// Where a kernel keeps its `struct page`s.
#[derive(Debug)]
pub enum Maps<'a> {
    /// FLATMEM: one array (`mem_map`).
    Flat {
        /// The array of the only node.
        node: NodeMap,
        /// The frames that generic code calls valid: from ARCH_PFN_OFFSET, max_mapnr of them.
        valid: PfnRange,
    },
    /// DISCONTIGMEM: one array for each node. Linux dropped this model in 5.14; it remains for the machines that
    /// used it.
    Discontig(&'a [NodeMap]),
    /// SPARSEMEM: one array for each section.
    Sparse(Sections<'a>),
    /// SPARSEMEM_VMEMMAP: one virtually contiguous array, populated by section and subsection.
    SparseVmemmap {
        /// The sections.
        sections: Sections<'a>,
        /// `vmemmap`, such that `vmemmap + pfn` is the frame's element: `first` is 0, `base` may lie below the
        /// array's populated start.
        vmemmap: PageArray,
    },
}

/// A kernel's memory model, with its maps in place.
#[derive(Debug)]
pub struct MemoryModel<'a, M = PfnRange> {
    /// Where the maps are.
    pub maps: Maps<'a>,
    /// HAVE_ARCH_PFN_VALID: frames are valid in blocks of so many frames that some memory touches (arm: a pageblock).
    pub near_memory: Option<u64>,
    /// Memory regions, ascending (memblock.memory).
    pub memory: &'a [M],
}

impl<M: HasSpan> MemoryModel<'_, M> {
    /// The configuration symbol without `CONFIG_`.
    pub const fn name(&self) -> &'static str {
        match self.maps {
            Maps::Flat { .. } => "FLATMEM",
            Maps::Discontig(_) => "DISCONTIGMEM",
            Maps::Sparse(_) => "SPARSEMEM",
            Maps::SparseVmemmap { .. } => "SPARSEMEM_VMEMMAP",
        }
    }

    /// The sections, where the model has them.
    pub const fn sections(&self) -> Option<&Sections<'_>> {
        match &self.maps {
            Maps::Sparse(sections) | Maps::SparseVmemmap { sections, .. } => Some(sections),
            Maps::Flat { .. } | Maps::Discontig(_) => None,
        }
    }

    /// Whether the frame has a `struct page` (pfn_valid). It need not be RAM: holes inside a section are valid.
    pub fn pfn_valid(&self, pfn: Pfn) -> bool {
        if let Some(pages) = self.near_memory {
            return PfnValidity::Blocks { pages }.is_valid(pfn, self.memory, &[] as &[NodeMap]);
        }
        match &self.maps {
            Maps::Flat { valid, .. } => valid.contains(pfn),
            Maps::Discontig(nodes) => PfnValidity::NodeSpans.is_valid(pfn, self.memory, nodes),
            Maps::Sparse(sections) => sections.section_of(pfn).is_some_and(|s| s.is_valid()),
            Maps::SparseVmemmap { sections, .. } => sections.subsection_valid(pfn),
        }
    }

    /// Where the frame's `struct page` lies (pfn_to_page); `None` if the model has no array for it.
    ///
    /// FLATMEM and SPARSEMEM_VMEMMAP compute an address for any frame, as Linux does; ask [`Self::pfn_valid`]
    /// whether something is there.
    pub fn pfn_to_page(&self, pfn: Pfn) -> Option<VirtAddr> {
        match &self.maps {
            Maps::Flat { node, .. } => Some(node.mem_map.page(pfn)),
            Maps::Discontig(_) => Some(self.node_map(pfn)?.mem_map.page(pfn)),
            Maps::Sparse(sections) => Some(sections.section_of(pfn)?.mem_map()?.page(pfn)),
            Maps::SparseVmemmap { vmemmap, .. } => Some(vmemmap.page(pfn)),
        }
    }

    /// The frame that the `struct page` at this address describes (page_to_pfn); `None` if none starts there.
    pub fn page_to_pfn(&self, page: VirtAddr) -> Option<Pfn> {
        match &self.maps {
            Maps::Flat { node, .. } => node.mem_map.pfn(page),
            Maps::Discontig(nodes) => {
                nodes.iter().find_map(|node| node.mem_map.pfn(page).filter(|pfn| node.pfns.contains(*pfn)))
            }
            Maps::Sparse(sections) => sections.page_to_pfn(page),
            Maps::SparseVmemmap { vmemmap, .. } => vmemmap.pfn(page),
        }
    }

    /// DISCONTIGMEM: the map of the node that the frame belongs to (pfn_to_nid, NODE_DATA). Where nodes interleave,
    /// memory decides.
    pub fn node_map(&self, pfn: Pfn) -> Option<&NodeMap> {
        let Maps::Discontig(nodes) = &self.maps else { return None };
        let at = self.memory.partition_point(|m| m.span().end <= pfn);
        let nid = self.memory.get(at).filter(|m| m.span().contains(pfn)).and_then(HasSpan::nid);
        let mut spanning = nodes.iter().filter(|node| node.span.contains(pfn));
        match nid {
            Some(nid) => spanning.find(|node| node.nid == nid),
            None => spanning.next(),
        }
    }
}
