//! Pages in a table that is known to be there: no walk, for paths that count instructions.
//!
//! Whoever gives out addresses knows when a table cannot go: a cursor takes one out only with all that it covers. So addresses that were mapped
//! once have their tables for as long as they are not given back, and [`LeafTables`] remembers which.

use super::Mapped;
use crate::attr::{Attr, AttrError};
use crate::error::{Damage, MapError, UnmapError};
use crate::flush::PagesFlush;
use crate::format::{Format, Leaf};
use crate::memory::TableMemory;
use crate::shape::Level;
use crate::tables::{Cursor, Tables};
use crate::word::Word;
use core::fmt;
use core::num::NonZeroU64;
use pagewright_addr::{Pfn, PhysAddr, VirtAddr, VirtRange};

/// The table of the lowest level that a range is in, or the two, as somebody found them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeafTables {
    first: Known,
    second: Option<Known>,
}

/// Where a table's first entry is: tables are aligned, so the lowest bit is free to say that there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known(NonZeroU64);

impl Known {
    fn new(first_entry: PhysAddr) -> Option<Self> {
        NonZeroU64::new(first_entry.get() | 1).map(Self)
    }

    #[inline]
    const fn get(self) -> PhysAddr {
        PhysAddr::new(self.0.get() & !1)
    }
}

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
    /// The tables of the lowest level that all of `range` is in, if they are at most two, are there, and reach beyond `range`: then they stay at least
    /// until somebody who has all that one covers takes it out.
    pub fn leaf_tables(&self, range: VirtRange) -> Option<LeafTables> {
        let shape = F::TREE.level(Level::PTE);
        let span = shape.bytes() * (shape.entries() * shape.tables_per_page) as u64;
        let one = shape.bytes() * shape.entries() as u64;
        let (first, last) = (range.start.align_down(one), range.last().align_down(one));
        if range.is_empty()
            || range.len >= span
            || last.get() - first.get() > one
            || !self.holds(range)
            || !self.tables.format.window().contains_range(range)
        {
            return None;
        }
        let table = |at| self.tables.lowest_table(at).and_then(Known::new);
        let second = if first == last { None } else { Some(table(last)?) };
        Some(LeafTables { first: table(first)?, second })
    }

    /// The entries of `range`, all of it in `tables`, with the right that [`Self::apart`] would give over them.
    ///
    /// The caller answers for it that the tables are still those of `range`, and for what [`Self::apart`] asks.
    ///
    /// # Errors
    /// [`UnmapError::OutsideCursor`] if the cursor does not hold `range`, or it is not in these tables.
    #[inline]
    pub fn page_entries(
        &self,
        tables: LeafTables,
        range: VirtRange,
    ) -> Result<PageEntries<'_, F, M>, UnmapError> {
        self.entries_in(tables, range).ok_or(UnmapError::OutsideCursor(range))
    }

    /// Maps the one page at `at`, as [`PageEntries::map`] would.
    ///
    /// # Errors
    /// [`MapError::OutsideCursor`], [`MapError::AlreadyMapped`].
    #[inline]
    pub fn map_one(
        &self,
        tables: LeafTables,
        at: VirtAddr,
        words: &PageWords,
        pfn: Pfn,
    ) -> Result<(), MapError> {
        let format = &self.tables.format;
        let (cells, index) = self.entry_in(tables, at).ok_or(MapError::OutsideCursor(page_of::<F>(at)))?;
        let word = format.load(Level::PTE, cells, index);
        if word != 0 {
            return Err(MapError::AlreadyMapped { at, level: Level::PTE, word });
        }
        let pages = pfn.get().min(words.highest.get() >> const { F::SHAPE.page_shift() });
        let word = words.base.wrapping_add(format.leaf_step(Level::PTE, false).wrapping_mul(pages));
        format.store(Level::PTE, cells, index, word);
        Ok(())
    }

    /// Takes out the one page at `at`, as [`PageEntries::unmap`] would.
    ///
    /// # Errors
    /// [`UnmapError::OutsideCursor`].
    #[inline]
    pub fn unmap_one(&self, tables: LeafTables, at: VirtAddr) -> Result<PagesFlush, UnmapError> {
        let entry = self.entry_in(tables, at);
        let (cells, index) = entry.ok_or(UnmapError::OutsideCursor(page_of::<F>(at)))?;
        // What hardware noted last is nobody's concern.
        self.tables.format.erase(Level::PTE, cells, index);
        Ok(PagesFlush::of(page_of::<F>(at), const { F::SHAPE.page_bytes() }))
    }

    /// The entry of a page in the first of the tables.
    #[inline]
    fn entry_in(&self, tables: LeafTables, at: VirtAddr) -> Option<(&[<F::Word as Word>::Atomic], usize)> {
        if !self.range.is_none_or(|mine| mine.contains(at)) {
            return None;
        }
        let node = self.tables.open_lowest(tables.first.get())?;
        Some((node.words, node.first + const { F::SHAPE.level(Level::PTE) }.index(at.get())))
    }

    #[inline]
    fn entries_in(&self, tables: LeafTables, range: VirtRange) -> Option<PageEntries<'_, F, M>> {
        let shape = const { F::SHAPE.level(Level::PTE) };
        let count = (range.len >> shape.shift) as usize;
        let index = shape.index(range.start.get());
        if count == 0 || !self.holds(range) {
            return None;
        }
        let here = count.min(shape.entries() - index);
        let node = self.tables.open_lowest(tables.first.get())?;
        let first = Part { words: node.words, at: node.first + index, count: here };
        let second = if here == count {
            None
        } else if count - here <= shape.entries() {
            let node = self.tables.open_lowest(tables.second?.get())?;
            Some(Part { words: node.words, at: node.first, count: count - here })
        } else {
            return None;
        };
        Some(PageEntries { tables: self.tables, range, first, second })
    }
}

