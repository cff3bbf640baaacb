//! A slab for each processor: which states its slabs go through, what stays near, and what comes in between.

use super::*;
use designs::Designed;
use pagewright_platform::NoInterrupts;
use pagewright_sim::designs::with_design;
use pagewright_sim::slabs::LinearRam;
use pagewright_slab::objects::{Design, Objects};
use pagewright_slab::slabs::{Damage, Slabs};
use pagewright_zone::Gfp;
use std::ptr::NonNull;

const K: Gfp = Gfp::GFP_KERNEL;

fn slabs<'s, 'k, 'a>(m: &'s Designed<'_, 'k, '_, '_, '_, 'a>) -> &'s Slabs<'k, 'a, NoInterrupts, LinearRam> {
    let Objects::Slub(slabs) = &m.objects else { panic!("it is SLUB") };
    slabs
}

fn on(machine: &PlainMachine, f: impl FnOnce(&Designed<'_, '_, '_, '_, '_, '_>)) {
    on_design(Design::SlubCpuSlabs, machine, &Silent, f);
}

/// What an attribute begins with: the sum over all nodes.
fn told(m: &Designed<'_, '_, '_, '_, '_, '_>, cache: CacheId, name: &str) -> u64 {
    let text = slabs(m).attribute(cache, name).unwrap().to_string();
    text.split([' ', '(']).next().unwrap().parse().unwrap()
}

fn many(m: &Designed<'_, '_, '_, '_, '_, '_>, cpu: usize, cache: CacheId, n: u64) -> Vec<NonNull<u8>> {
    m.on_cpu(cpu, |cx| (0..n).map(|_| slabs(m).alloc(cx, cache, K).unwrap()).collect())
}

fn free(m: &Designed<'_, '_, '_, '_, '_, '_>, cpu: usize, cache: CacheId, objects: &[NonNull<u8>]) {
    // SAFETY: each is freed once.
    m.on_cpu(cpu, |cx| objects.iter().for_each(|&object| unsafe { slabs(m).free(cx, cache, object) }));
}

#[test]
fn what_is_freed_last_is_handed_out_first() {
    on(&small(1), |m| {
        let cache = m.allocator().create(&spec("near", 64)).unwrap();
        let objects = many(m, 0, cache, 10);
        free(m, 0, cache, &objects);
        let again = many(m, 0, cache, 10);
        assert!(again.iter().rev().eq(&objects));
        assert_eq!((told(m, cache, "slabs"), told(m, cache, "cpu_slabs")), (1, 1));
        slabs(m).validate(cache).unwrap();
        free(m, 0, cache, &again);
    });
}

#[test]
fn full_slabs_are_in_no_list_and_come_to_who_frees_there_first() {
    on(&small(2), |m| {
        let cache = m.allocator().create(&spec("full", 512)).unwrap();
        let g = slabs(m).figures(cache).unwrap().geometry;
        let (each, most) = (u64::from(g.objects), u64::from(g.cpu_partial_slabs));
        // The last of them is the processor's yet.
        let objects = many(m, 0, cache, each * (most + 3));
        assert_eq!(told(m, cache, "slabs"), most + 3);
        assert_eq!((told(m, cache, "cpu_slabs"), told(m, cache, "partial")), (1, 0));
        slabs(m).validate(cache).unwrap();
        let first_of = |slab: u64| objects[(slab * each) as usize];
        for slab in 0..most {
            free(m, 1, cache, &[first_of(slab)]);
            assert_eq!(told(m, cache, "cpu_slabs"), slab + 2, "frozen by the one that frees");
        }
        assert_eq!(told(m, cache, "partial"), 0);
        slabs(m).validate(cache).unwrap();
        // One too many: the others go to the node.
        free(m, 1, cache, &[first_of(most)]);
        assert_eq!((told(m, cache, "cpu_slabs"), told(m, cache, "partial")), (2, most));
        slabs(m).validate(cache).unwrap();
        m.on_cpu(1, |cx| slabs(m).flush_cpu(cx));
        assert_eq!((told(m, cache, "cpu_slabs"), told(m, cache, "partial")), (1, most + 1));
        let left: Vec<_> =
            objects.iter().copied().filter(|o| (0..=most).all(|slab| first_of(slab) != *o)).collect();
        free(m, 0, cache, &left);
        slabs(m).validate(cache).unwrap();
    });
}

#[test]
fn what_others_free_goes_to_the_slab_and_its_processor_takes_it_whole() {
    on(&small(2), |m| {
        let cache = m.allocator().create(&spec("remote", 256)).unwrap();
        let each = u64::from(slabs(m).figures(cache).unwrap().geometry.objects);
        let mut objects = many(m, 0, cache, each);
        free(m, 1, cache, &objects[..5]);
        slabs(m).validate(cache).unwrap();
        assert_eq!(
            (told(m, cache, "slabs"), told(m, cache, "cpu_slabs")),
            (1, 1),
            "it is the first one's yet"
        );
        let mut again = many(m, 0, cache, 5);
        assert_eq!(told(m, cache, "slabs"), 1, "no other slab was made");
        again.sort_unstable();
        objects[..5].sort_unstable();
        assert_eq!(again, objects[..5]);
        free(m, 0, cache, &objects);
    });
}

