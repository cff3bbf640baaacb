//! When a request may fail, and when it may be served and by whom: watermarks, worked out from what anybody can read, and not by the allocator's own functions.

use super::PAGEBLOCK;
use pagewright_addr::{NodeId, Order};
use pagewright_platform::Interrupts;
use pagewright_zone::alloc::{Hooks, PageAllocator, ZoneCell};
use pagewright_zone::buddy::MigrateType;
use pagewright_zone::{Gfp, ZoneKind};

/// Zones of a machine here, at most.
const MOST_ZONES: usize = 4;

/// What can be seen of a zone.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    free: u64,
    cma: u64,
    highatomic: u64,
}

impl Figures {
    fn of(zone: &ZoneCell<'_, '_>) -> Self {
        Self { free: zone.free_pages(), cma: zone.free_cma_pages(), highatomic: zone.highatomic_pages() }
    }
}

/// What can be seen of all zones, by their number.
#[derive(Debug)]
pub(super) struct Before([Figures; MOST_ZONES]);

impl Before {
    pub(super) fn of<I: Interrupts, H: Hooks>(allocator: &PageAllocator<'_, '_, '_, '_, I, H>) -> Self {
        let zones = allocator.zones();
        assert!(zones.len() <= MOST_ZONES, "room for each zone");
        Self(core::array::from_fn(|n| zones.get(n).map_or(Figures::default(), Figures::of)))
    }
}

/// Which watermark: the first attempt's, or the last one's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Low,
    Min,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) nid: NodeId,
    pub(super) gfp: Gfp,
    pub(super) order: Order,
}

impl Asked {
    fn is_urgent(self) -> bool {
        self.gfp.contains(Gfp::ATOMIC)
    }

    fn may_have_cma(self) -> bool {
        self.gfp.contains(Gfp::MOVABLE)
    }

    /// A zone that would have served (`__zone_watermark_ok` at the min mark, as the last attempt looks at it); none if the
    /// request had to fail.
    pub(super) fn serving_zone<'z, 's, 'a, I: Interrupts, H: Hooks>(
        self,
        allocator: &PageAllocator<'z, '_, 's, 'a, I, H>,
    ) -> Option<&'z ZoneCell<'s, 'a>> {
        self.zonelist(allocator).find(|zone| {
            self.has_enough(zone, Figures::of(zone), Mark::Min, allocator)
                && self.has_block(allocator, zone, Mark::Min, false)
        })
    }

    /// The zones that may serve, in order: those of the node, the highest first, then those of the others.
    fn zonelist<'z, 's, 'a, I: Interrupts, H: Hooks>(
        self,
        allocator: &PageAllocator<'z, '_, 's, 'a, I, H>,
    ) -> impl Iterator<Item = &'z ZoneCell<'s, 'a>> {
        let highest = self.gfp.zone(allocator.kinds()).ok();
        let cells: &'z [ZoneCell<'s, 'a>] = allocator.zones();
        [true, false].into_iter().filter(move |&near| near || !self.gfp.contains(Gfp::THISNODE)).flat_map(
            move |near| {
                let here = move |zone: &&ZoneCell<'s, 'a>| (zone.nid() == self.nid) == near;
                cells.iter().rev().filter(here).filter(move |zone| Some(zone.kind()) <= highest)
            },
        )
    }

    /// Whether a block of `served` was right to give, without any reserve: that zone had enough, by what was seen of all zones `before`, and none that
    /// comes earlier would have served.
    ///
    /// # Errors
    /// What was wrong.
    pub(super) fn justify<I: Interrupts, H: Hooks>(
        self,
        allocator: &PageAllocator<'_, '_, '_, '_, I, H>,
        before: &Before,
        served: &ZoneCell<'_, '_>,
    ) -> Result<(), String> {
        let seen = |zone: &ZoneCell<'_, '_>| before.0[zone.id().index() % MOST_ZONES];
        let (old, new) = (seen(served), Figures::of(served));
        // What lay on a CPU's list takes nothing from the zone.
        let listed = Self { order: if old.free == new.free { Order::ZERO } else { self.order }, ..self };
        if !listed.has_enough(served, old, Mark::Min, allocator) {
            return Err(format!("{self:?} was served by {:?}, which had {old:?} only", served.id()));
        }
        let early = self.has_enough(served, old, Mark::Low, allocator);
        let mark = if early { Mark::Low } else { Mark::Min };
        let earlier = self.zonelist(allocator).take_while(|zone| zone.id() != served.id());
        // The first attempt mixes no types where a lower zone can serve.
        let apart = early && allocator.kinds().contains(ZoneKind::Dma32);
        for zone in earlier {
            if self.has_enough(zone, seen(zone), mark, allocator)
                && self.has_block(allocator, zone, mark, apart)
            {
                return Err(format!("{self:?} was served by {:?}, and not by {:?}", served.id(), zone.id()));
            }
        }
        Ok(())
    }

    fn has_enough<I: Interrupts, H: Hooks>(
        self,
        zone: &ZoneCell<'_, '_>,
        figures: Figures,
        mark: Mark,
        allocator: &PageAllocator<'_, '_, '_, '_, I, H>,
    ) -> bool {
        let Ok(highest) = self.gfp.zone(allocator.kinds()) else { return false };
        let last = mark == Mark::Min;
        let mut least = zone.boost_pages() + if last { zone.min_pages() } else { zone.low_pages() };
        if last && self.gfp.contains(Gfp::HIGH) {
            least -= least / 2;
        }
        if last && self.is_urgent() {
            least -= least / 4;
        }
        let mut kept = self.order.pages() - 1;
        if !last || !self.is_urgent() {
            kept += figures.highatomic;
        }
        if !self.may_have_cma() {
            kept += figures.cma;
        }
        figures.free.saturating_sub(kept) > least + zone.lowmem_reserve(highest)
    }

    /// Whether a zone has a block for it; `apart`: one that mixes no migrate types.
    fn has_block<I: Interrupts, H: Hooks>(
        self,
        allocator: &PageAllocator<'_, '_, '_, '_, I, H>,
        zone: &ZoneCell<'_, '_>,
        mark: Mark,
        apart: bool,
    ) -> bool {
        let usable = |list: MigrateType| match list {
            // For single pages nothing is kept: the watermark counts it for the urgent, and then they may not have it.
            MigrateType::HighAtomic => mark == Mark::Min && self.is_urgent() && !self.order.is_zero(),
            MigrateType::Cma => self.may_have_cma(),
            MigrateType::Isolate => false,
            _ => true,
        };
        let own = self.gfp.migrate_type(true).ok();
        let areas = allocator.free_areas(zone.id());
        (self.order.get()..Order::LIMIT as u8).filter_map(Order::new).any(|order| {
            let pure = |list| !apart || Some(list) == own || order >= PAGEBLOCK;
            let has = |&list: &MigrateType| areas.blocks_of(order, list) > 0;
            MigrateType::ALL.iter().filter(|&&list| usable(list) && pure(list)).any(has)
        })
    }
}
