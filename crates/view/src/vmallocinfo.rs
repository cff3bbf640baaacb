//! `/proc/vmallocinfo`: one line for each area, and what of the region is free.

mod stretch;

pub use stretch::{Stretch, stretches};

use core::fmt::{self, Write};
use pagewright::Boot;
use pagewright_addr::{NodeId, PhysAddr, VirtAddr, VirtRange};
use pagewright_kspace::vmalloc::{EarlyArea, EarlyAreas, Gaps, Seen, VmArea, VmContext, VmFlags, Vmalloc};
use pagewright_pagetable::{Format, TableMemory};

/// How wide addresses and pages are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Widths {
    /// Digits of a virtual address.
    pub virt: usize,
    /// Digits of a physical address (`phys_addr_t`: 16 also on 32-bit kernels with LPAE or PAE).
    pub phys: usize,
    /// Bytes of a page.
    pub page: u64,
}

impl Widths {
    /// Those of a machine's kernel.
    pub fn of(boot: &Boot<'_>) -> Self {
        let digits = |wide| if wide { 16 } else { 8 };
        let config = &boot.machine.config;
        let (virt, phys) = (digits(config.is_64bit()), digits(boot.phys_addr_is_64bit()));
        Self { virt, phys, page: config.page_shift.bytes() }
    }
}

/// A region of areas, as one looks at it.
pub trait Areas {
    /// [`Vmalloc::range`].
    fn range(&self) -> VirtRange;

    /// [`Vmalloc::name`].
    fn name(&self) -> &'static str;

    /// [`Vmalloc::next_area`].
    fn next_area(&self, from: VirtAddr) -> Option<Seen>;

    /// [`Vmalloc::pages_by_node`].
    fn pages_by_node(&self, addr: VirtAddr, see: &mut dyn FnMut(NodeId, u64));

    /// [`Vmalloc::gaps`].
    fn gaps(&self) -> Gaps;

    /// [`Vmalloc::nr_pages`].
    fn nr_pages(&self) -> u64;
}

/// A region, and whoever looks at it.
pub struct Looked<'r, 'v, 'a, F: Format, M: TableMemory, C> {
    /// The region.
    pub region: &'r Vmalloc<'v, 'a, F, M>,
    /// Who looks.
    pub on: &'r C,
}

impl<F: Format, M: TableMemory, C> fmt::Debug for Looked<'_, '_, '_, F, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Looked").field("region", &self.region).finish_non_exhaustive()
    }
}

impl<'a, F: Format, M: TableMemory, C: VmContext<'a>> Areas for Looked<'_, '_, 'a, F, M, C> {
    fn range(&self) -> VirtRange {
        self.region.range()
    }

    fn name(&self) -> &'static str {
        self.region.name()
    }

    fn next_area(&self, from: VirtAddr) -> Option<Seen> {
        self.region.next_area(from)
    }

    fn pages_by_node(&self, addr: VirtAddr, see: &mut dyn FnMut(NodeId, u64)) {
        self.region.pages_by_node(self.on, addr, see);
    }

    fn gaps(&self) -> Gaps {
        self.region.gaps()
    }

    fn nr_pages(&self) -> u64 {
        self.region.nr_pages()
    }
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
    if area.flags.contains(VmFlags::PERCPU) {
        w.write_str(" pcpu_get_vm_areas")?;
    } else if let Some(caller) = area.caller {
        write!(w, " {}:{}", caller.file(), caller.line())?;
    }
    kind(w, area.pages, area.phys, area.flags, widths)?;
    // Linux has an array of pointers to the pages, from kmalloc if it is no larger than a page, else from vmalloc. Here is none.
    let array = u64::from(area.pages) * (widths.virt as u64 / 2);
    if array > widths.page { w.write_str(" vpages") } else { Ok(()) }
}

/// The early area that an area is: one that came to lie where that began, after it was given up, is another.
fn early_of<'e>(early: &'e EarlyAreas, area: &VmArea) -> Option<&'e EarlyArea> {
    let range = VirtRange { start: area.addr, len: area.size };
    early.at(area.addr).filter(|early| early.range == range && early.phys == area.phys)
}

