//! The 32 bytes that describe a frame.
//!
//! Every field has one atomic width in every state; what it means depends on the state in the word. Fields that
//! the table leaves blank hold zero.
//!
//! | state | word's order | refcount | mapcount | owner | next, prev | data |
//! |---|---|---|---|---|---|---|
//! | Pristine | | | | | | |
//! | Inner | | | | | | |
//! | Tail | | | mappings of this tail | in a slab: its cache, and the mark | next: the head | |
//! | Free | of the block | | | which list (the zone's: a migrate type) | the free list | |
//! | Owned (per-CPU lists too) | of the compound, or 0 | 1 | | | the holder's | the holder's |
//! | Reserved | | 1 | | | | |
//! | Kernel | of the block | 1 + references | | the caller's | the caller's | the caller's |
//! | Slab | of the slab | 1 | | cache, and the mark if all frames say so | partial, full list | free list head, in use, node |
//! | PageTable | of the table | 1 | | address space | the table's siblings | entries in use |
//! | Anon | of the compound | references, pins | mappings | anon root | LRU list | index; swap entry in the swap cache |
//! | File | of the compound | references, pins | mappings | mapping | LRU list | index |
//! | Device | of the compound | references, pins | mappings | pagemap | free to the driver | driver's |
//! | Hugetlb | of the huge page | references | mappings | pool or mapping | pool list | index, reservation |
//! | Movable | of the block | references | | operations | isolation list | driver's |
//! | Offline, Guard, Poisoned | of the block | | | the caller's | | |
//!
//! Conventions, so that all zeroes is "nothing": counts are of what exists (a frame that no page table maps has a
//! mapcount of 0, where Linux stores -1); a link is stored as the distance to its target, and 0 is no link.
//! The two counts are one 64-bit word where a look at that costs no more than one at 32 bits (`counts`). Pins count in refcount with Linux's bias of 1024. Node and zone are in the pageblock record, which
//! `zone` keeps; CPU ids, cgroups, young and idle bits are side arrays.

use crate::counts::Counts;
use crate::{FrameIdx, Word};
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// One frame's metadata. Reached through [`crate::PageMap`] only.
#[repr(C, align(32))]
pub struct PageMeta {
    pub(crate) word: AtomicU32,
    pub(crate) owner: AtomicU32,
    pub(crate) counts: Counts,
    next: AtomicU32,
    prev: AtomicU32,
    pub(crate) data: AtomicU64,
}

const _: () = assert!(size_of::<PageMeta>() == 32);

impl PageMeta {
    /// Bytes of one slot.
    pub const BYTES: u64 = size_of::<Self>() as u64;

    /// A plain store: the caller holds the token for this frame.
    #[inline]
    pub(crate) fn set_word(&self, word: Word) {
        self.word.store(word.bits(), Relaxed);
    }

    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word::from_bits(self.word.load(Relaxed))
    }

    /// Whether nothing was ever written, or all of it taken back.
    pub(crate) fn is_zero(&self) -> bool {
        let words = [&self.word, &self.owner, &self.next, &self.prev];
        let rest = self.counts.is_none() && self.data.load(Relaxed) == 0;
        words.iter().all(|word| word.load(Relaxed) == 0) && rest
    }

    /// Makes it as if nothing had ever been written: plain stores by whoever holds the token.
    pub(crate) fn clear(&self) {
        [&self.word, &self.owner, &self.next, &self.prev].iter().for_each(|word| word.store(0, Relaxed));
        self.counts.set(0);
        self.data.store(0, Relaxed);
    }

    /// References to the block that this frame heads.
    #[inline]
    pub(crate) fn refcount(&self) -> u32 {
        self.counts.references()
    }

    /// How many page-table entries map the frame.
    #[inline]
    pub(crate) fn mapcount(&self) -> u32 {
        self.counts.mappings()
    }

    /// Sets the references, and that nothing maps the frame: a plain store by whoever holds the token.
    #[inline]
    pub(crate) fn set_refcount(&self, references: u32) {
        self.counts.set(references);
    }

    /// The token's own reference, where nobody refers to the frame: a plain store by whoever holds the token.
    #[inline]
    pub(crate) fn set_referenced(&self) {
        self.counts.set_first();
    }

    /// No reference, where the token's own is the only one ([`Self::has_no_others`]): a plain store by whoever holds the token.
    #[inline]
    pub(crate) fn set_unreferenced(&self) {
        self.counts.clear_last();
    }

    /// Whether nobody refers to the frame or maps it.
    #[inline]
    pub(crate) fn is_unreferenced(&self) -> bool {
        self.counts.is_none()
    }

    /// Whether there is the token's own reference and nothing else.
    #[inline]
    pub(crate) fn has_no_others(&self) -> bool {
        self.counts.is_one()
    }

    #[inline]
    pub(crate) fn next(&self, own: FrameIdx) -> Option<FrameIdx> {
        link(own, self.next.load(Relaxed))
    }

    /// How far away the frame is that [`Self::next`] names; 0 if none.
    #[inline]
    pub(crate) fn next_distance(&self) -> u32 {
        self.next.load(Relaxed)
    }

    #[inline]
    pub(crate) fn prev(&self, own: FrameIdx) -> Option<FrameIdx> {
        link(own, self.prev.load(Relaxed))
    }

    #[inline]
    pub(crate) fn set_next(&self, own: FrameIdx, to: Option<FrameIdx>) {
        self.next.store(distance(own, to), Relaxed);
    }

    #[inline]
    pub(crate) fn set_prev(&self, own: FrameIdx, to: Option<FrameIdx>) {
        self.prev.store(distance(own, to), Relaxed);
    }
}

