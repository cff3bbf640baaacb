//! Watermarks and what hangs on them: min_free_kbytes, min/low/high, lowmem protection, per-CPU list sizes, vmstat
//! thresholds.
//!
//! [`Watermarks`] owns one [`ZoneMarks`] for each zone of each online node, empty zones included, in a slice that the
//! caller brings. Its methods are Linux's boot steps; each reads the zones' `managed` counts *as they are at that
//! moment*, so the caller keeps these current between steps:
//!
//! 1. [`Watermarks::setup_boot_pagesets`] with the zonelists, [`Watermarks::setup_per_cpu_pageset`] once the buddy
//!    has its memory;
//! 2. [`Watermarks::init_per_zone_wmark_min`] as a postcore initcall: deferred pages are initialised, CMA areas are
//!    activated and all CPUs are up, but the initial RAM disk, the kernel's init sections and x86's unused parts of the
//!    image have not been freed yet;
//! 3. [`Watermarks::set_recommended_min_free_kbytes`] as a subsys initcall, when transparent huge pages are on
//!    ([`thp_is_on`]);
//! 4. [`Watermarks::kswapd_sleeps`] once kswapd, started by a device initcall, finds nothing to do.
//!
//! Between 1 and 2 come the other processors, [`Watermarks::bring_up_cpus`]. What is freed later changes no watermark until someone writes a sysctl or memory is hotplugged. /proc/zoneinfo of a
//! running machine thus shows `managed` counts that are larger than those the watermarks next to them came from.

mod limits;
mod reserve;
mod validate;

pub use limits::{boot_pageset, normal_stat_threshold, thp_is_on, zone_batchsize};
pub use validate::WatermarkViolation;

use crate::kind::{ZoneKind, ZoneSet};
use core::fmt;
use pagewright_addr::{NodeId, PageShift};

/// SWAP_CLUSTER_MAX: the smallest min watermark of a high zone.
const SWAP_CLUSTER_MAX: u64 = 32;

/// Sizes of a per-CPU page list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pageset {
    /// Above so many pages the list gives some back.
    pub high: u64,
    /// How many pages are moved at once.
    pub batch: u64,
}

/// One zone's figures, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneMarks {
    /// The zone's node.
    pub nid: NodeId,
    /// The zone's kind.
    pub kind: ZoneKind,
    /// Pages that the buddy allocator manages now; kept current by the caller.
    pub managed: u64,
    /// Whether RAM is present (`populated_zone`); such a zone has per-CPU lists even if nothing is managed.
    pub populated: bool,
    /// The min watermark: below it only the privileged allocate.
    pub min: u64,
    /// The low watermark: below it kswapd is woken.
    pub low: u64,
    /// The high watermark: at it kswapd stops.
    pub high: u64,
    /// The promotion watermark of memory tiering (WMARK_PROMO).
    pub promo: u64,
    /// Pages of this zone that allocations which could use a higher zone must leave alone, by that zone's kind
    /// ("protection" in zoneinfo).
    pub lowmem_reserve: [u64; ZoneKind::COUNT],
    /// Sizes of the per-CPU lists.
    pub pageset: Pageset,
    /// How far a CPU's counter deltas may drift before they are folded in.
    pub stat_threshold: u64,
    /// Below so many free pages the counters' drift matters; 0 if it never does.
    pub percpu_drift_mark: u64,
}

impl ZoneMarks {
    /// A zone before any step.
    pub const fn new(nid: NodeId, kind: ZoneKind, managed: u64, populated: bool) -> Self {
        Self {
            nid,
            kind,
            managed,
            populated,
            min: 0,
            low: 0,
            high: 0,
            promo: 0,
            lowmem_reserve: [0; ZoneKind::COUNT],
            pageset: Pageset { high: 0, batch: 1 },
            stat_threshold: 0,
            percpu_drift_mark: 0,
        }
    }
}

/// CPUs as the watermarks see them.
#[derive(Clone, Copy)]
pub struct Cpus<'a> {
    /// `num_online_cpus()`; at least 1.
    pub online: u32,
    /// CPUs of a node (`cpumask_weight(cpumask_of_node(nid))`). Without CONFIG_NUMA, every node has all of them.
    pub on_node: &'a dyn Fn(NodeId) -> u32,
}

