//! arm64: the VMSAv8-64 format with granules of 4, 16 and 64 KiB.
//!
//! ARMv8-A D8.2 (levels and granules), D8.3 (descriptors), D8.4 (permissions), D8.6.1 (contiguous bit: table D8-41).
//!
//! # Writing and dirty state
//! Bit 51 (DBM) is Linux's "may be written" (`PTE_WRITE`), AP\[2\] what hardware enforces now. Writable and dirty clears
//! AP\[2\]; writable but clean keeps it set until the first write, which hardware (TCR_EL1.HD) or the fault handler notes
//! by clearing it. What is read-only has DBM clear and remembers in bit 55 that it was written while it could be. A
//! descriptor without DBM that hardware lets be written counts as writable and dirty: old kernels' first tables look so.

use super::long::{self, bits::*};
use super::memory_types::MemoryTypes;
use super::{Entry, Format, Leaf, Step};
use crate::attr::{Attr, AttrError, AttrFlags, TableLimits};
use crate::shape::{Level, LevelShape, Shape, Window};
use pagewright_addr::PhysAddr;

/// Bits that arm64 has beyond [`super::long::bits`].
pub mod bits {
    /// GP: indirect branches must land on marked instructions.
    pub const GUARDED: u64 = 1 << 50;
    /// DBM: may be written (`PTE_WRITE`).
    pub const DIRTY_MODIFIER: u64 = 1 << 51;
    /// Software's: was written, while AP\[2\] says read-only (`PTE_DIRTY`).
    pub const SOFTWARE_DIRTY: u64 = 1 << 55;
    /// Where [`crate::Attr::software`] lies: bit 56 (`PTE_SPECIAL`), 57 (`PTE_DEVMAP`) and 58.
    pub const SOFTWARE_SHIFT: u32 = 56;
    /// Bits of [`crate::Attr::software`].
    pub const SOFTWARE_BITS: u32 = 3;
}
use bits::*;

// ARMv8-A D8.3.2: upper attributes of block and page descriptors; bits 58:55 are software's.
const _: () = assert!(GUARDED | DIRTY_MODIFIER == 0x000c_0000_0000_0000);
const _: () = assert!(SOFTWARE_DIRTY | (0b111 << SOFTWARE_SHIFT) == 0x0780_0000_0000_0000);

/// Which of the two trees of a CPU it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    /// TTBR0: addresses from 0 up (user space, the identity map).
    Low,
    /// TTBR1: addresses down from the last one (the kernel).
    High,
}

/// What the processor and the kernel chose at run time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arm64Config {
    /// Which end of the address space the tree translates.
    pub half: Half,
    /// What MAIR_EL1 holds.
    pub memory: MemoryTypes,
    /// TCR_EL1.HD: hardware itself clears AP\[2\] of writable leaves. The descriptors are the same either way.
    pub hardware_dirty: bool,
    /// Physical address bits (TCR_EL1.IPS), 32 to 52; above 48 only with pages of 64 KiB, where bits 15:12 of a descriptor
    /// hold the upper four.
    pub output_bits: u32,
}

impl Default for Arm64Config {
    /// The kernel's half, Linux 6.1's MAIR, 48 bits.
    fn default() -> Self {
        Self { half: Half::High, memory: MemoryTypes::ARM64, hardware_dirty: true, output_bits: 48 }
    }
}

/// The format with pages of `2^PAGE_SHIFT` bytes and `VA_BITS` significant bits in each half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arm64<const PAGE_SHIFT: u32, const VA_BITS: u32> {
    /// What was chosen at run time.
    pub config: Arm64Config,
}

/// 4 KiB pages, 3 levels.
pub type Arm64Page4kVa39 = Arm64<12, 39>;
/// 4 KiB pages, 4 levels.
pub type Arm64Page4kVa48 = Arm64<12, 48>;
/// 16 KiB pages, 2 levels.
pub type Arm64Page16kVa36 = Arm64<14, 36>;
/// 16 KiB pages, 3 levels.
pub type Arm64Page16kVa47 = Arm64<14, 47>;
/// 16 KiB pages, 4 levels; the root has two entries.
pub type Arm64Page16kVa48 = Arm64<14, 48>;
/// 64 KiB pages, 2 levels.
pub type Arm64Page64kVa42 = Arm64<16, 42>;
/// 64 KiB pages, 3 levels; the root has 64 entries.
pub type Arm64Page64kVa48 = Arm64<16, 48>;
/// 64 KiB pages, 3 levels, with 52-bit addresses (FEAT_LVA).
pub type Arm64Page64kVa52 = Arm64<16, 52>;

impl<const PAGE_SHIFT: u32, const VA_BITS: u32> Default for Arm64<PAGE_SHIFT, VA_BITS> {
    /// [`Arm64Config::default`]; 52-bit virtual addresses come with 52-bit physical ones.
    fn default() -> Self {
        let mut config = Arm64Config::default();
        if VA_BITS == 52 {
            config.output_bits = 52;
        }
        Self { config }
    }
}

