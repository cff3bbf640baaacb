//! Where low memory ends: `adjust_lowmem_bounds`.

use super::limits::{VMALLOC_END, VMALLOC_OFFSET};
use crate::boot::{Boot, info};
use crate::error::BootError;
use pagewright_addr::{PhysAddr, PhysRange};

/// Settles `arm_lowmem_limit` (as [`Boot::high_memory`]) and the limit of memblock's allocations.
///
/// Memory above what the linear map reaches is high memory, or dropped: where the kernel has no HIGHMEM, and where a
/// data cache that aliases rules it out. Until low memory is mapped, allocations must not come from a bank's ragged
/// end, whose mapping needs a table itself: the limit is rounded down to what one PMD maps.
pub(super) fn adjust_lowmem_bounds(b: &mut Boot<'_>, vmalloc_size: u64) -> Result<(), BootError> {
    let pmd = b.pmd_bytes();
    let above = vmalloc_size + VMALLOC_OFFSET + u64::from(b.machine.config.page_offset);
    let reach = VMALLOC_END.saturating_sub(above);
    // 64 bits wide also where addresses have 32.
    let vmalloc_limit = PhysAddr::new(b.memstart.get() + reach);
    b.mb.set_caller("adjust_lowmem_bounds");
    // The first bank is mapped before any table can be had: what precedes its first whole PMD goes unused.
    let first = b.mb.mem_ranges().next();
    if let Some(bank) = first
        && !bank.start.is_aligned(pmd)
    {
        b.mb.mark_nomap(PhysRange::new(bank.start, bank.start.align_up(pmd)))?;
    }
    let mut lowmem_limit = PhysAddr::ZERO;
    let mut memblock_limit = PhysAddr::ZERO;
    for bank in b.mb.mem_ranges().filter(|bank| bank.start < vmalloc_limit) {
        if bank.end > lowmem_limit {
            lowmem_limit = bank.end.min(vmalloc_limit);
        }
        if memblock_limit == PhysAddr::ZERO {
            if !bank.start.is_aligned(pmd) {
                memblock_limit = bank.start;
            } else if !bank.end.is_aligned(pmd) {
                memblock_limit = lowmem_limit;
            }
        }
    }
    b.high_memory = lowmem_limit;
    if memblock_limit == PhysAddr::ZERO {
        memblock_limit = lowmem_limit;
    }
    let memblock_limit = memblock_limit.align_down(pmd);
    let end = b.mb.end_of_dram();
    if (!b.machine.config.highmem || b.machine.cpus.vipt_aliasing) && end > lowmem_limit {
        info!(b, "Ignoring RAM at {}-{}", b.pa(memblock_limit), b.pa(end));
        info!(b, "Consider using a HIGHMEM enabled kernel.");
        b.mb.remove(PhysRange::new(memblock_limit, end))?;
    }
    b.mb.set_current_limit(memblock_limit);
    Ok(())
}
