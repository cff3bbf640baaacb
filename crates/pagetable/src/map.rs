//! Mapping: the largest leaves that alignment and policy allow, all or nothing.
//!
//! First a pass that changes nothing: it finds out whether anything is in the way and how many new tables are needed.
//! They are reserved together; after that nothing can fail. The second pass fills. New tables are filled before the entry
//! that leads to them is published.

mod known;
mod pages;

use crate::attr::{Attr, TableLimits};
use crate::chain::Chain;
use crate::error::{Damage, MapError};
use crate::format::{Entry, Format, Leaf};
use crate::memory::{TableMemory, TableSource};
use crate::shape::Level;
use crate::tables::{Cursor, Node};
use crate::word::Word;
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
        let done = self.fill(job, root, false, range.start.get(), phys.get(), range.len, &mut chain);
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

    /// Writes the leaves; every table that is missing is in `chain`. Nothing is in the table if it is `new`.
    #[allow(clippy::too_many_arguments)]
    fn fill(
        &self,
        job: &Job<'_>,
        node: Node<'_, F>,
        new: bool,
        va: u64,
        phys: u64,
        len: u64,
        chain: &mut Chain<F::Word>,
    ) -> Result<(), MapError> {
        let format = &self.tables.format;
        let shape = F::TREE.level(node.level);
        let size = shape.bytes();
        let (mut va, mut phys, mut len) = (va, phys, len);
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
                self.below(job, &node, index, va, phys, chunk, chain)?;
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

    /// Fills `chunk` bytes in the table below entry `index`, which is made if there is none.
    ///
    /// A table that is this cursor's from end to end is linked when it is full. Into one that others may need as well
    /// an empty table is linked first.
    #[allow(clippy::too_many_arguments)]
    fn below(
        &self,
        job: &Job<'_>,
        node: &Node<'_, F>,
        index: usize,
        va: u64,
        phys: u64,
        chunk: u64,
        chain: &mut Chain<F::Word>,
    ) -> Result<(), MapError> {
        let (format, memory) = (&self.tables.format, &self.tables.memory);
        let found = node.load(format, index);
        if found != 0 {
            return self.fill(job, self.linked(node, va, found)?, false, va, phys, chunk, chain);
        }
        let damage = Damage { level: node.level, at: format.window().extend(va), word: found };
        let below = node.level.down().ok_or(damage)?;
        let per_page = F::TREE.level(below).tables_per_page;
        if let Some(page) = self.shared_page(node, index) {
            let word = format.table_word(node.level, index, page, job.options.limits);
            // Whoever else shares the page would link the same.
            let _ = format.replace(node.level, node.words, node.first + index, 0, word);
            return self.fill(job, self.linked(node, va, word)?, false, va, phys, chunk, chain);
        }
        let page = chain.pop(memory).ok_or(damage)?;
        let words = F::Word::words(memory, page, format.page_words(below)).ok_or(damage)?;
        let whole = per_page == 1 && chunk == F::TREE.level(node.level).bytes();
        let size = F::TREE.level(below).bytes();
        // Leaves to the last entry: then it need not be zeroed.
        if !(whole && fits(job, below, size, phys, size)) {
            F::Word::store_counted(words, 0, 0);
        }
        let word = format.table_word(node.level, index, page, job.options.limits);
        if whole {
            self.fill(job, self.linked(node, va, word)?, true, va, phys, chunk, chain)?;
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
        self.fill(job, self.linked(node, va, word)?, false, va, phys, chunk, chain)
    }

    /// The table that entry `index`, which is `word`, leads to.
    fn linked(&self, node: &Node<'_, F>, va: u64, word: u64) -> Result<Node<'_, F>, MapError> {
        match self.tables.format.entry(node.level, word) {
            Entry::Table(next, _) => Ok(self.tables.child(node, next, va, word)?),
            _ => Err(Damage { level: node.level, at: self.tables.format.window().extend(va), word }.into()),
        }
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
