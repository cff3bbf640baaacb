//! Memory policies: where pages come from, and what numastat says about it.

mod bulk;

use super::*;
use crate::whole::with_plain_machine;
use pagewright_page::Frames;
use pagewright_zone::alloc::{
    AllocRequest, CompactPriority, CompactResult, Context, NoHooks, NotZeroed, NumaStat, Progress, TaskFlags,
};
use pagewright_zone::policy::{Mempolicy, Mode, ModeFlags, TaskPolicy};
use pagewright_zone::{Gfp, NodeMask};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Three nodes of 16 MiB, a CPU on each.
fn three_nodes() -> PlainMachine {
    PlainMachine {
        ram: (0..3).map(|n| (node(n), 0x4_0000 * (u64::from(n) + 1), 16 << 8)).collect(),
        cpus: (0..3).map(node).collect(),
        ..machine(0, 0)
    }
}

fn nid<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>, frames: &Frames<'_>) -> u16 {
    (m.base.map().pfn(frames.start()).get() / 0x4_0000 - 1) as u16
}

fn policy(text: &str) -> Mempolicy {
    Mempolicy::parse(text, &(0..3).map(node).collect()).unwrap()
}

/// A node's numbers; its zones' added up over what all CPUs' lists served.
fn stat<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>, of: u16) -> NumaStat {
    let zones = m.allocator.zones().iter().filter(|zone| zone.nid() == node(of));
    zones.fold(NumaStat::default(), |sum, zone| {
        let served = |cpu| m.on_cpu(cpu, |cx| cx.cpu.enter().unwrap().served(zone.id()));
        sum.plus(m.allocator.numa_stat(zone.id(), (0..m.cpus()).map(served).sum()))
    })
}

/// Uses up a node, but for what is kept for the urgent.
fn use_up<'m, 'a, H: Hooks>(
    m: &Pages<'_, 'm, '_, 'a, H>,
    cx: &Context<'_, 'm, 'a>,
    n: u16,
) -> Vec<Frames<'a>> {
    let gfp = Gfp::GFP_NOWAIT | Gfp::THISNODE | Gfp::NOWARN;
    std::iter::from_fn(|| m.allocator.alloc_pages_node(cx, node(n), gfp, Order::ZERO).ok()).collect()
}

