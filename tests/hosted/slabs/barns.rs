//! What a node's barn keeps between processors and slabs, how much of it, and how it comes back.

use super::*;
use pagewright_slab::objects::ObjectAllocator;
use pagewright_zone::Gfp;
use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

const K: Gfp = Gfp::GFP_KERNEL;
/// Some of these fit a row, most do not.
const MANY: usize = 1000;

/// So many objects on a processor.
fn take(m: &Machine<'_, '_, '_, '_, '_, '_>, cpu: usize, cache: CacheId, n: usize) -> Vec<NonNull<u8>> {
    m.on_cpu(cpu, |cx| (0..n).map(|_| m.slabs.alloc(cx, cache, K).unwrap()).collect())
}

/// Frees them on a processor.
fn give(m: &Machine<'_, '_, '_, '_, '_, '_>, cpu: usize, cache: CacheId, objects: Vec<NonNull<u8>>) {
    // SAFETY: they came from `take`, each is freed once.
    m.on_cpu(cpu, |cx| objects.into_iter().for_each(|object| unsafe { m.slabs.free(cx, cache, object) }));
}

#[test]
fn what_one_processor_frees_another_allocates() {
    silently(2, |m| {
        let cache = m.slabs.create(&spec("passed", 64)).unwrap();
        let objects = take(m, 0, cache, MANY);
        let first: BTreeSet<_> = objects.iter().copied().collect();
        give(m, 0, cache, objects);
        let slabs = m.slabs.figures(cache).unwrap().slabs;
        assert!(slabs * 64 >= MANY as u64 && m.slabs.kept_in_barns() > 64 * (MANY - 200));
        // All but what the first processor has at hand.
        let again = take(m, 1, cache, MANY - 120);
        assert!(again.iter().all(|object| first.contains(object)), "out of the barn");
        assert_eq!(m.slabs.figures(cache).unwrap().slabs, slabs, "no new slab");
        give(m, 1, cache, again);
    });
}

#[test]
fn a_barn_keeps_no_more_than_it_may() {
    silently(1, |m| {
        let cache = m.slabs.create(&spec("bounded", 64)).unwrap();
        for limit in [0, 20 * 1024] {
            m.slabs.set_barn_limit(limit);
            let objects = take(m, 0, cache, MANY);
            give(m, 0, cache, objects);
            let (kept, figures) = (m.slabs.kept_in_barns(), m.slabs.figures(cache).unwrap());
            // A block may be begun within the limit.
            assert!(kept <= limit + 1024 && (kept > 0) == (limit > 0), "{kept} of {limit}");
            let others = 1 + 120_u64.div_ceil(64) + u64::from(figures.geometry.min_partial);
            assert!(figures.slabs <= kept.div_ceil(64) as u64 + others, "{figures:?}");
        }
    });
}

#[test]
fn what_nobody_needed_between_two_reapings_goes_back() {
    silently(1, |m| {
        let cache = m.slabs.create(&spec("reaped", 256)).unwrap();
        let (idle, busy) = (take(m, 0, cache, 600), take(m, 0, cache, 300));
        give(m, 0, cache, idle);
        give(m, 0, cache, busy);
        let kept = m.slabs.kept_in_barns();
        let reap = || m.on_cpu(0, |cx| m.slabs.reap_barns(cx));
        reap();
        assert_eq!(m.slabs.kept_in_barns(), kept, "all of it is new");
        let busy = take(m, 0, cache, 300);
        give(m, 0, cache, busy);
        reap();
        let used = m.slabs.kept_in_barns();
        assert!(used < kept / 2 && used > 200 * 256, "{used} of {kept} are needed from time to time");
        reap();
        assert_eq!(m.slabs.kept_in_barns(), 0);
    });
}

#[test]
fn all_barns_can_be_emptied_at_once() {
    silently(2, |m| {
        let caches = [8, 64, 1000].map(|size| m.slabs.create(&spec("emptied", size)).unwrap());
        for cache in caches {
            let objects = take(m, 0, cache, MANY);
            give(m, 1, cache, objects);
        }
        assert!(m.slabs.kept_in_barns() > MANY * 1000 / 2);
        m.on_cpu(0, |cx| m.slabs.empty_barns(cx));
        assert_eq!(m.slabs.kept_in_barns(), 0);
        for cache in caches {
            m.slabs.validate(cache).unwrap();
        }
    });
}

