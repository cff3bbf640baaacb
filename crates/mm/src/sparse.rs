//! Sparse memory set-up: `sparse_init`, sections, usage maps and the section memory maps.
//!
//! What is modelled is *where* Linux places these structures; the library's own page metadata is another matter
//! (crate `page`).

use crate::boot::{Boot, warning};
use crate::census::Leaves;
use crate::error::BootError;
use pagewright_addr::{NodeId, Pfn, PfnRange, PhysAddr, PhysRange};
use pagewright_firmware::Arch;
use pagewright_firmware::config::MemoryModel;

/// `sizeof(struct mem_section)`: with CONFIG_PAGE_EXTENSION padded to a power of two.
fn mem_section_bytes(long: u64) -> u64 {
    if long == 8 { 32 } else { 16 }
}

/// `sizeof(struct mem_section_usage)`: an RCU head, the subsection bitmap and the section's pageblock flags.
fn usage_bytes(boot: &Boot<'_>) -> u64 {
    let c = &boot.machine.config;
    let long = boot.long_bytes();
    let blocks = 1u64 << (c.section_size_bits() - c.page_shift.get() - c.pageblock_order());
    let usemap = (blocks * 4).next_multiple_of(long * 8) / 8;
    let (head, subsections) = if c.memory_model == MemoryModel::SparseVmemmap {
        (2 * long, (1u64 << (c.section_size_bits() - 21)).div_ceil(long * 8) * long)
    } else {
        (2 * long, 0)
    };
    head + subsections + usemap
}

/// Sets up sections for all memory (`sparse_init`). Does nothing for FLATMEM and DISCONTIGMEM.
///
/// # Errors
/// Whatever memblock refuses; a section whose map finds no memory is an error, not a hole.
pub fn sparse_init(boot: &mut Boot<'_>) -> Result<(), BootError> {
    let config = boot.machine.config;
    if !matches!(config.memory_model, MemoryModel::Sparse | MemoryModel::SparseVmemmap) {
        return Ok(());
    }
    let long = boot.long_bytes();
    let line = boot.cache_line();
    let page = boot.page_bytes();
    let section_shift = config.section_size_bits();
    let sections = 1u64 << (u32::from(boot.max_physmem_bits()) - section_shift);
    let per_root = if config.sparsemem_extreme { page / mem_section_bytes(long) } else { 1 };

    if config.sparsemem_extreme {
        boot.mb.set_caller("sparse_init");
        boot.alloc(long * sections.div_ceil(per_root), line)?;
    }
    // memory_present: every range marks its sections; a table of sections is made when its first one appears. Within
    // a range the order is ascending, so that remembering the last table is enough — ranges are sorted.
    let mut last_root = None;
    let mut runs: arrayvec::ArrayVec<Run, 1024> = arrayvec::ArrayVec::new();
    let mut at = 0;
    loop {
        let next = boot.mb.mem_pfn_ranges(None).nth(at);
        let Some((pfns, nid)) = next else { break };
        at += 1;
        if pfns.is_empty() {
            continue;
        }
        let nid = nid.unwrap_or(NodeId::ZERO);
        let per_section = section_shift - config.page_shift.get();
        let Some(pfns) = below_limit(boot, pfns, Pfn::new(sections << per_section)) else { continue };
        let first = pfns.start.get() >> per_section;
        let last = (pfns.end.get() - 1) >> per_section;
        for root in first / per_root..=last / per_root {
            if config.sparsemem_extreme && last_root.is_none_or(|r| r < root) {
                last_root = Some(root);
                boot.mb.set_caller("sparse_index_alloc");
                let bytes = per_root * mem_section_bytes(long);
                boot.mb.alloc_try_nid(bytes, line, PhysAddr::ZERO, PhysAddr::ZERO, Some(nid))?;
            }
        }
        mark_present(&mut runs, first, last, nid)?;
    }
    let mut i = 0;
    while i < runs.len() {
        let nid = runs[i].nid;
        let upto = runs[i..].iter().position(|r| r.nid != nid).map_or(runs.len(), |n| i + n);
        let count = runs[i..upto].iter().map(|r| r.last + 1 - r.first).sum();
        sparse_init_nid(boot, nid, &runs[i..upto], count)?;
        i = upto;
    }
    boot.present_sections = runs.iter().map(|r| r.last + 1 - r.first).sum();
    Ok(())
}

/// What of a range the table of sections can name (`mminit_validate_memmodel_limits`).
fn below_limit(boot: &Boot<'_>, pfns: PfnRange, limit: Pfn) -> Option<PfnRange> {
    if pfns.end <= limit {
        return Some(pfns);
    }
    let which = if pfns.start > limit { "Start" } else { "End" };
    warning!(
        boot,
        "mminit::pfnvalidation {which} of range {} -> {} exceeds SPARSEMEM max {}",
        pfns.start.get(),
        pfns.end.get(),
        limit.get()
    );
    let cut = PfnRange::new(pfns.start, limit);
    (!cut.is_empty()).then_some(cut)
}

/// Consecutive present sections of one node.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    last: u64,
    nid: NodeId,
}

/// A section belongs to the node of the range that touched it first.
fn mark_present(
    runs: &mut arrayvec::ArrayVec<Run, 1024>,
    first: u64,
    last: u64,
    nid: NodeId,
) -> Result<(), BootError> {
    let first = match runs.last() {
        Some(r) if r.last >= first => r.last + 1,
        _ => first,
    };
    if first > last {
        return Ok(());
    }
    match runs.last_mut() {
        Some(r) if r.nid == nid && r.last + 1 == first => r.last = last,
        _ => runs
            .try_push(Run { first, last, nid })
            .map_err(|_| BootError::TooMany { what: "runs of memory sections", limit: 1024 })?,
    }
    Ok(())
}

