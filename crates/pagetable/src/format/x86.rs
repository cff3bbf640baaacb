//! x86_64: 4-level and 5-level paging; [`i386`] has the formats of 32-bit kernels.
//!
//! Intel SDM volume 3A, chapter 4 ("Paging"), tables 4-14 to 4-20. The page-attribute table is taken to hold what Linux
//! writes into it: WB, WC, UC-, UC, WB, WP, UC-, WT.
//!
//! With memory encryption (AMD SME and SEV: AMD APM volume 2, 7.10) one address bit says "encrypted". Tables always have
//! it; a leaf without it is outside the protected world, which is what [`AttrFlags::NON_SECURE`] says here.
//!
//! There is one execute bit: it is the bit of whoever may use the page, [`AttrFlags::USER_EXEC`] on user pages and
//! [`AttrFlags::EXEC`] on others.

pub mod i386;

use super::{Entry, Format, Leaf, Step};
use crate::attr::{Attr, AttrError, AttrFlags, MemoryType, Shareability, TableLimits};
use crate::shape::{Level, LevelShape, Shape, Window};
use pagewright_addr::PhysAddr;

/// Bits of an entry.
pub mod bits {
    /// P: the entry is valid.
    pub const PRESENT: u64 = 1 << 0;
    /// R/W: writes are allowed.
    pub const WRITE: u64 = 1 << 1;
    /// U/S: user code may use it.
    pub const USER: u64 = 1 << 2;
    /// PWT: bit 0 of the PAT index.
    pub const PWT: u64 = 1 << 3;
    /// PCD: bit 1 of the PAT index.
    pub const PCD: u64 = 1 << 4;
    /// A: was used.
    pub const ACCESSED: u64 = 1 << 5;
    /// D: was written (leaves only).
    pub const DIRTY: u64 = 1 << 6;
    /// PS: a block, above the lowest level.
    pub const PAGE_SIZE: u64 = 1 << 7;
    /// PAT: bit 2 of the PAT index, in a PTE.
    pub const PAT: u64 = 1 << 7;
    /// G: kept when CR3 is written.
    pub const GLOBAL: u64 = 1 << 8;
    /// Bits 9 to 11 belong to software.
    pub const SOFTWARE: u64 = 0b111 << 9;
    /// PAT in a block's entry.
    pub const PAT_BLOCK: u64 = 1 << 12;
    /// Bits 12 to 51: the address.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    /// Bits 59 to 62: the protection key.
    pub const KEY: u64 = 0b1111 << 59;
    /// XD: no instruction fetches.
    pub const NO_EXEC: u64 = 1 << 63;
}
use bits::*;

// Intel SDM volume 3A, figure 4-11.
const _: () = assert!(PRESENT | WRITE | USER | PWT | PCD | ACCESSED | DIRTY | PAT | GLOBAL == 0x1ff);
const _: () =
    assert!(PRESENT == 1 && PAGE_SIZE == 1 << 7, "`step` takes them for a byte's lowest bit and its sign");
const _: () = assert!(ADDRESS == (1 << 52) - (1 << 12));
const _: () = assert!(KEY == 0x7800_0000_0000_0000 && NO_EXEC == 0x8000_0000_0000_0000);

/// What the processor and the kernel chose at run time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct X86Config {
    /// EFER.NXE: there is an execute-disable bit. Without it everything is executable.
    pub no_execute: bool,
    /// Blocks of 1 GiB exist (CPUID `pdpe1gb`).
    pub gigabyte_pages: bool,
    /// The bit of an address that says "encrypted" (AMD SME), or 0.
    pub encryption_mask: u64,
    /// Physical address bits (CPUID MAXPHYADDR): entries with bits above are reserved.
    pub phys_bits: u32,
}

impl Default for X86Config {
    fn default() -> Self {
        Self { no_execute: true, gigabyte_pages: true, encryption_mask: 0, phys_bits: 52 }
    }
}

/// The format with `LEVELS` levels of tables: 4 or 5.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct X86_64<const LEVELS: usize> {
    /// What was chosen at run time.
    pub config: X86Config,
}

/// 48-bit addresses.
pub type X86Level4 = X86_64<4>;
/// 57-bit addresses (LA57).
pub type X86Level5 = X86_64<5>;

const LEVELS_ALL: [LevelShape; 5] = [
    LevelShape::new(12, 9, true),
    LevelShape::new(21, 9, true),
    LevelShape::new(30, 9, true),
    LevelShape::new(39, 9, false),
    LevelShape::new(48, 9, false),
];

