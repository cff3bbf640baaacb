//! `bench=vmalloc`: pairs of an allocation and a free of vmalloc's, alone and beside many areas, and the mappings of devices. A pair's part of the
//! purges is in it: the flush, and the pages that are free only then.

use super::clock::Value;
use super::{Bench, Failed};
use crate::selftest::census::free_pages;
use crate::space::{add_areas, on};
use pagewright::vmalloc::VmRequest;
use pagewright_addr::{Order, PhysAddr, VirtAddr};
use pagewright_hot::On;
use pagewright_page::Frames;
use pagewright_platform::carve::bytes_for;

/// Areas beside which it is measured, of one to seven pages.
const BESIDE: usize = 20_000;
/// Sizes, and so many pairs of each.
const SIZES: [(&str, u64, u64); 3] = [("4k", 4 << 10, 40_000), ("64k", 64 << 10, 8000), ("1m", 1 << 20, 800)];
/// Pairs of the others.
const PAIRS: u64 = 40_000;
/// Where machines have devices; one of them is not RAM.
const DEVICES: [PhysAddr; 2] = [PhysAddr::new(0xfed0_0000), PhysAddr::new(0x0900_0000)];

/// The group.
pub(super) fn run(bench: &Bench<'_>) -> Result<(), Failed> {
    let (pages, metal) = (bench.subject.pages, bench.subject.metal);
    // Four pages each, and as many again; with their guard pages, and some more, of addresses.
    let addresses = bench.subject.space.area.range().len >> pages.page_shift().get();
    let many = free_pages(pages, metal) > 8 * BESIDE as u64
        && addresses > 6 * BESIDE as u64
        && add_areas(bench.subject.space.area, pages, BESIDE);
    // Tables at the area's borders stay once there are any.
    here(bench, |on| bench.subject.space.area.vmalloc_pairs(on, SIZES[0].1, 1))?;
    here(bench, |on| bench.subject.space.area.give_all_back(on))?;
    let before = free_pages(pages, metal);
    let measured = all(bench, many);
    here(bench, |on| bench.subject.space.area.give_all_back(on))?;
    measured?;
    let after = free_pages(pages, metal);
    if before == after { Ok(()) } else { Err(Failed::Lost(before, after)) }
}

fn here<R>(bench: &Bench<'_>, work: impl FnOnce(&mut On<'_, '_>) -> R) -> Result<R, Failed> {
    on(bench.subject.pages, bench.subject.metal, work).ok_or(Failed::NoArea)
}

/// Pairs, told under a name. The first quarter as many make the tables, and areas that wait for their next use: what every machine has after a while.
fn told(
    bench: &Bench<'_>,
    name: core::fmt::Arguments<'_>,
    pairs: u64,
    work: impl Fn(&mut On<'_, '_>, u64) -> u64,
) -> Result<(), Failed> {
    let warm = here(bench, |on| work(on, pairs / 4))?;
    let mut done = 0;
    let ticks =
        bench.subject.pages.undisturbed(|| here(bench, |on| bench.clock.ticks(|| done = work(on, pairs))))?;
    if (warm, done) != (pairs / 4, pairs) {
        return Err(Failed::NoArea);
    }
    bench.value(name, Value::quotient(ticks, pairs));
    Ok(())
}

fn all(bench: &Bench<'_>, many: bool) -> Result<(), Failed> {
    let area = bench.subject.space.area;
    for (name, bytes, pairs) in SIZES {
        told(bench, format_args!("vmalloc.{name}"), pairs, |on, n| area.vmalloc_pairs(on, bytes, n))?;
    }
    for (name, bytes, pairs) in SIZES {
        told(bench, format_args!("vmalloc.anew.{name}"), pairs, |on, n| area.anew_pairs(on, bytes, n))?;
    }
    let page = bench.subject.pages.alloc(Order::ZERO).map_err(|_| Failed::NoArea)?;
    let pfns = [bench.subject.pages.phys(&page).pfn(bench.subject.pages.page_shift())];
    let ram = told(bench, format_args!("vmalloc.map_ram"), PAIRS, |on, n| area.ram_pairs(on, &pfns, n));
    here(bench, |on| area.purge(on))?;
    bench.subject.pages.free(page);
    ram?;
    let is_device = |at: &PhysAddr| here(bench, |on| area.io_pairs(on, *at, 1)).is_ok_and(|done| done == 1);
    let device = DEVICES.into_iter().find(is_device).ok_or(Failed::NoArea)?;
    told(bench, format_args!("vmalloc.ioremap"), PAIRS, |on, n| area.io_pairs(on, device, n))?;
    if many { beside(bench) } else { Ok(()) }
}

/// The same beside many areas.
fn beside(bench: &Bench<'_>) -> Result<(), Failed> {
    let pages = bench.subject.pages;
    let room = (bytes_for::<VirtAddr>(BESIDE) >> pages.page_shift().get()) + 1;
    let order = Order::new(room.next_power_of_two().ilog2() as u8).ok_or(Failed::NoArea)?;
    let mut memory: Frames<'static> = pages.alloc(order).map_err(|_| Failed::NoArea)?;
    let done = (|| {
        let mut carve = pages.carve(&mut memory).ok_or(Failed::NoArea)?;
        let others = carve.slice(BESIDE, || VirtAddr::ZERO).ok_or(Failed::NoArea)?;
        let area = bench.subject.space.area;
        let made = here(bench, |on| {
            let sizes = (0..).map(|n| (1 + n % 7) << pages.page_shift().get());
            let mut made = 0;
            for (place, size) in others.iter_mut().zip(sizes) {
                let Ok(at) = area.vmalloc(on, &VmRequest::new(size)) else { break };
                *place = at;
                made += 1;
            }
            made
        })?;
        let measured = if made == BESIDE {
            SIZES.iter().try_for_each(|(name, bytes, pairs)| {
                told(bench, format_args!("vmalloc.beside.{name}"), *pairs, |on, n| {
                    area.vmalloc_pairs(on, *bytes, n)
                })
            })
        } else {
            Err(Failed::NoArea)
        };
        let freed = here(bench, |on| others[..made].iter().all(|at| area.vfree(on, *at).is_ok()))?;
        if freed { measured } else { Err(Failed::NoArea) }
    })();
    pages.free(memory);
    done
}
