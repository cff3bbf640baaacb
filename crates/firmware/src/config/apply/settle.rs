//! From gathered choices to a configuration.

use super::choices::{Choices, CmaSelect};
use crate::config::{CmaConfig, CmaSize, KernelConfig, MemoryModel, Thp};
use crate::machine::Arch;

impl Choices {
    /// Makes fields of what was gathered.
    pub(super) fn settle(mut self) -> KernelConfig {
        self.settle_model();
        self.settle_cma();
        self.settle_dependent();
        let c = &mut self.config;
        if self.thp == Some(false) {
            c.thp = Thp::Off;
        } else if let Some(always) = self.thp_always {
            c.thp = if always { Thp::Always } else { Thp::Madvise };
        } else if self.thp == Some(true) && c.thp == Thp::Off {
            c.thp = Thp::Madvise;
        }
        if let (Some(split), false) = (self.split, self.offset_given) {
            c.page_offset = split;
        }
        if !c.smp && !self.nr_cpus_given {
            c.nr_cpus = 1;
        }
        if c.numa && !self.nodes_shift_given && c.nodes_shift == 0 {
            c.nodes_shift = if c.arch == Arch::X86_64 { 6 } else { 4 };
        }
        if !self.order_given && self.page_size_given {
            // Kconfig's default: the largest block is as large as a huge page needs, at least 4 MiB.
            c.max_order = match c.page_shift.get() {
                16 => 14,
                14 => 12,
                _ => 11,
            };
        }
        if !self.levels_given {
            c.pgtable_levels = c.natural_pgtable_levels();
        }
        match c.arch {
            Arch::Arm => c.pa_bits = if c.lpae { 40 } else { 32 },
            Arch::I386 => c.pa_bits = if c.lpae { 36 } else { 32 },
            Arch::X86_64 | Arch::Arm64 => {}
        }
        self.config
    }

    fn settle_model(&mut self) {
        let c = &mut self.config;
        let was_sparse = matches!(c.memory_model, MemoryModel::Sparse | MemoryModel::SparseVmemmap);
        if self.discontig == Some(true) {
            c.memory_model = MemoryModel::Discontig;
        } else if self.flat == Some(true) {
            c.memory_model = MemoryModel::Flat;
        } else if self.sparse == Some(true)
            || was_sparse && self.vmemmap.is_some()
            || self.vmemmap == Some(true)
        {
            c.memory_model = match (self.vmemmap, c.memory_model) {
                (Some(true), _) | (None, MemoryModel::SparseVmemmap) => MemoryModel::SparseVmemmap,
                _ => MemoryModel::Sparse,
            };
        }
    }

    /// Switches a choice off where what it needs is off, as Kconfig would, unless the text states it.
    fn settle_dependent(&mut self) {
        let c = &mut self.config;
        let stated = &self.stated;
        if let Some(on) = self.highmem_choice {
            c.highmem = on;
        }
        let needs = |field: &mut bool, there: bool, symbol: &str| *field &= there || stated.contains(&symbol);
        needs(&mut c.numa, c.smp, "NUMA");
        needs(&mut c.slub_cpu_partial, c.smp, "SLUB_CPU_PARTIAL");
        needs(&mut c.numa_emu, c.numa, "NUMA_EMU");
        needs(&mut c.numa_balancing, c.numa, "NUMA_BALANCING");
        needs(&mut c.pernuma_cma, c.numa && c.cma.is_some(), "DMA_PERNUMA_CMA");
        let sparse = matches!(c.memory_model, MemoryModel::Sparse | MemoryModel::SparseVmemmap);
        needs(&mut c.sparsemem_extreme, sparse, "SPARSEMEM_EXTREME");
        needs(&mut c.deferred_struct_page_init, sparse, "DEFERRED_STRUCT_PAGE_INIT");
        needs(&mut c.memory_hotplug, sparse, "MEMORY_HOTPLUG");
        let vmemmap = c.memory_model == MemoryModel::SparseVmemmap;
        needs(&mut c.zone_device, vmemmap && c.memory_hotplug, "ZONE_DEVICE");
        needs(&mut c.highpte, c.highmem, "HIGHPTE");
        needs(&mut c.crash_dump, c.arch != Arch::I386 || c.highmem, "CRASH_DUMP");
        let wide_entries = c.lpae || matches!(c.arch, Arch::X86_64 | Arch::Arm64);
        needs(&mut c.page_table_isolation, wide_entries, "PAGE_TABLE_ISOLATION");
        needs(&mut c.hugetlb, c.arch != Arch::Arm || c.lpae, "HUGETLBFS");
        if c.arch == Arch::Arm && !c.lpae && self.thp.is_none() {
            self.thp = Some(false);
        }
    }

