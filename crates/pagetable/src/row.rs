//! Slots of one table, for paths that count instructions.
#![allow(unsafe_code)]

use crate::format::{Entry, Format};
use crate::shape::Level;
use crate::slots::{SlotError, SlotFlush};
use crate::word::Word;
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};

/// An entry in memory, as a format's word.
type Cell<F> = <<F as Format>::Word as Word>::Atomic;

/// Slots that lie in one table.
///
/// # Invariants
/// There are as many of software's words as of the hardware's, in formats that have them. Established by `Self::new`.
pub struct Row<'s, F: Format> {
    /// The hardware's words.
    cells: &'s [<F::Word as Word>::Atomic],
    /// Software's words beside them, in formats that have them.
    software: &'s [<F::Word as Word>::Atomic],
    start: VirtAddr,
    /// The word of the page at 0; software's, in formats that have them.
    word: u64,
    /// What the hardware's is more than that, as 32 bits wrap around.
    hardware: u64,
    limit: u64,
}

impl<F: Format> Clone for Row<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Format> Copy for Row<'_, F> {}

impl<F: Format> fmt::Debug for Row<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("start", &self.start)
            .field("count", &self.cells.len())
            .finish_non_exhaustive()
    }
}

impl<'s, F: Format> Row<'s, F> {
    /// Slots in these cells, of which the first is that of `start`, for pages below `limit`; `word` is the slot of the page at 0. `None` if the cells are not as many
    /// of each kind.
    pub(crate) fn new(
        (cells, software): (&'s [Cell<F>], &'s [Cell<F>]),
        start: VirtAddr,
        word: u64,
        limit: u64,
    ) -> Option<Self> {
        if !F::SOFTWARE_WORDS {
            return Some(Self { cells, software, start, word, hardware: 0, limit });
        }
        let (hardware, word) = (word & 0xffff_ffff, word >> 32);
        let hardware = hardware.wrapping_sub(word);
        (cells.len() == software.len()).then_some(Self { cells, software, start, word, hardware, limit })
    }
}

impl<F: Format> Row<'_, F> {
    /// How many slots.
    #[inline(always)]
    pub const fn count(&self) -> usize {
        self.cells.len()
    }

    /// The address of a slot.
    #[inline(always)]
    pub const fn address(&self, slot: usize) -> VirtAddr {
        VirtAddr::new(self.start.get().wrapping_add((slot as u64) << F::SHAPE.page_shift()))
    }

    /// A slot's cells.
    #[inline(always)]
    fn cell(&self, slot: usize) -> Option<(&Cell<F>, Option<&Cell<F>>)> {
        let cell = self.cells.get(slot)?;
        if !F::SOFTWARE_WORDS {
            return Some((cell, None));
        }
        // SAFETY: one number is compared with another that is the same (the invariant), so that a slot is looked up once and not twice.
        unsafe { core::hint::assert_unchecked(self.software.len() == self.cells.len()) };
        Some((cell, Some(self.software.get(slot)?)))
    }

    /// As [`crate::Slots::set`]; the page's address has to be a multiple of its size.
    ///
    /// # Errors
    /// [`SlotError`]; nothing was changed then.
    #[inline(always)]
    pub fn set(&self, slot: usize, page: PhysAddr) -> Result<VirtAddr, SlotError> {
        let Some((cell, software)) = self.cell(slot) else { return Err(SlotError::NoSlot(slot as u32)) };
        if page.get() >= self.limit {
            return Err(SlotError::Address(page));
        }
        if F::Word::peek(software.unwrap_or(cell)) != 0 {
            return Err(SlotError::InUse(slot as u32));
        }
        let number = page.get() >> const { F::SHAPE.page_shift() };
        if let Some(software) = software {
            // Words of 32 bits, each with the page's address: the step is that of both.
            let word = self.word + (number << const { F::SHAPE.page_shift() });
            F::Word::store(software, word);
            F::Word::publish(cell, word.wrapping_add(self.hardware));
        } else {
            F::Word::publish(cell, self.word + (number << const { F::SHAPE.page_shift() }));
        }
        Ok(self.address(slot))
    }

    /// The page that a slot has.
    pub fn page(&self, format: &F, slot: usize) -> Option<PhysAddr> {
        let (cell, software) = self.cell(slot)?;
        let word = F::Word::load(cell) | software.map_or(0, |s| F::Word::load(s) << 32);
        match format.entry(Level::PTE, word) {
            Entry::Leaf(leaf) => Some(leaf.phys),
            _ => None,
        }
    }

    /// As [`crate::Slots::clear`]; slots that there are not stay as they are.
    #[inline(always)]
    pub fn clear(&self, slot: usize) -> SlotFlush {
        if let Some((cell, software)) = self.cell(slot) {
            // The hardware's first: an entry that it can use has software's beside it at any time.
            F::Word::publish(cell, 0);
            if let Some(software) = software {
                F::Word::publish(software, 0);
            }
        }
        let page_bytes = const { F::SHAPE.page_bytes() };
        SlotFlush::of(VirtRange { start: self.address(slot), len: page_bytes }, page_bytes)
    }
}
