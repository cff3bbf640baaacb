//! The hand-over: `memblock_free_all`, and the page allocator in service.
//!
//! Before it, memory comes from memblock; after it, from the buddy, and memblock refuses with an error that names the
//! phase. [`hand_over`] walks all memory once, in address order: free ranges enter the buddy as untouched extents
//! where they are whole blocks of the largest order; what is reserved is marked so; CMA areas, the initial RAM disk,
//! EFI's boot services and the kernel's init sections are kept as tokens, because they are freed later in the boot. [`Running`] owns the
//! result. Its steps follow the initcalls: CMA is activated, then watermarks are computed, then init memory is freed.

mod kept;
mod report;

use kept::{Kept, MAX_KEPT, freed_initrd, keep_reserved, special_ranges};
use report::{EarlyFree, memory_line, slub_line};

use crate::boot::{Boot, info};
use crate::error::BootError;
use crate::sink::Phase;
use arrayvec::ArrayVec;
use core::sync::atomic::AtomicU32;
use pagewright_addr::{NodeId, Order, PhysRange};
use pagewright_firmware::Arch;
use pagewright_page::{PageMap, PageStorage, Pristine, Reserved, Section, SectionTable};
use pagewright_zone::ZoneKind;
use pagewright_zone::buddy::{Buddy, BuddyZone, Pageblocks, Request, ZonePiece};
use pagewright_zone::layout::NodeLayout;
use pagewright_zone::watermark::{Cpus, Tunables, Watermarks, ZoneMarks, thp_is_on};

/// Memory that the caller lends to the page allocator.
pub struct Space<'z, 's, 'a> {
    /// Metadata: [`metadata_frames`] slots.
    pub metadata: PageStorage<'a>,
    /// Room for the section table: as many as there are memory regions.
    pub sections: &'a mut [Section],
    /// Pageblock records: one for each pageblock of metadata, and one more.
    pub records: &'a [AtomicU32],
    /// Room for the pieces of zones: zones times memory regions is always enough.
    pub pieces: &'a mut [ZonePiece],
    /// Zones, in any state: as many as are populated.
    pub zones: &'z mut [BuddyZone<'s, 'a>],
    /// Room for runs of untouched memory, divided evenly among the zones.
    pub extents: &'s mut [Option<Pristine<'a>>],
    /// Room for pages that are freed one by one until they merge: [`park_words`], or less, of which the last zones have none.
    pub parks: &'s mut [u32],
    /// Room for the watermarks: one for each zone kind of each node.
    pub marks: &'z mut [ZoneMarks],
}

/// Frames of metadata that a booted machine needs: its memory, rounded to the largest blocks.
pub fn metadata_frames(boot: &Boot<'_>) -> u64 {
    let block = 1u64 << (boot.machine.config.max_order - 1);
    let mut frames = 0;
    let mut end = pagewright_addr::Pfn::ZERO;
    for (r, _) in boot.mb.mem_pfn_ranges(None).filter(|(r, _)| !r.is_empty()) {
        let start = r.start.align_down(block).max(end);
        let top = r.end.align_up(block);
        frames += top.get().saturating_sub(start.get());
        end = end.max(top);
    }
    frames
}

/// Zones with memory, in node order: how many [`Space::zones`] must hold.
pub fn populated_zones(boot: &Boot<'_>) -> usize {
    let nodes = boot.layout.as_ref().map_or(&[][..], |l| l.nodes());
    nodes.iter().filter(|n| n.possible).map(|n| n.populated().count()).sum()
}

/// Words of [`Space::parks`] for all zones: some bits for each page of a zone.
pub fn park_words(boot: &Boot<'_>) -> usize {
    let pageblock = Order::new(boot.machine.config.pageblock_order() as u8).unwrap_or_default();
    let nodes = boot.layout.as_ref().map_or(&[][..], |l| l.nodes());
    let zones = nodes.iter().filter(|n| n.possible).flat_map(NodeLayout::populated);
    zones.map(|zone| BuddyZone::park_words(zone.present, pageblock)).sum()
}

