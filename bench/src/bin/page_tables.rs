//! Page tables: instructions for each entry of mapping, unmapping, changing and translating.
//!
//! `cargo run --release -p pagewright-bench --bin page_tables` counts with callgrind. Tables come from a pool, so that the
//! figures are the walker's own. Goals: mapping at most 6 instructions for each 4 KiB entry and 8 for each 2 MiB block,
//! unmapping at most 10, translating at most 40 (5 levels 50), 1 TiB in blocks of 1 GiB under 30,000 in all.

use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_bench::callgrind;
use pagewright_pagetable::format::x86::{X86Level4, X86Level5};
use pagewright_pagetable::{
    Attr, AttrChange, AttrFlags, Format, Level, Live, MapOptions, NotLive, Pool, TableMemory, Tables,
};
use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, AtomicU64};

const GIB: u64 = 1 << 30;
const TRANSLATIONS: u64 = 1 << 16;
const POOL: PhysAddr = PhysAddr::new(1 << 32);

type PoolTables<'p, F> = Tables<F, &'p Pool<'p, u64>>;

/// One measurement: its name, how many entries the count is divided by, and what it means.
struct Path {
    name: &'static str,
    per: u64,
    goal: &'static str,
    what: &'static str,
}

const PATHS: [Path; 11] = [
    Path { name: "map_pages", per: GIB >> 12, goal: "6", what: "map 1 GiB by 4 KiB pages" },
    Path { name: "unmap_pages", per: GIB >> 12, goal: "10", what: "unmap it, flush, give the tables back" },
    Path { name: "protect_pages", per: GIB >> 12, goal: "-", what: "make 1 GiB of pages read-only" },
    Path { name: "map_blocks", per: 512 * 64, goal: "8", what: "map 64 GiB by 2 MiB blocks" },
    Path { name: "unmap_blocks", per: 512 * 64, goal: "-", what: "unmap them" },
    Path { name: "map_tib", per: 1, goal: "30000", what: "map 1 TiB by 1 GiB blocks, in all" },
    Path {
        name: "translate4",
        per: TRANSLATIONS,
        goal: "40",
        what: "translate scattered addresses, 4 levels",
    },
    Path { name: "translate5", per: TRANSLATIONS, goal: "50", what: "the same with 5 levels" },
    Path {
        name: "direct4",
        per: TRANSLATIONS,
        goal: "40",
        what: "4 levels, tables in a direct map as on the metal",
    },
    Path { name: "direct5", per: TRANSLATIONS, goal: "50", what: "5 levels, likewise" },
    Path { name: "walk_pages", per: GIB >> 12, goal: "-", what: "walk over 1 GiB of pages" },
];

fn attr() -> Attr {
    Attr::normal(AttrFlags::WRITE | AttrFlags::GLOBAL | AttrFlags::ACCESSED | AttrFlags::DIRTY)
}

fn at(len: u64) -> VirtRange {
    VirtRange::from_len(VirtAddr::new(0xffff_8880_0000_0000), len)
}

#[inline(never)]
fn measured_map<F: Format<Word = u64>>(t: &mut PoolTables<'_, F>, range: VirtRange, options: &MapOptions) {
    let mut pool = *t.memory();
    black_box(t.cursor().map(range, PhysAddr::ZERO, attr(), options, &mut pool)).expect("mapped");
}

#[inline(never)]
fn measured_unmap<F: Format<Word = u64>>(t: &mut PoolTables<'_, F>, range: VirtRange) {
    let mut pool = *t.memory();
    let pending = t
        .cursor()
        .unmap(range, &mut |run| {
            black_box(*run);
        })
        .expect("unmapped");
    pending.finish(t.memory(), &mut NotLive, &mut pool);
}

#[inline(never)]
fn measured_protect<F: Format<Word = u64>>(t: &mut PoolTables<'_, F>, range: VirtRange) {
    let change = AttrChange::flags(AttrFlags::empty(), AttrFlags::WRITE);
    let (_, pending) = t.cursor().protect(range, &change, Live::No).expect("changed");
    pending.finish(t.memory(), &mut NotLive, &mut { *t.memory() });
}

#[inline(never)]
fn measured_translate<F: Format<Word = u64>, M: TableMemory>(t: &Tables<F, M>, range: VirtRange) {
    let mut sum = 0u64;
    let mut va = 0u64;
    for _ in 0..TRANSLATIONS {
        // An odd multiple of a page and some: every table is visited.
        va = (va + 0x1_3579_b123) & (range.len - 1);
        sum ^= t.translate(VirtAddr::new(range.start.get() + va)).map_or(0, |hit| hit.phys.get());
    }
    black_box(sum);
}

