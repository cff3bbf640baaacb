//! Who claims a region at once: a CMA area, or a coherent DMA pool.

use super::Outcome;
use crate::boot::{Boot, info, warning};
use crate::cma;
use crate::error::BootError;
use pagewright_addr::PhysRange;
use pagewright_firmware::Arch;
use pagewright_firmware::devicetree::ReservedNode;

/// Lets CMA or the coherent pool claim a region (`__reserved_mem_init_node`). A region that both refuse, although
/// it names them, is given back.
pub(super) fn initialise(
    boot: &mut Boot<'_>,
    node: &ReservedNode<'_>,
    range: PhysRange,
    at: usize,
) -> Result<(), BootError> {
    if !node.compatible_shared_dma_pool {
        return Ok(());
    }
    let claimed = if node.reusable {
        !node.nomap && boot.machine.config.cma.is_some() && setup_cma(boot, node, range, at)
    } else {
        setup_dma_pool(boot, node, range, at)
    };
    if claimed {
        info!(boot, "OF: reserved mem: initialized node {}, compatible id shared-dma-pool", node.name);
        return Ok(());
    }
    info!(boot, "OF: reserved mem: node {} compatible matching fail", node.name);
    boot.reserved_mem.set_outcome(at, Outcome::NotClaimed);
    boot.mb.set_caller("early_init_fdt_scan_reserved_mem");
    if node.nomap {
        boot.mb.clear_nomap(range)?;
    } else {
        boot.mb.phys_free(range)?;
    }
    Ok(())
}

/// `rmem_dma_setup`: arm cannot keep a region mapped twice with different attributes.
fn setup_dma_pool(boot: &mut Boot<'_>, node: &ReservedNode<'_>, range: PhysRange, at: usize) -> bool {
    if boot.machine.arch == Arch::Arm && !node.nomap {
        warning!(boot, "Reserved memory: regions without no-map are not yet supported");
        return false;
    }
    // Linux makes a pool also of a region that it could not set aside; the verdict stays what it was then.
    if boot.reserved_mem.get(at).is_none_or(|v| v.outcome != Outcome::StaticRefused) {
        boot.reserved_mem.set_outcome(at, Outcome::DmaPool);
    }
    created(boot, "DMA", range);
    true
}

/// `rmem_cma_setup`.
fn setup_cma(boot: &mut Boot<'_>, node: &ReservedNode<'_>, range: PhysRange, at: usize) -> bool {
    let default = node.linux_cma_default;
    if boot.params.cma.is_some() && default {
        info!(boot, "Reserved memory: bypass {} node, using cmdline CMA params instead", node.name);
        return false;
    }
    let align = cma::min_alignment(boot);
    if !range.start.is_aligned(align) || !range.len().is_multiple_of(align) {
        warning!(boot, "Reserved memory: incorrect alignment of CMA region");
        return false;
    }
    if !cma::has_slot(boot) {
        warning!(boot, "cma: Not enough slots for CMA reserved regions!");
        warning!(boot, "Reserved memory: unable to setup CMA region");
        return false;
    }
    cma::register(boot, node.name, range);
    if default && let Some(area) = boot.cma.last_mut() {
        area.default = true;
    }
    boot.reserved_mem.set_outcome(at, Outcome::Cma(default));
    created(boot, "CMA", range);
    true
}

/// Says that a region serves now.
fn created(boot: &Boot<'_>, kind: &str, range: PhysRange) {
    let (at, mib) = (boot.pa(range.start), range.len() >> 20);
    info!(boot, "Reserved memory: created {kind} memory pool at {at}, size {mib} MiB");
}
