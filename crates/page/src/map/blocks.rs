//! Blocks changing hands: the transitions between tokens, free blocks and deposits. The protocol is at the head of
//! [`super`].

use super::{PageMap, wrong};
use crate::{FrameIdx, Frames, OwnerHandle, PageMeta, Pristine, State, Use, Word};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use pagewright_addr::Order;

impl<'a> PageMap<'a> {
    /// Makes an aligned block of a power of two free: its head gets [`crate::State::Free`] and the token is gone.
    ///
    /// Links and `data` are as the caller left them; put the block on a list before or after, under the same lock.
    ///
    /// # Panics
    /// If the frames are no aligned block of at most the map's alignment order, belong to another map,
    /// or are still referenced or mapped (what Linux reports as "Bad page state").
    #[inline]
    #[track_caller]
    pub fn put_block(&self, frames: Frames<'a>) -> FrameIdx {
        let start = frames.start();
        let head = self.owned_head(&frames);
        let Some(order) = frames.order().filter(|&order| order <= self.sections.align()) else {
            panic!("{frames:?} is not one block of at most order {}", self.sections.align().get());
        };
        if !head.has_no_others() {
            wrong("bad page state: freed while referenced or mapped", start, head);
        }
        self.expect_not_compound(head, start);
        head.set_unreferenced();
        head.word.store(Word::free(order).bits(), Release);
        start
    }

