//! Every operation that allocates, with each of its allocations failing in turn: it fails as a whole or does without, and what it had
//! begun is undone.

use super::bulk::Zeroer;
use super::contig::{all_leave, pfns, settle, small, types};
use super::*;
use crate::whole::with_plain_machine;
use pagewright_addr::Pfn;
use pagewright_page::Frames;
use pagewright_sim::pages::{Pluggable, with_pluggable_machine};
use pagewright_sim::tenants::Tenants;
use pagewright_zone::alloc::cma::{CmaArea, DmaAreas};
use pagewright_zone::alloc::hotplug::{BlockState, MemoryBlocks, NoNotifier, OnlineType};
use pagewright_zone::alloc::{AllocFailure, Context, TaskFlags};
use pagewright_zone::policy::{Mempolicy, TaskPolicy};
use pagewright_zone::{Gfp, NodeMask};

/// More allocations than any operation here needs.
const MANY: u32 = 4000;

type Machine<'x, 'm, 's, 'a> = Pages<'x, 'm, 's, 'a, Zeroer>;
/// Allocates in one way and frees again.
type Op = fn(&Machine<'_, '_, '_, '_>, usize) -> Result<(), AllocFailure>;

/// Two nodes with a CPU each.
fn machine() -> PlainMachine {
    let ram = vec![(node(0), 0x4_0000, 2048), (node(1), 0x5_0000, 2048)];
    PlainMachine { ram, cpus: vec![node(0), node(1)], ..small(0, 0) }
}

/// Runs `op` with its `n`-th allocation failing. How it ends, and how many it has asked for, if that was not reached.
fn failing<H: Hooks, R>(m: &Pages<'_, '_, '_, '_, H>, n: u32, op: impl FnOnce() -> R) -> (R, Option<u32>) {
    m.allocator.fail_nth(n);
    let end = op();
    // Movable pages on a CPU that nobody uses, so that what is asked for here disturbs nothing.
    let left = m.on_cpu(m.cpus() - 1, |cx| {
        (1..=n).find(|_| match m.allocator.alloc_pages(cx, Gfp::GFP_HIGHUSER_MOVABLE, Order::ZERO) {
            Ok(page) => {
                m.allocator.free_pages(cx, page);
                false
            }
            Err(e) => e == AllocFailure::Injected { nth: n },
        })
    });
    m.allocator.fail_nth(0);
    (end, left.map(|left| n - left))
}

/// Frees what an allocation gave.
fn freed<'m, 'a>(
    m: &Machine<'_, 'm, '_, 'a>,
    cx: &Context<'_, 'm, 'a>,
    found: Result<Frames<'a>, AllocFailure>,
) -> Result<(), AllocFailure> {
    m.allocator.free_pages(cx, found?);
    Ok(())
}

/// The same by number.
fn freed_at<'m, 'a>(
    m: &Machine<'_, 'm, '_, 'a>,
    cx: &Context<'_, 'm, 'a>,
    found: Result<Pfn, AllocFailure>,
    n: u8,
) -> Result<(), AllocFailure> {
    m.allocator.free_pages_at(cx, found?, order(n)).expect("as it came");
    Ok(())
}

fn by_policy(m: &Machine<'_, '_, '_, '_>, text: &str, huge: bool) -> Result<(), AllocFailure> {
    let policy = Mempolicy::parse(text, &[node(0), node(1)].into_iter().collect()).unwrap();
    m.on_cpu(0, |cx| {
        let task = TaskPolicy::new(policy);
        let mine = m.allocator.alloc_pages(&cx.with_policy(&task), Gfp::GFP_USER, Order::ZERO);
        freed(m, cx, mine)?;
        freed(m, cx, m.allocator.alloc_pages_mpol(cx, &policy, 1, Gfp::GFP_HIGHUSER_MOVABLE, order(4), huge))
    })
}

