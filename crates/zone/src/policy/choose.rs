//! Whose turn it is: where an allocation under a policy begins.

use super::{Mempolicy, Mode};
use crate::NodeMask;
use core::sync::atomic::{AtomicU8, AtomicU16, Ordering::Relaxed};
use pagewright_addr::NodeId;

/// How many pages in a row each node gets from weighted interleaving (/sys/kernel/mm/mempolicy/weighted_interleave).
#[derive(Debug)]
pub struct Weights([AtomicU8; NodeId::LIMIT]);

impl Weights {
    /// One for each node.
    pub const fn new() -> Self {
        Self([const { AtomicU8::new(1) }; NodeId::LIMIT])
    }

    /// A node's weight, at least 1.
    pub fn get(&self, nid: NodeId) -> u8 {
        self.0[nid.index()].load(Relaxed).max(1)
    }

    /// Sets a node's weight; 0 is taken for 1.
    pub fn set(&self, nid: NodeId, weight: u8) {
        self.0[nid.index()].store(weight.max(1), Relaxed);
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self::new()
    }
}

/// A task's policy, and how far its interleaving is (`il_prev`, `il_weight`). Only its task uses it at a time.
#[derive(Debug)]
pub struct TaskPolicy {
    pub(super) policy: Mempolicy,
    pub(super) prev: AtomicU16,
    pub(super) left: AtomicU8,
}

impl TaskPolicy {
    /// Interleaving begins with the policy's first node.
    pub const fn new(policy: Mempolicy) -> Self {
        Self { policy, prev: AtomicU16::new(NodeId::LIMIT as u16 - 1), left: AtomicU8::new(0) }
    }

    /// The policy.
    pub const fn policy(&self) -> &Mempolicy {
        &self.policy
    }

    /// The policy, to let it follow its task into another cpuset.
    pub const fn policy_mut(&mut self) -> &mut Mempolicy {
        &mut self.policy
    }

    pub(super) fn prev(&self) -> NodeId {
        NodeId::new(self.prev.load(Relaxed)).unwrap_or_default()
    }

    /// The next node in turn (`interleave_nodes`).
    pub(super) fn next(&self) -> Option<NodeId> {
        let next = self.policy.nodes.next_in(self.prev())?;
        self.prev.store(next.get(), Relaxed);
        Some(next)
    }

    /// The next node in turn, as often as its weight says (`weighted_interleave_nodes`).
    pub(super) fn next_weighted(&self, weights: &Weights) -> Option<NodeId> {
        let left = self.left.load(Relaxed);
        let prev = self.prev();
        if left > 0 && self.policy.nodes.contains(prev) {
            self.left.store(left - 1, Relaxed);
            return Some(prev);
        }
        let next = self.next()?;
        self.left.store(weights.get(next) - 1, Relaxed);
        Some(next)
    }
}

impl Mempolicy {
    /// The node of the `index`-th page of something that is interleaved, such as a file or an area (`interleave_nid`).
    pub fn interleave_nid(&self, index: u64) -> Option<NodeId> {
        let count = self.nodes.len() as u64;
        if count == 0 { None } else { self.nodes.iter().nth((index % count) as usize) }
    }

    /// The same by weights (`weighted_interleave_nid`).
    pub fn weighted_interleave_nid(&self, index: u64, weights: &Weights) -> Option<NodeId> {
        let total: u64 = self.nodes.iter().map(|nid| u64::from(weights.get(nid))).sum();
        let mut target = index.checked_rem(total)?;
        self.nodes.iter().find(|&nid| {
            let weight = u64::from(weights.get(nid));
            let here = target < weight;
            target = target.saturating_sub(weight);
            here
        })
    }

    /// Where an allocation on a CPU of `here` begins (`policy_node`), interleaving apart.
    pub(super) fn start(&self, here: NodeId) -> NodeId {
        match self.mode {
            Mode::Preferred => self.nodes.first().unwrap_or(here),
            Mode::Bind | Mode::PreferredMany => self.home.unwrap_or(here),
            _ => here,
        }
    }

    /// The nodes it is held to (`policy_nodemask`). `binds` says whether the mask's highest zone is one that policies are about: low
    /// memory is too scarce to be bound.
    pub(super) fn mask(&self, binds: bool, cpuset: Option<&NodeMask>) -> Option<&NodeMask> {
        let usable = cpuset.is_none_or(|cpuset| !self.nodes.and(cpuset).is_empty());
        match self.mode {
            Mode::Bind if binds && usable => Some(&self.nodes),
            Mode::PreferredMany => Some(&self.nodes),
            _ => None,
        }
    }
}
