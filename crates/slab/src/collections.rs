//! [`Global`] as an allocator of single collections: `allocator-api2`'s trait, which mirrors the standard library's unstable one.

use crate::heap::{Global, Heap};
use allocator_api2::alloc::{AllocError, Allocator};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use pagewright_zone::Gfp;

/// What a layout without bytes is given: an address of its alignment, of which nothing is looked at.
fn nothing(layout: Layout) -> NonNull<u8> {
    let address = core::num::NonZero::new(layout.align()).unwrap_or(core::num::NonZero::<usize>::MIN);
    NonNull::without_provenance(address)
}

/// So many bytes at an address.
fn block(memory: NonNull<u8>, layout: Layout) -> NonNull<[u8]> {
    NonNull::slice_from_raw_parts(memory, layout.size())
}

impl<H: Heap> Global<H> {
    fn allocate_by(&self, layout: Layout, gfp: Gfp) -> Result<NonNull<[u8]>, AllocError> {
        let memory = if layout.size() == 0 { Some(nothing(layout)) } else { self.get(layout, gfp) };
        memory.map(|memory| block(memory, layout)).ok_or(AllocError)
    }

    /// Makes a block larger or smaller where it may stay, else moves it.
    ///
    /// # Safety
    /// The block was allocated here with layout `old`; if this succeeds, nobody uses it by its old address.
    unsafe fn resize(
        &self,
        memory: NonNull<u8>,
        old: Layout,
        new: Layout,
        gfp: Gfp,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if old.size() > 0 && new.size() > 0 && old.align() == new.align() && !gfp.contains(Gfp::ZERO) {
            // SAFETY: as the caller says; there are bytes before and after.
            let moved = unsafe { self.realloc(memory.as_ptr(), old, new.size()) };
            return NonNull::new(moved).map(|moved| block(moved, new)).ok_or(AllocError);
        }
        let moved = self.allocate_by(new, gfp)?;
        // SAFETY: both have so many bytes and are apart, one of them being new; the old one is given up, as the caller says.
        unsafe {
            memory.copy_to_nonoverlapping(moved.cast(), old.size().min(new.size()));
            self.deallocate(memory, old);
        }
        Ok(moved)
    }
}

// SAFETY: blocks are kmalloc's, which stay where they are until they are freed, however often the value is moved or cloned: all of its clones use
// the same slabs (`Heap`). A layout without bytes takes none and gives none back.
unsafe impl<H: Heap> Allocator for Global<H> {
    #[inline]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        self.allocate_by(layout, self.gfp)
    }

    #[inline]
    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        self.allocate_by(layout, self.gfp | Gfp::ZERO)
    }

    #[inline]
    unsafe fn deallocate(&self, memory: NonNull<u8>, layout: Layout) {
        if layout.size() > 0 {
            // SAFETY: as the caller says; it has bytes.
            unsafe { self.dealloc(memory.as_ptr(), layout) };
        }
    }

    unsafe fn grow(
        &self,
        memory: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: as the caller says.
        unsafe { self.resize(memory, old, new, self.gfp) }
    }

    unsafe fn grow_zeroed(
        &self,
        memory: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: as the caller says.
        unsafe { self.resize(memory, old, new, self.gfp | Gfp::ZERO) }
    }

    unsafe fn shrink(
        &self,
        memory: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: as the caller says.
        unsafe { self.resize(memory, old, new, self.gfp) }
    }
}
