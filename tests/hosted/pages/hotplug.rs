//! Memory that comes and goes while the machine runs.

mod lists;
mod model;
mod refused;

use super::contig::{all_leave, settle, small};
use super::*;
use pagewright_addr::{PageShift, Pfn, PfnRange};
use pagewright_page::{Frames, MapError};
use pagewright_sim::pages::{Pluggable, with_pluggable_machine};
use pagewright_sim::tenants::Tenants;
use pagewright_zone::alloc::hotplug::{
    BlockState, HotplugError, HotplugLine, HotplugNotifier, MemoryBlock, MemoryBlocks, MemoryBlocksError,
    MemoryEvent, MemoryNotify, NoNotifier, OfflineFailure, OnlinePolicy, OnlineType, Plug,
};
use pagewright_zone::alloc::{Context, NoHooks, TaskFlags};
use pagewright_zone::watermark::{Cpus, Watermarks};
use pagewright_zone::zonelist::Topology;
use pagewright_zone::{Gfp, NodeMask, ZoneKind};
use std::cell::{Cell, RefCell};

/// Frames of a memory block: the largest order's.
const BLOCK: u64 = 1024;
/// The number of the first block of the machine's memory.
const FIRST: u64 = 0x4_0000 / BLOCK;

/// Notes what it is told, and refuses the so many-th question.
#[derive(Default)]
struct Notes {
    events: RefCell<Vec<(MemoryEvent, Option<NodeId>)>>,
    lines: RefCell<Vec<String>>,
    asked: Cell<u32>,
    refuse: Cell<u32>,
}

impl HotplugNotifier for Notes {
    fn notify(&self, event: MemoryEvent, what: &MemoryNotify) -> Result<(), i32> {
        self.events.borrow_mut().push((event, what.status_change_nid));
        if matches!(event, MemoryEvent::GoingOnline | MemoryEvent::GoingOffline) {
            self.asked.set(self.asked.get() + 1);
            if self.asked.get() == self.refuse.get() {
                return Err(-12);
            }
        }
        Ok(())
    }

    fn say(&self, line: &HotplugLine) {
        self.lines.borrow_mut().push(line.to_string());
    }
}

pub(super) fn on_node(_: NodeId) -> u32 {
    1
}

fn distance(a: NodeId, b: NodeId) -> u32 {
    if a == b { 10 } else { 20 }
}

pub(super) fn plug<'q, 'w>(marks: &'q mut Watermarks<'w>, notifier: &'q dyn HotplugNotifier) -> Plug<'q, 'w> {
    let nodes: NodeMask = [node(0), node(1)].into_iter().collect();
    Plug {
        marks,
        cpus: Cpus { online: 1, on_node: &on_node },
        topology: Topology {
            distance: &distance,
            nodes_with_cpus: NodeMask::EMPTY,
            online: nodes,
            numa: true,
        },
        possible: nodes,
        notifier,
    }
}

/// Four blocks of memory on node 0, metadata for `spare` blocks more, node 1 without memory.
fn pluggable(spare: u64) -> PlainMachine {
    let plug = Pluggable { frames: spare * BLOCK, nodes: vec![node(1)] };
    PlainMachine { plug, ..small(4 * BLOCK, 2) }
}

fn blocks_at(first: u64, count: u64) -> PfnRange {
    PfnRange::from_len(Pfn::new((FIRST + first) * BLOCK), count * BLOCK)
}

fn table<'s, 'a, H: Hooks>(
    m: &Pages<'_, '_, '_, 'a, H>,
    room: &'s mut Vec<MemoryBlock<'a>>,
    spare: usize,
) -> MemoryBlocks<'s, 'a> {
    room.resize_with(4 + spare, || MemoryBlock::EMPTY);
    MemoryBlocks::new(room, &m.allocator, BLOCK, PageShift::SHIFT_4K).expect("room for the blocks")
}

fn zone<'z, 's, 'a, H: Hooks>(
    m: &Pages<'z, '_, 's, 'a, H>,
    nid: u16,
    kind: ZoneKind,
) -> &'z ZoneCell<'s, 'a> {
    let found = m.allocator.zones().iter().find(|z| z.nid() == node(nid) && z.kind() == kind);
    found.expect("a zone")
}

/// Where a page is: node and kind.
fn place<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>, page: &Frames<'_>) -> (u16, ZoneKind) {
    let zone = m.base.pageblocks().zone_of(page.start()).expect("a zone's page");
    let cell = &m.allocator.zones()[zone.index()];
    (cell.nid().get(), cell.kind())
}

