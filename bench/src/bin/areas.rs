//! Areas of an address range, in instructions for each pair of making one and taking it away.
//!
//! `cargo run --release -p pagewright-bench --bin areas` counts with callgrind, in a tree of no other areas and in trees of many. The goals for
//! vmalloc, 750 instructions for a pair of 4 KiB and at most half as much again beside 20,000 areas, have to leave room for pages
//! and page tables.

use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_bench::table::{Loop, show};
use pagewright_kspace::areas::{Areas, Node, Wanted};
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

const PAGE: u64 = 4096;
const PAIRS: u64 = 50_000;
/// The numbers are of areas that are there already.
const LOOPS: [Loop; 4] = [
    Loop::new("beside0", "measured_pairs", PAIRS, 0, 0),
    Loop::new("beside100", "measured_pairs", PAIRS, 0, 0),
    Loop::new("beside20000", "measured_pairs", PAIRS, 0, 0),
    Loop::new("beside200000", "measured_pairs", PAIRS, 0, 0),
];

#[inline(never)]
fn measured_pairs(areas: &mut Areas<'_, u32>, wanted: &Wanted) {
    for _ in 0..PAIRS {
        if let Ok(area) = areas.alloc(black_box(wanted), 0) {
            black_box(areas.remove(area));
        }
    }
}

fn run(which: &Loop) -> Result<f64, Box<dyn Error>> {
    let others: u64 = which.name.trim_start_matches(char::is_alphabetic).parse()?;
    let range = VirtRange::from_len(VirtAddr::new(0xffff_c900_0000_0000), 32 << 40);
    let mut nodes = vec![Node::default(); 1 << 18];
    let mut areas = Areas::new(range, &mut nodes).ok_or("no tree")?;
    let wanted = |pages: u64| Wanted { size: pages * PAGE, align: PAGE, within: range };
    let mut all = Vec::new();
    for n in 0..others {
        all.push(areas.alloc(&wanted(2 + n % 7), 0)?);
    }
    // Holes of one page, too small, and of more, high up.
    for area in all.iter().rev().take(others as usize / 4).step_by(3) {
        areas.remove(*area);
    }
    let start = Instant::now();
    measured_pairs(&mut areas, &wanted(2));
    Ok(start.elapsed().as_secs_f64())
}

fn main() -> Result<(), Box<dyn Error>> {
    show(&LOOPS, |which| run(which).expect("the range has room for all areas"))
}
