//! Where a dynamic region comes to lie.

use super::{Entry, Outcome, narrowed};
use crate::boot::{Boot, info};
use crate::cma;
use crate::error::BootError;
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::devicetree::ReservedKind;

/// Finds memory for a dynamic region (`__reserved_mem_alloc_size`).
pub(super) fn place_dynamic(boot: &mut Boot<'_>, e: &Entry<'_>) -> Result<Option<PhysRange>, BootError> {
    let ReservedKind::Dynamic { size, alignment, alloc_ranges } = e.node.dynamic_kind() else {
        return Ok(None);
    };
    let size = narrowed(boot, size);
    let mut align = alignment.unwrap_or(0);
    if boot.machine.config.cma.is_some()
        && e.node.compatible_shared_dma_pool
        && e.node.reusable
        && !e.node.nomap
    {
        align = align.max(cma::min_alignment(boot));
    }
    let mut found = None;
    match alloc_ranges {
        Some(ranges) => {
            for r in ranges {
                let start = PhysAddr::new(narrowed(boot, r.base.get()));
                let end = PhysAddr::new(narrowed(boot, r.range().end.get()));
                found = alloc_reserved(boot, size, align, start, end, e.node.nomap)?;
                if found.is_some() {
                    break;
                }
            }
        }
        None => found = alloc_reserved(boot, size, align, PhysAddr::ZERO, PhysAddr::ZERO, e.node.nomap)?,
    }
    if found.is_none() {
        let mib = size >> 20;
        let name = e.node.name;
        info!(boot, "OF: reserved mem: failed to allocate memory for node '{name}': size {mib} MiB");
        boot.reserved_mem.set_outcome(e.verdict, Outcome::NoMemory { size });
    }
    Ok(found.map(|at| PhysRange::from_len(at, size)))
}

/// `early_init_dt_alloc_reserved_memory_arch`: an `end` of zero means anywhere.
fn alloc_reserved(
    boot: &mut Boot<'_>,
    size: u64,
    align: u64,
    start: PhysAddr,
    end: PhysAddr,
    nomap: bool,
) -> Result<Option<PhysAddr>, BootError> {
    let end = if end == PhysAddr::ZERO { boot.phys_addr_max() } else { end };
    let align = if align == 0 { boot.cache_line() } else { align };
    if !align.is_power_of_two() {
        return Ok(None);
    }
    boot.mb.set_caller("early_init_dt_alloc_reserved_memory_arch");
    let Ok(at) = boot.mb.phys_alloc_range(size, align, start, end) else { return Ok(None) };
    if nomap {
        boot.mb.mark_nomap(PhysRange::from_len(at, size))?;
    }
    Ok(Some(at))
}
