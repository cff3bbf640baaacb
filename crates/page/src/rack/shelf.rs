//! One stack of a rack.

use crate::FrameIdx;
use core::fmt;
use pagewright_addr::Order;

/// A stack of blocks of one order. It belongs to a [`Rack`](super::Rack), which fills it.
///
/// # Invariants
/// `bottom <= top <= limit <= room.len()`.
// A cache line each: the fields that a push or pop touches are never in two.
#[repr(align(64))]
pub struct Shelf<'m> {
    pub(super) room: &'m mut [FrameIdx],
    pub(super) bottom: u32,
    pub(super) top: u32,
    /// Where the top may rise to by pushing ([`Rack::set_limit`](super::Rack::set_limit)).
    pub(super) limit: u32,
    pub(super) order: Order,
    /// How many frames of a block follow the first.
    pub(super) tail: u32,
    /// How often a block was popped: the low half, which a pop counts in, and how often that began anew. A counter of 64 bits is six
    /// instructions where a register has 32, this is four.
    pub(super) pops: u32,
    pub(super) pops_high: u32,
}

impl<'m> Shelf<'m> {
    /// An empty shelf for blocks of `order`; of the room it uses 2^31 places at most.
    pub fn new(order: Order, room: &'m mut [FrameIdx]) -> Self {
        let places = room.len().min(1 << 31);
        Self {
            room: &mut room[..places],
            bottom: 0,
            top: 0,
            limit: places as u32,
            order,
            tail: order.pages() as u32 - 1,
            pops: 0,
            pops_high: 0,
        }
    }

    /// Frames of each block.
    pub const fn pages(&self) -> u32 {
        self.order.pages() as u32
    }

    /// Their order.
    pub const fn order(&self) -> Order {
        self.order
    }

    /// How many blocks lie here.
    #[inline]
    pub const fn len(&self) -> usize {
        (self.top - self.bottom) as usize
    }

    /// Whether none does.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.top == self.bottom
    }

    /// How many blocks more [`Rack::push`](super::Rack::push) takes.
    #[inline]
    pub const fn left(&self) -> usize {
        (self.limit - self.top) as usize
    }

    /// How often a block was taken from the top.
    pub const fn pops(&self) -> u64 {
        (self.pops_high as u64) << 32 | self.pops as u64
    }

    /// So many blocks more were popped.
    #[inline(always)]
    pub(super) fn count_pops(&mut self, n: u32) {
        let (pops, anew) = self.pops.overflowing_add(n);
        self.pops = pops;
        if anew {
            self.begin_pops_anew();
        }
    }

    #[cold]
    fn begin_pops_anew(&mut self) {
        self.pops_high = self.pops_high.wrapping_add(1);
    }

    /// How many blocks fit.
    pub const fn capacity(&self) -> usize {
        self.room.len()
    }

    /// The blocks, the next to be popped first.
    pub fn iter(&self) -> impl Iterator<Item = FrameIdx> + '_ {
        self.room[self.bottom as usize..self.top as usize].iter().rev().copied()
    }

    /// Moves the blocks so that they begin at place `to`; they must fit there.
    #[cold]
    #[inline(never)]
    pub(super) fn shift(&mut self, to: usize) {
        let (from, len) = (self.bottom as usize, self.len());
        self.room.copy_within(from..from + len, to);
        self.limit = (self.limit - self.top) + (to + len) as u32;
        self.bottom = to as u32;
        self.top = (to + len) as u32;
        self.limit = self.limit.min(self.room.len() as u32);
    }
}

impl fmt::Debug for Shelf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shelf({} blocks of {} frames, room for {})", self.len(), self.pages(), self.capacity())
    }
}
