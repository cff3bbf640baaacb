//! Pieces of the first chunk that were given back lately.
//!
//! They stay in use as far as the chunk's map goes, so that taking one again costs a tenth of a search. Of small ones several of each size are kept, of larger
//! ones the last of each power of two, up to 2 KiB: 3840 bytes of each unit at most. Only the first chunk's
//! are kept, which never goes back to a source, and all return to the map before anyone is told that there is no memory.

use crate::geometry::MIN_ALLOC;

/// Sizes of which several are kept: up to so many pieces.
const SIZES: usize = 32;
/// How many of each of these sizes.
const DEPTH: usize = 4;
/// Powers of two above them, of which one piece is kept each.
const LARGER: usize = 4;

/// Addresses by size.
#[derive(Debug)]
pub(crate) struct Shelves {
    addr: [[usize; DEPTH]; SIZES],
    count: [u8; SIZES],
    larger: [Larger; LARGER],
}

/// A larger piece, if there is one: then it has some pieces.
#[derive(Clone, Copy, Debug)]
struct Larger {
    addr: usize,
    pieces: u32,
}

impl Shelves {
    pub(crate) const fn new() -> Self {
        let none = Larger { addr: 0, pieces: 0 };
        Self { addr: [[0; DEPTH]; SIZES], count: [0; SIZES], larger: [none; LARGER] }
    }

    /// A piece of `want` times [`MIN_ALLOC`] bytes at a multiple of `align` times as many.
    #[inline]
    pub(crate) fn take(&mut self, want: u32, align: u32) -> Option<usize> {
        let size = (want as usize).wrapping_sub(1);
        let Some(count) = self.count.get_mut(size) else { return self.take_larger(want, align) };
        let top = usize::from(count.wrapping_sub(1));
        // None on it, and `top` is beyond the shelf.
        let addr = *self.addr[size].get(top)?;
        if !is_aligned(addr, align) {
            return None;
        }
        *count = top as u8;
        Some(addr)
    }

    /// Keeps a piece; `false` if its size is not kept or its shelf is full.
    #[inline]
    pub(crate) fn keep(&mut self, addr: usize, want: u32) -> bool {
        let size = (want as usize).wrapping_sub(1);
        let Some(count) = self.count.get_mut(size) else { return self.keep_larger(addr, want) };
        let Some(slot) = self.addr[size].get_mut(usize::from(*count)) else { return false };
        *slot = addr;
        *count += 1;
        true
    }

    /// The place for larger pieces of about that size.
    fn larger(&mut self, want: u32) -> Option<&mut Larger> {
        let power = want.checked_sub(1)?.checked_ilog2()?.checked_sub(SIZES.ilog2())?;
        self.larger.get_mut(power as usize)
    }

    // By itself, so that the way of small ones stays short.
    #[inline(never)]
    fn take_larger(&mut self, want: u32, align: u32) -> Option<usize> {
        let kept = self.larger(want).filter(|kept| kept.pieces == want && is_aligned(kept.addr, align))?;
        kept.pieces = 0;
        Some(kept.addr)
    }

    #[inline(never)]
    fn keep_larger(&mut self, addr: usize, want: u32) -> bool {
        let Some(place) = self.larger(want).filter(|kept| kept.pieces == 0) else { return false };
        *place = Larger { addr, pieces: want };
        true
    }

    /// Whether a piece is kept.
    pub(crate) fn has(&self, addr: usize, want: u32) -> bool {
        let size = (want as usize).wrapping_sub(1);
        let small = self.count.get(size).is_some_and(|n| self.addr[size][..usize::from(*n)].contains(&addr));
        small || self.larger.iter().any(|kept| kept.pieces == want && kept.addr == addr)
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> u64 {
        let larger = self.larger.iter().filter(|kept| kept.pieces > 0).count() as u64;
        larger + self.count.iter().map(|count| u64::from(*count)).sum::<u64>()
    }

    /// One of those that are kept, to go back to the map.
    pub(crate) fn empty_one(&mut self) -> Option<usize> {
        if let Some(kept) = self.larger.iter_mut().find(|kept| kept.pieces > 0) {
            kept.pieces = 0;
            return Some(kept.addr);
        }
        let size = self.count.iter().position(|count| *count > 0)?;
        self.count[size] -= 1;
        Some(self.addr[size][usize::from(self.count[size])])
    }
}

/// Whether an address is a multiple of so many pieces.
#[inline]
const fn is_aligned(addr: usize, align: u32) -> bool {
    addr & (align as usize * MIN_ALLOC as usize - 1) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_larger_pieces_one_of_each_power_of_two_is_kept_and_taken_by_who_wants_as_many() {
        let mut shelves = Shelves::new();
        for (addr, want) in [(0x1000, 33), (0x2000, 65), (0x3000, 256), (0x4000, 512)] {
            assert!(shelves.keep(addr, want), "{want}");
            assert!(!shelves.keep(0x5000, want), "{want}: its place is taken");
        }
        assert!(!shelves.keep(0x6000, 513) && !shelves.keep(0x6000, 0), "no place");
        assert_eq!(shelves.len(), 4);
        assert_eq!(shelves.take(64, 1), None, "another size has that place");
        assert_eq!(shelves.take(256, 2048), None, "not aligned so far");
        assert!(shelves.has(0x3000, 256) && !shelves.has(0x3000, 255));
        assert_eq!(shelves.take(256, 1024), Some(0x3000));
        assert_eq!(shelves.take(256, 1), None);
        let rest: std::vec::Vec<_> = core::iter::from_fn(|| shelves.empty_one()).collect();
        assert_eq!((rest, shelves.len()), (std::vec![0x1000, 0x2000, 0x4000], 0));
    }
}
