//! What follows from a configuration. Each method names the Linux constant it stands for.

use super::{KernelConfig, MemoryModel, Slab};
use crate::machine::Arch;

/// A kind of zone, in the order of their numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ZoneType {
    /// ZONE_DMA.
    Dma,
    /// ZONE_DMA32.
    Dma32,
    /// ZONE_NORMAL.
    Normal,
    /// ZONE_HIGHMEM.
    HighMem,
    /// ZONE_MOVABLE.
    Movable,
    /// ZONE_DEVICE.
    Device,
}

/// MAX_NR_GENS and MAX_NR_TIERS of the multi-generational LRU.
const MAX_NR_GENS: u32 = 4;
const MAX_NR_TIERS: u32 = 4;

impl KernelConfig {
    /// Whether `unsigned long` has 64 bits.
    pub const fn is_64bit(&self) -> bool {
        matches!(self.arch, Arch::X86_64 | Arch::Arm64)
    }

    /// Whether this is one of the x86 architectures.
    pub const fn is_x86(&self) -> bool {
        matches!(self.arch, Arch::X86_64 | Arch::I386)
    }

    /// Bytes of an `unsigned long`.
    pub const fn long_bytes(&self) -> u32 {
        if self.is_64bit() { 8 } else { 4 }
    }

    /// PMD_SHIFT: the base-2 logarithm of what one entry of the level above the last maps. (arm without LPAE pairs
    /// two 1 MiB sections.)
    pub const fn pmd_shift(&self) -> u32 {
        let page_shift = self.page_shift.get();
        match self.arch {
            Arch::X86_64 => 21,
            Arch::I386 | Arch::Arm if self.lpae => 21,
            Arch::I386 => 22,
            Arch::Arm => 21,
            // A table holds a page's worth of eight-byte entries.
            Arch::Arm64 => page_shift + (page_shift - 3),
        }
    }

    /// HUGETLB_PAGE_ORDER, the order of a huge page of the default size.
    pub const fn hugetlb_page_order(&self) -> u32 {
        self.pmd_shift() - self.page_shift.get()
    }

    /// pageblock_order: that of a huge page where the kernel has them and blocks can be as large, else the largest
    /// order.
    pub const fn pageblock_order(&self) -> u32 {
        let largest = (self.max_order as u32).saturating_sub(1);
        let huge = self.hugetlb_page_order();
        if self.hugetlb && huge < largest { huge } else { largest }
    }

    /// SECTION_SIZE_BITS.
    pub const fn section_size_bits(&self) -> u32 {
        match self.arch {
            Arch::X86_64 => 27,
            Arch::I386 if self.lpae => 29,
            Arch::I386 => 26,
            Arch::Arm => 28,
            Arch::Arm64 if self.page_shift.get() == 16 => 29,
            Arch::Arm64 => 27,
        }
    }

    /// MAX_PHYSMEM_BITS, on x86_64 with the most page-table levels that the kernel is built for: with 4 levels in use it
    /// is 46.
    pub const fn max_physmem_bits(&self) -> u32 {
        match self.arch {
            Arch::X86_64 if self.pgtable_levels >= 5 => 52,
            Arch::X86_64 => 46,
            Arch::I386 if self.lpae => 36,
            Arch::I386 => 32,
            Arch::Arm => 36,
            Arch::Arm64 => self.pa_bits as u32,
        }
    }

    /// Whether page metadata is found through sections.
    pub const fn is_sparse(&self) -> bool {
        matches!(self.memory_model, MemoryModel::Sparse | MemoryModel::SparseVmemmap)
    }

    /// Whether a kernel with this configuration has zones of this kind.
    pub const fn has_zone(&self, zone: ZoneType) -> bool {
        match zone {
            ZoneType::Dma => self.zone_dma,
            ZoneType::Dma32 => self.zone_dma32,
            ZoneType::Normal | ZoneType::Movable => true,
            ZoneType::HighMem => self.highmem,
            ZoneType::Device => self.zone_device,
        }
    }

    /// The kinds of zones, in order.
    pub fn zones(&self) -> impl Iterator<Item = ZoneType> + use<> {
        let config = *self;
        [
            ZoneType::Dma,
            ZoneType::Dma32,
            ZoneType::Normal,
            ZoneType::HighMem,
            ZoneType::Movable,
            ZoneType::Device,
        ]
        .into_iter()
        .filter(move |zone| config.has_zone(*zone))
    }

    /// MAX_NR_ZONES.
    pub const fn max_nr_zones(&self) -> u32 {
        2 + self.zone_dma as u32 + self.zone_dma32 as u32 + self.highmem as u32 + self.zone_device as u32
    }

