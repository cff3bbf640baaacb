//! The lowest level of short descriptors: the hardware's small page and Linux's word beside it.

use super::short::ArmShortConfig;
use crate::attr::{Attr, AttrError, AttrFlags, Shareability};
use crate::format::{Entry, Leaf, Step};
use pagewright_addr::PhysAddr;

/// Bits of the hardware's word (ARMv7-AR figure B3-5, "small page").
pub mod bits {
    /// XN: nobody executes it.
    pub const NO_EXEC: u32 = 1 << 0;
    /// The type of a small page; without it, bit 0 alone would be a large page, which Linux does not write.
    pub const SMALL_PAGE: u32 = 1 << 1;
    /// B: bit 0 of the memory type's index.
    pub const BUFFERABLE: u32 = 1 << 2;
    /// C: bit 1 of the index.
    pub const CACHEABLE: u32 = 1 << 3;
    /// AP\[0\]: set in every page that may be used at all.
    pub const AP0: u32 = 1 << 4;
    /// AP\[1\]: user code may use it.
    pub const AP1: u32 = 1 << 5;
    /// TEX\[0\]: bit 2 of the index. TEX\[2:1\] mean nothing with TEX remap.
    pub const TEX0: u32 = 1 << 6;
    /// AP\[2\]: read-only.
    pub const AP2: u32 = 1 << 9;
    /// S: shareable.
    pub const SHARED: u32 = 1 << 10;
    /// nG: of one address space only.
    pub const NOT_GLOBAL: u32 = 1 << 11;
    /// Bits 31:12: the address.
    pub const ADDRESS: u32 = 0xffff_f000;
}

/// Bits of Linux's word (`L_PTE_*`).
pub mod linux_bits {
    /// Something is mapped (`L_PTE_PRESENT`).
    pub const PRESENT: u32 = 1 << 0;
    /// Was used (`L_PTE_YOUNG`).
    pub const YOUNG: u32 = 1 << 1;
    /// The memory type (`L_PTE_MT_MASK`): the hardware's index in the lower three bits; the fourth is for Linux alone.
    pub const MEMORY: u32 = 0b1111 << 2;
    /// Was written (`L_PTE_DIRTY`).
    pub const DIRTY: u32 = 1 << 6;
    /// May not be written (`L_PTE_RDONLY`).
    pub const READ_ONLY: u32 = 1 << 7;
    /// User code may use it (`L_PTE_USER`).
    pub const USER: u32 = 1 << 8;
    /// Nobody executes it (`L_PTE_XN`).
    pub const NO_EXEC: u32 = 1 << 9;
    /// Shareable (`L_PTE_SHARED`).
    pub const SHARED: u32 = 1 << 10;
    /// Present but for nobody (`L_PTE_NONE`): the hardware's word stays 0.
    pub const NONE: u32 = 1 << 11;
}
use bits::*;
use linux_bits as linux;

// ARMv7-AR figure B3-5: every bit of a small page has one meaning, TEX[2:1] apart.
const _: () = assert!(
    NO_EXEC | SMALL_PAGE | BUFFERABLE | CACHEABLE | AP0 | AP1 | TEX0 | AP2 | SHARED | NOT_GLOBAL == 0xe7f
);
const _: () = assert!(ADDRESS == 0xffff_f000);
// Linux's word leaves the address where it is, and S as well.
const _: () = assert!(linux::SHARED == SHARED && linux::MEMORY == 0x3c);

/// The hardware's word for Linux's: 0 unless the page is present and young.
#[inline]
const fn hardware(of: u32, not_global: bool) -> u32 {
    if of & (linux::PRESENT | linux::YOUNG | linux::NONE) != linux::PRESENT | linux::YOUNG {
        return 0;
    }
    let mut word = of & (ADDRESS | SHARED | CACHEABLE | BUFFERABLE) | AP0 | SMALL_PAGE;
    // The index's bits 1:0 are C and B, where Linux's word has them too; bit 2 goes to TEX[0].
    word |= (of & (1 << 4)) << 2;
    if of & linux::READ_ONLY != 0 || of & linux::DIRTY == 0 {
        word |= AP2;
    }
    if of & linux::USER != 0 {
        word |= AP1;
    }
    if of & linux::NO_EXEC != 0 {
        word |= NO_EXEC;
    }
    if not_global {
        word |= NOT_GLOBAL;
    }
    word
}

/// A pair with the hardware's word made again from Linux's; only nG is taken from the old one.
#[inline]
pub(super) const fn with_hardware(pair: u64) -> u64 {
    let not_global = pair as u32 & NOT_GLOBAL != 0;
    pair & !0xffff_ffff | hardware((pair >> 32) as u32, not_global) as u64
}

