//! A tree of any format behind one object: what a boot does with its tables, written once.

use super::TableError;
use arrayvec::ArrayVec;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::{
    Attr, AttrChange, Entry, Format, Invalid, Leaf, Level, Live, MapError, MapOptions, NotLive, Run, Shape,
    TableMemory, TableSource, TableUse, Tables, TreeStats, UnmapError, Unmapped, WalkError, Window, Word,
};

/// One entry on the way of an address through the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathEntry {
    /// The level of the table that the entry is in.
    pub level: Level,
    /// The table's first entry.
    pub table: PhysAddr,
    /// The entry's number in it.
    pub index: usize,
    /// The entry's own address.
    pub at: PhysAddr,
    /// What stands there (with arm's short descriptors the hardware's word, and Linux's word in the upper half).
    pub word: u64,
    /// What it says.
    pub entry: Entry,
}

/// The way of an address through the tables, from the top: its last entry leads nowhere or to the memory.
pub type Path = ArrayVec<PathEntry, { Level::LIMIT }>;

/// A tree whose format is not known at compile time.
pub trait KernelTree {
    /// The format's name.
    fn format_name(&self) -> &'static str;
    /// Its levels.
    fn shape(&self) -> &'static Shape;
    /// Which addresses it translates.
    fn window(&self) -> Window;
    /// Where its top table is.
    fn root(&self) -> PhysAddr;
    /// [`pagewright_pagetable::Cursor::map`]; returns the number of new tables.
    ///
    /// # Errors
    /// [`MapError`]; then nothing was changed.
    fn map(
        &mut self,
        range: VirtRange,
        phys: PhysAddr,
        attr: Attr,
        options: &MapOptions,
        source: &mut dyn TableSource,
    ) -> Result<u64, MapError>;
    /// The leaf that an address is in, its level and its first address.
    ///
    /// # Errors
    /// [`Unmapped`].
    fn leaf(&self, va: VirtAddr) -> Result<(Leaf, Level, VirtAddr), Unmapped>;
    /// Changes every leaf in the range; its ends must be ends of leaves.
    ///
    /// # Errors
    /// [`UnmapError`]; then nothing was changed.
    fn protect(&mut self, range: VirtRange, change: &AttrChange) -> Result<(), UnmapError>;
    /// Makes an address the beginning of a leaf; returns the number of new tables.
    ///
    /// # Errors
    /// [`UnmapError`].
    fn split(&mut self, at: VirtAddr, source: &mut dyn TableSource) -> Result<u64, UnmapError>;
    /// Takes everything in the range out; tables stay where `keep_tables` says so, else emptied ones go to `source`.
    ///
    /// # Errors
    /// [`UnmapError`]; then nothing was changed.
    fn unmap(
        &mut self,
        range: VirtRange,
        keep_tables: bool,
        source: &mut dyn TableSource,
    ) -> Result<(), UnmapError>;
    /// Tells every run in the range, in the order of addresses.
    ///
    /// # Errors
    /// [`WalkError`].
    fn walk(&self, range: VirtRange, see: &mut dyn FnMut(&Run)) -> Result<(), WalkError>;
    /// Checks every entry and counts what is in the tree; at most `most_tables` tables are looked at.
    ///
    /// # Errors
    /// [`Invalid`] names the first thing that is wrong.
    fn validate(&self, most_tables: u64) -> Result<TreeStats, Invalid>;
    /// The tables of a range, and the fewest that could hold what is mapped there.
    ///
    /// # Errors
    /// [`WalkError`].
    fn table_use(&self, range: VirtRange) -> Result<TableUse, WalkError>;
    /// A leaf as the format encodes it (with arm's short descriptors the hardware's word, Linux's in the upper half); `None`
    /// if it cannot.
    fn leaf_word(&self, level: Level, leaf: &Leaf) -> Option<u64>;
    /// The entries that an address leads through. Empty when the tree does not translate it.
    fn path(&self, va: VirtAddr) -> Path;
}

