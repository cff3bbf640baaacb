//! Slabs on several nodes: a full one, objects of which a processor keeps only one, too many nodes, and in which order others are asked.

use super::designs::on_design;
use super::*;
use pagewright_page::Frames;
use pagewright_platform::NoInterrupts;
use pagewright_sim::designs::with_design;
use pagewright_sim::slabs::LinearRam;
use pagewright_slab::objects::{Design, Objects};
use pagewright_slab::slab::{ArraySpace, Management, NodeCache, Slab, SlabConfig};
use pagewright_slab::slabs::{CreateError, Slot};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{AllocRequest, Hooks, NotZeroed, Progress};
use std::ptr::NonNull;

const K: Gfp = Gfp::GFP_KERNEL;

fn machine() -> PlainMachine {
    PlainMachine { cpus: vec![node(0), node(1)], ..model::two_nodes() }
}

/// Nobody may be asked to free memory.
struct NoReclaim;

impl Hooks for NoReclaim {
    fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
        Err(NotZeroed)
    }
    fn reclaim(&self, request: &AllocRequest<'_>) -> Progress {
        panic!("reclaim: {request:?}");
    }
}

/// Takes every page that node 0 gives without reclaim.
fn fill<'a>(pages: &Pages<'_, '_, '_, 'a, NoReclaim>) -> Vec<pagewright_page::Frames<'a>> {
    let gfp = (K | Gfp::THISNODE | Gfp::NOWARN) - Gfp::RECLAIM;
    pages.on_cpu(0, |cx| {
        let take = || pages.allocator.alloc_pages_node(cx, node(0), gfp, Order::ZERO).ok();
        // What a processor keeps of its own counts only once it is given back.
        let next = || {
            take().or_else(|| {
                pages.allocator.drain_local_pages(cx);
                take()
            })
        };
        std::iter::from_fn(next).collect()
    })
}

#[test]
fn a_full_node_is_left_for_another_before_anybody_frees_memory() {
    let machine = machine();
    with_plain_machine(&machine, NoReclaim, |pages| {
        with_design(Design::Slab, pages, &machine.cpus, 80, &Silent, |m| {
            let Objects::Slab(slab) = &m.objects else { panic!("another design") };
            let cache = slab.create(&spec("anywhere", 256)).unwrap();
            let taken = fill(pages);
            assert!(taken.len() > if cfg!(miri) { 100 } else { 3000 });
            let held = m.on_cpu(0, |cx| {
                [K, K | Gfp::NOFAIL].map(|gfp| {
                    let object = slab.alloc(cx, cache, gfp).unwrap();
                    assert_eq!(m.node_of(object), Some(node(1)), "{gfp:?}");
                    object
                })
            });
            // SAFETY: freed once.
            m.on_cpu(0, |cx| held.into_iter().for_each(|object| unsafe { slab.free(cx, cache, object) }));
            pages.on_cpu(0, |cx| taken.into_iter().for_each(|page| pages.allocator.free_pages(cx, page)));
        });
    });
}

#[test]
fn a_slab_lies_where_it_should_though_its_list_does_not() {
    unsafe extern "C" fn nothing(_: NonNull<u8>) {}
    let machine = machine();
    with_plain_machine(&machine, NoReclaim, |pages| {
        with_design(Design::Slab, pages, &machine.cpus, 80, &Silent, |m| {
            let Objects::Slab(slab) = &m.objects else { panic!("another design") };
            // SAFETY: it writes nothing.
            let cache = slab.create(&unsafe { spec("made", 128).with_ctor(nothing) }).unwrap();
            assert_eq!(slab.layout(cache).unwrap().management, Management::OffSlab);
            let gfp = K | Gfp::THISNODE | Gfp::NOWARN;
            m.on_cpu(0, |cx| {
                // The processor has its array before memory runs out.
                let first = slab.alloc(cx, cache, K).unwrap();
                // SAFETY: freed once.
                unsafe { slab.free(cx, cache, first) };
                slab.shrink(cx, cache);
            });
            let mut taken = fill(pages);
            // Nor has kmalloc anything on node 0 by then.
            let mut lists = vec![];
            m.on_cpu(0, |cx| {
                while let Ok(list) = slab.kmalloc(cx, 32, gfp, None) {
                    lists.push(list);
                }
            });
            let page = taken.pop().unwrap();
            pages.on_cpu(0, |cx| {
                pages.allocator.free_pages(cx, page);
                pages.allocator.drain_local_pages(cx);
            });
            m.on_cpu(0, |cx| {
                let object = slab.alloc(cx, cache, gfp).expect("there is a page");
                assert_eq!(m.node_of(object), Some(node(0)));
                // SAFETY: freed once.
                unsafe { slab.free(cx, cache, object) };
                // SAFETY: as above.
                lists.into_iter().for_each(|list| unsafe { slab.kfree(cx, list) });
                slab.validate(cache).unwrap();
            });
            pages.on_cpu(0, |cx| taken.into_iter().for_each(|page| pages.allocator.free_pages(cx, page)));
        });
    });
}

