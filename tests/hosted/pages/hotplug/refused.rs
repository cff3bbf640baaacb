//! What does not come or go: each refusal is named, and changes nothing.

use super::*;

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
