//! A PC with EFI: its memory map next to the e820 map.
//!
//! The e820 map stays the authority on what is RAM; EFI's map adds to it on request, tells which memory is mirrored,
//! and what boot services may still write to after they were left.

use crate::boot::{Boot, info};
use crate::error::BootError;
use pagewright_addr::PhysRange;
use pagewright_firmware::Pc;
use pagewright_firmware::e820::{E820Entry, E820Table};
use pagewright_firmware::efi::EfiKind;

/// `add_efi_memmap`: EFI's descriptors enter the e820 map.
pub(super) fn add_to_e820(b: &Boot<'_>, pc: &Pc<'_>, table: &mut E820Table) -> Result<(), BootError> {
    if !b.params.add_efi_memmap || pc.efi.is_empty() {
        return Ok(());
    }
    for e in pc.efi {
        table.add(E820Entry::from_range(e.range, e.e820(!b.params.efi_nosoftreserve)))?;
    }
    table.sanitize()?;
    Ok(())
}

/// `efi_find_mirror`: mirrored memory is marked, and preferred from then on if `kernelcore=mirror` asks for it.
pub(super) fn find_mirror(b: &mut Boot<'_>, pc: &Pc<'_>) -> Result<(), BootError> {
    let mut mirrored = 0u64;
    let mut total = 0u64;
    for e in pc.efi {
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

/// `efi_reserve_boot_services`: some firmware uses the memory of boot services although they are over. It is freed
/// when EFI's runtime mode has been entered.
pub(super) fn reserve_boot_services(b: &mut Boot<'_>, pc: &Pc<'_>) -> Result<(), BootError> {
    b.mb.set_caller("efi_reserve_boot_services");
    for e in pc.efi {
        if !matches!(e.kind, EfiKind::BootServicesCode | EfiKind::BootServicesData) {
            continue;
        }
        let range: PhysRange = e.range;
        if !b.mb.is_region_reserved(range) {
            b.mb.reserve(range)?;
        }
    }
    Ok(())
}
