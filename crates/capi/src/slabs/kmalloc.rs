//! `kmalloc` and its relatives.

use super::caches::{mask, node, pointer};
use super::slabs;
use crate::pages::gfp_t;
use core::ffi::{c_char, c_int, c_void};
use core::ptr::{NonNull, null_mut};
use pagewright_zone::Gfp;

/// Memory of so many bytes, or null. No bytes are at ZERO_SIZE_PTR (16), where nobody may look.
#[unsafe(no_mangle)]
pub extern "C" fn kmalloc(size: usize, gfp: gfp_t) -> *mut c_void {
    pointer(slabs().and_then(|s| s.run(|slabs, cx| slabs.kmalloc(cx, size, mask(gfp), None).ok()).flatten()))
}

/// The same near a node; a negative one is the CPU's.
#[unsafe(no_mangle)]
pub extern "C" fn kmalloc_node(size: usize, gfp: gfp_t, nid: c_int) -> *mut c_void {
    let Some(nid) = node(nid) else { return kmalloc(size, gfp) };
    let near = Some(nid);
    pointer(slabs().and_then(|s| s.run(|slabs, cx| slabs.kmalloc(cx, size, mask(gfp), near).ok()).flatten()))
}

/// The same, full of zeroes.
#[unsafe(no_mangle)]
pub extern "C" fn kzalloc(size: usize, gfp: gfp_t) -> *mut c_void {
    kmalloc(size, gfp | Gfp::ZERO.bits())
}

/// The same near a node.
#[unsafe(no_mangle)]
pub extern "C" fn kzalloc_node(size: usize, gfp: gfp_t, nid: c_int) -> *mut c_void {
    kmalloc_node(size, gfp | Gfp::ZERO.bits(), nid)
}

/// An array of `n` elements, or null, also if no number says how large that is.
#[unsafe(no_mangle)]
pub extern "C" fn kmalloc_array(n: usize, size: usize, gfp: gfp_t) -> *mut c_void {
    n.checked_mul(size).map_or(null_mut(), |bytes| kmalloc(bytes, gfp))
}

/// The same, full of zeroes.
#[unsafe(no_mangle)]
pub extern "C" fn kcalloc(n: usize, size: usize, gfp: gfp_t) -> *mut c_void {
    kmalloc_array(n, size, gfp | Gfp::ZERO.bits())
}

/// An array near a node.
#[unsafe(no_mangle)]
pub extern "C" fn kmalloc_array_node(n: usize, size: usize, gfp: gfp_t, nid: c_int) -> *mut c_void {
    n.checked_mul(size).map_or(null_mut(), |bytes| kmalloc_node(bytes, gfp, nid))
}

/// The same, full of zeroes.
#[unsafe(no_mangle)]
pub extern "C" fn kcalloc_node(n: usize, size: usize, gfp: gfp_t, nid: c_int) -> *mut c_void {
    kmalloc_array_node(n, size, gfp | Gfp::ZERO.bits(), nid)
}

/// How many bytes could be used of so many, were they allocated: those of their class, or of a block of pages. What is too large stays as it is.
#[unsafe(no_mangle)]
pub extern "C" fn kmalloc_size_roundup(size: usize) -> usize {
    slabs().map_or(size, |s| s.allocator().kmalloc_size_roundup(size))
}

/// Makes memory larger or smaller, and returns where it is then; null leaves it as it was. A null pointer is allocated anew, no bytes free it.
///
/// # Safety
/// `p` is null, ZERO_SIZE_PTR, or memory that [`kfree`] could free; unless this fails nobody uses it from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn krealloc(p: *const c_void, size: usize, gfp: gfp_t) -> *mut c_void {
    let old = NonNull::new(p.cast_mut().cast::<u8>());
    let Some(service) = slabs() else { return null_mut() };
    // SAFETY: as the caller says.
    pointer(service.run(|slabs, cx| unsafe { slabs.krealloc(cx, old, size, mask(gfp)) }.ok()).flatten())
}

