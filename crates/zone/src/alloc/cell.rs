//! A zone as all CPUs share it: its free lists behind a lock, and figures that are read without it.

use super::compact::CompactState;
use super::drain::Asked;
use super::flags::AllocFlags;
use super::numa::NumaEvents;
use super::occupied::OccupiedWords;
use crate::ZoneKind;
use crate::buddy::{BuddyZone, Ground, MigrateType, ZoneId};
use crate::watermark::{Pageset, ZoneMarks};
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use pagewright_addr::{NodeId, Order, Pfn, PfnRange};
use pagewright_page::Frames;
use pagewright_platform::Mutex;

/// A number of pages that all may read: 32 bits, which a machine of 32 bits reads and writes at once. All 2^32 frames that a map can
/// have are told as one less.
#[derive(Debug, Default)]
pub(super) struct Pages(AtomicU32);

impl Pages {
    /// Larger numbers are held at this, so that a register holds the sum of eight: where it has 32 bits there are 2^27 frames at most, whose metadata has to fit
    /// into memory, and what is beyond that is never reached anyhow.
    const MOST: u32 = if usize::BITS > u32::BITS { u32::MAX } else { u32::MAX / 8 };

    #[inline]
    pub(super) fn load(&self) -> u64 {
        self.0.load(Relaxed).into()
    }

    #[inline]
    pub(super) fn store(&self, pages: u64) {
        self.0.store(pages.min(Self::MOST.into()) as u32, Relaxed);
    }

    /// The same as wide as a register, for what every operation under the lock computes.
    #[inline]
    fn now(&self) -> usize {
        self.0.load(Relaxed) as usize
    }

    #[inline]
    fn set_now(&self, pages: usize) {
        self.0.store(u32::try_from(pages).unwrap_or(u32::MAX), Relaxed);
    }
}

/// One zone.
#[derive(Debug)]
pub struct ZoneCell<'s, 'a> {
    pub(super) lists: Mutex<BuddyZone<'s, 'a>>,
    id: ZoneId,
    nid: NodeId,
    kind: ZoneKind,
    /// High and batch of its lists on each CPU.
    pageset: [AtomicU64; 2],
    /// Frames with memory, from the first on, to past the last (`present_pages`, `zone_start_pfn`, `spanned_pages`).
    present: AtomicU64,
    early: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    min: Pages,
    low: Pages,
    high: Pages,
    /// What fragmentation adds to each mark for a while (`watermark_boost`).
    pub(super) boost: Pages,
    /// Whether kswapd is to be told of the boost (ZONE_BOOSTED_WATERMARK).
    pub(super) boosted: AtomicBool,
    /// Allocations that were not simply served by the node they began with.
    pub(super) numa: NumaEvents,
    lowmem_reserve: [Pages; ZoneKind::COUNT],
    /// Copies of the lists' counts, written under the lock.
    free: Pages,
    free_cma: Pages,
    /// Which orders have blocks, by type ([`BuddyZone::occupied`]).
    pub(super) occupied: OccupiedWords,
    /// What the blocks kept for urgent allocations hold (`nr_reserved_highatomic`).
    highatomic: Pages,
    /// Whether an allocation that may use this zone first goes to a lower one before it mixes migrate types (`alloc_flags_nofragment`).
    pub(super) keeps_apart: AtomicBool,
    /// Whether the zone counts among those below their low watermark.
    pub(super) pressed: AtomicBool,
    /// Whether it should, as of the last operation under its lock.
    presses: AtomicBool,
    pub(super) compact: CompactState,
    pub(super) asked: Asked,
}

