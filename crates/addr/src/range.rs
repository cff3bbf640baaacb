//! Half-open ranges of physical addresses and of frames.
//!
//! A range whose start lies at or above its end is empty; operations treat every empty range alike.

use crate::{PageShift, Pfn, PhysAddr};
use core::fmt;

macro_rules! range {
    ($name:ident, $of:ident, $unit:literal) => {
        #[doc = concat!("A half-open range of ", $unit, ": `start` is inside, `end` is not.")]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name {
            /// The first element.
            pub start: $of,
            /// One past the last element.
            pub end: $of,
        }

        impl $name {
            /// From `start` up to, not including, `end`.
            pub const fn new(start: $of, end: $of) -> Self {
                Self { start, end }
            }

            /// `len` elements from `start`, cut at the largest value.
            pub const fn from_len(start: $of, len: u64) -> Self {
                Self { start, end: start.saturating_add(len) }
            }

            /// How many elements there are.
            pub const fn len(&self) -> u64 {
                self.end.get().saturating_sub(self.start.get())
            }

            /// Whether there are none.
            pub const fn is_empty(&self) -> bool {
                self.end.get() <= self.start.get()
            }

            /// Whether `x` is inside.
            pub const fn contains(&self, x: $of) -> bool {
                self.start.get() <= x.get() && x.get() < self.end.get()
            }

            /// Whether all of `other` is inside; an empty `other` always is.
            pub const fn contains_range(&self, other: &Self) -> bool {
                other.is_empty()
                    || (self.start.get() <= other.start.get() && other.end.get() <= self.end.get())
            }

            /// Whether some element is in both.
            pub const fn overlaps(&self, other: &Self) -> bool {
                !self.is_empty()
                    && !other.is_empty()
                    && self.start.get() < other.end.get()
                    && other.start.get() < self.end.get()
            }

            /// What is in both; empty when nothing is.
            pub fn intersection(&self, other: &Self) -> Self {
                Self { start: self.start.max(other.start), end: self.end.min(other.end) }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}..{:#x}", self.start, self.end)
            }
        }
    };
}

range!(PhysRange, PhysAddr, "physical addresses");
range!(PfnRange, Pfn, "page frame numbers");

impl PhysRange {
    /// The whole frames inside: the start is rounded up, the end down.
    pub const fn frames_inside(&self, shift: PageShift) -> PfnRange {
        PfnRange { start: self.start.pfn_up(shift), end: self.end.pfn(shift) }
    }

    /// Every frame that is touched: the start is rounded down, the end up.
    pub const fn frames_touched(&self, shift: PageShift) -> PfnRange {
        PfnRange { start: self.start.pfn(shift), end: self.end.pfn_up(shift) }
    }
}

impl PfnRange {
    /// The bytes that the frames cover.
    pub const fn bytes(&self, shift: PageShift) -> PhysRange {
        PhysRange { start: self.start.phys(shift), end: self.end.phys(shift) }
    }
}
