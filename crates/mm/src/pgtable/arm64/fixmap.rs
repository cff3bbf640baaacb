//! Fixed addresses: their tables are part of the image, so that they can be used before there is any memory.

use super::head::{self, Design, Entry};
use super::{PAGE_KERNEL, PAGE_KERNEL_EXEC, PAGE_KERNEL_RO, PAGE_KERNEL_ROX, Places, prot};
use crate::boot::Boot;
use crate::error::BootError;
use crate::pgtable::{KernelTables, Stash, TableError, TableEvent};
use pagewright_addr::{PhysAddr, VirtRange};
use pagewright_firmware::cmdline::Rodata;
use pagewright_firmware::{Firmware, Machine};
use pagewright_kspace::{Facts, FixedIndex, Fixmap, FixmapError, Slot};
use pagewright_pagetable::{AttrChange, AttrFlags, MapOptions, MemoryType, NoTables, TableSource};

/// The fixed addresses of a kernel.
///
/// # Errors
/// [`FixmapError`], which no arm64 configuration meets.
pub(crate) fn of(b: &Boot<'_>) -> Result<Fixmap, FixmapError> {
    Fixmap::of(&Facts::of(b.machine, &b.params).at_version(b.version))
}

/// `early_fixmap_init`: `bm_pud`, `bm_pmd` and `bm_pte`, as many of them as the tree has levels, for all fixed addresses but
/// the device tree's blocks. Returns how many it took.
///
/// # Errors
/// [`TableError`].
fn early_fixmap_init(
    tables: &KernelTables<'_>,
    machine: &Machine<'_>,
    fixmap: &Fixmap,
) -> Result<u64, TableError> {
    let mut source = Stash::default();
    // A mapping makes its upper tables from the pages that it got last.
    for page in Places::of(machine).fixmap.into_iter().rev() {
        source.put(page);
    }
    let page = VirtRange::from_len(fixmap.start(), machine.config.page_shift.bytes());
    tables.with(|tree| {
        // A page comes and goes, and leaves its tables behind.
        let new = tree.map(page, PhysAddr::ZERO, PAGE_KERNEL, &MapOptions::PAGES, &mut source)?;
        tree.unmap(page, true, &mut NoTables)?;
        Ok(new)
    })
}

/// How many of its tables `early_fixmap_init` needs: one for each level below the top, less one where an entry of the top table
/// leads to the image as well (pages of 16 KiB, 48-bit addresses: the top table has two).
fn fixmap_tables(head: &head::Head<'_>, machine: &Machine<'_>, fixmap: &Fixmap) -> u64 {
    let shape = head.kernel.with(|tree| tree.shape());
    let top = shape.level(shape.top()).shift;
    let image = machine.image.load_start().get().wrapping_add(head.switched.kimage_voffset);
    let shared = image >> top == fixmap.start().get() >> top;
    u64::from(machine.config.pgtable_levels) - 1 - u64::from(shared)
}

/// The head, and `early_fixmap_init`: addresses are translated from here on. The device tree is mapped
/// (`fixmap_remap_fdt`), to be written until the early scan is over.
///
/// # Errors
/// [`BootError::PageTables`] when a table's place is no memory.
pub(crate) fn start(b: &mut Boot<'_>) -> Result<(), BootError> {
    let machine = b.machine;
    let entry = Entry {
        machine,
        version: b.version,
        kimage_voffset: super::image_offset(b),
        fdt: device_tree(machine).map(|(at, _)| at),
    };
    let Some(counted) = head::count(&entry) else { return Ok(()) };
    let head = match (b.arm64_head, b.table_memory) {
        (Some(running), Some(_)) => Some(running),
        (_, Some(memory)) => head::build(memory, &entry).map_err(BootError::PageTables)?,
        (_, None) => None,
    };
    let steps = match entry.design() {
        Design::CreatePageTables => ["__create_page_tables"; 2],
        Design::CreateIdmap => ["create_idmap (head)", "create_kernel_mapping"],
    };
    for (n, step) in steps.into_iter().enumerate() {
        b.table_counts.add(step, counted[n], head.map(|h| h.tables[n]));
    }
    b.arm64_head = head;
    let Some(head) = head else { return Ok(()) };
    b.sink.page_tables(TableEvent::EnableMmu(head.registers));
    b.sink.page_tables(TableEvent::PrimarySwitched(head.switched));
    b.pgtable = Some(head.kernel);
    let Ok(fixmap) = of(b) else { return Ok(()) };
    let built = early_fixmap_init(&head.kernel, machine, &fixmap).map_err(BootError::PageTables)?;
    b.table_counts.add("early_fixmap_init", fixmap_tables(&head, machine, &fixmap), Some(built));
    remap_fdt(b, &fixmap, false).map_err(BootError::PageTables)
}

