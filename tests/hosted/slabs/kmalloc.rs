use super::*;
use pagewright_addr::PageShift;
use pagewright_page::PageMap;
use pagewright_platform::{Mutex, NoInterrupts};
use pagewright_slab::SlabError;
use pagewright_slab::kmalloc::Classes;
use pagewright_slab::memory::NoMemory;
use pagewright_slab::objects::ObjectAllocator;
use pagewright_slab::slab::{ArraySpace, NodeCache, Slab, SlabCache, SlabConfig};
use pagewright_slab::slabs::{CreateError, Damage, NodeSlabs, SlabSpace, SlabState, Slabs, Slot};
use pagewright_slab::slub::Slub;
use pagewright_zone::Gfp;
use std::ptr::NonNull;

const K: Gfp = Gfp::GFP_KERNEL;

fn kmalloc(f: impl FnOnce(&Machine<'_, '_, '_, '_, '_, '_>)) {
    with_places(&small(1), 64, &Silent, |m| {
        f(m);
        assert_eq!(m.slabs.findings(), 0);
    });
}

#[test]
fn every_size_comes_from_its_class_and_goes_back() {
    kmalloc(|m| {
        assert_eq!(m.slabs.state(), SlabState::Full);
        m.on_cpu(0, |cx| {
            let sizes: Vec<usize> =
                if cfg!(miri) { vec![1, 8, 9, 100, 192, 193, 8192, 8193] } else { (1..8300).collect() };
            for bytes in sizes {
                let memory = m.slabs.kmalloc(cx, bytes, K).unwrap();
                let class = match bytes {
                    65..=96 => 96,
                    129..=192 => 192,
                    8193.. => 16_384,
                    _ => bytes.next_power_of_two().max(8),
                };
                assert_eq!(m.slabs.ksize(memory), class, "{bytes} bytes");
                let align = if class.is_power_of_two() { class } else { 8 };
                assert_eq!(memory.addr().get() % align, 0, "{bytes} bytes");
                // SAFETY: so many bytes are ours, until they are freed.
                unsafe {
                    memory.write_bytes(0xa5, class);
                    m.slabs.kfree(cx, memory);
                }
            }
        });
    });
}

