//! Areas from before there is a tree: the kernel image, static I/O mappings, the first per-CPU chunk.

use super::{VmContext, VmFlags, Vmalloc, VmallocError};
use arrayvec::ArrayVec;
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::{Format, TableMemory, UnmapError};

/// Early areas at most.
const MOST: usize = 64;

/// An area that is known before the tree is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EarlyArea {
    /// Its addresses; no guard page belongs to them.
    pub range: VirtRange,
    /// What is mapped there.
    pub phys: PhysAddr,
    /// What it is.
    pub flags: VmFlags,
    /// Linux's function that asks for it, as `vmallocinfo` names it; empty where Linux names none.
    pub caller: &'static str,
}

/// Why an early area is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EarlyError {
    /// It has addresses of this one.
    Overlap(EarlyArea),
    /// There are as many as there can be.
    Full(usize),
    /// It is empty, or aligned to no power of two.
    Illegal {
        /// Its bytes.
        size: u64,
        /// Its alignment.
        align: u64,
    },
    /// It does not fit behind the others.
    NoRoom {
        /// Its bytes.
        size: u64,
        /// The region, which is vmalloc's.
        range: VirtRange,
        /// Bytes of its largest gap.
        largest: u64,
    },
}

impl fmt::Display for EarlyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap(other) => write!(f, "{:?} is an early area already", other.range),
            Self::Full(most) => write!(f, "there are {most} early areas already"),
            Self::Illegal { size, align } => {
                write!(f, "an early area of {size:#x} bytes at multiples of {align:#x}")
            }
            Self::NoRoom { size, range, largest } => write!(
                f,
                "the vmalloc area {:#x}-{:#x} ({} KiB) has no room for {size} bytes: the largest gap has {largest} bytes",
                range.start,
                range.last(),
                range.len >> 10
            ),
        }
    }
}

impl core::error::Error for EarlyError {}

/// The early areas of a kernel (`vmlist`), lowest first.
#[derive(Clone, Debug, Default)]
pub struct EarlyAreas {
    all: ArrayVec<EarlyArea, MOST>,
}

impl EarlyAreas {
    /// None.
    pub const fn new() -> Self {
        Self { all: ArrayVec::new_const() }
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.all.clear();
    }

    /// The one that begins at an address.
    pub fn at(&self, start: VirtAddr) -> Option<&EarlyArea> {
        self.all.iter().find(|area| area.range.start == start)
    }

    /// All of them, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = &EarlyArea> {
        self.all.iter()
    }

    /// Adds an area where it is (`vm_area_add_early`).
    ///
    /// # Errors
    /// [`EarlyError`]; nothing was added.
    pub fn add(&mut self, area: EarlyArea) -> Result<(), EarlyError> {
        if area.range.is_empty() {
            return Err(EarlyError::Illegal { size: 0, align: 1 });
        }
        let at = self.all.iter().take_while(|other| other.range.start < area.range.start).count();
        let beside = self.all[at.saturating_sub(1)..].iter().take(2);
        if let Some(other) = beside.into_iter().find(|other| other.range.overlaps(&area.range)) {
            return Err(EarlyError::Overlap(*other));
        }
        if self.all.is_full() {
            return Err(EarlyError::Full(MOST));
        }
        self.all.insert(at, area);
        Ok(())
    }

    /// Adds an area at the lowest place of `region` that no other has (`vm_area_register_early`): where it begins.
    ///
    /// # Errors
    /// [`EarlyError`]; nothing was added.
    pub fn register(
        &mut self,
        region: VirtRange,
        size: u64,
        align: u64,
        flags: VmFlags,
    ) -> Result<VirtAddr, EarlyError> {
        if size == 0 || !align.is_power_of_two() {
            return Err(EarlyError::Illegal { size, align });
        }
        let largest = self.largest_gap(region);
        let no_room = EarlyError::NoRoom { size, range: region, largest };
        let aligned = |at: u64| at.checked_next_multiple_of(align).ok_or(no_room);
        let mut at = aligned(region.start.get())?;
        for other in &self.all {
            if at.checked_add(size).is_none_or(|end| end <= other.range.start.get()) {
                break;
            }
            if other.range.last().get() >= at {
                at = aligned(other.range.last().get().checked_add(1).ok_or(no_room)?)?;
            }
        }
        let range = VirtRange { start: VirtAddr::new(at), len: size };
        if !region.contains_range(&range) {
            return Err(no_room);
        }
        self.add(EarlyArea { range, phys: PhysAddr::ZERO, flags, caller: "" })?;
        Ok(range.start)
    }

    /// Bytes of the largest gap that the areas leave in a region.
    fn largest_gap(&self, region: VirtRange) -> u64 {
        let (mut at, mut largest) = (region.start.get(), 0);
        for other in self.all.iter().filter(|other| region.overlaps(&other.range)) {
            largest = largest.max(other.range.start.get().saturating_sub(at));
            at = other.range.last().get().saturating_add(1);
        }
        largest.max(region.start.get().saturating_add(region.len).saturating_sub(at))
    }

    /// Takes the one that begins at an address out again, because what was to be there did not come.
    pub fn remove(&mut self, start: VirtAddr) -> Option<EarlyArea> {
        let at = self.all.iter().position(|area| area.range.start == start)?;
        Some(self.all.remove(at))
    }
}

impl<'a, F: Format, M: TableMemory> Vmalloc<'_, 'a, F, M> {
    /// Takes the early areas that lie in the region over (`vmalloc_init`): they are in use, and nobody else gets their addresses. Those of other
    /// regions are left out. How many it took.
    ///
    /// # Errors
    /// [`VmallocError::Tables`] if one lies only partly in the region, before any was taken; else as for [`Self::add_vm_area`], and those before
    /// it were taken.
    pub fn adopt<C: VmContext<'a>>(&self, on: &mut C, early: &EarlyAreas) -> Result<usize, VmallocError> {
        let partly =
            |area: &&EarlyArea| self.range.overlaps(&area.range) && !self.range.contains_range(&area.range);
        if let Some(area) = early.iter().find(partly) {
            return Err(VmallocError::Tables(UnmapError::OutsideCursor(area.range)));
        }
        let mut taken = 0;
        for area in early.iter().filter(|area| self.range.contains_range(&area.range)) {
            self.add_vm_area(on, area.range, area.phys, area.flags)?;
            taken += 1;
        }
        Ok(taken)
    }
}
