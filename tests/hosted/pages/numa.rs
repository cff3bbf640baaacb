//! Several nodes and zones: who is asked first, and who not at all.

use super::*;
use crate::whole::with_plain_machine;
use pagewright_addr::Pfn;
use pagewright_zone::alloc::{AllocFailure, NoHooks};
use pagewright_zone::{Gfp, NodeMask, ZoneKind};

/// Two nodes of 64 MiB with a CPU each, and a third without memory.
fn two_nodes() -> PlainMachine {
    PlainMachine {
        ram: vec![(node(0), 0x4_0000, 64 << 8), (node(1), 0x8_0000, 64 << 8)],
        cpus: vec![node(0), node(1)],
        ..machine(0, 0)
    }
}

fn node_of(pfn: Pfn) -> u16 {
    u16::from(pfn.get() >= 0x8_0000)
}

#[test]
fn pages_come_from_the_cpus_node_and_go_back_to_their_own() {
    with_plain_machine(&two_nodes(), NoHooks, |m| {
        let before = buddyinfo(m);
        let page = m.on_cpu(0, |cx| m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap());
        assert_eq!(node_of(m.base.map().pfn(page.start())), 0);
        m.on_cpu(1, |cx| {
            let own = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            assert_eq!(node_of(m.base.map().pfn(own.start())), 1);
            // CPU 1 keeps the page of node 0 in its lists of that node's zone.
            let zones = zone_ids(m);
            let count = |zone| cx.cpu.enter().unwrap().count(zone);
            assert_eq!(count(zones[0]), 0);
            m.allocator.free_pages(cx, page);
            assert_eq!(count(zones[0]), 1);
            m.allocator.free_pages(cx, own);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_node_that_is_used_up_falls_back_unless_the_mask_or_the_cpuset_forbids() {
    with_plain_machine(&two_nodes(), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let here = Gfp::GFP_KERNEL | Gfp::THISNODE | Gfp::NOWARN;
            let mut held = vec![];
            let failure = loop {
                match m.allocator.alloc_pages(cx, here, Order::ZERO) {
                    Ok(frames) => held.push(frames),
                    Err(e) => break e,
                }
            };
            assert_eq!(failure, AllocFailure::NoMemory { order: Order::ZERO, gfp: here });
            assert!(held.iter().all(|f| node_of(m.base.map().pfn(f.start())) == 0));
            let only = NodeMask::only(node(0));
            let held_to = cx.held_to(&only);
            assert!(m.allocator.alloc_pages(&held_to, Gfp::GFP_KERNEL | Gfp::NOWARN, Order::ZERO).is_err());
            // Atomic allocations are not held to the cpuset.
            let atomic = m.allocator.alloc_pages(&held_to, Gfp::GFP_ATOMIC, order(2)).unwrap();
            let other = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap();
            assert_eq!(node_of(m.base.map().pfn(other.start())), 1);
            held.extend([atomic, other]);
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn low_zones_are_left_to_those_who_need_them() {
    // 64 MiB below the limit of DMA32, 192 above.
    let pc = PlainMachine { dma32_end: 0x4_0000 + (64 << 8), ..machine(256, 1) };
    with_plain_machine(&pc, NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let kind = |frames: &pagewright_page::Frames<'_>| {
                let pfn = m.base.map().pfn(frames.start()).get();
                if pfn < 0x4_0000 + (64 << 8) { ZoneKind::Dma32 } else { ZoneKind::Normal }
            };
            let low = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL | Gfp::DMA32, Order::ZERO).unwrap();
            assert_eq!(kind(&low), ZoneKind::Dma32);
            let mut held = vec![];
            while let Ok(frames) = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL | Gfp::NOWARN, Order::ZERO) {
                held.push(frames);
            }
            let dma32 = held.iter().filter(|f| kind(f) == ZoneKind::Dma32).count();
            assert!(dma32 > 0 && kind(&held[0]) == ZoneKind::Normal, "Normal first, then DMA32");
            let left = m.allocator.zones().iter().find(|z| z.kind() == ZoneKind::Dma32).unwrap();
            let protected = left.lowmem_reserve(ZoneKind::Normal);
            assert!(protected > 0 && left.free_pages() > protected, "its protection was kept");
            // Who needs that zone still gets pages.
            held.push(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL | Gfp::DMA32, Order::ZERO).unwrap());
            held.push(low);
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        expect_all_back(m, &before);
    });
}
