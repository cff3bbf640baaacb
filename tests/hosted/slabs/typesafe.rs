//! Objects that keep their type: their pages go when the readers have left that were there.

use super::{Kept, Machine, destroy, end, on, on_design, silently, small};
use pagewright_addr::{NodeId, PageShift};
use pagewright_platform::{GracePeriods, NoInterrupts};
use pagewright_sim::slabs::LinearRam;
use pagewright_slab::objects::Design;
use pagewright_slab::slabs::{
    CacheSpec, CreateError, Damage, DestroyError, Destroyed, Silent, SlabSpace, Slabs, Slot,
};
use pagewright_slab::slub::Slub;
use pagewright_slab::{CacheFlags, CacheId};
use pagewright_zone::Gfp;
use pagewright_zone::figures::ZoneSource;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

/// What the constructor writes, and nobody changes.
const MAGIC: u64 = 0x7e57_ab1e_0b1e_c7ed;

/// Bytes of objects whose users write all of them.
const BLOCK: usize = 32 << 10;

/// What readers see of an object: the constant, and what its user writes. Four of them in a page.
#[repr(C)]
struct Seen {
    magic: AtomicU64,
    user: AtomicU64,
    rest: [u64; 126],
}

unsafe extern "C" fn construct(object: NonNull<u8>) {
    let seen = Seen { magic: AtomicU64::new(MAGIC), user: AtomicU64::new(0), rest: [0; 126] };
    // SAFETY: an object of the cache, as large and aligned as that.
    unsafe { object.cast::<Seen>().write(seen) };
}

fn spec(flags: CacheFlags) -> CacheSpec<'static> {
    let flags = flags | CacheFlags::TYPESAFE_BY_RCU;
    let spec = CacheSpec::new("seen", size_of::<Seen>() as u64, 8, flags);
    // SAFETY: it writes one value inside the object.
    unsafe { spec.with_ctor(construct) }
}

fn seen<'o>(object: NonNull<u8>) -> &'o Seen {
    // SAFETY: the tests look at objects while they, or a read section, hold them; what changes in them is atomic.
    unsafe { object.cast().as_ref() }
}

/// So many objects, all of them as the constructor left them.
fn take(m: &Machine<'_, '_, '_, '_, '_, '_>, cache: CacheId, n: usize) -> Vec<NonNull<u8>> {
    let one = |_| {
        let object = m.on_cpu(0, |cx| m.slabs.alloc(cx, cache, Gfp::GFP_KERNEL)).unwrap();
        assert_eq!(seen(object).magic.load(Ordering::Relaxed), MAGIC);
        object
    };
    (0..n).map(one).collect()
}

/// Frees them and gives back all that the cache has free.
fn give(m: &Machine<'_, '_, '_, '_, '_, '_>, cache: CacheId, objects: Vec<NonNull<u8>>) {
    m.on_cpu(0, |cx| {
        for object in objects {
            // SAFETY: allocated by `take`, and freed once.
            unsafe { m.slabs.free(cx, cache, object) };
        }
        m.slabs.shrink(cx, cache);
    });
}

/// Free pages, with the lists of the first CPU empty: nobody else frees.
fn free_pages(m: &Machine<'_, '_, '_, '_, '_, '_>) -> u64 {
    let allocator = &m.pages.allocator;
    m.pages.on_cpu(0, |cx| allocator.drain_local_pages(cx));
    let zones: &dyn ZoneSource = allocator;
    zones.zones().map(|zone| zone.free).sum()
}

#[test]
fn pages_wait_for_the_readers_that_were_there_and_objects_stay_what_they_are() {
    for flags in
        [CacheFlags::empty(), CacheFlags::RED_ZONE | CacheFlags::CONSISTENCY_CHECKS | CacheFlags::POISON]
    {
        silently(2, |m| {
            let before = free_pages(m);
            let cache = m.slabs.create(&spec(flags)).unwrap();
            let objects = take(m, cache, 60);
            let first = objects[0];
            m.reading(1, |_, here| {
                let section = here.read_lock();
                give(m, cache, objects);
                assert!(free_pages(m) + 15 <= before, "a reader may look at them");
                assert_eq!(seen(first).magic.load(Ordering::Relaxed), MAGIC, "it is still an object");
                // SAFETY: nobody uses the cache.
                let waits = m.on_cpu(0, |cx| unsafe { m.slabs.destroy(cx, cache) });
                assert!(matches!(waits, Err(DestroyError::Readers { slabs: 2.. })), "{waits:?}");
                drop(section);
            });
            assert_eq!(destroy(m, cache), Ok(Destroyed::Gone));
            m.on_cpu(0, |cx| m.slabs.flush_cpu(cx));
            // SAFETY: nobody destroys caches here.
            let own = unsafe { m.slabs.ids() }.next().unwrap();
            m.on_cpu(0, |cx| assert!(!m.slabs.shrink(cx, own)));
            assert_eq!(free_pages(m), before);
        });
    }
}

