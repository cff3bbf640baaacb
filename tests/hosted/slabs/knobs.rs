//! Attributes of SLUB's caches that can be written.

use super::*;
use designs::Designed;
use pagewright_platform::NoInterrupts;
use pagewright_sim::slabs::LinearRam;
use pagewright_slab::objects::{Design, Objects};
use pagewright_slab::slabs::{AttributeError, Slabs, attributes};
use pagewright_zone::Gfp;
use std::ptr::NonNull;

const K: Gfp = Gfp::GFP_KERNEL;

fn on(
    design: Design,
    f: impl for<'k, 'a> FnOnce(&Designed<'_, 'k, '_, '_, '_, 'a>, &Slabs<'k, 'a, NoInterrupts, LinearRam>),
) {
    on_design(design, &small(2), &Silent, |m| {
        let Objects::Slub(slabs) = &m.objects else { panic!("another design") };
        f(m, slabs);
    });
}

/// Takes and gives back so many objects as a processor; how many it keeps of them.
fn kept<'k, 'a>(
    m: &Designed<'_, 'k, '_, '_, '_, 'a>,
    slabs: &Slabs<'k, 'a, NoInterrupts, LinearRam>,
    cpu: usize,
    cache: CacheId,
) -> u64 {
    m.on_cpu(cpu, |cx| {
        let all: Vec<_> = (0..400).map(|_| slabs.alloc(cx, cache, K).unwrap()).collect();
        // SAFETY: each is freed once.
        all.into_iter().for_each(|object| unsafe { slabs.free(cx, cache, object) });
        slabs.figures(cache).unwrap().active_objects
    })
}

#[test]
fn what_a_processor_keeps_can_be_more_or_nothing() {
    on(Design::Slub, |m, slabs| {
        slabs.set_barn_limit(0);
        let cache = slabs.create_unmerged(&spec("kept", 256)).unwrap();
        let say = |name| slabs.attribute(cache, name).unwrap().to_string();
        let set = |text| m.on_cpu(0, |cx| slabs.set_attribute(cx, cache, "cpu_partial", text));
        assert_eq!(say("cpu_partial"), "52");
        assert!((13..=52).contains(&kept(m, slabs, 1, cache)));
        set("8\n").unwrap();
        assert_eq!(say("cpu_partial"), "8");
        // The other processor has its row until it comes by.
        m.on_cpu(1, |cx| slabs.poll(cx));
        assert_eq!(slabs.figures(cache).unwrap().active_objects, 0);
        assert!((1..=8).contains(&kept(m, slabs, 1, cache)));
        set("0").unwrap();
        m.on_cpu(1, |cx| slabs.poll(cx));
        assert_eq!(kept(m, slabs, 1, cache), 0);
        set("40").unwrap();
        assert!((10..=40).contains(&kept(m, slabs, 0, cache)));
    });
}

#[test]
fn a_processors_partial_slabs_can_be_more_or_none() {
    on(Design::SlubCpuSlabs, |m, slabs| {
        let cache = slabs.create_unmerged(&spec("kept", 256)).unwrap();
        let partial = || {
            kept(m, slabs, 1, cache);
            let text = slabs.attribute(cache, "slabs_cpu_partial").unwrap().to_string();
            let count = text.split(['(', ')']).nth(1).unwrap().parse::<u64>().unwrap();
            m.on_cpu(1, |cx| slabs.flush_cpu(cx));
            count
        };
        let set = |text| m.on_cpu(0, |cx| slabs.set_attribute(cx, cache, "cpu_partial", text).unwrap());
        let as_made = slabs.figures(cache).unwrap().geometry;
        assert!((1..=as_made.cpu_partial_slabs.into()).contains(&partial()));
        set("0");
        assert_eq!(partial(), 0);
        set(&(as_made.objects * 8).to_string());
        let now = partial();
        assert!(
            (u64::from(as_made.cpu_partial_slabs) + 1..=16).contains(&now),
            "{now} of sixteen half-full slabs"
        );
    });
}

#[test]
fn a_node_keeps_as_many_empty_slabs_as_it_is_told() {
    for (least, slabs_left) in [("0", 0), ("3", 3), ("12", 12)] {
        on(Design::Slub, |m, slabs| {
            slabs.set_barn_limit(0);
            let cache = slabs.create_unmerged(&spec("empty", 1024)).unwrap();
            m.on_cpu(0, |cx| slabs.set_attribute(cx, cache, "min_partial", least).unwrap());
            kept(m, slabs, 0, cache);
            m.on_cpu(0, |cx| slabs.flush_cpu(cx));
            assert_eq!(slabs.figures(cache).unwrap().slabs, slabs_left);
            m.on_cpu(0, |cx| slabs.set_attribute(cx, cache, "shrink", "1").unwrap());
            assert_eq!(slabs.figures(cache).unwrap().slabs, 0);
        });
    }
}

