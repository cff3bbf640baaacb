//! Lists of single pages of one owner: each deposited by itself, linked to the next.

use super::PageMap;
use crate::{FrameIdx, Frames, OwnerHandle, Use, Word};
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::Order;

/// A list of blocks, each linked to the next, that is deposited piece by piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DepositedList {
    /// The first block.
    pub first: Option<FrameIdx>,
    /// The last; it is linked to none once [`PageMap::end_list`] was told.
    pub last: Option<FrameIdx>,
    /// How many pages.
    pub pages: u64,
    /// The highest index of a block.
    pub top: u32,
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
            list.top = list.top.max(idx.get());
            self.deposit(frames, usage, owner);
            match (before, list.last) {
                (Some(slot), Some(last)) => slot.set_next(last, Some(idx)),
                _ => list.first = Some(idx),
            }
            (before, list.last) = (Some(head), Some(idx));
        }
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
        let mut next = self.next(idx);
        self.set_next(idx, None);
        let first = self.withdraw(idx, usage, owner);
        if first.len() != 1 {
            return (first, next);
        }
        let single = Word::head(usage.state(), Order::ZERO);
        let mut len = 1;
        while let Some(at) = next
            && at.get() == idx.get().wrapping_add(len)
        {
            let slot = self.slot(at);
            // Of two who take it one freezes the count.
            if slot.word() != single || slot.owner.load(Relaxed) != owner.bits() || !slot.counts.freeze() {
                break;
            }
            next = slot.next(at);
            slot.set_next(at, None);
            slot.owner.store(0, Relaxed);
            slot.set_word(Word::INNER);
            len += 1;
        }
        (Frames::from_parts(first.head(), idx, len.into()), next)
    }
}
