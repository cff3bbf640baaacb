//! Freeing: memory from the boot path and tokens that come back, merged with their buddies.

use super::zone::Place;
use super::{Buddy, BuddyZone, Ground, MigrateType, ZoneId};
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, Frames, Pristine, Reserved};

impl<'a> Buddy<'_, '_, 'a> {
    /// Gives frames back, in whatever number and alignment: they are cut into the largest aligned blocks.
    ///
    /// Frames in no zone cannot come from an allocation. Linux would put them somewhere; here they are set aside for
    /// good and counted in [`Self::unzoned_pages`], as are those of the other ways in.
    pub fn free(&mut self, frames: Frames<'a>) {
        self.free_all(frames, None);
    }

    /// Memory that memblock had free (`memblock_free_all`). Whole blocks of the largest order stay untouched, the rest
    /// is initialised and enters the lists.
    pub fn free_boot(&mut self, mut memory: Pristine<'a>) {
        while !memory.is_empty() {
            let (zone, run) = self.ground.blocks.stretch(FrameIdx::new(memory.start() as u32), memory.len());
            let part = memory.take_front(run);
            let Some(zone) = zone else {
                self.unzoned += run;
                continue;
            };
            self.zones[zone.index()].managed += run;
            let (head, body, tail) = part.split_blocks(self.ground.largest);
            for rest in [head, tail] {
                if !rest.is_empty() {
                    self.free_all(rest.into_frames(), Some(Place::Tail));
                }
            }
            self.keep_untouched(zone, body);
        }
    }

    /// Memory that was reserved and is no longer needed: the initial RAM disk, init sections (`free_reserved_area`).
    pub fn free_reserved(&mut self, memory: Reserved<'a>) {
        if memory.is_empty() {
            return;
        }
        let frames = memory.release();
        self.manage(&frames);
        self.free_all(frames, None);
    }

    /// Whether [`Self::activate_cma`] can lend this memory: whole pageblocks of one zone.
    pub fn fits_cma(&self, memory: &Reserved<'a>) -> bool {
        let whole = (memory.start() | memory.len()) & (self.ground.blocks.order().pages() - 1) == 0;
        whole
            && !memory.is_empty()
            && self.ground.blocks.run(FrameIdx::new(memory.start() as u32), memory.len()) == memory.len()
    }

    /// Memory of a CMA area that is ready to lend (`cma_activate_area`): its pageblocks become [`MigrateType::Cma`] and
    /// enter the lists.
    ///
    /// An area that does not fit ([`Self::fits_cma`]) becomes ordinary memory, as in Linux, which then says "CMA area
    /// ... could not be activated".
    pub fn activate_cma(&mut self, memory: Reserved<'a>) {
        if !self.fits_cma(&memory) {
            return self.free_reserved(memory);
        }
        let block = self.ground.blocks.order().pages();
        let frames = memory.release();
        self.manage(&frames);
        if let Some(zone) = self.ground.blocks.zone_of(frames.start()) {
            self.zones[zone.index()].cma += frames.len();
        }
        let mut rest = Some(frames);
        while let Some(frames) = rest {
            let (now, later) = self.ground.map.split_front(frames, block);
            self.ground.blocks.set_migrate_type(now.start(), MigrateType::Cma);
            self.free_all(now, None);
            rest = later;
        }
    }

    /// Counts frames that become the buddy's.
    fn manage(&mut self, frames: &Frames<'a>) {
        let mut done = 0;
        while done < frames.len() {
            let idx = FrameIdx::new(frames.start().get() + done as u32);
            let (zone, run) = self.ground.blocks.stretch(idx, frames.len() - done);
            if let Some(zone) = zone {
                self.zones[zone.index()].managed += run;
            }
            done += run;
        }
    }

