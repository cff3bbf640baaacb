//! The paths of kmaps, in instructions for each pair of a map and an unmap.
//!
//! `cargo run --release -p pagewright-bench --bin kmap` counts with callgrind and times each loop. The flush is a call that forgets nothing: on the
//! metal it is an instruction or two. Pages are of high memory, and the entry that is written is checked to be empty.

use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_bench::table::{Loop, show};
use pagewright_kspace::highmem::{Kmap, KmapCpu, KmapLocal, KmapStack, Linear, PkmapEntry};
use pagewright_pagetable::format::arm::lpae::ArmLpae;
use pagewright_pagetable::format::arm::short::ArmShort;
use pagewright_pagetable::format::x86::i386::I386Pae;
use pagewright_pagetable::{Attr, AttrFlags, Format, MapOptions, NotLive, Pool, Slots, Tables, Word};
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

const PAIRS: u64 = 100_000;

const LOOPS: [Loop; 7] = [
    Loop::new("local.lpae", "measured_local", PAIRS, 40, 0),
    Loop::new("local.short", "measured_local", PAIRS, 40, 0),
    Loop::new("local.pae", "measured_local", PAIRS, 40, 0),
    Loop::new("low", "measured_local", PAIRS, 0, 0),
    Loop::new("kmap.again", "measured_kmap", PAIRS, 0, 0),
    Loop::new("kmap.new", "measured_kmap", PAIRS, 0, 0),
    Loop::new("empty", "measured_empty", PAIRS, 0, 0),
];

/// 512 pages below 4 GiB.
const WINDOW: VirtRange = VirtRange { start: VirtAddr::new(0xffc0_0000), len: 512 << 12 };

/// High memory begins at 1 GiB.
const LINEAR: Linear =
    Linear { start: PhysAddr::ZERO, end: PhysAddr::new(1 << 30), base: VirtAddr::new(0x4000_0000) };

const HIGH: PhysAddr = PhysAddr::new(0x7000_0000);

fn with_slots<F: Format + Default>(then: impl FnOnce(Slots<'_, F, &Pool<'_, F::Word>>) -> f64) -> f64 {
    let words: Vec<<F::Word as Word>::Atomic> =
        (0..(64 << 12) / F::Word::BYTES).map(|_| F::Word::zero()).collect();
    let pool = Pool::<F::Word>::new(&words, PhysAddr::new(0x10_0000), 4096).expect("whole tables");
    let root_pages = if F::Word::BYTES == 4 { 4 } else { 1 };
    let root = pool.alloc_root(root_pages, 4096).expect("a table");
    let mut tables = Tables::new(F::default(), &pool, root);
    let flags = AttrFlags::WRITE | AttrFlags::GLOBAL | AttrFlags::ACCESSED | AttrFlags::DIRTY;
    let attr = Attr::normal(flags);
    for page in 0..512 {
        let page = VirtRange::from_len(VirtAddr::new(WINDOW.start.get() + (page << 12)), 4096);
        let mut cursor = tables.cursor();
        cursor.map(page, PhysAddr::ZERO, attr, &MapOptions::PAGES, &mut &pool).expect("a free page");
        let mut part = cursor.part(page).expect("a part of everything");
        let pending = part.unmap(page, &mut |_| ()).expect("a page");
        let _ = pending.finish(&&pool, &mut NotLive, &mut &pool);
    }
    let cursor = tables.lock(WINDOW).expect("nobody has it");
    then(cursor.into_slots(WINDOW, attr, PhysAddr::new(1 << 32)).expect("empty tables"))
}

/// Seconds of a loop, which says how many of its pairs succeeded before one failed: all must have.
fn timed(work: impl FnOnce() -> u64) -> f64 {
    let start = Instant::now();
    let done = work();
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(done, PAIRS, "a pair failed, and failures are not measured");
    seconds
}

fn local<F: Format + Default>(page: PhysAddr) -> f64 {
    with_slots::<F>(|slots| {
        let local = KmapLocal::new(LINEAR, slots, false).expect("room for a CPU");
        let stack = KmapStack::new();
        let cpu = local.on_cpu(0).expect("the CPU's slots");
        timed(|| measured_local(&cpu, &stack, page))
    })
}

fn run(which: &Loop) -> f64 {
    match which.name {
        "local.lpae" => local::<ArmLpae>(HIGH),
        "local.short" => local::<ArmShort>(HIGH),
        "local.pae" => local::<I386Pae>(HIGH),
        "low" => local::<ArmLpae>(PhysAddr::new(0x1000_0000)),
        "empty" => timed(measured_empty),
        name => with_slots::<ArmLpae>(|slots| {
            let mut entries = [PkmapEntry::EMPTY; 512];
            let kmap = Kmap::new(LINEAR, slots, &mut entries).expect("an entry for each");
            let pages = if name == "kmap.new" { 4096 } else { 1 };
            timed(|| measured_kmap(&kmap, pages))
        }),
    }
}

#[inline(never)]
fn measured_local<F: Format>(local: &KmapCpu<'_, F>, stack: &KmapStack, page: PhysAddr) -> u64 {
    for done in 0..PAIRS {
        let Ok(map) = local.kmap_local_page(stack, black_box(page), &mut NotLive) else { return done };
        black_box(map.address());
        if local.kunmap_local(stack, map, &mut NotLive).is_err() {
            return done;
        }
    }
    PAIRS
}

/// What the loop takes by itself, with the same values kept from the compiler.
#[inline(never)]
fn measured_empty() -> u64 {
    for _ in 0..PAIRS {
        black_box(black_box(HIGH));
    }
    PAIRS
}

#[inline(never)]
fn measured_kmap(kmap: &Kmap<'_, ArmLpae, &Pool<'_, u64>>, pages: u64) -> u64 {
    for done in 0..PAIRS {
        let page = PhysAddr::new(HIGH.get() + ((done % pages) << 12));
        let Ok(at) = kmap.kmap(page, &mut NotLive) else { return done };
        black_box(at);
        if kmap.kunmap(page).is_err() {
            return done;
        }
    }
    PAIRS
}

fn main() -> Result<(), Box<dyn Error>> {
    show(&LOOPS, run)
}
