//! An address space in use: map, touch, protect, expect the fault, unmap, expect the fault.

use super::{Note, Subject, census, note};
use crate::metal::Access;
use pagewright::pgtable::{KernelTables, KernelTree};
use pagewright_addr::{Order, PhysAddr, VirtAddr, VirtRange};
use pagewright_page::Frames;
use pagewright_pagetable::{Attr, AttrChange, AttrFlags, MapOptions, TableSource};

/// Where the test maps: free in every format's address space, and at the start of a large leaf.
const AT: u64 = 512 << 20;
/// What a program's data may be, without the right to execute it.
const DATA: Attr = Attr::normal(AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::ACCESSED));

/// The test.
pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    let (pages, metal) = (subject.pages, subject.metal);
    let before = census::take(subject);
    let alloc = |order: u8| {
        let order = Order::new(order).unwrap_or(Order::ZERO);
        pages.alloc(order).map_err(|e| note(format_args!("no block of order {}: {e}", order.get())))
    };
    // Enough pages for a large leaf, unless a small machine has no such block, and some that are mapped one by one.
    let leaf_order = (21 - pages.page_shift().get()) as u8;
    let mut root = alloc(metal.space_order())?;
    let mut large =
        (3..=leaf_order).rev().find_map(|order| alloc(order).ok()).map_or_else(|| alloc(3), Ok)?;
    let mut small = alloc(2)?;
    pages.zero(&mut root);
    pages.zero(&mut large);
    pages.zero(&mut small);

    let mut source = pages.tables();
    let space = metal.space(pages.phys(&root), pages.ram());
    let checked = check(subject, &space, &mut large, &mut small, &mut source);
    metal.load_space(None);
    // Nobody walks the tables any more: they may go.
    let taken_down = take_down(subject, &space, &large, &small, &mut source);
    let (taken, back) = (source.taken, source.given_back);
    let large_pages = large.len();
    for frames in [root, large, small] {
        pages.free(frames);
    }
    checked?;
    taken_down?;
    if taken != back {
        return Err(note(format_args!("{taken} tables were taken, {back} came back")));
    }
    census::all_back(subject, &before)?;
    let small_pages = 4;
    Ok(note(format_args!("{taken} tables, a block of {large_pages} pages and one of {small_pages}")))
}

/// The two mappings: a range of one block, and where it leads.
fn parts(subject: &Subject<'_>, large: &Frames<'_>, small: &Frames<'_>) -> [(VirtRange, PhysAddr); 2] {
    let bytes = |f: &Frames<'_>| f.len() << subject.pages.page_shift().get();
    let first = VirtRange::from_len(VirtAddr::new(AT), bytes(large));
    // A hole of one page lies between them.
    let second = AT + bytes(large) + subject.pages.page_shift().bytes();
    let second = VirtRange::from_len(VirtAddr::new(second), bytes(small));
    [(first, subject.pages.phys(large)), (second, subject.pages.phys(small))]
}

fn map(
    tree: &mut dyn KernelTree,
    parts: &[(VirtRange, PhysAddr); 2],
    source: &mut dyn TableSource,
) -> Result<(), Note> {
    for (range, phys) in parts {
        tree.map(*range, *phys, DATA, &MapOptions::default(), source)
            .map_err(|e| note(format_args!("cannot map {range:?}: {e}")))?;
    }
    Ok(())
}

fn check(
    subject: &Subject<'_>,
    space: &KernelTables<'_>,
    large: &mut Frames<'static>,
    small: &mut Frames<'static>,
    source: &mut dyn TableSource,
) -> Result<(), Note> {
    let (pages, metal) = (subject.pages, subject.metal);
    let page = pages.page_shift().bytes();
    let parts = parts(subject, large, small);
    let expect = |when: &str, at: u64, access, works: bool| {
        if metal.probe(VirtAddr::new(at), access) == works {
            return Ok(());
        }
        let word = if works { "faults" } else { "does not fault" };
        Err(note(format_args!("{when}: {access:?} at {at:#x} {word}")))
    };
    metal.load_space(Some(space));
    expect("before anything is mapped", AT, Access::Read, false)?;
    space.with(|tree| map(tree, &parts, source))?;
    metal.flush_tlb();
    for (frames, (range, _)) in [(&mut *large, &parts[0]), (&mut *small, &parts[1])] {
        for n in [0, frames.len() / 2, frames.len() - 1] {
            let at = range.start.get() + n * page;
            pages.set_word(frames, n, 0x5aa5);
            expect("mapped", at, Access::Read, true)?;
            expect("mapped", at, Access::Write, true)?;
            expect("data", at, Access::Execute, false)?;
            if metal
                .translate(VirtAddr::new(at), Access::Write)
                .is_some_and(|to| to != Some(PhysAddr::new(pages.phys(frames).get() + n * page)))
            {
                return Err(note(format_args!("{at:#x} does not lead to its frame")));
            }
        }
    }
    expect("the page between", parts[1].0.start.get() - 1, Access::Read, false)?;
    expect("the page behind", parts[1].0.last().get() + 1, Access::Read, false)?;

    let read_only = AttrChange::flags(AttrFlags::empty(), AttrFlags::WRITE | AttrFlags::DIRTY);
    // Sections of arm's short descriptors have nowhere to note that data is clean.
    let still_dirty = AttrChange::flags(AttrFlags::empty(), AttrFlags::WRITE);
    for (range, _) in &parts {
        space
            .with(|tree| tree.protect(*range, &read_only).or_else(|_| tree.protect(*range, &still_dirty)))
            .map_err(|e| note(format_args!("protect: {e}")))?;
        metal.flush_tlb();
        expect("protected", range.start.get(), Access::Write, false)?;
        expect("protected", range.last().get(), Access::Write, false)?;
        expect("protected", range.start.get(), Access::Read, true)?;
    }
    for (range, _) in &parts {
        // Tables stay until nobody can walk them.
        space.with(|tree| tree.unmap(*range, true, source)).map_err(|e| note(format_args!("unmap: {e}")))?;
        metal.flush_tlb();
        expect("unmapped", range.start.get(), Access::Read, false)?;
        expect("unmapped", range.last().get(), Access::Read, false)?;
    }
    Ok(())
}

/// Empties the space, so that its tables come back.
fn take_down(
    subject: &Subject<'_>,
    space: &KernelTables<'_>,
    large: &Frames<'_>,
    small: &Frames<'_>,
    source: &mut dyn TableSource,
) -> Result<(), Note> {
    let parts = parts(subject, large, small);
    space.with(|tree| {
        for (range, _) in &parts {
            tree.unmap(*range, false, source).map_err(|e| note(format_args!("take down: {e}")))?;
        }
        // Tables that were empty before are met again by what is mapped and goes.
        map(tree, &parts, source)?;
        for (range, _) in &parts {
            tree.unmap(*range, false, source).map_err(|e| note(format_args!("take down: {e}")))?;
        }
        Ok(())
    })
}
