//! Slots of one table that a CPU has for itself, for paths that count instructions.
//!
//! They are counted downwards from the highest address, as fixed addresses are. Whoever has a [`Row`] says that one CPU alone uses its addresses:
//! then an entry is written by plain stores, in the order of the program and without a barrier. What other CPUs see of it, and when, does not matter, since
//! none of them follows it: a leaf has no table behind it that would have to be seen first, and its page's bytes are reached by this CPU in the order of the program by
//! whichever address. Its own walker sees the entry whole (a store of 32 bits is one, for 64 see [`TlbFlush::store64`]), before it
//! is needed ([`TlbFlush::publish`], which is the barrier) and no longer once it was flushed.
#![allow(unsafe_code)]

use crate::flush::TlbFlush;
use crate::format::{Entry, Format};
use crate::shape::Level;
use crate::slots::{SlotError, SlotFlush};
use crate::word::Word;
use core::fmt;
use core::hint::cold_path;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, compiler_fence};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};

/// An entry in memory, as a format's word.
type Cell<F> = <<F as Format>::Word as Word>::Atomic;

/// Slots that lie in one table, and the pages that they are for.
///
/// # Invariants
/// The `count` cells before `end` are cells of the borrow `'s`, and so is, [`Format::HARDWARE_AT`] cells behind each of them, another. Established by
/// `Self::new`; the count may become 0.
pub struct Row<'s, F: Format> {
    /// Behind the word of slot 0 (software's, in formats that have them): slot n's is `!n` from here, which is -1 - n.
    end: NonNull<Cell<F>>,
    /// The complement of their count, since their numbers are used as complements.
    below: usize,
    /// Behind the last byte of slot 0.
    end_at: usize,
    /// The number of the first page that the slots are for, and how many.
    first: usize,
    pages: usize,
    /// The word of the first page; software's, in formats that have them.
    word: u64,
    /// What the hardware's is there.
    hardware: u64,
    cells: PhantomData<&'s [Cell<F>]>,
}

// SAFETY: it is a shared borrow of atomics and a few numbers.
unsafe impl<F: Format> Send for Row<'_, F> {}
// SAFETY: as above.
unsafe impl<F: Format> Sync for Row<'_, F> {}

impl<F: Format> Clone for Row<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Format> Copy for Row<'_, F> {}

impl<F: Format> fmt::Debug for Row<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("at", &VirtAddr::new(self.address(0) as u64))
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

/// What a row is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowOf {
    /// The first entry in the table, and how many.
    pub(crate) entries: (usize, usize),
    /// The address of the first one.
    pub(crate) start: VirtAddr,
    /// The slot of the page at 0.
    pub(crate) word: u64,
    /// The numbers of the first page that the slots are for, and of the first one behind.
    pub(crate) pages: (u64, u64),
}

impl<'s, F: Format> Row<'s, F> {
    /// Slots in these words of a table; `None` if the table has fewer, or addresses or pages are more than this host's `usize` counts.
    pub(crate) fn new(words: &'s [Cell<F>], of: RowOf) -> Option<Self> {
        let (first, count) = of.entries;
        let cells = words.get(first..)?.get(..count.checked_add(F::HARDWARE_AT)?)?;
        let end = NonNull::new(cells.as_ptr().wrapping_add(count).cast_mut())?;
        // It may be the end of all addresses, which is 0.
        let last = of.start.get().checked_add(((count as u64) << F::SHAPE.page_shift()).checked_sub(1)?)?;
        let end_at = usize::try_from(last).ok()?.wrapping_add(1);
        let pages = usize::try_from(of.pages.1.saturating_sub(of.pages.0)).ok()?;
        let first = usize::try_from(of.pages.0).ok()?;
        let (word, hardware) =
            if F::SOFTWARE_WORDS { (of.word >> 32, of.word & 0xffff_ffff) } else { (of.word, of.word) };
        // The address stands in the words as it is: a page's step is that of both.
        let phys = of.pages.0 << F::SHAPE.page_shift();
        let (word, hardware) = (word.wrapping_add(phys), hardware.wrapping_add(phys));
        Some(Self { end, below: !count, end_at, first, pages, word, hardware, cells: PhantomData })
    }
}

/// A slot's words.
struct Place<'r, F: Format> {
    /// Software's, in formats that have them, else the only one.
    entry: &'r Cell<F>,
    /// The hardware's, in formats that have both.
    hardware: &'r Cell<F>,
}

/// A slot that is empty, and a page that it can have.
#[must_use = "nothing is mapped yet"]
pub struct Vacant<'r, F: Format> {
    place: Place<'r, F>,
    word: u64,
    hardware: u64,
    at: usize,
}

impl<F: Format> fmt::Debug for Vacant<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vacant").field("at", &self.at).finish_non_exhaustive()
    }
}

