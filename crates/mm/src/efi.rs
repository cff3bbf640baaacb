//! What EFI leaves behind: shared by all architectures, and all of `efi_init` for arm and arm64.
//!
//! On arm and arm64 EFI's map replaces whatever memory the device tree has; what is memory but not the kernel's is
//! marked NOMAP. On a PC the e820 map stays the authority, see `x86::efi`. Everywhere the tables that the kernel reads
//! later are reserved where the firmware put them.

use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use crate::fdt;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_firmware::efi::{Efi, EfiEntry, EfiKind, EfiParams};
use pagewright_firmware::{Arch, Firmware};
use pagewright_memblock::Flags;

/// `efi_config_parse_tables`: tables that must survive until someone reads them.
pub(crate) fn config_tables(b: &mut Boot<'_>, efi: &Efi<'_>) -> Result<(), BootError> {
    if let Some(range) = efi.memory_attributes.filter(|_| b.machine.arch != Arch::I386) {
        b.mb.set_caller("efi_memattr_init");
        b.mb.reserve(range)?;
    }
    b.mb.set_caller("efi_tpm_eventlog_init");
    for range in efi.tpm_logs {
        b.mb.reserve(*range)?;
    }
    b.mb.set_caller("efi_config_parse_tables");
    for range in efi.mem_reserve {
        b.mb.reserve(*range)?;
    }
    Ok(())
}

/// `efi_find_mirror`: mirrored memory is marked, and preferred from then on if `kernelcore=mirror` asks for it.
pub(crate) fn find_mirror(b: &mut Boot<'_>, map: &[EfiEntry]) -> Result<(), BootError> {
    let mut mirrored = 0u64;
    let mut total = 0u64;
    for e in map {
        total = total.saturating_add(e.range.len());
        if e.is_mirrored() {
            b.mb.mark_mirror(e.range)?;
            mirrored = mirrored.saturating_add(e.range.len());
        }
    }
    if mirrored > 0 {
        info!(b, "efi: Memory: {}M/{}M mirrored memory", mirrored >> 20, total >> 20);
    }
    Ok(())
}

/// The tables that `efi_esrt_init` and `efi_mokvar_table_init` keep: those that lie in boot services' data, which is
/// given up otherwise.
pub(crate) fn kept_tables(b: &Boot<'_>, efi: &Efi<'_>) -> [Option<PhysRange>; 2] {
    let lies_in =
        |range: &PhysRange, wanted: fn(&EfiEntry) -> bool| efi.descriptor(range.start).is_some_and(wanted);
    let esrt = efi.esrt.filter(|r| {
        let known = lies_in(r, |e| {
            use EfiKind::*;
            matches!(e.kind, BootServicesData | RuntimeServicesData | AcpiReclaim | AcpiNvs) || e.is_runtime()
        });
        if known {
            info!(b, "esrt: Reserving ESRT space from {} to {}.", b.pa(r.start), b.pa(r.end));
        } else {
            warning!(b, "esrt: ESRT header is not in the memory map.");
        }
        known
    });
    let given_up = |r: &PhysRange| lies_in(r, |e| e.kind == EfiKind::BootServicesData);
    [esrt.filter(given_up), efi.mok_variables.filter(given_up)]
}

/// `efi_mem_reserve`, the part that all architectures share.
pub(crate) fn mem_reserve(b: &mut Boot<'_>, range: PhysRange) -> Result<(), BootError> {
    b.mb.set_caller("efi_mem_reserve");
    if !b.mb.is_region_reserved(range) {
        b.mb.reserve(range)?;
    }
    Ok(())
}

/// `efi_bgrt_init`: the boot logo, if it lies where the firmware may put it.
pub(crate) fn boot_logo(b: &Boot<'_>, efi: &Efi<'_>) -> Option<PhysRange> {
    let range = efi.boot_logo?;
    let sound = efi.descriptor(range.start).is_some_and(|e| e.kind == EfiKind::BootServicesData);
    if !sound {
        info!(b, "Ignoring BGRT: invalid image address");
    }
    Some(range).filter(|_| sound)
}

