//! The functions behind C's `for_each_*` macros.
//!
//! Their state is one number that the macros treat as opaque, except for its start and its end (0 and
//! `ULLONG_MAX` upwards, `ULLONG_MAX` both times downwards; -1 both times for frames). Here it is the address
//! that the walk has reached, so a body may change the sets.

use crate::global::{page_shift, peek, set_of};
use crate::layout::{memblock_type, phys_addr_t};
use crate::query::regions_of;
use core::ffi::{c_int, c_uint, c_ulong};
use pagewright_addr::{NodeId, PhysAddr, PhysRange};
use pagewright_memblock::{Flags, Set};

const DONE: u64 = u64::MAX;

/// Where C wants a range; each pointer may be null.
struct Out {
    start: *mut phys_addr_t,
    end: *mut phys_addr_t,
    nid: *mut c_int,
}

impl Out {
    /// # Safety
    /// Each pointer must be null or valid for writing.
    unsafe fn put(&self, (start, end, nid): (u64, u64, c_int)) {
        if !self.start.is_null() {
            // SAFETY: the caller's contract.
            unsafe { self.start.write(start) };
        }
        if !self.end.is_null() {
            // SAFETY: the caller's contract.
            unsafe { self.end.write(end) };
        }
        if !self.nid.is_null() {
            // SAFETY: the caller's contract.
            unsafe { self.nid.write(nid) };
        }
    }
}

/// What a walk visits.
struct Walk {
    of: *const memblock_type,
    without: *const memblock_type,
    nid: c_int,
    flags: c_uint,
}

impl Walk {
    /// The first or last range inside a window.
    ///
    /// # Safety
    /// As for [`regions_of`], for both types.
    unsafe fn find(&self, lo: u64, hi: u64, from_above: bool) -> Option<(u64, u64, c_int)> {
        // SAFETY: the caller's contract.
        let (of, without) = unsafe { (regions_of(self.of), regions_of(self.without)) };
        // Only RAM has nodes and flags to choose by.
        let nid = u16::try_from(self.nid).ok().and_then(NodeId::new);
        let only =
            (set_of(self.of) == Some(Set::Memory)).then_some((nid, Flags::from_bits_retain(self.flags)));
        let window = PhysRange::new(PhysAddr::new(lo), PhysAddr::new(hi));
        peek(None, |m| {
            let mut ranges = m.ranges_outside(of, without, only, window);
            if from_above { ranges.next_back_raw() } else { ranges.next_raw() }
        })
    }
}

/// The next range of `type_a` that is not in `type_b`, upwards.
///
/// # Safety
/// `idx` must be valid; the types null or as for [`memblock_overlaps_region`](crate::memblock_overlaps_region);
/// each output null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __next_mem_range(
    idx: *mut u64,
    nid: c_int,
    flags: c_uint,
    type_a: *mut memblock_type,
    type_b: *mut memblock_type,
    out_start: *mut phys_addr_t,
    out_end: *mut phys_addr_t,
    out_nid: *mut c_int,
) {
    let walk = Walk { of: type_a, without: type_b, nid, flags };
    // SAFETY: this function's contract.
    let lo = unsafe { idx.read() };
    // A range that ended at the very last address has left its mark one below (see the end).
    // SAFETY: this function's contract.
    let found = if lo >= DONE - 1 { None } else { unsafe { walk.find(lo, u64::MAX, false) } };
    let Some(range) = found else {
        // SAFETY: this function's contract.
        unsafe { idx.write(DONE) };
        return;
    };
    // SAFETY: this function's contract.
    unsafe {
        Out { start: out_start, end: out_end, nid: out_nid }.put(range);
        idx.write(range.1.min(DONE - 1));
    }
}

/// The next range of `type_a` that is not in `type_b`, downwards.
///
/// # Safety
/// As for [`__next_mem_range`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __next_mem_range_rev(
    idx: *mut u64,
    nid: c_int,
    flags: c_uint,
    type_a: *mut memblock_type,
    type_b: *mut memblock_type,
    out_start: *mut phys_addr_t,
    out_end: *mut phys_addr_t,
    out_nid: *mut c_int,
) {
    let walk = Walk { of: type_a, without: type_b, nid, flags };
    // SAFETY: this function's contract.
    let found = unsafe { walk.find(0, idx.read(), true) };
    let Some(range) = found else {
        // SAFETY: this function's contract.
        unsafe { idx.write(DONE) };
        return;
    };
    // SAFETY: this function's contract. A range starts below its end, so this is never the end mark.
    unsafe {
        Out { start: out_start, end: out_end, nid: out_nid }.put(range);
        idx.write(range.0);
    }
}

/// The next RAM region with a whole frame, on a node or (-1 or `MAX_NUMNODES`) on any; `idx` is its index.
///
/// # Safety
/// `idx` must be valid; each output null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __next_mem_pfn_range(
    idx: *mut c_int,
    nid: c_int,
    out_start: *mut c_ulong,
    out_end: *mut c_ulong,
    out_nid: *mut c_int,
) {
    let options = crate::global::options();
    let any = nid < 0 || nid == options.max_numnodes;
    let shift = page_shift();
    // SAFETY: this function's contract.
    let first = usize::try_from(unsafe { idx.read() }.wrapping_add(1)).unwrap_or(0);
    let found = peek(None, |m| {
        m.regions(Set::Memory).iter().enumerate().skip(first).find_map(|(i, r)| {
            let frames = r.range().frames_inside(shift);
            let on = if options.numa { r.raw_nid() } else { 0 };
            let hit = !frames.is_empty() && (any || on == nid);
            hit.then_some((i, (frames.start.get(), frames.end.get(), on)))
        })
    });
    let out = Out { start: out_start, end: out_end, nid: out_nid };
    let (next, range) = match found {
        Some((i, range)) => (c_int::try_from(i).unwrap_or(-1), Some(range)),
        None => (-1, None),
    };
    // SAFETY: this function's contract.
    unsafe {
        idx.write(next);
        if let Some(range) = range {
            out.put(range);
        }
    }
}
