//! What caches do, one fact after the other.

use super::*;
use pagewright_platform::NoInterrupts;
use pagewright_sim::slabs::LinearRam;
use pagewright_slab::slabs::{CpuSlab, CreateError, NodeSlabs, Row, SlabCpu, SlabSpace, Slot};
use pagewright_slab::slub::Slub;
use pagewright_slab::{SlabError, Slabs};
use pagewright_zone::Gfp;
use std::collections::BTreeSet;
use std::ptr::NonNull;

const K: Gfp = Gfp::GFP_KERNEL;

#[test]
fn a_driver_makes_a_cache_uses_it_and_ends_it() {
    silently(1, |m| {
        m.on_cpu(0, |cx| {
            let spec = CacheSpec::new("my_driver", 40, 0, CacheFlags::HWCACHE_ALIGN);
            let cache = m.slabs.create(&spec).unwrap();
            let object = m.slabs.alloc(cx, cache, K).unwrap();
            assert_eq!(object.addr().get() % 64, 0, "at a cache line");
            let figures = m.slabs.figures(cache).unwrap();
            assert_eq!((figures.geometry.size, figures.objects, figures.slabs), (64, 64, 1));
            // SAFETY: freed once, and used by nobody.
            unsafe { m.slabs.free(cx, cache, object) };
            // SAFETY: nobody uses it.
            assert_eq!(unsafe { m.slabs.destroy(cx, cache) }, Ok(Destroyed::Gone));
            assert_eq!(m.slabs.alloc(cx, cache, K), Err(SlabError::Stale));
            // SAFETY: as above.
            assert_eq!(unsafe { m.slabs.destroy(cx, cache) }, Err(DestroyError::Stale));
        });
    });
}

#[test]
fn objects_do_not_touch_each_other_and_lie_as_asked() {
    for (size, align) in [(8, 0), (24, 0), (40, 64), (100, 256), (700, 8), (4096, 4096), (9000, 0)] {
        silently(1, |m| {
            m.on_cpu(0, |cx| {
                let spec = CacheSpec::new("some", size, align, CacheFlags::empty());
                let cache = m.slabs.create_unmerged(&spec).unwrap();
                let count = if cfg!(miri) { 20 } else { 700 };
                let objects: Vec<_> = (0..count).map(|_| m.slabs.alloc(cx, cache, K).unwrap()).collect();
                let starts: BTreeSet<usize> = objects.iter().map(|o| o.addr().get()).collect();
                assert_eq!(starts.len(), objects.len(), "none twice");
                let gaps = starts.iter().zip(starts.iter().skip(1)).map(|(a, b)| b - a);
                assert!(gaps.min().unwrap() >= size as usize);
                assert!(starts.iter().all(|at| at % (align.max(8) as usize) == 0));
                let ascending = objects.windows(2).filter(|pair| pair[0] < pair[1]).count();
                assert!(size > 1000 || ascending < objects.len() - 1, "no order to rely on");
                m.slabs.validate(cache).unwrap();
                // SAFETY: each is freed once.
                objects.into_iter().for_each(|object| unsafe { m.slabs.free(cx, cache, object) });
            });
        });
    }
}

#[test]
fn a_zeroed_object_is_zero_whatever_it_held() {
    silently(1, |m| {
        m.on_cpu(0, |cx| {
            let cache = m.slabs.create(&spec("zeroed", 96)).unwrap();
            for _ in 0..2 {
                let object = m.slabs.alloc(cx, cache, K | Gfp::ZERO).unwrap();
                // SAFETY: an object of 96 bytes that is ours.
                let bytes = unsafe { core::slice::from_raw_parts_mut(object.as_ptr(), 96) };
                assert!(bytes.iter().all(|b| *b == 0));
                bytes.fill(0x5a);
                // SAFETY: freed once.
                unsafe { m.slabs.free(cx, cache, object) };
            }
        });
    });
}

/// Writes a pattern that must survive while objects are free.
unsafe extern "C" fn construct(object: NonNull<u8>) {
    // SAFETY: the cache's objects have 64 bytes.
    unsafe { object.write_bytes(0xc7, 64) };
}

#[test]
fn a_constructed_object_keeps_its_contents_while_it_is_free() {
    silently(1, |m| {
        m.on_cpu(0, |cx| {
            // SAFETY: `construct` writes 64 bytes.
            let spec = unsafe { spec("constructed", 64).with_ctor(construct) };
            let cache = m.slabs.create(&spec).unwrap();
            for _ in 0..3 {
                let objects: Vec<_> = (0..80).map(|_| m.slabs.alloc(cx, cache, K).unwrap()).collect();
                for object in &objects {
                    // SAFETY: an object of 64 bytes that is ours.
                    let bytes = unsafe { core::slice::from_raw_parts(object.as_ptr(), 64) };
                    assert!(bytes.iter().all(|b| *b == 0xc7));
                }
                // SAFETY: each is freed once.
                objects.into_iter().for_each(|object| unsafe { m.slabs.free(cx, cache, object) });
                m.slabs.shrink(cx, cache);
            }
        });
    });
}

