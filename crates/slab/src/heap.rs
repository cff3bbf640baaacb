//! Slabs as Rust's allocators know them, without a context in each call.
//!
//! [`Heap`] is whoever knows on which processor it runs: [`HeapOn`] for a stretch of code that stays on one, an embedder's own type for a
//! whole kernel. Over it:
//! - [`KmemCache`]: a cache of one type, whose objects are dropped, and cannot outlive it;
//! - [`Global`]: a `#[global_allocator]`.

use crate::memory::SlabMemory;
use crate::slabs::{
    CacheFigures, CacheId, CacheSpec, CreateError, DestroyError, Destroyed, SlabContext, SlabError, Slabs,
};
use crate::{CacheFlags, GeometryError};
use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

/// Slabs, used as the processor that runs.
///
/// # Safety
/// [`Self::with`] calls the closure with slabs that are the same at every call and live as long as the value and whatever was allocated through it, and with a
/// context of the processor that runs; the closure stays on it until it returns.
pub unsafe trait Heap {
    /// What keeps interrupt handlers away.
    type Interrupts: Interrupts;
    /// The memory of pages.
    type Memory: SlabMemory;

    /// Does something with the slabs.
    fn with<R>(
        &self,
        f: impl for<'k, 'a> FnOnce(&Slabs<'k, 'a, Self::Interrupts, Self::Memory>, &SlabContext<'_, 'k, 'a>) -> R,
    ) -> R;
}

// SAFETY: as the heap that it refers to.
unsafe impl<H: Heap> Heap for &H {
    type Interrupts = H::Interrupts;
    type Memory = H::Memory;

    #[inline]
    fn with<R>(
        &self,
        f: impl for<'k, 'a> FnOnce(&Slabs<'k, 'a, Self::Interrupts, Self::Memory>, &SlabContext<'_, 'k, 'a>) -> R,
    ) -> R {
        (**self).with(f)
    }
}

/// Slabs on one processor.
pub struct HeapOn<'h, 'k, 'a, I, M> {
    slabs: &'h Slabs<'k, 'a, I, M>,
    context: SlabContext<'h, 'k, 'a>,
}

impl<'h, 'k, 'a, I: Interrupts, M: SlabMemory> HeapOn<'h, 'k, 'a, I, M> {
    /// These slabs in this context.
    pub const fn new(slabs: &'h Slabs<'k, 'a, I, M>, context: &SlabContext<'h, 'k, 'a>) -> Self {
        Self { slabs, context: *context }
    }
}

// SAFETY: the slabs are borrowed for as long as the value lives; the context cannot leave its processor, nor can what holds it.
unsafe impl<I: Interrupts, M: SlabMemory> Heap for HeapOn<'_, '_, '_, I, M> {
    type Interrupts = I;
    type Memory = M;

    #[inline]
    fn with<R>(&self, f: impl for<'k, 'a> FnOnce(&Slabs<'k, 'a, I, M>, &SlabContext<'_, 'k, 'a>) -> R) -> R {
        f(self.slabs, &self.context)
    }
}

impl<I, M> fmt::Debug for HeapOn<'_, '_, '_, I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapOn").field("context", &self.context).finish_non_exhaustive()
    }
}

/// A cache of objects of one type.
///
/// Dropping it ends the cache; objects borrow it, so none is left then but those that were forgotten, for whose sake the cache stays. Where other processors hold
/// free objects, or readers may look at some, the cache ends when the last of them was asked and came by
/// ([`Slabs::poll`](crate::slabs::Slabs::poll)). [`Self::destroy`] tells.
pub struct KmemCache<T, H: Heap> {
    heap: H,
    id: CacheId,
    objects: PhantomData<T>,
}

impl<T, H: Heap> KmemCache<T, H> {
    /// A cache of its own for objects of the type.
    ///
    /// # Errors
    /// [`CreateError`]; a type without bytes needs no cache and has none.
    pub fn new(heap: H, name: &str) -> Result<Self, CreateError> {
        Self::with_flags(heap, name, CacheFlags::empty())
    }

    /// The same with these flags.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn with_flags(heap: H, name: &str, flags: CacheFlags) -> Result<Self, CreateError> {
        if size_of::<T>() == 0 {
            return Err(CreateError::Geometry(GeometryError::NoBytes));
        }
        let spec = CacheSpec::new(name, size_of::<T>() as u64, align_of::<T>() as u64, flags);
        let id = heap.with(|slabs, _| slabs.create_unmerged(&spec))?;
        Ok(Self { heap, id, objects: PhantomData })
    }

    /// The cache's figures.
    pub fn figures(&self) -> Option<CacheFigures> {
        self.heap.with(|slabs, _| slabs.figures(self.id))
    }

    /// Moves a value into a new object.
    ///
    /// # Errors
    /// Why there is none, and the value.
    pub fn alloc(&self, value: T, gfp: Gfp) -> Result<Object<'_, T, H>, (SlabError, T)> {
        match self.heap.with(|slabs, cx| slabs.alloc(cx, self.id, gfp - Gfp::ZERO)) {
            Ok(place) => {
                let place = place.cast::<T>();
                // SAFETY: an object of the type's size and alignment, which is ours alone.
                unsafe { place.write(value) };
                Ok(Object { place, cache: self, value: PhantomData })
            }
            Err(why) => Err((why, value)),
        }
    }

    /// Ends the cache.
    ///
    /// # Errors
    /// [`DestroyError`], and the cache: objects were forgotten, or other processors hold free ones, which were asked for them.
    pub fn destroy(self) -> Result<(), (DestroyError, Self)> {
        let cache = ManuallyDrop::new(self);
        match cache.end() {
            Ok(_) => {
                // SAFETY: the heap is not used any more, and the value that it was in is not dropped.
                drop(unsafe { core::ptr::read(&raw const cache.heap) });
                Ok(())
            }
            Err(why) => Err((why, ManuallyDrop::into_inner(cache))),
        }
    }

    fn end(&self) -> Result<Destroyed, DestroyError> {
        // SAFETY: the handle is nobody else's, and objects borrow the cache, which is about to end.
        self.heap.with(|slabs, cx| unsafe { slabs.destroy(cx, self.id) })
    }
}