#[test]
fn after_a_shrink_the_fullest_slabs_are_used_first() {
    for design in [Design::Slub, Design::SlubCpuSlabs] {
        on(design, |m, slabs| {
            slabs.set_barn_limit(0);
            let cache = slabs.create_unmerged(&spec("sorted", 1024)).unwrap();
            let per_slab = slabs.figures(cache).unwrap().geometry.objects as usize;
            let slab_of = |object: NonNull<u8>| object.addr().get() / (per_slab * 1024);
            m.on_cpu(0, |cx| {
                // A row would mix objects of several slabs.
                slabs.set_attribute(cx, cache, "cpu_partial", "0").unwrap();
                let mut held: Vec<_> =
                    (0..per_slab * 5).map(|_| slabs.alloc(cx, cache, K).unwrap()).collect();
                slabs.flush_cpu(cx);
                held.sort();
                let mut kept = vec![];
                let mut last = 0;
                for (at, of_slab) in held.chunk_by(|a, b| slab_of(*a) == slab_of(*b)).enumerate() {
                    let free = [4, 1, 5, 2, 3][at];
                    last = if free == 1 { slab_of(of_slab[0]) } else { last };
                    // SAFETY: each is freed once.
                    of_slab[..free].iter().for_each(|&object| unsafe { slabs.free(cx, cache, object) });
                    kept.extend_from_slice(&of_slab[free..]);
                }
                slabs.flush_cpu(cx);
                assert!(slabs.shrink(cx, cache));
                slabs.validate(cache).unwrap();
                let next = slabs.alloc_node(cx, cache, K, node(0)).unwrap();
                assert_eq!(slab_of(next), last, "{design}");
                // SAFETY: each is freed once.
                kept.into_iter().chain([next]).for_each(|object| unsafe { slabs.free(cx, cache, object) });
            });
        });
    }
}

#[test]
fn what_cannot_be_written_is_refused_and_changes_nothing() {
    on(Design::Slub, |m, slabs| {
        let cache = slabs.create_unmerged(&spec("plain", 64)).unwrap();
        let watched = CacheSpec::new("watched", 64, 0, CacheFlags::DEBUG);
        let watched = slabs.create_unmerged(&watched).unwrap();
        let all = || attributes::NAMES.map(|name| slabs.attribute(cache, name).unwrap().to_string());
        let before = all();
        let set = |of, name, text| m.on_cpu(0, |cx| slabs.set_attribute(cx, of, name, text));
        for text in ["", "-1", "x", "1 2", "4294967296", "0x10"] {
            for name in ["cpu_partial", "min_partial", "remote_node_defrag_ratio"] {
                assert_eq!(set(cache, name, text), Err(AttributeError::Value), "{name}: {text:?}");
            }
        }
        assert_eq!(set(cache, "remote_node_defrag_ratio", "101"), Err(AttributeError::Value));
        assert_eq!(set(cache, "shrink", "0"), Err(AttributeError::Value));
        assert_eq!(set(cache, "validate", "1"), Err(AttributeError::Value), "it is not watched");
        assert_eq!(set(watched, "validate", "1"), Ok(()));
        assert_eq!(set(watched, "cpu_partial", "30"), Err(AttributeError::Value));
        assert_eq!(set(watched, "cpu_partial", "0"), Ok(()));
        assert_eq!(set(cache, "no_such", "1"), Err(AttributeError::Unknown));
        let written =
            ["cpu_partial", "failslab", "min_partial", "remote_node_defrag_ratio", "shrink", "validate"];
        for name in attributes::NAMES.into_iter().filter(|name| !written.contains(name)) {
            assert_eq!(set(cache, name, "1"), Err(AttributeError::ReadOnly), "{name}");
        }
        assert_eq!(all(), before);
        destroy(m, slabs, cache);
        assert_eq!(set(cache, "min_partial", "1"), Err(AttributeError::Stale));
    });

    fn destroy<'k, 'a>(
        m: &Designed<'_, 'k, '_, '_, '_, 'a>,
        slabs: &Slabs<'k, 'a, NoInterrupts, LinearRam>,
        cache: CacheId,
    ) {
        // SAFETY: nobody uses it.
        m.on_cpu(0, |cx| unsafe { slabs.destroy(cx, cache) }).unwrap();
    }
}
