//! Looking at the tree.

use super::{NONE, Resource, ResourceFlags, Resources};
use pagewright_addr::PhysRange;

/// A resource as a walk meets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen<'n> {
    /// 0 below the root.
    pub depth: usize,
    /// The resource.
    pub resource: Resource<'n>,
}

/// Whether a range is of some kind (`region_intersects`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intersects {
    /// None of it.
    Disjoint,
    /// What of it is a resource is of that kind.
    Intersects,
    /// Some is of that kind, some of another.
    Mixed,
}

impl<'n> Resources<'_, 'n> {
    /// Every resource below the root, in the order of `/proc/iomem`.
    pub fn walk(&self) -> impl Iterator<Item = Seen<'n>> + use<'_, 'n> {
        let (mut at, mut depth) = (self.node(0).child, 0usize);
        core::iter::from_fn(move || {
            if at == NONE {
                return None;
            }
            let seen = Seen { depth, resource: self.node(at).what };
            if self.node(at).child != NONE {
                (at, depth) = (self.node(at).child, depth + 1);
                return Some(seen);
            }
            while at != NONE && self.node(at).sibling == NONE {
                at = self.node(at).parent;
                depth = depth.saturating_sub(1);
                if at == 0 {
                    at = NONE;
                }
            }
            if at != NONE {
                at = self.node(at).sibling;
            }
            Some(seen)
        })
    }

    /// The first part of a range that lies in one resource right below the root which has all of `flags`.
    pub fn next_of(&self, range: PhysRange, flags: ResourceFlags) -> Option<PhysRange> {
        let mut at = self.node(0).child;
        while at != NONE {
            let node = self.node(at);
            let part = node.what.range.intersection(&range);
            if node.what.flags.contains(flags) && !part.is_empty() {
                return Some(part);
            }
            at = node.sibling;
        }
        None
    }

    /// Whether a range meets resources with all of `flags`, and others.
    pub fn region_intersects(&self, range: PhysRange, flags: ResourceFlags) -> Intersects {
        let roots = self.walk().filter(|seen| seen.depth == 0 && seen.resource.range.overlaps(&range));
        let (mut of_kind, mut others) = (false, false);
        for seen in roots {
            if seen.resource.flags.contains(flags) {
                of_kind = true;
            } else {
                others = true;
            }
        }
        match (of_kind, others) {
            (false, _) => Intersects::Disjoint,
            (true, false) => Intersects::Intersects,
            (true, true) => Intersects::Mixed,
        }
    }

    /// Whether all ranges lie in their parents, in order and apart, and every node is in the tree or unused.
    ///
    /// # Errors
    /// The number of the first node that does not fit.
    pub fn validate(&self) -> Result<(), u32> {
        let mut counted = 1;
        for at in 1..self.nodes.len() as u32 {
            let node = self.node(at);
            if node.parent == NONE {
                continue;
            }
            counted += 1;
            let inside = self.node(node.parent).what.range.contains_range(&node.what.range);
            let next = node.sibling;
            let in_order = next == NONE
                || (self.node(next).parent == node.parent
                    && self.node(next).what.range.start >= node.what.range.end);
            if !inside || !in_order || node.what.range.is_empty() {
                return Err(at);
            }
        }
        if self.walk().count() + 1 != counted {
            return Err(0);
        }
        let mut free = self.free;
        while free != NONE {
            counted += 1;
            free = self.node(free).sibling;
        }
        if counted == self.nodes.len() { Ok(()) } else { Err(0) }
    }
}