#[test]
fn shrinking_takes_what_readers_have_left_though_nothing_became_empty() {
    silently(2, |m| {
        let cache = m.slabs.create(&spec(CacheFlags::empty())).unwrap();
        let objects = take(m, cache, 60);
        let full = free_pages(m);
        m.reading(1, |_, here| {
            let section = here.read_lock();
            give(m, cache, objects);
            assert_eq!(free_pages(m), full);
            drop(section);
        });
        m.on_cpu(0, |cx| m.slabs.shrink(cx, cache));
        assert!(free_pages(m) >= full + 15);
    });
}

#[test]
fn readers_that_come_later_are_not_waited_for_and_whoever_polls_gives_back() {
    silently(2, |m| {
        let cache = m.slabs.create(&spec(CacheFlags::empty())).unwrap();
        let objects = take(m, cache, 60);
        let full = free_pages(m);
        m.reading(1, |_, here| {
            let section = here.read_lock();
            give(m, cache, objects);
            let waiting = free_pages(m);
            drop(section);
            let _later = here.read_lock();
            m.on_cpu(0, |cx| m.slabs.poll(cx));
            assert!(free_pages(m) >= waiting + 15 && free_pages(m) > full, "{waiting}");
        });
    });
}

#[test]
fn objects_are_used_again_at_once_and_no_constructor_runs_for_it() {
    silently(1, |m| {
        let cache = m.slabs.create(&spec(CacheFlags::empty())).unwrap();
        let object = take(m, cache, 1)[0];
        seen(object).user.store(7, Ordering::Relaxed);
        m.on_cpu(0, |cx| {
            // SAFETY: freed once.
            unsafe { m.slabs.free(cx, cache, object) };
            let again = m.slabs.alloc(cx, cache, Gfp::GFP_KERNEL).unwrap();
            assert_eq!((again, seen(again).user.load(Ordering::Relaxed)), (object, 7));
            // SAFETY: as above.
            unsafe { m.slabs.free(cx, cache, again) };
        });
    });
}

#[test]
fn an_object_that_is_freed_again_while_its_slab_waits_is_told_and_left_alone() {
    let kept = Kept::default();
    on(&small(2), &kept, |m| {
        let cache = m.slabs.create(&spec(CacheFlags::empty())).unwrap();
        let objects = take(m, cache, 60);
        let first = objects[0];
        m.reading(1, |_, here| {
            let _section = here.read_lock();
            give(m, cache, objects);
            m.on_cpu(0, |cx| {
                // SAFETY: it is not the caller's any more, which the slabs are to find out; nobody else has it.
                unsafe { m.slabs.free(cx, cache, first) };
                m.slabs.shrink(cx, cache);
            });
        });
        m.slabs.validate(cache).unwrap();
    });
    let damage: Vec<Damage> = kept.0.lock().unwrap().iter().map(|report| report.damage).collect();
    assert_eq!(damage, [Damage::DoubleFree]);
}

#[test]
fn pages_of_slab_wait_for_readers_too() {
    on_design(Design::Slab, &small(2), &Silent, |m| {
        let o = m.allocator();
        let cache = o.create(&spec(CacheFlags::RECLAIM_ACCOUNT)).unwrap();
        // The only cache there whose pages can be asked for back.
        let pages = || o.slab_pages(NodeId::ZERO).reclaimable;
        let objects: Vec<_> =
            m.on_cpu(0, |cx| (0..60).map(|_| o.alloc(cx, cache, Gfp::GFP_KERNEL).unwrap()).collect());
        let first = objects[0];
        let full = pages();
        assert!(full >= 15);
        m.reading(1, |_, here| {
            let section = here.read_lock();
            m.on_cpu(0, |cx| {
                for object in objects {
                    // SAFETY: allocated above, and freed once.
                    unsafe { o.free(cx, cache, object) };
                }
                assert!(!o.shrink(cx, cache), "none is the cache's to use");
            });
            assert_eq!(pages(), full, "a reader may look at them");
            assert_eq!(seen(first).magic.load(Ordering::Relaxed), MAGIC, "it is still an object");
            // SAFETY: nobody uses the cache.
            let waits = m.on_cpu(0, |cx| unsafe { o.destroy(cx, cache) });
            assert!(matches!(waits, Err(DestroyError::Readers { slabs: 2.. })), "{waits:?}");
            // The cache is as it was.
            m.on_cpu(0, |cx| {
                let object = o.alloc(cx, cache, Gfp::GFP_KERNEL).unwrap();
                assert_eq!(seen(object).magic.load(Ordering::Relaxed), MAGIC);
                // SAFETY: freed once.
                unsafe { o.free(cx, cache, object) };
            });
            drop(section);
        });
        m.on_cpu(0, |cx| o.reap(cx, 0));
        assert!(pages() < full, "whoever reaps sees that they have left");
        assert_eq!(end(m, cache), Ok(Destroyed::Gone));
        assert_eq!(pages(), 0);
    });
}

