//! Cutting a free block up and joining one with its buddies, as a whole: what is checked once need not be checked at every order.
//!
//! In the x86_64 image a block of order 4 out of one of order 10 and back took 3030 instructions when a token was made and given up at every
//! order, 345 for each; it takes 1529, of which each order has 130.

use super::{PageMap, wrong};
use crate::{FrameIdx, Frames, PageMeta, Word};
use core::fmt;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use pagewright_addr::Order;

impl<'a> PageMap<'a> {
    /// Whether a free block of just this order starts at the frame; not if the index is past the last frame.
    #[inline]
    pub fn is_free_block(&self, idx: FrameIdx, order: Order) -> bool {
        self.slots.get(idx.index()).is_some_and(|slot| slot.word() == Word::free(order))
    }

    /// Takes the lowest `pages` frames of the free block of order `from` that starts at `idx` (expand). The others become free blocks,
    /// and `rest` gets each, from the smallest on; the caller links them under the lock under which it has unlinked the whole.
    ///
    /// # Panics
    /// If no free block of order `from` starts there, or it has no more frames than that, or none are wanted.
    #[inline]
    #[track_caller]
    pub fn take_part(
        &self,
        idx: FrameIdx,
        from: Order,
        pages: u32,
        mut rest: impl FnMut(FrameIdx, Order),
    ) -> Frames<'a> {
        let slot = self.slot(idx);
        let taken = slot.word.compare_exchange(Word::free(from).bits(), Word::OWNED.bits(), Acquire, Relaxed);
        let size = from.pages() as u32;
        if taken.is_err() || pages == 0 || pages >= size {
            wrong("no free block of the wanted order to cut up", idx, slot);
        }
        // To a free block nobody refers.
        slot.set_referenced();
        let mut at = pages;
        while at < size {
            // The largest aligned block that begins there: the block's end is no nearer.
            let order = Order::new(at.trailing_zeros() as u8).unwrap_or_default();
            let free = FrameIdx::new(idx.get() + at);
            // What is taken is inside the block: nobody has a token for it, refers to it, or finds it by its word.
            self.slot(free).word.store(Word::free(order).bits(), Release);
            rest(free, order);
            at += 1 << order.get();
        }
        Frames::from_parts(slot, idx, u64::from(pages))
    }

    /// Begins to make a block free that may join its buddies first. Its token is gone; [`Joining::finish`] makes the block free.
    ///
    /// # Panics
    /// As for [`Self::put_block`], if `order` is that of the frames; else as if they were no block.
    #[inline]
    #[track_caller]
    pub fn join(&self, frames: Frames<'a>, order: Order) -> Joining<'a> {
        let (head, start) = (self.owned_head(&frames), frames.start());
        if !frames.is_block_of(order) || order > self.sections.align() {
            panic!("{frames:?} is not one block of order {}", order.get());
        }
        if !head.has_no_others() {
            wrong("bad page state: freed while referenced or mapped", start, head);
        }
        self.expect_not_compound(head, start);
        head.set_unreferenced();
        Joining { slots: self.slots, largest: self.sections.align(), head, start, order }
    }
}

/// A block on its way to being free: the exclusive right to its frames, as a [`Frames`] token is, and nothing else.
///
/// # Invariants
/// Those of a token but for the reference, which is gone: the word of `head`, the slot of `start`, is not one that makes a block free
/// or deposited, nor is any other frame's of the block.
#[must_use = "dropping it leaks the frames"]
pub struct Joining<'a> {
    slots: &'a [PageMeta],
    largest: Order,
    head: &'a PageMeta,
    start: FrameIdx,
    order: Order,
}

impl fmt::Debug for Joining<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Joining({} of order {})", self.start, self.order.get())
    }
}

/// By value and out of line: a reference to the block would keep it in memory all the while.
#[cold]
#[inline(never)]
#[track_caller]
fn no_buddy(start: FrameIdx, order: Order) -> ! {
    panic!("a block of order {} at frame index {start} is the largest there is and has no buddy", order.get())
}

impl Joining<'_> {
    /// The first frame by now.
    #[inline]
    pub const fn start(&self) -> FrameIdx {
        self.start
    }

    /// The order by now.
    #[inline]
    pub const fn order(&self) -> Order {
        self.order
    }

    /// Joins the block with its free buddy of the same order, which the caller has unlinked: one step of coalescing
    /// (__free_one_page).
    ///
    /// # Panics
    /// If the block is of the map's alignment order, or its buddy is not a free block of its order.
    #[inline]
    #[track_caller]
    pub fn absorb(&mut self) {
        let Some(up) = self.order.up().filter(|&up| up <= self.largest) else {
            no_buddy(self.start, self.order)
        };
        let buddy = self.start.buddy(self.order);
        let slot = &self.slots[buddy.index()];
        let from = Word::free(self.order);
        if slot.word.compare_exchange(from.bits(), Word::INNER.bits(), Acquire, Relaxed).is_err() {
            wrong("no free buddy to absorb", buddy, slot);
        }
        if buddy < self.start {
            self.head.set_word(Word::INNER);
            (self.head, self.start) = (slot, buddy);
        }
        self.order = up;
    }

    /// Makes the block free.
    #[inline]
    pub fn finish(self) -> FrameIdx {
        self.head.word.store(Word::free(self.order).bits(), Release);
        self.start
    }
}
