//! What all designs have in common, each held to it by the same tests.

use super::*;
use pagewright_sim::designs::{HostedObjects, with_design};
use pagewright_slab::objects::{Design, Objects, SlabInfo};
use pagewright_slab::slabs::Damage;
use pagewright_slab::{SlabError, SlabPages};
use pagewright_zone::Gfp;
use std::ptr::NonNull;

pub(super) type Designed<'p, 'k, 'x, 'm, 's, 'a> = HostedObjects<'p, 'k, 'x, 'm, 's, 'a, NoHooks>;

const K: Gfp = Gfp::GFP_KERNEL;

/// Destroys a cache, other processors doing their part.
pub(super) fn end(m: &Designed<'_, '_, '_, '_, '_, '_>, cache: CacheId) -> Result<Destroyed, DestroyError> {
    // SAFETY: these tests use no cache meanwhile.
    let once = || m.on_cpu(0, |cx| unsafe { m.allocator().destroy(cx, cache) });
    match once() {
        Err(DestroyError::Retry { .. }) => {
            for cpu in 0..m.pages.cpus() {
                m.on_cpu(cpu, |cx| m.allocator().poll(cx));
            }
            once()
        }
        done => done,
    }
}

/// Runs a test on a machine with a design and kmalloc, and expects all pages back in the end, to the page: every cache is destroyed.
pub(super) fn on_design(
    design: Design,
    machine: &PlainMachine,
    reports: &dyn Reports,
    f: impl FnOnce(&Designed<'_, '_, '_, '_, '_, '_>),
) {
    with_plain_machine(machine, NoHooks, |pages| {
        let before = free_blocks(pages);
        with_design(design, pages, &machine.cpus, 80, reports, |m| {
            f(m);
            let mut caches = vec![];
            m.allocator().each_cache(&mut |id, _| caches.push(id));
            for cpu in 0..m.pages.cpus() {
                m.on_cpu(cpu, |cx| m.allocator().flush_cpu(cx));
            }
            if let Objects::Slab(slab) = &m.objects {
                // SAFETY: nobody uses it any more.
                m.on_cpu(0, |cx| unsafe { slab.retire(cx) });
            }
            // The first is SLUB's own.
            let own = if matches!(m.objects, Objects::Slub(_)) { caches.pop() } else { None };
            for cache in caches {
                m.allocator().validate(cache).unwrap();
                while end(m, cache).expect("nothing is in use") == Destroyed::Shared {}
            }
            for cpu in 0..m.pages.cpus() {
                m.on_cpu(cpu, |cx| m.allocator().flush_cpu(cx));
            }
            m.on_cpu(0, |cx| {
                assert!(
                    own.is_none_or(|own| !m.allocator().shrink(cx, own)),
                    "the cache of rooms has slabs yet"
                );
            });
            assert_eq!(free_blocks(pages), before, "every page is back");
            let counted = [0, 1, 2].map(|n| m.allocator().slab_pages(node(n)));
            assert_eq!(counted, [SlabPages::default(); 3], "and none counts as a slab's");
            pages.allocator.validate().unwrap();
            pages.base.map().validate().unwrap();
        });
    });
}

pub(super) type Found<'f> = &'f dyn Fn() -> Vec<(Damage, usize)>;

