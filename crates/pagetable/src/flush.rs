//! What must be flushed before anything taken out of a tree may be used again.
//!
//! Every change that a TLB could miss returns a [`PendingFlush`]. It holds the range, the smallest leaf that was in it and the
//! tables that became empty. Only [`PendingFlush::finish`] consumes it: flush first, then the tables go back to their
//! source. Tokens of one tree can be merged, so that many small changes cost one flush. A token that is dropped leaks its
//! tables; nothing is ever reused too early.

use crate::chain::Chain;
use crate::error::Damage;
use crate::memory::{TableMemory, TableSource};
use crate::shape::Level;
use crate::word::Word;
use core::sync::atomic::{AtomicU64, Ordering};
use pagewright_addr::{VirtAddr, VirtRange};

/// What a TLB has to forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushScope {
    /// All addresses in here.
    pub range: VirtRange,
    /// The smallest leaf that was changed: stepping by this many bytes meets every one.
    pub stride_bytes: u64,
    /// The level of that leaf (a hint for Arm's TTL field); `None` when leaves of several sizes were changed.
    pub level: Option<Level>,
    /// Whether tables were taken out too: then walk caches have to forget them, not only the last level.
    pub tables_freed: bool,
    /// The address space, or `None` for entries that are global or of every address space.
    pub asid: Option<u16>,
}

/// Makes TLBs forget, on every CPU that may hold the entries, and returns only when they have.
pub trait TlbFlush {
    /// Forgets everything in `scope`; forgetting more is allowed.
    fn flush(&mut self, scope: &FlushScope);

    /// Makes entries that were added where there were none visible to the table walkers of all CPUs. Nothing is to be forgotten for that; processors that read tables
    /// in the order in which they were written need nothing at all (x86), others a barrier (Arm: `dsb ishst`, `isb`).
    fn publish(&mut self) {}

    /// Kmaps of these pages are about to end, and lead to them still: where data caches have virtual tags, what is in them goes now. Nothing elsewhere.
    fn before_unmap(&mut self, _: VirtRange) {}

    /// Whether an entry of 64 bits that this CPU alone uses ([`crate::Row`]) is empty. It is that or valid, so it is enough to look at the lower half, which says so in all
    /// formats.
    #[inline(always)]
    fn is_empty64(&self, entry: &AtomicU64) -> bool {
        entry.load(Ordering::Relaxed) == 0
    }

    /// Writes such an entry, whole as table walkers see it. Processors of 32 bits whose entries have 64 may know a shorter way than atomic operations are: arm's `strd`.
    #[inline(always)]
    fn store64(&mut self, entry: &AtomicU64, word: u64) {
        entry.store(word, Ordering::Relaxed);
    }
}

/// A change that has not been flushed yet, and the tables that it emptied.
#[must_use = "stale translations stay in use, and tables leak, until this is finished"]
pub struct PendingFlush<W: Word> {
    scope: Option<FlushScope>,
    tables: Chain<W>,
    damage: Option<Damage>,
}

impl<W: Word> Default for PendingFlush<W> {
    /// Of no change.
    fn default() -> Self {
        Self::nothing()
    }
}

/// Single pages that were taken out and not flushed: what is added to a [`PendingFlush`].
#[must_use = "stale translations stay in use until this is added to what is flushed"]
#[derive(Debug)]
pub struct PagesFlush {
    /// The first address, and the last: two comparisons add another range.
    start: VirtAddr,
    last: VirtAddr,
    page_bytes: u64,
}

impl PagesFlush {
    /// Of the pages of a range, which is not empty.
    #[inline]
    pub(crate) const fn of(range: VirtRange, page_bytes: u64) -> Self {
        let last = range.start.get().wrapping_add(range.len.wrapping_sub(1));
        Self { start: range.start, last: VirtAddr::new(last), page_bytes }
    }

    /// Both in one, of the same tree: the range that covers both.
    #[inline]
    pub fn merge(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), last: self.last.max(other.last), ..self }
    }

    fn range(&self) -> VirtRange {
        let len = (self.last.get() - self.start.get()).saturating_add(1);
        VirtRange { start: self.start, len }
    }
}

impl<W: Word> PendingFlush<W> {
    pub(crate) const fn nothing() -> Self {
        Self { scope: None, tables: Chain::new(), damage: None }
    }

    /// What will be flushed; `None` when nothing that a TLB could hold was changed.
    pub fn scope(&self) -> Option<&FlushScope> {
        self.scope.as_ref()
    }

    /// The first damaged entry that was met, and left as it is.
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    pub(crate) fn note(&mut self, damage: Damage) {
        self.damage = self.damage.or(Some(damage));
    }

    /// How many emptied tables wait for the flush.
    pub fn tables(&self) -> u64 {
        self.tables.len()
    }

    /// Adds pages that were taken out by [`crate::PageEntries::unmap`] of the same tree.
    #[inline]
    pub fn add_pages(&mut self, pages: PagesFlush) {
        self.add(pages.range(), Level::PTE, pages.page_bytes);
    }

    /// Notes that leaves of `level` in `range` were changed.
    pub(crate) fn add(&mut self, range: VirtRange, level: Level, leaf_bytes: u64) {
        self.add_scope(FlushScope {
            range,
            stride_bytes: leaf_bytes,
            level: Some(level),
            tables_freed: false,
            asid: None,
        });
    }

    pub(crate) fn add_table<M: TableMemory + ?Sized>(
        &mut self,
        memory: &M,
        page: pagewright_addr::PhysAddr,
        range: VirtRange,
        stride_bytes: u64,
    ) {
        self.tables.push(memory, page);
        self.add_scope(FlushScope { range, stride_bytes, level: None, tables_freed: true, asid: None });
    }

    fn add_scope(&mut self, new: FlushScope) {
        self.scope = Some(match self.scope {
            None => new,
            Some(old) => FlushScope {
                range: hull(old.range, new.range),
                stride_bytes: old.stride_bytes.min(new.stride_bytes),
                level: if old.level == new.level { old.level } else { None },
                tables_freed: old.tables_freed || new.tables_freed,
                asid: if old.asid == new.asid { old.asid } else { None },
            },
        });
    }

    /// Says that the change was in one address space only.
    pub fn of_asid(mut self, asid: u16) -> Self {
        if let Some(scope) = &mut self.scope {
            scope.asid = Some(asid);
        }
        self
    }

    /// Both changes in one: one flush over the range that covers both. The tokens must be of trees in one memory.
    pub fn merge<M: TableMemory + ?Sized>(mut self, memory: &M, other: Self) -> Self {
        if let Some(scope) = other.scope {
            self.add_scope(scope);
        }
        self.tables.append(memory, other.tables);
        self.damage = self.damage.or(other.damage);
        self
    }

    /// Flushes, then gives the emptied tables back. Returns how many there were.
    pub fn finish<M: TableMemory + ?Sized>(
        mut self,
        memory: &M,
        tlb: &mut dyn TlbFlush,
        source: &mut dyn TableSource,
    ) -> u64 {
        if let Some(scope) = &self.scope {
            tlb.flush(scope);
        }
        let tables = self.tables.len();
        self.tables.release(memory, source);
        tables
    }
}

/// The smallest range that covers both.
#[inline]
fn hull(a: VirtRange, b: VirtRange) -> VirtRange {
    let start = a.start.min(b.start);
    let last = a.last().max(b.last());
    VirtRange { start, len: (last.get() - start.get()).saturating_add(1) }
}

/// Forgets nothing: for trees that no hardware and no software MMU uses yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotLive;

impl TlbFlush for NotLive {
    fn flush(&mut self, _: &FlushScope) {}
}
