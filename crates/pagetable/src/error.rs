//! What can go wrong with tables, always with where it did.

use crate::attr::AttrError;
use crate::shape::Level;
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};

/// A tree that is not well formed: an entry points outside the memory, or has bits set that must not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The level of the table with the entry.
    pub level: Level,
    /// An address that leads to the entry.
    pub at: VirtAddr,
    /// The entry (for the root, its address).
    pub word: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "damaged page table: the entry {:#x} for {:#x} at level {} is reserved or leads outside the tables' memory",
            self.word,
            self.at,
            self.level.get()
        )
    }
}

impl core::error::Error for Damage {}

/// Why nothing was mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// An address or the length is no multiple of the page size, or the length is zero.
    Unaligned(VirtRange, PhysAddr),
    /// The tree does not translate all of the range.
    OutsideWindow(VirtRange),
    /// The cursor holds less than the range.
    OutsideCursor(VirtRange),
    /// Something is mapped there already.
    AlreadyMapped {
        /// The first address that is.
        at: VirtAddr,
        /// The level of its entry.
        level: Level,
        /// The entry.
        word: u64,
    },
    /// The source had fewer pages than new tables are needed.
    NoTables {
        /// How many are needed.
        needed: u64,
        /// How many there were; they were given back.
        got: u64,
    },
    /// The format cannot express the mapping.
    Attr(AttrError),
    /// The tree is damaged.
    Damaged(Damage),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned(r, p) => write!(f, "{r:?} to {p:#x}: expected whole pages, at least one"),
            Self::OutsideWindow(r) => write!(f, "{r:?} is not wholly inside what these tables translate"),
            Self::OutsideCursor(r) => write!(f, "{r:?} is not wholly inside the cursor's range"),
            Self::AlreadyMapped { at, level, word } => {
                write!(f, "{at:#x} is in use: the entry at level {} is {word:#x}", level.get())
            }
            Self::NoTables { needed, got } => {
                write!(f, "{needed} new tables are needed, there was memory for {got}")
            }
            Self::Attr(e) => e.fmt(f),
            Self::Damaged(d) => d.fmt(f),
        }
    }
}

impl core::error::Error for MapError {}

impl From<Damage> for MapError {
    fn from(d: Damage) -> Self {
        Self::Damaged(d)
    }
}

impl From<AttrError> for MapError {
    fn from(e: AttrError) -> Self {
        Self::Attr(e)
    }
}

/// Why nothing was unmapped or changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnmapError {
    /// An address or the length is no multiple of the page size, or the length is zero.
    Unaligned(VirtRange),
    /// The tree does not translate all of the range.
    OutsideWindow(VirtRange),
    /// The cursor holds less than the range.
    OutsideCursor(VirtRange),
    /// An end of the range lies inside a block or a contiguous group: split it first.
    SplitsLeaf {
        /// The end that does.
        at: VirtAddr,
        /// Where the block or group begins.
        start: VirtAddr,
        /// How many bytes it covers.
        bytes: u64,
    },
    /// The architecture wants the entry taken out and flushed before it changes like this, and the caller forbids it.
    NeedsBreak {
        /// Where.
        at: VirtAddr,
        /// The entry's level.
        level: Level,
    },
    /// The source had fewer pages than new tables are needed.
    NoTables {
        /// How many are needed.
        needed: u64,
        /// How many there were; they were given back.
        got: u64,
    },
    /// The format cannot express the changed mapping.
    Attr(AttrError),
    /// The tree is damaged.
    Damaged(Damage),
}

impl fmt::Display for UnmapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned(r) => write!(f, "{r:?}: expected whole pages, at least one"),
            Self::OutsideWindow(r) => write!(f, "{r:?} is not wholly inside what these tables translate"),
            Self::OutsideCursor(r) => write!(f, "{r:?} is not wholly inside the cursor's range"),
            Self::SplitsLeaf { at, start, bytes } => {
                write!(
                    f,
                    "{at:#x} lies inside the mapping of {bytes:#x} bytes at {start:#x}, which must be split first"
                )
            }
            Self::NeedsBreak { at, level } => write!(
                f,
                "the mapping at {at:#x} (level {}) can only change with a flush in between, which is forbidden here",
                level.get()
            ),
            Self::NoTables { needed, got } => {
                write!(f, "{needed} new tables are needed, there was memory for {got}")
            }
            Self::Attr(e) => e.fmt(f),
            Self::Damaged(d) => d.fmt(f),
        }
    }
}

impl core::error::Error for UnmapError {}

impl From<Damage> for UnmapError {
    fn from(d: Damage) -> Self {
        Self::Damaged(d)
    }
}

impl From<AttrError> for UnmapError {
    fn from(e: AttrError) -> Self {
        Self::Attr(e)
    }
}
