//! The reaper of one processor while another ends a cache.

use super::*;
use pagewright_platform::Interrupts;
use pagewright_sim::slabs::LinearRam;
use pagewright_slab::memory::PagesFor;
use pagewright_slab::slab::{ArraySpace, NodeCache, Slab, SlabConfig};
use pagewright_slab::slabs::{Row, SlabContext, SlabCpu, Slot};
use pagewright_zone::Gfp;
use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

thread_local! {
    /// Whether this thread destroys.
    static DESTROYS: Cell<bool> = const { Cell::new(false) };
}

/// Lets the reaper come by wherever a destroyer keeps interrupts away, which is before it takes any lock, and counts where the reaper does.
struct Turns {
    turn: Barrier,
    reaped: AtomicU32,
}

// SAFETY: there are no handlers.
unsafe impl Interrupts for &Turns {
    type Before = ();

    fn disable(&self) {
        if DESTROYS.get() {
            self.turn.wait();
            self.turn.wait();
        } else {
            self.reaped.fetch_add(1, SeqCst);
        }
    }

    fn restore(&self, (): ()) {}
}

/// Does something as a CPU.
fn on_cpu<'k, 'a>(
    pages: &Pages<'_, '_, '_, 'a, NoHooks>,
    cpus: &'k [SlabCpu<'k>],
    cpu: usize,
    f: impl FnOnce(&SlabContext<'_, 'k, 'a>),
) {
    pages.on_cpu(cpu, |context| {
        let source = PagesFor { allocator: &pages.allocator, context };
        // SAFETY: `Pages` lets one at a time be this CPU.
        let here = unsafe { cpus[cpu].here() };
        f(&SlabContext::new(here, NodeId::ZERO, &source));
    });
}

#[test]
fn a_cache_that_ends_is_left_alone_until_its_place_is_empty() {
    const CACHES: usize = 4;
    let machine = small(2);
    with_plain_machine(&machine, NoHooks, |pages| {
        let memory = LinearRam::new(pages.base.map()).unwrap();
        let mut rows: Vec<Vec<Row>> = (0..2).map(|_| (0..CACHES).map(|_| Row::new()).collect()).collect();
        let cpus: Vec<_> = rows.iter_mut().map(|rows| SlabCpu::new(rows, 0x5eed)).collect();
        let slots: Vec<_> = (0..CACHES).map(|_| Slot::new()).collect();
        let lists: Vec<_> = (0..CACHES).map(|_| pagewright_platform::Mutex::new(NodeCache::new())).collect();
        let space = ArraySpace { slots: &slots, lists: &lists, aliens: &[], cpus: &cpus, node_cpus: &[2] };
        let config = SlabConfig { word: size_of::<usize>() as u32, ..SlabConfig::new(2) };
        let turns = Turns { turn: Barrier::new(2), reaped: AtomicU32::new(0) };
        let slab = Slab::new(*pages.base.map(), memory, &turns, config, space, &Silent, 1).unwrap();
        let slab = &slab;
        let (cpus, turns) = (&cpus[..], &turns);
        on_cpu(pages, cpus, 1, |cx| slab.reap(cx, 0));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reaper = scope.spawn(|| {
                let mut most = 0;
                loop {
                    turns.turn.wait();
                    if done.load(SeqCst) {
                        return most;
                    }
                    turns.reaped.store(0, SeqCst);
                    on_cpu(pages, cpus, 1, |cx| slab.reap(cx, 0));
                    most = most.max(turns.reaped.load(SeqCst));
                    turns.turn.wait();
                }
            });
            let cache = slab.create(&spec("ends", 64)).unwrap();
            on_cpu(pages, cpus, 0, |cx| {
                let object = slab.alloc(cx, cache, Gfp::GFP_KERNEL).unwrap();
                // SAFETY: freed once; then nobody uses the cache.
                unsafe { slab.free(cx, cache, object) };
                DESTROYS.set(true);
                // SAFETY: as above.
                let ended = unsafe { slab.destroy(cx, cache) };
                DESTROYS.set(false);
                assert_eq!(ended, Ok(Destroyed::Gone));
            });
            done.store(true, SeqCst);
            turns.turn.wait();
            // In this round each cache that is held is locked once. The cache of arrays for other nodes alone stays.
            assert_eq!(reaper.join().unwrap(), 1);
            // Its place is as good as new.
            let again = slab.create(&spec("next", 64)).unwrap();
            on_cpu(pages, cpus, 1, |cx| {
                slab.reap(cx, 0);
                turns.reaped.store(0, SeqCst);
                slab.reap(cx, 0);
                assert_eq!(turns.reaped.load(SeqCst), 2);
            });
            // SAFETY: nobody uses it.
            on_cpu(pages, cpus, 0, |cx| assert_eq!(unsafe { slab.destroy(cx, again) }, Ok(Destroyed::Gone)));
        });
    });
}
