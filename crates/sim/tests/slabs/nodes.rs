//! SLAB on several nodes: a full one, objects of which a processor keeps only one, and too many nodes.

use super::designs::on_design;
use super::*;
use pagewright_platform::NoInterrupts;
use pagewright_sim::designs::with_design;
use pagewright_sim::slabs::LinearRam;
use pagewright_slab::objects::{Design, Objects};
use pagewright_slab::slab::{ArraySpace, Management, NodeCache, Slab, SlabConfig};
use pagewright_slab::slabs::{CreateError, Slot};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{Hooks, Progress};
use std::ptr::NonNull;

const K: Gfp = Gfp::GFP_KERNEL;

fn machine() -> PlainMachine {
    PlainMachine { cpus: vec![node(0), node(1)], ..model::two_nodes() }
}

/// Nobody may be asked to free memory.
struct NoReclaim;

impl Hooks for NoReclaim {
    fn reclaim(&self, nid: NodeId, order: Order, gfp: Gfp) -> Progress {
        panic!("reclaim on node {nid} for {order:?} with {gfp:?}");
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
        assert_eq!(slab.layout(cache).unwrap().limit, 1);
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