#[test]
fn an_object_alive_at_destroy_is_named_and_the_cache_stays() {
    silently(2, |m| {
        let cache = m.slabs.create(&spec("busy", 200)).unwrap();
        let objects: Vec<_> =
            m.on_cpu(0, |cx| (0..30).map(|_| m.slabs.alloc(cx, cache, K).unwrap()).collect());
        let (kept, others) = objects.split_first().unwrap();
        // SAFETY: each is freed once.
        m.on_cpu(1, |cx| others.iter().for_each(|&object| unsafe { m.slabs.free(cx, cache, object) }));
        let first = kept.addr().get();
        assert_eq!(destroy(m, cache), Err(DestroyError::InUse { objects: 1, first }));
        // SAFETY: as above.
        m.on_cpu(1, |cx| unsafe { m.slabs.free(cx, cache, *kept) });
        assert_eq!(destroy(m, cache), Ok(Destroyed::Gone));
    });
}

#[test]
fn another_processor_is_asked_for_what_it_holds() {
    silently(2, |m| {
        let cache = m.slabs.create(&spec("two", 64)).unwrap();
        m.on_cpu(1, |cx| {
            let object = m.slabs.alloc(cx, cache, K).unwrap();
            // SAFETY: freed once.
            unsafe { m.slabs.free(cx, cache, object) };
        });
        // SAFETY: nobody uses it.
        let asked = m.on_cpu(0, |cx| unsafe { m.slabs.destroy(cx, cache) });
        assert_eq!(asked, Err(DestroyError::Retry { cpus: 1 }));
        // It does its part with its next operation on any cache.
        let other = m.slabs.create(&spec("other", 500)).unwrap();
        m.on_cpu(1, |cx| {
            let object = m.slabs.alloc(cx, other, K).unwrap();
            // SAFETY: freed once.
            unsafe { m.slabs.free(cx, other, object) };
        });
        // SAFETY: nobody uses it.
        assert_eq!(m.on_cpu(0, |cx| unsafe { m.slabs.destroy(cx, cache) }), Ok(Destroyed::Gone));
    });
}

#[test]
fn shrinking_leaves_no_empty_slab() {
    silently(1, |m| {
        m.on_cpu(0, |cx| {
            let cache = m.slabs.create(&spec("shrunk", 1024)).unwrap();
            // What no barn keeps.
            m.slabs.set_barn_limit(0);
            let mut objects = [None; 200];
            m.slabs.alloc_bulk(cx, cache, K, &mut objects).unwrap();
            assert!(objects.iter().all(Option::is_some));
            // SAFETY: each is freed once.
            unsafe { m.slabs.free_bulk(cx, cache, &mut objects) };
            assert!(objects.iter().all(Option::is_none));
            let kept = m.slabs.figures(cache).unwrap();
            assert!(kept.slabs > 0 && kept.slabs <= u64::from(kept.geometry.min_partial) + 4, "{kept:?}");
            assert!(!m.slabs.shrink(cx, cache));
            assert_eq!(m.slabs.figures(cache).unwrap().slabs, 0);
        });
    });
}

#[test]
fn objects_come_from_the_node_that_is_asked_for() {
    let half = if cfg!(miri) { 512 } else { 1 << 13 };
    let machine = PlainMachine {
        ram: vec![(node(0), 0x4_0000, half), (node(1), 0x8_0000, half)],
        cpus: vec![node(0), node(1)],
        ..small(2)
    };
    on(&machine, &Silent, |m| {
        let cache = m.slabs.create(&spec("near", 256)).unwrap();
        let node_of = |object: NonNull<u8>| m.node_of(object).unwrap();
        for cpu in 0..2 {
            let objects: Vec<_> = m.on_cpu(cpu, |cx| {
                let mut objects: Vec<_> = (0..40).map(|_| m.slabs.alloc(cx, cache, K).unwrap()).collect();
                assert!(objects.iter().all(|&o| node_of(o) == node(cpu as u16)), "near CPU {cpu}");
                let far = node(1 - cpu as u16);
                objects.push(m.slabs.alloc_node(cx, cache, K, far).unwrap());
                assert_eq!(node_of(*objects.last().unwrap()), far);
                objects
            });
            // Freed far from where they lie they go home, and are not what that processor gets next.
            m.on_cpu(1 - cpu, |cx| {
                // SAFETY: each is freed once.
                objects.into_iter().for_each(|object| unsafe { m.slabs.free(cx, cache, object) });
                let near = m.slabs.alloc(cx, cache, K).unwrap();
                assert_eq!(node_of(near), node(1 - cpu as u16));
                // SAFETY: as above.
                unsafe { m.slabs.free(cx, cache, near) };
            });
        }
    });
}

