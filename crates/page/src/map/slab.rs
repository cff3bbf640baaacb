//! Slabs: blocks whose every frame says whose it is.
//!
//! Whoever frees an object knows its address, and by that one frame of the slab, seldom the first. So each further frame of a slab
//! is a [`State::Tail`] that has the slab's owner and a link to the first, where a block under another use has frames that say
//! nothing. The owner is stored with a mark that no other frame has, so one field of one frame tells whose an address is.

use super::PageMap;
use crate::{FrameIdx, Frames, OwnerHandle, PageMeta, State, Use, Word};
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::Order;

/// The marks of a run of frames ([`PageMap::slab_mark`]), for who asks for them often: where the run begins is known, and one comparison tells whether a frame is
/// in it.
#[derive(Clone, Copy)]
pub struct SlabMarks<'a>(&'a [PageMeta]);

impl SlabMarks<'_> {
    /// The mark of the run's `n`-th frame; `None` if it has fewer.
    #[inline(always)]
    pub fn get(&self, n: usize) -> Option<u32> {
        Some(self.0.get(n)?.owner.load(Relaxed))
    }
}

impl fmt::Debug for SlabMarks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlabMarks({} frames)", self.0.len())
    }
}

impl<'a> PageMap<'a> {
    /// Gives up the token of a block that becomes a slab of `owner`, until [`Self::withdraw_slab`] asks for it back.
    ///
    /// # Panics
    /// As for [`Self::deposit`].
    pub fn deposit_slab(&self, frames: Frames<'a>, owner: OwnerHandle) -> FrameIdx {
        let (start, len) = (frames.start(), frames.len());
        let at = self.deposit(frames, Use::Slab, owner);
        self.slot(at).owner.store(owner.slab_mark(), Relaxed);
        // Nobody has an address in the slab yet, so nobody looks at its tails.
        for n in 1..len {
            let idx = FrameIdx::new(start.get() + n as u32);
            let slot = self.slot(idx);
            slot.owner.store(owner.slab_mark(), Relaxed);
            slot.set_next(idx, Some(start));
            slot.set_word(Word::TAIL);
        }
        at
    }

    /// Takes back the slab that begins at `idx`. Its links and `data` are as they were left.
    ///
    /// # Panics
    /// As for [`Self::withdraw`].
    pub fn withdraw_slab(&self, idx: FrameIdx, owner: OwnerHandle) -> Frames<'a> {
        let frames = self.withdraw(idx, Use::Slab, owner);
        // With tails it would be a compound page.
        self.slot(idx).set_word(Word::OWNED);
        for n in 1..frames.len() {
            let tail = FrameIdx::new(idx.get() + n as u32);
            let slot = self.slot(tail);
            slot.owner.store(0, Relaxed);
            slot.set_next(tail, None);
            slot.set_word(Word::INNER);
        }
        frames
    }

    /// The mark of the owner whose slab the frame of an index belongs to ([`OwnerHandle::slab_mark`]). What is nobody's mark: it belongs to none, or there is
    /// no such frame.
    #[inline(always)]
    pub fn slab_mark(&self, index: usize) -> u32 {
        self.slots.get(index).map_or(0, |slot| slot.owner.load(Relaxed))
    }

    /// The marks of so many frames from an index on; `None` if there are not so many.
    pub fn slab_marks(&self, first: usize, frames: usize) -> Option<SlabMarks<'a>> {
        self.slots.get(first..first.checked_add(frames)?).map(SlabMarks)
    }

    /// Whose slab the frame of an index belongs to; nobody's ([`OwnerHandle::NONE`]) if it belongs to none, or there is no such frame.
    #[inline]
    pub fn slab_owner(&self, index: usize) -> OwnerHandle {
        OwnerHandle::of_slab_mark(self.slab_mark(index))
    }

    /// The first frame of the slab that a frame belongs to, and the slab's order.
    #[inline]
    pub fn slab_head(&self, idx: FrameIdx) -> Option<(FrameIdx, Order)> {
        let slot = self.slots.get(idx.index())?;
        let head = if slot.word().is(State::Tail) { slot.next(idx)? } else { idx };
        let word = self.slots.get(head.index())?.word();
        word.is(State::Slab).then(|| (head, word.order()))
    }
}
