//! The functions that go by address in the linear map.

use super::{bad, complain, gfp_t, machine, mask, node, order, page};
use core::ffi::{c_int, c_uint, c_ulong, c_void};
use core::ptr::null_mut;
use pagewright_addr::VirtAddr;

fn pointer(at: u64) -> *mut c_void {
    core::ptr::with_exposed_provenance_mut(at as usize)
}

/// Allocates `2^order` pages in a row and returns their address, or 0. `__GFP_HIGHMEM` is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn __get_free_pages(gfp: gfp_t, n: c_uint) -> c_ulong {
    let (Some(machine), Some(order)) = (machine(), order(n)) else { return 0 };
    let found = machine.run(|_, cx| machine.by_address().get_free_pages(cx, mask(gfp), order));
    found.map_or(0, VirtAddr::get)
}

/// One zeroed page, or 0.
#[unsafe(no_mangle)]
pub extern "C" fn get_zeroed_page(gfp: gfp_t) -> c_ulong {
    let Some(machine) = machine() else { return 0 };
    machine.run(|_, cx| machine.by_address().get_zeroed_page(cx, mask(gfp))).map_or(0, VirtAddr::get)
}

/// Gives a block back; address 0 is nothing.
#[unsafe(no_mangle)]
pub extern "C" fn free_pages(addr: c_ulong, n: c_uint) {
    let Some(machine) = machine() else { return };
    let Some(order) = order(n) else {
        return complain(format_args!("BUG: Bad page state: there is no order {n}"));
    };
    machine.run(|_, cx| bad(machine.by_address().free_pages(cx, VirtAddr::new(addr), order)));
}

/// Room for `size` bytes and no page more than it takes, or null.
#[unsafe(no_mangle)]
pub extern "C" fn alloc_pages_exact(size: usize, gfp: gfp_t) -> *mut c_void {
    let Some(machine) = machine() else { return null_mut() };
    let found = machine.run(|_, cx| machine.by_address().alloc_pages_exact(cx, size as u64, mask(gfp)));
    found.map_or(null_mut(), |at| pointer(at.get()))
}

/// The same near a node; a negative one is the CPU's. Null for a node that there is not.
#[unsafe(no_mangle)]
pub extern "C" fn alloc_pages_exact_nid(nid: c_int, size: usize, gfp: gfp_t) -> *mut c_void {
    let Some(machine) = machine() else { return null_mut() };
    let nid = match node(nid) {
        Ok(Some(nid)) => nid,
        Ok(None) => return alloc_pages_exact(size, gfp),
        Err(()) => return null_mut(),
    };
    let pages = machine.shift.pages_for(size as u64);
    let found = machine.run(|all, cx| all.get_free_pages_exact_nid(cx, nid, mask(gfp), pages));
    found.map_or(null_mut(), |pfn| pointer(machine.by_address().address_of(pfn).get()))
}

/// Gives back what `alloc_pages_exact` gave, of the same size. Null is nothing.
#[unsafe(no_mangle)]
pub extern "C" fn free_pages_exact(at: *mut c_void, size: usize) {
    let Some(machine) = machine().filter(|_| !at.is_null()) else { return };
    let at = VirtAddr::new(at.addr() as u64);
    machine.run(|_, cx| bad(machine.by_address().free_pages_exact(cx, at, size as u64)));
}

/// The address of a page, or null.
#[unsafe(no_mangle)]
pub extern "C" fn page_address(of: *const page) -> *mut c_void {
    machine().map_or(null_mut(), |machine| {
        machine.page_of(of).map_or(null_mut(), |pfn| pointer(machine.by_address().address_of(pfn).get()))
    })
}

/// The page at an address, or null.
#[unsafe(no_mangle)]
pub extern "C" fn virt_to_page(at: *const c_void) -> *mut page {
    machine().map_or(null_mut(), |machine| {
        machine.pointer(machine.by_address().page_at(VirtAddr::new(at.addr() as u64)))
    })
}