fn sparse_init_nid(boot: &mut Boot<'_>, nid: NodeId, runs: &[Run], count: u64) -> Result<(), BootError> {
    let config = boot.machine.config;
    let line = boot.cache_line();
    let page = boot.page_bytes();
    let section_bytes = 1u64 << config.section_size_bits();
    let map_bytes = {
        let pages = section_bytes >> config.page_shift.get();
        let bytes = pages * u64::from(boot.machine.build.struct_page);
        if config.memory_model == MemoryModel::SparseVmemmap {
            bytes.next_multiple_of(boot.pmd_bytes())
        } else {
            bytes.next_multiple_of(page)
        }
    };
    // The usage maps should lie in the section that holds the node's own data, so that the section can only go last.
    let goal = boot.node_data_at(nid).align_down(section_bytes);
    boot.mb.set_caller("sparse_init_nid");
    let bytes = usage_bytes(boot) * count;
    let limit = goal.saturating_add(section_bytes);
    let goal_nid = boot.node_of(goal).unwrap_or(nid);
    if boot.mb.alloc_try_nid(bytes, line, goal, limit, Some(goal_nid)).is_err() {
        boot.mb.alloc_try_nid(bytes, line, goal, PhysAddr::ZERO, Some(goal_nid))?;
    }
    boot.mb.set_caller("memmap_alloc");
    let from = boot.max_dma_address();
    let buffer = boot.mb.alloc_exact_nid_raw(map_bytes * count, map_bytes, from, PhysAddr::ZERO, Some(nid));
    let buffered = buffer.is_ok();
    if config.memory_model == MemoryModel::SparseVmemmap {
        // Larger pages than 4 KiB make blocks that no memory map fills: it is mapped page by page then.
        let in_pages = boot.machine.arch == Arch::Arm64 && config.page_shift.get() != 12;
        let mut spare = buffer.map_or(PhysRange::default(), |at| PhysRange::from_len(at, map_bytes * count));
        for run in runs {
            if in_pages {
                populate_basepages(boot, nid, run, &mut spare)?;
            } else {
                populate_vmemmap(boot, nid, run, map_bytes, buffered)?;
            }
        }
        if in_pages && !spare.is_empty() {
            boot.mb.set_caller("sparse_buffer_free");
            boot.mb.phys_free(spare)?;
            return Ok(());
        }
    } else if !buffered {
        for _ in 0..count {
            boot.mb.set_caller("memmap_alloc");
            boot.mb.alloc_try_nid(map_bytes, page, from, PhysAddr::ZERO, Some(nid))?;
        }
    }
    if let Ok(at) = buffer {
        boot.memmap_areas.try_push(PhysRange::from_len(at, map_bytes * count)).ok();
    }
    Ok(())
}

/// Page tables for the virtually contiguous memory map, and its blocks when no buffer could be had.
fn populate_vmemmap(
    boot: &mut Boot<'_>,
    nid: NodeId,
    run: &Run,
    map_bytes: u64,
    buffered: bool,
) -> Result<(), BootError> {
    let page = boot.page_bytes();
    let from = boot.max_dma_address();
    let stride = boot.vmemmap_section_stride();
    for section in run.first..=run.last {
        let virt = boot.vmemmap_base().wrapping_add(section * stride);
        // Blocks come from a buffer that is aligned like them: congruent whatever their address.
        let tables = boot.tables.map(virt, virt, stride, Leaves::Blocks(1))?;
        boot.mb.set_caller(if boot.machine.arch == Arch::Arm64 {
            "__earlyonly_bootmem_alloc"
        } else {
            "vmemmap_alloc_block_zero"
        });
        for _ in 0..tables {
            boot.mb.alloc_try_nid_raw(page, page, from, PhysAddr::ZERO, Some(nid))?;
        }
        if !buffered {
            boot.mb.set_caller("vmemmap_alloc_block");
            boot.mb.alloc_try_nid_raw(map_bytes, map_bytes, from, PhysAddr::ZERO, Some(nid))?;
        }
    }
    Ok(())
}

/// The same in single pages (`vmemmap_populate_basepages`): each comes from the front of the buffer, or from memblock
/// when there was no room for one.
fn populate_basepages(
    boot: &mut Boot<'_>,
    nid: NodeId,
    run: &Run,
    buffer: &mut PhysRange,
) -> Result<(), BootError> {
    let page = boot.page_bytes();
    let from = boot.max_dma_address();
    let stride = boot.vmemmap_section_stride();
    for section in run.first..=run.last {
        let virt = boot.vmemmap_base().wrapping_add(section * stride);
        for offset in (0..stride).step_by(page as usize) {
            let at = virt.wrapping_add(offset);
            let tables = boot.tables.map(at, at, page, Leaves::Pages)?;
            boot.mb.set_caller("__earlyonly_bootmem_alloc");
            for _ in 0..tables {
                boot.mb.alloc_try_nid_raw(page, page, from, PhysAddr::ZERO, Some(nid))?;
            }
            if buffer.len() >= page {
                buffer.start = buffer.start.saturating_add(page);
            } else {
                let at = boot.mb.alloc_try_nid_raw(page, page, from, PhysAddr::ZERO, Some(nid))?;
                let _ = boot.memmap_areas.try_push(PhysRange::from_len(at, page));
            }
        }
    }
    Ok(())
}
