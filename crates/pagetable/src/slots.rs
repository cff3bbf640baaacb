//! Single pages that come and go all the time: entries of the lowest level, found once.
//!
//! A [`Cursor`] walks from the root for each change. For the few addresses where a kernel maps a page, uses it and unmaps it
//! again (kmaps, windows to copy a page through), [`Slots`] finds the entries when it is made and writes them directly: a page
//! is a store, its end another. All slots have the same attributes. The tables are there already and stay: `Slots` holds the cursor's
//! range, so nobody else maps in it, and no cursor takes out a table that reaches into the range of another.
//!
//! A slot belongs to whoever uses it: two who set one slot at once would overwrite each other's entry (memory stays sound, since
//! entries are atomic). Who owns which slot is the caller's to say, by a lock or by giving each CPU its own.

use crate::attr::{Attr, AttrError};
use crate::error::Damage;
use crate::flush::{FlushScope, TlbFlush};
use crate::format::{Entry, Format, Leaf};
use crate::memory::TableMemory;
use crate::row::{Row, RowOf};
use crate::shape::Level;
use crate::tables::{Cursor, Node};
use arrayvec::ArrayVec;
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};

/// Tables of the lowest level that one value reaches into, at most.
const MAX_TABLES: usize = 8;

/// Why there are no slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotsError {
    /// An address or the length is no multiple of the page size, or the length is zero.
    Unaligned(VirtRange),
    /// The tree does not translate all of the range, or the cursor does not hold it.
    Outside(VirtRange),
    /// More tables than there is room for.
    TooLong(VirtRange),
    /// There is no table for this address.
    NoTable(VirtAddr),
    /// Something is mapped there.
    InUse {
        /// The first address that is.
        at: VirtAddr,
        /// Its entry.
        word: u64,
    },
    /// The format cannot express the attributes, or not for every page below the limit.
    Attr(AttrError),
    /// The tree is damaged.
    Damaged(Damage),
}

impl fmt::Display for SlotsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned(r) => write!(f, "{r:?}: expected whole pages, at least one"),
            Self::Outside(r) => write!(f, "{r:?} is not wholly inside the tables and their cursor's range"),
            Self::TooLong(r) => write!(f, "{r:?} reaches into more than {MAX_TABLES} tables"),
            Self::NoTable(at) => write!(f, "there is no table for {at:#x} yet"),
            Self::InUse { at, word } => write!(f, "{at:#x} is in use: its entry is {word:#x}"),
            Self::Attr(e) => e.fmt(f),
            Self::Damaged(d) => d.fmt(f),
        }
    }
}

impl core::error::Error for SlotsError {}

/// Why a slot was not set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotError {
    /// There is no such slot.
    NoSlot(u32),
    /// The slot has a page: take it out and flush first.
    InUse(u32),
    /// The page lies at or above the limit that the slots were made for, or below the first page.
    Address(PhysAddr),
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlot(n) => write!(f, "there is no slot {n}"),
            Self::InUse(n) => write!(f, "slot {n} has a page already"),
            Self::Address(at) => {
                write!(f, "the page at {at:#x} is not among those that the slots were made for")
            }
        }
    }
}

impl core::error::Error for SlotError {}

/// Addresses whose pages were taken out, until no TLB has them any more.
#[must_use = "stale translations stay in use until this is finished"]
#[derive(Debug)]
pub struct SlotFlush {
    range: VirtRange,
    page_bytes: u64,
}

impl SlotFlush {
    #[inline(always)]
    pub(crate) const fn of(range: VirtRange, page_bytes: u64) -> Self {
        Self { range, page_bytes }
    }

    /// The addresses.
    pub const fn range(&self) -> VirtRange {
        self.range
    }

    /// Both in one: the range that covers both.
    pub fn merge(self, other: Self) -> Self {
        let start = self.range.start.min(other.range.start);
        let last = self.range.last().max(other.range.last());
        let len = last.get() - start.get() + 1;
        Self { range: VirtRange { start, len }, page_bytes: self.page_bytes }
    }

    /// Flushes.
    #[inline(always)]
    pub fn finish<T: TlbFlush + ?Sized>(self, tlb: &mut T) {
        tlb.flush(&FlushScope {
            range: self.range,
            stride_bytes: self.page_bytes,
            level: Some(Level::PTE),
            tables_freed: false,
            asid: None,
        });
    }
}

