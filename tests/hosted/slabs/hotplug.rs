//! A node whose memory comes while the machine runs, is used for objects, and goes again.

use super::*;
use pagewright_addr::{PageShift, Pfn, PfnRange};
use pagewright_sim::designs::with_design;
use pagewright_sim::pages::{Pluggable, with_pluggable_machine};
use pagewright_sim::tenants::Tenants;
use pagewright_slab::hotplug::SlabHotplug;
use pagewright_slab::objects::Design;
use pagewright_zone::alloc::hotplug::{
    BlockState, HotplugNotifier, MemoryBlock, MemoryBlocks, MemoryEvent, MemoryNotify, OnlineType, Plug,
};
use pagewright_zone::watermark::Cpus;
use pagewright_zone::zonelist::Topology;
use pagewright_zone::{Gfp, NodeMask};

/// Frames of a memory block.
const BLOCK: u64 = 1024;
/// The number of the machine's first.
const FIRST: u64 = 0x4_0000 / BLOCK;

#[test]
fn a_node_that_is_plugged_in_serves_objects_and_goes_when_they_are_freed() {
    for design in Design::ALL {
        let plug = Pluggable { frames: 2 * BLOCK, nodes: vec![node(1)] };
        let ram = vec![(node(0), 0x4_0000, 2 * BLOCK)];
        let machine = PlainMachine { ram, cpus: vec![node(0), node(1)], plug, ..small(2) };
        with_pluggable_machine(&machine, NoHooks, None, |pages, marks| {
            let before = free_blocks(pages);
            with_design(design, pages, &machine.cpus, 80, &Silent, |m| {
                let o = m.allocator();
                let slabs = SlabHotplug::new(|work| {
                    m.on_this_cpu(|cx| work(m.allocator(), cx));
                });
                let nodes: NodeMask = [node(0), node(1)].into_iter().collect();
                let mut plug = Plug {
                    marks,
                    cpus: Cpus { online: 2, on_node: &|_| 1 },
                    topology: Topology {
                        distance: &|a, b| if a == b { 10 } else { 20 },
                        nodes_with_cpus: nodes,
                        online: nodes,
                        numa: true,
                    },
                    possible: nodes,
                    notifier: &slabs,
                };
                let mut room = vec![];
                room.resize_with(4, || MemoryBlock::EMPTY);
                let table = MemoryBlocks::new(&mut room, &m.pages.allocator, BLOCK, PageShift::SHIFT_4K);
                let mut blocks = table.expect("room for the blocks");
                let cache = o.create(&spec("placed", 200)).unwrap();
                let there = Gfp::GFP_KERNEL | Gfp::THISNODE | Gfp::NOWARN;
                // The other node's, which that node's processor has at hand until then.
                m.on_cpu(1, |cx| {
                    let object = o.alloc(cx, cache, Gfp::GFP_KERNEL).unwrap();
                    assert_eq!(m.node_of(object), Some(node(0)), "{design}");
                    // SAFETY: freed once.
                    unsafe { o.free(cx, cache, object) };
                    assert!(o.alloc_node(cx, cache, there, node(1)).is_err(), "{design}");
                });
                m.on_cpu(0, |cx| assert!(o.alloc_node(cx, cache, there, node(1)).is_err(), "{design}"));
                let number = FIRST + 2;
                let range = PfnRange::from_len(Pfn::new(number * BLOCK), BLOCK);
                m.pages.allocator.add_memory(&mut blocks, node(1), range, &mut plug).unwrap();
                m.on_cpu(0, |_| {
                    let a = &m.pages.allocator;
                    a.online_pages(&mut blocks, number, OnlineType::Kernel, &mut plug).unwrap();
                });
                // The processor of that node keeps some at hand.
                let held: Vec<_> = m.on_cpu(1, |cx| {
                    (0..90).map(|_| o.alloc_node(cx, cache, there, node(1)).unwrap()).collect()
                });
                for (n, object) in held.iter().enumerate() {
                    assert_eq!(m.node_of(*object), Some(node(1)), "{design}");
                    // SAFETY: the object has so many bytes, and is ours.
                    unsafe { object.write_bytes(n as u8, 200) };
                }
                let tenants = Tenants::new(*m.pages.base.map());
                // Whether it goes, and what becomes of its block.
                let mut offline = || {
                    m.on_cpu(0, |_| {
                        let a = &m.pages.allocator;
                        let gone = m.pages.on_this_cpu(|_, cx| {
                            a.offline_pages(cx, &tenants, &mut blocks, number, &mut plug).is_ok()
                        });
                        (gone.unwrap(), blocks.block(number).unwrap().state())
                    })
                };
                assert_eq!(offline(), (false, BlockState::Online), "{design}: objects are in use there");
                m.on_cpu(1, |cx| {
                    for (n, object) in held.into_iter().enumerate() {
                        // SAFETY: as above; each is freed once.
                        unsafe {
                            assert!((0..200).all(|at| object.add(at).read() == n as u8), "{design}");
                            o.free(cx, cache, object);
                        }
                    }
                    // What it was asked for by the first attempt, and what it had since.
                    o.flush_cpu(cx);
                });
                if let pagewright_slab::objects::Objects::Slab(slab) = &m.objects {
                    // SAFETY: nobody uses it meanwhile.
                    m.on_cpu(1, |cx| unsafe { slab.retire(cx) });
                }
                // Memory with slabs is not isolated, empty ones or not: they are given back before, as by whoever writes to /sys/kernel/slab/*/shrink.
                m.on_cpu(0, |cx| _ = o.shrink_all(cx, u64::MAX));
                // Pages that went back lie in that processor's lists yet.
                m.pages.on_cpu(1, |cx| m.pages.allocator.drain_local_pages(cx));
                assert_eq!(offline(), (true, BlockState::Offline), "{design}: nothing is in use there");
                m.on_cpu(0, |cx| assert!(o.alloc_node(cx, cache, there, node(1)).is_err(), "{design}"));
                assert_eq!(o.findings(), 0);
                assert_eq!(end(m, cache), Ok(Destroyed::Gone), "{design}");
                m.pages.allocator.remove_memory(&mut blocks, range, &plug).unwrap();
            });
            pages.allocator.validate().unwrap();
            assert_eq!(free_blocks(pages).len(), before.len());
        });
    }
}

