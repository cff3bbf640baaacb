//! The lines in which the kernel says what memory it has (`mem_init_print_info`), and by what SLUB decides (`kmem_cache_init`).

use crate::boot::{Boot, info};
use pagewright_addr::{NodeId, Pfn, PfnRange};
use pagewright_firmware::Arch;
use pagewright_firmware::config::Slab;
use pagewright_kspace::Kind;
use pagewright_memblock::Flags;
use pagewright_zone::ZoneKind;
use pagewright_zone::layout::NodeLayout;

/// `mem_init_print_info`.
pub(super) fn memory_line(boot: &mut Boot<'_>, total: u64, available: u64) {
    let shift = boot.machine.config.page_shift.get();
    let kib = |pages: u64| pages << (shift - 10);
    let bytes = |from: pagewright_addr::PhysAddr, to: pagewright_addr::PhysAddr| {
        to.get().saturating_sub(from.get()) >> 10
    };
    let Some(layout) = &boot.layout else { return };
    let present: u64 = layout.nodes().iter().map(|n| n.present).sum();
    let image = &boot.machine.image;
    let high: u64 = boot.high_pages();
    let reserved = present.saturating_sub(total).saturating_sub(boot.total_cma_pages);
    let highmem = Highmem(boot.machine.config.highmem.then_some(kib(high)));
    info!(
        boot,
        "Memory: {}K/{}K available ({}K kernel code, {}K rwdata, {}K rodata, {}K init, {}K bss, {}K reserved, {}K cma-reserved{highmem})",
        kib(available),
        kib(present),
        bytes(image.text_start, image.text_end),
        bytes(image.data_start, image.data_end),
        bytes(image.rodata_start, image.rodata_end),
        bytes(image.init_begin, image.init_end),
        bytes(image.bss_start, image.bss_end),
        kib(reserved),
        kib(boot.total_cma_pages),
    );
}

/// What SLUB says when its caches begin to exist; the other designs say nothing.
pub(super) fn slub_line(boot: &mut Boot<'_>) {
    if boot.machine.config.slab == Slab::Slub {
        // One more than the highest number there may be, of processors and of nodes.
        let cpus = boot.possible_cpus.ids().max(1);
        let nodes = boot.nodes_possible.iter().last().map_or(1, |nid| nid.index() as u32 + 1);
        let line = boot.slub().to_log(cpus, nodes);
        info!(boot, "{line}");
    }
}

/// Free pages while memory above a node's first section is not initialised yet (DEFERRED_STRUCT_PAGE_INIT): those are
/// what the kernel calls available.
pub(super) struct EarlyFree {
    /// In all zones.
    pages: u64,
    /// In the zone that the boot processor allocates from first.
    first_zone: u64,
    /// That zone, if it is the one that is initialised late, with the first frame that waits.
    deferred: Option<(NodeId, PfnRange, Pfn)>,
}

impl EarlyFree {
    /// None counted yet.
    pub(super) fn new(boot: &Boot<'_>) -> Self {
        let here = boot.node_of_cpu(0);
        let nodes = boot.layout.as_ref().map_or(&[][..], |l| l.nodes());
        let node = nodes.get(here.index());
        let deferred = node.and_then(|n| {
            let last = n.populated().last()?;
            (last.kind != ZoneKind::Movable).then_some((n.nid, last.pfns(), n.first_deferred_pfn?))
        });
        Self { pages: 0, first_zone: 0, deferred }
    }

    /// Counts a free range.
    pub(super) fn count(&mut self, nodes: &[NodeLayout], pfns: PfnRange, nid: Option<NodeId>) {
        let first = nid.and_then(|n| nodes.get(n.index())).and_then(|n| n.first_deferred_pfn);
        let ready = PfnRange::new(pfns.start, first.map_or(pfns.end, |first| pfns.end.min(first)));
        self.pages += ready.len();
        if let Some((at, zone, _)) = self.deferred
            && nid == Some(at)
        {
            self.first_zone += ready.intersection(&zone).len();
        }
    }

    /// What is left once x86_64 has taken the tables of its vmalloc space. If the zone that they come from has too little
    /// that is initialised, it grows for them.
    pub(super) fn available(&self, boot: &Boot<'_>) -> u64 {
        let tables = vmalloc_tables(boot);
        let grown = if self.first_zone < tables { self.grown(boot) } else { 0 };
        (self.pages + grown).saturating_sub(tables)
    }

    /// `deferred_grow_zone`: free memory in whole sections, until it is at least as much as a section has.
    fn grown(&self, boot: &Boot<'_>) -> u64 {
        let Some((nid, zone, first)) = self.deferred else { return 0 };
        let c = &boot.machine.config;
        let section = 1u64 << (c.section_size_bits() - c.page_shift.get());
        let waiting = PfnRange::new(first, zone.end);
        let (mut pages, mut last) = (0, None);
        for (range, _) in boot.mb.free_ranges(Some(nid), Flags::empty()) {
            let range = range.frames_inside(c.page_shift).intersection(&waiting);
            let mut at = range.start;
            while at < range.end {
                let number = at.get() / section;
                if pages >= section && last != Some(number) {
                    return pages;
                }
                let stop = range.end.min(Pfn::new((number + 1) * section));
                pages += stop.get() - at.get();
                (at, last) = (stop, Some(number));
            }
        }
        pages
    }
}

/// Pages that x86_64 takes from the buddy before it prints the line: the upper page tables of all vmalloc space
/// (`preallocate_vmalloc_pages`), one for each entry of the top table (32 TiB by 512 GiB, or 12800 TiB by 256 TiB) that no early area
/// has filled.
fn vmalloc_tables(boot: &Boot<'_>) -> u64 {
    let (all, shift) = match (boot.machine.arch, boot.machine.cpus.la57) {
        (Arch::X86_64, false) => (64, 39),
        (Arch::X86_64, true) => (50, 48),
        _ => return 0,
    };
    let region = boot.virtual_layout(boot.version).ok().and_then(|layout| layout.get(Kind::Vmalloc));
    let Some(region) = region else { return all };
    // Lowest first, so that an entry is met again only by the next area.
    let (mut filled, mut next) = (0, 0);
    for area in boot.early_areas.iter().filter(|area| region.contains_range(&area.range)) {
        let (first, last) = (area.range.start.get() >> shift, area.range.last().get() >> shift);
        filled += (last + 1).saturating_sub(first.max(next));
        next = last + 1;
    }
    all - all.min(filled)
}

struct Highmem(Option<u64>);

impl core::fmt::Display for Highmem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(kib) => write!(f, ", {kib}K highmem"),
            None => Ok(()),
        }
    }
}

impl Boot<'_> {
    /// Pages of free high memory (`totalhigh_pages` right after `mem_init`).
    fn high_pages(&self) -> u64 {
        let shift = self.machine.config.page_shift;
        let Some(layout) = &self.layout else { return 0 };
        let zones = || layout.nodes().iter().flat_map(NodeLayout::populated);
        let high = |range: PfnRange| {
            let inside = zones().filter(|z| layout.is_highmem(z.kind));
            inside.map(|z| z.pfns().intersection(&range).len()).sum::<u64>()
        };
        self.mb.free_ranges(None, Flags::empty()).map(|(r, _)| high(r.frames_inside(shift))).sum()
    }
}
