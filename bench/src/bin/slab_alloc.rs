//! The slabs' paths, in instructions for each pair of an allocation and a free.
//!
//! `cargo run --release -p pagewright-bench --bin slab_alloc` counts with callgrind and times each loop. Hardened and random freelists,
//! checks of every freed pointer and statistics are on, as they always are. Linux's figures are instructions of a guest under `-icount`;
//! these are the host's for the same loops, without the loop's own.

use pagewright_addr::NodeId;
use pagewright_bench::callgrind;
use pagewright_sim::pages::{PlainMachine, with_plain_machine};
use pagewright_sim::slabs::{HostedSlabs, with_slabs};
use pagewright_slab::slabs::{CacheSpec, Silent};
use pagewright_slab::{CacheFlags, CacheId};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::NoHooks;
use std::error::Error;
use std::hint::black_box;
use std::ptr::NonNull;
use std::time::Instant;

type Machine<'p, 'k, 'x, 'm, 's, 'a> = HostedSlabs<'p, 'k, 'x, 'm, 's, 'a, NoHooks>;

/// A loop: its name, the object's bytes, how many are held at a time, how many pairs it makes, the goal and Linux's figure for a pair.
struct Loop {
    name: &'static str,
    bytes: u64,
    held: u64,
    pairs: u64,
    goal: u64,
    linux: u64,
}

const LOOPS: [Loop; 8] = [
    Loop { name: "cache40", bytes: 40, held: 1, pairs: 100_000, goal: 50, linux: 224 },
    Loop { name: "kmalloc64", bytes: 64, held: 1, pairs: 100_000, goal: 57, linux: 268 },
    Loop { name: "kmalloc4k", bytes: 4096, held: 1, pairs: 100_000, goal: 0, linux: 268 },
    Loop { name: "cache64", bytes: 64, held: 1, pairs: 100_000, goal: 0, linux: 0 },
    Loop { name: "batch64", bytes: 64, held: 4096, pairs: 4096 * 40, goal: 80, linux: 389 },
    Loop { name: "batch1k", bytes: 1024, held: 1024, pairs: 1024 * 40, goal: 110, linux: 556 },
    Loop { name: "remote64", bytes: 64, held: 4096, pairs: 4096 * 40, goal: 150, linux: 0 },
    Loop { name: "empty", bytes: 0, held: 0, pairs: 100_000, goal: 0, linux: 0 },
];

fn run(which: &Loop) -> f64 {
    let machine = PlainMachine::new(1 << 16, 2);
    with_plain_machine(&machine, NoHooks, |pages| {
        with_slabs(pages, &[NodeId::ZERO; 2], 64, &Silent, |m| {
            let flags = if which.bytes == 40 { CacheFlags::HWCACHE_ALIGN } else { CacheFlags::empty() };
            let spec = CacheSpec::new("bench", which.bytes.max(8), 0, flags);
            let cache = m.slabs.create(&spec).expect("a place for it");
            let start = Instant::now();
            match which.name {
                "empty" => measured_empty(which.pairs),
                "remote64" => measured_remote(m, cache, which),
                _ if which.held > 1 => measured_batch(m, cache, which),
                name if name.starts_with("kmalloc") => measured_kmalloc(m, which),
                _ => measured_pair(m, cache, which.pairs),
            }
            start.elapsed().as_secs_f64()
        })
    })
}

#[inline(never)]
fn measured_pair(m: &Machine<'_, '_, '_, '_, '_, '_>, cache: CacheId, pairs: u64) {
    m.on_cpu(0, |cx| {
        let cache = black_box(cache);
        for _ in 0..pairs {
            if let Ok(object) = m.slabs.alloc(cx, cache, Gfp::GFP_KERNEL) {
                // SAFETY: freed once.
                unsafe { m.slabs.free(cx, cache, object) };
            }
        }
    });
}

#[inline(never)]
fn measured_kmalloc(m: &Machine<'_, '_, '_, '_, '_, '_>, which: &Loop) {
    m.on_cpu(0, |cx| {
        for _ in 0..which.pairs {
            if let Ok(memory) = m.slabs.kmalloc(cx, black_box(which.bytes as usize), Gfp::GFP_KERNEL) {
                // SAFETY: freed once.
                unsafe { m.slabs.kfree(cx, memory) };
            }
        }
    });
}

#[inline(never)]
fn measured_batch(m: &Machine<'_, '_, '_, '_, '_, '_>, cache: CacheId, which: &Loop) {
    let mut held: Vec<NonNull<u8>> = Vec::with_capacity(which.held as usize);
    m.on_cpu(0, |cx| {
        for _ in 0..which.pairs / which.held {
            for _ in 0..which.held {
                if let Ok(object) = m.slabs.alloc(cx, cache, Gfp::GFP_KERNEL) {
                    held.push(object);
                }
            }
            for object in held.drain(..) {
                // SAFETY: freed once.
                unsafe { m.slabs.free(cx, cache, object) };
            }
        }
    });
}

#[inline(never)]
fn measured_remote(m: &Machine<'_, '_, '_, '_, '_, '_>, cache: CacheId, which: &Loop) {
    let mut held: Vec<NonNull<u8>> = Vec::with_capacity(which.held as usize);
    for _ in 0..which.pairs / which.held {
        m.on_cpu(0, |cx| {
            for _ in 0..which.held {
                if let Ok(object) = m.slabs.alloc(cx, cache, Gfp::GFP_KERNEL) {
                    held.push(object);
                }
            }
        });
        m.on_cpu(1, |cx| {
            for object in held.drain(..) {
                // SAFETY: freed once.
                unsafe { m.slabs.free(cx, cache, object) };
            }
        });
    }
}

#[inline(never)]
fn measured_empty(pairs: u64) {
    for i in 0..pairs {
        black_box(i);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(name) = std::env::args().nth(1) {
        // Under callgrind: one loop.
        if let Some(which) = LOOPS.iter().find(|l| l.name == name) {
            run(which);
        }
        return Ok(());
    }
    println!("{:<10} {:>12} {:>8} {:>8} {:>9}", "loop", "instructions", "goal", "Linux", "ns/pair");
    for which in &LOOPS {
        let mut times: Vec<f64> = (0..5).map(|_| run(which)).collect();
        times.sort_by(f64::total_cmp);
        let function = match which.name {
            "empty" => "*measured_empty*",
            "remote64" => "*measured_remote*",
            _ if which.held > 1 => "*measured_batch*",
            name if name.starts_with("kmalloc") => "*measured_kmalloc*",
            _ => "*measured_pair*",
        };
        let count = callgrind::instructions(function, &[which.name])?;
        println!(
            "{:<10} {:>12.1} {:>8} {:>8} {:>9.1}",
            which.name,
            count as f64 / which.pairs as f64,
            which.goal,
            which.linux,
            times[2] * 1e9 / which.pairs as f64
        );
    }
    Ok(())
}
