//! `bench=pagetable`: page tables in the format of the image's own. They are filled and emptied, but never loaded.

use super::clock::Value;
use super::{Bench, Failed};
use crate::selftest::census::free_pages;
use pagewright_addr::Order;
use pagewright_hot::PageTables;

/// The group.
pub(super) fn run(bench: &Bench<'_>) -> Result<(), Failed> {
    let (pages, metal) = (bench.subject.pages, bench.subject.metal);
    let before = free_pages(pages, metal);
    let order = metal.space_order();
    let mut root = pages.alloc(Order::new(order).unwrap_or_default()).map_err(|_| Failed::NoBlock(order))?;
    pages.zero(&mut root);
    let space = metal.space(pages.phys(&root), pages.ram());
    let mut source = pages.tables();
    let tables = PageTables {
        ram: pages.ram(),
        root: space.root,
        page_shift: pages.page_shift(),
        source: &mut source,
        ticks: &|| metal.ticks(),
        see: &mut |timed| {
            let value = Value::quotient(timed.ticks, timed.count);
            bench.value(format_args!("pagetable.{}.{}", timed.what, timed.size), value);
        },
    };
    // SAFETY: root and tables are blocks of the page allocator's that the direct map has; nobody else knows them.
    let measured = pages.undisturbed(|| unsafe { tables.measure(space.format) });
    pages.free(root);
    measured.map_err(Failed::Tables)?;
    let after = free_pages(pages, metal);
    if before == after { Ok(()) } else { Err(Failed::Lost(before, after)) }
}
