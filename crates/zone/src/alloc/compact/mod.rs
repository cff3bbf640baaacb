//! Compaction: free memory in large blocks, made by moving pages from a zone's bottom to its top.
//!
//! Two scanners work towards each other (`compact_zone`). The migration scanner takes movable pages off their
//! owners' lists, block by block from the bottom; the free scanner takes free pages out of the zone's lists from the top,
//! for them to move to. Whatever the outcome, pages that were not moved are put back and free pages return to the lists.
//!
//! # Who calls it
//! An allocation that finds no block of its order, through [`Hooks::mover`]; the thread of each node ([`Kcompactd`]), when kswapd
//! has made memory but no block, and now and then by itself; whoever asks for all of a node
//! ([`PageAllocator::compact_node`]).
//!
//! # Locks
//! The zone's lock is taken for one pageblock's free pages at a time, never while an owner is asked. Two compactions of one zone
//! do not disturb each other: a page is isolated by one, and a free block taken by one.

mod daemon;
mod scan;
mod state;

pub use daemon::{Kcompactd, Nap};
pub(crate) use scan::CHAINED;
pub use state::{COMPACT_MAX_DEFER_SHIFT, CompactEvents, CompactState};

use super::extfrag::{ContigPageInfo, EXTFRAG_THRESHOLD, ScoreMarks};
use super::migrate::{Batch, Migrate, MigrateMode};
use super::prepare::Wanted;
use super::{AllocFlags, CompactPriority, CompactResult, Context, Hooks, PageAllocator, TaskFlags, ZoneCell};
use crate::ZoneKind;
use crate::buddy::MigrateType;
use crate::gfp::Gfp;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::{NodeId, Order};
use pagewright_page::Frames;
use pagewright_platform::Interrupts;
use scan::{Chain, FromTheTop, Scanned};
use state::add;

/// How a compaction of one zone goes on or ended (`enum compact_result`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// Memory is wanted rather than a block, or fragmentation is not what keeps it from being had.
    Skipped,
    /// It is worth going on.
    Continue,
    /// The scanners met; all of the zone was looked at.
    Complete,
    /// The scanners met, having begun where the last compaction ended.
    PartialSkipped,
    /// It was interrupted, or nothing was free to move to.
    Contended,
    /// There is a block of the order.
    Success,
}

impl Outcome {
    const fn result(self) -> CompactResult {
        match self {
            Self::Skipped => CompactResult::Skipped,
            Self::Complete => CompactResult::Complete,
            Self::Continue | Self::PartialSkipped | Self::Contended => CompactResult::Partial,
            Self::Success => CompactResult::Success,
        }
    }
}

/// One compaction (`struct compact_control`).
#[derive(Clone, Copy, Debug)]
struct Control {
    /// The order that is wanted; none for as much as can be had.
    order: Option<Order>,
    migrate: MigrateType,
    mode: MigrateMode,
    flags: AllocFlags,
    highest: ZoneKind,
    whole_zone: bool,
    ignore_skip: bool,
    ignore_suitable: bool,
    /// For an allocation that waits for it.
    direct: bool,
    /// Ends at this score of the zone.
    aim: Option<u32>,
    migrate_at: u64,
    free_at: u64,
}

impl Control {
    const fn new(order: Option<Order>, mode: MigrateMode) -> Self {
        Self {
            order,
            migrate: MigrateType::Movable,
            mode,
            flags: AllocFlags::empty(),
            highest: ZoneKind::Device,
            whole_zone: false,
            ignore_skip: false,
            ignore_suitable: false,
            direct: false,
            aim: None,
            migrate_at: 0,
            free_at: 0,
        }
    }
}

