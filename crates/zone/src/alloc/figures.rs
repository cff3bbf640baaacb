//! What an allocator in service says of its zones and lists.

use super::{Context, Hooks, PageAllocator};
use crate::buddy::{FreeAreas, MigrateCounts, ZoneId};
use crate::figures::{Events, Given, ListFigures, Served, ZoneCounts, ZoneSource};
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::Order;
use pagewright_platform::{Interrupts, WithoutInterrupts};

impl<I: Interrupts, H: Hooks> ZoneSource for PageAllocator<'_, '_, '_, '_, I, H> {
    fn zone(&self, at: usize) -> Option<ZoneCounts> {
        let cell = self.zones.get(at)?;
        let _quiet = WithoutInterrupts::new(&self.interrupts);
        let figures = ZoneCounts::of(&cell.lists.lock());
        Some(ZoneCounts { boost: cell.boost_pages(), ..figures })
    }

    fn free_areas(&self, zone: ZoneId) -> FreeAreas {
        Self::free_areas(self, zone)
    }

    fn pageblock_counts(&self, zone: ZoneId) -> MigrateCounts {
        self.ground.blocks.counts(zone)
    }

    fn mixed_pageblocks(&self, zone: ZoneId) -> Option<MigrateCounts> {
        Self::mixed_pageblocks(self, zone)
    }

    fn largest_order(&self) -> Order {
        self.ground.largest
    }

    fn given(&self, zone: ZoneId, served: &Served) -> Given {
        let direct = self.zones.get(zone.index()).map_or(0, |cell| self.direct(cell).1);
        Given { pages: served.pages + direct, numa: self.numa_stat(zone, served.blocks) }
    }

    fn events(&self) -> Events {
        Events {
            stalls: self.stalled.each_ref().map(|count| count.load(Relaxed)),
            migrated: (self.migrated.success(), self.migrated.fail()),
            cma: (self.cma.success(), self.cma.fail()),
            compact: self.compacting.all(),
        }
    }
}

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// What lies in this CPU's lists of a zone. `None` for a zone that there is not, and inside a use of the lists.
    pub fn list_figures(&self, cx: &Context<'_, 'm, 'a>, zone: ZoneId) -> Option<ListFigures> {
        let own = cx.cpu.enter()?;
        let figures = own.zone(zone)?;
        let (high, batch) = (figures.high().into(), figures.batch().into());
        let (served, served_pages) = (own.served(zone), own.served_pages(zone));
        Some(ListFigures { count: own.count(zone).into(), high, batch, served, served_pages })
    }
}
