//! The tables of the head, and the step to `swapper_pg_dir`.

use super::dir::{Cells, Dir};
use super::{PAGE, PDE_IDENT, PGD_IDENT, PTE_IDENT, Places, TOP, format, kernel_pmds, pmd_bytes};
use crate::boot::Boot;
use crate::error::BootError;
use crate::pgtable::{KernelTables, TableError};
use pagewright_addr::PhysAddr;
use pagewright_firmware::Machine;
use pagewright_kspace::Fixmap;
use pagewright_pagetable::TableMemory;

/// KERNEL_IMAGE_SIZE: what the brk area keeps room for tables for.
const IMAGE: u64 = 512 << 20;
/// What else the brk area keeps room for: DMI's strings.
const DMI: u64 = 64 << 10;

/// Bytes of the tables that map so many pages (PAGE_TABLE_SIZE).
const fn table_bytes(pages: u64, pae: bool) -> u64 {
    if pae { (pages / 512 + 4) * PAGE } else { pages / 1024 * PAGE }
}

/// MAPPING_BEYOND_END: what the head maps beyond the image and its brk area, enough for the tables of all of low memory.
const fn beyond_end(page_offset: u32, pae: bool) -> u64 {
    table_bytes((TOP - page_offset as u64) / PAGE, pae)
}

/// Where the head's mapping ends: what follows the image is the brk area, with room for the head's tables and `brk_pages` others.
pub(crate) fn initial_pages_mapped(machine: &Machine<'_>, brk_pages: u64) -> PhysAddr {
    let (c, pae) = (&machine.config, machine.config.lpae);
    let beyond = beyond_end(c.page_offset, pae);
    let brk = table_bytes((IMAGE + beyond) / PAGE, pae) + brk_pages * PAGE + DMI;
    machine.image.end.saturating_add(brk + beyond).align_up(pmd_bytes(pae))
}

/// `startup_32`: clears the image's tables. `mk_early_pgtbl_32`: maps everything below `end` in pages that may be written and executed,
/// one to one and from PAGE_OFFSET on, by tables that lie side by side where the brk area begins. The last addresses get a
/// table of the image. Returns how many tables it took.
///
/// # Errors
/// [`TableError::NoMemory`].
pub fn startup_32(
    memory: &dyn TableMemory,
    machine: &Machine<'_>,
    places: &Places,
    end: PhysAddr,
) -> Result<u64, TableError> {
    let (pae, page_offset) = (machine.config.lpae, machine.config.page_offset);
    let top = Cells::cleared(memory, places.initial, pae)?;
    Cells::cleared(memory, places.fixmap, pae)?;
    Cells::cleared(memory, places.swapper, pae)?;
    let pmd_table = |n: u64| places.initial_pmd.saturating_add(n * PAGE);
    if pae {
        let pmds = kernel_pmds(page_offset);
        for n in 0..pmds {
            Cells::cleared(memory, pmd_table(n), pae)?;
            top.set((4 - pmds + n) as usize, pmd_table(n).get() | PGD_IDENT);
        }
        // The first gigabyte is mapped one to one by the table that maps it for the kernel.
        top.set(0, pmd_table(0).get() | PGD_IDENT);
    }
    let bytes = pmd_bytes(pae);
    let tables = end.get().div_ceil(bytes);
    let kernel = page_offset as usize >> 22;
    for n in 0..tables {
        let table = places.brk.saturating_add(n * PAGE);
        let word = table.get() | PDE_IDENT;
        if pae {
            Cells::at(memory, pmd_table(n >> 9), pae)?.set(n as usize & 511, word);
        } else {
            top.set(n as usize & 1023, word);
            top.set((kernel + n as usize) & 1023, word);
        }
        let cells = Cells::at(memory, table, pae)?;
        for pte in 0..cells.len() {
            cells.set(pte, (n * bytes + pte as u64 * PAGE) | PTE_IDENT);
        }
    }
    let last = if pae { Cells::at(memory, pmd_table(kernel_pmds(page_offset) - 1), pae)? } else { top };
    last.set(last.len() - 1, places.fixmap.get() | PDE_IDENT);
    Ok(tables)
}

