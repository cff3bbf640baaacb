//! Processors that are threads: objects allocated on one are freed on others.

use super::*;
use pagewright_platform::NoInterrupts;
use pagewright_sim::slabs::LinearRam;
use pagewright_slab::objects::Design;
use pagewright_slab::slabs::{SlabContext, Slabs};
use pagewright_slab::{Heap, KmemCache};
use pagewright_zone::Gfp;
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

/// An object on its way to another thread.
struct Sent(NonNull<u8>, u64, CacheId);

// SAFETY: whoever has it has the object alone.
unsafe impl Send for Sent {}

#[test]
fn objects_are_freed_where_they_were_not_allocated() {
    exchange(Design::Slub, &small(2), if cfg!(miri) { 60 } else { 40_000 });
}

#[test]
fn nor_do_the_other_designs_mind() {
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    exchange(Design::SlubCpuSlabs, &small(2), 2 * rounds);
    exchange(
        Design::SlubCpuSlabs,
        &PlainMachine { cpus: vec![node(0), node(1)], ..model::two_nodes() },
        rounds,
    );
    exchange(Design::Slob, &small(2), rounds);
    exchange(Design::Slab, &small(2), rounds);
    exchange(Design::Slab, &PlainMachine { cpus: vec![node(0), node(1)], ..model::two_nodes() }, rounds);
}

/// Two processors send each other objects of three caches.
fn exchange(design: Design, machine: &PlainMachine, rounds: usize) {
    on_design(design, machine, &Silent, |m| {
        let caches: Vec<_> =
            [24, 64, 700].map(|size| m.allocator().create(&spec("threads", size)).unwrap()).into();
        std::thread::scope(|scope| {
            let (to_first, first) = mpsc::sync_channel::<Sent>(200);
            let (to_second, second) = mpsc::sync_channel::<Sent>(200);
            for (cpu, to, from) in [(0, to_second, first), (1, to_first, second)] {
                let caches = &caches;
                scope.spawn(move || {
                    m.on_cpu(cpu, |cx| {
                        let slabs = m.allocator();
                        let check = |sent: Sent| {
                            // SAFETY: an object of at least 8 bytes that is ours.
                            assert_eq!(unsafe { sent.0.cast::<u64>().read() }, sent.1);
                            // SAFETY: freed once.
                            unsafe { slabs.free(cx, sent.2, sent.0) };
                        };
                        for n in 0..rounds {
                            let cache = caches[n % caches.len()];
                            let object = slabs.alloc(cx, cache, Gfp::GFP_KERNEL).unwrap();
                            let name = (n * 2 + cpu) as u64;
                            // SAFETY: as above.
                            unsafe { object.cast::<u64>().write(name) };
                            if let Err(
                                mpsc::TrySendError::Full(sent) | mpsc::TrySendError::Disconnected(sent),
                            ) = to.try_send(Sent(object, name, cache))
                            {
                                check(sent);
                            }
                            from.try_iter().take(3).for_each(check);
                            if n % 997 == 0 {
                                slabs.shrink(cx, cache);
                            }
                        }
                        drop(to);
                        from.iter().for_each(check);
                    });
                });
            }
        });
        for cpu in 0..2 {
            m.on_cpu(cpu, |cx| m.allocator().poll(cx));
        }
        assert_eq!(m.allocator().findings(), 0);
        for cache in caches {
            m.allocator().validate(cache).unwrap();
        }
    });
}

std::thread_local! {
    /// Which processor a thread is.
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// Slabs as the processor that the thread is.
struct ByThread<'t, 'p, 'k, 'x, 'm, 's, 'a>(&'t Machine<'p, 'k, 'x, 'm, 's, 'a>);

// SAFETY: one machine's slabs, in the context of a processor that nobody else is while the closure runs.
unsafe impl Heap for ByThread<'_, '_, '_, '_, '_, '_, '_> {
    type Interrupts = NoInterrupts;
    type Memory = LinearRam;

    fn with<R>(
        &self,
        f: impl for<'k, 'a> FnOnce(&Slabs<'k, 'a, NoInterrupts, LinearRam>, &SlabContext<'_, 'k, 'a>) -> R,
    ) -> R {
        self.0.on_cpu(CPU.get(), |cx| f(&self.0.slabs, cx))
    }
}

#[test]
fn a_cache_that_is_dropped_while_others_come_by_ends_once() {
    silently(2, |m| {
        let mut left = 0;
        for _ in 0..if cfg!(miri) { 3 } else { 300 } {
            let cache = KmemCache::<u64, _>::new(ByThread(m), "dropped").unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    CPU.set(1);
                    drop(cache.alloc(1, Gfp::GFP_KERNEL).unwrap());
                });
            });
            drop(cache.alloc(0, Gfp::GFP_KERNEL).unwrap());
            let dropped = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !dropped.load(Ordering::Acquire) {
                        m.on_cpu(1, |cx| m.slabs.flush_cpu(cx));
                    }
                    m.on_cpu(1, |cx| m.slabs.poll(cx));
                });
                drop(cache);
                dropped.store(true, Ordering::Release);
            });
            m.slabs.each_cache(|figures| left += usize::from(figures.name.as_str() == "dropped"));
        }
        assert_eq!(left, 0);
    });
}
