//! SLAB: arrays of processors, nodes and other nodes, the reaper, colours, lists off the slab.

use super::designs::Designed;
use super::*;
use pagewright_sim::slabs::LinearRam;
use pagewright_slab::objects::{Design, Objects, SlabInfo};
use pagewright_slab::slab::{Management, Slab};
use pagewright_slab::slabs::{Damage, SlabContext, SlabState};
use pagewright_zone::Gfp;
use std::collections::BTreeSet;
use std::ptr::NonNull;

const K: Gfp = Gfp::GFP_KERNEL;

fn with(
    machine: &PlainMachine,
    reports: &dyn Reports,
    f: impl for<'k, 'a> FnOnce(
        &Designed<'_, 'k, '_, '_, '_, 'a>,
        &Slab<'k, 'a, pagewright_platform::NoInterrupts, LinearRam>,
    ),
) {
    on_design(Design::Slab, machine, reports, |m| {
        let Objects::Slab(slab) = &m.objects else { panic!("another design") };
        f(m, slab);
    });
}

fn take<'k, 'a>(
    slab: &Slab<'k, 'a, pagewright_platform::NoInterrupts, LinearRam>,
    cx: &SlabContext<'_, 'k, 'a>,
    cache: CacheId,
    n: usize,
) -> Vec<NonNull<u8>> {
    (0..n).map(|_| slab.alloc(cx, cache, K).unwrap()).collect()
}

fn give<'k, 'a>(
    slab: &Slab<'k, 'a, pagewright_platform::NoInterrupts, LinearRam>,
    cx: &SlabContext<'_, 'k, 'a>,
    cache: CacheId,
    objects: impl IntoIterator<Item = NonNull<u8>>,
) {
    // SAFETY: the tests give back what they took, once.
    objects.into_iter().for_each(|object| unsafe { slab.free(cx, cache, object) });
}

#[test]
fn kmalloc_begins_at_32_bytes_and_slabinfo_says_what_arrays_hold() {
    with(&small(2), &Silent, |m, slab| {
        assert_eq!(slab.state(), SlabState::Full);
        let text = SlabInfo(m.allocator()).to_string();
        let line = |name: &str| -> Vec<String> {
            let line = text.lines().find(|l| l.split_whitespace().next() == Some(name));
            line.unwrap_or_else(|| panic!("{name}")).split_whitespace().skip(3).map(String::from).collect()
        };
        assert!(!text.contains("\nkmalloc-8 ") && !text.contains("\nkmalloc-16 "));
        // Size, objects and pages of a slab, and the tunables.
        let known = [
            ("kmalloc-32", "32 124 1", "120 60 8"),
            ("kmalloc-64", "64 64 1", "120 60 8"),
            ("kmalloc-96", "128 32 1", "120 60 8"),
            ("kmalloc-rcl-192", "192 21 1", "120 60 8"),
            ("kmalloc-512", "512 8 1", "54 27 8"),
            ("kmalloc-4k", "4096 1 1", "24 12 8"),
            ("kmalloc-8k", "8192 1 2", "8 4 0"),
        ];
        for (name, slabs, tunables) in known {
            let line = line(name);
            assert_eq!((line[..3].join(" ").as_str(), line[5..8].join(" ").as_str()), (slabs, tunables));
        }
    });
}

#[test]
fn what_a_processor_has_too_many_of_its_neighbours_get_first() {
    with(&small(2), &Silent, |m, slab| {
        let cache = slab.create(&spec("shared", 64)).unwrap();
        let held = m.on_cpu(0, |cx| {
            let held = take(slab, cx, cache, 121);
            // Nothing but what was taken shall be in the array.
            slab.shrink(cx, cache);
            give(slab, cx, cache, held[..120].iter().copied());
            assert_eq!(slab.row(cache).unwrap().shared_available, 0);
            give(slab, cx, cache, [held[120]]);
            held
        });
        assert_eq!(slab.row(cache).unwrap().shared_available, 60, "a batch, the oldest");
        m.on_cpu(1, |cx| {
            // An array that was not used lately gets 16, of those that came last; then a batch.
            let first = slab.alloc(cx, cache, K).unwrap();
            assert!(held.contains(&first));
            assert_eq!(slab.row(cache).unwrap().shared_available, 44);
            let more = take(slab, cx, cache, 16);
            assert_eq!(slab.row(cache).unwrap().shared_available, 0);
            give(slab, cx, cache, more.into_iter().chain([first]));
        });
    });
}

#[test]
fn what_lies_on_another_node_is_collected_and_brought_there() {
    let machine = PlainMachine { cpus: vec![node(0), node(1)], ..model::two_nodes() };
    with(&machine, &Silent, |m, slab| {
        let cache = slab.create(&spec("alien", 256)).unwrap();
        let held = m.on_cpu(0, |cx| take(slab, cx, cache, 40));
        assert!(held.iter().all(|&object| m.node_of(object) == Some(node(0))));
        let active = || slab.row(cache).unwrap().active_objects;
        let before = active();
        m.on_cpu(1, |cx| {
            give(slab, cx, cache, held[..12].iter().copied());
            assert_eq!(active(), before, "twelve are kept here");
            give(slab, cx, cache, [held[12]]);
            assert_eq!(active(), before - 12, "and brought when there are more");
            // The reaper brings the last one: every second round is this node's turn to look at the other.
            slab.reap(cx, 0);
            slab.reap(cx, 1);
            assert_eq!(active(), before - 13);
            // What is asked for here lies here.
            let mine = slab.alloc(cx, cache, K).unwrap();
            assert_eq!(m.node_of(mine), Some(node(1)));
            give(slab, cx, cache, [mine]);
        });
        m.on_cpu(0, |cx| give(slab, cx, cache, held[13..].iter().copied()));
    });
}

