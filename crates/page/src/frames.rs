//! Ownership tokens for frames whose metadata has been written.

use crate::{FrameIdx, PageMeta, Word};
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
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
    slots: &'a [PageMeta],
    start: FrameIdx,
}

impl<'a> Frames<'a> {
    /// Makes a token of `slots`, whose first is `head`, at index `start`. The caller has exclusive right to all of
    /// them and has made all but the first inner.
    #[inline]
    pub(crate) fn mint(slots: &'a [PageMeta], head: &PageMeta, start: FrameIdx) -> Self {
        debug_assert!(core::ptr::eq(&slots[0], head));
        head.set_word(Word::OWNED);
        head.refcount.store(1, Relaxed);
        Self { slots, start }
    }

    /// The first frame.
    pub fn start(&self) -> FrameIdx {
        self.start
    }

    /// How many frames; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a token is never empty")]
    pub fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// The order, if the frames are an aligned block of a power of two.
    #[inline]
    pub fn order(&self) -> Option<Order> {
        // Never zero. Counting the bits instead takes a dozen instructions where the CPU has no instruction for it.
        let len = self.slots.len();
        if len & (len - 1) != 0 {
            return None;
        }
        let order = Order::new(len.trailing_zeros() as u8)?;
        self.start.is_aligned(order).then_some(order)
    }

    /// The first `n` frames and the others, two tokens (split_page).
    ///
    /// # Panics
    /// If either part would be empty.
    #[inline]
    #[track_caller]
    pub fn split_at(self, n: u64) -> (Self, Self) {
        if n == 0 || n >= self.len() {
            panic!("{self:?} cannot be split after {n} frames: a part would be empty");
        }
        let (low, high) = self.slots.split_at(n as usize);
        let upper = Self::mint(high, &high[0], FrameIdx::new(self.start.get() + n as u32));
        (Self { slots: low, start: self.start }, upper)
    }

    pub(crate) fn slots(&self) -> &'a [PageMeta] {
        self.slots
    }

    /// A token over `slots`, to which the caller has exclusive right, and whose words and first reference count are
    /// those of a token already.
    #[inline]
    pub(crate) fn from_parts(slots: &'a [PageMeta], start: FrameIdx) -> Self {
        debug_assert!(slots[0].word() == Word::OWNED);
        Self { slots, start }
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
    /// If there is no frame.
    pub fn release(self) -> Frames<'a> {
        let Some((head, inner)) = self.slots.split_first() else {
            panic!("no reserved frames to release at index {:#x}", self.start);
        };
        for slot in inner {
            slot.set_word(Word::INNER);
            slot.refcount.store(0, Relaxed);
        }
        Frames::mint(self.slots, head, FrameIdx::new(self.start as u32))
    }
}

impl fmt::Debug for Reserved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reserved({:#x}..{:#x})", self.start, self.start + self.len())
    }
}

impl fmt::Debug for Frames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = u64::from(self.start.get());
        write!(f, "Frames({start:#x}..{:#x})", start + self.len())
    }
}
