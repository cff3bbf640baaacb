//! Policies as text: `bind:0-3`, `interleave=static:0,2`, `prefer:1`, `local`.

use super::{Mempolicy, Mode, ModeFlags, PolicyError};
use crate::kind::NodeListError;
use crate::{NodeMask, ZoneKind};
use core::fmt;

impl fmt::Display for Mempolicy {
    /// As numa_maps and tmpfs's mount options show it (`mpol_to_str`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mode.name())?;
        if self.flags.contains(ModeFlags::STATIC) {
            f.write_str("=static")?;
        } else if self.flags.contains(ModeFlags::RELATIVE) {
            f.write_str("=relative")?;
        }
        if !self.nodes.is_empty() {
            write!(f, ":{}", self.nodes.list())?;
        }
        Ok(())
    }
}

/// Why text is no policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyTextError {
    /// No mode has this name.
    Mode,
    /// No flag has this name.
    Flag,
    /// What follows the colon is no list of nodes; places count from its start.
    Nodes(NodeListError),
    /// A node has no memory.
    NoMemory,
    /// `prefer` names more than one node.
    OneNode,
    /// The mode and its nodes do not go together.
    Policy(PolicyError),
}

impl fmt::Display for PolicyTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode => f.write_str("no memory policy of this name"),
            Self::Flag => f.write_str("a memory policy's flag is static or relative"),
            Self::Nodes(e) => e.fmt(f),
            Self::NoMemory => f.write_str("a node of the memory policy has no memory"),
            Self::OneNode => f.write_str("policy prefer takes one node"),
            Self::Policy(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for PolicyTextError {}

impl Mempolicy {
    /// Reads a policy as tmpfs's `mpol=` takes it (`mpol_parse_str`). `memory` are the nodes with memory: `interleave` without nodes is over all
    /// of them.
    ///
    /// # Errors
    /// [`PolicyTextError`].
    pub fn parse(text: &str, memory: &NodeMask) -> Result<Self, PolicyTextError> {
        let (head, list) = match text.split_once(':') {
            Some((head, list)) => (head, Some(list)),
            None => (text, None),
        };
        let (name, flag) = match head.split_once('=') {
            Some((name, flag)) => (name, Some(flag)),
            None => (head, None),
        };
        let mode = Mode::ALL.into_iter().find(|mode| mode.name() == name).ok_or(PolicyTextError::Mode)?;
        let flags = match flag {
            None => ModeFlags::empty(),
            Some("static") => ModeFlags::STATIC,
            Some("relative") => ModeFlags::RELATIVE,
            Some(_) => return Err(PolicyTextError::Flag),
        };
        let nodes = list.map(NodeMask::parse_list).transpose().map_err(PolicyTextError::Nodes)?;
        if nodes.is_some_and(|nodes| !nodes.is_subset(memory)) {
            return Err(PolicyTextError::NoMemory);
        }
        let nodes = match (mode, nodes) {
            (Mode::Preferred, Some(nodes)) if nodes.len() != 1 => return Err(PolicyTextError::OneNode),
            (Mode::Local | Mode::Default, Some(_)) => {
                return Err(PolicyTextError::Policy(PolicyError::NodesGiven(mode)));
            }
            (Mode::Interleave | Mode::WeightedInterleave, None) => *memory,
            (_, nodes) => nodes.unwrap_or_default(),
        };
        // Without nodes of its own, prefer is local, whatever its flags say.
        if mode == Mode::Preferred && nodes.is_empty() && !flags.is_empty() {
            return Err(PolicyTextError::Policy(PolicyError::NoNodes(mode)));
        }
        Self::new(mode, flags, &nodes, memory).map_err(PolicyTextError::Policy)
    }
}

/// The highest zone that policies are about (`policy_zone`): the highest populated one but Movable.
pub(super) fn policy_zone(kinds: impl Iterator<Item = ZoneKind>) -> Option<ZoneKind> {
    kinds.filter(|&kind| kind < ZoneKind::Movable).max()
}
