//! Per-CPU lists: blocks that a CPU keeps, so that most allocations and frees touch nothing shared.
//!
//! For each CPU and zone there are lists for orders up to 3 and for the huge-page order, of the three migrate types that have
//! them (`struct per_cpu_pages`). The huge-page order is that of what an entry of the next to last level of page tables maps, where
//! blocks can be as large; a kernel without huge pages has larger pageblocks. Whoever makes the lists may have them of single pages only
//! ([`Listed`]). How many pages they may hold together, how many move at once, and how far a long
//! run of frees lets the lists be emptied more at a time, is 6.1's.
//!
//! [`CpuPages`] is one CPU's: all its lists as shelves of one rack, and for each GFP class the lists that are tried first. A
//! shelf's number is `32 * zone + 8 * type + order`, the huge-page order being 4; the pageblock records
//! ([`Pageblocks`](crate::buddy::Pageblocks)) are the rack's directory, so that a freed block finds its shelf with one look.

mod exchange;

use crate::ZoneKind;
use crate::buddy::{Ground, MigrateType, ZoneId};
use crate::gfp::Gfp;
use crate::watermark::Pageset;
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, Frames, Rack, Shelf};

/// Above it an order is costly: not worth great effort, and without per-CPU lists but for huge pages
/// (PAGE_ALLOC_COSTLY_ORDER).
pub const COSTLY_ORDER: u8 = 3;
/// Shelves for each zone; those of unused numbers have no room.
pub const SHELVES: usize = 32;
/// Shelves for each type.
const TYPE: usize = Rack::GROUP;
/// Shelves in use of each type.
const PLACES: usize = COSTLY_ORDER as usize + 2;
/// A list may take so many pages more without being asked again, also where batches are smaller: asking takes as long as four frees.
const LEAST_LEASE: u32 = 63;

/// The orders that can have lists, in the order of their places.
fn orders(huge: Order) -> [Order; PLACES] {
    core::array::from_fn(|n| Order::new(n as u8).filter(|n| n.get() <= COSTLY_ORDER).unwrap_or(huge))
}

/// Of which orders CPUs keep lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listed {
    /// Of single pages only, as Linux did before 5.13.
    Single,
    /// Of orders up to 3, and this one, a huge page's.
    UpToHuge(Order),
}

impl Listed {
    /// The largest.
    pub(super) fn largest(self) -> Order {
        self.orders().map(|(_, order)| order).max().unwrap_or_default()
    }

    /// Places and orders.
    fn orders(self) -> impl Iterator<Item = (usize, Order)> {
        let (huge, places) = match self {
            Self::Single => (Order::ZERO, 1),
            Self::UpToHuge(huge) => (huge, PLACES),
        };
        orders(huge).into_iter().enumerate().take(places)
    }
}

/// How many blocks of an order are fetched at once.
fn refill_blocks(batch: u32, order: Order) -> u32 {
    // A shift: not every machine divides.
    if batch > 1 { (batch >> order.get()).max(2) } else { batch }
}

/// What a zone's lists on one CPU may hold, and how it went lately.
#[derive(Clone, Copy, Debug)]
pub struct ZoneFigures {
    high: u32,
    batch: u32,
    /// What "high" is for now: less while kswapd works in the zone.
    bound: u32,
    /// The last request to empty the lists that was answered.
    drained: u32,
    /// By how much more than a batch a drain takes, doubling: grows while pages are only freed. Each allocation since
    /// the lists had served `grown_at` halves it.
    free_factor: u32,
    grown_at: u32,
}

impl ZoneFigures {
    /// For lists of these sizes.
    pub fn new(pageset: Pageset) -> Self {
        let limited = |n: u64, most: u32| u32::try_from(n).unwrap_or(most).min(most);
        let (high, batch) = (limited(pageset.high, 1 << 30), limited(pageset.batch, 1 << 16).max(1));
        Self { high, batch, bound: high, drained: 0, free_factor: 0, grown_at: 0 }
    }

    /// Above so many pages some are given back ("high").
    pub fn high(&self) -> u32 {
        self.high
    }

    /// How many pages move at once ("batch").
    pub fn batch(&self) -> u32 {
        self.batch
    }

    /// The factor by now, when the lists have served `pops` times (modulo 2^32).
    fn factor(&self, pops: u32) -> u32 {
        self.free_factor >> pops.wrapping_sub(self.grown_at).min(31)
    }

    /// How many pages go back of `count`, which are too many, after a block of `order` came (`nr_pcp_free`). A large
    /// block that ends a run of frees takes everything with it.
    fn surplus(&mut self, count: u32, pops: u32, order: Order) -> u32 {
        let factor = self.factor(pops);
        if ends_run(factor, order) {
            return count;
        }
        if self.bound < self.batch {
            return 1;
        }
        let most = self.bound - self.batch;
        let wanted = self.batch.checked_shl(factor).unwrap_or(u32::MAX);
        (self.free_factor, self.grown_at) = (factor + u32::from(wanted < most), pops);
        wanted.clamp(self.batch, most.max(self.batch))
    }
}

