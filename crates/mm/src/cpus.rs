//! Which processors are possible, and which of them are started.
//!
//! The firmware lists processors; `nr_cpus=`, `possible_cpus=`, `maxcpus=`, `nosmp` and the kernel configuration limit
//! them. Each architecture decides at its own point of `setup_arch`; until then one processor is possible.
//! Documentation/admin-guide/kernel-parameters describes the parameters, the log lines are those of captured boots.

use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use crate::numa::MAX_NODES;
use crate::percpu::{CpuPlace, MAX_CPUS};
use arrayvec::ArrayVec;
use pagewright_addr::NodeId;
use pagewright_firmware::devicetree::{CpuList, DeviceTree};
use pagewright_firmware::{Arch, Firmware};
use pagewright_zone::watermark::Cpus;

const WORDS: usize = MAX_CPUS / 64;

/// A set of processor numbers (`struct cpumask`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuMask([u64; WORDS]);

impl CpuMask {
    /// The numbers below `count`, as far as they fit.
    pub fn first(count: u32) -> Self {
        let mut mask = Self::default();
        (0..count).for_each(|cpu| mask.insert(cpu));
        mask
    }

    /// Adds a number below [`MAX_CPUS`]; others are left out.
    pub fn insert(&mut self, cpu: u32) {
        if let Some(word) = self.0.get_mut(cpu as usize / 64) {
            *word |= 1 << (cpu % 64);
        }
    }

    /// Whether it has this number.
    pub fn contains(&self, cpu: u32) -> bool {
        self.0.get(cpu as usize / 64).is_some_and(|word| word >> (cpu % 64) & 1 == 1)
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<> {
        let mask = *self;
        (0..MAX_CPUS as u32).filter(move |&cpu| mask.contains(cpu))
    }

    /// One more than the highest number (`nr_cpu_ids`, when this is the mask of possible processors).
    pub fn ids(&self) -> u32 {
        self.iter().last().map_or(0, |cpu| cpu + 1)
    }
}

/// How many processors run, and how many of them on each node: what per-CPU lists and watermarks are computed from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OnlineCpus {
    /// All of them.
    pub online: u32,
    /// Those of each node; without NUMA all are everywhere.
    on_node: Option<[u32; MAX_NODES]>,
}

impl OnlineCpus {
    /// How many run on a node.
    pub fn on_node(&self, nid: NodeId) -> u32 {
        self.on_node.map_or(self.online, |counts| counts.get(nid.index()).copied().unwrap_or(0))
    }

    /// The same as zones take it.
    pub fn with<R>(&self, then: impl FnOnce(&Cpus<'_>) -> R) -> R {
        then(&Cpus { online: self.online, on_node: &|nid| self.on_node(nid) })
    }
}

/// `nr_cpu_ids` before the possible processors are known: NR_CPUS, or less if `nr_cpus=` says so.
fn limit(b: &Boot<'_>) -> u32 {
    let c = &b.machine.config;
    let built_in = if c.smp { c.nr_cpus } else { 1 };
    b.params.nr_cpus.map_or(built_in, |asked| asked.clamp(1, built_in))
}

/// How many processors may be started at boot (`setup_max_cpus`): `maxcpus=`, none but the first with `nosmp`.
fn max_cpus(b: &Boot<'_>) -> Option<u32> {
    if b.params.nosmp { Some(0) } else { b.params.maxcpus }
}

/// The tree, if it decides which processors there are: it lists as many as the machine has.
fn listing<'a>(b: &Boot<'a>) -> Option<&'a DeviceTree<'a>> {
    let Firmware::DeviceTree { tree, .. } = &b.machine.firmware else { return None };
    let listed = (tree.cpus().count() as u32).clamp(1, b.machine.config.nr_cpus.max(1));
    (listed == b.machine.cpus.possible).then_some(tree)
}

/// The boot processor's hardware id; the first that the tree lists where nothing tells.
pub(crate) fn boot_id(b: &Boot<'_>) -> u64 {
    let listed = || match &b.machine.firmware {
        Firmware::DeviceTree { tree, .. } => tree.cpus().find_map(|c| c.reg),
        _ => None,
    };
    b.machine.cpus.boot_id.or_else(listed).unwrap_or(0)
}

/// arm's `arm_dt_init_cpu_maps`.
pub(crate) fn arm_dt_init_cpu_maps(b: &mut Boot<'_>) {
    let limit = limit(b);
    let (count, list) = match listing(b) {
        Some(tree) => tree.count_cpus_arm(b.machine.cpus.boot_id, limit),
        None => (b.machine.cpus.possible.min(limit), CpuList::Taken),
    };
    match list {
        CpuList::Clipped { cores } => {
            warning!(b, "DT /cpu {cores} nodes greater than max cores {limit}, capping them");
        }
        CpuList::NoBootCpu => {
            warning!(b, "DT missing boot CPU MPIDR[23:0], fall back to default cpu_logical_map");
        }
        CpuList::RepeatedId => warning!(b, "Duplicate /cpu reg properties in the DT"),
        CpuList::BadId | CpuList::Taken => {}
    }
    b.possible_cpus = CpuMask::first(count);
}

/// arm64's `smp_init_cpus`.
pub(crate) fn smp_init_cpus(b: &mut Boot<'_>) {
    let limit = limit(b);
    let mut mask = CpuMask::first(1);
    let list = match listing(b).filter(|_| !by_acpi(b)) {
        Some(tree) => tree.number_cpus_arm64(b.machine.cpus.boot_id, limit, &mut |cpu, _| mask.insert(cpu)),
        None => {
            mask = CpuMask::first(b.machine.cpus.possible.min(limit));
            CpuList::Taken
        }
    };
    match list {
        CpuList::Clipped { cores } => {
            warning!(b, "Number of cores ({cores}) exceeds configured maximum of {limit} - clipping");
        }
        CpuList::NoBootCpu => warning!(b, "missing boot CPU MPIDR, not enabling secondaries"),
        CpuList::Taken | CpuList::BadId | CpuList::RepeatedId => {}
    }
    b.possible_cpus = mask;
}

