//! Mapping: the largest leaves that alignment and policy allow, all or nothing.
//!
//! First a pass that changes nothing: it finds out whether anything is in the way and how many new tables are needed.
//! They are reserved together; after that nothing can fail. The second pass fills. New tables are filled before the entry
//! that leads to them is published (`fill`).

mod fill;
mod known;
mod pages;

use crate::attr::{Attr, TableLimits};
use crate::chain::Chain;
use crate::error::{Damage, MapError};
use crate::format::{Entry, Format, Leaf};
use crate::memory::{TableMemory, TableSource};
use crate::shape::Level;
use crate::tables::{Cursor, Node};
use fill::Piece;
pub use known::{LeafTables, PageEntries, PageWords};
use pages::Pages;
use pagewright_addr::{PhysAddr, VirtRange};

/// Which leaves a mapping may use, and what its new tables forbid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapOptions {
    /// The largest leaf's level ([`Level::PTE`]: no blocks). More than the format has means all it has.
    pub max_leaf: Level,
    /// Whether contiguous groups are marked where they fit.
    pub contiguous: bool,
    /// What the entries that lead to new tables take away. Tables that exist are left as they are.
    pub limits: TableLimits,
}

impl Default for MapOptions {
    /// The largest leaves, contiguous groups, no limits.
    fn default() -> Self {
        Self { max_leaf: Level::PGD, contiguous: true, limits: TableLimits::empty() }
    }
}

impl MapOptions {
    /// Single pages only (NO_BLOCK_MAPPINGS and NO_CONT_MAPPINGS).
    pub const PAGES: Self = Self { max_leaf: Level::PTE, contiguous: false, limits: TableLimits::empty() };

    /// The same with these limits on new tables.
    #[must_use]
    pub const fn with_limits(mut self, limits: TableLimits) -> Self {
        self.limits = limits;
        self
    }
}

/// What a mapping took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mapped {
    /// New tables.
    pub tables: u64,
}

/// One mapping under way.
struct Job<'o> {
    attr: Attr,
    max_leaf: Level,
    /// For each level, whether contiguous groups can be marked.
    contiguous: [bool; Level::LIMIT],
    options: &'o MapOptions,
    /// Where each page comes from, if they do not follow each other.
    pages: Option<Pages<'o>>,
}

