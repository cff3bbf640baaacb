//! `/memreserve/` and `/reserved-memory`: what the device tree sets aside.
//!
//! Static regions are taken in tree order, then dynamic ones are placed in the order in which they were found;
//! regions that a driver or CMA claims at once are initialised in the order of their addresses. Each node gets a
//! [`Verdict`].

mod claim;
mod device;
mod place;
mod verdict;

pub use device::{MemoryRegionError, memory_region};
pub use verdict::{Outcome, Verdict, Verdicts};

use crate::boot::{Boot, debug, info, warning};
use crate::error::BootError;
use arrayvec::{ArrayString, ArrayVec};
use pagewright_addr::{PhysAddr, PhysRange};
use pagewright_firmware::devicetree::{DeviceTree, ReservedKind, ReservedNode};
use pagewright_memblock::Set;

/// MAX_RESERVED_REGIONS: what Linux 6.1 keeps track of.
pub const MAX_RESERVED_REGIONS: usize = 64;

/// A region as `early_init_fdt_scan_reserved_mem` keeps it.
struct Entry<'a> {
    node: ReservedNode<'a>,
    range: PhysRange,
    verdict: usize,
}

/// Takes everything the device tree reserves (`early_init_fdt_scan_reserved_mem`).
///
/// # Errors
/// Only what is no verdict on a node: a full memblock.
pub fn scan<'a>(boot: &mut Boot<'a>, tree: &DeviceTree<'a>) -> Result<(), BootError> {
    boot.mb.set_caller("early_init_fdt_scan_reserved_mem");
    for range in tree.memory_reservations() {
        let (base, size) = (narrowed(boot, range.start.get()), narrowed(boot, range.len()));
        if size > 0 {
            boot.mb.reserve_sized(PhysAddr::new(base), size)?;
        }
    }
    let mut entries: ArrayVec<Entry<'a>, MAX_RESERVED_REGIONS> = ArrayVec::new();
    for node in tree.reserved_memory() {
        scan_node(boot, node, &mut entries)?;
    }
    reserve_elfcorehdr(boot, tree)?;
    init_reserved_mem(boot, &mut entries)
}

/// What is left of a cell value in `phys_addr_t`: on kernels without wide addresses the upper half is lost.
fn narrowed(boot: &Boot<'_>, value: u64) -> u64 {
    value & boot.phys_addr_max().get()
}

fn verdict(boot: &mut Boot<'_>, node: &ReservedNode<'_>, range: PhysRange, outcome: Outcome) -> usize {
    let mut name = ArrayString::new();
    for c in node.name.chars() {
        if name.try_push(c).is_err() {
            break;
        }
    }
    boot.reserved_mem.push(Verdict { name, range, nomap: node.nomap, outcome })
}

fn scan_node<'a>(
    boot: &mut Boot<'a>,
    node: ReservedNode<'a>,
    entries: &mut ArrayVec<Entry<'a>, MAX_RESERVED_REGIONS>,
) -> Result<(), BootError> {
    let none = PhysRange::default();
    if !node.enabled {
        verdict(boot, &node, none, Outcome::Disabled);
        return Ok(());
    }
    match node.kind.clone() {
        ReservedKind::Static(regions) => {
            let mut first = None;
            for region in regions {
                let base = PhysAddr::new(narrowed(boot, region.base.get()));
                let size = narrowed(boot, region.size);
                let taken = size > 0 && reserve_static(boot, base, size, node.nomap)?;
                let (at, mib) = (boot.pa(base), size >> 20);
                if taken {
                    debug!(
                        boot,
                        "OF: fdt: Reserved memory: reserved region for node '{}': base {at}, size {mib} MiB",
                        node.name
                    );
                } else {
                    info!(
                        boot,
                        "OF: fdt: Reserved memory: failed to reserve memory for node '{}': base {at}, size {mib} MiB",
                        node.name
                    );
                }
                first = first.or(Some((PhysRange::from_len(base, size), taken)));
            }
            match first {
                // A first pair of size zero leaves the node to its `size` property.
                Some((range, taken)) if !range.is_empty() => {
                    let outcome = if taken { Outcome::Reserved } else { Outcome::StaticRefused };
                    keep(boot, node, range, outcome, entries);
                }
                Some(_) if matches!(node.dynamic_kind(), ReservedKind::Dynamic { .. }) => {
                    keep(boot, node, none, Outcome::Reserved, entries);
                }
                _ => {
                    verdict(boot, &node, none, Outcome::Malformed);
                }
            }
        }
        ReservedKind::Dynamic { .. } => keep(boot, node, none, Outcome::Reserved, entries),
        ReservedKind::Invalid(error) => {
            warning!(boot, "{error}");
            verdict(boot, &node, none, Outcome::Malformed);
        }
        ReservedKind::Neither => {
            verdict(boot, &node, none, Outcome::Malformed);
        }
    }
    Ok(())
}

