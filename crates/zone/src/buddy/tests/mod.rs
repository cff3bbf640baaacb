//! The buddy allocator on small machines: facts, and a naive model.

extern crate std;

mod damage;
mod facts;
mod model;
mod steal;

use super::*;
use crate::layout::{CoreAmount, Layout, LayoutConfig, MemFlags, MemRange, NodeLayout, PfnValidity};
use crate::{NodeMask, ZoneKind, ZoneSet};
use core::sync::atomic::AtomicU32;
use pagewright_addr::{PageShift, Pfn, PfnRange};
use pagewright_page::{FrameIdx, PageMeta, PageStorage, Pristine, Reserved, Section, SectionTable};
use std::vec::Vec;

const LARGEST: u8 = 5;
const PAGEBLOCK: u8 = 3;

fn order(n: u8) -> Order {
    Order::new(n).unwrap()
}

fn pfns(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

/// A machine with blocks of at most 32 frames and pageblocks of 8.
#[derive(Clone, Debug)]
struct Machine {
    /// Memory: node and frames.
    memory: Vec<(u16, u64, u64)>,
    /// Frames that memblock has reserved.
    reserved: Vec<(u64, u64)>,
    /// Whole pageblocks, reserved too, that are CMA areas.
    cma: Vec<(u64, u64)>,
    /// Where ZONE_DMA ends.
    dma_end: u64,
    /// Where ZONE_NORMAL ends.
    normal_end: u64,
    /// Slots for extents in each zone.
    extents: usize,
    /// The pageblock order.
    pageblock: u8,
}

impl Machine {
    fn flat(frames: u64) -> Self {
        Self {
            memory: std::vec![(0, 0, frames)],
            reserved: Vec::new(),
            cma: Vec::new(),
            dma_end: 0,
            normal_end: 1 << 30,
            extents: 8,
            pageblock: PAGEBLOCK,
        }
    }

    fn layout_config(&self) -> LayoutConfig {
        let nodes: NodeMask = self.memory.iter().filter_map(|m| NodeId::new(m.0)).collect();
        let mut max_zone_pfn = [Pfn::ZERO; ZoneKind::COUNT];
        max_zone_pfn[ZoneKind::Dma.index()] = Pfn::new(self.dma_end);
        max_zone_pfn[ZoneKind::Normal.index()] = Pfn::new(self.normal_end);
        LayoutConfig {
            zones: ZoneSet::BASE.with(ZoneKind::Dma),
            max_zone_pfn,
            kernelcore: CoreAmount::None,
            movablecore: CoreAmount::None,
            movable_node: false,
            possible: nodes,
            online: nodes,
            page_shift: PageShift::SHIFT_4K,
            bits_per_long: 64,
            highmem: false,
            struct_page_bytes: 64,
            section_pages: None,
            pfn_valid: PfnValidity::Blocks { pages: 1 << LARGEST },
            max_order: LARGEST + 1,
            pageblock_order: self.pageblock,
            dma_reserve: 0,
            deferred: false,
        }
    }
}

type TestBuddy<'x> = Buddy<'x, 'x, 'x>;

/// The memory of a machine's structures, which its buddy borrows.
#[derive(Default)]
struct Store<'x> {
    ranges: Vec<MemRange>,
    nodes: Vec<NodeLayout>,
    layout: Option<Layout<'x>>,
    sections: Vec<Section>,
    slots: Vec<PageMeta>,
    extents: Vec<Option<Pristine<'x>>>,
    zones: Vec<BuddyZone<'x, 'x>>,
    records: Vec<AtomicU32>,
    pieces: Vec<ZonePiece>,
}

