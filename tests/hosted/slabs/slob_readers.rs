//! SLOB's objects that keep their type: each waits for the readers that were there when it was freed. And SLAB's and SLOB's among threads that read.

use super::designs::{end, on_design};
use super::{Kept, small};
use pagewright_platform::{NoInterrupts, Reader, Readers};
use pagewright_sim::designs::with_design;
use pagewright_sim::pages::with_plain_machine;
use pagewright_sim::slabs::LinearRam;
use pagewright_slab::CacheFlags;
use pagewright_slab::objects::Design;
use pagewright_slab::slabs::{CacheSpec, CreateError, Damage, DestroyError, Destroyed, Silent, Slot};
use pagewright_slab::slob::{Slob, SlobConfig};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::NoHooks;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

const K: Gfp = Gfp::GFP_KERNEL;
/// What the constructor writes.
const MAGIC: u64 = 0x0b1e_c750_0f51_0b00;

unsafe extern "C" fn construct(object: NonNull<u8>) {
    // SAFETY: objects have at least a word, aligned as words are.
    unsafe { object.cast::<AtomicU64>().as_ref() }.store(MAGIC, Ordering::Relaxed);
}

/// Objects of so many bytes.
fn spec(bytes: u64) -> CacheSpec<'static> {
    let spec = CacheSpec::new("seen", bytes, 8, CacheFlags::TYPESAFE_BY_RCU);
    // SAFETY: it writes one word of an object, and none has less.
    unsafe { spec.with_ctor(construct) }
}

fn word<'o>(object: NonNull<u8>) -> &'o AtomicU64 {
    // SAFETY: the tests look at objects while they, or a read section, hold them.
    unsafe { object.cast().as_ref() }
}

#[test]
fn an_object_is_nobodys_until_its_readers_have_left() {
    // Some of a page, and some that take pages by themselves; the second only with what lies behind it.
    for bytes in [20, 4080, 9000] {
        on_design(Design::Slob, &small(2), &Silent, |m| {
            let o = m.allocator();
            let cache = o.create(&spec(bytes)).unwrap();
            m.on_cpu(0, |cx| {
                let object = o.alloc(cx, cache, K).unwrap();
                // SAFETY: an object of so many bytes that is ours.
                unsafe { object.write_bytes(0x55, bytes as usize) };
                let word = word(object);
                word.store(MAGIC + 1, Ordering::Relaxed);
                m.reading(1, |_, here| {
                    let section = here.read_lock();
                    // SAFETY: freed once.
                    unsafe { o.free(cx, cache, object) };
                    let row = o.row(cache).unwrap();
                    assert_eq!((row.active_objects, row.objects), (0, 1));
                    let others: Vec<_> = (0..40).map(|_| o.alloc(cx, cache, K).unwrap()).collect();
                    assert!(!others.contains(&object), "a reader may look at it");
                    assert_eq!(word.load(Ordering::Relaxed), MAGIC + 1, "and sees what it was");
                    for other in others {
                        // SAFETY: freed once.
                        unsafe { o.free(cx, cache, other) };
                    }
                    // SAFETY: nobody uses it.
                    let waits = unsafe { o.destroy(cx, cache) };
                    assert_eq!(waits, Err(DestroyError::Readers { slabs: 41 }));
                    drop(section);
                    let _later = here.read_lock();
                    // The first period began with the first object, without the others.
                    o.poll(cx);
                    assert!(o.row(cache).unwrap().objects < 41);
                });
                o.reap(cx, 0);
                assert_eq!(o.row(cache).unwrap().objects, 0);
                let object = o.alloc(cx, cache, K).unwrap();
                assert_eq!(self::word(object).load(Ordering::Relaxed), MAGIC, "constructed anew");
                // SAFETY: freed once.
                unsafe { o.free(cx, cache, object) };
            });
            assert_eq!(end(m, cache), Ok(Destroyed::Gone));
        });
    }
}

#[test]
fn an_object_that_waits_and_is_freed_again_or_written_behind_is_told() {
    let kept = Kept::default();
    let found = || kept.0.lock().unwrap().drain(..).map(|report| report.damage).collect::<Vec<_>>();
    on_design(Design::Slob, &small(2), &kept, |m| {
        let o = m.allocator();
        let cache = o.create(&spec(40)).unwrap();
        m.on_cpu(0, |cx| {
            let objects: [_; 3] = std::array::from_fn(|_| o.alloc(cx, cache, K).unwrap());
            // SAFETY: misuse that is to be found, of memory that nobody else has; what is written goes back to what it was.
            unsafe {
                m.reading(1, |_, here| {
                    let _section = here.read_lock();
                    o.free(cx, cache, objects[0]);
                    o.free(cx, cache, objects[0]);
                    assert_eq!(found(), [Damage::DoubleFree]);
                    o.free(cx, cache, objects[1].add(8));
                    assert_eq!(found(), [Damage::RightRedZone], "what lies behind it is no footer");
                });
                let behind = objects[1].add(40 + 16);
                *behind.as_ptr() ^= 1;
                o.free(cx, cache, objects[1]);
                assert_eq!(found(), [Damage::RightRedZone]);
                *behind.as_ptr() ^= 1;
                o.free(cx, cache, objects[1]);
                assert_eq!((found(), o.row(cache).unwrap().objects), (vec![], 1));
                for byte in 0..24 {
                    let object = o.alloc(cx, cache, K).unwrap();
                    let behind = object.add(40 + byte);
                    m.reading(1, |_, here| {
                        let _section = here.read_lock();
                        o.free(cx, cache, object);
                        *behind.as_ptr() ^= 0x80;
                        o.free(cx, cache, object);
                        assert_eq!(found(), [Damage::RightRedZone], "byte {byte}");
                        *behind.as_ptr() ^= 0x80;
                    });
                    o.poll(cx);
                }
                assert_eq!((found(), o.row(cache).unwrap().objects), (vec![], 1));
                o.free(cx, cache, objects[2]);
            }
        });
        assert_eq!(end(m, cache), Ok(Destroyed::Gone));
    });
}

