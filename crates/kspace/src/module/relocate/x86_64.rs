//! x86_64 (System V ABI, AMD64 Architecture Processor Supplement, 4.4).

use super::super::error::RelocationProblem;
use super::{Patched, Values, signed};

const NONE: u32 = 0;
const ABS64: u32 = 1;
const PC32: u32 = 2;
const PLT32: u32 = 4;
const ABS32: u32 = 10;
const ABS32S: u32 = 11;
const PC64: u32 = 24;

pub(super) const fn width(kind: u32) -> Option<usize> {
    match kind {
        NONE => Some(0),
        ABS64 | PC64 => Some(8),
        PC32 | PLT32 | ABS32 | ABS32S => Some(4),
        _ => None,
    }
}

/// Linux refuses a place that has something already: it would be lost.
pub(super) fn patch(kind: u32, word: u64, values: &Values) -> Patched {
    if word != 0 {
        return Err(RelocationProblem::NotZero { word });
    }
    match kind {
        ABS64 => Ok(values.sum(0) as u64),
        PC64 => Ok(values.distance(0) as u64),
        // A kernel's functions are reached directly: its modules lie within 2 GiB of it.
        PC32 | PLT32 => signed(values.distance(0), 32),
        ABS32S => signed(values.sum(0), 32),
        ABS32 => {
            let value = values.sum(0);
            u32::try_from(value).map(u64::from).map_err(|_| RelocationProblem::Range { value })
        }
        _ => Err(RelocationProblem::Unknown),
    }
}
