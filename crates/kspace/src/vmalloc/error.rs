//! Why there is no area.

use super::VmFlags;
use crate::areas::AreaError;
use core::fmt;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_pagetable::{MapError, UnmapError};
use pagewright_zone::alloc::AllocFailure;

/// Why there is no area, or no mapping. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmallocError {
    /// No bytes, or more than the machine has pages.
    Size {
        /// What was asked for, in bytes.
        size: u64,
        /// Bytes of all pages that the machine has.
        most: u64,
    },
    /// An alignment that is no power of two, or an address or a length that is no multiple of a page.
    Unaligned(u64),
    /// Flags that say pages are the area's own, where it gets none: those of vmalloc, and a vmap that frees its caller's pages, which does not exist.
    Flags(VmFlags),
    /// No gap of the region has room, even after everything that waited for its flush was given back.
    Space {
        /// The region's name.
        region: &'static str,
        /// The region.
        range: VirtRange,
        /// What did not fit, and the largest gap.
        why: AreaError,
    },
    /// There was no memory for all pages.
    Pages {
        /// How many the area needs.
        needed: u64,
        /// How many there were; they were freed.
        got: u64,
        /// What the page allocator said.
        why: AllocFailure,
    },
    /// The page tables did not take them.
    Map(MapError),
    /// The region's page tables cannot be divided so: the area reaches beyond them.
    Tables(UnmapError),
}

impl fmt::Display for VmallocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { size, most } => {
                write!(f, "vmalloc size {size}: expected 1 to {most} bytes, all pages there are")
            }
            Self::Unaligned(value) => write!(f, "{value:#x} is no multiple of a page, or no power of two"),
            Self::Flags(flags) => write!(f, "an area without pages of its own cannot be {flags:?}"),
            Self::Space { region, range, why: AreaError::NoGap { wanted, largest } } => {
                write!(
                    f,
                    "the {region} area {:#x}-{:#x} ({} KiB) has no room for {} bytes",
                    range.start,
                    range.last(),
                    range.len >> 10,
                    wanted.size
                )?;
                if wanted.align > 4096 {
                    write!(f, " at a multiple of {:#x}", wanted.align)?;
                }
                if wanted.within != *range {
                    write!(f, " from {:#x} to {:#x}", wanted.within.start, wanted.within.last())?;
                }
                write!(f, ": the largest gap has {largest} bytes")?;
                if wanted.within != *range {
                    f.write_str(" there")?;
                }
                if *region == "vmalloc" {
                    f.write_str(
                        "; use vmalloc=<size> to increase the area where the architecture allows it",
                    )?;
                }
                Ok(())
            }
            Self::Space { region, range, why } => write!(f, "the {region} area {range:?}: {why}"),
            Self::Pages { needed, got, why } => write!(f, "{got} of {needed} pages: {why}"),
            Self::Map(e) => e.fmt(f),
            Self::Tables(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for VmallocError {}

/// Why there is no area in a region, nor in the one where areas go when that is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoArea {
    /// The region that was asked first, if it was full and another was asked then.
    pub full: Option<FullRegion>,
    /// What the region said that was asked last.
    pub why: VmallocError,
}

/// A region without room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FullRegion {
    /// The region's name.
    pub region: &'static str,
    /// Bytes of the largest gap where the area could have been.
    pub largest: u64,
}

impl FullRegion {
    /// Of a region that said so.
    pub const fn of(why: &VmallocError) -> Option<Self> {
        match *why {
            VmallocError::Space { region, why: AreaError::NoGap { largest, .. }, .. } => {
                Some(Self { region, largest })
            }
            _ => None,
        }
    }
}

impl From<VmallocError> for NoArea {
    fn from(why: VmallocError) -> Self {
        Self { full: None, why }
    }
}

impl fmt::Display for NoArea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(FullRegion { region, largest }) = self.full {
            write!(f, "the {region} area is full (the largest gap has {largest} bytes), and ")?;
        }
        self.why.fmt(f)
    }
}

impl core::error::Error for NoArea {}

/// Why nothing was freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VfreeError {
    /// The address is no multiple of a page ("bad address").
    Unaligned(VirtAddr),
    /// No area that can be freed so begins there ("nonexistent vm area"): it was freed already, it is of another kind, or it never was.
    Nonexistent(VirtAddr),
    /// The page tables do not let go of just these addresses: what is mapped at an end reaches beyond it, or they are damaged. The area is in use as before.
    Tables(UnmapError),
}

impl fmt::Display for VfreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned(at) => write!(f, "Trying to vfree() bad address ({at:#x})"),
            Self::Nonexistent(at) => write!(f, "Trying to vfree() nonexistent vm area ({at:#x})"),
            Self::Tables(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for VfreeError {}
