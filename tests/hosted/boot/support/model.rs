//! What must hold after every boot: of nodes, zones, zonelists and the memory model.

use pagewright::Boot;
use pagewright_addr::{Pfn, PhysRange};
use pagewright_page::model::Maps;
use pagewright_zone::NodeMask;
use pagewright_zone::zonelist::Topology;

/// Nodes and zones add up to the memory, zonelists go from near to far, and the memory model is sound.
pub(crate) fn check(boot: &Boot<'_>) {
    let layout = boot.layout.as_ref().expect("zones after a boot");
    layout.validate().unwrap_or_else(|v| panic!("zones: {v}"));
    let topology = Topology {
        distance: &|from, to| boot.distances.get(from, to).into(),
        nodes_with_cpus: NodeMask::EMPTY,
        online: boot.nodes_online,
        numa: boot.machine.config.numa,
    };
    let lists = boot.zonelists.as_ref().expect("zonelists after a boot");
    lists.validate(layout, &topology).unwrap_or_else(|v| panic!("zonelists: {v}"));
    check_model(boot);
}

/// The model's tables are sound, frames convert to their `struct page` and back, and what is neither virtually
/// contiguous nor given back lies in memory that was taken for maps.
fn check_model(boot: &Boot<'_>) {
    let model = boot.model.as_ref().expect("a memory model after a boot");
    model.validate().unwrap_or_else(|v| panic!("{}: {v}", model.name()));
    let end = boot
        .layout
        .as_ref()
        .map_or(Pfn::ZERO, |l| l.config().max_zone_pfn.into_iter().max().unwrap_or(Pfn::ZERO));
    let virtual_map = matches!(model.maps, Maps::SparseVmemmap { .. });
    // A full list of areas says less than there is.
    let listed = !boot.memmap_areas.is_full() && !virtual_map;
    for memory in model.memory {
        for pfn in [memory.pfns.start, memory.pfns.end.saturating_sub(1)] {
            let sectioned = model.sections().is_none_or(|s| pfn < s.geometry().max_pfn());
            if pfn >= end || !sectioned {
                continue;
            }
            assert!(model.pfn_valid(pfn), "{}: memory at frame {pfn:#x} is not valid", model.name());
            let page = model.pfn_to_page(pfn).unwrap_or_else(|| panic!("frame {pfn:#x} has no struct page"));
            assert_eq!(model.page_to_pfn(page), Some(pfn), "frame {pfn:#x} by way of {page:?}");
            let at = PhysRange::from_len(boot.linear_map().phys(page), boot.machine.build.struct_page.into());
            let mapped = boot.memmap_areas.iter().any(|area| area.contains_range(&at));
            assert!(mapped || !listed, "the struct page of frame {pfn:#x} at {at:?} is in no map");
        }
    }
}