fn keep<'a>(
    boot: &mut Boot<'a>,
    node: ReservedNode<'a>,
    range: PhysRange,
    outcome: Outcome,
    entries: &mut ArrayVec<Entry<'a>, MAX_RESERVED_REGIONS>,
) {
    let at = verdict(boot, &node, range, outcome);
    if entries.is_full() {
        warning!(boot, "OF: reserved mem: not enough space for all defined regions.");
        boot.reserved_mem.set_outcome(at, Outcome::TooMany);
        return;
    }
    entries.push(Entry { node, range, verdict: at });
}

/// One static region. `Ok(false)` is a refusal: the region is in use already while it asks for no mapping.
fn reserve_static(boot: &mut Boot<'_>, base: PhysAddr, size: u64, nomap: bool) -> Result<bool, BootError> {
    boot.mb.set_caller("early_init_fdt_scan_reserved_mem");
    let range = PhysRange::from_len(base, size);
    if !nomap {
        boot.mb.reserve_sized(base, size)?;
        return Ok(true);
    }
    // Memory that is in use cannot be taken out of the linear map.
    if boot.mb.overlaps_region(Set::Memory, range) && boot.mb.is_region_reserved(range) {
        return Ok(false);
    }
    boot.mb.mark_nomap(range)?;
    Ok(true)
}

/// Places the dynamic regions and initialises all of them (`fdt_init_reserved_mem`).
fn init_reserved_mem<'a>(
    boot: &mut Boot<'a>,
    entries: &mut ArrayVec<Entry<'a>, MAX_RESERVED_REGIONS>,
) -> Result<(), BootError> {
    // Sorted by address, dynamic regions (still at zero) first. Those have equal keys, and who is placed first among
    // them follows from the sorting algorithm.
    sort_by_address(entries);
    check_overlaps(boot, entries);
    for i in 0..entries.len() {
        if entries[i].range.is_empty() {
            let Some(range) = place::place_dynamic(boot, &entries[i])? else { continue };
            entries[i].range = range;
            boot.reserved_mem.set_range(entries[i].verdict, range);
        }
        let e = &entries[i];
        let (node, range, at) = (e.node.clone(), e.range, e.verdict);
        claim::initialise(boot, &node, range, at)?;
    }
    Ok(())
}

fn sort_by_address(entries: &mut [Entry<'_>]) {
    crate::heapsort::sort_by_key(entries, |e| (e.range.start, e.range.len()));
}

fn check_overlaps(boot: &Boot<'_>, entries: &[Entry<'_>]) {
    for pair in entries.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        if a.range.is_empty() || b.range.is_empty() || a.range.end <= b.range.start {
            continue;
        }
        warning!(
            boot,
            "OF: reserved mem: OVERLAP DETECTED!\n{} ({}--{}) overlaps with {} ({}--{})",
            a.node.name,
            boot.pa(a.range.start),
            boot.pa(a.range.end),
            b.node.name,
            boot.pa(b.range.start),
            boot.pa(b.range.end)
        );
    }
}

/// Keeps the core header of the kernel that crashed (`fdt_reserve_elfcorehdr`): where the tree says, or the command
/// line, which may give the address alone.
fn reserve_elfcorehdr(boot: &mut Boot<'_>, tree: &DeviceTree<'_>) -> Result<(), BootError> {
    if !boot.machine.config.crash_dump {
        return Ok(());
    }
    let mut header = tree.chosen().elfcorehdr.unwrap_or_default();
    if let Some(asked) = boot.params.elfcorehdr {
        header = PhysRange::from_len(PhysAddr::new(asked.address), asked.size.unwrap_or(header.len()));
    }
    if header.is_empty() {
        return Ok(());
    }
    if boot.mb.is_region_reserved(header) {
        warning!(boot, "OF: fdt: elfcorehdr is overlapped");
        return Ok(());
    }
    boot.mb.set_caller("early_init_fdt_scan_reserved_mem");
    boot.mb.reserve(header)?;
    let (kib, at) = (header.len() >> 10, header.start);
    info!(boot, "OF: fdt: Reserving {kib} KiB of memory at 0x{at:x} for elfcorehdr");
    Ok(())
}