/// Copies the kernel's part of one top table to another (`clone_pgd_range`).
fn clone_kernel_range(to: Cells<'_>, from: Cells<'_>, page_offset: u32, pae: bool) {
    let (shift, entries) = if pae { (30, 4) } else { (22, 1024) };
    to.copy(from, (page_offset >> shift) as usize..entries);
}

/// What `setup_arch` does first: `swapper_pg_dir` gets the kernel's part of the head's table, and is used from then on. Returns it.
///
/// # Errors
/// [`TableError::NoMemory`].
pub fn setup_arch<'m>(
    memory: &'m dyn TableMemory,
    machine: &Machine<'_>,
    places: &Places,
) -> Result<KernelTables<'m>, TableError> {
    let pae = machine.config.lpae;
    let to = Cells::at(memory, places.swapper, pae)?;
    let from = Cells::at(memory, places.initial, pae)?;
    clone_kernel_range(to, from, machine.config.page_offset, pae);
    Ok(KernelTables { memory, root: places.swapper, format: format(machine) })
}

/// `early_ioremap_init`: the table of the image for mappings of early boot.
///
/// # Errors
/// [`TableError::NoMemory`].
pub fn early_ioremap_init(
    tables: &KernelTables<'_>,
    places: &Places,
    fixmap: &Fixmap,
) -> Result<(), TableError> {
    let dir = Dir::of(tables);
    dir.new_table(places.bm_pte)?;
    if let Some(pmd) = dir.pmd(btmap_begin(fixmap))? {
        pmd.link(places.bm_pte);
    }
    Ok(())
}

/// The lowest address of early_ioremap's pages.
pub(super) fn btmap_begin(fixmap: &Fixmap) -> u64 {
    fixmap.fix_to_virt(fixmap.btmaps().begin).map_or(fixmap.tot_start(), |at| at).get()
}

/// The head of a boot, up to `early_ioremap_init`: without memory for tables it only counts. `end` is where the head's mapping ends.
///
/// # Errors
/// [`BootError::PageTables`] when a table's place is no memory.
pub(crate) fn start_kernel(b: &mut Boot<'_>, end: PhysAddr) -> Result<(), BootError> {
    let machine = b.machine;
    let pae = machine.config.lpae;
    // The two top tables and the last addresses' table of pages.
    let image = 3 + if pae { kernel_pmds(machine.config.page_offset) } else { 0 };
    let early = end.get() / pmd_bytes(pae);
    let built = b.table_memory.is_some();
    b.table_counts.add("startup_32", image, built.then_some(image));
    let mut took = None;
    if let Some(memory) = b.table_memory {
        let places = Places::of(machine);
        let fixmap = b.i386_fixmap()?;
        let build = || -> Result<_, TableError> {
            let took = startup_32(memory, machine, &places, end)?;
            let tables = setup_arch(memory, machine, &places)?;
            early_ioremap_init(&tables, &places, &fixmap)?;
            Ok((took, tables))
        };
        let (tables, all) = build().map_err(BootError::PageTables)?;
        took = Some(tables);
        b.pgtable = Some(all);
    }
    b.table_counts.add("mk_early_pgtbl_32", early, took);
    b.table_counts.add("early_ioremap_init", 1, built.then_some(1));
    Ok(())
}

/// `sync_initial_page_table`: the head's top table gets what `swapper_pg_dir` gained; and, for code that runs one to one, the same again
/// from address 0 on.
///
/// # Errors
/// [`BootError::PageTables`].
pub(crate) fn sync_initial_page_table(b: &Boot<'_>) -> Result<(), BootError> {
    let Some(tables) = b.pgtable else { return Ok(()) };
    let (pae, page_offset) = (b.machine.config.lpae, b.machine.config.page_offset);
    let sync = || -> Result<(), TableError> {
        let swapper = Dir::of(&tables).top()?;
        let initial = Cells::at(tables.memory, Places::of(b.machine).initial, pae)?;
        clone_kernel_range(initial, swapper, page_offset, pae);
        let (shift, entries) = if pae { (30, 4) } else { (22, 1024) };
        let boundary = (page_offset >> shift) as usize;
        for n in 0..boundary.min(entries - boundary) {
            initial.set(n, swapper.get(boundary + n));
        }
        Ok(())
    };
    sync().map_err(BootError::PageTables)
}