#[test]
fn of_the_largest_objects_only_one_waits_on_another_node() {
    on_design(Design::Slab, &machine(), &Silent, |m| {
        let Objects::Slab(slab) = &m.objects else { panic!("another design") };
        let cache = slab.create(&spec("huge", 200 << 10)).unwrap();
        assert_eq!(slab.layout(cache).unwrap().tunables.limit, 1);
        let held: Vec<_> = m.on_cpu(0, |cx| (0..4).map(|_| slab.alloc(cx, cache, K).unwrap()).collect());
        let active = || slab.row(cache).unwrap().active_objects;
        let before = active();
        m.on_cpu(1, |cx| {
            for (n, object) in held.into_iter().enumerate() {
                assert_eq!(m.node_of(object), Some(node(0)));
                // SAFETY: freed once.
                unsafe { slab.free(cx, cache, object) };
                assert_eq!(active(), before - n as u64, "the last one is kept here");
            }
        });
    });
}

#[test]
fn more_nodes_than_slabs_can_tell_are_refused() {
    with_plain_machine(&small(1), NoHooks, |pages| {
        let made = |nodes: usize| {
            let memory = LinearRam::new(pages.base.map()).unwrap();
            let slots = [Slot::new(), Slot::new()];
            let lists: Vec<_> =
                (0..2 * nodes).map(|_| pagewright_platform::Mutex::new(NodeCache::new())).collect();
            let space = ArraySpace { slots: &slots, lists: &lists, aliens: &[], cpus: &[], node_cpus: &[] };
            let config = SlabConfig { word: size_of::<usize>() as u32, ..SlabConfig::new(1) };
            Slab::new(*pages.base.map(), memory, NoInterrupts, config, space, &Silent, 1).map(|_| ())
        };
        assert_eq!(made(64), Ok(()));
        assert_eq!(made(65), Err(CreateError::Nodes { nodes: 65, most: 64 }));
    });
}

#[test]
fn another_nodes_slabs_are_used_before_a_new_one_is_made_as_often_as_the_ratio_says() {
    for design in [Design::Slub, Design::SlubCpuSlabs] {
        on_design(design, &machine(), &Silent, |m| {
            let Objects::Slub(slabs) = &m.objects else { panic!("another design") };
            let cache = slabs.create(&spec("spread", 512)).unwrap();
            // Node 1 has many slabs with something free.
            let mut held = m.on_cpu(1, |cx| {
                let all: Vec<_> = (0..400).map(|_| slabs.alloc(cx, cache, K).unwrap()).collect();
                // SAFETY: each is freed once.
                all.iter().step_by(8).for_each(|&object| unsafe { slabs.free(cx, cache, object) });
                slabs.flush_cpu(cx);
                all.into_iter()
                    .enumerate()
                    .filter(|(n, _)| n % 8 != 0)
                    .map(|(_, object)| object)
                    .collect::<Vec<_>>()
            });
            slabs.validate(cache).unwrap();
            let partial = slabs.figures(cache).unwrap().partial;
            assert!(partial > 20, "{design}: {partial}");
            let ask = |ratio: &str| {
                m.on_cpu(0, |cx| {
                    slabs.set_attribute(cx, cache, "remote_node_defrag_ratio", ratio).unwrap();
                    let object = slabs.alloc(cx, cache, K).unwrap();
                    // SAFETY: freed once.
                    unsafe { slabs.free(cx, cache, object) };
                    slabs.flush_cpu(cx);
                    slabs.shrink(cx, cache);
                    m.node_of(object)
                })
            };
            assert_eq!(ask("0"), Some(node(0)), "{design}");
            assert_eq!(ask("100\n"), Some(node(1)), "{design}");
            // A handler that interrupts the processor asks now and then, too: here about every second time.
            let elsewhere = m.on_cpu(0, |cx| {
                slabs.set_attribute(cx, cache, "remote_node_defrag_ratio", "51").unwrap();
                let once = |_: &usize| {
                    let object = cx.interrupted(|cx| slabs.alloc(cx, cache, K).unwrap());
                    let there = m.node_of(object) == Some(node(1));
                    // SAFETY: freed once.
                    unsafe { slabs.free(cx, cache, object) };
                    slabs.flush_cpu(cx);
                    slabs.shrink(cx, cache);
                    there
                };
                (0..64).filter(once).count()
            });
            assert!((8..=56).contains(&elsewhere), "{design}: {elsewhere} of 64");
            // A node that is asked for is what is meant.
            m.on_cpu(0, |cx| {
                let object = slabs.alloc_node(cx, cache, K, node(0)).unwrap();
                assert_eq!(m.node_of(object), Some(node(0)), "{design}");
                held.push(object);
                // SAFETY: each is freed once.
                held.into_iter().for_each(|object| unsafe { slabs.free(cx, cache, object) });
            });
        });
    }
}

