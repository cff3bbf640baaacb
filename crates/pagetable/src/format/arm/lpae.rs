//! arm's long descriptors (LPAE): a PGD of four entries, tables of 512 below.
//!
//! ARMv7-AR B3.6 "Long-descriptor translation table format" (figures B3-14 to B3-18), B3.7 (permissions), B3.8.4 (MAIR).
//! The descriptors are those of arm64 as far as [`crate::format::long`] says so.
//!
//! # Writing and dirty state
//! Hardware has AP\[2\] alone. Linux keeps "read-only" in bit 58 and "was written" in bit 55, and sets AP\[2\] unless a
//! page may be written and was. A descriptor that hardware lets be written counts as writable and dirty whatever
//! software's bits say: the kernel's own sections look so.
//!
//! # Executing
//! XN forbids it to everyone, PXN to the kernel; user code executes what it can read and XN allows. So user code cannot
//! be kept from executing a page that the kernel executes, if it may read it.

use crate::attr::{Attr, AttrError, AttrFlags, TableLimits};
use crate::format::long::{self, bits::*};
use crate::format::{Entry, Format, Leaf, MemoryTypes, Step};
use crate::shape::{Level, LevelShape, Shape, Window};
use crate::word::Word;
use core::sync::atomic::AtomicU64;
use pagewright_addr::PhysAddr;

/// Bits that LPAE has beyond [`crate::format::long::bits`]: software's, as Linux uses them.
pub mod bits {
    /// Was written (`L_PTE_DIRTY`).
    pub const SOFTWARE_DIRTY: u64 = 1 << 55;
    /// Where [`crate::Attr::software`] lies: bit 56 (`L_PTE_SPECIAL`).
    pub const SPECIAL: u64 = 1 << 56;
    /// Present but for nobody (`L_PTE_NONE`).
    pub const NONE: u64 = 1 << 57;
    /// May not be written (`L_PTE_RDONLY`).
    pub const SOFTWARE_READ_ONLY: u64 = 1 << 58;
    /// Bits 39:12: the address.
    pub const ADDRESS: u64 = 0xff_ffff_f000;
}
use bits::*;

// ARMv7-AR B3.6.2: bits 58:55 are software's, the output address has 40 bits.
const _: () = assert!(SOFTWARE_DIRTY | SPECIAL | NONE | SOFTWARE_READ_ONLY == 0x0780_0000_0000_0000);
const _: () = assert!(ADDRESS == (1 << 40) - (1 << 12));

/// Bits 51:40 of every descriptor: zero (ARMv7-AR B3.6.1: "UNK/SBZP").
const ZERO: u64 = 0x000f_ff00_0000_0000;

/// What the processor and the kernel chose at run time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArmLpaeConfig {
    /// What MAIR1 and MAIR0 hold.
    pub memory: MemoryTypes,
    /// Whether groups of 16 are marked contiguous. The architecture has the hint, Linux on arm does not use it.
    pub contiguous: bool,
    /// Whether an entry of the PGD may be a block of 1 GiB. The architecture has it, Linux on arm does not use it.
    pub gigabyte_blocks: bool,
    /// The addresses that the tree translates are those below `2^window_bits`: 32, or 32 less TTBCR.T0SZ. A tree for
    /// TTBR1 has 32: the lower part is not used.
    pub window_bits: u32,
}

impl Default for ArmLpaeConfig {
    /// Linux's MAIR, no hint, no 1 GiB blocks, all 32 bits.
    fn default() -> Self {
        Self { memory: MemoryTypes::ARM_LPAE, contiguous: false, gigabyte_blocks: false, window_bits: 32 }
    }
}

/// The format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ArmLpae {
    /// What was chosen at run time.
    pub config: ArmLpaeConfig,
}

impl ArmLpae {
    fn may_be_leaf(&self, level: Level) -> bool {
        level != Level::PUD || self.config.gigabyte_blocks
    }
}

impl Format for ArmLpae {
    type Word = u64;
    const SHAPE: Shape = Shape::new(
        12,
        &[
            LevelShape::new(12, 9, true).with_contiguous(16),
            LevelShape::new(21, 9, true).with_contiguous(16),
            LevelShape::new(30, 2, true),
        ],
    );
    const NAME: &'static str = "arm, long descriptors (LPAE)";
    // ARMv7-AR B3.10.1 "Using break-before-make when updating translation tables".
    const BREAK_BEFORE_MAKE: bool = true;

    #[inline]
    fn window(&self) -> Window {
        Window::Low { bits: self.config.window_bits }
    }

    fn table_word(&self, _: Level, _: usize, page: PhysAddr, limits: TableLimits) -> u64 {
        let mut word = page.get() & ADDRESS | TABLE | VALID;
        for (limit, bit) in TABLE_LIMITS {
            if limits.contains(limit) {
                word |= bit;
            }
        }
        word
    }