impl<F: Format + 'static, M: TableMemory> KernelTree for Tables<F, M> {
    fn format_name(&self) -> &'static str {
        F::NAME
    }

    fn shape(&self) -> &'static Shape {
        F::TREE
    }

    fn window(&self) -> Window {
        self.format().window()
    }

    fn root(&self) -> PhysAddr {
        Self::root(self)
    }

    fn map(
        &mut self,
        range: VirtRange,
        phys: PhysAddr,
        attr: Attr,
        options: &MapOptions,
        source: &mut dyn TableSource,
    ) -> Result<u64, MapError> {
        Ok(self.cursor().map(range, phys, attr, options, source)?.tables)
    }

    fn leaf(&self, va: VirtAddr) -> Result<(Leaf, Level, VirtAddr), Unmapped> {
        Self::leaf(self, va)
    }

    fn protect(&mut self, range: VirtRange, change: &AttrChange) -> Result<(), UnmapError> {
        let (_, pending) = self.cursor().protect(range, change, Live::No)?;
        pending.finish(self.memory(), &mut NotLive, &mut pagewright_pagetable::NoTables);
        Ok(())
    }

    fn split(&mut self, at: VirtAddr, source: &mut dyn TableSource) -> Result<u64, UnmapError> {
        let none = pagewright_pagetable::TableLimits::empty();
        let (tables, pending) = self.cursor().split(at, none, source, Live::No)?;
        pending.finish(self.memory(), &mut NotLive, &mut pagewright_pagetable::NoTables);
        Ok(tables)
    }

    fn unmap(
        &mut self,
        range: VirtRange,
        keep_tables: bool,
        source: &mut dyn TableSource,
    ) -> Result<(), UnmapError> {
        let pending = if keep_tables {
            // A cursor frees no table that others could be in: this one holds the range and no more.
            match self.lock(range) {
                Ok(mut cursor) => cursor.unmap(range, &mut |_| ())?,
                Err(_) => return Err(UnmapError::OutsideCursor(range)),
            }
        } else {
            self.cursor().unmap(range, &mut |_| ())?
        };
        pending.finish(self.memory(), &mut NotLive, source);
        Ok(())
    }

    fn walk(&self, range: VirtRange, see: &mut dyn FnMut(&Run)) -> Result<(), WalkError> {
        Self::walk(self, range, u64::MAX, see)
    }

    fn validate(&self, most_tables: u64) -> Result<TreeStats, Invalid> {
        Self::validate(self, most_tables)
    }

    fn table_use(&self, range: VirtRange) -> Result<TableUse, WalkError> {
        Self::table_use(self, range, u64::MAX)
    }

    fn leaf_word(&self, level: Level, leaf: &Leaf) -> Option<u64> {
        self.format().leaf_word(level, leaf).ok()
    }

    fn path(&self, va: VirtAddr) -> Path {
        let (format, mut path) = (self.format(), Path::new());
        if !format.window().contains(va) {
            return path;
        }
        let (mut level, mut table) = (F::TREE.top(), Self::root(self));
        loop {
            let index = F::TREE.level(level).index(va.get());
            let (page, first) = format.locate(level, table);
            let Some(words) = F::Word::words(self.memory(), page, format.page_words(level)) else {
                return path;
            };
            let word = format.load(level, words, first + index);
            let at = PhysAddr::new(table.get() + index as u64 * F::Word::BYTES);
            let entry = format.entry(level, word);
            path.push(PathEntry { level, table, index, at, word, entry });
            match (entry, level.down()) {
                (Entry::Table(next, _), Some(below)) => (level, table) = (below, next),
                _ => return path,
            }
        }
    }
}

/// Maps what of a range is not mapped yet and leaves the rest as it is, except that leaves larger than the options allow
/// are split. Returns the number of new tables.
///
/// # Errors
/// [`TableError`]; what was mapped before the place stays mapped.
pub(crate) fn map_missing(
    tree: &mut dyn KernelTree,
    range: VirtRange,
    phys: PhysAddr,
    attr: Attr,
    options: &MapOptions,
    source: &mut dyn TableSource,
) -> Result<u64, TableError> {
    match tree.map(range, phys, attr, options, source) {
        Err(MapError::AlreadyMapped { .. }) => {}
        done => return Ok(done?),
    }
    let shape = tree.shape();
    let (mut at, mut left, mut tables) = (range.start, range.len, 0);
    while left > 0 {
        let (level, mapped) = match tree.leaf(at) {
            Ok((_, level, start)) if level > options.max_leaf && level != Level::PTE => {
                let below = shape.level(Level::new(level.index() - 1)).bytes();
                let inside = VirtAddr::new(start.get().wrapping_add(below));
                tables += tree.split(inside, source)?;
                continue;
            }
            Ok((_, level, _)) => (level, true),
            Err(Unmapped::Absent(level, _)) => (level, false),
            Err(Unmapped::Damaged(damage)) => return Err(MapError::Damaged(damage).into()),
            Err(Unmapped::OutsideWindow) => return Err(MapError::OutsideWindow(range).into()),
        };
        let size = shape.level(level).bytes();
        let len = left.min(size - (at.get() & (size - 1)));
        if !mapped {
            let to = PhysAddr::new(phys.get() + (range.len - left));
            tables += tree.map(VirtRange { start: at, len }, to, attr, options, source)?;
        }
        at = VirtAddr::new(at.get().wrapping_add(len));
        left -= len;
    }
    Ok(tables)
}
