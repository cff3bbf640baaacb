//! Choosing a block: the smallest that fits, then CMA, then another type's lists.

use super::watch::{Examined, Fallback, Trail};
use super::zone::Place;
use super::{BuddyZone, Ground, MigrateType, Request};
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, Frames, PageFlags, State};

impl<'a> Ground<'a> {
    /// `__rmqueue`: CMA first when most free memory is there, the request's own type, CMA, and at last other types.
    pub(crate) fn rmqueue(&self, z: &mut BuddyZone<'_, 'a>, request: Request) -> Option<Frames<'a>> {
        let Request { order, migrate, cma, .. } = request;
        if cma
            && z.free_cma_pages() > z.free_pages() / 2
            && let Some(frames) = self.take_smallest(z, order, MigrateType::Cma)
        {
            return Some(frames);
        }
        loop {
            if let Some(frames) = self.take_smallest(z, order, migrate) {
                return Some(frames);
            }
            if cma && let Some(frames) = self.take_smallest(z, order, MigrateType::Cma) {
                return Some(frames);
            }
            // Not from other types before all of its own was looked at.
            if z.parked_pages() > 0 {
                self.settle(z);
            } else if !self.steal(z, request) {
                return None;
            }
        }
    }

    /// What [`Self::rmqueue`] takes if the request's own type has a block and no CMA area is in question; else nothing.
    #[inline]
    pub(crate) fn take_own(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        order: Order,
        migrate: MigrateType,
    ) -> Option<Frames<'a>> {
        if migrate == MigrateType::Movable && z.free_cma_pages() > 0 {
            return None;
        }
        match z.smallest(order, migrate).and_then(|from| Some((z.list(from, migrate).head()?, from))) {
            Some((idx, from)) => Some(self.take_from(z, idx, from, order.pages() as u32, migrate)),
            None => self.take_smallest(z, order, migrate),
        }
    }

    /// What [`Self::rmqueue`] takes, or at once what several of them would: a run of at most `pages` pages (of which there are whole blocks of the request's
    /// order), the frames that the next requests would get.
    ///
    /// The smallest block that fits is cut down to nothing before another is touched, its lowest part first; so as long as it is of the
    /// request's own type, as much of its front as is wanted can be had at once.
    pub(crate) fn rmqueue_run(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        request: Request,
        pages: u32,
    ) -> Option<Frames<'a>> {
        // With CMA in the zone each page may come from another place.
        let mixed = request.cma && z.free_cma_pages() > 0;
        if !mixed && let Some(frames) = self.take_run(z, request, pages) {
            return Some(frames);
        }
        self.rmqueue(z, request)
    }

    /// What serves `pages` pages in as few blocks as there can be: of at most so many pages, the largest power of two of them if a block has room for it, else
    /// as [`Self::rmqueue_run`].
    pub(crate) fn rmqueue_whole(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        request: Request,
        pages: u32,
    ) -> Option<Frames<'a>> {
        let most = Order::new(pages.max(1).ilog2() as u8).unwrap_or(self.largest).min(self.largest);
        let mixed = request.cma && z.free_cma_pages() > 0;
        if !mixed && let Some(frames) = self.take_smallest(z, most, request.migrate) {
            return Some(frames);
        }
        self.rmqueue_run(z, request, pages)
    }

    fn take_run(&self, z: &mut BuddyZone<'_, 'a>, request: Request, pages: u32) -> Option<Frames<'a>> {
        let from = z.smallest(request.order, request.migrate)?;
        let idx = self.first_free(z, from, request.migrate)?;
        Some(self.take_from(z, idx, from, pages.min(from.pages() as u32), request.migrate))
    }

    /// `__rmqueue_smallest`: the smallest block of a type that is large enough, cut down to the order.
    pub(crate) fn take_smallest(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        order: Order,
        migrate: MigrateType,
    ) -> Option<Frames<'a>> {
        // Untouched memory is in no list, but is as good as blocks of the largest order.
        let from = z.smallest(order, migrate).unwrap_or(self.largest);
        let idx = self.first_free(z, from, migrate).filter(|_| from >= order)?;
        Some(self.take_from(z, idx, from, order.pages() as u32, migrate))
    }

    /// The block at the head of a list. Untouched memory queues behind the largest Movable blocks: its lowest block is
    /// initialised and becomes the list's last.
    #[inline]
    fn first_free(&self, z: &mut BuddyZone<'_, 'a>, order: Order, migrate: MigrateType) -> Option<FrameIdx> {
        if let Some(idx) = z.list(order, migrate).head() {
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

    /// Takes a block out of a type's list, or so many of its first pages: what is not needed goes back (`expand`).
    #[inline]
    fn take_from(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        idx: FrameIdx,
        from: Order,
        pages: u32,
        migrate: MigrateType,
    ) -> Frames<'a> {
        let list = z.remove(&self.map, idx, from);
        if list != migrate {
            z.recount(from, list, migrate);
        }
        // The rest stays free.
        z.count_pages(pages as usize, migrate, false);
        if u64::from(pages) == from.pages() {
            return self.map.take_block(idx, from);
        }
        self.map.take_part(idx, from, pages, |part, order| {
            z.insert(&self.map, part, order, migrate, Place::Head);
        })
    }

    /// `__rmqueue_fallback`: moves a free block, or a whole pageblock's free blocks, from another type's lists to the
    /// request's. Returns whether there is something to try again with.
    fn steal(&self, z: &mut BuddyZone<'_, 'a>, request: Request) -> bool {
        let Request { order, migrate, no_fragment, .. } = request;
        let mut trail = z.watch.0.map(|_| Trail::new());
        let lowest = if no_fragment { order.max(self.blocks.order()) } else { order };
        // The largest block first: it makes the best chance that the whole pageblock can be had, and that the next such
        // request needs no fallback.
        for from in orders(lowest, self.largest).rev() {
            let Some((idx, whole)) = self.fallback_block(z, from, migrate, &mut trail) else { continue };
            if !whole && migrate == MigrateType::Movable && from > order {
                // A movable allocation fragments nothing for good, so it takes the smallest block instead.
                return self.steal_smallest(z, request, trail);
            }
            let mut chosen = (idx, from);
            if z.spares_movable
                && from < self.blocks.order()
                && BuddyZone::list_of(&self.map, idx) == Some(MigrateType::Movable)
                && let Some(alike) = self.smallest_alike(z, request, from, &mut trail)
            {
                chosen = alike;
            }
            let (idx, from) = chosen;
            self.convert_watched(z, idx, from, request, whole, trail);
            return true;
        }
        false
    }

    fn steal_smallest(&self, z: &mut BuddyZone<'_, 'a>, request: Request, mut trail: Option<Trail>) -> bool {
        for from in orders(request.order, self.largest) {
            if let Some((idx, whole)) = self.fallback_block(z, from, request.migrate, &mut trail) {
                self.convert_watched(z, idx, from, request, whole, trail);
                return true;
            }
        }
        false
    }

    /// The smallest block that serves, below `from`, of the type that moves as little as the request's; for a movable request there is none.
    fn smallest_alike(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        request: Request,
        from: Order,
        trail: &mut Option<Trail>,
    ) -> Option<(FrameIdx, Order)> {
        let list = *request.migrate.fallbacks().first().filter(|_| self.mobility_grouping)?;
        if request.migrate == MigrateType::Movable {
            return None;
        }
        orders(request.order, from)
            .find_map(|order| self.examine(z, order, list, trail).map(|idx| (idx, order)))
    }

    /// The block at the head of a list, and a look at it that whoever watches is told of.
    fn examine(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        order: Order,
        list: MigrateType,
        trail: &mut Option<Trail>,
    ) -> Option<FrameIdx> {
        let block = self.first_free(z, order, list);
        if let Some(trail) = trail {
            trail.push(Examined { order, list, block });
        }
        block
    }

    /// [`Self::convert`], told to who watches.
    fn convert_watched(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        idx: FrameIdx,
        order: Order,
        request: Request,
        whole: bool,
        trail: Option<Trail>,
    ) {
        let (Some(watch), Some(trail)) = (z.watch.0, trail) else {
            return self.convert(z, idx, order, request.migrate, whole);
        };
        let list = BuddyZone::list_of(&self.map, idx).unwrap_or(MigrateType::Unmovable);
        let before = self.blocks.migrate_type(idx);
        let occupied = z.occupied(self.largest);
        self.convert(z, idx, order, request.migrate, whole);
        let (zone, after, pageblock) = (z.id, self.blocks.migrate_type(idx), self.blocks.order());
        watch.fallback(&Fallback {
            zone,
            request,
            block: idx,
            order,
            list,
            before,
            after,
            pageblock,
            occupied,
            trail,
        });
    }

    /// `find_suitable_fallback`: a free block of another type, and whether its whole pageblock may change type.
    fn fallback_block(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        order: Order,
        to: MigrateType,
        trail: &mut Option<Trail>,
    ) -> Option<(FrameIdx, bool)> {
        let idx = to.fallbacks().iter().find_map(|&list| self.examine(z, order, list, trail))?;
        Some((idx, self.may_take_pageblock(order, to)))
    }

    /// `can_steal_fallback`: unmovable and reclaimable pages would pollute a movable block for long, so they take it
    /// over as a whole; a movable one does so only for large blocks.
    pub(crate) fn may_take_pageblock(&self, order: Order, to: MigrateType) -> bool {
        order.get() >= self.blocks.order().get() / 2
            || matches!(to, MigrateType::Reclaimable | MigrateType::Unmovable)
            || !self.mobility_grouping
    }

    /// `steal_suitable_fallback`.
    fn convert(&self, z: &mut BuddyZone<'_, 'a>, idx: FrameIdx, order: Order, to: MigrateType, whole: bool) {
        let block = self.blocks.order();
        let old = self.blocks.migrate_type(idx);
        z.steals.fallbacks += 1;
        if order >= block {
            z.steals.claimed += order.pages() / block.pages();
            for at in (0..order.pages()).step_by(block.pages() as usize) {
                self.blocks.set_migrate_type(FrameIdx::new(idx.get() + at as u32), to);
            }
        } else if old != MigrateType::HighAtomic {
            z.mixed = true;
        }
        if order < block && whole && old != MigrateType::HighAtomic {
            let moved = self.move_free_blocks(z, idx, to);
            if moved.free > 0 {
                // How much of the block is of the new kind already? What is neither free nor movable may be.
                let alike = match (to, old) {
                    (MigrateType::Movable, _) => moved.movable,
                    (_, MigrateType::Movable) => block.pages().saturating_sub(moved.free + moved.movable),
                    _ => 0,
                };
                if moved.free + alike >= block.pages() / 2 || !self.mobility_grouping {
                    self.blocks.set_migrate_type(idx, to);
                    z.steals.claimed += 1;
                }
                return;
            }
        }
        self.relink(z, idx, order, to, Place::Tail);
    }

    fn relink(&self, z: &mut BuddyZone<'_, 'a>, idx: FrameIdx, order: Order, to: MigrateType, place: Place) {
        z.unlink(&self.map, idx, order);
        z.link(&self.map, idx, order, to, place);
    }

    /// `move_freepages_block`: moves all free blocks of a pageblock to another type's lists, and counts them and the
    /// frames in use that could be migrated. Nothing moves if the zone ends inside the block.
    pub(crate) fn move_free_blocks(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        idx: FrameIdx,
        to: MigrateType,
    ) -> Moved {
        let block = self.blocks.order();
        let span = z.span;
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
                if self.blocks.zone_of(here) == Some(z.id) {
                    self.relink(z, here, order, to, Place::Tail);
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

/// What [`Ground::move_free_blocks`] met, in frames.
#[derive(Default)]
pub(crate) struct Moved {
    pub(crate) free: u64,
    movable: u64,
}

/// The orders from `low` to `high`, both included.
fn orders(low: Order, high: Order) -> impl DoubleEndedIterator<Item = Order> {
    (low.get()..=high.get()).filter_map(Order::new)
}