#[test]
fn the_reaper_gives_back_what_is_not_used() {
    with(&small(2), &Silent, |m, slab| {
        m.on_cpu(0, |cx| {
            let cache = slab.create(&spec("reaped", 1024)).unwrap();
            let held = take(slab, cx, cache, 400);
            give(slab, cx, cache, held);
            let row = || slab.row(cache).unwrap();
            let (before, shared) = (row(), row().shared_available);
            // A node keeps no more free objects than (1 + 2) * 27 + 4; arrays have 54 and 8 * 27 at most.
            assert!(shared > 0 && before.objects <= 85 + 54 + 216 + 4, "{before}");
            // The processor's array was used since; nobody took from the shared one, which loses a fifth of its 216 places.
            slab.reap(cx, 0);
            assert_eq!(row().shared_available, shared - 44);
            assert_eq!(row().active_objects, before.active_objects - 44);
            // What a node has is looked at every other round.
            slab.reap(cx, 1);
            assert_eq!(row().shared_available, shared - 44);
            assert_eq!(row().active_objects, before.active_objects - 44 - 11, "of 54 places");
            slab.reap(cx, 2);
            assert_eq!(row().shared_available, shared - 88);
            for round in 3..100 {
                slab.reap(cx, round);
            }
            assert_eq!((row().objects, row().slabs), (0, 0), "in the end there is nothing");
        });
    });
}

#[test]
fn slabs_begin_in_different_lines() {
    with(&small(1), &Silent, |m, slab| {
        m.on_cpu(0, |cx| {
            // Six objects of 640 bytes leave 256: four colours.
            let cache = slab.create(&spec("coloured", 640)).unwrap();
            assert_eq!(slab.layout(cache).unwrap().colours, 4);
            let held = take(slab, cx, cache, 60);
            let begin: BTreeSet<_> = held.iter().map(|at| at.addr().get() % 4096 % 640).collect();
            assert_eq!(begin.into_iter().collect::<Vec<_>>(), [0, 64, 128, 192]);
            give(slab, cx, cache, held);
            slab.validate(cache).unwrap();
        });
    });
}

/// Fills new objects with a pattern.
unsafe extern "C" fn ctor(object: NonNull<u8>) {
    // SAFETY: an object of the test's cache, which has so many bytes.
    unsafe { object.write_bytes(0x3c, 128) };
}

#[test]
fn a_list_off_the_slab_is_an_object_of_kmalloc() {
    with(&small(1), &Silent, |m, slab| {
        m.on_cpu(0, |cx| {
            // SAFETY: it writes inside objects of 128 bytes.
            let cache = slab.create(&unsafe { spec("made", 128).with_ctor(ctor) }).unwrap();
            let layout = slab.layout(cache).unwrap();
            assert_eq!((layout.management, layout.objects), (Management::OffSlab, 32));
            let mut lists = None;
            m.allocator().each_cache(&mut |id, row| {
                if row.name.as_str() == "kmalloc-32" {
                    lists = Some(id);
                }
            });
            let lists = lists.unwrap();
            let used = || slab.row(lists).unwrap().active_objects;
            let (before, held) = (used(), take(slab, cx, cache, 32 * 5));
            assert_eq!(used() - before, slab.row(cache).unwrap().slabs, "one for each slab");
            for object in held {
                // SAFETY: ours until it is freed, once.
                unsafe {
                    let all = std::slice::from_raw_parts(object.as_ptr(), 128);
                    assert!(all.iter().all(|&byte| byte == 0x3c));
                    slab.free(cx, cache, object);
                }
            }
            slab.validate(cache).unwrap();
            assert!(!slab.shrink(cx, cache));
            assert_eq!(used(), before);
        });
    });
}

#[test]
fn an_index_that_is_none_of_the_slabs_is_not_followed() {
    let kept = Kept::default();
    // What is lost stays lost: not `on_design`, which wants it back.
    with_plain_machine(&small(1), NoHooks, |pages| {
        pagewright_sim::designs::with_design(Design::Slab, pages, &[NodeId::ZERO], 80, &kept, |m| {
            let Objects::Slab(slab) = &m.objects else { panic!("another design") };
            m.on_cpu(0, |cx| {
                let cache = slab.create(&spec("overwritten", 256)).unwrap();
                assert_eq!(slab.layout(cache).unwrap().management, Management::InObject);
                let held = take(slab, cx, cache, 16);
                give(slab, cx, cache, held.iter().copied());
                slab.shrink(cx, cache);
                let object = slab.alloc(cx, cache, K).unwrap();
                let page = object.addr().get() & !4095;
                // The slab's free objects, one of which has the list: all of them are written, as whoever uses them after the end would.
                slab.shrink(cx, cache);
                for at in (page..page + 4096).step_by(256).filter(|&at| at != object.addr().get()) {
                    // SAFETY: inside a slab that lives; the write is the misuse that this is about.
                    unsafe { object.with_addr(at.try_into().unwrap()).write_bytes(0xee, 256) };
                }
                let mut seen = BTreeSet::from([object]);
                for _ in 0..100 {
                    let next = slab.alloc(cx, cache, K).unwrap();
                    assert!(seen.insert(next), "handed out twice");
                    assert!(next.addr().get() & !4095 != page, "what is lost is not handed out");
                }
                let found: Vec<_> = kept.0.lock().unwrap().iter().map(|r| r.damage).collect();
                assert_eq!(found, [Damage::FreePointer]);
            });
        });
    });
}
