//! Memory that comes and goes while the machine runs.

mod lists;
mod model;

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

fn on_node(_: NodeId) -> u32 {
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

#[test]
fn what_cannot_be_plugged_is_named_with_linuxs_numbers_and_words() {
    with_pluggable_machine(&pluggable(2), NoHooks, None, |m, marks| {
        let (notes, mut room) = (Notes::default(), vec![]);
        let mut blocks = table(m, &mut room, 3);
        let before = (buddyinfo(m), states(&blocks));
        let mut plug = plug(marks, &notes);
        let half = PfnRange::from_len(Pfn::new((FIRST + 4) * BLOCK), BLOCK / 2);
        let cases = [
            (node(0), half, -22),
            (node(0), blocks_at(4, 0), -22),
            (node(2), blocks_at(4, 1), -22),
            (node(0), blocks_at(3, 2), -17),
            (node(0), blocks_at(4, 4), -12),
            (node(0), blocks_at(4, 3), -12),
        ];
        for (nid, pfns, errno) in cases {
            let e = m.allocator.add_memory(&mut blocks, nid, pfns, &mut plug).unwrap_err();
            assert_eq!(e.errno(), errno, "{e}");
        }
        assert_eq!(buddyinfo(m), before.0);
        // Two blocks have their metadata by now, for whenever they come.
        let absent = states(&blocks).split_off(4);
        assert_eq!(absent, [(4, BlockState::Absent), (5, BlockState::Absent)]);
        assert!(matches!(
            m.allocator.add_memory(&mut blocks, node(0), blocks_at(6, 1), &mut plug),
            Err(HotplugError::Metadata(MapError::StorageTooSmall { .. }))
        ));
        let lines = notes.lines.take();
        assert_eq!(
            lines[0],
            "Block size [0x400000] unaligned hotplug range: start 0x41000000, size 0x200000"
        );
        assert_eq!(lines[2], "node 2 was absent from the node_possible_map");
        m.allocator.add_memory(&mut blocks, node(0), blocks_at(4, 2), &mut plug).unwrap();
        m.allocator.online_pages(&mut blocks, FIRST + 4, OnlineType::Kernel, &mut plug).unwrap();
        let e = m.allocator.remove_memory(&mut blocks, blocks_at(4, 2), &plug).unwrap_err();
        assert_eq!(e.errno(), -16);
        assert_eq!(
            e.to_string(),
            "removing memory fails, because memory [mem 0x41000000-0x413fffff] is onlined"
        );
        let e = m.allocator.online_pages(&mut blocks, FIRST + 9, OnlineType::Kernel, &mut plug).unwrap_err();
        assert_eq!((e, e.errno()), (HotplugError::NoBlock { number: FIRST + 9 }, -19));
        assert_eq!(m.allocator.online_pages(&mut blocks, FIRST + 4, OnlineType::Movable, &mut plug), Ok(()));
        assert_eq!(zone(m, 0, ZoneKind::Movable).present_pages(), 0, "what is online stays where it is");
    });
    with_pluggable_machine(&pluggable(1), NoHooks, None, |m, _| {
        let mut room = vec![];
        room.resize_with(4, || MemoryBlock::EMPTY);
        let make = |room: &mut [_], pages| {
            MemoryBlocks::new(room, &m.allocator, pages, PageShift::SHIFT_4K).map(|_| ())
        };
        assert_eq!(make(&mut room, 512), Err(MemoryBlocksError::Size { block_pages: 512 }));
        assert_eq!(make(&mut room, 3072), Err(MemoryBlocksError::Size { block_pages: 3072 }));
        assert_eq!(make(&mut room[..3], 1024), Err(MemoryBlocksError::Full { capacity: 3 }));
        assert_eq!(make(&mut room[..2], 2048), Ok(()));
    });
}

#[test]
fn memory_that_cannot_go_offline_stays_and_says_why() {
    with_pluggable_machine(&pluggable(1), NoHooks, None, |m, marks| {
        let (notes, mut room) = (Notes::default(), vec![]);
        let mut blocks = table(m, &mut room, 1);
        let before = buddyinfo(m);
        let mut plug = plug(marks, &notes);
        m.allocator.add_memory(&mut blocks, node(0), blocks_at(4, 1), &mut plug).unwrap();
        m.allocator.online_pages(&mut blocks, FIRST + 4, OnlineType::Movable, &mut plug).unwrap();
        let full = buddyinfo(m);
        let last = |why: &str| {
            let line = notes.lines.borrow().last().cloned().unwrap();
            assert_eq!(line, format!("memory offlining [mem 0x41000000-0x413fffff] failed due to {why}"));
        };
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            let mut refused = |tenants: &Tenants<'_>, number: u64, why, errno| {
                let e = m.allocator.offline_pages(cx, tenants, &mut blocks, FIRST + number, &mut plug);
                let e = e.unwrap_err();
                assert_eq!(e.errno(), errno);
                assert!(
                    matches!(e, HotplugError::Offline { why: found, .. } if why == found.to_string()),
                    "{e}"
                );
                assert_eq!(blocks.block(FIRST + number).unwrap().state(), BlockState::Online);
                assert_eq!(m.allocator.validate(), Ok(()));
            };
            // A page of the kernel's.
            let kernel = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            let number = m.base.map().pfn(kernel.start()).get() / BLOCK - FIRST;
            refused(&tenants, number, "failure to isolate range", -16);
            m.allocator.free_pages(cx, kernel);
            // A pinned one.
            let names = settle(m, cx, &tenants, 300, Order::ZERO);
            let at = tenants.place(names[7]).unwrap();
            assert_eq!(m.base.map().pfn(at).get() / BLOCK - FIRST, 4);
            tenants.pin(names[7], true);
            refused(&tenants, 4, "unmovable page", -16);
            last("unmovable page");
            tenants.pin(names[7], false);
            // A signal, and somebody who refuses.
            tenants.interrupt_at(1);
            refused(&tenants, 4, "signal backoff", -4);
            tenants.interrupt_at(0);
            notes.refuse.set(notes.asked.get() + 1);
            refused(&tenants, 4, "notifier failure", -12);
            last("notifier failure");
            let (last, _) = *notes.events.borrow().last().unwrap();
            assert_eq!(last, MemoryEvent::CancelOffline);
            all_leave(m, cx, &tenants);
        });
        expect_all_back(m, &full);
        let tenants = Tenants::new(*m.base.map());
        m.on_cpu(0, |cx| {
            m.allocator.offline_pages(cx, &tenants, &mut blocks, FIRST + 4, &mut plug).unwrap();
            assert_eq!(m.allocator.offline_pages(cx, &tenants, &mut blocks, FIRST + 4, &mut plug), Ok(()));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn holes_and_several_zones_do_not_go_offline() {
    let ram = vec![(node(0), 0x4_0000, BLOCK + BLOCK / 2), (node(1), 0x4_0000 + 2 * BLOCK, BLOCK)];
    let machine = PlainMachine { ram, dma32_end: 0x4_0000 + BLOCK / 2, ..pluggable(1) };
    with_pluggable_machine(&machine, NoHooks, None, |m, marks| {
        let mut room = vec![];
        let mut blocks = table(m, &mut room, 0);
        assert_eq!(blocks.iter().map(MemoryBlock::zone).filter(Option::is_some).count(), 1);
        let before = buddyinfo(m);
        let mut plug = plug(marks, &NoNotifier);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            let mut why = |number| match m.allocator.offline_pages(
                cx,
                &tenants,
                &mut blocks,
                FIRST + number,
                &mut plug,
            ) {
                Err(HotplugError::Offline { why, .. }) => Some(why),
                other => other.map(|()| None).unwrap(),
            };
            assert_eq!(why(0), Some(OfflineFailure::MultiZone));
            assert_eq!(why(1), Some(OfflineFailure::Holes));
            assert_eq!(why(2), None);
        });
        m.allocator.online_pages(&mut blocks, FIRST + 2, OnlineType::Online, &mut plug).unwrap();
        expect_all_back(m, &before);
    });
}

#[test]
fn several_blocks_go_together_or_not_at_all() {
    with_pluggable_machine(&pluggable(3), NoHooks, None, |m, marks| {
        let (notes, mut room) = (Notes::default(), vec![]);
        let mut blocks = table(m, &mut room, 3);
        let before = buddyinfo(m);
        let mut plug = plug(marks, &notes);
        m.allocator.add_memory(&mut blocks, node(0), blocks_at(4, 3), &mut plug).unwrap();
        for (number, how) in [(4, OnlineType::Kernel), (6, OnlineType::Movable)] {
            m.allocator.online_pages(&mut blocks, FIRST + number, how, &mut plug).unwrap();
        }
        let (full, online) = (buddyinfo(m), states(&blocks));
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            for nth in 1..=2 {
                notes.refuse.set(notes.asked.get() + nth);
                let range = blocks_at(4, 3);
                let e = m.allocator.offline_and_remove_memory(cx, &tenants, &mut blocks, range, &mut plug);
                assert_eq!(e.unwrap_err().errno(), -12);
                assert_eq!((states(&blocks), buddyinfo(m)), (online.clone(), full.clone()));
            }
            m.allocator
                .offline_and_remove_memory(cx, &tenants, &mut blocks, blocks_at(4, 3), &mut plug)
                .unwrap();
        });
        assert!(blocks.block(FIRST + 5).is_none());
        expect_all_back(m, &before);
        // They come back where their metadata is.
        m.allocator.add_memory(&mut blocks, node(1), blocks_at(4, 3), &mut plug).unwrap();
        m.allocator.online_pages(&mut blocks, FIRST + 5, OnlineType::Kernel, &mut plug).unwrap();
        assert_eq!(zone(m, 1, ZoneKind::Normal).pfns(), blocks_at(5, 1));
        assert_eq!(m.base.map().len(), 7 * BLOCK);
    });
}

