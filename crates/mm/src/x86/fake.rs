//! `numa=fake=`: memory split into nodes that are not there.

use super::numa::{Block, Meminfo, Nodes, alloc_distance, cleanup_meminfo, reset_distance};
use super::{MAX_DMA32_PFN, PAGE, X86};
use crate::boot::{Boot, info, warning};
use crate::error::BootError;
use crate::numa::{Distances, LOCAL, REMOTE};
use arrayvec::ArrayVec;
use pagewright_addr::{NodeId, PhysAddr, PhysRange};
use pagewright_firmware::cmdline::NumaFake;
use pagewright_zone::NodeMask;

/// FAKE_NODE_MIN_SIZE: sizes and bounds of faked nodes are multiples of 32 MiB.
const MIN: u64 = 32 << 20;

/// The state of a split: physical memory left, faked blocks made, which physical node each faked one lies on.
struct Split {
    left: Meminfo,
    made: Meminfo,
    phys_of: ArrayVec<NodeId, 64>,
}

/// Replaces the nodes by faked ones if the command line says so (`numa_emulation`).
pub(super) fn numa_emulation(b: &mut Boot<'_>, x: &X86<'_>, nodes: &mut Nodes) -> Result<(), BootError> {
    let Some(fake) = b.params.numa.fake.filter(|_| b.machine.config.numa_emu) else { return Ok(()) };
    let mut split = Split { left: nodes.blocks.clone(), made: Meminfo::new(), phys_of: ArrayVec::new() };
    let end = x.max_pfn.phys(b.machine.config.page_shift);
    let done = match fake {
        NumaFake::Nodes { count, .. } => split_count(b, &mut split, end, count)?,
        NumaFake::Size { bytes, .. } => split_size(b, &mut split, end, bytes)?,
        NumaFake::Uniform { count, .. } => split_uniform(b, &mut split, &nodes.parsed, count)?,
    };
    if !done || !cleanup_meminfo(b, x, &mut split.made) {
        return Ok(());
    }
    let physical = b.distances.clone();
    let copy = match physical.memory {
        Some(table) => {
            b.mb.set_caller("numa_emulation");
            let limit = x.mapped.max_pfn.phys(b.machine.config.page_shift);
            let Ok(at) = b.mb.phys_alloc_range(table.len(), PAGE, PhysAddr::ZERO, limit) else {
                warning!(b, "NUMA: Warning: can't allocate copy of distance table, disabling emulation");
                return Ok(());
            };
            Some(PhysRange::from_len(at, table.len()))
        }
        None => None,
    };
    nodes.blocks = split.made;
    let mut parsed = NodeMask::EMPTY;
    for k in &nodes.blocks {
        parsed.insert(k.nid);
    }
    nodes.parsed = parsed;
    // A CPU goes to the first faked node on its own physical one.
    for (_, nid) in &mut nodes.cpus {
        if let Some(at) = split.phys_of.iter().position(|p| p == nid)
            && let Some(n) = NodeId::new(at as u16)
        {
            *nid = n;
        }
    }
    b.faked_on = split.phys_of.clone();
    reset_distance(b)?;
    alloc_distance(b, x, &nodes.parsed)?;
    set_distances(b, &split.phys_of, &physical, fake.distances());
    if let Some(copy) = copy {
        b.mb.set_caller("numa_emulation");
        b.mb.phys_free(copy)?;
    }
    Ok(())
}

/// Faked nodes on one physical node are local to each other; the command line can say otherwise.
fn set_distances(b: &mut Boot<'_>, phys_of: &[NodeId], physical: &Distances, given: &str) {
    // `get_option` tells a number that more follow: the last one of a list is not taken.
    let listed = given.rsplit_once(',').map_or("", |(taken, _)| taken);
    let mut given = listed.split(',').map(|n| n.trim().parse::<u8>().ok());
    for (i, pi) in phys_of.iter().enumerate() {
        for (j, pj) in phys_of.iter().enumerate() {
            let (Some(from), Some(to)) = (NodeId::new(i as u16), NodeId::new(j as u16)) else { continue };
            let own = if pi == pj { LOCAL } else { physical.get(*pi, *pj).max(REMOTE) };
            let distance = given.next().flatten().unwrap_or(own);
            b.distances.force(from, to, distance);
        }
    }
}

/// Bytes of a range that are not RAM (`mem_hole_size`).
fn hole(b: &Boot<'_>, start: PhysAddr, end: PhysAddr) -> u64 {
    let shift = b.machine.config.page_shift;
    let frames = PhysRange::new(start, end).frames_inside(shift);
    let ram: u64 = b.mb.mem_pfn_ranges(None).map(|(r, _)| r.intersection(&frames).len()).sum();
    (frames.len() - ram) << shift.get()
}

fn ram(b: &Boot<'_>, start: PhysAddr, end: PhysAddr) -> u64 {
    end.get().saturating_sub(start.get()).saturating_sub(hole(b, start, end))
}

