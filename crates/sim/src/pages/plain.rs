//! A plain machine to try an allocator on: RAM in runs, no firmware and no boot.

use super::{Pages, Watchers, serve_watched};
use crate::Metadata;
use pagewright_addr::{NodeId, Order, PageShift, Pfn, PfnRange};
use pagewright_page::{FrameIdx, GrownSection, GrownSections, PageMap, Pristine, Section, SectionTable};
use pagewright_platform::{Interrupts, NoInterrupts};
use pagewright_zone::alloc::{Hooks, NoHooks, PageEvents};
use pagewright_zone::buddy::{Buddy, BuddyZone, Pageblocks, ZonePiece};
use pagewright_zone::debug::Debugging;
use pagewright_zone::layout::{Layout, LayoutConfig, MemFlags, MemRange, NodeLayout, free_area_init};
use pagewright_zone::watermark::{Cpus, Pageset, Tunables, Watermarks, ZoneMarks};
use pagewright_zone::zonelist::{LOCAL_DISTANCE, REMOTE_DISTANCE, Topology, ZoneLists};
use pagewright_zone::{NodeMask, ZoneKind};
use std::sync::atomic::AtomicU32;

/// A plain machine to try an allocator on: pages of 4 KiB, largest blocks of order 10 unless it says otherwise.
#[derive(Clone, Debug)]
pub struct PlainMachine {
    /// Runs of RAM, ascending: node, first frame, frames.
    pub ram: Vec<(NodeId, u64, u64)>,
    /// The node of each CPU.
    pub cpus: Vec<NodeId>,
    /// One past the last frame of ZONE_DMA; 0 for a kernel without it.
    pub dma_end: u64,
    /// One past the last frame of ZONE_DMA32; 0 for a kernel without it.
    pub dma32_end: u64,
    /// The largest order (MAX_ORDER - 1).
    pub largest: Order,
    /// `pageblock_order`.
    pub pageblock: Order,
    /// How far one node is from another, as an SLIT has it.
    pub distance: fn(NodeId, NodeId) -> u32,
    /// CMA areas, ascending: first frame and frames, whole pageblocks.
    pub cma: Vec<(u64, u64)>,
    /// So many frames from the first one on are in use from the start, and nobody's to give.
    pub reserved: u64,
    /// What may be plugged in later.
    pub plug: Pluggable,
    /// Whether pageblocks are grouped by mobility; Linux does not on machines with little memory.
    pub mobility_grouping: bool,
    /// Whether CPUs keep lists of single pages only.
    pub single_lists: bool,
    /// So many pages of each zone at most have pageblocks with memory to wait in, as pages that CPUs give back one by one do; 0 where each
    /// merges when it comes.
    pub parked: u64,
}

/// Memory that a machine may get while it runs: for every node that can exist there are zones Normal and Movable then, if need be without memory.
#[derive(Clone, Debug, Default)]
pub struct Pluggable {
    /// Frames of metadata that are kept for it.
    pub frames: u64,
    /// Nodes that can exist without any memory.
    pub nodes: Vec<NodeId>,
}

impl PlainMachine {
    /// One node with so many frames from 1 GiB on, and CPUs.
    pub fn new(frames: u64, cpus: usize) -> Self {
        Self {
            ram: vec![(NodeId::ZERO, 0x4_0000, frames)],
            cpus: vec![NodeId::ZERO; cpus],
            dma_end: 0,
            dma32_end: 0,
            largest: Order::new(10).unwrap_or_default(),
            pageblock: Order::new(9).unwrap_or_default(),
            distance: |from, to| if from == to { LOCAL_DISTANCE } else { REMOTE_DISTANCE },
            cma: vec![],
            reserved: 0,
            plug: Pluggable::default(),
            mobility_grouping: true,
            single_lists: false,
            parked: u64::MAX,
        }
    }

    fn config(&self) -> LayoutConfig {
        let end = self.ram.iter().map(|&(_, start, len)| start + len).max().unwrap_or(0);
        let nodes: NodeMask = self.nodes().into_iter().collect();
        let mut config = LayoutConfig::one_node(PageShift::SHIFT_4K, Pfn::new(end));
        for (kind, zone_end) in [(ZoneKind::Dma, self.dma_end), (ZoneKind::Dma32, self.dma32_end)] {
            if zone_end > 0 {
                config.zones = config.zones.with(kind);
                config.max_zone_pfn[kind.index()] = Pfn::new(zone_end.min(end));
            }
        }
        config.possible = nodes;
        config.online = nodes;
        config.max_order = self.largest.get() + 1;
        config.pageblock_order = self.pageblock.get();
        config
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.ram.iter().map(|r| r.0).chain(self.plug.nodes.iter().copied()).collect()
    }
}

