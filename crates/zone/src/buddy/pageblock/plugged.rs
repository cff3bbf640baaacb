//! Whose memory is, now that whole pageblocks come and go: records before pieces.
//!
//! The pieces of zones are what the machine booted with. A pageblock that was plugged in, or taken offline, is marked as whole in its
//! record, and belongs to the zone that stands there or to none.

use super::{Pageblocks, Record};
use crate::buddy::{MigrateType, ZoneId};
use core::sync::atomic::Ordering::Relaxed;
use pagewright_page::FrameIdx;

impl Record {
    pub(super) const WHOLE: u32 = 1 << 31;

    pub(super) fn is_whole(self) -> bool {
        self.0 & Self::WHOLE != 0
    }
}

impl Pageblocks<'_> {
    /// Gives whole pageblocks to a zone, as Movable, or to none. The caller holds the zone that has or gets them.
    pub(crate) fn assign(&self, start: u64, end: u64, zone: Option<ZoneId>) {
        for block in start >> self.order.get()..end >> self.order.get() {
            let Some(slot) = self.records.get(block as usize) else { return };
            let bare = Record(Record::WHOLE);
            let record = match zone {
                Some(zone) => bare.with_zone(zone).with_migrate(false, MigrateType::Movable),
                None => bare.with_lists(),
            };
            slot.store(record.0, Relaxed);
        }
    }

    /// Whether the frame's pageblock came or went while the machine ran.
    pub(crate) fn is_whole(&self, idx: FrameIdx) -> bool {
        self.record(idx).is_whole()
    }

    /// The zone of the frame at an index, and up to where, `limit` at most, the others are of it too for the same reason: one piece, one gap, or
    /// one whole pageblock.
    fn segment(&self, index: u64, limit: u64) -> (Option<ZoneId>, u64) {
        let record = self.record(FrameIdx::new(index as u32));
        let next = (index | (self.order.pages() - 1)) + 1;
        if record.is_whole() {
            return (record.zone(), next.min(limit));
        }
        let (zone, end) = match self.piece_at(index) {
            Some(piece) => (Some(piece.zone), piece.end),
            None => {
                let after = self.pieces.get(self.pieces.partition_point(|p| p.end <= index));
                (None, after.map_or(limit, |p| p.start))
            }
        };
        let end = end.min(limit);
        let later = self.records.get((next >> self.order.get()) as usize..).unwrap_or(&[]);
        let plain = later.iter().take(((end.max(next) - next) >> self.order.get()) as usize + 1);
        let plain = plain.take_while(|record| !Record(record.load(Relaxed)).is_whole()).count() as u64;
        (zone, end.min(next + plain * self.order.pages()))
    }

    /// How many frames from `idx` on, at most `max`, are in the same zone without a gap. 0 if the frame is in none.
    pub fn run(&self, idx: FrameIdx, max: u64) -> u64 {
        match self.stretch(idx, max) {
            (Some(_), run) => run,
            (None, _) => 0,
        }
    }

    /// The zone of a frame, and how many frames from it on, at most `max`, are in that zone too; for a frame in no zone,
    /// how many are in none.
    pub fn stretch(&self, idx: FrameIdx, max: u64) -> (Option<ZoneId>, u64) {
        let index = u64::from(idx.get());
        let limit = index.saturating_add(max);
        let (zone, mut end) = self.segment(index, limit);
        // Ranges of different flags touch, and belong together here.
        while end < limit {
            let (next, after) = self.segment(end, limit);
            if next != zone {
                break;
            }
            end = after;
        }
        (zone, end - index)
    }

    /// From the first to past the last frame of a zone within `start..end`, by index, and how many there are.
    pub(crate) fn extent_of(&self, zone: ZoneId, start: u64, end: u64) -> (u64, u64, u64) {
        let (mut first, mut last, mut count, mut at) = (u64::MAX, 0, 0, start);
        while at < end {
            let (found, run) = self.stretch(FrameIdx::new(at as u32), end - at);
            if found == Some(zone) {
                (first, last, count) = (first.min(at), at + run, count + run);
            }
            at += run.max(1);
        }
        (first, last, count)
    }
}
