//! What was asked for of kmalloc's memory, where its caches are watched.

use super::watched::{damages, flip};
use super::*;
use pagewright_sim::slabs::with_watched_slabs;
use pagewright_slab::slabs::{Damage, DebugOptions};
use pagewright_zone::Gfp;

const K: Gfp = Gfp::GFP_KERNEL;

/// Runs a test with kmalloc's caches of 64 bytes watched.
fn with(options: &str, kept: &Kept, f: impl FnOnce(&Machine<'_, '_, '_, '_, '_, '_>, CacheId)) {
    let machine = small(1);
    with_plain_machine(&machine, NoHooks, |pages| {
        let watched = DebugOptions::parse(options).unwrap();
        with_watched_slabs(pages, &machine.cpus, (64, watched), kept, |m| {
            let mut found = None;
            m.slabs.each_cache(|figures| {
                if figures.name.as_str() == "kmalloc-64" {
                    found = Some(figures.flags);
                }
            });
            assert!(found.unwrap().contains(CacheFlags::STORE_USER | CacheFlags::KMALLOC));
            // SAFETY: nobody destroys caches here.
            let mut ids = unsafe { m.slabs.ids() };
            let cache = ids.find(|&id| m.slabs.figures(id).unwrap().name.as_str() == "kmalloc-64");
            f(m, cache.unwrap());
        });
    });
}

#[test]
fn each_byte_behind_what_was_asked_for_is_guarded() {
    for bytes in [33, 40, 63, 64] {
        let kept = Kept::default();
        with("FZPU,kmalloc-64", &kept, |m, cache| {
            let object = m.on_cpu(0, |cx| m.slabs.kmalloc(cx, bytes, K | Gfp::ZERO)).unwrap();
            // SAFETY: so many bytes are ours.
            assert!((0..bytes).all(|at| unsafe { object.add(at).read() } == 0));
            assert_eq!(m.slabs.validate_objects(cache), 0);
            let g = m.slabs.figures(cache).unwrap().geometry;
            let word = size_of::<usize>() as isize;
            let record = (word + 12 + word - 1) / word * word + word;
            let tracks = g.inuse as isize + word;
            let end = (g.size - g.left_red_zone) as isize;
            for at in (-(g.left_red_zone as isize)..end).step_by(if cfg!(miri) { 13 } else { 1 }) {
                flip(m, object, at);
                let expected = match at {
                    ..0 => Some(Damage::LeftRedZone),
                    _ if at < bytes as isize => None,
                    _ if at < 64 => Some(Damage::KmallocRedZone),
                    _ if at < g.inuse as isize => Some(Damage::RightRedZone),
                    _ if at < tracks => Some(Damage::FreePointer),
                    _ if at < tracks + 2 * record + 4 => Some(Damage::Track),
                    _ => Some(Damage::Padding),
                };
                assert_eq!(m.slabs.validate_objects(cache), u64::from(expected.is_some()), "at {at}");
                assert_eq!(damages(&kept), Vec::from_iter(expected), "{bytes} bytes, flipped at {at}");
                flip(m, object, at);
            }
            // SAFETY: freed once.
            m.on_cpu(0, |cx| unsafe { m.slabs.kfree(cx, object) });
            assert_eq!((m.slabs.validate_objects(cache), damages(&kept)), (0, vec![]));
        });
    }
}

#[test]
fn a_report_says_how_many_bytes_were_asked_for() {
    let kept = Kept::default();
    with("FZPU,kmalloc-64", &kept, |m, _| {
        m.on_cpu(0, |cx| {
            let object = m.slabs.kmalloc_node(cx, 41, K, NodeId::ZERO).unwrap();
            // SAFETY: the byte behind is what this is about: it is told, and mended; then the object is freed, once.
            unsafe {
                object.add(41).write(7);
                m.slabs.kfree(cx, object);
                let report = kept.0.lock().unwrap().pop().unwrap();
                assert_eq!(report.tracks[0].unwrap().bytes, 41);
                let text = report.to_string();
                assert!(text.contains("BUG kmalloc-64: kmalloc Redzone overwritten"), "{text}");
                assert!(text.contains(" pid=0 size=41"), "{text}");
                object.add(41).write(0xcc);
                m.slabs.kfree(cx, object);
            }
        });
        assert_eq!(damages(&kept), []);
    });
}

#[test]
fn whoever_asks_how_much_there_is_may_use_it_and_krealloc_guards_anew() {
    let kept = Kept::default();
    with("ZU,kmalloc-64", &kept, |m, cache| {
        m.on_cpu(0, |cx| {
            let object = m.slabs.kmalloc(cx, 40, K).unwrap();
            assert_eq!(m.slabs.ksize(object), 64);
            // SAFETY: so many bytes are ours, as `ksize` says; then 50, as krealloc does; freed once.
            unsafe {
                object.write_bytes(0x31, 64);
                assert_eq!(m.slabs.validate_objects(cache), 0);
                assert_eq!(m.slabs.krealloc(cx, Some(object), 50, K), Ok(object));
                assert!((0..50).all(|at| object.add(at).read() == 0x31));
                assert_eq!(m.slabs.validate_objects(cache), 0);
                flip(m, object, 50);
                assert_eq!(m.slabs.validate_objects(cache), 1);
                assert_eq!(damages(&kept), [Damage::KmallocRedZone]);
                flip(m, object, 50);
                let grown = m.slabs.krealloc(cx, Some(object), 100, K).unwrap();
                assert!((0..50).all(|at| grown.add(at).read() == 0x31));
                m.slabs.kfree(cx, grown);
            }
            assert_eq!(damages(&kept), []);
        });
    });
}