impl<T, H: Heap> Drop for KmemCache<T, H> {
    fn drop(&mut self) {
        // SAFETY: the handle is nobody else's, and nobody has it from now on; objects borrow the cache, which is about to end.
        self.heap.with(|slabs, cx| unsafe { slabs.abandon(cx, self.id) });
    }
}

impl<T, H: Heap> fmt::Debug for KmemCache<T, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmemCache").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An object of a [`KmemCache`]. Dropping it drops the value and frees the object.
pub struct Object<'c, T, H: Heap> {
    place: NonNull<T>,
    cache: &'c KmemCache<T, H>,
    value: PhantomData<T>,
}

// SAFETY: it owns its value as a box does, and uses the heap by reference.
unsafe impl<T: Send, H: Heap + Sync> Send for Object<'_, T, H> {}
// SAFETY: a shared reference lends the value only.
unsafe impl<T: Sync, H: Heap + Sync> Sync for Object<'_, T, H> {}

impl<T, H: Heap> Object<'_, T, H> {
    /// Takes the value out and frees the object.
    pub fn into_inner(self) -> T {
        let object = ManuallyDrop::new(self);
        // SAFETY: the value is there, and not used again: the object is freed without dropping it.
        let value = unsafe { object.place.read() };
        object.free();
        value
    }

    fn free(&self) {
        let place = self.place.cast();
        // SAFETY: allocated from this cache, and freed once: whoever calls gives the object up.
        self.cache.heap.with(|slabs, cx| unsafe { slabs.free(cx, self.cache.id, place) });
    }
}

impl<T, H: Heap> Deref for Object<'_, T, H> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the value is there until the object is dropped.
        unsafe { self.place.as_ref() }
    }
}

impl<T, H: Heap> DerefMut for Object<'_, T, H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the object is borrowed exclusively.
        unsafe { self.place.as_mut() }
    }
}

impl<T, H: Heap> Drop for Object<'_, T, H> {
    fn drop(&mut self) {
        // SAFETY: the value is there, and this is the last use of it.
        unsafe { self.place.drop_in_place() };
        self.free();
    }
}

impl<T: fmt::Debug, H: Heap> fmt::Debug for Object<'_, T, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// kmalloc as Rust's global allocator, by `GFP_KERNEL`, or another mask.
#[derive(Clone, Copy, Debug)]
pub struct Global<H> {
    /// The heap.
    pub heap: H,
    /// How memory is asked for.
    pub gfp: Gfp,
}

impl<H: Heap> Global<H> {
    /// Over a heap, by `GFP_KERNEL`.
    pub const fn new(heap: H) -> Self {
        Self { heap, gfp: Gfp::GFP_KERNEL }
    }

    /// How many bytes to ask for so that memory is aligned: kmalloc aligns powers of two to themselves, anything to 8.
    const fn bytes(layout: Layout) -> Option<usize> {
        if layout.align() <= 8 {
            return Some(layout.size());
        }
        let bytes = if layout.size() > layout.align() { layout.size() } else { layout.align() };
        bytes.checked_next_power_of_two()
    }

    pub(crate) fn get(&self, layout: Layout, gfp: Gfp) -> Option<NonNull<u8>> {
        let bytes = Self::bytes(layout)?;
        self.heap.with(|slabs, cx| slabs.kmalloc(cx, bytes, gfp)).ok()
    }
}

// SAFETY: kmalloc's memory is as large and as aligned as `bytes` asks for, nobody else's, and stays until it is freed; none of the functions panics
// on any layout.
unsafe impl<H: Heap> GlobalAlloc for Global<H> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.get(layout, self.gfp).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.get(layout, self.gfp | Gfp::ZERO).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        if let Some(memory) = NonNull::new(memory) {
            // SAFETY: the caller allocated it here and gives it up.
            self.heap.with(|slabs, cx| unsafe { slabs.kfree(cx, memory) });
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let wanted = Layout::from_size_align(bytes, layout.align()).ok().and_then(Self::bytes);
        let Some(wanted) = wanted else { return core::ptr::null_mut() };
        let old = NonNull::new(memory);
        // SAFETY: the caller allocated it here, and gives it up if this succeeds. What stays where it is, is aligned already.
        let moved = self.heap.with(|slabs, cx| unsafe { slabs.krealloc(cx, old, wanted, self.gfp) });
        moved.map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }
}
