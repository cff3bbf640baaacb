//! The sizes of SPARSEMEM: sections, subsections, and the table of sections.

use super::AddrBits;
use core::fmt;
use pagewright_addr::{PageShift, Pfn, PfnRange};

/// log2 of a subsection's bytes: 2 MiB, on every architecture.
const SUBSECTION_SHIFT: u32 = 21;
/// log2 of the largest section any modelled kernel has: 512 MiB.
const LARGEST_SECTION_SHIFT: u32 = 29;

/// The sizes that SPARSEMEM depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    section_size_bits: u32,
    max_physmem_bits: u32,
    page_shift: PageShift,
}

/// Sizes that no kernel can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GeometryError {
    /// The section size that was asked for, as log2 of bytes.
    pub section_size_bits: u32,
    /// The physical address width that was asked for.
    pub max_physmem_bits: u32,
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { section_size_bits, max_physmem_bits } = self;
        write!(
            f,
            "sections of 2^{section_size_bits} bytes in {max_physmem_bits} address bits: \
             21 to 29 bits expected, below the address width of at most 52"
        )
    }
}

impl core::error::Error for GeometryError {}

/// Memory beyond MAX_PHYSMEM_BITS, which Linux warns about and leaves out (mminit_validate_memmodel_limits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exceeds {
    /// The range as given.
    pub range: PfnRange,
    /// The first frame number that cannot have a section.
    pub limit: Pfn,
}

impl fmt::Display for Exceeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.range.start.get(), self.range.end.get());
        let (which, limit) = (if self.range.start > self.limit { "Start" } else { "End" }, self.limit.get());
        write!(f, "{which} of range {start} -> {end} exceeds SPARSEMEM max {limit}")
    }
}

impl core::error::Error for Exceeds {}

impl Geometry {
    /// SECTION_SIZE_BITS (27 on x86_64 and on arm64 with 4 KiB pages) and MAX_PHYSMEM_BITS (46 or 52; 48).
    ///
    /// # Errors
    /// [`GeometryError`] unless a section is 2 MiB to 512 MiB and smaller than the address space.
    pub const fn new(
        section_size_bits: u32,
        max_physmem_bits: u32,
        page_shift: PageShift,
    ) -> Result<Self, GeometryError> {
        if section_size_bits < SUBSECTION_SHIFT
            || section_size_bits > LARGEST_SECTION_SHIFT
            || max_physmem_bits > 52
            || section_size_bits >= max_physmem_bits
        {
            return Err(GeometryError { section_size_bits, max_physmem_bits });
        }
        Ok(Self { section_size_bits, max_physmem_bits, page_shift })
    }

    /// Bits of a section number (SECTIONS_SHIFT), an input of the page-flag layout.
    pub const fn sections_shift(&self) -> u32 {
        self.max_physmem_bits - self.section_size_bits
    }

    /// Bytes of memory that a section stands for.
    pub const fn section_bytes(&self) -> u64 {
        1 << self.section_size_bits
    }

    /// Frames in a section (PAGES_PER_SECTION).
    pub const fn pages_per_section(&self) -> u64 {
        1 << (self.section_size_bits - self.page_shift.get())
    }

    /// Frames in a subsection (PAGES_PER_SUBSECTION).
    pub const fn pages_per_subsection(&self) -> u64 {
        1 << (SUBSECTION_SHIFT - self.page_shift.get())
    }

    /// Subsections in a section (SUBSECTIONS_PER_SECTION).
    pub const fn subsections(&self) -> u64 {
        1 << (self.section_size_bits - SUBSECTION_SHIFT)
    }

    /// The first frame number beyond every section.
    pub const fn max_pfn(&self) -> Pfn {
        Pfn::new(1 << (self.max_physmem_bits - self.page_shift.get()))
    }

    /// The frame's section number (pfn_to_section_nr).
    pub const fn section_nr(&self, pfn: Pfn) -> u64 {
        pfn.get() / self.pages_per_section()
    }

    /// The frames of a section (section_nr_to_pfn).
    pub const fn section_pfns(&self, nr: u64) -> PfnRange {
        PfnRange::from_len(Pfn::new(nr.saturating_mul(self.pages_per_section())), self.pages_per_section())
    }

    /// SPARSEMEM_EXTREME: how many sections one table of the second level holds (SECTIONS_PER_ROOT).
    pub const fn sections_per_root(&self, bits: AddrBits) -> u64 {
        self.page_shift.bytes() / super::mem_section_bytes(bits)
    }

    /// SPARSEMEM_EXTREME: bytes of the root table.
    pub const fn roots_bytes(&self, bits: AddrBits) -> u64 {
        (1u64 << self.sections_shift()).div_ceil(self.sections_per_root(bits)) * bits.long_bytes()
    }

    /// SPARSEMEM_EXTREME: bytes of a table of the second level (sparse_index_alloc).
    pub const fn root_bytes(&self, bits: AddrBits) -> u64 {
        self.sections_per_root(bits) * super::mem_section_bytes(bits)
    }

    /// Bytes between the arrays of two neighbouring sections in `vmemmap`.
    pub const fn vmemmap_step_bytes(&self, stride: u64) -> u64 {
        self.pages_per_section() * stride
    }

    /// Bytes of one section's array of `struct page` (section_map_size); VMEMMAP rounds up to `pmd_bytes`, classic
    /// SPARSEMEM to pages.
    pub const fn section_map_bytes(&self, stride: u64, pmd_bytes: Option<u64>) -> u64 {
        let align = match pmd_bytes {
            Some(bytes) => bytes,
            None => self.page_shift.bytes(),
        };
        (self.pages_per_section() * stride).next_multiple_of(align)
    }
}