/// The same for an array.
///
/// # Safety
/// As for [`krealloc`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn krealloc_array(p: *mut c_void, n: usize, size: usize, gfp: gfp_t) -> *mut c_void {
    match n.checked_mul(size) {
        // SAFETY: as the caller says.
        Some(bytes) => unsafe { krealloc(p, bytes, gfp) },
        None => null_mut(),
    }
}

/// Frees memory of any of these functions, or, but with SLOB, an object of any cache. Null and ZERO_SIZE_PTR are nothing.
///
/// # Safety
/// It was allocated here, and nobody uses it from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfree(p: *const c_void) {
    let (Some(service), Some(memory)) = (slabs(), NonNull::new(p.cast_mut().cast::<u8>())) else { return };
    // SAFETY: as the caller says.
    let _ = service.run(|slabs, cx| unsafe { slabs.kfree(cx, memory) });
}

/// The same, with all of it zeroed before.
///
/// # Safety
/// As for [`kfree`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfree_sensitive(p: *const c_void) {
    let (Some(service), Some(memory)) = (slabs(), NonNull::new(p.cast_mut().cast::<u8>())) else { return };
    // SAFETY: as the caller says.
    let _ = service.run(|slabs, cx| unsafe { slabs.kfree_sensitive(cx, memory) });
}

/// Frees all of an array ([`super::kmem_cache_free_bulk`] without a cache).
///
/// # Safety
/// `p` has `size` pointers that [`kfree`] may be given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfree_bulk(size: usize, p: *mut *mut c_void) {
    // SAFETY: as the caller says.
    unsafe { super::kmem_cache_free_bulk(null_mut(), size, p) };
}

/// Memory of so many bytes, or null ([`kmalloc`]): large sizes are blocks of pages, as there is no vmalloc for C that could make them of single ones.
#[unsafe(no_mangle)]
pub extern "C" fn kvmalloc(size: usize, gfp: gfp_t) -> *mut c_void {
    kmalloc(size, gfp)
}

/// The same near a node; a negative one is the CPU's.
#[unsafe(no_mangle)]
pub extern "C" fn kvmalloc_node(size: usize, gfp: gfp_t, nid: c_int) -> *mut c_void {
    kmalloc_node(size, gfp, nid)
}

/// The same, full of zeroes.
#[unsafe(no_mangle)]
pub extern "C" fn kvzalloc(size: usize, gfp: gfp_t) -> *mut c_void {
    kzalloc(size, gfp)
}

/// The same near a node.
#[unsafe(no_mangle)]
pub extern "C" fn kvzalloc_node(size: usize, gfp: gfp_t, nid: c_int) -> *mut c_void {
    kzalloc_node(size, gfp, nid)
}

/// An array of `n` elements, or null, also if no number says how large that is.
#[unsafe(no_mangle)]
pub extern "C" fn kvmalloc_array(n: usize, size: usize, gfp: gfp_t) -> *mut c_void {
    kmalloc_array(n, size, gfp)
}

/// The same, full of zeroes.
#[unsafe(no_mangle)]
pub extern "C" fn kvcalloc(n: usize, size: usize, gfp: gfp_t) -> *mut c_void {
    kcalloc(n, size, gfp)
}

/// Memory that is larger, with the first `old_size` bytes of what was there, which is freed then; null leaves it as it was. Where it has as many bytes as are asked
/// for, nothing changes.
///
/// # Safety
/// `p` is null, ZERO_SIZE_PTR, or memory that [`kvfree`] could free, with `old_size` bytes; unless this fails nobody uses it from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvrealloc(
    p: *const c_void,
    old_size: usize,
    new_size: usize,
    gfp: gfp_t,
) -> *mut c_void {
    if old_size >= new_size {
        return p.cast_mut();
    }
    let new = kvmalloc(new_size, gfp);
    if !new.is_null() {
        if old_size > 0 && !p.is_null() {
            // SAFETY: the caller has so many bytes at one, and more were just allocated at the other.
            unsafe { new.cast::<u8>().copy_from_nonoverlapping(p.cast(), old_size) };
        }
        // SAFETY: as the caller says.
        unsafe { kvfree(p) };
    }
    new
}

/// Frees memory of any of these functions ([`kfree`]).
///
/// # Safety
/// As for [`kfree`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvfree(p: *const c_void) {
    // SAFETY: as the caller says.
    unsafe { kfree(p) };
}

