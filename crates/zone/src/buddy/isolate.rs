//! Pageblocks that nothing is allocated from, and free memory taken by its place instead of its size.
//!
//! Everything here runs under the zone's lock. Free blocks of an isolated pageblock lie in the lists of
//! [`MigrateType::Isolate`], which no request is served from and no count of free pages includes. They do not merge
//! with blocks outside: where a larger block reaches past an isolated pageblock it is cut, and when the isolation ends
//! it grows together again.

use super::zone::Place;
use super::{BuddyZone, Ground, MigrateType};
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, Frames, Pristine};

impl<'a> Ground<'a> {
    /// The free block that a frame is in: its first frame and order. Untouched memory is in none until [`Self::touch`].
    pub(crate) fn free_block_at(&self, z: &BuddyZone<'_, 'a>, idx: FrameIdx) -> Option<(FrameIdx, Order)> {
        (0..=self.largest.get()).filter_map(Order::new).find_map(|at_least| {
            let head = idx.align_down(at_least);
            let order = self.map.free_order(head).filter(|&order| order >= at_least)?;
            (self.blocks.zone_of(head) == Some(z.id())).then_some((head, order))
        })
    }

    /// Writes the metadata of the largest block around a frame, if it is untouched memory, and links it.
    pub(crate) fn touch(&self, z: &mut BuddyZone<'_, 'a>, idx: FrameIdx) {
        let Some(extent) = z.extents.take_containing(idx) else { return };
        let block = u64::from(idx.align_down(self.largest).get());
        let below = block - extent.start();
        let (below, rest) = extent.split_at(below);
        let (here, above) = rest.split_at(self.largest.pages());
        for rest in [below, above] {
            // Two pieces may come where one was; without room for both, one is written too.
            if let Err(mut no_room) = z.extents.insert(rest) {
                while !no_room.is_empty() {
                    let block = no_room.take_front(self.largest.pages()).into_frames();
                    self.free_one(z, block, self.largest, Some(Place::Tail));
                }
            }
        }
        self.free_one(z, here.into_frames(), self.largest, Some(Place::Tail));
    }

    /// The frames of a pageblock that the zone may have: first and past the last.
    pub(crate) fn block_bounds(&self, z: &BuddyZone<'_, 'a>, idx: FrameIdx) -> (u64, u64) {
        let start = u64::from(idx.align_down(self.blocks.order()).get());
        let end = start + self.blocks.order().pages();
        (start.max(z.span.0), end.min(z.span.1))
    }

    /// Calls `f` with each free block that lies in a pageblock or reaches into it, until it returns false. `f` may change the block.
    pub(crate) fn each_free_in<'z, 's>(
        &self,
        z: &'z mut BuddyZone<'s, 'a>,
        idx: FrameIdx,
        mut f: impl FnMut(&Self, &mut BuddyZone<'s, 'a>, FrameIdx, Order) -> bool,
    ) {
        self.touch(z, idx);
        let (start, end) = self.block_bounds(z, idx);
        let mut at = start;
        let mut found = self.free_block_at(z, FrameIdx::new(start as u32));
        while at < end {
            let here = FrameIdx::new(at as u32);
            // Behind the first frame a free block begins where it is met.
            let order = self.map.free_order(here).filter(|_| self.blocks.zone_of(here) == Some(z.id()));
            let Some((head, order)) = found.take().or(order.map(|order| (here, order))) else {
                at += 1;
                continue;
            };
            if !f(self, z, head, order) {
                return;
            }
            at = u64::from(head.get()) + order.pages();
        }
    }