#[test]
fn slab_and_slob_take_no_notice_of_debugging() {
    for design in [Design::Slab, Design::Slob] {
        on_design(design, &small(1), &Silent, |m| {
            let o = m.allocator();
            let cache = o.create(&CacheSpec::new("plain", 64, 0, CacheFlags::DEBUG)).unwrap();
            assert_eq!(o.row(cache).map_or(64, |row| row.size), 64, "{design}: nothing lies beside objects");
            assert_eq!(end(m, cache), Ok(Destroyed::Gone));
        });
    }
}

#[test]
fn without_grace_periods_there_is_no_such_cache() {
    silently(1, |m| {
        let (slots, lists) = (
            [Slot::new(), Slot::new()],
            [const { pagewright_platform::Mutex::new(pagewright_slab::slabs::NodeSlabs::new()) }; 2],
        );
        let space = SlabSpace { slots: &slots, lists: &lists, cpus: &[] };
        let map = *m.pages.base.map();
        let memory = LinearRam::of_pages(&map, PageShift::SHIFT_4K).unwrap();
        let mut slabs = Slabs::new(map, memory, NoInterrupts, Slub::new(1), space, &Silent, 1).unwrap();
        let refused = slabs.create(&spec(CacheFlags::empty()));
        assert_eq!(refused, Err(CreateError::Unsupported(CacheFlags::TYPESAFE_BY_RCU)));
        assert_eq!(refused.unwrap_err().to_string(), "caches cannot be TYPESAFE_BY_RCU");
        assert!(slabs.set_grace_periods(m.readers));
        assert!(!slabs.set_grace_periods(m.readers), "slabs may wait for the first already");
        assert!(slabs.create(&spec(CacheFlags::empty())).is_ok());
    });
}

#[test]
fn threads_that_read_see_objects_of_the_cache_whatever_becomes_of_them() {
    // So long that the writer could give the object's page to others.
    let (rounds, threads, looks) = if cfg!(miri) { (5, 2, 4) } else { (500, 4, 3000) };
    on(&small(threads), &Silent, |m| {
        let cache = m.slabs.create(&spec(CacheFlags::empty())).unwrap();
        let other = m.slabs.create(&super::spec("others", BLOCK as u64)).unwrap();
        let first = take(m, cache, 1)[0];
        let (shown, done) = (AtomicPtr::new(first.as_ptr()), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for cpu in 1..threads {
                let (shown, done) = (&shown, &done);
                scope.spawn(move || {
                    m.reading(cpu, |cx, here| {
                        while !done.load(Ordering::Relaxed) {
                            let section = here.read_lock();
                            let object = NonNull::new(shown.load(Ordering::Acquire)).unwrap();
                            for _ in 0..looks {
                                let magic = seen(object).magic.load(Ordering::Relaxed);
                                assert_eq!(magic, MAGIC, "something else lies there");
                                seen(object).user.load(Ordering::Relaxed);
                            }
                            drop(section);
                            m.slabs.poll(cx);
                        }
                    });
                });
            }
            let mut current = first;
            for round in 0..rounds {
                m.on_cpu(0, |cx| {
                    // More than a slab has, so that the next one is shown from another slab.
                    let mut many: Vec<_> =
                        (0..40).map(|_| m.slabs.alloc(cx, cache, Gfp::GFP_KERNEL).unwrap()).collect();
                    let next = many.remove(round as usize % 40);
                    seen(next).user.store(round, Ordering::Relaxed);
                    shown.store(next.as_ptr(), Ordering::Release);
                    many.push(current);
                    for object in many {
                        // SAFETY: nobody finds it any more; those who have look at it as at an object.
                        unsafe { m.slabs.free(cx, cache, object) };
                    }
                    m.slabs.shrink(cx, cache);
                    // Whoever gets the pages writes them whole.
                    let blocks: Vec<_> =
                        (0..4).map(|_| m.slabs.alloc(cx, other, Gfp::GFP_KERNEL).unwrap()).collect();
                    for memory in blocks {
                        // SAFETY: so many bytes were just allocated, and are freed once.
                        unsafe {
                            memory.write_bytes(0x5a, BLOCK);
                            m.slabs.free(cx, other, memory);
                        }
                    }
                    m.slabs.shrink(cx, other);
                    current = next;
                });
            }
            done.store(true, Ordering::Relaxed);
            // SAFETY: the last one, which is not shown to anybody who looks after this.
            m.on_cpu(0, |cx| unsafe { m.slabs.free(cx, cache, current) });
        });
        assert!(m.readers.is_over(m.readers.begin()));
    });
}
