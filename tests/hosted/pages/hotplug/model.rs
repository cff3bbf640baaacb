//! Random plugging with users at work, beside a list of which block is where; and CPUs that allocate while memory comes and goes.

use super::*;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[derive(Clone, Copy, Debug)]
enum Step {
    Add(u64, u16),
    Online(u64, OnlineType),
    Offline(u64),
    Remove(u64),
    Settle(usize, u8),
    Leave(usize),
    Kernel,
    Give,
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop::sample::select(vec![OnlineType::Online, OnlineType::Kernel, OnlineType::Movable]);
    prop_oneof![
        (4u64..8, 0u16..2).prop_map(|(n, nid)| Step::Add(n, nid)),
        (0u64..8, how).prop_map(|(n, how)| Step::Online(n, how)),
        (0u64..8).prop_map(Step::Offline),
        (0u64..8).prop_map(Step::Remove),
        (1usize..200, 0u8..4).prop_map(|(n, order)| Step::Settle(n, order)),
        (1usize..200).prop_map(Step::Leave),
        Just(Step::Kernel),
        Just(Step::Give),
    ]
}

fn run(steps: &[Step]) {
    with_pluggable_machine(&pluggable(4), NoHooks, None, |m, marks| {
        let mut room = vec![];
        let mut blocks = table(m, &mut room, 4);
        let before = buddyinfo(m);
        let mut plug = plug(marks, &NoNotifier);
        // Which blocks are there, and the node and kind of those that are online.
        let mut model: Vec<Option<(u16, Option<ZoneKind>)>> = vec![Some((0, Some(ZoneKind::Normal))); 4];
        model.resize(8, None);
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            let mut kernel = vec![];
            for &step in steps {
                match step {
                    Step::Add(n, nid) => {
                        let added =
                            m.allocator.add_memory(&mut blocks, node(nid), blocks_at(n, 1), &mut plug);
                        assert_eq!(added.is_ok(), model[n as usize].is_none());
                        model[n as usize].get_or_insert((nid, None));
                    }
                    Step::Online(n, how) => {
                        let (wanted, nid) =
                            (&mut model[n as usize], blocks.block(FIRST + n).map(|b| b.nid()));
                        let kind =
                            nid.map(|nid| m.allocator.zone_for_pfn_range(&blocks, nid, blocks_at(n, 1), how));
                        let online = m.allocator.online_pages(&mut blocks, FIRST + n, how, &mut plug);
                        assert_eq!(online.is_ok(), wanted.is_some());
                        if let Some((_, at @ None)) = wanted {
                            *at = kind;
                        }
                    }
                    Step::Offline(n) => {
                        let gone = m.allocator.offline_pages(cx, &tenants, &mut blocks, FIRST + n, &mut plug);
                        match (gone, &mut model[n as usize]) {
                            (Ok(()), Some((_, at))) => *at = None,
                            (Err(e), None) => assert_eq!(e.errno(), -19),
                            // Whether everything can move depends on where there is room.
                            (Err(e), Some(_)) => assert_eq!(e.errno(), -16),
                            (Ok(()), None) => panic!("a block that is not there went offline"),
                        }
                    }
                    Step::Remove(n) => {
                        let offline = matches!(model[n as usize], Some((_, None)));
                        let gone = m.allocator.remove_memory(&mut blocks, blocks_at(n, 1), &plug);
                        assert_eq!(gone.is_ok(), offline);
                        if offline {
                            model[n as usize] = None;
                        }
                    }
                    Step::Settle(count, n) => {
                        for _ in 0..count {
                            let gfp = Gfp::GFP_HIGHUSER_MOVABLE | Gfp::NOWARN | Gfp::NORETRY;
                            let Ok(page) = m.allocator.alloc_pages(cx, gfp, order(n)) else { break };
                            tenants.settle(page);
                        }
                    }
                    Step::Leave(count) => {
                        for name in tenants.names().into_iter().rev().step_by(2).take(count) {
                            m.allocator.free_pages(cx, tenants.leave(name).expect("nobody is isolated"));
                        }
                    }
                    Step::Kernel => {
                        kernel.extend(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL | Gfp::NOWARN, order(1)));
                    }
                    Step::Give => kernel.drain(..).for_each(|page| m.allocator.free_pages(cx, page)),
                }
                check(m, &blocks, &model);
            }
            kernel.drain(..).for_each(|page| m.allocator.free_pages(cx, page));
            all_leave(m, cx, &tenants);
            m.allocator.drain_local_pages(cx);
            for n in 0..8 {
                if n < 4 && blocks.block(FIRST + n).is_none() {
                    m.allocator.add_memory(&mut blocks, node(0), blocks_at(n, 1), &mut plug).unwrap();
                    model[n as usize] = Some((0, None));
                }
                if blocks.block(FIRST + n).is_some() {
                    m.allocator.offline_pages(cx, &tenants, &mut blocks, FIRST + n, &mut plug).unwrap();
                    model[n as usize].as_mut().unwrap().1 = None;
                }
            }
            check(m, &blocks, &model);
            for n in 0..4 {
                m.allocator.online_pages(&mut blocks, FIRST + n, OnlineType::Kernel, &mut plug).unwrap();
            }
        });
        expect_all_back(m, &before);
    });
}

