//! `kmem_cache_*`.

use super::{Allocator, slabs};
use crate::global::options;
use crate::pages::gfp_t;
use crate::print::Text;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::ptr::{NonNull, null_mut};
use pagewright_addr::NodeId;
use pagewright_slab::slabs::cache::Ctor;
use pagewright_slab::slabs::{CreateError, DestroyError, Destroyed};
use pagewright_slab::{CacheFlags, CacheId, CacheSpec};
use pagewright_zone::Gfp;

/// `struct kmem_cache`: opaque, and behind no pointer that C gets.
#[repr(C)]
#[derive(Debug)]
pub struct kmem_cache {
    opaque: [u8; 0],
}

/// `slab_flags_t`.
pub type slab_flags_t = c_uint;

/// Most objects of a cache that could not be destroyed whose addresses are printed.
const NAMED: u32 = 16;

/// Linux's numbers.
const FLAGS: [(slab_flags_t, CacheFlags); 14] = [
    (0x100, CacheFlags::CONSISTENCY_CHECKS),
    (0x400, CacheFlags::RED_ZONE),
    (0x800, CacheFlags::POISON),
    (0x2000, CacheFlags::HWCACHE_ALIGN),
    (0x4000, CacheFlags::CACHE_DMA),
    (0x8000, CacheFlags::CACHE_DMA32),
    (0x1_0000, CacheFlags::STORE_USER),
    (0x2_0000, CacheFlags::RECLAIM_ACCOUNT),
    (0x4_0000, CacheFlags::PANIC),
    (0x8_0000, CacheFlags::TYPESAFE_BY_RCU),
    (0x20_0000, CacheFlags::TRACE),
    (0x80_0000, CacheFlags::NOLEAKTRACE),
    (0x200_0000, CacheFlags::FAILSLAB),
    (0x400_0000, CacheFlags::ACCOUNT),
];
/// Flags that ask for nothing that there is here: SLAB_MEM_SPREAD, SLAB_DEBUG_OBJECTS, SLAB_KASAN, SLAB_NO_USER_FLAGS.
const IGNORED: slab_flags_t = 0x10_0000 | 0x40_0000 | 0x800_0000 | 0x1000_0000;

fn flags(asked: slab_flags_t) -> Option<CacheFlags> {
    let mut left = asked & !IGNORED;
    let mut found = CacheFlags::empty();
    for (bit, flag) in FLAGS {
        if left & bit != 0 {
            found |= flag;
            left &= !bit;
        }
    }
    (left == 0).then_some(found)
}

/// What C calls a cache.
fn handle(id: CacheId) -> *mut kmem_cache {
    core::ptr::without_provenance_mut(id.to_raw() as usize)
}

/// The cache that C means. What is no handle is one that no cache has.
pub(super) fn cache(handle: *const kmem_cache) -> Option<CacheId> {
    u32::try_from(handle.addr()).ok().and_then(CacheId::from_raw)
}

/// A mask as objects are asked for.
pub(super) fn mask(gfp: gfp_t) -> Gfp {
    Gfp::from_bits_truncate(gfp)
}

pub(super) fn pointer(found: Option<NonNull<u8>>) -> *mut c_void {
    found.map_or(null_mut(), |object| object.as_ptr().cast())
}

/// A node that C names; a negative one is none.
pub(super) fn node(nid: c_int) -> Option<NodeId> {
    u16::try_from(nid).ok().and_then(NodeId::new)
}

fn say(text: core::fmt::Arguments<'_>) {
    Text::new(&options()).line(text);
}

/// A cache of objects of `size` bytes, or null, which says why. A cache with SLAB_PANIC is there when this returns.
///
/// # Safety
/// `name` is null or a NUL-terminated text; `ctor` is null or a function that is content with the address of any object of this size and
/// alignment, writes inside it only, and calls no allocator.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_create(
    name: *const c_char,
    size: c_uint,
    align: c_uint,
    asked: slab_flags_t,
    ctor: Option<Ctor>,
) -> *mut kmem_cache {
    // SAFETY: as the caller says.
    unsafe { kmem_cache_create_usercopy(name, size, align, asked, 0, 0, ctor) }
}

