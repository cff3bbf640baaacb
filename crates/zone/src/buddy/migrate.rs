//! Migrate types: why a page was allocated, and so how well it can be moved.

use core::fmt;

/// A migrate type. Free blocks are kept apart by it, so that unmovable pages do not fragment memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum MigrateType {
    /// Kernel memory that stays where it is (MIGRATE_UNMOVABLE).
    Unmovable = 0,
    /// User memory and page cache (MIGRATE_MOVABLE).
    Movable = 1,
    /// Kernel memory that can be dropped on demand (MIGRATE_RECLAIMABLE).
    Reclaimable = 2,
    /// Kept for urgent allocations (MIGRATE_HIGHATOMIC).
    HighAtomic = 3,
    /// A contiguous memory area; only movable allocations may borrow it (MIGRATE_CMA).
    Cma = 4,
    /// Being isolated; nothing is allocated from it (MIGRATE_ISOLATE).
    Isolate = 5,
}

impl MigrateType {
    /// How many there are.
    pub const COUNT: usize = 6;
    /// The types that have per-CPU lists and fall back to each other (MIGRATE_PCPTYPES).
    pub const PCPTYPES: usize = 3;

    /// Every type, in Linux's order. Kernels without CMA or memory isolation leave the last ones out of their tables.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Unmovable, Self::Movable, Self::Reclaimable, Self::HighAtomic, Self::Cma, Self::Isolate];

    /// The type's number.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The type with a number, if there is one.
    pub const fn from_index(index: usize) -> Option<Self> {
        if index < Self::COUNT { Some(Self::ALL[index]) } else { None }
    }

    /// The name that /proc/pagetypeinfo prints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmovable => "Unmovable",
            Self::Movable => "Movable",
            Self::Reclaimable => "Reclaimable",
            Self::HighAtomic => "HighAtomic",
            Self::Cma => "CMA",
            Self::Isolate => "Isolate",
        }
    }

    /// Types to take a block from when none of this type is left, best first. CMA is asked separately, and only by
    /// allocations that may have it.
    pub const fn fallbacks(self) -> &'static [Self] {
        match self {
            Self::Unmovable => &[Self::Reclaimable, Self::Movable],
            Self::Movable => &[Self::Reclaimable, Self::Unmovable],
            Self::Reclaimable => &[Self::Unmovable, Self::Movable],
            Self::HighAtomic | Self::Cma | Self::Isolate => &[],
        }
    }

    /// Whether free blocks of this type may merge with those of another across pageblocks
    /// (`migratetype_is_mergeable`).
    pub const fn is_mergeable(self) -> bool {
        (self as usize) < Self::PCPTYPES
    }
}

impl fmt::Display for MigrateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