/// How many adjacent leaves the contiguous hint joins (table D8-41); Linux joins none on higher levels.
const fn contiguous(page_shift: u32, level: usize) -> u32 {
    match (page_shift, level) {
        (12, 0 | 1) => 16,
        (14, 0) => 128,
        (14, 1) | (16, 0 | 1) => 32,
        _ => 0,
    }
}

/// The tree: full tables from the leaves up, and a root with the bits that are left.
const fn shape(page_shift: u32, va_bits: u32) -> Shape {
    assert!(matches!(page_shift, 12 | 14 | 16) && va_bits <= 52);
    assert!(va_bits <= 48 || page_shift == 16);
    let mut levels = [LevelShape::new(page_shift, page_shift - 3, true); 4];
    let (mut shift, mut n) = (page_shift, 0);
    while shift < va_bits {
        let left = va_bits - shift;
        let index_bits = if left < page_shift - 3 { left } else { page_shift - 3 };
        // Blocks: 2 MiB and 1 GiB, 32 MiB, 512 MiB (table D8-16; 4 TiB only with FEAT_LPA, and Linux has none).
        let leaf = n < 2 || (n == 2 && page_shift == 12);
        levels[n] = LevelShape::new(shift, index_bits, leaf).with_contiguous(contiguous(page_shift, n));
        shift += index_bits;
        n += 1;
    }
    Shape::new(page_shift, levels.split_at(n).0)
}

const fn name(page_shift: u32, va_bits: u32) -> &'static str {
    match (page_shift, va_bits) {
        (12, 39) => "arm64, 4K pages, 39-bit addresses",
        (12, 48) => "arm64, 4K pages, 48-bit addresses",
        (14, 36) => "arm64, 16K pages, 36-bit addresses",
        (14, 47) => "arm64, 16K pages, 47-bit addresses",
        (14, 48) => "arm64, 16K pages, 48-bit addresses",
        (16, 42) => "arm64, 64K pages, 42-bit addresses",
        (16, 48) => "arm64, 64K pages, 48-bit addresses",
        (16, 52) => "arm64, 64K pages, 52-bit addresses",
        _ => "arm64",
    }
}

// The trees that Linux's configurations have: levels, entries of the root, largest leaf.
const _: () = {
    let va48 = shape(12, 48);
    assert!(va48.count() == 4 && va48.top().get() == 3 && va48.max_leaf().get() == 2);
    assert!(shape(12, 39).count() == 3 && shape(14, 36).count() == 2 && shape(14, 47).count() == 3);
    let root = shape(14, 48);
    assert!(root.count() == 4 && root.level(root.top()).entries() == 2 && root.level(Level::PMD).shift == 25);
    assert!(shape(16, 42).count() == 2 && shape(16, 42).level(Level::PMD).shift == 29);
    let root = shape(16, 48);
    assert!(root.count() == 3 && root.level(root.top()).entries() == 64);
    assert!(shape(16, 52).level(Level::PUD).entries() == 1024);
};

impl<const PAGE_SHIFT: u32, const VA_BITS: u32> Arm64<PAGE_SHIFT, VA_BITS> {
    /// Address bits that lie where they belong: 47 down to the page's.
    const ADDRESS: u64 = (1 << 48) - (1 << PAGE_SHIFT);
    /// Bits 15:12, which hold address bits 51:48 with pages of 64 KiB.
    const ADDRESS_TOP: u64 = if PAGE_SHIFT == 16 { 0xf << 12 } else { 0 };
    /// Bits that are zero in every descriptor: 49:48, and those below the page's number that hold nothing.
    const ZERO: u64 = (0b11 << 48) | ((1 << PAGE_SHIFT) - (1 << 12)) & !Self::ADDRESS_TOP;

    /// The tree of one half with everything else as usual.
    pub fn of(half: Half) -> Self {
        let mut format = Self::default();
        format.config.half = half;
        format
    }

    #[inline]
    const fn address(word: u64) -> u64 {
        word & Self::ADDRESS | (word & Self::ADDRESS_TOP) << 36
    }

    #[inline]
    const fn address_bits(phys: u64) -> u64 {
        phys & Self::ADDRESS | (phys >> 36) & Self::ADDRESS_TOP
    }

    const fn reachable(&self, phys: u64) -> bool {
        let most = if PAGE_SHIFT == 16 { 52 } else { 48 };
        phys >> (if self.config.output_bits < most { self.config.output_bits } else { most }) == 0
    }
}

impl<const PAGE_SHIFT: u32, const VA_BITS: u32> Format for Arm64<PAGE_SHIFT, VA_BITS> {
    type Word = u64;
    const SHAPE: Shape = shape(PAGE_SHIFT, VA_BITS);
    const NAME: &'static str = name(PAGE_SHIFT, VA_BITS);
    const BREAK_BEFORE_MAKE: bool = true;

