//! 32-bit x86 (System V ABI, Intel386 Architecture Processor Supplement, 4). Its tables have no addends: the place has them.

use super::super::error::RelocationProblem;
use super::{Patched, Values, extended};

const NONE: u32 = 0;
const ABS32: u32 = 1;
const PC32: u32 = 2;
const PLT32: u32 = 4;

pub(super) const fn width(kind: u32) -> Option<usize> {
    match kind {
        NONE => Some(0),
        ABS32 | PC32 | PLT32 => Some(4),
        _ => None,
    }
}

pub(super) fn patch(kind: u32, word: u64, values: &Values) -> Patched {
    let in_place = extended(word, 32);
    // Addresses have 32 bits, and sums of them wrap: every place is reached from every other.
    let value = match kind {
        ABS32 => values.sum(in_place),
        // A kernel's functions are reached directly.
        PC32 | PLT32 => values.distance(in_place),
        _ => return Err(RelocationProblem::Unknown),
    };
    Ok(u64::from(value as u32))
}
