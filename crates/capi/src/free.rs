//! Giving memory back, and giving all of it to a page allocator.

use crate::edit::memblock_phys_free;
use crate::global::{largest_order, low_end, options, page_shift, peek, with};
use crate::layout::{Options, phys_addr_t};
use core::ffi::{c_uint, c_ulong, c_void};
use pagewright_addr::PhysRange;
use pagewright_memblock::{Flags, Region, Set};

/// Gives memory back that was allocated by pointer. Null is nothing.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_free(ptr: *mut c_void, size: usize) {
    if !ptr.is_null() {
        let base = ptr.expose_provenance().wrapping_sub(options().virt_offset as usize);
        memblock_phys_free(base as phys_addr_t, size as phys_addr_t);
    }
}

/// Hands frames to the page allocator in the largest aligned blocks.
fn give_blocks(options: &Options, mut start: u64, end: u64) {
    let Some(give) = options.free_pages else { return };
    while start < end {
        let fits = (end - start).ilog2();
        let order = start.trailing_zeros().min(fits).min(largest_order(options));
        // SAFETY: a hook; its contract is the header's.
        unsafe { give(start as c_ulong, order as c_uint) };
        start += 1 << order;
    }
}

/// Gives all free low memory to the page allocator, through the hooks in the options: first every reserved and
/// unmapped range is announced, then the free pages come, in the largest aligned blocks.
///
/// Hot-pluggable marks are cleared before. C decides when memblock's time is over; this library does not refuse
/// later calls.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_free_all() {
    let options = options();
    // Like Linux, go on if the marks cannot be cleared.
    let _ = with(|m| m.set_flag(pagewright_addr::PhysAddr::ZERO, u64::MAX, Flags::HOTPLUG, false));
    if let Some(announce) = options.reserve_region {
        let tell = |r: PhysRange| {
            // SAFETY: a hook; its contract is the header's.
            unsafe { announce(r.start.get(), r.end.get()) }
        };
        peek((), |m| {
            m.reserved_ranges().for_each(tell);
            let unmapped = m.regions(Set::Memory).iter().filter(|r| r.flags().contains(Flags::NOMAP));
            unmapped.map(Region::range).for_each(tell);
        });
    }
    let (shift, end) = (page_shift(), low_end());
    peek((), |m| {
        for (range, _) in m.free_ranges(None, Flags::NONE) {
            let frames = range.frames_inside(shift);
            give_blocks(&options, frames.start.get(), frames.end.get().min(end));
        }
    });
}

/// Gives the whole pages of a range to the page allocator, after [`memblock_free_all`].
#[unsafe(no_mangle)]
pub extern "C" fn memblock_free_late(base: phys_addr_t, size: phys_addr_t) {
    let options = options();
    let range = PhysRange::from_len(pagewright_addr::PhysAddr::new(base), size);
    let frames = range.frames_inside(page_shift());
    if let Some(give) = options.free_pages {
        for pfn in frames.start.get()..frames.end.get() {
            // SAFETY: a hook; its contract is the header's.
            unsafe { give(pfn as c_ulong, 0) };
        }
    }
}

/// Gives the memory of grown region arrays to the page allocator, after [`memblock_free_all`], and empties the
/// sets.
#[unsafe(no_mangle)]
pub extern "C" fn memblock_discard() {
    for block in crate::global::forget_arrays().into_iter().flatten() {
        memblock_free_late(block.start.get(), block.len());
    }
}
