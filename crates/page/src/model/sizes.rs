//! How many bytes Linux allocates for its maps. Checked against the `memblock_alloc` lines of real boots.

use super::AddrBits;
use pagewright_addr::{Order, PfnRange};

/// Bits that each pageblock has in a usemap (NR_PAGEBLOCK_BITS): three for the migrate type, one for skipping.
const PAGEBLOCK_BITS: u64 = 4;

/// Frames that a FLATMEM node's array covers (alloc_node_mem_map): the node's span grown to whole blocks of the
/// largest order. Times the size of `struct page`, that is the allocation.
pub fn flat_memmap_pages(span: PfnRange, max_order_block: Order) -> u64 {
    if span.is_empty() {
        return 0;
    }
    let block = max_order_block.pages();
    span.end.align_up(block).get() - span.start.align_down(block).get()
}

/// Bytes of a zone's usemap without SPARSEMEM (usemap_size, setup_usemap).
pub fn zone_usemap_bytes(zone: PfnRange, pageblock: Order, bits: AddrBits) -> u64 {
    let pages = zone.len().saturating_add(zone.start.get() & (pageblock.pages() - 1));
    long_bytes((pages.div_ceil(pageblock.pages())).saturating_mul(PAGEBLOCK_BITS), bits)
}

/// Bytes of the `long`s that hold `count` bits.
fn long_bytes(count: u64, bits: AddrBits) -> u64 {
    match bits {
        AddrBits::Bits32 => count.div_ceil(32).saturating_mul(4),
        AddrBits::Bits64 => count.div_ceil(64).saturating_mul(8),
    }
}

/// What shapes one section's usemap (struct mem_section_usage).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UsemapConfig {
    /// Pointer width.
    pub bits: AddrBits,
    /// SPARSEMEM_VMEMMAP: a subsection bitmap is in it.
    pub vmemmap: bool,
    /// The structure starts with an rcu_head (from 6.1.75 on, with VMEMMAP or not).
    pub rcu_head: bool,
    /// pageblock_order.
    pub pageblock: Order,
}

impl UsemapConfig {
    /// Bytes of one section's usemap (mem_section_usage_size).
    pub fn section_bytes(&self, pages_per_section: u64, subsections: u64) -> u64 {
        let pointer = match self.bits {
            AddrBits::Bits32 => 4,
            AddrBits::Bits64 => 8,
        };
        let rcu = if self.rcu_head { 2 * pointer } else { 0 };
        let map = if self.vmemmap { long_bytes(subsections, self.bits) } else { 0 };
        let blocks = pages_per_section >> self.pageblock.get();
        rcu + map + long_bytes(blocks * PAGEBLOCK_BITS, self.bits)
    }
}
