//! What a format is: the shape of its tree, its entries' bits, and how a slot is stored.
//!
//! A slot is what the walker reads and writes as one entry. Mostly it is one word; with arm's short descriptors it is
//! the pair of the hardware's word and Linux's word beside it, and a page of PTEs serves two entries of the level above.
//! Everything that differs between architectures is here; the walker has no word about any of them.

pub mod arm;
pub mod arm64;
mod kinds;
pub mod long;
mod memory_types;
pub mod x86;

pub use kinds::{FormatKind, WithFormat};
pub use memory_types::MemoryTypes;

use crate::attr::{Attr, AttrError, TableLimits};
use crate::run::count_while;
use crate::shape::{Level, Shape, Window};
use crate::word::Word;
use pagewright_addr::PhysAddr;

/// What an entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// All zeroes: nothing is mapped.
    Empty,
    /// The next table's first entry, and what it forbids below.
    Table(PhysAddr, TableLimits),
    /// A page or block.
    Leaf(Leaf),
    /// Not for the hardware, but not empty: software keeps something in it (a swapped page's place).
    Software(u64),
    /// Present, with bits set that the specification reserves: the tables are damaged.
    Reserved(u64),
}

/// A page or block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// Where it lies.
    pub phys: PhysAddr,
    /// What it allows.
    pub attr: Attr,
    /// Whether it is marked as one of a contiguous group.
    pub contiguous: bool,
}

/// What the fast path needs to know of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing that hardware would follow.
    Absent,
    /// The next table's first entry.
    Table(PhysAddr),
    /// The leaf's first byte.
    Leaf(PhysAddr),
}

