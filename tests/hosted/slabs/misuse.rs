//! Wrong frees and damage: each is named, and nothing wrong is followed or handed out.

use super::*;
use pagewright_addr::PageShift;
use pagewright_platform::NoInterrupts;
use pagewright_sim::slabs::LinearRam;
use pagewright_slab::memory::PagesFor;
use pagewright_slab::objects::Design;
use pagewright_slab::slabs::{Damage, NodeSlabs, Row, SlabContext, SlabCpu, SlabSpace, Slabs, Slot};
use pagewright_slab::slub::Slub;
use pagewright_zone::Gfp;
use std::ptr::NonNull;

const K: Gfp = Gfp::GFP_KERNEL;

fn found(kept: &Kept) -> Vec<(Damage, usize)> {
    std::mem::take(&mut *kept.0.lock().unwrap()).iter().map(|r| (r.damage, r.address)).collect()
}

fn inside(object: NonNull<u8>, offset: usize) -> NonNull<u8> {
    object.map_addr(|at| at.checked_add(offset).unwrap())
}

#[test]
fn an_object_freed_twice_in_a_row_is_named() {
    let kept = Kept::default();
    on(&small(1), &kept, |m| {
        m.on_cpu(0, |cx| {
            let cache = m.slabs.create(&spec("twice", 64)).unwrap();
            let object = m.slabs.alloc(cx, cache, K).unwrap();
            // SAFETY: the second is the misuse that this is about: it is recognised, and changes nothing.
            unsafe {
                m.slabs.free(cx, cache, object);
                m.slabs.free(cx, cache, object);
            }
            assert_eq!(found(&kept), [(Damage::DoubleFree, object.addr().get())]);
            assert_eq!(m.slabs.findings(), 1);
            // In the slab's own list too.
            m.slabs.shrink(cx, cache);
            let object = m.slabs.alloc(cx, cache, K).unwrap();
            let other = m.slabs.alloc(cx, cache, K).unwrap();
            cx.interrupted(|cx| {
                // SAFETY: as above.
                unsafe {
                    m.slabs.free(cx, cache, object);
                    m.slabs.free(cx, cache, object);
                }
            });
            assert_eq!(found(&kept), [(Damage::DoubleFree, object.addr().get())]);
            // SAFETY: freed once.
            unsafe { m.slabs.free(cx, cache, other) };
            m.slabs.validate(cache).unwrap();
        });
    });
}

#[test]
fn pointers_that_are_none_are_named() {
    let kept = Kept::default();
    on(&small(1), &kept, |m| {
        m.on_cpu(0, |cx| {
            let cache = m.slabs.create_unmerged(&spec("first", 96)).unwrap();
            let other = m.slabs.create_unmerged(&spec("second", 96)).unwrap();
            let object = m.slabs.alloc(cx, cache, K).unwrap();
            // SAFETY: misuse that is recognised and changes nothing, but for the last, which frees the object.
            unsafe {
                m.slabs.free(cx, cache, inside(object, 8));
                assert_eq!(found(&kept), [(Damage::InvalidPointer, object.addr().get() + 8)]);
                m.slabs.free(cx, other, object);
                assert_eq!(found(&kept), [(Damage::WrongCache, object.addr().get())]);
            }
            let mut elsewhere = 0_u64;
            // SAFETY: as above.
            unsafe { m.slabs.free(cx, cache, NonNull::from(&mut elsewhere).cast()) };
            assert_eq!(found(&kept)[0].0, Damage::NotAllocated);
        });
    });
}

