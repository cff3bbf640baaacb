//! From a boot that has run to a page allocator in service, for those who bring RAM by physical address instead of slices.
//!
//! [`start_allocator`] asks memblock for the memory of the allocator's own tables, has the caller make it reachable, and hands over.
//! [`Running::start_cpus`] follows with the initcalls. A caller whose tables lie elsewhere (a hosted machine's) fills a
//! [`Space`] and calls [`hand_over`] itself.

use crate::boot::Boot;
use crate::error::BootError;
use crate::running::{Running, Space, hand_over, metadata_frames, park_words, populated_zones};
use core::fmt;
use core::sync::atomic::AtomicU32;
use pagewright_addr::{NodeId, Order, PageShift, PfnRange, PhysRange};
use pagewright_memblock::{self as memblock, Flags, Set};
use pagewright_page::{Frames, PageMeta, PageStorage, Pristine, Section};
use pagewright_platform::carve::{Carve, bytes_for};
use pagewright_zone::ZoneKind;
use pagewright_zone::buddy::{AllocError, BuddyZone, Request, ZonePiece};
use pagewright_zone::watermark::ZoneMarks;

/// Why a machine did not get to a running page allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// The boot stopped.
    Boot(BootError),
    /// No run of free memory holds the page allocator's metadata.
    Metadata {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes of the largest free run.
        largest: u64,
    },
    /// The caller cannot reach the memory that memblock gave.
    Unreachable(PhysRange),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot(e) => e.fmt(f),
            Self::Metadata { needed, largest } => write!(
                f,
                "page metadata takes {needed} bytes and the largest free run has {largest}: {} bytes short",
                needed.saturating_sub(*largest)
            ),
            Self::Unreachable(range) => {
                write!(f, "the direct map does not reach {:#x}, which page metadata lies at", range.start)
            }
        }
    }
}

impl core::error::Error for StartError {}

impl From<BootError> for StartError {
    fn from(e: BootError) -> Self {
        Self::Boot(e)
    }
}

/// A boot's error, with what memory lacks if that is what stopped it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped {
    error: BootError,
    short: Option<u64>,
}

