//! What a workload did to a machine.

use super::picture::BlockPicture;
use pagewright_addr::Order;
use pagewright_slab::objects::{CacheRow, Design};
use pagewright_view::State;
use pagewright_zone::buddy::{MigrateCounts, MigrateType, Steals};
use pagewright_zone::figures::ZoneSource;

/// Allocations of one order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// How often one was asked for.
    pub asked: u64,
    /// How often there was none.
    pub failed: u64,
}

/// A zone at one time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZoneAccount {
    /// Its node.
    pub node: u32,
    /// Its name.
    pub name: &'static str,
    /// Free pages, those in CPUs' lists not among them.
    pub free: u64,
    /// Free blocks of each order.
    pub blocks: Vec<u64>,
    /// Pageblocks of each type.
    pub pageblocks: MigrateCounts,
    /// How often other types' lists served, since the start.
    pub steals: Steals,
}

impl ZoneAccount {
    /// All zones of a machine.
    pub(super) fn all(zones: &dyn ZoneSource) -> Vec<Self> {
        let zone = |z: pagewright_zone::figures::ZoneCounts| Self {
            node: z.nid.get().into(),
            name: z.kind.name(),
            free: z.free,
            blocks: zones.free_areas(z.zone).by_order().collect(),
            pageblocks: zones.pageblock_counts(z.zone),
            steals: z.steals,
        };
        zones.zones().map(zone).collect()
    }

    /// Pageblocks that are kept for urgent requests.
    pub(super) fn high_atomic(&self) -> u64 {
        let kinds = TYPES.iter().zip(self.pageblocks);
        kinds.filter(|(kind, _)| **kind == MigrateType::HighAtomic).map(|(_, count)| count).sum()
    }
}

/// Memory at one point of the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// After so many operations.
    pub operations: u64,
    /// Pages that the workload holds.
    pub held: u64,
    /// Free pages.
    pub free: u64,
    /// Free blocks as large as a pageblock, larger ones counted by what they hold.
    pub huge: u64,
    /// Free pages in smaller blocks, in thousandths of all free ones.
    pub unusable: u64,
    /// By how many pages all zones' watermarks are raised.
    pub boost: u64,
}

impl Sample {
    /// Looks at all zones together.
    pub(super) fn take(operations: u64, held: u64, zones: &[ZoneAccount], pageblock: Order) -> Self {
        let free: u64 = zones.iter().map(|zone| zone.free).sum();
        let in_huge = |zone: &ZoneAccount| -> u64 {
            let blocks = zone.blocks.iter().zip(0u32..);
            blocks.filter_map(|(n, order)| Some(n << order.checked_sub(pageblock.get().into())?)).sum()
        };
        let huge: u64 = zones.iter().map(in_huge).sum();
        let unusable = free.saturating_sub(huge << pageblock.get());
        let unusable = (unusable * 1000).checked_div(free).unwrap_or(0);
        Self { operations, held, free, huge, unusable, boost: 0 }
    }
}

/// A cache at one time, as its line of slabinfo has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheAccount {
    /// Its name.
    pub name: String,
    /// From one object to the next, in bytes.
    pub size: u64,
    /// Objects in use, those at hand of processors among them.
    pub active: u64,
    /// Objects of all slabs.
    pub objects: u64,
    /// Slabs.
    pub slabs: u64,
    /// Bytes of all slabs; those of SLOB's objects, which has no slabs.
    pub bytes: u64,
}

impl CacheAccount {
    /// Of a line.
    pub(super) fn of(row: &CacheRow, page_bytes: u64) -> Self {
        let slabs = row.slabs * row.pages * page_bytes;
        Self {
            name: row.name.to_string(),
            size: row.size,
            active: row.active_objects,
            objects: row.objects,
            slabs: row.slabs,
            bytes: if row.pages == 0 { row.objects * row.size } else { slabs },
        }
    }

    /// How much of its memory no object in use takes, in thousandths.
    pub fn unused(&self) -> u64 {
        let unused = self.bytes.saturating_sub(self.active * self.size);
        (unused * 1000).checked_div(self.bytes).unwrap_or(0)
    }
}

/// The vmalloc area at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VmallocAccount {
    /// Areas that the workload holds.
    pub areas: u64,
    /// Pages that areas have.
    pub pages: u64,
    /// Gaps.
    pub gaps: u64,
    /// Bytes in them.
    pub free: u64,
    /// Bytes of the largest.
    pub largest: u64,
    /// Bytes of areas that wait for their flush or for the next of their size.
    pub kept: u64,
}

