//! Whether a tree is well formed, and what is in it.

use crate::error::Damage;
use crate::format::{Entry, Format, Leaf};
use crate::memory::TableMemory;
use crate::shape::Level;
use crate::tables::{Node, Tables};
use crate::walk::WalkError;
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr};

/// What a tree consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TreeStats {
    /// Pages with tables, by the level of the tables; the root is not counted.
    pub tables: [u64; Level::LIMIT],
    /// Leaves by level.
    pub leaves: [u64; Level::LIMIT],
    /// Pages with tables in which there is nothing.
    pub empty: u64,
}

impl TreeStats {
    /// Pages with tables, besides the root.
    pub fn table_pages(&self) -> u64 {
        self.tables.iter().sum()
    }
}

/// What is wrong with a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// It cannot be walked.
    Walk(WalkError),
    /// The entries of a contiguous group do not say the same, or are not all there.
    BrokenGroup {
        /// The group's first address.
        at: VirtAddr,
        /// The entries' level.
        level: Level,
    },
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Walk(e) => e.fmt(f),
            Self::BrokenGroup { at, level } => {
                write!(f, "the contiguous group at {at:#x} (level {}) is not whole", level.get())
            }
        }
    }
}

impl core::error::Error for Invalid {}

impl From<Damage> for Invalid {
    fn from(d: Damage) -> Self {
        Self::Walk(WalkError::Damaged(d))
    }
}

impl<F: Format, M: TableMemory> Tables<F, M> {
    /// Checks every entry of the tree and counts what is in it; at most `most_tables` tables are looked at.
    ///
    /// # Errors
    /// [`Invalid`] names the first thing that is wrong.
    pub fn validate(&self, most_tables: u64) -> Result<TreeStats, Invalid> {
        let mut stats = TreeStats::default();
        let mut left = most_tables;
        self.check(self.root_node()?, 0, &mut left, &mut stats)?;
        Ok(stats)
    }

    fn check(
        &self,
        node: Node<'_, F>,
        va: u64,
        left: &mut u64,
        stats: &mut TreeStats,
    ) -> Result<(), Invalid> {
        *left = left.checked_sub(1).ok_or(Invalid::Walk(WalkError::TooManyTables))?;
        let shape = F::TREE.level(node.level);
        let mut last_page = None;
        for index in 0..shape.entries() {
            let va = va + index as u64 * shape.bytes();
            let word = node.load(&self.format, index);
            if word == 0 {
                continue;
            }
            match self.format.entry_at(node.level, word, va) {
                Entry::Empty | Entry::Software(_) => {}
                Entry::Table(next, _) => {
                    let child = self.child(&node, next, va, word)?;
                    // Neighbours may share a page: it counts once.
                    if last_page != Some(child.page) {
                        stats.tables[child.level.index()] += 1;
                        stats.empty += u64::from((0..child.words.len()).all(|i| !F::is_used(child.words, i)));
                        last_page = Some(child.page);
                    }
                    self.check(child, va, left, stats)?;
                }
                Entry::Leaf(leaf) => {
                    stats.leaves[node.level.index()] += 1;
                    if leaf.contiguous {
                        self.check_group(&node, index, va, &leaf)?;
                    }
                }
                Entry::Reserved(word) => {
                    return Err(
                        Damage { level: node.level, at: self.format.window().extend(va), word }.into()
                    );
                }
            }
        }
        Ok(())
    }

    /// Whether the entry agrees with the first of its group. Accessed and dirty bits may differ: hardware sets them in any
    /// one entry for all of them.
    fn check_group(&self, node: &Node<'_, F>, index: usize, va: u64, leaf: &Leaf) -> Result<(), Invalid> {
        let shape = F::TREE.level(node.level);
        let first = index / shape.contiguous.max(1) as usize * shape.contiguous as usize;
        let offset = (index - first) as u64 * shape.bytes();
        let broken = Invalid::BrokenGroup { at: self.format.window().extend(va - offset), level: node.level };
        let state = crate::attr::AttrFlags::ACCESSED | crate::attr::AttrFlags::DIRTY;
        let Entry::Leaf(head) = self.format.entry(node.level, node.load(&self.format, first)) else {
            return Err(broken);
        };
        let expected = Leaf {
            phys: PhysAddr::new(head.phys.get() + offset),
            attr: head.attr.changed(leaf.attr.flags & state, state),
            contiguous: true,
        };
        // A group that lost its tail is found from its last entry.
        let tail = index - first + 1 < shape.contiguous as usize
            && !matches!(self.format.entry(node.level, node.load(&self.format, index + 1)),
                Entry::Leaf(next) if next.contiguous);
        if *leaf != expected || tail || !head.phys.is_aligned(shape.contiguous_bytes()) {
            return Err(broken);
        }
        Ok(())
    }
}
