//! The e820 map in the kernel's hands: from the firmware's copy to memblock.

use super::{ISA_END, PAGE};
use crate::boot::{Boot, info};
use crate::error::BootError;
use pagewright_addr::PhysAddr;
use pagewright_firmware::Pc;
use pagewright_firmware::cmdline::MemmapParam;
use pagewright_firmware::e820::{E820Entry, E820Kind, E820Table, E820TableError, RemoveLine, UpdateLine};

impl From<E820TableError> for BootError {
    fn from(e: E820TableError) -> Self {
        match e {
            E820TableError::Full => Self::TooMany { what: "e820 entries", limit: E820Table::CAPACITY as u64 },
            _ => Self::NoMemory { empty_node: false },
        }
    }
}

/// `e820__memory_setup`: the firmware's map, sanitised and printed.
pub(super) fn memory_setup(b: &Boot<'_>, pc: &Pc<'_>) -> Result<E820Table, BootError> {
    let table = E820Table::from_firmware(pc.e820)?;
    info!(b, "BIOS-provided physical RAM map:");
    print_table(b, &table, "BIOS-e820");
    Ok(table)
}

fn print_table(b: &Boot<'_>, table: &E820Table, who: &str) {
    for e in table.iter() {
        info!(b, "{who}: [mem {:#018x}-{:#018x}] {}", e.start, e.end().saturating_sub(1), e.kind);
    }
}

fn remove(
    b: &Boot<'_>,
    table: &mut E820Table,
    start: PhysAddr,
    size: u64,
    kind: Option<E820Kind>,
) -> Result<(), BootError> {
    info!(b, "{}", RemoveLine { start, size, kind });
    table.range_remove(start, size, kind)?;
    Ok(())
}

pub(super) fn update(
    b: &Boot<'_>,
    table: &mut E820Table,
    start: PhysAddr,
    size: u64,
    old: E820Kind,
    new: E820Kind,
) -> Result<(), BootError> {
    info!(b, "{}", UpdateLine { start, size, old, new });
    table.range_update(start, size, old, new)?;
    Ok(())
}

/// `e820__reserve_setup_data`: what the boot loader hands over in memory is the kernel's, and stays apart in the map.
/// The map for kexec gets the same edit, hence the second line for each.
pub(super) fn reserve_setup_data(b: &Boot<'_>, pc: &Pc<'_>, table: &mut E820Table) -> Result<(), BootError> {
    if pc.setup_data.is_empty() {
        return Ok(());
    }
    for range in pc.setup_data {
        let (start, size) = (range.start, range.len());
        let line = UpdateLine { start, size, old: E820Kind::Ram, new: E820Kind::ReservedKern };
        info!(b, "{line}");
        info!(b, "{line}");
        table.range_update(start, size, E820Kind::Ram, E820Kind::ReservedKern)?;
    }
    table.sanitize()?;
    info!(b, "extended physical RAM map:");
    print_table(b, table, "reserve setup_data");
    Ok(())
}

/// `mem=` and `memmap=` edit the map while the command line is parsed.
pub(super) fn parse_early_params(b: &Boot<'_>, table: &mut E820Table) -> Result<(), BootError> {
    for param in &b.params.memmap {
        match *param {
            MemmapParam::ExactMap => table.clear(),
            MemmapParam::Add { start, size, kind } => table.add(E820Entry::new(start, size, kind))?,
            MemmapParam::Limit(limit) => {
                let rest = u64::MAX - limit;
                remove(b, table, PhysAddr::new(limit), rest, Some(E820Kind::Ram))?;
            }
            MemmapParam::Retype { start, size, old, new } => {
                let start = PhysAddr::new(start);
                match (old, new) {
                    (Some(old), Some(new)) => update(b, table, start, size, old, new)?,
                    (None, Some(new)) => {
                        // Whatever is there becomes the new kind.
                        remove(b, table, start, size, None)?;
                        table.add(E820Entry::new(start.get(), size, new))?;
                    }
                    (old, None) => remove(b, table, start, size, old)?,
                }
            }
        }
    }
    Ok(())
}

/// `e820__finish_early_params`: a map that the command line edited is brought into order and printed.
pub(super) fn finish_early_params(b: &Boot<'_>, table: &mut E820Table) -> Result<(), BootError> {
    if !b.params.memmap.is_empty() {
        table.sanitize()?;
        info!(b, "user-defined physical RAM map:");
        print_table(b, table, "user");
    }
    Ok(())
}

/// `trim_bios_range`: frame 0 is the BIOS's, and between 640 KiB and 1 MiB there is no RAM whatever the map says.
pub(super) fn trim_bios_range(b: &Boot<'_>, table: &mut E820Table) -> Result<(), BootError> {
    update(b, table, PhysAddr::ZERO, PAGE, E820Kind::Ram, E820Kind::Reserved)?;
    let start = PhysAddr::new(0xa_0000);
    remove(b, table, start, ISA_END.get() - start.get(), Some(E820Kind::Ram))?;
    table.sanitize()?;
    Ok(())
}

/// `e820__memblock_setup`: RAM goes to memblock, in whole pages.
pub(super) fn memblock_setup(b: &mut Boot<'_>, table: &E820Table) -> Result<(), BootError> {
    b.mb.allow_resize();
    b.mb.set_caller("e820__memblock_setup");
    let max = b.phys_addr_max();
    for e in table.iter() {
        if e.start.checked_add(e.size).is_none_or(|end| end > max.saturating_add(1)) {
            continue;
        }
        match e.kind {
            E820Kind::SoftReserved => b.mb.reserve(e.range())?,
            E820Kind::Ram | E820Kind::ReservedKern => b.mb.add(e.range())?,
            _ => {}
        }
    }
    b.mb.trim_memory(PAGE)?;
    b.dump_memblock();
    Ok(())
}