fn states(blocks: &MemoryBlocks<'_, '_>) -> Vec<(u64, BlockState)> {
    blocks.iter().map(|block| (block.number() - FIRST, block.state())).collect()
}

/// Allocates single pages until there are none, and says how many there were.
fn all_pages<'m, 'a, H: Hooks>(
    m: &Pages<'_, 'm, '_, 'a, H>,
    cx: &Context<'_, 'm, 'a>,
    gfp: Gfp,
) -> Vec<Frames<'a>> {
    let all = cx.with_task(TaskFlags::MEMALLOC);
    std::iter::from_fn(|| m.allocator.alloc_pages(&all, gfp | Gfp::NOWARN, Order::ZERO).ok()).collect()
}

#[test]
fn memory_that_is_plugged_in_serves_as_memory_that_was_there_at_boot() {
    let booted = with_pluggable_machine(&small(8 * BLOCK, 1), NoHooks, None, |m, _| {
        (buddyinfo(m)[0].clone(), m.allocator.zones()[0].free_pages(), m.allocator.zones()[0].pfns())
    });
    with_pluggable_machine(&pluggable(4), NoHooks, None, |m, marks| {
        let (notes, mut room) = (Notes::default(), vec![]);
        let mut blocks = table(m, &mut room, 4);
        let (before, low) = (buddyinfo(m), m.allocator.zones()[0].low_pages());
        let mut plug = plug(marks, &notes);
        m.allocator.add_memory(&mut blocks, node(0), blocks_at(4, 4), &mut plug).unwrap();
        assert_eq!(buddyinfo(m), before, "nobody uses it yet");
        assert_eq!(blocks.block(FIRST + 5).unwrap().state(), BlockState::Offline);
        for number in FIRST + 4..FIRST + 8 {
            m.allocator.online_pages(&mut blocks, number, OnlineType::Online, &mut plug).unwrap();
        }
        let normal = &m.allocator.zones()[0];
        assert_eq!((buddyinfo(m)[0].clone(), normal.free_pages(), normal.pfns()), booted);
        assert_eq!((normal.present_pages(), normal.early_pages()), (8 * BLOCK, 4 * BLOCK));
        assert!(normal.low_pages() > low, "watermarks follow");
        assert_eq!(m.base.pageblocks().counts(normal.id())[MigrateType::Movable.index()], 8 * BLOCK / 16);
        assert_eq!(normal.pageset(), plug.marks.zone(node(0), ZoneKind::Normal).unwrap().pageset);
        assert_eq!(m.allocator.validate(), Ok(()));
        let full = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let pages = all_pages(m, cx, Gfp::GFP_KERNEL);
            assert_eq!(pages.len() as u64, 8 * BLOCK, "every page of it can be had");
            pages.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
        });
        expect_all_back(m, &full);
        let events: Vec<_> = notes.events.take().into_iter().take(2).collect();
        assert_eq!(events, [(MemoryEvent::GoingOnline, None), (MemoryEvent::Online, None)]);
    });
}

#[test]
fn movable_memory_serves_movable_allocations_first_and_the_kernel_never() {
    with_pluggable_machine(&pluggable(2), NoHooks, None, |m, marks| {
        let (notes, mut room) = (Notes::default(), vec![]);
        let mut blocks = table(m, &mut room, 2);
        let before = buddyinfo(m);
        let mut plug = plug(marks, &notes);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            // The CPU's lists lead to Normal so far.
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_HIGHUSER_MOVABLE, Order::ZERO).unwrap();
            assert_eq!(place(m, &page), (0, ZoneKind::Normal));
            m.allocator.free_pages(cx, page);
            m.allocator.add_memory(&mut blocks, node(0), blocks_at(4, 2), &mut plug).unwrap();
            for number in [FIRST + 4, FIRST + 5] {
                m.allocator.online_pages(&mut blocks, number, OnlineType::Movable, &mut plug).unwrap();
            }
            assert_eq!(zone(m, 0, ZoneKind::Movable).present_pages(), 2 * BLOCK);
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_HIGHUSER_MOVABLE, Order::ZERO).unwrap();
            assert_eq!(place(m, &page), (0, ZoneKind::Movable), "the list's own CPU learned of it");
            m.allocator.free_pages(cx, page);
            m.allocator.drain_local_pages(cx);
            let kernel = all_pages(m, cx, Gfp::GFP_KERNEL);
            assert_eq!(kernel.len() as u64, 4 * BLOCK);
            assert!(kernel.iter().all(|page| place(m, page) == (0, ZoneKind::Normal)));
            kernel.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
            settle(m, cx, &tenants, 700, Order::ZERO);
            for number in [FIRST + 4, FIRST + 5] {
                m.allocator.offline_pages(cx, &tenants, &mut blocks, number, &mut plug).unwrap();
            }
            tenants.check();
            assert!(m.allocator.migrate_events().success() >= 700, "what was in the way went to Normal");
            assert!(!zone(m, 0, ZoneKind::Movable).is_populated());
            let page = m.allocator.alloc_pages(cx, Gfp::GFP_HIGHUSER_MOVABLE, Order::ZERO).unwrap();
            assert_eq!(place(m, &page), (0, ZoneKind::Normal));
            m.allocator.free_pages(cx, page);
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
        m.allocator.remove_memory(&mut blocks, blocks_at(4, 2), &plug).unwrap();
        assert!(blocks.block(FIRST + 4).is_none());
        assert_eq!(notes.lines.borrow().iter().filter(|line| line.starts_with("Built")).count(), 2);
        assert!(notes.lines.borrow().contains(&"Offlined Pages 1024".to_string()));
    });
}

