//! The functions that only answer.

use crate::global::peek;
use crate::layout::{memblock_type, phys_addr_t};
use core::ffi::{c_int, c_ulong};
use pagewright_addr::{Pfn, PhysAddr, PhysRange};
use pagewright_memblock::{Region, Set};

/// Bytes of RAM.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_phys_mem_size() -> phys_addr_t {
    peek(0, |m| m.phys_mem_size())
}

/// Bytes reserved.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_reserved_size() -> phys_addr_t {
    peek(0, |m| m.reserved_size())
}

/// The lowest address of RAM.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name is C's")]
pub extern "C" fn memblock_start_of_DRAM() -> phys_addr_t {
    peek(0, |m| m.start_of_dram().get())
}

/// One past the highest address of RAM.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the name is C's")]
pub extern "C" fn memblock_end_of_DRAM() -> phys_addr_t {
    peek(0, |m| m.end_of_dram().get())
}

/// The current limit.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_get_current_limit() -> phys_addr_t {
    peek(0, |m| m.current_limit().get())
}

/// Whether an address is RAM.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_is_memory(addr: phys_addr_t) -> bool {
    peek(false, |m| m.is_memory(PhysAddr::new(addr)))
}

/// Whether an address is RAM in the linear map.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_is_map_memory(addr: phys_addr_t) -> bool {
    peek(false, |m| m.is_map_memory(PhysAddr::new(addr)))
}

/// Whether an address is reserved.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_is_reserved(addr: phys_addr_t) -> bool {
    peek(false, |m| m.is_reserved(PhysAddr::new(addr)))
}

/// Whether one region of RAM holds the whole range.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_is_region_memory(base: phys_addr_t, size: phys_addr_t) -> bool {
    peek(false, |m| m.is_region_memory(PhysRange::from_len(PhysAddr::new(base), size)))
}

/// Whether any of the range is reserved.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_is_region_reserved(base: phys_addr_t, size: phys_addr_t) -> bool {
    peek(false, |m| m.is_region_reserved(PhysRange::from_len(PhysAddr::new(base), size)))
}

/// Whether two ranges overlap.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_addrs_overlap(
    base1: phys_addr_t,
    size1: phys_addr_t,
    base2: phys_addr_t,
    size2: phys_addr_t,
) -> c_ulong {
    c_ulong::from(base1 < base2.wrapping_add(size2) && base2 < base1.wrapping_add(size1))
}

/// The regions of any `struct memblock_type`, the dummy of an empty one left out.
///
/// # Safety
/// `t` must be null or point to a type whose `regions` hold `cnt` regions, which do not change meanwhile.
pub(crate) unsafe fn regions_of<'a>(t: *const memblock_type) -> &'a [Region] {
    // SAFETY: the caller's contract.
    let Some(t) = (unsafe { t.as_ref() }) else { return &[] };
    if t.regions.is_null() {
        return &[];
    }
    // SAFETY: the caller's contract.
    let all = unsafe { core::slice::from_raw_parts(t.regions.cast_const(), t.cnt as usize) };
    if all.first().is_some_and(|r| r.size() == 0) { &[] } else { all }
}

/// Whether any region of a type overlaps a range.
///
/// # Safety
/// `t` must be null or point to a type whose `regions` hold `cnt` sorted regions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memblock_overlaps_region(
    t: *const memblock_type,
    base: phys_addr_t,
    size: phys_addr_t,
) -> bool {
    // SAFETY: this function's contract.
    let regions = unsafe { regions_of(t) };
    let i = regions.partition_point(|r| r.end().get() <= base);
    regions.get(i).is_some_and(|r| r.base().get() < base.saturating_add(size))
}

/// The node of the RAM region with frame `pfn`, or -1; its frames go to `start` and `end`.
///
/// # Safety
/// `start` and `end` must be valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memblock_search_pfn_nid(
    pfn: c_ulong,
    start: *mut c_ulong,
    end: *mut c_ulong,
) -> c_int {
    peek(-1, |m| {
        let pfn = Pfn::new(pfn);
        let Some((frames, _)) = m.search_pfn_nid(pfn) else { return -1 };
        // SAFETY: this function's contract.
        unsafe {
            start.write(frames.start.get());
            end.write(frames.end.get());
        }
        let found = m.search(Set::Memory, pfn.phys(m.config().page_shift));
        found.map_or(-1, |i| if m.config().numa { m.regions(Set::Memory)[i].raw_nid() } else { 0 })
    })
}
