//! Numbers in the Mem-Info block that are not the page allocator's.

use crate::buddy::ZoneId;
use pagewright_addr::{NodeId, PageShift};

/// Pages of one node by use, unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the names are those that are printed")]
pub struct NodeCounts {
    pub active_anon: u64,
    pub inactive_anon: u64,
    pub isolated_anon: u64,
    pub active_file: u64,
    pub inactive_file: u64,
    pub isolated_file: u64,
    pub unevictable: u64,
    pub dirty: u64,
    pub writeback: u64,
    pub writeback_tmp: u64,
    pub slab_reclaimable: u64,
    pub slab_unreclaimable: u64,
    pub kernel_misc_reclaimable: u64,
    pub mapped: u64,
    pub shmem: u64,
    pub shmem_thp: u64,
    pub shmem_pmdmapped: u64,
    pub anon_thp: u64,
    pub pagetables: u64,
    pub sec_pagetables: u64,
    /// In KiB.
    pub kernel_stack: u64,
    /// Pages of the page cache (NR_FILE_PAGES).
    pub file_pages: u64,
    /// kswapd has given up.
    pub all_unreclaimable: bool,
}

/// Pages of one zone by use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the names are those that are printed")]
pub struct ZoneCounts {
    pub active_anon: u64,
    pub inactive_anon: u64,
    pub active_file: u64,
    pub inactive_file: u64,
    pub unevictable: u64,
    pub writepending: u64,
    /// All RAM of the zone, what the allocator never got included; `None` for what the allocator knows of it.
    pub present: Option<u64>,
    pub mlocked: u64,
    pub bounce: u64,
    /// On the lists of CPUs other than the one that reports.
    pub other_pcp: u64,
}

/// Swap, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the names are those that are printed")]
pub struct SwapCounts {
    pub in_cache: u64,
    pub free: u64,
    pub total: u64,
}

/// Who knows these numbers. Every method has a default: nothing.
pub trait Counts {
    /// Those of a node.
    fn node(&self, nid: NodeId) -> NodeCounts {
        let _ = nid;
        NodeCounts::default()
    }

    /// Those of a zone.
    fn zone(&self, zone: ZoneId) -> ZoneCounts {
        let _ = zone;
        ZoneCounts::default()
    }

    /// Swap.
    fn swap(&self) -> SwapCounts {
        SwapCounts::default()
    }

    /// Pages with memory errors, on kernels that watch for them (CONFIG_MEMORY_FAILURE).
    fn hwpoisoned(&self) -> Option<u64> {
        None
    }

    /// Pools of huge pages on a node, one after the other: total, free, surplus, and the size in KiB.
    fn hugepages(&self, nid: NodeId, each: &mut dyn FnMut(u64, u64, u64, u64)) {
        let _ = (nid, each);
    }

    /// Whether zones are named with their node (CONFIG_NUMA).
    fn numa(&self) -> bool {
        true
    }

    /// Whether transparent huge pages are shown (CONFIG_TRANSPARENT_HUGEPAGE).
    fn thp(&self) -> bool {
        true
    }

    /// Whether pages of CMA areas are shown (CONFIG_CMA).
    fn cma(&self) -> bool {
        true
    }

    /// The page size.
    fn page_shift(&self) -> PageShift {
        PageShift::SHIFT_4K
    }
}

/// Nobody knows anything but the page allocator.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCounts;

impl Counts for NoCounts {}
