//! The root of short descriptors: sections, supersections and pointers to tables.

use super::short::ArmShortConfig;
use crate::attr::{Attr, AttrError, AttrFlags, Shareability, TableLimits};
use crate::format::{Entry, Leaf, Step};
use pagewright_addr::PhysAddr;

/// Bits of a root entry (ARMv7-AR figure B3-4).
pub mod bits {
    /// The type of a table: bits 1:0 are 01.
    pub const TABLE: u32 = 1 << 0;
    /// The type of a section: bit 1.
    pub const SECTION: u32 = 1 << 1;
    /// PXN of a section: the kernel does not execute it.
    pub const PRIV_NO_EXEC: u32 = 1 << 0;
    /// B: bit 0 of the memory type's index.
    pub const BUFFERABLE: u32 = 1 << 2;
    /// C: bit 1 of the index.
    pub const CACHEABLE: u32 = 1 << 3;
    /// XN: nobody executes it.
    pub const NO_EXEC: u32 = 1 << 4;
    /// Where the domain lies, four bits, in sections and tables.
    pub const DOMAIN_SHIFT: u32 = 5;
    /// AP\[0\].
    pub const AP0: u32 = 1 << 10;
    /// AP\[1\].
    pub const AP1: u32 = 1 << 11;
    /// TEX\[0\]: bit 2 of the index.
    pub const TEX0: u32 = 1 << 12;
    /// AP\[2\]: read-only.
    pub const AP2: u32 = 1 << 15;
    /// S: shareable.
    pub const SHARED: u32 = 1 << 16;
    /// nG: of one address space only.
    pub const NOT_GLOBAL: u32 = 1 << 17;
    /// A supersection.
    pub const SUPERSECTION: u32 = 1 << 18;
    /// NS: outside the secure world. Ignored, as a non-secure kernel's hardware does.
    pub const NON_SECURE: u32 = 1 << 19;
    /// Bits 31:20: a section's address.
    pub const ADDRESS: u32 = 0xfff0_0000;
    /// Bits 31:24: a supersection's address.
    pub const SUPER_ADDRESS: u32 = 0xff00_0000;
    /// PXN of a table.
    pub const TABLE_PRIV_NO_EXEC: u32 = 1 << 2;
    /// NS of a table.
    pub const TABLE_NON_SECURE: u32 = 1 << 3;
    /// Bits 31:10: a table's address.
    pub const TABLE_ADDRESS: u32 = 0xffff_fc00;
}
use bits::*;

// ARMv7-AR figure B3-4: a section's low 20 bits; left over are the domain, bit 9 (implementation defined) and TEX[2:1].
const _: () = assert!(
    PRIV_NO_EXEC | SECTION | BUFFERABLE | CACHEABLE | NO_EXEC | AP0 | AP1 | TEX0 | AP2 == 0x9c1f
        && SHARED | NOT_GLOBAL | SUPERSECTION | NON_SECURE == 0xf_0000
);
const _: () = assert!(0xf << DOMAIN_SHIFT == 0x1e0);

/// Bits that are always there for a section: sections note nothing.
const NOTED: AttrFlags = AttrFlags::ACCESSED.union(AttrFlags::DIRTY);

pub(super) const fn domain(word: u32) -> u8 {
    // A supersection's bits there belong to the address; its domain is 0.
    if word & SECTION != 0 && word & SUPERSECTION != 0 { 0 } else { (word >> DOMAIN_SHIFT) as u8 & 15 }
}

pub(super) fn encode_table(config: &ArmShortConfig, table: u64, limits: TableLimits) -> u64 {
    let mut word =
        table as u32 & TABLE_ADDRESS | TABLE | (u32::from(config.table_domain & 15) << DOMAIN_SHIFT);
    if config.pxn && limits.contains(TableLimits::NO_EXEC) {
        word |= TABLE_PRIV_NO_EXEC;
    }
    u64::from(word)
}

pub(super) fn encode(config: &ArmShortConfig, leaf: &Leaf) -> Result<u64, AttrError> {
    let Leaf { phys, attr, contiguous } = *leaf;
    let supersection = contiguous;
    if !phys.is_aligned(1 << 20)
        || phys.get() >> (if supersection { 40 } else { 32 }) != 0
        || (supersection && !config.supersections)
    {
        return Err(AttrError::Address(phys));
    }
    if attr.key > (if supersection { 0 } else { 15 }) {
        return Err(AttrError::Key(attr.key));
    }
    if attr.software != 0 {
        return Err(AttrError::Software(attr.software));
    }
    let flags = attr.flags;
    let user = flags.contains(AttrFlags::USER);
    let no_exec = exec_bits(config, flags).ok_or(AttrError::Flags(flags))?;
    if !flags.contains(NOTED) || flags.intersects(AttrFlags::GUARDED | AttrFlags::NON_SECURE) {
        return Err(AttrError::Flags(flags));
    }
    let index = config.memory.index(attr.memory).ok_or(AttrError::Memory(attr.memory))? as u32;
    let mut word = SECTION | AP0 | no_exec | ((index & 3) << 2) | ((index >> 2) * TEX0);
    match attr.share {
        Shareability::None => {}
        Shareability::Inner => word |= SHARED,
        Shareability::Outer => return Err(AttrError::Share(attr.share)),
    }
    for (set, bit) in [
        (user, AP1),
        (!flags.contains(AttrFlags::WRITE), AP2),
        (!flags.contains(AttrFlags::GLOBAL), NOT_GLOBAL),
    ] {
        if set {
            word |= bit;
        }
    }
    let phys = phys.get();
    if !supersection {
        return Ok(u64::from(word | phys as u32 | (u32::from(attr.key) << DOMAIN_SHIFT)));
    }
    // Address bits 35:32 in 23:20, 39:36 in 8:5.
    word |= phys as u32 & SUPER_ADDRESS | SUPERSECTION;
    word |= (((phys >> 32) as u32 & 15) << 20) | (((phys >> 36) as u32 & 15) << DOMAIN_SHIFT);
    Ok(u64::from(word))
}

