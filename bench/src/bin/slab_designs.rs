//! SLUB, SLAB and SLOB beside each other, on one recorded mix of sizes.
//!
//! `cargo run --release -p pagewright-bench --bin slab_designs` has each design go through the same steps ([`pagewright_bench::mix`]) on one of two processors, and
//! prints how many pages it has at the peak, and how many of them for itself, beside what was asked for and beside what slabs laid out as SLUB lays them out need at least; the tables that the caller
//! brings; and what a step costs, in instructions by callgrind and in time, without the loop's own.

use pagewright_addr::NodeId;
use pagewright_bench::callgrind;
use pagewright_bench::mix::{CACHES, CLASSES, Kind, Mix, Step};
use pagewright_sim::designs::{HostedObjects, with_design};
use pagewright_sim::pages::{Pages, PlainMachine, with_plain_machine};
use pagewright_slab::objects::{Design, ObjectAllocator};
use pagewright_slab::slab::{NodeCache, SlabCache};
use pagewright_slab::slabs::{CacheSpec, CpuSlab, NodeSlabs, Row, Silent, SlabContext, Slot};
use pagewright_slab::slob::SlobCache;
use pagewright_slab::slub::{ObjectSpec, Slub};
use pagewright_slab::{CacheFlags, CacheId};
use pagewright_zone::Gfp;
use pagewright_zone::alloc::NoHooks;
use std::error::Error;
use std::hint::black_box;
use std::ptr::NonNull;
use std::time::Instant;

/// Places for caches: those of the mix, and kmalloc's.
const PLACES: usize = 128;
const CPUS: usize = 2;
const SEED: u64 = 1;
/// The caches that designs have for themselves.
const OWN: [&str; 2] = ["kmem_cache_cpu", "alien_cache"];

/// What a run found.
struct Found {
    pages: u64,
    /// Of these, what the design has for itself: rows and arrays, objects of a cache of its own.
    own: u64,
    seconds: f64,
}

fn free_pages(pages: &Pages<'_, '_, '_, '_, NoHooks>) -> u64 {
    for cpu in 0..pages.cpus() {
        pages.on_cpu(cpu, |cx| pages.allocator.drain_local_pages(cx));
    }
    pages.allocator.zones().iter().map(|zone| pages.allocator.free_areas(zone.id()).pages()).sum()
}

/// Goes through steps.
#[inline(never)]
fn measured_mix<'k, 'a>(
    o: &dyn ObjectAllocator<'k, 'a>,
    cx: &SlabContext<'_, 'k, 'a>,
    caches: &[CacheId],
    steps: &[Step],
    held: &mut [Option<NonNull<u8>>],
) {
    for step in steps {
        match *step {
            Step::Get(n, Kind::Cache(cache)) => held[n] = o.alloc(cx, caches[cache], Gfp::GFP_KERNEL).ok(),
            Step::Get(n, Kind::Bytes(bytes)) => held[n] = o.kmalloc(cx, bytes, Gfp::GFP_KERNEL, None).ok(),
            Step::Put(n, kind) => {
                let Some(object) = held[n].take() else { continue };
                // SAFETY: each is freed once, as it was allocated.
                unsafe {
                    match kind {
                        Kind::Cache(cache) => o.free(cx, caches[cache], object),
                        Kind::Bytes(_) => o.kfree(cx, object),
                    }
                }
            }
        }
    }
}

/// The same steps, and nothing done.
#[inline(never)]
fn measured_loop(steps: &[Step], held: &mut [Option<NonNull<u8>>]) {
    for step in steps {
        match *step {
            Step::Get(n, kind) => held[n] = Some(NonNull::from(black_box(&kind)).cast()),
            Step::Put(n, kind) => {
                if let Some(object) = held[n].take() {
                    black_box((object, kind));
                }
            }
        }
    }
}

