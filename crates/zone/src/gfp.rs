//! GFP masks: what an allocation may do, and from which zones and lists it is served.
//!
//! The numbers are 6.1's, so that masks in traces and failure reports read as Linux's do. [`Gfp::zone`] and
//! [`Gfp::migrate_type`] say what a mask selects; five low bits, the [class](Gfp::class), decide both.
//!
//! Masks print as `%pGg` does and parse from that. Combinations that contradict themselves are errors ([`GfpError`]); those that Linux
//! serves and complains about are [`GfpWarning`]s.

mod names;
mod warning;

pub use names::GfpParseError;
pub use warning::GfpWarning;

use crate::buddy::MigrateType;
use crate::{ZoneKind, ZoneSet};
use bitflags::bitflags;
use core::fmt;

bitflags! {
    /// A mask (`gfp_t`). Single bits are Linux's `__GFP_*`, combinations its `GFP_*`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Gfp: u32 {
        /// Zone modifier: from ZONE_DMA.
        const DMA = 0x01;
        /// Zone modifier: high memory will do.
        const HIGHMEM = 0x02;
        /// Zone modifier: from ZONE_DMA32.
        const DMA32 = 0x04;
        /// The page can be migrated or reclaimed; with HIGHMEM also a zone modifier, ZONE_MOVABLE.
        const MOVABLE = 0x08;
        /// A slab page whose objects a shrinker can free.
        const RECLAIMABLE = 0x10;
        /// High priority: may use half of the min watermark.
        const HIGH = 0x20;
        /// May start physical I/O.
        const IO = 0x40;
        /// May call down into file systems.
        const FS = 0x80;
        /// The page is zeroed.
        const ZERO = 0x100;
        /// Cannot wait and has high priority: may use a part of the atomic reserves.
        const ATOMIC = 0x200;
        /// The caller may reclaim.
        const DIRECT_RECLAIM = 0x400;
        /// kswapd may be woken at the low watermark.
        const KSWAPD_RECLAIM = 0x800;
        /// The page will be dirtied.
        const WRITE = 0x1000;
        /// No failure report.
        const NOWARN = 0x2000;
        /// Try hard, but fail in the end.
        const RETRY_MAYFAIL = 0x4000;
        /// Never fail.
        const NOFAIL = 0x8000;
        /// Give up after a light attempt.
        const NORETRY = 0x1_0000;
        /// May use all memory: the allocation will free more than it takes.
        const MEMALLOC = 0x2_0000;
        /// The frames become a compound page.
        const COMP = 0x4_0000;
        /// Must not use the emergency reserves, whatever else says so.
        const NOMEMALLOC = 0x8_0000;
        /// Bound by the cpuset's memory policy.
        const HARDWALL = 0x10_0000;
        /// From the requested node only.
        const THISNODE = 0x20_0000;
        /// Charged to the memory cgroup.
        const ACCOUNT = 0x40_0000;
        /// Memory tags are zeroed with the contents (arm64's MTE).
        const ZEROTAGS = 0x80_0000;

        /// Both kinds of reclaim (`__GFP_RECLAIM`).
        const RECLAIM = Self::DIRECT_RECLAIM.bits() | Self::KSWAPD_RECLAIM.bits();
        /// For callers that cannot sleep.
        const GFP_ATOMIC = Self::HIGH.bits() | Self::ATOMIC.bits() | Self::KSWAPD_RECLAIM.bits();
        /// For the kernel's own use; may do all kinds of reclaim.
        const GFP_KERNEL = Self::RECLAIM.bits() | Self::IO.bits() | Self::FS.bits();
        /// GFP_KERNEL, charged to the cgroup.
        const GFP_KERNEL_ACCOUNT = Self::GFP_KERNEL.bits() | Self::ACCOUNT.bits();
        /// Without waiting, without reserves.
        const GFP_NOWAIT = Self::KSWAPD_RECLAIM.bits();
        /// Reclaim without I/O.
        const GFP_NOIO = Self::RECLAIM.bits();
        /// Reclaim without file systems.
        const GFP_NOFS = Self::RECLAIM.bits() | Self::IO.bits();
        /// For user space, directly reachable by the kernel.
        const GFP_USER = Self::GFP_KERNEL.bits() | Self::HARDWALL.bits();
        /// For user space, not mapped by the kernel.
        const GFP_HIGHUSER = Self::GFP_USER.bits() | Self::HIGHMEM.bits();
        /// For user space and migratable: anonymous memory and page cache.
        const GFP_HIGHUSER_MOVABLE = Self::GFP_HIGHUSER.bits() | Self::MOVABLE.bits();
        /// Transparent huge pages on page faults without direct reclaim.
        const GFP_TRANSHUGE_LIGHT = (Self::GFP_HIGHUSER_MOVABLE.bits()
            | Self::COMP.bits() | Self::NOMEMALLOC.bits() | Self::NOWARN.bits()) & !Self::RECLAIM.bits();
        /// Transparent huge pages that may reclaim directly.
        const GFP_TRANSHUGE = Self::GFP_TRANSHUGE_LIGHT.bits() | Self::DIRECT_RECLAIM.bits();

        /// The bits that say how movable the pages are (GFP_MOVABLE_MASK).
        const MOBILITY_MASK = Self::RECLAIMABLE.bits() | Self::MOVABLE.bits();
        /// What an allocator passes on of its caller's mask: watermarks and reclaim (GFP_RECLAIM_MASK).
        const RECLAIM_MASK = Self::RECLAIM.bits() | Self::HIGH.bits() | Self::IO.bits() | Self::FS.bits()
            | Self::NOWARN.bits() | Self::RETRY_MAYFAIL.bits() | Self::NOFAIL.bits() | Self::NORETRY.bits()
            | Self::MEMALLOC.bits() | Self::NOMEMALLOC.bits() | Self::ATOMIC.bits();
        /// What it passes on of placement (GFP_CONSTRAINT_MASK).
        const CONSTRAINT_MASK = Self::HARDWALL.bits() | Self::THISNODE.bits();
    }
}

