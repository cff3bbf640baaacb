//! The slabs' paths, in instructions for each pair of an allocation and a free.
//!
//! `cargo run --release -p pagewright-bench --bin slab_alloc` counts with callgrind and times each loop. Hardened and random freelists,
//! checks of every freed pointer and statistics are on, as they always are. Linux's figures are instructions of a guest under `-icount`;
//! these are the host's for the same loops, without the loop's own.

use pagewright_addr::NodeId;
use pagewright_bench::table::{Loop, show};
use pagewright_platform::NoInterrupts;
use pagewright_sim::designs::{HostedObjects, with_design};
use pagewright_sim::pages::{PlainMachine, with_plain_machine};
use pagewright_sim::slabs::LinearRam;
use pagewright_slab::objects::{Design, Objects as Designs};
use pagewright_slab::slabs::{CacheSpec, Silent, SlabContext, Slabs};
use pagewright_slab::{CacheFlags, CacheId};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::NoHooks;
use std::error::Error;
use std::hint::black_box;
use std::ptr::NonNull;
use std::time::Instant;

type Hosted<'p, 'k, 'x, 'm, 's, 'a> = HostedObjects<'p, 'k, 'x, 'm, 's, 'a, NoHooks>;

/// A machine and its slabs.
struct Machine<'b, 'p, 'k, 'x, 'm, 's, 'a> {
    hosted: &'b Hosted<'p, 'k, 'x, 'm, 's, 'a>,
    slabs: &'b Slabs<'k, 'a, NoInterrupts, LinearRam>,
}

/// A loop, with its object's bytes and how many are held at a time.
struct Objects {
    bytes: u64,
    held: u64,
    design: Design,
    row: Loop,
}

impl AsRef<Loop> for Objects {
    fn as_ref(&self) -> &Loop {
        &self.row
    }
}

const fn objects(bytes: u64, held: u64, row: Loop) -> Objects {
    Objects { bytes, held, design: Design::Slub, row }
}

/// The same with a slab for each processor in place of the rows.
const fn with_cpu_slabs(bytes: u64, held: u64, row: Loop) -> Objects {
    Objects { bytes, held, design: Design::SlubCpuSlabs, row }
}

const LOOPS: [Objects; 15] = [
    objects(40, 1, Loop::new("cache40", "measured_pair", 100_000, 50, 224)),
    objects(64, 1, Loop::new("kmalloc64", "measured_kmalloc", 100_000, 57, 268)),
    objects(4096, 1, Loop::new("kmalloc4k", "measured_kmalloc", 100_000, 0, 268)),
    objects(64, 1, Loop::new("cache64", "measured_pair", 100_000, 0, 0)),
    objects(64, 4096, Loop::new("batch64", "measured_batch", 4096 * 40, 80, 389)),
    objects(1024, 1024, Loop::new("batch1k", "measured_batch", 1024 * 40, 110, 556)),
    objects(64, 4096, Loop::new("remote64", "measured_remote", 4096 * 40, 150, 0)),
    with_cpu_slabs(40, 1, Loop::new("cpu-slab.cache40", "measured_pair", 100_000, 50, 224)),
    with_cpu_slabs(64, 1, Loop::new("cpu-slab.kmalloc64", "measured_kmalloc", 100_000, 57, 268)),
    with_cpu_slabs(4096, 1, Loop::new("cpu-slab.kmalloc4k", "measured_kmalloc", 100_000, 0, 268)),
    with_cpu_slabs(64, 1, Loop::new("cpu-slab.cache64", "measured_pair", 100_000, 0, 0)),
    with_cpu_slabs(64, 4096, Loop::new("cpu-slab.batch64", "measured_batch", 4096 * 40, 80, 389)),
    with_cpu_slabs(1024, 1024, Loop::new("cpu-slab.batch1k", "measured_batch", 1024 * 40, 110, 556)),
    with_cpu_slabs(64, 4096, Loop::new("cpu-slab.remote64", "measured_remote", 4096 * 40, 150, 0)),
    objects(0, 0, Loop::new("empty", "measured_empty", 100_000, 0, 0)),
];

