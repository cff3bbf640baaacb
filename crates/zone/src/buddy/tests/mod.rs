//! The buddy allocator on small machines: facts, and a naive model.

extern crate std;

mod facts;
mod model;
mod steal;

use super::*;
use crate::layout::{CoreAmount, Layout, LayoutConfig, MemFlags, MemRange, NodeLayout, PfnValidity};
use crate::{NodeMask, ZoneKind, ZoneSet};
use core::sync::atomic::AtomicU32;
use pagewright_addr::{PageShift, Pfn, PfnRange};
use pagewright_page::{PageMeta, PageStorage, Section, SectionTable};
use std::boxed::Box;
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
            extents: 8,
            pageblock: PAGEBLOCK,
        }
    }

    fn layout_config(&self) -> LayoutConfig {
        let nodes: NodeMask = self.memory.iter().filter_map(|m| NodeId::new(m.0)).collect();
        let mut max_zone_pfn = [Pfn::ZERO; ZoneKind::COUNT];
        max_zone_pfn[ZoneKind::Dma.index()] = Pfn::new(self.dma_end);
        max_zone_pfn[ZoneKind::Normal.index()] = Pfn::new(1 << 30);
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

type TestBuddy = Buddy<'static, 'static, 'static>;

fn leak<T>(values: Vec<T>) -> &'static mut [T] {
    Box::leak(values.into_boxed_slice())
}

/// A machine's buddy after `memblock_free_all`, CMA areas active; the memory of the structures is leaked.
fn boot(machine: &Machine) -> TestBuddy {
    let ranges = leak(
        machine
            .memory
            .iter()
            .map(|&(nid, start, end)| MemRange {
                pfns: pfns(start, end),
                nid: NodeId::new(nid).unwrap(),
                flags: MemFlags::empty(),
            })
            .collect(),
    );
    let nodes = leak(std::vec![NodeLayout::EMPTY; 4]);
    let layout =
        Box::leak(Box::new(crate::layout::free_area_init(machine.layout_config(), ranges, nodes).unwrap()));
    let sections = leak(std::vec![Section::EMPTY; ranges.len()]);
    let table = SectionTable::build(sections, ranges.iter().map(|r| r.pfns), order(LARGEST)).unwrap();
    let slots: &mut Vec<PageMeta> = Box::leak(Box::new(Vec::with_capacity(table.frames() as usize)));
    let (map, all) = PageMap::new(PageStorage::zero(slots.spare_capacity_mut()), table).unwrap();
    let mut buddy = empty(machine, layout, map);
    hand_over(machine, layout, &mut buddy, all);
    buddy
}

fn empty(machine: &Machine, layout: &'static Layout<'static>, map: PageMap<'static>) -> TestBuddy {
    let pageblock = order(machine.pageblock);
    let zones: Vec<_> = layout
        .nodes()
        .iter()
        .flat_map(|n| n.populated().map(move |z| (n.nid, z.kind)))
        .map(|(nid, kind)| {
            let slots: Vec<Option<Pristine<'static>>> = (0..machine.extents).map(|_| None).collect();
            BuddyZone::new(nid, kind, leak(slots))
        })
        .collect();
    let zones = leak(zones);
    let count = Pageblocks::required_records(&map, pageblock);
    // Whatever was in the memory before must not matter.
    let records = leak((0..count).map(|_| AtomicU32::new(0xdead_beef)).collect());
    let pieces = leak(std::vec![ZonePiece::EMPTY; layout.ranges().len() + 2]);
    let blocks = Pageblocks::build(layout, &map, pageblock, zones, records, pieces).unwrap();
    Buddy::new(map, blocks, zones, order(LARGEST), true).unwrap()
}

/// Walks the memory as `memblock_free_all` does: free runs go to the buddy, reserved frames are marked.
fn hand_over(machine: &Machine, layout: &Layout<'_>, buddy: &mut TestBuddy, mut all: Pristine<'static>) {
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
fn free_blocks(buddy: &TestBuddy, zone: ZoneId) -> Vec<u64> {
    (0..=LARGEST).map(|n| buddy.free_blocks(zone, order(n))).collect()
}

fn pfn_of(buddy: &TestBuddy, frames: &Frames<'_>) -> u64 {
    buddy.map().pfn(frames.start()).get()
}

const FIRST: ZoneId = ZoneId(0);
