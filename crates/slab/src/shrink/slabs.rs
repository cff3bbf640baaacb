//! The slabs as a shrinker: its objects are pages of slabs of which no object is in use.

use super::{ShrinkControl, Shrinker};
use crate::objects::ObjectAllocator;
use crate::slabs::SlabContext;
use core::fmt;
use core::marker::PhantomData;

/// What is done with the slabs, on behalf of the processor that it is done on.
pub type SlabWork<'w, 'k, 'a> = &'w mut dyn FnMut(&dyn ObjectAllocator<'k, 'a>, &SlabContext<'_, 'k, 'a>);

/// What names the slabs' lifetimes, exactly, in a value that has nothing of them.
pub(crate) type Lifetimes<'k, 'a> = (fn(&'k ()) -> &'k (), fn(&'a ()) -> &'a ());

/// Empty slabs of all caches, of any design. `F` calls what it is given with the slabs and the context of this processor, or not at all if there is none.
pub struct SlabShrinker<'k, 'a, F> {
    with: F,
    of: PhantomData<Lifetimes<'k, 'a>>,
}

impl<'k, 'a, F: Fn(SlabWork<'_, 'k, 'a>) + Sync> SlabShrinker<'k, 'a, F> {
    /// The slabs that `with` knows. It is asked inside an allocation, of objects perhaps: with the processor's rows in use, as in an interrupt handler.
    pub const fn new(with: F) -> Self {
        Self { with, of: PhantomData }
    }
}

impl<'k, 'a, F: Fn(SlabWork<'_, 'k, 'a>) + Sync> Shrinker for SlabShrinker<'k, 'a, F> {
    fn count_objects(&self, _: &ShrinkControl) -> u64 {
        let mut pages = 0;
        (self.with)(&mut |objects, cx| pages = objects.empty_pages(cx));
        pages
    }

    fn scan_objects(&self, sc: &mut ShrinkControl) -> Option<u64> {
        let mut freed = 0;
        (self.with)(&mut |objects, cx| freed = objects.shrink_all(cx, sc.nr_to_scan));
        // More may have gone with the last cache's.
        sc.nr_scanned = sc.nr_to_scan.max(freed);
        sc.pages += freed;
        (freed > 0).then_some(freed)
    }

    fn seeks(&self) -> u32 {
        // Empty slabs are made anew without any I/O.
        0
    }

    fn batch(&self) -> u64 {
        super::SWAP_CLUSTER_MAX
    }
}

impl<F> fmt::Debug for SlabShrinker<'_, '_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabShrinker").finish_non_exhaustive()
    }
}
