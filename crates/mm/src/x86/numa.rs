//! `x86_numa_init`: nodes from ACPI's SRAT and SLIT, faked nodes, or one node for everything.

use super::{PAGE, X86, fake};
use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use arrayvec::ArrayVec;
use pagewright_addr::{NodeId, Pfn, PfnRange, PhysAddr, PhysRange};
use pagewright_firmware::acpi::PxmMap;
use pagewright_memblock::Set;
use pagewright_zone::NodeMask;

/// A block of memory and its node (`struct numa_memblk`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Block {
    pub(super) range: PhysRange,
    pub(super) nid: NodeId,
}

/// All blocks (`struct numa_meminfo`).
pub(super) type Meminfo = ArrayVec<Block, 256>;

/// What one of the sources says.
#[derive(Default)]
pub(super) struct Nodes {
    pub(super) blocks: Meminfo,
    /// `numa_nodes_parsed`.
    pub(super) parsed: NodeMask,
    /// The node of each CPU, by the order in which CPUs come up.
    pub(super) cpus: ArrayVec<(u32, NodeId), 512>,
}

impl Nodes {
    pub(super) fn add(&mut self, range: PhysRange, nid: NodeId) -> Result<(), BootError> {
        if range.is_empty() {
            return Ok(());
        }
        self.blocks
            .try_push(Block { range, nid })
            .map_err(|_| BootError::TooMany { what: "NUMA memory blocks", limit: 256 })
    }
}

/// Finds the nodes and registers them: SRAT if there is one that makes sense, else a single node.
pub(super) fn x86_numa_init(b: &mut Boot<'_>, x: &mut X86<'_>) -> Result<(), BootError> {
    if !b.params.numa.off && !b.params.numa.noacpi && !x.pc.numa.is_empty() && numa_init(b, x, Source::Acpi)?
    {
        return Ok(());
    }
    numa_init(b, x, Source::Dummy)?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Acpi,
    Dummy,
}

fn numa_init(b: &mut Boot<'_>, x: &mut X86<'_>, source: Source) -> Result<bool, BootError> {
    let all = PhysRange::new(PhysAddr::ZERO, PhysAddr::MAX);
    b.mb.set_node(all, Set::Memory, None)?;
    b.mb.set_node(all, Set::Reserved, None)?;
    b.mb.clear_hotplug(all)?;
    reset_distance(b)?;
    let mut nodes = Nodes::default();
    match source {
        Source::Acpi => {
            if !acpi_numa_init(b, x, &mut nodes)? {
                return Ok(false);
            }
        }
        Source::Dummy => dummy_numa_init(b, x, &mut nodes)?,
    }
    // Now that hot-pluggable memory is known, memory comes from the top again.
    b.mb.set_bottom_up(false);
    if !cleanup_meminfo(b, x, &mut nodes.blocks) {
        return Ok(false);
    }
    fake::numa_emulation(b, x, &mut nodes)?;
    if !register_memblks(b, x, &nodes)? {
        return Ok(false);
    }
    b.cpu_nodes.clear();
    for (_, nid) in &nodes.cpus {
        let _ = b.cpu_nodes.try_push(*nid);
    }
    Ok(true)
}

fn dummy_numa_init(b: &mut Boot<'_>, x: &X86<'_>, nodes: &mut Nodes) -> Result<(), BootError> {
    info!(b, "{}", if b.params.numa.off { "NUMA turned off" } else { "No NUMA configuration found" });
    let end = x.max_pfn.phys(b.machine.config.page_shift);
    info!(b, "Faking a node at [mem {:#018x}-{:#018x}]", 0, end.get() - 1);
    nodes.parsed.insert(NodeId::ZERO);
    nodes.add(PhysRange::new(PhysAddr::ZERO, end), NodeId::ZERO)
}