#[test]
fn what_waits_is_not_followed_where_it_was_written() {
    let kept = Kept::default();
    let found = || kept.0.lock().unwrap().drain(..).map(|report| report.damage).collect::<Vec<_>>();
    let machine = small(2);
    // Not all pages come back.
    with_plain_machine(&machine, NoHooks, |pages| {
        with_design(Design::Slob, pages, &machine.cpus, 4, &kept, |m| {
            let o = m.allocator();
            let cache = o.create(&spec(40)).unwrap();
            m.on_cpu(0, |cx| {
                let object = o.alloc(cx, cache, K).unwrap();
                m.reading(1, |_, here| {
                    let _section = here.read_lock();
                    // SAFETY: freed once; misuse of memory that nobody else has.
                    unsafe {
                        o.free(cx, cache, object);
                        *object.add(40).as_ptr() ^= 0x10;
                    }
                });
                assert_eq!(found(), []);
                o.poll(cx);
                assert_eq!(found(), [Damage::FreePointer]);
                // SAFETY: nobody uses it.
                let lost = unsafe { o.destroy(cx, cache) };
                assert_eq!(lost, Err(DestroyError::Readers { slabs: 1 }), "it is given up");
                o.validate(cache).unwrap();
            });
        });
    });
}

#[test]
fn without_grace_periods_slob_has_no_such_cache() {
    on_design(Design::Slob, &small(1), &Silent, |m| {
        let map = *m.pages.base.map();
        let memory = LinearRam::new(&map).unwrap();
        let (slots, readers) = ([Slot::new()], [Reader::new()]);
        let readers = Readers::new(&readers);
        let mut slob = Slob::new(map, memory, NoInterrupts, SlobConfig::new(), &slots, &Silent, 1).unwrap();
        let refused = slob.create(&spec(40));
        assert_eq!(refused, Err(CreateError::Unsupported(CacheFlags::TYPESAFE_BY_RCU)));
        assert!(slob.set_grace_periods(&readers));
        assert!(!slob.set_grace_periods(&readers), "objects may wait for the first already");
        assert!(slob.create(&spec(40)).is_ok());
    });
}

#[test]
fn threads_that_read_see_objects_of_the_cache_with_each_design() {
    let (rounds, threads, looks) = if cfg!(miri) { (5, 2, 4) } else { (300, 4, 500) };
    for design in [Design::SlubCpuSlabs, Design::Slab, Design::Slob] {
        on_design(design, &small(threads), &Silent, |m| {
            let o = m.allocator();
            let cache = o.create(&spec(1000)).unwrap();
            let take = || m.on_cpu(0, |cx| o.alloc(cx, cache, K).unwrap());
            let first = take();
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
                                    let magic = word(object).load(Ordering::Relaxed);
                                    assert_eq!(magic, MAGIC, "{design}: something else lies there");
                                }
                                drop(section);
                                m.allocator().poll(cx);
                            }
                        });
                    });
                }
                let mut current = first;
                for round in 0..rounds {
                    let mut many: Vec<_> = (0..12).map(|_| take()).collect();
                    let next = many.remove(round % 12);
                    shown.store(next.as_ptr(), Ordering::Release);
                    many.push(current);
                    m.on_cpu(0, |cx| {
                        for object in many {
                            // SAFETY: nobody finds it any more; those who have look at it as at an object.
                            unsafe { o.free(cx, cache, object) };
                        }
                        o.shrink(cx, cache);
                        // Whoever gets the memory writes all of it.
                        for _ in 0..4 {
                            let memory = o.kmalloc(cx, 3000, K, None).unwrap();
                            // SAFETY: so many bytes were just allocated, and are freed once.
                            unsafe {
                                memory.write_bytes(0x5a, 3000);
                                o.kfree(cx, memory);
                            }
                        }
                    });
                    current = next;
                }
                done.store(true, Ordering::Relaxed);
                // SAFETY: the last one, which is not shown to anybody who looks after this.
                m.on_cpu(0, |cx| unsafe { o.free(cx, cache, current) });
            });
            assert_eq!(end(m, cache), Ok(Destroyed::Gone));
        });
    }
}