/// The same, with the bytes of an object that user space may be given. Bytes that do not lie in an object are none, and that is said.
///
/// # Safety
/// As for [`kmem_cache_create`].
///
/// # Panics
/// If a cache with SLAB_PANIC cannot be made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_create_usercopy(
    name: *const c_char,
    size: c_uint,
    align: c_uint,
    asked: slab_flags_t,
    useroffset: c_uint,
    usersize: c_uint,
    ctor: Option<Ctor>,
) -> *mut kmem_cache {
    let text = if name.is_null() {
        ""
    } else {
        // SAFETY: as the caller says.
        unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("")
    };
    let Some(flags) = flags(asked) else {
        say(format_args!("kmem_cache_create: Failed to create slab '{text}': no such flags: {asked:#x}"));
        return null_mut();
    };
    let inside =
        u64::from(useroffset) + u64::from(usersize) <= size.into() && (usersize > 0 || useroffset == 0);
    if !inside {
        say(format_args!(
            "kmem_cache_create: slab '{text}': {usersize} bytes from byte {useroffset} on are not inside an object, users are given none"
        ));
    }
    let region = if inside { (useroffset, usersize) } else { (0, 0) };
    let spec = CacheSpec::new(text, size.into(), align.into(), flags).with_usercopy(region.0, region.1);
    let spec = match ctor {
        // SAFETY: as the caller says.
        Some(ctor) => unsafe { spec.with_ctor(ctor) },
        None => spec,
    };
    let made: Result<_, Option<CreateError>> = match slabs() {
        Some(service) => {
            service.run(|slabs, cx| service.end_left(slabs, cx));
            service.allocator().create(&spec).map_err(Some)
        }
        None => Err(None),
    };
    match made {
        Ok(id) => handle(id),
        Err(why) => {
            let none: &dyn core::fmt::Display = &"there are no slabs yet";
            let why = why.as_ref().map_or(none, |why| why);
            say(format_args!("kmem_cache_create: Failed to create slab '{text}': {why}"));
            assert!(!flags.contains(CacheFlags::PANIC), "kmem_cache_create: no cache '{text}': {why}");
            null_mut()
        }
    }
}

/// Ends a cache. One with objects in use stays, and prints which; one of SLAB_TYPESAFE_BY_RCU whose readers have not left ends with the first
/// [`super::pagewright_slab_reap`], or new cache, after they have. Null is nothing.
///
/// # Safety
/// Nobody uses the cache from now on, unless it stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_destroy(s: *mut kmem_cache) {
    let Some(service) = slabs().filter(|_| !s.is_null()) else { return };
    let Some(id) = cache(s) else { return say(format_args!("kmem_cache_destroy: {s:p} is no cache")) };
    if service.is_ending(id) {
        return remains(service.allocator(), id, DestroyError::Stale);
    }
    // SAFETY: as the caller says.
    match service.run(|slabs, cx| unsafe { slabs.destroy(cx, id) }) {
        Some(Ok(Destroyed::Gone | Destroyed::Shared)) | None => {}
        Some(Err(DestroyError::Readers { .. })) => service.end_later(id),
        Some(Err(why)) => remains(service.allocator(), id, why),
    }
}

/// Says why a cache is still there.
pub(super) fn remains(slabs: &Allocator<'_>, id: CacheId, why: DestroyError) {
    let Some(row) = slabs.row(id).filter(|_| why != DestroyError::Stale) else {
        return say(format_args!("kmem_cache_destroy: {why}"));
    };
    say(format_args!("kmem_cache_destroy {}: Slab cache still has objects: {why}", row.name));
    let mut left = NAMED;
    slabs.objects_in_use(id, &mut |address| {
        if left > 0 {
            say(format_args!("Object {address:#x}"));
        }
        left = left.saturating_sub(1);
    });
}

/// Gives all free slabs of a cache back. Returns 0 if none is left, else 1.
#[unsafe(no_mangle)]
pub extern "C" fn kmem_cache_shrink(s: *mut kmem_cache) -> c_int {
    let Some((service, id)) = slabs().zip(cache(s)) else { return 0 };
    service.run(|slabs, cx| slabs.shrink(cx, id)).map_or(0, c_int::from)
}

/// Bytes of an object, the most that any of its cache's creators said; 0 of what is no cache.
#[unsafe(no_mangle)]
pub extern "C" fn kmem_cache_size(s: *mut kmem_cache) -> c_uint {
    let size = slabs().zip(cache(s)).and_then(|(service, id)| service.allocator().object_size(id));
    size.map_or(0, |bytes| bytes as c_uint)
}

