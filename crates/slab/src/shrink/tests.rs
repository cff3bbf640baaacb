//! Shares of shrinkers, what is deferred, and who is called.

use super::*;
use std::sync::Mutex as Lock;
use std::vec::Vec;

/// So many objects, of which each scan frees as many as it is asked for; and what it was asked.
struct Pile {
    left: AtomicU64,
    asked: Lock<Vec<u64>>,
    seeks: u32,
    batch: u64,
    stops: bool,
    numa: bool,
}

impl Pile {
    fn new(left: u64) -> Self {
        let (seeks, batch) = (DEFAULT_SEEKS, SHRINK_BATCH);
        Self { left: AtomicU64::new(left), asked: Lock::default(), seeks, batch, stops: false, numa: false }
    }

    fn asked(&self) -> Vec<u64> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Shrinker for Pile {
    fn count_objects(&self, _: &ShrinkControl) -> u64 {
        self.left.load(Relaxed)
    }

    fn scan_objects(&self, sc: &mut ShrinkControl) -> Option<u64> {
        self.asked.lock().unwrap().push(sc.nr_to_scan);
        if self.stops {
            return None;
        }
        let freed = sc.nr_to_scan.min(self.left.load(Relaxed));
        self.left.fetch_sub(freed, Relaxed);
        sc.pages += freed / 2;
        Some(freed)
    }

    fn seeks(&self) -> u32 {
        self.seeks
    }

    fn batch(&self) -> u64 {
        self.batch
    }

    fn is_numa_aware(&self) -> bool {
        self.numa
    }
}

fn shrink(slots: &[ShrinkerSlot], node: u16, priority: u32) -> Shrunk {
    let nid = NodeId::new(node).unwrap();
    Shrinkers::new(slots).shrink_slab(Gfp::GFP_KERNEL, nid, priority)
}

#[test]
fn a_share_grows_with_the_pressure_and_falls_with_what_objects_cost() {
    let share = |freeable, deferred, priority, seeks| {
        let Share { delta, total } = Share::of(freeable, deferred, priority, seeks);
        (delta, total)
    };
    assert_eq!(share(1 << 20, 0, 12, 2), (512, 512), "a 4096th, four times, halved");
    assert_eq!(share(1 << 20, 0, 11, 2), (1024, 1024));
    assert_eq!(share(1 << 20, 0, 12, 4), (256, 256));
    assert_eq!(share(1000, 0, 12, 2), (0, 0), "less than 4096 count for nothing");
    assert_eq!(share(1000, 0, 12, 0), (500, 500), "what costs nothing is halved");
    assert_eq!(share(1, 0, 12, 0), (1, 1), "and the last one does not stay");
    assert_eq!(share(1 << 20, 1 << 15, 12, 2), (512, 520), "and a 4096th of what was deferred");
    assert_eq!(share(100, 0, 0, 1), (400, 200), "at most each object twice");
    assert_eq!(share(u64::MAX, u64::MAX, 0, 1), (u64::MAX, u64::MAX));
}

#[test]
fn less_than_a_batch_is_deferred_and_asked_for_later() {
    let slots = [ShrinkerSlot::new()];
    let pile = Pile::new(100_000);
    Shrinkers::new(&slots)
        .with(&pile, || {
            // 100,000 / 4096 = 24, times 4 / 2: 48 each time, less than a batch of 128.
            for _ in 0..3 {
                assert_eq!(shrink(&slots, 0, 12), Shrunk::default());
            }
            assert_eq!((pile.asked(), slots[0].deferred[0].load(Relaxed)), (std::vec![], 144));
            // At priority 10: 97 * 4 / 2 = 194, and 144 / 1024 = 0 of what was deferred; one batch of it, 66 are left.
            assert_eq!(shrink(&slots, 0, 10), Shrunk { objects: 128, pages: 64 });
            assert_eq!((pile.asked(), slots[0].deferred[0].load(Relaxed)), (std::vec![128], 144 + 194 - 128));
        })
        .unwrap();
}

#[test]
fn few_objects_are_asked_for_all_at_once() {
    let slots = [ShrinkerSlot::new()];
    let pile = Pile::new(20);
    Shrinkers::new(&slots)
        .with(&pile, || {
            // 20 * 4 / 2 = 40, at most each twice: whole batches there are none, but more than all of them.
            assert_eq!(shrink(&slots, 0, 0).objects, 20);
            assert_eq!(pile.asked(), [40]);
            assert_eq!(shrink(&slots, 0, 0), Shrunk::default(), "there is nothing left");
            assert_eq!(pile.asked(), []);
        })
        .unwrap();
}

#[test]
fn a_shrinker_that_stops_is_not_asked_again_and_keeps_its_debt() {
    let slots = [ShrinkerSlot::new()];
    let pile = Pile { stops: true, ..Pile::new(1000) };
    Shrinkers::new(&slots)
        .with(&pile, || {
            assert_eq!(shrink(&slots, 0, 0), Shrunk::default());
            assert_eq!((pile.asked(), slots[0].deferred[0].load(Relaxed)), (std::vec![128], 2000));
            // Twice as many as there are, and no more.
            shrink(&slots, 0, 0);
            assert_eq!(slots[0].deferred[0].load(Relaxed), 2000);
        })
        .unwrap();
}

#[test]
fn nodes_have_debts_of_their_own_where_the_shrinker_knows_them() {
    let slots = [ShrinkerSlot::new(), ShrinkerSlot::new()];
    let (all, by_node) = (Pile::new(100_000), Pile { numa: true, ..Pile::new(100_000) });
    let shrinkers = Shrinkers::new(&slots);
    let debts = |at: usize| [0, 3].map(|node: usize| slots[at].deferred[node].load(Relaxed));
    shrinkers
        .with(&all, || {
            shrinkers
                .with(&by_node, || {
                    shrink(&slots, 3, 12);
                    assert_eq!((debts(0), debts(1)), ([48, 0], [0, 48]));
                })
                .unwrap();
        })
        .unwrap();
}

#[test]
fn who_is_not_registered_is_not_asked_and_places_are_used_again() {
    let slots = [ShrinkerSlot::new()];
    let shrinkers = Shrinkers::new(&slots);
    let (one, other) = (Pile { batch: 1, ..Pile::new(4096) }, Pile::new(1));
    let full = shrinkers.with(&one, || {
        assert_eq!(shrinkers.with(&other, || ()), Err(ShrinkersFull { places: 1 }));
        shrink(&slots, 0, 12).objects
    });
    assert_eq!((full, shrink(&slots, 0, 0)), (Ok(2), Shrunk::default()));
    assert_eq!(slots[0].deferred[0].load(Relaxed), 0);
    assert_eq!(shrinkers.with(&other, || shrink(&slots, 0, 0).objects), Ok(1));
    assert_eq!((one.asked().len(), other.asked()), (2, std::vec![2]));
}

#[test]
fn reclaim_presses_harder_until_enough_came_free() {
    let slots = [ShrinkerSlot::new()];
    let shrinkers = Shrinkers::new(&slots);
    let pile = Pile { batch: 2, ..Pile::new(4096) };
    let progress = shrinkers.with(&pile, || shrinkers.try_to_free_pages(Gfp::GFP_KERNEL, NodeId::ZERO));
    // 1, 2, 4, ... pages of two objects each.
    let freed = progress.unwrap().freed;
    assert!((SWAP_CLUSTER_MAX..2 * SWAP_CLUSTER_MAX).contains(&freed), "{freed}");
    let few = Pile { batch: 2, ..Pile::new(10) };
    let all = shrinkers.with(&few, || shrinkers.try_to_free_pages(Gfp::GFP_KERNEL, NodeId::ZERO));
    assert_eq!((few.left.load(Relaxed), all.unwrap().freed > 0), (0, true), "the last pressure takes all");
}

#[test]
fn a_shrinker_that_was_unregistered_takes_nobody_with_it() {
    let slots = [ShrinkerSlot::new()];
    let shrinkers = Shrinkers::new(&slots);
    let (one, other) = (Pile::new(10), Pile::new(10));
    // SAFETY: both live longer than they are registered.
    let first = unsafe { shrinkers.register(&one) }.unwrap();
    shrinkers.unregister(first);
    // SAFETY: as above.
    let second = unsafe { shrinkers.register(&other) }.unwrap();
    shrinkers.unregister(first);
    assert_eq!(shrink(&slots, 0, 0).objects, 10);
    shrinkers.unregister(second);
    assert_eq!((shrink(&slots, 0, 0), one.asked()), (Shrunk::default(), std::vec![]));
}

#[test]
fn a_shrinker_that_panics_has_left() {
    struct Panics;
    impl Shrinker for Panics {
        fn count_objects(&self, _: &ShrinkControl) -> u64 {
            panic!("as the test wants it")
        }
        fn scan_objects(&self, _: &mut ShrinkControl) -> Option<u64> {
            None
        }
    }
    let slots = [ShrinkerSlot::new()];
    // That it comes back at all is what is tested: it waits for calls that run.
    let done = Shrinkers::new(&slots).with(&Panics, || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shrink(&slots, 0, 0))).is_err()
    });
    assert_eq!(done, Ok(true));
}

#[test]
fn whoever_unregisters_waits_for_those_inside() {
    struct Slow<'s>(&'s AtomicU32);
    impl Shrinker for Slow<'_> {
        fn count_objects(&self, _: &ShrinkControl) -> u64 {
            self.0.store(1, Release);
            while self.0.load(Acquire) < 2 {
                std::thread::yield_now();
            }
            std::thread::yield_now();
            self.0.store(3, Release);
            0
        }
        fn scan_objects(&self, _: &mut ShrinkControl) -> Option<u64> {
            None
        }
    }
    let slots = [ShrinkerSlot::new()];
    let state = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let slow = Slow(&state);
        let done = Shrinkers::new(&slots).with(&slow, || {
            scope.spawn(|| shrink(&slots, 0, 0));
            while state.load(Acquire) < 1 {
                std::thread::yield_now();
            }
            state.store(2, Release);
        });
        assert_eq!((done, state.load(Acquire)), (Ok(()), 3), "it has left");
    });
}
