//! From memblock's memory to a page allocator in service: tables, zones, free lists, one CPU's lists.
//!
//! All tables are taken from memblock at once and stay for good. What can fail fails before memblock gives anything away.

use super::hooks::CHooks;
use super::{Machine, PageOptions};
use crate::global::{options, page_shift};
use core::ffi::c_int;
use core::sync::atomic::AtomicU32;
use pagewright_addr::{NodeId, Order, PageShift, Pfn, PhysAddr, PhysRange, VirtAddr};
use pagewright_memblock::{Memblock, Set};
use pagewright_page::model::{AddrBits, PhysToVirt};
use pagewright_page::{FrameIdx, PageMap, PageMeta, PageStorage, Pristine, Section, SectionTable, Shelf};
use pagewright_platform::carve::bytes_for;
use pagewright_platform::{Carve, NoInterrupts, PerCpu};
use pagewright_zone::alloc::{
    Attention, Cpu, CpuPages, Fallbacks, PageAllocator, ZoneCell, ZoneFigures, ZoneRef, pcp,
};
use pagewright_zone::buddy::{Buddy, BuddyZone, MigrateType, Pageblocks, Request, ZonePiece};
use pagewright_zone::layout::{Layout, LayoutConfig, MemFlags, MemRange, NodeLayout, free_area_init};
use pagewright_zone::watermark::{Cpus, Tunables, Watermarks, ZoneMarks};
use pagewright_zone::zonelist::{
    LOCAL_DISTANCE, REMOTE_DISTANCE, Topology, ZoneLists, mobility_grouping_disabled,
};
use pagewright_zone::{NodeMask, ZoneKind};

/// Why there is no page allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StartError {
    /// The options or the memory make no sense.
    Invalid,
    /// memblock has no room for the tables.
    NoMemory,
}

/// How many of each table there are at most.
#[derive(Clone, Copy)]
struct Counts {
    regions: usize,
    nodes: usize,
    frames: usize,
    records: usize,
    zones: usize,
    pieces: usize,
    extents: usize,
    end: Pfn,
}

/// memblock's memory, as the layout takes it. What was added without a node (C's `MAX_NUMNODES`) is the first node's.
fn ranges<'q>(m: &'q Memblock<'_>) -> impl Iterator<Item = MemRange> + 'q {
    let known = |nid: NodeId| c_int::try_from(nid.index()).is_ok_and(|nid| nid < options().max_numnodes);
    m.mem_pfn_ranges(None).filter(|(pfns, _)| !pfns.is_empty()).map(move |(pfns, nid)| MemRange {
        pfns,
        nid: nid.filter(|&nid| known(nid)).unwrap_or_default(),
        flags: MemFlags::empty(),
    })
}

impl Counts {
    fn of(m: &Memblock<'_>, largest: Order, pageblock: Order) -> Option<Self> {
        let (mut regions, mut nodes, mut frames, mut end) = (0, 0, 0, Pfn::ZERO);
        for range in ranges(m) {
            regions += 1;
            nodes = nodes.max(range.nid.index() + 1);
            let start = range.pfns.start.align_down(largest.pages()).max(end);
            let top = range.pfns.end.align_up(largest.pages());
            frames += top.get().saturating_sub(start.get());
            end = end.max(top);
        }
        let zones = nodes * ZoneKind::COUNT;
        let runs = regions + m.regions(Set::Reserved).len() + 2;
        let frames = usize::try_from(frames).ok().filter(|&frames| frames > 0)?;
        Some(Self {
            regions,
            nodes,
            frames,
            records: (frames >> pageblock.get()) + 2,
            zones,
            pieces: (regions + 1) * (zones + 1),
            extents: runs * zones,
            end: ranges(m).map(|r| r.pfns.end).max()?,
        })
    }

    fn bytes(&self) -> u64 {
        bytes_for::<MemRange>(self.regions)
            + bytes_for::<NodeLayout>(self.nodes)
            + bytes_for::<Section>(self.regions)
            + bytes_for::<PageMeta>(self.frames)
            + bytes_for::<AtomicU32>(self.records)
            + bytes_for::<ZonePiece>(self.pieces)
            + bytes_for::<Option<Pristine<'_>>>(self.extents)
            + bytes_for::<BuddyZone<'_, '_>>(self.zones)
            + bytes_for::<ZoneMarks>(self.zones)
            + bytes_for::<NodeId>(self.nodes * (2 * self.nodes + 2))
            + bytes_for::<ZoneRef>(self.nodes * 2 * self.zones)
            + bytes_for::<ZoneCell<'_, '_>>(self.zones)
            + bytes_for::<Cpu<'_, '_>>(1)
            + bytes_for::<Shelf<'_>>(self.zones * pcp::SHELVES)
            + bytes_for::<ZoneFigures>(self.zones)
    }
}

