//! Slots of one table, for paths that count instructions.

use crate::format::{Entry, Format};
use crate::shape::Level;
use crate::slots::{SlotError, SlotFlush};
use crate::word::Word;
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};

/// An entry in memory, as a format's word.
type Cell<F> = <<F as Format>::Word as Word>::Atomic;

/// Slots that lie in one table.
pub struct Row<'s, F: Format> {
    /// The hardware's words.
    pub(crate) cells: &'s [<F::Word as Word>::Atomic],
    /// Software's words beside them, in formats that have them.
    pub(crate) software: &'s [<F::Word as Word>::Atomic],
    pub(crate) start: VirtAddr,
    pub(crate) word: u64,
    pub(crate) limit: u64,
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
        Some((cell, if F::SOFTWARE_WORDS { Some(self.software.get(slot)?) } else { None }))
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
            let both = number << const { F::SHAPE.page_shift() };
            F::Word::store(software, (self.word >> 32) + both);
            F::Word::publish(cell, (self.word & 0xffff_ffff) + both);
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
