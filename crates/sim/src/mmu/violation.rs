//! What hardware would not forgive, with the step that was left out.

use super::fault::Fault;
use super::types::{Access, Mapping};
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr};

/// The step that was missing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Missing {
    /// The entry was taken out, and the TLB was not told.
    UnmapFlush,
    /// Rights were taken away, and the TLB was not told.
    ProtectFlush,
    /// The note that the page was written was taken away, and the TLB was not told: writes go unnoticed.
    CleanFlush,
    /// The entry leads elsewhere, and the TLB was not told (x86).
    ChangeFlush,
    /// A live entry was replaced (Arm): first invalid, then the flush, then the new one.
    BreakBeforeMake,
    /// An upper entry was changed, and the flush was not one that covers tables.
    TableFlush,
    /// The leaves of a contiguous group are not all there or do not follow each other.
    WholeGroup,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnmapFlush => "a flush of the address after its entry was taken out",
            Self::ProtectFlush => "a flush of the address after rights were taken away",
            Self::CleanFlush => "a flush of the address after its entry was marked clean",
            Self::ChangeFlush => "a flush of the address after its entry was changed",
            Self::BreakBeforeMake => {
                "break-before-make: make the entry invalid, flush the address, write the new entry"
            }
            Self::TableFlush => "a flush that covers tables (tables_freed) after a table was taken out",
            Self::WholeGroup => "equal attributes and following addresses in the whole contiguous group",
        })
    }
}

/// Something that goes wrong on hardware, sooner or later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A CPU has a translation that the tables no longer support.
    StaleTranslation {
        /// The CPU.
        cpu: usize,
        /// The address.
        va: VirtAddr,
        /// What was done there; `None` when an audit found it.
        access: Option<Access>,
        /// What the CPU has.
        cached: Mapping,
        /// What the tables say now.
        now: Result<Mapping, Fault>,
        /// What was left out.
        missing: Missing,
        /// The address was flushed, but before the change: hardware fetched the old entry again.
        flushed_too_early: bool,
    },
    /// A CPU's walk cache leads through a table that is no longer there.
    StaleTable {
        /// The CPU.
        cpu: usize,
        /// The address.
        va: VirtAddr,
        /// The level of the entry that was kept: 1 for one that leads to a last-level table.
        level: u8,
        /// The entry as it was kept.
        cached: u64,
        /// The entry that it leads to.
        leads_to: PhysAddr,
        /// What was left out.
        missing: Missing,
    },
    /// Two translations of one address that say different things would be in a TLB (a TLB conflict abort on Arm).
    ConflictingTranslations {
        /// The CPU.
        cpu: usize,
        /// The address.
        va: VirtAddr,
        /// What the CPU has.
        cached: Mapping,
        /// What it found now.
        now: Mapping,
        /// What was left out.
        missing: Missing,
    },
    /// A table was given back while a CPU may still walk it or use what it read there.
    TableInUse {
        /// The CPU.
        cpu: usize,
        /// The page that was given back.
        page: PhysAddr,
        /// An address that leads there.
        va: VirtAddr,
        /// What was left out.
        missing: Missing,
    },
}

impl Violation {
    /// The address.
    pub const fn va(&self) -> VirtAddr {
        match self {
            Self::StaleTranslation { va, .. }
            | Self::StaleTable { va, .. }
            | Self::ConflictingTranslations { va, .. }
            | Self::TableInUse { va, .. } => *va,
        }
    }

    /// The step that was left out.
    pub const fn missing(&self) -> Missing {
        match self {
            Self::StaleTranslation { missing, .. }
            | Self::StaleTable { missing, .. }
            | Self::ConflictingTranslations { missing, .. }
            | Self::TableInUse { missing, .. } => *missing,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StaleTranslation { cpu, va, access, cached, now, flushed_too_early, .. } => {
                write!(f, "CPU {cpu} uses a stale translation of {va:#x}")?;
                if let Some(access) = access {
                    write!(f, " ({access})")?;
                }
                write!(f, ": it has {cached}; ")?;
                match now {
                    Ok(now) => write!(f, "the tables say {now}")?,
                    Err(fault) => write!(f, "the tables say: {fault}")?,
                }
                if *flushed_too_early {
                    f.write_str("; the address was flushed before the change, not after it")?;
                }
            }
            Self::StaleTable { cpu, va, level, cached, leads_to, .. } => {
                write!(
                    f,
                    "CPU {cpu} walks {va:#x} through the entry {cached:#x} of level {level} that it kept, to \
                     {leads_to:#x}, where the tables no longer lead"
                )?;
            }
            Self::ConflictingTranslations { cpu, va, cached, now, .. } => {
                write!(f, "CPU {cpu} has two translations of {va:#x}: {cached}; and {now}")?;
            }
            Self::TableInUse { cpu, page, va, .. } => {
                write!(
                    f,
                    "the table at {page:#x} was given back while CPU {cpu} may use it to translate {va:#x}"
                )?;
            }
        }
        write!(f, ". Missing: {}", self.missing())
    }
}

impl core::error::Error for Violation {}