#[test]
fn impossible_caches_are_refused() {
    silently(1, |m| {
        assert_eq!(m.slabs.create(&spec("", 8)), Err(CreateError::Name));
        assert!(matches!(m.slabs.create(&spec("none", 0)), Err(CreateError::Geometry(_))));
        let outside = CacheSpec { usercopy: (4, 8), ..spec("outside", 8) };
        assert_eq!(m.slabs.create(&outside), Err(CreateError::Usercopy { first: 4, len: 8 }));
        let names: Vec<String> = (0..23).map(|n| format!("c{n}")).collect();
        names.iter().for_each(|name| _ = m.slabs.create_unmerged(&spec(name, 64)).unwrap());
        assert_eq!(m.slabs.create(&spec("one more", 64)), Err(CreateError::NoPlace { places: 24 }));
    });
}

#[test]
fn an_interrupt_handler_that_finds_the_rows_in_use_is_served() {
    silently(1, |m| {
        let cache = m.slabs.create(&spec("handler", 64)).unwrap();
        m.on_cpu(0, |cx| {
            let mut objects = vec![m.slabs.alloc(cx, cache, K).unwrap()];
            cx.interrupted(|cx| {
                objects.extend((0..100).map(|_| m.slabs.alloc(cx, cache, Gfp::GFP_ATOMIC).unwrap()));
                // SAFETY: each is freed once.
                objects.drain(..50).for_each(|object| unsafe { m.slabs.free(cx, cache, object) });
            });
            // SAFETY: as above.
            objects.into_iter().for_each(|object| unsafe { m.slabs.free(cx, cache, object) });
        });
    });
}

#[test]
fn the_nth_failure_leaves_everything_as_it_was() {
    silently(1, |m| {
        m.on_cpu(0, |cx| {
            let cache = m.slabs.create(&spec("failing", 512)).unwrap();
            for n in 1..20 {
                let mut objects = [None; 20];
                m.slabs.fail_nth(n);
                let result = m.slabs.alloc_bulk(cx, cache, K, &mut objects);
                m.slabs.fail_nth(0);
                assert_eq!(result, Err(SlabError::Injected), "the {n}th");
                assert!(objects.iter().all(Option::is_none));
                m.slabs.validate(cache).unwrap();
            }
            // And every allocation of pages.
            for n in 1..6 {
                m.slabs.shrink(cx, cache);
                m.pages.allocator.fail_nth(n);
                let mut objects = [None; 64];
                let result = m.slabs.alloc_bulk(cx, cache, K, &mut objects);
                m.pages.allocator.fail_nth(0);
                if result.is_err() {
                    assert!(objects.iter().all(Option::is_none));
                }
                m.slabs.validate(cache).unwrap();
                // SAFETY: each is freed once.
                unsafe { m.slabs.free_bulk(cx, cache, &mut objects) };
            }
        });
    });
}

#[test]
fn a_machine_without_memory_says_so_and_goes_on() {
    silently(1, |m| {
        m.on_cpu(0, |cx| {
            let cache = m.slabs.create(&spec("large", 4096)).unwrap();
            let mut objects = Vec::new();
            let why = loop {
                match m.slabs.alloc(cx, cache, K | Gfp::NOWARN) {
                    Ok(object) => objects.push(object),
                    Err(why) => break why,
                }
            };
            assert_eq!(why, SlabError::NoMemory);
            assert!(objects.len() > if cfg!(miri) { 500 } else { 14_000 }, "{} objects", objects.len());
            // SAFETY: each is freed once.
            objects.into_iter().for_each(|object| unsafe { m.slabs.free(cx, cache, object) });
            let object = m.slabs.alloc(cx, cache, K).unwrap();
            // SAFETY: as above.
            unsafe { m.slabs.free(cx, cache, object) };
        });
    });
}

