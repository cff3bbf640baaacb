//! The section table: which frame numbers have metadata, and where.
//!
//! A section here is a run of frame numbers with metadata at consecutive indices; holes between
//! sections have none. Sections start and end at multiples of the alignment order (the largest buddy block), so the index
//! and the frame number of any frame are congruent modulo such a block. Not to be confused with
//! SPARSEMEM's fixed-size sections, which [`crate::model`] describes. Memory that is plugged in later has sections of its own
//! ([`GrownSections`]), behind all others.

mod grown;

pub use grown::{GrownSection, GrownSections};

use crate::{FrameIdx, MapError};
use core::fmt;
use pagewright_addr::{Order, Pfn, PfnRange};

/// A run of frame numbers and the index of the first one's metadata.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Section {
    pub(crate) pfns: PfnRange,
    pub(crate) base: u64,
}

impl Section {
    /// An unused entry, to make room for a table.
    pub const EMPTY: Self = Self { pfns: PfnRange::new(Pfn::ZERO, Pfn::ZERO), base: 0 };

    /// The frame numbers.
    pub const fn pfns(&self) -> PfnRange {
        self.pfns
    }

    /// The index of the first frame's metadata.
    pub const fn base(&self) -> FrameIdx {
        FrameIdx::new(self.base as u32)
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:#x}", self.pfns, self.base)
    }
}

/// Sections in ascending order, of frame numbers and of indices alike.
#[derive(Clone, Copy, Debug)]
pub struct SectionTable<'a> {
    pub(crate) sections: &'a [Section],
    pub(crate) frames: u64,
    pub(crate) align: Order,
    pub(crate) grown: Option<&'a GrownSections<'a>>,
}

/// What [`SectionTable::validate`] found to be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableViolation {
    /// A section that is empty, or does not start above the end of the one before (where they touch they are one).
    Order {
        /// Its place in the table.
        index: usize,
    },
    /// A section that is not made of whole blocks of the alignment order.
    Ragged {
        /// Its place in the table.
        index: usize,
    },
    /// A section whose first index is not the number of frames below it.
    Base {
        /// Its place in the table.
        index: usize,
        /// What it says.
        base: u64,
        /// Frames in the sections below.
        below: u64,
    },
    /// The frame counter is not the sum of the sections, or is more than indices reach.
    Frames {
        /// What the counter says.
        counted: u64,
        /// What the sections add up to.
        summed: u64,
    },
}

impl fmt::Display for TableViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order { index } => write!(f, "section {index} is empty or not above the one before"),
            Self::Ragged { index } => write!(f, "section {index} is not made of whole blocks"),
            Self::Base { index, base, below } => {
                write!(f, "section {index} starts at index {base:#x}, {below:#x} frames lie below")
            }
            Self::Frames { counted, summed } => {
                write!(f, "{counted} frames counted, sections add up to {summed}")
            }
        }
    }
}

impl core::error::Error for TableViolation {}

impl<'a> SectionTable<'a> {
    /// The most frames a map can have: what 32-bit indices reach, 16 TiB of 4 KiB frames.
    pub const MAX_FRAMES: u64 = 1 << 32;