/// The machine has what the list says, and nothing else.
fn check<H: Hooks>(
    m: &Pages<'_, '_, '_, '_, H>,
    blocks: &MemoryBlocks<'_, '_>,
    model: &[Option<(u16, Option<ZoneKind>)>],
) {
    assert_eq!(m.allocator.validate(), Ok(()));
    let online = |nid: u16, kind: ZoneKind| {
        let here = move |at: &Option<(u16, Option<ZoneKind>)>| *at == Some((nid, Some(kind)));
        model.iter().enumerate().filter(move |(_, at)| here(at)).map(|(n, _)| n as u64)
    };
    for cell in m.allocator.zones() {
        let here: Vec<_> = online(cell.nid().get(), cell.kind()).collect();
        assert_eq!(cell.present_pages(), here.len() as u64 * BLOCK);
        if let (Some(&first), Some(&last)) = (here.first(), here.last()) {
            assert_eq!(cell.pfns(), blocks_at(first, last + 1 - first));
        }
    }
    for (n, at) in model.iter().enumerate() {
        let state = blocks.block(FIRST + n as u64).map(MemoryBlock::state);
        let expected = at.map(|(_, at)| if at.is_some() { BlockState::Online } else { BlockState::Offline });
        assert_eq!(state, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 40 }))]

    #[test]
    fn blocks_are_where_they_were_put(steps in prop::collection::vec(step(), 1..if cfg!(miri) { 3 } else { 50 })) {
        run(&steps);
    }
}

#[test]
fn other_cpus_allocate_while_memory_comes_and_goes() {
    with_pluggable_machine(&pluggable(2), NoHooks, None, |m, marks| {
        let mut room = vec![];
        let mut blocks = table(m, &mut room, 2);
        let before = buddyinfo(m);
        let mut plug = plug(marks, &NoNotifier);
        m.allocator.add_memory(&mut blocks, node(1), blocks_at(4, 2), &mut plug).unwrap();
        let (done, rounds) = (AtomicBool::new(false), if cfg!(miri) { 1 } else { 30 });
        std::thread::scope(|s| {
            s.spawn(|| {
                m.on_cpu(1, |cx| {
                    let mut n = 0u8;
                    while !done.load(Relaxed) {
                        n = n.wrapping_add(1);
                        let gfp =
                            if n.is_multiple_of(3) { Gfp::GFP_KERNEL } else { Gfp::GFP_HIGHUSER_MOVABLE };
                        let nid = node(u16::from(n.is_multiple_of(2)));
                        let page = m.allocator.alloc_pages_node(cx, nid, gfp, order(n % 4));
                        m.allocator.free_pages(cx, page.expect("node 0 always has memory"));
                        let page = m.allocator.alloc_pages(cx, gfp, Order::ZERO).expect("as above");
                        m.allocator.free_pages(cx, page);
                    }
                    m.allocator.drain_local_pages(cx);
                });
            });
            m.on_cpu(0, |cx| {
                let tenants = Tenants::new(*m.base.map());
                for round in 0..rounds {
                    for (n, how) in [(4, OnlineType::Kernel), (5, OnlineType::Movable)] {
                        m.allocator.online_pages(&mut blocks, FIRST + n, how, &mut plug).unwrap();
                    }
                    for n in [4, 5] {
                        // A page may be with the other CPU, or in its lists until it answers.
                        while let Err(e) =
                            m.allocator.offline_pages(cx, &tenants, &mut blocks, FIRST + n, &mut plug)
                        {
                            assert_eq!(e.errno(), -16, "round {round}");
                            std::thread::yield_now();
                        }
                    }
                }
            });
            done.store(true, Relaxed);
        });
        expect_all_back(m, &before);
    });
}
