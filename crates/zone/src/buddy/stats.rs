//! What /proc/buddyinfo and /proc/pagetypeinfo show.

use super::{Buddy, BuddyZone, MigrateType, Pageblocks, ZoneId};
use pagewright_addr::Order;
use pagewright_page::FrameIdx;

/// A count for each migrate type, by [`MigrateType::index`].
pub type MigrateCounts = [u64; MigrateType::COUNT];

/// A zone's free blocks by order and type, all of one moment (`zone.free_area`): untouched ones are among them, those of CPUs' lists are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FreeAreas {
    blocks: [MigrateCounts; Order::LIMIT],
    largest: Order,
}

impl FreeAreas {
    /// Nothing free, on a machine with this largest order.
    pub const fn none(largest: Order) -> Self {
        Self { blocks: [[0; MigrateType::COUNT]; Order::LIMIT], largest }
    }

    /// Blocks of an order and type.
    pub fn blocks_of(&self, order: Order, migrate: MigrateType) -> u64 {
        self.blocks[order.index()][migrate.index()]
    }

    /// Blocks of an order (`free_area[order].nr_free`).
    pub fn blocks(&self, order: Order) -> u64 {
        self.blocks[order.index()].iter().sum()
    }

    /// Blocks of each order, ascending to the machine's largest.
    pub fn by_order(&self) -> impl ExactSizeIterator<Item = u64> + Clone + use<> {
        self.counts().into_iter().take(self.largest.index() + 1)
    }

    /// Blocks of each order, 0 beyond the machine's largest.
    pub fn counts(&self) -> [u64; Order::LIMIT] {
        self.blocks.map(|types| types.iter().sum())
    }

    /// Pages in all of them.
    pub fn pages(&self) -> u64 {
        self.by_order().enumerate().map(|(order, blocks)| blocks << order).sum()
    }
}

impl Buddy<'_, '_, '_> {
    /// Free blocks of an order and type in a zone, untouched ones included.
    pub fn free_blocks_of(&self, zone: ZoneId, order: Order, migrate: MigrateType) -> u64 {
        self.free_areas(zone).blocks_of(order, migrate)
    }

    /// Free blocks of an order in a zone (`free_area[order].nr_free`).
    pub fn free_blocks(&self, zone: ZoneId, order: Order) -> u64 {
        self.free_areas(zone).blocks(order)
    }

    /// A zone's free blocks; none of a zone that there is not.
    pub fn free_areas(&self, zone: ZoneId) -> FreeAreas {
        let largest = self.ground.largest;
        self.zones.get(zone.index()).map_or(FreeAreas::none(largest), |z| z.free_areas(largest))
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

    /// Free blocks, untouched ones included; `largest` is the largest order.
    pub fn free_areas(&self, largest: Order) -> FreeAreas {
        let mut areas = FreeAreas::none(largest);
        for order in (0..=largest.get()).filter_map(Order::new) {
            areas.blocks[order.index()] = MigrateType::ALL.map(|migrate| self.listed_blocks(order, migrate));
        }
        areas.blocks[largest.index()][MigrateType::Movable.index()] += self.extents.frames() >> largest.get();
        areas
    }
}