#[test]
fn each_policy_decides_which_node_serves() {
    // For a CPU of node 1: where the first four pages come from, and those when node 1, or nodes 0 and 1, are used up.
    let table: [(&str, [u16; 4], [u16; 2], &str); 9] = [
        ("local", [1, 1, 1, 1], [2, 2], ""),
        ("default", [1, 1, 1, 1], [2, 2], ""),
        ("prefer:2", [2, 2, 2, 2], [2, 2], ""),
        ("prefer:0", [0, 0, 0, 0], [0, 2], ""),
        ("bind:1-2", [1, 1, 1, 1], [2, 2], ""),
        ("bind:0", [0, 0, 0, 0], [0, 9], ""),
        ("prefer (many):0,2", [2, 2, 2, 2], [2, 2], ""),
        ("interleave:0-2", [0, 1, 2, 0], [9, 9], "turns"),
        ("interleave:0,2", [0, 2, 0, 2], [9, 9], "turns"),
    ];
    for (text, first, fallen, remark) in table {
        with_plain_machine(&three_nodes(), NoHooks, |m| {
            let before = buddyinfo(m);
            let task = TaskPolicy::new(policy(text));
            m.on_cpu(1, |cx| {
                let cx = cx.with_policy(&task);
                let gfp = Gfp::GFP_USER | Gfp::NOWARN | Gfp::NORETRY;
                let mut held: Vec<_> =
                    (0..4).map(|_| m.allocator.alloc_pages(&cx, gfp, Order::ZERO).unwrap()).collect();
                assert_eq!(held.iter().map(|f| nid(m, f)).collect::<Vec<_>>(), first, "{text}");
                if remark != "turns" {
                    for (used, expected) in [1, 0].into_iter().zip(fallen) {
                        held.extend(use_up(m, &cx, used));
                        match m.allocator.alloc_pages(&cx, gfp, Order::ZERO) {
                            Ok(frames) => {
                                assert_eq!(nid(m, &frames), expected, "{text} without node {used}");
                                held.push(frames);
                            }
                            Err(_) => assert_eq!(expected, 9, "{text} without node {used}"),
                        }
                    }
                }
                held.into_iter().for_each(|frames| m.allocator.free_pages(&cx, frames));
            });
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn a_mask_or_an_interrupt_overrules_the_policy() {
    with_plain_machine(&three_nodes(), NoHooks, |m| {
        let before = buddyinfo(m);
        let task = TaskPolicy::new(policy("bind:2"));
        m.on_cpu(0, |cx| {
            let bound = cx.with_policy(&task);
            let from = |cx: &Context<'_, '_, '_>, gfp| {
                let frames = m.allocator.alloc_pages(&bound.with_task(cx.task()), gfp, Order::ZERO).unwrap();
                let from = nid(m, &frames);
                m.allocator.free_pages(&bound, frames);
                from
            };
            assert_eq!(from(&bound, Gfp::GFP_KERNEL), 2);
            assert_eq!(from(&bound, Gfp::GFP_KERNEL | Gfp::THISNODE), 0);
            assert_eq!(from(&bound.with_task(TaskFlags::INTERRUPT), Gfp::GFP_ATOMIC), 0);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn low_memory_is_too_scarce_to_be_bound() {
    // Node 0 has DMA32 only, node 1 Normal only.
    let machine = PlainMachine {
        ram: vec![(node(0), 0x4_0000, 16 << 8), (node(1), 0x8_0000, 16 << 8)],
        cpus: vec![node(0), node(1)],
        dma32_end: 0x8_0000,
        ..machine(0, 0)
    };
    with_plain_machine(&machine, NoHooks, |m| {
        let task = TaskPolicy::new(Mempolicy::parse("bind:1", &(0..2).map(node).collect()).unwrap());
        m.on_cpu(0, |cx| {
            let cx = cx.with_policy(&task);
            for (gfp, from) in [(Gfp::GFP_KERNEL, 1), (Gfp::GFP_KERNEL | Gfp::DMA32, 0)] {
                let frames = m.allocator.alloc_pages(&cx, gfp, Order::ZERO).unwrap();
                assert_eq!(nid(m, &frames), from, "{gfp}");
                m.allocator.free_pages(&cx, frames);
            }
        });
    });
}

#[test]
fn a_preference_for_many_nodes_is_not_worth_reclaim() {
    #[derive(Default)]
    struct Watch(Mutex<Vec<(Gfp, Option<String>)>>);
    impl Hooks for &Watch {
        fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
            Err(NotZeroed)
        }
        fn reclaim(&self, request: &AllocRequest<'_>) -> Progress {
            self.0.lock().unwrap().push((request.gfp, None));
            Progress::default()
        }
        fn compact(&self, request: &AllocRequest<'_>, _: CompactPriority) -> CompactResult {
            self.0.lock().unwrap().push((request.gfp, Some("compact".into())));
            CompactResult::Skipped
        }
    }
    let watch = Watch::default();
    with_plain_machine(&three_nodes(), &watch, |m| {
        let many = TaskPolicy::new(policy("prefer (many):0-1"));
        m.on_cpu(0, |cx| {
            let cx = cx.with_policy(&many);
            let mut held = use_up(m, &cx, 0);
            held.extend(use_up(m, &cx, 1));
            let frames = m.allocator.alloc_pages(&cx, Gfp::GFP_USER, Order::ZERO).unwrap();
            assert_eq!(nid(m, &frames), 2);
            assert!(watch.0.lock().unwrap().is_empty());
            held.push(frames);
            held.into_iter().for_each(|frames| m.allocator.free_pages(&cx, frames));
        });
    });
}

#[test]
fn areas_are_interleaved_by_place_and_their_huge_pages_stay_near() {
    with_plain_machine(&three_nodes(), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(1, |cx| {
            let gfp = Gfp::GFP_HIGHUSER_MOVABLE;
            let at = |policy: &Mempolicy, index, n, huge| {
                let gfp = if huge { Gfp::GFP_TRANSHUGE } else { gfp };
                let frames = m.allocator.alloc_pages_mpol(cx, policy, index, gfp, order(n), huge).unwrap();
                (nid(m, &frames), frames)
            };
            let spread = policy("interleave:0-2");
            let mut held = vec![];
            for index in [0, 5, 7, 7, 3] {
                let (from, frames) = at(&spread, index, 0, false);
                assert_eq!(u64::from(from), index % 3, "whoever asks, and however often");
                held.push(frames);
            }
            m.allocator.tuning().weights().set(node(2), 4);
            let weighted = policy("weighted interleave:1-2");
            for (index, expected) in [(0, 1), (1, 2), (4, 2), (5, 1), (6, 2)] {
                let (from, frames) = at(&weighted, index, 0, false);
                assert_eq!(from, expected);
                held.push(frames);
            }
            let near = at(&policy("local"), 0, 9, true);
            assert_eq!(near.0, 1);
            let preferred = at(&policy("prefer:2"), 0, 9, true);
            assert_eq!(preferred.0, 2);
            held.extend([near.1, preferred.1]);
            // Without reclaim a huge page comes from the near node or not at all; with it, from another at last.
            held.extend(use_up(m, cx, 1));
            let light = Gfp::GFP_TRANSHUGE_LIGHT;
            assert!(m.allocator.alloc_pages_mpol(cx, &policy("local"), 0, light, order(9), true).is_err());
            let (from, frames) = at(&policy("local"), 0, 9, true);
            assert_eq!(from, 2);
            held.push(frames);
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn an_area_without_a_policy_follows_its_task() {
    let table = [
        ("default", Some("bind:2"), [2, 2, 2]),
        ("default", Some("prefer:0"), [0, 0, 0]),
        // By the page's place in its area, not by the task's turn.
        ("default", Some("interleave:0-2"), [1, 1, 2]),
        ("default", Some("default"), [1, 1, 1]),
        ("default", None, [1, 1, 1]),
        ("local", Some("bind:2"), [1, 1, 1]),
        ("bind:0", Some("bind:2"), [0, 0, 0]),
    ];
    for (area, task, expected) in table {
        with_plain_machine(&three_nodes(), NoHooks, |m| {
            let before = buddyinfo(m);
            let task = task.map(|text| TaskPolicy::new(policy(text)));
            m.on_cpu(1, |cx| {
                let cx = task.as_ref().map_or(*cx, |task| cx.with_policy(task));
                for (huge, n) in [(false, 0), (true, 9)] {
                    let gfp = if huge { Gfp::GFP_TRANSHUGE } else { Gfp::GFP_HIGHUSER_MOVABLE };
                    let from = [1, 4, 2].map(|index| {
                        let area = policy(area);
                        let got = m.allocator.alloc_pages_mpol(&cx, &area, index, gfp, order(n), huge);
                        let frames = got.unwrap();
                        let from = nid(m, &frames);
                        m.allocator.free_pages(&cx, frames);
                        from
                    });
                    assert_eq!(
                        from,
                        expected,
                        "{area}, its task {:?}",
                        task.as_ref().map(TaskPolicy::policy)
                    );
                }
            });
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn numastat_counts_who_wanted_and_who_served() {
    with_plain_machine(&three_nodes(), NoHooks, |m| {
        let task = TaskPolicy::new(policy("interleave:0-1"));
        m.on_cpu(0, |cx| {
            let mut held = vec![];
            // Ten from the own node: two by the fast path's lists, eight under the lock.
            for n in 0..10 {
                let n = if n < 2 { 0 } else { 5 };
                held.push(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(n)).unwrap());
            }
            // Three from another by number, four in turn.
            for _ in 0..3 {
                held.push(m.allocator.alloc_pages_node(cx, node(2), Gfp::GFP_KERNEL, Order::ZERO).unwrap());
            }
            for _ in 0..4 {
                held.push(
                    m.allocator.alloc_pages(&cx.with_policy(&task), Gfp::GFP_KERNEL, Order::ZERO).unwrap(),
                );
            }
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        let row = |n| stat(m, n).rows().map(|(_, value)| value);
        assert_eq!(row(0), [12, 0, 0, 2, 12, 0]);
        assert_eq!(row(1), [2, 0, 0, 2, 0, 2]);
        assert_eq!(row(2), [3, 0, 0, 0, 0, 3]);
        // Now node 0 is used up, and its CPU's pages come from node 1.
        let before = stat(m, 0);
        let used = m.on_cpu(0, |cx| {
            let mut held = use_up(m, cx, 0);
            let used = held.len() as u64;
            for _ in 0..5 {
                held.push(m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO).unwrap());
            }
            held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
            used
        });
        let after = stat(m, 0);
        assert_eq!(after.hit - before.hit, used);
        assert_eq!((after.foreign, after.miss), (5, 0));
        assert_eq!(stat(m, 1).miss, 5);
        assert_eq!(stat(m, 1).hit, 2, "what another wanted is no hit");
        assert_eq!(stat(m, 1).other, 2 + 5);
    });
}

/// What the next page of a policy may be, by nodes that still have memory: written from the documentation alone.
fn oracle(policy: &Mempolicy, turn: &mut Option<u16>, here: u16, full: &[bool; 3]) -> Option<u16> {
    // All other nodes are equally far: the lists go round from the own node.
    let nearest = |from: u16| (0..3).map(move |n| (from + n) % 3);
    let allowed = |n: &u16| policy.nodes().contains(node(*n));
    let has = |n: &u16| !full[usize::from(*n)];
    match policy.mode() {
        Mode::Default | Mode::Local => nearest(here).find(has),
        Mode::Preferred => nearest(policy.nodes().first().unwrap().get()).find(has),
        Mode::Bind => nearest(here).filter(allowed).find(has),
        Mode::PreferredMany => nearest(here).filter(allowed).find(has).or_else(|| nearest(here).find(has)),
        Mode::Interleave | Mode::WeightedInterleave => {
            let nodes: Vec<u16> = policy.nodes().iter().map(NodeId::get).collect();
            let next = nodes.iter().copied().find(|&n| turn.is_none_or(|t| n > t)).unwrap_or(nodes[0]);
            *turn = Some(next);
            nearest(next).find(has)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 24 }, ..ProptestConfig::default() })]

    #[test]
    fn every_page_comes_from_where_the_policy_says(
        modes in proptest::collection::vec((1_usize..7, 1_u8..8, 0_u16..3, 0_u8..8), 1..6),
    ) {
        with_plain_machine(&three_nodes(), NoHooks, |m| {
            let before = buddyinfo(m);
            for (mode, bits, cpu, used) in modes {
                let nodes: NodeMask = (0..3).filter(|n| bits >> n & 1 != 0).map(node).collect();
                let mode = Mode::ALL[mode];
                let nodes = if mode == Mode::Local { NodeMask::EMPTY } else { nodes };
                let all = (0..3).map(node).collect();
                let policy = Mempolicy::new(mode, ModeFlags::empty(), &nodes, &all).unwrap();
                let task = TaskPolicy::new(policy);
                let full: [bool; 3] = std::array::from_fn(|n| used >> n & 1 != 0);
                let stats: BTreeMap<u16, NumaStat> = (0..3).map(|n| (n, stat(m, n))).collect();
                let served = m.on_cpu(usize::from(cpu), |cx| {
                    let mut held: Vec<Frames<'_>> = vec![];
                    for n in (0..3).filter(|&n| full[usize::from(n)]) {
                        held.extend(use_up(m, cx, n));
                    }
                    let bound = cx.with_policy(&task);
                    let mut turn = None;
                    let gfp = Gfp::GFP_NOWAIT | Gfp::NOWARN;
                    let mut served = [0_u64; 3];
                    for _ in 0..9 {
                        let expected = oracle(&policy, &mut turn, cpu, &full);
                        let got = m.allocator.alloc_pages(&bound, gfp, Order::ZERO).ok();
                        assert_eq!(got.as_ref().map(|f| nid(m, f)), expected, "{policy} on {cpu}, full {full:?}");
                        if let Some(frames) = got {
                            served[usize::from(nid(m, &frames))] += 1;
                            held.push(frames);
                        }
                    }
                    held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
                    served
                });
                drain(m);
                // Served here is hit or miss, and local or other; what began here and went elsewhere is foreign.
                let (mut miss, mut foreign) = (0, 0);
                for n in 0..3 {
                    let (old, new) = (stats[&n], stat(m, n));
                    assert_eq!(new.hit + new.miss, new.local + new.other);
                    if !full[usize::from(n)] {
                        assert_eq!((new.hit + new.miss) - (old.hit + old.miss), served[usize::from(n)]);
                    }
                    miss += new.miss - old.miss;
                    foreign += new.foreign - old.foreign;
                }
                assert_eq!(miss, foreign);
                assert_eq!(buddyinfo(m), before);
            }
            expect_all_back(m, &before);
        });
    }
}
