//! How fragmented a zone's free memory is: the indexes of `/sys/kernel/debug/extfrag`, and the score that proactive
//! compaction goes by.
//!
//! Pure functions over how many free blocks a zone has of each order, 0 first, as `/proc/buddyinfo` shows them. Whoever asks
//! takes the counts under the zone's lock ([`PageAllocator::free_areas`](super::PageAllocator::free_areas)).
//! The formulae are those of Linux's documentation of `vm.extfrag_threshold` and `vm.compaction_proactiveness`.

#[cfg(test)]
mod tests;

use core::fmt::{self, Write};
use pagewright_addr::Order;

/// At an index up to it, a costly allocation fails for want of memory rather than by fragmentation, and compaction
/// leaves the zone alone (`vm.extfrag_threshold`).
pub const EXTFRAG_THRESHOLD: i64 = 500;
/// How eagerly memory is compacted ahead of need, in percent (`vm.compaction_proactiveness`).
pub const COMPACTION_PROACTIVENESS: u32 = 20;

/// What a zone's free memory is to a request of one order (`struct contig_page_info`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ContigPageInfo {
    /// Free pages.
    pub free_pages: u64,
    /// Free blocks of all orders.
    pub free_blocks_total: u64,
    /// How many blocks of the order could be had at once.
    pub free_blocks_suitable: u64,
    /// The order.
    pub order: Order,
}

impl ContigPageInfo {
    /// Sums up the free blocks of each order (`fill_contig_page_info`).
    pub fn new(free_blocks: &[u64], order: Order) -> Self {
        let mut info = Self { order, ..Self::default() };
        for (blocks, n) in free_blocks.iter().zip(0u32..) {
            info.free_pages += blocks << n;
            info.free_blocks_total += blocks;
            if let Some(larger) = n.checked_sub(u32::from(order.get())) {
                info.free_blocks_suitable += blocks << larger;
            }
        }
        info
    }

    /// Free pages that lie in blocks too small for the order.
    fn unusable_pages(&self) -> u64 {
        self.free_pages - (self.free_blocks_suitable << self.order.get())
    }

    /// Why an allocation of the order would fail, in thousandths (`fragmentation_index`): towards 0 for want of memory, towards 1000 because of
    /// fragmentation. -1000 if it would not fail; 0 if nothing is free.
    ///
    /// Negative values above -1000 occur where fewer pages are free than are asked for, in few blocks.
    pub fn fragmentation_index(&self) -> i64 {
        if self.free_blocks_total == 0 {
            return 0;
        }
        if self.free_blocks_suitable > 0 {
            return -1000;
        }
        let requests = self.free_pages * 1000 / self.order.pages();
        1000 - ((1000 + requests) / self.free_blocks_total) as i64
    }

    /// Which part of the free pages the order cannot use, in thousandths (`unusable_free_index`). With nothing free, all.
    pub fn unusable_free_index(&self) -> u64 {
        (self.unusable_pages() * 1000).checked_div(self.free_pages).unwrap_or(1000)
    }

    /// The same in percent, and 0 with nothing free (`extfrag_for_order`).
    pub fn fragmentation_score(&self) -> u32 {
        (self.unusable_pages() * 100).checked_div(self.free_pages).unwrap_or(0) as u32
    }
}

/// What a zone adds to its node's score (`fragmentation_score_zone_weighted`): as much as it has of the node's pages.
pub fn weighted_score(score: u32, zone_present: u64, node_present: u64) -> u32 {
    (u64::from(score) * zone_present / (node_present + 1)) as u32
}

/// Which score of a node proactive compaction begins above and which it aims for (`fragmentation_score_wmark`), by
/// `vm.compaction_proactiveness`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScoreMarks {
    /// It ends at this score.
    pub low: u32,
    /// It begins above this one.
    pub high: u32,
}

impl ScoreMarks {
    /// The marks of a proactiveness from 0 to 100.
    pub const fn new(proactiveness: u32) -> Self {
        let wanted = 100u32.saturating_sub(proactiveness);
        let low = if wanted < 5 { 5 } else { wanted };
        let high = if low + 10 > 100 { 100 } else { low + 10 };
        Self { low, high }
    }
}

/// Writes a zone's line of `/sys/kernel/debug/extfrag/extfrag_index`.
///
/// # Errors
/// The writer's.
pub fn write_extfrag_index(w: &mut dyn Write, node: u32, zone: &str, free_blocks: &[u64]) -> fmt::Result {
    write!(w, "Node {node}, zone {zone:>8} ")?;
    for info in each_order(free_blocks) {
        let index = info.fragmentation_index();
        // Both parts carry the sign, as C's division and remainder do.
        write!(w, "{:>2}.{:03} ", index / 1000, index % 1000)?;
    }
    writeln!(w)
}

/// Writes a zone's line of `/sys/kernel/debug/extfrag/unusable_index`.
///
/// # Errors
/// The writer's.
pub fn write_unusable_index(w: &mut dyn Write, node: u32, zone: &str, free_blocks: &[u64]) -> fmt::Result {
    write!(w, "Node {node}, zone {zone:>8} ")?;
    for info in each_order(free_blocks) {
        let index = info.unusable_free_index();
        write!(w, "{}.{:03} ", index / 1000, index % 1000)?;
    }
    writeln!(w)
}

fn each_order(free_blocks: &[u64]) -> impl Iterator<Item = ContigPageInfo> + '_ {
    (0..free_blocks.len())
        .filter_map(|n| Some(ContigPageInfo::new(free_blocks, Order::new(u8::try_from(n).ok()?)?)))
}