#[test]
fn a_node_without_structures_is_refused_before_its_memory_comes() {
    super::designs::each(|design, m, _| {
        let slabs = SlabHotplug::new(|work| {
            m.on_this_cpu(|cx| work(m.allocator(), cx));
        });
        let pfns = PfnRange::from_len(Pfn::new(0x8_0000), 1024);
        let coming = |n: u16| {
            let what = MemoryNotify { pfns, status_change_nid: Some(node(n)) };
            m.on_cpu(0, |_| slabs.notify(MemoryEvent::GoingOnline, &what))
        };
        let refused = if design == Design::Slob { Ok(()) } else { Err(-12) };
        assert_eq!((coming(0), coming(1)), (Ok(()), refused), "{design}");
        let more = MemoryNotify { pfns, status_change_nid: None };
        assert_eq!(m.on_cpu(0, |_| slabs.notify(MemoryEvent::GoingOnline, &more)), Ok(()));
    });
}

#[test]
fn what_is_free_is_given_back_before_memory_goes_and_slab_holds_a_node_that_it_needs() {
    super::designs::each(|design, m, _| {
        let o = m.allocator();
        let slabs = SlabHotplug::new(|work| {
            m.on_this_cpu(|cx| work(m.allocator(), cx));
        });
        let pfns = PfnRange::from_len(Pfn::new(0x4_0000), 1024);
        let going = |last: Option<u16>| {
            let what = MemoryNotify { pfns, status_change_nid: last.map(node) };
            m.on_cpu(0, |_| slabs.notify(MemoryEvent::GoingOffline, &what))
        };
        let cache = o.create(&spec("goes", 1000)).unwrap();
        let kept = m.on_cpu(0, |cx| {
            let mut objects = vec![None; 100];
            o.alloc_bulk(cx, cache, Gfp::GFP_KERNEL, &mut objects).unwrap();
            let kept = objects.pop().flatten().unwrap();
            // SAFETY: each is freed once.
            unsafe { o.free_bulk(cx, cache, &mut objects) };
            kept
        });
        let before = o.row(cache).unwrap().slabs;
        let (some, last) = (going(None), going(Some(0)));
        let after = o.row(cache).unwrap().slabs;
        m.on_cpu(0, |cx| assert_eq!(o.empty_pages(cx), 0, "{design}"));
        // One has the object that is in use.
        assert!(design == Design::Slob || after <= 2 && after < before, "{design}: {before}, then {after}");
        let held = if design == Design::Slab { Err(-16) } else { Ok(()) };
        assert_eq!((some, last), (Ok(()), held), "{design}");
        // SAFETY: freed once.
        m.on_cpu(0, |cx| unsafe { o.free(cx, cache, kept) });
    });
}
