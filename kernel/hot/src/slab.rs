//! Slabs in the types of an image, and the loops that measure them.

use crate::masking::Masking;
use core::ptr::NonNull;
use pagewright_slab::{CacheId, DirectMemory, SlabContext, SlabError, Slabs};
use pagewright_zone::Gfp;

/// The image's slabs.
pub type ImageSlabs = Slabs<'static, 'static, Masking, DirectMemory<'static>>;
/// Who asks them.
pub type Asks<'c> = SlabContext<'c, 'static, 'static>;

/// Where objects come from.
#[derive(Clone, Copy, Debug)]
pub enum ObjectsFrom {
    /// kmalloc, so many bytes.
    Kmalloc(usize),
    /// A cache.
    Cache(CacheId),
}

/// An object. Its own function, so that what is measured is a call as the image's other code makes it.
///
/// # Errors
/// The slabs'.
#[inline(always)]
fn take(slabs: &ImageSlabs, cx: &Asks<'_>, from: ObjectsFrom) -> Result<NonNull<u8>, SlabError> {
    match from {
        ObjectsFrom::Kmalloc(bytes) => slabs.kmalloc(cx, bytes, Gfp::GFP_KERNEL),
        ObjectsFrom::Cache(cache) => slabs.alloc(cx, cache, Gfp::GFP_KERNEL),
    }
}

/// Gives it back.
///
/// # Safety
/// It came from there, and nobody uses it.
#[inline(always)]
unsafe fn give(slabs: &ImageSlabs, cx: &Asks<'_>, from: ObjectsFrom, object: NonNull<u8>) {
    match from {
        // SAFETY: the caller's.
        ObjectsFrom::Kmalloc(_) => unsafe { slabs.kfree(cx, object) },
        // SAFETY: the caller's.
        ObjectsFrom::Cache(cache) => unsafe { slabs.free(cx, cache, object) },
    }
}

/// Takes an object and gives it back, `rounds` times. Returns how often there was none.
#[inline(never)]
pub fn object_pairs(slabs: &ImageSlabs, cx: &Asks<'_>, from: ObjectsFrom, rounds: u64) -> u64 {
    let mut failed = 0;
    for _ in 0..rounds {
        match take(slabs, cx, core::hint::black_box(from)) {
            // SAFETY: just taken, and nobody else knows it.
            Ok(object) => unsafe { give(slabs, cx, from, core::hint::black_box(object)) },
            Err(_) => failed += 1,
        }
    }
    failed
}

/// Takes as many objects as there are places. Returns how many there were.
#[inline(never)]
pub fn take_objects(
    slabs: &ImageSlabs,
    cx: &Asks<'_>,
    from: ObjectsFrom,
    places: &mut [Option<NonNull<u8>>],
) -> usize {
    let mut n = 0;
    for place in places {
        let Ok(object) = take(slabs, cx, core::hint::black_box(from)) else { break };
        *place = Some(object);
        n += 1;
    }
    n
}

/// Gives all of them back.
///
/// # Safety
/// They came from there, and nobody uses them.
#[inline(never)]
pub unsafe fn give_objects(
    slabs: &ImageSlabs,
    cx: &Asks<'_>,
    from: ObjectsFrom,
    places: &mut [Option<NonNull<u8>>],
) {
    for object in places.iter_mut().filter_map(Option::take) {
        // SAFETY: the caller's.
        unsafe { give(slabs, cx, from, object) };
    }
}