/// The sysctls and the configuration that decide the figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tunables {
    /// The kernel's zone kinds.
    pub zones: ZoneSet,
    /// Which zone Movable was cut from; high memory makes it high.
    pub movable_zone: ZoneKind,
    /// The page size.
    pub page_shift: PageShift,
    /// pageblock_nr_pages.
    pub pageblock_pages: u64,
    /// `vm.min_free_kbytes` as an administrator set it (`user_min_free_kbytes`); `None` before that. There is no boot
    /// parameter for it.
    pub user_min_free_kbytes: Option<u64>,
    /// `vm.watermark_scale_factor`, in fractions of 10,000.
    pub watermark_scale_factor: u64,
    /// `vm.lowmem_reserve_ratio`, by kind; 0 protects nothing.
    pub lowmem_reserve_ratio: [u64; ZoneKind::COUNT],
    /// `vm.percpu_pagelist_high_fraction`; 0 derives the lists from the low watermark.
    pub percpu_pagelist_high_fraction: u64,
}

impl Tunables {
    /// Linux's defaults for a kernel with these zones, page and pageblock size.
    pub const fn new(
        zones: ZoneSet,
        movable_zone: ZoneKind,
        page_shift: PageShift,
        pageblock_pages: u64,
    ) -> Self {
        Self {
            zones,
            movable_zone,
            page_shift,
            pageblock_pages,
            user_min_free_kbytes: None,
            watermark_scale_factor: 10,
            // DMA, DMA32, Normal, HighMem, Movable; Device has none above it.
            lowmem_reserve_ratio: [256, 256, 32, 0, 0, 0],
            percpu_pagelist_high_fraction: 0,
        }
    }

    fn is_highmem(&self, kind: ZoneKind) -> bool {
        kind == ZoneKind::HighMem || (kind == ZoneKind::Movable && self.movable_zone == ZoneKind::HighMem)
    }
}

/// All zones' figures.
#[derive(Debug)]
pub struct Watermarks<'a> {
    /// Sysctls and configuration; a change takes effect with the next step that reads it.
    pub tunables: Tunables,
    zones: &'a mut [ZoneMarks],
    min_free_kbytes: u64,
}

impl<'a> Watermarks<'a> {
    /// Takes the zones over: every configured kind of every online node, ordered by node and kind.
    pub fn new(tunables: Tunables, zones: &'a mut [ZoneMarks]) -> Self {
        // 1024 is min_free_kbytes' value until it is computed.
        Self { tunables, zones, min_free_kbytes: 1024 }
    }

    /// The zones.
    pub fn zones(&self) -> &[ZoneMarks] {
        self.zones
    }

    /// One zone.
    pub fn zone(&self, nid: NodeId, kind: ZoneKind) -> Option<&ZoneMarks> {
        self.zones.iter().find(|z| z.nid == nid && z.kind == kind)
    }

    /// Sets what a zone manages now. Returns whether there is such a zone.
    pub fn set_managed(&mut self, nid: NodeId, kind: ZoneKind, pages: u64) -> bool {
        match self.zones.iter_mut().find(|z| z.nid == nid && z.kind == kind) {
            Some(zone) => {
                zone.managed = pages;
                true
            }
            None => false,
        }
    }

    /// Sets what a zone manages now, and whether it has any memory: without it has the lists that CPUs boot with. Returns whether
    /// there is such a zone.
    pub fn set_present(&mut self, nid: NodeId, kind: ZoneKind, pages: u64, populated: bool) -> bool {
        let Some(zone) = self.zones.iter_mut().find(|z| z.nid == nid && z.kind == kind) else { return false };
        (zone.managed, zone.populated) = (pages, populated);
        if !populated {
            zone.pageset = boot_pageset();
        }
        true
    }

    /// `vm.min_free_kbytes`.
    pub fn min_free_kbytes(&self) -> u64 {
        self.min_free_kbytes
    }

    /// Pages of zones up to Normal beyond their high watermark (`nr_free_buffer_pages`).
    pub fn free_buffer_pages(&self) -> u64 {
        self.zones
            .iter()
            .filter(|z| z.kind <= ZoneKind::Normal)
            .map(|z| z.managed.saturating_sub(z.high))
            .sum()
    }

    /// The postcore initcall: computes min_free_kbytes from the low memory, then all figures.
    /// Returns what Linux warns about when the administrator's value stands.
    pub fn init_per_zone_wmark_min(&mut self, cpus: &Cpus<'_>) -> Option<MinFreeKept> {
        let kept = self.calculate_min_free_kbytes();
        self.setup_per_zone_wmarks(cpus);
        self.refresh_stat_thresholds(cpus);
        self.setup_lowmem_reserve();
        kept
    }

