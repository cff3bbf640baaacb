//! CPUs as threads: pages that one allocates and another frees.

use super::*;
use crate::whole::with_plain_machine;
use pagewright_page::Frames;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::{NoHooks, Reasons};
use std::sync::{Barrier, Mutex};
use std::thread;

#[test]
fn threads_that_hand_pages_around_lose_none() {
    const CPUS: usize = 3;
    const ROUNDS: usize = if cfg!(miri) { 6 } else { 4_000 };
    let machine = if cfg!(miri) {
        PlainMachine { pageblock: order(4), ..PlainMachine::new(1024, CPUS) }
    } else {
        machine(32, CPUS)
    };
    with_plain_machine(&machine, NoHooks, |m| {
        let before = buddyinfo(m);
        let pool: Mutex<Vec<Frames<'_>>> = Mutex::new(vec![]);
        thread::scope(|scope| {
            for cpu in 0..CPUS {
                let pool = &pool;
                scope.spawn(move || {
                    m.on_cpu(cpu, |cx| {
                        for round in 0..ROUNDS {
                            let n = [0, 0, 1, 0, 3, 0, 5, 0, 0, 9][(round + cpu) % 10];
                            let n = if cfg!(miri) { n.min(3) } else { n };
                            let got = m.allocator.alloc_pages(cx, Gfp::GFP_KERNEL | Gfp::NOWARN, order(n));
                            let mut pool = pool.lock().unwrap();
                            pool.extend(got);
                            let back = if pool.len() > 40 || round % 2 == 1 { pool.pop() } else { None };
                            drop(pool);
                            if let Some(frames) = back {
                                m.allocator.free_pages(cx, frames);
                            }
                            if round % 512 == 100 {
                                m.allocator.post_drain();
                            }
                        }
                    });
                });
            }
        });
        m.on_cpu(0, |cx| {
            pool.into_inner().unwrap().into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
        });
        expect_all_back(m, &before);
    });
}

#[test]
fn zones_that_fall_below_low_and_recover_at_once_leave_everybody_told_right() {
    const ROUNDS: usize = if cfg!(miri) { 4 } else { 200 };
    // Whether each CPU's zone is short of memory after a round: every change of the one meets every change of the other.
    const SHORT: [[bool; 2]; 8] = [
        [true, false],
        [false, true],
        [true, true],
        [false, false],
        [true, true],
        [true, false],
        [false, true],
        [false, false],
    ];
    let frames = if cfg!(miri) { 512 } else { 16 << 8 };
    let machine = PlainMachine {
        ram: (0..2).map(|n| (node(n), 0x4_0000 * (u64::from(n) + 1), frames)).collect(),
        cpus: (0..2).map(node).collect(),
        pageblock: order(4),
        ..machine(0, 0)
    };
    with_plain_machine(&machine, NoHooks, |m| {
        let before = buddyinfo(m);
        let meet = Barrier::new(2);
        thread::scope(|scope| {
            for cpu in 0..2_usize {
                let meet = &meet;
                scope.spawn(move || {
                    m.on_cpu(cpu, |cx| {
                        let cell = &m.allocator.zones()[cpu];
                        // No CPU has lists of this order: each operation is one under the zone's lock.
                        let gfp = Gfp::GFP_NOWAIT | Gfp::THISNODE | Gfp::NOWARN;
                        let get = || m.allocator.alloc_pages_node(cx, cell.nid(), gfp, order(4)).unwrap();
                        let mut held: Vec<Frames<'_>> = vec![];
                        for round in 0..ROUNDS {
                            let short = SHORT[round % SHORT.len()];
                            meet.wait();
                            if short[cpu] {
                                while cell.free_pages() > cell.low_pages() {
                                    held.push(get());
                                }
                            } else {
                                held.drain(..).for_each(|frames| m.allocator.free_pages(cx, frames));
                            }
                            meet.wait();
                            let told = m.attention(cpu).reasons().contains(Reasons::PRESSURE);
                            assert_eq!(told, short[0] || short[1], "CPU {cpu} in round {round}");
                        }
                        held.into_iter().for_each(|frames| m.allocator.free_pages(cx, frames));
                    });
                });
            }
        });
        assert!((0..2).all(|cpu| m.attention(cpu).is_quiet(Reasons::empty())));
        expect_all_back(m, &before);
    });
}