/// SRAT's processors and memory, then SLIT's distances.
fn acpi_numa_init(b: &mut Boot<'_>, x: &X86<'_>, nodes: &mut Nodes) -> Result<bool, BootError> {
    let tables = &x.pc.numa;
    let max_nodes = 1usize << b.machine.config.nodes_shift;
    let mut map = PxmMap::new();
    for cpu in tables.cpus.iter().filter(|c| c.enabled) {
        let Some(nid) = map.map(cpu.pxm, max_nodes) else {
            warning!(b, "SRAT: Too many proximity domains {:x}", cpu.pxm);
            return Ok(false);
        };
        nodes.parsed.insert(nid);
        let _ = nodes.cpus.try_push((cpu.apic_id, nid));
        let width = 4;
        info!(b, "SRAT: PXM {} -> APIC {:#0width$x} -> Node {nid}", cpu.pxm, cpu.apic_id);
    }
    for m in tables.memory.iter().filter(|m| m.enabled) {
        if m.hotpluggable && !b.machine.config.memory_hotplug {
            continue;
        }
        let Some(nid) = map.map(m.pxm, max_nodes) else {
            warning!(b, "SRAT: Too many proximity domains.");
            return Ok(false);
        };
        nodes.add(m.range, nid)?;
        nodes.parsed.insert(nid);
        info!(
            b,
            "ACPI: SRAT: Node {nid} PXM {} [mem {:#010x}-{:#010x}]{}{}",
            m.pxm,
            m.range.start,
            m.range.end.saturating_sub(1),
            if m.hotpluggable { " hotplug" } else { "" },
            if m.non_volatile { " non-volatile" } else { "" }
        );
        if m.hotpluggable {
            b.mb.mark_hotplug(m.range)?;
        }
        let last = m.range.end.saturating_sub(1);
        b.max_possible_pfn = b.max_possible_pfn.max(last.pfn_up(b.machine.config.page_shift));
    }
    if nodes.blocks.is_empty() {
        return Ok(false);
    }
    if tables.distances.is_some_and(|s| !s.is_valid()) {
        info!(b, "ACPI: SLIT table looks invalid. Not used.");
    }
    if let Some(slit) = tables.distances.filter(|s| s.is_valid()) {
        let mut first = true;
        for from in nodes.parsed.iter() {
            for to in nodes.parsed.iter() {
                let (Some(f), Some(t)) = (map.pxm(from), map.pxm(to)) else { continue };
                let Some(d) = slit.distance(f, t) else { continue };
                if first {
                    alloc_distance(b, x, &nodes.parsed)?;
                    first = false;
                }
                b.distances.set(from, to, d);
            }
        }
    }
    Ok(true)
}

/// `numa_reset_distance`: forgets the table and gives its memory back.
pub(super) fn reset_distance(b: &mut Boot<'_>) -> Result<(), BootError> {
    if let Some(table) = b.distances.memory {
        b.mb.set_caller("numa_reset_distance");
        b.mb.phys_free(table)?;
    }
    b.distances.clear();
    Ok(())
}

/// `numa_alloc_distance`: a square table up to the highest node.
pub(super) fn alloc_distance(b: &mut Boot<'_>, x: &X86<'_>, parsed: &NodeMask) -> Result<(), BootError> {
    let count = parsed.iter().last().map_or(0, |n| n.index() as u64 + 1);
    b.mb.set_caller("numa_alloc_distance");
    let limit = x.mapped.max_pfn.phys(b.machine.config.page_shift);
    let at = b.mb.phys_alloc_range(count * count, PAGE, PhysAddr::ZERO, limit)?;
    b.distances.memory = Some(PhysRange::from_len(at, count * count));
    info!(b, "NUMA: Initialized distance table, cnt={count}");
    Ok(())
}

/// `numa_cleanup_meminfo`: cuts blocks to RAM, drops what has none, joins what belongs together. `false` when
/// blocks of different nodes overlap.
pub(super) fn cleanup_meminfo(b: &Boot<'_>, x: &X86<'_>, mi: &mut Meminfo) -> bool {
    let top = x.max_pfn.phys(b.machine.config.page_shift);
    for block in mi.iter_mut() {
        block.range.end = block.range.end.min(top);
    }
    mi.retain(|k| !k.range.is_empty() && b.mb.overlaps_region(Set::Memory, k.range));
    let mut i = 0;
    while i < mi.len() {
        let mut j = i + 1;
        while j < mi.len() {
            let (bi, bj) = (mi[i], mi[j]);
            if bi.range.overlaps(&bj.range) {
                let (s, e) = (bj.range.start, bj.range.end.saturating_sub(1));
                let (si, ei) = (bi.range.start, bi.range.end.saturating_sub(1));
                if bi.nid != bj.nid {
                    warning!(
                        b,
                        "NUMA: Node {} [mem {si:#010x}-{ei:#010x}] overlaps with node {} [mem {s:#010x}-{e:#010x}]",
                        bi.nid,
                        bj.nid
                    );
                    return false;
                }
                warning!(
                    b,
                    "NUMA: Warning: node {} [mem {si:#010x}-{ei:#010x}] overlaps with itself [mem {s:#010x}-{e:#010x}]",
                    bi.nid
                );
            }
            // Two blocks of a node become one, unless another node has memory between them.
            if bi.nid != bj.nid {
                j += 1;
                continue;
            }
            let joined = PhysRange::new(bi.range.start.min(bj.range.start), bi.range.end.max(bj.range.end));
            if mi.iter().any(|k| k.nid != bi.nid && k.range.overlaps(&joined)) {
                j += 1;
                continue;
            }
            info!(
                b,
                "NUMA: Node {} [mem {:#010x}-{:#010x}] + [mem {:#010x}-{:#010x}] -> [mem {:#010x}-{:#010x}]",
                bi.nid,
                bi.range.start,
                bi.range.end.saturating_sub(1),
                bj.range.start,
                bj.range.end.saturating_sub(1),
                joined.start,
                joined.end.saturating_sub(1)
            );
            mi[i].range = joined;
            mi.remove(j);
        }
        i += 1;
    }
    true
}

