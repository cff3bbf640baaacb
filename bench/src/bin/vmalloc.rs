//! vmalloc's paths, in instructions for each pair of an allocation and a free.
//!
//! `cargo run --release -p pagewright-bench --bin vmalloc` counts with callgrind and times each loop, over page tables in host memory. The pages,
//! their tables, the flush (one for as many areas as wait, to a TLB that is not there) and freeing the pages after it are in the figures;
//! the software MMU is not. `beside` has 20,000 areas of one to seven pages beside it, `lowest` no pools: each area as low as it can lie, as 6.1 does.

use pagewright_addr::{PhysAddr, PhysRange, VirtAddr};
use pagewright_bench::region::{Region, with_region};
use pagewright_bench::table::{Loop, show};
use pagewright_firmware::Arch;
use pagewright_kspace::highmem::Linear;
use pagewright_kspace::ioremap::{IoFacts, Ioremap, StaticMaps};
use pagewright_kspace::resource::{Resource, ResourceFlags, ResourceNode, Resources};
use pagewright_kspace::vmalloc::{OnPages, VmContext};
use pagewright_pagetable::NotLive;
use pagewright_platform::Mutex;
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

/// A loop, with its area's bytes, how many others there are, and whether there are pools.
struct Areas {
    bytes: u64,
    others: u64,
    pools: bool,
    row: Loop,
}

impl AsRef<Loop> for Areas {
    fn as_ref(&self) -> &Loop {
        &self.row
    }
}

const fn areas(bytes: u64, others: u64, pools: bool, row: Loop) -> Areas {
    Areas { bytes, others, pools, row }
}

const LOOPS: [Areas; 10] = [
    areas(4096, 0, true, Loop::new("4k", "measured_pairs", 40_000, 750, 0)),
    areas(64 << 10, 0, true, Loop::new("64k", "measured_pairs", 10_000, 2500, 0)),
    areas(1 << 20, 0, true, Loop::new("1m", "measured_pairs", 1000, 25_000, 0)),
    areas(4096, 20_000, true, Loop::new("4k-beside", "measured_pairs", 40_000, 1125, 0)),
    areas(64 << 10, 20_000, true, Loop::new("64k-beside", "measured_pairs", 10_000, 3750, 0)),
    areas(1 << 20, 20_000, true, Loop::new("1m-beside", "measured_pairs", 1000, 37_500, 0)),
    areas(4096, 0, false, Loop::new("4k-lowest", "measured_pairs", 40_000, 0, 0)),
    areas(4096, 20_000, false, Loop::new("4k-lowest-beside", "measured_pairs", 40_000, 0, 0)),
    areas(4096, 0, true, Loop::new("ram", "measured_ram", 40_000, 0, 0)),
    areas(4096, 0, true, Loop::new("ioremap", "measured_ioremap", 40_000, 900, 0)),
];

/// How many pairs succeeded before one failed, as all that are measured say.
#[inline(never)]
fn measured_pairs<'a>(region: &Region<'_, 'a>, on: &mut impl VmContext<'a>, bytes: u64, pairs: u64) -> u64 {
    for done in 0..pairs {
        let Ok(at) = region.vmalloc(on, black_box(bytes)) else { return done };
        if black_box(region.vfree(on, black_box(at))).is_err() {
            return done;
        }
    }
    pairs
}

#[inline(never)]
fn measured_ram<'a>(region: &Region<'_, 'a>, on: &mut impl VmContext<'a>, pairs: u64) -> u64 {
    let pages = [PhysAddr::new(0x4000_0000).pfn(pagewright_addr::PageShift::SHIFT_4K)];
    for done in 0..pairs {
        let Ok(at) = region.vm_map_ram(on, black_box(&pages)) else { return done };
        if black_box(region.vm_unmap_ram(on, at, 1)).is_err() {
            return done;
        }
    }
    pairs
}

/// A tree with the machine's RAM in it, which every mapping is compared with.
#[inline(never)]
fn measured_ioremap<'a>(region: &Region<'_, 'a>, on: &mut impl VmContext<'a>, pairs: u64) -> u64 {
    let all = PhysRange::new(PhysAddr::ZERO, PhysAddr::new(1 << 46));
    let mut nodes = [ResourceNode::EMPTY; 4];
    let mut resources = Resources::new(all, &mut nodes).expect("memory for a tree");
    let range = PhysRange::from_len(PhysAddr::new(0x4000_0000), 1 << 30);
    let ram = Resource { range, name: "System RAM", flags: ResourceFlags::SYSTEM_RAM };
    resources.insert_resource(ram).expect("an empty tree");
    let resources = Mutex::new(resources);
    let linear = Linear { start: range.start, end: range.end, base: VirtAddr::new(0xffff_8880_0000_0000) };
    let facts = IoFacts { arch: Arch::X86_64, last_phys: PhysAddr::new((1 << 46) - 1), linear };
    let mut statics = [None; 4];
    let io = Ioremap::new(region, facts, &resources, StaticMaps::new(&mut statics));
    for done in 0..pairs {
        let Ok(at) = io.ioremap(on, black_box(PhysAddr::new(0xfed0_0000)), 4096) else { return done };
        if black_box(io.iounmap(on, black_box(at))).is_err() {
            return done;
        }
    }
    pairs
}

fn run(which: &Areas) -> f64 {
    with_region(1, which.pools, |region, pages| {
        pages.on_cpu(0, |context| {
            let mut tlb = NotLive;
            let on = &mut OnPages { allocator: &pages.allocator, context, cpu: 0, tlb: &mut tlb };
            for n in 0..which.others {
                region.vmalloc(on, (1 + n % 7) << 12).expect("memory for it");
            }
            // What every machine has after a while: tables, and flushed areas.
            let pairs = which.row.pairs;
            assert_eq!(
                measured(region, on, which, pairs / 4),
                pairs / 4,
                "a pair before the measured ones failed"
            );
            let start = Instant::now();
            let done = match which.row.name {
                "ram" => measured_ram(region, on, pairs),
                "ioremap" => measured_ioremap(region, on, pairs),
                _ => measured_pairs(region, on, which.bytes, pairs),
            };
            let seconds = start.elapsed().as_secs_f64();
            assert_eq!(done, pairs, "{}: a pair failed, and failures are not measured", which.row.name);
            seconds
        })
    })
}

/// The same loop, not counted.
#[inline(never)]
fn measured<'a>(region: &Region<'_, 'a>, on: &mut impl VmContext<'a>, which: &Areas, pairs: u64) -> u64 {
    for done in 0..pairs {
        let Ok(at) = region.vmalloc(on, which.bytes) else { return done };
        if region.vfree(on, at).is_err() {
            return done;
        }
    }
    pairs
}

fn main() -> Result<(), Box<dyn Error>> {
    show(&LOOPS, run)
}
