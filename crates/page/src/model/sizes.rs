//! How many bytes Linux allocates for its maps. Checked against the `memblock_alloc` lines of real boots.

use super::{AddrBits, Geometry};
use pagewright_addr::PfnRange;

/// Bits that each pageblock has in a usemap (NR_PAGEBLOCK_BITS): three for the migrate type, one for skipping.
const PAGEBLOCK_BITS: u64 = 4;

/// Bytes of a section's entry in the section table (`struct mem_section`): four words with page extensions, which every
/// kernel modelled here with 64 bits has.
pub const fn mem_section_bytes(bits: AddrBits) -> u64 {
    match bits {
        AddrBits::Bits32 => 16,
        AddrBits::Bits64 => 32,
    }
}

/// Bytes of a zone's usemap without SPARSEMEM (usemap_size, setup_usemap); 0 for a zone that spans nothing.
pub fn zone_usemap_bytes(zone: PfnRange, pageblock_pages: u64, bits: AddrBits) -> u64 {
    if zone.is_empty() {
        return 0;
    }
    let pages = zone.len().saturating_add(zone.start.get() % pageblock_pages);
    long_bytes(pages.div_ceil(pageblock_pages).saturating_mul(PAGEBLOCK_BITS), bits)
}

/// Bytes of the `long`s that hold `count` bits.
const fn long_bytes(count: u64, bits: AddrBits) -> u64 {
    let long = bits.long_bytes();
    count.div_ceil(8 * long).saturating_mul(long)
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
    /// pageblock_nr_pages.
    pub pageblock_pages: u64,
}

impl UsemapConfig {
    /// Bytes of one section's usemap (mem_section_usage_size).
    pub const fn section_bytes(&self, geometry: &Geometry) -> u64 {
        let rcu = if self.rcu_head { 2 * self.bits.long_bytes() } else { 0 };
        let map = if self.vmemmap { long_bytes(geometry.subsections(), self.bits) } else { 0 };
        let blocks = geometry.pages_per_section() / self.pageblock_pages;
        rcu + map + long_bytes(blocks * PAGEBLOCK_BITS, self.bits)
    }
}