/// The memory at a physical address, for good.
///
/// # Safety
/// The range is memory that C makes accessible (header) and that nobody else uses from now on.
unsafe fn reach(range: PhysRange) -> Option<Carve<'static>> {
    let first = (range.start.get() as usize).wrapping_add(options().virt_offset as usize);
    let first = core::ptr::NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(first))?;
    // SAFETY: the caller's contract.
    Some(unsafe { Carve::new(first, range.len() as usize) })
}

fn config(counts: &Counts, wanted: &PageOptions, shift: PageShift, nodes: NodeMask) -> LayoutConfig {
    let mut config = LayoutConfig::one_node(shift, counts.end);
    for (kind, limit) in [(ZoneKind::Dma, wanted.dma_limit), (ZoneKind::Dma32, wanted.dma32_limit)] {
        if limit > 0 {
            config.zones = config.zones.with(kind);
            config.max_zone_pfn[kind.index()] = PhysAddr::new(limit).pfn(shift).min(counts.end);
        }
    }
    (config.possible, config.online) = (nodes, nodes);
    (config.max_order, config.pageblock_order) = (options().max_order as u8, wanted.pageblock_order as u8);
    config
}

/// Starts the allocator with all of memblock's free memory.
pub(super) fn start(m: &mut Memblock<'_>, wanted: &PageOptions) -> Result<Machine, StartError> {
    let shift = page_shift();
    let order = |n: u32| u8::try_from(n).ok().and_then(Order::new).ok_or(StartError::Invalid);
    let largest = order(options().max_order.wrapping_sub(1))?;
    let pageblock = order(wanted.pageblock_order)?;
    let counts = Counts::of(m, largest, pageblock).ok_or(StartError::Invalid)?;
    let bytes = counts.bytes().next_multiple_of(shift.bytes());
    m.set_caller("pagewright_page_alloc_init");
    let at = m.alloc_raw(bytes, shift.bytes()).map_err(|_| StartError::NoMemory)?;
    let tables = PhysRange::from_len(at, bytes);
    // SAFETY: memblock has just given this memory to nobody else, and C makes it accessible (header).
    let memory = unsafe { reach(tables) };
    let made = memory
        .ok_or(StartError::Invalid)
        .and_then(|memory| build(m, memory, &counts, wanted, (shift, largest, pageblock)));
    if made.is_err() {
        // Nobody has what lies there.
        let _ = m.phys_free(tables);
    }
    made
}