/// Whether ACPI's tables list the processors instead of the tree.
fn by_acpi(b: &Boot<'_>) -> bool {
    matches!(&b.machine.firmware, Firmware::DeviceTree { acpi: Some(_), .. })
}

/// x86's `prefill_possible_map`: processors that are there, and those that may come if any may be started.
///
/// # Errors
/// [`BootError::TooMany`] for more processors than [`MAX_CPUS`].
pub(crate) fn prefill_possible_map(b: &mut Boot<'_>, hotplug: u32) -> Result<(), BootError> {
    let limit = limit(b);
    let all = b.machine.cpus.possible;
    // Linux does not register more than it has numbers for; the rest may come as far as it knows.
    let present = all.saturating_sub(hotplug).clamp(1, limit);
    let asked = b.params.possible_cpus.and_then(|n| u32::try_from(n).ok());
    let max_cpus = max_cpus(b);
    let mut possible = match asked {
        Some(n) => n,
        None if max_cpus == Some(0) => present,
        None => all.max(present),
    };
    if possible > limit {
        warning!(b, "smpboot: {possible} Processors exceeds NR_CPUS limit of {limit}");
        possible = limit;
    }
    if max_cpus == Some(0) && possible > 1 {
        warning!(b, "smpboot: {possible} Processors exceeds max_cpus limit of 0");
        possible = 1;
    }
    let possible = possible.max(1);
    if possible as usize > MAX_CPUS {
        return Err(BootError::TooMany { what: "possible CPUs", limit: MAX_CPUS as u64 });
    }
    b.present_cpus = present.min(possible);
    info!(b, "smpboot: Allowing {possible} CPUs, {} hotplug CPUs", possible - b.present_cpus);
    b.possible_cpus = CpuMask::first(possible);
    Ok(())
}

impl Boot<'_> {
    /// The processors that the boot starts (`cpu_online_mask` after `smp_init`): those that are there, up to `maxcpus=`.
    pub fn online_cpus(&self) -> impl Iterator<Item = u32> + use<> {
        let present =
            if matches!(self.machine.arch, Arch::X86_64 | Arch::I386) { self.present_cpus } else { u32::MAX };
        let most = max_cpus(self).map_or(u32::MAX, |max| max.max(1));
        self.possible_cpus.iter().take(present.min(most) as usize)
    }

    /// A processor's node, once its per-CPU area is placed. Without NUMA, and for a processor that is not possible, node 0.
    pub fn node_of_cpu(&self, cpu: u32) -> NodeId {
        self.percpu.as_ref().and_then(|info| info.node_of(cpu)).unwrap_or(NodeId::ZERO)
    }

    /// Whether a processor counts as one of a node's (`cpumask_of_node`). It is on one node alone, but on every faked one that lies on the same
    /// physical node.
    pub fn is_on_node(&self, cpu: u32, nid: NodeId) -> bool {
        self.lie_together(self.node_of_cpu(cpu), nid)
    }

    /// Whether two nodes are one, or faked ones on the same physical node.
    fn lie_together(&self, a: NodeId, b: NodeId) -> bool {
        let physical = |nid: NodeId| self.faked_on.get(nid.index());
        a == b || physical(a).is_some_and(|on| physical(b) == Some(on))
    }

    /// The processors that the boot starts, counted by node.
    pub fn online_by_node(&self) -> OnlineCpus {
        let mut counts = [0; MAX_NODES];
        let mut online = 0;
        for cpu in self.online_cpus() {
            online += 1;
            let mine = self.node_of_cpu(cpu);
            for (nid, count) in (0..).zip(&mut counts) {
                *count += u32::from(NodeId::new(nid).is_some_and(|nid| self.lie_together(mine, nid)));
            }
        }
        OnlineCpus { online, on_node: self.machine.config.numa.then_some(counts) }
    }

    /// How many processors are possible (`num_possible_cpus`).
    pub(crate) fn num_possible_cpus(&self) -> u64 {
        self.possible_cpus.count().max(1).into()
    }
}

/// The possible processors with their nodes, on machines with a device tree.
pub(crate) fn places(b: &Boot<'_>) -> ArrayVec<CpuPlace, MAX_CPUS> {
    let mut by_tree: ArrayVec<(u32, u32), MAX_CPUS> = ArrayVec::new();
    if let (Arch::Arm64, Firmware::DeviceTree { tree, .. }, false) =
        (b.machine.arch, &b.machine.firmware, b.numa_off)
    {
        tree.number_cpus_arm64(b.machine.cpus.boot_id, MAX_CPUS as u32, &mut |cpu, node| {
            if let Some(nid) = node.node {
                let _ = by_tree.try_push((cpu, nid));
            }
        });
    }
    let node_of = |cpu: u32| {
        let told = || by_tree.iter().find(|(c, _)| *c == cpu).and_then(|(_, n)| u16::try_from(*n).ok());
        // ACPI's word counts where the nodes are ACPI's.
        let node = b.cpu_nodes.get(cpu as usize).copied().or_else(|| told().and_then(NodeId::new));
        node.filter(|n| b.nodes_online.contains(*n)).unwrap_or(NodeId::ZERO)
    };
    let place = |cpu| CpuPlace { cpu, node: b.machine.config.numa.then(|| node_of(cpu)) };
    b.possible_cpus.iter().map(place).collect()
}
