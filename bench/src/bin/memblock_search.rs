//! memblock with many regions: how the cost of a look-up grows.
//!
//! `cargo run --release -p pagewright-bench --bin memblock_search`. For 100, 1,000 and 10,000 memory regions with a
//! reservation in each, look-ups of addresses all over memory are timed: ten times the regions may cost a few steps of
//! a binary search more, not ten times as much.

use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_memblock::{Config, Memblock, Quiet, Region};
use std::hint::black_box;
use std::time::Instant;

const LOOKUPS: u64 = 1_000_000;
const SPACING: u64 = 1 << 20;

fn main() {
    for regions in [100u64, 1_000, 10_000] {
        let mut memory = vec![Region::default(); regions as usize + 1];
        let mut reserved = vec![Region::default(); regions as usize + 1];
        let mut mb = Memblock::new(&mut memory, &mut reserved, Config::default(), &Quiet);
        let start = Instant::now();
        for i in 0..regions {
            let base = PhysAddr::new((i + 1) * SPACING);
            mb.add(PhysRange::from_len(base, SPACING / 2)).expect("there is room");
            mb.reserve(PhysRange::from_len(base, 4096)).expect("there is room");
        }
        let filled = start.elapsed();
        let start = Instant::now();
        let mut found = 0u64;
        for i in 0..LOOKUPS {
            // A multiplicative walk over all of memory, the same in every run.
            let at = PhysAddr::new(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (regions * SPACING) + SPACING);
            found += u64::from(mb.is_memory(black_box(at))) + u64::from(mb.is_reserved(black_box(at)));
        }
        let searched = start.elapsed();
        println!(
            "{regions:>6} regions: filled in {:>8.3} ms, {:>6.1} ns for a look-up in both sets ({found} hits)",
            filled.as_secs_f64() * 1e3,
            searched.as_nanos() as f64 / LOOKUPS as f64
        );
    }
}
