//! Watched caches: every byte that is not the user's is flipped in turn, and each flip is found and named.

use super::*;
use pagewright_page::FrameIdx;
use pagewright_slab::SlabContext;
use pagewright_slab::memory::SlabMemory;
use pagewright_slab::slabs::{Damage, DebugOptions};
use pagewright_zone::Gfp;
use std::ptr::NonNull;

const K: Gfp = Gfp::GFP_KERNEL;
const WORD: usize = size_of::<usize>();

pub(super) fn damages(kept: &Kept) -> Vec<Damage> {
    std::mem::take(&mut *kept.0.lock().unwrap()).iter().map(|r| r.damage).collect()
}

/// A cache of objects of so many bytes, of which three are in use, and one of these.
pub(super) struct Watched {
    pub(super) cache: CacheId,
    pub(super) object: NonNull<u8>,
    pub(super) size: usize,
}

impl Watched {
    fn new(m: &Machine<'_, '_, '_, '_, '_, '_>, size: usize, flags: CacheFlags) -> Self {
        let spec = CacheSpec::new("watched", size as u64, 0, flags);
        let cache = m.slabs.create(&spec).unwrap();
        let objects = m.on_cpu(0, |cx| [(); 3].map(|()| m.slabs.alloc(cx, cache, K).unwrap()));
        Self { cache, object: objects[1], size }
    }

    /// What lies at a distance from the object, as the geometry has it: the damage that a flip there is; `None` for the user's bytes.
    pub(super) fn part(&self, m: &Machine<'_, '_, '_, '_, '_, '_>, free: bool, at: isize) -> Option<Damage> {
        let g = m.slabs.figures(self.cache).unwrap().geometry;
        let tracks = g.inuse as isize + WORD as isize;
        let record = ((WORD + 12).next_multiple_of(WORD) + WORD) as isize;
        Some(match at {
            ..0 => Damage::LeftRedZone,
            _ if at < self.size as isize => return free.then_some(Damage::Poison),
            _ if at < g.inuse as isize => Damage::RightRedZone,
            _ if at < tracks => Damage::FreePointer,
            _ if at < tracks + 2 * record => Damage::Track,
            _ => Damage::Padding,
        })
    }

    /// All places of the object, as distances from it.
    pub(super) fn places(&self, m: &Machine<'_, '_, '_, '_, '_, '_>) -> std::ops::Range<isize> {
        let g = m.slabs.figures(self.cache).unwrap().geometry;
        -(g.left_red_zone as isize)..(g.size - g.left_red_zone) as isize
    }
}

pub(super) fn flip(m: &Machine<'_, '_, '_, '_, '_, '_>, object: NonNull<u8>, at: isize) {
    let byte = m.slabs.memory().pointer(object.addr().get().wrapping_add_signed(at));
    // SAFETY: in the RAM, of which no part is borrowed by now; the write is the damage that these tests are about.
    unsafe { byte.write(!byte.read()) };
}

/// Frees whatever is in use of a cache; how many objects.
fn free_all<'k, 'a>(
    m: &Machine<'_, 'k, '_, '_, '_, 'a>,
    cx: &SlabContext<'_, 'k, 'a>,
    cache: CacheId,
) -> usize {
    let mut in_use = Vec::new();
    m.slabs.objects_in_use(cache, |address| in_use.push(address));
    for &address in &in_use {
        let object = NonNull::new(m.slabs.memory().pointer(address)).unwrap();
        // SAFETY: the slabs say that it is in use; freed once, and no test uses it any more.
        unsafe { m.slabs.free(cx, cache, object) };
    }
    in_use.len()
}

/// Every so many bytes under Miri, where all would take hours.
const STEP: usize = if cfg!(miri) { 29 } else { 1 };

