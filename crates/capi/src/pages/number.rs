//! The functions that go by `struct page`.

use super::{Machine, bad, complain, gfp_t, machine, mask, node, order, page};
use crate::layout::phys_addr_t;
use core::ffi::{c_int, c_uint, c_ulong};
use core::ptr::null_mut;
use pagewright_addr::{Pfn, PhysAddr};

/// How many pages of a bulk allocation are on their way at once.
const AT_ONCE: usize = 64;

/// The page of a pointer; a pointer that is to none is as bad as a bad free.
fn known(machine: &Machine, at: *const page) -> Option<Pfn> {
    let found = machine.page_of(at);
    if found.is_none() {
        complain(format_args!("BUG: Bad page state: {at:p} is no struct page"));
    }
    found
}

/// Allocates `2^order` pages in a row, or null.
#[unsafe(no_mangle)]
pub extern "C" fn alloc_pages(gfp: gfp_t, n: c_uint) -> *mut page {
    alloc_pages_node(-1, gfp, n)
}

/// The same near a node; a negative one is the CPU's. Null for a node that there is not.
#[unsafe(no_mangle)]
pub extern "C" fn alloc_pages_node(nid: c_int, gfp: gfp_t, n: c_uint) -> *mut page {
    let (Some(machine), Some(order)) = (machine(), order(n)) else { return null_mut() };
    let Ok(nid) = node(nid) else { return null_mut() };
    let found = machine.run(|pages, cx| match nid {
        Some(nid) => pages.get_free_pages_node(cx, nid, mask(gfp), order),
        None => pages.get_free_pages(cx, mask(gfp), order),
    });
    found.map_or(null_mut(), |pfn| machine.pointer(pfn))
}

/// Fills the null pointers of an array with single pages, from the first on, and returns how many entries are filled from the first on.
///
/// # Safety
/// `array` has `len` elements, or `len` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn alloc_pages_bulk_array(gfp: gfp_t, len: c_ulong, array: *mut *mut page) -> c_ulong {
    let Some(machine) = machine().filter(|_| len > 0 && !array.is_null()) else { return 0 };
    // SAFETY: the caller's contract; C has no other use of the array during the call.
    let array = unsafe { core::slice::from_raw_parts_mut(array, len as usize) };
    let mut done = 0;
    for part in array.chunks_mut(AT_ONCE) {
        let mut numbers = [None; AT_ONCE];
        for (number, at) in numbers.iter_mut().zip(&*part) {
            *number = (!at.is_null()).then_some(Pfn::ZERO);
        }
        let mut batch = [const { None }; AT_ONCE];
        let wanted = &mut numbers[..part.len()];
        let filled = machine.run(|pages, cx| pages.get_free_pages_bulk(cx, mask(gfp), &mut batch, wanted));
        for (at, number) in part.iter_mut().zip(wanted) {
            if let Some(pfn) = number.filter(|_| at.is_null()) {
                *at = machine.pointer(pfn);
            }
        }
        done += filled;
        if filled < part.len() {
            break;
        }
    }
    done as c_ulong
}

/// Gives a block back, or one of its references if there are others. Null is nothing.
#[unsafe(no_mangle)]
pub extern "C" fn __free_pages(at: *mut page, n: c_uint) {
    let Some(machine) = machine().filter(|_| !at.is_null()) else { return };
    let Some(pfn) = known(machine, at) else { return };
    let Some(order) = order(n) else {
        return complain(format_args!("BUG: Bad page state pfn:{:05x}: there is no order {n}", pfn.get()));
    };
    let map = machine.base.map();
    let shared = map.idx(pfn).is_some_and(|idx| {
        !map.is_tail(idx) && map.word(idx).is(pagewright_page::State::Kernel) && map.refcount(idx) > 1
    });
    machine.run(|pages, cx| {
        if shared {
            bad(pages.put_page(cx, pfn));
        } else {
            bad(pages.free_pages_at(cx, pfn, order));
        }
    });
}