/// The same, with all of it zeroed before; how long it is is known.
///
/// # Safety
/// As for [`kfree`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvfree_sensitive(p: *const c_void, len: usize) {
    let _ = len;
    // SAFETY: as the caller says.
    unsafe { kfree_sensitive(p) };
}

/// How many bytes may be used of what was allocated; 0 of null, of ZERO_SIZE_PTR, and of what was not.
///
/// # Safety
/// With SLOB: `p` is null, ZERO_SIZE_PTR, or memory that [`kfree`] could free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ksize(p: *const c_void) -> usize {
    let memory = NonNull::new(p.cast_mut().cast::<u8>());
    // SAFETY: as the caller says; SLUB and SLAB take any address.
    slabs().zip(memory).map_or(0, |(s, memory)| unsafe { s.allocator().ksize(memory) })
}

/// Whether user space may be given these bytes (`__check_object_size`): inside one object, and inside the part of it that its cache's creator named.
#[unsafe(no_mangle)]
pub extern "C" fn pagewright_may_copy(p: *const c_void, n: usize) -> bool {
    let memory = NonNull::new(p.cast_mut().cast::<u8>());
    slabs().zip(memory).is_some_and(|(s, memory)| s.allocator().check_heap_object(memory, n, true).is_ok())
}

/// A copy of memory, or null.
///
/// # Safety
/// `src` has `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmemdup(src: *const c_void, len: usize, gfp: gfp_t) -> *mut c_void {
    let copy = kmalloc(len, gfp);
    if !copy.is_null() {
        // SAFETY: the caller has so many bytes at one, and so many were just allocated at the other.
        unsafe { copy.cast::<u8>().copy_from_nonoverlapping(src.cast(), len) };
    }
    copy
}

/// A copy of a text, or null, which is also what null's copy is.
///
/// # Safety
/// `s` is null or a NUL-terminated text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kstrdup(s: *const c_char, gfp: gfp_t) -> *mut c_char {
    if s.is_null() {
        return null_mut();
    }
    // SAFETY: as the caller says; the copy has the NUL too.
    unsafe { kmemdup(s.cast(), core::ffi::CStr::from_ptr(s).count_bytes() + 1, gfp).cast() }
}

/// A copy of at most `max` bytes of a text, which ends with a NUL; or null, which is also what null's copy is.
///
/// # Safety
/// `s` is null, or has `max` bytes or a NUL before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kstrndup(s: *const c_char, max: usize, gfp: gfp_t) -> *mut c_char {
    if s.is_null() {
        return null_mut();
    }
    // SAFETY: bytes up to the first NUL, as the caller says.
    let len = (0..max).take_while(|&n| unsafe { *s.add(n) } != 0).count();
    // SAFETY: so many bytes were just looked at.
    unsafe { kmemdup_nul(s, len, gfp) }
}

/// A copy of so many bytes with a NUL behind them, or null, which is also what null's copy is.
///
/// # Safety
/// `s` is null or has `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmemdup_nul(s: *const c_char, len: usize, gfp: gfp_t) -> *mut c_char {
    let Some(bytes) = len.checked_add(1).filter(|_| !s.is_null()) else { return null_mut() };
    let copy = kmalloc(bytes, gfp).cast::<c_char>();
    if !copy.is_null() {
        // SAFETY: the caller has so many bytes at one; at the other one more was just allocated.
        unsafe {
            copy.copy_from_nonoverlapping(s, len);
            copy.add(len).write(0);
        }
    }
    copy
}

/// A copy of a text that may be a constant, for [`kfree_const`]. Which texts are constants is not known here: it is always a copy.
///
/// # Safety
/// As for [`kstrdup`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kstrdup_const(s: *const c_char, gfp: gfp_t) -> *const c_char {
    // SAFETY: as the caller says.
    unsafe { kstrdup(s, gfp) }
}

/// Frees what [`kstrdup_const`] returned; anything else is reported.
///
/// # Safety
/// As for [`kfree`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kfree_const(p: *const c_void) {
    // SAFETY: as the caller says.
    unsafe { kfree(p) }
}