/// Four nodes in a row of unequal steps, as an SLIT may have them, with a processor each. From node 3, node 1 is nearest, then 0, then 2; from node 0 it is 2, 3, 1: the way back is
/// not as long as the way there.
fn four_nodes() -> PlainMachine {
    const SLIT: [[u32; 4]; 4] = [[10, 40, 15, 20], [20, 10, 30, 40], [15, 25, 10, 35], [22, 16, 31, 10]];
    let each = if cfg!(miri) { 256 } else { 1 << 12 };
    PlainMachine {
        ram: (0..4).map(|n| (node(n), 0x4_0000 * (u64::from(n) + 1), each)).collect(),
        cpus: (0..4).map(node).collect(),
        distance: |from, to| SLIT[from.index()][to.index()],
        ..small(4)
    }
}

#[test]
fn other_nodes_are_asked_in_the_order_of_their_distance_not_of_their_numbers() {
    for design in [Design::Slub, Design::SlubCpuSlabs, Design::Slab] {
        let machine = four_nodes();
        on_design(design, &machine, &Silent, |m| {
            let o = m.allocator();
            for (from, order) in [(3_u16, [1, 0, 2]), (0, [2, 3, 1])] {
                let name = format!("far-{from}");
                let cache = o.create(&spec(&name, 512)).unwrap();
                // Each of the others has a slab with something free in it.
                let mut kept: Vec<_> = order
                    .iter()
                    .map(|&on| {
                        m.on_cpu(usize::from(on), |cx| {
                            let [stays, goes] = [(); 2].map(|()| o.alloc(cx, cache, K).unwrap());
                            // SAFETY: freed once.
                            unsafe { o.free(cx, cache, goes) };
                            o.flush_cpu(cx);
                            stays
                        })
                    })
                    .collect();
                let slabs = o.row(cache).unwrap().slabs;
                // No page is left, so that no slab can be made.
                let taken = m.pages.on_cpu(usize::from(from), |cx| {
                    let mut taken = vec![];
                    let gfp = (K | Gfp::NOWARN | Gfp::MEMALLOC) - Gfp::RECLAIM;
                    while let Ok(page) = m.pages.allocator.alloc_pages(cx, gfp, Order::ZERO) {
                        taken.push(page);
                    }
                    taken
                });
                m.on_cpu(usize::from(from), |cx| {
                    let found: Vec<_> =
                        std::iter::from_fn(|| o.alloc(cx, cache, K | Gfp::NOWARN).ok()).collect();
                    assert_eq!(o.row(cache).unwrap().slabs, slabs, "{design}: a slab was made");
                    let mut nodes: Vec<_> = found.iter().map(|&object| m.node_of(object).unwrap()).collect();
                    nodes.dedup();
                    assert_eq!(nodes, order.map(node), "{design}: from node {from}");
                    kept.extend(found);
                    // SAFETY: each is freed once.
                    kept.into_iter().for_each(|object| unsafe { o.free(cx, cache, object) });
                });
                let give = |page| m.pages.on_cpu(0, |cx| m.pages.allocator.free_pages(cx, page));
                taken.into_iter().for_each(give);
            }
        });
    }
}

#[test]
fn of_several_nodes_with_slabs_to_spare_the_nearest_gives() {
    for design in [Design::Slub, Design::SlubCpuSlabs] {
        on_design(design, &four_nodes(), &Silent, |m| {
            let Objects::Slub(slabs) = &m.objects else { panic!("another design") };
            let cache = slabs.create(&spec("spare", 1024)).unwrap();
            let mut held = vec![];
            for cpu in [0, 1, 2] {
                m.on_cpu(cpu, |cx| {
                    let all: Vec<_> = (0..160).map(|_| slabs.alloc(cx, cache, K).unwrap()).collect();
                    for (n, object) in all.into_iter().enumerate() {
                        if n % 4 == 0 {
                            // SAFETY: freed once.
                            unsafe { slabs.free(cx, cache, object) };
                        } else {
                            held.push(object);
                        }
                    }
                    slabs.flush_cpu(cx);
                });
            }
            m.on_cpu(3, |cx| {
                slabs.set_attribute(cx, cache, "remote_node_defrag_ratio", "100").unwrap();
                slabs.set_attribute(cx, cache, "min_partial", "2").unwrap();
                let object = slabs.alloc(cx, cache, K).unwrap();
                assert_eq!(m.node_of(object), Some(node(1)), "{design}");
                held.push(object);
                // SAFETY: each is freed once.
                held.into_iter().for_each(|object| unsafe { slabs.free(cx, cache, object) });
            });
        });
    }
}