impl<F: Format, M: TableMemory> Cursor<'_, F, M> {
    /// Maps `range` to the memory from `phys` on.
    ///
    /// # Errors
    /// [`MapError`]; then the tree is as it was and every page is back in `source`.
    pub fn map(
        &mut self,
        range: VirtRange,
        phys: PhysAddr,
        attr: Attr,
        options: &MapOptions,
        source: &mut dyn TableSource,
    ) -> Result<Mapped, MapError> {
        self.check_map(range, phys)?;
        let last = phys
            .checked_add(range.len - F::TREE.page_bytes())
            .ok_or(MapError::Attr(crate::attr::AttrError::Address(phys)))?;
        let job = self.job(last, attr, options)?;
        self.map_job(&job, range, phys, source)
    }

    /// Reserves what a mapping needs, and makes it.
    fn map_job(
        &self,
        job: &Job<'_>,
        range: VirtRange,
        phys: PhysAddr,
        source: &mut dyn TableSource,
    ) -> Result<Mapped, MapError> {
        let root = self.tables.root_node()?;
        let needed = self.need(job, root, range.start.get(), phys.get(), range.len)?;
        let memory = &self.tables.memory;
        let mut chain =
            Chain::reserve(memory, source, needed).map_err(|got| MapError::NoTables { needed, got })?;
        let whole = Piece { va: range.start.get(), phys: phys.get(), len: range.len };
        let done = self.fill(job, root, false, whole, &mut chain);
        let tables = needed - chain.len();
        // Another cursor may have made a table that both needed.
        chain.release(memory, source);
        done?;
        Ok(Mapped { tables })
    }

    /// Finds out which leaves can be used at all, so that nothing fails later. `last` is the highest page.
    fn job<'o>(&self, last: PhysAddr, attr: Attr, options: &'o MapOptions) -> Result<Job<'o>, MapError> {
        let format = &self.tables.format;
        // The last page has the highest address bits; blocks of a level all encode if the one at 0 does.
        format.leaf_word(Level::PTE, &Leaf { phys: last, attr, contiguous: false })?;
        let mut job =
            Job { attr, max_leaf: Level::PTE, contiguous: [false; Level::LIMIT], options, pages: None };
        let zero = |contiguous| Leaf { phys: PhysAddr::ZERO, attr, contiguous };
        for n in 0..=options.max_leaf.index().min(F::TREE.max_leaf().index()) {
            let level = Level::new(n);
            if format.leaf_word(level, &zero(false)).is_err() {
                break;
            }
            job.max_leaf = level;
            job.contiguous[n] = options.contiguous
                && F::TREE.level(level).contiguous > 1
                && format.leaf_word(level, &zero(true)).is_ok();
        }
        Ok(job)
    }

    /// How many new tables mapping `len` bytes at `va` below `node` takes; nothing may be in the way.
    fn need(&self, job: &Job<'_>, node: Node<'_, F>, va: u64, phys: u64, len: u64) -> Result<u64, MapError> {
        let format = &self.tables.format;
        let shape = F::TREE.level(node.level);
        let (mut va, mut phys, mut len) = (va, phys, len);
        let mut needed = 0;
        // The group of entries for which a page was counted last: its other entries share the page.
        let mut counted = usize::MAX;
        while len > 0 {
            let index = shape.index(va);
            let mut chunk = len.min(shape.bytes() - (va & (shape.bytes() - 1)));
            let word = node.load(format, index);
            if word == 0 {
                if let Some(below) =
                    node.level.down().filter(|_| !fits(job, node.level, shape.bytes(), phys, chunk))
                {
                    let group = index / F::TREE.level(below).tables_per_page;
                    if group != counted && self.shared_page(&node, index).is_none() {
                        needed += 1;
                    }
                    counted = group;
                    needed += fresh::<F>(job, below, va, phys, chunk);
                } else {
                    // A leaf; as whole entries after it are leaves as well, only empty ones are looked for.
                    let most = ((len / shape.bytes()) as usize).clamp(1, shape.entries() - index);
                    let more = format.count_empty(node.level, node.words, node.first + index + 1, most - 1);
                    chunk += more as u64 * shape.bytes();
                }
            } else {
                match format.entry(node.level, word) {
                    Entry::Table(next, _) => {
                        let child = self.tables.child(&node, next, va, word)?;
                        needed += self.need(job, child, va, phys, chunk)?;
                    }
                    Entry::Reserved(word) => {
                        return Err(Damage { level: node.level, at: format.window().extend(va), word }.into());
                    }
                    _ => {
                        let at = format.window().extend(va);
                        return Err(MapError::AlreadyMapped { at, level: node.level, word });
                    }
                }
            }
            va = va.wrapping_add(chunk);
            phys += chunk;
            len -= chunk;
        }
        Ok(needed)
    }

    /// The page that an empty entry's table would share with a neighbour's, if the neighbour has a table.
    pub(crate) fn shared_page(&self, node: &Node<'_, F>, index: usize) -> Option<PhysAddr> {
        let below = node.level.down()?;
        let per_page = F::TREE.level(below).tables_per_page;
        let group = index / per_page * per_page;
        (group..group + per_page).filter(|&i| i != index).find_map(|i| {
            match self.tables.format.entry(node.level, node.load(&self.tables.format, i)) {
                Entry::Table(first_entry, _) => Some(self.tables.format.locate(below, first_entry).0),
                _ => None,
            }
        })
    }
}

/// Whether `chunk` bytes can be one leaf of `level`.
#[inline]
fn fits(job: &Job<'_>, level: Level, size: u64, phys: u64, chunk: u64) -> bool {
    level <= job.max_leaf && chunk == size && phys & (size - 1) == 0
}

/// How many tables below one new table of `level` a mapping inside it takes.
fn fresh<F: Format>(job: &Job<'_>, level: Level, va: u64, phys: u64, len: u64) -> u64 {
    let last = va.wrapping_add(len - 1);
    let mut needed = 0;
    for n in 0..level.index() {
        let above = F::TREE.level(Level::new(n + 1));
        let per_page = F::TREE.level(Level::new(n)).tables_per_page as u64;
        // Numbers relative to the new table, so that the top of the address space is nothing special.
        let mask = (1u64 << (F::TREE.level(level).shift + F::TREE.level(level).index_bits)) - 1;
        let (first, end) = ((va & mask) >> above.shift, (last & mask) >> above.shift);
        let blocks = n < job.max_leaf.index() && (va ^ phys) & (above.bytes() - 1) == 0;
        if !blocks {
            needed += end / per_page - first / per_page + 1;
            continue;
        }
        // Only entries that are covered in part need a table: the first, the last, or neither.
        let part_first = va & (above.bytes() - 1) != 0;
        let part_last = last & (above.bytes() - 1) != above.bytes() - 1;
        let head = (part_first || (part_last && first == end)).then_some(first / per_page);
        let tail = (part_last && first != end).then_some(end / per_page);
        needed += u64::from(head.is_some()) + u64::from(tail.is_some() && tail != head);
    }
    needed
}