    fn leaf_word(&self, level: Level, leaf: &Leaf) -> Result<u64, AttrError> {
        let Leaf { phys, attr, contiguous } = *leaf;
        let size = Self::SHAPE.level(level);
        if !self.may_be_leaf(level) {
            return Err(AttrError::Level(level));
        }
        if !phys.is_aligned(size.bytes())
            || phys.get() >> 40 != 0
            || (contiguous && !(self.config.contiguous && size.contiguous != 0))
        {
            return Err(AttrError::Address(phys));
        }
        if attr.key != 0 {
            return Err(AttrError::Key(attr.key));
        }
        if attr.software > 1 {
            return Err(AttrError::Software(attr.software));
        }
        let index = self.config.memory.index(attr.memory).ok_or(AttrError::Memory(attr.memory))?;
        let flags = attr.flags;
        let mut word = phys.get() | VALID | (index << 2);
        word |= long::share_bits(attr.share) | long::plain_flag_bits(flags);
        let who = flags & WHO;
        word |= if who.difference(AttrFlags::USER).is_empty() {
            NO_EXEC
        } else if who == AttrFlags::EXEC || who == WHO {
            0
        } else if who == AttrFlags::USER | AttrFlags::USER_EXEC {
            PRIV_NO_EXEC
        } else {
            return Err(AttrError::Flags(flags));
        };
        if flags.contains(AttrFlags::GUARDED) {
            return Err(AttrError::Flags(flags));
        }
        let (write, dirty) = (flags.contains(AttrFlags::WRITE), flags.contains(AttrFlags::DIRTY));
        for (set, bit) in [
            (level == Level::PTE, TABLE),
            (contiguous, CONTIGUOUS),
            (!(write && dirty), READ_ONLY),
            (!write, SOFTWARE_READ_ONLY),
            (dirty, SOFTWARE_DIRTY),
            (attr.software != 0, SPECIAL),
        ] {
            if set {
                word |= bit;
            }
        }
        Ok(word)
    }

    fn entry(&self, level: Level, word: u64) -> Entry {
        if word == 0 {
            return Entry::Empty;
        }
        if word & VALID == 0 {
            return Entry::Software(word);
        }
        if word & ZERO != 0 {
            return Entry::Reserved(word);
        }
        let address = word & ADDRESS;
        if level != Level::PTE && word & TABLE != 0 {
            let mut limits = TableLimits::empty();
            for (limit, bit) in TABLE_LIMITS {
                if word & bit != 0 {
                    limits |= limit;
                }
            }
            return Entry::Table(PhysAddr::new(address), limits);
        }
        let size = Self::SHAPE.level(level);
        let contiguous = word & CONTIGUOUS != 0;
        let (Some(memory), Some(share)) = (self.config.memory.get(word >> 2), long::share_of(word)) else {
            return Entry::Reserved(word);
        };
        if (level == Level::PTE && word & TABLE == 0)
            || !self.may_be_leaf(level)
            || address & (size.bytes() - 1) != 0
            || (contiguous && !(self.config.contiguous && size.contiguous != 0))
        {
            return Entry::Reserved(word);
        }
        let mut flags = long::plain_flags(word);
        let writable_now = word & READ_ONLY == 0;
        flags.set(AttrFlags::WRITE, writable_now || word & (SOFTWARE_READ_ONLY | SOFTWARE_DIRTY) == 0);
        flags.set(AttrFlags::DIRTY, writable_now || word & SOFTWARE_DIRTY != 0);
        if word & NO_EXEC == 0 {
            flags.set(AttrFlags::USER_EXEC, word & USER != 0);
            flags.set(AttrFlags::EXEC, word & PRIV_NO_EXEC == 0);
        }
        let software = u8::from(word & SPECIAL != 0);
        Entry::Leaf(Leaf {
            phys: PhysAddr::new(address),
            attr: Attr { flags, memory, share, key: 0, software },
            contiguous,
        })
    }

    /// Hardware sets neither accessed nor dirty bits in this format (ARMv7-AR B3.7, "The access flag"), and only the caller may be changing these entries.
    #[inline]
    fn take_run(
        &self,
        _: Level,
        words: &[AtomicU64],
        at: usize,
        most: usize,
        first: u64,
        step: u64,
    ) -> usize {
        u64::take_counted(&words[at..at + most], first, step)
    }

    #[inline]
    fn step(&self, level: Level, word: u64) -> Step {
        if word & VALID == 0 {
            return Step::Absent;
        }
        let address = word & ADDRESS;
        if level == Level::PTE {
            Step::Leaf(PhysAddr::new(address))
        } else if word & TABLE != 0 {
            Step::Table(PhysAddr::new(address))
        } else {
            Step::Leaf(PhysAddr::new(address & !(Self::SHAPE.level(level).bytes() - 1)))
        }
    }
}

/// The flags that say who executes.
const WHO: AttrFlags = AttrFlags::USER.union(AttrFlags::EXEC).union(AttrFlags::USER_EXEC);

/// What a table descriptor can take away, and its bits. XNTable is for everyone.
const TABLE_LIMITS: [(TableLimits, u64); 4] = [
    (TableLimits::NO_WRITE, TABLE_READ_ONLY),
    (TableLimits::NO_USER, TABLE_NO_USER),
    (TableLimits::NO_EXEC, TABLE_PRIV_NO_EXEC),
    (TableLimits::NO_EXEC.union(TableLimits::NO_USER_EXEC), TABLE_NO_EXEC),
];
