//! What C code maps: low memory, and tables for what is mapped later.
//!
//! Linux writes each entry of low memory twice, first with the head's attributes, because a processor may not like a page's size and
//! its attributes to change at a time. Only what stays is written here.

use super::dir::Dir;
use super::head::btmap_begin;
use super::{PAGE, TOP};
use crate::boot::Boot;
use crate::census::Leaves;
use crate::error::BootError;
use crate::pgtable::x86::page_kernel;
use crate::pgtable::{KernelTables, TableError};
use core::ops::RangeInclusive;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::Machine;
use pagewright_kspace::{Fixmap, Slot};
use pagewright_pagetable::format::x86::bits;
use pagewright_pagetable::{Attr, AttrFlags, Level};

/// Gives pages that lie side by side for so many tables.
pub(crate) type Take<'t, 'a> = &'t mut dyn FnMut(&mut Boot<'a>, u64) -> Result<PhysAddr, BootError>;

/// `PAGE_KERNEL` or `PAGE_KERNEL_EXEC`.
fn prot(b: &Boot<'_>, exec: bool) -> Attr {
    let mut attr = page_kernel(b);
    if exec {
        attr.flags |= AttrFlags::EXEC;
    }
    attr
}

/// Whether the kernel executes what is at an address of low memory (`is_x86_32_kernel_text`): the image up to the end of its init
/// sections.
fn is_kernel_text(machine: &Machine<'_>, phys: u64) -> bool {
    (machine.image.text_start.get()..=machine.image.init_end.get()).contains(&phys)
}

/// Enters into the census what the head and the image have brought, none of which is taken later.
pub(crate) fn census(b: &mut Boot<'_>, mapped: PhysAddr) -> Result<(), BootError> {
    let base = u64::from(b.machine.config.page_offset);
    let fixmap = b.i386_fixmap()?;
    // initial_pg_pmd, in the census's words the tables that it takes to map everything by large pages.
    b.tables.map(base, 0, TOP - base, Leaves::Blocks(1))?;
    b.tables.map(base, 0, mapped.get(), Leaves::Pages)?;
    b.tables.map(TOP - PAGE, 0, PAGE, Leaves::Pages)?;
    b.tables.map(btmap_begin(&fixmap), 0, PAGE, Leaves::Pages)?;
    Ok(())
}

/// `kernel_physical_mapping_init`: maps a part of low memory, by large pages or by small ones.
pub(crate) fn low_memory<'a>(
    b: &mut Boot<'a>,
    part: PhysRange,
    leaves: Leaves,
    take: Take<'_, 'a>,
) -> Result<(), BootError> {
    const STEP: &str = "init_mem_mapping";
    let base = u64::from(b.machine.config.page_offset);
    let counted = b.tables.map(base + part.start.get(), part.start.get(), part.len(), leaves)?;
    let Some(tables) = b.pgtable else {
        for _ in 0..counted {
            take(b, 1)?;
        }
        b.table_counts.add(STEP, counted, None);
        return Ok(());
    };
    let dir = Dir::of(&tables);
    let (mut at, mut taken) = (part.start.get(), 0);
    while at < part.end.get() {
        let first = at & !(dir.pmd_bytes() - 1);
        let next = first + dir.pmd_bytes();
        taken += if leaves == Leaves::Pages {
            let end = next.min(part.end.get());
            pages(b, dir, at..end, take)?
        } else {
            large_page(b, dir, first).map_err(BootError::PageTables)?;
            0
        };
        at = next;
    }
    b.table_counts.add(STEP, counted, Some(taken));
    Ok(())
}

/// One large page, in the place of whatever was there.
fn large_page(b: &Boot<'_>, dir: Dir<'_>, phys: u64) -> Result<(), TableError> {
    let machine = b.machine;
    let exec = is_kernel_text(machine, phys) || is_kernel_text(machine, phys + dir.pmd_bytes() - 1);
    let word = dir.leaf(Level::PMD, phys, prot(b, exec))?;
    if let Some(pmd) = dir.pmd(u64::from(machine.config.page_offset) + phys)? {
        pmd.set(word);
    }
    Ok(())
}

/// Pages within one table; returns how many tables it took.
fn pages<'a>(
    b: &mut Boot<'a>,
    dir: Dir<'_>,
    phys: core::ops::Range<u64>,
    take: Take<'_, 'a>,
) -> Result<u64, BootError> {
    let base = u64::from(b.machine.config.page_offset);
    let Some(pmd) = dir.pmd(base + phys.start).map_err(BootError::PageTables)? else { return Ok(0) };
    let mut taken = 0;
    if pmd.get() & bits::PRESENT == 0 {
        let table = take(b, 1)?;
        dir.new_table(table).map_err(BootError::PageTables)?;
        pmd.link(table);
        taken = 1;
    }
    let write = || -> Result<(), TableError> {
        let cells = dir.table(pmd.get())?;
        for at in phys.step_by(PAGE as usize) {
            let at = at & !(PAGE - 1);
            let word = dir.leaf(Level::PTE, at, prot(b, is_kernel_text(b.machine, at)))?;
            cells.set(dir.pte_index(base + at), word);
        }
        Ok(())
    };
    write().map_err(BootError::PageTables)?;
    Ok(taken)
}