/// A machine whose page allocator serves.
pub struct Running<'z, 's, 'a> {
    /// The page allocator's core.
    pub buddy: Buddy<'z, 's, 'a>,
    /// Watermarks, protection, per-CPU list sizes.
    pub watermarks: Watermarks<'z>,
    /// Pages that memblock had free (`totalram_pages` right after `mem_init`).
    pub total_ram_at_init: u64,
    /// Pages in huge page pools that came from the buddy.
    pub huge_pages: u64,
    kept: ArrayVec<(Kept, Reserved<'a>), MAX_KEPT>,
}

/// Ends memblock's time and starts the buddy's.
///
/// # Errors
/// [`BootError::Space`] names what the space is too small for; memblock is untouched then.
pub fn hand_over<'z, 's, 'a>(
    boot: &mut Boot<'_>,
    space: Space<'z, 's, 'a>,
) -> Result<Running<'z, 's, 'a>, BootError> {
    let Some(layout) = &boot.layout else {
        return Err(BootError::Unsupported { what: "a hand-over before zones exist" });
    };
    let c = &boot.machine.config;
    let small = |what| BootError::Space { what };
    let largest = Order::new(c.max_order - 1).ok_or(small("orders"))?;
    let pageblock = Order::new(c.pageblock_order() as u8).ok_or(small("orders"))?;
    let ranges = layout.ranges().iter().map(|r| r.pfns);
    let sections =
        SectionTable::build(space.sections, ranges, largest).map_err(|_| small("the section table"))?;
    let (map, mut rest) = PageMap::new(space.metadata, sections).map_err(|_| small("page metadata"))?;
    let zones = fill_zones(layout.nodes(), space.zones, (space.extents, space.parks), pageblock)
        .ok_or(small("zones"))?;
    let blocks = Pageblocks::build(layout, &map, pageblock, zones, space.records, space.pieces)
        .map_err(|_| small("pageblock records"))?;
    let mut buddy =
        Buddy::new(map, blocks, zones, largest, boot.mobility_grouping).map_err(|_| small("zones"))?;

    let special = special_ranges(boot);
    let mut kept = ArrayVec::new();
    let mut early = EarlyFree::new(boot);
    boot.mb.set_caller("memblock_free_all");
    let total = boot.mb.free_all(&mut |pfns, nid| {
        let Some(start) = buddy.map().idx(pfns.start).map(|i| u64::from(i.get())) else { return };
        let before = rest.take_front(start - rest.start());
        keep_reserved(&buddy, before, &special, &mut kept);
        let free = rest.take_front(pfns.len());
        early.count(layout.nodes(), pfns, nid);
        buddy.free_boot(free);
    })?;
    keep_reserved(&buddy, rest, &special, &mut kept);

    // Frames in no zone are nobody's: i386 does not free what `highmem=` leaves out.
    let total = total - buddy.unzoned_pages();
    memory_line(boot, total, early.available(boot) - buddy.unzoned_pages());
    slub_line(boot);
    let marks = fill_marks(boot, &buddy, space.marks).ok_or(small("watermarks"))?;
    let tunables = boot.tunables();
    let mut watermarks = Watermarks::new(tunables, marks);
    watermarks.setup_boot_pagesets();
    Ok(Running { buddy, watermarks, total_ram_at_init: total, huge_pages: 0, kept })
}

fn fill_zones<'z, 's, 'a>(
    nodes: &[NodeLayout],
    zones: &'z mut [BuddyZone<'s, 'a>],
    (mut extents, mut parks): (&'s mut [Option<Pristine<'a>>], &'s mut [u32]),
    pageblock: Order,
) -> Option<&'z mut [BuddyZone<'s, 'a>]> {
    let populated = || nodes.iter().filter(|n| n.possible).flat_map(|n| n.populated().map(|z| (n.nid, z)));
    let count = populated().count();
    let share = extents.len() / count.max(1);
    let zones = zones.get_mut(..count)?;
    for (slot, (nid, zone)) in zones.iter_mut().zip(populated()) {
        let (mine, others) = extents.split_at_mut(share);
        extents = others;
        let (park, others) =
            parks.split_at_mut(BuddyZone::park_words(zone.present, pageblock).min(parks.len()));
        parks = others;
        *slot = BuddyZone::new(nid, zone.kind, mine).with_park(park);
    }
    Some(zones)
}

