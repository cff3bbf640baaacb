//! CPUs as threads: pages that one allocates and another frees.

use super::*;
use pagewright_page::Frames;
use pagewright_sim::pages::with_plain_machine;
use pagewright_zone::Gfp;
use pagewright_zone::alloc::NoHooks;
use std::sync::Mutex;
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