/// The page that begins at an address.
#[inline]
const fn page_of<F: Format>(at: VirtAddr) -> VirtRange {
    VirtRange { start: at, len: F::SHAPE.page_bytes() }
}

/// Entries in one table.
struct Part<'c, F: Format> {
    words: &'c [<F::Word as Word>::Atomic],
    at: usize,
    count: usize,
}

/// The right to change single pages of a range, in tables that are known.
pub struct PageEntries<'c, F: Format, M: TableMemory> {
    tables: &'c Tables<F, M>,
    range: VirtRange,
    first: Part<'c, F>,
    second: Option<Part<'c, F>>,
}

impl<F: Format, M: TableMemory> fmt::Debug for PageEntries<'_, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageEntries").field("range", &self.range).finish_non_exhaustive()
    }
}

impl<F: Format, M: TableMemory> PageEntries<'_, F, M> {
    /// Maps the pages in the order of their addresses to those that `next` names, once nothing can fail any more: it is asked for a run of at most so many
    /// pages, and says its first page and how many they are. What lies above the highest page that `words` reach is taken to be just below or at
    /// that. As [`Cursor::map_pages`], without a walk.
    ///
    /// # Errors
    /// [`MapError::AlreadyMapped`]; nothing was changed then.
    #[inline]
    pub fn map(
        self,
        words: &PageWords,
        mut next: impl FnMut(usize) -> (Pfn, usize),
    ) -> Result<Mapped, MapError> {
        self.expect_empty()?;
        let format = &self.tables.format;
        let step = format.leaf_step(Level::PTE, false);
        let last = words.highest.get() >> const { F::SHAPE.page_shift() };
        let mut fill = |part: &Part<'_, F>| {
            let mut done = 0;
            while done < part.count {
                let (pfn, len) = next(part.count - done);
                let len = len.clamp(1, part.count - done);
                let first = pfn.get().min((last + 1).saturating_sub(len as u64));
                let word = words.base.wrapping_add(step.wrapping_mul(first));
                format.store_run(Level::PTE, part.words, part.at + done, len, word, step);
                done += len;
            }
        };
        fill(&self.first);
        if let Some(second) = &self.second {
            fill(second);
        }
        Ok(Mapped::default())
    }

    /// Takes out what is there, mapped by single pages without contiguous groups, without telling anybody what it was.
    #[inline]
    pub fn unmap(self) -> PagesFlush {
        let format = &self.tables.format;
        let clear = |part: &Part<'_, F>| {
            for at in part.at..part.at + part.count {
                // What hardware noted last is nobody's concern.
                format.erase(Level::PTE, part.words, at);
            }
        };
        clear(&self.first);
        if let Some(second) = &self.second {
            clear(second);
        }
        PagesFlush::of(self.range, const { F::SHAPE.page_bytes() })
    }

    #[inline]
    fn expect_empty(&self) -> Result<(), MapError> {
        let format = &self.tables.format;
        let mut before = 0;
        for part in [Some(&self.first), self.second.as_ref()].into_iter().flatten() {
            let empty = format.count_empty(Level::PTE, part.words, part.at, part.count);
            if empty < part.count {
                let at = self.range.start.get() + (((before + empty) as u64) << F::TREE.page_shift());
                let word = format.load(Level::PTE, part.words, part.at + empty);
                return Err(MapError::AlreadyMapped { at: VirtAddr::new(at), level: Level::PTE, word });
            }
            before += part.count;
        }
        Ok(())
    }
}

impl<F: Format, M: TableMemory> Tables<F, M> {
    /// Where the first entry is of the lowest table for an address.
    fn lowest_table(&self, at: VirtAddr) -> Option<PhysAddr> {
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
