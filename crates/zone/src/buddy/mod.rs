//! The buddy allocator: free blocks of 2^order frames, split on allocation and merged on freeing.
//!
//! [`Buddy`] owns the free lists of every zone of a machine. It is the core below the page allocator proper: it
//! chooses a block in a zone it is told to use and knows migrate types, pageblocks and CMA, but neither watermarks nor
//! per-CPU lists nor waiting.
//!
//! # Protocol
//! - A frame is handed around as a token: [`Frames`] out of [`Buddy::alloc`] and back into [`Buddy::free`],
//!   [`Pristine`] or [`Reserved`] from the boot path. Only `pagewright-page` makes tokens, so a mistake here panics and
//!   never hands a frame out twice.
//! - `&mut Buddy` stands for holding every zone's lock; nothing here is reentrant.
//! - Every allocation either returns a token or leaves all lists as they were; the n-th can be made to fail.
//!
//! # Untouched memory
//! Whole blocks of the largest order that memblock hands over stay [`Pristine`]: they count as free, and a block's
//! metadata is written when an allocation needs it. As in Linux, where such blocks queue behind those in the list, the
//! lowest is used first.
//!
//! ```
//! use pagewright_addr::Order;
//! use pagewright_zone::buddy::{AllocError, Buddy, Request};
//!
//! /// The largest block that a machine still has.
//! fn largest(buddy: &mut Buddy<'_, '_, '_>, zone: pagewright_zone::buddy::ZoneId) -> Option<Order> {
//!     (0..16).rev().filter_map(Order::new).find(|&order| {
//!         let Ok(block) = buddy.alloc(zone, Request::movable(order)) else { return false };
//!         buddy.free(block);
//!         true
//!     })
//! }
//! ```

mod fallback;
mod migrate;
mod pageblock;
mod stats;
mod validate;
mod zone;

pub use migrate::MigrateType;
pub use pageblock::{PageblockError, Pageblocks, ZonePiece};
pub use stats::MigrateCounts;
pub use validate::Violation;
pub use zone::BuddyZone;

use crate::ZoneKind;
use core::fmt;
use pagewright_addr::{NodeId, Order};
use pagewright_page::{FrameIdx, Frames, PageMap, Pristine, Reserved};
use zone::Place;

/// A zone's place in [`Buddy::zones`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ZoneId(u16);

impl ZoneId {
    /// The place as an array index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an allocation asks a zone for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The block's order.
    pub order: Order,
    /// Why: decides which lists are tried.
    pub migrate: MigrateType,
    /// The block may come from a CMA area (ALLOC_CMA).
    pub cma: bool,
    /// Do not take blocks smaller than a pageblock from other types (ALLOC_NOFRAGMENT).
    pub no_fragment: bool,
}

impl Request {
    /// Kernel memory that stays where it is.
    pub const fn unmovable(order: Order) -> Self {
        Self { order, migrate: MigrateType::Unmovable, cma: false, no_fragment: false }
    }

    /// Memory that can be migrated, so that CMA areas may lend it.
    pub const fn movable(order: Order) -> Self {
        Self { order, migrate: MigrateType::Movable, cma: true, no_fragment: false }
    }

    /// Kernel memory that can be dropped.
    pub const fn reclaimable(order: Order) -> Self {
        Self { order, migrate: MigrateType::Reclaimable, cma: false, no_fragment: false }
    }
}

/// Why there is no block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocError {
    /// No free block of the order or a larger one that the request may take.
    NoMemory {
        /// The order asked for.
        order: Order,
    },
    /// No zone has blocks of this order.
    TooLarge {
        /// The order asked for.
        order: Order,
        /// The largest there is.
        largest: Order,
    },
    /// There is no such zone.
    NoZone {
        /// What was asked for.
        zone: ZoneId,
    },
    /// Fault injection: this allocation was told to fail.
    Injected {
        /// How many allocations had been asked for, this one included.
        nth: u64,
    },
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoMemory { order } => write!(f, "no free block of order {}", order.get()),
            Self::TooLarge { order, largest } => {
                write!(f, "order {} is beyond the largest, {}", order.get(), largest.get())
            }
            Self::NoZone { zone } => write!(f, "there is no zone {}", zone.0),
            Self::Injected { nth } => write!(f, "allocation {nth} was made to fail"),
        }
    }
}

impl core::error::Error for AllocError {}

/// Why a buddy allocator cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BuddyError {
    /// The largest order is below the pageblock order, or above what the page map's sections are aligned to.
    Orders {
        /// The largest order.
        largest: Order,
        /// The pageblock order.
        pageblock: Order,
        /// The map's alignment.
        align: Order,
    },
    /// A piece of memory belongs to a zone beyond the list of zones.
    MissingZone {
        /// The zone.
        zone: ZoneId,
        /// How many zones there are.
        zones: usize,
    },
}

