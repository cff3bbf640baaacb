//! SLAB's arrays of another size, while they are used.

use super::designs::{Designed, each};
use super::*;
use pagewright_slab::objects::{CacheRow, Design, SlabInfo, Tunables, TuneError, write_slabinfo};
use pagewright_slab::slabs::SlabError;
use pagewright_zone::Gfp;
use std::ptr::NonNull;

const K: Gfp = Gfp::GFP_KERNEL;

fn row(m: &Designed<'_, '_, '_, '_, '_, '_>, cache: CacheId) -> CacheRow {
    m.allocator().row(cache).unwrap()
}

fn write(m: &Designed<'_, '_, '_, '_, '_, '_>, cpu: usize, line: &str) -> Result<(), TuneError> {
    m.on_cpu(cpu, |cx| write_slabinfo(m.allocator(), cx, line))
}

fn take(m: &Designed<'_, '_, '_, '_, '_, '_>, cpu: usize, cache: CacheId, n: usize) -> Vec<NonNull<u8>> {
    m.on_cpu(cpu, |cx| (0..n).map(|_| m.allocator().alloc(cx, cache, K).unwrap()).collect())
}

fn give(m: &Designed<'_, '_, '_, '_, '_, '_>, cpu: usize, cache: CacheId, objects: Vec<NonNull<u8>>) {
    m.on_cpu(cpu, |cx| {
        // SAFETY: the tests give back what they took, once.
        objects.into_iter().for_each(|object| unsafe { m.allocator().free(cx, cache, object) });
    });
}

/// How many objects nobody has taken and no slab has back: those in arrays of processors.
fn at_hand(m: &Designed<'_, '_, '_, '_, '_, '_>, cache: CacheId) -> u64 {
    let row = row(m, cache);
    row.active_objects - row.shared_available
}

#[test]
fn arrays_hold_what_was_written_to_slabinfo() {
    on_design(Design::Slab, &small(2), &Silent, |m| {
        let cache = m.allocator().create(&spec("tuned", 64)).unwrap();
        // Both processors have an array, the node has one for both.
        for cpu in [0, 1] {
            let all = take(m, cpu, cache, 200);
            give(m, cpu, cache, all);
        }
        assert!(at_hand(m, cache) > 100 && row(m, cache).shared_available > 32);
        write(m, 0, "tuned 16 8 4\n").unwrap();
        assert_eq!(row(m, cache).tunables, Tunables { limit: 16, batch: 8, shared: 4 });
        let text = SlabInfo(m.allocator()).to_string();
        let line = text.lines().find(|line| line.starts_with("tuned ")).unwrap();
        assert!(line.contains(": tunables   16    8    4 :"), "{line}");
        assert_eq!(row(m, cache).shared_available, 0, "a node's array is made anew when it is needed");
        // The other processor has its old array until it comes by.
        assert!(at_hand(m, cache) > 16);
        m.on_cpu(1, |cx| m.allocator().poll(cx));
        assert_eq!(at_hand(m, cache), 0);
        for cpu in [0, 1] {
            let all = take(m, cpu, cache, 200);
            give(m, cpu, cache, all);
        }
        let hand = at_hand(m, cache);
        assert!((17..=32).contains(&hand), "{hand} in arrays of 16");
        assert_eq!(row(m, cache).shared_available, 32);
        // Larger ones again, and none that is shared; without a poll: an array that is full or empty is looked at.
        write(m, 0, "  tuned   300\t10 0").unwrap();
        for cpu in [1, 0] {
            let all = take(m, cpu, cache, 400);
            give(m, cpu, cache, all);
        }
        let hand = at_hand(m, cache);
        assert!((580..=600).contains(&hand), "{hand} in arrays of 300");
        assert_eq!(row(m, cache).shared_available, 0);
    });
}