#[test]
fn objects_in_a_barn_are_no_longer_in_use() {
    silently(1, |m| {
        let cache = m.slabs.create(&spec("counted", 64)).unwrap();
        let objects = take(m, 0, cache, MANY);
        assert!(m.slabs.figures(cache).unwrap().active_objects >= MANY as u64);
        give(m, 0, cache, objects);
        assert!(m.slabs.figures(cache).unwrap().active_objects <= 120 + 64, "those at hand alone");
    });
}

#[test]
fn a_barn_has_its_own_nodes_objects_only() {
    let machine = PlainMachine { cpus: vec![node(0), node(1)], ..model::two_nodes() };
    on(&machine, &Silent, |m| {
        let cache = m.slabs.create(&spec("homes", 128)).unwrap();
        // Processor 0 takes from both nodes, processor 1 frees.
        let far: Vec<_> = m.on_cpu(0, |cx| {
            (0..300).map(|n| m.slabs.alloc_node(cx, cache, K, node(n % 2)).unwrap()).collect()
        });
        give(m, 1, cache, far);
        let near = take(m, 0, cache, 300);
        give(m, 0, cache, near);
        let here = |cpu, nid| {
            m.on_cpu(cpu, |cx| {
                let gfp = K | Gfp::THISNODE;
                let one = || m.slabs.alloc_node(cx, cache, gfp, node(nid)).unwrap();
                let objects: Vec<_> = (0..200).map(|_| one()).collect();
                assert!(objects.iter().all(|&object| m.node_of(object) == Some(node(nid))), "{cpu} {nid}");
                objects
            })
        };
        for (cpu, nid) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let objects = here(cpu, nid);
            give(m, cpu, cache, objects);
        }
    });
}

#[test]
fn objects_of_another_node_in_a_row_do_not_get_into_its_barn() {
    let machine = PlainMachine { cpus: vec![node(0), node(1)], ..model::two_nodes() };
    on(&machine, &Silent, |m| {
        let cache = m.slabs.create(&spec("strayed", 128)).unwrap();
        let near = take(m, 0, cache, 200);
        // The node is full, so the row is filled from a slab of the other one.
        let gfp = (K | Gfp::THISNODE | Gfp::NOWARN) - Gfp::RECLAIM;
        let pages: Vec<_> = m.pages.on_cpu(0, |cx| {
            let one = || m.pages.allocator.alloc_pages_node(cx, node(0), gfp, Order::ZERO).ok();
            std::iter::from_fn(one).collect()
        });
        let mut some = vec![];
        while some.last().and_then(|&object| m.node_of(object)) != Some(node(1)) {
            some.extend(take(m, 0, cache, 1));
            assert!(some.len() < 200, "no slab of the other node");
        }
        give(m, 0, cache, near);
        m.pages.on_cpu(0, |cx| pages.into_iter().for_each(|page| m.pages.allocator.free_pages(cx, page)));
        let gfp = K | Gfp::THISNODE;
        let here: Vec<_> = m
            .on_cpu(0, |cx| (0..300).map(|_| m.slabs.alloc_node(cx, cache, gfp, node(0)).unwrap()).collect());
        assert!(here.iter().all(|&object| m.node_of(object) == Some(node(0))));
        give(m, 0, cache, here);
        give(m, 0, cache, some);
    });
}

