//! What moves between a CPU's lists and the free lists of their zones: how much at once, and from which list.

use super::{Admitted, CpuPages, LEAST_LEASE, PLACES, SHELVES, TYPE, Tally, ends_run, refill_blocks};
use crate::buddy::{BuddyZone, Ground, MigrateType};
use pagewright_page::Frames;

impl<'m, 'a> CpuPages<'m, 'a> {
    /// Finds out why a block was not taken: its list gets some more, or there is too much in the zone's lists, or
    /// the block belongs in none.
    pub(in crate::alloc) fn admit(&mut self, frames: Frames<'a>) -> Admitted<'a> {
        let Some(shelf) = self.rack.shelf_of(&frames) else { return Admitted::No(frames) };
        let (zone, order) = (shelf / SHELVES, self.rack.shelves()[shelf].order());
        let Tally { count, pops, leased } = self.tally(zone);
        let pages = order.pages() as u32;
        let Some(figures) = self.zones.get_mut(zone) else { return Admitted::No(frames) };
        let after = count + pages;
        let many = after >= figures.bound || ends_run(figures.factor(pops), order);
        let (high, batch) = (figures.bound, figures.batch);
        let more = if many {
            1
        } else {
            self.lease(zone, shelf, (high - 1 - count).min(batch.max(LEAST_LEASE)) >> order.get(), leased)
        };
        if self.rack.set_limit(shelf, more as usize) == 0 {
            return Admitted::No(frames);
        }
        if let Err(refused) = self.rack.push(frames) {
            self.rack.set_limit(shelf, 0);
            return Admitted::No(refused);
        }
        if !many {
            return Admitted::Yes;
        }
        self.rack.set_limit(shelf, 0);
        let pages = self.zones[zone].surplus(after, pops, order);
        if self.zones[zone].free_factor > 0 {
            // Whether a larger block ends a run of frees is looked at each time.
            for (types, place) in (0..MigrateType::PCPTYPES).flat_map(|t| (1..=3).map(move |p| (t, p))) {
                self.rack.set_limit(zone * SHELVES + types * TYPE + place, 0);
            }
        }
        Admitted::TooMany { zone, pages, shelf }
    }

    /// How many blocks more a shelf may take if it wants `blocks`: with what the other lists of the zone may take it
    /// stays below `high`, or they lose that.
    fn lease(&mut self, zone: usize, shelf: usize, blocks: u32, leased: u32) -> u32 {
        let high = self.zones[zone].bound;
        let own = &self.rack.shelves()[shelf];
        let more = blocks << own.order().get();
        if leased - ((own.left() as u32) << own.order().get()) + more >= high {
            for other in zone * SHELVES..(zone + 1) * SHELVES {
                self.rack.set_limit(other, 0);
            }
        }
        blocks.max(1)
    }

    /// What a zone's lists hold, have served, and may hold without being asked.
    pub(super) fn tally(&self, zone: usize) -> Tally {
        let mut tally = Tally { count: 0, pops: 0, leased: 0 };
        for types in self.of(zone).chunks(TYPE).take(MigrateType::PCPTYPES) {
            for list in &types[..PLACES.min(types.len())] {
                let order = list.order().get();
                tally.count += (list.len() as u32) << order;
                tally.pops = tally.pops.wrapping_add(list.pops() as u32);
                tally.leased += (list.len() as u32 + list.left() as u32) << order;
            }
        }
        tally
    }

    /// Fetches blocks for a shelf (`rmqueue_bulk`). `get` takes a block out of the zone's free lists: one of the
    /// shelf's order, or a larger one of at most so many pages that would be cut up by the next calls anyway.
    pub(in crate::alloc) fn refill(&mut self, shelf: usize, mut get: impl FnMut(u32) -> Option<Frames<'a>>) {
        let Some(figures) = self.zones.get(shelf / SHELVES) else { return };
        let order = self.rack.shelves()[shelf].order();
        let room = self.rack.make_room(shelf, refill_blocks(figures.batch, order) as usize);
        let mut left = (room as u32) << order.get();
        while left > 0 {
            let Some(frames) = get(left) else { return };
            left = left.saturating_sub(frames.len() as u32);
            // Room was made.
            let _ = self.rack.push_bottom(shelf, frames);
        }
    }

    /// Gives back at least `pages` pages of a zone's lists, or all there are: oldest first, and the lists in turn, by order and then by
    /// type, beginning with `first` (`free_pcppages_bulk`). Ends early where that took as long as others should wait for the
    /// zone's lock: returns how many pages are still to go.
    pub(in crate::alloc) fn drain(
        &mut self,
        ground: &Ground<'a>,
        z: &mut BuddyZone<'_, 'a>,
        pages: u32,
        first: usize,
    ) -> u32 {
        let zone = z.id().index();
        let (mut left, mut done) = (pages, 0);
        let turns = MigrateType::PCPTYPES * PLACES;
        let (mut place, mut types) = (first % TYPE, (first % SHELVES) / TYPE);
        if first / SHELVES != zone || place >= PLACES || types >= MigrateType::PCPTYPES {
            (place, types) = (0, 0);
        }
        for _ in 0..turns {
            let shelf = zone * SHELVES + types * TYPE + place;
            types += 1;
            if types == MigrateType::PCPTYPES {
                types = 0;
                place = if place + 1 == PLACES { 0 } else { place + 1 };
            }
            let order = self.rack.shelves().get(shelf).map_or(0, |list| list.order().get());
            // A list is emptied as far as needed before the next one's turn.
            while left > 0 {
                if done >= Ground::RETURNED {
                    return left;
                }
                let now = left.min((Ground::RETURNED - done) as u32);
                let parked = match order {
                    0 => z.park(|park| self.rack.park(shelf, now as usize, park)),
                    _ => 0,
                };
                (left, done) = (left - parked as u32, done + parked);
                let blocks = (now - parked as u32).div_ceil(1 << order);
                let Some(frames) = self.rack.pop_bottom_run(shelf, blocks as usize) else {
                    if blocks == 0 { continue } else { break }
                };
                left = left.saturating_sub(frames.len() as u32);
                done += frames.len() as usize + ground.free_later(z, frames);
            }
            if left == 0 {
                break;
            }
        }
        0
    }
}