/// Runs a test with each design; what it is handed last takes what was reported since.
pub(super) fn each(f: impl Fn(Design, &Designed<'_, '_, '_, '_, '_, '_>, Found<'_>)) {
    each_on(&small(2), f);
}

fn each_on(machine: &PlainMachine, f: impl Fn(Design, &Designed<'_, '_, '_, '_, '_, '_>, Found<'_>)) {
    for design in Design::ALL {
        let kept = Kept::default();
        let found =
            || std::mem::take(&mut *kept.0.lock().unwrap()).iter().map(|r| (r.damage, r.address)).collect();
        on_design(design, machine, &kept, |m| f(design, m, &found));
    }
}

fn inside(object: NonNull<u8>, offset: usize) -> NonNull<u8> {
    object.map_addr(|at| at.checked_add(offset).unwrap())
}

#[test]
fn an_object_freed_twice_is_named_and_not_handed_out_twice() {
    each(|design, m, found| {
        m.on_cpu(0, |cx| {
            let o = m.allocator();
            let cache = o.create(&spec("twice", 64)).unwrap();
            let [other, object] = [(); 2].map(|()| o.alloc(cx, cache, K).unwrap());
            // SAFETY: the second is the misuse that this is about: it is recognised, and changes nothing.
            unsafe {
                o.free(cx, cache, object);
                o.free(cx, cache, object);
            }
            assert_eq!(found(), [(Damage::DoubleFree, object.addr().get())], "{design}");
            let again: Vec<_> = (0..100).map(|_| o.alloc(cx, cache, K).unwrap()).collect();
            let apart: std::collections::BTreeSet<_> = again.iter().chain([&other]).collect();
            assert_eq!(apart.len(), 101);
            for &object in apart {
                // SAFETY: freed once.
                unsafe { o.free(cx, cache, object) };
            }
            o.validate(cache).unwrap();
        });
    });
}

#[test]
fn pointers_that_are_none_are_named() {
    each(|design, m, found| {
        m.on_cpu(0, |cx| {
            let o = m.allocator();
            let first = o.create(&spec("first", 96)).unwrap();
            let second = o.create(&spec("second", 96)).unwrap();
            let object = o.alloc(cx, first, K).unwrap();
            let memory = o.kmalloc(cx, 100, K, None).unwrap();
            let address = object.addr().get();
            let mut elsewhere = 0_u64;
            let elsewhere = NonNull::from(&mut elsewhere).cast();
            // SAFETY: misuse that is recognised and changes nothing; at the end what there is is freed.
            unsafe {
                o.free(cx, first, inside(object, 4));
                assert_eq!(found(), [(Damage::InvalidPointer, address + 4)], "{design}");
                o.kfree(cx, inside(memory, 8));
                assert_eq!(found(), [(Damage::InvalidPointer, memory.addr().get() + 8)], "{design}");
                o.free(cx, first, elsewhere);
                o.kfree(cx, elsewhere);
                assert_eq!(found().iter().map(|f| f.0).collect::<Vec<_>>(), [Damage::NotAllocated; 2]);
                // Whose an object is SLOB does not know.
                if design != Design::Slob {
                    o.free(cx, second, object);
                    assert_eq!(found(), [(Damage::WrongCache, address)], "{design}");
                } else {
                    o.kfree(cx, object);
                    assert_eq!(found(), [(Damage::InvalidPointer, address)], "{design}");
                    o.free(cx, first, object);
                }
                o.kfree(cx, memory);
            }
        });
    });
}

#[test]
fn a_cache_in_use_is_not_destroyed_and_a_destroyed_one_gives_nothing() {
    each(|design, m, found| {
        let o = m.allocator();
        let cache = o.create(&spec("user", 200)).unwrap();
        let objects = m.on_cpu(0, |cx| [(); 3].map(|()| o.alloc(cx, cache, K).unwrap()));
        let Err(DestroyError::InUse { objects: 3, first }) = end(m, cache) else { panic!("{design}") };
        assert!(if design == Design::Slob {
            first == 0
        } else {
            objects.iter().any(|o| o.addr().get() == first)
        });
        m.on_cpu(1, |cx| {
            // SAFETY: each is freed once.
            objects.iter().for_each(|&object| unsafe { o.free(cx, cache, object) });
        });
        assert_eq!(end(m, cache), Ok(Destroyed::Gone));
        assert_eq!(end(m, cache), Err(DestroyError::Stale));
        m.on_cpu(0, |cx| assert_eq!(o.alloc(cx, cache, K), Err(SlabError::Stale)));
        assert_eq!((o.row(cache), found()), (None, vec![]));
    });
}

#[test]
fn memory_of_any_size_is_had_zeroed_and_aligned() {
    each(|design, m, _| {
        m.on_cpu(0, |cx| {
            let o = m.allocator();
            let nothing = o.kmalloc(cx, 0, K, None).unwrap();
            for bytes in [1, 8, 24, 32, 63, 64, 100, 512, 1000, 2048, 4000, 4088, 4096, 8192, 8193, 70_000] {
                // One that was written first, so that zeroes are no accident.
                for gfp in [K, K | Gfp::ZERO] {
                    let memory = o.kmalloc(cx, bytes, gfp, None).unwrap();
                    let at = memory.addr().get();
                    assert!(at.is_multiple_of(8) && (!bytes.is_power_of_two() || at.is_multiple_of(bytes)));
                    // SAFETY: so many bytes are ours, until they are freed, once.
                    unsafe {
                        assert!(o.ksize(memory) >= bytes, "{design}: {bytes}");
                        if gfp.contains(Gfp::ZERO) {
                            let all = std::slice::from_raw_parts(memory.as_ptr(), bytes);
                            assert!(all.iter().all(|&byte| byte == 0), "{design}: {bytes}");
                        }
                        memory.write_bytes(0xa5, bytes);
                        o.kfree(cx, memory);
                    }
                }
            }
            assert_eq!(o.kmalloc(cx, (4 << 20) + 1, K, None), Err(SlabError::TooLarge));
            // SAFETY: it was allocated there.
            unsafe { o.kfree(cx, nothing) };
            assert_eq!(o.findings(), 0);
        });
    });
}

#[test]
fn objects_lie_on_the_node_that_is_asked_for() {
    let half = if cfg!(miri) { 512 } else { 1 << 12 };
    let machine = PlainMachine {
        ram: vec![(node(0), 0x4_0000, half), (node(1), 0x8_0000, half)],
        cpus: vec![node(0), node(1)],
        ..small(2)
    };
    each_on(&machine, |design, m, _| {
        let o = m.allocator();
        let cache = o.create(&spec("placed", 128)).unwrap();
        m.on_cpu(0, |cx| {
            let placed = |at: NonNull<u8>| m.node_of(at);
            for wanted in [0, 1, 0, 1, 1].map(node) {
                let here = K | Gfp::THISNODE;
                let mut held: Vec<_> =
                    (0..50).map(|_| o.alloc_node(cx, cache, here, wanted).unwrap()).collect();
                assert!(held.iter().all(|&at| placed(at) == Some(wanted)), "{design}");
                // SAFETY: each is freed once.
                held.drain(..).for_each(|at| unsafe { o.free(cx, cache, at) });
                let memory = o.kmalloc(cx, 300, here, Some(wanted)).unwrap();
                assert_eq!(placed(memory), Some(wanted), "{design}");
                // SAFETY: freed once.
                unsafe { o.kfree(cx, memory) };
            }
        });
    });
}

/// Fills new objects with a pattern.
unsafe extern "C" fn ctor(object: NonNull<u8>) {
    // SAFETY: an object of the test's cache, which has so many bytes.
    unsafe { object.write_bytes(0x3c, 48) };
}

#[test]
fn a_constructor_has_filled_what_is_handed_out() {
    each(|design, m, _| {
        m.on_cpu(0, |cx| {
            let o = m.allocator();
            // SAFETY: it writes inside objects of 48 bytes.
            let cache = o.create(&unsafe { spec("made", 48).with_ctor(ctor) }).unwrap();
            for _ in 0..3 {
                let held: Vec<_> = (0..300).map(|_| o.alloc(cx, cache, K).unwrap()).collect();
                for object in held {
                    // SAFETY: ours until it is freed, once, as it was made.
                    unsafe {
                        let all = std::slice::from_raw_parts(object.as_ptr(), 48);
                        assert!(all.iter().all(|&byte| byte == 0x3c), "{design}");
                        o.free(cx, cache, object);
                    }
                }
            }
        });
    });
}

#[test]
fn whichever_allocation_fails_nothing_is_lost() {
    for design in Design::ALL {
        for n in 1.. {
            let mut failed = 0;
            on_design(design, &small(2), &Silent, |m| {
                let o = m.allocator();
                let cache = o.create(&spec("failing", 500)).unwrap();
                m.on_cpu(0, |cx| {
                    o.fail_nth(n);
                    let mut held = vec![None; 20];
                    let all = o.alloc_bulk(cx, cache, K, &mut held);
                    assert!(all.is_ok() || held.iter().all(Option::is_none), "{design}: all or none");
                    let mut memory = vec![];
                    for bytes in [10, 1000, 4095, 20_000] {
                        match o.kmalloc(cx, bytes, K, None) {
                            Ok(at) => memory.push(at),
                            Err(why) => {
                                assert_eq!(why, SlabError::Injected);
                                failed += 1;
                            }
                        }
                    }
                    failed += u32::from(all.is_err());
                    o.fail_nth(0);
                    o.validate(cache).unwrap();
                    // SAFETY: each is freed once.
                    unsafe {
                        o.free_bulk(cx, cache, &mut held);
                        memory.into_iter().for_each(|at| o.kfree(cx, at));
                    }
                });
            });
            assert!(failed <= 1, "{design}");
            if failed == 0 {
                assert!(n > 5, "{design}: something must have failed");
                break;
            }
        }
    }
}

#[test]
fn whichever_page_is_not_to_be_had_nothing_is_lost() {
    for design in Design::ALL {
        let mut failing = 1;
        loop {
            let mut failed = 0;
            let kept = Kept::default();
            on_design(design, &small(1), &kept, |m| {
                let o = m.allocator();
                let plain = o.create(&spec("plain", 96)).unwrap();
                // SAFETY: it writes inside objects of 128 bytes, with SLAB beside lists that are not in them.
                let made = o.create(&unsafe { spec("made", 128).with_ctor(ctor) }).unwrap();
                m.on_cpu(0, |cx| {
                    m.pages.allocator.fail_nth(failing);
                    let mut held = vec![];
                    for n in 0..100 {
                        for cache in [plain, made] {
                            match o.alloc(cx, cache, K | Gfp::NOWARN) {
                                Ok(object) => held.push((Some(cache), object)),
                                Err(why) => {
                                    assert_eq!(why, SlabError::NoMemory);
                                    failed += 1;
                                }
                            }
                        }
                        match o.kmalloc(cx, n * 90 + 1, K | Gfp::NOWARN, None) {
                            Ok(object) => held.push((None, object)),
                            Err(_) => failed += 1,
                        }
                    }
                    m.pages.allocator.fail_nth(0);
                    for cache in [plain, made] {
                        o.validate(cache).unwrap();
                    }
                    for (cache, object) in held {
                        // SAFETY: each is freed once, as it was allocated.
                        unsafe {
                            match cache {
                                Some(cache) => o.free(cx, cache, object),
                                None => o.kfree(cx, object),
                            }
                        }
                    }
                    let found = std::mem::take(&mut *kept.0.lock().unwrap());
                    assert!(found.is_empty(), "{design}, page {failing}: {found:x?}");
                });
            });
            // Where a page is only for an array's room, its absence is no failure.
            assert!(failed <= 1, "{design}");
            if cfg!(miri) || failing > 150 {
                break;
            }
            failing += if failing < 20 { 1 } else { 13 };
        }
    }
}

#[test]
fn slabinfo_has_a_line_for_each_cache() {
    each(|design, m, _| {
        let o = m.allocator();
        let cache = o.create(&spec("told", 72)).unwrap();
        let object = m.on_cpu(0, |cx| o.alloc(cx, cache, K).unwrap());
        let text = SlabInfo(o).to_string();
        assert!(text.starts_with("slabinfo - version: 2.1\n# name "));
        let line: Vec<_> =
            text.lines().find(|l| l.starts_with("told ")).unwrap().split_whitespace().collect();
        assert_eq!((line.len(), line[6], line[7], line[11]), (16, ":", "tunables", ":"), "{design}");
        if let Objects::Slub(slabs) = &m.objects {
            assert_eq!(text, slabs.slabinfo().to_string());
        }
        // SAFETY: freed once.
        m.on_cpu(0, |cx| unsafe { o.free(cx, cache, object) });
    });
}