/// `earlycon_map`: the registers of the early console that the command line names, in a page that stays mapped.
///
/// # Errors
/// [`BootError::PageTables`].
pub(crate) fn map_earlycon(b: &Boot<'_>) -> Result<(), BootError> {
    let (Some(tables), Some(at), Ok(fixmap)) = (b.pgtable, b.params.earlycon, of(b)) else { return Ok(()) };
    let Some(range) = fixmap.range(Slot::EarlyconMemBase) else { return Ok(()) };
    let (phys, attr) = (at.align_down(range.len), prot(b, PAGE_KERNEL.with_memory(MemoryType::Device)));
    if phys.get() >> b.machine.config.pa_bits != 0 {
        return Ok(());
    }
    tables
        .with(|tree| tree.map(range, phys, attr, &MapOptions::PAGES, &mut NoTables))
        .map_err(|e| BootError::PageTables(e.into()))?;
    Ok(())
}

/// The device tree's place and length, if it has a place.
fn device_tree(machine: &Machine<'_>) -> Option<(PhysAddr, u64)> {
    match &machine.firmware {
        Firmware::DeviceTree { tree, at, .. } => at.map(|at| (at, tree.total_size())),
        _ => None,
    }
}

/// `fixmap_remap_fdt`: the device tree in whole blocks, at the same offset into the first as it has in memory. With
/// `read_only` what is mapped already becomes so.
///
/// # Errors
/// [`TableError`].
fn remap_fdt(b: &Boot<'_>, fixmap: &Fixmap, read_only: bool) -> Result<(), TableError> {
    let (Some(tables), Some((at, len))) = (b.pgtable, device_tree(b.machine)) else { return Ok(()) };
    let Some(window) = fixmap.range(Slot::Fdt) else { return Ok(()) };
    let (block, max_leaf) = head::swapper_block(b.machine);
    let start = at.align_down(block);
    let bytes = at.saturating_add(len).align_up(block).get() - start.get();
    // A tree that is larger than MAX_FDT_SIZE stops Linux for good. Here only its beginning is mapped.
    let range = VirtRange::from_len(window.start, bytes.min(window.len));
    let options = MapOptions { max_leaf, contiguous: false, ..MapOptions::default() };
    tables.with(|tree| {
        if read_only {
            let written = AttrFlags::WRITE | AttrFlags::DIRTY;
            return Ok(tree.protect(range, &AttrChange::flags(AttrFlags::empty(), written))?);
        }
        tree.map(range, start, prot(b, PAGE_KERNEL), &options, &mut NoTables)?;
        Ok(())
    })
}

/// The end of `setup_machine_fdt`: the device tree is not changed any more.
///
/// # Errors
/// [`BootError::PageTables`].
pub(crate) fn protect_fdt(b: &Boot<'_>) -> Result<(), BootError> {
    let Ok(fixmap) = of(b) else { return Ok(()) };
    remap_fdt(b, &fixmap, true).map_err(BootError::PageTables)
}

/// `map_entry_trampoline`: the code through which exceptions enter the kernel while its tables are not those of
/// the CPU, in `tramp_pg_dir`, which has nothing else; and in the kernel's own tables with its data page.
///
/// # Errors
/// [`TableError`].
pub(crate) fn map_entry_trampoline(b: &Boot<'_>, source: &mut dyn TableSource) -> Result<(), TableError> {
    let c = &b.machine.config;
    let text = b.machine.image.arm64.entry_tramp_text;
    let (Some(tables), Ok(fixmap)) = (b.pgtable, of(b)) else { return Ok(()) };
    let (Some(format), Some(first)) =
        (super::format(b.machine, b.version), fixmap.slot(Slot::EntryTrampText1))
    else {
        return Ok(());
    };
    if !c.page_table_isolation || text.is_empty() {
        return Ok(());
    }
    // It is mapped whoever runs, so it is global whatever the kernel's other mappings are.
    let rodata = b.params.rodata != Some(Rodata::Off);
    let prot = if rodata { PAGE_KERNEL_ROX } else { PAGE_KERNEL_EXEC };
    let kept_apart = super::finish::kept_apart(b);
    let page = c.page_shift.bytes();
    let pages = text.len().div_ceil(page);
    let at = |n: u64| fixmap.fix_to_virt(FixedIndex(first.0.saturating_sub(n as u32)));
    let set_fixmap = |n: u64, attr| {
        let Some(virt) = at(n) else { return Ok(()) };
        let range = VirtRange::from_len(virt, page);
        let phys = text.start.saturating_add(n * page);
        tables.with(|tree| tree.map(range, phys, attr, &MapOptions::PAGES, &mut NoTables)).map(drop)
    };
    for n in 0..pages {
        set_fixmap(n, prot)?;
    }
    if c.relocatable {
        // What it needs to know, which is not mapped for user code.
        set_fixmap(pages, super::prot(b, PAGE_KERNEL_RO).changed(AttrFlags::empty(), kept_apart))?;
    }
    let Some(virt) = at(0) else { return Ok(()) };
    let tramp = super::cleared_root(tables.memory, Places::of(b.machine).tramp, format)?;
    let range = VirtRange::from_len(virt, pages * page);
    let options = MapOptions { contiguous: true, limits: super::table_limits(b), ..MapOptions::PAGES };
    tramp.with(|tree| tree.map(range, text.start, prot, &options, source))?;
    Ok(())
}
