//! The map of all frames of one machine: metadata, section table, and the transitions of blocks.
//!
//! # Protocol
//! A `PageMap` is a pair of shared references and is copied freely. Blocks change hands as follows, and each step is
//! sound whatever locks the caller holds or forgets:
//! - whoever holds a [`Frames`] token has exclusive right to the words of its frames and stores them plainly;
//! - [`PageMap::put_block`], [`Joining::finish`] and [`PageMap::deposit`] publish the head's word with release order, after everything
//!   else about the block;
//! - [`PageMap::take_block`], [`PageMap::take_part`], [`Joining::absorb`] and [`PageMap::withdraw`] take a head by
//!   compare-and-exchange with acquire order, so of two takers one panics.
//!
//! Links, `data`, and counts are the policy's: they are relaxed, protected by the lock of whoever owns the
//! list, and nothing about tokens depends on them. Panics name the frame and what was found: each is a bug
//! in a policy crate, never an answer to outside input.

mod blocks;
mod buddies;
mod compound;
mod error;
mod node;
mod run;
mod slab;
mod validate;

pub use buddies::Joining;
pub use error::MapError;
pub use node::Node;
pub use run::DepositedList;
pub use slab::SlabMarks;
pub use validate::MapViolation;

use crate::{
    FrameIdx, Frames, OwnerHandle, PageFlags, PageMeta, PageStorage, Pristine, SectionTable, State, Word,
};
use core::fmt;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};
use pagewright_addr::{Order, Pfn, PfnRange};

/// The metadata of every frame of a machine.
#[derive(Clone, Copy)]
pub struct PageMap<'a> {
    pub(crate) slots: &'a [PageMeta],
    pub(crate) sections: SectionTable<'a>,
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
    /// No metadata is touched. Slots beyond what the sections need are for memory that is plugged in ([`Self::grow`]), or stay unused.
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
        let all = &slots[..needed as usize];
        // What is left over serves memory that is plugged in.
        let slots = if sections.grows() { slots } else { all };
        Ok((Self { slots, sections }, Pristine::new(all, 0)))
    }

    /// How many frames have metadata by now.
    pub fn len(&self) -> u64 {
        if self.sections.grows() { self.sections.frames() } else { self.slots.len() as u64 }
    }

    /// How many frames can have metadata: more than [`Self::len`] only if the table of sections can grow
    /// ([`SectionTable::growing`]) and storage was left over.
    pub fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Makes frames known that the map did not have, such as memory that is plugged in, with the next indices; they are the caller's.
    /// They stay known for good; whoever takes the memory away keeps the token, or what [`Self::erase`] makes.
    ///
    /// # Errors
    /// [`MapError`]: frames that are not whole blocks of the alignment order, or known already; no room for their metadata or for
    /// the section; somebody else who does the same. Nothing has changed then.
    pub fn grow(&self, pfns: PfnRange) -> Result<Pristine<'a>, MapError> {
        let base = self.sections.append(pfns, self.slots.len() as u64)?;
        Ok(Pristine::new(&self.slots[base as usize..(base + pfns.len()) as usize], base))
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

    /// The word that [`Self::data`] reads, for owners whose parts change it at the same time.
    #[inline]
    pub fn data_word(&self, idx: FrameIdx) -> &'a AtomicU64 {
        &self.slot(idx).data
    }

    /// Whom a deposited frame belongs to.
    #[inline]
    pub fn owner(&self, idx: FrameIdx) -> OwnerHandle {
        OwnerHandle::from_bits(self.slot(idx).owner.load(Relaxed))
    }

    /// References to the block that starts here (page_ref_count).
    #[inline]
    pub fn refcount(&self, idx: FrameIdx) -> u32 {
        self.slot(idx).refcount()
    }

    /// Takes a reference to a block that has some already (`get_page`), and tells how many there are now.
    ///
    /// # Panics
    /// If nobody refers to it: it may be free.
    #[track_caller]
    pub fn take_reference(&self, idx: FrameIdx) -> u32 {
        match self.try_take_reference(idx) {
            Some(now) => now,
            None => wrong("no reference to add to", idx, self.slot(idx)),
        }
    }

    /// The same; `None` if nobody refers to it (`get_page_unless_zero`).
    #[track_caller]
    pub fn try_take_reference(&self, idx: FrameIdx) -> Option<u32> {
        self.slot(idx).counts.take_reference()
    }

    /// Gives a reference back and tells how many are left. The last one is not given back so: whoever has it frees the block.
    ///
    /// # Panics
    /// If there is no other.
    #[track_caller]
    pub fn drop_reference(&self, idx: FrameIdx) -> u32 {
        match self.try_drop_reference(idx) {
            Some(left) => left,
            None => wrong("the last reference is not to be dropped", idx, self.slot(idx)),
        }
    }

    /// The same; `None` if it is the last one, which stays (`put_page_testzero` says so too, and takes it).
    #[track_caller]
    pub fn try_drop_reference(&self, idx: FrameIdx) -> Option<u32> {
        self.slot(idx).counts.drop_reference()
    }

    /// How many page-table entries map the frame (page_mapcount).
    #[inline]
    pub fn mapcount(&self, idx: FrameIdx) -> u32 {
        self.slot(idx).mapcount()
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
        self.slots.get(frames.start().index()).is_some_and(|ours| core::ptr::eq(ours, frames.head()))
    }
}
