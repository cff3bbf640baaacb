//! `free_unused_memmap`: page metadata of holes goes back before memory is handed over.
//!
//! A kernel whose `pfn_valid` looks at memblock needs no metadata between banks, apart from what shares a pageblock
//! with one. The map as a whole was one allocation; its parts are given back in whole pages.

use crate::boot::Boot;
use crate::error::BootError;
use pagewright_addr::{Pfn, PhysAddr, PhysRange};
use pagewright_firmware::config::MemoryModel;

/// Gives back the parts of the memory map that describe no memory.
pub(super) fn free_unused_memmap(b: &mut Boot<'_>) -> Result<(), BootError> {
    let c = b.machine.config;
    if c.memory_model == MemoryModel::SparseVmemmap {
        return Ok(());
    }
    let pageblock = 1u64 << c.pageblock_order();
    let section = b.is_sparse().then(|| 1u64 << (c.section_size_bits() - c.page_shift.get()));
    let Some(map) = b.memmap_areas.first().map(|area| area.start) else { return Ok(()) };
    b.mb.set_caller("memblock_free_all");
    let mut prev_end: Option<Pfn> = None;
    let mut i = 0;
    loop {
        let next = b.mb.mem_pfn_ranges(None).nth(i);
        let Some((bank, _)) = next else { break };
        i += 1;
        let mut start = bank.start;
        if let Some(pages) = section {
            // A section without memory has no map that could be given back.
            start = start.min(prev_end.unwrap_or(Pfn::ZERO).align_up(pages));
        }
        let start = start.align_down(pageblock);
        if let Some(end) = prev_end
            && end < start
        {
            free_memmap(b, map, end, start)?;
        }
        prev_end = Some(bank.end.align_up(pageblock));
    }
    if let (Some(pages), Some(end)) = (section, prev_end)
        && !end.is_aligned(pages)
    {
        free_memmap(b, map, end, end.align_up(pages))?;
    }
    Ok(())
}

/// Gives back the whole pages of the map, which starts at `map`, between two frames.
fn free_memmap(b: &mut Boot<'_>, map: PhysAddr, start: Pfn, end: Pfn) -> Result<(), BootError> {
    // The frame before: the end of a section's map is not the start of the next one's.
    let record = u64::from(b.machine.build.struct_page);
    let after =
        |pfn: Pfn| Some(struct_page_at(b, map, Pfn::new(pfn.get().checked_sub(1)?))?.saturating_add(record));
    let (Some(first), Some(last)) = (after(start), after(end)) else { return Ok(()) };
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

/// Where the `struct page` of a frame lies in the map that starts at `map`; `None` if it has none.
fn struct_page_at(b: &Boot<'_>, map: PhysAddr, pfn: Pfn) -> Option<PhysAddr> {
    let c = &b.machine.config;
    let record = u64::from(b.machine.build.struct_page);
    if !b.is_sparse() {
        let layout = b.layout.as_ref()?;
        let first = layout.node_mem_map(layout.nodes().first()?).start;
        let at = pfn.get().checked_sub(first.get())?;
        return Some(map.saturating_add(at * record));
    }
    let shift = c.section_size_bits() - c.page_shift.get();
    let section = pfn.get() >> shift;
    let (mut before, mut seen) = (0, None);
    for (bank, _) in b.mb.mem_pfn_ranges(None) {
        let first = (bank.start.get() >> shift).max(seen.map_or(0, |s: u64| s + 1));
        let last = (bank.end.get() - 1) >> shift;
        if last < first {
            continue;
        }
        if section < first {
            return None;
        }
        before += section.min(last + 1) - first;
        if section <= last {
            let bytes = (record << shift).next_multiple_of(b.page_bytes());
            let in_section = pfn.get() & ((1 << shift) - 1);
            return Some(map.saturating_add(before * bytes + in_section * record));
        }
        seen = Some(last);
    }
    None
}
