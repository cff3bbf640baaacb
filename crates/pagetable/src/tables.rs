//! A tree of tables, and the cursor that may change it.
//!
//! # Who may do what
//! Anyone may read a tree at any time ([`Tables::translate`], [`Tables::walk`]): entries are atomic, and a table is filled
//! before the entry that leads to it is published. Changing takes a [`Cursor`], which holds a range of addresses: no two
//! cursors of a tree overlap. Cursors of different ranges share upper tables; they add entries there with
//! compare-and-swap, and take a table out only when everything it covers is in their own range. So no cursor frees a
//! table that another one could be in.

use crate::error::{Damage, MapError, UnmapError};
use crate::format::{Entry, Format, Leaf, Step};
use crate::lock::{LockError, RangeGuard, RangeLocks};
use crate::memory::TableMemory;
use crate::shape::Level;
use crate::word::Word;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};

/// A tree of page tables in somebody's memory.
///
/// Only one `Tables` of a tree may make cursors; for looking there may be more.
#[derive(Debug)]
pub struct Tables<F: Format, M: TableMemory> {
    pub(crate) format: F,
    pub(crate) memory: M,
    pub(crate) root: PhysAddr,
    locks: RangeLocks,
}

/// What an address leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The byte that the address means.
    pub phys: PhysAddr,
    /// The leaf's level: how large the mapping is.
    pub level: Level,
}

/// Why an address leads nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmapped {
    /// The tree does not translate it.
    OutsideWindow,
    /// The entry at this level is not for the hardware.
    Absent(Level, u64),
    /// The tree is damaged.
    Damaged(Damage),
}

/// One table, opened: the words of its page and where in them its entries begin.
pub(crate) struct Node<'m, F: Format> {
    pub(crate) level: Level,
    /// Where its page is.
    pub(crate) page: PhysAddr,
    pub(crate) words: &'m [<F::Word as Word>::Atomic],
    pub(crate) first: usize,
}

impl<F: Format> Clone for Node<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Format> Copy for Node<'_, F> {}

impl<F: Format> Node<'_, F> {
    #[inline]
    pub(crate) fn load(&self, format: &F, index: usize) -> u64 {
        format.load(self.level, self.words, self.first + index)
    }
}

impl<F: Format, M: TableMemory> Tables<F, M> {
    /// The tree whose root table's first entry is at `root`. The root has to be zeroed, or hold a tree of this format.
    pub const fn new(format: F, memory: M, root: PhysAddr) -> Self {
        Self { format, memory, root, locks: RangeLocks::new() }
    }

    /// The format.
    pub const fn format(&self) -> &F {
        &self.format
    }

