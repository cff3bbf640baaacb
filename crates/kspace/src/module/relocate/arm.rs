//! 32-bit Arm, ARM instructions (ELF for the Arm Architecture, 5.6). Its tables have no addends: the place has them.

use super::super::error::RelocationProblem;
use super::{Patched, Values, extended, is_signed};

const NONE: u32 = 0;
const PC24: u32 = 1;
const ABS32: u32 = 2;
const REL32: u32 = 3;
const CALL: u32 = 28;
const JUMP24: u32 = 29;
const TARGET1: u32 = 38;
const V4BX: u32 = 40;
const PREL31: u32 = 42;
const MOVW_ABS_NC: u32 = 43;
const MOVT_ABS: u32 = 44;
const MOVW_PREL_NC: u32 = 45;
const MOVT_PREL: u32 = 46;

/// `ldr pc, [pc, #-4]`, and the address.
pub(super) const VENEER: u64 = 8;

pub(super) fn veneer(target: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&0xe51f_f004_u32.to_le_bytes());
    bytes[4..8].copy_from_slice(&(target as u32).to_le_bytes());
    bytes
}

pub(super) const fn is_branch(kind: u32) -> bool {
    matches!(kind, PC24 | CALL | JUMP24)
}

/// What a branch's own distance is reckoned from, behind its place.
const AHEAD: i64 = 8;

/// The distance in a branch.
const fn branch_addend(word: u64) -> i64 {
    extended(word & 0xff_ffff, 24) << 2
}

pub(super) fn branch_target(word: u64, values: &Values) -> (u64, i64) {
    let target = values.sum(branch_addend(word)).wrapping_add(AHEAD);
    (target as u32 as u64, -AHEAD)
}

pub(super) const fn width(kind: u32) -> Option<usize> {
    match kind {
        // V4BX marks a BX for processors that have none.
        NONE | V4BX => Some(0),
        PC24 | ABS32 | REL32 | CALL | JUMP24 | TARGET1 | PREL31 | MOVW_ABS_NC | MOVT_ABS | MOVW_PREL_NC
        | MOVT_PREL => Some(4),
        _ => None,
    }
}

/// The 16 bits of MOVW and MOVT, which lie in two fields.
const fn halfword(word: u64) -> u64 {
    word >> 4 & 0xf000 | word & 0xfff
}

const fn with_halfword(word: u64, value: u64) -> u64 {
    word & !0x000f_0fff | (value & 0xf000) << 4 | value & 0xfff
}

pub(super) fn patch(kind: u32, word: u64, values: &Values) -> Patched {
    // Addresses have 32 bits, and sums of them wrap.
    let narrow = |value: i64| value as u32 as u64;
    match kind {
        ABS32 | TARGET1 => Ok(narrow(values.sum(extended(word, 32)))),
        REL32 => Ok(narrow(values.distance(extended(word, 32)))),
        PREL31 => {
            let value = values.distance(extended(word, 31)) as i32;
            if !is_signed(value.into(), 31) {
                return Err(RelocationProblem::Range { value: value.into() });
            }
            Ok(word & 0x8000_0000 | value as u32 as u64 & 0x7fff_ffff)
        }
        PC24 | CALL | JUMP24 => {
            let value = i64::from(values.distance(branch_addend(word)) as i32);
            // ARM code cannot branch to Thumb code by these but with BLX, which no kernel of ARM code needs.
            if value & 3 != 0 {
                return Err(RelocationProblem::Unaligned { value });
            }
            if !is_signed(value, 26) {
                return Err(RelocationProblem::Range { value });
            }
            Ok(word & 0xff00_0000 | (value >> 2) as u64 & 0xff_ffff)
        }
        MOVW_ABS_NC | MOVT_ABS => {
            let value = narrow(values.sum(extended(halfword(word), 16)));
            Ok(with_halfword(word, if kind == MOVT_ABS { value >> 16 } else { value }))
        }
        MOVW_PREL_NC | MOVT_PREL => {
            let value = narrow(values.distance(extended(halfword(word), 16)));
            Ok(with_halfword(word, if kind == MOVT_PREL { value >> 16 } else { value }))
        }
        _ => Err(RelocationProblem::Unknown),
    }
}
