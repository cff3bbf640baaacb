//! Tables of areas whose pages come later: the CPUs' entry areas, and vmalloc space.

use super::{PAGE, PAGE_KERNEL, PAGE_TABLE, PMD, cleared, set, table};
use crate::boot::Boot;
use crate::error::BootError;
use crate::pgtable::{KernelTables, Source, TableError};
use core::sync::atomic::Ordering;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::Machine;
use pagewright_kspace::{Facts, Kind, Layout};
use pagewright_pagetable::{MapOptions, NoTables, TableSource};

/// Where an area of the kernel's layout is.
pub(crate) fn area(machine: &Machine<'_>, kind: Kind) -> Option<VirtRange> {
    let mut facts = Facts::new(machine.config);
    facts.wide = machine.cpus.la57;
    Layout::of(&facts).ok()?.get(kind)
}

/// `setup_cpu_entry_areas`: the tables for `pages` pages of the entry areas, `counted` of them. What the pages show lies in each
/// CPU's own area, at places that a kernel's build decides; they are left unmapped.
pub(crate) fn entry_areas(
    b: &mut Boot<'_>,
    pages: u64,
    counted: u64,
    take: &mut dyn FnMut(&mut Boot<'_>) -> Result<PhysAddr, BootError>,
) -> Result<(), BootError> {
    const STEP: &str = "setup_cpu_entry_areas";
    let (Some(tables), Some(area)) = (b.pgtable, area(b.machine, Kind::CpuEntryArea)) else {
        for _ in 0..counted {
            take(b)?;
        }
        b.table_counts.add(STEP, counted, None);
        return Ok(());
    };
    let mut source = Source { boot: b, take: &mut |b| take(b), refused: None, taken: 0 };
    let done = tables.with(|tree| -> Result<(), TableError> {
        for offset in (0..pages * PAGE).step_by(PMD as usize) {
            // A page is mapped and goes again; its tables stay.
            let one = VirtRange::from_len(VirtAddr::new(area.start.get() + offset), PAGE);
            tree.map(one, PhysAddr::ZERO, PAGE_KERNEL, &MapOptions::PAGES, &mut source)?;
            tree.unmap(one, true, &mut NoTables)?;
        }
        Ok(())
    });
    let (refused, taken) = (source.refused, source.taken);
    if let Some(refused) = refused {
        return Err(refused);
    }
    done.map_err(BootError::PageTables)?;
    b.table_counts.add(STEP, counted, Some(taken));
    Ok(())
}

/// `preallocate_vmalloc_pages`: the tables right below the top one for all of vmalloc space, so that the top tables of
/// processes, which are copies, need never be changed.
///
/// # Errors
/// [`TableError`].
pub(crate) fn preallocate_vmalloc(
    tables: &KernelTables<'_>,
    machine: &Machine<'_>,
    source: &mut dyn TableSource,
) -> Result<(), TableError> {
    let Some(area) = area(machine, Kind::Vmalloc) else { return Ok(()) };
    let shift = if machine.cpus.la57 { 48 } else { 39 };
    let top = table(tables.memory, tables.root)?;
    for n in area.start.get() >> shift..=area.last().get() >> shift {
        if top[n as usize & 511].load(Ordering::Acquire) != 0 {
            continue;
        }
        // Linux panics here; what is missing is made when it is needed.
        let Some(page) = source.alloc_table() else { break };
        cleared(tables.memory, page)?;
        set(top, n as usize, page.get() | PAGE_TABLE | machine.cpus.encryption_mask);
    }
    Ok(())
}