/// One page-table format.
///
/// Values are small: what hardware or the kernel choose at run time (whether there is NX, what MAIR holds).
pub trait Format: Copy + Send + Sync + 'static {
    /// An entry's width.
    type Word: Word;
    /// The tree.
    const SHAPE: Shape;
    /// The tree as one value in read-only memory: a constant by value would be copied at each use.
    const TREE: &'static Shape = &Self::SHAPE;
    /// The format's name, as it is written in messages.
    const NAME: &'static str;
    /// Whether a live entry must be made invalid and flushed before another size, address or memory type takes its
    /// place (Arm ARM D8.16 "break-before-make").
    const BREAK_BEFORE_MAKE: bool;
    /// Whether the entries of a contiguous group all hold the group's address instead of their own (arm's supersections).
    const GROUP_ADDRESS: bool = false;
    /// Whether the slots of the lowest level hold a word of software's besides the hardware's, so that something may be mapped
    /// where hardware finds nothing (arm's pages that are old).
    const SOFTWARE_WORDS: bool = false;
    /// How many words behind software's the hardware's is; 0 without software's.
    const HARDWARE_AT: usize = 0;

    /// Which addresses a tree with this format translates.
    fn window(&self) -> Window;

    /// Encodes the entry `index` of a table at `level` that points to the child table in `page`.
    fn table_word(&self, level: Level, index: usize, page: PhysAddr, limits: TableLimits) -> u64;

    /// Encodes a leaf.
    ///
    /// # Errors
    /// [`AttrError`] for everything that the format cannot say exactly.
    fn leaf_word(&self, level: Level, leaf: &Leaf) -> Result<u64, AttrError>;

    /// Decodes an entry completely.
    fn entry(&self, level: Level, word: u64) -> Entry;

    /// Decodes the entry for `va`; a leaf has its own address, also where the entry holds its group's.
    #[inline]
    fn entry_at(&self, level: Level, word: u64, va: u64) -> Entry {
        match self.entry(level, word) {
            Entry::Leaf(leaf) if Self::GROUP_ADDRESS && leaf.contiguous => {
                let shape = Self::TREE.level(level);
                let inside = va & (shape.contiguous_bytes() - 1) & !(shape.bytes() - 1);
                Entry::Leaf(Leaf { phys: PhysAddr::new(leaf.phys.get() + inside), ..leaf })
            }
            entry => entry,
        }
    }

    /// Decodes just enough of an entry to go on.
    fn step(&self, level: Level, word: u64) -> Step;

    /// What is added to a leaf's word for the next leaf of the same attributes, as long as the address does not carry
    /// into bits that lie elsewhere in the word (the walker checks that).
    #[inline]
    fn leaf_step(&self, level: Level, contiguous: bool) -> u64 {
        let _ = contiguous;
        Self::SHAPE.level(level).bytes()
    }

    /// The page that holds a table of `level`, and the index of the table's first entry in it.
    #[inline]
    fn locate(&self, level: Level, first_entry: PhysAddr) -> (PhysAddr, usize) {
        let _ = level;
        (first_entry, 0)
    }

    /// Words of a page (or larger root) that holds tables of `level`.
    #[inline]
    fn page_words(&self, level: Level) -> usize {
        Self::SHAPE.level(level).entries()
    }

    /// Reads the slot at `words[at]`.
    #[inline]
    fn load(&self, level: Level, words: &[<Self::Word as Word>::Atomic], at: usize) -> u64 {
        let _ = level;
        Self::Word::load(&words[at])
    }

    /// Writes a slot that hardware cannot reach yet, or that is empty.
    #[inline]
    fn store(&self, level: Level, words: &[<Self::Word as Word>::Atomic], at: usize, word: u64) {
        let _ = level;
        Self::Word::store(&words[at], word);
    }

    /// Writes `count` slots from `words[at]` on, each `step` more than the one before.
    #[inline]
    fn store_run(
        &self,
        level: Level,
        words: &[<Self::Word as Word>::Atomic],
        at: usize,
        count: usize,
        first: u64,
        step: u64,
    ) {
        let _ = level;
        Self::Word::store_counted(&words[at..at + count], first, step);
    }

    /// How many slots from `words[at]` on, at most `most`, are empty.
    #[inline]
    fn count_empty(
        &self,
        level: Level,
        words: &[<Self::Word as Word>::Atomic],
        at: usize,
        most: usize,
    ) -> usize {
        let _ = level;
        count_while(&words[at..at + most], |cell| Self::Word::peek(cell) == 0)
    }

    /// Empties a slot and returns what was in it, with the bits that hardware set last.
    #[inline]
    fn take(&self, level: Level, words: &[<Self::Word as Word>::Atomic], at: usize) -> u64 {
        let _ = level;
        Self::Word::swap(&words[at], 0)
    }

    /// Empties a slot without looking at what hardware notes in it: one of which all bits are set that hardware would set, or of which nobody wants to know. (Hardware
    /// notes nothing in an entry that is not valid any more.)
    #[inline]
    fn erase(&self, level: Level, words: &[<Self::Word as Word>::Atomic], at: usize) {
        let _ = level;
        Self::Word::publish(&words[at], 0);
    }

    /// How many slots from `words[at]` on, at most `most`, hold what the one before leads to expect.
    #[inline]
    fn count_run(
        &self,
        level: Level,
        words: &[<Self::Word as Word>::Atomic],
        at: usize,
        most: usize,
        first: u64,
        step: u64,
    ) -> usize {
        let _ = level;
        let mut expected = first;
        count_while(&words[at..at + most], |cell| {
            let as_expected = Self::Word::load(cell) == expected;
            expected = expected.wrapping_add(step);
            as_expected
        })
    }

    /// Turns over the bits `delta` in as many slots as [`Self::count_run`] would count; returns how many.
    #[inline]
    #[allow(clippy::too_many_arguments)]
    fn change_run(
        &self,
        level: Level,
        words: &[<Self::Word as Word>::Atomic],
        at: usize,
        most: usize,
        first: u64,
        step: u64,
        delta: u64,
    ) -> usize {
        let _ = level;
        let mut expected = first;
        count_while(&words[at..at + most], |cell| {
            let as_expected = Self::Word::replace(cell, expected, expected ^ delta).is_ok();
            expected = expected.wrapping_add(step);
            as_expected
        })
    }

    /// Empties up to `most` slots from `words[at]` on, as long as each holds what the one before leads to expect; returns how
    /// many. A slot that hardware changes at this moment ends the run untouched.
    #[inline]
    fn take_run(
        &self,
        level: Level,
        words: &[<Self::Word as Word>::Atomic],
        at: usize,
        most: usize,
        first: u64,
        step: u64,
    ) -> usize {
        let _ = level;
        let mut expected = first;
        count_while(&words[at..at + most], |cell| {
            let as_expected = Self::Word::replace(cell, expected, 0).is_ok();
            expected = expected.wrapping_add(step);
            as_expected
        })
    }

    /// Whether a word of a table page holds anything.
    #[inline]
    fn is_used(words: &[<Self::Word as Word>::Atomic], at: usize) -> bool {
        Self::Word::load(&words[at]) != 0
    }

    /// Replaces `old` in a slot by `new` unless hardware or someone else changed it.
    ///
    /// # Errors
    /// What was found instead.
    #[inline]
    fn replace(
        &self,
        level: Level,
        words: &[<Self::Word as Word>::Atomic],
        at: usize,
        old: u64,
        new: u64,
    ) -> Result<(), u64> {
        let _ = level;
        Self::Word::replace(&words[at], old, new)
    }
}