#[test]
fn without_a_block_for_their_addresses_objects_go_to_their_slabs() {
    silently(1, |m| {
        let cache = m.slabs.create(&spec("blockless", 1024)).unwrap();
        let objects = take(m, 0, cache, 100);
        // No page is left, and the cache of rooms has a slab with a few rooms.
        let gfp = (K | Gfp::NOWARN) - Gfp::RECLAIM;
        let pages: Vec<_> = m.pages.on_cpu(0, |cx| {
            std::iter::from_fn(|| m.pages.allocator.alloc_pages(cx, gfp, Order::ZERO).ok()).collect()
        });
        assert!(!pages.is_empty());
        give(m, 0, cache, objects);
        m.slabs.validate(cache).unwrap();
        m.pages.on_cpu(0, |cx| pages.into_iter().for_each(|page| m.pages.allocator.free_pages(cx, page)));
        let again = take(m, 0, cache, 100);
        give(m, 0, cache, again);
    });
}

/// One processor reaps while another makes and ends caches: whichever comes first, the cache ends, and everything is back.
#[test]
fn a_cache_ends_while_barns_are_reaped() {
    let rounds = if cfg!(miri) { 4 } else { 200 };
    silently(2, |m| {
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !done.load(SeqCst) {
                    m.on_cpu(1, |cx| {
                        m.slabs.empty_barns(cx);
                        m.slabs.poll(cx);
                    });
                    std::thread::yield_now();
                }
            });
            for _ in 0..rounds {
                let cache = m.slabs.create(&spec("ending", 512)).unwrap();
                let objects = take(m, 0, cache, 200);
                give(m, 0, cache, objects);
                // SAFETY: nobody uses the cache but who reaps.
                while let Err(why) = m.on_cpu(0, |cx| unsafe { m.slabs.destroy(cx, cache) }) {
                    assert!(matches!(why, DestroyError::Retry { .. }), "{why}");
                    std::thread::yield_now();
                }
            }
            done.store(true, SeqCst);
        });
        m.on_cpu(0, |cx| m.slabs.empty_barns(cx));
        assert_eq!(m.slabs.kept_in_barns(), 0);
    });
}

#[test]
fn of_all_processors_reapers_one_reaps_barns_each_time() {
    silently(2, |m| {
        let cache = m.slabs.create(&spec("in turn", 256)).unwrap();
        let (idle, busy) = (take(m, 0, cache, 600), take(m, 0, cache, 300));
        give(m, 0, cache, idle);
        give(m, 0, cache, busy);
        let reap = |cpu| m.on_cpu(cpu, |cx| ObjectAllocator::reap(&m.slabs, cx, 0));
        let kept = m.slabs.kept_in_barns();
        [0, 1].into_iter().for_each(reap);
        assert_eq!(m.slabs.kept_in_barns(), kept, "all of it is new");
        let busy = take(m, 0, cache, 300);
        give(m, 0, cache, busy);
        [0, 1].into_iter().for_each(reap);
        let used = m.slabs.kept_in_barns();
        assert!(used < kept / 2 && used > 200 * 256, "{used} of {kept} are needed from time to time");
        // The first is gone: the other goes on by itself.
        let busy = take(m, 1, cache, 100);
        give(m, 1, cache, busy);
        reap(1);
        assert!(m.slabs.kept_in_barns() > 0);
        reap(1);
        assert_eq!(m.slabs.kept_in_barns(), 0);
    });
}

#[test]
fn what_is_counted_is_what_is_there_while_processors_pass_objects_on() {
    let rounds = if cfg!(miri) { 2 } else { 300 };
    silently(2, |m| {
        let cache = m.slabs.create(&spec("counted", 64)).unwrap();
        let limit = 40 * 1024;
        m.slabs.set_barn_limit(limit);
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let worker = |cpu| {
                move || {
                    for _ in 0..rounds {
                        let objects = take(m, cpu, cache, 300);
                        give(m, cpu, cache, objects);
                    }
                }
            };
            let workers = [0, 1].map(|cpu| threads.spawn(worker(cpu)));
            let watcher = threads.spawn(|| {
                let mut most = 0;
                while !done.load(SeqCst) {
                    most = most.max(m.slabs.kept_in_barns());
                    std::thread::yield_now();
                }
                most
            });
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            done.store(true, SeqCst);
            let most = watcher.join().unwrap();
            // Two processors that come at once put in a step and a block each.
            assert!(most <= limit + 2 * (90 * 64 + 1024), "{most} of {limit}");
        });
    });
}
