//! `free_unused_memmap`: page metadata of holes goes back before memory is handed over.
//!
//! A kernel whose `pfn_valid` looks at memblock needs no metadata between banks, apart from what shares a pageblock
//! with one. The map as a whole was one allocation for a node, or for a run of sections; its parts are given back in
//! whole pages.

use crate::boot::Boot;
use crate::error::BootError;
use crate::memmap::BootModel;
use pagewright_addr::{Pfn, PfnRange, PhysAddr, PhysRange};
use pagewright_page::model::{HasSpan, Maps, unused_memmap};

/// Gives back the parts of the memory map that describe no memory.
pub(super) fn free_unused_memmap(b: &mut Boot<'_>) -> Result<(), BootError> {
    let Some(model) = b.model.take() else { return Ok(()) };
    let done = free_holes(b, &model);
    b.model = Some(model);
    done
}

fn free_holes(b: &mut Boot<'_>, model: &BootModel<'_>) -> Result<(), BootError> {
    if matches!(model.maps, Maps::SparseVmemmap { .. }) {
        return Ok(());
    }
    let section = model.sections().map(|s| s.geometry().pages_per_section());
    let memory = model.memory.iter().map(HasSpan::span);
    b.mb.set_caller("memblock_free_all");
    for hole in unused_memmap(memory, b.pageblock_pages(), section) {
        free_memmap(b, model, hole)?;
    }
    Ok(())
}

/// Gives back the whole pages of the map that describe a hole.
fn free_memmap(b: &mut Boot<'_>, model: &BootModel<'_>, hole: PfnRange) -> Result<(), BootError> {
    // By way of the frame before: the end of a section's map is not the start of the next one's.
    let linear = b.linear_map();
    let record = u64::from(b.machine.build.struct_page);
    let after = |pfn: Pfn| -> Option<PhysAddr> {
        let page = model.pfn_to_page(Pfn::new(pfn.get().checked_sub(1)?))?;
        Some(linear.phys(page).saturating_add(record))
    };
    let (Some(first), Some(last)) = (after(hole.start), after(hole.end)) else { return Ok(()) };
    let page = b.page_bytes();
    let whole = PhysRange::new(first.align_up(page), last.align_down(page));
    if whole.start < whole.end {
        b.mb.phys_free(whole)?;
        cut_out(b, whole);
    }
    Ok(())
}

/// The boot's list of maps loses what was given back.
fn cut_out(b: &mut Boot<'_>, gone: PhysRange) {
    let Some(i) = b.memmap_areas.iter().position(|area| area.contains_range(&gone)) else { return };
    let area = b.memmap_areas[i];
    b.memmap_areas[i].end = gone.start;
    let rest = PhysRange::new(gone.end, area.end);
    if !rest.is_empty() {
        // A list that is full says less than there is.
        let _ = b.memmap_areas.try_insert(i + 1, rest);
    }
}
