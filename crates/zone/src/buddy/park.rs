//! Coalescing later: pages that CPUs give back one by one wait for the rest of their pageblock.
//!
//! A page that merges with its buddies by itself touches their metadata and that of their neighbours in lists, most of which no cache has
//! when pages are freed in random order. So single pages that a CPU's lists give back (and short runs of pageblocks that
//! have some already) go to their zone's [`Park`]: one bit each. They count as free from then on, and everybody may read that.
//! - A pageblock of which all pages lie there becomes one free block at once.
//! - Whoever looks at free lists or changes anything but by freeing *settles* the zone first, under the same lock: what lies in the park
//!   is given to the lists in runs as long as can be. Merging is confluent, so the free blocks are the same as if each page had merged when
//!   it came, and nobody can tell it from that but by the order in which blocks of one size lie in a list.
//! - Pageblocks change their type and zone in settled zones only, so all that lies in the park is of one zone and of types that
//!   have per-CPU lists: nothing of isolated, CMA or high-atomic pageblocks, nor of those that two zones share.
//! - Who asks without the lock which orders have blocks, and learns of none, is told as well whether pages wait, and settles the zone
//!   before it believes that.
//!
//! - Who fills a CPU's list with single pages settles a part only ([`Ground::settle_some`]), and the rest before it would take from other types: so it does
//!   not pay for all that others freed.
//! - Where much waits ([`Ground::MUCH`]), who wants a larger block settles until there is one; he may so be given a part of a larger one than he would have been.
//! - Who settles all of a zone in service does so in parts, between which others have the lock and interrupts come; and so a CPU gives back what
//!   it has too much of, each page of which can make a pageblock whole.
//!
//! The park's memory is the caller's ([`BuddyZone::with_park`]), and bounds how much there is to settle: pages of a pageblock that finds
//! another's in its slot merge when they come, as all do without memory.

use super::zone::BuddyZone;
use super::{Ground, MigrateType, Request};
use core::fmt;
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, Frames, PageMap, Park};

/// A zone's park, or room for one until the map is known.
#[derive(Default)]
pub(super) struct Parked<'s, 'a> {
    pub(super) park: Park<'s, 'a>,
    room: &'s mut [u32],
}

impl fmt::Debug for Parked<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.park.fmt(f)
    }
}

impl<'s, 'a> Parked<'s, 'a> {
    /// Makes the park.
    pub(super) fn open(&mut self, map: &PageMap<'a>, pageblock: Order) {
        self.park = Park::new(map, pageblock, core::mem::take(&mut self.room));
    }
}

impl<'s, 'a> BuddyZone<'s, 'a> {
    /// Most pageblocks of a zone that have pages waiting at a time: 32 GiB of 2 MiB each. What there is to settle is no more than these.
    const PARKED: u64 = 1 << 14;

    /// Words of memory with which pages of a zone of so many pages can wait ([`Self::with_park`]).
    pub const fn park_words(pages: u64, pageblock: Order) -> usize {
        let blocks = pages.div_ceil(pageblock.pages());
        Park::required_words(pageblock, if blocks < Self::PARKED { blocks } else { Self::PARKED } as usize)
    }

    /// The zone with memory in which pages that are freed one by one wait for the rest of their pageblock. With less than
    /// [`Self::park_words`] says, fewer do.
    #[must_use]
    pub fn with_park(mut self, room: &'s mut [u32]) -> Self {
        self.parked.room = room;
        self
    }

    /// Lets single frames wait, which `f` gives to the park; they are so many as it says. Some of their pageblocks wait already.
    #[inline]
    pub(crate) fn park(&mut self, f: impl FnOnce(&mut Park<'s, 'a>) -> usize) -> usize {
        let pages = f(&mut self.parked.park);
        self.free += pages;
        pages
    }

    /// Pages that were freed and not merged yet; free pages have them in their number.
    pub(crate) fn parked_pages(&self) -> usize {
        self.parked.park.frames()
    }
}

impl<'a> Ground<'a> {
    /// At least so many pages are merged, of those that wait, whenever a CPU's list is filled; and so many before somebody else may have the lock. The last of
    /// them may bring a whole pageblock.
    pub(crate) const PART: usize = 256;

    /// So many pages are given back by a CPU's lists before somebody else may have the lock, those of a pageblock counted that becomes whole. Most
    /// cost no more than a bit each, a tenth of what merging a page by itself takes; so these take no longer than a part.
    pub(crate) const RETURNED: usize = 4 * Self::PART;

    /// Where more pages wait, who wants a block takes what there is once some were merged: of a part he need not notice, of these he would.
    pub(crate) const MUCH: usize = 64 * Self::PART;