/// The PMDs of the short kmaps, by number; `None` where one table has them all, or there are none.
fn kmap_pmds(fixmap: &Fixmap, pmd_bytes: u64) -> Option<RangeInclusive<u64>> {
    let kmap = fixmap.range(Slot::Kmap)?;
    // From FIX_KMAP_END to FIX_KMAP_BEGIN.
    let (first, last) = (kmap.start.get() / pmd_bytes, kmap.last().get() / pmd_bytes);
    (first != last).then_some(first..=last)
}

/// `early_ioremap_page_table_range_init`: tables for all fixed mappings.
///
/// The tables of the short kmaps are to lie side by side, so that their pages can be counted through: where they need more than one,
/// pages for them are taken together and replace what was there, which is lost.
pub(crate) fn fixed_mappings<'a>(b: &mut Boot<'a>, take: Take<'_, 'a>) -> Result<(), BootError> {
    let fixmap = b.i386_fixmap()?;
    let bytes = b.pmd_bytes();
    let lowest = fixmap.tot_start().get() & !(bytes - 1);
    let end = fixmap.top().get().next_multiple_of(bytes);
    table_range(b, "page_table_range_init", lowest..end, kmap_pmds(&fixmap, bytes), take)
}

/// `permanent_kmaps_init`: the persistent kmaps' table.
pub(crate) fn persistent_kmaps<'a>(b: &mut Boot<'a>, take: Take<'_, 'a>) -> Result<(), BootError> {
    let areas = b.i386_areas()?;
    table_range(b, "page_table_range_init", areas.pkmap..areas.pkmap + areas.pmd_bytes, None, take)
}

/// `setup_cpu_entry_areas`: tables for the areas of all CPUs that the kernel is made for.
pub(crate) fn entry_areas<'a>(b: &mut Boot<'a>, take: Take<'_, 'a>) -> Result<(), BootError> {
    let areas = b.i386_areas()?;
    let range = areas.cpu_entry_area..areas.cpu_entry_area + areas.entry_bytes;
    table_range(b, "setup_cpu_entry_areas", range, None, take)
}

/// `page_table_range_init`: tables of pages for a range that begins with one. `adjacent` are the PMDs whose tables must lie side by
/// side.
fn table_range<'a>(
    b: &mut Boot<'a>,
    step: &'static str,
    range: core::ops::Range<u64>,
    adjacent: Option<RangeInclusive<u64>>,
    take: Take<'_, 'a>,
) -> Result<(), BootError> {
    let bytes = b.pmd_bytes();
    let tables = b.pgtable;
    let pmds = || range.clone().step_by(bytes as usize);
    let wanted = |va: u64| adjacent.as_ref().is_some_and(|pmds| pmds.contains(&(va / bytes)));
    let copies = pmds().filter(|va| wanted(*va)).count() as u64;
    let mut copy = if copies > 0 { Some(take(b, copies)?) } else { None };
    let (mut counted, mut taken) = (copies, copies);
    for va in pmds() {
        let missing = b.tables.map(va, va, PAGE, Leaves::Pages)?;
        counted += missing;
        let Some(tables) = tables else {
            for _ in 0..missing {
                take(b, 1)?;
            }
            continue;
        };
        taken += one_page_table_init(b, &tables, va, take)?;
        if let Some(to) = copy.filter(|_| wanted(va)) {
            move_table(&tables, va, to).map_err(BootError::PageTables)?;
            copy = Some(to.saturating_add(PAGE));
        }
    }
    b.table_counts.add(step, counted, tables.map(|_| taken));
    Ok(())
}

/// `one_page_table_init`: a table for an address that has none. Returns how many it took.
fn one_page_table_init<'a>(
    b: &mut Boot<'a>,
    tables: &KernelTables<'a>,
    va: u64,
    take: Take<'_, 'a>,
) -> Result<u64, BootError> {
    let dir = Dir::of(tables);
    let Some(pmd) = dir.pmd(va).map_err(BootError::PageTables)? else { return Ok(0) };
    if pmd.get() & bits::PRESENT != 0 {
        return Ok(0);
    }
    let table = take(b, 1)?;
    dir.new_table(table).map_err(BootError::PageTables)?;
    pmd.link(table);
    Ok(1)
}

/// `page_table_kmap_check`: copies an address's table of pages to another page, which replaces it.
fn move_table(tables: &KernelTables<'_>, va: u64, to: PhysAddr) -> Result<(), TableError> {
    let dir = Dir::of(tables);
    let Some(pmd) = dir.pmd(va)? else { return Ok(()) };
    let (old, new) = (dir.table(pmd.get())?, dir.new_table(to)?);
    new.copy(old, 0..old.len());
    pmd.link(to);
    Ok(())
}

/// `native_pagetable_init`: what the head mapped beyond the end of low memory goes.
pub(crate) fn clear_beyond(b: &Boot<'_>, max_low: PhysAddr) -> Result<(), BootError> {
    let Some(tables) = b.pgtable else { return Ok(()) };
    let dir = Dir::of(&tables);
    let clear = || -> Result<(), TableError> {
        let first = u64::from(b.machine.config.page_offset) + max_low.get();
        for va in (first..TOP).step_by(PAGE as usize) {
            let Some(pmd) = dir.pmd(va)?.map(|pmd| pmd.get()) else { break };
            if pmd & bits::PRESENT == 0 || pmd & bits::PAGE_SIZE != 0 {
                break;
            }
            let (cells, index) = (dir.table(pmd)?, dir.pte_index(va));
            if cells.get(index) & bits::PRESENT == 0 {
                break;
            }
            cells.set(index, 0);
        }
        Ok(())
    };
    clear().map_err(BootError::PageTables)
}
