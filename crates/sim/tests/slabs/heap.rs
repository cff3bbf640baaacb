//! Slabs as Rust's allocators.

use super::*;
use pagewright_slab::slabs::CreateError;
use pagewright_slab::{Global, HeapOn, KmemCache};
use pagewright_zone::Gfp;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

#[derive(Debug)]
struct Counted<'c>(u32, &'c Cell<u32>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.1.set(self.1.get() + 1);
    }
}

#[test]
fn objects_of_a_type_are_dropped_and_freed() {
    silently(1, |m| {
        m.on_cpu(0, |cx| {
            let dropped = Cell::new(0);
            let cache = KmemCache::<Counted<'_>, _>::new(HeapOn::new(&m.slabs, cx), "counted").unwrap();
            let mut objects: Vec<_> =
                (0..50).map(|n| cache.alloc(Counted(n, &dropped), Gfp::GFP_KERNEL).unwrap()).collect();
            for (n, object) in objects.iter_mut().enumerate() {
                assert_eq!(object.0, n as u32);
                object.0 += 1;
            }
            let value = objects.pop().unwrap().into_inner();
            assert_eq!((value.0, dropped.get()), (50, 0), "taken out, not dropped");
            drop(value);
            drop(objects);
            assert_eq!(dropped.get(), 50);
            assert!(cache.destroy().is_ok());
        });
    });
}

#[test]
fn a_forgotten_object_keeps_its_cache() {
    with_plain_machine(&small(1), NoHooks, |pages| {
        with_slabs(pages, &[NodeId::ZERO], 8, &Silent, |m| {
            m.on_cpu(0, |cx| {
                let cache = KmemCache::<[u64; 9], _>::new(HeapOn::new(&m.slabs, cx), "forgotten").unwrap();
                std::mem::forget(cache.alloc([1; 9], Gfp::GFP_KERNEL).unwrap());
                let (why, cache) = cache.destroy().unwrap_err();
                assert!(matches!(why, DestroyError::InUse { objects: 1, .. }), "{why:?}");
                drop(cache);
                let mut names = Vec::new();
                m.slabs.each_cache(|figures| names.push(figures.name.as_str().to_owned()));
                assert_eq!(names, ["kmem_cache_cpu", "forgotten"]);
            });
        });
    });
}

#[test]
fn a_value_that_finds_no_memory_comes_back() {
    silently(1, |m| {
        m.on_cpu(0, |cx| {
            let cache = KmemCache::<String, _>::new(HeapOn::new(&m.slabs, cx), "strings").unwrap();
            m.slabs.fail_nth(1);
            let (_, value) = cache.alloc("mine".to_owned(), Gfp::GFP_KERNEL).unwrap_err();
            m.slabs.fail_nth(0);
            assert_eq!(value, "mine");
            assert!(matches!(
                KmemCache::<(), _>::new(HeapOn::new(&m.slabs, cx), "none"),
                Err(CreateError::Geometry(_))
            ));
        });
    });
}

#[test]
fn the_global_allocator_serves_any_layout() {
    with_places(&small(1), 64, &Silent, |m| {
        m.on_cpu(0, |cx| {
            let global = Global::new(HeapOn::new(&m.slabs, cx));
            for size in [1, 7, 8, 40, 96, 100, 500, 5000, 9000, 70_000] {
                for shift in 0..15 {
                    let layout = Layout::from_size_align(size, 1 << shift).unwrap();
                    // SAFETY: the layout has bytes; what is allocated is used within them and freed once, by its layout.
                    unsafe {
                        let memory = global.alloc_zeroed(layout);
                        assert!(
                            !memory.is_null() && memory.addr().is_multiple_of(layout.align()),
                            "{layout:?}"
                        );
                        assert!((0..size).all(|n| memory.add(n).read() == 0), "{layout:?}");
                        memory.write_bytes(9, size);
                        let larger = global.realloc(memory, layout, 3 * size);
                        assert!(
                            !larger.is_null() && larger.addr().is_multiple_of(layout.align()),
                            "{layout:?}"
                        );
                        assert!((0..size).all(|n| larger.add(n).read() == 9), "{layout:?}");
                        let new = Layout::from_size_align(3 * size, layout.align()).unwrap();
                        global.dealloc(larger, new);
                    }
                }
            }
            let too_large = Layout::from_size_align(5 << 20, 1).unwrap();
            // SAFETY: the layout has bytes.
            assert!(unsafe { global.alloc(too_large) }.is_null());
            assert_eq!(m.slabs.findings(), 0);
        });
    });
}
