//! Lists of single pages of one owner: each deposited by itself, linked to the next.

use super::PageMap;
use crate::{FrameIdx, Frames, OwnerHandle, PageMeta, Use, Word};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::fence;
use pagewright_addr::Order;

/// A list of blocks, each linked to the next, that is deposited piece by piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DepositedList {
    /// The first block.
    pub first: Option<FrameIdx>,
    /// The last; it is linked to none once [`PageMap::end_list`] was told.
    pub last: Option<FrameIdx>,
    /// How many pages.
    pub pages: u64,
    /// The lowest index of a block; of an empty list, one that none has.
    pub bottom: u32,
    /// The highest index of a block.
    pub top: u32,
}

impl Default for DepositedList {
    /// An empty one.
    fn default() -> Self {
        Self { first: None, last: None, pages: 0, bottom: u32::MAX, top: 0 }
    }
}

impl<'a> PageMap<'a> {
    /// Deposits the blocks in `slots` and links each to the next, the first to the last of `list`. Empty slots are skipped, all are empty then.
    ///
    /// # Panics
    /// As for [`Self::deposit`].
    #[track_caller]
    pub fn deposit_list(
        &self,
        slots: &mut [Option<Frames<'a>>],
        usage: Use,
        owner: OwnerHandle,
        list: &mut DepositedList,
    ) {
        let mut before = list.last.map(|last| self.slot(last));
        for slot in slots {
            let Some(frames) = slot.take() else { continue };
            let (head, idx) = (frames.head(), frames.start());
            list.pages += frames.len();
            (list.bottom, list.top) = (list.bottom.min(idx.get()), list.top.max(idx.get()));
            self.deposit(frames, usage, owner);
            match (before, list.last) {
                (Some(slot), Some(last)) => slot.set_next(last, Some(idx)),
                _ => list.first = Some(idx),
            }
            (before, list.last) = (Some(head), Some(idx));
        }
    }

    /// Deposits each frame of `frames` as a single page (`split_page`), linked to the one behind it, and the first to the last of `list`. References
    /// stay with the first.
    ///
    /// # Panics
    /// If the frames are a compound page, or belong to another map.
    #[inline]
    #[track_caller]
    pub fn deposit_singles(
        &self,
        frames: Frames<'a>,
        usage: Use,
        owner: OwnerHandle,
        list: &mut DepositedList,
    ) {
        let head = self.owned_head(&frames);
        let (start, behind) = (frames.start(), frames.len() as usize - 1);
        self.expect_not_compound(head, start);
        let word = Word::head(usage.state(), Order::ZERO).bits();
        let inner = &self.slots[start.index() + 1..][..behind];
        let last = FrameIdx::new(start.get() + behind as u32);
        if let Some(before) = list.last {
            self.slot(before).set_next(before, Some(start));
        } else {
            list.first = Some(start);
        }
        // Each is linked to its neighbour but the last, of which `end_list` or the next of the list's blocks says where it leads.
        let neighbour = (FrameIdx::new(0), Some(FrameIdx::new(1)));
        head.set_next(neighbour.0, neighbour.1);
        head.owner.store(owner.bits(), Relaxed);
        head.word.store(word, Release);
        for slot in inner {
            slot.set_next(neighbour.0, neighbour.1);
            slot.set_refcount(1);
            slot.owner.store(owner.bits(), Relaxed);
            slot.word.store(word, Release);
        }
        list.last = Some(last);
        list.pages += behind as u64 + 1;
        (list.bottom, list.top) = (list.bottom.min(start.get()), list.top.max(last.get()));
    }

    /// How many frames there are from `idx` on, `most` at most, of which each is linked to the one behind it, and what the last of them is linked to.
    #[inline]
    pub fn linked_run(&self, idx: FrameIdx, most: usize) -> (usize, Option<FrameIdx>) {
        let slots = &self.slots[idx.index()..];
        let slots = &slots[..most.min(slots.len())];
        let on = slots.iter().take_while(|slot| slot.next_distance() == 1).count();
        let len = slots.len().min(on + 1);
        let last = FrameIdx::new(idx.get() + len.saturating_sub(1) as u32);
        (len, self.next(last))
    }

    /// The list of so many single pages that begins at `first`, as [`Self::deposit_singles`] and [`Self::end_list`] have left it, if all of them are still
    /// the owner's and nobody else's, without flags, references or mappings: its owner may go on as if he had just deposited it.
    #[inline]
    pub fn deposited_list(
        &self,
        first: FrameIdx,
        pages: u64,
        usage: Use,
        owner: OwnerHandle,
    ) -> Option<DepositedList> {
        let (word, owner) = (Word::head(usage.state(), Order::ZERO), owner.bits());
        let unchanged = |slot: &PageMeta| {
            slot.word() == word && slot.owner.load(Relaxed) == owner && slot.has_no_others()
        };
        let mut list =
            DepositedList { first: Some(first), last: None, pages, bottom: first.get(), top: first.get() };
        let (mut at, mut left) = (first, pages);
        loop {
            // A run of neighbours at a time.
            let mut distance = 1;
            let mut seen = 0;
            for slot in self.slots.get(at.index()..)?.iter().take(usize::try_from(left).ok()?) {
                if !unchanged(slot) {
                    return None;
                }
                seen += 1;
                distance = slot.next_distance();
                if distance != 1 {
                    break;
                }
            }
            let last = at.get().wrapping_add(seen).wrapping_sub(1);
            left -= u64::from(seen);
            list.top = list.top.max(last);
            if left == 0 {
                list.last = Some(FrameIdx::new(last));
                // What whoever referred to a page has done with it is over.
                fence(Acquire);
                return (distance == 0).then_some(list);
            }
            if distance == 0 || seen == 0 {
                return None;
            }
            at = FrameIdx::new(last.wrapping_add(distance));
            list.bottom = list.bottom.min(at.get());
        }
    }

    /// Deposits a single page that is linked to none, a list by itself: where it is. [`Self::deposit`] for larger blocks.
    ///
    /// # Panics
    /// If there are more frames, or they belong to another map.
    #[inline]
    #[track_caller]
    pub fn deposit_single(&self, frames: Frames<'a>, usage: Use, owner: OwnerHandle) -> FrameIdx {
        let head = self.owned_head(&frames);
        assert!(frames.len() == 1, "{frames:?} is more than a page");
        head.set_next(frames.start(), None);
        head.owner.store(owner.bits(), Relaxed);
        head.word.store(Word::head(usage.state(), Order::ZERO).bits(), Release);
        frames.start()
    }

    /// Whether a page is as [`Self::deposit_single`] has left it: the owner's and nobody else's, see [`Self::deposited_list`].
    #[inline]
    pub fn is_deposited_single(&self, idx: FrameIdx, usage: Use, owner: OwnerHandle) -> bool {
        let word = Word::head(usage.state(), Order::ZERO);
        self.slots.get(idx.index()).is_some_and(|slot| {
            let same = slot.word() == word && slot.owner.load(Relaxed) == owner.bits();
            let alone = same && slot.has_no_others() && slot.next_distance() == 0;
            fence(Acquire);
            alone
        })
    }

    /// Links the last block of a list to none.
    pub fn end_list(&self, list: &DepositedList) {
        if let Some(last) = list.last {
            self.slot(last).set_next(last, None);
        }
    }

    /// Takes back the block that was deposited at `idx`, and if it is a single page, those with it that it and each of them is linked to and that follow
    /// it in memory as well: one token for all of them, and what the last of them is linked to. Their links are gone then.
    ///
    /// # Panics
    /// As for [`Self::withdraw`], for the first. A later one that is not the owner's, or is referenced, ends the run and stays.
    #[track_caller]
    pub fn withdraw_run(
        &self,
        idx: FrameIdx,
        usage: Use,
        owner: OwnerHandle,
    ) -> (Frames<'a>, Option<FrameIdx>) {
        let head = self.slot(idx);
        let mut distance = head.next_distance();
        let single = Word::head(usage.state(), Order::ZERO);
        // Of two who take it one freezes the count; from then on nobody else changes anything about it.
        if head.word() != single || head.owner.load(Relaxed) != owner.bits() || !head.counts.freeze() {
            let next = head.next(idx);
            head.set_next(idx, None);
            return (self.withdraw(idx, usage, owner), next);
        }
        let owner = owner.bits();
        head.set_next(idx, None);
        head.owner.store(0, Relaxed);
        head.set_word(Word::OWNED);
        head.set_refcount(1);
        let mut behind = 0;
        for slot in &self.slots[idx.index() + 1..] {
            if distance != 1
                || slot.word() != single
                || slot.owner.load(Relaxed) != owner
                || !slot.counts.freeze()
            {
                break;
            }
            distance = slot.next_distance();
            slot.set_next(idx, None);
            slot.owner.store(0, Relaxed);
            slot.set_word(Word::INNER);
            behind += 1;
        }
        let last = idx.get().wrapping_add(behind);
        let next = if distance == 0 { None } else { Some(FrameIdx::new(last.wrapping_add(distance))) };
        let len = u64::from(behind) + 1;
        (Frames::from_parts(head, idx, len), next)
    }

    /// Both as one token, if one follows the other and nothing else is known of their heads: as [`Self::merge`] does, for whoever does not know.
    ///
    /// # Errors
    /// Both as they were: they do not touch or are of two maps, one is a compound page, the upper one is referenced by others or mapped, or together
    /// they are more than half of what a token can be.
    #[inline]
    #[allow(clippy::result_large_err, reason = "four words")]
    pub fn try_merge(
        &self,
        one: Frames<'a>,
        other: Frames<'a>,
    ) -> Result<Frames<'a>, (Frames<'a>, Frames<'a>)> {
        let (one_at, other_at) = (u64::from(one.start().get()), u64::from(other.start().get()));
        let upwards = one_at + one.len() == other_at;
        let len = one.len() + other.len();
        if (!upwards && other_at + other.len() != one_at) || len > Frames::MAX / 2 {
            return Err((one, other));
        }
        let (below, above) = if upwards { (&one, &other) } else { (&other, &one) };
        let (low, high) = (below.head(), above.head());
        // Metadata that touches as well is of one map.
        let touches = core::ptr::eq(core::ptr::from_ref(low).wrapping_add(below.len() as usize), high);
        if !touches || low.word() != Word::OWNED || high.word() != Word::OWNED || !high.has_no_others() {
            return Err((one, other));
        }
        high.set_unreferenced();
        high.set_word(Word::INNER);
        Ok(Frames::from_parts(low, below.start(), len))
    }
}
