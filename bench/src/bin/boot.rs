//! Hosted boots, timed: a PC of 16 GiB, and a described one of 1 TiB with 8 nodes.
//!
//! `cargo run --release -p pagewright-bench --bin boot`. Each machine goes from its e820 map and SRAT to a running
//! page allocator, ten times; the fastest and the median are printed, and the process's peak memory after each. The
//! work includes what a user gets: zones, zonelists, per-CPU chunk, the buddy with every free range, watermarks.

use pagewright_bench::hosted;
use pagewright_firmware::acpi::SratMemory;
use pagewright_firmware::e820::{E820Entry, E820Kind};
use std::time::{Duration, Instant};

const GIB: u64 = 1 << 30;
const RUNS: usize = 10;

fn pc(gib: u64) -> Vec<E820Entry> {
    vec![
        E820Entry::new(0, 0x9_fc00, E820Kind::Ram),
        E820Entry::new(0x9_fc00, 0x400, E820Kind::Reserved),
        E820Entry::new(0xf_0000, 0x1_0000, E820Kind::Reserved),
        E820Entry::new(1 << 20, 2 * GIB - (1 << 20), E820Kind::Ram),
        E820Entry::new(4 * GIB, (gib - 2) * GIB, E820Kind::Ram),
    ]
}

/// Memory in equal shares; the hole below 4 GiB belongs to node 0's share of addresses.
fn nodes(gib: u64, count: u64) -> Vec<SratMemory> {
    let share = (gib + 2) * GIB / count;
    (0..count)
        .map(|n| SratMemory {
            pxm: n as u32,
            range: pagewright_addr::PhysRange::from_len(pagewright_addr::PhysAddr::new(n * share), share),
            hotpluggable: false,
            non_volatile: false,
            enabled: true,
        })
        .collect()
}

fn measure(name: &str, e820: &[E820Entry], srat: &[SratMemory], cpus: u32) {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            let pages = hosted::boot_pc(e820, srat, cpus);
            let time = start.elapsed();
            assert!(pages > 0, "nothing is managed");
            time
        })
        .collect();
    times.sort_unstable();
    println!(
        "{name:<24} fastest {:>8.2} ms   median {:>8.2} ms   peak memory {} MiB",
        times[0].as_secs_f64() * 1e3,
        times[RUNS / 2].as_secs_f64() * 1e3,
        hosted::peak_mib().map_or("?".to_owned(), |m| m.to_string())
    );
}

fn main() {
    measure("16 GiB", &pc(16), &[], 4);
    measure("1 TiB, 8 nodes", &pc(1024), &nodes(1024, 8), 64);
}