#[test]
fn a_node_joins_the_fallback_orders_with_its_first_memory_and_leaves_with_its_last() {
    with_pluggable_machine(&pluggable(1), NoHooks, None, |m, marks| {
        let (notes, mut room) = (Notes::default(), vec![]);
        let mut blocks = table(m, &mut room, 1);
        let before = buddyinfo(m);
        let mut plug = plug(marks, &notes);
        m.on_cpu(0, |cx| {
            let from_node_1 = |gfp: Gfp| {
                let page = m.allocator.alloc_pages_node(cx, node(1), gfp | Gfp::NOWARN, Order::ZERO).ok()?;
                let at = place(m, &page);
                m.allocator.free_pages(cx, page);
                Some(at)
            };
            let local = Gfp::GFP_KERNEL | Gfp::THISNODE | Gfp::NORETRY;
            assert_eq!(
                (from_node_1(Gfp::GFP_KERNEL), from_node_1(local)),
                (Some((0, ZoneKind::Normal)), None)
            );
            m.allocator.add_memory(&mut blocks, node(1), blocks_at(8, 1), &mut plug).unwrap();
            assert_eq!(m.allocator.memory_nodes(), NodeMask::only(node(0)));
            m.allocator.online_pages(&mut blocks, FIRST + 8, OnlineType::Kernel, &mut plug).unwrap();
            let here = Some((1, ZoneKind::Normal));
            assert_eq!((from_node_1(Gfp::GFP_KERNEL), from_node_1(local)), (here, here));
            // From node 0 it is what comes after its own.
            let pages = all_pages(m, cx, Gfp::GFP_KERNEL);
            assert_eq!(pages.len() as u64, 5 * BLOCK);
            assert_eq!(pages.iter().filter(|page| place(m, page).0 == 1).count() as u64, BLOCK);
            pages.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
            let tenants = Tenants::new(*m.base.map());
            m.allocator.offline_pages(cx, &tenants, &mut blocks, FIRST + 8, &mut plug).unwrap();
            assert_eq!(
                (from_node_1(Gfp::GFP_KERNEL), from_node_1(local)),
                (Some((0, ZoneKind::Normal)), None)
            );
        });
        expect_all_back(m, &before);
        let nid = Some(node(1));
        let expected = [
            (MemoryEvent::GoingOnline, nid),
            (MemoryEvent::Online, nid),
            (MemoryEvent::GoingOffline, nid),
            (MemoryEvent::Offline, nid),
        ];
        assert_eq!(notes.events.take(), expected);
    });
}

