//! Mapping's second pass: every table that is missing is at hand, and nothing can fail but by damage that the first pass did not see.

use super::{Job, fits};
use crate::chain::Chain;
use crate::error::{Damage, MapError};
use crate::format::{Entry, Format, Leaf};
use crate::memory::TableMemory;
use crate::shape::Level;
use crate::tables::{Cursor, Node};
use crate::word::Word;
use pagewright_addr::PhysAddr;

/// A part of a mapping: so many bytes at `va` lead to the memory at `phys`.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) va: u64,
    pub(super) phys: u64,
    pub(super) len: u64,
}

impl<F: Format, M: TableMemory> Cursor<'_, F, M> {
    /// Writes the leaves; every table that is missing is in `chain`. Nothing is in the table if it is `new`.
    pub(super) fn fill(
        &self,
        job: &Job<'_>,
        node: Node<'_, F>,
        new: bool,
        Piece { mut va, mut phys, mut len }: Piece,
        chain: &mut Chain<F::Word>,
    ) -> Result<(), MapError> {
        let format = &self.tables.format;
        let shape = F::TREE.level(node.level);
        let size = shape.bytes();
        while len > 0 {
            let index = shape.index(va);
            let mut chunk = len.min(size - (va & (size - 1)));
            // The first pass found the lowest level empty; above it tables may be in the way.
            let empty = new || node.level == Level::PTE;
            if fits(job, node.level, size, phys, chunk) && (empty || node.load(format, index) == 0) {
                let most = (len / size).min((shape.entries() - index) as u64) as usize;
                let count = if empty {
                    most
                } else {
                    1 + format.count_empty(node.level, node.words, node.first + index + 1, most - 1)
                };
                self.leaves(job, &node, index, count, va, phys)?;
                chunk = count as u64 * size;
            } else if self.whole_page(job, &node, index, va, phys, len) {
                chunk = self.page_below(job, &node, index, va, phys, chain)?;
            } else {
                self.below(job, &node, index, Piece { va, phys, len: chunk }, chain)?;
            }
            va = va.wrapping_add(chunk);
            phys += chunk;
            len -= chunk;
        }
        Ok(())
    }

    /// Writes `count` leaves from entry `index` on, contiguous groups marked.
    fn leaves(
        &self,
        job: &Job<'_>,
        node: &Node<'_, F>,
        index: usize,
        count: usize,
        va: u64,
        phys: u64,
    ) -> Result<(), MapError> {
        let shape = F::TREE.level(node.level);
        let (mut index, mut left, mut phys) = (index, count, phys);
        let group = shape.contiguous as usize;
        // A group has to start at a multiple of its size on both sides.
        let both = (va ^ phys) & shape.contiguous_bytes().wrapping_sub(1) == 0;
        if !job.contiguous[node.level.index()] || !both {
            return self.run(job, node, index, left, phys, false);
        }
        let head = (index.next_multiple_of(group) - index).min(left);
        self.run(job, node, index, head, phys, false)?;
        index += head;
        left -= head;
        phys += head as u64 * shape.bytes();
        // Where each entry holds its own address, all groups are one run.
        let run = if F::GROUP_ADDRESS { group } else { left / group * group };
        while left >= group {
            self.run(job, node, index, run, phys, true)?;
            index += run;
            left -= run;
            phys += run as u64 * shape.bytes();
        }
        self.run(job, node, index, left, phys, false)
    }

    /// Writes `count` leaves of one kind.
    fn run(
        &self,
        job: &Job<'_>,
        node: &Node<'_, F>,
        index: usize,
        count: usize,
        phys: u64,
        contiguous: bool,
    ) -> Result<(), MapError> {
        if count == 0 {
            return Ok(());
        }
        if let Some(pages) = &job.pages {
            return self.run_of_pages(job, pages, node, index, count);
        }
        let format = &self.tables.format;
        let level = node.level;
        let size = F::TREE.level(level).bytes();
        let word = |n: usize| {
            let phys = PhysAddr::new(phys + n as u64 * size);
            format.leaf_word(level, &Leaf { phys, attr: job.attr, contiguous })
        };
        let (first, step) = (word(0)?, format.leaf_step(level, contiguous));
        let at = node.first + index;
        if first.wrapping_add(step.wrapping_mul(count as u64 - 1)) == word(count - 1)? {
            format.store_run(level, node.words, at, count, first, step);
            return Ok(());
        }
        // The address carries into bits that lie elsewhere in the word.
        for n in 0..count {
            format.store(level, node.words, at + n, word(n)?);
        }
        Ok(())
    }

    /// Whether entry `index` is the first of several that share a page of tables, and all of these are empty and get a table that is full of
    /// leaves.
    fn whole_page(
        &self,
        job: &Job<'_>,
        node: &Node<'_, F>,
        index: usize,
        va: u64,
        phys: u64,
        len: u64,
    ) -> bool {
        let Some(below) = node.level.down() else { return false };
        let (shape, per_page) = (F::TREE.level(node.level), F::TREE.level(below).tables_per_page);
        let leaf = F::TREE.level(below).bytes();
        per_page > 1
            && index.is_multiple_of(per_page)
            && va & (shape.bytes() - 1) == 0
            && len / shape.bytes() >= per_page as u64
            && fits(job, below, leaf, phys, leaf)
            && (index..index + per_page).all(|i| node.load(&self.tables.format, i) == 0)
    }

    /// Fills the page of tables below entry `index` and its neighbours, then links it. Returns how many bytes it covers.
    fn page_below(
        &self,
        job: &Job<'_>,
        node: &Node<'_, F>,
        index: usize,
        va: u64,
        phys: u64,
        chain: &mut Chain<F::Word>,
    ) -> Result<u64, MapError> {
        let (format, memory) = (&self.tables.format, &self.tables.memory);
        let size = F::TREE.level(node.level).bytes();
        let damage = Damage { level: node.level, at: format.window().extend(va), word: 0 };
        let below = node.level.down().ok_or(damage)?;
        let page = chain.pop(memory).ok_or(damage)?;
        let tables = F::TREE.level(below).tables_per_page;
        // Each of them is filled to its last entry: nothing need be zeroed.
        for i in 0..tables {
            let word = format.table_word(node.level, index + i, page, job.options.limits);
            let inside = i as u64 * size;
            let table = self.linked(node, va.wrapping_add(inside), word)?;
            self.leaves(
                job,
                &table,
                0,
                F::TREE.level(below).entries(),
                va.wrapping_add(inside),
                phys + inside,
            )?;
        }
        for i in index..index + tables {
            let word = format.table_word(node.level, i, page, job.options.limits);
            format
                .replace(node.level, node.words, node.first + i, 0, word)
                .map_err(|word| Damage { word, ..damage })?;
        }
        Ok(tables as u64 * size)
    }

    /// Fills a piece in the table below entry `index`, which is made if there is none.
    ///
    /// A table that is this cursor's from end to end is linked when it is full. Into one that others may need as well
    /// an empty table is linked first.
    fn below(
        &self,
        job: &Job<'_>,
        node: &Node<'_, F>,
        index: usize,
        piece: Piece,
        chain: &mut Chain<F::Word>,
    ) -> Result<(), MapError> {
        let Piece { va, phys, len } = piece;
        let (format, memory) = (&self.tables.format, &self.tables.memory);
        let found = node.load(format, index);
        if found != 0 {
            return self.fill(job, self.linked(node, va, found)?, false, piece, chain);
        }
        let damage = Damage { level: node.level, at: format.window().extend(va), word: found };
        let below = node.level.down().ok_or(damage)?;
        let per_page = F::TREE.level(below).tables_per_page;
        if let Some(page) = self.shared_page(node, index) {
            let word = format.table_word(node.level, index, page, job.options.limits);
            // Whoever else shares the page would link the same.
            let _ = format.replace(node.level, node.words, node.first + index, 0, word);
            return self.fill(job, self.linked(node, va, word)?, false, piece, chain);
        }
        let page = chain.pop(memory).ok_or(damage)?;
        let words = F::Word::words(memory, page, format.page_words(below)).ok_or(damage)?;
        let whole = per_page == 1 && len == F::TREE.level(node.level).bytes();
        let size = F::TREE.level(below).bytes();
        // Leaves to the last entry: then it need not be zeroed.
        if !(whole && fits(job, below, size, phys, size)) {
            F::Word::store_counted(words, 0, 0);
        }
        let word = format.table_word(node.level, index, page, job.options.limits);
        if whole {
            self.fill(job, self.linked(node, va, word)?, true, piece, chain)?;
            return match format.replace(node.level, node.words, node.first + index, 0, word) {
                Ok(()) => Ok(()),
                Err(word) => Err(Damage { word, ..damage }.into()),
            };
        }
        let group = index / per_page * per_page;
        let mut used = false;
        for i in group..group + per_page {
            let word = format.table_word(node.level, i, page, job.options.limits);
            used |= format.replace(node.level, node.words, node.first + i, 0, word).is_ok();
        }
        if !used {
            chain.push(memory, page);
        }
        let word = node.load(format, index);
        self.fill(job, self.linked(node, va, word)?, false, piece, chain)
    }

    /// The table that entry `index`, which is `word`, leads to.
    fn linked(&self, node: &Node<'_, F>, va: u64, word: u64) -> Result<Node<'_, F>, MapError> {
        match self.tables.format.entry(node.level, word) {
            Entry::Table(next, _) => Ok(self.tables.child(node, next, va, word)?),
            _ => Err(Damage { level: node.level, at: self.tables.format.window().extend(va), word }.into()),
        }
    }
}
