//! The names of Linux 6.1's counters, in the order of its files, as a configuration has them.

use crate::text::Small;
use core::fmt;
use pagewright::slab::SlabPages;
use pagewright_firmware::Arch;
use pagewright_firmware::config::{KernelConfig, Thp};
use pagewright_zone::alloc::NumaStat;
use pagewright_zone::{ZoneKind, ZoneSet};

/// Counters of a zone.
pub(crate) const ZONE: [&str; 11] = [
    "nr_free_pages",
    "nr_zone_inactive_anon",
    "nr_zone_active_anon",
    "nr_zone_inactive_file",
    "nr_zone_active_file",
    "nr_zone_unevictable",
    "nr_zone_write_pending",
    "nr_mlock",
    "nr_bounce",
    "nr_zspages",
    "nr_free_cma",
];

/// A zone's counters with their values: all but the free pages are zero.
pub(crate) fn zone_counters(free: u64, free_cma: u64) -> impl Iterator<Item = (&'static str, u64)> {
    ZONE.into_iter().map(move |name| match name {
        "nr_free_pages" => (name, free),
        "nr_free_cma" => (name, free_cma),
        _ => (name, 0),
    })
}

/// Counters of NUMA hits, per zone.
pub(crate) const NUMA: [&str; 6] =
    ["numa_hit", "numa_miss", "numa_foreign", "numa_interleave", "numa_local", "numa_other"];

const NODE: &str = "nr_inactive_anon nr_active_anon nr_inactive_file nr_active_file nr_unevictable \
    nr_slab_reclaimable nr_slab_unreclaimable nr_isolated_anon nr_isolated_file workingset_nodes \
    workingset_refault_anon workingset_refault_file workingset_activate_anon workingset_activate_file \
    workingset_restore_anon workingset_restore_file workingset_nodereclaim nr_anon_pages nr_mapped nr_file_pages \
    nr_dirty nr_writeback nr_writeback_temp nr_shmem nr_shmem_hugepages nr_shmem_pmdmapped nr_file_hugepages \
    nr_file_pmdmapped nr_anon_transparent_hugepages nr_vmscan_write nr_vmscan_immediate_reclaim nr_dirtied \
    nr_written nr_throttled_written nr_kernel_misc_reclaimable nr_foll_pin_acquired nr_foll_pin_released \
    nr_kernel_stack nr_page_table_pages nr_sec_page_table_pages nr_swapcached";

const NUMA_BALANCING_NODE: &str = "pgpromote_success pgpromote_candidate";

/// Counters of a node.
fn node(config: &KernelConfig) -> impl Iterator<Item = &'static str> {
    let promote = if config.numa_balancing { NUMA_BALANCING_NODE } else { "" };
    NODE.split_whitespace().chain(promote.split_whitespace())
}

/// A node's counters with their values: what slabs have, and zero for all others.
pub(crate) fn node_counters(
    config: &KernelConfig,
    slabs: SlabPages,
) -> impl Iterator<Item = (&'static str, u64)> {
    node(config).map(move |name| match name {
        "nr_slab_reclaimable" => (name, slabs.reclaimable),
        "nr_slab_unreclaimable" => (name, slabs.unreclaimable),
        _ => (name, 0),
    })
}

/// The values of [`NUMA`].
pub(crate) const fn numa(stat: &NumaStat) -> [u64; 6] {
    [stat.hit, stat.miss, stat.foreign, stat.interleave_hit, stat.local, stat.other]
}

/// A counter of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// One that has no zone.
    Machine(&'static str),
    /// One of each zone of a kind.
    OfZone(&'static str, ZoneKind),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(name) => f.write_str(name),
            // HighMem's counters are named `high`.
            Self::OfZone(name, ZoneKind::HighMem) => write!(f, "{name}_high"),
            Self::OfZone(name, zone) => write!(f, "{name}_{}", Small(zone.name())),
        }
    }
}

/// Tells the counters of events in order.
pub(crate) fn events(
    config: &KernelConfig,
    zones: ZoneSet,
    see: &mut dyn FnMut(Event) -> fmt::Result,
) -> fmt::Result {
    for name in ["pgpgin", "pgpgout", "pswpin", "pswpout"] {
        see(Event::Machine(name))?;
    }
    for name in ["pgalloc", "allocstall", "pgskip"] {
        zones.iter().try_for_each(|zone| see(Event::OfZone(name, zone)))?;
    }
    let lists = [
        (
            true,
            "pgfree pgactivate pgdeactivate pglazyfree pgfault pgmajfault pglazyfreed pgrefill pgreuse \
             pgsteal_kswapd pgsteal_direct pgdemote_kswapd pgdemote_direct pgscan_kswapd pgscan_direct \
             pgscan_direct_throttle pgscan_anon pgscan_file pgsteal_anon pgsteal_file",
        ),
        (config.numa, "zone_reclaim_failed"),
        (
            true,
            "pginodesteal slabs_scanned kswapd_inodesteal kswapd_low_wmark_hit_quickly \
             kswapd_high_wmark_hit_quickly pageoutrun pgrotated drop_pagecache drop_slab oom_kill",
        ),
        (
            config.numa_balancing,
            "numa_pte_updates numa_huge_pte_updates numa_hint_faults numa_hint_faults_local \
             numa_pages_migrated",
        ),
        (
            true,
            "pgmigrate_success pgmigrate_fail thp_migration_success thp_migration_fail thp_migration_split",
        ),
        (
            config.compaction,
            "compact_migrate_scanned compact_free_scanned compact_isolated compact_stall compact_fail \
             compact_success compact_daemon_wake compact_daemon_migrate_scanned compact_daemon_free_scanned",
        ),
        (config.hugetlb, "htlb_buddy_alloc_success htlb_buddy_alloc_fail"),
        (config.cma.is_some(), "cma_alloc_success cma_alloc_fail"),
        (
            true,
            "unevictable_pgs_culled unevictable_pgs_scanned unevictable_pgs_rescued unevictable_pgs_mlocked \
             unevictable_pgs_munlocked unevictable_pgs_cleared unevictable_pgs_stranded",
        ),
        (
            config.thp != Thp::Off,
            "thp_fault_alloc thp_fault_fallback thp_fault_fallback_charge thp_collapse_alloc \
             thp_collapse_alloc_failed thp_file_alloc thp_file_fallback thp_file_fallback_charge \
             thp_file_mapped thp_split_page thp_split_page_failed thp_deferred_split_page thp_split_pmd \
             thp_scan_exceed_none_pte thp_scan_exceed_swap_pte thp_scan_exceed_share_pte",
        ),
        (config.thp != Thp::Off && config.arch == Arch::X86_64, "thp_split_pud"),
        (
            config.thp != Thp::Off,
            "thp_zero_page_alloc thp_zero_page_alloc_failed thp_swpout thp_swpout_fallback",
        ),
        (true, "balloon_inflate balloon_deflate balloon_migrate"),
        (config.swap, "swap_ra swap_ra_hit ksm_swpin_copy"),
        (true, "cow_ksm zswpin zswpout"),
        (config.is_x86(), "direct_map_level2_splits direct_map_level3_splits"),
        (true, "nr_unstable"),
    ];
    let built = lists.into_iter().filter(|(built, _)| *built);
    built.flat_map(|(_, list)| list.split_whitespace()).try_for_each(|name| see(Event::Machine(name)))
}