/// A part of the workload, done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PhaseAccount {
    /// Its name.
    pub name: String,
    /// Allocations by order.
    pub orders: Vec<(Order, Asked)>,
    /// Blocks that were freed.
    pub freed: u64,
    /// Objects, by their kinds' numbers.
    pub objects: Vec<(String, Asked)>,
    /// Objects that were freed.
    pub objects_freed: u64,
    /// Areas, by their bytes.
    pub areas: Vec<(u64, Asked)>,
    /// Areas that were freed.
    pub areas_freed: u64,
}

/// Everything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Processors that worked.
    pub cpus: usize,
    /// Where the random numbers began.
    pub seed: u64,
    /// The order of pageblocks.
    pub pageblock: Order,
    /// The parts.
    pub phases: Vec<PhaseAccount>,
    /// Memory before, after the work, and when everything was given back.
    pub before: Vec<ZoneAccount>,
    /// See `before`.
    pub after: Vec<ZoneAccount>,
    /// See `before`.
    pub back: Vec<ZoneAccount>,
    /// The counters of vmstat, before and after the work.
    pub vmstat: [Vec<(String, u64)>; 2],
    /// The views that were asked for, before and after the work.
    pub views: [String; 2],
    /// Memory on the way.
    pub samples: Vec<Sample>,
    /// The pageblocks after the work.
    pub picture: BlockPicture,
    /// The design of the slabs, if there were any.
    pub design: Option<Design>,
    /// Caches with slabs, before and after the work.
    pub caches: [Vec<CacheAccount>; 2],
    /// Objects that were not what had been written to them.
    pub damaged: u64,
    /// The vmalloc area before and after the work, if there were areas.
    pub vmalloc: Option<[VmallocAccount; 2]>,
    /// What vmalloc said of the last area that it refused.
    pub refused: Option<String>,
    /// What the kernel would have said of the first allocations that failed, as many as were asked for.
    pub failures: Vec<String>,
    /// Allocations that were made to fail.
    pub injected: u32,
    /// How often watermarks were raised, since types were mixed within a pageblock.
    pub boosts: u64,
    /// The first blocks that were taken from other types' lists, as many as were asked for.
    pub events: Vec<String>,
    /// Who held each block when the work was done, if that was asked for.
    pub page_owner: String,
    /// What the allocator's own check found in the end.
    pub violation: Option<String>,
}

impl Account {
    /// Whether every page is back in its zone, and the allocator's lists are right.
    pub fn all_back(&self) -> bool {
        let free = |zones: &[ZoneAccount]| zones.iter().map(|zone| zone.free).collect::<Vec<_>>();
        self.violation.is_none() && self.damaged == 0 && free(&self.before) == free(&self.back)
    }

    /// Whether they are also in blocks as large as before.
    pub fn same_blocks(&self) -> bool {
        let blocks = |zones: &[ZoneAccount]| zones.iter().map(|zone| zone.blocks.clone()).collect::<Vec<_>>();
        blocks(&self.before) == blocks(&self.back)
    }

    /// What changed in vmstat: name, before, after.
    pub fn changed(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        let [before, after] = &self.vmstat;
        let both = before.iter().zip(after).filter(|(a, b)| a.1 != b.1);
        both.map(|((name, before), (_, after))| (name.as_str(), *before, *after))
    }

    /// What other types' lists served, all zones together.
    pub fn steals(&self) -> Steals {
        let sum = |of: fn(&Steals) -> u64| {
            let all = |zones: &[ZoneAccount]| zones.iter().map(|zone| of(&zone.steals)).sum::<u64>();
            all(&self.after) - all(&self.before)
        };
        Steals { fallbacks: sum(|s| s.fallbacks), claimed: sum(|s| s.claimed) }
    }
}

/// vmstat's counters.
pub(super) fn counters(state: &State<'_, '_, '_, '_, '_>) -> Vec<(String, u64)> {
    let mut text = String::new();
    // A string takes everything.
    let _ = pagewright_view::vmstat::write(&mut text, state);
    let line = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// The types that pictures and tables name.
pub(super) const TYPES: [MigrateType; MigrateType::COUNT] = MigrateType::ALL;
