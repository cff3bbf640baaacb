//! Fallback orders that change while somebody walks them.

use super::*;
use pagewright_page::Frames;
use pagewright_zone::alloc::{AllocFailure, Failure, NotZeroed, Step};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;

/// Holds a request that nothing is left for until memory has come, and counts failures.
struct Held {
    gate: Barrier,
    hopeless: AtomicU32,
    fails: AtomicU32,
    reports: AtomicU32,
}

impl Held {
    fn new() -> Self {
        let none = AtomicU32::default;
        Self { gate: Barrier::new(2), hopeless: none(), fails: none(), reports: none() }
    }

    /// How often a request was hopeless, failed, and was told of.
    fn counts(self) -> [u32; 3] {
        [self.hopeless, self.fails, self.reports].map(AtomicU32::into_inner)
    }
}

impl Hooks for Held {
    fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
        Err(NotZeroed)
    }
    fn step(&self, step: Step) {
        match step {
            // Nothing is tried after that.
            Step::OomExcluded(_) if self.hopeless.fetch_add(1, SeqCst) == 0 => {
                self.gate.wait();
                self.gate.wait();
            }
            Step::Fail => _ = self.fails.fetch_add(1, SeqCst),
            _ => {}
        }
    }

    fn report(&self, _: &Failure<'_>) {
        self.reports.fetch_add(1, SeqCst);
    }
}

/// Two requests on a node that has nothing left, while another gets its first memory: how they end. The second is to fail.
fn while_memory_comes(gfp: Gfp, hooks: &Held) -> [Result<u16, AllocFailure>; 2] {
    with_pluggable_machine(&pluggable(1), hooks, None, |m, marks| {
        let mut room = vec![];
        let mut blocks = table(m, &mut room, 1);
        let before = buddyinfo(m);
        let mut plug = plug(marks, &NoNotifier);
        m.allocator.add_memory(&mut blocks, node(1), blocks_at(8, 1), &mut plug).unwrap();
        let ends = thread::scope(|scope| {
            let asker = scope.spawn(|| {
                m.on_cpu(0, |cx| {
                    let held = all_pages(m, cx, Gfp::GFP_NOWAIT);
                    hooks.fails.store(0, SeqCst);
                    m.allocator.fail_nth(2);
                    let ends = [(); 2].map(|()| {
                        let page = m.allocator.alloc_pages(cx, gfp, Order::ZERO)?;
                        let (nid, _) = place(m, &page);
                        m.allocator.free_pages(cx, page);
                        Ok(nid)
                    });
                    m.allocator.fail_nth(0);
                    held.into_iter().for_each(|page| m.allocator.free_pages(cx, page));
                    ends
                })
            });
            hooks.gate.wait();
            m.allocator.online_pages(&mut blocks, FIRST + 8, OnlineType::Kernel, &mut plug).unwrap();
            hooks.gate.wait();
            asker.join().unwrap()
        });
        m.on_cpu(0, |cx| {
            let tenants = Tenants::new(*m.base.map());
            m.allocator.offline_pages(cx, &tenants, &mut blocks, FIRST + 8, &mut plug).unwrap();
        });
        expect_all_back(m, &before);
        ends
    })
}

#[test]
fn whoever_walked_old_fallback_orders_tries_the_new_ones_and_counts_once() {
    let hooks = Held::new();
    let ends = while_memory_comes(Gfp::GFP_KERNEL | Gfp::RETRY_MAYFAIL, &hooks);
    assert_eq!(ends, [Ok(1), Err(AllocFailure::Injected { nth: 2 })]);
    assert_eq!(hooks.counts(), [1, 0, 0]);
}

#[test]
fn what_fails_with_the_new_fallback_orders_too_is_told_once() {
    let hooks = Held::new();
    let ends = while_memory_comes(Gfp::GFP_KERNEL | Gfp::RETRY_MAYFAIL | Gfp::THISNODE, &hooks);
    assert!(matches!(ends[0], Err(AllocFailure::NoMemory { .. })), "{ends:?}");
    assert_eq!(ends[1], Err(AllocFailure::Injected { nth: 2 }));
    assert_eq!(hooks.counts(), [2, 1, 1]);
}
