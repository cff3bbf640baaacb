//! The memory for the metadata: the one place with unsafe code in this crate.

use crate::PageMeta;
use core::mem::MaybeUninit;

/// Metadata slots in zeroed memory that nobody else uses.
///
/// # Invariants
/// Every slot is all zeroes ([`crate::State::Pristine`]) and the memory is borrowed exclusively for `'a`.
/// Established by [`Self::zero`] and [`Self::assume_zeroed`]; [`crate::PageMap::new`] relies on it when it
/// mints the first token, because zeroed slots hold no free block that a second token could be taken from.
#[derive(Debug)]
pub struct PageStorage<'a> {
    slots: &'a [PageMeta],
}

impl<'a> PageStorage<'a> {
    /// Takes memory and zeroes it: one pass over 32 bytes for each frame.
    pub fn zero(slots: &'a mut [MaybeUninit<PageMeta>]) -> Self {
        // SAFETY: the pointer comes from a mutable slice and the count is its length, so the writes stay inside;
        // MaybeUninit may hold any bytes.
        unsafe { core::ptr::write_bytes(slots.as_mut_ptr(), 0, slots.len()) };
        // SAFETY: all bytes were just set to zero.
        unsafe { Self::assume_zeroed(slots) }
    }

    /// Takes memory that is known to be zero, without touching it: lazily zeroed host memory stays lazy.
    ///
    /// # Safety
    /// All bytes of `slots` must be zero.
    pub unsafe fn assume_zeroed(slots: &'a mut [MaybeUninit<PageMeta>]) -> Self {
        let len = slots.len();
        let first = slots.as_mut_ptr().cast::<PageMeta>();
        // SAFETY: PageMeta is made of atomic integers, for which zero bytes are valid, and the caller vouches for the
        // zeroes; MaybeUninit<PageMeta> has PageMeta's size and alignment; the exclusive borrow for 'a is
        // given up for a shared one over the same elements.
        let slots = unsafe { core::slice::from_raw_parts(first, len) };
        Self { slots }
    }

    /// How many frames the memory is for.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no slot.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn into_slots(self) -> &'a [PageMeta] {
        self.slots
    }
}