#[test]
fn the_nth_refusal_while_memory_comes_and_goes_changes_nothing() {
    for nth in 1..=4 {
        with_pluggable_machine(&pluggable(2), NoHooks, None, |m, marks| {
            let (notes, mut room) = (Notes::default(), vec![]);
            let mut blocks = table(m, &mut room, 2);
            let before = buddyinfo(m);
            let mut plug = plug(marks, &notes);
            m.allocator.add_memory(&mut blocks, node(0), blocks_at(4, 2), &mut plug).unwrap();
            notes.refuse.set(nth);
            let mut refused = 0;
            m.on_cpu(0, |cx| {
                let tenants = Tenants::new(*m.base.map());
                for number in [FIRST + 4, FIRST + 5] {
                    while blocks.block(number).unwrap().state() == BlockState::Offline {
                        let was = (buddyinfo(m), states(&blocks), m.allocator.zones()[0].low_pages());
                        if m.allocator
                            .online_pages(&mut blocks, number, OnlineType::Online, &mut plug)
                            .is_err()
                        {
                            assert_eq!(
                                (buddyinfo(m), states(&blocks), m.allocator.zones()[0].low_pages()),
                                was
                            );
                            refused += 1;
                        }
                    }
                }
                for number in [FIRST + 5, FIRST + 4] {
                    while blocks.block(number).unwrap().state() == BlockState::Online {
                        let was = (buddyinfo(m), states(&blocks), m.allocator.zones()[0].low_pages());
                        if m.allocator.offline_pages(cx, &tenants, &mut blocks, number, &mut plug).is_err() {
                            assert_eq!(
                                (buddyinfo(m), states(&blocks), m.allocator.zones()[0].low_pages()),
                                was
                            );
                            refused += 1;
                        }
                    }
                }
            });
            assert_eq!(refused, 1);
            expect_all_back(m, &before);
        });
    }
}
