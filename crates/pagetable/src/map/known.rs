//! Pages in a table that is known to be there: no walk, for paths that count instructions.
//!
//! Whoever gives out addresses knows when a table cannot go: a cursor takes one out only with all that it covers. So an address that was mapped
//! once has its table for as long as it is not given back, and [`LeafTable`] remembers which.

use super::Mapped;
use crate::attr::{Attr, AttrError};
use crate::error::{Damage, MapError, UnmapError};
use crate::flush::PagesFlush;
use crate::format::{Format, Leaf};
use crate::memory::TableMemory;
use crate::shape::Level;
use crate::tables::{Cursor, Node, Tables};
use pagewright_addr::{PhysAddr, VirtRange};

/// A table of the lowest level, as somebody found it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeafTable(PhysAddr);

/// How single pages are mapped, worked out once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageWords {
    attr: Attr,
    /// The leaf at 0.
    base: u64,
    highest: PhysAddr,
}

impl PageWords {
    /// How the pages are mapped.
    pub const fn attr(&self) -> Attr {
        self.attr
    }

    /// The highest page that can be.
    pub const fn highest(&self) -> PhysAddr {
        self.highest
    }
}

impl<F: Format, M: TableMemory> Tables<F, M> {
    /// Works out how pages up to `highest` are mapped; `None` if their entries do not follow from the first one's by equal steps.
    ///
    /// # Errors
    /// [`AttrError`] if the format cannot express one of them.
    pub fn page_words(&self, attr: Attr, highest: PhysAddr) -> Result<Option<PageWords>, AttrError> {
        let word = |phys| self.format().leaf_word(Level::PTE, &Leaf { phys, attr, contiguous: false });
        let (base, step) = (word(PhysAddr::ZERO)?, self.format().leaf_step(Level::PTE, false));
        let pages = highest.get() >> F::TREE.page_shift();
        // Where bits of the highest address lie elsewhere in the word, those of others may too.
        let counted = base.wrapping_add(step.wrapping_mul(pages)) == word(highest)?;
        Ok(counted.then_some(PageWords { attr, base, highest }))
    }
}

impl<F: Format, M: TableMemory> Cursor<'_, F, M> {
    /// The table of the lowest level that all of `range` is in, if it is one, is there, and reaches beyond `range`: then it stays at least until
    /// somebody who has all that it covers takes it out.
    pub fn leaf_table(&self, range: VirtRange) -> Option<LeafTable> {
        let shape = F::TREE.level(Level::PTE);
        let span = shape.bytes() * (shape.entries() * shape.tables_per_page) as u64;
        let one = shape.bytes() * shape.entries() as u64;
        if range.len >= span
            || range.start.align_down(one) != range.last().align_down(one)
            || !self.holds(range)
            || !self.tables.format.window().contains_range(range)
        {
            return None;
        }
        self.tables.lowest_table(range.start).map(LeafTable)
    }

    /// Maps each page of `range`, all of it in `table`, to the memory that `next` names. As [`Self::map_pages`], without a walk.
    ///
    /// The caller answers for it that the table is still that of `range`.
    ///
    /// # Errors
    /// As for [`Self::map_pages`].
    #[inline]
    pub fn map_pages_in(
        &mut self,
        table: LeafTable,
        range: VirtRange,
        words: &PageWords,
        mut next: impl FnMut() -> PhysAddr,
    ) -> Result<Mapped, MapError> {
        let (node, first, count) = self.entries_in(table, range).ok_or(MapError::OutsideCursor(range))?;
        let format = &self.tables.format;
        let empty = format.count_empty(Level::PTE, node.words, first, count);
        if empty < count {
            return Err(MapError::AlreadyMapped {
                at: pagewright_addr::VirtAddr::new(
                    range.start.get() + ((empty as u64) << F::TREE.page_shift()),
                ),
                level: Level::PTE,
                word: format.load(Level::PTE, node.words, first + empty),
            });
        }
        let step = format.leaf_step(Level::PTE, false);
        for at in first..first + count {
            let pages = next().min(words.highest).get() >> const { F::SHAPE.page_shift() };
            format.store(Level::PTE, node.words, at, words.base.wrapping_add(step.wrapping_mul(pages)));
        }
        Ok(Mapped::default())
    }

    /// Takes out what is in `range`, all of it in `table` and mapped by single pages without contiguous groups, without telling anybody what it was.
    ///
    /// The caller answers for it that the table is still that of `range`.
    ///
    /// # Errors
    /// [`UnmapError::OutsideCursor`] if the cursor does not hold `range`, or it is not in one table.
    #[inline]
    pub fn unmap_pages_in(&mut self, table: LeafTable, range: VirtRange) -> Result<PagesFlush, UnmapError> {
        let (node, first, count) = self.entries_in(table, range).ok_or(UnmapError::OutsideCursor(range))?;
        for at in first..first + count {
            self.tables.format.take(Level::PTE, node.words, at);
        }
        Ok(PagesFlush { range, page_bytes: const { F::SHAPE.page_bytes() } })
    }

    /// The entries of `range` in a table.
    #[inline]
    fn entries_in(&self, table: LeafTable, range: VirtRange) -> Option<(Node<'_, F>, usize, usize)> {
        let shape = const { F::SHAPE.level(Level::PTE) };
        let count = (range.len >> shape.shift) as usize;
        let index = shape.index(range.start.get());
        if range.is_empty() || !self.holds(range) || index + count > shape.entries() {
            return None;
        }
        let node = self.tables.open_lowest(table.0)?;
        Some((node, node.first + index, count))
    }
}

impl<F: Format, M: TableMemory> Tables<F, M> {
    /// Where the first entry is of the lowest table for an address.
    fn lowest_table(&self, at: pagewright_addr::VirtAddr) -> Option<PhysAddr> {
        let mut node = self.root_node().ok()?;
        loop {
            let word = node.load(&self.format, F::TREE.level(node.level).index(at.get()));
            let crate::format::Entry::Table(next, _) = self.format.entry_at(node.level, word, at.get())
            else {
                return None;
            };
            node = self.child(&node, next, at.get(), word).map_err(|_: Damage| ()).ok()?;
            if node.level == Level::PTE {
                return Some(next);
            }
        }
    }
}
