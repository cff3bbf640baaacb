//! What all designs do with memory that is in use: it is made larger, freed with its contents gone, shown to users, and had in bulk.

use super::designs::{each, end};
use super::*;
use pagewright_slab::objects::Design;
use pagewright_slab::slabs::CacheName;
use pagewright_slab::{Place, SlabError, UsercopyError};
use pagewright_zone::Gfp;
use std::collections::BTreeSet;
use std::ptr::NonNull;

const K: Gfp = Gfp::GFP_KERNEL;

#[test]
fn contents_stay_while_memory_of_any_design_grows_and_shrinks() {
    each(|design, m, _| {
        m.on_cpu(0, |cx| {
            let o = m.allocator();
            let (mut memory, mut had) = (None, 0);
            for bytes in [10, 8, 100, 5000, 40_000, 300, 9000, 60_000] {
                // SAFETY: it was allocated here, and is given up for what is returned.
                let now = unsafe { o.krealloc(cx, memory, bytes, K) }.unwrap();
                for n in 0..had.min(bytes) {
                    // SAFETY: inside the memory.
                    assert_eq!(unsafe { now.add(n).read() }, n as u8, "{design}: byte {n} of {bytes}");
                }
                // SAFETY: as above.
                (0..bytes).for_each(|n| unsafe { now.add(n).write(n as u8) });
                (memory, had) = (Some(now), bytes);
            }
            for fails in [100_000, 2_000_000] {
                o.fail_nth(1);
                // SAFETY: it fails, so nothing is given up.
                let failed = unsafe { o.krealloc(cx, memory, fails, K) };
                o.fail_nth(0);
                assert_eq!(failed, Err(SlabError::Injected), "{design}");
                // SAFETY: ours yet.
                assert!((0..had).all(|n| unsafe { memory.unwrap().add(n).read() } == n as u8), "{design}");
            }
            // SAFETY: no bytes free it.
            let nothing = unsafe { o.krealloc(cx, memory, 0, K) }.unwrap();
            assert_eq!((nothing.addr().get(), o.findings()), (16, 0), "{design}");
            // SAFETY: it is nothing, and then something.
            let again = unsafe { o.krealloc(cx, Some(nothing), 24, K) }.unwrap();
            // SAFETY: freed once.
            unsafe { o.kfree(cx, again) };
        });
    });
}

#[test]
fn an_object_of_a_cache_grows_into_kmallocs_memory() {
    each(|design, m, found| {
        // Whose an object is SLOB does not know.
        if design == Design::Slob {
            return;
        }
        let o = m.allocator();
        let cache = o.create(&spec("grows", 40)).unwrap();
        m.on_cpu(0, |cx| {
            let object = o.alloc(cx, cache, K).unwrap();
            // SAFETY: the object has so many bytes, and so has what it becomes, which is freed once.
            unsafe {
                object.write_bytes(0x4e, 40);
                let same = o.krealloc(cx, Some(object), 33, K).unwrap();
                assert_eq!(same, object, "{design}: it has so many bytes");
                let grown = o.krealloc(cx, Some(object), 5000, K).unwrap();
                assert!((0..40).all(|n| grown.add(n).read() == 0x4e), "{design}");
                o.kfree(cx, grown);
            }
            assert_eq!(found(), [], "{design}");
        });
        assert_eq!(end(m, cache), Ok(Destroyed::Gone), "{design}: the object went back to its cache");
    });
}

#[test]
fn sensitive_memory_is_zeroes_when_it_is_had_again() {
    each(|design, m, _| {
        m.on_cpu(0, |cx| {
            let o = m.allocator();
            for bytes in [48, 1000, 20_000] {
                let memory = o.kmalloc(cx, bytes, K, None).unwrap();
                // A page of SLOB's, or a block, that stays when this is freed: what is free is not given back to the page allocator.
                let beside = o.kmalloc(cx, bytes, K, None).unwrap();
                // SAFETY: so many bytes are ours; each is freed once. What is read then is the free memory that was ours: nobody else writes it meanwhile.
                unsafe {
                    let room = o.ksize(memory);
                    memory.write_bytes(0xee, room);
                    o.kfree_sensitive(cx, memory);
                    let left = m.objects.memory();
                    let at = pagewright_slab::SlabMemory::pointer(left, memory.addr().get());
                    let kept = (0..bytes).filter(|&n| at.add(n).read() == 0xee).count();
                    // Links and sizes of free memory are no contents.
                    assert!(kept <= 8, "{design}: {kept} of {bytes} bytes are there yet");
                    o.kfree(cx, beside);
                }
            }
            assert_eq!(o.findings(), 0);
        });
    });
}

