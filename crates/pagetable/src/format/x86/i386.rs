//! i386: two levels of 32-bit entries, and PAE's three of 64-bit ones.
//!
//! Intel SDM volume 3A, 4.3 ("32-bit paging", tables 4-4 to 4-6) and 4.4 ("PAE paging", tables 4-8 to 4-11). Blocks are
//! 4 MiB (CR4.PSE) and 2 MiB; 4 MiB blocks above 4 GiB (PSE-36) are not used.

use super::bits::*;
use super::{LeafRules, table_bits, table_limits};
use crate::attr::{AttrError, TableLimits};
use crate::format::{Entry, Format, Leaf, Step};
use crate::shape::{Level, LevelShape, Shape, Window};
use pagewright_addr::PhysAddr;

/// Bits of a 32-bit entry that hold the address: 31:12.
const ADDRESS_32: u64 = 0xffff_f000;
/// What must be zero in PAE's root entries besides the address bits that the processor has not: R/W, U/S and bits 8:5
/// (table 4-8). They give no permissions: each says where a table is, and how it is cached.
pub const PAE_ROOT_ZERO: u64 = (0b11 << 1) | (0b1111 << 5);
/// Bits 62:52 are zero in every entry of PAE (tables 4-9 to 4-11): there are no protection keys.
pub const PAE_ZERO: u64 = 0x7ff0_0000_0000_0000;

// A table entry's bits are the same as in the larger formats (figure 4-4), but for those above 31.
const _: () =
    assert!(PRESENT | WRITE | USER | ACCESSED | PAGE_SIZE | SOFTWARE == 0xea7 && ADDRESS_32 & 0xfff == 0);
const _: () = assert!(PAE_ROOT_ZERO == 0x1e6 && PAE_ZERO & NO_EXEC == 0);

/// What the processor offers for two-level paging.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct I386Config {
    /// CR4.PSE: blocks of 4 MiB exist.
    pub blocks: bool,
}

impl Default for I386Config {
    fn default() -> Self {
        Self { blocks: true }
    }
}

/// Two levels of 1024 entries. Everything that may be used may be executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct I386 {
    /// What was chosen at run time.
    pub config: I386Config,
}

impl I386 {
    const fn rules(level: Level) -> LeafRules {
        LeafRules {
            bytes: Self::SHAPE.level(level).bytes(),
            block: level.get() != 0,
            no_execute: false,
            keys: false,
            encryption_mask: 0,
            phys_bits: 32,
        }
    }

    /// Whether an entry is a leaf: PS means nothing unless CR4.PSE is set.
    #[inline]
    const fn is_leaf(&self, level: Level, word: u64) -> bool {
        level.get() == 0 || (self.config.blocks && word & PAGE_SIZE != 0)
    }
}

impl Format for I386 {
    type Word = u32;
    const SHAPE: Shape = Shape::new(12, &[LevelShape::new(12, 10, true), LevelShape::new(22, 10, true)]);
    const NAME: &'static str = "i386, 2 levels";
    const BREAK_BEFORE_MAKE: bool = false;

    #[inline]
    fn window(&self) -> Window {
        Window::Canonical { bits: 32 }
    }

    fn table_word(&self, _: Level, _: usize, page: PhysAddr, limits: TableLimits) -> u64 {
        page.get() & ADDRESS_32 | table_bits(limits, false)
    }

    fn leaf_word(&self, level: Level, leaf: &Leaf) -> Result<u64, AttrError> {
        if level != Level::PTE && !self.config.blocks {
            return Err(AttrError::Level(level));
        }
        Self::rules(level).encode(leaf)
    }

    fn entry(&self, level: Level, word: u64) -> Entry {
        if word == 0 {
            return Entry::Empty;
        }
        if word & PRESENT == 0 {
            return Entry::Software(word);
        }
        if self.is_leaf(level, word) {
            return match Self::rules(level).decode(word) {
                Some(leaf) => Entry::Leaf(leaf),
                None => Entry::Reserved(word),
            };
        }
        Entry::Table(PhysAddr::new(word & ADDRESS_32), table_limits(word))
    }

