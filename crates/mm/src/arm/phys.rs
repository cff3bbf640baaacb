//! PHYS_OFFSET: where the linear map starts in physical memory.

use crate::boot::Boot;
use pagewright_addr::PhysAddr;
use pagewright_firmware::Firmware;
use pagewright_firmware::devicetree::DeviceTree;

/// The decompressor takes the start of the 128 MiB block that it runs in for the start of RAM (AUTO_ZRELADDR).
const LOAD_BLOCK: u64 = 128 << 20;
/// What patching of the kernel's address arithmetic can express.
const PATCH_ALIGN: u64 = 2 << 20;

/// The physical address of PAGE_OFFSET.
///
/// An image that tells its virtual address leaves no choice. Otherwise the image was placed by the decompressor: at
/// TEXT_OFFSET above the start of its 128 MiB block, if the firmware has memory there, else above the lowest memory,
/// rounded up to 2 MiB.
pub(super) fn phys_offset(b: &Boot<'_>, tree: Option<&DeviceTree<'_>>) -> PhysAddr {
    let image = &b.machine.image;
    if image.virt != 0 {
        let above = image.virt.saturating_sub(u64::from(b.machine.config.page_offset));
        return image.text_start.saturating_sub(above);
    }
    let block = image.load_start().align_down(LOAD_BLOCK);
    let Some(tree) = tree else { return block };
    let usable = tree.chosen().usable_memory_ranges.first().map(|r| r.range());
    let Firmware::DeviceTree { memory, .. } = &b.machine.firmware else { return block };
    let mut lowest: Option<PhysAddr> = None;
    let mut holds_block = false;
    let mut look = |mut start: PhysAddr, mut end: PhysAddr| {
        if let Some(usable) = usable {
            (start, end) = (start.max(usable.start), end.min(usable.end));
        }
        if start < end {
            holds_block |= start <= block && block < end;
            lowest = Some(lowest.map_or(start, |l| l.min(start)));
        }
    };
    if memory.is_empty() {
        tree.memory_banks().for_each(|bank| look(bank.range.start, bank.range.end));
    } else {
        memory.iter().for_each(|range| look(range.start, range.end));
    }
    match lowest {
        // Memory that starts above the image is not where the decompressor would have put it.
        Some(lowest) if !holds_block && lowest <= image.load_start() => lowest.align_up(PATCH_ALIGN),
        _ => block,
    }
}

/// The physical address of the byte `above` PAGE_OFFSET, in the arithmetic of the kernel: 32 bits wrap.
pub(super) fn pa(b: &Boot<'_>, above: u64) -> PhysAddr {
    let at = b.memstart.get().wrapping_add(above);
    PhysAddr::new(if b.phys_addr_is_64bit() { at } else { at & u64::from(u32::MAX) })
}