impl<'s, 'a> ZoneCell<'s, 'a> {
    /// The zone with the figures that the watermarks have for it.
    pub fn new(zone: BuddyZone<'s, 'a>, largest: Order, marks: &ZoneMarks) -> Self {
        let cell = Self {
            id: zone.id(),
            nid: zone.nid(),
            kind: zone.kind(),
            pageset: [const { AtomicU64::new(0) }; 2],
            present: AtomicU64::new(0),
            early: AtomicU64::new(0),
            start: AtomicU64::new(u64::MAX),
            end: AtomicU64::new(0),
            min: Pages::default(),
            low: Pages::default(),
            high: Pages::default(),
            boost: Pages::default(),
            boosted: AtomicBool::new(false),
            numa: NumaEvents::default(),
            lowmem_reserve: core::array::from_fn(|_| Pages::default()),
            free: Pages::default(),
            free_cma: Pages::default(),
            occupied: OccupiedWords::new(),
            highatomic: Pages::default(),
            keeps_apart: AtomicBool::new(false),
            pressed: AtomicBool::new(false),
            presses: AtomicBool::new(false),
            compact: CompactState::new(),
            asked: Asked::default(),
            lists: Mutex::new(zone),
        };
        cell.set_marks(marks);
        cell.publish(&mut cell.lists.lock(), largest);
        cell
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

    /// Sizes of its per-CPU lists.
    pub fn pageset(&self) -> Pageset {
        let [high, batch] = self.pageset.each_ref().map(|n| n.load(Relaxed));
        Pageset { high, batch }
    }

    /// Pages of memory that the zone has, those included that the allocator never got (`present_pages`).
    pub fn present_pages(&self) -> u64 {
        self.present.load(Relaxed)
    }

    /// Whether it has any memory (`populated_zone`).
    pub fn is_populated(&self) -> bool {
        self.present_pages() > 0
    }

    /// From the zone's first frame with memory to past its last, holes between them included; empty for a zone without memory.
    pub fn pfns(&self) -> PfnRange {
        let (start, end) = (self.start.load(Relaxed), self.end.load(Relaxed));
        PfnRange::new(Pfn::new(start.min(end)), Pfn::new(end))
    }

    /// The zone has these frames as well, `pages` of them.
    pub(super) fn add_present(&self, pfns: PfnRange, pages: u64) {
        self.start.fetch_min(pfns.start.get(), Relaxed);
        self.end.fetch_max(pfns.end.get(), Relaxed);
        self.present.fetch_add(pages, Relaxed);
    }

    /// The zone has so many frames from a first to past a last one.
    pub(super) fn set_present(&self, (start, end): (u64, u64), pages: u64) {
        self.start.store(start, Relaxed);
        self.end.store(end, Relaxed);
        self.present.store(pages, Relaxed);
    }

    /// What it has now it had from the start.
    pub(super) fn has_booted(&self) {
        self.early.store(self.present_pages(), Relaxed);
    }

    /// Pages of memory that it booted with (`present_early_pages`), whatever became of them.
    pub fn early_pages(&self) -> u64 {
        self.early.load(Relaxed)
    }

    /// The min watermark.
    pub fn min_pages(&self) -> u64 {
        self.min.load()
    }

    /// The low watermark.
    pub fn low_pages(&self) -> u64 {
        self.low.load()
    }

    /// The high watermark.
    pub fn high_pages(&self) -> u64 {
        self.high.load()
    }

    /// Free pages of CMA areas among the free ones.
    pub fn free_cma_pages(&self) -> u64 {
        self.free_cma.load()
    }

    /// What requests whose highest zone is `highest` must leave alone ("protection").
    pub fn lowmem_reserve(&self, highest: ZoneKind) -> u64 {
        self.lowmem_reserve[highest.index()].load()
    }

    /// Free pages, those of CPUs' lists not among them (NR_FREE_PAGES).
    pub fn free_pages(&self) -> u64 {
        self.free.load()
    }

    /// What compaction remembers of the zone.
    pub fn compact_state(&self) -> &CompactState {
        &self.compact
    }

    /// Pages of blocks that are kept for urgent allocations.
    pub fn highatomic_pages(&self) -> u64 {
        self.highatomic.load()
    }

    /// Keeps so many pages more for urgent allocations, or fewer. Under the zone's lock.
    pub(super) fn keep_highatomic(&self, pages: i64) {
        self.highatomic.store(self.highatomic_pages().saturating_add_signed(pages));
    }

    /// Takes over watermarks, protection, and the sizes of per-CPU lists, when they are computed anew. The lists themselves follow when
    /// their CPUs are told.
    pub fn set_marks(&self, marks: &ZoneMarks) {
        self.min.store(marks.min);
        self.low.store(marks.low);
        self.high.store(marks.high);
        self.pageset[0].store(marks.pageset.high, Relaxed);
        self.pageset[1].store(marks.pageset.batch, Relaxed);
        for (to, from) in self.lowmem_reserve.iter().zip(marks.lowmem_reserve) {
            to.store(from);
        }
    }

    /// Copies the counts, under the lock. Whoever keeps interrupts away asks [`Self::pressure_changed`] afterwards.
    // The functions here that belong to an operation under the lock are not generic, so they are compiled with this crate: an embedder
    // that is built for size pays for its size, not for theirs. (A pair of order 10 in the x86_64 image: 1024 instructions when they were
    // inlined there, 793 now.)
    pub(super) fn publish(&self, zone: &mut BuddyZone<'s, 'a>, largest: Order) {
        self.publish_here(zone, largest);
    }

    #[inline(always)]
    fn publish_here(&self, zone: &mut BuddyZone<'s, 'a>, largest: Order) {
        if let Some(occupied) = zone.take_occupied(largest) {
            self.occupied.tell(&occupied);
        }
        let (free, free_cma) = (zone.free_now(), zone.free_cma_pages() as usize);
        self.free.set_now(free);
        self.free_cma.set_now(free_cma);
        self.presses.store(self.would_press(free, free_cma), Relaxed);
    }

    /// Whether it tells everybody what lies under the lock.
    pub(super) fn tells(&self, zone: &BuddyZone<'s, 'a>, largest: Order) -> bool {
        let occupied = zone.told(largest);
        let orders = |migrate: &MigrateType| self.occupied.of(*migrate) == occupied[migrate.index()];
        MigrateType::ALL.iter().all(orders)
            && (self.free.now(), self.free_cma.now()) == (zone.free_now(), zone.free_cma_pages() as usize)
    }

    /// Merges a part of what waits, or all of it once so many parts were merged that others must have freed as fast: how many pages wait still. `parts` begins as
    /// none. With interrupts off.
    #[inline(never)]
    pub(super) fn settle_part(&self, ground: &Ground<'a>, parts: &mut Option<usize>) -> usize {
        let mut zone = self.lists.lock();
        let left = parts.get_or_insert_with(|| 2 * (zone.parked_pages() / Ground::PART + 1));
        if *left == 0 {
            ground.settle(&mut zone);
        } else {
            *left -= 1;
            ground.settle_some(&mut zone);
        }
        self.publish(&mut zone, ground.largest);
        zone.parked_pages()
    }

    /// Whether it does not count as it should among the zones below their low watermark.
    #[inline]
    pub(super) fn pressure_changed(&self) -> bool {
        self.presses.load(Relaxed) != self.pressed.load(Relaxed)
    }

    /// Whether an order-0 allocation that may use neither CMA nor reserves would find the zone below its low
    /// watermark: from then on CPUs look at watermarks before they use their lists.
    pub(super) fn is_pressed(&self) -> bool {
        self.would_press(self.free.now(), self.free_cma.now())
    }

    #[inline]
    fn would_press(&self, free: usize, free_cma: usize) -> bool {
        let usable = free.saturating_sub(free_cma + self.highatomic.now());
        // A zone without memory presses nobody.
        usable <= self.low.now() + self.boost.now() && self.is_populated()
    }

    /// Whether so much is free that [`Self::watermark_ok`] holds at the low watermark for a request of any kind, as far as numbers of
    /// pages go; a block that is large enough has to be there too.
    #[inline]
    pub(super) fn has_plenty(&self, order: Order, highest: ZoneKind) -> bool {
        let kept =
            [&self.free_cma, &self.highatomic, &self.boost, &self.low, &self.lowmem_reserve[highest.index()]];
        let kept = kept.into_iter().fold(order.pages() as usize, |sum, pages| sum + pages.now());
        self.free.now() >= kept
    }

    /// Takes a block of a type's own, with interrupts off, if there is plenty, no CMA area is in question, and no more waits to be merged than is merged at once.
    #[inline(never)]
    pub(super) fn take_own(
        &self,
        ground: &Ground<'a>,
        order: Order,
        migrate: MigrateType,
        highest: ZoneKind,
    ) -> Option<Frames<'a>> {
        if !self.has_plenty(order, highest) {
            return None;
        }
        let mut zone = self.lists.lock();
        if zone.parked_pages() > 0 {
            if zone.parked_pages() > Ground::PART {
                return None;
            }
            ground.settle(&mut zone);
        }
        let found = ground.take_own(&mut zone, order, migrate);
        if found.is_some() {
            zone.count_direct(order, 1);
        }
        // Also if there was none: what waited has become blocks, of which others should know.
        self.publish_here(&mut zone, ground.largest);
        found
    }

