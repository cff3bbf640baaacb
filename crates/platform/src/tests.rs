//! The shared kinds, used as CPUs, handlers and threads would.

use super::*;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::cell::RefCell;
use std::thread;
use std::vec::Vec;

#[test]
fn a_cpus_data_is_entered_once_at_a_time() {
    let cpu = PerCpu::new((), Vec::new());
    // SAFETY: the only handle, and its copies, are on this thread.
    let here = unsafe { cpu.here() };
    let mut first = here.enter().expect("nobody uses it");
    first.push(1);
    assert!(here.enter().is_none(), "an interrupt handler must find another way");
    first.push(2);
    drop(first);
    assert_eq!(*here.enter().expect("it was left"), [1, 2]);
}

#[test]
fn data_that_is_forgotten_in_use_stays_closed() {
    let mut cpu = PerCpu::new((), 7);
    // SAFETY: the only handle is on this thread.
    let here = unsafe { cpu.here() };
    core::mem::forget(here.enter());
    assert!(here.enter().is_none());
    assert_eq!(*cpu.get_mut(), 7);
}

#[test]
fn anyone_may_post_to_the_shared_part_while_the_owner_works() {
    const POSTS: u32 = if cfg!(miri) { 50 } else { 10_000 };
    let cpu = PerCpu::new(AtomicU32::new(0), 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..POSTS {
                cpu.shared().fetch_add(1, Relaxed);
            }
        });
        scope.spawn(|| {
            // SAFETY: no other thread makes a handle.
            let here = unsafe { cpu.here() };
            for _ in 0..POSTS {
                *here.enter().expect("only this thread enters") += 1;
            }
        });
    });
    let mut cpu = cpu;
    assert_eq!((cpu.shared().load(Relaxed), *cpu.get_mut()), (POSTS, POSTS));
}

#[test]
fn a_lock_lets_one_at_a_time_change_its_value() {
    const THREADS: usize = 3;
    const ADDS: usize = if cfg!(miri) { 20 } else { 5_000 };
    let sum = Mutex::new(0_usize);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ADDS {
                    let mut sum = sum.lock();
                    let before = *sum;
                    *sum = before + 1;
                }
            });
        }
    });
    assert_eq!(sum.into_inner(), THREADS * ADDS);
}

#[test]
fn a_lock_that_is_held_is_not_taken_by_trying() {
    let lock = Mutex::new(());
    assert!(!lock.is_locked());
    let held = lock.lock();
    assert!(lock.is_locked() && lock.try_lock().is_none());
    drop(held);
    assert!(lock.try_lock().is_some());
    assert!(!lock.is_locked());
}

#[test]
fn interrupts_are_restored_in_the_reverse_order_of_disabling() {
    #[derive(Default)]
    struct Recorded(RefCell<Vec<(bool, u32)>>, AtomicU32);
    // SAFETY: there are no handlers here.
    unsafe impl Interrupts for Recorded {
        type Before = u32;
        fn disable(&self) -> u32 {
            let before = self.1.fetch_add(1, Relaxed);
            self.0.borrow_mut().push((true, before));
            before
        }
        fn restore(&self, before: u32) {
            self.1.store(before, Relaxed);
            self.0.borrow_mut().push((false, before));
        }
    }
    let recorded = Recorded::default();
    {
        let _outer = WithoutInterrupts::new(&recorded);
        let _inner = WithoutInterrupts::new(&recorded);
    }
    assert_eq!(*recorded.0.borrow(), [(true, 0), (true, 1), (false, 1), (false, 0)]);
}
