//! Sparse memory set-up: `sparse_init`, sections, usage maps and the section memory maps.
//!
//! What is modelled is *where* Linux places these structures; how large they are and what they say of a frame is known
//! to `page::model`. The library's own page metadata is another matter (crate `page`).

use crate::boot::{Boot, warning};
use crate::census::Leaves;
use crate::error::BootError;
use pagewright_addr::{NodeId, PfnRange, PhysAddr, PhysRange};
use pagewright_firmware::Arch;
use pagewright_firmware::config::MemoryModel;
use pagewright_page::model::{Geometry, Sections, SectionsError};

/// Sets up sections for all memory (`sparse_init`). Does nothing for FLATMEM and DISCONTIGMEM.
///
/// # Errors
/// Whatever memblock refuses; a section whose map finds no memory is an error, not a hole.
pub fn sparse_init(boot: &mut Boot<'_>) -> Result<(), BootError> {
    let Some(geometry) = boot.geometry()? else { return Ok(()) };
    let Some(room) = &mut boot.maps else {
        return Err(BootError::Unsupported { what: "setting up sections twice" });
    };
    let (runs, subsections) = (core::mem::take(&mut room.sections), core::mem::take(&mut room.subsections));
    let mut sections = Sections::new(geometry, runs, subsections);
    memory_present(boot, &geometry, &mut sections)?;
    let mut next = sections.next_present(0);
    while let Some(first) = next {
        let group = Group::from(&sections, first.nr(), first.nid());
        sparse_init_nid(boot, &mut sections, &group)?;
        next = sections.next_present(group.last + 1);
    }
    boot.sections = Some(sections);
    Ok(())
}

/// `memory_present`: every range marks its sections; a table of sections is made when its first one appears. Ranges
/// are sorted, so that remembering the last table is enough.
fn memory_present(
    boot: &mut Boot<'_>,
    geometry: &Geometry,
    sections: &mut Sections<'_>,
) -> Result<(), BootError> {
    let (line, bits) = (boot.cache_line(), boot.addr_bits());
    let extreme = boot.machine.config.sparsemem_extreme;
    if extreme {
        boot.mb.set_caller("sparse_init");
        boot.alloc(geometry.roots_bytes(bits), line)?;
    }
    let below = PfnRange::new(pagewright_addr::Pfn::ZERO, geometry.max_pfn());
    let mut last_root = None;
    let mut at = 0;
    loop {
        let next = boot.mb.mem_pfn_ranges(None).nth(at);
        let Some((pfns, nid)) = next else { break };
        at += 1;
        if pfns.is_empty() {
            continue;
        }
        let nid = nid.unwrap_or(NodeId::ZERO);
        match sections.memory_present(nid, pfns) {
            Ok(()) => {}
            Err(SectionsError::Exceeds(exceeds)) => warning!(boot, "mminit::pfnvalidation {exceeds}"),
            Err(e) => return Err(BootError::Sections(e)),
        }
        let inside = pfns.intersection(&below);
        if !extreme || inside.is_empty() {
            continue;
        }
        let root = |pfn| geometry.section_nr(pfn) / geometry.sections_per_root(bits);
        for root in root(inside.start)..=root(inside.end.saturating_sub(1)) {
            if last_root.is_none_or(|r| r < root) {
                last_root = Some(root);
                boot.mb.set_caller("sparse_index_alloc");
                let bytes = geometry.root_bytes(bits);
                boot.mb.alloc_try_nid(bytes, line, PhysAddr::ZERO, PhysAddr::ZERO, Some(nid))?;
            }
        }
    }
    Ok(())
}

/// Present sections of one node, without one of another node between them.
struct Group {
    nid: NodeId,
    first: u64,
    last: u64,
    count: u64,
}

impl Group {
    /// The group that starts with section `first`.
    fn from(sections: &Sections<'_>, first: u64, nid: NodeId) -> Self {
        let mut group = Self { nid, first, last: first, count: 1 };
        while let Some(section) = sections.next_present(group.last + 1).filter(|s| s.nid() == nid) {
            group.last = section.nr();
            group.count += 1;
        }
        group
    }

    /// The group's section after `nr`.
    fn after(&self, sections: &Sections<'_>, nr: u64) -> Option<u64> {
        sections.next_present(nr + 1).map(|s| s.nr()).filter(|&nr| nr <= self.last)
    }
}

