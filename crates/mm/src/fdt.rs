//! What arm and arm64 share of the device tree: the early scan, the initrd, the unflattened copy.

use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use pagewright_addr::PhysRange;
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_firmware::{Arch, Firmware};
use pagewright_memblock::Set;

/// `setup_machine_fdt` and `early_init_dt_scan`: the tree itself is reserved, its memory nodes are added.
///
/// # Errors
/// [`BootError::NoMemory`] when no node gives memory.
pub(crate) fn setup_machine_fdt<'a>(b: &mut Boot<'a>) -> Result<DeviceTree<'a>, BootError> {
    let Firmware::DeviceTree { tree, at, memory, efi, .. } = &b.machine.firmware else {
        return Err(BootError::Unsupported { what: "this architecture without a device tree" });
    };
    let tree = tree.clone();
    b.mb.set_caller("early_init_dt_add_memory_arch");
    if memory.is_empty() {
        for bank in tree.memory_banks() {
            add_memory(b, bank.range)?;
            if bank.hotpluggable {
                b.mb.mark_hotplug(bank.range)?;
            }
        }
    } else {
        for range in memory.iter() {
            add_memory(b, *range)?;
        }
    }
    // With EFI the stub has taken the memory nodes out: its own map is read later.
    if b.mb.regions(Set::Memory).is_empty() && efi.is_empty() {
        return Err(BootError::NoMemory { empty_node: tree.memory_nodes().next().is_some() });
    }
    check_for_usable_mem_range(b, &tree)?;
    if let Some(at) = at {
        b.mb.set_caller(if b.machine.arch == Arch::Arm64 { "setup_machine_fdt" } else { "setup_arch" });
        b.mb.reserve(PhysRange::from_len(*at, tree.total_size()))?;
    }
    if let Some(model) = tree.model() {
        match b.machine.arch {
            Arch::Arm64 => info!(b, "Machine model: {model}"),
            _ => info!(b, "OF: fdt: Machine model: {model}"),
        }
    }
    Ok(tree)
}

/// `early_init_dt_check_for_usable_mem_range`: a crash kernel uses only what it was given.
pub(crate) fn check_for_usable_mem_range(b: &mut Boot<'_>, tree: &DeviceTree<'_>) -> Result<(), BootError> {
    let usable = tree.chosen().usable_memory_ranges;
    if let Some(first) = usable.first() {
        b.mb.set_caller("early_init_dt_check_for_usable_mem_range");
        b.mb.cap_memory_range(first.range())?;
        for more in &usable[1..] {
            b.mb.add(more.range())?;
        }
    }
    Ok(())
}

/// `early_init_dt_add_memory_arch`: whole pages, from PHYS_OFFSET on where that is known, below what physical
/// addresses can hold.
pub(crate) fn add_memory(b: &mut Boot<'_>, range: PhysRange) -> Result<(), BootError> {
    let page = b.page_bytes();
    if range.len() < page - (range.start.get() & (page - 1)) {
        warning!(b, "OF: fdt: Ignoring memory block 0x{:x} - 0x{:x}", range.start, range.end);
        return Ok(());
    }
    let whole = PhysRange::new(range.start.align_up(page), range.end.align_down(page));
    let max = b.max_phys_addr();
    if whole.start > max {
        warning!(b, "OF: fdt: Ignoring memory block 0x{:x} - 0x{:x}", whole.start, whole.end);
        return Ok(());
    }
    let mut end = whole.end;
    if end.get() - 1 > max.get() {
        warning!(b, "OF: fdt: Ignoring memory range 0x{:x} - 0x{:x}", max.saturating_add(1), end);
        end = max.saturating_add(1);
    }
    // arm64 takes what lies below its linear map away later; arm, whose kernel cannot move, never adds it.
    let min = b.memstart;
    if end < min {
        warning!(b, "OF: fdt: Ignoring memory block 0x{:x} - 0x{:x}", whole.start, end);
        return Ok(());
    }
    if whole.start < min {
        warning!(b, "OF: fdt: Ignoring memory range 0x{:x} - 0x{:x}", whole.start, min);
    }
    b.mb.add(PhysRange::new(whole.start.max(min), end))?;
    Ok(())
}

/// The initial RAM disk: what the machine says, else the tree.
pub(crate) fn initrd(b: &Boot<'_>, tree: &DeviceTree<'_>) -> Option<PhysRange> {
    b.machine.initrd.or_else(|| tree.chosen().initrd).filter(|r| !r.is_empty())
}

/// `unflatten_device_tree`: one block for the tree, one allocation for each alias.
pub(crate) fn unflatten_device_tree(b: &mut Boot<'_>, tree: &DeviceTree<'_>) -> Result<(), BootError> {
    let long = b.long_bytes();
    b.mb.set_caller("early_init_dt_alloc_memory_arch");
    b.alloc(tree.unflattened_size(long as u32), long)?;
    for alias in tree.alias_allocations(long as u32) {
        b.alloc(alias.bytes, long)?;
    }
    Ok(())
}
