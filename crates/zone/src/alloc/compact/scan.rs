//! The two scanners: pages to move from the zone's bottom, places for them from its top.

use super::super::migrate::{Batch, Migrate, MigrateMode, Places, is_movable};
use super::super::{Hooks, PageAllocator, ZoneCell};
use super::state::add;
use super::{Control, Outcome};
use crate::buddy::MigrateType;
use crate::gfp::Gfp;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, Frames, OwnerHandle, PageMap, State, Use};
use pagewright_platform::Interrupts;

/// Whose the pages of a [`Chain`] are: so who frees one by a number that is no longer his is told so.
pub(crate) const CHAINED: OwnerHandle =
    match OwnerHandle::new((1 << OwnerHandle::INDEX_BITS) - 1, OwnerHandle::MAX_GENERATION) {
        Some(handle) => handle,
        None => panic!("the last handle there is"),
    };

/// Free pages that compaction took out of the lists, linked through their metadata.
pub(super) struct Chain {
    head: Option<FrameIdx>,
    len: u64,
}

impl Chain {
    pub(super) const fn new() -> Self {
        Self { head: None, len: 0 }
    }

    fn push<'a>(&mut self, map: &PageMap<'a>, page: Frames<'a>) {
        let idx = map.deposit(page, Use::Kernel, CHAINED);
        map.set_next(idx, self.head);
        self.head = Some(idx);
        self.len += 1;
    }

    pub(super) fn pop<'a>(&mut self, map: &PageMap<'a>) -> Option<Frames<'a>> {
        let idx = self.head?;
        self.head = map.next(idx);
        self.len -= 1;
        map.set_next(idx, None);
        Some(map.withdraw(idx, Use::Kernel, CHAINED))
    }

    /// Cuts a block into pages, the lowest to be popped first.
    fn push_pages<'a>(&mut self, map: &PageMap<'a>, block: Frames<'a>) {
        let mut rest = block;
        while rest.len() > 1 {
            let all_but_one = rest.len() - 1;
            let (low, last) = map.split_at(rest, all_but_one);
            self.push(map, last);
            rest = low;
        }
        self.push(map, rest);
    }
}

/// What the migration scanner came back with.
pub(super) enum Scanned {
    /// Pages in the batch.
    Some,
    /// Nothing in the block it looked at, or no block left.
    None,
    /// It was interrupted.
    Abort,
}

impl<'s, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, '_, 's, 'a, I, H> {
    /// Takes movable pages of the next pageblock that is worth it off their lists (`isolate_migratepages`).
    pub(super) fn isolate_migratepages(
        &self,
        mover: &dyn Migrate,
        cell: &ZoneCell<'s, 'a>,
        cc: &mut Control,
        batch: &mut Batch,
    ) -> Scanned {
        let block = self.ground.blocks.order().pages();
        while cc.migrate_at < cc.free_at {
            if mover.interrupted() {
                return Scanned::Abort;
            }
            let idx = FrameIdx::new(cc.migrate_at as u32);
            let end = (cc.migrate_at & !(block - 1)) + block;
            let first = cc.migrate_at.is_multiple_of(block);
            let worth = self.ground.blocks.zone_of(idx) == Some(cell.id())
                && (cc.ignore_skip || !first || !self.ground.blocks.is_skipped(idx))
                && self.is_source(cc, self.ground.blocks.migrate_type(idx));
            if !worth {
                cc.migrate_at = end;
                continue;
            }
            let at = self.isolate_block_pages(mover, cc, (cc.migrate_at, end), batch);
            if batch.is_empty() && first && at == end && !cc.ignore_skip {
                self.ground.blocks.set_skipped(idx, true);
                cell.compact.passed_migrate(cc.mode, end);
            }
            cc.migrate_at = at;
            return if batch.is_empty() { Scanned::None } else { Scanned::Some };
        }
        Scanned::None
    }

    /// Whether a block of this type may be emptied (`suitable_migration_source`): an asynchronous compaction for an allocation
    /// looks at blocks of the allocation's type only.
    fn is_source(&self, cc: &Control, block: MigrateType) -> bool {
        if cc.mode != MigrateMode::Async || !cc.direct {
            return true;
        }
        match cc.migrate {
            MigrateType::Movable => matches!(block, MigrateType::Movable | MigrateType::Cma),
            other => block == other,
        }
    }

    fn isolate_block_pages(
        &self,
        mover: &dyn Migrate,
        cc: &mut Control,
        (start, end): (u64, u64),
        batch: &mut Batch,
    ) -> u64 {
        let map = &self.ground.map;
        let (mut at, mut scanned, had) = (start, 0, batch.len());
        while at < end && !batch.is_full() {
            let idx = FrameIdx::new(at as u32);
            let word = map.word(idx);
            scanned += 1;
            at += match word.state() {
                State::Free => word.order().pages(),
                // Larger blocks are as good as compacted.
                _ if is_movable(word) && !word.order().is_zero() => word.order().pages(),
                _ => {
                    if is_movable(word) && mover.isolate(map, idx, cc.mode) {
                        batch.push(idx);
                    }
                    1
                }
            };
        }
        let events = &self.compacting;
        add(&events.migrate_scanned, scanned);
        if !cc.direct {
            add(&events.daemon_migrate_scanned, scanned);
        }
        add(&events.isolated, (batch.len() - had) as u64);
        // A free block may reach beyond.
        at.min(end)
    }