    /// Frees what a CPU's lists have too much of: frames of one zone. How many pages were merged that waited.
    #[inline]
    pub(crate) fn free_later(&self, z: &mut BuddyZone<'_, 'a>, frames: Frames<'a>) -> usize {
        let pages = frames.len() as usize;
        match z.parked.park.put(frames) {
            Ok(None) => z.free += pages,
            Ok(Some(block)) => return self.free_whole(z, block, pages),
            Err(frames) => self.free_first(z, frames),
        }
        0
    }

    /// Frees frames of a pageblock of which nothing waits, or that are no few.
    #[cold]
    #[inline(never)]
    fn free_first(&self, z: &mut BuddyZone<'_, 'a>, frames: Frames<'a>) {
        let start = frames.start();
        let (migrate, shared) = self.blocks.kind_of(start);
        let waits = frames.len() == 1
            && z.parked.park.slots() > 0
            && !shared
            && migrate.index() < MigrateType::PCPTYPES
            && self.blocks.zone_of(start) == Some(z.id());
        if !waits {
            return self.free_run(z, frames);
        }
        match z.parked.park.begin(frames) {
            Ok(None) => {
                z.free += 1;
                z.occupied_changed = true;
            }
            Ok(Some(block)) => _ = self.free_whole(z, block, 1),
            Err(frames) => self.free_run(z, frames),
        }
    }

    /// All pages of a pageblock are free: `pages` of them came just now, the others were counted.
    #[inline(never)]
    fn free_whole(&self, z: &mut BuddyZone<'_, 'a>, block: Frames<'a>, pages: usize) -> usize {
        let merged = block.len() as usize;
        z.free += pages;
        self.unpark(z, block);
        if z.parked_pages() == 0 {
            z.occupied_changed = true;
        }
        merged
    }

    /// Gives what was counted as free to the lists, which count it anew.
    fn unpark(&self, z: &mut BuddyZone<'_, 'a>, run: Frames<'a>) {
        z.free -= run.len() as usize;
        self.free_run(z, run);
    }

    /// Merges all that waits, so that the lists have every free page.
    #[inline]
    pub(crate) fn settle(&self, z: &mut BuddyZone<'_, 'a>) {
        if z.parked_pages() > 0 {
            self.settle_all(z);
        }
    }

    /// Merges some of what waits, for who needs single pages: what takes as long as freeing a few batches did.
    #[inline]
    pub(crate) fn settle_some(&self, z: &mut BuddyZone<'_, 'a>) {
        if z.parked_pages() > 0 {
            self.settle_part(z);
        }
    }

    /// Whether a request would have to settle more than a part, since its own type has no block.
    pub(crate) fn has_much_to_settle(&self, z: &BuddyZone<'_, 'a>, request: Request) -> bool {
        z.parked_pages() > Self::PART && z.smallest(request.order, request.migrate).is_none()
    }

    #[cold]
    #[inline(never)]
    fn settle_part(&self, z: &mut BuddyZone<'_, 'a>) {
        let mut left = Self::PART;
        while left > 0 {
            let Some(run) = z.parked.park.take_run() else { break };
            left = left.saturating_sub(run.len() as usize);
            self.unpark(z, run);
        }
        z.occupied_changed = true;
    }

    #[cold]
    #[inline(never)]
    fn settle_all(&self, z: &mut BuddyZone<'_, 'a>) {
        while let Some(run) = z.parked.park.take_run() {
            self.unpark(z, run);
        }
        z.occupied_changed = true;
    }

    /// Cuts frames of one zone into the largest aligned blocks, which merge with their buddies.
    pub(crate) fn free_run(&self, z: &mut BuddyZone<'_, 'a>, frames: Frames<'a>) {
        let mut rest = Some(frames);
        while let Some(frames) = rest {
            let order = self.whole_order_at(frames.start(), frames.len());
            let (block, later) = self.map.split_front(frames, order.pages());
            self.free_one(z, block, order, None);
            rest = later;
        }
    }

    /// The largest aligned block that begins at `start` and has at most `len` frames, as long as its pageblocks are of one
    /// type: those of different ones do not always merge.
    #[inline]
    fn whole_order_at(&self, start: FrameIdx, len: u64) -> Order {
        let (order, pageblock) = (self.largest_order_at(start, len), self.blocks.order());
        if order <= pageblock {
            return order;
        }
        let migrate = self.blocks.migrate_type(start);
        let others = (0..order.pages()).step_by(pageblock.pages() as usize).skip(1);
        let alike = |at: u64| self.blocks.migrate_type(FrameIdx::new(start.get() + at as u32)) == migrate;
        if others.into_iter().all(alike) { order } else { pageblock }
    }
}
