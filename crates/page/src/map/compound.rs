//! Compound pages: blocks whose every frame leads to the first one (`__GFP_COMP`).
//!
//! Of a token's compound page the head's word has the order; deposited blocks always have theirs there, and are compound if
//! their second frame is a tail. A tail's `next` leads to the head. Nothing splits or joins a compound page: whoever frees it
//! makes it an ordinary block first ([`PageMap::prepare_free`]).

use super::{PageMap, wrong};
use crate::{FrameIdx, Frames, PageMeta, State, Word};
use pagewright_addr::Order;

impl<'a> PageMap<'a> {
    /// Makes a block a compound page (prep_compound_page). A single frame stays what it is.
    ///
    /// # Panics
    /// If the frames are no aligned block of at most the map's alignment order, have flags, are one already, or belong to another map.
    #[track_caller]
    pub fn make_compound(&self, frames: &mut Frames<'a>) {
        let head = self.owned_head(frames);
        let start = frames.start();
        let Some(order) = frames.order().filter(|&order| order <= self.sections.align()) else {
            panic!("{frames:?} is not one block of at most order {}", self.sections.align().get());
        };
        if head.word() != Word::OWNED {
            wrong("not to become a compound page", start, head);
        }
        if order.is_zero() {
            return;
        }
        for (idx, tail) in self.behind(start, order) {
            tail.set_next(idx, Some(start));
            tail.set_word(Word::TAIL);
        }
        head.set_word(Word::head(State::Owned, order));
    }

    /// Makes frames ready to be freed (`free_pages_prepare`): a compound page becomes an ordinary block.
    ///
    /// # Panics
    /// If they have flags, are still referenced or mapped, tails included (what Linux reports as "Bad page state"), if a tail does not
    /// lead to its head, or if they belong to another map.
    #[inline]
    #[track_caller]
    pub fn prepare_free(&self, frames: &mut Frames<'a>) {
        let head = self.owned_head(frames);
        if head.word() != Word::OWNED || !head.has_no_others() {
            self.prepare_unusual(frames);
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn prepare_unusual(&self, frames: &mut Frames<'a>) {
        let (head, start, order) = (frames.head(), frames.start(), frames.head().word().order());
        if !head.word().flags().is_empty() || !head.has_no_others() {
            wrong("bad page state: freed while it has flags, references or mappings", start, head);
        }
        if frames.len() != order.pages() {
            wrong("bad page state: freed as a part of a compound page", start, head);
        }
        if let Err(tail) = self.check_tails(start, order) {
            wrong("bad page state: corrupted, referenced or mapped tail page", tail, self.slot(tail));
        }
        for (idx, tail) in self.behind(start, order) {
            tail.set_next(idx, None);
            tail.set_word(Word::INNER);
        }
        head.set_word(Word::OWNED);
    }

    /// Checks the tails of the compound page that starts at `head`: each leads there, and nobody refers to it or maps it
    /// (`free_tail_pages_check`).
    ///
    /// # Errors
    /// The first that does not, or is.
    pub fn check_tails(&self, head: FrameIdx, order: Order) -> Result<(), FrameIdx> {
        let sound = |&(idx, tail): &(FrameIdx, &PageMeta)| {
            tail.word() == Word::TAIL && tail.next(idx) == Some(head) && tail.is_unreferenced()
        };
        self.behind(head, order).find(|tail| !sound(tail)).map_or(Ok(()), |(idx, _)| Err(idx))
    }

    /// The head of the compound page that a frame is a tail of, or the frame itself (compound_head).
    #[inline]
    pub fn compound_head(&self, idx: FrameIdx) -> FrameIdx {
        let slot = self.slot(idx);
        if slot.word().is(State::Tail) { slot.next(idx).unwrap_or(idx) } else { idx }
    }

    /// Whether the frame heads a compound page (PageHead).
    #[inline]
    pub fn is_head(&self, idx: FrameIdx) -> bool {
        let word = self.word(idx);
        !word.order().is_zero()
            && !word.is(State::Free)
            && self.slots.get(idx.index() + 1).is_some_and(|next| next.word().is(State::Tail))
    }

    /// Whether the frame is a compound page's tail (PageTail).
    #[inline]
    pub fn is_tail(&self, idx: FrameIdx) -> bool {
        self.word(idx).is(State::Tail)
    }

    /// The order of the compound page that the frame heads, 0 for any other frame (compound_order).
    #[inline]
    pub fn compound_order(&self, head: FrameIdx) -> Order {
        if self.is_head(head) { self.word(head).order() } else { Order::ZERO }
    }

    /// The frames behind a block's first.
    fn behind(
        &self,
        start: FrameIdx,
        order: Order,
    ) -> impl Iterator<Item = (FrameIdx, &'a PageMeta)> + use<'a> {
        let first = start.index() + 1;
        let tails = &self.slots[first..start.index() + order.pages() as usize];
        (start.get() + 1..).map(FrameIdx::new).zip(tails)
    }

    /// Neither part of a compound page is a page of its own.
    #[inline]
    #[track_caller]
    pub(super) fn expect_not_compound(&self, head: &'a PageMeta, start: FrameIdx) {
        if !head.word().order().is_zero() {
            wrong("a compound page is freed whole, not split or joined", start, head);
        }
    }
}
