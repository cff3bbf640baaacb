//! Unmapping: leaves go, emptied tables wait for their flush.

use crate::error::{Damage, UnmapError};
use crate::flush::PendingFlush;
use crate::format::{Entry, Format};
use crate::memory::TableMemory;
use crate::shape::Level;
use crate::tables::{Cursor, Node};
use crate::walk::{Run, Runs, run_limit};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};

impl<F: Format, M: TableMemory> Cursor<'_, F, M> {
    /// Takes everything in `range` out. Each run of leaves that was there is told to `gone`, with the state
    /// that hardware left in it; what software kept in empty entries too. Holes are no error.
    ///
    /// # Errors
    /// [`UnmapError`]; then nothing was changed. Entries that are damaged stay where they are, everything around them is taken
    /// out, and [`PendingFlush::damage`] names the first.
    pub fn unmap(
        &mut self,
        range: VirtRange,
        gone: &mut dyn FnMut(&Run),
    ) -> Result<PendingFlush<F::Word>, UnmapError> {
        self.check_change(range)?;
        let mut pending = PendingFlush::nothing();
        let root = self.tables.root_node()?;
        let mut runs = Runs::new(self.tables.format, gone);
        self.clear(root, range.start.get(), range.len, &mut runs, &mut pending);
        runs.end();
        Ok(pending)
    }

    fn clear(
        &self,
        node: Node<'_, F>,
        va: u64,
        len: u64,
        runs: &mut Runs<'_, F>,
        pending: &mut PendingFlush<F::Word>,
    ) {
        let format = &self.tables.format;
        let shape = F::TREE.level(node.level);
        let (mut va, mut len) = (va, len);
        // The page of tables that was looked at last, and how many of its tables were cleared from end to end, one after the other.
        let mut page = (PhysAddr::ZERO, 0);
        while len > 0 {
            let index = shape.index(va);
            let mut chunk = len.min(shape.bytes() - (va & (shape.bytes() - 1)));
            let word = node.load(format, index);
            let start = format.window().extend(va);
            match format.entry_at(node.level, word, va) {
                Entry::Empty => {}
                Entry::Table(next, _) => match self.tables.child(&node, next, va, word) {
                    Ok(child) => {
                        let before = pending.damage();
                        self.clear(child, va, chunk, runs, pending);
                        // A table of pages that was cleared from end to end need not be looked through.
                        let cleared =
                            child.level == Level::PTE && chunk == shape.bytes() && pending.damage() == before;
                        let so_far = if page.0 == child.page { page.1 } else { 0 };
                        page = (child.page, if cleared { so_far + 1 } else { 0 });
                        // Where the next entry's table shares the page and is cleared as well, it is time then.
                        if !(cleared && self.shares_with_next(&node, index, child.page, len - chunk)) {
                            let cleared = page.1 == F::TREE.level(child.level).tables_per_page;
                            self.drop_if_empty(&node, index, va, &child, cleared, pending);
                        }
                    }
                    Err(damage) => pending.note(damage),
                },
                Entry::Reserved(word) => pending.note(Damage { level: node.level, at: start, word }),
                Entry::Software(_) => {
                    let was = format.take(node.level, node.words, node.first + index);
                    runs.add(start, node.level, was);
                }
                Entry::Leaf(leaf) => {
                    let most = (len / shape.bytes()).clamp(1, (shape.entries() - index) as u64) as usize;
                    let most = run_limit::<F>(node.level, &leaf, index, most);
                    let step = format.leaf_step(node.level, leaf.contiguous);
                    let count = format.take_run(node.level, node.words, node.first + index, most, word, step);
                    if count == 0 {
                        // Hardware changed the entry just now: look at it again.
                        continue;
                    }
                    runs.add_leaves(start, node.level, word, &leaf, count);
                    chunk = count as u64 * shape.bytes();
                    pending.add(VirtRange { start, len: chunk }, node.level, shape.bytes());
                }
            }
            va = va.wrapping_add(chunk);
            len = len.saturating_sub(chunk);
        }
    }

    /// Whether the entry after `index` leads to a table in the same page, and all of it is among the next `len` bytes.
    fn shares_with_next(&self, node: &Node<'_, F>, index: usize, page: PhysAddr, len: u64) -> bool {
        let shape = F::TREE.level(node.level);
        let Some(below) = node.level.down() else { return false };
        let per_page = F::TREE.level(below).tables_per_page;
        let format = &self.tables.format;
        per_page > 1
            && !(index + 1).is_multiple_of(per_page)
            && len >= shape.bytes()
            && matches!(
                format.entry(node.level, node.load(format, index + 1)),
                Entry::Table(next, _) if format.locate(below, next).0 == page
            )
    }

    /// Unlinks the page of `child`, below entry `index` of `node`, if nothing is left in it and no other cursor can be in it.
    fn drop_if_empty(
        &self,
        node: &Node<'_, F>,
        index: usize,
        va: u64,
        child: &Node<'_, F>,
        cleared: bool,
        pending: &mut PendingFlush<F::Word>,
    ) {
        let format = &self.tables.format;
        let per_page = F::TREE.level(child.level).tables_per_page;
        let covered = F::TREE.level(node.level).bytes() * per_page as u64;
        let span = VirtRange {
            start: VirtAddr::new(format.window().extend(va).get() & !(covered - 1)),
            len: covered,
        };
        if !self.holds(span) || !(cleared || (0..child.words.len()).all(|i| !F::is_used(child.words, i))) {
            return;
        }
        let group = index / per_page * per_page;
        let mut page = None;
        for i in group..group + per_page {
            if let Entry::Table(first_entry, _) = format.entry(node.level, node.load(format, i)) {
                let (at, _) = format.locate(child.level, first_entry);
                if page.is_none_or(|p| p == at) {
                    format.take(node.level, node.words, node.first + i);
                    page = Some(at);
                }
            }
        }
        if let Some(page) = page {
            // Each entry that led there may be in a walk cache by itself.
            let step = F::TREE.level(node.level).bytes();
            pending.add_table(&self.tables.memory, page, span, step);
        }
    }
}
