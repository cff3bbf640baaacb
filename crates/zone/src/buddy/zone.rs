//! One zone's free lists, and the counts that go with them.
//!
//! A free block is linked into the list of its order and migrate type through the links of its first frame; the list's
//! type is kept there too ([`PageMap::list`]), and whether the block was reported to a hypervisor. Whoever calls holds the zone exclusively.

use super::hardened;
use super::park::Parked;
use super::watch::{Watch, WatchFallbacks};
use super::{MigrateType, ZoneId};
use crate::ZoneKind;
use pagewright_addr::{NodeId, Order};
use pagewright_page::{FrameIdx, PageMap, Pristine, PristineExtents};

/// A free list: how many blocks there are, and if there are any, the first and the last. Sixteen bytes and no tags.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
pub(super) struct List {
    first: FrameIdx,
    last: FrameIdx,
    /// Two buddies are never free side by side, so half the indices are the most.
    pub(super) count: u32,
}

impl List {
    const EMPTY: Self = Self { first: FrameIdx::new(0), last: FrameIdx::new(0), count: 0 };

    /// The block that is allocated next.
    #[inline]
    pub(super) fn head(&self) -> Option<FrameIdx> {
        (self.count > 0).then_some(self.first)
    }

    /// The block that is allocated last.
    #[inline]
    pub(super) fn tail(&self) -> Option<FrameIdx> {
        (self.count > 0).then_some(self.last)
    }
}

/// Out of line, so that unlinking keeps nothing for it.
#[cold]
#[inline(never)]
fn in_no_list(idx: FrameIdx, list: u32) -> ! {
    panic!("free block at frame index {idx} is in no list: migrate type {list}")
}

/// In the number of the first frame's list: nobody needs the memory behind the block, and whoever provides it knows (PageReported).
const REPORTED: u32 = 1 << 8;

/// For each migrate type a bit for each order.
pub(crate) type Occupied = [u16; MigrateType::COUNT];

/// Where in a list a block goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Next to be allocated: it is likely warm in the cache.
    Head,
    /// Last to be allocated: its buddy may become free soon, or it was freed while booting.
    Tail,
}

/// How often a request was served from another type's lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Steals {
    /// All such times (`mm_page_alloc_extfrag`).
    pub fallbacks: u64,
    /// Pageblocks that changed their type with it.
    pub claimed: u64,
}

/// A zone as the buddy allocator sees it: free lists by order and migrate type, extents of untouched memory, counts.
#[derive(Debug)]
pub struct BuddyZone<'s, 'a> {
    /// Its place among the zones, once it has one.
    pub(super) id: ZoneId,
    nid: NodeId,
    kind: ZoneKind,
    lists: [[List; MigrateType::COUNT]; Order::LIMIT],
    /// Which lists have blocks: for each type a bit for each order.
    occupied: Occupied,
    /// Whether that changed since it was last told ([`Self::take_occupied`]), and whether there was untouched memory then.
    pub(super) occupied_changed: bool,
    told_untouched: bool,
    pub(super) extents: PristineExtents<'s, 'a>,
    /// Frame indices from the first to past the last piece of the zone.
    pub(super) span: (u64, u64),
    pub(super) managed: u64,
    pub(super) cma: u64,
    /// What was freed and is not merged yet: of it the lists know nothing, only the number of free pages.
    pub(super) parked: Parked<'s, 'a>,
    /// Pages in lists: as wide as a register, since every operation counts in them, and frames' metadata has to fit into memory.
    pub(super) free: usize,
    free_cma: usize,
    isolated: usize,
    /// Pages of blocks in lists that were reported.
    reported: u64,
    /// A block smaller than a pageblock was taken from another type's lists.
    pub(super) mixed: bool,
    pub(super) steals: Steals,
    /// Blocks that the page allocator took here past its CPUs' lists, by order.
    direct: [u64; Order::LIMIT],
    /// Neighbours in lists are checked.
    hardened: bool,
    /// Before pages that stay enter a Movable pageblock, any other block that serves is taken
    /// ([`PageAllocator::set_spares_movable_blocks`](crate::alloc::PageAllocator::set_spares_movable_blocks)).
    pub(crate) spares_movable: bool,
    /// Who is told of fallbacks.
    pub(super) watch: Watch<'s>,
}

