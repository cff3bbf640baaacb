//! Physical memory as the head's tables show it: the first 4 GiB, from where the direct map will be. Used until CR3 is loaded
//! with the kernel's own tables.

use super::image::page_offset;
use pagewright_addr::PhysAddr;

/// What the window shows.
const END: u64 = 4 << 30;

/// Whether the window shows so many bytes, none of them in the first page's first byte (whose address is no address).
fn pointer(at: PhysAddr, len: u64) -> Option<*mut u8> {
    let end = at.get().checked_add(len).filter(|end| *end <= END)?;
    let virt = page_offset().checked_add(end - len)?;
    Some(core::ptr::with_exposed_provenance_mut(virt as usize))
}

/// Bytes of firmware data.
pub(super) fn bytes(at: PhysAddr, len: u64) -> Option<&'static [u8]> {
    let first = pointer(at, len)?;
    // SAFETY: the head's tables map the first 4 GiB there. What is read is the firmware's, which is over; it is kept elsewhere
    // before anything is written.
    Some(unsafe { core::slice::from_raw_parts(first, len as usize) })
}

/// Writes four bytes of firmware data.
pub(super) fn write_u32(at: PhysAddr, value: u32) {
    if let Some(first) = pointer(at, 4) {
        // SAFETY: mapped as above; the firmware is over, and nobody has borrowed its data yet.
        unsafe { first.cast::<u32>().write_unaligned(value) };
    }
}

/// An IO APIC's version register, if the window shows its registers: an index is written, and what it names read.
pub(super) fn io_apic_version(at: PhysAddr) -> Option<u32> {
    const VERSION: u32 = 1;
    let select = pointer(at, 0x20)?.cast::<u32>();
    // SAFETY: mapped as above; the MADT says that an IO APIC is there. Nobody else uses it.
    unsafe {
        select.write_volatile(VERSION);
        Some(select.add(4).read_volatile())
    }
}
