//! Areas of an address range and the gaps between them.
//!
//! One balanced tree (AVL) holds the areas in order of address. Each node also has the gap before its area, and the largest gap of
//! its subtree, so that the lowest gap with room for a request is found on the way down, and whoever frees an area has
//! nothing to merge: the gap of the next one grows. A last node of no size stands at the range's end and has the gap before that.
//!
//! The caller brings the memory, in sections of equal size that are appended and never move; an area keeps its number ([`AreaId`])
//! for as long as it exists. Nothing here takes a lock: whoever has the value has the tree.

mod find;
mod nodes;
mod shape;
mod validate;

pub use nodes::{AreaId, Node};
pub use validate::Broken;

use core::fmt;
use nodes::{Nodes, SENTINEL};
use pagewright_addr::{VirtAddr, VirtRange};
use thiserror::Error;

/// Where an area may lie, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Its size.
    pub size: u64,
    /// Its address is a multiple of this power of two.
    pub align: u64,
    /// It lies inside this range.
    pub within: VirtRange,
}

/// Why there is no area.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum AreaError {
    /// No gap has room for it.
    #[error("no gap of {:#x} bytes, a multiple of {:#x}, in {:?}: the largest is {largest:#x}", .wanted.size, .wanted.align, .wanted.within)]
    NoGap {
        /// What was asked for.
        wanted: Wanted,
        /// Bytes of the largest gap there, as far as it lies inside of what was asked for.
        largest: u64,
    },
    /// A size of 0, or an alignment that is no power of two.
    #[error("an area of {:#x} bytes at multiples of {:#x} cannot be", .0.size, .0.align)]
    Illegal(Wanted),
    /// The range is not inside the one that is managed, or another area has a part of it.
    #[error("{0:?} is not free")]
    Taken(VirtRange),
    /// All nodes are in use; a section has to be added.
    #[error("areas: there is memory for {}, and all are in use", .nodes - 1)]
    NoNode {
        /// How many there are, the tree's own among them.
        nodes: usize,
    },
}

/// The areas of one range, each with a value of its owner's.
pub struct Areas<'m, T> {
    nodes: Nodes<'m, T>,
    range: VirtRange,
    root: u32,
    count: usize,
}

impl<'m, T: Copy + Default> Areas<'m, T> {
    /// No areas in `range`. The length of `section`, at least 2, is a power of two. `None` otherwise, or for an empty range.
    pub fn new(range: VirtRange, section: &'m mut [Node<T>]) -> Option<Self> {
        let nodes = Nodes::new(section)?;
        if range.is_empty() {
            return None;
        }
        let mut areas = Self { nodes, range, root: SENTINEL, count: 0 };
        // The range's end may be 2^64: as lengths count from its start, no number overflows.
        *areas.nodes.get_mut(SENTINEL) = Node::lone(range.len, range.len, range.len);
        Some(areas)
    }

    /// Appends nodes. `false` if the section's length is not the first one's, or there are too many sections.
    #[must_use = "the section may not have been taken"]
    pub fn add_section(&mut self, section: &'m mut [Node<T>]) -> bool {
        self.nodes.add(section)
    }

    /// The range.
    pub const fn range(&self) -> VirtRange {
        self.range
    }

    /// How many areas there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Nodes that areas can still have.
    pub fn free_nodes(&self) -> usize {
        self.nodes.capacity() - 1 - self.count
    }

    /// Bytes of the largest gap.
    pub fn largest_gap(&self) -> u64 {
        self.nodes.get(self.root).largest
    }

    /// Bytes of the largest gap inside of `window`, what gaps have outside of it not counted. It goes through all gaps that the window has, unless that is
    /// the whole range.
    pub fn largest_gap_in(&self, window: VirtRange) -> u64 {
        if window.contains_range(&self.range) {
            return self.largest_gap();
        }
        let (low, high) = (window.start.max(self.range.start), window.last().min(self.range.last()));
        if window.is_empty() || low > high {
            return 0;
        }
        let (low, high) = (self.offset(low), self.offset(high).saturating_add(1));
        let first = Some(self.first_ending_after(low));
        let nodes = core::iter::successors(first, |node| self.after(*node)).map(|node| self.nodes.get(node));
        let gaps = nodes.map(|node| (node.start - node.gap, node.start)).take_while(|gap| gap.0 < high);
        gaps.map(|(from, to)| to.min(high).saturating_sub(from.max(low))).max().unwrap_or(0)
    }

