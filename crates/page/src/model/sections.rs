//! The sections of SPARSEMEM that have memory, with VMEMMAP's subsections.
//!
//! Kept as runs in tables that the caller brings; Linux reaches one entry for each section through a two-level table
//! (SPARSEMEM_EXTREME), whose sizes [`Geometry`] gives.

use super::runs::RunMaps;
use super::{Exceeds, Geometry, MemSection, PageArray, SectionRun};
use core::fmt;
use pagewright_addr::{NodeId, Pfn, PfnRange, VirtAddr};

/// Why sections cannot be added or mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SectionsError {
    /// Every entry of the table of section runs is in use.
    Full {
        /// How many entries there are.
        capacity: usize,
    },
    /// Every entry of the table of subsection runs is in use.
    SubsectionsFull {
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
    /// A section that was to get a map has no memory.
    Absent {
        /// Its number.
        nr: u64,
    },
    /// A section that was to get a map has one.
    Mapped {
        /// Its number.
        nr: u64,
    },
}

impl fmt::Display for SectionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { capacity } => {
                write!(f, "more runs of memory sections than the {capacity} entries brought")
            }
            Self::SubsectionsFull { capacity } => {
                write!(f, "more runs of subsections than the {capacity} entries brought")
            }
            Self::Exceeds(exceeds) => exceeds.fmt(f),
            Self::Unaligned { range } => write!(f, "frames {range:?} are not whole subsections of 2 MiB"),
            Self::Present { pfn } => write!(f, "the subsection at frame {pfn:#x} is present already"),
            Self::Absent { nr } => write!(f, "section {nr} has no memory and gets no map"),
            Self::Mapped { nr } => write!(f, "section {nr} has a map already"),
        }
    }
}

impl core::error::Error for SectionsError {}

/// The sections that have memory.
///
/// # Invariants
/// Runs ascend without overlap and none is empty; so do runs of subsections, which do not touch either and lie in
/// present sections. [`super::MemoryModel::validate`] checks them.
#[derive(Debug)]
pub struct Sections<'a> {
    geometry: Geometry,
    /// The first `used` entries are the runs.
    runs: &'a mut [SectionRun],
    used: usize,
    /// The first `populated` entries are runs of whole populated subsections.
    subsections: &'a mut [PfnRange],
    populated: usize,
}

impl<'a> Sections<'a> {
    /// No sections yet, in tables whose content does not matter.
    pub fn new(geometry: Geometry, runs: &'a mut [SectionRun], subsections: &'a mut [PfnRange]) -> Self {
        Self { geometry, runs, used: 0, subsections, populated: 0 }
    }

    /// The sizes.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The runs of sections, ascending.
    pub fn runs(&self) -> &[SectionRun] {
        &self.runs[..self.used]
    }

    /// The runs of populated subsections, ascending.
    pub fn subsections(&self) -> &[PfnRange] {
        &self.subsections[..self.populated]
    }

    /// How many sections have memory.
    pub fn count(&self) -> u64 {
        self.runs().iter().map(|run| run.count).sum()
    }