#[test]
fn what_no_cache_can_have_is_refused_and_changes_nothing() {
    each(|design, m, _| {
        let cache = m.allocator().create(&spec("a name with blanks", 64)).unwrap();
        let before = row(m, cache);
        if design != Design::Slab {
            assert_eq!(write(m, 0, "a name with blanks 2 1 0"), Err(TuneError::Design), "{design}");
            return;
        }
        for (limit, batch, shared) in [(0, 1, 0), (1, 0, 0), (4, 5, 0), (1 << 24, 1, 0), (4, 4, 1 << 16)] {
            let wanted = Tunables { limit, batch, shared };
            let line = format!("a name with blanks {limit} {batch} {shared}");
            assert_eq!(write(m, 0, &line), Err(TuneError::Range(wanted)));
        }
        let most = Tunables { limit: Tunables::MOST, batch: 300, shared: Tunables::MOST_SHARED };
        assert_eq!(most.check(), Err(TuneError::Range(most)), "a shared array of so many");
        for line in ["", "\n", "2 1 0", "a name with blanks", "a name with blanks 2 1 -1", "x 2 1 0x1"] {
            assert_eq!(write(m, 0, line), Err(TuneError::Line), "{line:?}");
        }
        assert_eq!(write(m, 0, "another 2 1 0"), Err(TuneError::Stale));
        // No array of kmalloc is so large.
        let large = write(m, 0, "a name with blanks 8000000 1 0");
        assert_eq!(large, Err(TuneError::Memory(SlabError::NoMemory)));
        m.allocator().fail_nth(1);
        let failed = write(m, 0, "a name with blanks 4 2 0");
        assert_eq!(failed, Err(TuneError::Memory(SlabError::Injected)));
        m.allocator().fail_nth(0);
        assert_eq!(row(m, cache), before);
        write(m, 0, "a name with blanks 4 2 0").unwrap();
        end(m, cache);
        let gone = m.on_cpu(0, |cx| m.allocator().tune(cx, cache, before.tunables));
        assert_eq!(gone, Err(TuneError::Stale));
    });

    fn end(m: &Designed<'_, '_, '_, '_, '_, '_>, cache: CacheId) {
        super::designs::end(m, cache).unwrap();
    }
}

#[test]
fn a_cache_can_be_tuned_while_all_processors_use_it() {
    let rounds = if cfg!(miri) { 40 } else { 20_000 };
    on_design(Design::Slab, &small(3), &Silent, |m| {
        let cache = m.allocator().create(&spec("tuned", 64)).unwrap();
        std::thread::scope(|scope| {
            for cpu in 0..3_usize {
                scope.spawn(move || {
                    let mut held = vec![];
                    for n in 0..rounds {
                        m.on_cpu(cpu, |cx| {
                            let object = m.allocator().alloc(cx, cache, K).unwrap();
                            // SAFETY: it is this thread's until it is freed.
                            unsafe { object.cast::<(usize, usize)>().write((cpu, n)) };
                            held.push((object, n));
                            if held.len() > 150 || n % 7 == 0 {
                                let (object, n) = held.swap_remove(n * 31 % held.len());
                                // SAFETY: as above.
                                assert_eq!(unsafe { object.cast::<(usize, usize)>().read() }, (cpu, n));
                                // SAFETY: freed once.
                                unsafe { m.allocator().free(cx, cache, object) };
                            }
                            if n % 61 == cpu {
                                let limit = 1 + (n % 97) as u32;
                                let tunables =
                                    Tunables { limit, batch: limit.div_ceil(3), shared: n as u32 % 5 };
                                m.allocator().tune(cx, cache, tunables).unwrap();
                            }
                            if n % 101 == 0 {
                                m.allocator().reap(cx, n as u64);
                            }
                        });
                    }
                    give(m, cpu, cache, held.into_iter().map(|(object, _)| object).collect());
                });
            }
        });
        let limit = u64::from(row(m, cache).tunables.limit);
        for cpu in 0..3 {
            m.on_cpu(cpu, |cx| m.allocator().poll(cx));
        }
        assert!(at_hand(m, cache) <= 3 * limit);
        assert_eq!(m.allocator().findings(), 0);
    });
}