#[test]
fn each_byte_that_is_flipped_is_found() {
    for size in [1, 8, 40, 100, 256] {
        for free in [false, true] {
            let kept = Kept::default();
            on(&small(1), &kept, |m| {
                let watched = Watched::new(m, size, CacheFlags::DEBUG);
                let Watched { cache, object, .. } = watched;
                if free {
                    // SAFETY: freed once.
                    m.on_cpu(0, |cx| unsafe { m.slabs.free(cx, cache, object) });
                }
                for at in watched.places(m).step_by(STEP) {
                    flip(m, object, at);
                    let expected = watched.part(m, free, at);
                    assert_eq!(m.slabs.validate_objects(cache), u64::from(expected.is_some()));
                    let found = damages(&kept);
                    let miscounted = found == [Damage::SlabWord] && expected == Some(Damage::FreePointer);
                    assert!(
                        miscounted || found == Vec::from_iter(expected),
                        "{size} bytes, free: {free}, flipped at {at}: {found:?}, not {expected:?}"
                    );
                    flip(m, object, at);
                    assert_eq!(m.slabs.validate_objects(cache), 0);
                }
                m.on_cpu(0, |cx| {
                    free_all(m, cx, cache);
                });
                assert_eq!(damages(&kept), []);
            });
        }
    }
}

#[test]
fn a_damaged_object_is_not_taken_back_until_it_is_whole() {
    let kept = Kept::default();
    on(&small(1), &kept, |m| {
        let watched = Watched::new(m, 40, CacheFlags::DEBUG);
        let Watched { cache, object, .. } = watched;
        m.on_cpu(0, |cx| {
            for at in watched.places(m).step_by(STEP) {
                let Some(expected) = watched.part(m, false, at) else { continue };
                flip(m, object, at);
                // SAFETY: nobody uses it; it is not taken back.
                unsafe { m.slabs.free(cx, cache, object) };
                assert_eq!(damages(&kept), [expected], "flipped at {at}");
                flip(m, object, at);
            }
            assert_eq!(free_all(m, cx, cache), 3);
            assert_eq!(damages(&kept), []);
        });
    });
}

#[test]
fn a_damaged_free_object_is_not_handed_out() {
    let kept = Kept::default();
    let places = std::cell::Cell::new(-64..1);
    for at in (-64..400).step_by(if cfg!(miri) { 97 } else { 1 }) {
        with_plain_machine(&small(1), NoHooks, |pages| {
            with_slabs(pages, &[NodeId::ZERO], 8, &kept, |m| {
                let watched = Watched::new(m, 40, CacheFlags::DEBUG);
                let Watched { cache, object, .. } = watched;
                places.set(watched.places(m));
                if !watched.places(m).contains(&at) {
                    return;
                }
                m.on_cpu(0, |cx| {
                    // SAFETY: freed once.
                    unsafe { m.slabs.free(cx, cache, object) };
                    flip(m, object, at);
                    // The object that was freed last is the next.
                    let other = m.slabs.alloc(cx, cache, K).unwrap();
                    assert_ne!(other, object, "flipped at {at}");
                    assert_eq!(damages(&kept).len(), 1, "flipped at {at}");
                    let objects = m.slabs.figures(cache).unwrap().geometry.objects;
                    for _ in 0..objects * 2 {
                        assert_ne!(m.slabs.alloc(cx, cache, K).unwrap(), object);
                    }
                    assert_eq!(damages(&kept), []);
                });
            });
        });
    }
    assert!(places.take().end <= 400, "all places were flipped");
}

#[test]
fn the_rest_of_a_slab_and_what_its_frames_say_are_looked_at() {
    let kept = Kept::default();
    on(&small(1), &kept, |m| {
        let watched = Watched::new(m, 100, CacheFlags::DEBUG);
        let Watched { cache, object, .. } = watched;
        let g = m.slabs.figures(cache).unwrap().geometry;
        let frame = FrameIdx::from_usize(m.slabs.memory().frame_of(object.addr().get())).unwrap();
        let (head, order) = m.pages.base.map().slab_head(frame).unwrap();
        let slab = NonNull::new(m.slabs.memory().pointer(m.slabs.memory().address(head).unwrap())).unwrap();
        let rest = u64::from(g.objects) * g.size..4096 << order.get();
        assert!(!rest.is_empty(), "{g:?}");
        for at in rest.step_by(STEP) {
            flip(m, slab, at as isize);
            assert_eq!(m.slabs.validate_objects(cache), 1);
            assert_eq!(damages(&kept), [Damage::SlabPadding], "at {at}");
            flip(m, slab, at as isize);
        }
        let map = m.pages.base.map();
        let word = map.data(head);
        for bit in (0..64).step_by(if cfg!(miri) { 7 } else { 1 }) {
            map.set_data(head, word ^ 1 << bit);
            assert_eq!(m.slabs.validate_objects(cache), 1, "bit {bit}");
            let found = damages(&kept);
            assert!(matches!(found[..], [Damage::SlabWord | Damage::FreePointer]), "bit {bit}: {found:?}");
        }
        map.set_data(head, word);
        m.on_cpu(0, |cx| {
            free_all(m, cx, cache);
        });
        assert_eq!(damages(&kept), []);
    });
}

