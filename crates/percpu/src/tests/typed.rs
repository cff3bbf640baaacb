//! Values for each CPU.

use super::{Heap, adjacent, with_allocator};
use crate::{How, PerCpuBox};
use pagewright_platform::PerCpu;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[test]
fn values_are_made_for_each_cpu_and_dropped_with_the_box() {
    with_allocator(&adjacent(3), [0, 0, 8192], 0, &Heap::new(0), |percpu| {
        let one = Rc::new(());
        let mut values = PerCpuBox::new(percpu, How::Grow, |cpu| (cpu, Rc::clone(&one))).unwrap();
        assert_eq!(Rc::strong_count(&one), 4);
        values.get_mut(1).unwrap().0 = 70;
        assert!(values.iter().map(|value| value.0).eq([0, 70, 2]));
        assert!(values.get(3).is_none());
        drop(values);
        assert_eq!((Rc::strong_count(&one), percpu.stats().nr_cur_alloc), (1, 0));
    });
}

#[test]
fn a_panic_while_values_are_made_drops_those_that_were_and_frees_the_memory() {
    with_allocator(&adjacent(3), [0, 0, 8192], 0, &Heap::new(0), |percpu| {
        let one = Rc::new(());
        let make = |cpu| if cpu == 2 { panic!("no more") } else { Rc::clone(&one) };
        let caught = catch_unwind(AssertUnwindSafe(|| PerCpuBox::new(percpu, How::Grow, make).map(drop)));
        assert!(caught.is_err());
        assert_eq!((Rc::strong_count(&one), percpu.stats().nr_cur_alloc), (1, 0));
    });
}

#[test]
fn alignment_holds_for_every_copy() {
    #[repr(align(4096))]
    struct Page(u8);
    with_allocator(&adjacent(2), [100, 0, 20_000], 0, &Heap::new(0), |percpu| {
        let _small = PerCpuBox::new(percpu, How::Grow, |_| 1_u8).unwrap();
        let pages = PerCpuBox::new(percpu, How::Grow, |cpu| Page(cpu as u8)).unwrap();
        for (cpu, page) in pages.iter().enumerate() {
            assert!(core::ptr::from_ref(page).is_aligned());
            assert_eq!(usize::from(page.0), cpu);
        }
    });
}

#[test]
fn each_thread_counts_in_its_own_copy() {
    with_allocator(&adjacent(3), [0, 0, 8192], 0, &Heap::new(0), |percpu| {
        let rounds = if cfg!(miri) { 10 } else { 10_000 };
        let counts = PerCpuBox::new(percpu, How::Grow, |_| PerCpu::new(AtomicU64::new(0), 0_u64)).unwrap();
        std::thread::scope(|scope| {
            for cpu in 0..3 {
                let counts = &counts;
                scope.spawn(move || {
                    // SAFETY: one thread for each CPU.
                    let here = unsafe { counts.get(cpu).unwrap().here() };
                    for _ in 0..rounds {
                        *here.enter().unwrap() += 1;
                    }
                    here.shared().store(here.enter().map_or(0, |count| *count), Relaxed);
                });
            }
        });
        assert_eq!(counts.iter().map(|count| count.shared().load(Relaxed)).sum::<u64>(), 3 * rounds);
    });
}