/// `sparse_init_nid`: usage maps and section maps of a group.
fn sparse_init_nid(boot: &mut Boot<'_>, sections: &mut Sections<'_>, group: &Group) -> Result<(), BootError> {
    let Group { nid, count, .. } = *group;
    let geometry = *sections.geometry();
    let config = boot.machine.config;
    let (line, page) = (boot.cache_line(), boot.page_bytes());
    let vmemmap = config.memory_model == MemoryModel::SparseVmemmap;
    let stride = u64::from(boot.machine.build.struct_page);
    let map_bytes = geometry.section_map_bytes(stride, vmemmap.then(|| boot.pmd_bytes()));
    // The usage maps should lie in the section that holds the node's own data, so that the section can only go last.
    let goal = boot.node_data_at(nid).align_down(geometry.section_bytes());
    boot.mb.set_caller("sparse_init_nid");
    let bytes = boot.usemap_config().section_bytes(&geometry) * count;
    let limit = goal.saturating_add(geometry.section_bytes());
    let goal_nid = boot.node_of(goal).unwrap_or(nid);
    if boot.mb.alloc_try_nid(bytes, line, goal, limit, Some(goal_nid)).is_err() {
        boot.mb.alloc_try_nid(bytes, line, goal, PhysAddr::ZERO, Some(goal_nid))?;
    }
    boot.mb.set_caller("memmap_alloc");
    let from = boot.max_dma_address();
    let buffer = boot.mb.alloc_exact_nid_raw(map_bytes * count, map_bytes, from, PhysAddr::ZERO, Some(nid));
    let buffer = buffer.ok().map(|at| PhysRange::from_len(at, map_bytes * count));
    if vmemmap {
        return init_vmemmap(boot, sections, group, map_bytes, buffer);
    }
    let mut next = Some(group.first);
    let mut spare = buffer.unwrap_or_default();
    while let Some(nr) = next {
        let at = if buffer.is_some() {
            spare.start
        } else {
            boot.mb.set_caller("memmap_alloc");
            let at = boot.mb.alloc_try_nid(map_bytes, page, from, PhysAddr::ZERO, Some(nid))?;
            let _ = boot.memmap_areas.try_push(PhysRange::from_len(at, map_bytes));
            at
        };
        spare.start = spare.start.saturating_add(map_bytes);
        let first = geometry.section_pfns(nr).start;
        sections.set_mem_map(nr, boot.page_array(first, at)).map_err(BootError::Sections)?;
        next = group.after(sections, nr);
    }
    if let Some(buffer) = buffer {
        let _ = boot.memmap_areas.try_push(buffer);
    }
    Ok(())
}

/// Section maps that are virtually contiguous, in the buffer if one could be had.
fn init_vmemmap(
    boot: &mut Boot<'_>,
    sections: &mut Sections<'_>,
    group: &Group,
    map_bytes: u64,
    buffer: Option<PhysRange>,
) -> Result<(), BootError> {
    let vmemmap = boot.vmemmap();
    let step = sections.geometry().vmemmap_step_bytes(vmemmap.stride);
    // Larger pages than 4 KiB make blocks that no memory map fills: it is mapped page by page then.
    let in_pages = boot.machine.arch == Arch::Arm64 && boot.machine.config.page_shift.get() != 12;
    let mut spare = buffer.unwrap_or_default();
    let mut next = Some(group.first);
    while let Some(nr) = next {
        let virt = vmemmap.page(sections.geometry().section_pfns(nr).start).get();
        if in_pages {
            populate_basepages(boot, group.nid, virt, step, &mut spare)?;
        } else {
            let block = if buffer.is_some() { None } else { Some(map_bytes) };
            populate_vmemmap(boot, group.nid, virt, step, block)?;
        }
        sections.set_mem_map(nr, vmemmap).map_err(BootError::Sections)?;
        next = group.after(sections, nr);
    }
    let mut used = buffer.unwrap_or_default();
    if in_pages && !spare.is_empty() {
        used.end = spare.start;
        boot.mb.set_caller("sparse_buffer_free");
        boot.mb.phys_free(spare)?;
    }
    if !used.is_empty() {
        let _ = boot.memmap_areas.try_push(used);
    }
    Ok(())
}

/// Page tables for the part of the virtually contiguous memory map from `virt` on, and a block for it when no buffer
/// could be had.
fn populate_vmemmap(
    boot: &mut Boot<'_>,
    nid: NodeId,
    virt: u64,
    bytes: u64,
    block: Option<u64>,
) -> Result<(), BootError> {
    let page = boot.page_bytes();
    let from = boot.max_dma_address();
    // Blocks come from a buffer that is aligned like them: congruent whatever their address.
    let tables = boot.tables.map(virt, virt, bytes, Leaves::Blocks(1))?;
    boot.mb.set_caller(if boot.machine.arch == Arch::Arm64 {
        "__earlyonly_bootmem_alloc"
    } else {
        "vmemmap_alloc_block_zero"
    });
    for _ in 0..tables {
        boot.mb.alloc_try_nid_raw(page, page, from, PhysAddr::ZERO, Some(nid))?;
    }
    if let Some(block) = block {
        boot.mb.set_caller("vmemmap_alloc_block");
        let at = boot.mb.alloc_try_nid_raw(block, block, from, PhysAddr::ZERO, Some(nid))?;
        let _ = boot.memmap_areas.try_push(PhysRange::from_len(at, block));
    }
    Ok(())
}

/// The same in single pages (`vmemmap_populate_basepages`): each comes from the front of the buffer, or from memblock
/// when there was no room for one.
fn populate_basepages(
    boot: &mut Boot<'_>,
    nid: NodeId,
    virt: u64,
    bytes: u64,
    buffer: &mut PhysRange,
) -> Result<(), BootError> {
    let page = boot.page_bytes();
    let from = boot.max_dma_address();
    for offset in (0..bytes).step_by(page as usize) {
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
    Ok(())
}
