//! The children of /cpus.

use super::numa::numa_node_id;
use super::{CellCounts, DeviceTree, Node};

/// A processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuNode<'a> {
    /// The node's name.
    pub name: &'a str,
    /// `reg`, the hardware id (MPIDR on arm): all cells that /cpus gives an address. `None` if it is missing or too
    /// short (of_get_cpu_hwid).
    pub reg: Option<u64>,
    /// `numa-node-id`.
    pub node: Option<u32>,
    /// No `status`, or one of `ok` and `okay`. Linux's arm and arm64 count the others too.
    pub enabled: bool,
    /// `enable-method`.
    pub enable_method: Option<&'a str>,
}

/// Linux leaves out a processor whose `status` is `fail`, or begins with `fail-`.
fn has_failed(node: &Node<'_>) -> bool {
    let status = node.property("status").and_then(|s| s.strings().next());
    status.is_some_and(|s| s == b"fail" || s.starts_with(b"fail-"))
}

impl<'a> DeviceTree<'a> {
    /// The processors, as `for_each_of_cpu_node` finds them: children of /cpus that are named `cpu` or have
    /// `device_type = "cpu"`, in order, those that failed left out.
    pub fn cpus(&self) -> impl Iterator<Item = CpuNode<'a>> + Clone + use<'a> {
        let cpus = self.root().child_exact("cpus");
        let own = cpus.and_then(|c| c.property("#address-cells")).and_then(|p| p.as_u32());
        let root = self.root().property("#address-cells").and_then(|p| p.as_u32());
        let cells = own.or(root).unwrap_or(CellCounts::LINUX_DEFAULT.address) as usize;
        let is_cpu =
            |n: &Node<'a>| n.base_name() == "cpu" || n.property("device_type").is_some_and(|t| t.is("cpu"));
        let children = cpus.into_iter().flat_map(|c| c.children());
        children.filter(|n| !has_failed(n)).filter(is_cpu).map(move |n| CpuNode {
            name: n.name(),
            reg: n.property("reg").and_then(|p| {
                let (all, _) = p.value.as_chunks::<4>();
                Some(super::flat::number(all.get(..cells).filter(|c| !c.is_empty())?))
            }),
            node: numa_node_id(&n).and_then(Result::ok),
            enabled: n.is_available(),
            enable_method: n.property("enable-method").and_then(|p| p.as_str()),
        })
    }

    /// How many processor numbers arm64 hands out: one more than the highest possible processor's (`nr_cpu_ids`).
    ///
    /// The boot processor, taken to be the first with a hardware id, is number 0. Every other node takes a number in
    /// order, also one with a bad or repeated id; possible are those with an enable method that the kernel knows.
    pub fn possible_cpus_arm64(&self, nr_cpus: u32) -> u32 {
        const MPIDR_BITS: u64 = 0xff_00ff_ffff;
        let valid = |c: &CpuNode<'_>| c.reg.filter(|r| r & !MPIDR_BITS == 0);
        let Some(boot) = self.cpus().find_map(|c| valid(&c)) else { return 1 };
        let mut boot_seen = false;
        let (mut next, mut possible) = (1, 1);
        for (at, cpu) in self.cpus().enumerate() {
            let id = valid(&cpu);
            if id == Some(boot) && !boot_seen {
                boot_seen = true;
                continue;
            }
            // Numbers beyond the limit change nothing, so that the search for repeated ids stays short.
            let number = next;
            next += 1;
            if number >= nr_cpus {
                break;
            }
            let repeated = id == Some(boot) || self.cpus().take(at).any(|c| valid(&c) == id);
            let known = matches!(cpu.enable_method, Some("psci" | "spin-table"));
            if id.is_some() && !repeated && known {
                possible = number + 1;
            }
        }
        possible
    }

    /// How many processors are possible on arm: all nodes, unless one has a bad or repeated hardware id, which makes
    /// Linux ignore the tree's list.
    pub fn possible_cpus_arm(&self, nr_cpus: u32) -> u32 {
        const MPIDR_BITS: u64 = 0xff_ffff;
        let valid = |(at, c): (usize, CpuNode<'_>)| {
            c.reg.is_some_and(|r| r & !MPIDR_BITS == 0) && self.cpus().take(at).all(|e| e.reg != c.reg)
        };
        // Linux stops at the first node beyond the limit.
        let looked_at = (nr_cpus as usize).saturating_add(1);
        if !self.cpus().take(looked_at).enumerate().all(valid) {
            return 1;
        }
        (self.cpus().take(looked_at).count() as u32).clamp(1, nr_cpus.max(1))
    }
}
