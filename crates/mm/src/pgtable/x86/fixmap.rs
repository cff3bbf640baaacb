//! The fixed mappings that stay: those of the interrupt controllers.

use super::{PAGE, page_kernel};
use crate::boot::Boot;
use crate::pgtable::{KernelTables, TableError};
use pagewright_addr::{PhysAddr, VirtRange};
use pagewright_firmware::{Firmware, Pc};
use pagewright_kspace::{Facts, FixedIndex, Fixmap, Slot};
use pagewright_pagetable::{Attr, MapOptions, MemoryType, NoTables};

/// Maps the local APIC and the IO APICs uncached (`init_apic_mappings`, `io_apic_init_mappings`). Their tables
/// exist already: it takes no pages.
///
/// # Errors
/// [`TableError`].
pub(crate) fn apics(b: &Boot<'_>, tables: &KernelTables<'_>) -> Result<(), TableError> {
    let machine = b.machine;
    let attr = page_kernel(b).with_memory(MemoryType::StronglyOrdered);
    let Firmware::Pc(pc) = &machine.firmware else { return Ok(()) };
    let mut facts = Facts::new(machine.config);
    facts.reservetop = b.params.reservetop.unwrap_or(0);
    let Ok(fixmap) = Fixmap::of(&facts) else { return Ok(()) };
    if let Some(slot) = fixmap.slot(Slot::ApicBase).filter(|_| !machine.cpus.x2apic) {
        set_fixmap(tables, &fixmap, slot, Pc::LOCAL_APIC, attr)?;
    }
    let io = fixmap.groups().iter().find(|g| g.slot == Slot::IoApicBase);
    for (slot, at) in io.into_iter().flat_map(|g| (g.first.0..).take(g.count as usize)).zip(pc.io_apics) {
        // A log may count them without saying where they are.
        if *at != PhysAddr::ZERO {
            set_fixmap(tables, &fixmap, FixedIndex(slot), *at, attr)?;
        }
    }
    Ok(())
}

fn set_fixmap(
    tables: &KernelTables<'_>,
    fixmap: &Fixmap,
    slot: FixedIndex,
    phys: PhysAddr,
    attr: Attr,
) -> Result<(), TableError> {
    let Some(va) = fixmap.fix_to_virt(slot) else { return Ok(()) };
    let range = VirtRange::from_len(va, PAGE);
    let phys = phys.align_down(PAGE);
    tables.with(|tree| tree.map(range, phys, attr, &MapOptions::PAGES, &mut NoTables))?;
    Ok(())
}