    /// Lays out metadata for `ranges`, which ascend and do not overlap (as memblock's do).
    ///
    /// Each range grows to multiples of `2^align` frames; ranges that then touch share a section. `align` must be at
    /// least the largest order of the buddy allocator that will run over the map.
    ///
    /// # Errors
    /// - [`MapError::Unsorted`] if a range starts below the end of the one before.
    /// - [`MapError::SectionsFull`] if `entries` is too short; one entry for each range always suffices.
    /// - [`MapError::TooManyFrames`] beyond [`Self::MAX_FRAMES`] (more than 16 TiB at 4 KiB).
    pub fn build<I>(entries: &'a mut [Section], ranges: I, align: Order) -> Result<Self, MapError>
    where
        I: IntoIterator<Item = PfnRange>,
    {
        let mut used = 0;
        let mut frames = 0u64;
        let mut last_end = Pfn::ZERO;
        for range in ranges {
            if range.is_empty() {
                continue;
            }
            if range.start < last_end {
                return Err(MapError::Unsorted { range, after: last_end });
            }
            last_end = range.end;
            let mut pfns =
                PfnRange::new(range.start.align_down(align.pages()), range.end.align_up(align.pages()));
            if used > 0 {
                let previous: &mut Section = &mut entries[used - 1];
                if pfns.start <= previous.pfns.end {
                    // Rounding made them touch: the section grows by what is new.
                    let grown = pfns.end.get().saturating_sub(previous.pfns.end.get());
                    previous.pfns.end = previous.pfns.end.max(pfns.end);
                    frames = frames.saturating_add(grown);
                    pfns = PfnRange::new(pfns.end, pfns.end);
                }
            }
            if !pfns.is_empty() {
                let capacity = entries.len();
                let entry = entries.get_mut(used).ok_or(MapError::SectionsFull { capacity })?;
                *entry = Section { pfns, base: frames };
                used += 1;
                frames = frames.saturating_add(pfns.len());
            }
            if frames > Self::MAX_FRAMES {
                return Err(MapError::TooManyFrames { frames, limit: Self::MAX_FRAMES });
            }
        }
        Ok(Self { sections: &entries[..used], frames, align, grown: None })
    }

    /// How many frames have metadata by now, holes inside a section included.
    pub fn frames(&self) -> u64 {
        let last = self.grown.and_then(|grown| grown.iter().last());
        last.map_or(self.frames, |(pfns, base)| base + pfns.len())
    }

    /// The order up to which indices and frame numbers are congruent.
    pub const fn align(&self) -> Order {
        self.align
    }

    /// The sections that the table was built with.
    pub const fn sections(&self) -> &'a [Section] {
        self.sections
    }

    /// The index of a frame's metadata, or `None` if it has none. Logarithmic in the number of sections.
    pub fn idx(&self, pfn: Pfn) -> Option<FrameIdx> {
        let section = self.sections.get(self.sections.partition_point(|s| s.pfns.end <= pfn));
        let index = match section.filter(|s| s.pfns.contains(pfn)) {
            Some(section) => section.base + (pfn.get() - section.pfns.start.get()),
            None => self.grown_idx(pfn)?,
        };
        Some(FrameIdx::new(index as u32))
    }

    /// The frame number at an index, or `None` past the last. Logarithmic in the number of sections.
    pub fn pfn(&self, idx: FrameIdx) -> Option<Pfn> {
        let index = u64::from(idx.get());
        if index >= self.frames {
            return self.grown_pfn(index);
        }
        let after = self.sections.partition_point(|s| s.base <= index);
        let section = self.sections.get(after.checked_sub(1)?)?;
        Some(Pfn::new(section.pfns.start.get() + (index - section.base)))
    }

    /// Checks order, alignment, first indices and the frame counter.
    ///
    /// # Errors
    /// The first [`TableViolation`].
    pub fn validate(&self) -> Result<(), TableViolation> {
        let (mut end, mut below) = (None, 0u64);
        for (index, section) in self.sections.iter().enumerate() {
            let Section { pfns, base } = *section;
            if pfns.is_empty() || end.is_some_and(|end| pfns.start <= end) {
                return Err(TableViolation::Order { index });
            }
            if !pfns.start.is_aligned(self.align.pages()) || !pfns.end.is_aligned(self.align.pages()) {
                return Err(TableViolation::Ragged { index });
            }
            if base != below {
                return Err(TableViolation::Base { index, base, below });
            }
            end = Some(pfns.end);
            below = below.saturating_add(pfns.len());
        }
        let summed = below;
        below = self.validate_grown(below)?;
        if self.frames != summed || below > Self::MAX_FRAMES {
            return Err(TableViolation::Frames { counted: self.frames, summed });
        }
        Ok(())
    }

    /// How many frames from `pfn` on, at most `max`, have consecutive indices. 0 if `pfn` has no metadata.
    pub fn run(&self, pfn: Pfn, max: u64) -> u64 {
        let Some(first) = self.idx(pfn).map(|idx| u64::from(idx.get())) else { return 0 };
        let mut run = 0;
        // What was plugged in may go on where other memory ended, in frame numbers and in indices alike.
        while run < max
            && let Some(end) = self.section_end(pfn.saturating_add(run))
            && self.idx(pfn.saturating_add(run)).map(|idx| u64::from(idx.get())) == Some(first + run)
        {
            run = end.get() - pfn.get();
        }
        run.min(max)
    }

    /// Where the section that holds a frame ends.
    fn section_end(&self, pfn: Pfn) -> Option<Pfn> {
        let mut all = self.sections.iter().map(|s| s.pfns).chain(self.grown());
        all.find(|pfns| pfns.contains(pfn)).map(|pfns| pfns.end)
    }
}
