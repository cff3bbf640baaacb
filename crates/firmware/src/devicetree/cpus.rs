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

    /// Hands out processor numbers as arm64 does: `each` learns the number and node of every possible processor but the
    /// boot processor's own number 0, which `boot` names by its hardware id; without, the first with one is taken.
    ///
    /// Every node but the boot processor's takes a number in order, also one with a bad or repeated id; possible are those
    /// below `limit` (`nr_cpu_ids`) with an enable method that the kernel knows.
    pub fn number_cpus_arm64(
        &self,
        boot: Option<u64>,
        limit: u32,
        each: &mut dyn FnMut(u32, &CpuNode<'a>),
    ) -> CpuList {
        const MPIDR_BITS: u64 = 0xff_00ff_ffff;
        let valid = |c: &CpuNode<'_>| c.reg.filter(|r| r & !MPIDR_BITS == 0);
        let boot = boot.or_else(|| self.cpus().find_map(|c| valid(&c)));
        // Without the boot processor in it the list counts for nothing.
        if boot.is_none() || !self.cpus().any(|c| valid(&c) == boot) {
            return CpuList::NoBootCpu;
        }
        let mut boot_seen = false;
        let mut next = 1;
        for (at, cpu) in self.cpus().enumerate() {
            let id = valid(&cpu);
            if id == boot && !boot_seen {
                boot_seen = true;
                each(0, &cpu);
                continue;
            }
            // Numbers beyond the limit change nothing, so that the search for repeated ids stays short.
            let number = next;
            next += 1;
            if number >= limit {
                continue;
            }
            let repeated = id == boot || self.cpus().take(at).any(|c| valid(&c) == id);
            let known = matches!(cpu.enable_method, Some("psci" | "spin-table"));
            if id.is_some() && !repeated && known {
                each(number, &cpu);
            }
        }
        if next > limit.max(1) { CpuList::Clipped { cores: next } } else { CpuList::Taken }
    }

    /// How many processor numbers arm64 hands out: one more than the highest possible processor's (`nr_cpu_ids`).
    pub fn possible_cpus_arm64(&self, nr_cpus: u32) -> u32 {
        let mut possible = 1;
        self.number_cpus_arm64(None, nr_cpus, &mut |number, _| possible = possible.max(number + 1));
        possible
    }

    /// Counts the processors that are possible on arm (`arm_dt_init_cpu_maps`): all nodes, up to `limit`
    /// (`nr_cpu_ids`). One with a bad or repeated hardware id before that makes Linux ignore the list, and so does the
    /// absence of the boot processor, which `boot` names by its id; without, the first with one is taken.
    pub fn count_cpus_arm(&self, boot: Option<u64>, limit: u32) -> (u32, CpuList) {
        const MPIDR_BITS: u64 = 0xff_ffff;
        let limit = limit.max(1);
        // The kernel keeps 32 bits of an id.
        let id = |c: &CpuNode<'_>| c.reg.map(|r| r & 0xffff_ffff).filter(|r| r & !MPIDR_BITS == 0);
        let boot = boot.or_else(|| self.cpus().find_map(|c| id(&c)));
        let (mut count, mut boot_seen, mut list) = (1, false, CpuList::Taken);
        for (at, cpu) in self.cpus().enumerate() {
            let own = id(&cpu);
            if own.is_none() {
                return (1, CpuList::BadId);
            }
            if self.cpus().take(at).any(|c| id(&c) == own) {
                return (1, CpuList::RepeatedId);
            }
            if own == boot {
                boot_seen = true;
                continue;
            }
            count += 1;
            // Linux stops at the first node beyond the limit.
            if count > limit {
                list = CpuList::Clipped { cores: count };
                break;
            }
        }
        match list {
            _ if self.cpus().next().is_none() => (1, CpuList::Taken),
            list if boot_seen => (count.min(limit), list),
            _ => (1, CpuList::NoBootCpu),
        }
    }

    /// How many processors are possible on arm, see [`Self::count_cpus_arm`].
    pub fn possible_cpus_arm(&self, nr_cpus: u32) -> u32 {
        self.count_cpus_arm(None, nr_cpus).0
    }
}

/// What Linux makes of a tree's list of processors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpuList {
    /// It is taken as it is; on arm also if it is empty.
    Taken,
    /// It has more processors than the kernel takes.
    Clipped {
        /// How many were counted.
        cores: u32,
    },
    /// The boot processor is not in it: no other is possible.
    NoBootCpu,
    /// arm: a hardware id is bad or missing, and only the boot processor is possible.
    BadId,
    /// arm: a hardware id is repeated, and only the boot processor is possible.
    RepeatedId,
}
