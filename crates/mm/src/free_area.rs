//! Nodes and zones: `free_area_init` with the lines it prints and the memory it takes.

use crate::boot::{Boot, debug, info, warning};
use crate::error::BootError;
use pagewright_addr::{NodeId, Pfn, PhysAddr, PhysRange};
use pagewright_firmware::config::MemoryModel;
use pagewright_memblock::{Flags, Set};
use pagewright_page::flags_layout;
use pagewright_page::model::NodeMap;
use pagewright_zone::layout::{self, CoreAmount, LayoutConfig, MemFlags, MemRange};
use pagewright_zone::{ZoneKind, ZoneSet};

/// The zones a kernel configuration has.
pub(crate) fn zone_set(boot: &Boot<'_>) -> ZoneSet {
    let c = &boot.machine.config;
    let mut set = ZoneSet::BASE;
    for (on, kind) in [
        (c.zone_dma, ZoneKind::Dma),
        (c.zone_dma32, ZoneKind::Dma32),
        (c.highmem, ZoneKind::HighMem),
        (c.zone_device, ZoneKind::Device),
    ] {
        if on {
            set = set.with(kind);
        }
    }
    set
}

/// Computes nodes and zones from memblock and sets them up. `max_zone_pfn` and `dma_reserve` are the architecture's.
///
/// # Errors
/// [`BootError::TooMany`] when the workspace is too small, and whatever memblock refuses.
pub(crate) fn free_area_init(
    boot: &mut Boot<'_>,
    max_zone_pfn: [Pfn; ZoneKind::COUNT],
    dma_reserve: u64,
) -> Result<(), BootError> {
    let cfg = layout_config(boot, max_zone_pfn, dma_reserve)?;
    let (Some(ranges), Some(nodes)) = (boot.ranges.take(), boot.nodes.take()) else {
        return Err(BootError::Unsupported { what: "setting up zones twice" });
    };
    let used = collect_ranges(boot, ranges)?;
    let ranges: &[MemRange] = &ranges[..used];
    let frames = ranges.iter().map(|r| r.pfns.len()).sum::<u64>();
    if frames > u64::from(u32::MAX) {
        return Err(BootError::TooMuchMemory { frames });
    }
    let layout = layout::free_area_init(cfg, ranges, nodes).map_err(BootError::Zones)?;
    layout::log::range_lines(&layout, &mut |text| boot.sink.line(crate::sink::Level::Info, text));
    if layout.unmirrored_kernel_memory {
        warning!(boot, "This configuration results in unmirrored kernel memory.");
    }
    let flags = flags_layout::PageFlagsLayout::compute(&flags_inputs(boot)?).map_err(BootError::PageFlags)?;
    for line in flags.lines() {
        debug!(boot, "{line}");
    }
    boot.page_flags = Some(flags);
    boot.nr_kernel_pages = layout.nr_kernel_pages;
    boot.nr_all_pages = layout.nr_all_pages;
    let maps = setup_nodes(boot, &layout)?;
    let sections = boot.sections.take();
    boot.model = Some(boot.memory_model(&layout, ranges, sections, maps));
    layout.for_each_unavailable(&mut |hole| info!(boot, "{hole}"));
    boot.layout = Some(layout);
    Ok(())
}

fn collect_ranges(boot: &Boot<'_>, out: &mut [MemRange]) -> Result<usize, BootError> {
    let limit = out.len() as u64;
    let mut used = 0;
    let shift = boot.machine.config.page_shift;
    for r in boot.mb.regions(Set::Memory) {
        let pfns = r.range().frames_inside(shift);
        if pfns.is_empty() {
            continue;
        }
        let mut flags = MemFlags::empty();
        flags.set(MemFlags::HOTPLUG, r.flags().contains(Flags::HOTPLUG));
        flags.set(MemFlags::MIRROR, r.flags().contains(Flags::MIRROR));
        flags.set(MemFlags::NOMAP, r.flags().contains(Flags::NOMAP));
        let slot = out.get_mut(used).ok_or(BootError::TooMany { what: "memory ranges", limit })?;
        *slot = MemRange { pfns, nid: r.nid().unwrap_or(NodeId::ZERO), flags };
        used += 1;
    }
    Ok(used)
}

fn core_amount(boot: &Boot<'_>, amount: Option<pagewright_firmware::cmdline::Amount>) -> CoreAmount {
    use pagewright_firmware::cmdline::Amount;
    match amount {
        None => CoreAmount::None,
        Some(Amount::Bytes(b)) => CoreAmount::Pages(b >> boot.machine.config.page_shift.get()),
        Some(Amount::Percent(p)) => CoreAmount::Percent(p),
        Some(Amount::Mirror) => CoreAmount::Mirror,
    }
}

