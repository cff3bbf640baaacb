//! Ownership tokens for frames whose metadata has been written.

use crate::{FrameIdx, PageMeta, Word};
use core::fmt;
use pagewright_addr::Order;

/// The sole right to use the memory of one or more frames with consecutive indices.
///
/// Frame numbers are consecutive too within a block of the map's alignment order; a longer token may cross from
/// one section to the next. It says nothing about memory by itself: a platform's direct map, which is made by unsafe code that binds it to
/// one map, turns the token into bytes. Dropping the token leaks the frames; giving it to
/// [`crate::PageMap::put_block`] or [`crate::PageMap::deposit`] is the way back.
///
/// # Invariants
/// No other token covers these frames and no state word in them says that a block of them is free or deposited: the
/// first word is [`crate::State::Owned`], the others are [`crate::State::Inner`]. The first frame's reference count
/// is 1 unless somebody took more references. Established by `mint` and `from_parts`, whose
/// callers consumed a token or moved a head out of a free or deposited state.
#[must_use = "dropping it leaks the frames"]
pub struct Frames<'a> {
    /// The first frame's metadata.
    head: &'a PageMeta,
    /// The first frame's index (low half) and how many frames follow it: two words, so that a token travels in registers.
    extent: u64,
}

impl<'a> Frames<'a> {
    /// Most frames in one token.
    pub const MAX: u64 = u32::MAX as u64;

    /// Makes a token of `len` frames, of which `head` is the first and `start` its index. The caller has exclusive right
    /// to all of them and has made all but the first inner.
    #[inline]
    pub(crate) fn mint(head: &'a PageMeta, start: FrameIdx, len: u64) -> Self {
        head.set_word(Word::OWNED);
        head.set_refcount(1);
        Self::from_parts(head, start, len)
    }

    /// The first frame.
    #[inline]
    pub const fn start(&self) -> FrameIdx {
        FrameIdx::new(self.extent as u32)
    }

    /// How many frames; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a token is never empty")]
    #[inline]
    pub const fn len(&self) -> u64 {
        (self.extent >> 32) + 1
    }

    /// Whether there are at most as many as a block of this order has.
    #[inline]
    pub const fn fit_in(&self, order: Order) -> bool {
        ((self.extent >> 32) as u32) >> order.get() == 0
    }

    /// The order, if the frames are an aligned block of a power of two.
    #[inline]
    pub fn order(&self) -> Option<Order> {
        let behind = (self.extent >> 32) as u32;
        if behind & (behind.wrapping_add(1) | self.start().get()) != 0 {
            return None;
        }
        Order::new(behind.trailing_ones() as u8)
    }

    /// Whether the frames are one aligned block of this order.
    #[inline]
    pub fn is_block_of(&self, order: Order) -> bool {
        // 32 bits hold both, which is half the work where a register is no larger.
        let behind = (self.extent >> 32) as u32;
        behind == (1 << order.get()) - 1 && self.start().get() & behind == 0
    }

    /// What tells a token's frames: see [`Self::pack`].
    #[inline]
    pub(crate) const fn extent(&self) -> u64 {
        self.extent
    }

    /// First index and length as one word: the length less one in the upper half, so that the word of a single frame is its index.
    #[inline]
    pub(crate) const fn pack(start: FrameIdx, len: u64) -> u64 {
        Self::extent_of(start, (len - 1) as u32)
    }

    /// The same from how many frames follow the first.
    #[inline]
    pub(crate) const fn extent_of(start: FrameIdx, behind: u32) -> u64 {
        start.get() as u64 | (behind as u64) << 32
    }

    /// The first frame's metadata.
    #[inline]
    pub(crate) fn head(&self) -> &'a PageMeta {
        self.head
    }

    /// A token over frames to which the caller has exclusive right, and whose words and first reference count are those
    /// of a token already.
    #[inline]
    pub(crate) fn from_parts(head: &'a PageMeta, start: FrameIdx, len: u64) -> Self {
        debug_assert!(head.word().is(crate::State::Owned));
        debug_assert!(len > 0 && len <= Self::MAX);
        Self { head, extent: Self::pack(start, len) }
    }

    /// The same from a word as [`Self::pack`] makes it.
    #[inline]
    pub(crate) fn from_extent(head: &'a PageMeta, extent: u64) -> Self {
        debug_assert!(head.word().is(crate::State::Owned));
        Self { head, extent }
    }
}

/// The right to frames that were taken before the page allocator existed.
///
/// Most are never released: dropping the token leaves them reserved, which is right for the kernel image. CMA areas,
/// initial data and crash kernels keep theirs until they are given to the page allocator.
///
/// # Invariants
/// No other token covers these frames, and each word is [`crate::State::Reserved`].
#[must_use = "dropping it leaves the frames reserved for good"]
pub struct Reserved<'a> {
    slots: &'a [PageMeta],
    start: u64,
}

impl<'a> Reserved<'a> {
    pub(crate) fn new(slots: &'a [PageMeta], start: u64) -> Self {
        Self { slots, start }
    }

    /// The first frame's index as a number; an empty token may lie just past the last index.
    pub fn start(&self) -> u64 {
        self.start
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
    pub fn split_at(self, n: u64) -> (Self, Self) {
        let cut = n.min(self.len());
        let (low, high) = self.slots.split_at(cut as usize);
        (Self { slots: low, start: self.start }, Self { slots: high, start: self.start + cut })
    }

    /// Ends the reservation (free_reserved_page, init_cma_reserved_pageblock): the frames are ordinary from here on.
    ///
    /// # Panics
    /// If there is no frame, or more than [`Frames::MAX`].
    pub fn release(self) -> Frames<'a> {
        let Some((head, inner)) = self.slots.split_first() else {
            panic!("no reserved frames to release at index {:#x}", self.start);
        };
        assert!(self.len() <= Frames::MAX, "{self:?} has more frames than one token can");
        for slot in inner {
            slot.set_word(Word::INNER);
            slot.set_refcount(0);
        }
        Frames::mint(head, FrameIdx::new(self.start as u32), self.slots.len() as u64)
    }
}

impl fmt::Debug for Reserved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reserved({:#x}..{:#x})", self.start, self.start + self.len())
    }
}

impl fmt::Debug for Frames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = u64::from(self.start().get());
        write!(f, "Frames({start:#x}..{:#x})", start + self.len())
    }
}