/// One entry for each zone kind of each online node.
fn fill_marks<'z>(
    boot: &Boot<'_>,
    buddy: &Buddy<'_, '_, '_>,
    marks: &'z mut [ZoneMarks],
) -> Option<&'z mut [ZoneMarks]> {
    let layout = boot.layout.as_ref()?;
    let mut used = 0;
    for node in layout.nodes().iter().filter(|n| n.possible && boot.nodes_online.contains(n.nid)) {
        for kind in layout.config().zones.iter() {
            let managed = buddy.find(node.nid, kind).map_or(0, |z| buddy.zones()[z.index()].managed_pages());
            *marks.get_mut(used)? = ZoneMarks::new(node.nid, kind, managed, node.zone(kind).is_populated());
            used += 1;
        }
    }
    marks.get_mut(..used)
}

impl<'a> Running<'_, '_, 'a> {
    /// The initcalls that bear on memory, in order: per-CPU lists, lock prefixes on x86, CMA activation, watermarks, the return of EFI's boot
    /// services, the raise for transparent huge pages; then the init sections and the RAM disk are given to the buddy.
    ///
    /// `nodes_of_cpus` counts the CPUs of each node.
    pub fn initcalls(&mut self, boot: &mut Boot<'_>, cpus: &Cpus<'_>) {
        boot.phase(Phase::Running);
        self.watermarks.setup_per_cpu_pageset(cpus);
        self.free_image(boot, Kept::SmpLocks, "SMP alternatives");
        self.activate_cma(boot);
        self.refresh_managed();
        self.watermarks.bring_up_cpus(cpus);
        if let Some(kept) = self.watermarks.init_per_zone_wmark_min(cpus) {
            info!(boot, "{kept}");
        }
        self.free_kept(Kept::BootServices);
        self.refresh_managed();
        let boot_services: u64 = boot.boot_services.iter().map(PhysRange::len).sum();
        if boot_services > 0 {
            info!(boot, "efi: Freeing EFI boot services memory: {}K", boot_services >> 10);
        }
        self.fill_huge_pools(boot);
        self.count_gigantic(boot);
        let c = &boot.machine.config;
        let thp = !matches!(c.thp, pagewright_firmware::config::Thp::Off);
        let gigantic: u64 = boot.gigantic_pages.iter().map(|(.., pages)| pages).sum();
        if thp && thp_is_on(self.managed_pages() + gigantic, c.page_shift) {
            if boot.thp_enabled() {
                self.watermarks.set_recommended_min_free_kbytes(cpus);
            } else if let Some(kept) = self.watermarks.restore_default_min_free_kbytes(cpus) {
                info!(boot, "{kept}");
            }
        }
        self.watermarks.kswapd_sleeps(cpus);
        if crate::built::X86
            && matches!(boot.machine.arch, Arch::X86_64 | Arch::I386)
            && crate::x86::has_swiotlb(boot)
            && crate::x86::addressing_limit(boot)
        {
            crate::early::print_swiotlb(boot);
        }
        crate::hugetlb::report(boot);
        self.free_kept(Kept::Initrd);
        if let Some(initrd) = boot.initrd.filter(|_| !boot.params.keep_initrd) {
            if boot.machine.arch == Arch::Arm64 {
                // memblock is kept there, and told. After the hand-over nothing can fail in it for want of memory.
                let page = boot.page_bytes();
                let whole = PhysRange::new(initrd.start.align_down(page), initrd.end.align_up(page));
                boot.mb.set_caller("free_initrd_mem");
                let _ = boot.mb.phys_free(whole);
            }
            info!(boot, "Freeing initrd memory: {}K", freed_initrd(boot, initrd).len() >> 10);
        }
        self.free_image(boot, Kept::Decrypted, "unused decrypted");
        let whose = if boot.machine.arch == Arch::Arm64 { "kernel" } else { "kernel image (initmem)" };
        self.free_image(boot, Kept::InitSections, format_args!("unused {whose}"));
        self.free_image(boot, Kept::TextGap, "unused kernel image (text/rodata gap)");
        self.free_image(boot, Kept::RodataGap, "unused kernel image (rodata/data gap)");
        self.finish_tables(boot);
        self.refresh_managed();
        self.count_gigantic(boot);
    }