/// Writes an early area's line: with Linux's function, if it has one.
fn early_area(w: &mut dyn Write, early: &EarlyArea, widths: Widths) -> fmt::Result {
    range(w, early.range, widths)?;
    if !early.caller.is_empty() {
        write!(w, " {}", early.caller)?;
    }
    kind(w, 0, early.phys, early.flags, widths)
}

/// What an area is.
fn kind(w: &mut dyn Write, pages: u32, phys: PhysAddr, flags: VmFlags, widths: Widths) -> fmt::Result {
    if pages > 0 {
        write!(w, " pages={pages}")?;
    }
    if phys.get() != 0 {
        write!(w, " phys={:#01$x}", phys.get(), widths.phys + 2)?;
    }
    words(flags).try_for_each(|word| write!(w, " {word}"))
}

/// The words that lines have for an area's flags, in their order.
pub fn words(flags: VmFlags) -> impl Iterator<Item = &'static str> {
    const WORDS: [(VmFlags, &str); 6] = [
        (VmFlags::IOREMAP, "ioremap"),
        (VmFlags::ALLOC, "vmalloc"),
        (VmFlags::MAP, "vmap"),
        (VmFlags::USERMAP, "user"),
        (VmFlags::DMA_COHERENT, "dma-coherent"),
        (VmFlags::STACK_GUARD, "stack guard"),
    ];
    WORDS.into_iter().filter(move |(flag, _)| flags.contains(*flag)).map(|(_, word)| word)
}

/// Writes early areas of other regions, which the file has among the rest: on arm, low memory that was mapped anew.
fn others(
    w: &mut dyn Write,
    early: &EarlyAreas,
    some: &dyn Fn(VirtRange) -> bool,
    widths: Widths,
) -> fmt::Result {
    early.iter().filter(|early| some(early.range)).try_for_each(|early| {
        early_area(w, early, widths)?;
        writeln!(w)
    })
}

/// Writes the machine's early areas, wherever they lie: those of its lines that are there before vmalloc serves.
///
/// # Errors
/// The writer's.
pub fn early(w: &mut dyn Write, boot: &Boot<'_>) -> fmt::Result {
    others(w, boot.early_areas, &|_| true, Widths::of(boot))
}