    #[inline]
    fn window(&self) -> Window {
        match self.config.half {
            Half::Low => Window::Low { bits: VA_BITS },
            Half::High => Window::High { bits: VA_BITS },
        }
    }

    fn table_word(&self, _: Level, _: usize, page: PhysAddr, limits: TableLimits) -> u64 {
        let mut word = Self::address_bits(page.get()) | TABLE | VALID;
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
        if !size.leaf {
            return Err(AttrError::Level(level));
        }
        if !phys.is_aligned(size.bytes())
            || !self.reachable(phys.get())
            || (contiguous && size.contiguous == 0)
        {
            return Err(AttrError::Address(phys));
        }
        if attr.key != 0 {
            return Err(AttrError::Key(attr.key));
        }
        if attr.software >> SOFTWARE_BITS != 0 {
            return Err(AttrError::Software(attr.software));
        }
        let index = self.config.memory.index(attr.memory).ok_or(AttrError::Memory(attr.memory))?;
        let flags = attr.flags;
        let mut word = Self::address_bits(phys.get()) | VALID | (index << 2);
        word |= long::share_bits(attr.share) | long::plain_flag_bits(flags);
        word |= match (flags.contains(AttrFlags::WRITE), flags.contains(AttrFlags::DIRTY)) {
            (true, true) => DIRTY_MODIFIER,
            (true, false) => DIRTY_MODIFIER | READ_ONLY,
            (false, true) => READ_ONLY | SOFTWARE_DIRTY,
            (false, false) => READ_ONLY,
        };
        for (set, bit) in [
            (level == Level::PTE, TABLE),
            (contiguous, CONTIGUOUS),
            (!flags.contains(AttrFlags::EXEC), PRIV_NO_EXEC),
            (!flags.contains(AttrFlags::USER_EXEC), NO_EXEC),
            (flags.contains(AttrFlags::GUARDED), GUARDED),
        ] {
            if set {
                word |= bit;
            }
        }
        Ok(word | (u64::from(attr.software) << SOFTWARE_SHIFT))
    }

    fn entry(&self, level: Level, word: u64) -> Entry {
        if word == 0 {
            return Entry::Empty;
        }
        if word & VALID == 0 {
            return Entry::Software(word);
        }
        let address = Self::address(word);
        if word & Self::ZERO != 0 || !self.reachable(address) {
            return Entry::Reserved(word);
        }
        let size = Self::SHAPE.level(level);
        if level != Level::PTE && word & TABLE != 0 {
            let mut limits = TableLimits::empty();
            for (limit, bit) in TABLE_LIMITS {
                limits.set(limit, word & bit != 0);
            }
            return Entry::Table(PhysAddr::new(address), limits);
        }
        let contiguous = word & CONTIGUOUS != 0;
        let (Some(memory), Some(share)) = (self.config.memory.get(word >> 2), long::share_of(word)) else {
            return Entry::Reserved(word);
        };
        if (level == Level::PTE && word & TABLE == 0)
            || !size.leaf
            || address & (size.bytes() - 1) != 0
            || (contiguous && size.contiguous == 0)
        {
            return Entry::Reserved(word);
        }
        let mut flags = long::plain_flags(word);
        let writable_now = word & READ_ONLY == 0;
        flags.set(AttrFlags::WRITE, writable_now || word & DIRTY_MODIFIER != 0);
        flags.set(AttrFlags::DIRTY, writable_now || word & SOFTWARE_DIRTY != 0);
        flags.set(AttrFlags::EXEC, word & PRIV_NO_EXEC == 0);
        flags.set(AttrFlags::USER_EXEC, word & NO_EXEC == 0);
        flags.set(AttrFlags::GUARDED, word & GUARDED != 0);
        let software = (word >> SOFTWARE_SHIFT) as u8 & ((1 << SOFTWARE_BITS) - 1);
        Entry::Leaf(Leaf {
            phys: PhysAddr::new(address),
            attr: Attr { flags, memory, share, key: 0, software },
            contiguous,
        })
    }

    #[inline]
    fn step(&self, level: Level, word: u64) -> Step {
        if word & VALID == 0 {
            return Step::Absent;
        }
        let address = Self::address(word);
        if level == Level::PTE {
            Step::Leaf(PhysAddr::new(address))
        } else if word & TABLE != 0 {
            Step::Table(PhysAddr::new(address))
        } else {
            Step::Leaf(PhysAddr::new(address & !(Self::SHAPE.level(level).bytes() - 1)))
        }
    }
}

/// What a table descriptor can take away, and its bits.
const TABLE_LIMITS: [(TableLimits, u64); 4] = [
    (TableLimits::NO_WRITE, TABLE_READ_ONLY),
    (TableLimits::NO_USER, TABLE_NO_USER),
    (TableLimits::NO_EXEC, TABLE_PRIV_NO_EXEC),
    (TableLimits::NO_USER_EXEC, TABLE_NO_EXEC),
];
