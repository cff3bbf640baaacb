//! Nodes from a device tree, or from ACPI on arm64: `arch_numa_init` with its fall-back to one node.
//!
//! memblock's regions carry node ids afterwards, distances stand in [`Distances`], and each node that has memory owns a
//! `pg_data_t` taken from memblock, as near as possible.

mod acpi;

pub(crate) use acpi::map_cpus_to_nodes;

use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use arrayvec::ArrayVec;
use pagewright_addr::{NodeId, PhysAddr, PhysRange};
use pagewright_firmware::ArmAcpi;
use pagewright_firmware::devicetree::DeviceTree;
use pagewright_memblock::Set;
use pagewright_zone::NodeMask;

/// The most nodes for which distances are kept.
pub const MAX_NODES: usize = 64;
/// LOCAL_DISTANCE.
pub const LOCAL: u8 = 10;
/// REMOTE_DISTANCE.
pub const REMOTE: u8 = 20;

/// Distances between nodes; 10 and 20 where the firmware says nothing.
#[derive(Clone, Debug)]
pub struct Distances {
    /// What memblock keeps for the table, if it has been allocated (x86).
    pub(crate) memory: Option<PhysRange>,
    table: [[u8; MAX_NODES]; MAX_NODES],
}

impl Default for Distances {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl Distances {
    /// What holds where the firmware says nothing.
    pub const UNKNOWN: Self = {
        let mut table = [[REMOTE; MAX_NODES]; MAX_NODES];
        let mut node = 0;
        while node < MAX_NODES {
            table[node][node] = LOCAL;
            node += 1;
        }
        Self { memory: None, table }
    };

    /// Forgets what was set.
    pub(crate) fn clear(&mut self) {
        self.memory = None;
        for (i, row) in self.table.iter_mut().enumerate() {
            row.fill(REMOTE);
            row[i] = LOCAL;
        }
    }

    /// The distance from one node to another.
    pub fn get(&self, from: NodeId, to: NodeId) -> u8 {
        let at = |n: NodeId| if n.index() < MAX_NODES { Some(n.index()) } else { None };
        match (at(from), at(to)) {
            (Some(f), Some(t)) => self.table[f][t],
            _ if from == to => LOCAL,
            _ => REMOTE,
        }
    }

    /// Sets one distance whatever it is: faked nodes may be local to each other.
    pub fn force(&mut self, from: NodeId, to: NodeId, distance: u8) {
        if from.index() < MAX_NODES && to.index() < MAX_NODES {
            self.table[from.index()][to.index()] = distance;
        }
    }

