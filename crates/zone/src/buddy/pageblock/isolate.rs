//! What isolation and compaction keep in a pageblock's record: the type that an isolated block had, and the hint that there is
//! nothing to be found in it.

use super::{Pageblocks, Record};
use crate::buddy::MigrateType;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_page::FrameIdx;

impl Record {
    /// Compaction found nothing here lately (PB_migrate_skip).
    const SKIP: u32 = 1 << 15;
}

impl Pageblocks<'_> {
    /// Makes the frame's pageblock [`MigrateType::Isolate`], and keeps what it was where a block of two zones keeps the upper
    /// one's type. The caller holds the zone.
    pub(crate) fn isolate(&self, idx: FrameIdx) -> MigrateType {
        let was = self.migrate_type(idx);
        let Some(slot) = self.records.get(idx.index() >> self.order.get()) else { return was };
        self.set_migrate_type(idx, MigrateType::Isolate);
        if !self.record(idx).is_mixed() {
            let _ = slot.fetch_update(Relaxed, Relaxed, |bits| Some(Record(bits).with_migrate(true, was).0));
        }
        was
    }

    /// What an isolated pageblock was; for one that two zones share it is not known, and Movable is likely.
    pub(crate) fn isolated_from(&self, idx: FrameIdx) -> MigrateType {
        let record = self.record(idx);
        if record.is_mixed() { MigrateType::Movable } else { record.migrate(true) }
    }

    /// Whether compaction should pass the frame's pageblock over (`get_pageblock_skip`).
    pub fn is_skipped(&self, idx: FrameIdx) -> bool {
        self.record(idx).0 & Record::SKIP != 0
    }

    /// Says so, or no longer (`set_pageblock_skip`, `clear_pageblock_skip`). A hint: no lock is needed.
    pub(crate) fn set_skipped(&self, idx: FrameIdx, skip: bool) {
        let Some(slot) = self.records.get(idx.index() >> self.order.get()) else { return };
        if skip {
            slot.fetch_or(Record::SKIP, Relaxed);
        } else {
            slot.fetch_and(!Record::SKIP, Relaxed);
        }
    }
}