/// An object, or null.
#[unsafe(no_mangle)]
pub extern "C" fn kmem_cache_alloc(s: *mut kmem_cache, gfp: gfp_t) -> *mut c_void {
    let Some((service, id)) = slabs().zip(cache(s)) else { return null_mut() };
    pointer(service.run(|slabs, cx| slabs.alloc(cx, id, mask(gfp)).ok()).flatten())
}

/// An object, or null. No list of recently used objects is kept, so `lru` is nothing.
#[unsafe(no_mangle)]
pub extern "C" fn kmem_cache_alloc_lru(s: *mut kmem_cache, lru: *mut c_void, gfp: gfp_t) -> *mut c_void {
    let _ = lru;
    kmem_cache_alloc(s, gfp)
}

/// An object full of zeroes, or null.
#[unsafe(no_mangle)]
pub extern "C" fn kmem_cache_zalloc(s: *mut kmem_cache, gfp: gfp_t) -> *mut c_void {
    kmem_cache_alloc(s, gfp | Gfp::ZERO.bits())
}

/// An object of a node, if that has memory, or null; a negative node is the CPU's.
#[unsafe(no_mangle)]
pub extern "C" fn kmem_cache_alloc_node(s: *mut kmem_cache, gfp: gfp_t, nid: c_int) -> *mut c_void {
    let Some(nid) = node(nid) else { return kmem_cache_alloc(s, gfp) };
    let Some((service, id)) = slabs().zip(cache(s)) else { return null_mut() };
    pointer(service.run(|slabs, cx| slabs.alloc_node(cx, id, mask(gfp), nid).ok()).flatten())
}

/// Frees an object; one of another cache is reported and goes to its own. Null is nothing.
///
/// # Safety
/// The object was allocated here, and nobody uses it from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_free(s: *mut kmem_cache, object: *mut c_void) {
    let (Some(service), Some(object)) = (slabs(), NonNull::new(object.cast::<u8>())) else { return };
    let Some(id) = cache(s) else { return say(format_args!("kmem_cache_free: {s:p} is no cache")) };
    // SAFETY: as the caller says.
    let _ = service.run(|slabs, cx| unsafe { slabs.free(cx, id, object) });
}

/// Fills an array with objects, all of it or nothing. Returns how many: `size` or 0.
///
/// # Safety
/// `p` has room for `size` pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_alloc_bulk(
    s: *mut kmem_cache,
    gfp: gfp_t,
    size: usize,
    p: *mut *mut c_void,
) -> c_int {
    let (Some((service, id)), Ok(all)) = (slabs().zip(cache(s)), c_int::try_from(size)) else { return 0 };
    if size == 0 || p.is_null() {
        return 0;
    }
    // SAFETY: there is room for so many pointers, as the caller says; all zeroes is a pointer to nothing, which is `None`.
    let places = unsafe {
        p.write_bytes(0, size);
        core::slice::from_raw_parts_mut(p.cast::<Option<NonNull<u8>>>(), size)
    };
    match service.run(|slabs, cx| slabs.alloc_bulk(cx, id, mask(gfp), places)) {
        Some(Ok(())) => all,
        _ => 0,
    }
}

/// Frees all objects of an array, of whichever cache they are if `s` is null. Null pointers among them are nothing. The array is null afterwards.
///
/// # Safety
/// `p` has `size` pointers, each of which may be freed ([`kmem_cache_free`]).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmem_cache_free_bulk(s: *mut kmem_cache, size: usize, p: *mut *mut c_void) {
    if size == 0 || p.is_null() {
        return;
    }
    // SAFETY: so many pointers, as the caller says; one to nothing is `None`.
    let objects = unsafe { core::slice::from_raw_parts_mut(p.cast::<Option<NonNull<u8>>>(), size) };
    let id = cache(s);
    if let Some(service) = slabs()
        && (s.is_null() || id.is_some())
    {
        // SAFETY: all of them may be freed, as the caller says.
        let _ = service.run(|slabs, cx| unsafe {
            match id {
                Some(id) => slabs.free_bulk(cx, id, objects),
                None => {
                    objects.iter_mut().filter_map(Option::take).for_each(|memory| slabs.kfree(cx, memory))
                }
            }
        });
    } else if slabs().is_some() {
        say(format_args!("kmem_cache_free_bulk: {s:p} is no cache"));
    }
    objects.fill(None);
}