/// Whether a block that is freed after so many frees takes all the lists with it.
fn ends_run(factor: u32, order: Order) -> bool {
    factor != 0 && !order.is_zero() && order.get() <= COSTLY_ORDER
}

/// What became of a block that the fast path did not take.
#[derive(Debug)]
pub(super) enum Admitted<'a> {
    /// It lies in a list.
    Yes,
    /// It does, and there is too much now: the zone's place, and how many pages go back, beginning with that shelf.
    TooMany { zone: usize, pages: u32, shelf: usize },
    /// There is no list for it.
    No(Frames<'a>),
}

/// Sums over a zone's lists, in pages but for the second. Of 32 bits each: a batch of frees asks for them, and that is fifteen lists.
struct Tally {
    count: u32,
    /// Modulo 2^32.
    pops: u32,
    /// How many pages fit before anybody has to look at the lists again.
    leased: u32,
}

/// How many blocks a list may hold: what the zone's lists may hold together, and a refill.
fn blocks_of(figures: &ZoneFigures, order: Order) -> usize {
    (figures.high >> order.get()) as usize + refill_blocks(figures.batch, order) as usize
}

/// How many places the room for one zone's shelves needs: a shelf slides in room for twice its blocks.
pub fn required_places(pageset: Pageset, listed: Listed) -> usize {
    let figures = ZoneFigures::new(pageset);
    listed.orders().map(|(_, order)| 2 * blocks_of(&figures, order) * MigrateType::PCPTYPES).sum()
}

/// Makes the shelves of one zone in room for [`required_places`]; with less, the last ones have less or none.
pub fn shelves<'m>(pageset: Pageset, listed: Listed, mut room: &'m mut [FrameIdx]) -> [Shelf<'m>; SHELVES] {
    let figures = ZoneFigures::new(pageset);
    let mut shelves = core::array::from_fn(|_| Shelf::new(Order::ZERO, &mut []));
    for (n, order) in listed.orders() {
        for migrate in 0..MigrateType::PCPTYPES {
            let places = (2 * blocks_of(&figures, order)).min(room.len());
            let (mine, others) = core::mem::take(&mut room).split_at_mut(places);
            room = others;
            shelves[migrate * TYPE + n] = Shelf::new(order, mine);
        }
    }
    shelves
}

/// One CPU's lists in all zones.
///
/// No list counts pages: each has a limit up to which blocks are simply pushed, and the limits of a zone's lists add up to
/// less than `high`. At its limit a list gets a batch more, if need be from what others do not use.
#[derive(Debug)]
pub struct CpuPages<'m, 'a> {
    rack: Rack<'m, 'a>,
    /// The huge-page order.
    huge: Order,
    zones: &'m mut [ZoneFigures],
    /// The shelf that each class is served from first, by order; a number that no shelf has where there is none.
    route: [[u16; Order::LIMIT]; Gfp::CLASSES],
    /// What each class is served from first, lists or not.
    first: [Option<First>; Gfp::CLASSES],
}

/// Where a GFP class is served first.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    pub(super) zone: ZoneId,
    pub(super) migrate: MigrateType,
    /// The highest zone that the class may use.
    pub(super) highest: ZoneKind,
}

