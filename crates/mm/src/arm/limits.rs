//! What the command line says about memory on arm: `mem=` and `vmalloc=`.

use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use pagewright_addr::{PhysAddr, PhysRange};

const MIB: u64 = 1 << 20;
/// Bytes for vmalloc unless `vmalloc=` says otherwise.
const VMALLOC_DEFAULT: u64 = 240 * MIB;
/// The least that `vmalloc=` can ask for.
const VMALLOC_MIN: u64 = 16 * MIB;
/// VMALLOC_END.
pub(super) const VMALLOC_END: u64 = 0xff80_0000;
/// VMALLOC_OFFSET: the hole between low memory and vmalloc space.
pub(super) const VMALLOC_OFFSET: u64 = 8 * MIB;
/// Low memory that the largest vmalloc space leaves.
const LEAST_LOWMEM: u64 = 32 * MIB;

/// `early_mem`: each `mem=size[@start]` is a bank; the first one drops what the firmware said.
pub(super) fn early_mem(b: &mut Boot<'_>) -> Result<(), BootError> {
    let banks = b.params.mem.clone();
    for (i, bank) in banks.iter().enumerate() {
        if i == 0 {
            b.mb.set_caller("early_mem");
            let all = PhysRange::new(b.mb.start_of_dram(), b.mb.end_of_dram());
            b.mb.remove(all)?;
        }
        b.mb.set_caller("arm_add_memory");
        let start = bank.start.unwrap_or(b.memstart.get());
        add_memory(b, start, bank.size)?;
    }
    Ok(())
}

/// `arm_add_memory`: whole pages from PHYS_OFFSET on, below what physical addresses can hold.
pub(super) fn add_memory(b: &mut Boot<'_>, start: u64, size: u64) -> Result<(), BootError> {
    let page = b.page_bytes();
    let phys_offset = b.memstart.get();
    // The arithmetic is that of 64-bit words that wrap.
    let mut first = start.wrapping_add(page - 1) & !(page - 1);
    let mut size =
        if first > start.wrapping_add(size) { 0 } else { size.wrapping_sub(first.wrapping_sub(start)) };
    if !b.phys_addr_is_64bit() {
        let top = u64::from(u32::MAX);
        if first > top {
            warning!(b, "Ignoring memory at 0x{start:08x} outside 32-bit physical address space");
            return Ok(());
        }
        if first.saturating_add(size) > top {
            warning!(b, "Truncating memory at 0x{start:08x} to fit in 32-bit physical address space");
            size = top - first;
        }
    }
    let end = first.saturating_add(size);
    if first < phys_offset {
        if end <= phys_offset {
            info!(b, "Ignoring memory below PHYS_OFFSET: 0x{first:08x}-0x{end:08x}");
            return Ok(());
        }
        info!(b, "Ignoring memory below PHYS_OFFSET: 0x{first:08x}-0x{phys_offset:08x}");
        size -= phys_offset - first;
        first = phys_offset;
    }
    let size = size & !(page - 1);
    if size > 0 {
        b.mb.add(PhysRange::from_len(PhysAddr::new(first), size))?;
    }
    Ok(())
}

/// `early_vmalloc`: bytes kept for vmalloc, within what leaves some low memory.
pub(super) fn vmalloc_size(b: &Boot<'_>) -> u64 {
    let Some(asked) = b.params.vmalloc else { return VMALLOC_DEFAULT };
    // The kernel reads the value into a 32-bit word.
    let mut size = asked & u64::from(u32::MAX);
    if size < VMALLOC_MIN {
        size = VMALLOC_MIN;
        warning!(b, "vmalloc area is too small, limiting to {}MiB", size / MIB);
    }
    let page_offset = u64::from(b.machine.config.page_offset);
    let most = VMALLOC_END.saturating_sub(page_offset + LEAST_LOWMEM + VMALLOC_OFFSET);
    if size > most {
        size = most;
        warning!(b, "vmalloc area is too big, limiting to {}MiB", size / MIB);
    }
    size
}