/// Cuts `[start of the block, end)` off a physical block and makes it node `nid` (`emu_setup_memblk`).
fn cut(b: &Boot<'_>, s: &mut Split, nid: u64, at: usize, end: PhysAddr) -> Result<(), BootError> {
    let phys = s.left[at];
    let range = PhysRange::new(phys.range.start, end);
    let Some(node) = u16::try_from(nid).ok().and_then(NodeId::new) else {
        return Err(BootError::TooMany { what: "faked nodes", limit: NodeId::LIMIT as u64 });
    };
    s.made
        .try_push(Block { range, nid: node })
        .map_err(|_| BootError::TooMany { what: "faked NUMA memory blocks", limit: 256 })?;
    if s.phys_of.len() <= node.index() {
        s.phys_of.try_push(phys.nid).map_err(|_| BootError::TooMany { what: "faked nodes", limit: 64 })?;
    }
    s.left[at].range.start = end;
    if s.left[at].range.is_empty() {
        s.left.remove(at);
    }
    info!(
        b,
        "Faking node {node} at [mem {:#018x}-{:#018x}] ({}MB)",
        range.start,
        range.end.saturating_sub(1),
        range.len() >> 20
    );
    Ok(())
}

/// The physical nodes in turn, each giving one faked node, until nothing is left. `end_of` says where the next node
/// of a block ends.
fn interleave(
    b: &Boot<'_>,
    s: &mut Split,
    wrap: u64,
    mut end_of: impl FnMut(u64, PhysRange) -> PhysAddr,
) -> Result<(), BootError> {
    let mut nid = 0;
    loop {
        let mut mask = NodeMask::EMPTY;
        for k in &s.left {
            mask.insert(k.nid);
        }
        if mask.is_empty() {
            return Ok(());
        }
        for phys in mask.iter() {
            let Some(at) = s.left.iter().position(|k| k.nid == phys) else { continue };
            let block = s.left[at].range;
            let end = end_of(nid, block).min(block.end);
            cut(b, s, nid % wrap, at, end)?;
            nid += 1;
        }
    }
}

/// A node must not leave less than the minimum below 4 GiB, or less than one node in its block.
fn extend(b: &Boot<'_>, mut end: PhysAddr, limit: PhysAddr, size: u64) -> PhysAddr {
    let dma32 = MAX_DMA32_PFN.phys(b.machine.config.page_shift);
    if end < dma32 && ram(b, end, dma32) < MIN {
        end = dma32;
    }
    if ram(b, end, limit) < size {
        end = limit;
    }
    end
}

/// `numa=fake=N`: N nodes of equal size, the remainder given to the first ones.
fn split_count(b: &Boot<'_>, s: &mut Split, end: PhysAddr, count: u64) -> Result<bool, BootError> {
    if count == 0 {
        return Ok(false);
    }
    let max = 1u64 << b.machine.config.nodes_shift;
    let nodes = if count > max {
        info!(b, "numa=fake={count} too large, reducing to {max}");
        max
    } else {
        count
    };
    let page = b.page_bytes();
    let size = ram(b, PhysAddr::ZERO, end) / page / nodes * page;
    let big = (size % MIN) * nodes / MIN;
    let size = size / MIN * MIN;
    if size == 0 {
        warning!(b, "Not enough memory for each node.  NUMA emulation disabled.");
        return Ok(false);
    }
    interleave(b, s, nodes, |nid, block| {
        let (start, limit) = (block.start, block.end);
        let mut end = start.saturating_add(size + if nid < big { MIN } else { 0 });
        while ram(b, start, end) < size {
            end = end.saturating_add(MIN);
            if end > limit {
                end = limit;
                break;
            }
        }
        extend(b, end, limit, size)
    })?;
    Ok(true)
}

/// `numa=fake=SIZE`: nodes of at least that much RAM.
fn split_size(b: &Boot<'_>, s: &mut Split, end: PhysAddr, bytes: u64) -> Result<bool, BootError> {
    if bytes == 0 {
        return Ok(false);
    }
    let max = 1u64 << b.machine.config.nodes_shift;
    let min = (ram(b, PhysAddr::ZERO, end) / max).max(MIN).next_multiple_of(MIN);
    let mut size = bytes;
    if size < min {
        warning!(b, "Fake node size {}MB too small, increasing to {}MB", size >> 20, min >> 20);
        size = min;
    }
    let size = size / MIN * MIN;
    interleave(b, s, max, |_, block| {
        let mut end = block.start.saturating_add(size);
        while ram(b, block.start, end) < size {
            end = end.saturating_add(MIN);
            if end > block.end {
                end = block.end;
                break;
            }
        }
        extend(b, end, block.end, size)
    })?;
    Ok(true)
}

/// `numa=fake=NU`: each physical node in N parts of equal size, holes counted. The size follows from the first block
/// of a node.
fn split_uniform(b: &Boot<'_>, s: &mut Split, nodes: &NodeMask, count: u64) -> Result<bool, BootError> {
    if count == 0 {
        return Ok(false);
    }
    let dma32 = MAX_DMA32_PFN.phys(b.machine.config.page_shift);
    let mut nid = 0;
    for phys in nodes.iter() {
        let Some(first) = s.left.first().copied() else { break };
        let page = b.page_bytes();
        let mut size = first.range.len() / page / count * page;
        let min = size.max(MIN).next_multiple_of(MIN);
        if size < min {
            warning!(b, "Fake node size {}MB too small, increasing to {}MB", size >> 20, min >> 20);
            size = min;
        }
        while let Some(at) = s.left.iter().position(|k| k.nid == first.nid) {
            let block = s.left[at].range;
            let mut end = block.start.saturating_add(size);
            if end < dma32 && ram(b, end, dma32) < MIN {
                end = dma32;
            }
            cut(b, s, nid, at, end.min(block.end))?;
            nid += 1;
        }
        if nid < count {
            info!(b, "numa_emulation: phys: {phys} only got {nid} of {count} nodes, failing");
            return Ok(false);
        }
    }
    Ok(true)
}