/// A link is the distance from its own frame, modulo 2^32: all 2^32 indices can be targets and zero is none.
#[inline]
fn distance(own: FrameIdx, to: Option<FrameIdx>) -> u32 {
    match to {
        Some(to) => to.get().wrapping_sub(own.get()),
        None => 0,
    }
}

#[inline]
fn link(own: FrameIdx, distance: u32) -> Option<FrameIdx> {
    if distance == 0 { None } else { Some(FrameIdx::new(own.get().wrapping_add(distance))) }
}

impl fmt::Debug for PageMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageMeta")
            .field("word", &self.word())
            .field("refcount", &self.refcount())
            .field("mapcount", &self.mapcount())
            .field("owner", &self.owner.load(Relaxed))
            .field("data", &self.data.load(Relaxed))
            .finish()
    }
}

/// Whom a frame belongs to: a position in the owner's own table and that position's generation.
///
/// What it refers to (a slab cache, a mapping, an anon root) follows from the frame's state. A position that is used
/// again gets another generation, so a stale handle does not match. Zero is nobody.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct OwnerHandle(u32);

impl OwnerHandle {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Bits of the position; the generation has those above but the last, which is `SLAB`.
    pub const INDEX_BITS: u32 = 22;
    /// Generations wrap within 1 to this.
    pub const MAX_GENERATION: u32 = (1 << (u32::BITS - 1 - Self::INDEX_BITS)) - 1;
    /// What marks the owner of a slab's frames where it is stored: no other frame's field has that bit, so whoever looks for a slab's owner
    /// needs to look at nothing else.
    const SLAB: u32 = 1 << 31;

    /// A handle, or `None` if a part is out of range. Generation 0 is reserved, so that no handle is zero.
    pub const fn new(index: u32, generation: u32) -> Option<Self> {
        if index >> Self::INDEX_BITS != 0 || generation == 0 || generation > Self::MAX_GENERATION {
            return None;
        }
        Some(Self(index | (generation << Self::INDEX_BITS)))
    }

    /// The position in the owner's table.
    pub const fn index(self) -> u32 {
        self.0 & ((1 << Self::INDEX_BITS) - 1)
    }

    /// The generation, 0 for [`Self::NONE`].
    pub const fn generation(self) -> u32 {
        self.0 >> Self::INDEX_BITS
    }

    /// How the frames of this owner's slabs are marked ([`crate::PageMap::slab_mark`]).
    #[inline]
    pub const fn slab_mark(self) -> u32 {
        self.0 | Self::SLAB
    }

    /// The owner whose slabs' frames are marked so; nobody's for what is no such mark.
    #[inline]
    pub const fn of_slab_mark(mark: u32) -> Self {
        if mark & Self::SLAB == 0 { Self::NONE } else { Self(mark & !Self::SLAB) }
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// The handle of a stored field, marked or not.
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits & !Self::SLAB)
    }
}

impl fmt::Debug for OwnerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("OwnerHandle(none)");
        }
        write!(f, "OwnerHandle({}, generation {})", self.index(), self.generation())
    }
}