/// Ways to allocate, and how many allocations each asks for.
const OPS: [(&str, u32, Op); 19] = [
    ("single page", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| freed(m, cx, m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, Order::ZERO)))
    }),
    ("order 3", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| freed(m, cx, m.allocator.alloc_pages(cx, Gfp::GFP_ATOMIC, order(3))))
    }),
    ("order 10", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| freed(m, cx, m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL, order(10))))
    }),
    ("compound", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| {
            freed(m, cx, m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL | Gfp::COMP | Gfp::ZERO, order(4)))
        })
    }),
    ("never to fail", 1, |m, cpu| {
        // Linux's injection spares those; here it is the embedder that names an allocation by its number.
        m.on_cpu(cpu, |cx| freed(m, cx, m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL | Gfp::NOFAIL, order(1))))
    }),
    ("from reserves", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| {
            let all = cx.with_task(TaskFlags::MEMALLOC);
            freed(m, cx, m.allocator.alloc_pages(&all, Gfp::GFP_KERNEL, order(2)))
        })
    }),
    ("a node's", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| {
            freed(m, cx, m.allocator.alloc_pages_node(cx, node(1), Gfp::GFP_KERNEL | Gfp::THISNODE, order(5)))
        })
    }),
    ("some nodes'", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| {
            let nodes = NodeMask::only(node(1));
            freed(m, cx, m.allocator.alloc_pages_nodemask(cx, node(0), Some(&nodes), Gfp::GFP_USER, order(2)))
        })
    }),
    ("exact", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| freed(m, cx, m.allocator.alloc_pages_exact(cx, Gfp::GFP_KERNEL, 5)))
    }),
    ("a node's, exact", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| freed(m, cx, m.allocator.alloc_pages_exact_nid(cx, node(1), Gfp::GFP_KERNEL, 77)))
    }),
    ("by number", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| freed_at(m, cx, m.allocator.get_free_pages(cx, Gfp::GFP_KERNEL, order(3)), 3))
    }),
    ("a node's, by number", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| {
            freed_at(m, cx, m.allocator.get_free_pages_node(cx, node(1), Gfp::GFP_KERNEL, order(1)), 1)
        })
    }),
    ("zeroed", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| freed_at(m, cx, m.allocator.get_zeroed_page(cx, Gfp::GFP_KERNEL), 0))
    }),
    ("for DMA", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| freed_at(m, cx, m.allocator.get_dma_pages(cx, Gfp::GFP_KERNEL, order(2)), 2))
    }),
    ("exact, by number", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| {
            let at = m.allocator.get_free_pages_exact(cx, Gfp::GFP_KERNEL, 9)?;
            m.allocator.free_pages_exact_at(cx, at, 9).expect("as it came");
            Ok(())
        })
    }),
    ("a node's, exact, by number", 1, |m, cpu| {
        m.on_cpu(cpu, |cx| {
            let at = m.allocator.get_free_pages_exact_nid(cx, node(1), Gfp::GFP_KERNEL, 3)?;
            m.allocator.free_pages_exact_at(cx, at, 3).expect("as it came");
            Ok(())
        })
    }),
    ("bound", 2, |m, _| by_policy(m, "bind:1", false)),
    ("interleaved", 2, |m, _| by_policy(m, "interleave:0-1", false)),
    ("huge, preferred", 2, |m, _| by_policy(m, "local", false)),
];

#[test]
fn an_allocation_that_fails_changes_nothing() {
    let ops = if cfg!(miri) { &OPS[..3] } else { &OPS[..] };
    for &(name, count, op) in ops {
        with_plain_machine(&machine(), Zeroer::default(), |m| {
            let before = buddyinfo(m);
            let (end, asked) = failing(m, MANY, || op(m, 0));
            assert_eq!((end, asked), (Ok(()), Some(count)), "{name}");
            expect_all_back(m, &before);
            for nth in 1..=count {
                let (end, asked) = failing(m, nth, || op(m, 0));
                assert_eq!((end, asked), (Err(AllocFailure::Injected { nth }), None), "{name}");
                expect_all_back(m, &before);
            }
        });
    }
}

#[test]
fn what_has_another_way_takes_it() {
    // A far huge page for a near one, any node for the preferred ones.
    for (text, huge) in [("local", true), ("prefer (many):1", false)] {
        with_plain_machine(&machine(), Zeroer::default(), |m| {
            let before = buddyinfo(m);
            // The first page of a preference for many has another way, too.
            for nth in if huge { 2..3 } else { 1..3 } {
                let (end, asked) = failing(m, nth, || by_policy(m, text, huge));
                assert_eq!((end, asked), (Ok(()), None), "{text}, allocation {nth}");
                expect_all_back(m, &before);
            }
        });
    }
}

