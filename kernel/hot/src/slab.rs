//! Slabs in the types of an image, and the loops that measure them.

use crate::masking::Masking;
use core::hint::black_box;
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

/// Takes an object and gives it back, `rounds` times, until there is none. Returns whether there always was one.
#[inline(never)]
pub fn object_pairs(slabs: &ImageSlabs, cx: &Asks<'_>, from: ObjectsFrom, rounds: usize) -> bool {
    let gfp = Gfp::GFP_KERNEL;
    match black_box(from) {
        ObjectsFrom::Kmalloc(bytes) => pairs(
            rounds,
            || slabs.kmalloc(cx, bytes, gfp),
            // SAFETY: just taken, and nobody else knows it.
            |object| unsafe { slabs.kfree(cx, object) },
        ),
        ObjectsFrom::Cache(cache) => pairs(
            rounds,
            || slabs.alloc(cx, cache, gfp),
            // SAFETY: just taken, and nobody else knows it.
            |object| unsafe { slabs.free(cx, cache, object) },
        ),
    }
}

/// The loop, compiled for either, so that it asks nothing itself. It counts in the processor's words, and nothing but rounds: where there are few registers, what it kept beside would cost more
/// than what is measured could save.
#[inline(always)]
fn pairs(
    rounds: usize,
    take: impl Fn() -> Result<NonNull<u8>, SlabError>,
    give: impl Fn(NonNull<u8>),
) -> bool {
    for _ in 0..rounds {
        let Ok(object) = take() else { return false };
        give(object);
    }
    true
}

/// Takes as many objects as there are places, until there are no more. Returns whether there were enough.
#[inline(never)]
pub fn take_objects(
    slabs: &ImageSlabs,
    cx: &Asks<'_>,
    from: ObjectsFrom,
    places: &mut [Option<NonNull<u8>>],
) -> bool {
    let gfp = Gfp::GFP_KERNEL;
    match black_box(from) {
        ObjectsFrom::Kmalloc(bytes) => fill(places, || slabs.kmalloc(cx, bytes, gfp)),
        ObjectsFrom::Cache(cache) => fill(places, || slabs.alloc(cx, cache, gfp)),
    }
}

#[inline(always)]
fn fill(places: &mut [Option<NonNull<u8>>], take: impl Fn() -> Result<NonNull<u8>, SlabError>) -> bool {
    for place in places {
        let Ok(object) = take() else { return false };
        *place = Some(object);
    }
    true
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
    let objects = places.iter_mut().filter_map(Option::take);
    match from {
        // SAFETY: the caller's.
        ObjectsFrom::Kmalloc(_) => objects.for_each(|object| unsafe { slabs.kfree(cx, object) }),
        // SAFETY: the caller's.
        ObjectsFrom::Cache(cache) => objects.for_each(|object| unsafe { slabs.free(cx, cache, object) }),
    }
}
