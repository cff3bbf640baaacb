//! Frames whose metadata was never written.

use crate::{FrameIdx, Frames, PageMeta, Reserved, Word};
use core::fmt;
use pagewright_addr::Order;

/// The sole right to frames whose metadata is still all zeroes.
///
/// [`crate::PageMap::new`] mints one over every frame. Splitting it is free of cost and touches no metadata; a range of
/// it counts as free memory for as long as nobody needs it ([`crate::PristineExtents`]).
/// Dropping it leaves its frames unused for good.
///
/// # Invariants
/// The slots are all zeroes and no other token covers them. Established by the map's constructor, by
/// [`crate::PageMap::grow`] over slots that no section had, and by [`crate::PageMap::erase`], which consumes a token and writes the zeroes; kept
/// because the only ways on are splitting and consuming.
#[must_use = "dropping it leaves the frames unused for good"]
pub struct Pristine<'a> {
    slots: &'a [PageMeta],
    start: u64,
}

impl<'a> Pristine<'a> {
    pub(crate) fn new(slots: &'a [PageMeta], start: u64) -> Self {
        Self { slots, start }
    }

    /// No frames.
    pub const fn none() -> Self {
        Self { slots: &[], start: 0 }
    }

    /// The first frame's index as a number; an empty token may lie just past the last index.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// One past the last frame's index.
    pub fn end(&self) -> u64 {
        self.start + self.len()
    }

    /// How many frames.
    pub fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The first `n` frames and the rest; `n` is held at the length.
    #[inline]
    pub fn split_at(self, n: u64) -> (Self, Self) {
        let cut = n.min(self.len());
        let (low, high) = self.slots.split_at(cut as usize);
        (Self { slots: low, start: self.start }, Self { slots: high, start: self.start + cut })
    }

    /// Takes the first `n` frames (at most all) away from this token.
    #[inline]
    pub fn take_front(&mut self, n: u64) -> Self {
        let empty: &'a [PageMeta] = &[];
        let whole = core::mem::replace(self, Self { slots: empty, start: 0 });
        let (low, high) = whole.split_at(n);
        *self = high;
        low
    }

    /// Takes the last `n` frames (at most all) away from this token.
    pub fn take_back(&mut self, n: u64) -> Self {
        let keep = self.len().saturating_sub(n);
        let low = self.take_front(keep);
        core::mem::replace(self, low)
    }

    /// Cuts at the block boundaries of `order`: what lies before the first whole block, the whole blocks, and
    /// what lies behind them. Without a whole block everything is in the first part.
    pub fn split_blocks(self, order: Order) -> (Self, Self, Self) {
        let block = order.pages();
        let first = self.start.next_multiple_of(block);
        let last = self.end() & !(block - 1);
        let (head_len, body_len) =
            if first < last { (first - self.start, last - first) } else { (self.len(), 0) };
        let (head, rest) = self.split_at(head_len);
        let (body, tail) = rest.split_at(body_len);
        (head, body, tail)
    }

    /// Writes the metadata, and yields the right to use the frames.
    ///
    /// The cost is one store for each frame: the first becomes the token's head and the others its inside.
    ///
    /// # Panics
    /// If there is no frame, or more than [`Frames::MAX`].
    #[inline]
    pub fn into_frames(self) -> Frames<'a> {
        let Some((head, inner)) = self.slots.split_first() else {
            panic!("no frames to initialise at index {:#x}", self.start);
        };
        assert!(self.len() <= Frames::MAX, "{self:?} has more frames than one token can");
        fill_inner(inner);
        Frames::mint(head, FrameIdx::new(self.start as u32), self.len())
    }

    /// Writes the metadata as reserved, each frame by itself, with a reference count of 1
    /// (reserve_bootmem_region, init_unavailable_range).
    pub fn into_reserved(self) -> Reserved<'a> {
        for slot in self.slots {
            slot.set_word(Word::RESERVED);
            slot.set_refcount(1);
        }
        Reserved::new(self.slots, self.start)
    }
}

/// One store for each frame. Out of line, where the loop is unrolled whatever surrounds the call.
#[inline(never)]
fn fill_inner(slots: &[PageMeta]) {
    for slot in slots {
        slot.set_word(Word::INNER);
    }
}

impl fmt::Debug for Pristine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pristine({:#x}..{:#x})", self.start, self.end())
    }
}
