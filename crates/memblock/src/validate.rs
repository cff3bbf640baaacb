//! Memblock's invariants, checked.

use crate::iter::FreeRanges;
use crate::set::RegionSet;
use crate::{Flags, Memblock, Phase, Set};
use core::fmt;
use pagewright_addr::PhysRange;

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// More regions than slots, or none at all (an empty set has its dummy).
    Count {
        /// Which set.
        set: Set,
        /// Its count.
        cnt: usize,
        /// Its slots.
        max: usize,
    },
    /// A region of size 0 that is not the dummy of an empty set.
    Empty {
        /// Which set.
        set: Set,
        /// Which region.
        index: usize,
    },
    /// A region that reaches past `PHYS_ADDR_MAX`.
    Wraps {
        /// Which set.
        set: Set,
        /// Which region.
        index: usize,
    },
    /// A region that does not lie wholly above the one before it.
    Order {
        /// Which set.
        set: Set,
        /// Which region.
        index: usize,
    },
    /// A region that should have been merged with the one before it.
    Unmerged {
        /// Which set.
        set: Set,
        /// Which region.
        index: usize,
    },
    /// A flag that does not exist.
    Flags {
        /// Which set.
        set: Set,
        /// Which region.
        index: usize,
        /// All its flags.
        bits: u32,
    },
    /// The stored total is not the sum of the sizes (for memory: is less; trimming leaves it too large).
    Total {
        /// Which set.
        set: Set,
        /// What is stored.
        stored: u64,
        /// The sum of the regions' sizes.
        sum: u64,
    },
    /// Some of the memory that a grown array lies in is free.
    ArrayNotReserved {
        /// Whose array.
        set: Set,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Count { set, cnt, max } => write!(f, "{set}: {cnt} regions in {max} slots"),
            Self::Empty { set, index } => write!(f, "{set}[{index}] is empty"),
            Self::Wraps { set, index } => write!(f, "{set}[{index}] reaches past the last address"),
            Self::Order { set, index } => write!(f, "{set}[{index}] is not above the region before it"),
            Self::Unmerged { set, index } => write!(f, "{set}[{index}] should be one with the region before"),
            Self::Flags { set, index, bits } => write!(f, "{set}[{index}] has unknown flags {bits:#x}"),
            Self::Total { set, stored, sum } => {
                write!(f, "{set}: total_size is {stored:#x}, the regions sum up to {sum:#x}")
            }
            Self::ArrayNotReserved { set } => {
                write!(f, "the {set} array lies in free memory")
            }
        }
    }
}

impl core::error::Error for Violation {}

impl Memblock<'_> {
    /// Checks every invariant: order, merging, sizes, flags, totals, and that grown arrays are not in free memory.
    ///
    /// # Errors
    /// The first [`Violation`] found.
    pub fn validate(&self) -> Result<(), Violation> {
        if self.phase == Phase::Discarded {
            return Ok(());
        }
        for which in [Set::Memory, Set::Reserved, Set::Physmem] {
            if let Some(set) = self.set(which) {
                self.validate_set(which, set)?;
            }
        }
        Ok(())
    }

    fn validate_set(&self, which: Set, s: &RegionSet<'_>) -> Result<(), Violation> {
        if s.cnt > s.max() || (s.cnt == 0 && s.max() != 0) || (s.live().is_empty() && s.cnt > 1) {
            return Err(Violation::Count { set: which, cnt: s.cnt, max: s.max() });
        }
        for (index, r) in s.live().iter().enumerate() {
            if r.size == 0 {
                return Err(Violation::Empty { set: which, index });
            }
            if r.base.checked_add(r.size).is_none_or(|end| end > self.config.width.max_addr()) {
                return Err(Violation::Wraps { set: which, index });
            }
            if Flags::from_bits(r.flags.bits()).is_none() {
                return Err(Violation::Flags { set: which, index, bits: r.flags.bits() });
            }
            let Some(before) = index.checked_sub(1).map(|i| &s.live()[i]) else { continue };
            if before.last() > r.base {
                return Err(Violation::Order { set: which, index });
            }
            let alike = before.flags == r.flags && (!self.config.numa || before.nid == r.nid);
            if before.last() == r.base && alike && !s.unmerged {
                return Err(Violation::Unmerged { set: which, index });
            }
        }
        let sum = s.live().iter().fold(0u64, |sum, r| sum.wrapping_add(r.size));
        let fits = if which == Set::Memory { s.total >= sum } else { s.total == sum };
        if !fits {
            return Err(Violation::Total { set: which, stored: s.total, sum });
        }
        match s.block {
            Some(b) if self.is_partly_free(b) => Err(Violation::ArrayNotReserved { set: which }),
            _ => Ok(()),
        }
    }

    /// Whether some of `range` is memory, of whatever kind, and not reserved.
    fn is_partly_free(&self, range: PhysRange) -> bool {
        let (memory, reserved) = (self.memory.live(), self.reserved.live());
        let (start, end) = (range.start.get(), range.end.get());
        FreeRanges::new(memory, reserved, None, start, end).next().is_some()
    }
}
