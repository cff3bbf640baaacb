//! Memory that comes back under pressure: the page allocator's direct reclaim asks shrinkers, and slabs are one.

use super::*;
use pagewright_page::Frames;
use pagewright_sim::designs::{HostedObjects, with_design};
use pagewright_slab::SlabError;
use pagewright_slab::objects::Design;
use pagewright_slab::shrink::{
    Clock, ReapTimer, ShrinkControl, Shrinker, ShrinkerSlot, Shrinkers, SlabShrinker,
};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{AllocRequest, Hooks, NotZeroed, Progress};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

const K: Gfp = Gfp::GFP_KERNEL.union(Gfp::NOWARN);

/// Direct reclaim by shrinkers, once it is switched on.
struct Pressed<'h> {
    shrinkers: Shrinkers<'h>,
    on: AtomicBool,
    asked: AtomicU32,
}

impl Hooks for Pressed<'_> {
    fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
        Err(NotZeroed)
    }
    fn reclaim(&self, request: &AllocRequest<'_>) -> Progress {
        self.asked.fetch_add(1, Relaxed);
        if self.on.load(Relaxed) {
            self.shrinkers.try_to_free_pages(request.gfp, request.nid)
        } else {
            Progress::default()
        }
    }
}

type Hosted<'p, 'k, 'x, 'm, 's, 'a, 'h> = HostedObjects<'p, 'k, 'x, 'm, 's, 'a, &'h Pressed<'h>>;

/// Runs a test with slabs and a registry of two places, on a machine whose direct reclaim asks it.
fn with(
    design: Design,
    f: impl for<'p, 'k, 'x, 'm, 's, 'a, 'h> FnOnce(&Hosted<'p, 'k, 'x, 'm, 's, 'a, 'h>, &'h Pressed<'h>),
) {
    let slots = [ShrinkerSlot::new(), ShrinkerSlot::new()];
    let (on, asked) = (AtomicBool::new(false), AtomicU32::new(0));
    let pressed = Pressed { shrinkers: Shrinkers::new(&slots), on, asked };
    let machine = PlainMachine { ram: vec![(node(0), 0x4_0000, 2048)], ..small(1) };
    with_plain_machine(&machine, &pressed, |pages| {
        with_design(design, pages, &machine.cpus, 80, &Silent, |m| f(m, &pressed));
        pages.allocator.validate().unwrap();
    });
}

/// Allocates pages until there are no more.
fn all_pages<'a>(m: &Hosted<'_, '_, '_, '_, '_, 'a, '_>) -> Vec<Frames<'a>> {
    let one =
        || m.pages.on_this_cpu(|_, cx| m.pages.allocator.alloc_pages(cx, K, Order::ZERO).ok()).flatten();
    std::iter::from_fn(one).collect()
}

fn free_pages<'a>(
    m: &Hosted<'_, '_, '_, '_, '_, 'a, '_>,
    pages: impl IntoIterator<Item = Frames<'a>>,
) -> u64 {
    let give = |frames| m.pages.on_this_cpu(|_, cx| m.pages.allocator.free_pages(cx, frames)).unwrap();
    pages.into_iter().map(give).count() as u64
}

/// Caches whose objects were all freed: slabs of which none is in use stay with them.
fn leave_empty_slabs(m: &Hosted<'_, '_, '_, '_, '_, '_, '_>, caches: usize) {
    let o = m.allocator();
    for n in 0..caches {
        let size = 700 + 40 * n as u64;
        let cache = o.create(&CacheSpec { usercopy: (0, 8), ..spec(&format!("left-{n}"), size) }).unwrap();
        m.on_this_cpu(|cx| {
            let mut objects = vec![None; 150];
            o.alloc_bulk(cx, cache, K, &mut objects).unwrap();
            // SAFETY: each is freed once.
            unsafe { o.free_bulk(cx, cache, &mut objects) };
        });
    }
}

