//! The shape of a format's tree: how many levels, what one entry covers, where leaves may stand.

use core::fmt;
use pagewright_addr::{VirtAddr, VirtRange};

/// A level of tables, counted from the leaves: 0 is the table of PTEs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// The most levels any format has.
    pub const LIMIT: usize = 5;
    /// The table of single pages.
    pub const PTE: Self = Self(0);
    /// The table above it, also where Linux folds it into a higher one.
    pub const PMD: Self = Self(1);
    /// The second above.
    pub const PUD: Self = Self(2);
    /// The third above.
    pub const P4D: Self = Self(3);
    /// The fourth above.
    pub const PGD: Self = Self(4);

    /// Level `n`.
    ///
    /// # Panics
    /// From [`Self::LIMIT`] on (at compile time in constants).
    pub const fn new(n: usize) -> Self {
        assert!(n < Self::LIMIT);
        Self(n as u8)
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The number as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The level below, towards the leaves.
    pub const fn down(self) -> Option<Self> {
        match self.0 {
            0 => None,
            n => Some(Self(n - 1)),
        }
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Level({})", self.0)
    }
}

/// One level of a format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LevelShape {
    /// An entry covers `2^shift` bytes.
    pub shift: u32,
    /// A table has `2^index_bits` entries.
    pub index_bits: u32,
    /// Whether an entry may be a leaf.
    pub leaf: bool,
    /// How many adjacent leaves may be marked as one (contiguous hint, supersection); 0 where there is no such thing.
    pub contiguous: u32,
    /// How many adjacent tables of this level share one page: 2 for arm's short descriptors, else 1.
    pub tables_per_page: usize,
}

impl LevelShape {
    /// A level with ordinary tables.
    pub const fn new(shift: u32, index_bits: u32, leaf: bool) -> Self {
        Self { shift, index_bits, leaf, contiguous: 0, tables_per_page: 1 }
    }

    /// The same with a contiguous hint over `entries` leaves.
    #[must_use]
    pub const fn with_contiguous(mut self, entries: u32) -> Self {
        self.contiguous = entries;
        self
    }

    /// Bytes that one entry covers.
    pub const fn bytes(&self) -> u64 {
        1 << self.shift
    }

    /// Entries of one table.
    pub const fn entries(&self) -> usize {
        1 << self.index_bits
    }

    /// The entry for an address.
    #[inline]
    pub const fn index(&self, va: u64) -> usize {
        (va >> self.shift) as usize & (self.entries() - 1)
    }

    /// Bytes of one contiguous group, or 0.
    pub const fn contiguous_bytes(&self) -> u64 {
        self.contiguous as u64 * self.bytes()
    }
}

/// Which addresses one tree translates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Window {
    /// Both ends of the address space: bit `bits - 1` is repeated above it (x86's canonical addresses). With 32 bits,
    /// all of a 32-bit address space.
    Canonical {
        /// Significant bits.
        bits: u32,
    },
    /// Addresses from 0 up (TTBR0).
    Low {
        /// Significant bits.
        bits: u32,
    },
    /// Addresses whose upper bits are all ones, up to the last one (TTBR1 of arm64). On arm the addresses from the split
    /// up to 2^32 are a `Low` window of 32 bits of which the lower part is not used.
    High {
        /// Significant bits.
        bits: u32,
    },
}

impl Window {
    /// Whether `va` is translated by the tree.
    #[inline]
    pub const fn contains(&self, va: VirtAddr) -> bool {
        let v = va.get();
        match *self {
            Self::Canonical { bits: 32 } => v >> 32 == 0,
            // The upper half begins where the lower one ends, once half of it has been added.
            Self::Canonical { bits } => v.wrapping_add(1 << (bits - 1)) >> bits == 0,
            Self::Low { bits } => v >> bits == 0,
            Self::High { bits } => v >> bits == u64::MAX >> bits,
        }
    }

    /// Whether the whole range is, without a hole in it. An empty range never is.
    pub const fn contains_range(&self, range: VirtRange) -> bool {
        let (first, last) = (range.start, range.last());
        !range.is_empty()
            && self.contains(first)
            && self.contains(last)
            // Both ends of a canonical range lie in the same half.
            && (first.get() ^ last.get()) >> 63 == 0
    }