/// The PAT index of each memory type, as Linux programs the table.
pub(crate) const fn pat_index(memory: MemoryType) -> Option<u64> {
    Some(match memory {
        MemoryType::Normal => 0,
        MemoryType::WriteCombine => 1,
        MemoryType::UncachedMinus => 2,
        MemoryType::StronglyOrdered => 3,
        MemoryType::WriteProtect => 5,
        MemoryType::WriteThrough => 7,
        MemoryType::NormalTagged | MemoryType::Device => return None,
    })
}

/// The memory type at a PAT index.
pub(crate) const fn pat_type(index: u64) -> MemoryType {
    match index & 7 {
        1 => MemoryType::WriteCombine,
        2 | 6 => MemoryType::UncachedMinus,
        3 => MemoryType::StronglyOrdered,
        5 => MemoryType::WriteProtect,
        7 => MemoryType::WriteThrough,
        _ => MemoryType::Normal,
    }
}

/// What differs between x86's formats as far as leaves go.
pub(crate) struct LeafRules {
    /// Bytes of the leaf.
    bytes: u64,
    /// Whether it is above the lowest level: with PS, and PAT elsewhere.
    block: bool,
    /// Whether bit 63 is XD.
    no_execute: bool,
    /// Whether bits 62:59 are a protection key.
    keys: bool,
    /// The address bit that says "encrypted", or 0.
    encryption_mask: u64,
    /// Physical address bits.
    phys_bits: u32,
}

/// The flags that have a bit each.
const FLAG_BITS: [(AttrFlags, u64); 5] = [
    (AttrFlags::WRITE, WRITE),
    (AttrFlags::USER, USER),
    (AttrFlags::ACCESSED, ACCESSED),
    (AttrFlags::DIRTY, DIRTY),
    (AttrFlags::GLOBAL, GLOBAL),
];

impl LeafRules {
    /// Address bits that must be zero.
    const fn above(&self) -> u64 {
        ADDRESS & !((1 << self.phys_bits) - 1) & !self.encryption_mask
    }

    fn encode(&self, leaf: &Leaf) -> Result<u64, AttrError> {
        let Leaf { phys, attr, contiguous } = *leaf;
        if !phys.is_aligned(self.bytes)
            || phys.get() >> self.phys_bits != 0
            || phys.get() & self.encryption_mask != 0
            || contiguous
        {
            return Err(AttrError::Address(phys));
        }
        let flags = attr.flags;
        let user = flags.contains(AttrFlags::USER);
        let foreign = if user { AttrFlags::EXEC } else { AttrFlags::USER_EXEC };
        let exec = flags.intersects(AttrFlags::EXEC | AttrFlags::USER_EXEC);
        let plain = flags.contains(AttrFlags::NON_SECURE);
        if flags.intersects(foreign | AttrFlags::GUARDED)
            || !(exec || self.no_execute)
            || (plain && self.encryption_mask == 0)
        {
            return Err(AttrError::Flags(flags));
        }
        if attr.share != Shareability::Inner {
            return Err(AttrError::Share(attr.share));
        }
        if attr.key > (if self.keys { 15 } else { 0 }) {
            return Err(AttrError::Key(attr.key));
        }
        if attr.software > 7 {
            return Err(AttrError::Software(attr.software));
        }
        let pat = pat_index(attr.memory).ok_or(AttrError::Memory(attr.memory))?;
        let mut word = phys.get() | PRESENT | if plain { 0 } else { self.encryption_mask };
        for (flag, bit) in FLAG_BITS {
            if flags.contains(flag) {
                word |= bit;
            }
        }
        if !exec {
            word |= NO_EXEC;
        }
        word |= ((pat & 1) * PWT) | (((pat >> 1) & 1) * PCD);
        word |= if self.block { PAGE_SIZE | ((pat >> 2) * PAT_BLOCK) } else { (pat >> 2) * PAT };
        word |= (u64::from(attr.software) << 9) | (u64::from(attr.key) << 59);
        Ok(word)
    }

    /// Decodes a present leaf; `None` if address bits are set that must not be.
    fn decode(&self, word: u64) -> Option<Leaf> {
        let pat_bit = if self.block { PAT_BLOCK } else { PAT };
        let address = word & ADDRESS & !self.encryption_mask & !(if self.block { PAT_BLOCK } else { 0 });
        if word & self.above() != 0
            || address & (self.bytes - 1) != 0
            || (word & NO_EXEC != 0 && !self.no_execute)
        {
            return None;
        }
        let mut flags = AttrFlags::empty();
        for (flag, bit) in FLAG_BITS {
            flags.set(flag, word & bit != 0);
        }
        if word & NO_EXEC == 0 {
            flags |= if word & USER != 0 { AttrFlags::USER_EXEC } else { AttrFlags::EXEC };
        }
        flags.set(AttrFlags::NON_SECURE, self.encryption_mask != 0 && word & self.encryption_mask == 0);
        let pat = u64::from(word & PWT != 0)
            | (u64::from(word & PCD != 0) << 1)
            | (u64::from(word & pat_bit != 0) << 2);
        Some(Leaf {
            phys: PhysAddr::new(address),
            attr: Attr {
                flags,
                memory: pat_type(pat),
                share: Shareability::Inner,
                key: if self.keys { ((word >> 59) & 15) as u8 } else { 0 },
                software: ((word >> 9) & 7) as u8,
            },
            contiguous: false,
        })
    }
}