#[test]
fn misuse_is_named_with_who_took_and_freed_the_object() {
    let kept = Kept::default();
    on(&small(2), &kept, |m| {
        let cache = m.slabs.create(&CacheSpec::new("tracked", 64, 0, CacheFlags::DEBUG)).unwrap();
        let other = m.slabs.create(&CacheSpec::new("other", 64, 0, CacheFlags::DEBUG)).unwrap();
        let (object, taken) = m.on_cpu(0, |cx| (m.slabs.alloc(&cx.for_task(42), cache, K).unwrap(), line!()));
        let inner = object.map_addr(|at| at.checked_add(8).unwrap());
        // SAFETY: what is wrong is recognised, and changes nothing; the object is freed once.
        let freed = m.on_cpu(1, |cx| unsafe {
            m.slabs.free(cx, cache, inner);
            assert_eq!(damages(&kept), [Damage::InvalidPointer]);
            m.slabs.free(cx, other, object);
            assert_eq!(damages(&kept), [Damage::WrongCache], "it is given to its own");
            line!() - 2
        });
        // SAFETY: as above.
        m.on_cpu(0, |cx| unsafe { m.slabs.free(cx, cache, object) });
        let reports = std::mem::take(&mut *kept.0.lock().unwrap());
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].damage, Damage::DoubleFree);
        let [Some(alloc), Some(free)] = reports[0].tracks else { panic!("{reports:?}") };
        assert_eq!((alloc.cpu, alloc.task, alloc.site.unwrap().line()), (0, 42, taken));
        assert_eq!((free.cpu, free.task, free.site.unwrap().line()), (1, 0, freed));
        assert!(alloc.when < free.when);
        let text = reports[0].to_string();
        let first = format!(
            "BUG tracked: Object already free {object:p}\nAllocated in tests/hosted/slabs/watched.rs:{taken} "
        );
        assert!(text.starts_with(&first), "{text}");
    });
}

#[test]
fn an_overrun_is_told_with_its_bytes() {
    let kept = Kept::default();
    on(&small(1), &kept, |m| {
        let cache = m.slabs.create(&CacheSpec::new("short", 60, 0, CacheFlags::RED_ZONE)).unwrap();
        m.on_cpu(0, |cx| {
            let object = m.slabs.alloc(cx, cache, K).unwrap();
            // SAFETY: the last two lie behind the object, in the place that it has: the misuse that this is about; it is undone, and the
            // object is freed once.
            unsafe {
                object.write_bytes(0x11, 62);
                m.slabs.free(cx, cache, object);
                object.add(60).write_bytes(0xcc, 2);
                let report = kept.0.lock().unwrap().pop().unwrap();
                assert_eq!(report.damage, Damage::RightRedZone);
                let told = report.overwritten.unwrap();
                let at = object.addr().get();
                assert_eq!(
                    (told.first, told.last, told.found, told.expected),
                    (at + 60, at + 61, 0x11, 0xcc)
                );
                let ending = " instead of 0xcc";
                assert!(report.to_string().ends_with(ending), "{report}");
                m.slabs.free(cx, cache, object);
            }
        });
        assert_eq!(damages(&kept), []);
    });
}

