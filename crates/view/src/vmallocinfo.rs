//! `/proc/vmallocinfo`: one line for each area, and what of the region is free.

use core::fmt::{self, Write};
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_kspace::vmalloc::{Seen, VmArea, VmContext, VmFlags, Vmalloc};
use pagewright_pagetable::{Format, TableMemory};

/// How wide addresses are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Widths {
    /// Digits of a virtual address.
    pub virt: usize,
    /// Digits of a physical address (`phys_addr_t`: 16 also on 32-bit kernels with LPAE or PAE).
    pub phys: usize,
}

/// Begins the line of some addresses.
///
/// # Errors
/// The writer's.
pub fn range(w: &mut dyn Write, range: VirtRange, widths: Widths) -> fmt::Result {
    let digits = widths.virt + 2;
    let end = range.start.get().wrapping_add(range.len);
    write!(w, "{:#0digits$x}-{end:#0digits$x} {:>7}", range.start.get(), range.len)
}

/// Writes an area's line up to its nodes. Where Linux names the function that asked, here stands the line of the source.
///
/// # Errors
/// The writer's.
pub fn area(w: &mut dyn Write, area: &VmArea, widths: Widths) -> fmt::Result {
    range(w, VirtRange { start: area.addr, len: area.size }, widths)?;
    if let Some(caller) = area.caller {
        write!(w, " {}:{}", caller.file(), caller.line())?;
    }
    if area.pages > 0 {
        write!(w, " pages={}", area.pages)?;
    }
    if area.phys.get() != 0 {
        write!(w, " phys={:#01$x}", area.phys.get(), widths.phys + 2)?;
    }
    for (flag, word) in [
        (VmFlags::IOREMAP, "ioremap"),
        (VmFlags::ALLOC, "vmalloc"),
        (VmFlags::MAP, "vmap"),
        (VmFlags::USERMAP, "user"),
        (VmFlags::DMA_COHERENT, "dma-coherent"),
    ] {
        if area.flags.contains(flag) {
            write!(w, " {word}")?;
        }
    }
    Ok(())
}

/// Writes the file: areas in use by address, then those that wait for their flush. With more than one node each area's pages are counted by node
/// (`numa`: CONFIG_NUMA; Linux counts them on one node, too). An area that changes meanwhile may be missing.
///
/// # Errors
/// The writer's.
pub fn write<'a, F: Format, M: TableMemory, C: VmContext<'a>>(
    w: &mut dyn Write,
    vmalloc: &Vmalloc<'_, 'a, F, M>,
    on: &C,
    numa: bool,
    widths: Widths,
) -> fmt::Result {
    each(vmalloc, &mut |seen| match seen {
        Seen::Area(found) => {
            area(w, &found, widths)?;
            if numa {
                // As many as kernels with one node for each processor of a large machine have.
                let mut counts = [0_u64; 64];
                vmalloc.pages_by_node(on, found.addr, &mut |node, pages| {
                    if let Some(count) = counts.get_mut(node.index()) {
                        *count += pages;
                    }
                });
                for (node, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                    write!(w, " N{node}={count}")?;
                }
            }
            writeln!(w)
        }
        Seen::Ram(place) => {
            range(w, place, widths)?;
            writeln!(w, " vm_map_ram")
        }
        Seen::Unpurged(_) | Seen::Ready(_) => Ok(()),
    })?;
    each(vmalloc, &mut |seen| match seen {
        Seen::Unpurged(place) => {
            range(w, place, widths)?;
            writeln!(w, " unpurged vm_area")
        }
        _ => Ok(()),
    })
}

fn each<'a, F: Format, M: TableMemory>(
    vmalloc: &Vmalloc<'_, 'a, F, M>,
    see: &mut dyn FnMut(Seen) -> fmt::Result,
) -> fmt::Result {
    let mut from = vmalloc.range().start;
    while let Some(seen) = vmalloc.next_area(from) {
        see(seen)?;
        match seen.range().last().checked_add(1) {
            Some(next) if next <= vmalloc.range().last() => from = next,
            _ => break,
        }
    }
    Ok(())
}

/// Writes who has what of the region, gaps included, and the largest gap last: what one looks at when there is no room.
///
/// # Errors
/// The writer's.
pub fn layout<F: Format, M: TableMemory>(
    w: &mut dyn Write,
    vmalloc: &Vmalloc<'_, '_, F, M>,
    widths: Widths,
) -> fmt::Result {
    let mut at = vmalloc.range().start;
    let gap = |w: &mut dyn Write, from: VirtAddr, len: u64| match len {
        0 => Ok(()),
        len => {
            range(w, VirtRange { start: from, len }, widths)?;
            writeln!(w, " free")
        }
    };
    each(vmalloc, &mut |seen| {
        let place = seen.range();
        // An area may have come where another was when that was looked at.
        gap(w, at, place.start.get().saturating_sub(at.get()))?;
        match seen {
            Seen::Area(found) => area(w, &found, widths)?,
            _ => range(w, place, widths)?,
        }
        at = VirtAddr::new(place.last().get().saturating_add(1));
        w.write_str(match seen {
            Seen::Area(_) => "\n",
            Seen::Ram(_) => " vm_map_ram\n",
            Seen::Unpurged(_) => " unpurged vm_area\n",
            Seen::Ready(_) => " kept for the next of its size\n",
        })
    })?;
    gap(w, at, vmalloc.range().last().get().wrapping_sub(at.get()).wrapping_add(1))?;
    let gaps = vmalloc.gaps();
    writeln!(
        w,
        "{} gaps, {} KiB free, the largest {} KiB; {} KiB wait for a flush or are kept",
        gaps.count,
        gaps.bytes >> 10,
        gaps.largest >> 10,
        gaps.kept >> 10
    )
}