/// Writes the file of `regions`, lowest first: areas in use by address, then those that wait for their flush. `early` are the machine's early areas, which are
/// named as Linux names them and shown also where they lie outside of all regions. With more than one node each area's pages are counted by node
/// (`numa`: CONFIG_NUMA; Linux counts them on one node, too). An area that changes meanwhile may be missing.
///
/// # Errors
/// The writer's.
pub fn write(
    w: &mut dyn Write,
    regions: &[&dyn Areas],
    early: &EarlyAreas,
    numa: bool,
    widths: Widths,
) -> fmt::Result {
    let mut from = Some(VirtAddr::ZERO);
    for &areas in regions {
        let region = areas.range();
        let below =
            |range: VirtRange| from.is_some_and(|at| range.start >= at) && range.last() < region.start;
        others(w, early, &below, widths)?;
        from = region.last().checked_add(1);
        each(areas, &mut |seen| match seen {
            // No area of Linux's: it has as many lines as stacks.
            Seen::Area(found) if found.flags.contains(VmFlags::STACK_GUARD) => Ok(()),
            Seen::Area(found) => {
                match early_of(early, &found) {
                    Some(early) => early_area(w, early, widths)?,
                    None => area(w, &found, widths)?,
                }
                if numa && found.pages > 0 {
                    // As many as kernels with one node for each processor of a large machine have.
                    let mut counts = [0_u64; 64];
                    areas.pages_by_node(found.addr, &mut |node, pages| {
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
    }
    others(w, early, &|range| from.is_some_and(|at| range.start >= at), widths)?;
    regions.iter().try_for_each(|&areas| {
        each(areas, &mut |seen| match seen {
            Seen::Unpurged(place) => {
                range(w, place, widths)?;
                writeln!(w, " unpurged vm_area")
            }
            _ => Ok(()),
        })
    })
}

fn each(areas: &dyn Areas, see: &mut dyn FnMut(Seen) -> fmt::Result) -> fmt::Result {
    let mut from = areas.range().start;
    while let Some(seen) = areas.next_area(from) {
        see(seen)?;
        match seen.range().last().checked_add(1) {
            Some(next) if next <= areas.range().last() => from = next,
            _ => break,
        }
    }
    Ok(())
}

/// Writes who has what of a region, gaps included, and the largest gap last, with the region's name: what one looks at when there is no room.
///
/// # Errors
/// The writer's.
pub fn layout(w: &mut dyn Write, areas: &dyn Areas, early: &EarlyAreas, widths: Widths) -> fmt::Result {
    stretches(areas, early, &mut |stretch| {
        let what = match stretch {
            Stretch::Early(early) => {
                early_area(w, early, widths)?;
                ""
            }
            Stretch::Area(found) => {
                area(w, &found, widths)?;
                ""
            }
            Stretch::Free(_) => " free",
            Stretch::Ram(_) => " vm_map_ram",
            Stretch::Unpurged(_) => " unpurged vm_area",
            Stretch::Ready(_) => " kept for the next of its size",
        };
        if !what.is_empty() {
            range(w, stretch.range(), widths)?;
        }
        writeln!(w, "{what}")
    })?;
    let gaps = areas.gaps();
    writeln!(
        w,
        "{}: {} gaps, {} KiB free, the largest {} KiB; {} KiB wait for a flush or are kept",
        areas.name(),
        gaps.count,
        gaps.bytes >> 10,
        gaps.largest >> 10,
        gaps.kept >> 10
    )
}

/// A vmalloc area that shows itself: what [`State::with_vmalloc`](crate::State::with_vmalloc) takes.
pub trait VmallocShown {
    /// Pages that areas have of their own.
    fn nr_pages(&self) -> u64;

    /// Writes `/proc/vmallocinfo`.
    ///
    /// # Errors
    /// The writer's.
    fn vmallocinfo(&self, w: &mut dyn Write) -> fmt::Result;

    /// Writes who has what, and the gaps.
    ///
    /// # Errors
    /// The writer's.
    fn map(&self, w: &mut dyn Write) -> fmt::Result;

    /// Shows its regions one by one, lowest first.
    fn regions(&self, see: &mut dyn FnMut(&dyn Areas));
}

/// A booted machine's regions with all that their lines are made of.
pub struct Shown<'r> {
    regions: &'r [&'r dyn Areas],
    early: &'r EarlyAreas,
    numa: bool,
    widths: Widths,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("regions", &self.regions.len()).finish_non_exhaustive()
    }
}

impl<'r> Shown<'r> {
    /// Regions that the boot put in service ([`Boot::vmalloc_init`], [`Boot::modules_init`]), lowest first.
    pub fn new(boot: &'r Boot<'_>, regions: &'r [&'r dyn Areas]) -> Self {
        let (numa, widths) = (boot.machine.config.numa, Widths::of(boot));
        Self { regions, early: boot.early_areas, numa, widths }
    }
}

impl VmallocShown for Shown<'_> {
    fn nr_pages(&self) -> u64 {
        self.regions.iter().map(|region| region.nr_pages()).sum()
    }

    fn vmallocinfo(&self, w: &mut dyn Write) -> fmt::Result {
        write(w, self.regions, self.early, self.numa, self.widths)
    }

    fn map(&self, w: &mut dyn Write) -> fmt::Result {
        self.regions.iter().try_for_each(|&region| layout(w, region, self.early, self.widths))
    }

    fn regions(&self, see: &mut dyn FnMut(&dyn Areas)) {
        self.regions.iter().for_each(|region| see(*region));
    }
}