    /// Huge pages that the buddy can make (`hugetlb_init`): they leave the free lists for good. Nodes take turns unless
    /// the command line names them.
    fn fill_huge_pools(&mut self, boot: &mut Boot<'_>) {
        let page_shift = boot.machine.config.page_shift.get();
        let nodes = crate::hugetlb::memory_nodes(boot);
        for i in 0..boot.huge_pools.len() {
            let pool = boot.huge_pools[i];
            let order = (pool.size >> page_shift).trailing_zeros();
            let order = u8::try_from(order).ok().and_then(Order::new);
            let Some(order) = order.filter(|_| pool.gigantic == 0 && pool.wanted > 0) else { continue };
            let mut got = 0;
            let spec = crate::hugetlb::asked(boot, pool.size).filter(|s| s.total().is_none());
            if let Some(spec) = spec {
                for (node, count) in spec.per_node() {
                    let Some(nid) = u16::try_from(node).ok().and_then(NodeId::new) else { continue };
                    let here = (0..count).take_while(|_| self.take_huge(nid, order)).count() as u64;
                    if here < count {
                        crate::hugetlb::failed(boot, count, pool.size, Some(nid), here);
                    }
                    got += here;
                }
            } else {
                let mut turns = nodes.iter().cycle();
                let mut one = || turns.by_ref().take(nodes.len()).any(|nid| self.take_huge(*nid, order));
                while got < pool.wanted && one() {
                    got += 1;
                }
                if got < pool.wanted {
                    crate::hugetlb::failed(boot, pool.wanted, pool.size, None, got);
                }
            }
            boot.huge_pools[i].wanted = got;
        }
    }

    /// A huge page from the highest zone of a node that has one.
    fn take_huge(&mut self, nid: NodeId, order: Order) -> bool {
        let block = ZoneKind::ALL.iter().rev().find_map(|kind| {
            let zone = self.buddy.find(nid, *kind)?;
            self.buddy.alloc(zone, Request::movable(order)).ok()
        });
        let Some(block) = block else { return false };
        // The pool owns the block from here on: a token that is dropped stays allocated.
        drop(block);
        self.huge_pages += order.pages();
        true
    }

    /// Tells the watermarks how many pages each zone manages now.
    fn refresh_managed(&mut self) {
        for zone in self.buddy.zones() {
            self.watermarks.set_managed(zone.nid(), zone.kind(), zone.managed_pages());
        }
    }

    /// Gigantic pages count as managed from here on, although the page allocator never had them.
    fn count_gigantic(&mut self, boot: &Boot<'_>) {
        for (nid, kind, pages) in boot.gigantic_pages.iter() {
            if let Some(managed) = self.watermarks.zone(*nid, *kind).map(|z| z.managed) {
                self.watermarks.set_managed(*nid, *kind, managed + pages);
            }
        }
    }

    /// Pages that the page allocator manages in all zones.
    pub fn managed_pages(&self) -> u64 {
        self.buddy.zones().iter().map(BuddyZone::managed_pages).sum()
    }
}

impl Boot<'_> {
    /// What sysctls say at boot.
    fn tunables(&self) -> Tunables {
        let c = &self.machine.config;
        let zones = crate::free_area::zone_set(self);
        let movable = self.layout.as_ref().map_or(ZoneKind::Normal, |l| l.movable_zone());
        Tunables::new(zones, movable, c.page_shift, 1 << c.pageblock_order())
    }

    /// Whether transparent huge pages are on (`always` or `madvise`).
    pub(crate) fn thp_enabled(&self) -> bool {
        use pagewright_firmware::cmdline::ThpParam;
        self.params.transparent_hugepage != Some(ThpParam::Never)
    }
}