/// The slots of a range, one for each page, counted upwards.
pub struct Slots<'t, F: Format, M: TableMemory> {
    cursor: Cursor<'t, F, M>,
    /// The tables, lowest first.
    nodes: ArrayVec<Node<'t, F>, MAX_TABLES>,
    /// The first slot's entry in the first table.
    skip: u32,
    count: u32,
    start: VirtAddr,
    /// What the entry of the page at 0 would be.
    word: u64,
    /// What each page adds to it.
    step: u64,
    /// The first page that is not to be had.
    end: u64,
}

impl<F: Format, M: TableMemory> fmt::Debug for Slots<'_, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("start", &self.start)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl<'t, F: Format, M: TableMemory> Cursor<'t, F, M> {
    /// Makes the pages of `range` slots for pages below `limit`, all with `attr`. The tables have to be there, and empty in that range.
    ///
    /// # Errors
    /// [`SlotsError`].
    pub fn into_slots(
        self,
        range: VirtRange,
        attr: Attr,
        limit: PhysAddr,
    ) -> Result<Slots<'t, F, M>, SlotsError> {
        let tables = self.tables;
        let format = tables.format;
        let page = F::TREE.page_bytes();
        let shape = F::TREE.level(Level::PTE);
        if range.is_empty() || !range.start.is_aligned(page) || !range.len.is_multiple_of(page) {
            return Err(SlotsError::Unaligned(range));
        }
        if !format.window().contains_range(range) || !self.holds(range) {
            return Err(SlotsError::Outside(range));
        }
        let span = page * shape.entries() as u64;
        let first = range.start.align_down(span).get();
        if (range.last().get() - first) / span >= MAX_TABLES as u64 {
            return Err(SlotsError::TooLong(range));
        }
        let (word, step) = counted::<F>(&format, attr, limit)?;
        let mut nodes = ArrayVec::new();
        for n in 0..=(range.last().get() - first) / span {
            let at = VirtAddr::new((first + n * span).max(range.start.get()));
            let node = tables.lowest(at)?;
            let last = range.last().get().min(first + n * span + (span - 1));
            for index in shape.index(at.get())..=shape.index(last) {
                let word = node.load(&format, index);
                if word != 0 {
                    let at = VirtAddr::new(first + n * span + index as u64 * page);
                    return Err(SlotsError::InUse { at, word });
                }
            }
            // The number of tables was compared with the room.
            let _ = nodes.try_push(node);
        }
        let (skip, count) = (shape.index(range.start.get()) as u32, (range.len / page) as u32);
        let end = limit.get().div_ceil(page);
        Ok(Slots { cursor: self, nodes, skip, count, start: range.start, word, step, end })
    }
}

/// The entry of the page at 0 and what each further page adds, if every page below `limit` is written like that.
fn counted<F: Format>(format: &F, attr: Attr, limit: PhysAddr) -> Result<(u64, u64), SlotsError> {
    let leaf = |phys| {
        format.leaf_word(Level::PTE, &Leaf { phys, attr, contiguous: false }).map_err(SlotsError::Attr)
    };
    let page = F::TREE.page_bytes();
    let (word, step) = (leaf(PhysAddr::ZERO)?, format.leaf_step(Level::PTE, false));
    // What `Row` counts on: an address stands in a word as it is, and in software's word as well.
    let plain = if F::SOFTWARE_WORDS { page | (page << 32) } else { page };
    if step != plain {
        return Err(SlotsError::Attr(AttrError::Address(limit)));
    }
    // The bits of an address are written independently of each other, so it is enough to look at each.
    let bits = (0..64).map(|bit| 1u64 << bit).filter(|bit| (page..limit.get()).contains(bit));
    let last = limit.get().saturating_sub(1) & !(page - 1);
    for phys in bits.chain([last]) {
        let expected = word.wrapping_add(step.wrapping_mul(phys / page));
        if leaf(PhysAddr::new(phys))? != expected {
            return Err(SlotsError::Attr(AttrError::Address(PhysAddr::new(phys))));
        }
    }
    Ok((word, step))
}

impl<F: Format, M: TableMemory> crate::Tables<F, M> {
    /// The table of the lowest level for an address.
    fn lowest(&self, at: VirtAddr) -> Result<Node<'_, F>, SlotsError> {
        let mut node = self.root_node().map_err(SlotsError::Damaged)?;
        while node.level != Level::PTE {
            let word = node.load(&self.format, F::TREE.level(node.level).index(at.get()));
            node = match self.format.entry_at(node.level, word, at.get()) {
                Entry::Table(next, _) => {
                    self.child(&node, next, at.get(), word).map_err(SlotsError::Damaged)?
                }
                Entry::Empty => return Err(SlotsError::NoTable(at)),
                Entry::Leaf(_) | Entry::Software(_) => return Err(SlotsError::InUse { at, word }),
                Entry::Reserved(word) => {
                    return Err(SlotsError::Damaged(Damage { level: node.level, at, word }));
                }
            };
        }
        Ok(node)
    }
}

