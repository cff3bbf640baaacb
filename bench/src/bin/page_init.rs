//! Page-metadata initialisation at boot, in instructions for each GiB of 4 KiB pages.
//!
//! `cargo run --release -p pagewright-bench --bin page_init` counts with callgrind and times each path. Linux 6.1
//! needs 25.2 million instructions per GiB for the first of them.

use pagewright_addr::{Order, Pfn, PfnRange};
use pagewright_bench::callgrind;
use pagewright_page::{PageMap, PageMeta, PageStorage, Pristine, Section, SectionTable};
use pagewright_sim::Metadata;
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

const FRAMES_PER_GIB: u64 = 1 << 18;
const MAX_ORDER: Order = match Order::new(10) {
    Some(order) => order,
    None => panic!("no such order"),
};

/// One way to initialise a range: what it does, and the function whose instructions are counted.
struct Path {
    name: &'static str,
    what: &'static str,
    run: fn(PageMap<'_>, Pristine<'_>),
}

const PATHS: [Path; 4] = [
    Path { name: "free", what: "pristine frames to free blocks of order 10", run: measured_free },
    Path { name: "reserved", what: "pristine frames to reserved ones", run: measured_reserved },
    Path { name: "split", what: "the same as free, in blocks of order 0 (worst case)", run: measured_split },
    Path { name: "pair", what: "take and put one block of order 0, once for each frame", run: measured_pair },
];

/// What the hand-over does with a range of memblock's free memory that will not stay pristine.
#[inline(never)]
fn measured_free(map: PageMap<'_>, mut range: Pristine<'_>) {
    while !range.is_empty() {
        let block = range.take_front(MAX_ORDER.pages()).into_frames();
        black_box(map.put_block(block));
    }
}

#[inline(never)]
fn measured_reserved(_: PageMap<'_>, range: Pristine<'_>) {
    let _ = black_box(range.into_reserved());
}

#[inline(never)]
fn measured_split(map: PageMap<'_>, mut range: Pristine<'_>) {
    while !range.is_empty() {
        black_box(map.put_block(range.take_front(1).into_frames()));
    }
}

#[inline(never)]
fn measured_pair(map: PageMap<'_>, mut range: Pristine<'_>) {
    let idx = map.put_block(range.take_front(1).into_frames());
    for _ in 0..FRAMES_PER_GIB {
        map.put_block(map.take_block(black_box(idx), Order::ZERO));
    }
}

/// Memory that is not known to be zero is zeroed first, as on the metal.
#[inline(never)]
fn measured_zero(slots: &mut [std::mem::MaybeUninit<PageMeta>]) -> PageStorage<'_> {
    black_box(PageStorage::zero(slots))
}

fn table(sections: &mut [Section], gib: u64) -> Result<SectionTable<'_>, Box<dyn Error>> {
    let ram = [PfnRange::from_len(Pfn::new(0x4_0000), gib * FRAMES_PER_GIB)];
    Ok(SectionTable::build(sections, ram, MAX_ORDER)?)
}

/// Runs a path once over `gib` GiB and returns the seconds it took.
fn run(path: &Path, gib: u64) -> Result<f64, Box<dyn Error>> {
    let mut sections = [Section::EMPTY];
    let table = table(&mut sections, gib)?;
    let mut metadata = Metadata::new(table.frames())?;
    let (map, all) = PageMap::new(metadata.storage(), table)?;
    let start = Instant::now();
    (path.run)(map, all);
    Ok(start.elapsed().as_secs_f64())
}

fn zero(gib: u64) -> f64 {
    let mut slots = Vec::<PageMeta>::with_capacity((gib * FRAMES_PER_GIB) as usize);
    let start = Instant::now();
    measured_zero(slots.spare_capacity_mut());
    start.elapsed().as_secs_f64()
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(name) = std::env::args().nth(1) {
        // Under callgrind: one path, one GiB.
        match PATHS.iter().find(|path| path.name == name) {
            Some(path) => run(path, 1).map(drop)?,
            None => drop(zero(1)),
        }
        return Ok(());
    }
    println!("{:<10} {:>18} {:>10}  what", "path", "instructions/GiB", "ms/GiB");
    let line = |name: &str, what: &str, seconds: f64| -> Result<(), Box<dyn Error>> {
        let count = callgrind::instructions(&format!("*measured_{name}*"), &[name])?;
        println!("{name:<10} {count:>18} {:>10.3}  {what}", seconds * 1e3);
        Ok(())
    };
    for path in &PATHS {
        // The median of several runs; the host's first-touch page faults are in it.
        let mut times = (0..5).map(|_| run(path, 1)).collect::<Result<Vec<_>, _>>()?;
        times.sort_by(f64::total_cmp);
        line(path.name, path.what, times[2])?;
    }
    line("zero", "zeroing metadata that is not known to be zero, before any of these", zero(1))
}
