//! The tables of the head: enough to turn the MMU on, run the image and read the device tree.

use super::put::empty_table;
use super::{
    FDT_FIXED_BASE, FIXADDR_END, MapType, PAGE, PMD, TOP, clear_mapping, fdt_is_fixed, is_smp, section_bytes,
    swapper_bytes, swapper_pg_dir,
};
use crate::boot::Boot;
use crate::error::BootError;
use crate::pgtable::{KernelFormat, KernelTables, Stash, TableError};
use core::sync::atomic::Ordering;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::{Firmware, Machine};
use pagewright_kspace::Version;
use pagewright_memblock::Set;
use pagewright_pagetable::{Format, Leaf, Level, MapError, TableLimits, TableMemory};

/// The last page of the fixed mappings.
const FIXADDR_TOP: u64 = FIXADDR_END - PAGE;
/// Where a loader that is told nothing else leaves its list of tags, from the start of RAM.
const ATAGS_OFFSET: u64 = 0x100;

/// `__create_page_tables`: an empty `swapper_pg_dir`; sections for the code that turns the MMU on, one to one; for the image, from
/// PAGE_OFFSET on; and the two that the boot parameters may lie in. `memstart` is PHYS_OFFSET.
///
/// # Errors
/// [`TableError::NoMemory`] when the table's place is no memory.
pub fn create_page_tables<'m>(
    memory: &'m dyn TableMemory,
    machine: &Machine<'_>,
    memstart: PhysAddr,
    version: Version,
) -> Result<KernelTables<'m>, TableError> {
    let tables = KernelTables { memory, root: swapper_pg_dir(machine), format: super::format(machine) };
    empty_root(memory, &tables)?;
    let section = section_bytes(machine.config.lpae);
    let page_offset = u64::from(machine.config.page_offset);
    let sections =
        |range: PhysRange| PhysRange::new(range.start.align_down(section), range.end.align_up(section));
    let idmap = sections(turn_mmu_on(machine));
    map_sections(machine, &tables, idmap.start.get(), idmap)?;
    // kernel_sec_start to kernel_sec_end
    map_sections(
        machine,
        &tables,
        page_offset,
        PhysRange::new(memstart, machine.image.end.align_up(section)),
    )?;
    if let Some(at) = boot_params(machine, memstart) {
        let at = PhysRange::from_len(at.align_down(section), 2 * section);
        let virt = match fdt_is_fixed(version) {
            true => FDT_FIXED_BASE,
            false => page_offset.wrapping_add(at.start.get().wrapping_sub(memstart.get())),
        };
        map_sections(machine, &tables, virt, at)?;
    }
    Ok(tables)
}

/// The head of a boot: without memory for tables it only counts.
pub(crate) fn start(b: &mut Boot<'_>) -> Result<(), BootError> {
    let pages = swapper_bytes(b.machine.config.lpae) / PAGE;
    b.table_counts.add("__create_page_tables", pages, b.table_memory.map(|_| pages));
    let Some(memory) = b.table_memory else { return Ok(()) };
    let tables = create_page_tables(memory, b.machine, b.memstart, b.version);
    b.pgtable = Some(tables.map_err(BootError::PageTables)?);
    Ok(())
}

/// Clears the top table; with LPAE its four entries lead to the pages that follow it.
fn empty_root(memory: &dyn TableMemory, tables: &KernelTables<'_>) -> Result<(), TableError> {
    let root = tables.root;
    let KernelFormat::ArmLpae(format) = tables.format else {
        let cells = memory.words32(root, 4096).ok_or(TableError::NoMemory(root))?;
        cells.iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
        return Ok(());
    };
    let page = |n: usize| root.saturating_add(n as u64 * PAGE);
    for n in 0..5 {
        let cells = memory.words64(page(n), 512).ok_or(TableError::NoMemory(page(n)))?;
        cells.iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
    }
    let cells = memory.words64(root, 4).ok_or(TableError::NoMemory(root))?;
    for (n, cell) in cells.iter().enumerate() {
        let word = format.table_word(Level::PUD, n, page(n + 1), TableLimits::empty());
        cell.store(word, Ordering::Release);
    }
    Ok(())
}

