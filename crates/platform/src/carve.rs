//! Slices of any type, one behind the other in one piece of memory.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Memory that slices are taken from.
///
/// # Invariants
/// The `left` bytes from `next` on are memory that nobody else uses for `'m`. Established by [`Self::new`]'s caller; whatever is
/// taken leaves the range.
#[derive(Debug)]
pub struct Carve<'m> {
    next: NonNull<u8>,
    left: usize,
    memory: PhantomData<&'m mut [u8]>,
}

/// Bytes that a slice takes at most, its alignment included.
pub const fn bytes_for<T>(count: usize) -> u64 {
    (count as u64) * (size_of::<T>() as u64) + align_of::<T>() as u64
}

impl<'m> Carve<'m> {
    /// Takes slices from `len` bytes at `first`.
    ///
    /// # Safety
    /// The bytes can be read and written, and nobody else uses them for `'m`.
    pub unsafe fn new(first: NonNull<u8>, len: usize) -> Self {
        Self { next: first, left: len, memory: PhantomData }
    }

    /// Takes slices from `words`.
    pub fn of(words: &'m mut [u64]) -> Self {
        let len = size_of_val(words);
        let first = NonNull::from(words).cast();
        // SAFETY: the words are borrowed exclusively for 'm, and the pointer comes from that borrow.
        unsafe { Self::new(first, len) }
    }

    /// Room for `count` values, with whatever was there; `None` if there is not so much.
    pub fn uninit<T>(&mut self, count: usize) -> Option<&'m mut [MaybeUninit<T>]> {
        let skip = self.next.as_ptr().align_offset(align_of::<T>());
        let bytes = size_of::<T>().checked_mul(count)?;
        let all = skip.checked_add(bytes).filter(|all| *all <= self.left)?;
        // SAFETY: `skip` is at most `left`, so the pointer stays inside the memory or at its end.
        let first = unsafe { self.next.add(skip) }.cast::<MaybeUninit<T>>();
        // SAFETY: as above.
        self.next = unsafe { self.next.add(all) };
        self.left -= all;
        // SAFETY: the bytes belong to nobody else for 'm and have just left the range that slices are taken from; the pointer is
        // aligned; MaybeUninit asks nothing of their contents.
        Some(unsafe { core::slice::from_raw_parts_mut(first.as_ptr(), count) })
    }

    /// `count` values that `make` gives; `None` if there is no room for them, and then `make` was not called.
    pub fn slice<T>(&mut self, count: usize, mut make: impl FnMut() -> T) -> Option<&'m mut [T]> {
        const { assert!(!core::mem::needs_drop::<T>()) };
        let slots = self.uninit::<T>(count)?;
        for slot in slots.iter_mut() {
            slot.write(make());
        }
        // SAFETY: every slot was just written; MaybeUninit<T> has T's layout.
        Some(unsafe { &mut *(core::ptr::from_mut(slots) as *mut [T]) })
    }
}

#[cfg(test)]
mod tests {
    use super::Carve;

    #[test]
    fn slices_lie_one_behind_the_other_and_end_with_the_memory() {
        let mut memory = [0_u64; 8];
        let mut carve = Carve::of(&mut memory);
        let bytes = carve.slice(3, || 1_u8).unwrap();
        let words = carve.slice(6, || 9_u64).unwrap();
        assert_eq!((&*bytes, words.len(), words[5]), (&[1, 1, 1][..], 6, 9));
        assert!(words.as_ptr().is_aligned());
        let refused = carve.slice(2, || -> u64 { panic!("made although there is no room") });
        assert!(refused.is_none(), "one word is left");
        assert!(carve.slice(1, || 0_u64).is_some());
    }
}