fn build(
    m: &mut Memblock<'_>,
    mut memory: Carve<'static>,
    counts: &Counts,
    wanted: &PageOptions,
    (shift, largest, pageblock): (PageShift, Order, Order),
) -> Result<Machine, StartError> {
    const SMALL: StartError = StartError::NoMemory;
    let invalid = StartError::Invalid;
    let empty = MemRange { pfns: Default::default(), nid: NodeId::ZERO, flags: MemFlags::empty() };
    let mut next = ranges(m);
    let memory_of: &[MemRange] =
        memory.slice(counts.regions, || next.next().unwrap_or(empty)).ok_or(SMALL)?;
    drop(next);
    let nodes: NodeMask = memory_of.iter().map(|r| r.nid).collect();
    let layouts = memory.slice(counts.nodes, || NodeLayout::EMPTY).ok_or(SMALL)?;
    let layout =
        free_area_init(config(counts, wanted, shift, nodes), memory_of, layouts).map_err(|_| invalid)?;
    let kinds = layout.config().zones;

    let sections = memory.slice(counts.regions, || Section::EMPTY).ok_or(SMALL)?;
    let table = SectionTable::build(sections, layout.ranges().iter().map(|r| r.pfns), largest)
        .map_err(|_| invalid)?;
    let slots = memory.uninit::<PageMeta>(counts.frames).ok_or(SMALL)?;
    let first_slot = slots.as_mut_ptr().expose_provenance();
    let (map, mut rest) = PageMap::new(PageStorage::zero(slots), table).map_err(|_| SMALL)?;
    let records: &[AtomicU32] = memory.slice(counts.records, || AtomicU32::new(0)).ok_or(SMALL)?;
    let pieces = memory.slice(counts.pieces, || ZonePiece::EMPTY).ok_or(SMALL)?;
    let mut extents = memory.slice(counts.extents, || None).ok_or(SMALL)?;

    let count: usize = layout.nodes().iter().map(|n| n.populated().count()).sum();
    let share = counts.extents / count.max(1);
    let mut populated = layout.nodes().iter().flat_map(|n| n.populated().map(|z| (n.nid, z.kind)));
    let zones = memory.slice(count, || {
        let (nid, kind) = populated.next().unwrap_or((NodeId::ZERO, ZoneKind::Normal));
        let (mine, others) = core::mem::take(&mut extents).split_at_mut(share);
        extents = others;
        BuddyZone::new(nid, kind, mine)
    });
    let zones = zones.ok_or(SMALL)?;
    let blocks = Pageblocks::build(&layout, &map, pageblock, zones, records, pieces).map_err(|_| invalid)?;
    let present: u64 = memory_of.iter().map(|r| r.pfns.len()).sum();
    let grouping = !mobility_grouping_disabled(present, pageblock.pages(), MigrateType::COUNT as u32);
    let mut buddy = Buddy::new(map, blocks, zones, largest, grouping).map_err(|_| invalid)?;

    let orders = memory.slice(ZoneLists::required_len(&layout), || NodeId::ZERO).ok_or(SMALL)?;
    let topology = Topology {
        distance: &|a, b| if a == b { LOCAL_DISTANCE } else { REMOTE_DISTANCE },
        nodes_with_cpus: NodeMask::EMPTY,
        online: nodes,
        numa: nodes.len() > 1,
    };
    let lists = ZoneLists::build(&layout, &topology, orders).map_err(|_| SMALL)?;
    let room = memory.slice(Fallbacks::required_len(&layout, count), || ZoneRef::EMPTY).ok_or(SMALL)?;
    let fallbacks = Fallbacks::build(&lists, &layout, buddy.zones(), room).map_err(|_| SMALL)?;
    let node = memory_of.first().map_or(NodeId::ZERO, |r| r.nid);
    // Room for the rest, before anything is given away.
    let marks = memory
        .slice(counts.zones, || ZoneMarks::new(NodeId::ZERO, ZoneKind::Normal, 0, false))
        .ok_or(SMALL)?;
    let mut cells_at = carve(&mut memory, bytes_for::<ZoneCell<'_, '_>>(count)).ok_or(SMALL)?;
    let mut cpu_at = carve(&mut memory, bytes_for::<Cpu<'_, '_>>(1)).ok_or(SMALL)?;
    let mut shelves_at = carve(&mut memory, bytes_for::<Shelf<'_>>(count * pcp::SHELVES)).ok_or(SMALL)?;
    let mut figures_at = carve(&mut memory, bytes_for::<ZoneFigures>(count)).ok_or(SMALL)?;

    m.free_all(&mut |pfns, _| {
        let Some(start) = buddy.map().idx(pfns.start).map(|i| u64::from(i.get())) else { return };
        drop(rest.take_front(start - rest.start()).into_reserved());
        buddy.free_boot(rest.take_front(pfns.len()));
    })
    .map_err(|_| invalid)?;
    drop(rest.into_reserved());

    let used = fill_marks(marks, &layout, &buddy);
    let tunables = Tunables::new(kinds, layout.movable_zone(), shift, pageblock.pages());
    let mut watermarks = Watermarks::new(tunables, &mut marks[..used]);
    let on_node = |nid| u32::from(nid == node);
    watermarks.init_per_zone_wmark_min(&Cpus { online: 1, on_node: &on_node });
    let marks = watermarks.zones();
    let of_zone = |zone: &BuddyZone<'_, '_>| {
        let known = marks.iter().find(|m| m.nid == zone.nid() && m.kind == zone.kind());
        known.copied().unwrap_or_else(|| ZoneMarks::new(zone.nid(), zone.kind(), 0, false))
    };

    let places = list_room(&mut buddy, shift, &of_zone);
    let (base, zones) = buddy.parts();
    let listed = pcp::Listed::UpToHuge(base.pageblocks().order());
    let mut at = zones.iter();
    let figures = figures_at.slice(count, || {
        ZoneFigures::new(at.next().map_or_else(Default::default, |zone| of_zone(zone).pageset))
    });
    let (mut at, mut made, mut left) = (zones.iter(), None, places);
    let shelves = shelves_at.slice(count * pcp::SHELVES, || {
        loop {
            let mut of_next = || {
                let pageset = at.next().map_or_else(Default::default, |zone| of_zone(zone).pageset);
                let wanted = pcp::required_places(pageset, listed).min(left.len());
                let (mine, others) = core::mem::take(&mut left).split_at_mut(wanted);
                left = others;
                pcp::shelves(pageset, listed, mine).into_iter()
            };
            match made.get_or_insert_with(&mut of_next).next() {
                Some(shelf) => return shelf,
                None => made = None,
            }
        }
    });
    let (Some(figures), Some(shelves)) = (figures, shelves) else { unreachable!("the room was carved") };
    let mut pages = Some(CpuPages::of_node(&base, kinds, &fallbacks, node, shelves, figures));
    let cpus: Option<&'static [Cpu<'_, '_>]> = cpu_at
        .slice(1, || match pages.take() {
            Some(pages) => PerCpu::new(Attention::new(), pages),
            None => unreachable!("one CPU"),
        })
        .map(|cpus| &*cpus);
    let mut left = zones.iter_mut();
    let cells: Option<&'static [ZoneCell<'_, '_>]> = cells_at
        .slice(count, || match left.next() {
            Some(zone) => {
                let marks = of_zone(zone);
                ZoneCell::new(zone.take(), largest, &marks)
            }
            None => unreachable!("as many cells as zones"),
        })
        .map(|cells| &*cells);
    let (Some(cpus), Some(cells)) = (cpus, cells) else { unreachable!("the room was carved") };
    let allocator = PageAllocator::new(base, kinds, fallbacks, cells, cpus, NoInterrupts, CHooks);
    let virt = VirtAddr::new(options().virt_offset);
    Ok(Machine {
        allocator,
        base,
        cpus,
        node,
        first_slot,
        linear: PhysToVirt::new(PhysAddr::ZERO, virt, AddrBits::Bits64),
        shift,
        rounds: Default::default(),
    })
}

/// So many bytes for later.
fn carve(memory: &mut Carve<'static>, bytes: u64) -> Option<Carve<'static>> {
    let room = memory.slice((bytes as usize).div_ceil(8), || 0_u64)?;
    Some(Carve::of(room))
}

/// One entry for each zone kind of each node that has memory; how many.
fn fill_marks(marks: &mut [ZoneMarks], layout: &Layout<'_>, buddy: &Buddy<'_, '_, '_>) -> usize {
    let nodes = layout.nodes().iter().filter(|n| n.possible);
    let all = nodes.flat_map(|n| layout.config().zones.iter().map(move |kind| (n.nid, kind)));
    let mut used = 0;
    for ((nid, kind), slot) in all.zip(marks) {
        let managed = buddy.find(nid, kind).map(|zone| buddy.zones()[zone.index()].managed_pages());
        *slot = ZoneMarks::new(nid, kind, managed.unwrap_or(0), managed.is_some());
        used += 1;
    }
    used
}

/// Room for the CPU's lists, from the free lists themselves. Where it cannot be had, the CPU does without lists.
fn list_room(
    buddy: &mut Buddy<'_, 'static, 'static>,
    shift: PageShift,
    marks: &dyn Fn(&BuddyZone<'_, '_>) -> ZoneMarks,
) -> &'static mut [FrameIdx] {
    let listed = pcp::Listed::UpToHuge(buddy.pageblocks().order());
    let places: usize = buddy.zones().iter().map(|z| pcp::required_places(marks(z).pageset, listed)).sum();
    let pages = shift.pages_for(bytes_for::<FrameIdx>(places)).next_power_of_two();
    let order = u8::try_from(pages.ilog2()).ok().and_then(Order::new);
    let Some(order) = order.filter(|&order| order <= buddy.largest_order()) else { return &mut [] };
    let normal = buddy.zones().iter().rposition(|z| z.kind() <= ZoneKind::Normal);
    let zone = normal.and_then(|at| {
        let zone = &buddy.zones()[at];
        buddy.find(zone.nid(), zone.kind())
    });
    let Some(block) = zone.and_then(|zone| buddy.alloc(zone, Request::unmovable(order)).ok()) else {
        return &mut [];
    };
    let at = buddy.map().pfn(block.start()).phys(shift);
    // SAFETY: the block's token is dropped here, so its memory is nobody else's for good; C makes it accessible (header).
    let memory = unsafe { reach(PhysRange::from_len(at, block.len() * shift.bytes())) };
    memory.and_then(|mut memory| memory.slice(places, FrameIdx::default)).unwrap_or_default()
}
