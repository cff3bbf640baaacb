//! The fixed mappings that stay: interrupt controllers, and the old system-call page where it is emulated.

use super::{PAGE, PAGE_KERNEL};
use crate::pgtable::{KernelTables, TableError};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::{Firmware, Machine};
use pagewright_pagetable::{MapOptions, MemoryType, NoTables};

/// FIXADDR_TOP: the address of slot 0.
const FIXADDR_TOP: u64 = 0xffff_ffff_ff7f_f000;
/// FIX_APIC_BASE: after the system-call page's slot (511), the debug port and the early console.
const FIX_APIC_BASE: u64 = 514;
/// FIX_IO_APIC_BASE_0.
const FIX_IO_APIC_BASE: u64 = 515;
/// MAX_IO_APICS.
const MAX_IO_APICS: usize = 128;
/// APIC_DEFAULT_PHYS_BASE.
const LOCAL_APIC: PhysAddr = PhysAddr::new(0xfee0_0000);

/// Maps the local APIC and the IO APICs uncached (`init_apic_mappings`, `io_apic_init_mappings`). Their tables are in the image:
/// it takes no pages.
///
/// # Errors
/// [`TableError`].
pub(crate) fn apics(tables: &KernelTables<'_>, machine: &Machine<'_>) -> Result<(), TableError> {
    let Firmware::Pc(pc) = &machine.firmware else { return Ok(()) };
    if !machine.cpus.x2apic {
        set_nocache(tables, FIX_APIC_BASE, LOCAL_APIC)?;
    }
    for (n, at) in pc.io_apics.iter().enumerate().take(MAX_IO_APICS) {
        // A description may count them without saying where they are.
        if *at != PhysAddr::ZERO {
            set_nocache(tables, FIX_IO_APIC_BASE + n as u64, *at)?;
        }
    }
    Ok(())
}

/// `set_fixmap_nocache`.
fn set_nocache(tables: &KernelTables<'_>, slot: u64, phys: PhysAddr) -> Result<(), TableError> {
    let range = VirtRange::from_len(VirtAddr::new(FIXADDR_TOP - slot * PAGE), PAGE);
    let attr = PAGE_KERNEL.with_memory(MemoryType::StronglyOrdered);
    let phys = phys.align_down(PAGE);
    tables.with(|tree| tree.map(range, phys, attr, &MapOptions::PAGES, &mut NoTables))?;
    Ok(())
}
