//! Isolating ranges of pageblocks, so that what is freed in them stays free (`start_isolate_page_range`).
//!
//! # Who owns what
//! An isolated pageblock belongs to whoever isolated it, shown by an [`Isolated`] token, and to nobody twice: a block that is isolated
//! already refuses. Its free frames stay with the zone, in lists of their own; frames in use stay with their users,
//! and join those lists when they are freed. Every step is taken under the zone's lock, pageblock by
//! pageblock; nothing is held between them. Only starting can fail, and leaves everything as it was.

use super::migrate::{block_of, is_movable};
use super::{ContigError, Hooks, PageAllocator, ZoneCell};
use crate::ZoneKind;
use crate::buddy::{BuddyZone, MigrateType, ZoneId};
use pagewright_addr::{Order, PfnRange};
use pagewright_page::{FrameIdx, State};
use pagewright_platform::Interrupts;

/// What an isolation is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IsolateFor {
    /// A contiguous allocation for a type: blocks of CMA areas only for [`MigrateType::Cma`].
    Contig(MigrateType),
    /// Taking the memory offline (MEMORY_OFFLINE): pages that are offline or faulty already do not matter.
    Offline,
}

/// A range of isolated pageblocks of one zone. Give it to [`PageAllocator::undo_isolate_page_range`].
#[derive(Debug)]
#[must_use = "the pageblocks stay isolated"]
pub struct Isolated {
    pub(super) zone: ZoneId,
    /// The frames that are wanted.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) purpose: IsolateFor,
}

impl<'s, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, '_, 's, 'a, I, H> {
    /// Isolates the pageblocks of a range. Whatever is in use in the range must be movable, or it is refused.
    ///
    /// Pages on CPUs' lists look as if they were in use: empty the lists first.
    ///
    /// # Errors
    /// [`ContigError::Range`] for frames that are not of one zone without a gap, [`ContigError::Busy`] for a pageblock that cannot be
    /// isolated. Nothing has changed then.
    pub fn start_isolate_page_range(
        &self,
        pfns: PfnRange,
        purpose: IsolateFor,
    ) -> Result<Isolated, ContigError> {
        let (zone, start, end) = self.one_zone(pfns).ok_or(ContigError::Range { pfns })?;
        let cell = self.zones.get(zone.index()).ok_or(ContigError::Range { pfns })?;
        let mut done = Isolated { zone, start, end: start, purpose };
        while done.end < end {
            let (from, next) = (done.end, self.next_block(done.end, end));
            if !self.with_zone(cell, |z| self.isolate_block(cell, z, (from, next), purpose)) {
                self.undo_isolate_page_range(done, None);
                return Err(ContigError::Busy { pfns, at: None });
            }
            done.end = next;
        }
        Ok(done)
    }

    /// Ends an isolation; the pageblocks become `to`, or each what it was.
    pub fn undo_isolate_page_range(&self, isolated: Isolated, to: Option<MigrateType>) {
        let Some(cell) = self.zones.get(isolated.zone.index()) else { return };
        let mut at = isolated.start;
        while at < isolated.end {
            let idx = FrameIdx::new(at as u32);
            self.with_zone(cell, |z| {
                if self.ground.unisolate_pageblock(z, idx, to) == MigrateType::HighAtomic {
                    cell.keep_highatomic(self.ground.blocks.order().pages() as i64);
                }
            });
            at = self.next_block(at, isolated.end);
        }
    }

    /// Whether everything in the isolated range is free (`test_pages_isolated`).
    ///
    /// # Errors
    /// [`ContigError::Busy`] with the first frame that is not.
    pub fn test_pages_isolated(&self, isolated: &Isolated) -> Result<(), ContigError> {
        let Isolated { zone, start, end, purpose } = *isolated;
        let Some(cell) = self.zones.get(zone.index()) else { return Ok(()) };
        let busy = self
            .with_zone(cell, |z| self.ground.first_busy(z, start, end, |idx| self.passable(purpose, idx)));
        let Some(at) = busy else { return Ok(()) };
        Err(ContigError::Busy { pfns: self.pfns_of(start, end), at: Some(self.pfns_of(at, end).start) })
    }

    /// What offlining passes over: pages that are of no use already.
    pub(super) fn passable(&self, purpose: IsolateFor, idx: FrameIdx) -> Option<Order> {
        let word = self.ground.map.word(idx);
        let dead = matches!(word.state(), State::Offline | State::Poisoned);
        (purpose == IsolateFor::Offline && dead).then_some(word.order())
    }

    /// The zone of a range without gaps, and its frames' indices.
    pub(super) fn one_zone(&self, pfns: PfnRange) -> Option<(ZoneId, u64, u64)> {
        let map = &self.ground.map;
        let idx = map.idx(pfns.start)?;
        let len = pfns.len();
        let whole = len > 0 && map.sections().run(pfns.start, len) == len;
        let zone = self.ground.blocks.zone_of(idx).filter(|_| whole)?;
        let start = u64::from(idx.get());
        (self.ground.blocks.run(idx, len) == len).then_some((zone, start, start + len))
    }

    /// The frame numbers of a run of indices.
    pub(super) fn pfns_of(&self, start: u64, end: u64) -> PfnRange {
        PfnRange::from_len(self.ground.map.pfn(FrameIdx::new(start as u32)), end - start)
    }

    /// Where the next pageblock begins, `end` at the most.
    fn next_block(&self, at: u64, end: u64) -> u64 {
        let block = self.ground.blocks.order().pages();
        ((at & !(block - 1)) + block).min(end)
    }

    fn isolate_block(
        &self,
        cell: &ZoneCell<'s, 'a>,
        z: &mut BuddyZone<'s, 'a>,
        frames: (u64, u64),
        purpose: IsolateFor,
    ) -> bool {
        let idx = FrameIdx::new(frames.0 as u32);
        let migrate = self.ground.blocks.migrate_type(idx);
        if migrate == MigrateType::Isolate || self.has_unmovable(z, migrate, frames, purpose) {
            return false;
        }
        if self.ground.isolate_pageblock(z, idx) == MigrateType::HighAtomic {
            cell.keep_highatomic(-(self.ground.blocks.order().pages() as i64));
        }
        true
    }

    /// Whether a page of a pageblock is in the way (`has_unmovable_pages`). All there is in a CMA area was lent to movable
    /// allocations, and ZONE_MOVABLE has nothing else, so there only reserved frames are.
    fn has_unmovable(
        &self,
        z: &BuddyZone<'s, 'a>,
        migrate: MigrateType,
        (start, end): (u64, u64),
        purpose: IsolateFor,
    ) -> bool {
        if migrate == MigrateType::Cma {
            return purpose != IsolateFor::Contig(MigrateType::Cma);
        }
        let mut at = start;
        while at < end {
            let idx = FrameIdx::new(at as u32);
            if let Some(range) = z.extents().iter().find(|range| range.contains(&at)) {
                at = range.end;
                continue;
            }
            let Some((head, word)) = block_of(&self.ground.map, idx, self.ground.largest) else {
                let inside = matches!(self.ground.map.state(idx), State::Inner | State::Tail);
                if z.kind() == ZoneKind::Movable && inside {
                    at += 1;
                    continue;
                }
                return true;
            };
            let fine = match word.state() {
                State::Free => true,
                State::Reserved => false,
                _ if z.kind() == ZoneKind::Movable => true,
                State::Offline | State::Poisoned => purpose == IsolateFor::Offline,
                _ => is_movable(word),
            };
            if !fine {
                return true;
            }
            at = u64::from(head.get()) + word.order().pages();
        }
        false
    }
}