    /// Takes the free block of `order` that starts at `idx`. The caller has unlinked it, or does so under the same lock.
    ///
    /// # Panics
    /// If no free block of exactly this order starts there: somebody else took it, or a list is corrupt.
    #[inline]
    #[track_caller]
    pub fn take_block(&self, idx: FrameIdx, order: Order) -> Frames<'a> {
        let slot = self.slot(idx);
        let (from, to) = (Word::free(order), Word::OWNED);
        if slot.word.compare_exchange(from.bits(), to.bits(), Acquire, Relaxed).is_err() {
            wrong("no free block of the wanted order to take", idx, slot);
        }
        // The exchange made the word that of a token's head; to a free block nobody refers.
        slot.set_referenced();
        Frames::from_parts(slot, idx, order.pages())
    }

    /// The first `n` frames and the others, two tokens (split_page).
    ///
    /// # Panics
    /// If either part would be empty, or the frames are a compound page or belong to another map.
    #[inline]
    #[track_caller]
    pub fn split_at(&self, frames: Frames<'a>, n: u64) -> (Frames<'a>, Frames<'a>) {
        if n == 0 || n >= frames.len() {
            panic!("{frames:?} cannot be split after {n} frames: a part would be empty");
        }
        let head = self.owned_head(&frames);
        let (start, len) = (frames.start(), frames.len());
        self.expect_not_compound(head, start);
        let upper = FrameIdx::new(start.get() + n as u32);
        (Frames::from_parts(head, start, n), Frames::mint(self.slot(upper), upper, len - n))
    }

    /// The first `n` frames, and the others if there are any.
    ///
    /// # Panics
    /// If `n` is 0, or the frames belong to another map.
    #[track_caller]
    pub fn split_front(&self, frames: Frames<'a>, n: u64) -> (Frames<'a>, Option<Frames<'a>>) {
        if n >= frames.len() {
            return (frames, None);
        }
        let (front, rest) = self.split_at(frames, n);
        (front, Some(rest))
    }

    /// Cuts frames into single ones, one for each slot; what lies in the slots is dropped (split_page). References stay with the first.
    ///
    /// # Panics
    /// If there are more slots or fewer than frames, or the frames are a compound page or belong to another map.
    #[track_caller]
    pub fn split_into(&self, frames: Frames<'a>, slots: &mut [Option<Frames<'a>>]) {
        let start = frames.start();
        self.expect_not_compound(self.owned_head(&frames), start);
        let heads = &self.slots[start.index()..start.index() + frames.len() as usize];
        assert!(heads.len() == slots.len(), "{frames:?} cannot be cut for {} slots", slots.len());
        let mut idx = start.get();
        for (slot, head) in slots.iter_mut().zip(heads) {
            if idx != start.get() {
                head.set_word(Word::OWNED);
                head.set_referenced();
            }
            *slot = Some(Frames::from_parts(head, FrameIdx::new(idx), 1));
            idx = idx.wrapping_add(1);
        }
    }

    /// Joins two tokens where the frames of `above` follow those of `below`.
    ///
    /// # Panics
    /// If they do not touch in this order, the upper one is still referenced, one is a compound page, or together they are more than
    /// [`Frames::MAX`].
    #[track_caller]
    pub fn merge(&self, below: Frames<'a>, above: Frames<'a>) -> Frames<'a> {
        self.expect_not_compound(self.owned_head(&below), below.start());
        let upper = self.owned_head(&above);
        self.expect_not_compound(upper, above.start());
        let (low, middle) = (below.start().index(), above.start().index());
        if low as u64 + below.len() != middle as u64 {
            panic!("{below:?} and {above:?} do not touch and cannot be merged");
        }
        assert!(
            below.len() + above.len() <= Frames::MAX,
            "{below:?} and {above:?} are too many frames for one token"
        );
        if !upper.has_no_others() {
            wrong("merged while referenced or mapped", above.start(), upper);
        }
        upper.set_unreferenced();
        upper.set_word(Word::INNER);
        Frames::from_parts(below.head(), below.start(), below.len() + above.len())
    }

    /// Takes all metadata back: nobody has looked at these frames, as far as anybody can tell.
    ///
    /// # Panics
    /// If the frames belong to another map, have flags, or are still referenced or mapped.
    #[track_caller]
    pub fn erase(&self, mut frames: Frames<'a>) -> Pristine<'a> {
        self.prepare_free(&mut frames);
        let (start, len) = (frames.start().index(), frames.len() as usize);
        let slots = &self.slots[start..start + len];
        slots.iter().for_each(PageMeta::clear);
        Pristine::new(slots, start as u64)
    }

    /// Gives up the token of a block until [`Self::withdraw`] asks for it back under the same use and owner.
    ///
    /// # Panics
    /// If the frames are no aligned block of at most the map's alignment order, or belong to another map.
    #[inline]
    #[track_caller]
    pub fn deposit(&self, frames: Frames<'a>, usage: Use, owner: OwnerHandle) -> FrameIdx {
        let head = self.owned_head(&frames);
        let Some(order) = frames.order().filter(|&order| order <= self.sections.align()) else {
            panic!("{frames:?} is not one block of at most order {}", self.sections.align().get());
        };
        head.owner.store(owner.bits(), Relaxed);
        head.word.store(Word::head(usage.state(), order).bits(), Release);
        frames.start()
    }

    /// Takes back the block that was deposited at `idx`; its flags are dropped and its reference count is 1. A compound page is one
    /// still.
    ///
    /// # Panics
    /// If the frame heads no block under this use and owner, or is referenced by others or mapped.
    #[inline]
    #[track_caller]
    pub fn withdraw(&self, idx: FrameIdx, usage: Use, owner: OwnerHandle) -> Frames<'a> {
        let slot = self.slot(idx);
        let mut order = Order::ZERO;
        // From here on nobody takes a reference who finds the frame meanwhile: what was seen of the counts stays true.
        let frozen = slot.counts.freeze();
        let taken = slot.word.fetch_update(Acquire, Relaxed, |bits| {
            if !frozen || OwnerHandle::from_bits(slot.owner.load(Relaxed)) != owner {
                return None;
            }
            let (word, deposited) = Word::from_bits(bits).withdraw(usage)?;
            order = deposited;
            Some(word.bits())
        });
        if taken.is_err() {
            if frozen {
                slot.set_refcount(1);
            }
            wrong("nothing deposited under this use and owner, or still referenced or mapped", idx, slot);
        }
        slot.owner.store(0, Relaxed);
        // The exchange made the word that of a token's head.
        slot.set_refcount(1);
        if !order.is_zero() && self.slot(FrameIdx::new(idx.get() + 1)).word().is(State::Tail) {
            slot.set_word(Word::head(State::Owned, order));
        }
        Frames::from_parts(slot, idx, order.pages())
    }

    /// The head of a token's frames, once it is certain that the token is of this map.
    #[inline]
    #[track_caller]
    pub(super) fn owned_head(&self, frames: &Frames<'a>) -> &'a PageMeta {
        if !self.owns(frames) {
            panic!("{frames:?} belongs to another map");
        }
        frames.head()
    }
}
