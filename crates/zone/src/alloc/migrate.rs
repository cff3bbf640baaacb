//! Moving pages that are in use: the contract between their owner and whoever wants the frames.
//!
//! # Who owns what
//! A page that can be moved is deposited in the page map ([`PageMap::deposit`]) as [`State::Movable`], or as anonymous or
//! file memory, or as a huge page; [`PageFlags::LRU`] says of the latter that it is where it can be found. Its owner implements [`Migrate`].
//!
//! ```text
//!                    isolate                 migrate
//!  in use at `from` ─────────▶ isolated ───────────────▶ in use at `to`, the old frames are the caller's
//!         ▲                     │    │
//!         └──────── putback ────┘    └─▶ gone: given up by its user meanwhile; both are the caller's
//! ```
//! From `isolate` to one of the three ends the owner keeps the page deposited where it is. Whoever isolated it brings one of
//! the ends about, whatever else fails. No lock of the allocator is held while the owner is asked, so it
//! may free and allocate.

use super::{Context, Hooks, PageAllocator};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, Frames, PageFlags, PageMap, State, Word};
use pagewright_platform::Interrupts;

/// How much a migration may wait (`enum migrate_mode`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MigrateMode {
    /// Never (MIGRATE_ASYNC).
    Async,
    /// For most things, but not for write-back (MIGRATE_SYNC_LIGHT).
    SyncLight,
    /// For everything (MIGRATE_SYNC).
    Sync,
}

/// What became of a page that was to be moved.
#[derive(Debug)]
#[must_use = "it holds frames"]
pub enum Migrated<'a> {
    /// It is in its new place, which the owner has; its old frames.
    Moved(Frames<'a>),
    /// It cannot be moved now: locked, under write-back, pinned. It stays isolated; the new place comes back.
    Busy(Frames<'a>),
    /// Nobody wanted it any more. Its frames, and the new place.
    Gone {
        /// The page's own frames.
        old: Frames<'a>,
        /// The place it did not need.
        unused: Frames<'a>,
    },
}

/// Owners of movable pages (`migrate_pages`, `struct movable_operations`): one object for all of a machine's, which tells them apart by
/// the page's state and owner.
pub trait Migrate {
    /// Takes the page whose block begins at `page` off its lists, so that only the caller moves it. False if it is busy, or no longer
    /// movable, or not the owner's: the caller saw its state without a lock.
    fn isolate(&self, map: &PageMap<'_>, page: FrameIdx, mode: MigrateMode) -> bool;

    /// Moves an isolated page to `to`, which has as many frames: contents, mappings, and the deposit.
    fn migrate<'a>(
        &self,
        map: &PageMap<'a>,
        page: FrameIdx,
        to: Frames<'a>,
        mode: MigrateMode,
    ) -> Migrated<'a>;

    /// Puts an isolated page back where it was (`putback_movable_pages`). Its frames, if nobody wants it any more.
    fn putback<'a>(&self, map: &PageMap<'a>, page: FrameIdx) -> Option<Frames<'a>>;

    /// Whether to stop here: the task is being killed, or others should run (`fatal_signal_pending`, `need_resched`).
    fn interrupted(&self) -> bool {
        false
    }
}

/// Whether a block with this word can be asked to move.
pub(super) fn is_movable(word: Word) -> bool {
    match word.state() {
        State::Movable | State::Hugetlb => true,
        State::Anon | State::File => word.flags().contains(PageFlags::LRU),
        _ => false,
    }
}

/// The block in use or free that a frame is in, if its first frame tells how large it is: that frame and its word.
pub(super) fn block_of(map: &PageMap<'_>, idx: FrameIdx, largest: Order) -> Option<(FrameIdx, Word)> {
    (0..=largest.get()).filter_map(Order::new).find_map(|order| {
        let head = idx.align_down(order);
        let word = map.word(head);
        let heads = !matches!(word.state(), State::Pristine | State::Inner | State::Tail);
        (heads && word.order() >= order).then_some((head, word))
    })
}

/// How many pages are isolated at a time (COMPACT_CLUSTER_MAX).
pub(super) const CLUSTER: usize = 32;
/// How often a page that is busy is tried.
const PASSES: u32 = 10;

/// Isolated pages, by their first frames. Must be emptied: dropping it would leave pages isolated.
pub(super) struct Batch {
    pages: [FrameIdx; CLUSTER],
    len: usize,
}

impl Batch {
    pub(super) const fn new() -> Self {
        Self { pages: [FrameIdx::new(0); CLUSTER], len: 0 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == CLUSTER
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, page: FrameIdx) {
        if let Some(slot) = self.pages.get_mut(self.len) {
            *slot = page;
            self.len += 1;
        }
    }

    fn remove(&mut self, at: usize) {
        self.pages.copy_within(at + 1..self.len, at);
        self.len -= 1;
    }
}

/// Pages that were moved and that were not (pgmigrate_success, pgmigrate_fail).
#[derive(Debug, Default)]
pub struct MigrateEvents {
    success: AtomicU64,
    fail: AtomicU64,
}

impl MigrateEvents {
    /// None so far.
    pub const fn new() -> Self {
        Self { success: AtomicU64::new(0), fail: AtomicU64::new(0) }
    }

    /// Pages that were moved.
    pub fn success(&self) -> u64 {
        self.success.load(Relaxed)
    }

    /// Pages that were to be moved and were not, each time they were tried.
    pub fn fail(&self) -> u64 {
        self.fail.load(Relaxed)
    }
}

/// Where moved pages go, and where places come back to.
pub(super) trait Places<'a> {
    fn get(&mut self, order: Order) -> Option<Frames<'a>>;
    fn put(&mut self, unused: Frames<'a>);
}

/// There was no place to move to.
#[derive(Debug)]
pub(super) struct NoPlace;

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// Moves isolated pages. Those that stay busy remain in the batch; the frames of the others are freed.
    pub(super) fn migrate_pages(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        batch: &mut Batch,
        mode: MigrateMode,
        places: &mut dyn Places<'a>,
    ) -> Result<(), NoPlace> {
        let map = &self.ground.map;
        let (mut moved, mut result) = (0, Ok(()));
        'passes: for _ in 0..PASSES {
            let mut at = 0;
            while at < batch.len {
                let page = batch.pages[at];
                let order = map.word(page).order();
                let Some(to) = places.get(order) else {
                    result = Err(NoPlace);
                    break 'passes;
                };
                match mover.migrate(map, page, to, mode) {
                    Migrated::Busy(to) => {
                        places.put(to);
                        at += 1;
                        continue;
                    }
                    Migrated::Moved(old) => {
                        moved += order.pages();
                        self.free_pages(cx, old);
                    }
                    Migrated::Gone { old, unused } => {
                        places.put(unused);
                        self.free_pages(cx, old);
                    }
                }
                batch.remove(at);
            }
            if batch.is_empty() {
                break;
            }
        }
        let failed = batch.pages[..batch.len].iter().map(|&page| map.word(page).order().pages()).sum();
        self.migrated.success.fetch_add(moved, Relaxed);
        self.migrated.fail.fetch_add(failed, Relaxed);
        result
    }

    /// Puts what is left of a batch back.
    pub(super) fn putback(&self, cx: &Context<'_, 'm, 'a>, mover: &dyn Migrate, batch: &mut Batch) {
        for &page in &batch.pages[..batch.len] {
            if let Some(frames) = mover.putback(&self.ground.map, page) {
                self.free_pages(cx, frames);
            }
        }
        batch.len = 0;
    }

    /// How many pages were moved, by whomever.
    pub fn migrate_events(&self) -> &MigrateEvents {
        &self.migrated
    }
}
