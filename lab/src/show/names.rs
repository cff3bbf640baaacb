//! The names of Linux 6.1's counters, in the order of its files, as a configuration has them.

use pagewright_firmware::Arch;
use pagewright_firmware::config::{KernelConfig, Thp};
use pagewright_zone::ZoneKind;

/// Counters of a zone.
pub const ZONE: [&str; 11] = [
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

/// Counters of NUMA hits, per zone.
pub const NUMA: [&str; 6] =
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
pub fn node(config: &KernelConfig) -> impl Iterator<Item = &'static str> {
    let promote = if config.numa_balancing { NUMA_BALANCING_NODE } else { "" };
    NODE.split_whitespace().chain(promote.split_whitespace())
}

/// Counters of events.
pub fn events(config: &KernelConfig, zones: &[ZoneKind]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |list: &str| names.extend(list.split_whitespace().map(str::to_owned));
    add("pgpgin pgpgout pswpin pswpout");
    for event in ["pgalloc", "allocstall", "pgskip"] {
        for zone in zones {
            // HighMem's counters are named `high`.
            let zone = if *zone == ZoneKind::HighMem { "high" } else { zone.name() };
            add(&format!("{event}_{}", zone.to_lowercase()));
        }
    }
    add(
        "pgfree pgactivate pgdeactivate pglazyfree pgfault pgmajfault pglazyfreed pgrefill pgreuse pgsteal_kswapd \
         pgsteal_direct pgdemote_kswapd pgdemote_direct pgscan_kswapd pgscan_direct pgscan_direct_throttle \
         pgscan_anon pgscan_file pgsteal_anon pgsteal_file",
    );
    if config.numa {
        add("zone_reclaim_failed");
    }
    add(
        "pginodesteal slabs_scanned kswapd_inodesteal kswapd_low_wmark_hit_quickly kswapd_high_wmark_hit_quickly \
         pageoutrun pgrotated drop_pagecache drop_slab oom_kill",
    );
    if config.numa_balancing {
        add(
            "numa_pte_updates numa_huge_pte_updates numa_hint_faults numa_hint_faults_local numa_pages_migrated",
        );
    }
    add("pgmigrate_success pgmigrate_fail thp_migration_success thp_migration_fail thp_migration_split");
    if config.compaction {
        add("compact_migrate_scanned compact_free_scanned compact_isolated compact_stall compact_fail \
             compact_success compact_daemon_wake compact_daemon_migrate_scanned compact_daemon_free_scanned");
    }
    if config.hugetlb {
        add("htlb_buddy_alloc_success htlb_buddy_alloc_fail");
    }
    if config.cma.is_some() {
        add("cma_alloc_success cma_alloc_fail");
    }
    add("unevictable_pgs_culled unevictable_pgs_scanned unevictable_pgs_rescued unevictable_pgs_mlocked \
         unevictable_pgs_munlocked unevictable_pgs_cleared unevictable_pgs_stranded");
    if config.thp != Thp::Off {
        add("thp_fault_alloc thp_fault_fallback thp_fault_fallback_charge thp_collapse_alloc \
             thp_collapse_alloc_failed thp_file_alloc thp_file_fallback thp_file_fallback_charge thp_file_mapped \
             thp_split_page thp_split_page_failed thp_deferred_split_page thp_split_pmd thp_scan_exceed_none_pte \
             thp_scan_exceed_swap_pte thp_scan_exceed_share_pte");
        if config.arch == Arch::X86_64 {
            add("thp_split_pud");
        }
        add("thp_zero_page_alloc thp_zero_page_alloc_failed thp_swpout thp_swpout_fallback");
    }
    add("balloon_inflate balloon_deflate balloon_migrate");
    if config.swap {
        add("swap_ra swap_ra_hit ksm_swpin_copy");
    }
    add("cow_ksm zswpin zswpout");
    if config.is_x86() {
        add("direct_map_level2_splits direct_map_level3_splits");
    }
    add("nr_unstable");
    names
}
