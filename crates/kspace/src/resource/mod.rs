//! Who uses which physical addresses: the tree behind `/proc/iomem`.
//!
//! A resource is a range with a name. It lies in its parent, and siblings do not overlap; they are kept in the order of their addresses. The
//! boot inserts RAM, the image and reservations, buses what they decode, and drivers request what they are about to map
//! ([`Resources::request_mem_region`]): a range that somebody uses already is refused with the name of who does.
//!
//! The caller brings the memory. Nothing here locks: whoever shares the tree among CPUs puts it behind a lock (`resource_lock`), which no handler takes.

mod error;
mod walk;

pub use error::{ReleaseError, ResourceError};
pub use walk::{Intersects, Seen};

use bitflags::bitflags;
use core::fmt;
use pagewright_addr::{PhysAddr, PhysRange};

bitflags! {
    /// What a resource is, with Linux's numbers (`IORESOURCE_*`).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct ResourceFlags: u32 {
        /// I/O ports.
        const IO = 0x100;
        /// Memory addresses.
        const MEM = 0x200;
        /// RAM that the kernel manages, together with MEM (IORESOURCE_SYSTEM_RAM).
        const SYSRAM = 0x0100_0000;
        /// Nobody else may map it.
        const EXCLUSIVE = 0x0800_0000;
        /// A driver uses it.
        const BUSY = 0x8000_0000;
    }
}

impl ResourceFlags {
    /// IORESOURCE_SYSTEM_RAM.
    pub const SYSTEM_RAM: Self = Self::MEM.union(Self::SYSRAM);
}

/// No resource.
const NONE: u32 = u32::MAX;

/// A place in the tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ResourceId(u32);

/// A range and who has it (`struct resource`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resource<'n> {
    /// Its addresses.
    pub range: PhysRange,
    /// Its name.
    pub name: &'n str,
    /// What it is.
    pub flags: ResourceFlags,
}

/// Memory for one resource.
#[derive(Clone, Copy, Debug)]
pub struct ResourceNode<'n> {
    what: Resource<'n>,
    parent: u32,
    child: u32,
    /// The next one, or the next node that is unused.
    sibling: u32,
}

impl ResourceNode<'_> {
    /// An unused one.
    pub const EMPTY: Self = Self {
        what: Resource {
            range: PhysRange { start: PhysAddr::ZERO, end: PhysAddr::ZERO },
            name: "",
            flags: ResourceFlags::empty(),
        },
        parent: NONE,
        child: NONE,
        sibling: NONE,
    };
}

/// The tree (`iomem_resource`).
pub struct Resources<'r, 'n> {
    nodes: &'r mut [ResourceNode<'n>],
    free: u32,
}

impl fmt::Debug for Resources<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resources").field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

/// Where a resource would go.
enum Place {
    /// After this child of the parent, or first.
    After(u32),
    /// It overlaps with this one.
    Conflict(u32),
}

impl<'r, 'n> Resources<'r, 'n> {
    /// The root's place.
    pub const ROOT: ResourceId = ResourceId(0);