impl<'x> Store<'x> {
    /// A machine's buddy after `memblock_free_all`, CMA areas active.
    fn boot(&'x mut self, machine: &Machine) -> TestBuddy<'x> {
        let (mut buddy, layout, all) = self.empty(machine);
        hand_over(machine, layout, &mut buddy, all);
        buddy
    }

    /// A machine's buddy without any memory, and the token for all of it.
    fn empty(&'x mut self, machine: &Machine) -> (TestBuddy<'x>, &'x Layout<'x>, Pristine<'x>) {
        self.ranges.extend(machine.memory.iter().map(|&(nid, start, end)| MemRange {
            pfns: pfns(start, end),
            nid: NodeId::new(nid).unwrap(),
            flags: MemFlags::empty(),
        }));
        self.nodes.resize(4, NodeLayout::EMPTY);
        let layout = crate::layout::free_area_init(machine.layout_config(), &self.ranges, &mut self.nodes);
        let layout: &'x Layout<'x> = self.layout.insert(layout.unwrap());

        self.sections.resize(machine.memory.len(), Section::EMPTY);
        let memory = layout.ranges().iter().map(|r| r.pfns);
        let table = SectionTable::build(&mut self.sections, memory, order(LARGEST)).unwrap();
        self.slots.reserve_exact(table.frames() as usize);
        let (map, all) = PageMap::new(PageStorage::zero(self.slots.spare_capacity_mut()), table).unwrap();

        let populated: Vec<_> =
            layout.nodes().iter().flat_map(|n| n.populated().map(move |z| (n.nid, z.kind))).collect();
        self.extents.resize_with(populated.len() * machine.extents, || None);
        let mut rest = &mut self.extents[..];
        for (nid, kind) in populated {
            let (slots, others) = rest.split_at_mut(machine.extents);
            self.zones.push(BuddyZone::new(nid, kind, slots));
            rest = others;
        }

        let pageblock = order(machine.pageblock);
        // Whatever was in the memory before must not matter.
        let count = Pageblocks::required_records(&map, pageblock);
        self.records.extend((0..count).map(|_| AtomicU32::new(0xdead_beef)));
        self.pieces.resize(machine.memory.len() + 2, ZonePiece::EMPTY);
        let (zones, pieces) = (&mut self.zones[..], &mut self.pieces[..]);
        let blocks = Pageblocks::build(layout, &map, pageblock, zones, &self.records, pieces).unwrap();
        (Buddy::new(map, blocks, zones, order(LARGEST), true).unwrap(), layout, all)
    }
}

/// Walks the memory as `memblock_free_all` does: free runs go to the buddy, reserved frames are marked.
fn hand_over<'x>(machine: &Machine, layout: &Layout<'_>, buddy: &mut TestBuddy<'x>, mut all: Pristine<'x>) {
    let taken = |pfn: u64, list: &[(u64, u64)]| list.iter().any(|&(s, e)| s <= pfn && pfn < e);
    for range in layout.ranges() {
        let mut pfn = range.pfns.start.get();
        while pfn < range.pfns.end.get() {
            let in_cma = |p: u64| taken(p, &machine.cma);
            let class = |p: u64| (taken(p, &machine.reserved) || in_cma(p), in_cma(p));
            let run = (pfn..range.pfns.end.get()).take_while(|&p| class(p) == class(pfn)).count() as u64;
            let start = u64::from(buddy.map().idx(Pfn::new(pfn)).unwrap().get());
            drop(all.take_front(start - all.start()));
            let part = all.take_front(run);
            match class(pfn) {
                (_, true) => buddy.activate_cma(part.into_reserved()),
                (true, false) => drop(part.into_reserved()),
                (false, false) => buddy.free_boot(part),
            }
            pfn += run;
        }
    }
    buddy.validate().unwrap();
}

/// Free blocks by order, all types.
fn free_blocks(buddy: &TestBuddy<'_>, zone: ZoneId) -> Vec<u64> {
    (0..=LARGEST).map(|n| buddy.free_blocks(zone, order(n))).collect()
}

fn pfn_of(buddy: &TestBuddy<'_>, frames: &Frames<'_>) -> u64 {
    buddy.map().pfn(frames.start()).get()
}

const FIRST: ZoneId = ZoneId(0);
