//! Low memory: the linear map with the image in it, and contiguous areas by pages.

use super::{Mapping, Tables};
use crate::boot::Boot;
use crate::error::BootError;
use crate::pgtable::arm::{MapType, maps_image_apart};
use pagewright_addr::{PhysAddr, PhysRange};

/// Where the linear map shows low memory; what lies below its start is shown at its start.
fn virt(b: &Boot<'_>, phys: PhysAddr) -> u64 {
    b.linear_map().virt(phys.max(b.memstart)).get()
}

/// Maps a part of memory where the linear map shows it.
fn map(b: &mut Boot<'_>, t: &mut Tables, part: PhysRange, ty: MapType) -> Result<(), BootError> {
    if part.start >= part.end {
        return Ok(());
    }
    let virt = virt(b, part.start);
    t.map(b, &Mapping { virt, phys: part.start.get(), len: part.len(), ty })
}

/// The image's sections (`kernel_sec_start` to `kernel_sec_end`): from PHYS_OFFSET to the section that holds its last byte.
fn kernel_sections(b: &Boot<'_>, t: &Tables) -> PhysRange {
    PhysRange::new(b.memstart, b.machine.image.end.align_up(t.section))
}

/// The first of the image's sections that hold init data or what follows it: what is before can be executed.
fn exec_end(b: &Boot<'_>, t: &Tables) -> PhysAddr {
    b.machine.image.init_end.align_up(t.section)
}

/// `map_lowmem`: every bank up to where low memory ends, without the sections that hold the image; where it is not mapped apart
/// ([`maps_image_apart`]), with them.
pub(super) fn map_lowmem(b: &mut Boot<'_>, t: &mut Tables) -> Result<(), BootError> {
    let limit = b.high_memory;
    let mut i = 0;
    loop {
        let next = b.mb.mem_ranges().nth(i);
        let Some(bank) = next else { return Ok(()) };
        i += 1;
        let bank = PhysRange::new(bank.start, bank.end.min(limit));
        if bank.start >= bank.end {
            return Ok(());
        }
        let last = match maps_image_apart(b.version) {
            true => map_bank(b, t, bank)?,
            false => map_bank_with_image(b, t, bank)?,
        };
        if last {
            return Ok(());
        }
    }
}

/// A bank without the image's sections. Whether it was the last: Linux ends its walk where the image lies inside a bank.
fn map_bank(b: &mut Boot<'_>, t: &mut Tables, bank: PhysRange) -> Result<bool, BootError> {
    let kernel = kernel_sections(b, t);
    if bank.start > kernel.start && bank.end < kernel.end {
        return Ok(true);
    }
    let below = PhysRange::new(bank.start, bank.end.min(kernel.start));
    let above = PhysRange::new(bank.start.max(kernel.end), bank.end);
    map(b, t, below, MapType::MemoryRw)?;
    map(b, t, above, MapType::MemoryRw)?;
    Ok(!below.is_empty() && !above.is_empty())
}

/// A bank as it was mapped when the image had no mapping of its own.
fn map_bank_with_image(b: &mut Boot<'_>, t: &mut Tables, bank: PhysRange) -> Result<bool, BootError> {
    let start = b.machine.image.text_start.align_down(t.section);
    let end = exec_end(b, t);
    if bank.end < start {
        map(b, t, bank, MapType::MemoryRwx)?;
    } else if bank.start >= end {
        map(b, t, bank, MapType::MemoryRw)?;
    } else {
        map(b, t, PhysRange::new(bank.start, start), MapType::MemoryRw)?;
        map(b, t, PhysRange::new(start, end), MapType::MemoryRwx)?;
        map(b, t, PhysRange::new(end, bank.end), MapType::MemoryRw)?;
    }
    Ok(false)
}

/// `map_kernel`: the image's sections, executable up to the end of the init sections, then not. They never need a table.
pub(super) fn map_kernel(b: &mut Boot<'_>, t: &mut Tables) -> Result<(), BootError> {
    if !maps_image_apart(b.version) {
        return Ok(());
    }
    t.step = "map_kernel";
    let kernel = kernel_sections(b, t);
    let end = exec_end(b, t).min(kernel.end).max(kernel.start);
    map(b, t, PhysRange::new(kernel.start, end), MapType::MemoryRwx)?;
    map(b, t, PhysRange::new(end, kernel.end), MapType::MemoryRw)
}

/// `dma_contiguous_remap`: CMA areas in low memory are mapped by pages, so that their attributes can change.
pub(super) fn dma_contiguous_remap(b: &mut Boot<'_>, t: &mut Tables) -> Result<(), BootError> {
    t.step = "dma_contiguous_remap";
    for i in 0..b.cma.len() {
        let area = b.cma[i].range;
        let low = PhysRange::new(area.start, area.end.min(b.high_memory));
        if low.start < low.end {
            let at = virt(b, low.start);
            t.clear_sections(b, at, at + low.len())?;
            let (phys, ty) = (low.start.get(), MapType::MemoryDmaReady);
            t.iotable(b, &[Mapping { virt: at, phys, len: low.len(), ty }])?;
        }
    }
    Ok(())
}
