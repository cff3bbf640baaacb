//! Frame indices: positions in the gap-free metadata array.

use core::fmt;
use pagewright_addr::Order;

/// The position of a frame's metadata.
///
/// 32 bits, so that links between frames are small: 2^32 frames of 4 KiB are 16 TiB of RAM. Indices and frame
/// numbers are congruent up to the map's alignment order ([`crate::SectionTable::align`]), so a
/// block that is aligned as an index is aligned as a frame number, and buddies are the same frames either way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct FrameIdx(u32);

impl FrameIdx {
    /// Wraps a number.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// A position in an array, if 32 bits hold it.
    pub const fn from_usize(index: usize) -> Option<Self> {
        if index as u64 <= u32::MAX as u64 { Some(Self(index as u32)) } else { None }
    }

    /// The number itself.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The position as an array index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The buddy of the block of `order` that starts here (__find_buddy_pfn).
    pub const fn buddy(self, order: Order) -> Self {
        Self(self.0 ^ (1 << order.get()))
    }

    /// Where the block of `order` that holds this frame starts.
    pub const fn align_down(self, order: Order) -> Self {
        Self(self.0 & !((1 << order.get()) - 1))
    }

    /// Whether a block of `order` may start here.
    pub const fn is_aligned(self, order: Order) -> bool {
        self.0 & ((1 << order.get()) - 1) == 0
    }

    /// The frame `n` further on, or `None` past the largest index.
    pub const fn checked_add(self, n: u32) -> Option<Self> {
        match self.0.checked_add(n) {
            Some(v) => Some(Self(v)),
            None => None,
        }
    }
}

impl fmt::Debug for FrameIdx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameIdx({:#x})", self.0)
    }
}

impl fmt::Display for FrameIdx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