fn run(which: &Objects) -> f64 {
    let machine = PlainMachine::new(1 << 16, 2);
    with_plain_machine(&machine, NoHooks, |pages| {
        with_design(which.design, pages, &[NodeId::ZERO; 2], 64, &Silent, |hosted| {
            let Designs::Slub(slabs) = &hosted.objects else { unreachable!("both are SLUB") };
            let m = &Machine { hosted, slabs };
            let flags = if which.bytes == 40 { CacheFlags::HWCACHE_ALIGN } else { CacheFlags::empty() };
            let spec = CacheSpec::new("bench", which.bytes.max(8), 0, flags);
            let cache = m.slabs.create(&spec).expect("a place for it");
            let start = Instant::now();
            match which.row.name.trim_start_matches("cpu-slab.") {
                "empty" => measured_empty(which.row.pairs),
                "remote64" => measured_remote(m, cache, which),
                _ if which.held > 1 => measured_batch(m, cache, which),
                name if name.starts_with("kmalloc") => measured_kmalloc(m, which),
                _ => measured_pair(m, cache, which.row.pairs),
            }
            start.elapsed().as_secs_f64()
        })
    })
}

#[inline(never)]
fn measured_pair(m: &Machine<'_, '_, '_, '_, '_, '_, '_>, cache: CacheId, pairs: u64) {
    m.hosted.on_cpu(0, |cx| {
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
fn measured_kmalloc(m: &Machine<'_, '_, '_, '_, '_, '_, '_>, which: &Objects) {
    m.hosted.on_cpu(0, |cx| {
        for _ in 0..which.row.pairs {
            if let Ok(memory) = m.slabs.kmalloc(cx, black_box(which.bytes as usize), Gfp::GFP_KERNEL) {
                // SAFETY: freed once.
                unsafe { m.slabs.kfree(cx, memory) };
            }
        }
    });
}

#[inline(never)]
fn measured_batch(m: &Machine<'_, '_, '_, '_, '_, '_, '_>, cache: CacheId, which: &Objects) {
    let mut held = vec![None; which.held as usize];
    m.hosted.on_cpu(0, |cx| {
        for _ in 0..which.row.pairs / which.held {
            take(m, cx, cache, &mut held);
            give(m, cx, cache, &held);
        }
    });
}

#[inline(never)]
fn measured_remote(m: &Machine<'_, '_, '_, '_, '_, '_, '_>, cache: CacheId, which: &Objects) {
    let mut held = vec![None; which.held as usize];
    for _ in 0..which.row.pairs / which.held {
        m.hosted.on_cpu(0, |cx| take(m, cx, cache, &mut held));
        m.hosted.on_cpu(1, |cx| give(m, cx, cache, &held));
    }
}

/// An object for each place.
#[inline(never)]
fn take<'k, 'a>(
    m: &Machine<'_, '_, 'k, '_, '_, '_, 'a>,
    cx: &SlabContext<'_, 'k, 'a>,
    cache: CacheId,
    held: &mut [Option<NonNull<u8>>],
) {
    for place in held {
        *place = m.slabs.alloc(cx, cache, Gfp::GFP_KERNEL).ok();
    }
}

/// Gives all of them back.
#[inline(never)]
fn give<'k, 'a>(
    m: &Machine<'_, '_, 'k, '_, '_, '_, 'a>,
    cx: &SlabContext<'_, 'k, 'a>,
    cache: CacheId,
    held: &[Option<NonNull<u8>>],
) {
    for object in held.iter().flatten() {
        // SAFETY: freed once.
        unsafe { m.slabs.free(cx, cache, *object) };
    }
}

#[inline(never)]
fn measured_empty(pairs: u64) {
    for i in 0..pairs {
        black_box(i);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    show(&LOOPS, run)
}