    /// The sections, ascending.
    pub fn iter(&self) -> impl Iterator<Item = MemSection> + '_ {
        self.runs().iter().flat_map(|run| (run.first..run.end()).map(|nr| run.section(nr, &self.geometry)))
    }

    /// Section `nr`, if it has memory.
    pub fn section(&self, nr: u64) -> Option<MemSection> {
        let run = self.runs().get(self.at(nr))?;
        (run.first <= nr).then(|| run.section(nr, &self.geometry))
    }

    /// The frame's section, if that has memory (__pfn_to_section).
    pub fn section_of(&self, pfn: Pfn) -> Option<MemSection> {
        self.section(self.geometry.section_nr(pfn))
    }

    /// The first section with memory from number `nr` on (next_present_section_nr).
    pub fn next_present(&self, nr: u64) -> Option<MemSection> {
        let run = self.runs().get(self.at(nr))?;
        Some(run.section(run.first.max(nr), &self.geometry))
    }

    /// The run that holds section `nr`, or the first one above it.
    fn at(&self, nr: u64) -> usize {
        self.runs().partition_point(|run| run.end() <= nr)
    }

    /// Marks the sections that boot memory touches (memory_present): early and online, without arrays as yet, and
    /// with the subsections that the memory touches (subsection_map_init). A section that two nodes share stays with
    /// the first.
    ///
    /// # Errors
    /// [`SectionsError::Full`] or [`SectionsError::SubsectionsFull`], having changed nothing. Memory beyond the last
    /// section is left out and reported as [`SectionsError::Exceeds`] after the rest was added, as Linux warns and
    /// goes on.
    pub fn memory_present(&mut self, nid: NodeId, range: PfnRange) -> Result<(), SectionsError> {
        let limit = self.geometry.max_pfn();
        let inside = PfnRange::new(range.start.min(limit), range.end.min(limit));
        if !inside.is_empty() {
            let run = SectionRun { nid, early: true, online: true, ..SectionRun::EMPTY };
            self.add(inside, run, None)?;
        }
        if range.end > limit { Err(SectionsError::Exceeds(Exceeds { range, limit })) } else { Ok(()) }
    }

    /// Gives a section its array (sparse_init_one_section). For VMEMMAP that is `vmemmap`, of which the section's part is
    /// taken.
    ///
    /// # Errors
    /// [`SectionsError::Absent`] and [`SectionsError::Mapped`] for a section that can get none;
    /// [`SectionsError::Full`] if the run must be cut and no entry is left. Nothing has changed then.
    pub fn set_mem_map(&mut self, nr: u64, mem_map: PageArray) -> Result<(), SectionsError> {
        let at = self.at(nr);
        let Some(run) = self.runs().get(at).copied().filter(|run| run.first <= nr) else {
            return Err(SectionsError::Absent { nr });
        };
        if run.maps.is_some() {
            return Err(SectionsError::Mapped { nr });
        }
        let array = mem_map.from(self.geometry.section_pfns(nr).start);
        if nr == run.first && self.extends(at, &run, array) {
            self.runs[at].first += 1;
            self.runs[at].count -= 1;
            if run.count == 1 {
                self.remove(at);
            }
            return Ok(());
        }
        // What is below and above the section in its run stays without maps.
        let (below, above) = (nr - run.first, run.end() - nr - 1);
        let extra = usize::from(below > 0) + usize::from(above > 0);
        let capacity = self.runs.len();
        if capacity - self.used < extra {
            return Err(SectionsError::Full { capacity });
        }
        let one = SectionRun { first: nr, count: 1, maps: Some(RunMaps { array, step: 0 }), ..run };
        if above > 0 {
            self.insert_at(at + 1, SectionRun { first: nr + 1, count: above, ..run });
        }
        if below > 0 {
            self.runs[at].count = below;
            self.insert_at(at + 1, one);
        } else {
            self.runs[at] = one;
        }
        Ok(())
    }

    /// Lengthens the run before `at` by one section with this array, if the array continues that run's.
    fn extends(&mut self, at: usize, run: &SectionRun, array: PageArray) -> bool {
        let geometry = self.geometry;
        let Some(before) = at.checked_sub(1).map(|i| &mut self.runs[i]) else { return false };
        let joins = before.end() == run.first && before.is_like(run);
        let (true, Some(maps)) = (joins, &mut before.maps) else { return false };
        if (maps.array.stride, maps.array.bits) != (array.stride, array.bits) {
            return false;
        }
        if before.count == 1 {
            let step = array.bits.wrap(array.base.get().wrapping_sub(maps.array.base.get()));
            let wider = RunMaps { step, ..*maps };
            if !wider.are_apart(&geometry) {
                return false;
            }
            *maps = wider;
        } else if maps.nth(before.count, &geometry).base != array.base {
            return false;
        }
        before.count += 1;
        true
    }

    /// Adds subsections after boot (section_activate): device memory or hot-added memory. Sections that exist already
    /// stay what they are; new ones are `online` as given and have their part of `mem_map`.
    ///
    /// # Errors
    /// [`SectionsError::Unaligned`] or [`SectionsError::Present`] for a range that cannot be added,
    /// [`SectionsError::Exceeds`], [`SectionsError::Full`] or [`SectionsError::SubsectionsFull`] for want of sections.
    /// Nothing has changed then.
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
        // Early sections are whole: Linux does not fill their holes with other memory's map again.
        let there = self.subsections().iter().find(|s| s.overlaps(&range));
        if let Some(pfn) = there.map(|s| s.start.max(range.start)) {
            return Err(SectionsError::Present { pfn });
        }
        self.add(range, SectionRun { nid, online, ..SectionRun::EMPTY }, Some(mem_map))
    }

    /// pfn_valid with VMEMMAP: in an early section every frame, in a later one those of populated subsections.
    pub(super) fn subsection_valid(&self, pfn: Pfn) -> bool {
        let Some(section) = self.section_of(pfn).filter(MemSection::is_valid) else { return false };
        section.is_early() || self.is_populated(pfn)
    }

    /// Whether the frame's subsection is populated (pfn_section_valid).
    pub fn is_populated(&self, pfn: Pfn) -> bool {
        let at = self.subsections().partition_point(|s| s.end <= pfn);
        self.subsections().get(at).is_some_and(|s| s.contains(pfn))
    }

    pub(super) fn page_to_pfn(&self, page: VirtAddr) -> Option<Pfn> {
        self.runs().iter().find_map(|run| run.maps?.pfn(page, run.count, &self.geometry))
    }

    /// Adds the sections that a range touches and that are not there, like `new` in all but their numbers, and
    /// populates the range's subsections.
    fn add(&mut self, range: PfnRange, new: SectionRun, map: Option<PageArray>) -> Result<(), SectionsError> {
        let geometry = self.geometry;
        let first = geometry.section_nr(range.start);
        let end = geometry.section_nr(range.end.saturating_sub(1)) + 1;
        let mut missing = 0;
        let mut nr = first;
        while let Some((gap, next)) = self.gap(nr, end) {
            let joins = map.is_none() && self.joining(gap.start, &new).is_some();
            missing += usize::from(!joins);
            nr = next;
        }
        let capacity = self.runs.len();
        if missing > capacity - self.used {
            return Err(SectionsError::Full { capacity });
        }
        self.populate(range)?;
        let mut nr = first;
        while let Some((gap, next)) = self.gap(nr, end) {
            let count = gap.end - gap.start;
            match self.joining(gap.start, &new).filter(|_| map.is_none()) {
                Some(at) => self.runs[at].count += count,
                None => {
                    let maps = map.map(|map| RunMaps {
                        array: map.from(geometry.section_pfns(gap.start).start),
                        step: geometry.vmemmap_step_bytes(map.stride),
                    });
                    self.insert_at(self.at(gap.start), SectionRun { first: gap.start, count, maps, ..new });
                }
            }
            nr = next;
        }
        Ok(())
    }

    /// The first run of missing section numbers in `nr..end`, and where to look for the next.
    fn gap(&self, nr: u64, end: u64) -> Option<(core::ops::Range<u64>, u64)> {
        let mut nr = nr;
        while nr < end {
            match self.runs().get(self.at(nr)) {
                Some(run) if run.first <= nr => nr = run.end(),
                Some(run) if run.first < end => return Some((nr..run.first, run.end())),
                _ => return Some((nr..end, end)),
            }
        }
        None
    }

    /// The run without maps that ends at section `nr` and is like `new`.
    fn joining(&self, nr: u64, new: &SectionRun) -> Option<usize> {
        let at = self.at(nr).checked_sub(1)?;
        let run = &self.runs[at];
        (run.end() == nr && run.maps.is_none() && run.is_like(new)).then_some(at)
    }

    /// Enters the subsections that a range touches.
    fn populate(&mut self, range: PfnRange) -> Result<(), SectionsError> {
        let sub = self.geometry.pages_per_subsection();
        let mut new = PfnRange::new(range.start.align_down(sub), range.end.align_up(sub));
        let from = self.subsections().partition_point(|s| s.end < new.start);
        let to = self.subsections().partition_point(|s| s.start <= new.end);
        if from == to {
            let capacity = self.subsections.len();
            if self.populated == capacity {
                return Err(SectionsError::SubsectionsFull { capacity });
            }
            self.subsections[self.populated] = new;
            self.subsections[from..=self.populated].rotate_right(1);
            self.populated += 1;
            return Ok(());
        }
        new.start = new.start.min(self.subsections[from].start);
        new.end = new.end.max(self.subsections[to - 1].end);
        self.subsections[from] = new;
        self.subsections.copy_within(to..self.populated, from + 1);
        self.populated -= to - from - 1;
        Ok(())
    }

    /// There is room.
    fn insert_at(&mut self, at: usize, run: SectionRun) {
        self.runs[self.used] = run;
        self.runs[at..=self.used].rotate_right(1);
        self.used += 1;
    }

    fn remove(&mut self, at: usize) {
        self.runs[at..self.used].rotate_left(1);
        self.used -= 1;
    }
}

#[cfg(test)]
impl Sections<'_> {
    /// Lets a test break the tables.
    pub(super) fn damage(&mut self, damage: impl FnOnce(&mut [SectionRun], &mut [PfnRange])) {
        damage(&mut self.runs[..self.used], &mut self.subsections[..self.populated]);
    }
}