#[test]
fn many_pages_at_once_are_fewer_after_a_failure_and_none_is_lost() {
    for nth in 1..6 {
        with_plain_machine(&machine(), Zeroer::default(), |m| {
            let before = buddyinfo(m);
            let mut kept = vec![];
            let ((), _) = failing(m, nth, || {
                m.on_cpu(0, |cx| {
                    let mut slots: Vec<Option<Frames<'_>>> = vec![];
                    slots.resize_with(40, || None);
                    let (mut batch, mut numbers) = ([const { None }; 8], [None; 20]);
                    let found = m.allocator.alloc_pages_bulk(cx, Gfp::GFP_KERNEL, &mut slots);
                    let named =
                        m.allocator.get_free_pages_bulk(cx, Gfp::GFP_KERNEL, &mut batch, &mut numbers);
                    assert!(
                        slots[..found].iter().all(Option::is_some)
                            && slots[found..].iter().all(Option::is_none)
                    );
                    assert!(
                        numbers[..named].iter().all(Option::is_some)
                            && numbers[named..].iter().all(Option::is_none)
                    );
                    assert!(batch.iter().all(Option::is_none));
                    kept.push((found, named));
                    m.allocator.free_pages_bulk(cx, slots.into_iter().flatten());
                    for at in numbers.into_iter().flatten() {
                        m.allocator.free_pages_at(cx, at, Order::ZERO).expect("as it came");
                    }
                });
            });
            let expected = match nth {
                1 => (0, 20),
                2 => (40, 0),
                3 => (40, 8),
                4 => (40, 16),
                _ => (40, 20),
            };
            assert_eq!(kept, [expected], "allocation {nth}");
            expect_all_back(m, &before);
        });
    }
}

/// What is not to change: types of pageblocks, free pages of each zone, who lives there.
fn look<H: Hooks>(
    m: &Pages<'_, '_, '_, '_, H>,
    tenants: &Tenants<'_>,
) -> (Vec<MigrateType>, Vec<u64>, usize) {
    (types(m), m.allocator.zones().iter().map(ZoneCell::free_pages).collect(), tenants.names().len())
}