impl<'t, F: Format, M: TableMemory> Slots<'t, F, M> {
    /// How many there are.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The address of the first.
    pub const fn start(&self) -> VirtAddr {
        self.start
    }

    /// The address of a slot; beyond the last where there is no such slot.
    #[inline(always)]
    pub const fn address(&self, slot: u32) -> VirtAddr {
        VirtAddr::new(self.start.get() + ((slot as u64) << F::SHAPE.page_shift()))
    }

    /// The slot that an address lies in.
    #[inline]
    pub fn slot_of(&self, at: VirtAddr) -> Option<u32> {
        let slot = at.get().checked_sub(self.start.get())? >> F::SHAPE.page_shift();
        u32::try_from(slot).ok().filter(|slot| *slot < self.count)
    }

    /// The format.
    pub const fn format(&self) -> &F {
        self.cursor.tables.format()
    }

    /// The tree's cursor back; what the slots hold stays mapped, and is to be unmapped through it.
    pub fn into_cursor(self) -> Cursor<'t, F, M> {
        self.cursor
    }

    /// A slot's table and its entry there.
    #[inline(always)]
    fn place(&self, slot: u32) -> Option<(&Node<'t, F>, usize)> {
        if slot >= self.count {
            return None;
        }
        let index = (slot + self.skip) as usize;
        let bits = const { F::SHAPE.level(Level::PTE).index_bits };
        let node = self.nodes.get(index >> bits)?;
        Some((node, node.first + (index & ((1 << bits) - 1))))
    }

    /// Whether a slot has a page.
    #[inline(always)]
    pub fn is_set(&self, slot: u32) -> bool {
        let format = &self.cursor.tables.format;
        self.place(slot).is_some_and(|(node, at)| format.load(Level::PTE, node.words, at) != 0)
    }

    /// Maps a slot to a page and returns its address. The slot has to be empty, and flushed since it last had a page.
    ///
    /// # Errors
    /// [`SlotError`]; nothing was changed then.
    #[inline(always)]
    pub fn set(&self, slot: u32, page: PhysAddr) -> Result<VirtAddr, SlotError> {
        let number = page.get() >> const { F::SHAPE.page_shift() };
        let Some((node, at)) = self.place(slot) else { return Err(SlotError::NoSlot(slot)) };
        if number >= self.end {
            return Err(SlotError::Address(page));
        }
        let format = &self.cursor.tables.format;
        if format.load(Level::PTE, node.words, at) != 0 {
            return Err(SlotError::InUse(slot));
        }
        let word = self.word.wrapping_add(self.step.wrapping_mul(number));
        format.store(Level::PTE, node.words, at, word);
        Ok(self.address(slot))
    }

    /// Takes a slot's page out; an empty slot stays as it is. Its address may lead to the page until the flush.
    #[inline(always)]
    pub fn clear(&self, slot: u32) -> SlotFlush {
        if let Some((node, at)) = self.place(slot) {
            self.cursor.tables.format.erase(Level::PTE, node.words, at);
        }
        let page_bytes = const { F::SHAPE.page_bytes() };
        SlotFlush { range: VirtRange { start: self.address(slot), len: page_bytes }, page_bytes }
    }
}

impl<F: Format, M: TableMemory> Slots<'_, F, M> {
    /// `count` slots from `first` on, for the one CPU that uses them, and for pages from `from` on (below [`Self`]'s limit); `None` if there are not that many, or not in one table.
    pub fn row(&self, first: u32, count: u32, from: PhysAddr) -> Option<Row<'_, F>> {
        let last = first.checked_add(count.checked_sub(1)?)?;
        let ((node, at), (end, _)) = (self.place(first)?, self.place(last)?);
        if (node.page, node.first) != (end.page, end.first) {
            return None;
        }
        let pages = (from.get() >> F::SHAPE.page_shift(), self.end);
        let of = RowOf { entries: (at, count as usize), start: self.address(first), word: self.word, pages };
        Row::new(node.words, of)
    }

    /// How many slots from `first` on lie in one table.
    pub fn run_from(&self, first: u32) -> u32 {
        let entries = F::TREE.level(Level::PTE).entries() as u32;
        let index = first.saturating_add(self.skip) % entries;
        (entries - index).min(self.count.saturating_sub(first))
    }
}