#[test]
fn a_node_keeps_so_many_empty_slabs_and_shrinking_none() {
    on(&small(1), |m| {
        let cache = m.allocator().create(&spec("kept", 2048)).unwrap();
        let g = slabs(m).figures(cache).unwrap().geometry;
        let objects = many(m, 0, cache, u64::from(g.objects) * 60);
        free(m, 0, cache, &objects);
        m.on_cpu(0, |cx| slabs(m).flush_cpu(cx));
        assert_eq!(told(m, cache, "slabs"), u64::from(g.min_partial));
        m.on_cpu(0, |cx| assert!(!slabs(m).shrink(cx, cache)));
        assert_eq!(told(m, cache, "slabs"), 0);
    });
}

#[test]
fn a_request_for_another_node_has_the_processor_give_its_slab_up() {
    let machine = model::two_nodes();
    on(&machine, |m| {
        let cache = m.allocator().create(&spec("placed", 128)).unwrap();
        m.on_cpu(0, |cx| {
            let here = slabs(m).alloc(cx, cache, K).unwrap();
            let there = slabs(m).alloc_node(cx, cache, K, node(1)).unwrap();
            assert_eq!((m.node_of(here), m.node_of(there)), (Some(node(0)), Some(node(1))));
            assert_eq!((told(m, cache, "cpu_slabs"), told(m, cache, "partial")), (1, 1));
            // Without a wish any slab does.
            let next = slabs(m).alloc(cx, cache, K).unwrap();
            assert_eq!(m.node_of(next), Some(node(1)));
            let back = slabs(m).alloc_node(cx, cache, K | Gfp::THISNODE, node(0)).unwrap();
            assert_eq!((m.node_of(back), told(m, cache, "slabs")), (Some(node(0)), 2));
            slabs(m).validate(cache).unwrap();
            for object in [here, there, next, back] {
                // SAFETY: freed once.
                unsafe { slabs(m).free(cx, cache, object) };
            }
        });
    });
}

#[test]
fn a_handler_that_comes_in_the_slow_way_takes_and_gives_elsewhere() {
    on(&small(1), |m| {
        let cache = m.allocator().create(&spec("handler", 64)).unwrap();
        let mine = many(m, 0, cache, 3);
        let theirs: Vec<_> = m.on_cpu(0, |cx| {
            cx.interrupted(|cx| (0..3).map(|_| slabs(m).alloc(cx, cache, K).unwrap()).collect())
        });
        assert_eq!(
            (told(m, cache, "slabs"), told(m, cache, "partial")),
            (2, 1),
            "of the node's, not the processor's"
        );
        m.on_cpu(0, |cx| {
            cx.interrupted(|cx| {
                for &object in mine.iter().chain(&theirs) {
                    // SAFETY: freed once.
                    unsafe { slabs(m).free(cx, cache, object) };
                }
            });
        });
        slabs(m).validate(cache).unwrap();
        assert_eq!(slabs(m).findings(), 0);
    });
}

#[test]
fn a_processor_that_is_asked_gives_its_slabs_up_for_the_cache_to_end() {
    on(&small(2), |m| {
        let cache = m.allocator().create(&spec("ending", 64)).unwrap();
        let objects = many(m, 1, cache, 5);
        // SAFETY: nobody uses it meanwhile.
        let once = |cpu| m.on_cpu(cpu, |cx| unsafe { slabs(m).destroy(cx, cache) });
        assert_eq!(once(0), Err(DestroyError::Retry { cpus: 1 }));
        m.on_cpu(1, |cx| slabs(m).poll(cx));
        let Err(DestroyError::InUse { objects: 5, first }) = once(0) else { panic!("five are in use") };
        assert!(objects.iter().any(|object| object.addr().get() == first));
        free(m, 0, cache, &objects);
        assert_eq!(once(0), Ok(Destroyed::Gone));
    });
}

#[test]
fn a_link_in_the_processors_list_that_was_written_leads_nowhere() {
    for byte in 0..if cfg!(miri) { 1 } else { 8 } {
        let kept = Kept::default();
        with_plain_machine(&small(1), NoHooks, |pages| {
            with_design(Design::SlubCpuSlabs, pages, &[NodeId::ZERO], 8, &kept, |m| {
                let cache = m.allocator().create(&spec("overwritten", 64)).unwrap();
                let objects = many(m, 0, cache, 10);
                free(m, 0, cache, &objects);
                let victim = objects[5];
                let written = victim.map_addr(|at| at.checked_add(32 + byte).unwrap());
                // SAFETY: inside a slab that lives; the write is the misuse that this is about.
                unsafe { written.write(!written.read()) };
                let again: std::collections::BTreeSet<_> = many(m, 0, cache, 200).into_iter().collect();
                assert_eq!(again.len(), 200, "byte {byte}: handed out twice");
                assert!(again.iter().all(|at| at.addr().get() % 64 == victim.addr().get() % 64));
                let found = std::mem::take(&mut *kept.0.lock().unwrap());
                let found: Vec<_> = found.iter().map(|r| (r.damage, r.address)).collect();
                assert_eq!(found, [(Damage::FreePointer, victim.addr().get())], "byte {byte}");
            });
        });
    }
}