    /// Keeps whole blocks as an extent as long as their first pageblock is Movable and there is room.
    fn keep_untouched(&mut self, zone: ZoneId, mut body: Pristine<'a>) {
        let step = self.ground.largest.pages();
        while !body.is_empty() {
            let start = body.start();
            let kind = |at: u64| self.ground.blocks.migrate_type(FrameIdx::new(at as u32));
            let movable =
                (start..body.end()).step_by(step as usize).take_while(|&at| kind(at) == MigrateType::Movable);
            let run = movable.count() as u64 * step;
            let part = if run > 0 {
                match self.zones[zone.index()].extents.insert(body.take_front(run)) {
                    Ok(()) => continue,
                    Err(no_room) => no_room,
                }
            } else {
                body.take_front(step)
            };
            self.free_all(part.into_frames(), Some(Place::Tail));
        }
    }

    /// Frees frames block by block; `place` overrides where each merged block goes.
    fn free_all(&mut self, frames: Frames<'a>, place: Option<Place>) {
        let mut rest = Some(frames);
        while let Some(frames) = rest {
            let start = frames.start();
            let (zone, run) = self.ground.blocks.stretch(start, frames.len());
            let Some(zone) = zone else {
                let (_lost, later) = self.ground.map.split_front(frames, run);
                self.unzoned += run;
                rest = later;
                continue;
            };
            let order = self.ground.largest_order_at(start, run);
            let (block, later) = self.ground.map.split_front(frames, order.pages());
            self.ground.free_one(&mut self.zones[zone.index()], block, order, place);
            rest = later;
        }
    }
}

impl<'a> Ground<'a> {
    /// Gives a block to the list of its pageblock's type.
    #[inline]
    pub(crate) fn free_one(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        block: Frames<'a>,
        order: Order,
        place: Option<Place>,
    ) {
        let kind = self.blocks.kind_of(block.start());
        self.merge(z, block, order, kind, place);
    }

    /// `__free_one_page`: merges with the buddy as long as that is free, then links the result. `kind` is that of the block's pageblock: its type,
    /// and whether another zone shares it.
    #[inline]
    pub(crate) fn merge(
        &self,
        z: &mut BuddyZone<'_, 'a>,
        block: Frames<'a>,
        mut order: Order,
        kind: (MigrateType, bool),
        place: Option<Place>,
    ) {
        let (migrate, shared) = kind;
        let mut block = self.map.join(block, order);
        z.count(order, migrate, true);
        while order < self.largest {
            let buddy = block.start().buddy(order);
            if !self.map.is_free_block(buddy, order) {
                break;
            }
            // Inside a pageblock that is no other zone's too, it is of the same zone and type.
            let beyond = order >= self.blocks.order();
            if (beyond || shared) && !self.may_merge(z.id, buddy, migrate, beyond) {
                break;
            }
            let from = z.remove(&self.map, buddy, order);
            if from != migrate {
                z.recount(order, from, migrate);
            }
            block.absorb();
            order = block.order();
        }
        let place = place.unwrap_or_else(|| self.place(z.id, block.start(), order));
        let idx = block.finish();
        z.insert(&self.map, idx, order, migrate, place);
    }

    /// Whether a buddy beyond the block's own pageblock, or in one that two zones share, is such that they merge.
    // Out of line: else each merge begins with loading what only this looks at.
    #[inline(never)]
    fn may_merge(&self, zone: ZoneId, buddy: FrameIdx, migrate: MigrateType, beyond: bool) -> bool {
        if self.blocks.zone_of(buddy) != Some(zone) {
            return false;
        }
        // Pageblocks whose blocks must stay countable by type do not merge with others.
        let other = self.blocks.migrate_type(buddy);
        !beyond || migrate == other || (migrate.is_mergeable() && other.is_mergeable())
    }

    /// `page_is_buddy`.
    pub(super) fn is_free_buddy(&self, zone: ZoneId, idx: FrameIdx, order: Order) -> bool {
        self.map.is_free_block(idx, order) && self.blocks.zone_of(idx) == Some(zone)
    }

    /// A block whose next larger buddy is free goes to the tail: left alone, the two may soon merge
    /// (`buddy_merge_likely`).
    fn place(&self, zone: ZoneId, start: FrameIdx, order: Order) -> Place {
        if order.get() + 1 >= self.largest.get() {
            return Place::Head;
        }
        let Some(up) = order.up() else { return Place::Head };
        let higher = start.align_down(up);
        if self.is_free_buddy(zone, higher.buddy(up), up) { Place::Tail } else { Place::Head }
    }
}