    /// The memory with the tables.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// Where the root table is.
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// The right to change everything.
    pub fn cursor(&mut self) -> Cursor<'_, F, M> {
        Cursor { tables: self, range: None, _guard: None }
    }

    /// The right to change `range`, as long as no other cursor has any of it.
    ///
    /// # Errors
    /// [`LockError`] says which range is in the way.
    pub fn lock(&self, range: VirtRange) -> Result<Cursor<'_, F, M>, LockError> {
        let guard = self.locks.lock(range)?;
        Ok(Cursor { tables: self, range: Some(range), _guard: Some(guard) })
    }

    /// Where `va` leads, whoever may use it and whether it is young or old.
    ///
    /// # Errors
    /// [`Unmapped`] says at which level nothing was found.
    #[inline]
    pub fn translate(&self, va: VirtAddr) -> Result<Translation, Unmapped> {
        self.descend(self.format, self.root, va, |at| Some(F::Word::load(F::Word::word(&self.memory, at)?)))
    }

    /// [`Self::translate`], with entries as `load` reads them. Format and root come by value, to stay in registers: what is behind a
    /// reference is read again after each entry.
    #[inline(always)]
    pub(crate) fn descend(
        &self,
        format: F,
        root: PhysAddr,
        va: VirtAddr,
        load: impl Fn(PhysAddr) -> Option<u64>,
    ) -> Result<Translation, Unmapped> {
        if !format.window().contains(va) {
            return Err(Unmapped::OutsideWindow);
        }
        let mut table = root;
        // Each level is code of its own with constant shifts and masks: a loop over levels costs four times as much.
        macro_rules! level {
            ($n:literal) => {
                if const { $n < F::SHAPE.count() } {
                    match self.step::<$n>(&format, table, va, &load)? {
                        Step::Table(next) => table = next,
                        // The slow way knows about groups.
                        Step::Leaf(_)
                            if F::GROUP_ADDRESS
                                && const { F::SHAPE.level(Level::new($n)).contiguous > 0 } =>
                        {
                            let (leaf, level, start) = self.leaf(va)?;
                            return Ok(Translation {
                                phys: PhysAddr::new(leaf.phys.get() + (va.get() - start.get())),
                                level,
                            });
                        }
                        Step::Leaf(phys) if $n == 0 => return Ok(inside::<F, $n>(phys, va)),
                        // Apart, so that nothing on the way to a page is prepared for blocks.
                        Step::Leaf(phys) => return Ok(inside_block::<F, $n>(phys, va)),
                        Step::Absent => {}
                    }
                }
            };
        }
        level!(4);
        level!(3);
        level!(2);
        level!(1);
        level!(0);
        // The lowest level has no entries that lead on.
        Err(Unmapped::Damaged(Damage { level: Level::PTE, at: va, word: table.get() }))
    }

    /// One level of [`Self::descend`]: the entry for `va` in `table`, never [`Step::Absent`].
    #[inline(always)]
    fn step<const N: usize>(
        &self,
        format: &F,
        table: PhysAddr,
        va: VirtAddr,
        load: &impl Fn(PhysAddr) -> Option<u64>,
    ) -> Result<Step, Unmapped> {
        let level = const { Level::new(N) };
        let index = (va.get() >> const { F::SHAPE.shift_of(N) }) & const { F::SHAPE.mask_of(N) };
        let at = PhysAddr::new(table.get() + index * F::Word::BYTES);
        let Some(word) = load(at) else {
            return Err(Unmapped::Damaged(Damage { level, at: va, word: table.get() }));
        };
        match format.step(level, word) {
            Step::Absent if F::SOFTWARE_WORDS && N == 0 => Ok(Step::Leaf(self.leaf(va)?.0.phys)),
            Step::Absent => Err(Unmapped::Absent(level, word)),
            step => Ok(step),
        }
    }

    /// The leaf that `va` is in, its level and its first address.
    ///
    /// # Errors
    /// As for [`Self::translate`].
    pub fn leaf(&self, va: VirtAddr) -> Result<(Leaf, Level, VirtAddr), Unmapped> {
        let mut node = self.root_node().map_err(Unmapped::Damaged)?;
        if !self.format.window().contains(va) {
            return Err(Unmapped::OutsideWindow);
        }
        loop {
            let shape = F::TREE.level(node.level);
            let word = node.load(&self.format, shape.index(va.get()));
            match self.format.entry_at(node.level, word, va.get()) {
                Entry::Leaf(leaf) => return Ok((leaf, node.level, va.align_down(shape.bytes()))),
                Entry::Table(next, _) => {
                    node = self.child(&node, next, va.get(), word).map_err(Unmapped::Damaged)?
                }
                Entry::Empty | Entry::Software(_) => return Err(Unmapped::Absent(node.level, word)),
                Entry::Reserved(word) => {
                    return Err(Unmapped::Damaged(Damage { level: node.level, at: va, word }));
                }
            }
        }
    }

    pub(crate) fn root_node(&self) -> Result<Node<'_, F>, Damage> {
        let damage = Damage { level: F::TREE.top(), at: VirtAddr::ZERO, word: self.root.get() };
        self.open(F::TREE.top(), self.root).ok_or(damage)
    }

    /// The table at `first_entry`, which an entry `word` of `parent` leads to.
    pub(crate) fn child(
        &self,
        parent: &Node<'_, F>,
        first_entry: PhysAddr,
        va: u64,
        word: u64,
    ) -> Result<Node<'_, F>, Damage> {
        let damage = Damage { level: parent.level, at: self.format.window().extend(va), word };
        let below = parent.level.down().ok_or(damage)?;
        self.open(below, first_entry).ok_or(damage)
    }

    /// A table of the lowest level.
    #[inline]
    pub(crate) fn open_lowest(&self, first_entry: PhysAddr) -> Option<Node<'_, F>> {
        self.open(Level::PTE, first_entry)
    }

    #[inline]
    fn open(&self, level: Level, first_entry: PhysAddr) -> Option<Node<'_, F>> {
        let (page, first) = self.format.locate(level, first_entry);
        let words = F::Word::words(&self.memory, page, self.format.page_words(level))?;
        Some(Node { level, page, words, first })
    }
}

