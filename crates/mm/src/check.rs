//! What is refused before the boot takes a step: machines that cannot exist, or that the tables here cannot hold.
//!
//! Everything after this may rely on it: alignments are powers of two, sizes that are divided by are not zero, the
//! kernel configuration is one that [`KernelConfig::validate`](pagewright_firmware::config::KernelConfig::validate)
//! passes, and the image's parts lie in the image.

use crate::boot::Boot;
use crate::built::{self, Built};
use crate::error::BootError;
use crate::percpu::MAX_CPUS;
use crate::pgtable;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::cmdline::Params;
use pagewright_firmware::{Arch, Machine};
use pagewright_kspace::I386Areas;
use pagewright_memblock::Set;

/// Bytes that one `struct page` can have: two words at least, and no configuration comes near the most.
const STRUCT_PAGE: core::ops::RangeInclusive<u32> = 8..=256;
/// More than any kernel image has, brk area included (KERNEL_IMAGE_SIZE is 1 GiB at most).
const IMAGE_LIMIT: u64 = 1 << 30;
/// The least kernel address space of i386 that low memory is mapped into.
const LEAST_LOWMEM: u64 = 16 << 20;

/// Refuses what cannot be booted.
///
/// # Errors
/// [`BootError::NotBuilt`], [`BootError::Config`], [`BootError::Machine`] and [`BootError::TooMany`] name what is wrong.
pub(crate) fn machine(m: &Machine<'_>) -> Result<(), BootError> {
    machine_in(m, Built::THIS)
}

/// The same in a build of these features.
fn machine_in(m: &Machine<'_>, built: Built) -> Result<(), BootError> {
    if m.config.arch != m.arch {
        return Err(BootError::Unsupported { what: "a kernel configuration of another architecture" });
    }
    if !built.has_pages(m.arch, m.config.page_shift.get()) {
        return Err(BootError::NotBuilt(m.arch));
    }
    m.config.validate().map_err(BootError::Config)?;
    let page = m.config.page_shift.bytes();
    let refuse = |refused: bool, what, value: u64| {
        if refused { Err(BootError::Machine { what, value }) } else { Ok(()) }
    };
    let line = u64::from(m.cpus.cache_line);
    refuse(!line.is_power_of_two() || line > page, "cache line size", line)?;
    refuse(m.cpus.possible == 0, "number of possible CPUs", 0)?;
    if m.cpus.possible as usize > MAX_CPUS {
        return Err(BootError::TooMany { what: "possible CPUs", limit: MAX_CPUS as u64 });
    }
    let b = &m.build;
    refuse(!STRUCT_PAGE.contains(&b.struct_page), "size of struct page", b.struct_page.into())?;
    refuse(m.config.numa && b.pglist_data == 0, "size of pg_data_t", 0)?;
    image(m)
}

/// i386: whether what lies above low memory leaves room for it, which depends on the command line.
///
/// # Errors
/// [`BootError::Machine`] names the number of CPUs that the kernel is made for, or `reservetop=`.
pub(crate) fn upper_addresses(m: &Machine<'_>, params: &Params<'_>) -> Result<(), BootError> {
    if !built::I386 || m.arch != Arch::I386 {
        return Ok(());
    }
    let areas = I386Areas::of(&m.config, &pgtable::i386::fixmap(m, params)?);
    let room = areas.vmalloc_end.saturating_sub(m.config.page_offset.into());
    if room < LEAST_LOWMEM {
        return Err(BootError::Machine { what: "end of vmalloc space", value: areas.vmalloc_end });
    }
    Ok(())
}

/// The image's parts lie in the image.
fn image(m: &Machine<'_>) -> Result<(), BootError> {
    let i = &m.image;
    let whole = PhysRange::new(i.load_start(), i.end);
    let inside = |what, start: PhysAddr, end: PhysAddr| {
        if start > end || !whole.contains_range(&PhysRange::new(start, end)) {
            return Err(BootError::Machine { what, value: start.get() });
        }
        Ok(())
    };
    inside("start of the kernel image", i.text_start, i.end)?;
    for (what, value) in [("size of the kernel image", whole.len()), ("size of the brk area", i.brk_used)] {
        if value > IMAGE_LIMIT {
            return Err(BootError::Machine { what, value });
        }
    }
    inside("start of the kernel's text", i.text_start, i.text_end)?;
    inside("start of the kernel's read-only data", i.rodata_start, i.rodata_end)?;
    inside("start of the kernel's init sections", i.init_begin, i.init_end)?;
    inside("start of the kernel's data", i.data_start, i.data_end)?;
    inside("start of the kernel's lock table", i.smp_locks.start, i.smp_locks.end)?;
    inside("start of the unused decrypted data", i.decrypted_unused.start, i.decrypted_unused.end)?;
    inside("start of the kernel's first page tables", i.init_pg_dir.start, i.init_pg_dir.end)
}

/// Looks at memory once memblock has all of it: there must be some, no more than frame indices can name, and the
/// kernel must lie in it. Early, because mapping it all comes next.
///
/// # Errors
/// [`BootError::NoMemory`], [`BootError::TooMuchMemory`], [`BootError::ImageOutsideMemory`].
pub(crate) fn memory(b: &Boot<'_>) -> Result<(), BootError> {
    let frames: u64 = b.mb.mem_pfn_ranges(None).map(|(r, _)| r.len()).sum();
    if frames == 0 {
        return Err(BootError::NoMemory { empty_node: false });
    }
    if frames > u64::from(u32::MAX) {
        return Err(BootError::TooMuchMemory { frames });
    }
    let image = PhysRange::new(b.machine.image.text_start, b.machine.image.end);
    let last = image.end.saturating_sub(1);
    let inside = b.mb.is_memory(image.start) && b.mb.is_memory(last);
    if !image.is_empty() && !inside {
        let held = b.mb.regions(Set::Memory).iter().map(|r| r.range().intersection(&image).len());
        return Err(BootError::ImageOutsideMemory { missing: image.len() - held.sum::<u64>() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
