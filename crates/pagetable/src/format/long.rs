//! The 64-bit descriptors that arm64 and arm's LPAE have in common: their bits, and what those mean on both.
//!
//! ARMv8-A D8.3 "Translation table descriptor formats" (figures D8-12 to D8-16); ARMv7-AR B3.6.1 and B3.6.2. Every
//! block and page descriptor keeps its attributes in the same places.

use crate::attr::{AttrFlags, Shareability};

/// Bits of a descriptor.
pub mod bits {
    /// Bit 0: valid.
    pub const VALID: u64 = 1 << 0;
    /// Bit 1: a table above the lowest level, a page on it.
    pub const TABLE: u64 = 1 << 1;
    /// AttrIndx\[2:0\]: the index into MAIR.
    pub const ATTR_INDEX: u64 = 0b111 << 2;
    /// NS: the address is outside the secure world.
    pub const NON_SECURE: u64 = 1 << 5;
    /// AP\[1\]: user code may use it.
    pub const USER: u64 = 1 << 6;
    /// AP\[2\]: read-only for everyone.
    pub const READ_ONLY: u64 = 1 << 7;
    /// SH\[1:0\]: 0 not shareable, 2 outer, 3 inner; 1 is reserved.
    pub const SHARE: u64 = 0b11 << 8;
    /// AF: was used.
    pub const ACCESSED: u64 = 1 << 10;
    /// nG: of one address space only.
    pub const NOT_GLOBAL: u64 = 1 << 11;
    /// Contiguous: one of a group that a TLB may keep as one.
    pub const CONTIGUOUS: u64 = 1 << 52;
    /// PXN: the kernel does not execute it.
    pub const PRIV_NO_EXEC: u64 = 1 << 53;
    /// UXN (arm64): user code does not execute it. XN (arm): nobody does.
    pub const NO_EXEC: u64 = 1 << 54;

    /// PXNTable: the kernel executes nothing below.
    pub const TABLE_PRIV_NO_EXEC: u64 = 1 << 59;
    /// UXNTable (arm64), XNTable (arm).
    pub const TABLE_NO_EXEC: u64 = 1 << 60;
    /// APTable\[0\]: nothing below is for user code.
    pub const TABLE_NO_USER: u64 = 1 << 61;
    /// APTable\[1\]: nothing below may be written.
    pub const TABLE_READ_ONLY: u64 = 1 << 62;
    /// NSTable: everything below is outside the secure world. Ignored, as a non-secure kernel's hardware does.
    pub const TABLE_NON_SECURE: u64 = 1 << 63;
}
use bits::*;

// ARMv8-A D8.3.1 and D8.3.2, tables D8-30 to D8-34: lower attributes are bits 11:2, upper ones 63:50.
const _: () = assert!(ATTR_INDEX | NON_SECURE | USER | READ_ONLY | SHARE | ACCESSED | NOT_GLOBAL == 0xffc);
const _: () = assert!(CONTIGUOUS | PRIV_NO_EXEC | NO_EXEC == 0x0070_0000_0000_0000);
const _: () = assert!(TABLE_PRIV_NO_EXEC | TABLE_NO_EXEC == 0x1800_0000_0000_0000);
const _: () = assert!(TABLE_NO_USER | TABLE_READ_ONLY | TABLE_NON_SECURE == 0xe000_0000_0000_0000);

/// SH for a shareability.
pub(crate) const fn share_bits(share: Shareability) -> u64 {
    (match share {
        Shareability::None => 0,
        Shareability::Outer => 2,
        Shareability::Inner => 3,
    }) << 8
}

/// The shareability that a descriptor says, unless it is the reserved one.
pub(crate) const fn share_of(word: u64) -> Option<Shareability> {
    match (word & SHARE) >> 8 {
        0 => Some(Shareability::None),
        2 => Some(Shareability::Outer),
        3 => Some(Shareability::Inner),
        _ => None,
    }
}

/// The flags whose bits mean the same on both architectures, and stand for themselves.
pub(crate) fn plain_flag_bits(flags: AttrFlags) -> u64 {
    let mut word = 0;
    for (flag, bit) in
        [(AttrFlags::USER, USER), (AttrFlags::ACCESSED, ACCESSED), (AttrFlags::NON_SECURE, NON_SECURE)]
    {
        if flags.contains(flag) {
            word |= bit;
        }
    }
    if !flags.contains(AttrFlags::GLOBAL) {
        word |= NOT_GLOBAL;
    }
    word
}

/// What [`plain_flag_bits`] wrote.
pub(crate) fn plain_flags(word: u64) -> AttrFlags {
    let mut flags = AttrFlags::empty();
    flags.set(AttrFlags::USER, word & USER != 0);
    flags.set(AttrFlags::ACCESSED, word & ACCESSED != 0);
    flags.set(AttrFlags::NON_SECURE, word & NON_SECURE != 0);
    flags.set(AttrFlags::GLOBAL, word & NOT_GLOBAL == 0);
    flags
}
