//! arm64 (ELF for the Arm 64-bit Architecture, 5.7).

use super::super::error::RelocationProblem;
use super::{Patched, Values, is_signed, signed};

const NONE: u32 = 0;
const NONE_256: u32 = 256;
const ABS64: u32 = 257;
const ABS32: u32 = 258;
const ABS16: u32 = 259;
const PREL64: u32 = 260;
const PREL32: u32 = 261;
const PREL16: u32 = 262;
const MOVW_UABS_G0: u32 = 263;
const MOVW_UABS_G3: u32 = 269;
const MOVW_SABS_G0: u32 = 270;
const MOVW_SABS_G2: u32 = 272;
const LD_PREL_LO19: u32 = 273;
const ADR_PREL_LO21: u32 = 274;
const ADR_PREL_PG_HI21: u32 = 275;
const ADR_PREL_PG_HI21_NC: u32 = 276;
const ADD_ABS_LO12_NC: u32 = 277;
const LDST8_ABS_LO12_NC: u32 = 278;
const TSTBR14: u32 = 279;
const CONDBR19: u32 = 280;
const JUMP26: u32 = 282;
const CALL26: u32 = 283;
const LDST16_ABS_LO12_NC: u32 = 284;
const LDST32_ABS_LO12_NC: u32 = 285;
const LDST64_ABS_LO12_NC: u32 = 286;
const MOVW_PREL_G0: u32 = 287;
const MOVW_PREL_G3: u32 = 293;
const LDST128_ABS_LO12_NC: u32 = 299;
const PLT32: u32 = 314;

/// `ldr x16, .+8; br x16`, and the address.
pub(super) const VENEER: u64 = 16;

pub(super) fn veneer(target: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&0x5800_0050_u32.to_le_bytes());
    bytes[4..8].copy_from_slice(&0xd61f_0200_u32.to_le_bytes());
    bytes[8..].copy_from_slice(&target.to_le_bytes());
    bytes
}

pub(super) const fn is_branch(kind: u32) -> bool {
    matches!(kind, JUMP26 | CALL26)
}

pub(super) const fn width(kind: u32) -> Option<usize> {
    match kind {
        NONE | NONE_256 => Some(0),
        ABS64 | PREL64 => Some(8),
        ABS16 | PREL16 => Some(2),
        ABS32 | PREL32 | PLT32 | MOVW_UABS_G0..=CONDBR19 | JUMP26..=MOVW_PREL_G3 | LDST128_ABS_LO12_NC => {
            Some(4)
        }
        _ => None,
    }
}

/// With `value`'s low bits in a field of an instruction.
const fn insert(word: u64, value: u64, at: u32, bits: u32) -> u64 {
    let mask = ((1 << bits) - 1) << at;
    word & !mask | value << at & mask
}

/// A distance in instructions, in a field of so many bits.
fn branch(word: u64, distance: i64, at: u32, bits: u32) -> Patched {
    if distance & 3 != 0 {
        return Err(RelocationProblem::Unaligned { value: distance });
    }
    Ok(insert(word, signed(distance, bits + 2)? >> 2, at, bits))
}

/// The two fields of ADR and ADRP.
fn adr(word: u64, value: i64) -> Patched {
    let value = signed(value, 21)?;
    Ok(insert(insert(word, value, 29, 2), value >> 2, 5, 19))
}

/// The offset of a load or store of `2^scale` bytes.
fn offset(word: u64, value: i64, scale: u32) -> Patched {
    let low = value as u64 & 0xfff;
    if low & ((1 << scale) - 1) != 0 {
        return Err(RelocationProblem::Unaligned { value });
    }
    Ok(insert(word, low >> scale, 10, 12))
}

/// MOVZ, MOVN or MOVK: a group of 16 bits of a value. Where the sign decides, what is not negative is MOVZ, what is negative MOVN of its complement.
fn movw(word: u64, value: i64, group: u32, with_sign: bool, checked: bool) -> Patched {
    const MOVZ: u64 = 1 << 30;
    let bits = 16 * (group + 1);
    let fits = group == 3 || if with_sign { is_signed(value, bits + 1) } else { value as u64 >> bits == 0 };
    if checked && !fits {
        return Err(RelocationProblem::Range { value });
    }
    let part = value >> (16 * group);
    // MOVK has both bits of its kind set, and takes the bits as they are.
    let (word, part) = match with_sign && word >> 29 & 3 != 3 {
        true if part < 0 => (word & !MOVZ, !part),
        true => (word | MOVZ, part),
        false => (word, part),
    };
    Ok(insert(word, part as u64, 5, 16))
}

pub(super) fn patch(kind: u32, word: u64, values: &Values) -> Patched {
    let (sum, distance) = (values.sum(0), values.distance(0));
    // The document lets both kinds of number through, of which only one means what was computed to who reads it; as Linux checks.
    let unsigned = |value: i64, bits: u32| {
        if value as u64 >> bits == 0 { Ok(value as u64) } else { Err(RelocationProblem::Range { value }) }
    };
    let page = || (sum & !0xfff).wrapping_sub(values.place as i64 & !0xfff) >> 12;
    match kind {
        ABS64 => Ok(sum as u64),
        ABS32 => unsigned(sum, 32),
        ABS16 => unsigned(sum, 16),
        PREL64 => Ok(distance as u64),
        PREL32 | PLT32 => signed(distance, 32),
        PREL16 => signed(distance, 16),
        // G0, G0_NC, G1, G1_NC, G2, G2_NC, G3.
        MOVW_UABS_G0..=MOVW_UABS_G3 => {
            let n = kind - MOVW_UABS_G0;
            movw(word, sum, n / 2, false, n.is_multiple_of(2))
        }
        MOVW_SABS_G0..=MOVW_SABS_G2 => movw(word, sum, kind - MOVW_SABS_G0, true, true),
        MOVW_PREL_G0..=MOVW_PREL_G3 => {
            let n = kind - MOVW_PREL_G0;
            movw(word, distance, n / 2, true, n.is_multiple_of(2))
        }
        LD_PREL_LO19 | CONDBR19 => branch(word, distance, 5, 19),
        TSTBR14 => branch(word, distance, 5, 14),
        JUMP26 | CALL26 => branch(word, distance, 0, 26),
        ADR_PREL_LO21 => adr(word, distance),
        ADR_PREL_PG_HI21 => adr(word, page()),
        ADR_PREL_PG_HI21_NC => adr(word, page() << 43 >> 43),
        ADD_ABS_LO12_NC | LDST8_ABS_LO12_NC => offset(word, sum, 0),
        LDST16_ABS_LO12_NC => offset(word, sum, 1),
        LDST32_ABS_LO12_NC => offset(word, sum, 2),
        LDST64_ABS_LO12_NC => offset(word, sum, 3),
        LDST128_ABS_LO12_NC => offset(word, sum, 4),
        _ => Err(RelocationProblem::Unknown),
    }
}
