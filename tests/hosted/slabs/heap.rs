//! Slabs as Rust's allocators.

use super::*;
use pagewright_platform::NoInterrupts;
use pagewright_sim::slabs::LinearRam;
use pagewright_slab::slabs::{CreateError, SlabContext, Slabs};
use pagewright_slab::{Global, Heap, HeapOn, KmemCache};
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
fn a_driver_s_example_runs() {
    super::driver::main();
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

/// Slabs as whichever processor is set.
struct AsCpu<'t, 'p, 'k, 'x, 'm, 's, 'a>(&'t Machine<'p, 'k, 'x, 'm, 's, 'a>, Cell<usize>);

// SAFETY: one machine's slabs, in the context of a processor that nobody else is while the closure runs.
unsafe impl Heap for AsCpu<'_, '_, '_, '_, '_, '_, '_> {
    type Interrupts = NoInterrupts;
    type Memory = LinearRam;

    fn with<R>(
        &self,
        f: impl for<'k, 'a> FnOnce(&Slabs<'k, 'a, NoInterrupts, LinearRam>, &SlabContext<'_, 'k, 'a>) -> R,
    ) -> R {
        self.0.on_cpu(self.1.get(), |cx| f(&self.0.slabs, cx))
    }
}

#[test]
fn a_dropped_cache_ends_when_the_last_processor_and_the_last_reader_have_left() {
    silently(3, |m| {
        let is_there = || {
            let mut found = false;
            m.slabs.each_cache(|figures| found |= figures.name.as_str() == "dropped");
            found
        };
        let heap = AsCpu(m, Cell::new(0));
        let used = |flags, cpus| {
            let cache = KmemCache::<u64, _>::with_flags(&heap, "dropped", flags).unwrap();
            for cpu in cpus {
                heap.1.set(cpu);
                drop(cache.alloc(7, Gfp::GFP_KERNEL).unwrap());
            }
            heap.1.set(0);
            drop(cache);
        };
        let poll = |cpu| m.on_cpu(cpu, |cx| m.slabs.poll(cx));
        used(CacheFlags::empty(), 0..1);
        assert!(!is_there(), "nobody else had anything");
        used(CacheFlags::empty(), 0..3);
        poll(1);
        assert!(is_there(), "the third holds objects");
        poll(2);
        assert!(!is_there(), "the last one ended it");
        used(CacheFlags::empty(), 1..2);
        m.on_cpu(1, |cx| m.slabs.flush_cpu(cx));
        assert!(!is_there(), "as it does when it goes offline");
        for cpus in [0..1, 0..2] {
            let others = cpus.len() > 1;
            m.reading(2, |_, here| {
                let section = here.read_lock();
                used(CacheFlags::TYPESAFE_BY_RCU, cpus);
                if others {
                    poll(1);
                }
                poll(0);
                assert!(is_there(), "a reader may look at its objects");
                drop(section);
                poll(0);
                assert!(!is_there(), "the reader has left");
            });
        }
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

#[test]
fn collections_live_in_slabs() {
    use allocator_api2::boxed::Box;
    use allocator_api2::vec::Vec;
    with_places(&small(1), 64, &Silent, |m| {
        m.on_cpu(0, |cx| {
            let slabs = Global::new(HeapOn::new(&m.slabs, cx));
            let boxed = Box::try_new_in([7_u8; 300], &slabs).unwrap();
            let mut grown = Vec::new_in(&slabs);
            for n in 0..5000_u64 {
                grown.push(n);
            }
            assert!(grown.iter().copied().eq(0..5000));
            let at = core::ptr::NonNull::from(&grown[0]).cast();
            assert!(m.slabs.ksize(at) >= 8 * 5000, "in kmalloc's memory");
            grown.truncate(3);
            grown.shrink_to_fit();
            assert_eq!(*grown, [0, 1, 2]);
            assert_eq!(*boxed, [7; 300]);
            // A failure says so and leaves everything as it was.
            m.slabs.fail_nth(1);
            assert!(grown.try_reserve(1 << 20).is_err());
            m.slabs.fail_nth(0);
            assert_eq!(*grown, [0, 1, 2]);
            assert!(Box::try_new_in((), &slabs).is_ok(), "nothing needs nothing");
        });
    });
}

#[test]
fn blocks_change_their_size_and_alignment() {
    use allocator_api2::alloc::Allocator;
    let layout = |size, align| Layout::from_size_align(size, align).unwrap();
    with_places(&small(1), 64, &Silent, |m| {
        m.on_cpu(0, |cx| {
            let slabs = Global::new(HeapOn::new(&m.slabs, cx));
            let all = |at: core::ptr::NonNull<[u8]>, from: usize, to: usize, byte: u8| {
                // SAFETY: so many bytes are allocated there and were written.
                (from..to).all(|n| unsafe { at.cast::<u8>().add(n).read() } == byte)
            };
            let (mut old, mut at) = (layout(0, 4), slabs.allocate(layout(0, 4)).unwrap());
            let steps =
                [(8, 8), (40, 8), (40, 64), (5000, 1024), (9000, 4), (20, 256), (0, 1), (16, 16), (1, 4096)];
            for (size, align) in steps {
                let new = layout(size, align);
                let (at_, kept) = (at.cast(), old.size().min(size));
                // SAFETY: allocated here with the layout `old`, and used by its new address from now on.
                at = unsafe {
                    match size >= old.size() {
                        true => slabs.grow_zeroed(at_, old, new).unwrap(),
                        false => slabs.shrink(at_, old, new).unwrap(),
                    }
                };
                assert!(at.len() == size && at.cast::<u8>().addr().get().is_multiple_of(align), "{new:?}");
                assert!(all(at, 0, kept, 0x5a) && all(at, kept, size, 0), "{new:?}");
                // SAFETY: so many bytes are allocated there.
                unsafe { at.cast::<u8>().write_bytes(0x5a, size) };
                old = new;
            }
            // SAFETY: allocated here with this layout, and used no more.
            unsafe { slabs.deallocate(at.cast(), old) };
            assert!(slabs.allocate(layout(5 << 20, 1)).is_err());
            assert_eq!(m.slabs.findings(), 0);
        });
    });
}