#[test]
fn boot_memory_can_go_and_come_back() {
    with_pluggable_machine(&pluggable(1), NoHooks, None, |m, marks| {
        let mut room = vec![];
        let mut blocks = table(m, &mut room, 0);
        let before = buddyinfo(m);
        let mut plug = plug(marks, &NoNotifier);
        assert_eq!(states(&blocks), [0, 1, 2, 3].map(|n| (n, BlockState::Online)));
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            settle(m, cx, &tenants, 900, Order::ZERO);
            for number in [FIRST + 1, FIRST + 3, FIRST] {
                m.allocator.offline_pages(cx, &tenants, &mut blocks, number, &mut plug).unwrap();
                assert_eq!(m.allocator.validate(), Ok(()));
            }
            let normal = zone(m, 0, ZoneKind::Normal);
            assert_eq!((normal.present_pages(), normal.pfns()), (BLOCK, blocks_at(2, 1)));
            tenants.check();
            assert_eq!(tenants.names().len(), 900);
            for number in [FIRST, FIRST + 3, FIRST + 1] {
                m.allocator.online_pages(&mut blocks, number, OnlineType::Online, &mut plug).unwrap();
            }
            assert_eq!(normal.pfns(), blocks_at(0, 4));
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn the_zone_of_new_memory_is_that_of_the_policy() {
    with_pluggable_machine(&pluggable(8), NoHooks, None, |m, marks| {
        let mut room = vec![];
        let mut blocks = table(m, &mut room, 8);
        let mut plug = plug(marks, &NoNotifier);
        let at = |blocks: &MemoryBlocks<'_, '_>, nid: u16, first: u64, how| {
            m.allocator.zone_for_pfn_range(blocks, node(nid), blocks_at(first, 1), how)
        };
        use {OnlineType::*, ZoneKind::*};
        assert_eq!([Online, Kernel].map(|how| at(&blocks, 0, 4, how)), [Normal, Normal]);
        assert_eq!(at(&blocks, 0, 4, OnlineType::Movable), ZoneKind::Movable);
        blocks.movable_node = true;
        assert_eq!(at(&blocks, 0, 4, Online), ZoneKind::Movable);
        blocks.movable_node = false;
        // Between memory of ZONE_MOVABLE everything is movable.
        m.allocator.add_memory(&mut blocks, node(0), blocks_at(4, 4), &mut plug).unwrap();
        for number in [FIRST + 5, FIRST + 7] {
            m.allocator.online_pages(&mut blocks, number, OnlineType::Movable, &mut plug).unwrap();
        }
        assert_eq!([4, 6, 8].map(|first| at(&blocks, 0, first, Online)), [Normal, ZoneKind::Movable, Normal]);
        let valid = |blocks: &MemoryBlocks<'_, '_>, first: u64| {
            m.allocator.valid_zones(blocks, FIRST + first).collect::<Vec<_>>()
        };
        assert_eq!(valid(&blocks, 6), [ZoneKind::Movable, Normal]);
        assert_eq!(valid(&blocks, 4), [Normal, ZoneKind::Movable]);
        assert_eq!((valid(&blocks, 5), valid(&blocks, 0)), (vec![ZoneKind::Movable], vec![Normal]));
        // 4 blocks of the kernel's allow 12 movable ones at 301 percent; node 1 has nothing to be in proportion to.
        blocks.policy = OnlinePolicy::AUTO_MOVABLE;
        assert_eq!([at(&blocks, 0, 4, Online), at(&blocks, 1, 4, Online)], [ZoneKind::Movable, Normal]);
        blocks.policy = OnlinePolicy::AutoMovable { ratio: 75, numa_aware: false };
        assert_eq!([at(&blocks, 0, 4, Online), at(&blocks, 1, 4, Online)], [ZoneKind::Movable; 2]);
        blocks.policy = OnlinePolicy::AutoMovable { ratio: 74, numa_aware: false };
        assert_eq!(at(&blocks, 0, 4, Online), Normal);
        blocks.policy = OnlinePolicy::AutoMovable { ratio: 0, numa_aware: true };
        assert_eq!(at(&blocks, 0, 4, Online), Normal);
        let texts = ["online", "online_kernel\n", "online_movable"].map(OnlineType::parse);
        assert_eq!(texts, [Some(Online), Some(Kernel), Some(OnlineType::Movable)]);
        assert_eq!(OnlineType::parse("offline"), None);
    });
}

#[test]
fn memory_comes_online_by_itself_if_it_is_to() {
    with_pluggable_machine(&pluggable(3), NoHooks, None, |m, marks| {
        let (notes, mut room) = (Notes::default(), vec![]);
        let mut blocks = table(m, &mut room, 3);
        blocks.auto_online = Some(OnlineType::Movable);
        notes.refuse.set(2);
        let mut plug = plug(marks, &notes);
        m.allocator.add_memory(&mut blocks, node(0), blocks_at(4, 3), &mut plug).unwrap();
        let last: Vec<_> = states(&blocks).split_off(4);
        use BlockState::*;
        assert_eq!(
            last,
            [(4, Online), (5, Offline), (6, Online)],
            "one was refused, and is there nevertheless"
        );
        assert_eq!(m.allocator.validate(), Ok(()));
    });
}
