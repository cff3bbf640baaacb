//! `bench=kmap`: a page of high memory mapped and unmapped by a local kmap, where the kernel has windows for such; nothing elsewhere.

use super::clock::Value;
use super::{Bench, Failed};
use crate::pages::Pages;
use pagewright::highmem::{KmapCpu, KmapStack, KmapWindows, PkmapEntry};
use pagewright::pgtable::KernelTables;
use pagewright_addr::{Order, PhysAddr};
use pagewright_pagetable::{Format, Tables};
use pagewright_zone::Gfp;

/// Pairs.
const PAIRS: u64 = 40_000;

/// What is measured with.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'k> {
    /// The memory that tables lie in, and room for the window's slots.
    pub pages: &'k Pages,
    /// The kernel's tables.
    pub tables: KernelTables<'k>,
    /// Where high memory gets its addresses.
    pub windows: KmapWindows,
}

/// So many pairs of one page: how many were left when one failed.
pub type Pairs<'p> = dyn Fn(PhysAddr, u64) -> u64 + 'p;

/// The group.
pub(super) fn run(bench: &Bench<'_>) -> Result<(), Failed> {
    let Some(windows) = bench.subject.windows else { return Ok(()) };
    let (pages, metal) = (bench.subject.pages, bench.subject.metal);
    let gfp = Gfp::GFP_KERNEL | Gfp::HIGHMEM | Gfp::NOWARN;
    let page = pages.alloc_pages(gfp, Order::ZERO).map_err(|_| Failed::NoBlock(0))?;
    let (phys, high) = (pages.phys(&page), pages.pointer(&page).is_none());
    let mut measured = Err(Failed::NoKmaps);
    if high {
        metal.with_kmaps(&windows, &mut |pairs| {
            let (mut unwarmed, mut left) = (PAIRS, PAIRS);
            let [all, empty] = pages.undisturbed(|| {
                unwarmed = pairs(phys, PAIRS / 4);
                let all = bench.clock.ticks(|| left = pairs(phys, PAIRS));
                [all, bench.clock.ticks(|| metal.empty_kmap_pairs(phys, PAIRS))]
            });
            if (unwarmed, left) == (0, 0) {
                bench.value(format_args!("kmap.local"), Value::quotient(all.saturating_sub(empty), PAIRS));
                measured = Ok(());
            }
        });
    }
    pages.free(page);
    measured
}

/// Opens the windows over tables of that format, and does something with the first processor's local kmaps; nothing if they cannot be opened.
pub fn over_one<F: Format>(
    with: &Windows<'_>,
    format: F,
    pairs: fn(&KmapCpu<'_, F>, &KmapStack, PhysAddr, u64) -> u64,
    work: &mut dyn FnMut(&Pairs<'_>),
) {
    let pages = with.pages;
    let page = pages.page_shift().bytes();
    let count = with.windows.entries(page);
    let order = (size_of::<PkmapEntry>() * count).div_ceil(page as usize).next_power_of_two().ilog2();
    let Some(Ok(mut block)) = Order::new(order as u8).map(|order| pages.alloc(order)) else { return };
    if let Some(entries) =
        pages.carve(&mut block).and_then(|mut carve| carve.slice(count, || PkmapEntry::EMPTY))
    {
        let tables = Tables::new(format, pages.ram(), with.tables.root);
        if let Ok((_, local)) = with.windows.open(&tables, entries, false)
            && let Ok(here) = local.on_cpu(0)
        {
            let stack = KmapStack::new();
            work(&|phys, count| pairs(&here, &stack, phys, count));
        }
    }
    pages.free(block);
}