impl fmt::Display for BuddyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Orders { largest, pageblock, align } => write!(
                f,
                "largest order {} must lie between the pageblock order {} and the map's alignment {}",
                largest.get(),
                pageblock.get(),
                align.get()
            ),
            Self::MissingZone { zone, zones } => write!(f, "memory of zone {}, but {zones} zones", zone.0),
        }
    }
}

impl core::error::Error for BuddyError {}

/// The buddy allocator of one machine.
#[derive(Debug)]
pub struct Buddy<'z, 's, 'a> {
    map: PageMap<'a>,
    blocks: Pageblocks<'a>,
    zones: &'z mut [BuddyZone<'s, 'a>],
    largest: Order,
    mobility_grouping: bool,
    asked: u64,
    fail_at: Option<u64>,
}

impl<'z, 's, 'a> Buddy<'z, 's, 'a> {
    /// Takes the zones over. `blocks` was built for the same zones and map; `largest` is MAX_ORDER - 1.
    /// `mobility_grouping` is off on tiny machines ([`crate::zonelist::mobility_grouping_disabled`]).
    ///
    /// # Errors
    /// [`BuddyError`] names orders or zones that do not fit.
    pub fn new(
        map: PageMap<'a>,
        blocks: Pageblocks<'a>,
        zones: &'z mut [BuddyZone<'s, 'a>],
        largest: Order,
        mobility_grouping: bool,
    ) -> Result<Self, BuddyError> {
        let (pageblock, align) = (blocks.order(), map.sections().align());
        if pageblock > largest || largest > align {
            return Err(BuddyError::Orders { largest, pageblock, align });
        }
        let count = zones.len();
        for piece in blocks.pieces() {
            let Some(zone) = zones.get_mut(piece.zone.index()) else {
                return Err(BuddyError::MissingZone { zone: piece.zone, zones: count });
            };
            zone.span = (zone.span.0.min(piece.start), zone.span.1.max(piece.end));
        }
        Ok(Self { map, blocks, zones, largest, mobility_grouping, asked: 0, fail_at: None })
    }

    /// The zones, by [`ZoneId`].
    pub fn zones(&self) -> &[BuddyZone<'s, 'a>] {
        self.zones
    }

    /// The zone of a node and kind.
    pub fn find(&self, nid: NodeId, kind: ZoneKind) -> Option<ZoneId> {
        let at = self.zones.iter().position(|z| z.nid() == nid && z.kind() == kind)?;
        Some(ZoneId(at as u16))
    }

