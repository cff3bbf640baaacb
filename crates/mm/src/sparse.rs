//! Sparse memory set-up: `sparse_init`, sections, usage maps and the section memory maps.
//!
//! What is modelled is *where* Linux places these structures; how large they are and what they say of a frame is known
//! to `page::model`. The library's own page metadata is another matter (crate `page`).

mod buffer;

use crate::boot::{Boot, warning};
use crate::census::Leaves;
use crate::error::BootError;
use crate::pgtable::Stash;
use buffer::{Buffer, memmap_alloc, note};
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
    let mut populated = 0;
    while let Some(first) = next {
        let group = Group::from(&sections, first.nr(), first.nid());
        sparse_init_nid(boot, &mut sections, &group, &mut populated)?;
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
fn sparse_init_nid(
    boot: &mut Boot<'_>,
    sections: &mut Sections<'_>,
    group: &Group,
    populated: &mut u64,
) -> Result<(), BootError> {
    let Group { nid, count, .. } = *group;
    let geometry = *sections.geometry();
    let line = boot.cache_line();
    let vmemmap = boot.machine.config.memory_model == MemoryModel::SparseVmemmap;
    let stride = u64::from(boot.machine.build.struct_page);
    // The usage maps should lie in the section that holds the node's own data, so that the section can only go last.
    let goal = boot.node_data_at(nid).align_down(geometry.section_bytes());
    boot.mb.set_caller("sparse_init_nid");
    let bytes = boot.usemap_config().section_bytes(&geometry) * count;
    let limit = goal.saturating_add(geometry.section_bytes());
    let goal_nid = boot.node_of(goal).unwrap_or(nid);
    if boot.mb.alloc_try_nid(bytes, line, goal, limit, Some(goal_nid)).is_err() {
        boot.mb.alloc_try_nid(bytes, line, goal, PhysAddr::ZERO, Some(goal_nid))?;
    }
    let map_bytes = geometry.section_map_bytes(stride, vmemmap.then(|| boot.pmd_bytes()));
    let mut buffer = Buffer::init(boot, map_bytes, count, nid);
    let mut next = Some(group.first);
    while let Some(nr) = next {
        let first = geometry.section_pfns(nr).start;
        let map = if vmemmap {
            let map = boot.vmemmap();
            let virt = map.page(first).get();
            populate(boot, nid, virt, geometry.vmemmap_step_bytes(stride), populated, &mut buffer)?;
            map
        } else {
            let at = match buffer.alloc(boot, map_bytes)? {
                Some(at) => at,
                None => {
                    let at = memmap_alloc(boot, map_bytes, map_bytes, nid, false)?;
                    note(boot, PhysRange::from_len(at, map_bytes));
                    at
                }
            };
            boot.page_array(first, at)
        };
        sections.set_mem_map(nr, map).map_err(BootError::Sections)?;
        next = group.after(sections, nr);
    }
    buffer.fini(boot)
}

/// Populates the part of the virtually contiguous memory map from `virt` on: page tables, and blocks or pages.
/// `populated` is the end of what was populated before it; sections may share a block.
fn populate(
    boot: &mut Boot<'_>,
    nid: NodeId,
    virt: u64,
    bytes: u64,
    populated: &mut u64,
    buffer: &mut Buffer,
) -> Result<(), BootError> {
    // Larger pages than 4 KiB make blocks that no memory map fills: it is mapped page by page then.
    if boot.machine.arch == Arch::Arm64 && boot.machine.config.page_shift.get() != 12 {
        return populate_basepages(boot, nid, virt, bytes, buffer);
    }
    let block = boot.pmd_bytes();
    // Blocks come from a buffer that is aligned like them: congruent whatever their address.
    let tables = boot.tables.map(virt, virt, bytes, Leaves::Blocks(1))?;
    boot.mb.set_caller(if boot.machine.arch == Arch::Arm64 {
        "__earlyonly_bootmem_alloc"
    } else {
        "vmemmap_alloc_block_zero"
    });
    let mut stash = take_pages(boot, nid, tables)?;
    boot.table_counts.add("vmemmap_populate", tables, stash.as_ref().map(|_| tables));
    let last = virt.saturating_add(bytes - 1) & !(block - 1);
    let mut at = (virt & !(block - 1)).max(*populated);
    while at <= last {
        let place = match buffer.alloc(boot, block)? {
            Some(place) => place,
            None => {
                boot.mb.set_caller("vmemmap_alloc_block");
                let from = boot.max_dma_address();
                let place = boot.mb.alloc_try_nid_raw(block, block, from, PhysAddr::ZERO, Some(nid))?;
                note(boot, PhysRange::from_len(place, block));
                place
            }
        };
        boot.map_vmemmap(at, place, block, &mut stash)?;
        at = at.saturating_add(block);
        *populated = at;
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
    buffer: &mut Buffer,
) -> Result<(), BootError> {
    let page = boot.page_bytes();
    for offset in (0..bytes).step_by(page as usize) {
        let at = virt.wrapping_add(offset);
        let tables = boot.tables.map(at, at, page, Leaves::Pages)?;
        boot.mb.set_caller("__earlyonly_bootmem_alloc");
        let mut stash = take_pages(boot, nid, tables)?;
        boot.table_counts.add("vmemmap_populate", tables, stash.as_ref().map(|_| tables));
        let place = match buffer.alloc(boot, page)? {
            Some(place) => place,
            None => {
                boot.mb.set_caller("__earlyonly_bootmem_alloc");
                let from = boot.max_dma_address();
                let place = boot.mb.alloc_try_nid_raw(page, page, from, PhysAddr::ZERO, Some(nid))?;
                note(boot, PhysRange::from_len(place, page));
                place
            }
        };
        boot.map_vmemmap(at, place, page, &mut stash)?;
    }
    Ok(())
}

/// A page for each page table; kept where tables are built.
fn take_pages(boot: &mut Boot<'_>, nid: NodeId, tables: u64) -> Result<Option<Stash>, BootError> {
    let page = boot.page_bytes();
    let from = boot.max_dma_address();
    let mut stash = boot.pgtable.map(|_| Stash::default());
    for _ in 0..tables {
        let at = boot.mb.alloc_try_nid_raw(page, page, from, PhysAddr::ZERO, Some(nid))?;
        if let Some(stash) = &mut stash {
            stash.put(at);
        }
    }
    Ok(stash)
}