/// `numa_register_memblks`: memblock learns the nodes, each node gets its data.
fn register_memblks(b: &mut Boot<'_>, x: &X86<'_>, nodes: &Nodes) -> Result<bool, BootError> {
    let mut possible = nodes.parsed;
    for k in &nodes.blocks {
        possible.insert(k.nid);
    }
    if possible.is_empty() {
        return Ok(false);
    }
    for k in &nodes.blocks {
        b.mb.set_node(k.range, Set::Memory, Some(k.nid))?;
    }
    clear_kernel_node_hotplug(b, &nodes.blocks)?;
    if !covers_memory(b, x, &nodes.blocks) {
        return Ok(false);
    }
    b.nodes_possible = possible;
    let bytes = u64::from(b.machine.build.pglist_data).next_multiple_of(PAGE);
    let line = b.cache_line();
    for nid in possible.iter() {
        let span = nodes.blocks.iter().filter(|k| k.nid == nid).fold(None, |span: Option<PhysRange>, k| {
            Some(span.map_or(k.range, |s| PhysRange::new(s.start.min(k.range.start), s.end.max(k.range.end))))
        });
        // However little memory a node has: stable 6.1 kernels dropped NODE_MIN_SIZE.
        if span.is_none() {
            continue;
        }
        b.mb.set_caller("alloc_node_data");
        let at = b.mb.phys_alloc_try_nid(bytes, line, Some(nid))?;
        info!(b, "NODE_DATA({nid}) allocated [mem {:#010x}-{:#010x}]", at, at.saturating_add(bytes - 1));
        if let Some(tnid) = b.node_of(at).filter(|t| *t != nid) {
            info!(b, "    NODE_DATA({nid}) on node {tnid}");
        }
        b.set_node_data(nid, PhysRange::from_len(at, bytes))?;
        b.nodes_online.insert(nid);
    }
    b.dump_memblock();
    Ok(true)
}

/// Nodes that hold something already (the kernel itself, at least) cannot be unplugged.
fn clear_kernel_node_hotplug(b: &mut Boot<'_>, blocks: &Meminfo) -> Result<(), BootError> {
    for k in blocks {
        b.mb.set_node(k.range, Set::Reserved, Some(k.nid))?;
    }
    let mut in_use = NodeMask::EMPTY;
    for r in b.mb.regions(Set::Reserved) {
        if let Some(nid) = r.nid() {
            in_use.insert(nid);
        }
    }
    for k in blocks.iter().filter(|k| in_use.contains(k.nid)) {
        b.mb.clear_hotplug(k.range)?;
    }
    Ok(())
}

/// `numa_meminfo_cover_memory`: a table that leaves out RAM (1 MiB and more) is not believed.
fn covers_memory(b: &Boot<'_>, x: &X86<'_>, blocks: &Meminfo) -> bool {
    let shift = b.machine.config.page_shift;
    // What lies above the last frame that the kernel uses need not be covered.
    let used = PfnRange::new(Pfn::ZERO, x.max_pfn);
    let ram: u64 = b.mb.mem_pfn_ranges(None).map(|(r, _)| r.intersection(&used).len()).sum();
    let mut covered = 0;
    for k in blocks {
        let frames = k.range.frames_touched(shift);
        covered += b.mb.mem_pfn_ranges(None).map(|(r, _)| r.intersection(&frames).len()).sum::<u64>();
    }
    if ram.saturating_sub(covered) >= (1 << 20) / PAGE {
        warning!(
            b,
            "NUMA: nodes only cover {}MB of your {}MB e820 RAM. Not used.",
            (covered * PAGE) >> 20,
            (ram * PAGE) >> 20
        );
        return false;
    }
    true
}