    /// The page map below.
    pub fn map(&self) -> &PageMap<'a> {
        &self.map
    }

    /// The pageblock records.
    pub fn pageblocks(&self) -> &Pageblocks<'a> {
        &self.blocks
    }

    /// The largest order (MAX_ORDER - 1).
    pub fn largest_order(&self) -> Order {
        self.largest
    }

    /// Makes the `n`-th allocation from now on fail, 1 being the next; 0 fails none.
    pub fn fail_nth(&mut self, n: u64) {
        self.fail_at = self.asked.checked_add(n).filter(|_| n > 0);
    }

    /// Takes a block out of one zone (`rmqueue_buddy` without per-CPU lists and watermarks).
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed then.
    pub fn alloc(&mut self, zone: ZoneId, request: Request) -> Result<Frames<'a>, AllocError> {
        let (order, largest) = (request.order, self.largest);
        self.asked += 1;
        if self.fail_at == Some(self.asked) {
            return Err(AllocError::Injected { nth: self.asked });
        }
        if order > largest {
            return Err(AllocError::TooLarge { order, largest });
        }
        if zone.index() >= self.zones.len() {
            return Err(AllocError::NoZone { zone });
        }
        self.rmqueue(zone, request).ok_or(AllocError::NoMemory { order })
    }

    /// Takes a block out of the first zone that has one.
    ///
    /// # Errors
    /// That of the last zone, or [`AllocError::NoMemory`] without zones. An injected fault fails the whole allocation.
    pub fn alloc_from(
        &mut self,
        zones: impl IntoIterator<Item = ZoneId>,
        request: Request,
    ) -> Result<Frames<'a>, AllocError> {
        let mut last = AllocError::NoMemory { order: request.order };
        for zone in zones {
            match self.alloc(zone, request) {
                Ok(frames) => return Ok(frames),
                Err(e @ AllocError::Injected { .. }) => return Err(e),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Gives frames back, in whatever number and alignment: they are cut into the largest aligned blocks.
    ///
    /// # Panics
    /// If a frame lies in no zone: whoever minted the token took it from a hole.
    pub fn free(&mut self, frames: Frames<'a>) {
        self.free_all(frames, None);
    }

    /// Memory that memblock had free (`memblock_free_all`). Whole blocks of the largest order stay untouched, the rest
    /// is initialised and enters the lists.
    ///
    /// # Panics
    /// As [`Self::free`].
    pub fn free_boot(&mut self, mut memory: Pristine<'a>) {
        while !memory.is_empty() {
            let idx = FrameIdx::new(memory.start() as u32);
            let run = self.blocks.run(idx, memory.len());
            let zone = self.zone_or_panic(idx);
            let part = memory.take_front(run);
            self.zones[zone.index()].managed += run;
            let (head, body, tail) = part.split_blocks(self.largest);
            for rest in [head, tail] {
                if !rest.is_empty() {
                    self.free_all(rest.into_frames(), Some(Place::Tail));
                }
            }
            self.keep_untouched(zone, body);
        }
    }

    /// Memory that was reserved and is no longer needed: the initial RAM disk, init sections (`free_reserved_area`).
    ///
    /// # Panics
    /// As [`Self::free`].
    pub fn free_reserved(&mut self, memory: Reserved<'a>) {
        if memory.is_empty() {
            return;
        }
        let frames = memory.release();
        self.manage(&frames, false);
        self.free_all(frames, None);
    }

    /// Memory of a CMA area that is ready to lend (`init_cma_reserved_pageblock` for each of its blocks): its pageblocks
    /// become [`MigrateType::Cma`] and enter the lists.
    ///
    /// # Panics
    /// If the memory is not whole pageblocks, or as [`Self::free`].
    pub fn activate_cma(&mut self, memory: Reserved<'a>) {
        let block = self.blocks.order();
        if memory.is_empty() || (memory.start() | memory.len()) & (block.pages() - 1) != 0 {
            panic!("{memory:?} is no CMA area of whole pageblocks of order {}", block.get());
        }
        let frames = memory.release();
        self.manage(&frames, true);
        let mut rest = Some(frames);
        while let Some(frames) = rest {
            let (now, later) = split_front(frames, block.pages());
            self.blocks.set_migrate_type(now.start(), MigrateType::Cma);
            self.free_all(now, None);
            rest = later;
        }
    }

    /// Counts frames that become the buddy's.
    fn manage(&mut self, frames: &Frames<'a>, cma: bool) {
        let mut done = 0;
        while done < frames.len() {
            let idx = FrameIdx::new(frames.start().get() + done as u32);
            let zone = self.zone_or_panic(idx);
            let run = self.blocks.run(idx, frames.len() - done);
            let zone = &mut self.zones[zone.index()];
            zone.managed += run;
            zone.cma += if cma { run } else { 0 };
            done += run;
        }
    }

    fn zone_or_panic(&self, idx: FrameIdx) -> ZoneId {
        match self.blocks.zone_of(idx) {
            Some(zone) => zone,
            None => panic!("frame index {idx} lies in no zone's memory and cannot be freed"),
        }
    }

    /// Keeps whole blocks as an extent as long as their first pageblock is Movable and there is room.
    fn keep_untouched(&mut self, zone: ZoneId, mut body: Pristine<'a>) {
        let step = self.largest.pages();
        while !body.is_empty() {
            let start = body.start();
            let kind = |at: u64| self.blocks.migrate_type(FrameIdx::new(at as u32));
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
            let zone = self.zone_or_panic(start);
            let run = self.blocks.run(start, frames.len());
            let order =
                (run.max(1).ilog2() as u8).min(start.get().trailing_zeros() as u8).min(self.largest.get());
            let (block, later) = split_front(frames, 1 << order);
            self.free_one(zone, block, Order::new(order).unwrap_or_default(), place);
            rest = later;
        }
    }

    /// `__free_one_page`: merges with the buddy as long as that is free, then links the result.
    fn free_one(&mut self, zone: ZoneId, mut block: Frames<'a>, mut order: Order, place: Option<Place>) {
        let migrate = self.blocks.migrate_type(block.start());
        while order < self.largest {
            let buddy = block.start().buddy(order);
            if !self.is_free_buddy(zone, buddy, order) {
                break;
            }
            if order >= self.blocks.order() {
                // Pageblocks whose blocks must stay countable by type do not merge with others.
                let other = self.blocks.migrate_type(buddy);
                if migrate != other && !(migrate.is_mergeable() && other.is_mergeable()) {
                    break;
                }
            }
            self.zones[zone.index()].unlink(&self.map, buddy, order);
            block = self.map.absorb_free(block);
            order = Order::new(order.get() + 1).unwrap_or(self.largest);
        }
        let start = block.start();
        let place = place.unwrap_or_else(|| self.place(zone, start, order));
        let idx = self.map.put_block(block);
        self.zones[zone.index()].link(&self.map, idx, order, migrate, place);
    }

    /// `page_is_buddy`.
    fn is_free_buddy(&self, zone: ZoneId, idx: FrameIdx, order: Order) -> bool {
        self.map.free_order(idx) == Some(order) && self.blocks.zone_of(idx) == Some(zone)
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

/// The first `n` frames of a token, and what is left if anything is.
fn split_front(frames: Frames<'_>, n: u64) -> (Frames<'_>, Option<Frames<'_>>) {
    if n >= frames.len() {
        return (frames, None);
    }
    let (front, rest) = frames.split_at(n);
    (front, Some(rest))
}

#[cfg(test)]
mod tests;
