//! What several steps ask of a boot: facts that follow from the kernel configuration, and short looks at its state.

use crate::boot::Boot;
use crate::error::BootError;
use crate::text::Pa;
use pagewright_addr::{NodeId, PhysAddr, PhysRange};
use pagewright_firmware::config::MemoryModel;
use pagewright_firmware::{Arch, Machine};

impl Boot<'_> {
    /// Bytes of a page.
    pub fn page_bytes(&self) -> u64 {
        self.machine.config.page_shift.bytes()
    }

    /// Bytes that one entry of a PMD maps.
    pub fn pmd_bytes(&self) -> u64 {
        let shift = self.machine.config.page_shift.get();
        match self.machine.arch {
            Arch::Arm64 => 1 << (2 * shift - 3),
            Arch::X86_64 => 2 << 20,
            Arch::Arm | Arch::I386 if wide_phys(self.machine) => 2 << 20,
            Arch::Arm => 2 << 20,
            Arch::I386 => 4 << 20,
        }
    }

    /// Bytes of an `unsigned long`.
    pub fn long_bytes(&self) -> u64 {
        long_bytes(self.machine.arch)
    }

    /// SMP_CACHE_BYTES.
    pub fn cache_line(&self) -> u64 {
        self.machine.cpus.cache_line.into()
    }

    /// Whether `phys_addr_t` has 64 bits.
    pub fn phys_addr_is_64bit(&self) -> bool {
        wide_phys(self.machine)
    }

    /// PHYS_ADDR_MAX.
    pub fn phys_addr_max(&self) -> PhysAddr {
        if self.phys_addr_is_64bit() { PhysAddr::MAX } else { PhysAddr::new(u32::MAX.into()) }
    }

    /// An address in the log's `%pa` wording.
    pub fn pa(&self, at: PhysAddr) -> Pa {
        Pa { at, wide: self.phys_addr_is_64bit() }
    }

    /// `__pa(MAX_DMA_ADDRESS)`: where allocations that need not be DMA-able begin.
    pub fn max_dma_address(&self) -> PhysAddr {
        match self.machine.arch {
            Arch::X86_64 | Arch::I386 => PhysAddr::new(16 << 20),
            Arch::Arm64 => self.memstart,
            Arch::Arm => crate::arm::max_dma_address(self),
        }
    }

    /// MAX_PHYSMEM_BITS as it is at run time.
    pub fn max_physmem_bits(&self) -> u8 {
        match self.machine.arch {
            Arch::X86_64 if self.machine.cpus.la57 => 52,
            Arch::X86_64 => 46,
            _ => self.machine.config.max_physmem_bits() as u8,
        }
    }

    /// Where a node's `pg_data_t` lies; the start of memory when it is part of the image.
    pub(crate) fn node_data_at(&self, nid: NodeId) -> PhysAddr {
        self.node_data.iter().find(|(n, _)| *n == nid).map_or(PhysAddr::ZERO, |(_, r)| r.start)
    }

    /// Enters a node's `pg_data_t`.
    pub(crate) fn set_node_data(&mut self, nid: NodeId, range: PhysRange) -> Result<(), BootError> {
        let limit = crate::numa::MAX_NODES;
        let full = BootError::TooMany { what: "NUMA node numbers", limit: limit as u64 };
        if nid.index() >= limit {
            return Err(full);
        }
        self.node_data.try_push((nid, range)).map_err(|_| full)
    }

    /// Whether a node is online and has its data.
    pub(crate) fn node_has_data(&self, nid: NodeId) -> bool {
        self.nodes_online.contains(nid)
    }

    /// The node that an address belongs to.
    pub(crate) fn node_of(&self, at: PhysAddr) -> Option<NodeId> {
        let pfn = at.pfn(self.machine.config.page_shift);
        self.mb.mem_pfn_ranges(None).find(|(r, _)| r.contains(pfn)).and_then(|(_, n)| n)
    }

    /// How many nodes have memory (N_MEMORY).
    pub(crate) fn nodes_with_memory(&self) -> usize {
        self.layout.as_ref().map_or(1, |l| l.memory_nodes.len())
    }

    /// Whether the memory model has sections.
    pub(crate) fn is_sparse(&self) -> bool {
        matches!(self.machine.config.memory_model, MemoryModel::Sparse | MemoryModel::SparseVmemmap)
    }

    /// Prints "MEMBLOCK configuration:" (`memblock_dump_all`), which Linux does under `memblock=debug`.
    pub(crate) fn dump_memblock(&self) {
        self.sink.line(crate::sink::Level::Debug, format_args!("{}", self.mb.dump()));
    }

    /// Whether permissions of the linear map may change page by page (`can_set_direct_map`): with `rodata=full`.
    pub(crate) fn can_set_direct_map(&self) -> bool {
        use pagewright_firmware::cmdline::Rodata;
        match self.params.rodata {
            Some(Rodata::Full) => true,
            Some(Rodata::On | Rodata::Off) => false,
            None => self.machine.config.rodata_full,
        }
    }

    /// The largest physical address of the kernel configuration (MAX_PHYS_ADDR of the early device-tree scan).
    pub(crate) fn max_phys_addr(&self) -> PhysAddr {
        if self.phys_addr_is_64bit() { PhysAddr::MAX } else { PhysAddr::new(u32::MAX.into()) }
    }

    /// The `mem auto-init:` line after its prefix.
    pub(crate) fn auto_init_text(&self) -> impl core::fmt::Display {
        let on = |b: bool| if b { "on" } else { "off" };
        let c = &self.machine.config;
        let alloc = on(self.params.init_on_alloc.unwrap_or(c.init_on_alloc));
        let free = on(self.params.init_on_free.unwrap_or(c.init_on_free));
        AutoInit { alloc, free }
    }
}

struct AutoInit {
    alloc: &'static str,
    free: &'static str,
}

impl core::fmt::Display for AutoInit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "stack:all(zero), heap alloc:{}, heap free:{}", self.alloc, self.free)
    }
}

/// Bytes of an `unsigned long` on an architecture.
pub(crate) const fn long_bytes(arch: Arch) -> u64 {
    match arch {
        Arch::X86_64 | Arch::Arm64 => 8,
        Arch::Arm | Arch::I386 => 4,
    }
}

/// Whether `phys_addr_t` has 64 bits.
pub(crate) const fn wide_phys(machine: &Machine<'_>) -> bool {
    long_bytes(machine.arch) == 8 || machine.config.lpae
}