impl<'m, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, 's, 'a, I, H> {
    /// What compaction did since the boot.
    pub fn compact_events(&self) -> &CompactEvents {
        &self.compacting
    }

    /// Compacts the zones that an allocation may use, until one has such a block (`try_to_compact_pages`).
    pub(super) fn try_to_compact_pages(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        nid: NodeId,
        wanted: &Wanted<'_>,
        (flags, priority): (AllocFlags, CompactPriority),
    ) -> CompactResult {
        let mut result = CompactResult::Skipped;
        // Moving pages may need I/O.
        if !wanted.gfp.contains(Gfp::IO) {
            return result;
        }
        for (_, cell) in self.zonelist(cx, nid, wanted, flags) {
            let full = priority == CompactPriority::SyncFull;
            if !full && cell.compact.is_deferred(wanted.order) {
                result = better(result, CompactResult::Deferred);
                continue;
            }
            let light = priority != CompactPriority::Async;
            let mode = if light { MigrateMode::SyncLight } else { MigrateMode::Async };
            let mut cc = Control {
                migrate: wanted.migrate,
                flags,
                highest: wanted.highest,
                whole_zone: full,
                ignore_skip: full,
                ignore_suitable: full,
                direct: true,
                ..Control::new(Some(wanted.order), mode)
            };
            let outcome = self.compact_zone(cx, mover, cell, &mut cc);
            result = better(result, outcome.result());
            match outcome {
                Outcome::Success => {
                    cell.compact.defer_reset(wanted.order, false);
                    break;
                }
                Outcome::Complete | Outcome::PartialSkipped if light => cell.compact.defer(wanted.order),
                _ => {}
            }
            if cx.task.contains(TaskFlags::DYING) || mover.interrupted() {
                break;
            }
        }
        result
    }

    /// Counts an allocation that waited for compaction, and remembers that it helped.
    pub(super) fn count_compaction(&self, order: Order, found: Option<&Frames<'a>>) {
        let events = &self.compacting;
        add(&events.stall, 1);
        add(if found.is_some() { &events.success } else { &events.fail }, 1);
        let zone = found.and_then(|frames| self.ground.blocks.zone_of(frames.start()));
        if let Some(cell) = zone.and_then(|zone| self.zones.get(zone.index())) {
            cell.compact.defer_reset(order, true);
        }
    }

    /// Compacts all zones of a node as far as it goes (`/proc/sys/vm/compact_memory`, `compact_node`).
    pub fn compact_node(&self, cx: &Context<'_, 'm, 'a>, mover: &dyn Migrate, nid: NodeId) {
        for cell in self.zones.iter().filter(|cell| cell.nid() == nid) {
            let mut cc =
                Control { whole_zone: true, ignore_skip: true, ..Control::new(None, MigrateMode::Sync) };
            self.compact_zone(cx, mover, cell, &mut cc);
            self.drain_local_zone(cx, cell.id());
        }
    }

    /// Forgets which pageblocks were scanned in vain, in zones of a node whose scanners met (`reset_isolation_suitable`): kswapd
    /// does it before it sleeps.
    pub fn reset_isolation_suitable(&self, nid: NodeId) {
        for cell in self.zones.iter().filter(|cell| cell.nid() == nid) {
            if cell.compact.flush.load(Relaxed) {
                self.reset_zone_hints(cell);
            }
        }
    }

    /// Whether compacting a zone can help an allocation (`compaction_suitable`): [`Outcome::Success`] if it needs none,
    /// [`Outcome::Skipped`] if memory is what is missing.
    pub fn zone_compaction_suitable(
        &self,
        cell: &ZoneCell<'s, 'a>,
        order: Order,
        flags: AllocFlags,
        highest: ZoneKind,
    ) -> Outcome {
        self.settle_waiting(cell);
        let outcome = Self::suitable_with(cell, order, flags, highest, cell.free_pages());
        if outcome == Outcome::Continue && Self::is_costly(order) {
            let index =
                ContigPageInfo::new(&self.free_areas(cell.id()).counts(), order).fragmentation_index();
            if (0..=EXTFRAG_THRESHOLD).contains(&index) {
                return Outcome::Skipped;
            }
        }
        outcome
    }

    /// The same if so many pages were free, and not looking at why large blocks fail (`__compaction_suitable`).
    pub(super) fn suitable_with(
        cell: &ZoneCell<'s, 'a>,
        order: Order,
        flags: AllocFlags,
        highest: ZoneKind,
        free: u64,
    ) -> Outcome {
        if cell.watermark_ok(order, cell.mark(flags), highest, flags) {
            return Outcome::Success;
        }
        let mark = if Self::is_costly(order) { AllocFlags::WMARK_LOW } else { AllocFlags::WMARK_MIN };
        // Room for the pages that are on their way, twice.
        let needed = cell.mark(mark) + 2 * order.pages();
        if cell.watermark_ok_for(free, Order::ZERO, needed, highest, AllocFlags::CMA) {
            Outcome::Continue
        } else {
            Outcome::Skipped
        }
    }

    /// `compact_zone`.
    fn compact_zone(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        cell: &ZoneCell<'s, 'a>,
        cc: &mut Control,
    ) -> Outcome {
        if let Some(order) = cc.order {
            match self.zone_compaction_suitable(cell, order, cc.flags, cc.highest) {
                Outcome::Continue => {}
                done => return done,
            }
            if cell.compact.is_restarting(order) {
                self.reset_zone_hints(cell);
            }
        }
        let ends = self.scan_ends(cell);
        (cc.migrate_at, cc.free_at) =
            if cc.whole_zone { ends } else { cell.compact.positions(cc.mode, ends) };
        cc.whole_zone |= cc.migrate_at == ends.0;
        let (mut batch, mut free) = (Batch::new(), Chain::new());
        let mut moved_from = None;
        let outcome = loop {
            match self.compact_finished(cell, cc, ends) {
                Outcome::Continue => {}
                done => break done,
            }
            let from = cc.migrate_at;
            match self.isolate_migratepages(mover, cell, cc, &mut batch) {
                Scanned::Abort => break Outcome::Contended,
                Scanned::None => {}
                Scanned::Some => {
                    let needed = batch.len() as u64;
                    let mode = cc.mode;
                    let mut places = FromTheTop { allocator: self, cell, cc, free: &mut free, needed };
                    let moved = self.migrate_pages(cx, mover, &mut batch, mode, &mut places);
                    self.putback(cx, mover, &mut batch);
                    if moved.is_err() && !cc.have_met(self.ground.blocks.order()) {
                        break Outcome::Contended;
                    }
                    moved_from = moved_from.or(Some(from));
                }
            }
            // What was freed lies on this CPU's lists; a block that was passed can only form in the zone's.
            if let (Some(order), Some(at)) = (cc.order.filter(|o| !o.is_zero()), moved_from)
                && at < cc.migrate_at & !(order.pages() - 1)
            {
                self.drain_local_zone(cx, cell.id());
                moved_from = None;
            }
        };
        self.putback(cx, mover, &mut batch);
        if let Some(highest) = self.release_freepages(cell, &mut free) {
            cell.compact.returned_free(highest & !(self.ground.blocks.order().pages() - 1));
        }
        outcome
    }

    /// Whether to go on (`compact_finished`).
    fn compact_finished(&self, cell: &ZoneCell<'s, 'a>, cc: &Control, ends: (u64, u64)) -> Outcome {
        let pageblock = self.ground.blocks.order();
        if cc.have_met(pageblock) {
            cell.compact.reset(ends);
            if cc.direct {
                cell.compact.flush.store(true, Relaxed);
            }
            return cc.met();
        }
        if let Some(aim) = cc.aim {
            let score = self.zone_score(cell);
            return if score > aim { Outcome::Continue } else { Outcome::Success };
        }
        let Some(order) = cc.order else { return Outcome::Continue };
        // A pageblock that was begun is finished.
        if !cc.migrate_at.is_multiple_of(pageblock.pages()) {
            return Outcome::Continue;
        }
        let found = self.with_zone(cell, |z| {
            let cma = cc.migrate == MigrateType::Movable && z.smallest(order, MigrateType::Cma).is_some();
            cma || z.smallest(order, cc.migrate).is_some()
                || cc.migrate == MigrateType::Movable && z.extents().frames() > 0
                || cc.migrate.fallbacks().iter().any(|&other| {
                    // A block of another type that the allocation could take over as a whole.
                    let found = z.smallest(order, other);
                    found.is_some_and(|at| self.ground.may_take_pageblock(at, cc.migrate))
                })
        });
        if found { Outcome::Success } else { Outcome::Continue }
    }

    /// A zone's part of its free pages that a huge page cannot use, in percent (`fragmentation_score_zone`).
    pub fn zone_score(&self, cell: &ZoneCell<'s, 'a>) -> u32 {
        let blocks = self.free_areas(cell.id()).counts();
        ContigPageInfo::new(&blocks, self.ground.blocks.order()).fragmentation_score()
    }

    /// The score of a node (`fragmentation_score_node`).
    pub fn node_score(&self, nid: NodeId) -> u32 {
        let cells = || self.zones.iter().filter(|cell| cell.nid() == nid);
        let all = cells().map(ZoneCell::present_pages).sum();
        let weighted = |cell: &ZoneCell<'s, 'a>| {
            super::extfrag::weighted_score(self.zone_score(cell), cell.present_pages(), all)
        };
        cells().map(weighted).sum()
    }

    /// Whether a node is fragmented enough to be compacted ahead of need (`should_proactive_compact_node`).
    pub fn should_compact_proactively(&self, nid: NodeId, proactiveness: u32) -> bool {
        proactiveness > 0 && self.node_score(nid) > ScoreMarks::new(proactiveness).high
    }
}

/// The one of two results that says more, in the order that Linux gives them.
fn better(one: CompactResult, other: CompactResult) -> CompactResult {
    let rank = |result| match result {
        CompactResult::Skipped => 0,
        CompactResult::Deferred => 1,
        CompactResult::Complete => 2,
        CompactResult::Partial => 3,
        CompactResult::Success => 4,
    };
    if rank(other) > rank(one) { other } else { one }
}
