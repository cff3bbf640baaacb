//! Ways through the tree.

use super::nodes::NONE;
use super::{Areas, Wanted};

/// So many gaps may be large enough and yet not have room, because of where they lie, before only gaps count that have room wherever they lie.
const PATIENCE: u32 = 32;

impl<T: Copy + Default> Areas<'_, T> {
    /// The first node whose area ends behind an offset; the last node ends behind all.
    pub(super) fn first_ending_after(&self, offset: u64) -> u32 {
        let (mut at, mut found) = (self.root, NONE);
        while at != NONE {
            let node = self.nodes.get(at);
            if node.end > offset {
                found = at;
                at = node.left;
            } else {
                at = node.right;
            }
        }
        if found == NONE { super::SENTINEL } else { found }
    }

    /// The node after one.
    pub(super) fn after(&self, at: u32) -> Option<u32> {
        let right = self.nodes.get(at).right;
        if right != NONE {
            return Some(self.leftmost(right));
        }
        self.up_from_left(at)
    }

    /// The nearest node above in whose left subtree this one is.
    fn up_from_left(&self, mut at: u32) -> Option<u32> {
        loop {
            let parent = self.nodes.get(at).parent;
            if parent == NONE {
                return None;
            }
            if self.nodes.get(parent).left == at {
                return Some(parent);
            }
            at = parent;
        }
    }

    pub(super) fn leftmost(&self, mut at: u32) -> u32 {
        loop {
            match self.nodes.get(at).left {
                NONE => return at,
                left => at = left,
            }
        }
    }

    /// The lowest place for what is wanted: the node behind the gap, and the offset.
    pub(super) fn find_gap(&self, wanted: &Wanted) -> Option<(u32, u64)> {
        let low = wanted.within.start.max(self.range.start);
        let high = wanted.within.last().min(self.range.last());
        if wanted.within.is_empty() || low > high {
            return None;
        }
        let low = self.offset(low);
        let high = self.offset(high).saturating_add(1);
        let room = wanted.size.checked_add(wanted.align - 1)?;
        match self.scan(wanted, (low, high), wanted.size, PATIENCE) {
            Scan::Found(next, at) => Some((next, at)),
            Scan::None => None,
            Scan::Impatient => match self.scan(wanted, (low, high), room, u32::MAX) {
                Scan::Found(next, at) => Some((next, at)),
                // None has room wherever it lies: look at each after all.
                _ => match self.scan(wanted, (low, high), wanted.size, u32::MAX) {
                    Scan::Found(next, at) => Some((next, at)),
                    _ => None,
                },
            },
        }
    }

    /// Goes through the gaps of at least `need` bytes in order, from the lowest, until one has room.
    fn scan(&self, wanted: &Wanted, (low, high): (u64, u64), need: u64, mut patience: u32) -> Scan {
        let mut at = self.root;
        if self.nodes.get(at).largest < need {
            return Scan::None;
        }
        'down: loop {
            loop {
                let node = self.nodes.get(at);
                // Gaps on the left end before this one begins.
                if node.start - node.gap <= low || self.nodes.largest(node.left) < need {
                    break;
                }
                at = node.left;
            }
            loop {
                let node = self.nodes.get(at);
                if node.gap >= need {
                    if let Some(place) =
                        self.place(wanted, (node.start - node.gap).max(low), node.start.min(high))
                    {
                        return Scan::Found(at, place);
                    }
                    patience -= 1;
                    if patience == 0 {
                        return Scan::Impatient;
                    }
                }
                if node.start >= high {
                    return Scan::None;
                }
                if self.nodes.largest(node.right) >= need {
                    at = node.right;
                    continue 'down;
                }
                match self.up_from_left(at) {
                    Some(up) => at = up,
                    None => return Scan::None,
                }
            }
        }
    }

    /// The lowest place between two offsets.
    fn place(&self, wanted: &Wanted, from: u64, to: u64) -> Option<u64> {
        // It is the address that is aligned, not the offset.
        let base = self.range.start.get();
        let skip = base.wrapping_add(from).wrapping_neg() & (wanted.align - 1);
        let at = from.checked_add(skip)?;
        (at.checked_add(wanted.size)? <= to).then_some(at)
    }
}

enum Scan {
    Found(u32, u64),
    None,
    Impatient,
}
