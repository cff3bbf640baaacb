//! Zeroed host memory that occupies nothing until it is written: the allocation behind metadata and RAM.

use crate::SimError;
use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc};

/// The alignment up to which the system's allocator hands out fresh zero pages. Above it, the standard library
/// allocates first and writes the zeroes afterwards, which would make every page resident.
const LAZY_ALIGN: usize = 16;

/// An owned run of bytes, zero when made.
///
/// # Invariants
/// `first` points to `len` bytes inside the allocation `base`/`layout`, aligned as was asked for; they are
/// initialised and nobody else has them. Established by [`Self::new`]; freed once, on drop.
pub(crate) struct Zeroed {
    base: NonNull<u8>,
    layout: Layout,
    first: NonNull<u8>,
    len: usize,
}

// SAFETY: it owns its allocation as a Box<[u8]> does, and has no interior mutability of its own.
unsafe impl Send for Zeroed {}
// SAFETY: as for Send; a shared reference allows no access to the bytes but through `first`'s users, who vouch
// for it.
unsafe impl Sync for Zeroed {}

impl Zeroed {
    /// `len` bytes at a multiple of `align`, a power of two.
    ///
    /// # Errors
    /// [`SimError::HostMemory`].
    pub(crate) fn new(len: u64, align: usize) -> Result<Self, SimError> {
        let refused = SimError::HostMemory { bytes: len };
        let len = usize::try_from(len).map_err(|_| refused)?;
        let padded = len.max(1).checked_add(align).ok_or(refused)?;
        let layout = Layout::from_size_align(padded, LAZY_ALIGN).map_err(|_| refused)?;
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(refused)?;
        let skip = base.addr().get().next_multiple_of(align) - base.addr().get();
        // SAFETY: skip is below align and the allocation is len + align bytes, so this and len bytes from here
        // are inside.
        let first = unsafe { base.add(skip) };
        Ok(Self { base, layout, first, len })
    }

    /// The first byte.
    pub(crate) fn first(&self) -> NonNull<u8> {
        self.first
    }

    /// How many bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Zeroed {
    fn drop(&mut self) {
        // SAFETY: base was allocated with exactly this layout and is freed nowhere else.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}