#[test]
fn what_users_may_not_have_is_named_with_cache_offset_and_length() {
    each(|design, m, _| {
        m.on_cpu(0, |cx| {
            let o = m.allocator();
            let cache = o.create(&CacheSpec { usercopy: (16, 32), ..spec("for users", 100) }).unwrap();
            let objects: Vec<_> = (0..3).map(|_| o.alloc(cx, cache, K).unwrap()).collect();
            let at = |n: usize| objects[1].map_addr(|at| at.checked_add(n).unwrap());
            let check = |n, bytes| o.check_heap_object(at(n), bytes, true);
            for (n, bytes) in [(16, 32), (20, 8), (47, 1), (48, 0)] {
                assert_eq!(check(n, bytes), Ok(()), "{design}: {bytes} bytes at {n}");
            }
            let place = Place::Object(CacheName::new("for users").unwrap());
            for (n, bytes) in [(8, 16), (16, 33), (48, 1), (15, 1), (16, usize::MAX)] {
                let why = UsercopyError { design, place, offset: n, bytes, to_user: true };
                match design {
                    Design::Slob => assert_eq!(check(n, bytes).is_ok(), bytes < 100),
                    _ => assert_eq!(check(n, bytes), Err(why), "{design}"),
                }
            }
            if design != Design::Slob {
                let text = o.check_heap_object(at(16), 33, false).unwrap_err().to_string();
                let says = format!("Kernel memory overwrite attempt detected to {design} object 'for users' (offset 16, size 33)!");
                assert_eq!(text, says);
            }
            // Of kmalloc's memory all may be copied, and of blocks of pages, to their ends.
            for bytes in [200, 20_000] {
                let memory = o.kmalloc(cx, bytes, K, None).unwrap();
                // SAFETY: inside the memory, or where it ends; freed once.
                unsafe {
                    let room = o.ksize(memory);
                    assert_eq!(o.check_heap_object(memory, room, true), Ok(()), "{design}: {bytes}");
                    assert_eq!(o.check_heap_object(memory.add(room - 1), 1, false), Ok(()), "{design}");
                    let beyond = o.check_heap_object(memory.add(room - 1), 8192, true);
                    let beyond = beyond.expect_err("it ends there");
                    assert_eq!(beyond.bytes, 8192);
                    if bytes > 8192 {
                        assert_eq!((beyond.place, beyond.offset), (Place::Block, room - 1), "{design}");
                    }
                    o.kfree(cx, memory);
                    if design == Design::Slob && bytes == 200 {
                        let freed = o.check_heap_object(memory, 8, true).expect_err("it is free");
                        assert_eq!(freed.place, Place::Page);
                    }
                }
            }
            let mut elsewhere = 0_u64;
            let nowhere = o.check_heap_object(NonNull::from(&mut elsewhere).cast(), 8, true);
            assert_eq!(nowhere.map_err(|why| why.place), Err(Place::Nowhere), "{design}");
            // SAFETY: each is freed once.
            objects.into_iter().for_each(|object| unsafe { o.free(cx, cache, object) });
        });
    });
}

#[test]
fn objects_in_bulk_are_apart_and_zeroed_if_asked() {
    let most = if cfg!(miri) { 70 } else { 700 };
    each(|design, m, found| {
        let o = m.allocator();
        let (cache, other) = (o.create(&spec("bulk", 72)).unwrap(), o.create(&spec("other", 72)).unwrap());
        m.on_cpu(0, |cx| {
            for n in [1, 7, most] {
                for gfp in [K, K | Gfp::ZERO] {
                    let mut objects = vec![None; n];
                    o.alloc_bulk(cx, cache, gfp, &mut objects).unwrap();
                    let apart: BTreeSet<_> = objects.iter().map(|object| object.unwrap()).collect();
                    assert_eq!(apart.len(), n, "{design}");
                    for object in apart {
                        // SAFETY: the object has so many bytes, all ours.
                        unsafe {
                            let zeroed = (0..72).all(|at| object.add(at).read() == 0);
                            assert!(zeroed || !gfp.contains(Gfp::ZERO), "{design}");
                            object.write_bytes(0x9d, 72);
                        }
                    }
                    // A place that is empty is passed over.
                    objects.insert(n / 2, None);
                    // SAFETY: each is freed once.
                    unsafe { o.free_bulk(cx, cache, &mut objects) };
                    assert!(objects.iter().all(Option::is_none), "{design}");
                    o.validate(cache).unwrap();
                }
            }
            assert_eq!(found(), [], "{design}");
            if design != Design::Slob {
                // One of another cache among them is told and goes home.
                let mut objects = vec![None; 8];
                o.alloc_bulk(cx, cache, K, &mut objects).unwrap();
                let stray = o.alloc(cx, other, K).unwrap();
                objects.insert(3, Some(stray));
                // SAFETY: each is freed once, one as another cache's, which is told.
                unsafe { o.free_bulk(cx, cache, &mut objects) };
                assert_eq!(found(), [(pagewright_slab::slabs::Damage::WrongCache, stray.addr().get())]);
            }
        });
        for cache in [cache, other] {
            assert_eq!(end(m, cache), Ok(Destroyed::Gone), "{design}");
        }
    });
}

#[test]
fn a_cache_that_was_to_end_and_did_not_has_arrays_again() {
    super::designs::on_design(Design::Slab, &small(2), &Silent, |m| {
        let o = m.allocator();
        let cache = o.create(&spec("stays", 64)).unwrap();
        let kept = m.on_cpu(0, |cx| o.alloc(cx, cache, K).unwrap());
        m.on_cpu(1, |cx| {
            let object = o.alloc(cx, cache, K).unwrap();
            // SAFETY: freed once.
            unsafe { o.free(cx, cache, object) };
        });
        // SAFETY: nobody uses it meanwhile.
        let once = m.on_cpu(0, |cx| unsafe { o.destroy(cx, cache) });
        assert!(matches!(once, Err(DestroyError::Retry { cpus: 1 })), "{once:?}");
        m.on_cpu(0, |cx| {
            let before = o.row(cache).unwrap().active_objects;
            let objects: Vec<_> = (0..8).map(|_| o.alloc(cx, cache, K).unwrap()).collect();
            // SAFETY: each is freed once.
            objects.into_iter().for_each(|object| unsafe { o.free(cx, cache, object) });
            let after = o.row(cache).unwrap().active_objects;
            assert!(after >= before + 8, "they are in an array: {before}, {after}");
            // SAFETY: freed once.
            unsafe { o.free(cx, cache, kept) };
        });
        // The other one has not answered yet, or kept its array: it is asked again.
        assert_eq!(end(m, cache), Ok(Destroyed::Gone));
    });
}