impl<'m, 'a> CpuPages<'m, 'a> {
    /// A CPU's lists: [`SHELVES`] shelves (whose orders tell the huge-page order) and the figures of each zone of the machine, in their order. `first` says for
    /// each class which zone is tried first and of which type the lists are.
    pub(super) fn new(
        ground: &Ground<'a>,
        shelves: &'m mut [Shelf<'m>],
        zones: &'m mut [ZoneFigures],
        first: impl Fn(usize) -> Option<First>,
    ) -> Self {
        let blocks = &ground.blocks;
        let huges = shelves.iter().skip(PLACES - 1).step_by(TYPE);
        let huge = huges.clone().find(|shelf| shelf.capacity() > 0).map_or(blocks.order(), Shelf::order);
        let mut rack = Rack::new(&ground.map, blocks.records(), blocks.order(), &orders(huge), shelves);
        for shelf in 0..rack.shelves().len() {
            rack.set_limit(shelf, 0);
        }
        let mut own = Self {
            rack,
            huge,
            zones,
            route: [[u16::MAX; Order::LIMIT]; Gfp::CLASSES],
            first: [None; Gfp::CLASSES],
        };
        own.lead(first);
        own
    }

    /// Says anew where each class is served first.
    pub(super) fn lead(&mut self, first: impl Fn(usize) -> Option<First>) {
        self.first = core::array::from_fn(first);
        self.route = [[u16::MAX; Order::LIMIT]; Gfp::CLASSES];
        for (class, first) in self.first.into_iter().enumerate() {
            let Some(First { zone, migrate, .. }) = first else { continue };
            for order in orders(self.huge) {
                let shelf = self.shelf(zone, order, migrate).and_then(|shelf| u16::try_from(shelf).ok());
                self.route[class][order.index()] = shelf.unwrap_or(u16::MAX);
            }
        }
    }

    /// Lets a zone's lists hold more or less from now on, as far as there is room, and no more than four batches while kswapd works
    /// there (`nr_pcp_high`). What they have beyond goes back with the next frees.
    pub(super) fn resize(&mut self, zone: ZoneId, pageset: Pageset, reclaim: bool) {
        let Some(figures) = self.zones.get_mut(zone.index()) else { return };
        let new = ZoneFigures::new(pageset);
        let bound = if reclaim { new.high.min(new.batch << 2) } else { new.high };
        let same = (figures.high, figures.batch) == (new.high, new.batch);
        if !same || figures.bound != bound {
            *figures = ZoneFigures { bound, drained: figures.drained, ..if same { *figures } else { new } };
            for shelf in zone.index() * SHELVES..(zone.index() + 1) * SHELVES {
                self.rack.set_limit(shelf, 0);
            }
        }
    }

    /// Notes a request to empty a zone's lists by its number; whether it is a new one.
    pub(super) fn note_drain(&mut self, zone: ZoneId, number: u32) -> bool {
        self.zones
            .get_mut(zone.index())
            .is_some_and(|zone| core::mem::replace(&mut zone.drained, number) != number)
    }

    /// The figures of a zone's lists.
    pub fn zone(&self, zone: ZoneId) -> Option<&ZoneFigures> {
        self.zones.get(zone.index())
    }

    /// The shelves of a zone's lists; those of unused numbers have no room.
    pub fn lists(&self, zone: ZoneId) -> &[Shelf<'m>] {
        self.of(zone.index())
    }

    fn of(&self, zone: usize) -> &[Shelf<'m>] {
        self.rack.shelves().get(zone * SHELVES..(zone + 1) * SHELVES).unwrap_or(&[])
    }

    /// Pages in all lists of a zone ("count" in zoneinfo).
    pub fn count(&self, zone: ZoneId) -> u32 {
        self.tally(zone.index()).count
    }

    /// How often a zone's lists served an allocation.
    pub fn served(&self, zone: ZoneId) -> u64 {
        self.of(zone.index()).iter().map(Shelf::pops).sum()
    }

    /// How many pages a zone's lists gave out.
    pub fn served_pages(&self, zone: ZoneId) -> u64 {
        self.of(zone.index()).iter().map(|list| list.pops() * u64::from(list.pages())).sum()
    }

    /// The shelf of a zone's blocks of an order and type, if it has room.
    pub(super) fn shelf(&self, zone: ZoneId, order: Order, migrate: MigrateType) -> Option<usize> {
        if migrate.index() >= MigrateType::PCPTYPES {
            return None;
        }
        self.rack.shelf_of_order(zone.index() * SHELVES + migrate.index() * TYPE, order)
    }

    /// A block from the lists that serve a class first; `None` if there is none, or no such lists.
    #[inline(always)]
    pub(super) fn pop(&mut self, class: usize, order: Order) -> Option<Frames<'a>> {
        let shelf = self.route[class % Gfp::CLASSES][order.index() % Order::LIMIT];
        self.rack.pop(usize::from(shelf))
    }

    /// Where a class is served first if this CPU's lists have nothing to do with it: a zone, for an order that no list has.
    pub(super) fn first_beside_lists(&self, class: usize, order: Order) -> Option<First> {
        let listed = self.route[class % Gfp::CLASSES][order.index() % Order::LIMIT];
        self.first[class % Gfp::CLASSES].filter(|_| listed == u16::MAX)
    }

    /// Where a class is served first, lists or not.
    pub(super) fn first(&self, class: usize) -> Option<First> {
        self.first[class % Gfp::CLASSES]
    }

    /// A block from a shelf.
    ///
    /// # Panics
    /// If it is in use ("Bad page state"), for which the fast path has left it here.
    pub(super) fn pop_from(&mut self, shelf: usize) -> Option<Frames<'a>> {
        let found = self.rack.pop(shelf);
        if found.is_none() {
            self.rack.expect_top(shelf);
        }
        found
    }

    /// Blocks from a shelf for as many slots as it has some for: see [`Rack::pop_into`].
    #[inline]
    pub(super) fn pop_into(&mut self, shelf: usize, slots: &mut [Option<Frames<'a>>]) -> usize {
        self.rack.pop_into(shelf, slots)
    }

    /// Whether a shelf is empty.
    pub(super) fn has_none(&self, shelf: usize) -> bool {
        self.rack.shelves().get(shelf).is_none_or(Shelf::is_empty)
    }

    /// Puts a block into the list that its pageblock names.
    ///
    /// # Errors
    /// The block itself if there is no list for it, or the list is at its limit: [`Self::admit`] decides.
    #[inline(always)]
    pub(super) fn push(&mut self, frames: Frames<'a>) -> Result<(), Frames<'a>> {
        self.rack.push(frames)
    }

    /// Whether there is a list for a block.
    #[inline]
    pub(super) fn has_list(&self, frames: &Frames<'a>) -> bool {
        self.rack.shelf_of(frames).is_some()
    }
}