    fn settle_cma(&mut self) {
        let given = self.cma_mbytes.is_some() || self.cma_select.is_some() || self.cma_alignment.is_some();
        let old = self.config.cma;
        let on = match (self.cma, self.dma_cma) {
            (Some(false), _) | (_, Some(false)) => false,
            (_, Some(true)) => true,
            _ => old.is_some() || given,
        };
        // Kconfig's defaults: 16 MiB, order 8, 7 areas (19 with NUMA).
        let areas = if self.config.numa { 19 } else { 7 };
        let old = old.unwrap_or(CmaConfig { size: CmaSize::Mbytes(16), alignment: 8, areas });
        let (old_select, old_mbytes, old_percentage) = match old.size {
            CmaSize::Mbytes(m) => (CmaSelect::Mbytes, m, 10),
            CmaSize::Percentage(p) => (CmaSelect::Percentage, 16, p),
            CmaSize::Min(m, p) => (CmaSelect::Min, m, p),
            CmaSize::Max(m, p) => (CmaSelect::Max, m, p),
        };
        let mbytes = self.cma_mbytes.unwrap_or(old_mbytes);
        let percentage = self.cma_percentage.unwrap_or(old_percentage);
        let size = match self.cma_select.unwrap_or(old_select) {
            CmaSelect::Mbytes => CmaSize::Mbytes(mbytes),
            CmaSelect::Percentage => CmaSize::Percentage(percentage),
            CmaSelect::Min => CmaSize::Min(mbytes, percentage),
            CmaSelect::Max => CmaSize::Max(mbytes, percentage),
        };
        let alignment = self.cma_alignment.unwrap_or(old.alignment);
        let areas = self.cma_areas.unwrap_or(old.areas);
        self.config.cma = on.then_some(CmaConfig { size, alignment, areas });
    }
}

/// The same architecture with every switch off and every number at what a kernel has that does not say.
pub(super) fn all_off(config: KernelConfig) -> KernelConfig {
    let defaults = KernelConfig::for_arch(config.arch);
    KernelConfig {
        va_bits: if config.arch == Arch::X86_64 { 48 } else { defaults.va_bits },
        pa_bits: if config.arch == Arch::X86_64 { 46 } else { defaults.pa_bits },
        max_order: 11,
        nr_cpus: 1,
        nodes_shift: 0,
        sparsemem_extreme: false,
        numa: false,
        numa_emu: false,
        zone_dma: false,
        zone_dma32: false,
        highmem: false,
        zone_device: false,
        pernuma_cma: false,
        slub_cpu_partial: false,
        slub_debug: false,
        slab_merge_default: false,
        failslab: false,
        deferred_struct_page_init: false,
        lpae: false,
        thumb2: false,
        hugetlb: false,
        smp: false,
        strict_kernel_rwx: false,
        rodata_full: false,
        randomize_base: false,
        memory_hotplug: false,
        keep_memblock: false,
        lru_gen: false,
        swap: false,
        memcg: false,
        compaction: false,
        memory_isolation: false,
        init_on_alloc: false,
        init_on_free: false,
        page_table_isolation: false,
        kexec_core: false,
        crash_dump: false,
        numa_balancing: false,
        memory_failure: false,
        page_idle_flag: false,
        shuffle_page_allocator: false,
        highpte: false,
        kasan: false,
        memtest: false,
        mmap_min_addr: 4096,
        pci: false,
        pci_mmconfig: false,
        efi: false,
        acpi_apei_ghes: false,
        arm_sde_interface: false,
        relocatable: false,
        kuser_helpers: false,
        have_tcm: false,
        vsyscall_emulation: false,
        paravirt_xxl: false,
        ohci1394_dma_init: false,
        intel_txt: false,
        modify_ldt: false,
        espfix64: false,
        debug_kmap_local: false,
        ..defaults
    }
}