#[test]
fn an_allocation_that_fails_has_what_empty_slabs_give_back() {
    for design in [Design::Slub, Design::SlubCpuSlabs, Design::Slab] {
        with(design, |m, pressed| {
            let o = m.allocator();
            m.on_cpu(0, |cx| {
                leave_empty_slabs(m, 6);
                let shrinker = SlabShrinker::new(|work| {
                    m.on_this_cpu(|cx| work(m.allocator(), cx));
                });
                let done = pressed.shrinkers.with(&shrinker, || {
                    let mut held = all_pages(m);
                    assert!(pressed.asked.load(Relaxed) > 0, "{design}: it was asked and had nothing");
                    let waiting = o.empty_pages(cx);
                    assert!(waiting >= 8, "{design}: {waiting} pages are in empty slabs");
                    let fresh = o.create(&spec("fresh", 3000)).unwrap();
                    assert_eq!(o.alloc(cx, fresh, K), Err(SlabError::NoMemory), "{design}");
                    pressed.on.store(true, Relaxed);
                    // Inside the slabs' own slow path: the processor's rows are in use then.
                    let object = o.alloc(cx, fresh, K).unwrap();
                    let more = all_pages(m);
                    assert!(more.len() >= 2, "{design}: {} pages", more.len());
                    assert_eq!(o.empty_pages(cx), 0, "{design}: reclaim took all there was");
                    pressed.on.store(false, Relaxed);
                    held.extend(more);
                    // SAFETY: freed once.
                    unsafe { o.free(cx, fresh, object) };
                    free_pages(m, held);
                });
                assert_eq!((done, o.findings()), (Ok(()), 0));
            });
        });
    }
}

/// Pages that it can do without.
struct Spare<'t, F> {
    count: AtomicU64,
    free: &'t F,
}

impl<F: Fn(u64) -> u64 + Sync> Shrinker for Spare<'_, F> {
    fn count_objects(&self, _: &ShrinkControl) -> u64 {
        self.count.load(Relaxed)
    }

    fn scan_objects(&self, sc: &mut ShrinkControl) -> Option<u64> {
        assert!(sc.gfp.contains(Gfp::DIRECT_RECLAIM));
        let freed = (self.free)(sc.nr_to_scan);
        self.count.fetch_sub(freed, Relaxed);
        sc.pages += freed;
        Some(freed)
    }
}

#[test]
fn a_shrinker_of_somebody_elses_is_asked_beside_the_slabs() {
    for design in Design::ALL {
        with(design, |m, pressed| {
            m.on_cpu(0, |_| {
                let held = Mutex::new(all_pages(m));
                let free = |most: u64| {
                    let mut held = held.lock().unwrap();
                    let n = held.len().min(most as usize);
                    free_pages(m, held.drain(..n))
                };
                let spare = Spare { count: AtomicU64::new(300), free: &free };
                let slabs = SlabShrinker::new(|work| {
                    m.on_this_cpu(|cx| work(m.allocator(), cx));
                });
                pressed.on.store(true, Relaxed);
                let done = pressed.shrinkers.with(&slabs, || {
                    pressed.shrinkers.with(&spare, || {
                        let more = all_pages(m);
                        assert!((300..330).contains(&more.len()), "{design}: {}", more.len());
                        free_pages(m, more);
                    })
                });
                assert_eq!(done, Ok(Ok(())));
                assert_eq!(spare.count.load(Relaxed), 0, "{design}: the last pressure takes all");
                free_pages(m, held.into_inner().unwrap());
            });
        });
    }
}

/// A clock that the test sets.
#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[test]
fn the_timer_lets_the_reaper_come_every_two_seconds() {
    with(Design::Slab, |m, _| {
        m.on_cpu(0, |cx| {
            leave_empty_slabs(m, 2);
            let (o, hand) = (m.allocator(), Hand::default());
            let timer = ReapTimer::new(4, &hand);
            let mut came = vec![];
            for now in (0..30_000).step_by(4) {
                hand.0.store(now, Relaxed);
                if timer.tick(&hand, o, cx) {
                    came.push(now);
                }
            }
            assert_eq!(came[..3], [1012, 3012, 5012], "a second, and 3 ms for each processor before");
            assert_eq!(came.len(), 15);
            assert_eq!(o.empty_pages(cx), 0, "what nobody used for so long is given back");
            // After a pause it comes once.
            hand.0.store(100_000, Relaxed);
            assert_eq!([timer.tick(&hand, o, cx), timer.tick(&hand, o, cx)], [true, false]);
        });
    });
}
