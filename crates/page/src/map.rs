//! The map of all frames of one machine: metadata, section table, and the transitions of blocks.
//!
//! # Protocol
//! A `PageMap` is a pair of shared references and is copied freely. Blocks change hands as follows, and each step is
//! sound whatever locks the caller holds or forgets:
//! - whoever holds a [`Frames`] token has exclusive right to the words of its frames and stores them plainly;
//! - [`PageMap::put_block`] and [`PageMap::deposit`] publish the head's word with release order, after everything
//!   else about the block;
//! - [`PageMap::take_block`], [`PageMap::absorb_free`] and [`PageMap::withdraw`] take a head by compare-and-exchange
//!   with acquire order, so of two takers one panics.
//!
//! Links, `data`, and counts are the policy's: they are relaxed, protected by the lock of whoever owns the
//! list, and nothing about tokens depends on them. Panics name the frame and what was found: each is a bug
//! in a policy crate, never an answer to outside input.

use crate::{
    FrameIdx, Frames, OwnerHandle, PageFlags, PageMeta, PageStorage, Pristine, SectionTable, State, Use, Word,
};
use core::fmt;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use pagewright_addr::{Order, Pfn, PfnRange};

/// Why a map cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// A range of frames starts below the end of the one before it.
    Unsorted {
        /// The range that is out of order.
        range: PfnRange,
        /// Where the one before it ended.
        after: Pfn,
    },
    /// The section table has no room for another section.
    SectionsFull {
        /// How many entries it has.
        capacity: usize,
    },
    /// More frames than 32-bit links reach: more than 16 TiB of RAM at 4 KiB pages.
    TooManyFrames {
        /// Frames counted until then.
        frames: u64,
        /// The most there can be.
        limit: u64,
    },
    /// The metadata memory is too small.
    StorageTooSmall {
        /// Slots that the section table needs.
        needed: u64,
        /// Slots that were given.
        given: u64,
    },
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsorted { range, after } => {
                write!(f, "memory range {range:?} starts below the end {after:#x} of the one before")
            }
            Self::SectionsFull { capacity } => write!(f, "more memory sections than the table's {capacity}"),
            Self::TooManyFrames { frames, limit } => {
                write!(f, "too much RAM: {frames} page frames, 32-bit links reach {limit} (16 TiB of 4 KiB)")
            }
            Self::StorageTooSmall { needed, given } => {
                write!(f, "page metadata needs {needed} slots, memory has {given}")
            }
        }
    }
}

impl core::error::Error for MapError {}

/// The metadata of every frame of a machine.
#[derive(Clone, Copy)]
pub struct PageMap<'a> {
    slots: &'a [PageMeta],
    sections: SectionTable<'a>,
}

impl fmt::Debug for PageMap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageMap").field("sections", &self.sections.sections()).finish_non_exhaustive()
    }
}

/// Out of line and cold, so that the checks cost a compare and a branch.
#[cold]
#[inline(never)]
#[track_caller]
fn wrong(what: &str, idx: FrameIdx, slot: &PageMeta) -> ! {
    panic!("{what} at frame index {idx}: found {slot:?}")
}

impl<'a> PageMap<'a> {
    /// Bytes of metadata for this many frames.
    pub const fn required_bytes(frames: u64) -> u64 {
        frames.saturating_mul(PageMeta::BYTES)
    }

    /// A map over zeroed metadata, and the token for all its frames, holes inside sections included: whoever walks
    /// the machine's memory splits it and drops what is no RAM.
    ///
    /// No metadata is touched. Slots beyond what the sections need stay unused.
    ///
    /// # Errors
    /// [`MapError::StorageTooSmall`].
    pub fn new(
        storage: PageStorage<'a>,
        sections: SectionTable<'a>,
    ) -> Result<(Self, Pristine<'a>), MapError> {
        let slots = storage.into_slots();
        let (needed, given) = (sections.frames(), slots.len() as u64);
        if needed > given {
            return Err(MapError::StorageTooSmall { needed, given });
        }
        let slots = &slots[..needed as usize];
        Ok((Self { slots, sections }, Pristine::new(slots, 0)))
    }