    /// An empty tree over all addresses in `range`, in memory for as many resources as `nodes` has, less one. `None` without any memory.
    pub fn new(range: PhysRange, nodes: &'r mut [ResourceNode<'n>]) -> Option<Self> {
        let count = u32::try_from(nodes.len()).ok().filter(|n| *n < NONE)?;
        for (n, node) in nodes.iter_mut().enumerate() {
            *node = ResourceNode { sibling: n as u32 + 1, ..ResourceNode::EMPTY };
        }
        nodes.last_mut()?.sibling = NONE;
        nodes.first_mut()?.sibling = NONE;
        nodes[0].what = Resource { range, name: "PCI mem", flags: ResourceFlags::MEM };
        Some(Self { nodes, free: if count > 1 { 1 } else { NONE } })
    }

    const fn node(&self, at: u32) -> &ResourceNode<'n> {
        &self.nodes[at as usize]
    }

    const fn node_mut(&mut self, at: u32) -> &mut ResourceNode<'n> {
        &mut self.nodes[at as usize]
    }

    /// A resource.
    pub fn get(&self, id: ResourceId) -> Option<&Resource<'n>> {
        let node = self.nodes.get(id.0 as usize)?;
        (id == Self::ROOT || node.parent != NONE).then_some(&node.what)
    }

    /// Where `range` goes among the children of `parent`.
    fn place(&self, parent: u32, range: PhysRange) -> Place {
        if range.is_empty() || !self.node(parent).what.range.contains_range(&range) {
            return Place::Conflict(parent);
        }
        let (mut before, mut at) = (NONE, self.node(parent).child);
        while at != NONE {
            let sibling = self.node(at).what.range;
            if sibling.start >= range.end {
                break;
            }
            if sibling.end > range.start {
                return Place::Conflict(at);
            }
            (before, at) = (at, self.node(at).sibling);
        }
        Place::After(before)
    }

    fn busy(&self, conflict: u32) -> ResourceError<'n> {
        ResourceError::Busy(self.node(conflict).what)
    }

    /// Puts `what` below `parent` after its child `before`.
    fn link(&mut self, parent: u32, before: u32, what: Resource<'n>) -> Result<u32, ResourceError<'n>> {
        let new = self.free;
        if new == NONE {
            return Err(ResourceError::NoMemory { resources: self.nodes.len() });
        }
        self.free = self.node(new).sibling;
        let next = if before == NONE { self.node(parent).child } else { self.node(before).sibling };
        *self.node_mut(new) = ResourceNode { what, parent, child: NONE, sibling: next };
        if before == NONE {
            self.node_mut(parent).child = new;
        } else {
            self.node_mut(before).sibling = new;
        }
        Ok(new)
    }

    /// Enters a resource right below another (`request_resource`).
    ///
    /// # Errors
    /// [`ResourceError`]; nothing was changed then.
    pub fn request_resource(
        &mut self,
        parent: ResourceId,
        what: Resource<'n>,
    ) -> Result<ResourceId, ResourceError<'n>> {
        if self.get(parent).is_none() {
            return Err(ResourceError::NoParent);
        }
        match self.place(parent.0, what.range) {
            Place::Conflict(with) => Err(self.busy(with)),
            Place::After(before) => self.link(parent.0, before, what).map(ResourceId),
        }
    }

    /// Enters a resource where it belongs: in the smallest one that has all of it, and around those that it has all of (`insert_resource`).
    ///
    /// # Errors
    /// [`ResourceError`]; nothing was changed then.
    pub fn insert_resource(&mut self, what: Resource<'n>) -> Result<ResourceId, ResourceError<'n>> {
        let mut parent = 0;
        let first = loop {
            match self.place(parent, what.range) {
                Place::After(before) => return self.link(parent, before, what).map(ResourceId),
                Place::Conflict(with) if with == parent => return Err(self.busy(with)),
                Place::Conflict(with) => {
                    let other = self.node(with).what.range;
                    if !other.contains_range(&what.range) || other == what.range {
                        break with;
                    }
                    parent = with;
                }
            }
        };
        // Children from `first` on become its own, if it has all of each.
        let (mut last, mut next) = (first, first);
        while next != NONE && self.node(next).what.range.start < what.range.end {
            if !what.range.contains_range(&self.node(next).what.range) {
                return Err(self.busy(next));
            }
            (last, next) = (next, self.node(next).sibling);
        }
        let before = self.before(parent, first);
        let new = self.link(parent, before, what)?;
        self.node_mut(new).sibling = next;
        self.node_mut(new).child = first;
        self.node_mut(last).sibling = NONE;
        let mut at = first;
        while at != NONE {
            self.node_mut(at).parent = new;
            at = self.node(at).sibling;
        }
        Ok(ResourceId(new))
    }

    /// The child of `parent` before `at`.
    fn before(&self, parent: u32, at: u32) -> u32 {
        let mut before = self.node(parent).child;
        if before == at {
            return NONE;
        }
        while before != NONE && self.node(before).sibling != at {
            before = self.node(before).sibling;
        }
        before
    }

    /// A driver is about to use `range` (`request_mem_region`): it goes below whatever bus or window has it, unless another driver uses a part of
    /// it.
    ///
    /// # Errors
    /// [`ResourceError::Busy`] names who does.
    pub fn request_mem_region(
        &mut self,
        range: PhysRange,
        name: &'n str,
    ) -> Result<ResourceId, ResourceError<'n>> {
        let what = Resource { range, name, flags: ResourceFlags::MEM | ResourceFlags::BUSY };
        let mut parent = 0;
        loop {
            match self.place(parent, range) {
                Place::After(before) => return self.link(parent, before, what).map(ResourceId),
                Place::Conflict(with) => {
                    let other = &self.node(with).what;
                    if with == parent
                        || other.flags.contains(ResourceFlags::BUSY)
                        || !other.range.contains_range(&range)
                    {
                        return Err(self.busy(with));
                    }
                    parent = with;
                }
            }
        }
    }

    /// A driver has done with `range`, which it requested just so (`release_mem_region`).
    ///
    /// # Errors
    /// [`ReleaseError`]; nothing was changed then.
    pub fn release_mem_region(&mut self, range: PhysRange) -> Result<(), ReleaseError> {
        let nonexistent = ReleaseError { range };
        let mut at = self.node(0).child;
        while at != NONE {
            let node = self.node(at);
            if !node.what.range.contains_range(&range) || range.is_empty() {
                at = node.sibling;
            } else if !node.what.flags.contains(ResourceFlags::BUSY) {
                at = node.child;
            } else if node.what.range == range && node.child == NONE {
                self.unlink(at);
                return Ok(());
            } else {
                return Err(nonexistent);
            }
        }
        Err(nonexistent)
    }

    /// Takes a resource out (`release_resource`); what was below it goes to its parent (`remove_resource`). The root stays.
    ///
    /// # Errors
    /// [`ReleaseError`] if it is not there.
    pub fn remove_resource(&mut self, id: ResourceId) -> Result<(), ReleaseError> {
        if id == Self::ROOT || self.get(id).is_none() {
            let range = self.nodes.get(id.0 as usize).map_or(PhysRange::default(), |n| n.what.range);
            return Err(ReleaseError { range });
        }
        self.unlink(id.0);
        Ok(())
    }

    fn unlink(&mut self, at: u32) {
        let ResourceNode { parent, child, sibling, .. } = *self.node(at);
        let before = self.before(parent, at);
        // Its children take its place.
        let mut next = sibling;
        if child != NONE {
            next = child;
            let mut last = child;
            loop {
                self.node_mut(last).parent = parent;
                match self.node(last).sibling {
                    NONE => break,
                    more => last = more,
                }
            }
            self.node_mut(last).sibling = sibling;
        }
        if before == NONE {
            self.node_mut(parent).child = next;
        } else {
            self.node_mut(before).sibling = next;
        }
        *self.node_mut(at) = ResourceNode { sibling: self.free, ..ResourceNode::EMPTY };
        self.free = at;
    }
}

#[cfg(test)]
mod tests;