    /// `min_free_kbytes = sqrt(16 * lowmem_kbytes)`, between 128 and 262144, unless the administrator wants more.
    fn calculate_min_free_kbytes(&mut self) -> Option<MinFreeKept> {
        let lowmem_kbytes = self.free_buffer_pages() * (self.tunables.page_shift.bytes() >> 10);
        let computed = (lowmem_kbytes * 16).isqrt();
        match self.tunables.user_min_free_kbytes {
            Some(user) if computed <= user => Some(MinFreeKept { computed, user }),
            _ => {
                self.min_free_kbytes = computed.clamp(128, 262_144);
                None
            }
        }
    }

    /// What khugepaged does when it starts: enough free pageblocks for its work, but no more than 5 % of low memory.
    /// Then all watermarks again. Returns whether min_free_kbytes was raised (and Linux, if the administrator had set
    /// it, says so).
    pub fn set_recommended_min_free_kbytes(&mut self, cpus: &Cpus<'_>) -> bool {
        // Two free pageblocks in each zone, and room for each of the three per-CPU migrate types to fall back to each
        // of them.
        const PER_ZONE: u64 = 2 + 3 * 3;
        let zones = self.zones.iter().filter(|z| z.populated && z.kind <= ZoneKind::Normal).count() as u64;
        let pages = (self.tunables.pageblock_pages * zones * PER_ZONE).min(self.free_buffer_pages() / 20);
        let kbytes = pages << (self.tunables.page_shift.get() - 10);
        let raised = kbytes > self.min_free_kbytes;
        if raised {
            self.min_free_kbytes = kbytes;
        }
        self.setup_per_zone_wmarks(cpus);
        raised
    }

    /// What is done in its place where huge pages are switched off: min_free_kbytes is computed once more, now from
    /// the low memory beyond the high watermarks, and all watermarks again. Returns what Linux warns about when the
    /// administrator's value stands.
    pub fn restore_default_min_free_kbytes(&mut self, cpus: &Cpus<'_>) -> Option<MinFreeKept> {
        let kept = self.calculate_min_free_kbytes();
        self.setup_per_zone_wmarks(cpus);
        kept
    }

    /// `vm.min_free_kbytes` written by an administrator.
    pub fn set_min_free_kbytes(&mut self, kbytes: u64, cpus: &Cpus<'_>) {
        self.tunables.user_min_free_kbytes = Some(kbytes);
        self.min_free_kbytes = kbytes;
        self.setup_per_zone_wmarks(cpus);
    }

    /// Distributes min_free_kbytes over the zones and sets the marks above it (`__setup_per_zone_wmarks`), then adjusts
    /// the per-CPU lists.
    pub fn setup_per_zone_wmarks(&mut self, cpus: &Cpus<'_>) {
        let t = self.tunables;
        let pages_min = self.min_free_kbytes >> (t.page_shift.get() - 10);
        let lowmem: u64 = self.zones.iter().filter(|z| !t.is_highmem(z.kind)).map(|z| z.managed).sum();
        for z in self.zones.iter_mut() {
            let share = product_over(pages_min, z.managed, lowmem);
            // Nobody who may dip below min needs high memory, so its min is a token.
            z.min =
                if t.is_highmem(z.kind) { (z.managed / 1024).clamp(SWAP_CLUSTER_MAX, 128) } else { share };
            let gap = (share / 4).max(product_over(z.managed, t.watermark_scale_factor, 10_000));
            z.low = z.min + gap;
            z.high = z.low + gap;
            z.promo = z.high + gap;
        }
        self.update_pagesets(cpus);
    }
}

/// `a * b / of`, without overflow; 0 if `of` is.
fn product_over(a: u64, b: u64, of: u64) -> u64 {
    if of == 0 {
        return 0;
    }
    let quotient = u128::from(a) * u128::from(b) / u128::from(of);
    u64::try_from(quotient).unwrap_or(u64::MAX)
}

/// The administrator's min_free_kbytes stands, because it is larger than the computed one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MinFreeKept {
    /// What would have been set.
    pub computed: u64,
    /// What stays.
    pub user: u64,
}

impl fmt::Display for MinFreeKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "min_free_kbytes is not updated to {} because user defined value {} is preferred",
            self.computed, self.user
        )
    }
}

#[cfg(test)]
mod tests;