fn run(design: Design, mix: &Mix) -> Found {
    let machine = PlainMachine::new(1 << 15, CPUS);
    with_plain_machine(&machine, NoHooks, |pages| {
        let before = free_pages(pages);
        with_design(
            design,
            pages,
            &[NodeId::ZERO; CPUS],
            PLACES,
            &Silent,
            |m: &HostedObjects<'_, '_, '_, '_, '_, '_, NoHooks>| {
                let o = m.allocator();
                let spec = |size: u32| {
                    CacheSpec::new("mix", size.into(), 0, CacheFlags::empty()).with_usercopy(0, size)
                };
                let create = |&(size, _): &(u32, u32)| o.create(&spec(size)).expect("a place for it");
                let caches: Vec<_> = CACHES.iter().map(create).collect();
                let mut held = vec![None; mix.objects];
                let start = Instant::now();
                m.on_cpu(0, |cx| measured_mix(o, cx, &caches, &mix.up, &mut held));
                let up = start.elapsed();
                assert!(held.iter().all(Option::is_some), "memory for all objects");
                let pages = before - free_pages(pages);
                let mut own = 0;
                o.each_cache(&mut |_, row| {
                    if OWN.contains(&row.name.to_string().as_str()) {
                        own += row.slabs * row.pages;
                    }
                });
                let start = Instant::now();
                m.on_cpu(0, |cx| measured_mix(o, cx, &caches, &mix.down, &mut held));
                Found { pages, own, seconds: (up + start.elapsed()).as_secs_f64() }
            },
        )
    })
}

/// Pages of the slabs that hold the mix if none is in part empty, as SLUB lays them out.
fn least() -> u64 {
    let slub = Slub::new(CPUS as u32);
    let all = CACHES.iter().chain(&CLASSES);
    let pages = all.map(|&(size, count)| {
        let layout = slub.geometry(&ObjectSpec::new(size.into())).expect("a layout");
        u64::from(count.div_ceil(layout.objects)) * layout.order.pages()
    });
    pages.sum()
}

/// Bytes of the tables that the caller brings.
fn tables(design: Design) -> usize {
    let (place, node, row) = match design {
        Design::Slub => (size_of::<Slot>(), size_of::<NodeSlabs>() + 8, size_of::<Row>()),
        Design::SlubCpuSlabs => (size_of::<Slot>(), size_of::<NodeSlabs>() + 8, size_of::<CpuSlab>()),
        Design::Slab => (size_of::<Slot<SlabCache>>(), size_of::<NodeCache>() + 8, size_of::<Row>()),
        Design::Slob => (size_of::<Slot<SlobCache>>(), 0, 0),
    };
    PLACES * (place + node + CPUS * row)
}

fn named(name: &str) -> Option<Design> {
    Design::ALL.into_iter().find(|design| design.to_string() == name)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mix = Mix::new(SEED);
    let steps = (mix.up.len() + mix.down.len()) as f64;
    if let Some(name) = std::env::args().nth(1) {
        match named(&name) {
            Some(design) => drop(run(design, &mix)),
            None => {
                let mut held = vec![None; mix.objects];
                measured_loop(&mix.up, &mut held);
                measured_loop(&mix.down, &mut held);
            }
        }
        return Ok(());
    }
    let (asked, least) = (mix.bytes as f64 / 4096.0, least());
    println!(
        "{} objects, {:.0} pages asked for, {least} pages of full slabs as SLUB lays them out",
        mix.objects, asked
    );
    let alone = callgrind::instructions("*measured_loop*", &["loop"])? as f64;
    println!(
        "{:<15} {:>6} {:>4} {:>9} {:>10} {:>11} {:>13} {:>8}",
        "design", "pages", "own", "overhead", "over SLUB", "tables KiB", "instructions", "ns/step"
    );
    for design in Design::ALL {
        let mut runs: Vec<Found> = (0..5).map(|_| run(design, &mix)).collect();
        runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let name = design.to_string();
        let count = callgrind::instructions("*measured_mix*", &[name.as_str()])? as f64 - alone;
        let Found { pages, own, seconds } = runs[2];
        let over = |part: f64| format!("{:.1} %", (pages as f64 / part - 1.0) * 100.0);
        let (beyond, slub, kib) = (over(asked), over(least as f64), tables(design) as f64 / 1024.0);
        let (count, nanos) = (count / steps, seconds * 1e9 / steps);
        println!(
            "{name:<15} {pages:>6} {own:>4} {beyond:>9} {slub:>10} {kib:>11.1} {count:>13.1} {nanos:>8.1}"
        );
    }
    Ok(())
}
