//! The memory models of the kernel that is reproduced: which frame numbers are valid, where Linux keeps each frame's
//! `struct page`, and how large its maps are.
//!
//! Values over data that the caller brings; nothing here touches Pagewright's own metadata, which is found by
//! [`crate::SectionTable`] under every model. Addresses are the modelled kernel's virtual addresses, and
//! the size of `struct page` is data ([`PageArray::stride`]). `mm` builds the model during boot (sparse_init,
//! alloc_node_mem_map); `show` and `conform` read it.
//!
//! | model | struct page of a frame | valid frame numbers |
//! |---|---|---|
//! | FLATMEM | one array, `mem_map` | below max_mapnr; on arm, near a memory region |
//! | DISCONTIGMEM | one array for each node | inside a node's span |
//! | SPARSEMEM | one array for each section | in a section with memory |
//! | SPARSEMEM_VMEMMAP | one sparse array, `vmemmap` | the same; of sections added later, in a populated subsection |

mod flat;
mod linear;
mod sizes;
mod sparse;
#[cfg(test)]
mod tests;

pub use flat::{Discontig, Flat, FlatValid, NodeMap, unused_memmap};
pub use linear::PhysToVirt;
pub use sizes::{UsemapConfig, flat_memmap_pages, zone_usemap_bytes};
pub use sparse::{Exceeds, Geometry, GeometryError, MemSection, Sections, SectionsError};

use pagewright_addr::{Pfn, VirtAddr};

/// The width of the modelled kernel's pointers; addresses wrap there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddrBits {
    /// A 32-bit kernel.
    Bits32,
    /// A 64-bit kernel.
    Bits64,
}

impl AddrBits {
    /// Cuts a computed address to the pointer's width.
    pub const fn wrap(self, address: u64) -> u64 {
        match self {
            Self::Bits32 => address & 0xffff_ffff,
            Self::Bits64 => address,
        }
    }
}

/// An array of `struct page`: `base` is the element of frame `first`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageArray {
    /// The frame number whose element is at `base` (ARCH_PFN_OFFSET of `mem_map`; 0 of `vmemmap`).
    pub first: Pfn,
    /// Where that element lies.
    pub base: VirtAddr,
    /// Bytes of one element: sizeof(struct page), 64 on 64-bit kernels, 32 to 44 on 32-bit ones.
    pub stride: u64,
    /// Pointer width. Arrays may begin below the address they are computed from, and wrap.
    pub bits: AddrBits,
}

impl PageArray {
    /// Where the frame's element lies. Pure arithmetic: whether the frame exists is another question.
    pub const fn page(&self, pfn: Pfn) -> VirtAddr {
        let offset = pfn.get().wrapping_sub(self.first.get()).wrapping_mul(self.stride);
        VirtAddr::new(self.bits.wrap(self.base.get().wrapping_add(offset)))
    }

    /// The frame whose element starts at `page`, at or above `first`; `None` if no element starts there.
    pub const fn pfn(&self, page: VirtAddr) -> Option<Pfn> {
        let offset = self.bits.wrap(page.get().wrapping_sub(self.base.get()));
        if self.stride == 0 || !offset.is_multiple_of(self.stride) {
            return None;
        }
        self.first.checked_add(offset / self.stride)
    }
}

/// A kernel's memory model.
#[derive(Debug)]
pub enum MemoryModel<'a> {
    /// One array over all frames.
    Flat(Flat<'a>),
    /// One array for each node.
    Discontig(Discontig<'a>),
    /// One array for each section.
    Sparse(Sections<'a>),
    /// One virtually contiguous array, populated by section and subsection.
    SparseVmemmap {
        /// The sections.
        sections: Sections<'a>,
        /// `vmemmap`, such that `vmemmap + pfn` is the frame's element: `first` is 0, `base` may lie below the
        /// array's populated start.
        vmemmap: PageArray,
    },
}

impl MemoryModel<'_> {
    /// The configuration symbol without `CONFIG_`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Flat(_) => "FLATMEM",
            Self::Discontig(_) => "DISCONTIGMEM",
            Self::Sparse(_) => "SPARSEMEM",
            Self::SparseVmemmap { .. } => "SPARSEMEM_VMEMMAP",
        }
    }

    /// Whether the frame has a `struct page` (pfn_valid). It need not be RAM: holes inside a section are valid.
    pub fn pfn_valid(&self, pfn: Pfn) -> bool {
        match self {
            Self::Flat(flat) => flat.pfn_valid(pfn),
            Self::Discontig(nodes) => nodes.node(pfn).is_some(),
            Self::Sparse(sections) => sections.section_of(pfn).is_some_and(MemSection::is_valid),
            Self::SparseVmemmap { sections, .. } => sections.subsection_valid(pfn),
        }
    }

    /// Where the frame's `struct page` lies (pfn_to_page); `None` if the model has no array for it.
    ///
    /// FLATMEM and SPARSEMEM_VMEMMAP compute an address for any frame, as Linux does; ask [`Self::pfn_valid`]
    /// whether something is there.
    pub fn pfn_to_page(&self, pfn: Pfn) -> Option<VirtAddr> {
        match self {
            Self::Flat(flat) => Some(flat.mem_map.page(pfn)),
            Self::Discontig(nodes) => Some(nodes.node(pfn)?.mem_map.page(pfn)),
            Self::Sparse(sections) => Some(sections.section_of(pfn)?.mem_map()?.page(pfn)),
            Self::SparseVmemmap { vmemmap, .. } => Some(vmemmap.page(pfn)),
        }
    }

    /// The frame that the `struct page` at this address describes (page_to_pfn); `None` if none starts there.
    pub fn page_to_pfn(&self, page: VirtAddr) -> Option<Pfn> {
        match self {
            Self::Flat(flat) => flat.mem_map.pfn(page),
            Self::Discontig(nodes) => nodes.page_to_pfn(page),
            Self::Sparse(sections) => sections.page_to_pfn(page),
            Self::SparseVmemmap { vmemmap, .. } => vmemmap.pfn(page),
        }
    }
}