impl<F: Format> Vacant<'_, F> {
    /// Maps the page, and returns its address, which leads there after [`TlbFlush::publish`].
    #[inline(always)]
    pub fn fill<T: TlbFlush + ?Sized>(self, tlb: &mut T) -> usize {
        if F::SOFTWARE_WORDS {
            F::Word::store(self.place.entry, self.word);
            // An entry that the hardware can use has software's beside it at any time, for handlers on this CPU too.
            compiler_fence(Ordering::Release);
            F::Word::store(self.place.hardware, self.hardware);
        } else {
            F::Word::store_own(self.place.entry, self.word, tlb);
        }
        self.at
    }
}

impl<F: Format> Row<'_, F> {
    /// How many slots.
    #[inline(always)]
    pub const fn count(&self) -> usize {
        !self.below
    }

    /// The same without any.
    #[must_use]
    pub const fn without_slots(mut self) -> Self {
        self.below = !0;
        self
    }

    /// The address of a slot.
    #[inline(always)]
    pub const fn address(&self, slot: usize) -> usize {
        self.end_at.wrapping_add(!slot << F::SHAPE.page_shift())
    }

    /// A slot's words.
    #[inline(always)]
    fn place(&self, slot: usize) -> Option<Place<'_, F>> {
        // The complement is never computed where callers have it: they count downwards too.
        if !slot <= self.below {
            cold_path();
            return None;
        }
        // SAFETY: the slot is below the count, so its entry is among the cells before `end` (the invariant), which are borrowed for longer than the row.
        let entry = unsafe { self.end.offset(!slot as isize) };
        // SAFETY: so many behind each of them is another one (the invariant).
        let hardware = unsafe { entry.add(F::HARDWARE_AT) };
        // SAFETY: as above.
        Some(unsafe { Place { entry: entry.as_ref(), hardware: hardware.as_ref() } })
    }

    /// Which of the pages that the slots are for it is.
    #[inline(always)]
    fn number(&self, page: PhysAddr) -> Option<usize> {
        let shift = const { F::SHAPE.page_shift() };
        // Words of 32 bits have addresses of 32 bits: what lies beyond is beyond the limit that slots may have, and half of it need not be looked at.
        let number = match F::Word::BYTES {
            4 => u32::try_from(page.get()).map(|at| (at >> shift) as usize),
            _ => usize::try_from(page.get() >> shift),
        };
        let Ok(number) = number else {
            cold_path();
            return None;
        };
        let number = number.wrapping_sub(self.first);
        if number >= self.pages {
            cold_path();
            return None;
        }
        Some(number)
    }

    /// Looks whether a slot may have the page that `page` lies in.
    ///
    /// # Errors
    /// [`SlotError`].
    #[inline(always)]
    pub fn vacant<T: TlbFlush + ?Sized>(
        &self,
        slot: usize,
        page: PhysAddr,
        tlb: &T,
    ) -> Result<Vacant<'_, F>, SlotError> {
        let Some(place) = self.place(slot) else { return Err(SlotError::NoSlot(slot as u32)) };
        // Before the page is looked at: fewer values are alive at a time.
        if !F::Word::is_empty_own(place.entry, tlb) {
            cold_path();
            return Err(SlotError::InUse(slot as u32));
        }
        let Some(number) = self.number(page) else { return Err(SlotError::Address(page)) };
        let phys = (number as u64) << const { F::SHAPE.page_shift() };
        let (word, hardware) = (self.word.wrapping_add(phys), self.hardware.wrapping_add(phys));
        Ok(Vacant { place, word, hardware, at: self.address(slot) })
    }

    /// The page that a slot has.
    pub fn page(&self, format: &F, slot: usize) -> Option<PhysAddr> {
        let place = self.place(slot)?;
        let software = if F::SOFTWARE_WORDS { F::Word::load(place.entry) << 32 } else { 0 };
        match format.entry(Level::PTE, F::Word::load(place.hardware) | software) {
            Entry::Leaf(leaf) => Some(leaf.phys),
            _ => None,
        }
    }

    /// As [`crate::Slots::clear`], of a slot whose address the caller knows ([`Self::address`]); slots that there are not stay as they are.
    ///
    /// # Panics
    /// Where assertions are checked, if that is not its address.
    #[inline(always)]
    pub fn clear<T: TlbFlush + ?Sized>(&self, slot: usize, at: usize, tlb: &mut T) -> SlotFlush {
        debug_assert_eq!(at, self.address(slot), "another slot's address");
        if let Some(place) = self.place(slot) {
            if F::SOFTWARE_WORDS {
                F::Word::store(place.hardware, 0);
                // As in `Vacant::fill`.
                compiler_fence(Ordering::Release);
                F::Word::store(place.entry, 0);
            } else {
                F::Word::store_own(place.entry, 0, tlb);
            }
        }
        let page_bytes = const { F::SHAPE.page_bytes() };
        SlotFlush::of(VirtRange { start: VirtAddr::new(at as u64), len: page_bytes }, page_bytes)
    }
}
