//! What /proc/buddyinfo and /proc/pagetypeinfo show.

use super::{Buddy, BuddyZone, MigrateType, Pageblocks, ZoneId};
use pagewright_addr::Order;
use pagewright_page::FrameIdx;

/// A count for each migrate type, by [`MigrateType::index`].
pub type MigrateCounts = [u64; MigrateType::COUNT];

impl Buddy<'_, '_, '_> {
    /// Free blocks of an order and type in a zone, untouched ones included.
    pub fn free_blocks_of(&self, zone: ZoneId, order: Order, migrate: MigrateType) -> u64 {
        self.zones.get(zone.index()).map_or(0, |z| z.free_blocks_of(order, migrate, self.ground.largest))
    }

    /// Free blocks of an order in a zone (`free_area[order].nr_free`).
    pub fn free_blocks(&self, zone: ZoneId, order: Order) -> u64 {
        MigrateType::ALL.iter().map(|&m| self.free_blocks_of(zone, order, m)).sum()
    }

    /// How many pageblocks of a zone are of each type ([`Pageblocks::counts`]).
    pub fn pageblock_counts(&self, zone: ZoneId) -> MigrateCounts {
        self.ground.blocks.counts(zone)
    }
}

impl Pageblocks<'_> {
    /// How many pageblocks of a zone are of each type. A block counts for the zone of its first frame; a zone that
    /// begins inside a block counts that block by its own type.
    pub fn counts(&self, zone: ZoneId) -> MigrateCounts {
        let block = self.order().pages();
        let mut counts = [0; MigrateType::COUNT];
        let mut last = None;
        let mut count = |at: u64| counts[self.migrate_type(FrameIdx::new(at as u32)).index()] += 1;
        for piece in self.pieces().iter().filter(|p| p.zone == zone) {
            for at in (piece.start & !(block - 1)..piece.end).step_by(block as usize) {
                // Two pieces of a zone may share a block, and blocks that came or went have a word of their own.
                if last != Some(at) && !self.is_whole(FrameIdx::new(at as u32)) {
                    count(at.max(piece.start));
                    last = Some(at);
                }
            }
        }
        let whole = (0..self.records().len() as u64).map(|n| n * block);
        whole
            .filter(|&at| {
                let idx = FrameIdx::new(at as u32);
                self.is_whole(idx) && self.zone_of(idx) == Some(zone)
            })
            .for_each(count);
        counts
    }
}

impl BuddyZone<'_, '_> {
    /// Free blocks in a list, untouched memory apart.
    pub(crate) fn listed_blocks(&self, order: Order, migrate: MigrateType) -> u64 {
        self.list(order, migrate).count.into()
    }

    /// Free blocks of an order and type, untouched ones included; `largest` is the largest order.
    pub fn free_blocks_of(&self, order: Order, migrate: MigrateType, largest: Order) -> u64 {
        let untouched = order == largest && migrate == MigrateType::Movable;
        u64::from(self.list(order, migrate).count)
            + if untouched { self.extents.frames() >> order.get() } else { 0 }
    }
}
