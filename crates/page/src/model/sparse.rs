//! SPARSEMEM's sections, with VMEMMAP's subsections.
//!
//! Sections that have memory, in ascending order in an array that the caller brings; Linux reaches the same
//! entries through a two-level table (SPARSEMEM_EXTREME), whose size [`Geometry::roots_bytes`] gives.

use super::PageArray;
use core::fmt;
use pagewright_addr::{NodeId, PageShift, Pfn, PfnRange, VirtAddr};

/// log2 of a subsection's bytes: 2 MiB, on every architecture.
const SUBSECTION_SHIFT: u32 = 21;
/// Words that hold the subsections of the largest section any modelled kernel has (512 MiB).
const MAP_WORDS: usize = 4;

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

/// Memory beyond MAX_PHYSMEM_BITS, which Linux warns about and leaves out.
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
        let (which, limit) = (if self.range.start >= self.limit { "Start" } else { "End" }, self.limit.get());
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
            || section_size_bits > SUBSECTION_SHIFT + (64 * MAP_WORDS as u32).ilog2()
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

    /// Bytes of SPARSEMEM_EXTREME's root table for section entries of `entry_bytes` (16, or 32 with page extensions).
    pub const fn roots_bytes(&self, entry_bytes: u64) -> u64 {
        let per_root = self.page_shift.bytes() / entry_bytes;
        (1u64 << self.sections_shift()).div_ceil(per_root) * 8
    }

    /// Bytes of one section's array of `struct page`; VMEMMAP rounds up to `pmd_bytes`, classic SPARSEMEM to pages.
    pub const fn section_map_bytes(&self, stride: u64, pmd_bytes: Option<u64>) -> u64 {
        let align = match pmd_bytes {
            Some(bytes) => bytes,
            None => self.page_shift.bytes(),
        };
        (self.pages_per_section() * stride).next_multiple_of(align)
    }
}

/// One section that has memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemSection {
    nr: u64,
    nid: NodeId,
    early: bool,
    online: bool,
    mem_map: Option<PageArray>,
    populated: [u64; MAP_WORDS],
}

impl MemSection {
    /// An unused entry, to make room for sections.
    pub const EMPTY: Self = Self {
        nr: 0,
        nid: NodeId::ZERO,
        early: false,
        online: false,
        mem_map: None,
        populated: [0; MAP_WORDS],
    };

    /// The section number.
    pub const fn nr(&self) -> u64 {
        self.nr
    }

    /// The node that its first memory belongs to.
    pub const fn nid(&self) -> NodeId {
        self.nid
    }

    /// Present since boot (SECTION_IS_EARLY): every frame of it counts as valid.
    pub const fn is_early(&self) -> bool {
        self.early
    }

    /// In use as ordinary memory (SECTION_IS_ONLINE).
    pub const fn is_online(&self) -> bool {
        self.online
    }

    /// It has an array of `struct page` (valid_section, SECTION_HAS_MEM_MAP).
    pub const fn is_valid(&self) -> bool {
        self.mem_map.is_some()
    }

    /// Its array.
    pub const fn mem_map(&self) -> Option<PageArray> {
        self.mem_map
    }

    fn is_populated(&self, subsection: u64) -> bool {
        self.populated[(subsection / 64) as usize] & (1 << (subsection % 64)) != 0
    }
}

/// Why sections cannot be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SectionsError {
    /// Every entry is in use.
    Full {
        /// How many entries there are.
        capacity: usize,
    },
    /// The range lies beyond the last possible section.
    Exceeds(Exceeds),
    /// The range does not consist of whole subsections.
    Unaligned {
        /// The range.
        range: PfnRange,
    },
    /// A subsection is there already.
    Present {
        /// Its first frame.
        pfn: Pfn,
    },
}

impl fmt::Display for SectionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { capacity } => write!(f, "more memory sections than the {capacity} entries brought"),
            Self::Exceeds(exceeds) => exceeds.fmt(f),
            Self::Unaligned { range } => write!(f, "frames {range:?} are not whole subsections of 2 MiB"),
            Self::Present { pfn } => write!(f, "the subsection at frame {pfn:#x} is present already"),
        }
    }
}

impl core::error::Error for SectionsError {}

/// The sections that have memory.
#[derive(Debug)]
pub struct Sections<'a> {
    geometry: Geometry,
    /// The first `used` entries ascend by number.
    entries: &'a mut [MemSection],
    used: usize,
}

impl<'a> Sections<'a> {
    /// No sections yet. One entry for each section of the machine suffices ([`Geometry::pages_per_section`]).
    pub fn new(geometry: Geometry, entries: &'a mut [MemSection]) -> Self {
        Self { geometry, entries, used: 0 }
    }

    /// The sizes.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The sections, ascending.
    pub fn sections(&self) -> &[MemSection] {
        &self.entries[..self.used]
    }

    /// The frame's section, if that has memory.
    pub fn section_of(&self, pfn: Pfn) -> Option<&MemSection> {
        self.sections().get(self.position(self.geometry.section_nr(pfn)).ok()?)
    }

    fn position(&self, nr: u64) -> Result<usize, usize> {
        self.sections().binary_search_by_key(&nr, |section| section.nr)
    }

