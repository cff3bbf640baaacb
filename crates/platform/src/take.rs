//! Memory that is a `static` and belongs to whoever takes it first.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// A value that can be taken once, exclusively and for good.
///
/// # Invariants
/// At most one exclusive reference to the value was ever given out; `taken` is set before it is. Established by
/// [`Self::take`].
#[derive(Debug)]
pub struct Take<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through the one reference that `take` gives out, so sharing the cell means at most that
// another thread takes it: `T: Send` is enough.
unsafe impl<T: Send> Sync for Take<T> {}

impl<T> Take<T> {
    /// A value that nobody has taken.
    pub const fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// The value, for the first who asks.
    #[expect(clippy::mut_from_ref, reason = "the flag makes the reference the only one")]
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.taken.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: the swap returned false, which it does once; so this is the only reference ever made (the invariant), and the
        // cell is a static, which lives forever.
        Some(unsafe { &mut *self.value.get() })
    }
}

#[cfg(test)]
mod tests {
    use super::Take;

    #[test]
    fn a_value_is_given_out_once() {
        static VALUE: Take<u32> = Take::new(1);
        let first = VALUE.take().unwrap();
        *first += 1;
        assert_eq!((*first, VALUE.take()), (2, None));
    }
}