    /// ZONES_SHIFT: bits for a zone's number in a page's flags.
    pub const fn zones_shift(&self) -> u32 {
        bits_for(self.max_nr_zones())
    }

    /// NODES_SHIFT as it counts: 0 without NUMA.
    pub const fn effective_nodes_shift(&self) -> u32 {
        if self.numa { self.nodes_shift as u32 } else { 0 }
    }

    /// MAX_NUMNODES.
    pub const fn max_numnodes(&self) -> u32 {
        1 << self.effective_nodes_shift()
    }

    /// SECTIONS_SHIFT for this many physical address bits: bits for a section's number.
    pub const fn sections_shift(&self, max_physmem_bits: u32) -> u32 {
        max_physmem_bits.saturating_sub(self.section_size_bits())
    }

    /// NR_CPUS_BITS.
    pub const fn nr_cpus_bits(&self) -> u32 {
        if self.smp { bits_for(self.nr_cpus) } else { 0 }
    }

    /// LAST_CPUPID_SHIFT: what NUMA balancing keeps in a page's flags, eight bits of task number and the CPU; 0 without.
    pub const fn last_cpupid_shift(&self) -> u32 {
        if self.numa && self.numa_balancing { 8 + self.nr_cpus_bits() } else { 0 }
    }

    /// LRU_GEN_WIDTH: bits for a page's generation, 0 without LRU_GEN.
    pub const fn lru_gen_width(&self) -> u32 {
        if self.lru_gen { bits_for(MAX_NR_GENS + 1) } else { 0 }
    }

    /// LRU_REFS_WIDTH at its most: bits for a page's tier, fewer where the flags are full.
    pub const fn lru_refs_width(&self) -> u32 {
        if self.lru_gen { MAX_NR_TIERS - 2 } else { 0 }
    }

    /// NR_PAGEFLAGS in 6.1: 22 that every kernel with an MMU has, and those of certain configurations (uncached on x86,
    /// hwpoison, young and idle, arch_2 on 64-bit kernels).
    pub const fn nr_pageflags(&self) -> u32 {
        let wide = self.is_64bit();
        22 + self.is_x86() as u32
            + self.memory_failure as u32
            + if wide && self.page_idle_flag { 2 } else { 0 }
            + wide as u32
    }

    /// Whether the last CPU finds room in a page's flags beside section, zone, node, generation and the flags
    /// themselves. The node goes first: where it does not fit either, it takes no bits. Tiers make do with what is left.
    const fn cpupid_fits(&self) -> bool {
        let section = if matches!(self.memory_model, MemoryModel::Sparse) {
            self.sections_shift(self.max_physmem_bits())
        } else {
            0
        };
        let bits = 8 * self.long_bytes();
        let before = section + self.zones_shift() + self.lru_gen_width() + self.nr_pageflags();
        let with_node = before + self.effective_nodes_shift();
        let taken = if with_node <= bits { with_node } else { before };
        taken + self.last_cpupid_shift() <= bits
    }

    /// `sizeof(struct page)`: seven words of 64 bits or eight of 32, one more with MEMCG, and an `int` where the last
    /// CPU does not fit the flags; rounded up to two words where SLUB wants it aligned (x86, arm64).
    pub const fn struct_page_bytes(&self) -> u32 {
        let word = self.long_bytes();
        let mut bytes = 6 * word + 8;
        if self.memcg {
            bytes += word;
        }
        if self.last_cpupid_shift() > 0 && !self.cpupid_fits() {
            bytes += 4;
        }
        let aligned = matches!(self.slab, Slab::Slub) && !matches!(self.arch, Arch::Arm);
        bytes.next_multiple_of(if aligned { 2 * word } else { word })
    }

    /// Whether the kernel lets `percpu_alloc=` choose how the first chunk is made (NEED_PER_CPU_PAGE_FIRST_CHUNK and its like): x86 does, and
    /// arm64 with NUMA; others embed it.
    pub const fn percpu_choice(&self) -> bool {
        self.smp && (self.is_x86() || matches!(self.arch, Arch::Arm64) && self.numa)
    }
}

impl super::CmaConfig {
    /// The order to which a buffer of so many pages is aligned in an area: that of its size, up to CMA_ALIGNMENT
    /// (`dma_alloc_from_contiguous`).
    pub const fn buffer_order(&self, pages: u64) -> u8 {
        let own = pages.next_power_of_two().trailing_zeros() as u8;
        if own < self.alignment { own } else { self.alignment }
    }
}

/// How many bits number this many things (`order_base_2`).
const fn bits_for(count: u32) -> u32 {
    count.next_power_of_two().trailing_zeros()
}
