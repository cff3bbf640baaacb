//! Sections that come while the machine runs: memory that is plugged in.
//!
//! They are appended and never move: a section's frames have the indices after all that are known, whatever their frame numbers, and
//! keep them when the memory goes again. One thread appends at a time; readers see a whole section or none.

use super::{SectionTable, TableViolation};
use crate::MapError;
use core::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use pagewright_addr::{Pfn, PfnRange};

/// One such section.
#[derive(Debug, Default)]
pub struct GrownSection {
    start: AtomicU64,
    len: AtomicU64,
    base: AtomicU64,
}

impl GrownSection {
    /// An unused entry, to make room for a table.
    pub const fn unused() -> Self {
        Self { start: AtomicU64::new(0), len: AtomicU64::new(0), base: AtomicU64::new(0) }
    }

    fn get(&self) -> (PfnRange, u64) {
        let (len, start) = (self.len.load(Acquire), self.start.load(Relaxed));
        (PfnRange::from_len(Pfn::new(start), len), self.base.load(Relaxed))
    }
}

/// Room for such sections, in memory that the caller brings. Sections that touch need one entry together.
#[derive(Debug)]
pub struct GrownSections<'a> {
    entries: &'a [GrownSection],
    used: AtomicUsize,
    busy: AtomicBool,
}

impl<'a> GrownSections<'a> {
    /// No section yet.
    pub const fn new(entries: &'a [GrownSection]) -> Self {
        Self { entries, used: AtomicUsize::new(0), busy: AtomicBool::new(false) }
    }

    /// The sections and the index of each one's first frame.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PfnRange, u64)> {
        self.entries.iter().take(self.used.load(Acquire)).map(GrownSection::get)
    }

    /// Appends a section whose first index is `base`, or lengthens the last one.
    fn push(&self, pfns: PfnRange, base: u64) -> Result<(), MapError> {
        let used = self.used.load(Acquire);
        if let Some(last) = used.checked_sub(1).and_then(|at| self.entries.get(at))
            && last.get().0.end == pfns.start
        {
            last.len.fetch_add(pfns.len(), Release);
            return Ok(());
        }
        let entry = self.entries.get(used).ok_or(MapError::SectionsFull { capacity: self.entries.len() })?;
        entry.start.store(pfns.start.get(), Relaxed);
        entry.base.store(base, Relaxed);
        entry.len.store(pfns.len(), Release);
        self.used.store(used + 1, Release);
        Ok(())
    }
}

impl<'a> SectionTable<'a> {
    /// The same table with room for more. A table serves one map.
    #[must_use]
    pub const fn growing(self, grown: &'a GrownSections<'a>) -> Self {
        Self { grown: Some(grown), ..self }
    }

    /// The sections that came since the table was built.
    pub fn grown(&self) -> impl Iterator<Item = PfnRange> + use<'a> {
        let grown = self.grown;
        grown.into_iter().flat_map(|grown| grown.iter().map(|(pfns, _)| pfns))
    }

    /// Whether the table can grow.
    pub const fn grows(&self) -> bool {
        self.grown.is_some()
    }

    pub(super) fn grown_idx(&self, pfn: Pfn) -> Option<u64> {
        let (pfns, base) = self.grown?.iter().find(|(pfns, _)| pfns.contains(pfn))?;
        Some(base + (pfn.get() - pfns.start.get()))
    }

    pub(super) fn grown_pfn(&self, index: u64) -> Option<Pfn> {
        let (pfns, base) =
            self.grown?.iter().find(|(pfns, base)| (*base..base + pfns.len()).contains(&index))?;
        Some(Pfn::new(pfns.start.get() + (index - base)))
    }

    /// Appends frames, of which none may be known yet, if there are `slots` for the metadata of all. The index of the first one.
    pub(crate) fn append(&self, pfns: PfnRange, slots: u64) -> Result<u64, MapError> {
        let align = self.align.pages();
        if pfns.is_empty() || !pfns.start.is_aligned(align) || !pfns.end.is_aligned(align) {
            return Err(MapError::Ragged { range: pfns, align });
        }
        let Some(grown) = self.grown else { return Err(MapError::SectionsFull { capacity: 0 }) };
        if grown.busy.swap(true, Acquire) {
            return Err(MapError::Busy);
        }
        let base = self.frames();
        let mut known = self.sections.iter().map(|s| s.pfns).chain(self.grown());
        let result = if known.any(|other| other.overlaps(&pfns)) {
            Err(MapError::Known { range: pfns })
        } else if base + pfns.len() > slots {
            Err(MapError::StorageTooSmall { needed: base + pfns.len(), given: slots })
        } else {
            grown.push(pfns, base)
        };
        grown.busy.store(false, Release);
        result.map(|()| base)
    }

    /// Checks the grown sections behind the others: `below` frames lie before them.
    pub(super) fn validate_grown(&self, mut below: u64) -> Result<u64, TableViolation> {
        let Some(grown) = self.grown else { return Ok(below) };
        for (at, (pfns, base)) in grown.iter().enumerate() {
            let index = self.sections.len() + at;
            let before = self.sections.iter().map(|s| s.pfns).chain(self.grown().take(at));
            if pfns.is_empty() || before.into_iter().any(|other| other.overlaps(&pfns)) {
                return Err(TableViolation::Order { index });
            }
            if !pfns.start.is_aligned(self.align.pages()) || !pfns.end.is_aligned(self.align.pages()) {
                return Err(TableViolation::Ragged { index });
            }
            if base != below {
                return Err(TableViolation::Base { index, base, below });
            }
            below = below.saturating_add(pfns.len());
        }
        Ok(below)
    }
}