#[test]
fn a_constructed_object_is_not_poisoned() {
    unsafe extern "C" fn seven(object: NonNull<u8>) {
        // SAFETY: `Ctor`: an object of 24 bytes.
        unsafe { object.write_bytes(7, 24) };
    }
    silently(1, |m| {
        // SAFETY: the constructor fills the object and does nothing else.
        let spec = unsafe { CacheSpec::new("made", 24, 0, CacheFlags::DEBUG).with_ctor(seven) };
        let cache = m.slabs.create(&spec).unwrap();
        m.on_cpu(0, |cx| {
            for _ in 0..3 {
                let object = m.slabs.alloc(cx, cache, K).unwrap();
                // SAFETY: the object has so many bytes; it is freed once.
                unsafe {
                    assert_eq!(object.cast::<[u8; 24]>().read(), [7; 24]);
                    m.slabs.free(cx, cache, object);
                }
            }
        });
        assert_eq!((m.slabs.validate_objects(cache), m.slabs.findings()), (0, 0));
    });
}

#[test]
fn the_command_line_chooses_what_is_watched() {
    silently(1, |m| {
        m.slabs.watch(DebugOptions::parse("ZP,net*;-").unwrap());
        let net = m.slabs.create(&spec("network", 64)).unwrap();
        let plain = m.slabs.create(&spec("plain", 64)).unwrap();
        let flags = |id| m.slabs.figures(id).unwrap().flags;
        assert_eq!(
            (flags(net), flags(plain)),
            (CacheFlags::RED_ZONE | CacheFlags::POISON, CacheFlags::empty())
        );
        let alike = CacheSpec::new("alike", 64, 0, CacheFlags::empty());
        let first = m.slabs.create(&alike).unwrap();
        assert_eq!(m.slabs.create(&alike).unwrap(), first);
        let named = CacheSpec { name: "net", ..alike };
        let watched = m.slabs.create(&named).unwrap();
        assert!(
            watched != first && watched != m.slabs.create(&named).unwrap(),
            "what is watched is not merged"
        );
        m.slabs.watch(DebugOptions::parse("OFZP").unwrap());
        let page = m.slabs.create(&spec("page", 4096)).unwrap();
        assert_eq!(flags(page), CacheFlags::CONSISTENCY_CHECKS, "what needs room is not worth larger slabs");
        let small = m.slabs.create(&spec("small", 64)).unwrap();
        assert_eq!(flags(small), CacheFlags::DEBUG - CacheFlags::STORE_USER);
    });
}

#[test]
fn a_node_without_memory_finds_nothing_wrong_elsewhere() {
    let half = if cfg!(miri) { 512 } else { 1 << 12 };
    let machine = PlainMachine {
        ram: vec![(node(0), 0x4_0000, half), (node(1), 0x8_0000, half)],
        cpus: vec![node(0), node(1)],
        ..small(2)
    };
    let kept = Kept::default();
    on(&machine, &kept, |m| {
        let cache = m.slabs.create(&CacheSpec::new("far", 64, 0, CacheFlags::DEBUG)).unwrap();
        m.on_cpu(1, |cx| {
            let near = m.slabs.alloc_node(cx, cache, K, node(1)).unwrap();
            // The lists of the last node stand for all beyond.
            let far = m.slabs.alloc_node(cx, cache, K, node(5)).unwrap();
            assert_eq!(m.slabs.validate_objects(cache), 0);
            // SAFETY: each is freed once.
            [near, far].into_iter().for_each(|object| unsafe { m.slabs.free(cx, cache, object) });
        });
        assert_eq!(damages(&kept), []);
    });
}

#[test]
fn users_are_given_no_red_zone() {
    silently(1, |m| {
        let cache = m
            .slabs
            .create(&CacheSpec::new("copied", 32, 0, CacheFlags::RED_ZONE).with_usercopy(0, 32))
            .unwrap();
        let g = m.slabs.figures(cache).unwrap().geometry;
        m.on_cpu(0, |cx| {
            let object = m.slabs.alloc(cx, cache, K).unwrap();
            for at in -(g.left_red_zone as isize)..(g.size - g.left_red_zone) as isize {
                let address = object.addr().get().wrapping_add_signed(at);
                let byte = NonNull::new(m.slabs.memory().pointer(address)).unwrap();
                assert_eq!(m.slabs.may_copy(byte, 1), (0..32).contains(&at), "at {at}");
            }
            // SAFETY: freed once.
            unsafe { m.slabs.free(cx, cache, object) };
        });
    });
}