pub(super) fn encode(config: &ArmShortConfig, leaf: &Leaf) -> Result<u64, AttrError> {
    let Leaf { phys, attr, contiguous } = *leaf;
    if !phys.is_aligned(4096) || phys.get() >> 32 != 0 || contiguous {
        return Err(AttrError::Address(phys));
    }
    let flags = attr.flags;
    let user = flags.contains(AttrFlags::USER);
    let foreign = if user { AttrFlags::EXEC } else { AttrFlags::USER_EXEC };
    let global = flags.contains(AttrFlags::GLOBAL);
    // An old page keeps no nG bit anywhere.
    if flags.intersects(foreign | AttrFlags::GUARDED | AttrFlags::NON_SECURE)
        || (!flags.contains(AttrFlags::ACCESSED) && global == user)
    {
        return Err(AttrError::Flags(flags));
    }
    if attr.key != config.table_domain {
        return Err(AttrError::Key(attr.key));
    }
    if attr.software != 0 {
        return Err(AttrError::Software(attr.software));
    }
    let index = config.memory.index(attr.memory).ok_or(AttrError::Memory(attr.memory))?;
    let mut word = phys.get() as u32 | linux::PRESENT | ((index as u32) << 2);
    match attr.share {
        Shareability::None => {}
        Shareability::Inner => word |= linux::SHARED,
        Shareability::Outer => return Err(AttrError::Share(attr.share)),
    }
    for (set, bit) in [
        (flags.contains(AttrFlags::ACCESSED), linux::YOUNG),
        (flags.contains(AttrFlags::DIRTY), linux::DIRTY),
        (!flags.contains(AttrFlags::WRITE), linux::READ_ONLY),
        (user, linux::USER),
        (!flags.intersects(AttrFlags::EXEC | AttrFlags::USER_EXEC), linux::NO_EXEC),
    ] {
        if set {
            word |= bit;
        }
    }
    Ok(u64::from(hardware(word, !global)) | (u64::from(word) << 32))
}

pub(super) fn decode(config: &ArmShortConfig, pair: u64) -> Entry {
    let (hard, soft) = (pair as u32, (pair >> 32) as u32);
    if pair == 0 {
        return Entry::Empty;
    }
    let (soft, global) = match soft {
        0 => match alone(hard) {
            Some(soft) => (soft, hard & NOT_GLOBAL == 0),
            None => return Entry::Reserved(pair),
        },
        _ if soft & linux::PRESENT == 0 || soft & linux::NONE != 0 => {
            return if hard == 0 { Entry::Software(pair) } else { Entry::Reserved(pair) };
        }
        _ if hard == 0 => (soft, soft & linux::USER == 0),
        // Both have to mean one page. Whatever else differs is being changed at this moment, Linux's word first.
        _ if (hard ^ soft) & ADDRESS != 0 || hard & SMALL_PAGE == 0 => return Entry::Reserved(pair),
        _ => (soft, hard & NOT_GLOBAL == 0),
    };
    let Some(memory) = config.memory.get(u64::from(soft >> 2)) else {
        return Entry::Reserved(pair);
    };
    let user = soft & linux::USER != 0;
    let mut flags = AttrFlags::empty();
    flags.set(AttrFlags::WRITE, soft & linux::READ_ONLY == 0);
    flags.set(AttrFlags::USER, user);
    flags.set(if user { AttrFlags::USER_EXEC } else { AttrFlags::EXEC }, soft & linux::NO_EXEC == 0);
    flags.set(AttrFlags::GLOBAL, global);
    flags.set(AttrFlags::ACCESSED, soft & linux::YOUNG != 0);
    flags.set(AttrFlags::DIRTY, soft & linux::DIRTY != 0);
    let share = if soft & linux::SHARED != 0 { Shareability::Inner } else { Shareability::None };
    Entry::Leaf(Leaf {
        phys: PhysAddr::new(u64::from(soft & ADDRESS)),
        attr: Attr { flags, memory, share, key: config.table_domain, software: 0 },
        contiguous: false,
    })
}

/// What Linux's word would be beside a hardware word that has none.
const fn alone(hard: u32) -> Option<u32> {
    if hard & SMALL_PAGE == 0 {
        return None;
    }
    let mut soft = hard & (ADDRESS | SHARED | CACHEABLE | BUFFERABLE) | linux::PRESENT | linux::YOUNG;
    soft |= (hard & TEX0) >> 2;
    // AP[2:0]; what is not here is for nobody, or read-only for user code alone.
    soft |= match ((hard & AP2) >> 7) | ((hard & (AP1 | AP0)) >> 4) {
        0b001 => linux::DIRTY,
        0b011 => linux::DIRTY | linux::USER,
        0b101 => linux::READ_ONLY,
        0b110 | 0b111 => linux::READ_ONLY | linux::USER,
        _ => return None,
    };
    if hard & NO_EXEC != 0 {
        soft |= linux::NO_EXEC;
    }
    Some(soft)
}

/// The hardware's view: Linux's word is not looked at, so it need not be there.
#[inline]
pub(super) const fn step(pair: u64) -> Step {
    if pair as u32 & SMALL_PAGE != 0 {
        Step::Leaf(PhysAddr::new(pair & ADDRESS as u64))
    } else {
        Step::Absent
    }
}
