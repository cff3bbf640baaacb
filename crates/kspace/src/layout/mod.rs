//! The virtual map of a kernel, computed.
//!
//! A [`Layout`] holds named regions in address order. Those of depth 0 cover the whole address space without a gap or an
//! overlap: what belongs to nothing is a region too. Those of depth 1 lie inside the region before them (the kernel image
//! in vmalloc space, I/O ports among arm's static mappings).
//!
//! Sources: Linux's documentation (Documentation/arm/memory, arm64/memory, x86/x86_64/mm), the banner that older kernels
//! printed at boot, and what captured kernels show. Names in comments are Linux's.

pub(crate) mod arm;
pub(crate) mod arm64;
mod build;
mod facts;
mod i386;
mod image;
mod kind;
mod limits;
mod markers;
pub(crate) mod x86_64;

pub use arm::{lowmem_reach, vmalloc_size};
pub use facts::{ArmFacts, Bases, CacheWindows, Facts, Ram};
pub use i386::I386Areas;
pub use kind::Kind;
pub use limits::Limits;
pub use markers::Marker;

use crate::fixmap::{Fixmap, FixmapError};
use crate::version::Version;
use arrayvec::ArrayVec;
use build::{Builder, MAX_REGIONS};
use core::fmt;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_firmware::config::Refusal;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// A range of virtual addresses and what it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// What it is for.
    pub kind: Kind,
    /// The addresses.
    pub range: VirtRange,
    /// 0 for a part of the address space, 1 for a part of the region before it.
    pub depth: u8,
}

/// Why there is no layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LayoutError {
    /// The configuration is not one that a kernel can have.
    Refused(Refusal),
    /// A version whose layout is not known here.
    Version {
        /// The architecture.
        arch: Arch,
        /// What was asked for.
        version: Version,
        /// The oldest that is known.
        oldest: Version,
    },
    /// `sizeof(struct page)` of 0 or beyond a page.
    StructPage(u32),
    /// The RAM that is mapped permanently ends above the addresses for it.
    LinearMap {
        /// Bytes that are mapped.
        bytes: u64,
        /// Bytes that there is room for.
        room: u64,
    },
    /// The fixed mappings do not fit.
    Fixmap(FixmapError),
    /// Two regions claim the same addresses, or one is not inside its container.
    Overlap(Region, Region),
    /// More regions than a layout holds.
    TooManyRegions,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(r) => r.fmt(f),
            Self::Version { arch, version, oldest } => {
                write!(f, "the layout of {arch:?} in {version} is not modelled, expected {oldest} or later")
            }
            Self::StructPage(bytes) => write!(f, "a struct page of {bytes} bytes, expected 1 to 4096"),
            Self::LinearMap { bytes, room } => {
                write!(f, "{bytes:#x} bytes are mapped permanently, there is room for {room:#x}")
            }
            Self::Fixmap(e) => e.fmt(f),
            Self::Overlap(a, b) => {
                write!(f, "{} at {:?} and {} at {:?} collide", a.kind.word(), a.range, b.kind.word(), b.range)
            }
            Self::TooManyRegions => write!(f, "more than {MAX_REGIONS} regions"),
        }
    }
}

impl core::error::Error for LayoutError {}

impl From<FixmapError> for LayoutError {
    fn from(e: FixmapError) -> Self {
        Self::Fixmap(e)
    }
}

/// The virtual map of a kernel.
#[derive(Clone, Debug)]
pub struct Layout {
    facts: Facts,
    fixmap: Fixmap,
    regions: ArrayVec<Region, MAX_REGIONS>,
}

impl Layout {
    /// Computes the layout.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn of(facts: &Facts) -> Result<Self, LayoutError> {
        facts.config.validate().map_err(LayoutError::Refused)?;
        if facts.struct_page == 0 || facts.struct_page > 4096 {
            return Err(LayoutError::StructPage(facts.struct_page));
        }
        let arch = facts.config.arch;
        let oldest = match arch {
            Arch::Arm => arm::OLDEST,
            Arch::Arm64 => arm64::OLDEST,
            Arch::I386 => i386::OLDEST,
            Arch::X86_64 => x86_64::OLDEST,
        };
        if facts.version < oldest {
            return Err(LayoutError::Version { arch, version: facts.version, oldest });
        }
        let fixmap = Fixmap::of(facts)?;
        let mut b = Builder::new();
        match arch {
            Arch::Arm => arm::regions(facts, &mut b)?,
            Arch::Arm64 => arm64::regions(facts, &fixmap, &mut b)?,
            Arch::I386 => i386::regions(facts, &fixmap, &mut b)?,
            Arch::X86_64 => x86_64::regions(facts, &fixmap, &mut b)?,
        }
        let last = if facts.config.is_64bit() { u64::MAX } else { u32::MAX.into() };
        Ok(Self { facts: *facts, fixmap, regions: b.finish(last)? })
    }

    /// What it was computed from.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The fixed mappings.
    pub fn fixmap(&self) -> &Fixmap {
        &self.fixmap
    }

    /// All regions in address order, each with its parts after it.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The addresses of the first region of a kind.
    pub fn get(&self, kind: Kind) -> Option<VirtRange> {
        self.regions.iter().find(|r| r.kind == kind).map(|r| r.range)
    }

    /// The region that an address belongs to: the innermost.
    pub fn at(&self, va: VirtAddr) -> Option<&Region> {
        self.regions.iter().rev().find(|r| r.range.contains(va))
    }

    /// Where user space ends and similar numbers.
    pub fn limits(&self) -> Limits {
        Limits::of(&self.facts)
    }

    /// The headings under which a dump of the kernel's page tables (`ptdump`) shows its ranges, in address order.
    pub fn markers(&self) -> impl Iterator<Item = Marker> {
        markers::of(self).into_iter()
    }

    /// Checks that the regions of depth 0 cover everything once and that the others lie inside theirs.
    ///
    /// # Errors
    /// The two regions that disagree.
    pub fn validate(&self) -> Result<(), LayoutError> {
        let mut outer: Option<Region> = None;
        for region in &self.regions {
            let fits = match (region.depth, outer) {
                (0, None) => region.range.start == VirtAddr::ZERO,
                (0, Some(before)) => before.range.last().checked_add(1) == Some(region.range.start),
                (_, around) => around.is_some_and(|o| o.range.contains_range(&region.range)),
            };
            if !fits || region.range.is_empty() {
                return Err(LayoutError::Overlap(outer.unwrap_or(*region), *region));
            }
            if region.depth == 0 {
                outer = Some(*region);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
