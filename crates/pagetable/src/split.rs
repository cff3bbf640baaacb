//! Splitting blocks and contiguous groups, and putting blocks together again.

use crate::attr::TableLimits;
use crate::chain::Chain;
use crate::change::Live;
use crate::error::{Damage, UnmapError};
use crate::flush::{FlushScope, PendingFlush};
use crate::format::{Entry, Format, Leaf};
use crate::memory::{TableMemory, TableSource};
use crate::shape::Level;
use crate::tables::{Cursor, Node};
use crate::word::Word;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};

impl<F: Format, M: TableMemory> Cursor<'_, F, M> {
    /// Makes `at` the beginning of a leaf that stands alone: blocks and contiguous groups that it lies inside are split, level
    /// by level, into leaves with the same attributes. Where nothing is mapped, or `at` is such a beginning already, nothing happens. New
    /// tables get `limits`. Returns how many there were.
    ///
    /// # Errors
    /// [`UnmapError`]; a step that failed changed nothing, the steps before it stay done and flushed (on formats with
    /// break-before-make) or are harmless without a flush: old and new say the same.
    pub fn split(
        &mut self,
        at: VirtAddr,
        limits: TableLimits,
        source: &mut dyn TableSource,
        mut live: Live<'_>,
    ) -> Result<(u64, PendingFlush<F::Word>), UnmapError> {
        if !at.is_aligned(F::TREE.page_bytes()) {
            return Err(UnmapError::Unaligned(VirtRange { start: at, len: F::TREE.page_bytes() }));
        }
        let mut pending = PendingFlush::nothing();
        let mut tables = 0;
        loop {
            let Ok((leaf, level, start)) = self.tables.leaf(at) else { return Ok((tables, pending)) };
            let shape = F::TREE.level(level);
            let bytes = if leaf.contiguous { shape.contiguous_bytes() } else { shape.bytes() };
            let start = start.align_down(bytes);
            if start == at {
                return Ok((tables, pending));
            }
            let range = VirtRange { start, len: bytes };
            if !self.holds(range) {
                return Err(UnmapError::OutsideCursor(range));
            }
            live.check::<F>(start, level)?;
            let (node, index) = self.node_of(start, level)?;
            if leaf.contiguous {
                self.unmark(&node, index, range, &mut live)?;
            } else {
                tables += self.split_block(&node, index, range, &leaf, limits, source, &mut live)?;
            }
            if !live.breaks::<F>() {
                pending.add(range, level, shape.bytes());
            }
        }
    }

    /// Splits at both ends of a range, so that it can be unmapped or changed.
    ///
    /// # Errors
    /// As for [`Self::split`]; one end may be split then.
    pub fn split_ends(
        &mut self,
        range: VirtRange,
        limits: TableLimits,
        source: &mut dyn TableSource,
        live: &mut Live<'_>,
    ) -> Result<(u64, PendingFlush<F::Word>), UnmapError> {
        let (mut tables, mut pending) = self.split(range.start, limits, source, live.again())?;
        if let Some(end) = range.last().checked_add(1).filter(|e| self.tables.format.window().contains(*e)) {
            let (more, second) = self.split(end, limits, source, live.again())?;
            tables += more;
            pending = pending.merge(&self.tables.memory, second);
        }
        Ok((tables, pending))
    }

    /// The table of `level` with the entry for `va`, and the entry's index.
    fn node_of(&self, va: VirtAddr, level: Level) -> Result<(Node<'_, F>, usize), UnmapError> {
        let format = &self.tables.format;
        let mut node = self.tables.root_node()?;
        while node.level != level {
            let word = node.load(format, F::TREE.level(node.level).index(va.get()));
            match format.entry(node.level, word) {
                Entry::Table(next, _) => node = self.tables.child(&node, next, va.get(), word)?,
                _ => return Err(Damage { level: node.level, at: va, word }.into()),
            }
        }
        Ok((node, F::TREE.level(level).index(va.get())))
    }

    /// Rewrites a contiguous group without its mark.
    fn unmark(
        &self,
        node: &Node<'_, F>,
        index: usize,
        range: VirtRange,
        live: &mut Live<'_>,
    ) -> Result<(), UnmapError> {
        let format = &self.tables.format;
        let shape = F::TREE.level(node.level);
        let group = shape.contiguous as usize;
        let mut attr = None;
        // Hardware may set accessed and dirty bits in any entry of the group, for all of it.
        for n in 0..group {
            if let Entry::Leaf(leaf) = format.entry(node.level, node.load(format, index + n)) {
                let all = attr.get_or_insert(leaf);
                all.attr.flags |= leaf.attr.flags;
            }
        }
        let Some(first) = attr else { return Ok(()) };
        if live.breaks::<F>() {
            for n in 0..group {
                format.take(node.level, node.words, node.first + index + n);
            }
            live.flush(&scope(range, shape.bytes(), Some(node.level)));
        }
        for n in 0..group {
            let phys = PhysAddr::new(first.phys.get() + n as u64 * shape.bytes());
            let word = format.leaf_word(node.level, &Leaf { phys, attr: first.attr, contiguous: false })?;
            format.store(node.level, node.words, node.first + index + n, word);
        }
        Ok(())
    }

    /// Puts a table of smaller leaves in the place of a block.
    #[allow(clippy::too_many_arguments)]
    fn split_block(
        &self,
        node: &Node<'_, F>,
        index: usize,
        range: VirtRange,
        leaf: &Leaf,
        limits: TableLimits,
        source: &mut dyn TableSource,
        live: &mut Live<'_>,
    ) -> Result<u64, UnmapError> {
        let (format, memory) = (&self.tables.format, &self.tables.memory);
        let damage = Damage { level: node.level, at: range.start, word: node.load(format, index) };
        let below = node.level.down().ok_or(damage)?;
        let shape = F::TREE.level(below);
        let first = format.leaf_word(below, &Leaf { contiguous: false, ..*leaf })?;
        let step = format.leaf_step(below, false);
        let shared = self.shared_page(node, index);
        let page = match shared {
            Some(page) => page,
            None => {
                let mut one = Chain::<F::Word>::reserve(memory, source, 1)
                    .map_err(|got| UnmapError::NoTables { needed: 1, got })?;
                one.pop(memory).ok_or(damage)?
            }
        };
        let words = F::Word::words(memory, page, format.page_words(below)).ok_or(damage)?;
        if shared.is_none() {
            for cell in words {
                F::Word::store(cell, 0);
            }
        }
        let word = format.table_word(node.level, index, page, limits);
        let Entry::Table(first_entry, _) = format.entry(node.level, word) else { return Err(damage.into()) };
        let (_, at) = format.locate(below, first_entry);
        format.store_run(below, words, at, shape.entries(), first, step);
        if live.breaks::<F>() {
            let was = format.take(node.level, node.words, node.first + index);
            live.flush(&scope(range, range.len, Some(node.level)));
            // What hardware noted about the block since it was read holds for every part of it.
            if let Entry::Leaf(last) = format.entry(node.level, was)
                && last.attr != leaf.attr
            {
                let first = format.leaf_word(below, &Leaf { contiguous: false, ..last })?;
                format.store_run(below, words, at, shape.entries(), first, step);
            }
            // The slot is empty and this cursor's: nothing can have come in between.
            let _ = format.replace(node.level, node.words, node.first + index, 0, word);
            return Ok(u64::from(shared.is_none()));
        }
        let mut old = damage.word;
        while let Err(found) = format.replace(node.level, node.words, node.first + index, old, word) {
            let Entry::Leaf(last) = format.entry(node.level, found) else { return Err(damage.into()) };
            let first = format.leaf_word(below, &Leaf { contiguous: false, ..last })?;
            format.store_run(below, words, at, shape.entries(), first, step);
            old = found;
        }
        Ok(u64::from(shared.is_none()))
    }

    /// Puts one leaf in the place of the table below the entry of `level` for `at`, if all that the table holds is leaves
    /// that follow each other from an aligned address on and say the same (accessed and dirty bits apart: they
    /// are joined). Returns `false` if they do not. Live tables are flushed in between on every format, so
    /// [`Live::Always`] is refused.
    ///
    /// # Errors
    /// [`UnmapError`]; then nothing was changed.
    pub fn collapse(
        &mut self,
        at: VirtAddr,
        level: Level,
        mut live: Live<'_>,
    ) -> Result<(bool, PendingFlush<F::Word>), UnmapError> {
        let mut pending = PendingFlush::nothing();
        let format = &self.tables.format;
        let nothing = |pending| Ok((false, pending));
        if level.index() > F::TREE.max_leaf().index() || level == Level::PTE {
            return nothing(pending);
        }
        let shape = F::TREE.level(level);
        let range = VirtRange { start: at.align_down(shape.bytes()), len: shape.bytes() };
        if !format.window().contains(at) {
            return Err(UnmapError::OutsideWindow(range));
        }
        if !self.holds(range) {
            return Err(UnmapError::OutsideCursor(range));
        }
        let Ok((node, index)) = self.node_of(range.start, level) else { return nothing(pending) };
        let word = node.load(format, index);
        let Entry::Table(next, limits) = format.entry(level, word) else { return nothing(pending) };
        let child = self.tables.child(&node, next, range.start.get(), word)?;
        let Some(leaf) = self.uniform(&child) else { return nothing(pending) };
        // A block says for itself what the table entry took away.
        let attr = crate::attr::Attr { flags: limits.apply(leaf.attr.flags), ..leaf.attr };
        let Ok(block) = format.leaf_word(level, &Leaf { attr, contiguous: false, ..leaf }) else {
            return nothing(pending);
        };
        if matches!(live, Live::Always) {
            return Err(UnmapError::NeedsBreak { at: range.start, level });
        }
        let small = F::TREE.level(child.level).bytes();
        let flush = FlushScope { tables_freed: true, ..scope(range, small, None) };
        if live.breaks::<F>() {
            format.take(level, node.words, node.first + index);
            live.flush(&flush);
            format.store(level, node.words, node.first + index, block);
        } else {
            // Old and new say the same, so the address leads there all the time. But the table may not be touched as long as
            // a walk cache leads into it.
            format.store(level, node.words, node.first + index, block);
            live.flush(&flush);
        }
        pending.add(range, child.level, small);
        self.drop_replaced(&node, index, range, &child, &mut pending);
        Ok((true, pending))
    }

    /// The leaf that all of a table amounts to.
    fn uniform(&self, child: &Node<'_, F>) -> Option<Leaf> {
        let format = &self.tables.format;
        let shape = F::TREE.level(child.level);
        let state = crate::attr::AttrFlags::ACCESSED | crate::attr::AttrFlags::DIRTY;
        let mut all: Option<Leaf> = None;
        for i in 0..shape.entries() {
            let Entry::Leaf(leaf) = format.entry(child.level, child.load(format, i)) else { return None };
            let first = all.get_or_insert(leaf);
            let same = Leaf {
                phys: PhysAddr::new(first.phys.get() + i as u64 * shape.bytes()),
                attr: first.attr.changed(leaf.attr.flags & state, state),
                contiguous: leaf.contiguous,
            };
            if leaf != same {
                return None;
            }
            first.attr.flags |= leaf.attr.flags;
        }
        all.filter(|leaf| leaf.phys.is_aligned(shape.bytes() << shape.index_bits))
    }

    /// The page of a table that was just replaced, if no neighbour uses it.
    fn drop_replaced(
        &self,
        node: &Node<'_, F>,
        index: usize,
        range: VirtRange,
        child: &Node<'_, F>,
        pending: &mut PendingFlush<F::Word>,
    ) {
        let format = &self.tables.format;
        let shape = F::TREE.level(child.level);
        if shape.tables_per_page > 1 {
            for i in 0..shape.entries() {
                format.store(child.level, child.words, child.first + i, 0);
            }
        }
        if let Some(page) = self.shared_page(node, index) {
            // A neighbour's table is in the page: it goes when that is empty too.
            let covered = shape.bytes() * (shape.entries() * shape.tables_per_page) as u64;
            let span = VirtRange { start: range.start.align_down(covered), len: covered };
            let used = (0..child.words.len()).any(|i| F::is_used(child.words, i));
            if !used && self.holds(span) {
                for i in 0..shape.tables_per_page {
                    let i = index / shape.tables_per_page * shape.tables_per_page + i;
                    if let Entry::Table(..) = format.entry(node.level, node.load(format, i)) {
                        format.take(node.level, node.words, node.first + i);
                    }
                }
                pending.add_table(&self.tables.memory, page, span, covered / shape.tables_per_page as u64);
            }
            return;
        }
        pending.add_table(&self.tables.memory, child.page, range, F::TREE.level(node.level).bytes());
    }
}

fn scope(range: VirtRange, stride_bytes: u64, level: Option<Level>) -> FlushScope {
    FlushScope { range, stride_bytes, level, tables_freed: false, asid: None }
}