/// Boots the machine as far as its page allocator, all of its RAM free, and hands that to `then`.
///
/// # Panics
/// If the machine makes no sense, such as overlapping RAM, or the host has no memory for it.
pub fn with_plain_machine<H: Hooks, R>(
    machine: &PlainMachine,
    hooks: H,
    then: impl FnOnce(&Pages<'_, '_, '_, '_, H>) -> R,
) -> R {
    with_machine(machine, hooks, Watchers::default(), |pages, _| then(pages))
}

/// The same, with somebody who is told of events once [`PageAllocator::set_events`](pagewright_zone::alloc::PageAllocator::set_events) says so.
///
/// # Panics
/// As for [`with_plain_machine`].
pub fn with_watched_machine<H: Hooks, R>(
    machine: &PlainMachine,
    hooks: H,
    events: &dyn PageEvents,
    then: impl FnOnce(&Pages<'_, '_, '_, '_, H>) -> R,
) -> R {
    with_machine(machine, hooks, Watchers { events: Some(events), ..Watchers::default() }, |pages, _| {
        then(pages)
    })
}

/// The same, with debugging switched on if there is any. Its side arrays have an element for each frame, the runs of RAM rounded up to
/// blocks of the largest order.
///
/// # Panics
/// As for [`with_plain_machine`].
pub fn with_debugged_machine<H: Hooks, R>(
    machine: &PlainMachine,
    hooks: H,
    debugging: Option<&Debugging<'_>>,
    then: impl FnOnce(&Pages<'_, '_, '_, '_, H>) -> R,
) -> R {
    with_pluggable_machine(machine, hooks, debugging, |pages, _| then(pages))
}