#[test]
fn too_few_places_leave_no_cache_of_kmallocs() {
    let with = |f: &dyn Fn(PageMap<'_>)| kmalloc(|m| f(*m.pages.base.map()));
    let classes = |min_size| Classes {
        page_shift: PageShift::SHIFT_4K,
        min_size,
        min_align: 8,
        accounted: false,
        dma: false,
    };
    with(&|map| {
        let slots: Vec<Slot> = (0..20).map(|_| Slot::new()).collect();
        let lists: Vec<_> = (0..20).map(|_| Mutex::new(NodeSlabs::new())).collect();
        let space = SlabSpace { slots: &slots, lists: &lists, cpus: &[] };
        let slabs = Slabs::new(map, NoMemory, NoInterrupts, Slub::new(1), space, &Silent, 1);
        let mut slabs = slabs.unwrap();
        let count = |slabs: &Slabs<'_, '_, _, _>| {
            let mut caches = 0;
            slabs.each_cache(|_| caches += 1);
            caches
        };
        assert_eq!(slabs.create_kmalloc_caches(&classes(8)), Err(CreateError::NoPlace { places: 20 }));
        assert_eq!((count(&slabs), slabs.state()), (1, SlabState::Partial), "the slabs' own");
        assert_eq!(slabs.create_kmalloc_caches(&classes(2048)), Ok(()));
        assert_eq!((count(&slabs), slabs.state()), (1 + 2 * 3, SlabState::Up));
    });
    with(&|map| {
        let slots: Vec<Slot<SlabCache>> = (0..20).map(|_| Slot::new()).collect();
        let lists: Vec<_> = (0..20).map(|_| Mutex::new(NodeCache::new())).collect();
        let space = ArraySpace { slots: &slots, lists: &lists, aliens: &[], cpus: &[], node_cpus: &[1] };
        let slab = Slab::new(map, NoMemory, NoInterrupts, SlabConfig::new(1), space, &Silent, 1);
        let mut slab = slab.unwrap();
        let count = |slab: &Slab<'_, '_, NoInterrupts, NoMemory>| {
            let mut caches = 0;
            ObjectAllocator::each_cache(slab, &mut |_, _| caches += 1);
            caches
        };
        assert_eq!(slab.create_kmalloc_caches(&classes(32)), Err(CreateError::NoPlace { places: 20 }));
        assert_eq!((count(&slab), slab.state()), (1, SlabState::Down), "its own");
        assert_eq!(slab.create_kmalloc_caches(&classes(128)), Ok(()));
        assert_eq!(count(&slab), 1 + 2 * 7);
    });
}

#[test]
fn kinds_have_caches_of_their_own() {
    kmalloc(|m| {
        m.on_cpu(0, |cx| {
            let mut named = Vec::new();
            for gfp in [K, K | Gfp::ACCOUNT, K | Gfp::RECLAIMABLE, K | Gfp::DMA] {
                let memory = m.slabs.kmalloc(cx, 100, gfp).unwrap();
                m.slabs.each_cache(|figures| {
                    let name = figures.name.as_str();
                    if figures.objects > 0 && name.contains("kmalloc") && !named.iter().any(|n| n == name) {
                        named.push(name.to_owned());
                    }
                });
                // SAFETY: freed once.
                unsafe { m.slabs.kfree(cx, memory) };
            }
            // This kernel has no caches for ZONE_DMA: the normal one serves.
            assert_eq!(named, ["kmalloc-128", "kmalloc-cg-128", "kmalloc-rcl-128"]);
        });
    });
}

#[test]
fn a_zone_that_the_kernel_does_not_have_hides_no_kind() {
    kmalloc(|m| {
        m.on_cpu(0, |cx| {
            for (gfp, name) in [
                (K | Gfp::DMA, "kmalloc-64"),
                (K | Gfp::DMA | Gfp::RECLAIMABLE, "kmalloc-rcl-64"),
                (K | Gfp::DMA | Gfp::ACCOUNT, "kmalloc-cg-64"),
            ] {
                let count = || {
                    let mut objects = 0;
                    m.slabs.each_cache(|figures| {
                        objects += if figures.name.as_str() == name { figures.objects } else { 0 };
                    });
                    objects
                };
                assert_eq!(count(), 0, "{name} has nothing yet");
                let memory = m.slabs.kmalloc(cx, 64, gfp).unwrap();
                assert!(count() > 0, "{name} serves {gfp:?}");
                // SAFETY: freed once.
                unsafe { m.slabs.kfree(cx, memory) };
            }
        });
    });
}

#[test]
fn large_memory_is_pages_and_no_bytes_are_nowhere() {
    kmalloc(|m| {
        m.on_cpu(0, |cx| {
            for (bytes, pages) in [(8193, 4), (20_000, 8), (1 << 20, 256)] {
                let memory = m.slabs.kmalloc(cx, bytes, K | Gfp::ZERO).unwrap();
                assert_eq!(m.slabs.ksize(memory), pages << 12);
                // SAFETY: so many bytes are ours.
                let all = unsafe { core::slice::from_raw_parts_mut(memory.as_ptr(), pages << 12) };
                assert!(all.iter().all(|b| *b == 0));
                all.fill(1);
                // SAFETY: freed once.
                unsafe { m.slabs.kfree(cx, memory) };
            }
            assert_eq!(m.slabs.kmalloc(cx, (4 << 20) + 1, K), Err(SlabError::TooLarge));
            assert_eq!(m.slabs.kmalloc(cx, usize::MAX, K), Err(SlabError::TooLarge));
            let nothing = m.slabs.kmalloc(cx, 0, K).unwrap();
            assert_eq!((nothing.addr().get(), m.slabs.ksize(nothing)), (16, 0));
            // SAFETY: it is nothing.
            unsafe { m.slabs.kfree(cx, nothing) };
        });
    });
}

#[test]
fn contents_stay_while_memory_grows_and_shrinks() {
    kmalloc(|m| {
        m.on_cpu(0, |cx| {
            let mut memory = None;
            let mut had = 0;
            for bytes in [10, 8, 100, 5000, 40_000, 300, 9000, 60_000] {
                // SAFETY: it was allocated here, and is given up for what is returned.
                let now = unsafe { m.slabs.krealloc(cx, memory, bytes, K) }.unwrap();
                for n in 0..had.min(bytes) {
                    // SAFETY: inside the memory.
                    assert_eq!(unsafe { now.add(n).read() }, n as u8, "byte {n} of {bytes}");
                }
                // SAFETY: as above.
                (0..bytes).for_each(|n| unsafe { now.add(n).write(n as u8) });
                (memory, had) = (Some(now), bytes);
            }
            // SAFETY: no bytes free it.
            let nothing = unsafe { m.slabs.krealloc(cx, memory, 0, K) }.unwrap();
            assert_eq!(nothing.addr().get(), 16);
        });
    });
}

#[test]
fn a_failed_krealloc_leaves_the_memory_as_it_was() {
    kmalloc(|m| {
        m.on_cpu(0, |cx| {
            let memory = m.slabs.kmalloc(cx, 64, K).unwrap();
            // SAFETY: ours.
            unsafe { memory.write_bytes(0x77, 64) };
            for bytes in [1000, 100_000] {
                m.slabs.fail_nth(1);
                // SAFETY: it fails, so nothing is given up.
                let failed = unsafe { m.slabs.krealloc(cx, Some(memory), bytes, K) };
                m.slabs.fail_nth(0);
                assert_eq!(failed, Err(SlabError::Injected));
            }
            // SAFETY: ours yet; freed once.
            unsafe {
                assert!((0..64).all(|n| memory.add(n).read() == 0x77));
                m.slabs.kfree(cx, memory);
            }
        });
    });
}

#[test]
fn what_kfree_cannot_free_is_named() {
    let kept = Kept::default();
    with_places(&small(1), 64, &kept, |m| {
        m.on_cpu(0, |cx| {
            let large = m.slabs.kmalloc(cx, 10_000, K).unwrap();
            let odd = m.slabs.kmalloc(cx, 90, K).unwrap();
            // SAFETY: misuse that is recognised and changes nothing; then both are freed.
            unsafe {
                m.slabs.kfree(cx, large.add(4096));
                m.slabs.kfree(cx, odd.add(4));
                m.slabs.kfree(cx, large);
                m.slabs.kfree(cx, large);
                m.slabs.kfree(cx, odd);
                m.slabs.kfree(cx, NonNull::dangling());
            }
            let found: Vec<_> = kept.0.lock().unwrap().drain(..).map(|r| r.damage).collect();
            let nothing = Damage::NotAllocated;
            assert_eq!(found, [nothing, Damage::InvalidPointer, nothing, nothing]);
        });
    });
}

#[test]
fn users_may_be_given_what_the_cache_says() {
    kmalloc(|m| {
        m.on_cpu(0, |cx| {
            let cache = m.slabs.create(&CacheSpec { usercopy: (16, 32), ..spec("for users", 100) }).unwrap();
            let object = m.slabs.alloc(cx, cache, K).unwrap();
            // SAFETY: inside the object.
            let at = |n| unsafe { object.add(n) };
            let may = |n, bytes| m.slabs.may_copy(at(n), bytes);
            assert_eq!(
                [may(16, 32), may(20, 8), may(8, 16), may(16, 33), may(48, 1)],
                [true, true, false, false, false]
            );
            // SAFETY: freed once.
            unsafe { m.slabs.free(cx, cache, object) };
        });
    });
}

#[test]
fn slabinfo_reads_as_the_kernels() {
    kmalloc(|m| {
        m.on_cpu(0, |cx| {
            let memory = m.slabs.kmalloc(cx, 192, K).unwrap();
            let text = m.slabs.slabinfo().to_string();
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some("slabinfo - version: 2.1"));
            assert!(lines.next().unwrap().starts_with("# name            <active_objs> <num_objs> <objsize> <objperslab>"));
            let line = |name: &str| text.lines().find(|l| l.split(' ').next() == Some(name)).unwrap();
            let zeroes = "tunables    0    0    0";
            assert_eq!(
                line("kmalloc-192"),
                format!("kmalloc-192           21     21    192   21    1 : {zeroes} : slabdata      1      1      0")
            );
            assert_eq!(
                line("kmalloc-8k"),
                format!("kmalloc-8k             0      0   8192    4    8 : {zeroes} : slabdata      0      0      0")
            );
            assert!(text.lines().last().unwrap().starts_with("kmem_cache_cpu "), "the oldest is the last");
            // SAFETY: freed once.
            unsafe { m.slabs.kfree(cx, memory) };
        });
    });
}