impl<'s, 'a> BuddyZone<'s, 'a> {
    /// An empty zone. `extents` is room for runs of memory whose metadata nobody has written yet, best one for each
    /// free range that memblock hands over; without room, memory is initialised as it comes.
    pub fn new(nid: NodeId, kind: ZoneKind, extents: &'s mut [Option<Pristine<'a>>]) -> Self {
        Self {
            id: ZoneId(0),
            nid,
            kind,
            lists: [[List::EMPTY; MigrateType::COUNT]; Order::LIMIT],
            occupied: [0; _],
            occupied_changed: true,
            told_untouched: false,
            extents: PristineExtents::new(extents),
            span: (u64::MAX, 0),
            managed: 0,
            cma: 0,
            parked: Parked::default(),
            free: 0,
            free_cma: 0,
            isolated: 0,
            reported: 0,
            mixed: false,
            steals: Steals::default(),
            direct: [0; _],
            hardened: false,
            spares_movable: false,
            watch: Watch::default(),
        }
    }

    /// Takes the zone out of its place, where an empty one stays.
    pub fn take(&mut self) -> Self {
        core::mem::replace(self, Self::new(self.nid, self.kind, &mut []))
    }

    /// The zone's place among the machine's zones.
    pub fn id(&self) -> ZoneId {
        self.id
    }

    /// The zone's node.
    pub fn nid(&self) -> NodeId {
        self.nid
    }

    /// The zone's kind.
    pub fn kind(&self) -> ZoneKind {
        self.kind
    }

    /// Pages given to the buddy allocator so far, free or not (`managed_pages`).
    pub fn managed_pages(&self) -> u64 {
        self.managed
    }

    /// How often other types' lists had to serve.
    pub fn steals(&self) -> Steals {
        self.steals
    }

    /// So many allocations of an order are served past the CPUs' lists.
    #[inline]
    pub(crate) fn count_direct(&mut self, order: Order, n: usize) {
        self.direct[order.index() % Order::LIMIT] += n as u64;
    }

    /// How many there were, and how many pages they got.
    pub(crate) fn direct(&self) -> (u64, u64) {
        let counts = self.direct.iter().enumerate();
        counts.fold((0, 0), |(blocks, pages), (n, count)| (blocks + count, pages + (count << n)))
    }

    /// Pages in CMA areas (`cma_pages`).
    pub fn cma_pages(&self) -> u64 {
        self.cma
    }

    /// Free pages that can be allocated (NR_FREE_PAGES): isolated ones are not in it.
    pub fn free_pages(&self) -> u64 {
        self.free_now() as u64
    }

    /// The same, as wide as a register.
    #[inline]
    pub(crate) fn free_now(&self) -> usize {
        self.free + self.extents.frames() as usize
    }

    /// Free pages in CMA pageblocks (NR_FREE_CMA_PAGES).
    pub fn free_cma_pages(&self) -> u64 {
        self.free_cma as u64
    }

    /// Free pages in isolated pageblocks.
    pub fn isolated_pages(&self) -> u64 {
        self.isolated as u64
    }

    /// Runs of free memory whose metadata has not been written; part of every count of free blocks.
    pub fn extents(&self) -> &PristineExtents<'s, 'a> {
        &self.extents
    }

    /// Whether types were mixed within a pageblock since it was last asked.
    pub(crate) fn take_mixed(&mut self) -> bool {
        core::mem::take(&mut self.mixed)
    }

    /// Checks neighbours in lists from now on, or no longer.
    pub(crate) fn set_hardened(&mut self, on: bool) {
        self.hardened = on;
    }

    /// Tells of fallbacks from now on, or no longer.
    pub(crate) fn watch(&mut self, watch: Option<&'s dyn WatchFallbacks>) {
        self.watch = Watch(watch);
    }

    pub(super) fn list(&self, order: Order, migrate: MigrateType) -> &List {
        &self.lists[order.index()][migrate.index()]
    }

    /// The first block of a list.
    pub(crate) fn first_of(&self, order: Order, migrate: MigrateType) -> Option<FrameIdx> {
        self.list(order, migrate).head()
    }

    /// The smallest order from `order` on of which a type has a block in a list.
    #[inline]
    pub(crate) fn smallest(&self, order: Order, migrate: MigrateType) -> Option<Order> {
        let from = self.occupied[migrate.index()] >> order.get() << order.get();
        if from == 0 { None } else { Order::new(from.trailing_zeros() as u8) }
    }

    /// Which orders of each type have a block. Untouched memory counts as blocks of the largest order.
    #[inline]
    pub(crate) fn occupied(&self, largest: Order) -> Occupied {
        let mut occupied = self.occupied;
        occupied[MigrateType::Movable.index()] |= u16::from(self.extents.frames() > 0) << largest.get();
        occupied
    }

    /// The same, if it changed since this was last asked. Nobody asks for isolated blocks: in their place it says whether pages wait to
    /// be merged, so that there may be other blocks.
    // Always: else on 32-bit arm it leaves an array of halves in memory, for the caller to put together.
    #[inline(always)]
    pub(crate) fn take_occupied(&mut self, largest: Order) -> Option<Occupied> {
        let untouched = self.extents.frames() > 0;
        if !self.occupied_changed && self.told_untouched == untouched {
            return None;
        }
        (self.occupied_changed, self.told_untouched) = (false, untouched);
        Some(self.told(largest))
    }

    /// What everybody is told: see [`Self::take_occupied`].
    #[inline(always)]
    pub(crate) fn told(&self, largest: Order) -> Occupied {
        let mut occupied = self.occupied(largest);
        occupied[MigrateType::Isolate.index()] = u16::from(self.parked_pages() > 0);
        occupied
    }

    /// Links a free block, which the map already knows as free, and counts its pages.
    pub(super) fn link(
        &mut self,
        map: &PageMap<'a>,
        idx: FrameIdx,
        order: Order,
        to: MigrateType,
        place: Place,
    ) {
        self.insert(map, idx, order, to, place);
        self.count(order, to, true);
    }

    /// Links a free block; whoever calls counts its pages ([`Self::count`]), which for a block that is cut up or joined is done once.
    #[inline(always)]
    pub(super) fn insert(
        &mut self,
        map: &PageMap<'a>,
        idx: FrameIdx,
        order: Order,
        to: MigrateType,
        place: Place,
    ) {
        let list = &mut self.lists[order.index() % Order::LIMIT][to.index()];
        if self.hardened {
            hardened::check_link(map, list, place);
        }
        let node = map.node(idx);
        node.set_list(to as u32);
        list.count += 1;
        if list.count == 1 {
            (list.first, list.last) = (idx, idx);
            node.set_prev(None);
            node.set_next(None);
            self.occupied[to.index()] |= 1 << order.get();
            self.occupied_changed = true;
        } else if place == Place::Head {
            node.set_prev(None);
            node.set_next(Some(list.first));
            map.set_prev(list.first, Some(idx));
            list.first = idx;
        } else {
            node.set_next(None);
            node.set_prev(Some(list.last));
            map.set_next(list.last, Some(idx));
            list.last = idx;
        }
    }

    /// Unlinks a free block, and says in which type's list it was.
    ///
    /// # Panics
    /// If the frame names no migrate type as its list: it is in no free list.
    pub(super) fn unlink(&mut self, map: &PageMap<'a>, idx: FrameIdx, order: Order) -> MigrateType {
        let from = self.remove(map, idx, order);
        self.count(order, from, false);
        from
    }

    /// The same; whoever calls counts its pages.
    #[inline(always)]
    pub(super) fn remove(&mut self, map: &PageMap<'a>, idx: FrameIdx, order: Order) -> MigrateType {
        let node = map.node(idx);
        let number = node.list();
        let from = match MigrateType::from_index(number as usize) {
            Some(from) => from,
            None => self.forget_report(idx, number, order),
        };
        let list = &mut self.lists[order.index() % Order::LIMIT][from.index()];
        if self.hardened {
            hardened::check_unlink(map, list, idx, order);
        }
        let (next, prev) = (node.next(), node.prev());
        list.count -= 1;
        if list.count == 0 {
            self.occupied[from.index()] &= !(1 << order.get());
            self.occupied_changed = true;
        }
        // A block without neighbours leaves an empty list, whose ends nobody looks at.
        match prev {
            Some(p) => map.set_next(p, next),
            None => list.first = next.unwrap_or_default(),
        }
        match next {
            Some(n) => map.set_prev(n, prev),
            None => list.last = prev.unwrap_or_default(),
        }
        node.clear();
        from
    }

    /// A mark makes a number that names no type: only then does unlinking take longer.
    #[cold]
    #[inline(never)]
    fn forget_report(&mut self, idx: FrameIdx, list: u32, order: Order) -> MigrateType {
        match MigrateType::from_index((list & !REPORTED) as usize) {
            Some(from) if list & REPORTED != 0 => {
                self.reported -= order.pages();
                from
            }
            _ => in_no_list(idx, list),
        }
    }

    /// Pages of blocks in lists that were reported and not used since.
    pub(crate) fn reported_pages(&self) -> u64 {
        self.reported
    }

    /// Whether a free block was reported.
    pub(super) fn is_reported(map: &PageMap<'a>, idx: FrameIdx) -> bool {
        map.list(idx) & REPORTED != 0
    }

    /// Notes that a block in a list was reported; unlinking it forgets that.
    pub(super) fn set_reported(&mut self, map: &PageMap<'a>, idx: FrameIdx, order: Order) {
        if !Self::is_reported(map, idx) {
            map.set_list(idx, map.list(idx) | REPORTED);
            self.reported += order.pages();
        }
    }

    /// The type of the list that a free block is in.
    pub(super) fn list_of(map: &PageMap<'a>, idx: FrameIdx) -> Option<MigrateType> {
        MigrateType::from_index((map.list(idx) & !REPORTED) as usize)
    }

    /// A block joined one of another type's list: its pages count there from now on.
    #[cold]
    pub(super) fn recount(&mut self, order: Order, from: MigrateType, to: MigrateType) {
        self.count(order, from, false);
        self.count(order, to, true);
    }

    /// A block's pages more are free, or fewer.
    #[inline]
    pub(super) fn count(&mut self, order: Order, migrate: MigrateType, add: bool) {
        self.count_pages(order.pages() as usize, migrate, add);
    }

    /// So many pages more are free, or fewer.
    #[inline]
    pub(super) fn count_pages(&mut self, pages: usize, migrate: MigrateType, add: bool) {
        let apply = |n: &mut usize| *n = if add { *n + pages } else { *n - pages };
        if migrate == MigrateType::Isolate {
            apply(&mut self.isolated);
            return;
        }
        apply(&mut self.free);
        if migrate == MigrateType::Cma {
            apply(&mut self.free_cma);
        }
    }
}

const _: () = assert!(Order::LIMIT <= u16::BITS as usize);
