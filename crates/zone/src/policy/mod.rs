//! NUMA memory policies: on which nodes a task's pages shall lie.
//!
//! A [`Mempolicy`] is a value: a mode, the nodes it is about now, and those that its owner asked for, so that it can follow the task
//! into another cpuset. A [`TaskPolicy`] is one with the place that interleaving has reached; a
//! [`Context`](crate::alloc::Context) carries it, and [`PageAllocator::alloc_pages`](crate::alloc::PageAllocator::alloc_pages)
//! follows it, as does [`PageAllocator::alloc_pages_bulk_mempolicy`](crate::alloc::PageAllocator::alloc_pages_bulk_mempolicy). Areas of an address space bring their own policy and an index to
//! [`PageAllocator::alloc_pages_mpol`](crate::alloc::PageAllocator::alloc_pages_mpol).
//!
//! Modes, rules and the text form are those of 6.1; weighted interleaving is 6.9's.

mod alloc;
mod bulk;
mod choose;
mod text;

pub use choose::{TaskPolicy, Weights};
pub use text::PolicyTextError;

use crate::NodeMask;
use bitflags::bitflags;
use core::fmt;
use pagewright_addr::NodeId;

/// What a policy does with its nodes (MPOL_*).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// None of its own: the task's, or the system's, which is [`Self::Local`] (MPOL_DEFAULT).
    Default,
    /// From its one node if that has memory, else from the next ones (MPOL_PREFERRED).
    Preferred,
    /// From its nodes only, the nearest first (MPOL_BIND).
    Bind,
    /// From its nodes in turn, page by page (MPOL_INTERLEAVE).
    Interleave,
    /// From the node of the CPU that allocates (MPOL_LOCAL).
    Local,
    /// From its nodes, the nearest first, or without trying hard from any (MPOL_PREFERRED_MANY).
    PreferredMany,
    /// From its nodes in turn, several pages each by their weight (MPOL_WEIGHTED_INTERLEAVE).
    WeightedInterleave,
}

impl Mode {
    /// Every mode, by Linux's numbers.
    pub const ALL: [Self; 7] = [
        Self::Default,
        Self::Preferred,
        Self::Bind,
        Self::Interleave,
        Self::Local,
        Self::PreferredMany,
        Self::WeightedInterleave,
    ];

    /// The name that numa_maps and tmpfs's mount option use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Preferred => "prefer",
            Self::Bind => "bind",
            Self::Interleave => "interleave",
            Self::Local => "local",
            Self::PreferredMany => "prefer (many)",
            Self::WeightedInterleave => "weighted interleave",
        }
    }
}

bitflags! {
    /// How a policy follows its task into other cpusets (MPOL_F_*).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct ModeFlags: u16 {
        /// Nodes are physical: those that the cpuset lacks are simply left out (MPOL_F_STATIC_NODES).
        const STATIC = 1 << 15;
        /// Nodes are places among the cpuset's nodes (MPOL_F_RELATIVE_NODES).
        const RELATIVE = 1 << 14;
    }
}

/// Why there is no such policy. Linux says EINVAL to all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyError {
    /// Both static and relative nodes.
    Flags,
    /// A mode that has no nodes was given some, or flags about them.
    NodesGiven(Mode),
    /// A mode that needs nodes has none, or none of them can be used.
    NoNodes(Mode),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flags => f.write_str("nodes of a policy are static or relative, not both"),
            Self::NodesGiven(mode) => write!(f, "policy {} takes no nodes", mode.name()),
            Self::NoNodes(mode) => write!(f, "policy {} needs nodes that can be used", mode.name()),
        }
    }
}

impl core::error::Error for PolicyError {}

/// A policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mempolicy {
    mode: Mode,
    flags: ModeFlags,
    nodes: NodeMask,
    /// What was asked for, if the nodes are static or relative; else the cpuset's nodes that `nodes` were chosen under.
    basis: NodeMask,
    home: Option<NodeId>,
}

