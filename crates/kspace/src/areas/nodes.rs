//! The tree's nodes, in sections that never move.

use arrayvec::ArrayVec;

/// Sections at most.
const SECTIONS: usize = 256;
/// No node.
pub(super) const NONE: u32 = u32::MAX;
/// The node at the range's end.
pub(super) const SENTINEL: u32 = 0;
/// The height of a node that is in no tree.
const FREE: u8 = 0;

/// An area's number. It means another area once this one is gone and its node is used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AreaId(pub(super) u32);

impl AreaId {
    /// The number: below that of the nodes there are, never 0. What is kept beside the areas has its place by it.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The area of a number, if there is one.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }
}

/// Memory for one area. Offsets count from the start of the range that is managed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Node<T> {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Free bytes between the area before and this one.
    pub(super) gap: u64,
    /// The largest gap in the subtree.
    pub(super) largest: u64,
    pub(super) left: u32,
    pub(super) right: u32,
    /// Of a node that is in no tree: the next such node.
    pub(super) parent: u32,
    pub(super) height: u8,
    pub(super) value: T,
}

impl<T: Default> Node<T> {
    /// A leaf.
    pub(super) fn lone(start: u64, end: u64, gap: u64) -> Self {
        Self {
            start,
            end,
            gap,
            largest: gap,
            left: NONE,
            right: NONE,
            parent: NONE,
            height: 1,
            value: T::default(),
        }
    }
}

/// Nodes by number.
pub(super) struct Nodes<'m, T> {
    sections: ArrayVec<&'m mut [Node<T>], SECTIONS>,
    shift: u32,
    /// The first of the free nodes that have been used before; others follow `fresh`.
    free: u32,
    fresh: u32,
}

impl<'m, T: Copy + Default> Nodes<'m, T> {
    pub(super) fn new(section: &'m mut [Node<T>]) -> Option<Self> {
        if !section.len().is_power_of_two() || section.len() < 2 || section.len() > 1 << 24 {
            return None;
        }
        let shift = section.len().trailing_zeros();
        let mut nodes = Self { sections: ArrayVec::new(), shift, free: NONE, fresh: 1 };
        nodes.add(section).then_some(nodes)
    }

    pub(super) fn add(&mut self, section: &'m mut [Node<T>]) -> bool {
        if section.len() != 1 << self.shift {
            return false;
        }
        section.fill(Node::default());
        self.sections.try_push(section).is_ok()
    }

    pub(super) fn capacity(&self) -> usize {
        self.sections.len() << self.shift
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> &Node<T> {
        &self.sections[(at >> self.shift) as usize][at as usize & ((1 << self.shift) - 1)]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: u32) -> &mut Node<T> {
        &mut self.sections[(at >> self.shift) as usize][at as usize & ((1 << self.shift) - 1)]
    }

    /// The node of an area; `None` for the range's end, free nodes and numbers of none.
    pub(super) fn used(&self, at: u32) -> Option<&Node<T>> {
        let there = at != SENTINEL && (at as usize) < self.capacity();
        there.then(|| self.get(at)).filter(|node| node.height != FREE)
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        let at = self.free;
        if at != NONE {
            self.free = self.get(at).parent;
            return Some(at);
        }
        let at = self.fresh;
        ((at as usize) < self.capacity()).then(|| {
            self.fresh += 1;
            at
        })
    }

    pub(super) fn give_back(&mut self, at: u32) {
        let free = self.free;
        let node = self.get_mut(at);
        node.height = FREE;
        node.parent = free;
        self.free = at;
    }

    pub(super) fn height(&self, at: u32) -> u8 {
        if at == NONE { 0 } else { self.get(at).height }
    }

    pub(super) fn largest(&self, at: u32) -> u64 {
        if at == NONE { 0 } else { self.get(at).largest }
    }
}
