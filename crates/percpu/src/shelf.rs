//! Small pieces of the first chunk that were given back lately.
//!
//! They stay in use as far as the chunk's map goes, so that taking one again costs a tenth of a search. Only the first chunk's
//! are kept, which never goes back to a source, and all return to the map before anyone is told that there is no memory.

use crate::geometry::MIN_ALLOC;

/// Sizes that are kept: up to so many pieces.
const SIZES: usize = 32;
/// How many of each size.
const DEPTH: usize = 4;

/// Addresses by size.
#[derive(Debug)]
pub(crate) struct Shelves {
    addr: [[usize; DEPTH]; SIZES],
    count: [u8; SIZES],
}

impl Shelves {
    pub(crate) const fn new() -> Self {
        Self { addr: [[0; DEPTH]; SIZES], count: [0; SIZES] }
    }

    /// A piece of `want` times [`MIN_ALLOC`] bytes at a multiple of `align` times as many.
    #[inline]
    pub(crate) fn take(&mut self, want: u32, align: u32) -> Option<usize> {
        let size = (want as usize).wrapping_sub(1);
        let count = self.count.get_mut(size)?;
        let top = usize::from(count.wrapping_sub(1));
        // None on it, and `top` is beyond the shelf.
        let addr = *self.addr[size].get(top)?;
        if addr & (align as usize * MIN_ALLOC as usize - 1) != 0 {
            return None;
        }
        *count = top as u8;
        Some(addr)
    }

    /// Keeps a piece; `false` if its size is not kept or its shelf is full.
    #[inline]
    pub(crate) fn keep(&mut self, addr: usize, want: u32) -> bool {
        let size = (want as usize).wrapping_sub(1);
        let Some(count) = self.count.get_mut(size) else { return false };
        let Some(slot) = self.addr[size].get_mut(usize::from(*count)) else { return false };
        *slot = addr;
        *count += 1;
        true
    }

    /// Whether a piece is kept.
    pub(crate) fn has(&self, addr: usize, want: u32) -> bool {
        let size = (want as usize).wrapping_sub(1);
        self.count.get(size).is_some_and(|count| self.addr[size][..usize::from(*count)].contains(&addr))
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> u64 {
        self.count.iter().map(|count| u64::from(*count)).sum()
    }

    /// One of those that are kept, to go back to the map.
    pub(crate) fn empty_one(&mut self) -> Option<usize> {
        let size = self.count.iter().position(|count| *count > 0)?;
        self.count[size] -= 1;
        Some(self.addr[size][usize::from(self.count[size])])
    }
}