    /// Takes a free block out of its list.
    pub(crate) fn take_free(&self, z: &mut BuddyZone<'_, 'a>, head: FrameIdx, order: Order) -> Frames<'a> {
        z.unlink(&self.map, head, order);
        self.map.take_block(head, order)
    }

    /// The same for compaction: pageblocks of which most is taken are Movable from here on (`__isolate_free_page`).
    pub(crate) fn take_for_compaction(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        head: FrameIdx,
        order: Order,
    ) -> Frames<'a> {
        if order.get() + 1 >= self.blocks.order().get() {
            for at in (0..order.pages()).step_by(self.blocks.order().pages() as usize) {
                let idx = FrameIdx::new(head.get() + at as u32);
                if self.blocks.migrate_type(idx).is_mergeable() {
                    self.blocks.set_migrate_type(idx, MigrateType::Movable);
                }
            }
        }
        self.take_free(z, head, order)
    }

    /// The first block of a list that was not reported yet.
    pub(crate) fn first_unreported(
        &self,
        z: &BuddyZone<'_, 'a>,
        order: Order,
        migrate: MigrateType,
    ) -> Option<FrameIdx> {
        let mut at = z.first_of(order, migrate);
        while let Some(idx) = at.filter(|&idx| BuddyZone::is_reported(&self.map, idx)) {
            at = self.map.next(idx);
        }
        at
    }

    /// Takes it, as compaction does.
    pub(crate) fn take_unreported(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        order: Order,
        migrate: MigrateType,
    ) -> Option<Frames<'a>> {
        let idx = self.first_unreported(z, order, migrate)?;
        Some(self.take_for_compaction(z, idx, order))
    }

    /// Gives back a block that was taken so (`__putback_isolated_page`); if it was reported and does not grow, that is noted.
    pub(crate) fn put_reported(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        block: Frames<'a>,
        order: Order,
        reported: bool,
    ) {
        let idx = block.start();
        self.free_one(z, block, order, Some(Place::Tail));
        if reported && self.map.free_order(idx) == Some(order) {
            z.set_reported(&self.map, idx, order);
        }
    }

    /// Frees frames of one zone in pieces that no pageblock boundary cuts; those of one type grow together.
    pub(crate) fn free_cut(&self, z: &mut BuddyZone<'_, 'a>, frames: Frames<'a>) {
        let mut rest = Some(frames);
        while let Some(frames) = rest {
            let order = self.largest_order_at(frames.start(), frames.len()).min(self.blocks.order());
            let (block, later) = self.map.split_front(frames, order.pages());
            self.free_one(z, block, order, Some(Place::Tail));
            rest = later;
        }
    }

    /// After the type of a pageblock changed: its free blocks go where they belong now. Returns how many pages those are.
    fn requeue(&self, z: &mut BuddyZone<'_, 'a>, idx: FrameIdx) -> u64 {
        let (start, end) = self.block_bounds(z, idx);
        let mut pages = 0;
        self.each_free_in(z, idx, |ground, z, head, order| {
            let from = u64::from(head.get());
            pages += (from + order.pages()).min(end) - from.max(start);
            let frames = ground.take_free(z, head, order);
            ground.free_cut(z, frames);
            true
        });
        pages
    }

    /// Isolates a pageblock: nothing is allocated from it any more (`set_migratetype_isolate`). Returns what it was.
    pub(crate) fn isolate_pageblock(&self, z: &mut BuddyZone<'_, 'a>, idx: FrameIdx) -> MigrateType {
        // While it is still of one type, untouched memory is written as such.
        self.touch(z, idx);
        let was = self.blocks.isolate(idx);
        self.requeue(z, idx);
        was
    }

    /// Ends that (`unset_migratetype_isolate`): the pageblock becomes `to`, or what it was. Returns which.
    pub(crate) fn unisolate_pageblock(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        idx: FrameIdx,
        to: Option<MigrateType>,
    ) -> MigrateType {
        let to = to.unwrap_or_else(|| self.blocks.isolated_from(idx));
        self.blocks.set_migrate_type(idx, to);
        self.requeue(z, idx);
        to
    }

    /// The first frame of `start..end` that is in no free block of an isolated pageblock, or `None`.
    pub(crate) fn first_busy(
        &self,
        z: &BuddyZone<'_, 'a>,
        start: u64,
        end: u64,
        passable: impl Fn(FrameIdx) -> Option<Order>,
    ) -> Option<u64> {
        let mut at = start;
        while at < end {
            let idx = FrameIdx::new(at as u32);
            let free = self
                .free_block_at(z, idx)
                .filter(|&(head, _)| BuddyZone::list_of(&self.map, head) == Some(MigrateType::Isolate))
                .map(|(head, order)| u64::from(head.get()) + order.pages());
            let Some(next) = free.or_else(|| Some(at + passable(idx)?.pages())) else { return Some(at) };
            at = next;
        }
        None
    }

    /// Takes the frames `start..end`, all of which are free and isolated ([`Self::first_busy`]), as one token; what larger
    /// blocks have beyond goes back.
    pub(crate) fn take_range(&self, z: &mut BuddyZone<'_, 'a>, start: u64, end: u64) -> Option<Frames<'a>> {
        let mut all: Option<Frames<'a>> = None;
        let mut at = start;
        while at < end
            && let Some((head, order)) = self.free_block_at(z, FrameIdx::new(at as u32))
        {
            let frames = self.take_free(z, head, order);
            at = u64::from(head.get()) + order.pages();
            all = Some(match all {
                Some(below) => self.map.merge(below, frames),
                None => frames,
            });
        }
        let mut frames = all?;
        let before = start - u64::from(frames.start().get());
        if before > 0 {
            let (outside, rest) = self.map.split_at(frames, before);
            self.free_cut(z, outside);
            frames = rest;
        }
        let (frames, outside) = self.map.split_front(frames, end - start);
        if let Some(outside) = outside {
            self.free_cut(z, outside);
        }
        Some(frames)
    }
}

impl<'a> Ground<'a> {
    /// Frees a block of the largest order that nobody ever looked at, to be used last.
    pub(crate) fn free_untouched(&self, z: &mut BuddyZone<'_, 'a>, block: Pristine<'a>) {
        self.free_one(z, block.into_frames(), self.largest, Some(Place::Tail));
    }
}

impl<'a> BuddyZone<'_, 'a> {
    /// Frames between these become the zone's.
    pub(crate) fn widen(&mut self, start: u64, end: u64) {
        self.span = (self.span.0.min(start), self.span.1.max(end));
        self.managed += end - start;
    }

    /// So many frames are no longer the zone's, which reaches only so far now.
    pub(crate) fn narrow(&mut self, span: (u64, u64), pages: u64) {
        self.span = span;
        self.managed -= pages;
    }

    /// Keeps whole blocks as untouched memory, if there is room for an extent; else they come back.
    pub(crate) fn keep(&mut self, memory: Pristine<'a>) -> Pristine<'a> {
        match self.extents.insert(memory) {
            Ok(()) => Pristine::none(),
            Err(memory) => memory,
        }
    }
}

impl BuddyZone<'_, '_> {
    /// Frame indices from the zone's first to past its last; other zones' may lie between.
    pub(crate) const fn span(&self) -> (u64, u64) {
        self.span
    }
}
