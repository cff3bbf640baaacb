//! arm64: nodes from ACPI's SRAT and SLIT (`acpi_numa_init` with `arch_numa`'s part of it).

use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use pagewright_addr::NodeId;
use pagewright_firmware::ArmAcpi;
use pagewright_firmware::acpi::{PxmMap, SratCpu, SratCpuKind};
use pagewright_memblock::Set;
use pagewright_zone::NodeMask;

/// Processors, memory and distances; `false` when there is no memory in the SRAT, or it cannot be right.
pub(super) fn acpi_numa_init(
    boot: &mut Boot<'_>,
    acpi: &ArmAcpi<'_>,
    limit: u64,
    nodes: &mut NodeMask,
) -> Result<bool, BootError> {
    let found = read_srat(boot, acpi, limit, nodes)?;
    let Some(map) = found else {
        info!(boot, "NUMA: Failed to initialise from firmware");
        return Ok(false);
    };
    if let Some(slit) = acpi.numa.distances.filter(|s| s.is_valid()) {
        for from in nodes.iter() {
            for to in nodes.iter() {
                let (Some(f), Some(t)) = (map.pxm(from), map.pxm(to)) else { continue };
                if let Some(distance) = slit.distance(f, t) {
                    boot.distances.set(from, to, distance);
                }
            }
        }
    }
    Ok(true)
}

fn read_srat(
    boot: &mut Boot<'_>,
    acpi: &ArmAcpi<'_>,
    limit: u64,
    nodes: &mut NodeMask,
) -> Result<Option<PxmMap>, BootError> {
    let limit = limit as usize;
    let mut map = PxmMap::new();
    for cpu in gicc(acpi) {
        let Some(nid) = map.map(cpu.pxm, limit) else {
            warning!(boot, "ACPI: NUMA: SRAT: Too many proximity domains {}", cpu.pxm);
            return Ok(None);
        };
        nodes.insert(nid);
    }
    let mut blocks = 0;
    for m in acpi.numa.memory.iter().filter(|m| m.enabled) {
        let Some(nid) = map.map(m.pxm, limit) else {
            warning!(boot, "ACPI: SRAT: Too many proximity domains.");
            return Ok(None);
        };
        boot.mb.set_node(m.range, Set::Memory, Some(nid))?;
        nodes.insert(nid);
        blocks += 1;
        let hotplug = m.hotpluggable && boot.machine.config.memory_hotplug;
        info!(
            boot,
            "ACPI: SRAT: Node {nid} PXM {} [mem {:#010x}-{:#010x}]{}{}",
            m.pxm,
            m.range.start,
            m.range.end.saturating_sub(1),
            if hotplug { " hotplug" } else { "" },
            if m.non_volatile { " non-volatile" } else { "" }
        );
        if hotplug {
            boot.mb.mark_hotplug(m.range)?;
        }
    }
    Ok((blocks > 0).then_some(map))
}

fn gicc<'a>(acpi: &ArmAcpi<'a>) -> impl Iterator<Item = &'a SratCpu> {
    acpi.numa.cpus.iter().filter(|c| c.enabled && c.kind == SratCpuKind::Gicc)
}

/// `acpi_map_cpus_to_nodes`: the node of each processor, once the nodes are registered. Without nodes from ACPI
/// each is on the first.
pub(crate) fn map_cpus_to_nodes(boot: &mut Boot<'_>, acpi: &ArmAcpi<'_>) {
    let limit = 1usize << boot.machine.config.nodes_shift;
    let mut map = PxmMap::new();
    for cpu in gicc(acpi) {
        let _ = map.map(cpu.pxm, limit);
    }
    for affinity in gicc(acpi) {
        let Some(cpu) = acpi.cpus.iter().find(|c| c.uid == affinity.apic_id) else { continue };
        let pxm = affinity.pxm;
        match map.node(pxm).filter(|_| !boot.numa_off) {
            Some(nid) => info!(boot, "ACPI: NUMA: SRAT: PXM {pxm} -> MPIDR {:#x} -> Node {nid}", cpu.mpidr),
            None => info!(boot, "ACPI: NUMA: SRAT: PXM {pxm} -> MPIDR {:#x} -> Node -1", cpu.mpidr),
        }
    }
    boot.cpu_nodes.clear();
    for cpu in acpi.cpus {
        let affinity = gicc(acpi).find(|a| a.apic_id == cpu.uid).filter(|_| !boot.numa_off);
        let nid = affinity.and_then(|a| map.node(a.pxm)).unwrap_or(NodeId::ZERO);
        let _ = boot.cpu_nodes.try_push(nid);
    }
}
