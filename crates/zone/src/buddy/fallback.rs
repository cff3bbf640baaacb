//! Choosing a block: the smallest that fits, then CMA, then another type's lists.

use super::zone::Place;
use super::{Buddy, MigrateType, Request, ZoneId};
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, Frames, PageFlags, State};

impl<'a> Buddy<'_, '_, 'a> {
    /// `__rmqueue`: CMA first when most free memory is there, the request's own type, CMA, and at last other types.
    pub(super) fn rmqueue(&mut self, zone: ZoneId, request: Request) -> Option<Frames<'a>> {
        let Request { order, migrate, cma, .. } = request;
        let z = &self.zones[zone.index()];
        if cma
            && z.free_cma_pages() > z.free_pages() / 2
            && let Some(frames) = self.take_smallest(zone, order, MigrateType::Cma)
        {
            return Some(frames);
        }
        loop {
            if let Some(frames) = self.take_smallest(zone, order, migrate) {
                return Some(frames);
            }
            if cma && let Some(frames) = self.take_smallest(zone, order, MigrateType::Cma) {
                return Some(frames);
            }
            if !self.steal(zone, request) {
                return None;
            }
        }
    }

    /// `__rmqueue_smallest`: the smallest block of a type that is large enough, cut down to the order.
    fn take_smallest(&mut self, zone: ZoneId, order: Order, migrate: MigrateType) -> Option<Frames<'a>> {
        for from in orders(order, self.largest) {
            if let Some(idx) = self.first_free(zone, from, migrate) {
                self.zones[zone.index()].unlink(&self.map, idx, from);
                return Some(self.expand(zone, idx, from, order, migrate));
            }
        }
        None
    }

    /// The block at the head of a list. Untouched memory queues behind the largest Movable blocks: its lowest block is
    /// initialised and becomes the list's last.
    fn first_free(&mut self, zone: ZoneId, order: Order, migrate: MigrateType) -> Option<FrameIdx> {
        let z = &mut self.zones[zone.index()];
        if let Some(idx) = z.list(order, migrate).head {
            return Some(idx);
        }
        if order != self.largest || migrate != MigrateType::Movable {
            return None;
        }
        let block = z.extents.take_lowest(order.pages())?.into_frames();
        let idx = self.map.put_block(block);
        z.link(&self.map, idx, order, migrate, Place::Tail);
        Some(idx)
    }

    /// `expand`: takes an unlinked block and puts the halves that are not needed back.
    fn expand(
        &mut self,
        zone: ZoneId,
        idx: FrameIdx,
        from: Order,
        order: Order,
        migrate: MigrateType,
    ) -> Frames<'a> {
        let mut block = self.map.take_block(idx, from);
        for half in orders(order, from).rev().skip(1) {
            let (low, high) = block.split_at(half.pages());
            let high = self.map.put_block(high);
            self.zones[zone.index()].link(&self.map, high, half, migrate, Place::Head);
            block = low;
        }
        block
    }

    /// `__rmqueue_fallback`: moves a free block, or a whole pageblock's free blocks, from another type's lists to the
    /// request's. Returns whether there is something to try again with.
    fn steal(&mut self, zone: ZoneId, request: Request) -> bool {
        let Request { order, migrate, no_fragment, .. } = request;
        let lowest = if no_fragment { order.max(self.blocks.order()) } else { order };
        // The largest block first: it makes the best chance that the whole pageblock can be had, and that the next such
        // request needs no fallback.
        for from in orders(lowest, self.largest).rev() {
            let Some((idx, whole)) = self.fallback_block(zone, from, migrate) else { continue };
            if !whole && migrate == MigrateType::Movable && from > order {
                // A movable allocation fragments nothing for good, so it takes the smallest block instead.
                return self.steal_smallest(zone, order, migrate);
            }
            self.convert(zone, idx, from, migrate, whole);
            return true;
        }
        false
    }

    fn steal_smallest(&mut self, zone: ZoneId, order: Order, migrate: MigrateType) -> bool {
        for from in orders(order, self.largest) {
            if let Some((idx, whole)) = self.fallback_block(zone, from, migrate) {
                self.convert(zone, idx, from, migrate, whole);
                return true;
            }
        }
        false
    }

    /// `find_suitable_fallback`: a free block of another type, and whether its whole pageblock may change type.
    fn fallback_block(&mut self, zone: ZoneId, order: Order, to: MigrateType) -> Option<(FrameIdx, bool)> {
        let idx = to.fallbacks().iter().find_map(|&from| self.first_free(zone, order, from))?;
        Some((idx, self.may_take_pageblock(order, to)))
    }

    /// `can_steal_fallback`: unmovable and reclaimable pages would pollute a movable block for long, so they take it
    /// over as a whole; a movable one does so only for large blocks.
    fn may_take_pageblock(&self, order: Order, to: MigrateType) -> bool {
        order.get() >= self.blocks.order().get() / 2
            || matches!(to, MigrateType::Reclaimable | MigrateType::Unmovable)
            || !self.mobility_grouping
    }

    /// `steal_suitable_fallback`.
    fn convert(&mut self, zone: ZoneId, idx: FrameIdx, order: Order, to: MigrateType, whole: bool) {
        let block = self.blocks.order();
        let old = self.blocks.migrate_type(idx);
        if order >= block {
            for at in (0..order.pages()).step_by(block.pages() as usize) {
                self.blocks.set_migrate_type(FrameIdx::new(idx.get() + at as u32), to);
            }
        } else if whole && old != MigrateType::HighAtomic {
            let moved = self.move_free_blocks(zone, idx, to);
            if moved.free > 0 {
                // How much of the block is of the new kind already? What is neither free nor movable may be.
                let alike = match (to, old) {
                    (MigrateType::Movable, _) => moved.movable,
                    (_, MigrateType::Movable) => block.pages().saturating_sub(moved.free + moved.movable),
                    _ => 0,
                };
                if moved.free + alike >= block.pages() / 2 || !self.mobility_grouping {
                    self.blocks.set_migrate_type(idx, to);
                }
                return;
            }
        }
        self.relink(zone, idx, order, to, Place::Tail);
    }

    fn relink(&mut self, zone: ZoneId, idx: FrameIdx, order: Order, to: MigrateType, place: Place) {
        let z = &mut self.zones[zone.index()];
        z.unlink(&self.map, idx, order);
        z.link(&self.map, idx, order, to, place);
    }

    /// `move_freepages_block`: moves all free blocks of a pageblock to another type's lists, and counts them and the
    /// frames in use that could be migrated. Nothing moves if the zone ends inside the block.
    fn move_free_blocks(&mut self, zone: ZoneId, idx: FrameIdx, to: MigrateType) -> Moved {
        let block = self.blocks.order();
        let span = self.zones[zone.index()].span;
        let first = u64::from(idx.align_down(block).get());
        let end = first + block.pages();
        let mut moved = Moved::default();
        if end > span.1 {
            return moved;
        }
        let mut at = if first < span.0 { u64::from(idx.get()) } else { first };
        while at < end {
            let here = FrameIdx::new(at as u32);
            let word = self.map.word(here);
            let mut step = 1;
            if let Some(order) = word.free_order() {
                step = order.pages();
                if self.blocks.zone_of(here) == Some(zone) {
                    self.relink(zone, here, order, to, Place::Tail);
                    moved.free += step;
                }
            } else if word.flags().contains(PageFlags::LRU) || word.is(State::Movable) {
                step = word.order().pages();
                moved.movable += step.min(end - at);
            }
            at += step;
        }
        moved
    }
}

/// What [`Buddy::move_free_blocks`] met, in frames.
#[derive(Default)]
struct Moved {
    free: u64,
    movable: u64,
}

/// The orders from `low` to `high`, both included.
fn orders(low: Order, high: Order) -> impl DoubleEndedIterator<Item = Order> {
    (low.get()..=high.get()).filter_map(Order::new)
}