/// Where `va` leads if its leaf, of level `N`, is at `phys`.
#[inline(always)]
const fn inside<F: Format, const N: usize>(phys: PhysAddr, va: VirtAddr) -> Translation {
    let inside = va.get() & const { F::SHAPE.bytes_of(N) - 1 };
    Translation { phys: PhysAddr::new(phys.get() | inside), level: const { Level::new(N) } }
}

/// The same as a function of its own.
#[inline(never)]
const fn inside_block<F: Format, const N: usize>(phys: PhysAddr, va: VirtAddr) -> Translation {
    inside::<F, N>(phys, va)
}

/// The right to change a range of a tree's addresses.
pub struct Cursor<'t, F: Format, M: TableMemory> {
    pub(crate) tables: &'t Tables<F, M>,
    /// `None` for everything.
    pub(crate) range: Option<VirtRange>,
    _guard: Option<RangeGuard<'t>>,
}

impl<F: Format, M: TableMemory> Cursor<'_, F, M> {
    /// The same right over a part of the range, as long as this cursor is not used. What is unmapped through it takes no
    /// table out that reaches beyond the part: so a table that is there to stay survives its last page.
    ///
    /// # Errors
    /// [`UnmapError::OutsideCursor`] if the cursor does not hold all of `range`.
    pub fn part(&mut self, range: VirtRange) -> Result<Cursor<'_, F, M>, UnmapError> {
        if !self.holds(range) {
            return Err(UnmapError::OutsideCursor(range));
        }
        Ok(Cursor { tables: self.tables, range: Some(range), _guard: None })
    }

    /// The right over a part, beside others of its kind: for whoever divides the range into areas, and changes those on several CPUs at
    /// once without a look at the range locks each time. Tables leave as with [`Self::part`].
    ///
    /// The caller answers for it that no two such parts overlap at a time, as areas of one allocator never do. Like two
    /// `Tables` of one tree, two that did could free a table that the other is in.
    ///
    /// # Errors
    /// [`UnmapError::OutsideCursor`] if the cursor does not hold all of `range`.
    pub fn apart(&self, range: VirtRange) -> Result<Cursor<'_, F, M>, UnmapError> {
        if !self.holds(range) {
            return Err(UnmapError::OutsideCursor(range));
        }
        Ok(Cursor { tables: self.tables, range: Some(range), _guard: None })
    }

    /// The tree.
    pub const fn tables(&self) -> &Tables<F, M> {
        self.tables
    }

    /// Whether the cursor holds all of `range`.
    pub(crate) fn holds(&self, range: VirtRange) -> bool {
        self.range.is_none_or(|mine| mine.contains_range(&range))
    }

    /// Checks a range that is to be mapped.
    pub(crate) fn check_map(&self, range: VirtRange, phys: PhysAddr) -> Result<(), MapError> {
        let page = F::TREE.page_bytes();
        if range.is_empty()
            || !range.start.is_aligned(page)
            || !range.len.is_multiple_of(page)
            || !phys.is_aligned(page)
        {
            return Err(MapError::Unaligned(range, phys));
        }
        if !self.tables.format.window().contains_range(range) {
            return Err(MapError::OutsideWindow(range));
        }
        if !self.holds(range) {
            return Err(MapError::OutsideCursor(range));
        }
        Ok(())
    }

    /// Checks a range that is to be unmapped or changed; its ends must not lie inside a block or contiguous group.
    pub(crate) fn check_change(&self, range: VirtRange) -> Result<(), UnmapError> {
        let page = F::TREE.page_bytes();
        if range.is_empty() || !range.start.is_aligned(page) || !range.len.is_multiple_of(page) {
            return Err(UnmapError::Unaligned(range));
        }
        if !self.tables.format.window().contains_range(range) {
            return Err(UnmapError::OutsideWindow(range));
        }
        if !self.holds(range) {
            return Err(UnmapError::OutsideCursor(range));
        }
        let after = range.last().checked_add(1).filter(|a| self.tables.format.window().contains(*a));
        for at in [Some(range.start), after].into_iter().flatten() {
            let Ok((leaf, level, start)) = self.tables.leaf(at) else { continue };
            let shape = F::TREE.level(level);
            let bytes = if leaf.contiguous { shape.contiguous_bytes() } else { shape.bytes() };
            let start = start.align_down(bytes);
            if start != at {
                return Err(UnmapError::SplitsLeaf { at, start, bytes });
            }
        }
        Ok(())
    }
}