/// The same, with what has to be computed anew when memory comes or goes.
///
/// # Panics
/// As for [`with_plain_machine`].
pub fn with_pluggable_machine<H: Hooks, R>(
    machine: &PlainMachine,
    hooks: H,
    debugging: Option<&Debugging<'_>>,
    then: impl FnOnce(&Pages<'_, '_, '_, '_, H>, &mut Watermarks<'_>) -> R,
) -> R {
    with_machine(machine, hooks, Watchers { debugging, ..Watchers::default() }, then)
}

/// The same, with interrupts that the caller watches, or that come.
///
/// # Panics
/// As for [`with_plain_machine`].
pub fn with_interrupted_machine<I: Interrupts, R>(
    machine: &PlainMachine,
    interrupts: I,
    then: impl FnOnce(&Pages<'_, '_, '_, '_, NoHooks, I>) -> R,
) -> R {
    let (mut then, mut result) = (Some(then), None);
    boot(machine, (interrupts, NoHooks), Watchers::default(), &mut |pages, _| {
        result = then.take().map(|then| then(pages));
    });
    result.expect("a machine that boots calls what comes then")
}

/// With all of that at once but interrupts.
///
/// # Panics
/// As for [`with_plain_machine`].
pub fn with_machine<H: Hooks, R>(
    machine: &PlainMachine,
    hooks: H,
    watchers: Watchers<'_>,
    then: impl FnOnce(&Pages<'_, '_, '_, '_, H>, &mut Watermarks<'_>) -> R,
) -> R {
    let (mut then, mut result) = (Some(then), None);
    boot(machine, (NoInterrupts, hooks), watchers, &mut |pages, marks| {
        result = then.take().map(|then| then(pages, marks))
    });
    result.expect("a machine that boots calls what comes then")
}

/// The machine itself: compiled once for each kind of hooks, not for each caller.
fn boot<H: Hooks, I: Interrupts>(
    machine: &PlainMachine,
    (interrupts, hooks): (I, H),
    watchers: Watchers<'_>,
    then: &mut dyn FnMut(&Pages<'_, '_, '_, '_, H, I>, &mut Watermarks<'_>),
) {
    let ranges: Vec<_> = machine
        .ram
        .iter()
        .map(|&(nid, start, len)| MemRange {
            pfns: PfnRange::from_len(Pfn::new(start), len),
            nid,
            flags: MemFlags::empty(),
        })
        .collect();
    let config = machine.config();
    let (kinds, largest) = (config.zones, Order::new(config.max_order - 1).unwrap_or_default());
    let most = machine.nodes().iter().map(|nid| nid.index() + 1).max().unwrap_or(1);
    let mut nodes = vec![NodeLayout::EMPTY; most];
    let layout = free_area_init(config, &ranges, &mut nodes).expect("a machine that makes sense");

    let mut sections = vec![Section::EMPTY; ranges.len()];
    let table = SectionTable::build(&mut sections, layout.ranges().iter().map(|r| r.pfns), largest)
        .expect("memory that makes sense");
    let entries: Vec<_> = (0..machine.plug.frames >> largest.get()).map(|_| GrownSection::unused()).collect();
    let grown = GrownSections::new(&entries);
    let table = if machine.plug.frames > 0 { table.growing(&grown) } else { table };
    let mut metadata = Metadata::new(table.frames() + machine.plug.frames).expect("host memory");
    let (map, all) = PageMap::new(metadata.storage(), table).expect("metadata for every frame");

    let lasting = |kind| machine.plug.frames > 0 && matches!(kind, ZoneKind::Normal | ZoneKind::Movable);
    let populated: Vec<_> = layout
        .nodes()
        .iter()
        .filter(|n| n.possible)
        .flat_map(|n| kinds.iter().map(move |kind| (n, kind)))
        .filter(|&(n, kind)| n.zone(kind).is_populated() || lasting(kind))
        .map(|(n, kind)| (n.nid, kind))
        .collect();
    let mut extents: Vec<Option<Pristine<'_>>> = Vec::new();
    let runs = ranges.len() + 2 * usize::from(machine.plug.frames > 0);
    extents.resize_with(populated.len() * runs, || None);
    let words = match map.capacity().min(machine.parked) {
        0 => 0,
        pages => BuddyZone::park_words(pages, machine.pageblock),
    };
    let mut parks = vec![0_u32; populated.len() * words];
    let mut zones: Vec<_> = populated
        .iter()
        .zip(extents.chunks_mut(runs.max(1)))
        .map(|(&(nid, kind), room)| BuddyZone::new(nid, kind, room))
        .collect();
    for (zone, room) in zones.iter_mut().zip(parks.chunks_mut(words.max(1))) {
        *zone = zone.take().with_park(room);
    }
    let records: Vec<_> =
        (0..Pageblocks::required_records(&map, machine.pageblock)).map(|_| AtomicU32::new(0)).collect();
    let mut pieces = vec![ZonePiece::EMPTY; (ranges.len() + 1) * (populated.len() + 1)];
    let blocks = Pageblocks::build(&layout, &map, machine.pageblock, &zones, &records, &mut pieces)
        .expect("room for every piece");
    let mut buddy =
        Buddy::new(map, blocks, &mut zones, largest, machine.mobility_grouping).expect("orders that fit");
    free_ram(&mut buddy, &layout, all, machine);

    let mut order = vec![NodeId::ZERO; ZoneLists::required_len(&layout)];
    let topology = Topology {
        distance: &machine.distance,
        nodes_with_cpus: NodeMask::EMPTY,
        online: layout.nodes().iter().filter(|n| n.possible).map(|n| n.nid).collect(),
        numa: most > 1,
    };
    let lists = ZoneLists::build(&layout, &topology, &mut order).expect("room for the orders");
    let mut marks: Vec<_> = layout
        .nodes()
        .iter()
        .flat_map(|n| kinds.iter().map(move |kind| (n.nid, kind)))
        .map(|(nid, kind)| {
            let zone = buddy.find(nid, kind).map(|z| buddy.zones()[z.index()].managed_pages());
            let is_populated = layout.nodes()[nid.index()].zone(kind).is_populated();
            ZoneMarks::new(nid, kind, zone.unwrap_or(0), is_populated)
        })
        .collect();
    let tunables =
        Tunables::new(kinds, layout.movable_zone(), PageShift::SHIFT_4K, machine.pageblock.pages());
    let mut watermarks = Watermarks::new(tunables, &mut marks);
    let on_node = |nid| machine.cpus.iter().filter(|&&n| n == nid).count() as u32;
    let cpus = Cpus { online: machine.cpus.len() as u32, on_node: &on_node };
    watermarks.init_per_zone_wmark_min(&cpus);
    let marks = watermarks.zones().to_vec();
    let room = if machine.plug.frames > 0 { Pageset { high: 512, batch: 63 } } else { Pageset::default() };
    serve_watched(
        &mut buddy,
        kinds,
        &lists,
        &layout,
        (&marks, room, machine.single_lists),
        &machine.cpus,
        (interrupts, hooks),
        watchers,
        &mut |pages| then(pages, &mut watermarks),
    );
}

/// Frees all RAM but what is reserved, and leaves the holes between; CMA areas are lent.
fn free_ram<'a>(
    buddy: &mut Buddy<'_, '_, 'a>,
    layout: &Layout<'_>,
    mut all: Pristine<'a>,
    machine: &PlainMachine,
) {
    let mut reserved = machine.reserved;
    for range in layout.ranges() {
        let start = buddy.map().idx(range.pfns.start).map_or(0, FrameIdx::get);
        drop(all.take_front(u64::from(start) - all.start()));
        let kept = reserved.min(range.pfns.len());
        drop(all.take_front(kept).into_reserved());
        reserved -= kept;
        let mut at = range.pfns.start.get() + kept;
        for &(area, len) in machine.cma.iter().filter(|&&(area, _)| range.pfns.contains(Pfn::new(area))) {
            buddy.free_boot(all.take_front(area - at));
            buddy.activate_cma(all.take_front(len).into_reserved());
            at = area + len;
        }
        buddy.free_boot(all.take_front(range.pfns.end.get() - at));
    }
}