    /// The ranges that it consists of, lowest first (the second is empty unless there is a hole).
    pub const fn ranges(&self) -> [VirtRange; 2] {
        let none = VirtRange { start: VirtAddr::ZERO, len: 0 };
        match *self {
            Self::Canonical { bits: 32 } => [VirtRange { start: VirtAddr::ZERO, len: 1 << 32 }, none],
            Self::Canonical { bits } => {
                let half = 1u64 << (bits - 1);
                [
                    VirtRange { start: VirtAddr::ZERO, len: half },
                    VirtRange { start: VirtAddr::new(half.wrapping_neg()), len: half },
                ]
            }
            Self::Low { bits } => [VirtRange { start: VirtAddr::ZERO, len: 1 << bits }, none],
            Self::High { bits } => {
                [VirtRange { start: VirtAddr::new((1u64 << bits).wrapping_neg()), len: 1 << bits }, none]
            }
        }
    }

    /// The address that an offset into the tree stands for: the significant bits, extended.
    pub const fn extend(&self, va: u64) -> VirtAddr {
        VirtAddr::new(match *self {
            Self::Canonical { bits: 32 } => va & 0xffff_ffff,
            Self::Canonical { bits } => ((va << (64 - bits)) as i64 >> (64 - bits)) as u64,
            Self::Low { bits } => va & ((1 << bits) - 1),
            Self::High { bits } => va | u64::MAX << bits,
        })
    }
}

/// The whole tree of a format: its levels, leaves first.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    levels: [LevelShape; Level::LIMIT],
    count: usize,
    page_shift: u32,
}

impl Shape {
    /// A tree of these levels, leaves first, with tables in pages of `2^page_shift` bytes.
    ///
    /// # Panics
    /// When the levels do not fit each other: it is meant for constants, where that is an error of compilation.
    pub const fn new(page_shift: u32, levels: &[LevelShape]) -> Self {
        assert!(levels.len() >= 2 && levels.len() <= Level::LIMIT);
        assert!(levels[0].shift == page_shift && levels[0].leaf);
        let mut all = [levels[0]; Level::LIMIT];
        let mut i = 1;
        let mut leaves_end = false;
        while i < levels.len() {
            assert!(levels[i].shift == levels[i - 1].shift + levels[i - 1].index_bits);
            // Leaves stand on the lowest levels, without a gap: the walker relies on it.
            assert!(!(leaves_end && levels[i].leaf));
            leaves_end = !levels[i].leaf;
            all[i] = levels[i];
            i += 1;
        }
        Self { levels: all, count: levels.len(), page_shift }
    }

    /// How many levels.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The level of the root table.
    pub const fn top(&self) -> Level {
        Level::new(self.count - 1)
    }

    /// One level.
    #[inline]
    pub const fn level(&self, level: Level) -> &LevelShape {
        &self.levels[level.index()]
    }

    /// Bytes that an entry of level `n` covers; levels that the tree has not count as the highest.
    pub(crate) const fn bytes_of(&self, n: usize) -> u64 {
        1 << self.shift_of(n)
    }

    /// The shift of level `n`, likewise.
    pub(crate) const fn shift_of(&self, n: usize) -> u32 {
        self.levels[if n < self.count { n } else { self.count - 1 }].shift
    }

    /// The largest index at level `n`, likewise.
    pub(crate) const fn mask_of(&self, n: usize) -> u64 {
        (1 << self.levels[if n < self.count { n } else { self.count - 1 }].index_bits) - 1
    }

    /// The largest leaf's level.
    pub const fn max_leaf(&self) -> Level {
        let mut i = self.count - 1;
        while !self.levels[i].leaf {
            i -= 1;
        }
        Level::new(i)
    }

    /// The base-2 logarithm of a table page's size, which is also the smallest leaf's.
    pub const fn page_shift(&self) -> u32 {
        self.page_shift
    }

    /// Bytes of a page.
    pub const fn page_bytes(&self) -> u64 {
        1 << self.page_shift
    }

    /// Significant bits of a virtual address.
    pub const fn va_bits(&self) -> u32 {
        let top = self.levels[self.count - 1];
        top.shift + top.index_bits
    }

    /// Linux's name of a level's entries: the root's are PGD whatever is folded away below.
    pub const fn name(&self, level: Level) -> &'static str {
        if level.index() + 1 == self.count {
            return "PGD";
        }
        match level.get() {
            0 => "PTE",
            1 => "PMD",
            2 => "PUD",
            _ => "P4D",
        }
    }
}