/// What moves pages out of the way, and gives back what it got. Compaction is not among it: it takes places from the free lists and asks
/// for no page.
type Mover =
    for<'m, 'a> fn(&Machine<'_, 'm, '_, 'a>, &Context<'_, 'm, 'a>, &Tenants<'a>, &CmaArea<'_>) -> bool;

fn given_back<'m, 'a, E>(
    m: &Machine<'_, 'm, '_, 'a>,
    cx: &Context<'_, 'm, 'a>,
    found: Result<Frames<'a>, E>,
) -> bool {
    found.map(|frames| m.allocator.free_pages(cx, frames)).is_ok()
}

const MOVERS: [(&str, Mover); 5] = [
    ("a range", |m, cx, tenants, _| {
        let range = pfns(100, 200);
        let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN;
        given_back(m, cx, m.allocator.alloc_contig_range(cx, tenants, range, MigrateType::Movable, gfp))
    }),
    ("any range", |m, cx, tenants, _| {
        let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN;
        given_back(m, cx, m.allocator.alloc_contig_pages(cx, tenants, node(0), gfp, 256))
    }),
    ("an area", |m, cx, tenants, area| {
        let found = m.allocator.cma_alloc(cx, tenants, area, (200, order(3), true));
        found.is_ok_and(|frames| m.allocator.cma_release(cx, area, frames).is_ok())
    }),
    ("for a device", |m, cx, tenants, area| {
        let areas = DmaAreas { device: Some(area), ..DmaAreas::default() };
        let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN;
        let found = m.allocator.dma_alloc_contiguous(cx, tenants, &areas, None, (100, gfp));
        found.is_some_and(|frames| {
            m.allocator.dma_free_contiguous(cx, &areas, frames);
            true
        })
    }),
    ("for a device, from anywhere", |m, cx, tenants, area| {
        let areas = DmaAreas { device: Some(area), ..DmaAreas::default() };
        let gfp = Gfp::GFP_KERNEL | Gfp::NOWARN;
        let found = m.allocator.dma_alloc_pages(cx, tenants, &areas, None, (60, gfp));
        found.map(|frames| m.allocator.dma_free_contiguous(cx, &areas, frames)).is_ok()
    }),
];

/// One run on a machine with tenants here and there: how it ended, and how many allocations it asked for.
fn moving(op: Mover, n: u32) -> (bool, Option<u32>) {
    let machine = PlainMachine { cma: vec![(0x4_0400, 512)], ..small(4096, 2) };
    with_plain_machine(&machine, Zeroer::default(), |m| {
        let before = buddyinfo(m);
        let tenants = Tenants::new(*m.base.map());
        let mut words = [0; 8];
        let area = CmaArea::new("video", pfns(1024, 512), Order::ZERO, &mut words).unwrap();
        m.on_cpu(0, |cx| {
            // In each part of memory every seventh page has somebody.
            let names = settle(m, cx, &tenants, 3300, Order::ZERO);
            for (at, name) in names.into_iter().enumerate() {
                if at % 7 != 0 {
                    m.allocator.free_pages(cx, tenants.leave(name).expect("nobody is isolated"));
                }
            }
            m.allocator.drain_local_pages(cx);
        });
        let was = look(m, &tenants);
        let (end, asked) = failing(m, n, || m.on_cpu(0, |cx| op(m, cx, &tenants, &area)));
        drain(m);
        assert_eq!((m.allocator.validate(), m.allocator.cma_figures(&area).used), (Ok(()), 0));
        tenants.check();
        let now = look(m, &tenants);
        assert_eq!((&now.1, now.2), (&was.1, was.2), "no page and no tenant is lost");
        if !end {
            assert_eq!(now.0, was.0, "pageblocks have their types back");
        }
        m.on_cpu(0, |cx| all_leave(m, cx, &tenants));
        expect_all_back(m, &before);
        (end, asked)
    })
}

#[test]
fn a_move_that_finds_no_place_leaves_everybody_somewhere() {
    let mut failures = vec![];
    for (name, op) in MOVERS {
        if cfg!(miri) && name != "a range" {
            continue;
        }
        let (end, asked) = moving(op, MANY);
        let asked = asked.expect("fewer than many");
        assert!(end && asked > 0, "{name}: {asked}");
        // Each of the first, and some of the others.
        let some = (1..=asked).filter(|n| *n <= 6 || n % 19 == 0 || *n == asked);
        let failed = some.filter(|&n| !moving(op, n).0).count();
        failures.push((name, failed > 0));
    }
    // What has another place or another way finds it.
    let gives_up = |name: &str| !matches!(name, "any range" | "for a device, from anywhere");
    assert!(failures.iter().all(|&(name, failed)| failed || !gives_up(name)), "{failures:?}");
}

#[test]
fn memory_that_cannot_be_emptied_stays_in_service() {
    const BLOCK: u64 = 1024;
    let run = |n: u32| {
        let machine =
            PlainMachine { plug: Pluggable { frames: BLOCK, nodes: vec![] }, ..small(4 * BLOCK, 2) };
        with_pluggable_machine(&machine, Zeroer::default(), None, |m, marks| {
            let (before, tenants) = (buddyinfo(m), Tenants::new(*m.base.map()));
            let mut room = vec![];
            room.resize_with(5, || pagewright_zone::alloc::hotplug::MemoryBlock::EMPTY);
            let shift = pagewright_addr::PageShift::SHIFT_4K;
            let mut blocks = MemoryBlocks::new(&mut room, &m.allocator, BLOCK, shift).unwrap();
            let number = 0x4_0000 / BLOCK + 1;
            m.on_cpu(0, |cx| {
                let names = settle(m, cx, &tenants, 2500, Order::ZERO);
                for (at, name) in names.into_iter().enumerate() {
                    if at % 40 != 0 {
                        m.allocator.free_pages(cx, tenants.leave(name).expect("nobody is isolated"));
                    }
                }
                m.allocator.drain_local_pages(cx);
            });
            let was = look(m, &tenants);
            let mut plug = super::hotplug::plug(marks, &NoNotifier);
            let (end, asked) = failing(m, n, || {
                m.on_cpu(0, |cx| m.allocator.offline_pages(cx, &tenants, &mut blocks, number, &mut plug))
            });
            drain(m);
            tenants.check();
            let state = blocks.block(number).map(|block| block.state());
            if end.is_ok() {
                assert_eq!(state, Some(BlockState::Offline));
                m.allocator.online_pages(&mut blocks, number, OnlineType::Online, &mut plug).unwrap();
            } else {
                assert_eq!((state, look(m, &tenants)), (Some(BlockState::Online), was));
            }
            m.on_cpu(0, |cx| all_leave(m, cx, &tenants));
            expect_all_back(m, &before);
            (end.is_ok(), asked)
        })
    };
    let (end, asked) = run(MANY);
    let asked = asked.expect("fewer than many");
    assert!(end && asked > 5, "{asked}");
    for n in 1..=if cfg!(miri) { 1 } else { asked } {
        let (_, left) = run(n);
        assert!(left.is_none(), "the {n}. allocation was asked for");
    }
}