    /// Marks the sections that boot memory touches (memory_present): early and online, without arrays as yet, and
    /// with the subsections that the memory touches (subsection_map_init). A section that two nodes share stays with
    /// the first.
    ///
    /// # Errors
    /// [`SectionsError::Full`], having changed nothing. Memory beyond the last section is left out and reported as
    /// [`SectionsError::Exceeds`] after the rest was added, as Linux warns and goes on.
    pub fn memory_present(&mut self, nid: NodeId, range: PfnRange) -> Result<(), SectionsError> {
        let limit = self.geometry.max_pfn();
        let inside = PfnRange::new(range.start.min(limit), range.end.min(limit));
        if !inside.is_empty() {
            let (first, last) = (
                self.geometry.section_nr(inside.start),
                self.geometry.section_nr(Pfn::new(inside.end.get() - 1)),
            );
            self.make_room(first, last)?;
            for nr in first..=last {
                let at = self.insert(nr, nid, true);
                let part = inside.intersection(&self.geometry.section_pfns(nr));
                self.populate(at, part);
            }
        }
        if range.end > limit { Err(SectionsError::Exceeds(Exceeds { range, limit })) } else { Ok(()) }
    }

    /// Gives a section its array (sparse_init_one_section); false if there is no such section.
    ///
    /// For VMEMMAP that is the part of `vmemmap` that belongs to it, as [`super::PageArray`] computes.
    pub fn set_mem_map(&mut self, nr: u64, mem_map: PageArray) -> bool {
        match self.position(nr) {
            Ok(at) => {
                self.entries[at].mem_map = Some(mem_map);
                true
            }
            Err(_) => false,
        }
    }

    /// Adds subsections after boot (section_activate): device memory or hot-added memory. `online` as
    /// for ordinary memory.
    ///
    /// # Errors
    /// [`SectionsError::Unaligned`] or [`SectionsError::Present`] for a range that cannot be added,
    /// [`SectionsError::Exceeds`] or [`SectionsError::Full`] for want of sections. Nothing has changed then.
    pub fn activate(
        &mut self,
        nid: NodeId,
        range: PfnRange,
        mem_map: PageArray,
        online: bool,
    ) -> Result<(), SectionsError> {
        let limit = self.geometry.max_pfn();
        if range.end > limit {
            return Err(SectionsError::Exceeds(Exceeds { range, limit }));
        }
        let sub = self.geometry.pages_per_subsection();
        if range.is_empty() || !range.start.is_aligned(sub) || !range.end.is_aligned(sub) {
            return Err(SectionsError::Unaligned { range });
        }
        let mut pfn = range.start;
        while pfn < range.end {
            // Early sections are whole: Linux does not fill their holes with other memory's map again.
            if self.section_of(pfn).is_some_and(|s| s.is_populated(self.subsection(pfn))) {
                return Err(SectionsError::Present { pfn });
            }
            pfn = pfn.saturating_add(sub);
        }
        let (first, last) =
            (self.geometry.section_nr(range.start), self.geometry.section_nr(Pfn::new(range.end.get() - 1)));
        self.make_room(first, last)?;
        for nr in first..=last {
            let at = self.insert(nr, nid, false);
            self.populate(at, range.intersection(&self.geometry.section_pfns(nr)));
            let entry = &mut self.entries[at];
            entry.online |= online;
            entry.mem_map.get_or_insert(mem_map);
        }
        Ok(())
    }

    /// pfn_valid with VMEMMAP: in an early section every frame, in a later one those of populated subsections.
    pub(super) fn subsection_valid(&self, pfn: Pfn) -> bool {
        self.section_of(pfn).is_some_and(|section| {
            section.is_valid() && (section.early || section.is_populated(self.subsection(pfn)))
        })
    }

    pub(super) fn page_to_pfn(&self, page: VirtAddr) -> Option<Pfn> {
        self.sections().iter().find_map(|section| {
            let pfns = self.geometry.section_pfns(section.nr);
            section.mem_map?.pfn(page).filter(|pfn| pfns.contains(*pfn))
        })
    }

    fn subsection(&self, pfn: Pfn) -> u64 {
        (pfn.get() % self.geometry.pages_per_section()) / self.geometry.pages_per_subsection()
    }

    /// Whether `first..=last` can all be inserted.
    fn make_room(&self, first: u64, last: u64) -> Result<(), SectionsError> {
        let from = self.position(first).unwrap_or_else(|at| at);
        let to = self.sections().partition_point(|section| section.nr <= last);
        let missing = (last - first + 1) - (to - from) as u64;
        let capacity = self.entries.len();
        if missing > (capacity - self.used) as u64 { Err(SectionsError::Full { capacity }) } else { Ok(()) }
    }

    /// The entry of section `nr`, made if it is new; there is room.
    fn insert(&mut self, nr: u64, nid: NodeId, early: bool) -> usize {
        match self.position(nr) {
            Ok(at) => at,
            Err(at) => {
                self.entries[self.used] = MemSection { nr, nid, early, online: early, ..MemSection::EMPTY };
                self.entries[at..=self.used].rotate_right(1);
                self.used += 1;
                at
            }
        }
    }

    fn populate(&mut self, at: usize, part: PfnRange) {
        let (first, last) = (self.subsection(part.start), self.subsection(Pfn::new(part.end.get() - 1)));
        for subsection in first..=last {
            self.entries[at].populated[(subsection / 64) as usize] |= 1 << (subsection % 64);
        }
    }
}
