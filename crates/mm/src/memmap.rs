//! The memory model of the machine that boots: its sizes, its linear map, and the model once its maps are placed.
//!
//! `page::model` knows what follows from these facts; here they are read off the machine's configuration.

use crate::boot::Boot;
use crate::error::BootError;
use pagewright_addr::{Pfn, PfnRange, PhysAddr, VirtAddr};
use pagewright_firmware::Arch;
use pagewright_firmware::config::MemoryModel as Choice;
use pagewright_page::model::{
    AddrBits, Geometry, Maps, MemoryModel, NodeMap, PageArray, PfnValidity, PhysToVirt, Sections,
    UsemapConfig,
};
use pagewright_zone::layout::{Layout, MemRange};

/// The memory model of a boot: its regions say which node they belong to.
pub type BootModel<'a> = MemoryModel<'a, MemRange>;

impl<'a> Boot<'a> {
    /// The width of the kernel's pointers.
    pub fn addr_bits(&self) -> AddrBits {
        if self.long_bytes() == 8 { AddrBits::Bits64 } else { AddrBits::Bits32 }
    }

    /// The sizes of SPARSEMEM; `None` with FLATMEM and DISCONTIGMEM.
    ///
    /// # Errors
    /// [`BootError::Machine`] for sizes that no kernel has.
    pub(crate) fn geometry(&self) -> Result<Option<Geometry>, BootError> {
        if !self.is_sparse() {
            return Ok(None);
        }
        let c = &self.machine.config;
        let geometry = Geometry::new(c.section_size_bits(), self.max_physmem_bits().into(), c.page_shift);
        let wrong = |e: pagewright_page::model::GeometryError| BootError::Machine {
            what: "size of a memory section, as a power of two,",
            value: e.section_size_bits.into(),
        };
        geometry.map(Some).map_err(wrong)
    }

    /// pageblock_nr_pages.
    pub(crate) fn pageblock_pages(&self) -> u64 {
        1 << self.machine.config.pageblock_order()
    }

    /// What shapes a section's usemap.
    pub(crate) fn usemap_config(&self) -> UsemapConfig {
        UsemapConfig {
            bits: self.addr_bits(),
            vmemmap: self.machine.config.memory_model == Choice::SparseVmemmap,
            rcu_head: true,
            pageblock_pages: self.pageblock_pages(),
        }
    }

    /// The linear map: PAGE_OFFSET shows the start of physical memory as the architecture counts it.
    pub fn linear_map(&self) -> PhysToVirt {
        let c = &self.machine.config;
        let (phys, virt) = match self.machine.arch {
            Arch::X86_64 if self.machine.cpus.la57 => (PhysAddr::ZERO, 0xff11_0000_0000_0000),
            Arch::X86_64 => (PhysAddr::ZERO, 0xffff_8880_0000_0000),
            Arch::I386 => (PhysAddr::ZERO, c.page_offset.into()),
            Arch::Arm => (self.memstart, c.page_offset.into()),
            // The lower half of the kernel's addresses, up to 5.3 the upper.
            Arch::Arm64 if self.version.since(5, 4) => (self.memstart, 0u64.wrapping_sub(1 << c.va_bits)),
            Arch::Arm64 => (self.memstart, 0u64.wrapping_sub(1 << (c.va_bits - 1))),
        };
        PhysToVirt::new(phys, VirtAddr::new(virt), self.addr_bits())
    }

    /// The physical address that the linear map's first byte shows. That is `memstart_addr`, but for 52-bit arm64 kernels on processors
    /// with 48 bits, whose linear map begins later than it is counted from.
    pub fn linear_start(&self) -> PhysAddr {
        let c = &self.machine.config;
        match self.machine.arch {
            Arch::X86_64 | Arch::I386 => PhysAddr::ZERO,
            Arch::Arm64 if c.va_bits == 52 && !self.machine.cpus.la57 => {
                PhysAddr::new(self.memstart.get().wrapping_add((1 << 52) - (1 << 48)))
            }
            Arch::Arm64 | Arch::Arm => self.memstart,
        }
    }

    /// An array of `struct page` in the linear map: the element of frame `first` lies at `at`.
    pub(crate) fn page_array(&self, first: Pfn, at: PhysAddr) -> PageArray {
        let stride = self.machine.build.struct_page.into();
        PageArray { first, base: self.linear_map().virt(at), stride, bits: self.addr_bits() }
    }

    /// `vmemmap`: the virtually contiguous array of all frames from 0 on.
    pub fn vmemmap(&self) -> PageArray {
        let c = &self.machine.config;
        let stride = u64::from(self.machine.build.struct_page);
        let base = match self.machine.arch {
            Arch::Arm64 => {
                // VMEMMAP_START maps the frame at memstart.
                let start = crate::pgtable::arm64::vmemmap_start(self);
                // It may lie before address 0: the shift keeps the sign.
                let first = (self.memstart.get() as i64 >> c.page_shift.get()) as u64;
                start.wrapping_sub(first.wrapping_mul(stride))
            }
            _ if self.machine.cpus.la57 => 0xffd4_0000_0000_0000,
            _ => 0xffff_ea00_0000_0000,
        };
        PageArray { first: Pfn::ZERO, base: VirtAddr::new(base), stride, bits: self.addr_bits() }
    }

    /// Which frames have a `struct page` while booting. `end` is the end of the last zone.
    pub(crate) fn pfn_validity(&self, geometry: Option<&Geometry>, end: Pfn) -> PfnValidity {
        if let Some(pages) = self.near_memory() {
            return PfnValidity::Blocks { pages };
        }
        match geometry {
            Some(geometry) => PfnValidity::Blocks { pages: geometry.pages_per_section() },
            None if self.machine.config.memory_model == Choice::Discontig => PfnValidity::NodeSpans,
            None => PfnValidity::Flat { pfns: self.flat_valid(end) },
        }
    }

    /// HAVE_ARCH_PFN_VALID: arm looks at memory itself, pageblock by pageblock, under every model.
    fn near_memory(&self) -> Option<u64> {
        (self.machine.arch == Arch::Arm).then(|| self.pageblock_pages())
    }

    /// FLATMEM's generic pfn_valid: from ARCH_PFN_OFFSET up to `max_mapnr`; memory above the last zone is not used.
    fn flat_valid(&self, end: Pfn) -> PfnRange {
        let first = match self.machine.arch {
            Arch::Arm64 => self.memstart.min(self.mb.start_of_dram()).pfn(self.machine.config.page_shift),
            _ => Pfn::ZERO,
        };
        PfnRange::new(first, end)
    }

    /// The model over the maps that were placed: sections, or the arrays of nodes.
    pub(crate) fn memory_model(
        &self,
        layout: &Layout<'_>,
        memory: &'a [MemRange],
        sections: Option<Sections<'a>>,
        nodes: &'a [NodeMap],
    ) -> BootModel<'a> {
        let end = layout.config().max_zone_pfn.into_iter().max().unwrap_or(Pfn::ZERO);
        let maps = match (self.machine.config.memory_model, sections) {
            (Choice::SparseVmemmap, Some(sections)) => {
                Maps::SparseVmemmap { sections, vmemmap: self.vmemmap() }
            }
            (_, Some(sections)) => Maps::Sparse(sections),
            (Choice::Discontig, None) => Maps::Discontig(nodes),
            (_, None) => {
                let node = nodes.first().copied().unwrap_or(NodeMap::EMPTY);
                Maps::Flat { node, valid: self.flat_valid(end) }
            }
        };
        MemoryModel { maps, near_memory: self.near_memory(), memory }
    }
}