    /// Takes free pages of the highest pageblocks that are worth it out of the lists, as many as are needed
    /// (`isolate_freepages`).
    fn isolate_freepages(&self, cell: &ZoneCell<'s, 'a>, cc: &mut Control, free: &mut Chain, needed: u64) {
        let block = self.ground.blocks.order().pages();
        // The block that the migration scanner is in is its own.
        let lowest = (cc.migrate_at & !(block - 1)) + block;
        while free.len < needed && cc.free_at >= lowest {
            let idx = FrameIdx::new(cc.free_at as u32);
            let worth = self.ground.blocks.zone_of(idx) == Some(cell.id())
                && (cc.ignore_skip || !self.ground.blocks.is_skipped(idx));
            let taken = worth && self.isolate_free_block(cell, cc, free, needed);
            if free.len >= needed {
                // There may be more in it.
                return;
            }
            if worth && !taken && !cc.ignore_skip {
                self.ground.blocks.set_skipped(idx, true);
                cell.compact.passed_free(cc.free_at);
            }
            if cc.free_at < block {
                cc.free_at = 0;
                return;
            }
            cc.free_at -= block;
        }
    }

    /// Takes free pages out of the block that the free scanner is at; whether there were any.
    fn isolate_free_block(
        &self,
        cell: &ZoneCell<'s, 'a>,
        cc: &Control,
        free: &mut Chain,
        needed: u64,
    ) -> bool {
        let idx = FrameIdx::new(cc.free_at as u32);
        let (ground, had) = (&self.ground, free.len);
        let mut scanned = 0;
        self.with_zone(cell, |z| {
            let target = matches!(ground.blocks.migrate_type(idx), MigrateType::Movable | MigrateType::Cma);
            let large = ground.free_block_at(z, idx).is_some_and(|(_, order)| order >= ground.blocks.order());
            // What is one free block already is not broken up, unless all else failed.
            let whole = large || z.extents().contains(idx);
            if !cc.ignore_suitable && (whole || !target) {
                return;
            }
            ground.each_free_in(z, idx, |ground, z, head, order| {
                scanned += 1;
                if free.len >= needed {
                    return false;
                }
                let usable = z.free_pages().saturating_sub(cell.highatomic_pages());
                if ground.blocks.migrate_type(head) == MigrateType::Isolate
                    || usable <= cell.min_pages() + order.pages()
                {
                    return true;
                }
                let block = ground.take_for_compaction(z, head, order);
                free.push_pages(&ground.map, block);
                true
            });
        });
        let events = &self.compacting;
        add(&events.free_scanned, scanned);
        if !cc.direct {
            add(&events.daemon_free_scanned, scanned);
        }
        add(&events.isolated, free.len - had);
        free.len > had
    }

    /// Gives what is left of the free pages back (`release_freepages`); how far up they reach.
    pub(super) fn release_freepages(&self, cell: &ZoneCell<'s, 'a>, free: &mut Chain) -> Option<u64> {
        let mut highest = None;
        self.with_zone(cell, |z| {
            while let Some(page) = free.pop(&self.ground.map) {
                highest = highest.max(Some(u64::from(page.start().get())));
                self.ground.free_cut(z, page);
            }
        });
        highest
    }

    /// Clears a zone's hints and lets both scanners begin anew (`__reset_isolation_suitable`).
    pub(super) fn reset_zone_hints(&self, cell: &ZoneCell<'s, 'a>) {
        cell.compact.flush.store(false, Relaxed);
        let ends = self.scan_ends(cell);
        let block = self.ground.blocks.order().pages();
        for at in (ends.0 & !(block - 1)..=ends.1).step_by(block as usize) {
            self.ground.blocks.set_skipped(FrameIdx::new(at as u32), false);
        }
        cell.compact.reset(ends);
    }

    /// Where the scanners begin: the zone's first frame, and its last pageblock.
    pub(super) fn scan_ends(&self, cell: &ZoneCell<'s, 'a>) -> (u64, u64) {
        let (start, end) = self.with_zone(cell, |z| z.span());
        let block = self.ground.blocks.order().pages();
        if start >= end { (0, 0) } else { (start, (end - 1) & !(block - 1)) }
    }
}

/// Places that the free scanner finds.
pub(super) struct FromTheTop<'q, 'z, 'm, 's, 'a, I, H> {
    pub(super) allocator: &'q PageAllocator<'z, 'm, 's, 'a, I, H>,
    pub(super) cell: &'q ZoneCell<'s, 'a>,
    pub(super) cc: &'q mut Control,
    pub(super) free: &'q mut Chain,
    /// How many pages are to be moved.
    pub(super) needed: u64,
}

impl<'a, I: Interrupts, H: Hooks> Places<'a> for FromTheTop<'_, '_, '_, '_, 'a, I, H> {
    fn get(&mut self, order: Order) -> Option<Frames<'a>> {
        if !order.is_zero() {
            return None;
        }
        if self.free.head.is_none() {
            self.allocator.isolate_freepages(self.cell, self.cc, self.free, self.needed);
        }
        let page = self.free.pop(&self.allocator.ground.map)?;
        Some(self.allocator.watch_allocated(page, Gfp::MOVABLE))
    }

    fn put(&mut self, unused: Frames<'a>) {
        self.free.push(&self.allocator.ground.map, unused);
    }
}

impl Control {
    /// Whether the scanners met (`compact_scanners_met`).
    pub(super) fn have_met(&self, pageblock: Order) -> bool {
        self.free_at >> pageblock.get() <= self.migrate_at >> pageblock.get()
    }

    /// What it is called when they did.
    pub(super) fn met(&self) -> Outcome {
        if self.whole_zone { Outcome::Complete } else { Outcome::PartialSkipped }
    }
}