/// Maps `phys` from `virt` on as the head does, as far as there are addresses: by writing entries side by side, whatever
/// was there. With LPAE the four tables lie behind the top one in the order of addresses.
fn map_sections(
    machine: &Machine<'_>,
    tables: &KernelTables<'_>,
    virt: u64,
    phys: PhysRange,
) -> Result<(), TableError> {
    if phys.start >= phys.end || virt.saturating_add(phys.len()) > TOP {
        return Ok(());
    }
    let attr = MapType::Head.attr(&tables.format, is_smp(machine));
    let section = section_bytes(machine.config.lpae);
    let (root, memory) = (tables.root, tables.memory);
    for n in 0..phys.len() / section {
        let leaf = Leaf { phys: phys.start.saturating_add(n * section), attr, contiguous: false };
        let index = virt / section + n;
        let refused = |e| TableError::Map(MapError::Attr(e));
        if let KernelFormat::ArmLpae(format) = &tables.format {
            let word = format.leaf_word(Level::PMD, &leaf).map_err(refused)?;
            let at = root.saturating_add(PAGE + index * 8);
            memory.word64(at).ok_or(TableError::NoMemory(at))?.store(word, Ordering::Release);
        } else if let KernelFormat::ArmShort(mut format) = tables.format {
            // The kernel executes here what user code may use: there is to be no PXN.
            format.config.pxn = false;
            let word = format.leaf_word(Level::PMD, &leaf).map_err(refused)?;
            let at = root.saturating_add(index * 4);
            memory.word32(at).ok_or(TableError::NoMemory(at))?.store(word as u32, Ordering::Release);
        }
    }
    Ok(())
}

/// Where the code lies that turns the MMU on: in the image's part that is mapped one to one, else at the start of the text.
fn turn_mmu_on(machine: &Machine<'_>) -> PhysRange {
    match machine.image.idmap_text {
        none if none.is_empty() => PhysRange::from_len(machine.image.text_start, PAGE),
        idmap => idmap,
    }
}

/// Where the boot loader left the device tree or the list of tags (`__atags_pointer`); `None` for a tree that the
/// kernel brings.
pub(crate) fn boot_params(machine: &Machine<'_>, memstart: PhysAddr) -> Option<PhysAddr> {
    match &machine.firmware {
        Firmware::DeviceTree { at, .. } => *at,
        Firmware::Atags(_) => Some(memstart.saturating_add(ATAGS_OFFSET)),
        Firmware::Pc(_) => None,
    }
}

/// `early_fixmap_init`: the last PMD of the fixed mappings gets a table of the image (`bm_pte`), for what is mapped before there
/// are allocations.
///
/// # Errors
/// [`BootError::PageTables`].
pub(crate) fn early_fixmap_init(b: &mut Boot<'_>) -> Result<(), BootError> {
    b.table_counts.add("early_fixmap_init", 1, b.pgtable.map(|_| 1));
    let Some(tables) = b.pgtable else { return Ok(()) };
    let mut bm_pte = Stash::default();
    bm_pte.put(b.machine.image.bss_start.align_up(PAGE));
    empty_table(&tables, FIXADDR_TOP, &mut bm_pte).map_err(BootError::PageTables)
}

/// `early_fixmap_shutdown`: the table of the image goes; what the fixed mappings need later they allocate.
///
/// # Errors
/// [`BootError::PageTables`].
pub(crate) fn early_fixmap_shutdown(b: &Boot<'_>) -> Result<(), BootError> {
    let slot = FIXADDR_TOP & !(PMD - 1);
    clear_mapping(b, slot, slot + PMD)
}

/// `prepare_page_table`: what the head mapped outside the first bank's part of the linear map goes: the code that turned the MMU on,
/// and what reaches beyond the bank.
///
/// # Errors
/// [`BootError::PageTables`].
pub(crate) fn prepare_page_table(b: &Boot<'_>) -> Result<(), BootError> {
    clear_mapping(b, 0, b.machine.config.page_offset.into())?;
    let Some(first) = b.mb.regions(Set::Memory).first() else { return Ok(()) };
    let linear = b.linear_map();
    let end = linear.virt(first.range().end.min(b.high_memory).max(b.memstart)).get();
    clear_mapping(b, end, linear.virt(b.high_memory).get())
}
