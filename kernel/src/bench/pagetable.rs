//! `bench=pagetable`: page tables in the format of the image's own. They are filled and emptied, but never loaded.

use super::clock::Value;
use super::{Bench, Failed};
use crate::pages::TablePages;
use crate::selftest::census::free_pages;
use pagewright::pgtable::{KernelTables, KernelTree};
use pagewright_addr::{Order, PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::{Attr, AttrChange, AttrFlags, Level, MapOptions};

/// Where is mapped: free in every format's address space.
const AT: u64 = 512 << 20;
/// Where it leads to; nobody goes there.
const PHYS: PhysAddr = PhysAddr::new(1 << 30);
/// Bytes that are mapped by pages.
const BY_PAGES: u64 = 32 << 20;
/// Bytes that are mapped by blocks.
const BY_BLOCKS: u64 = 512 << 20;
/// Bytes of a block.
const BLOCK: u64 = 2 << 20;
/// Translations that are measured together.
const TRANSLATIONS: u64 = 4096;
/// What a program's data may be.
const DATA: Attr = Attr::normal(AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::ACCESSED));

fn range(len: u64) -> VirtRange {
    VirtRange::from_len(VirtAddr::new(AT), len)
}

/// The group.
pub(super) fn run(bench: &Bench<'_>) -> Result<(), Failed> {
    let (pages, metal) = (bench.subject.pages, bench.subject.metal);
    let before = free_pages(pages, metal);
    let order = metal.space_order();
    let mut root = pages.alloc(Order::new(order).unwrap_or_default()).map_err(|_| Failed::NoBlock(order))?;
    pages.zero(&mut root);
    let space = metal.space(pages.phys(&root), pages.ram());
    let mut source = pages.tables();
    let measured = measure(bench, &space, &mut source);
    if measured.is_err() {
        // What is mapped still goes, tables included.
        for len in [BY_PAGES, BY_BLOCKS] {
            let _ = space.with(|tree| tree.unmap(range(len), false, &mut source));
        }
    }
    pages.free(root);
    measured?;
    let after = free_pages(pages, metal);
    if before == after { Ok(()) } else { Err(Failed::Lost(before, after)) }
}

fn measure(bench: &Bench<'_>, space: &KernelTables<'_>, source: &mut TablePages<'_>) -> Result<(), Failed> {
    let page = bench.subject.pages.page_shift().bytes();
    let blocks = MapOptions { max_leaf: Level::PMD, ..MapOptions::default() };
    for (size, len, each, options) in
        [("4k", BY_PAGES, page, MapOptions::PAGES), ("2m", BY_BLOCKS, BLOCK, blocks)]
    {
        let count = len / each;
        // Runs something once and tells what it took for each entry.
        let entry = |what: &'static str, work: &mut dyn FnMut(&mut dyn KernelTree) -> bool| {
            let mut done = false;
            let ticks = bench
                .subject
                .pages
                .undisturbed(|| bench.clock.ticks(|| space.with(|tree| done = work(tree))));
            if !done {
                return Err(Failed::Tables(what));
            }
            bench.value(format_args!("pagetable.{what}.{size}"), Value::quotient(ticks, count));
            Ok(())
        };
        entry("map", &mut |tree| tree.map(range(len), PHYS, DATA, &options, source).is_ok())?;
        // That it is dirty stays: sections of arm's short descriptors have nowhere to note anything else.
        let read_only = AttrChange::flags(AttrFlags::empty(), AttrFlags::WRITE);
        entry("protect", &mut |tree| tree.protect(range(len), &read_only).is_ok())?;
        let mut led = true;
        let translated = bench.subject.pages.undisturbed(|| {
            space.with(|tree| {
                let mut at = 0;
                bench.clock.each(TRANSLATIONS, |_| {
                    // An odd multiple of a page and some: every table is visited.
                    at = (at + 0x1_3579_b123) & (len - 1);
                    led &= tree.leaf(VirtAddr::new(AT + at)).is_ok();
                })
            })
        });
        if !led {
            return Err(Failed::Tables("translate"));
        }
        bench.value(format_args!("pagetable.translate.{size}"), translated);
        entry("unmap", &mut |tree| tree.unmap(range(len), false, source).is_ok())?;
    }
    Ok(())
}