    /// Gives frames back that are one block, all of it of one zone and type, with interrupts off: its zone.
    ///
    /// # Errors
    /// The frames themselves if they are not.
    #[inline(never)]
    pub(super) fn put<'c>(
        ground: &Ground<'a>,
        zones: &'c [Self],
        block: Frames<'a>,
    ) -> Result<&'c Self, Frames<'a>> {
        let Some(order) = block.order().filter(|&order| order <= ground.largest) else { return Err(block) };
        let kind = ground.blocks.kind_at(block.start());
        let cell = kind.zone().and_then(|zone| zones.get(zone.index()));
        let Some(cell) = cell else { return Err(block) };
        let mut zone = cell.lists.lock();
        // It changes under the lock.
        if !ground.blocks.are_all(block.start(), order, kind) {
            return Err(block);
        }
        ground.merge(&mut zone, block, order, (kind.migrate(), false), None);
        cell.publish_here(&mut zone, ground.largest);
        Ok(cell)
    }

    /// The mark that an attempt is measured against.
    #[inline]
    pub(super) fn mark(&self, flags: AllocFlags) -> u64 {
        let mark = if flags.contains(AllocFlags::WMARK_LOW) {
            &self.low
        } else if flags.contains(AllocFlags::WMARK_HIGH) {
            &self.high
        } else {
            &self.min
        };
        mark.load() + self.boost.load()
    }

    /// Whether enough stays free if a block of `order` is taken by a request whose highest zone is `highest`
    /// (`__zone_watermark_ok`): pages that the request may not use do not count, nor those kept for requests that
    /// can use no other zone; and beyond order 0 a block that is large enough must exist.
    pub(super) fn watermark_ok(&self, order: Order, mark: u64, highest: ZoneKind, flags: AllocFlags) -> bool {
        self.watermark_ok_for(self.free_pages(), order, mark, highest, flags)
    }

    /// The same if so many pages were free.
    pub(super) fn watermark_ok_for(
        &self,
        free: u64,
        order: Order,
        mark: u64,
        highest: ZoneKind,
        flags: AllocFlags,
    ) -> bool {
        let urgent = flags.intersects(AllocFlags::HARDER | AllocFlags::OOM);
        let mut unusable = order.pages() - 1;
        if !urgent {
            unusable += self.highatomic_pages();
        }
        if !flags.contains(AllocFlags::CMA) {
            unusable += self.free_cma.load();
        }
        let usable = free.saturating_sub(unusable);
        let mut min = mark;
        if flags.contains(AllocFlags::HIGH) {
            min -= min / 2;
        }
        if urgent {
            min -= if flags.contains(AllocFlags::OOM) { min / 2 } else { min / 4 };
        }
        if usable <= min + self.lowmem_reserve[highest.index()].load() {
            return false;
        }
        order.is_zero() || self.has_block(order, flags, urgent)
    }

    /// Whether a free block of the order or a larger one is in a list that the request may use.
    fn has_block(&self, order: Order, flags: AllocFlags, urgent: bool) -> bool {
        let occupied = |migrate: MigrateType| self.occupied.of(migrate) >> order.get() != 0;
        MigrateType::ALL.into_iter().any(|migrate| match migrate {
            MigrateType::Unmovable | MigrateType::Movable | MigrateType::Reclaimable => occupied(migrate),
            MigrateType::Cma => flags.contains(AllocFlags::CMA) && occupied(migrate),
            MigrateType::HighAtomic => urgent && occupied(migrate),
            MigrateType::Isolate => false,
        })
    }
}