#[test]
fn a_free_object_that_was_written_leads_nowhere() {
    for byte in 0..8 {
        let kept = Kept::default();
        with_plain_machine(&small(1), NoHooks, |pages| {
            with_slabs(pages, &[NodeId::ZERO], 8, &kept, |m| {
                m.on_cpu(0, |cx| {
                    let cache = m.slabs.create(&spec("overwritten", 64)).unwrap();
                    let objects: Vec<_> = (0..10).map(|_| m.slabs.alloc(cx, cache, K).unwrap()).collect();
                    let victim = objects[5];
                    // SAFETY: each is freed once.
                    objects.iter().for_each(|&object| unsafe { m.slabs.free(cx, cache, object) });
                    m.slabs.shrink(cx, cache);
                    // All free, in lists through the objects; one of them is written.
                    let again: Vec<_> = (0..10).map(|_| m.slabs.alloc(cx, cache, K).unwrap()).collect();
                    let keep = again.iter().position(|o| *o == victim).unwrap_or(0);
                    cx.interrupted(|cx| {
                        // SAFETY: as above.
                        again.iter().for_each(|&object| unsafe { m.slabs.free(cx, cache, object) });
                    });
                    let written = inside(again[keep], 32 + byte);
                    // SAFETY: inside a slab that lives; the write is the misuse that this is about.
                    unsafe { written.write(!written.read()) };
                    let mut seen = std::collections::BTreeSet::new();
                    for _ in 0..200 {
                        let object = cx.interrupted(|cx| m.slabs.alloc(cx, cache, K).unwrap());
                        assert!(seen.insert(object), "byte {byte}: {object:?} was handed out twice");
                        assert_eq!(object.addr().get() % 64, again[0].addr().get() % 64);
                    }
                    assert_eq!(
                        found(&kept),
                        [(Damage::FreePointer, again[keep].addr().get())],
                        "byte {byte}"
                    );
                });
            });
        });
    }
}

#[test]
fn rows_beyond_the_places_are_left_alone() {
    silently(1, |m| {
        let (slots, lists) =
            ([Slot::new(), Slot::new()], [const { pagewright_platform::Mutex::new(NodeSlabs::new()) }; 2]);
        let mut rows: [[Row; 5]; 2] = Default::default();
        let cpus: Vec<_> = rows.iter_mut().map(|rows| SlabCpu::new(rows, 1)).collect();
        let space = SlabSpace { slots: &slots, lists: &lists, cpus: &cpus };
        let map = *m.pages.base.map();
        let memory = LinearRam::of_pages(&map, PageShift::SHIFT_4K).unwrap();
        let slabs = Slabs::new(map, memory, NoInterrupts, Slub::new(1), space, &Silent, 1).unwrap();
        m.pages.on_cpu(0, |context| {
            let pages = PagesFor { allocator: &m.pages.allocator, context };
            // SAFETY: this thread alone is these processors.
            let [one, two] =
                [0, 1].map(|n| SlabContext::new(unsafe { cpus[n].here() }, NodeId::ZERO, &pages));
            let cache = slabs.create(&spec("only", 64)).unwrap();
            let object = slabs.alloc(&two, cache, Gfp::GFP_KERNEL).unwrap();
            // SAFETY: freed once.
            unsafe { slabs.free(&two, cache, object) };
            slabs.shrink(&one, cache);
            slabs.poll(&two);
            // SAFETY: nobody uses it.
            assert_eq!(unsafe { slabs.destroy(&one, cache) }, Err(DestroyError::Retry { cpus: 1 }));
            slabs.poll(&two);
            // SAFETY: as above.
            assert_eq!(unsafe { slabs.destroy(&one, cache) }, Ok(Destroyed::Gone));
            // SAFETY: nobody destroys caches meanwhile.
            let own = unsafe { slabs.ids() }.next().unwrap();
            [one, two].iter().for_each(|cx| slabs.flush_cpu(cx));
            assert!(!slabs.shrink(&one, own));
        });
    });
}

#[test]
fn a_pointer_into_an_object_reaches_no_neighbour_when_it_is_zeroed() {
    for design in [Design::Slub, Design::Slab] {
        let kept = Kept::default();
        on_design(design, &small(1), &kept, |m| {
            let o = m.allocator();
            m.on_cpu(0, |cx| {
                let objects = [(); 42].map(|()| o.kmalloc(cx, 96, K, None).unwrap());
                // SAFETY: ours yet, and so many bytes.
                objects.iter().for_each(|object| unsafe { object.write_bytes(0x77, 96) });
                let inner = inside(objects[1], 32);
                // SAFETY: of the same object. The free is misuse: it changes no more than that object, whose owner gives it up.
                let (rest, all) = unsafe {
                    o.kfree_sensitive(cx, inner);
                    (o.ksize(inner), o.ksize(objects[1]))
                };
                assert_eq!((rest, all), (64, 96), "{design}");
                for (n, object) in objects.iter().enumerate().filter(|(n, _)| *n != 1) {
                    // SAFETY: ours yet, and so many bytes.
                    let whole = (0..96).all(|at| unsafe { object.add(at).read() } == 0x77);
                    assert!(whole, "{design}: object {n}");
                }
                // SAFETY: each is freed once; what was freed by a pointer into it was not.
                objects.into_iter().for_each(|object| unsafe { o.kfree(cx, object) });
            });
        });
    }
}