    /// How many frames have metadata.
    pub fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Which frame numbers have metadata.
    pub fn sections(&self) -> &SectionTable<'a> {
        &self.sections
    }

    /// The index of a frame's metadata, or `None` if the frame has none.
    pub fn idx(&self, pfn: Pfn) -> Option<FrameIdx> {
        self.sections.idx(pfn)
    }

    /// The frame number at an index.
    ///
    /// # Panics
    /// If the index is past the last frame.
    #[track_caller]
    pub fn pfn(&self, idx: FrameIdx) -> Pfn {
        match self.sections.pfn(idx) {
            Some(pfn) => pfn,
            None => panic!("frame index {idx} is past the last of {} frames", self.slots.len()),
        }
    }

    /// Every accessor below panics in the same way when the index is past the last frame.
    #[inline]
    #[track_caller]
    fn slot(&self, idx: FrameIdx) -> &'a PageMeta {
        &self.slots[idx.index()]
    }

    /// The frame's state word.
    #[inline]
    pub fn word(&self, idx: FrameIdx) -> Word {
        self.slot(idx).word()
    }

    /// What the frame is.
    #[inline]
    pub fn state(&self, idx: FrameIdx) -> State {
        self.word(idx).state()
    }

    /// The order of the free block that starts at this frame (PageBuddy, buddy_order); `None` if none does or
    /// if the index is past the last frame, so that a buddy can be asked about without a range check.
    #[inline]
    pub fn free_order(&self, idx: FrameIdx) -> Option<Order> {
        self.slots.get(idx.index())?.word().free_order()
    }

    /// The next frame in the list that this frame is in.
    #[inline]
    pub fn next(&self, idx: FrameIdx) -> Option<FrameIdx> {
        self.slot(idx).next(idx)
    }

    /// Sets what [`Self::next`] says. A frame cannot be linked to itself: that is stored as no link.
    #[inline]
    pub fn set_next(&self, idx: FrameIdx, to: Option<FrameIdx>) {
        self.slot(idx).set_next(idx, to);
    }

    /// The previous frame in the list that this frame is in.
    #[inline]
    pub fn prev(&self, idx: FrameIdx) -> Option<FrameIdx> {
        self.slot(idx).prev(idx)
    }

    /// Sets what [`Self::prev`] says. A frame cannot be linked to itself: that is stored as no link.
    #[inline]
    pub fn set_prev(&self, idx: FrameIdx, to: Option<FrameIdx>) {
        self.slot(idx).set_prev(idx, to);
    }

    /// The state-dependent 64 bits; see the table in [`crate::meta`].
    #[inline]
    pub fn data(&self, idx: FrameIdx) -> u64 {
        self.slot(idx).data.load(Relaxed)
    }

    /// Sets the state-dependent 64 bits.
    #[inline]
    pub fn set_data(&self, idx: FrameIdx, data: u64) {
        self.slot(idx).data.store(data, Relaxed);
    }

    /// Whom a deposited frame belongs to.
    #[inline]
    pub fn owner(&self, idx: FrameIdx) -> OwnerHandle {
        OwnerHandle::from_bits(self.slot(idx).owner.load(Relaxed))
    }

    /// References to the block that starts here (page_ref_count).
    #[inline]
    pub fn refcount(&self, idx: FrameIdx) -> u32 {
        self.slot(idx).refcount.load(Relaxed)
    }

    /// How many page-table entries map the frame (page_mapcount).
    #[inline]
    pub fn mapcount(&self, idx: FrameIdx) -> u32 {
        self.slot(idx).mapcount.load(Relaxed)
    }

    /// Sets flags of a frame in use and tells what they were before.
    #[inline]
    #[track_caller]
    pub fn set_flags(&self, idx: FrameIdx, flags: PageFlags) -> PageFlags {
        let slot = self.slot(idx);
        if matches!(slot.word().state(), State::Pristine | State::Inner | State::Free) {
            wrong("flags set on a frame that is not in use", idx, slot);
        }
        Word::from_bits(slot.word.fetch_or(flags.bits(), AcqRel)).flags()
    }

    /// Clears flags and tells what they were before.
    #[inline]
    pub fn clear_flags(&self, idx: FrameIdx, flags: PageFlags) -> PageFlags {
        Word::from_bits(self.slot(idx).word.fetch_and(!flags.bits(), AcqRel)).flags()
    }

    /// Whether the token is for frames of this map, and not of another one. A direct map asks this before it
    /// gives memory for a token.
    #[inline]
    pub fn owns(&self, frames: &Frames<'_>) -> bool {
        let theirs: *const PageMeta = &frames.slots()[0];
        self.slots.get(frames.start().index()).is_some_and(|ours| core::ptr::eq(ours, theirs))
    }

    /// Makes an aligned block of a power of two free: its head gets [`State::Free`] and the token is gone.
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
        if head.refcount.load(Relaxed) != 1 || head.mapcount.load(Relaxed) != 0 {
            wrong("bad page state: freed while referenced or mapped", start, head);
        }
        head.refcount.store(0, Relaxed);
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
        // The exchange made the word that of a token's head.
        slot.refcount.store(1, Relaxed);
        let start = idx.index();
        Frames::from_parts(&self.slots[start..start + order.pages() as usize], idx)
    }

    /// Joins a token of a whole block with its free buddy of the same order, which the caller has unlinked
    /// or unlinks under the same lock: one step of coalescing (__free_one_page).
    ///
    /// # Panics
    /// If the frames are no aligned block below the map's alignment order, or the buddy is not a free block of that
    /// order.
    #[inline]
    #[track_caller]
    pub fn absorb_free(&self, frames: Frames<'a>) -> Frames<'a> {
        let head = self.owned_head(&frames);
        let Some(order) = frames.order().filter(|&order| order < self.sections.align()) else {
            panic!(
                "{frames:?} is not one block below order {} and has no buddy",
                self.sections.align().get()
            );
        };
        let start = frames.start();
        let buddy = start.buddy(order);
        let slot = self.slot(buddy);
        let from = Word::free(order);
        if slot.word.compare_exchange(from.bits(), Word::INNER.bits(), Acquire, Relaxed).is_err() {
            wrong("no free buddy to absorb", buddy, slot);
        }
        let low = start.min(buddy);
        let both = &self.slots[low.index()..low.index() + 2 * order.pages() as usize];
        if buddy == low {
            // The head moves down with whatever references are still counted in it.
            let references = head.refcount.swap(0, Relaxed);
            head.set_word(Word::INNER);
            slot.set_word(Word::OWNED);
            slot.refcount.store(references, Relaxed);
        }
        Frames::from_parts(both, low)
    }

    /// Joins two tokens where the frames of `above` follow those of `below`.
    ///
    /// # Panics
    /// If they do not touch in this order, or the upper one is still referenced.
    #[track_caller]
    pub fn merge(&self, below: Frames<'a>, above: Frames<'a>) -> Frames<'a> {
        self.owned_head(&below);
        let upper = self.owned_head(&above);
        let (low, middle) = (below.start().index(), above.start().index());
        if low + below.slots().len() != middle {
            panic!("{below:?} and {above:?} do not touch and cannot be merged");
        }
        if upper.refcount.load(Relaxed) != 1 || upper.mapcount.load(Relaxed) != 0 {
            wrong("merged while referenced or mapped", above.start(), upper);
        }
        upper.refcount.store(0, Relaxed);
        upper.set_word(Word::INNER);
        Frames::from_parts(&self.slots[low..middle + above.slots().len()], below.start())
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

    /// Takes back the block that was deposited at `idx`; its flags are dropped and its reference count is 1.
    ///
    /// # Panics
    /// If the frame heads no block under this use and owner, or is referenced by others or mapped.
    #[inline]
    #[track_caller]
    pub fn withdraw(&self, idx: FrameIdx, usage: Use, owner: OwnerHandle) -> Frames<'a> {
        let slot = self.slot(idx);
        let mut order = Order::ZERO;
        let taken = slot.word.fetch_update(Acquire, Relaxed, |bits| {
            if slot.owner.load(Relaxed) != owner.bits()
                || slot.refcount.load(Relaxed) > 1
                || slot.mapcount.load(Relaxed) != 0
            {
                return None;
            }
            let (word, deposited) = Word::from_bits(bits).withdraw(usage)?;
            order = deposited;
            Some(word.bits())
        });
        if taken.is_err() {
            wrong("nothing deposited under this use and owner, or still referenced or mapped", idx, slot);
        }
        slot.owner.store(0, Relaxed);
        // The exchange made the word that of a token's head.
        slot.refcount.store(1, Relaxed);
        let start = idx.index();
        Frames::from_parts(&self.slots[start..start + order.pages() as usize], idx)
    }

    /// The head of a token's frames, once it is certain that the token is of this map.
    #[inline]
    #[track_caller]
    fn owned_head(&self, frames: &Frames<'a>) -> &'a PageMeta {
        if !self.owns(frames) {
            panic!("{frames:?} belongs to another map");
        }
        &frames.slots()[0]
    }
}
