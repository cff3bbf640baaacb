//! Pageblocks that are kept for urgent allocations (MIGRATE_HIGHATOMIC).

use super::flags::AllocFlags;
use super::hooks::{Effort, Hooks};
use super::prepare::Wanted;
use super::{Context, PageAllocator, ZoneCell};
use crate::buddy::MigrateType;
use pagewright_addr::{NodeId, Order};
use pagewright_page::Frames;
use pagewright_platform::Interrupts;

impl<'m, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, 's, 'a, I, H> {
    /// After an urgent allocation beyond order 0 its pageblock is kept for the next ones
    /// (`reserve_highatomic_pageblock`), up to 1 % of the zone and one block more.
    pub(super) fn reserve_highatomic(&self, cell: &ZoneCell<'s, 'a>, frames: &Frames<'a>) {
        let block = self.ground.blocks.order().pages();
        self.with_zone(cell, |zone| {
            if cell.highatomic_pages() >= zone.managed_pages() / 100 + block {
                return;
            }
            let idx = frames.start();
            if self.ground.blocks.migrate_type(idx).is_mergeable() {
                cell.keep_highatomic(block as i64);
                self.ground.blocks.set_migrate_type(idx, MigrateType::HighAtomic);
                self.ground.move_free_blocks(zone, idx, MigrateType::HighAtomic);
            }
        });
    }

    /// Gives one pageblock that was kept for urgent allocations back to a request's type (`unreserve_highatomic_pageblock`);
    /// with `force` even the last. Returns whether free blocks moved.
    pub(super) fn unreserve_highatomic(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
        effort: Effort,
    ) -> bool {
        let block = self.ground.blocks.order().pages();
        let force = effort == Effort::Last;
        for (_, cell) in self.zonelist(cx, nid, wanted, AllocFlags::empty()) {
            if !force && cell.highatomic_pages() <= block {
                continue;
            }
            let moved = self.with_zone(cell, |zone| {
                for order in (0..=self.ground.largest.get()).filter_map(Order::new) {
                    let Some(idx) = zone.first_of(order, MigrateType::HighAtomic) else { continue };
                    if self.ground.blocks.migrate_type(idx) == MigrateType::HighAtomic {
                        cell.keep_highatomic(-(block as i64));
                    }
                    self.ground.blocks.set_migrate_type(idx, wanted.migrate);
                    if self.ground.move_free_blocks(zone, idx, wanted.migrate).free > 0 {
                        return true;
                    }
                }
                false
            });
            if moved {
                return true;
            }
        }
        false
    }
}
