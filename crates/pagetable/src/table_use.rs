//! How many tables a range of a tree takes, and the least that could hold what is mapped there.

use crate::error::Damage;
use crate::format::{Entry, Format};
use crate::memory::TableMemory;
use crate::shape::{Level, Shape};
use crate::tables::{Node, Tables};
use crate::walk::WalkError;
use pagewright_addr::VirtRange;

/// Table pages of a range of addresses; the root is not counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TableUse {
    /// Those that entries of the range lead to.
    pub built: u64,
    /// The least that could hold its leaves ([`TableMinimum`]).
    pub minimum: u64,
}

/// Counts the fewest table pages, besides the root, that leaves of given sizes can stand in.
///
/// A table of a level covers a fixed span of addresses, so that there must be one for every span with a leaf of that level or of
/// a lower one in it. Where several tables share a page, neighbours count as one.
#[derive(Clone, Copy, Debug)]
pub struct TableMinimum {
    shape: &'static Shape,
    /// For each level, the last span that was counted.
    last: [Option<u64>; Level::LIMIT],
    tables: [u64; Level::LIMIT],
}

impl TableMinimum {
    /// Nothing mapped yet.
    pub const fn new(shape: &'static Shape) -> Self {
        Self { shape, last: [None; Level::LIMIT], tables: [0; Level::LIMIT] }
    }

    /// Adds leaves of `level`, that cover `range`. Ranges come in the order of addresses; an empty one adds nothing.
    pub fn add(&mut self, range: VirtRange, level: Level) {
        if range.is_empty() {
            return;
        }
        // The root is there anyway.
        for n in level.index()..self.shape.count() - 1 {
            let here = self.shape.level(Level::new(n));
            let page = here.index_bits + here.tables_per_page.trailing_zeros();
            let span = |va: u64| va >> here.shift >> page;
            let (first, last) = (span(range.start.get()), span(range.last().get()));
            let shared = u64::from(self.last[n] == Some(first));
            self.tables[n] += last - first + 1 - shared;
            self.last[n] = Some(last);
        }
    }

    /// Table pages of each level.
    pub const fn by_level(&self) -> [u64; Level::LIMIT] {
        self.tables
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.tables.iter().sum()
    }
}

impl<F: Format, M: TableMemory> Tables<F, M> {
    /// The tables below `range`, and the fewest that could hold its leaves and what software keeps there. At most
    /// `most_tables` tables are looked at.
    ///
    /// # Errors
    /// [`WalkError`] for a tree that is damaged.
    pub fn table_use(&self, range: VirtRange, most_tables: u64) -> Result<TableUse, WalkError> {
        let mut minimum = TableMinimum::new(F::TREE);
        self.walk(range, most_tables, &mut |run| minimum.add(run.range, run.level))?;
        let mut left = most_tables;
        let mut built = 0;
        for part in self.format().window().ranges() {
            let (start, last) = (part.start.max(range.start), part.last().min(range.last()));
            if !part.is_empty() && !range.is_empty() && start <= last {
                let len = (last.get() - start.get()).saturating_add(1);
                built += self.count(self.root_node()?, start.get(), len, &mut left)?;
            }
        }
        Ok(TableUse { built, minimum: minimum.total() })
    }

    /// Table pages below the entries of `node` for `len` bytes from `va` on.
    fn count(&self, node: Node<'_, F>, va: u64, len: u64, left: &mut u64) -> Result<u64, WalkError> {
        *left = left.checked_sub(1).ok_or(WalkError::TooManyTables)?;
        let shape = F::TREE.level(node.level);
        let (mut va, mut len, mut pages) = (va, len, 0);
        let mut last_page = None;
        while len > 0 {
            let chunk = len.min(shape.bytes() - (va & (shape.bytes() - 1)));
            let word = node.load(self.format(), shape.index(va));
            match self.format().entry_at(node.level, word, va) {
                Entry::Table(next, _) => {
                    let child = self.child(&node, next, va, word)?;
                    // Neighbours may share a page: it counts once.
                    pages += u64::from(last_page != Some(child.page));
                    last_page = Some(child.page);
                    pages += self.count(child, va, chunk, left)?;
                }
                Entry::Reserved(word) => {
                    let at = self.format().window().extend(va);
                    return Err(Damage { level: node.level, at, word }.into());
                }
                _ => {}
            }
            va = va.wrapping_add(chunk);
            len -= chunk;
        }
        Ok(pages)
    }
}
