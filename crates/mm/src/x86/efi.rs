//! A PC with EFI: its memory map next to the e820 map.
//!
//! The e820 map stays the authority on what is RAM; EFI's map adds to it on request, tells which memory is mirrored,
//! and what boot services may still write to after they were left. Whatever of boot services' memory must stay is cut
//! out of EFI's map, which is copied to a larger place for that, and out of the e820 map.

use super::{ISA_END, PAGE};
use crate::boot::{Boot, warning};
use crate::efi;
use crate::error::BootError;
use arrayvec::ArrayVec;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::e820::{E820Entry, E820Kind, E820Table};
use pagewright_firmware::efi::{DESCRIPTOR_LEN, EfiKind};
use pagewright_firmware::{Arch, Pc};

/// How the kernel's copy of EFI's map has changed since the firmware wrote it.
#[derive(Default)]
pub(super) struct MapCopy {
    /// Descriptors that it has more than the firmware's.
    added: u64,
    /// What was made a descriptor of its own: the logo and up to two tables.
    kept: ArrayVec<PhysRange, 4>,
    /// Where it lies, if it was moved.
    at: Option<PhysRange>,
}

impl MapCopy {
    /// What the firmware's descriptor has become: it falls into pieces where something is kept.
    fn pieces(&self, descriptor: PhysRange) -> ArrayVec<PhysRange, 9> {
        let mut cuts: ArrayVec<PhysAddr, 10> = ArrayVec::new();
        cuts.push(descriptor.start);
        cuts.push(descriptor.end);
        for part in self.kept.iter().filter(|p| descriptor.contains_range(p)) {
            cuts.push(part.start);
            cuts.push(part.end);
        }
        cuts.sort_unstable();
        cuts.windows(2).map(|w| PhysRange::new(w[0], w[1])).filter(|r| !r.is_empty()).collect()
    }
}

/// `efi_memblock_x86_reserve_range`: the map is kept where the boot loader put it. Its descriptors enter the e820 map if
/// the command line wants that, or if some memory is for a specific purpose.
pub(super) fn memblock_reserve_range(
    b: &mut Boot<'_>,
    pc: &Pc<'_>,
    table: &mut E820Table,
) -> Result<(), BootError> {
    let map = pc.efi.map;
    let soft = !b.params.efi_nosoftreserve;
    let specific = |e: &pagewright_firmware::efi::EfiEntry| {
        e.kind == EfiKind::Conventional && e.is_specific_purpose() && soft
    };
    if !map.is_empty() && (b.params.add_efi_memmap || map.iter().any(specific)) {
        for e in map {
            table.add(E820Entry::from_range(e.range, e.e820(soft)))?;
        }
        table.sanitize()?;
    }
    if let Some(at) = pc.efi.map_at {
        b.mb.set_caller("efi_memblock_x86_reserve_range");
        b.mb.reserve(at)?;
    }
    Ok(())
}

/// What follows on memory having been added: mirrored memory, tables to keep, boot services.
pub(super) fn after_memblock_setup(
    b: &mut Boot<'_>,
    pc: &Pc<'_>,
    copy: &mut MapCopy,
    table: &mut E820Table,
) -> Result<(), BootError> {
    efi::find_mirror(b, pc.efi.map)?;
    for range in efi::kept_tables(b, &pc.efi).into_iter().flatten() {
        mem_reserve(b, pc, copy, table, range)?;
    }
    reserve_boot_services(b, pc, copy, table)
}

/// `efi_reserve_boot_services`: some firmware uses the memory of boot services although they are over. What nobody else
/// had reserved is given back when runtime services are set up.
fn reserve_boot_services(
    b: &mut Boot<'_>,
    pc: &Pc<'_>,
    copy: &MapCopy,
    table: &E820Table,
) -> Result<(), BootError> {
    b.mb.set_caller("efi_reserve_boot_services");
    for e in pc.efi.map.iter().filter(|e| e.is_boot_services()) {
        for piece in copy.pieces(e.range) {
            if b.mb.is_region_reserved(piece) {
                continue;
            }
            b.mb.reserve(piece)?;
            if table.mapped_all(piece.start, piece.end, E820Kind::Ram) {
                give_back(b, piece);
            }
        }
    }
    Ok(())
}