    #[inline]
    fn step(&self, level: Level, word: u64) -> Step {
        if word & PRESENT == 0 {
            Step::Absent
        } else if self.is_leaf(level, word) {
            let inside = if level == Level::PTE { 0xfff } else { 0x3f_ffff };
            Step::Leaf(PhysAddr::new(word & ADDRESS_32 & !inside))
        } else {
            Step::Table(PhysAddr::new(word & ADDRESS_32))
        }
    }
}

/// What the processor and the kernel chose for PAE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct I386PaeConfig {
    /// EFER.NXE: there is an execute-disable bit.
    pub no_execute: bool,
    /// Physical address bits (CPUID MAXPHYADDR), 36 to 52.
    pub phys_bits: u32,
}

impl Default for I386PaeConfig {
    fn default() -> Self {
        Self { no_execute: true, phys_bits: 36 }
    }
}

/// Four root entries, then two levels of 512.
///
/// The processor reads the root's entries when CR3 is written and keeps them: a new one takes effect only with the next
/// write (SDM 4.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct I386Pae {
    /// What was chosen at run time.
    pub config: I386PaeConfig,
}

impl I386Pae {
    fn rules(&self, level: Level) -> LeafRules {
        LeafRules {
            bytes: Self::TREE.level(level).bytes(),
            block: level != Level::PTE,
            no_execute: self.config.no_execute,
            keys: false,
            encryption_mask: 0,
            phys_bits: self.config.phys_bits.min(52),
        }
    }
}

impl Format for I386Pae {
    type Word = u64;
    const SHAPE: Shape = Shape::new(
        12,
        &[LevelShape::new(12, 9, true), LevelShape::new(21, 9, true), LevelShape::new(30, 2, false)],
    );
    const NAME: &'static str = "i386, PAE";
    const BREAK_BEFORE_MAKE: bool = false;

    #[inline]
    fn window(&self) -> Window {
        Window::Canonical { bits: 32 }
    }

    fn table_word(&self, level: Level, _: usize, page: PhysAddr, limits: TableLimits) -> u64 {
        // The root's entries can take nothing away.
        let bits = if level == Level::PUD { PRESENT } else { table_bits(limits, self.config.no_execute) };
        page.get() | bits
    }

    fn leaf_word(&self, level: Level, leaf: &Leaf) -> Result<u64, AttrError> {
        if level == Level::PUD {
            return Err(AttrError::Level(level));
        }
        self.rules(level).encode(leaf)
    }

    fn entry(&self, level: Level, word: u64) -> Entry {
        if word == 0 {
            return Entry::Empty;
        }
        if word & PRESENT == 0 {
            return Entry::Software(word);
        }
        let rules = self.rules(level);
        let root_zero = if level == Level::PUD { PAE_ROOT_ZERO | NO_EXEC } else { 0 };
        if word & (PAE_ZERO | root_zero | rules.above()) != 0
            || (word & NO_EXEC != 0 && !self.config.no_execute)
        {
            return Entry::Reserved(word);
        }
        if level == Level::PUD {
            return Entry::Table(PhysAddr::new(word & ADDRESS), TableLimits::empty());
        }
        if level == Level::PTE || word & PAGE_SIZE != 0 {
            return match rules.decode(word) {
                Some(leaf) => Entry::Leaf(leaf),
                None => Entry::Reserved(word),
            };
        }
        Entry::Table(PhysAddr::new(word & ADDRESS), table_limits(word))
    }

    #[inline]
    fn step(&self, level: Level, word: u64) -> Step {
        if word & PRESENT == 0 {
            return Step::Absent;
        }
        let address = word & ADDRESS;
        if level == Level::PTE {
            Step::Leaf(PhysAddr::new(address))
        } else if word & PAGE_SIZE == 0 || level == Level::PUD {
            Step::Table(PhysAddr::new(address))
        } else {
            Step::Leaf(PhysAddr::new(address & !0x1f_ffff))
        }
    }
}