fn layout_config(
    boot: &Boot<'_>,
    max_zone_pfn: [Pfn; ZoneKind::COUNT],
    dma_reserve: u64,
) -> Result<LayoutConfig, BootError> {
    let c = &boot.machine.config;
    let geometry = boot.geometry()?;
    let end = max_zone_pfn.into_iter().max().unwrap_or(Pfn::ZERO);
    Ok(LayoutConfig {
        zones: zone_set(boot),
        max_zone_pfn,
        kernelcore: core_amount(boot, boot.params.kernelcore),
        movablecore: core_amount(boot, boot.params.movablecore),
        movable_node: boot.params.movable_node && c.memory_hotplug,
        possible: boot.nodes_possible,
        online: boot.nodes_online,
        page_shift: c.page_shift,
        bits_per_long: boot.long_bytes() as u8 * 8,
        highmem: c.highmem,
        struct_page_bytes: boot.machine.build.struct_page,
        section_pages: geometry.map(|g| g.pages_per_section()),
        pfn_valid: boot.pfn_validity(geometry.as_ref(), end),
        max_order: c.max_order,
        pageblock_order: c.pageblock_order() as u8,
        dma_reserve,
        deferred: c.deferred_struct_page_init,
    })
}

/// `free_area_init_node` for each node, with what it allocates. Returns the maps of nodes, which FLATMEM and
/// DISCONTIGMEM have.
fn setup_nodes<'a>(boot: &mut Boot<'a>, layout: &layout::Layout<'_>) -> Result<&'a [NodeMap], BootError> {
    let line = boot.cache_line();
    let flat = !boot.is_sparse();
    let room = boot.maps.as_mut().map(|m| core::mem::take(&mut m.node_maps)).unwrap_or_default();
    let mut used = 0;
    for node in layout.nodes().iter().filter(|n| n.possible) {
        let nid = node.nid;
        if !node.online {
            info!(boot, "Initializing node {nid} as memoryless");
            boot.mb.set_caller("free_area_init");
            let bytes = u64::from(boot.machine.build.pglist_data);
            let at = boot.alloc(bytes, line)?;
            boot.set_node_data(nid, PhysRange::from_len(at, bytes))?;
        }
        info!(boot, "{}", layout::log::InitmemLine { node, shift: layout.config().page_shift });
        if flat && let Some(map) = alloc_node_mem_map(boot, layout, node)? {
            let limit = room.len() as u64;
            *room.get_mut(used).ok_or(BootError::TooMany { what: "maps of nodes", limit })? = map;
            used += 1;
        }
        for kind in layout.config().zones.iter() {
            let zone = node.zone(kind);
            if zone.spanned == 0 {
                continue;
            }
            if flat {
                boot.mb.set_caller("setup_usemap");
                let bytes = layout.usemap_bytes(zone);
                boot.mb.alloc_try_nid(bytes, line, PhysAddr::ZERO, PhysAddr::ZERO, Some(nid))?;
            }
            let zones = layout.config().zones;
            debug!(boot, "{}", layout::log::MemmapInitLine { zones, nid, zone });
        }
    }
    let maps: &'a [NodeMap] = room;
    Ok(&maps[..used])
}

/// `alloc_node_mem_map`: a node's own array of `struct page`, in the node's memory if there is room.
fn alloc_node_mem_map(
    boot: &mut Boot<'_>,
    layout: &layout::Layout<'_>,
    node: &layout::NodeLayout,
) -> Result<Option<NodeMap>, BootError> {
    let (nid, pfns) = (node.nid, layout.node_mem_map(node));
    if pfns.is_empty() {
        return Ok(None);
    }
    boot.mb.set_caller("memmap_alloc");
    let bytes = pfns.len() * u64::from(boot.machine.build.struct_page);
    let line = boot.cache_line();
    let at = boot.mb.alloc_try_nid_raw(bytes, line, PhysAddr::ZERO, PhysAddr::ZERO, Some(nid))?;
    let _ = boot.memmap_areas.try_push(PhysRange::from_len(at, bytes));
    Ok(Some(NodeMap { nid, span: node.pfns, pfns, mem_map: boot.page_array(pfns.start, at) }))
}

/// What the layout of `page->flags` depends on.
fn flags_inputs(boot: &Boot<'_>) -> Result<flags_layout::Inputs, BootError> {
    let c = &boot.machine.config;
    let geometry = boot.geometry()?;
    Ok(flags_layout::Inputs {
        bits_per_long: boot.long_bytes() as u32 * 8,
        nr_flags: c.nr_pageflags(),
        sections_shift: geometry.map_or(0, |g| g.sections_shift()),
        vmemmap: c.memory_model == MemoryModel::SparseVmemmap,
        nodes_shift: c.effective_nodes_shift(),
        max_nr_zones: c.max_nr_zones(),
        nr_cpus: c.nr_cpus,
        numa_balancing: c.last_cpupid_shift() > 0,
        lru_gen: c.lru_gen,
        kasan_tag_width: 0,
    })
}