/// The permission bits of a table entry: all of them but what `limits` take away.
fn table_bits(limits: TableLimits, no_execute: bool) -> u64 {
    let mut word = PRESENT | WRITE | USER | ACCESSED | DIRTY;
    if limits.contains(TableLimits::NO_WRITE) {
        word &= !WRITE;
    }
    if limits.contains(TableLimits::NO_USER) {
        word &= !USER;
    }
    // One bit for both kinds of execution: it is set only when both are forbidden.
    if limits.contains(TableLimits::NO_EXEC | TableLimits::NO_USER_EXEC) && no_execute {
        word |= NO_EXEC;
    }
    word
}

/// What [`table_bits`] wrote.
fn table_limits(word: u64) -> TableLimits {
    let mut limits = TableLimits::empty();
    limits.set(TableLimits::NO_WRITE, word & WRITE == 0);
    limits.set(TableLimits::NO_USER, word & USER == 0);
    limits.set(TableLimits::NO_EXEC | TableLimits::NO_USER_EXEC, word & NO_EXEC != 0);
    limits
}

/// The bits of an address above a leaf's of that size.
#[inline]
const fn above(bytes: u64) -> u64 {
    !(bytes - 1)
}

impl<const LEVELS: usize> X86_64<LEVELS> {
    fn rules(&self, level: Level) -> LeafRules {
        LeafRules {
            bytes: Self::TREE.level(level).bytes(),
            block: level != Level::PTE,
            no_execute: self.config.no_execute,
            keys: true,
            encryption_mask: self.config.encryption_mask,
            phys_bits: self.config.phys_bits.min(52),
        }
    }

    fn may_be_leaf(&self, level: Level) -> bool {
        Self::TREE.level(level).leaf && (level != Level::PUD || self.config.gigabyte_pages)
    }
}

impl<const LEVELS: usize> Format for X86_64<LEVELS> {
    type Word = u64;
    const SHAPE: Shape = Shape::new(12, LEVELS_ALL.split_at(LEVELS).0);
    const NAME: &'static str = if LEVELS == 5 { "x86_64, 5 levels" } else { "x86_64, 4 levels" };
    const BREAK_BEFORE_MAKE: bool = false;

    #[inline]
    fn window(&self) -> Window {
        Window::Canonical { bits: const { Self::SHAPE.va_bits() } }
    }

    fn table_word(&self, _: Level, _: usize, page: PhysAddr, limits: TableLimits) -> u64 {
        page.get() | self.config.encryption_mask | table_bits(limits, self.config.no_execute)
    }

    fn leaf_word(&self, level: Level, leaf: &Leaf) -> Result<u64, AttrError> {
        if !self.may_be_leaf(level) {
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
        if level == Level::PTE || word & PAGE_SIZE != 0 {
            return match rules.decode(word) {
                Some(leaf) if self.may_be_leaf(level) => Entry::Leaf(leaf),
                _ => Entry::Reserved(word),
            };
        }
        if word & rules.above() != 0 || (word & NO_EXEC != 0 && !self.config.no_execute) {
            return Entry::Reserved(word);
        }
        Entry::Table(PhysAddr::new(word & ADDRESS & !self.config.encryption_mask), table_limits(word))
    }

    #[inline]
    fn step(&self, level: Level, word: u64) -> Step {
        let address = ADDRESS & !self.config.encryption_mask;
        if level == Level::PTE {
            let there = word & PRESENT != 0;
            return if there { Step::Leaf(PhysAddr::new(word & address)) } else { Step::Absent };
        }
        // Less one, a present entry that is no block is its address: what three of four levels meet takes one mask and one test.
        let less = (word & (address | PRESENT | PAGE_SIZE)).wrapping_sub(PRESENT);
        if less & (PRESENT | PAGE_SIZE) == 0 {
            Step::Table(PhysAddr::new(less))
        } else if less & PRESENT != 0 {
            Step::Absent
        } else {
            Step::Leaf(PhysAddr::new(less & above(Self::SHAPE.level(level).bytes())))
        }
    }
}
