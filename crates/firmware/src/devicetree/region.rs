//! Lists of (address, size) pairs.

use super::CellCounts;
use super::flat::number;
use pagewright_addr::{PhysAddr, PhysRange};

/// An address and a size as a tree states them. Their sum may exceed 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Region {
    /// The first byte.
    pub base: PhysAddr,
    /// Length in bytes.
    pub size: u64,
}

impl Region {
    /// The bytes covered, cut at the top of the address space.
    pub const fn range(&self) -> PhysRange {
        PhysRange::from_len(self.base, self.size)
    }

    /// Whether `base + size` exceeds 64 bits, which Linux's arithmetic wraps.
    pub const fn wraps(&self) -> bool {
        self.base.checked_add(self.size).is_none()
    }
}

/// The (address, size) pairs of a property, in order. A rest too short for a pair is not seen.
///
/// A tree whose cells make a pair of no bytes, or of more than 64 Ki cells, has no pairs.
#[derive(Clone, Debug)]
pub struct Regions<'a> {
    rest: &'a [u8],
    cells: CellCounts,
}

impl<'a> Regions<'a> {
    pub(super) fn new(value: &'a [u8], cells: CellCounts) -> Self {
        Self { rest: value, cells }
    }
}

impl Iterator for Regions<'_> {
    type Item = Region;

    fn next(&mut self) -> Option<Region> {
        let (pair, rest) = self.rest.split_at_checked(self.cells.pair_bytes()?)?;
        self.rest = rest;
        let (cells, _) = pair.as_chunks::<4>();
        let (base, size) = cells.split_at_checked(self.cells.address as usize)?;
        Some(Region { base: PhysAddr::new(number(base)), size: number(size) })
    }
}