/// Makes a block single pages, each of which is freed by itself.
#[unsafe(no_mangle)]
pub extern "C" fn split_page(at: *mut page, n: c_uint) {
    let (Some(machine), Some(order)) = (machine(), order(n)) else { return };
    if let Some(pfn) = known(machine, at) {
        machine.run(|pages, cx| bad(pages.split_page_at(cx, pfn, order)));
    }
}

/// Takes a reference; of a compound page all pages count together.
#[unsafe(no_mangle)]
pub extern "C" fn get_page(at: *mut page) {
    let Some(machine) = machine() else { return };
    if let Some(pfn) = known(machine, at) {
        bad(machine.allocator.get_page(pfn));
    }
}

/// Gives a reference back, and with the last one a single or compound page.
#[unsafe(no_mangle)]
pub extern "C" fn put_page(at: *mut page) {
    let Some(machine) = machine() else { return };
    if let Some(pfn) = known(machine, at) {
        machine.run(|pages, cx| bad(pages.put_page(cx, pfn)));
    }
}

/// References to a page; of a compound page all pages count together.
#[unsafe(no_mangle)]
pub extern "C" fn page_count(at: *const page) -> c_int {
    look(at, 0, |machine, idx| {
        let map = machine.base.map();
        map.refcount(map.compound_head(idx)) as c_int
    })
}

/// The head of the compound page that a page is a tail of, or the page itself.
#[unsafe(no_mangle)]
pub extern "C" fn compound_head(at: *const page) -> *mut page {
    look(at, null_mut(), |machine, idx| {
        let map = machine.base.map();
        machine.pointer(map.pfn(map.compound_head(idx)))
    })
}

/// The order of the compound page that a page heads, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn compound_order(at: *const page) -> c_uint {
    look(at, 0, |machine, idx| machine.base.map().compound_order(idx).get().into())
}

/// Whether a page heads a compound page.
#[unsafe(no_mangle)]
pub extern "C" fn PageHead(at: *const page) -> c_int {
    look(at, 0, |machine, idx| machine.base.map().is_head(idx).into())
}

/// Whether a page is a compound page's tail.
#[unsafe(no_mangle)]
pub extern "C" fn PageTail(at: *const page) -> c_int {
    look(at, 0, |machine, idx| machine.base.map().is_tail(idx).into())
}

/// Whether a page belongs to a compound page.
#[unsafe(no_mangle)]
pub extern "C" fn PageCompound(at: *const page) -> c_int {
    PageHead(at) | PageTail(at)
}

fn look<R>(at: *const page, otherwise: R, f: impl FnOnce(&Machine, pagewright_page::FrameIdx) -> R) -> R {
    let found = machine().and_then(|machine| {
        let pfn = machine.page_of(at)?;
        Some((machine, machine.base.map().idx(pfn)?))
    });
    match found {
        Some((machine, idx)) => f(machine, idx),
        None => otherwise,
    }
}

/// A page's number; `ULONG_MAX` for what is no page.
#[unsafe(no_mangle)]
pub extern "C" fn page_to_pfn(at: *const page) -> c_ulong {
    machine().and_then(|machine| machine.page_of(at)).map_or(c_ulong::MAX, Pfn::get)
}

/// The page of a number, or null.
#[unsafe(no_mangle)]
pub extern "C" fn pfn_to_page(pfn: c_ulong) -> *mut page {
    machine().map_or(null_mut(), |machine| machine.pointer(Pfn::new(pfn)))
}

/// Where a page is in memory.
#[unsafe(no_mangle)]
pub extern "C" fn page_to_phys(at: *const page) -> phys_addr_t {
    machine().map_or(0, |machine| machine.page_of(at).map_or(0, |pfn| pfn.phys(machine.shift).get()))
}

/// The page at a physical address, or null.
#[unsafe(no_mangle)]
pub extern "C" fn phys_to_page(at: phys_addr_t) -> *mut page {
    machine().map_or(null_mut(), |machine| machine.pointer(PhysAddr::new(at).pfn(machine.shift)))
}
