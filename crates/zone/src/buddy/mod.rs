//! The buddy allocator: free blocks of 2^order frames, split on allocation and merged on freeing.
//!
//! [`Buddy`] owns the free lists of every zone of a machine. It is the core below the page allocator proper: it
//! chooses a block in a zone it is told to use and knows migrate types, pageblocks and CMA, but neither watermarks nor
//! per-CPU lists nor waiting.
//!
//! # Protocol
//! - A frame is handed around as a token: [`Frames`] out of [`Buddy::alloc`] and back into [`Buddy::free`],
//!   [`Pristine`](pagewright_page::Pristine) or [`Reserved`](pagewright_page::Reserved) from the
//!   boot path. Only `pagewright-page` makes tokens, so a mistake here panics and
//!   never hands a frame out twice.
//! - `&mut Buddy` stands for holding every zone's lock; nothing here is reentrant.
//! - Every allocation either returns a token or leaves all lists as they were; the n-th can be made to fail.
//!
//! # Pages that wait
//! A single page that a CPU of [`crate::alloc`] gives back need not merge at once. If the zone was given memory for it
//! ([`BuddyZone::with_park`]), it waits for the rest of its pageblock, as a bit in a [`Park`](pagewright_page::Park), and counts as
//! free; whoever looks at free lists merges first all that waits, so nobody can tell the difference.
//!
//! # Untouched memory
//! Whole blocks of the largest order that memblock hands over stay [`Pristine`](pagewright_page::Pristine): they count as free, and a block's
//! metadata is written when an allocation needs it. As in Linux, where such blocks queue behind those in the list, the
//! lowest is used first.
//!
//! ```
//! use core::sync::atomic::AtomicU32;
//! use pagewright_addr::{NodeId, Order, PageShift, Pfn, PfnRange};
//! use pagewright_page::{PageMap, PageMeta, PageStorage, Section, SectionTable};
//! use pagewright_zone::buddy::{Buddy, BuddyZone, Pageblocks, Request, ZonePiece};
//! use pagewright_zone::layout::{free_area_init, LayoutConfig, MemFlags, MemRange, NodeLayout};
//! use pagewright_zone::ZoneKind;
//!
//! // One node with 64 MiB of RAM at 1 GiB: where are its zones?
//! let ram = PfnRange::from_len(Pfn::new(0x4_0000), 1 << 14);
//! let memory = [MemRange { pfns: ram, nid: NodeId::ZERO, flags: MemFlags::empty() }];
//! let mut nodes = [NodeLayout::EMPTY; 1];
//! let layout = free_area_init(LayoutConfig::one_node(PageShift::SHIFT_4K, ram.end), &memory, &mut nodes)?;
//!
//! // Metadata for its frames. No frame is in use, so all of it goes to the buddy.
//! let (largest, pageblock) = (Order::new(10).unwrap(), Order::new(9).unwrap());
//! let mut sections = [Section::EMPTY; 1];
//! let table = SectionTable::build(&mut sections, [ram], largest)?;
//! let mut slots = Vec::<PageMeta>::with_capacity(table.frames() as usize);
//! let (map, all) = PageMap::new(PageStorage::zero(slots.spare_capacity_mut()), table)?;
//!
//! let mut extents = [None];
//! let mut zones = [BuddyZone::new(NodeId::ZERO, ZoneKind::Normal, &mut extents)];
//! let records: Vec<_> = (0..Pageblocks::required_records(&map, pageblock)).map(|_| AtomicU32::new(0)).collect();
//! let mut pieces = [ZonePiece::EMPTY; 2];
//! let blocks = Pageblocks::build(&layout, &map, pageblock, &zones, &records, &mut pieces)?;
//! let mut buddy = Buddy::new(map, blocks, &mut zones, largest, true)?;
//! buddy.free_boot(all);
//!
//! let zone = buddy.find(NodeId::ZERO, ZoneKind::Normal).unwrap();
//! assert_eq!(buddy.free_blocks(zone, largest), 16);
//! let page = buddy.alloc(zone, Request::movable(Order::ZERO))?;
//! assert_eq!(map.pfn(page.start()), ram.start);
//! assert_eq!(buddy.zones()[0].free_pages(), (1 << 14) - 1);
//! buddy.free(page);
//! assert_eq!(buddy.free_blocks(zone, largest), 16);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod fallback;
mod free;
mod hardened;
mod isolate;
mod migrate;
mod pageblock;
mod park;
mod stats;
mod validate;
mod watch;
pub(crate) mod zone;

