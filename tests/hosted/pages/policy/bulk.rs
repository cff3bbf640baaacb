//! Many pages at once under a policy: which node gives how many, and whose turn it is afterwards.

use super::*;

/// Runs of pages from one node: node and pages.
type Runs = &'static [(u16, usize)];

fn empty<'a>(n: usize) -> Vec<Option<Frames<'a>>> {
    (0..n).map(|_| None).collect()
}

/// The nodes of pages that came in bulk, in runs: node and pages.
fn runs<H: Hooks>(m: &Pages<'_, '_, '_, '_, H>, slots: &[Option<Frames<'_>>]) -> Vec<(u16, usize)> {
    let mut runs: Vec<(u16, usize)> = vec![];
    for from in slots.iter().flatten().map(|page| nid(m, page)) {
        match runs.last_mut().filter(|run| run.0 == from) {
            Some(run) => run.1 += 1,
            None => runs.push((from, 1)),
        }
    }
    runs
}

#[test]
fn each_policy_spreads_a_bulk_over_its_nodes() {
    // For a CPU of node 1, 200 pages; then the node that a single page comes from.
    let table: [(&str, Runs, u16); 9] = [
        ("local", &[(1, 200)], 1),
        ("prefer:2", &[(2, 200)], 2),
        ("bind:0,2", &[(2, 200)], 2),
        ("bind:0-1", &[(1, 200)], 1),
        ("prefer (many):0,2", &[(2, 200)], 2),
        // What is left over goes to the first nodes, and the turn stays.
        ("interleave:0-2", &[(0, 67), (1, 67), (2, 66)], 0),
        ("interleave:0,2", &[(0, 100), (2, 100)], 0),
        ("interleave:1", &[(1, 200)], 1),
        // Weights are 1, 3 and 5: 22 rounds of 9, one from node 0 and one of the three from node 1.
        ("weighted interleave:0-2", &[(0, 23), (1, 67), (2, 110)], 1),
    ];
    for (text, expected, next) in table {
        with_plain_machine(&three_nodes(), NoHooks, |m| {
            let before = buddyinfo(m);
            m.allocator.tuning().weights().set(node(1), 3);
            m.allocator.tuning().weights().set(node(2), 5);
            let task = TaskPolicy::new(policy(text));
            m.on_cpu(1, |cx| {
                let bound = cx.with_policy(&task);
                let mut slots = empty(200);
                let got = m.allocator.alloc_pages_bulk_mempolicy(&bound, Gfp::GFP_USER, &mut slots);
                assert_eq!((got, runs(m, &slots)), (200, expected.to_vec()), "{text}");
                slots.push(m.allocator.alloc_pages(&bound, Gfp::GFP_USER, Order::ZERO).ok());
                assert_eq!(slots[200].as_ref().map(|page| nid(m, page)), Some(next), "{text}");
                m.allocator.free_pages_bulk(cx, slots.into_iter().flatten());
            });
            expect_all_back(m, &before);
        });
    }
}

#[test]
fn shares_begin_with_the_node_whose_turn_it_is() {
    with_plain_machine(&three_nodes(), NoHooks, |m| {
        let task = TaskPolicy::new(policy("interleave:0-2"));
        m.on_cpu(0, |cx| {
            let bound = cx.with_policy(&task);
            let gfp = Gfp::GFP_USER;
            let first = m.allocator.alloc_pages(&bound, gfp, Order::ZERO).unwrap();
            assert_eq!(nid(m, &first), 0);
            let mut slots = empty(8);
            assert_eq!(m.allocator.alloc_pages_bulk_mempolicy(&bound, gfp, &mut slots), 8);
            assert_eq!(runs(m, &slots), [(1, 3), (2, 3), (0, 2)]);
            // Fewer pages than nodes: the first ones in turn, which it stays.
            let mut few = empty(2);
            assert_eq!(m.allocator.alloc_pages_bulk_mempolicy(&bound, gfp, &mut few), 2);
            assert_eq!(runs(m, &few), [(1, 1), (2, 1)]);
            let all = slots.into_iter().chain(few).flatten().chain([first]);
            m.allocator.free_pages_bulk(cx, all);
        });
    });
}

#[test]
fn a_mask_or_an_interrupt_overrules_the_policy_in_bulk() {
    with_plain_machine(&three_nodes(), NoHooks, |m| {
        let task = TaskPolicy::new(policy("interleave:1-2"));
        m.on_cpu(0, |cx| {
            let bound = cx.with_policy(&task);
            let atomic = bound.with_task(TaskFlags::INTERRUPT);
            for (cx, gfp, expected) in [
                (&bound, Gfp::GFP_KERNEL, vec![(1, 5), (2, 5)]),
                (&bound, Gfp::GFP_KERNEL | Gfp::THISNODE, vec![(0, 10)]),
                (&atomic, Gfp::GFP_ATOMIC, vec![(0, 10)]),
                (cx, Gfp::GFP_KERNEL, vec![(0, 10)]),
            ] {
                let mut slots = empty(10);
                assert_eq!(m.allocator.alloc_pages_bulk_mempolicy(cx, gfp, &mut slots), 10);
                assert_eq!(runs(m, &slots), expected, "{gfp}");
                m.allocator.free_pages_bulk(cx, slots.into_iter().flatten());
            }
        });
    });
}

#[test]
fn a_node_that_is_used_up_gives_its_share_to_others_page_by_page_or_not_at_all() {
    with_plain_machine(&three_nodes(), NoHooks, |m| {
        let before = buddyinfo(m);
        m.on_cpu(0, |cx| {
            let gfp = Gfp::GFP_NOWAIT | Gfp::NOWARN;
            let held = use_up(m, cx, 1);
            // Interleaving asks node 1 for a share: one page comes from the next node that has some, as a single one would.
            let task = TaskPolicy::new(policy("interleave:0-2"));
            let mut slots = empty(90);
            let got = m.allocator.alloc_pages_bulk_mempolicy(&cx.with_policy(&task), gfp, &mut slots);
            assert_eq!((got, runs(m, &slots)), (61, vec![(0, 30), (2, 31)]));
            // Bound to that node, none comes; preferring it together with another, all do.
            let bound = TaskPolicy::new(policy("bind:1"));
            let mut none = empty(9);
            assert_eq!(m.allocator.alloc_pages_bulk_mempolicy(&cx.with_policy(&bound), gfp, &mut none), 0);
            let many = TaskPolicy::new(policy("prefer (many):1"));
            let mut near = empty(9);
            assert_eq!(m.allocator.alloc_pages_bulk_mempolicy(&cx.with_policy(&many), gfp, &mut near), 9);
            assert_eq!(runs(m, &near), [(0, 9)]);
            let all = slots.into_iter().chain(near).flatten().chain(held);
            m.allocator.free_pages_bulk(cx, all);
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn a_share_that_is_made_to_fail_leaves_the_others() {
    for n in 1..=4 {
        with_plain_machine(&three_nodes(), NoHooks, |m| {
            let before = buddyinfo(m);
            let task = TaskPolicy::new(policy("interleave:0-2"));
            m.on_cpu(0, |cx| {
                let bound = cx.with_policy(&task);
                let mut slots = empty(30);
                let kept = [0, 20];
                for at in kept {
                    slots[at] = m.allocator.alloc_pages(cx, Gfp::GFP_USER, Order::ZERO).ok();
                }
                m.allocator.fail_nth(n);
                let got = m.allocator.alloc_pages_bulk_mempolicy(&bound, Gfp::GFP_USER, &mut slots);
                m.allocator.fail_nth(0);
                let full = slots.iter().flatten().count();
                // The failed share's slots stay empty, what lay in slots stays.
                assert!(slots[..got].iter().all(Option::is_some));
                assert!(kept.iter().all(|&at| slots[at].is_some()));
                assert_eq!(full < 30, n <= 3, "{n}: {full}");
                m.allocator.free_pages_bulk(cx, slots.into_iter().flatten());
            });
            expect_all_back(m, &before);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 32 }, ..ProptestConfig::default() })]

    /// Bulks and single pages by weight, in any order: each node gives what it would give page by page.
    #[test]
    fn weighted_bulks_go_on_where_single_pages_would(
        bits in 1_u8..8,
        weights in proptest::array::uniform3(1_u8..7),
        calls in proptest::collection::vec(0_usize..40, 1..8),
    ) {
        with_plain_machine(&three_nodes(), NoHooks, |m| {
            let nodes: NodeMask = (0..3).filter(|n| bits >> n & 1 != 0).map(node).collect();
            for (n, weight) in (0..).zip(weights) {
                m.allocator.tuning().weights().set(node(n), weight);
            }
            let all = (0..3).map(node).collect();
            let policy = Mempolicy::new(Mode::WeightedInterleave, ModeFlags::empty(), &nodes, &all).unwrap();
            let task = TaskPolicy::new(policy);
            // An endless row of nodes, each as often as its weight says.
            let mut turns = nodes
                .iter()
                .flat_map(|nid| std::iter::repeat_n(nid.get(), weights[nid.index()].into()))
                .collect::<Vec<_>>()
                .into_iter()
                .cycle();
            m.on_cpu(0, |cx| {
                let cx = cx.with_policy(&task);
                for pages in calls {
                    let mut slots = empty(pages.max(1));
                    if pages == 0 {
                        slots[0] = m.allocator.alloc_pages(&cx, Gfp::GFP_USER, Order::ZERO).ok();
                    } else {
                        let got = m.allocator.alloc_pages_bulk_mempolicy(&cx, Gfp::GFP_USER, &mut slots);
                        assert_eq!(got, pages);
                    }
                    let mut served = [0; 3];
                    slots.iter().flatten().for_each(|page| served[usize::from(nid(m, page))] += 1);
                    let mut expected = [0; 3];
                    (0..slots.len()).for_each(|_| expected[usize::from(turns.next().unwrap())] += 1);
                    assert_eq!(served, expected);
                    m.allocator.free_pages_bulk(&cx, slots.into_iter().flatten());
                }
            });
        });
    }
}