    /// Makes an area in the lowest gap that has room (where alignment rejects many gaps in turn: in the lowest that has room however it lies).
    ///
    /// # Errors
    /// [`AreaError`]; nothing has changed then.
    pub fn alloc(&mut self, wanted: &Wanted, value: T) -> Result<AreaId, AreaError> {
        if wanted.size == 0 || !wanted.align.is_power_of_two() {
            return Err(AreaError::Illegal(*wanted));
        }
        let no_gap = || AreaError::NoGap { wanted: *wanted, largest: self.largest_gap_in(wanted.within) };
        let (next, at) = self.find_gap(wanted).ok_or_else(no_gap)?;
        self.put(next, at, wanted.size, value)
    }

    /// Makes an area of just this range.
    ///
    /// # Errors
    /// [`AreaError`]; nothing has changed then.
    pub fn insert(&mut self, area: VirtRange, value: T) -> Result<AreaId, AreaError> {
        let taken = AreaError::Taken(area);
        let inside = self.range.start <= area.start && area.last() <= self.range.last();
        if area.is_empty() || !inside {
            return Err(taken);
        }
        let at = self.offset(area.start);
        let next = self.first_ending_after(at);
        let node = self.nodes.get(next);
        if at < node.start - node.gap || node.start < at + area.len {
            return Err(taken);
        }
        self.put(next, at, area.len, value)
    }

    /// A new node in the gap before `next`.
    fn put(&mut self, next: u32, at: u64, size: u64, value: T) -> Result<AreaId, AreaError> {
        let nodes = self.nodes.capacity();
        let new = self.nodes.take().ok_or(AreaError::NoNode { nodes })?;
        let after = self.nodes.get_mut(next);
        let gap = at - (after.start - after.gap);
        after.gap = after.start - (at + size);
        *self.nodes.get_mut(new) = Node { value, ..Node::lone(at, at + size, gap) };
        self.link_before(new, next);
        self.count += 1;
        Ok(AreaId(new))
    }

    /// Takes an area away: where it was, and its value. `None` if there is no such area.
    pub fn remove(&mut self, area: AreaId) -> Option<(VirtRange, T)> {
        let (range, value) = (self.area(area)?, *self.get(area)?);
        let gap = self.nodes.get(area.0).gap;
        let next = self.after(area.0)?;
        self.nodes.get_mut(next).gap += gap + range.len;
        self.unlink(area.0, next);
        self.nodes.give_back(area.0);
        self.count -= 1;
        Some((range, value))
    }

    /// Where an area lies.
    pub fn area(&self, area: AreaId) -> Option<VirtRange> {
        let node = self.nodes.used(area.0)?;
        Some(VirtRange::from_len(self.address(node.start), node.end - node.start))
    }

    /// Its value.
    pub fn get(&self, area: AreaId) -> Option<&T> {
        Some(&self.nodes.used(area.0)?.value)
    }

    /// Its value, to be changed.
    pub fn get_mut(&mut self, area: AreaId) -> Option<&mut T> {
        self.nodes.used(area.0)?;
        Some(&mut self.nodes.get_mut(area.0).value)
    }

    /// The area that an address lies in.
    pub fn at(&self, addr: VirtAddr) -> Option<AreaId> {
        let found = self.from(addr)?;
        (self.area(found)?.start <= addr).then_some(found)
    }

    /// The first area that ends behind an address.
    pub fn from(&self, addr: VirtAddr) -> Option<AreaId> {
        if addr > self.range.last() {
            return None;
        }
        let offset = if addr < self.range.start { 0 } else { self.offset(addr) };
        let found = self.first_ending_after(offset);
        (found != SENTINEL).then_some(AreaId(found))
    }

    /// The next area.
    pub fn next(&self, area: AreaId) -> Option<AreaId> {
        self.nodes.used(area.0)?;
        self.after(area.0).filter(|next| *next != SENTINEL).map(AreaId)
    }

    /// All areas in order.
    pub fn iter(&self) -> impl Iterator<Item = (AreaId, VirtRange, &T)> {
        let first = self.from(self.range.start);
        core::iter::successors(first, |area| self.next(*area))
            .filter_map(|area| Some((area, self.area(area)?, self.get(area)?)))
    }

    /// All gaps in order, without empty ones.
    pub fn gaps(&self) -> impl Iterator<Item = VirtRange> {
        let first = Some(self.first_ending_after(0));
        core::iter::successors(first, |node| self.after(*node)).filter_map(|node| {
            let node = self.nodes.get(node);
            (node.gap > 0).then(|| VirtRange::from_len(self.address(node.start - node.gap), node.gap))
        })
    }

    fn offset(&self, addr: VirtAddr) -> u64 {
        addr.get() - self.range.start.get()
    }

    fn address(&self, offset: u64) -> VirtAddr {
        VirtAddr::new(self.range.start.get() + offset)
    }
}

impl<T> fmt::Debug for Areas<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Areas")
            .field("range", &self.range)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
