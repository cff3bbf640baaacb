//! Fragmentation over a machine's life: free 2 MiB blocks over time, for each policy.
//!
//! `cargo run --release -p pagewright-bench --bin page_alloc_ageing [REQUESTS [SEED]]` lives [`pagewright_sim::ageing`]'s workload on a machine of
//! 1 GiB with ZONE_DMA32 and ZONE_NORMAL. Nothing in the tables depends on the host or its speed.

use pagewright_bench::loops;
use pagewright_sim::ageing::{Life, POLICIES, Report, Sample, age};
use pagewright_sim::pages::PlainMachine;

const FRAMES: u64 = 1 << 18;
const SAMPLES: u64 = 8;

fn table(title: &str, reports: &[(&str, Report)], value: impl Fn(&Sample) -> u64) {
    let ticks = reports.first().map_or(&[][..], |(_, report)| &report.samples);
    println!("{title}\n");
    print!("| policy |");
    ticks.iter().for_each(|sample| print!(" {} k |", sample.tick / 1000));
    println!("\n|---|{}", "---|".repeat(ticks.len()));
    for (name, report) in reports {
        print!("| {name} |");
        report.samples.iter().for_each(|sample| print!(" {} |", value(sample)));
        println!();
    }
    println!();
}

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let (ticks, seed) = (args.next().unwrap_or(2_000_000), args.next().unwrap_or(1));
    let machine = PlainMachine { dma32_end: 0x4_0000 + FRAMES / 4, ..PlainMachine::new(FRAMES, 1) };
    let life = Life { machine, ticks, samples: SAMPLES, seed };
    loops::pin(0);
    let reports: Vec<_> = POLICIES.iter().map(|&policy| (policy.name, age(&life, policy))).collect();
    let blocks = reports.first().map_or(0, |(_, report)| report.blocks);
    println!("Seed {seed}, {blocks} blocks of 2 MiB; columns are requests so far.\n");
    table("Free 2 MiB blocks, at 90 % fill:", &reports, |sample| sample.free_blocks);
    table("Blocks without unmovable or reclaimable pages:", &reports, |sample| sample.clean_blocks);
    table("Movable blocks with such pages in them:", &reports, |sample| sample.polluted_blocks);
    println!(
        "| policy | huge pages had of those asked for | pages moved | fallbacks | to parts of a block | polluting | smaller passed over | violations |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (name, report) in &reports {
        let Report { huge, moved, fallbacks, fragmenting, polluting, passed_over, violations, .. } = report;
        let violations = violations.len();
        println!(
            "| {name} | {} of {} | {moved} | {fallbacks} | {fragmenting} | {polluting} | {passed_over} | {violations} |",
            huge.1, huge.0
        );
        report.violations.iter().for_each(|violation| println!("{violation}"));
    }
}