/// XN and PXN for what may be executed; `None` if that is the bit of somebody who may not use the section.
fn exec_bits(config: &ArmShortConfig, flags: AttrFlags) -> Option<u32> {
    match (
        flags.contains(AttrFlags::USER),
        flags.contains(AttrFlags::EXEC),
        flags.contains(AttrFlags::USER_EXEC),
    ) {
        (_, false, false) => Some(NO_EXEC),
        (false, true, false) => Some(0),
        // The kernel does not execute what is the user's, where that can be said.
        (true, false, true) => Some(if config.pxn { PRIV_NO_EXEC } else { 0 }),
        _ => None,
    }
}

pub(super) fn decode(config: &ArmShortConfig, word: u64) -> Entry {
    let reserved = Entry::Reserved(word);
    let word = word as u32;
    match word & (TABLE | SECTION) {
        _ if word == 0 => return Entry::Empty,
        0 => return Entry::Software(word.into()),
        TABLE => return decode_table(config, word),
        _ => {}
    }
    let supersection = word & SUPERSECTION != 0;
    if (word & PRIV_NO_EXEC != 0 && !config.pxn) || (supersection && !config.supersections) {
        return reserved;
    }
    let index = ((word & (CACHEABLE | BUFFERABLE)) >> 2) | ((word & TEX0) >> 10);
    let Some(memory) = config.memory.get(u64::from(index)) else { return reserved };
    let mut flags = NOTED;
    // AP[2:0]; what is not here is for nobody, or read-only for user code alone.
    flags |= match ((word & AP2) >> 13) | ((word & (AP1 | AP0)) >> 10) {
        0b001 => AttrFlags::WRITE,
        0b011 => AttrFlags::WRITE | AttrFlags::USER,
        0b101 => AttrFlags::empty(),
        0b110 | 0b111 => AttrFlags::USER,
        _ => return reserved,
    };
    let user = flags.contains(AttrFlags::USER);
    flags.set(AttrFlags::USER_EXEC, user && word & NO_EXEC == 0);
    flags.set(AttrFlags::EXEC, !user && word & (NO_EXEC | PRIV_NO_EXEC) == 0);
    flags.set(AttrFlags::GLOBAL, word & NOT_GLOBAL == 0);
    let share = if word & SHARED != 0 { Shareability::Inner } else { Shareability::None };
    Entry::Leaf(Leaf {
        phys: PhysAddr::new(address(word)),
        attr: Attr { flags, memory, share, key: domain(word), software: 0 },
        contiguous: supersection,
    })
}

fn decode_table(config: &ArmShortConfig, word: u32) -> Entry {
    let no_exec = word & TABLE_PRIV_NO_EXEC != 0;
    // A table is 1 KiB of the hardware's half of a page: bit 11. Bit 4 is zero in every version.
    if word & (1 << 11) == 0 || word & (1 << 4) != 0 || (no_exec && !config.pxn) {
        return Entry::Reserved(u64::from(word));
    }
    let limits = if no_exec { TableLimits::NO_EXEC } else { TableLimits::empty() };
    Entry::Table(PhysAddr::new(u64::from(word & TABLE_ADDRESS)), limits)
}

#[inline]
const fn address(word: u32) -> u64 {
    if word & SUPERSECTION == 0 {
        return (word & ADDRESS) as u64;
    }
    let (low, high) = ((word >> 20) & 15, (word >> DOMAIN_SHIFT) & 15);
    (word & SUPER_ADDRESS) as u64 | ((low as u64) << 32) | ((high as u64) << 36)
}

#[inline]
pub(super) const fn step(word: u64) -> Step {
    let word = word as u32;
    if word & SECTION != 0 {
        Step::Leaf(PhysAddr::new(address(word)))
    } else if word & TABLE != 0 {
        Step::Table(PhysAddr::new((word & TABLE_ADDRESS) as u64))
    } else {
        Step::Absent
    }
}
