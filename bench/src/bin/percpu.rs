//! Per-CPU memory, in instructions for each pair of an allocation and a free.
//!
//! `cargo run --release -p pagewright-bench --bin percpu` counts with callgrind. One CPU, as in the run that Linux's figure comes
//! from; copies are cleared, hints and statistics are kept, the lock is taken. The loop's own four instructions are included.

use pagewright_bench::table::{Loop, show};
use pagewright_percpu::{FirstChunk, Geometry, How, NoChunks, PerCpuAllocator};
use pagewright_platform::{Carve, NoInterrupts};
use std::error::Error;
use std::hint::black_box;
use std::ptr::NonNull;
use std::time::Instant;

type Measured<'m> = PerCpuAllocator<'m, NoChunks, NoInterrupts>;

const PAGE: u64 = 4096;
const UNIT: u64 = 256 << 10;
const PAIRS: u64 = 100_000;
/// Allocations that a batch holds.
const BATCH: u64 = 1024;

const LOOPS: [Loop; 4] = [
    Loop::new("pair8", "measured_pairs", PAIRS, 150, 1504),
    Loop::new("pair64", "measured_pairs", PAIRS, 0, 0),
    Loop::new("pair1024", "measured_pairs", PAIRS, 0, 0),
    Loop::new("batch8", "measured_batches", PAIRS / BATCH * BATCH, 0, 0),
];

/// A page of the first chunk's memory.
#[derive(Clone, Copy)]
#[repr(align(4096))]
struct Page {
    _bytes: [u8; PAGE as usize],
}

#[inline(never)]
fn measured_pairs(percpu: &Measured<'_>, size: u64) {
    for _ in 0..PAIRS {
        match percpu.alloc(black_box(size), 8, How::Atomic) {
            Ok(bytes) => drop(black_box(percpu.free(bytes))),
            Err(_) => return,
        }
    }
}

#[inline(never)]
fn measured_batches(percpu: &Measured<'_>, size: u64) {
    let mut held = Vec::with_capacity(BATCH as usize);
    for _ in 0..PAIRS / BATCH {
        held.extend((0..BATCH).filter_map(|_| percpu.alloc(black_box(size), 8, How::Atomic).ok()));
        for bytes in held.drain(..) {
            drop(black_box(percpu.free(bytes)));
        }
    }
}

/// Runs a loop over a first chunk that is not empty; how many seconds it took.
fn run(which: &Loop) -> Result<f64, Box<dyn Error>> {
    let geometry = Geometry::new(PAGE, UNIT, &[0]).ok_or("no such shape")?;
    let mut memory = vec![Page { _bytes: [0; PAGE as usize] }; (UNIT / PAGE) as usize];
    let mut room = vec![0; Measured::bytes_for(&geometry, 0) as usize / 8 + 1];
    let lowest = NonNull::from(memory.as_mut_slice()).cast::<u8>();
    let first = FirstChunk { lowest, static_size: 200 << 10, reserved_size: 8 << 10, dyn_size: 48 << 10 };
    let mut carve = Carve::of(&mut room);
    // SAFETY: the one unit is `memory`, which outlives the allocator and is used by nobody else.
    let made = unsafe { PerCpuAllocator::new(geometry, &first, 0, &mut carve, NoChunks, NoInterrupts) };
    let percpu = made.ok_or("the first chunk was refused")?;
    // As on a running machine, the chunk is not empty.
    let some: Vec<_> =
        (1..100).map(|n| percpu.alloc(n % 32 * 8 + 8, 8, How::Atomic)).collect::<Result<_, _>>()?;
    let size = which.name.trim_start_matches(char::is_alphabetic).parse()?;
    let start = Instant::now();
    match which.counts {
        "measured_batches" => measured_batches(&percpu, size),
        _ => measured_pairs(&percpu, size),
    }
    let seconds = start.elapsed().as_secs_f64();
    for bytes in some {
        percpu.free(bytes).map_err(|_| "not taken back")?;
    }
    Ok(seconds)
}

fn main() -> Result<(), Box<dyn Error>> {
    show(&LOOPS, |which| run(which).expect("the first chunk has room for all loops"))
}
