//! What a machine's zones and CPUs have, for whoever shows it: the same questions of free lists that are booting ([`Buddy`]) and of
//! an allocator in service ([`PageAllocator`](crate::alloc::PageAllocator)).
//!
//! A zone's counts are those between two operations under its lock. What lies in a CPU's lists only that CPU
//! can tell ([`list_figures`](crate::alloc::PageAllocator::list_figures)), so whoever shows it asks each CPU first.

use crate::ZoneKind;
use crate::alloc::NumaStat;
use crate::buddy::{Buddy, BuddyZone, FreeAreas, MigrateCounts, Steals, ZoneId};
use pagewright_addr::{NodeId, Order};

/// A zone's counts, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneCounts {
    /// The zone.
    pub zone: ZoneId,
    /// Its node.
    pub nid: NodeId,
    /// Its kind.
    pub kind: ZoneKind,
    /// Free pages, those of CPUs' lists not among them (`nr_free_pages`).
    pub free: u64,
    /// Free pages of CMA areas (`nr_free_cma`).
    pub free_cma: u64,
    /// Pages that the allocator manages, free or not.
    pub managed: u64,
    /// Pages of CMA areas.
    pub cma: u64,
    /// What fragmentation adds to the watermarks for a while.
    pub boost: u64,
    /// How often other types' lists had to serve.
    pub steals: Steals,
}

/// What lies in one CPU's lists of one zone, and what they gave out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ListFigures {
    /// Pages in them.
    pub count: u64,
    /// Above so many some are given back.
    pub high: u64,
    /// How many move at once.
    pub batch: u64,
    /// How often they served an allocation.
    pub served: u64,
    /// How many pages those were.
    pub served_pages: u64,
}

/// What CPUs' lists of a zone gave out, all CPUs together: only they know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Served {
    /// Allocations.
    pub blocks: u64,
    /// Their pages.
    pub pages: u64,
    /// Pages that lie in the lists now.
    pub listed: u64,
}

impl Served {
    /// With another CPU's.
    #[must_use]
    pub const fn plus(self, lists: &ListFigures) -> Self {
        Self {
            blocks: self.blocks + lists.served,
            pages: self.pages + lists.served_pages,
            listed: self.listed + lists.count,
        }
    }
}

/// What a zone gave out since it is in service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Given {
    /// Pages (`pgalloc_*`).
    pub pages: u64,
    /// Which node served whom.
    pub numa: NumaStat,
}

/// What happened to a machine's memory since its allocator is in service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Events {
    /// Allocations that went to reclaim themselves, by the highest kind of zone that they could use (`allocstall_*`).
    pub stalls: [u64; ZoneKind::COUNT],
    /// Pages that were moved, and those that could not be (`pgmigrate_*`).
    pub migrated: (u64, u64),
    /// Contiguous ranges that were had of CMA areas, and those that were not (`cma_alloc_*`).
    pub cma: (u64, u64),
    /// Compaction's counters, by vmstat's names and in its order (`compact_*`).
    pub compact: [(&'static str, u64); 9],
}

/// Zones that can be looked at.
pub trait ZoneSource {
    /// A zone by its place, from 0 on; `None` past the last.
    fn zone(&self, at: usize) -> Option<ZoneCounts>;

    /// A zone's free blocks, all of one moment.
    fn free_areas(&self, zone: ZoneId) -> FreeAreas;

    /// How many pageblocks of a zone are of each type.
    fn pageblock_counts(&self, zone: ZoneId) -> MigrateCounts;

    /// How many pageblocks of a zone have pages that were asked for with another type than theirs, by the pageblocks' types; those of CMA areas count as
    /// Movable's. `None` where nobody is noted as pages' owner (`page_owner`).
    fn mixed_pageblocks(&self, zone: ZoneId) -> Option<MigrateCounts> {
        let _ = zone;
        None
    }

    /// The largest order.
    fn largest_order(&self) -> Order;

    /// What a zone gave out; `served` is what the lists of all CPUs did of it. Nothing before the allocator is in service.
    fn given(&self, zone: ZoneId, served: &Served) -> Given {
        let _ = (zone, served);
        Given::default()
    }

    /// What happened since the allocator is in service.
    fn events(&self) -> Events {
        Events::default()
    }
}

impl ZoneCounts {
    pub(crate) fn of(zone: &BuddyZone<'_, '_>) -> Self {
        Self {
            zone: zone.id(),
            nid: zone.nid(),
            kind: zone.kind(),
            free: zone.free_pages(),
            free_cma: zone.free_cma_pages(),
            managed: zone.managed_pages(),
            cma: zone.cma_pages(),
            boost: 0,
            steals: zone.steals(),
        }
    }
}

impl dyn ZoneSource + '_ {
    /// All zones, in order.
    pub fn zones(&self) -> impl Iterator<Item = ZoneCounts> + '_ {
        (0..).map_while(|at| self.zone(at))
    }

    /// The zone of a node and kind.
    pub fn find(&self, nid: NodeId, kind: ZoneKind) -> Option<ZoneCounts> {
        self.zones().find(|zone| (zone.nid, zone.kind) == (nid, kind))
    }

    /// All orders, ascending.
    pub fn orders(&self) -> impl Iterator<Item = Order> + use<> {
        (0..=self.largest_order().get()).filter_map(Order::new)
    }
}

impl ZoneSource for Buddy<'_, '_, '_> {
    fn zone(&self, at: usize) -> Option<ZoneCounts> {
        self.zones().get(at).map(ZoneCounts::of)
    }

    fn free_areas(&self, zone: ZoneId) -> FreeAreas {
        Buddy::free_areas(self, zone)
    }

    fn pageblock_counts(&self, zone: ZoneId) -> MigrateCounts {
        self.pageblocks().counts(zone)
    }

    fn largest_order(&self) -> Order {
        Buddy::largest_order(self)
    }
}