/// Notes what `efi_free_boot_services` gives back: nothing below 1 MiB, and nothing at all with `efi=debug`, which keeps
/// it for those who want to look. (The 32-bit kernels that were captured keep it, too.)
fn give_back(b: &mut Boot<'_>, range: PhysRange) {
    let range = PhysRange::new(range.start.max(ISA_END), range.end);
    if b.params.efi_debug || b.machine.arch != Arch::X86_64 || range.is_empty() {
        return;
    }
    match b.boot_services.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        // What has no place here stays reserved.
        _ => _ = b.boot_services.try_push(range),
    }
}

/// Takes something out of what is given back.
fn keep(b: &mut Boot<'_>, range: PhysRange) {
    let all = core::mem::take(&mut b.boot_services);
    for part in all {
        let before = PhysRange::new(part.start, range.start.min(part.end));
        let after = PhysRange::new(range.end.max(part.start), part.end);
        for rest in [before, after] {
            if !rest.is_empty() {
                let _ = b.boot_services.try_push(rest);
            }
        }
    }
}

/// `efi_bgrt_init`: the boot logo is kept.
pub(super) fn reserve_boot_logo(
    b: &mut Boot<'_>,
    pc: &Pc<'_>,
    copy: &mut MapCopy,
    table: &mut E820Table,
) -> Result<(), BootError> {
    match efi::boot_logo(b, &pc.efi) {
        Some(range) if !b.params.acpi_off => mem_reserve(b, pc, copy, table, range),
        _ => Ok(()),
    }
}

/// `efi_mem_reserve`: the range is reserved, and it is taken out of what is freed with boot services' memory
/// (`efi_arch_mem_reserve`). For the latter the map gets a descriptor of its own for it.
fn mem_reserve(
    b: &mut Boot<'_>,
    pc: &Pc<'_>,
    copy: &mut MapCopy,
    table: &mut E820Table,
    range: PhysRange,
) -> Result<(), BootError> {
    efi::mem_reserve(b, range)?;
    let at = b.pa(range.start);
    let Some(descriptor) = pc.efi.descriptor(range.start).filter(|e| e.kind == EfiKind::BootServicesData)
    else {
        warning!(b, "efi: Failed to lookup EFI memory descriptor for {at}");
        return Ok(());
    };
    let pieces = copy.pieces(descriptor.range);
    let whole = pieces.iter().find(|p| p.contains(range.start)).copied().unwrap_or(descriptor.range);
    if range.end > whole.end {
        warning!(b, "efi: Region spans EFI memory descriptors, {at}");
        return Ok(());
    }
    let pages = PhysRange::new(range.start.align_down(PAGE), range.end.align_up(PAGE));
    copy.added += u64::from(pages.start > whole.start) + u64::from(pages.end < whole.end);
    let _ = copy.kept.try_push(pages);
    keep(b, pages);
    // The new map first, then the old one goes, unless it is still the firmware's.
    let bytes = (pc.efi.descriptors() + copy.added) * DESCRIPTOR_LEN;
    let line = b.cache_line();
    b.mb.set_caller("efi_memmap_alloc");
    let Ok(new) = b.mb.phys_alloc(bytes, line) else {
        warning!(b, "efi: Could not allocate boot services memmap");
        return Ok(());
    };
    if let Some(old) = copy.at.replace(PhysRange::from_len(new, bytes)) {
        b.mb.set_caller("efi_memmap_install");
        b.mb.phys_free(old)?;
    }
    super::e820::update(b, table, pages.start, pages.len(), E820Kind::Ram, E820Kind::Reserved)?;
    table.sanitize()?;
    Ok(())
}