pub use error::{AllocError, BuddyError};
pub use migrate::MigrateType;
pub use pageblock::{PageblockError, PageblockViolation, Pageblocks, ZonePiece};
pub use stats::{FreeAreas, MigrateCounts};
pub use validate::Violation;
pub use watch::{Examined, Fallback, WatchFallbacks};
pub use zone::{BuddyZone, Steals};

use crate::ZoneKind;
use pagewright_addr::{NodeId, Order};
use pagewright_page::{Frames, PageMap};

/// A zone's place in [`Buddy::zones`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ZoneId(u16);

impl ZoneId {
    /// The `at`-th zone.
    pub(crate) const fn new(at: u16) -> Self {
        Self(at)
    }

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

/// What the zones of a machine have in common: shared by all that work on one zone each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) map: PageMap<'a>,
    pub(crate) blocks: Pageblocks<'a>,
    /// MAX_ORDER - 1.
    pub(crate) largest: Order,
    pub(crate) mobility_grouping: bool,
}

/// What the zones of a buddy allocator have in common, once it was taken apart ([`Buddy::parts`]).
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    pub(crate) ground: Ground<'a>,
}

impl<'a> Base<'a> {
    /// The page map.
    pub fn map(&self) -> &PageMap<'a> {
        &self.ground.map
    }

    /// The pageblock records.
    pub fn pageblocks(&self) -> &Pageblocks<'a> {
        &self.ground.blocks
    }

    /// The largest order (MAX_ORDER - 1).
    pub fn largest_order(&self) -> Order {
        self.ground.largest
    }
}

/// The buddy allocator of one machine.
#[derive(Debug)]
pub struct Buddy<'z, 's, 'a> {
    ground: Ground<'a>,
    zones: &'z mut [BuddyZone<'s, 'a>],
    unzoned: u64,
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
        for (at, zone) in zones.iter_mut().enumerate() {
            zone.id = ZoneId(at as u16);
            zone.parked.open(&map, pageblock);
        }
        for piece in blocks.pieces() {
            let Some(zone) = zones.get_mut(piece.zone.index()) else {
                return Err(BuddyError::MissingZone { zone: piece.zone, zones: count });
            };
            zone.span = (zone.span.0.min(piece.start), zone.span.1.max(piece.end));
        }
        let ground = Ground { map, blocks, largest, mobility_grouping };
        Ok(Self { ground, zones, unzoned: 0, asked: 0, fail_at: None })
    }

    /// Takes the allocator apart, for one that many CPUs use ([`crate::alloc::PageAllocator`]): what its zones have in common,
    /// and the zones, each of which [`BuddyZone::take`] takes out of its place.
    pub fn parts(&mut self) -> (Base<'a>, &mut [BuddyZone<'s, 'a>]) {
        (Base { ground: self.ground }, self.zones)
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
        &self.ground.map
    }

    /// The pageblock records.
    pub fn pageblocks(&self) -> &Pageblocks<'a> {
        &self.ground.blocks
    }

    /// The largest order (MAX_ORDER - 1).
    pub fn largest_order(&self) -> Order {
        self.ground.largest
    }

    /// Pages that were given to the buddy but lie in no zone: memory above every zone's limit, or what
    /// `kernelcore=mirror` leaves without a zone.
    pub fn unzoned_pages(&self) -> u64 {
        self.unzoned
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
        let (order, largest) = (request.order, self.ground.largest);
        self.asked += 1;
        if self.fail_at == Some(self.asked) {
            return Err(AllocError::Injected { nth: self.asked });
        }
        if order > largest {
            return Err(AllocError::TooLarge { order, largest });
        }
        let z = self.zones.get_mut(zone.index()).ok_or(AllocError::NoZone { zone })?;
        self.ground.rmqueue(z, request).ok_or(AllocError::NoMemory { order })
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
}

#[cfg(test)]
mod tests;