/// The same loop without a translation.
#[inline(never)]
fn measured_loop(range: VirtRange) {
    let mut sum = 0u64;
    let mut va = 0u64;
    for _ in 0..TRANSLATIONS {
        va = (va + 0x1_3579_b123) & (range.len - 1);
        sum ^= black_box(va);
    }
    black_box(sum);
}

#[inline(never)]
fn measured_walk<F: Format<Word = u64>>(t: &PoolTables<'_, F>, range: VirtRange) {
    t.walk(range, u64::MAX, &mut |run| {
        black_box(*run);
    })
    .expect("whole");
}

/// The host's own memory, with its addresses as physical ones: what a direct map costs.
struct Direct;

impl TableMemory for Direct {
    fn words32(&self, _: PhysAddr, _: usize) -> Option<&[AtomicU32]> {
        None
    }

    #[inline]
    fn words64(&self, at: PhysAddr, count: usize) -> Option<&[AtomicU64]> {
        // SAFETY: the only tables are those that `run_direct` made, whose entries lead to addresses of one vector that
        // outlives them and is only used through atomics.
        Some(unsafe { std::slice::from_raw_parts(at.get() as *const AtomicU64, count) })
    }
}

/// Translates through tables whose addresses are the host's.
fn run_direct<F: Format<Word = u64>>(format: F) {
    let words: Vec<AtomicU64> = (0..1024 * 512).map(|_| AtomicU64::new(0)).collect();
    let skip = (words.as_ptr() as usize).next_multiple_of(4096) - words.as_ptr() as usize;
    let words = &words[skip / 8..];
    let pool = Pool::<u64>::new(words, PhysAddr::new(words.as_ptr() as u64), 4096).expect("aligned");
    let root = pool.alloc_root(1, 4096).expect("room");
    let mut tables = Tables::new(format, &pool, root);
    tables.cursor().map(at(GIB), PhysAddr::ZERO, attr(), &MapOptions::PAGES, &mut &pool).expect("mapped");
    measured_translate(&Tables::new(format, Direct, root), at(GIB));
}

/// Prepares what a path needs, then runs it.
fn run<F: Format<Word = u64>>(format: F, name: &str) {
    let words: Vec<AtomicU64> = (0..1024 * 512).map(|_| AtomicU64::new(0)).collect();
    let pool = Pool::<u64>::new(&words, POOL, 4096).expect("aligned");
    let root = pool.alloc_root(1, 4096).expect("room");
    let mut tables = Tables::new(format, &pool, root);
    let blocks = MapOptions { max_leaf: Level::PMD, ..MapOptions::default() };
    // What is not measured runs inside functions of another name.
    let prepare = |t: &mut PoolTables<'_, F>, range, options: &MapOptions| {
        let mut pool = *t.memory();
        t.cursor().map(range, PhysAddr::ZERO, attr(), options, &mut pool).expect("mapped");
    };
    match name {
        "map_pages" => measured_map(&mut tables, at(GIB), &MapOptions::PAGES),
        "map_blocks" => measured_map(&mut tables, at(64 * GIB), &blocks),
        "map_tib" => measured_map(&mut tables, at(1024 * GIB), &MapOptions::default()),
        "unmap_pages" => {
            prepare(&mut tables, at(GIB), &MapOptions::PAGES);
            measured_unmap(&mut tables, at(GIB));
        }
        "unmap_blocks" => {
            prepare(&mut tables, at(64 * GIB), &blocks);
            measured_unmap(&mut tables, at(64 * GIB));
        }
        "protect_pages" => {
            prepare(&mut tables, at(GIB), &MapOptions::PAGES);
            measured_protect(&mut tables, at(GIB));
        }
        "walk_pages" => {
            prepare(&mut tables, at(GIB), &MapOptions::PAGES);
            measured_walk(&tables, at(GIB));
        }
        _ => {
            prepare(&mut tables, at(GIB), &MapOptions::PAGES);
            measured_translate(&tables, at(GIB));
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(name) = std::env::args().nth(1) {
        match name.as_str() {
            "loop" => measured_loop(at(GIB)),
            "direct4" => run_direct(X86Level4::default()),
            "direct5" => run_direct(X86Level5::default()),
            "translate5" => run(X86Level5::default(), &name),
            _ => run(X86Level4::default(), &name),
        }
        return Ok(());
    }
    println!("{:<14} {:>14} {:>8}  what", "path", "instructions", "goal");
    // What the loop around translations costs by itself is taken off.
    let around = callgrind::instructions("*measured_*", &["loop"])?;
    for path in &PATHS {
        let mut count = callgrind::instructions("*measured_*", &[path.name])?;
        if path.per == TRANSLATIONS {
            count = count.saturating_sub(around);
        }
        println!(
            "{:<14} {:>14.2} {:>8}  {}",
            path.name,
            count as f64 / path.per as f64,
            path.goal,
            path.what
        );
    }
    Ok(())
}