/// arm, arm64: `efi_init`. EFI's memory map replaces the tree's memory.
///
/// # Errors
/// Whatever memblock refuses.
pub(crate) fn efi_init(b: &mut Boot<'_>) -> Result<(), BootError> {
    let Firmware::DeviceTree { tree, efi, .. } = &b.machine.firmware else { return Ok(()) };
    let params = match EfiParams::read(tree) {
        Ok(params) => params,
        Err(missing) => {
            warning!(b, "efi: {missing}");
            None
        }
    };
    if efi.is_empty() {
        info!(b, "efi: UEFI not found.");
        return Ok(());
    }
    let map_at = efi.map_at.or(params.map(|p| p.map_at));
    if let Some(params) = params.filter(|_| b.params.efi_debug) {
        info!(b, "efi: Getting UEFI parameters from /chosen in DT:");
        info!(b, "efi:   System Table         : {}", b.pa(params.system_table));
        info!(b, "efi:   MemMap Address       : {}", b.pa(params.map_at.start));
    }
    config_tables(b, efi)?;
    reserve_regions(b, efi.map)?;
    fdt::check_for_usable_mem_range(b, tree)?;
    find_mirror(b, efi.map)?;
    for range in kept_tables(b, efi).into_iter().flatten() {
        mem_reserve(b, range)?;
    }
    if let Some(at) = map_at {
        let page = b.page_bytes();
        b.mb.set_caller("efi_init");
        b.mb.reserve(PhysRange::new(at.start.align_down(page), at.end.align_up(page)))?;
    }
    Ok(())
}

/// `reserve_regions`: memory is what EFI says it is.
fn reserve_regions(b: &mut Boot<'_>, map: &[EfiEntry]) -> Result<(), BootError> {
    if b.params.efi_debug {
        info!(b, "efi: Processing EFI memory map:");
    }
    b.dump_memblock();
    b.mb.set_caller("reserve_regions");
    b.mb.remove_sized(PhysAddr::ZERO, u64::MAX)?;
    let page = b.page_bytes();
    for e in map.iter().filter(|e| e.is_memory()) {
        // Memory for a specific purpose is added later, as a device's.
        if e.is_specific_purpose() && !b.params.efi_nosoftreserve {
            continue;
        }
        let range = PhysRange::new(e.range.start.align_down(page), e.range.end.align_up(page));
        b.mb.set_caller("early_init_dt_add_memory_arch");
        fdt::add_memory(b, range)?;
        b.mb.set_caller("reserve_regions");
        if !e.is_usable(!b.params.efi_nosoftreserve) {
            b.mb.set_flag(range.start, range.len(), Flags::NOMAP, true)?;
        }
        if e.is_kept() {
            b.mb.reserve(range)?;
        }
    }
    Ok(())
}

/// arm64: the boot logo is kept (`acpi_boot_table_init`).
pub(crate) fn reserve_boot_logo(b: &mut Boot<'_>) -> Result<(), BootError> {
    let Firmware::DeviceTree { efi, .. } = &b.machine.firmware else { return Ok(()) };
    match boot_logo(b, efi) {
        Some(range) => mem_reserve(b, range),
        None => Ok(()),
    }
}

/// arm64: ACPI's tables, if they are what the machine is described by. A tree that says more than /chosen is believed
/// instead, unless the command line wants ACPI (`acpi_boot_table_init`).
pub(crate) fn acpi<'a>(b: &Boot<'a>, tree: &DeviceTree<'_>) -> Option<&'a pagewright_firmware::ArmAcpi<'a>> {
    let Firmware::DeviceTree { acpi, .. } = &b.machine.firmware else { return None };
    let stub = tree
        .root()
        .children()
        .all(|n| n.name() == "chosen" || n.name() == "hypervisor" && n.is_compatible("xen,xen"));
    let wanted = !b.params.acpi_off && (b.params.acpi_on || stub);
    acpi.as_ref().filter(|_| wanted)
}