#[test]
fn attributes_say_what_the_figures_do() {
    silently(1, |m| {
        let flags = CacheFlags::HWCACHE_ALIGN | CacheFlags::RECLAIM_ACCOUNT;
        let cache =
            m.slabs.create_unmerged(&CacheSpec::new("read", 40, 0, flags).with_usercopy(0, 40)).unwrap();
        let say = |name| m.slabs.attribute(cache, name).unwrap().to_string();
        assert_eq!((say("slabs"), say("objects")), ("0".into(), "0".into()));
        m.on_cpu(0, |cx| {
            let object = m.slabs.alloc(cx, cache, K).unwrap();
            let figures = m.slabs.figures(cache).unwrap();
            assert_eq!(say("total_objects"), format!("{0} N0={0}", figures.objects));
            assert_eq!(say("objects"), format!("{0} N0={0}", figures.active_objects));
            // SAFETY: freed once.
            unsafe { m.slabs.free(cx, cache, object) };
        });
        let g = m.slabs.figures(cache).unwrap().geometry;
        assert_eq!(say("slab_size"), g.size.to_string());
        assert_eq!(
            (say("align"), say("object_size"), say("usersize")),
            ("64".into(), "40".into(), "40".into())
        );
        assert_eq!(
            (say("hwcache_align"), say("reclaim_account"), say("poison")),
            ("1".into(), "1".into(), "0".into())
        );
        for name in pagewright_slab::slabs::attributes::NAMES {
            assert_eq!(say(name).is_empty(), ["ctor", "shrink", "validate"].contains(&name), "{name}");
        }
        assert!(m.slabs.attribute(cache, "no_such").is_none());
    });
}

/// Why no slabs are made of these.
fn refused<'k>(
    pages: &Pages<'_, '_, '_, '_, NoHooks>,
    slots: &'k [Slot],
    lists: &'k [pagewright_platform::Mutex<NodeSlabs>],
    cpus: &'k [SlabCpu<'k>],
) -> Option<CreateError> {
    let memory = LinearRam::new(pages.base.map()).unwrap();
    let space = SlabSpace { slots, lists, cpus };
    Slabs::new(*pages.base.map(), memory, NoInterrupts, Slub::new(1), space, &Silent, 1).err()
}

#[test]
fn processors_of_two_kinds_and_nodes_without_a_number_are_refused() {
    with_plain_machine(&small(1), NoHooks, |pages| {
        let slots = [Slot::new()];
        let lists: Vec<_> = (0..65).map(|_| pagewright_platform::Mutex::new(NodeSlabs::new())).collect();
        let (mut rows, mut slabs) = ([Row::new()], [CpuSlab::new()]);
        let cpus = [SlabCpu::new(&mut rows, 1), SlabCpu::with_slabs(1, &mut slabs, 1)];
        assert_eq!(refused(pages, &slots, &lists, &[]), Some(CreateError::Nodes { nodes: 65, most: 64 }));
        let mixed = CreateError::Processors { with_slabs: 1, of: 2 };
        assert_eq!(refused(pages, &slots, &lists[..1], &cpus), Some(mixed));
        assert_eq!(refused(pages, &slots, &lists[..1], &cpus[..1]), None);
    });
}

#[test]
fn what_lies_behind_the_last_object_is_nobody_s_to_copy() {
    silently(1, |m| {
        m.on_cpu(0, |cx| {
            let cache = m.slabs.create(&spec("copied", 100)).unwrap();
            let object = m.slabs.alloc(cx, cache, K).unwrap();
            let geometry = m.slabs.figures(cache).unwrap().geometry;
            let slab = object.addr().get() & !((4096 << geometry.order.get()) - 1);
            let at = |offset| object.with_addr(core::num::NonZero::new(slab + offset).unwrap());
            let end = (u64::from(geometry.objects) * geometry.size) as usize;
            assert!(end + 8 < 4096 << geometry.order.get(), "nothing lies behind");
            assert_eq!(m.slabs.check_heap_object(at(end - geometry.size as usize), 4, true), Ok(()));
            assert!(m.slabs.check_heap_object(at(end), 4, true).is_err());
            // SAFETY: freed once.
            unsafe { m.slabs.free(cx, cache, object) };
        });
    });
}

#[test]
fn a_layout_for_longer_words_is_refused() {
    with_plain_machine(&small(1), NoHooks, |pages| {
        let host = size_of::<usize>() as u32;
        let slub = Slub { word: 2 * host, ..Slub::new(1) };
        let memory = LinearRam::new(pages.base.map()).unwrap();
        let space = SlabSpace { slots: &[], lists: &[], cpus: &[] };
        let made = Slabs::new(*pages.base.map(), memory, NoInterrupts, slub, space, &Silent, 1);
        assert_eq!(made.err(), Some(CreateError::Word { wanted: 2 * host, host }));
    });
}