impl Mempolicy {
    /// The system's default: from the node of the CPU that allocates.
    pub const LOCAL: Self = Self {
        mode: Mode::Local,
        flags: ModeFlags::empty(),
        nodes: NodeMask::EMPTY,
        basis: NodeMask::EMPTY,
        home: None,
    };

    /// Makes a policy (`mpol_new`, `mpol_set_nodemask`). `usable` are the nodes with memory that the task's cpuset has.
    /// [`Mode::Preferred`] without nodes is [`Mode::Local`], and with several the first of them.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn new(
        mode: Mode,
        flags: ModeFlags,
        nodes: &NodeMask,
        usable: &NodeMask,
    ) -> Result<Self, PolicyError> {
        if flags.contains(ModeFlags::STATIC | ModeFlags::RELATIVE) {
            return Err(PolicyError::Flags);
        }
        let mode = match mode {
            Mode::Preferred if nodes.is_empty() => Mode::Local,
            mode => mode,
        };
        if matches!(mode, Mode::Default | Mode::Local) {
            if !nodes.is_empty() || !flags.is_empty() {
                return Err(PolicyError::NodesGiven(mode));
            }
            return Ok(Self { mode, ..Self::LOCAL });
        }
        let mut chosen =
            if flags.contains(ModeFlags::RELATIVE) { relative(nodes, usable) } else { nodes.and(usable) };
        let first = chosen.first().ok_or(PolicyError::NoNodes(mode))?;
        if mode == Mode::Preferred {
            chosen = NodeMask::only(first);
        }
        let basis = if flags.is_empty() { *usable } else { *nodes };
        Ok(Self { mode, flags, nodes: chosen, basis, home: None })
    }

    /// The mode.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The flags.
    pub const fn flags(&self) -> ModeFlags {
        self.flags
    }

    /// The nodes that it is about now.
    pub const fn nodes(&self) -> &NodeMask {
        &self.nodes
    }

    /// The same, its allocations beginning at this node (`set_mempolicy_home_node`); only for [`Mode::Bind`] and
    /// [`Mode::PreferredMany`].
    #[must_use]
    pub fn at_home(self, home: NodeId) -> Self {
        let can = matches!(self.mode, Mode::Bind | Mode::PreferredMany);
        Self { home: if can { Some(home) } else { self.home }, ..self }
    }

    /// Follows the task into a cpuset with these usable nodes (`mpol_rebind_policy`).
    pub fn rebind(&mut self, usable: &NodeMask) {
        if self.nodes.is_empty() || matches!(self.mode, Mode::Preferred | Mode::PreferredMany) {
            // Preferred nodes stay what they are: where they cannot be had, others are.
            if self.flags.is_empty() {
                self.basis = *usable;
            }
            return;
        }
        let nodes = if self.flags.contains(ModeFlags::STATIC) {
            self.basis.and(usable)
        } else if self.flags.contains(ModeFlags::RELATIVE) {
            relative(&self.basis, usable)
        } else {
            let moved = remap(&self.nodes, &self.basis, usable);
            self.basis = *usable;
            moved
        };
        self.nodes = if nodes.is_empty() { *usable } else { nodes };
    }
}

/// Places among the usable nodes, counted round if there are fewer (`mpol_relative_nodemask`).
fn relative(places: &NodeMask, usable: &NodeMask) -> NodeMask {
    let count = usable.len();
    let at = |place: NodeId| usable.iter().nth(place.index() % count.max(1));
    places.iter().filter_map(at).collect()
}

/// Each node of `old` becomes the node of `new` at the same place, counted round; others stay (`nodes_remap`).
fn remap(nodes: &NodeMask, old: &NodeMask, new: &NodeMask) -> NodeMask {
    let count = new.len();
    let to = |nid: NodeId| match old.iter().position(|n| n == nid) {
        Some(place) if count > 0 => new.iter().nth(place % count).unwrap_or(nid),
        _ => nid,
    };
    nodes.iter().map(to).collect()
}

#[cfg(test)]
mod tests;