    /// Sets one distance; out-of-range nodes and impossible values (below local, or remote equal to local) are
    /// refused with `false`.
    pub fn set(&mut self, from: NodeId, to: NodeId, distance: u8) -> bool {
        let bad = distance < LOCAL || (from == to) != (distance == LOCAL);
        if bad || from.index() >= MAX_NODES || to.index() >= MAX_NODES {
            return false;
        }
        self.table[from.index()][to.index()] = distance;
        true
    }
}

/// Nodes from ACPI if that describes the machine, else from the device tree, or one node for everything
/// (`arch_numa_init`).
///
/// # Errors
/// Whatever memblock refuses.
pub fn arch_numa_init(
    boot: &mut Boot<'_>,
    tree: &DeviceTree<'_>,
    acpi: Option<&ArmAcpi<'_>>,
) -> Result<(), BootError> {
    if !boot.machine.config.numa {
        return single_node(boot);
    }
    let limit = 1u64 << boot.machine.config.nodes_shift;
    let mut nodes = NodeMask::EMPTY;
    if !boot.params.numa.off {
        let table = alloc_distance(boot, limit)?;
        let found = match acpi {
            Some(acpi) => acpi::acpi_numa_init(boot, acpi, limit, &mut nodes)?,
            None => of_numa_init(boot, tree, limit, &mut nodes)?,
        };
        if found && every_region_has_a_node(boot, limit) {
            return register_nodes(boot, &nodes);
        }
        nodes = NodeMask::EMPTY;
        boot.distances.clear();
        clear_nodes(boot)?;
        boot.mb.set_caller("numa_free_distance");
        boot.mb.phys_free(table)?;
    }
    alloc_distance(boot, limit)?;
    if boot.params.numa.off {
        info!(boot, "NUMA: NUMA disabled");
    }
    let (start, end) = (boot.mb.start_of_dram(), boot.mb.end_of_dram());
    info!(boot, "NUMA: Faking a node at [mem {:#018x}-{:#018x}]", start, end.saturating_sub(1));
    boot.mb.set_node(PhysRange::new(start, end), Set::Memory, Some(NodeId::ZERO))?;
    nodes.insert(NodeId::ZERO);
    boot.numa_off = true;
    register_nodes(boot, &nodes)
}

/// Without CONFIG_NUMA all memory is node 0 and its `pg_data_t` is part of the image.
pub(crate) fn single_node(boot: &mut Boot<'_>) -> Result<(), BootError> {
    let all = PhysRange::new(PhysAddr::ZERO, boot.phys_addr_max());
    boot.mb.set_node(all, Set::Memory, Some(NodeId::ZERO))?;
    boot.nodes_possible.insert(NodeId::ZERO);
    boot.nodes_online.insert(NodeId::ZERO);
    Ok(())
}

fn alloc_distance(boot: &mut Boot<'_>, nodes: u64) -> Result<PhysRange, BootError> {
    boot.mb.set_caller("numa_init");
    let page = boot.page_bytes();
    Ok(PhysRange::from_len(boot.alloc(nodes * nodes, page)?, nodes * nodes))
}

fn clear_nodes(boot: &mut Boot<'_>) -> Result<(), BootError> {
    let all = PhysRange::new(PhysAddr::ZERO, boot.phys_addr_max());
    boot.mb.set_node(all, Set::Memory, None)?;
    boot.mb.set_node(all, Set::Reserved, None)?;
    Ok(())
}

/// `of_numa_init`: CPUs, memory and distances; `false` when the tree has no (or no usable) NUMA description.
fn of_numa_init(
    boot: &mut Boot<'_>,
    tree: &DeviceTree<'_>,
    limit: u64,
    nodes: &mut NodeMask,
) -> Result<bool, BootError> {
    let known = |n: Option<u32>| n.filter(|n| u64::from(*n) < limit).and_then(|n| NodeId::new(n as u16));
    for cpu in tree.cpus() {
        if let Some(n) = known(cpu.node) {
            nodes.insert(n);
        } else if let Some(n) = cpu.node {
            warning!(boot, "NUMA: Node id {n} exceeds maximum value");
        }
    }
    for memory in tree.numa_memory() {
        let memory = match memory {
            Ok(m) => m,
            Err(e) => {
                warning!(boot, "NUMA: {e}");
                return Ok(false);
            }
        };
        let Some(n) = known(Some(memory.node)) else {
            warning!(boot, "NUMA: Node id {} exceeds maximum value", memory.node);
            return Ok(false);
        };
        for r in memory.regions {
            nodes.insert(n);
            boot.mb.set_node(r.range(), Set::Memory, Some(n))?;
        }
    }
    if let Some(distances) = tree.distances() {
        for (from, to, distance) in distances {
            let (Some(from), Some(to)) = (known(Some(from)), known(Some(to))) else { continue };
            let Ok(d) = u8::try_from(distance) else { continue };
            boot.distances.set(from, to, d);
            // The matrix may give one direction only.
            boot.distances.set(to, from, d);
        }
    }
    if nodes.is_empty() {
        info!(boot, "NUMA: No NUMA configuration found");
        return Ok(false);
    }
    Ok(true)
}

/// Memory that no node has makes the whole description void. The kernel shows its mark for "none", the number after the
/// last possible node.
fn every_region_has_a_node(boot: &Boot<'_>, limit: u64) -> bool {
    let stray = boot.mb.regions(Set::Memory).iter().find(|r| r.nid().is_none());
    if let Some(r) = stray {
        let (start, last) = (r.base(), r.end().saturating_sub(1));
        warning!(boot, "NUMA: Warning: invalid memblk node {limit} [mem {start:#018x}-{last:#018x}]");
    }
    stray.is_none()
}

/// Gives each node its `pg_data_t` (`numa_register_nodes`, `setup_node_data`).
fn register_nodes(boot: &mut Boot<'_>, nodes: &NodeMask) -> Result<(), BootError> {
    boot.nodes_possible = *nodes;
    let line = boot.cache_line();
    let bytes = u64::from(boot.machine.build.pglist_data).next_multiple_of(line);
    let shift = boot.machine.config.page_shift;
    for nid in nodes.iter() {
        let has_memory = boot.mb.mem_pfn_ranges(Some(nid)).any(|(r, _)| !r.is_empty());
        if !has_memory {
            info!(boot, "NUMA: Initmem setup node {nid} [<memory-less node>]");
        }
        boot.mb.set_caller("setup_node_data");
        let at = boot.mb.phys_alloc_try_nid(bytes, line, Some(nid))?;
        info!(boot, "NUMA: NODE_DATA [mem {:#010x}-{:#010x}]", at, at.saturating_add(bytes - 1));
        let lies_on =
            boot.mb.mem_pfn_ranges(None).find(|(r, _)| r.contains(at.pfn(shift))).and_then(|(_, n)| n);
        if let Some(tnid) = lies_on.filter(|t| *t != nid) {
            info!(boot, "NUMA: NODE_DATA({nid}) on node {tnid}");
        }
        boot.set_node_data(nid, PhysRange::from_len(at, bytes))?;
        boot.nodes_online.insert(nid);
    }
    Ok(())
}

/// Node data, kept for each node in the order of allocation.
pub type NodeData = ArrayVec<(NodeId, PhysRange), MAX_NODES>;
