//! Half-open ranges of physical addresses and of frames.
//!
//! A range whose start lies at or above its end is empty; operations treat every empty range alike.

use crate::{PageShift, Pfn, PhysAddr, VirtAddr};
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

/// A range of virtual addresses: `len` bytes from `start`.
///
/// It is kept as a length because kernel ranges may end with the last byte of the address space, whose successor is
/// no address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct VirtRange {
    /// The first address.
    pub start: VirtAddr,
    /// How many bytes.
    pub len: u64,
}

impl VirtRange {
    /// `len` bytes from `start`; what would lie above the last address is cut off.
    pub const fn from_len(start: VirtAddr, len: u64) -> Self {
        let room = (u64::MAX - start.get()).saturating_add(1);
        Self { start, len: if len < room { len } else { room } }
    }

    /// From `start` up to, not including, `end`; empty when `end` is not above `start`.
    pub const fn new(start: VirtAddr, end: VirtAddr) -> Self {
        Self { start, len: end.get().saturating_sub(start.get()) }
    }

    /// Whether there is no address inside.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The last address inside. Of an empty range it is `start`.
    pub const fn last(&self) -> VirtAddr {
        VirtAddr::new(self.start.get().saturating_add(self.len.saturating_sub(1)))
    }

    /// Whether `x` is inside.
    pub const fn contains(&self, x: VirtAddr) -> bool {
        x.get() >= self.start.get() && x.get() - self.start.get() < self.len
    }

    /// Whether all of `other` is inside; an empty `other` always is.
    pub const fn contains_range(&self, other: &Self) -> bool {
        other.len == 0 || (self.contains(other.start) && self.contains(other.last()))
    }

    /// Whether some address is in both.
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.len != 0
            && other.len != 0
            && self.start.get() <= other.last().get()
            && other.start.get() <= self.last().get()
    }
}

impl fmt::Debug for VirtRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}+{:#x}", self.start, self.len)
    }
}