/// A mask that asks for two things that exclude each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GfpError {
    /// More than one of DMA, DMA32 and HIGHMEM.
    Zones(Gfp),
    /// MOVABLE and RECLAIMABLE together (`VM_WARN_ON` in Linux).
    Mobility(Gfp),
}

impl fmt::Display for GfpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zones(gfp) => {
                write!(f, "GFP mask {:#x} names more than one of DMA, DMA32 and HIGHMEM", gfp.bits())
            }
            Self::Mobility(gfp) => {
                write!(f, "GFP mask {:#x} is both MOVABLE and RECLAIMABLE", gfp.bits())
            }
        }
    }
}

impl core::error::Error for GfpError {}

impl Gfp {
    /// How many classes there are.
    pub const CLASSES: usize = 32;

    /// The bits that decide zone and migrate type, as a number.
    #[inline]
    pub const fn class(self) -> usize {
        self.bits() as usize & (Self::CLASSES - 1)
    }

    /// The highest zone that the mask allows (`gfp_zone`); a zone that the kernel does not have gives way to Normal.
    ///
    /// # Errors
    /// [`GfpError::Zones`].
    pub fn zone(self, zones: ZoneSet) -> Result<ZoneKind, GfpError> {
        let modifiers = self & (Self::DMA | Self::DMA32 | Self::HIGHMEM);
        let kind = match modifiers {
            Self::DMA => ZoneKind::Dma,
            Self::DMA32 => ZoneKind::Dma32,
            Self::HIGHMEM if self.contains(Self::MOVABLE) => ZoneKind::Movable,
            Self::HIGHMEM => ZoneKind::HighMem,
            none if none.is_empty() => ZoneKind::Normal,
            _ => return Err(GfpError::Zones(self)),
        };
        Ok(if zones.contains(kind) { kind } else { ZoneKind::Normal })
    }

    /// The lists that the mask is served from (`gfp_migratetype`); without grouping by mobility everything is Unmovable.
    ///
    /// # Errors
    /// [`GfpError::Mobility`].
    pub fn migrate_type(self, mobility_grouping: bool) -> Result<MigrateType, GfpError> {
        let asked = match (self.contains(Self::MOVABLE), self.contains(Self::RECLAIMABLE)) {
            (true, true) => return Err(GfpError::Mobility(self)),
            (true, false) => MigrateType::Movable,
            (false, true) => MigrateType::Reclaimable,
            (false, false) => MigrateType::Unmovable,
        };
        Ok(if mobility_grouping { asked } else { MigrateType::Unmovable })
    }

    /// Whether the caller may wait for memory.
    pub const fn may_block(self) -> bool {
        self.contains(Self::DIRECT_RECLAIM)
    }
}

#[cfg(test)]
mod tests;
