//! Per-CPU memory, in instructions for each pair of an allocation and a free.
//!
//! `cargo run --release -p pagewright-bench --bin percpu` counts with callgrind. One CPU, as in the run that Linux's figure comes
//! from; copies are cleared, hints and statistics are kept, the lock is taken. The loop's own four instructions are included.

use pagewright_bench::callgrind;
use pagewright_percpu::{FirstChunk, Geometry, How, NoChunks, PerCpuAllocator};
use pagewright_platform::{Carve, NoInterrupts};
use std::error::Error;
use std::hint::black_box;
use std::ptr::NonNull;

type Measured<'m> = PerCpuAllocator<'m, NoChunks, NoInterrupts>;

const PAGE: u64 = 4096;
const UNIT: u64 = 256 << 10;
const PAIRS: u64 = 100_000;

/// Name, bytes, goal, Linux's figure (0: none known).
const LOOPS: [(&str, u64, u64, u64); 4] = [
    ("pair of 8 bytes", 8, 150, 1504),
    ("pair of 64 bytes", 64, 0, 0),
    ("pair of 1 KiB", 1024, 0, 0),
    ("batch of 1024, 8 bytes", 8, 0, 0),
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
    let mut held = Vec::with_capacity(1024);
    for _ in 0..PAIRS / 1024 {
        held.extend((0..1024).filter_map(|_| percpu.alloc(black_box(size), 8, How::Atomic).ok()));
        for bytes in held.drain(..) {
            drop(black_box(percpu.free(bytes)));
        }
    }
}

fn run(which: usize) -> Result<(), Box<dyn Error>> {
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
    match LOOPS[which].0.starts_with("batch") {
        true => measured_batches(&percpu, LOOPS[which].1),
        false => measured_pairs(&percpu, LOOPS[which].1),
    }
    for bytes in some {
        percpu.free(bytes).map_err(|_| "not taken back")?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [which] = args.as_slice() {
        return run(which.parse()?);
    }
    println!("{:<24} {:>12} {:>8} {:>8}", "per-CPU memory", "instructions", "goal", "Linux");
    for (number, (name, _, goal, linux)) in LOOPS.iter().enumerate() {
        let function = if name.starts_with("batch") { "*measured_batches*" } else { "*measured_pairs*" };
        let total = callgrind::instructions(function, &[&number.to_string()])?;
        let pairs = if name.starts_with("batch") { PAIRS / 1024 * 1024 } else { PAIRS };
        println!("{name:<24} {:>12.1} {goal:>8} {linux:>8}", total as f64 / pairs as f64);
    }
    Ok(())
}