impl Stopped {
    /// The error of a boot that can be looked at.
    pub fn new(boot: &Boot<'_>, error: BootError) -> Self {
        let BootError::Memblock(memblock::Error::NoMemory { size, align, .. }) = error else {
            return Self { error, short: None };
        };
        let free = boot.mb.free_ranges(None, Flags::NONE);
        let largest =
            free.map(|(r, _)| r.end.get().saturating_sub(r.start.align_up(align.max(1)).get())).max();
        let short = size.saturating_sub(largest.unwrap_or(0));
        Self { error, short: Some(short).filter(|short| *short > 0) }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        match self.short {
            Some(short) => write!(f, ": too little memory, {short} bytes short"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Stopped {}

/// Bytes of the largest free run.
fn largest_free(boot: &Boot<'_>) -> u64 {
    boot.mb.free_ranges(None, Flags::NONE).map(|(r, _)| r.len()).max().unwrap_or(0)
}

/// How many of each table a page allocator on this machine has.
#[derive(Clone, Copy, Debug)]
struct Counts {
    frames: usize,
    regions: usize,
    records: usize,
    zones: usize,
    extents: usize,
    parks: usize,
    marks: usize,
}

impl Counts {
    fn of(boot: &Boot<'_>) -> Self {
        let frames = metadata_frames(boot);
        // One reservation more: this memory itself.
        let regions = boot.mb.regions(Set::Memory).len() + 1;
        let free = regions + boot.mb.regions(Set::Reserved).len() + 1;
        let zones = populated_zones(boot);
        Self {
            frames: frames as usize,
            regions,
            records: (frames >> boot.machine.config.pageblock_order()) as usize + 2,
            zones,
            extents: free * zones,
            parks: park_words(boot),
            marks: boot.nodes_online.len().max(1) * ZoneKind::COUNT,
        }
    }

    fn pieces(&self) -> usize {
        self.regions * (self.zones + 1)
    }

    fn bytes(&self) -> u64 {
        bytes_for::<PageMeta>(self.frames)
            + bytes_for::<Section>(self.regions)
            + bytes_for::<AtomicU32>(self.records)
            + bytes_for::<ZonePiece>(self.pieces())
            + bytes_for::<Option<Pristine<'_>>>(self.extents)
            + bytes_for::<u32>(self.parks)
            + bytes_for::<BuddyZone<'_, '_>>(self.zones)
            + bytes_for::<ZoneMarks>(self.marks)
    }

    fn space<'a>(&self, memory: &mut Carve<'a>) -> Option<Space<'a, 'a, 'a>> {
        Some(Space {
            metadata: PageStorage::zero(memory.uninit(self.frames)?),
            sections: memory.slice(self.regions, || Section::EMPTY)?,
            records: memory.slice(self.records, || AtomicU32::new(0))?,
            pieces: memory.slice(self.pieces(), || ZonePiece::EMPTY)?,
            extents: memory.slice(self.extents, || None)?,
            parks: memory.slice(self.parks, || 0)?,
            zones: memory.slice(self.zones, || BuddyZone::new(NodeId::ZERO, ZoneKind::Normal, &mut []))?,
            marks: memory.slice(self.marks, || ZoneMarks::new(NodeId::ZERO, ZoneKind::Normal, 0, false))?,
        })
    }
}

/// Bytes of memory that the page allocator's tables take on this machine: some 32 for each frame.
pub fn allocator_bytes(boot: &Boot<'_>) -> u64 {
    Counts::of(boot).bytes()
}

/// Takes the page allocator's tables from memblock and hands memory over to it. The boot has run ([`Boot::run`]). `reach` makes memory that
/// memblock has just given to nobody else reachable, and lends it for as long as the allocator lives.
///
/// # Errors
/// [`StartError`]. memblock still has all memory then.
pub fn start_allocator<'a>(
    boot: &mut Boot<'_>,
    reach: impl FnOnce(PhysRange) -> Option<Carve<'a>>,
) -> Result<Running<'a, 'a, 'a>, StartError> {
    let counts = Counts::of(boot);
    let page = boot.page_bytes();
    let bytes = counts.bytes().next_multiple_of(page);
    boot.mb.set_caller("start_allocator");
    let Ok(at) = boot.mb.alloc(bytes, page) else {
        return Err(StartError::Metadata { needed: bytes, largest: largest_free(boot) });
    };
    let range = PhysRange::from_len(at, bytes);
    let Some(mut memory) = reach(range) else {
        // Nobody has used it.
        boot.mb.phys_free(range).map_err(BootError::Memblock)?;
        return Err(StartError::Unreachable(range));
    };
    let Some(space) = counts.space(&mut memory) else {
        return Err(BootError::Space { what: "its tables" }.into());
    };
    Ok(hand_over(boot, space)?)
}

impl<'a> Running<'_, '_, 'a> {
    /// The initcalls, with the machine's processors on their nodes ([`Boot::online_by_node`]).
    pub fn start_cpus(&mut self, boot: &mut Boot<'_>) {
        boot.online_by_node().with(|cpus| self.initcalls(boot, cpus));
    }

    /// A block of the kernel's own memory: from any zone but high memory and what must stay movable, the highest first. Nothing waits, and no reserve is
    /// kept: that is the business of `pagewright_zone::alloc`.
    ///
    /// # Errors
    /// [`AllocError`] of the last zone that was asked.
    pub fn alloc(&mut self, order: Order) -> Result<Frames<'a>, AllocError> {
        let mut last = AllocError::NoMemory { order };
        for n in (0..self.buddy.zones().len()).rev() {
            let Some(zone) = self.buddy.zones().get(n) else { continue };
            let (nid, kind) = (zone.nid(), zone.kind());
            if matches!(kind, ZoneKind::HighMem | ZoneKind::Movable) {
                continue;
            }
            let Some(zone) = self.buddy.find(nid, kind) else { continue };
            match self.buddy.alloc(zone, Request::unmovable(order)) {
                Ok(frames) => return Ok(frames),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Gives a block back.
    pub fn free(&mut self, frames: Frames<'a>) {
        self.buddy.free(frames);
    }

    /// The memory of a block, by physical address.
    pub fn range(&self, frames: &Frames<'_>, page: PageShift) -> PhysRange {
        let start = self.buddy.map().pfn(frames.start());
        PfnRange::from_len(start, frames.len()).bytes(page)
    }
}
