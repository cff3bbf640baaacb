//! On whose behalf memory is allocated and freed.

use super::flags::{AllocFlags, TaskFlags};
use super::{Attention, CpuPages, Reasons};
use crate::gfp::Gfp;
use crate::kind::NodeMask;
use crate::policy::TaskPolicy;
use pagewright_addr::NodeId;
use pagewright_platform::Here;

/// The CPU, its node, the task.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c, 'm, 'a> {
    /// This CPU; whoever holds it is not moved to another.
    pub cpu: Here<'c, Attention, CpuPages<'m, 'a>>,
    /// The node of this CPU (`numa_mem_id`), where allocations start.
    pub node: NodeId,
    pub(crate) task: TaskFlags,
    pub(crate) nodes: Option<&'c NodeMask>,
    hardwall: Option<&'c NodeMask>,
    pub(crate) policy: Option<&'c TaskPolicy>,
    /// What the fast path looks at: this CPU's word, or one that is never quiet for a task that may not use what the CPU's lists have.
    pub(super) gate: &'c Attention,
}

impl<'c, 'm, 'a> Context<'c, 'm, 'a> {
    /// An ordinary task on a CPU of `node`.
    pub const fn new(cpu: Here<'c, Attention, CpuPages<'m, 'a>>, node: NodeId) -> Self {
        Self {
            cpu,
            node,
            task: TaskFlags::empty(),
            nodes: None,
            hardwall: None,
            policy: None,
            gate: cpu.shared(),
        }
    }

    /// The same with these task flags.
    #[must_use]
    pub const fn with_task(self, task: TaskFlags) -> Self {
        Self { task, ..self }.weighed()
    }

    /// The same, held to these nodes whatever it allocates for: a cpuset with a hard wall around it. Urgent allocations, interrupt
    /// handlers and victims of the out-of-memory killer are held to nothing.
    #[must_use]
    pub const fn held_to(self, nodes: &'c NodeMask) -> Self {
        self.in_cpuset(nodes, Some(nodes))
    }

    /// The same, in a cpuset with these nodes (`mems_allowed`). What the kernel allocates for itself (masks without
    /// `__GFP_HARDWALL`) is held to the nodes of the nearest cpuset above that has a hard wall, once the own nodes have
    /// nothing to spare; `None` means that there is none but the root.
    #[must_use]
    pub const fn in_cpuset(self, nodes: &'c NodeMask, hardwall: Option<&'c NodeMask>) -> Self {
        Self { nodes: Some(nodes), hardwall, ..self }.weighed()
    }

    /// The same with the task's memory policy.
    #[must_use]
    pub const fn with_policy(self, policy: &'c TaskPolicy) -> Self {
        Self { policy: Some(policy), ..self }.weighed()
    }

    /// What the task may do beyond others.
    pub const fn task(&self) -> TaskFlags {
        self.task
    }

    /// The nodes of the task's cpuset, if it is in one.
    pub const fn nodes(&self) -> Option<&'c NodeMask> {
        self.nodes
    }

    /// Whether nothing asks this CPU for attention ([`Attention`]), and the task is held to no nodes and has no policy: whatever lies in this CPU's lists
    /// would be served from there, and nobody would be told.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.gate.is_quiet(Reasons::empty())
    }

    const fn weighed(self) -> Self {
        let plain = self.nodes.is_none() && self.policy.is_none() && !self.task.contains(TaskFlags::PIN);
        Self { gate: if plain { self.cpu.shared() } else { Attention::NEVER_QUIET }, ..self }
    }

    /// Whether an attempt with these flags may use a node as far as the cpuset goes (`__cpuset_zone_allowed`).
    pub(super) fn allows(&self, nid: NodeId, gfp: Gfp, flags: AllocFlags) -> bool {
        let Some(nodes) = self.nodes.filter(|_| flags.contains(AllocFlags::CPUSET)) else { return true };
        let free = TaskFlags::INTERRUPT.union(TaskFlags::OOM_VICTIM);
        if nodes.contains(nid) || self.task.intersects(free) {
            return true;
        }
        if gfp.contains(Gfp::HARDWALL) {
            return false;
        }
        self.task.contains(TaskFlags::EXITING) || self.hardwall.is_none_or(|wall| wall.contains(nid))
    }
}
