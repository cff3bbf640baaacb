//! Mapping pages that lie anywhere in memory, in one operation.

use super::{Job, MapOptions, Mapped};
use crate::attr::Attr;
use crate::error::MapError;
use crate::format::{Format, Leaf};
use crate::memory::{TableMemory, TableSource};
use crate::shape::Level;
use crate::tables::{Cursor, Node};
use core::cell::RefCell;
use pagewright_addr::{PhysAddr, VirtRange};

/// Pages in the order of their addresses.
pub(super) struct Pages<'o> {
    next: RefCell<&'o mut dyn FnMut() -> PhysAddr>,
    /// None lies above this one.
    highest: PhysAddr,
    /// The leaf at 0, if those up to the highest follow from it by equal steps.
    base: Option<u64>,
}

impl<F: Format, M: TableMemory> Cursor<'_, F, M> {
    /// Maps each page of `range` to the memory that `next` names, which is asked once for each, in the order of addresses, when nothing can
    /// fail any more: pages that lie anywhere, as one operation. None of them lies above `highest` (one that does is taken to be that).
    ///
    /// # Errors
    /// As for [`Self::map`].
    pub fn map_pages(
        &mut self,
        range: VirtRange,
        attr: Attr,
        highest: PhysAddr,
        source: &mut dyn TableSource,
        next: &mut dyn FnMut() -> PhysAddr,
    ) -> Result<Mapped, MapError> {
        self.check_map(range, highest)?;
        let mut job = self.job(highest, attr, &MapOptions::PAGES)?;
        let word = |phys| self.tables.format.leaf_word(Level::PTE, &Leaf { phys, attr, contiguous: false });
        let (first, step) = (word(PhysAddr::ZERO)?, self.tables.format.leaf_step(Level::PTE, false));
        let pages = highest.get() >> F::TREE.page_shift();
        // Where bits of the highest address lie elsewhere in the word, those of others may too.
        let base = (first.wrapping_add(step.wrapping_mul(pages)) == word(highest)?).then_some(first);
        job.pages = Some(Pages { next: RefCell::new(next), highest, base });
        self.map_job(&job, range, PhysAddr::ZERO, source)
    }

    /// Writes `count` pages that lie anywhere.
    pub(super) fn run_of_pages(
        &self,
        job: &Job<'_>,
        pages: &Pages<'_>,
        node: &Node<'_, F>,
        index: usize,
        count: usize,
    ) -> Result<(), MapError> {
        let format = &self.tables.format;
        let step = format.leaf_step(Level::PTE, false);
        let mut next = pages.next.borrow_mut();
        for at in node.first + index..node.first + index + count {
            let phys = next().min(pages.highest);
            let word = match pages.base {
                Some(base) => base.wrapping_add(step.wrapping_mul(phys.get() >> F::TREE.page_shift())),
                None => format.leaf_word(Level::PTE, &Leaf { phys, attr: job.attr, contiguous: false })?,
            };
            format.store(Level::PTE, node.words, at, word);
        }
        Ok(())
    }
}
