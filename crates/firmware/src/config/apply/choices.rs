//! Symbols on their way to fields. Several symbols together make one field (a choice and its value, a page size and
//! what follows from it), so they are gathered first and settled at the end.

use super::ConfigErrorKind;
use crate::cmdline::strtoull;
use crate::config::{CmaConfig, CmaSize, KernelConfig, MemoryModel, Slab, Thp};
use crate::machine::Arch;
use pagewright_addr::PageShift;

/// The choice CMA_SIZE_SEL_*.
#[derive(Clone, Copy)]
enum CmaSelect {
    Mbytes,
    Percentage,
    Min,
    Max,
}

/// A configuration being read.
pub(super) struct Choices {
    config: KernelConfig,
    /// Fields that the text states, which then do not follow from others.
    levels_given: bool,
    offset_given: bool,
    order_given: bool,
    va_given: bool,
    split: Option<u32>,
    flat: Option<bool>,
    discontig: Option<bool>,
    sparse: Option<bool>,
    vmemmap: Option<bool>,
    cma: Option<bool>,
    dma_cma: Option<bool>,
    cma_select: Option<CmaSelect>,
    cma_mbytes: Option<u32>,
    cma_percentage: Option<u8>,
    cma_alignment: Option<u8>,
    cma_areas: Option<u8>,
    thp: Option<bool>,
    thp_always: Option<bool>,
    highmem_choice: Option<bool>,
    nodes_shift_given: bool,
    nr_cpus_given: bool,
}

type Outcome = Result<(), ConfigErrorKind>;

fn yes(symbol: &'static str, value: &str) -> Result<bool, ConfigErrorKind> {
    match value {
        "y" | "m" => Ok(true),
        "n" => Ok(false),
        _ => Err(ConfigErrorKind::Value { symbol, expected: "y or n" }),
    }
}

fn number<T: TryFrom<u64>>(symbol: &'static str, value: &str) -> Result<T, ConfigErrorKind> {
    let wrong = ConfigErrorKind::Value { symbol, expected: "a number" };
    let (number, rest) = strtoull(value);
    if value.is_empty() || !rest.is_empty() {
        return Err(wrong);
    }
    T::try_from(number).map_err(|_| wrong)
}

impl Choices {
    /// Starts from `config`; of a complete file, from one with every switch off.
    pub(super) fn new(config: KernelConfig, complete: bool) -> Self {
        Self {
            config: if complete { all_off(config) } else { config },
            levels_given: false,
            offset_given: false,
            order_given: false,
            va_given: false,
            split: None,
            flat: None,
            discontig: None,
            sparse: None,
            vmemmap: None,
            cma: complete.then_some(false),
            dma_cma: complete.then_some(false),
            cma_select: None,
            cma_mbytes: None,
            cma_percentage: None,
            cma_alignment: None,
            cma_areas: None,
            thp: complete.then_some(false),
            thp_always: None,
            highmem_choice: None,
            nodes_shift_given: false,
            nr_cpus_given: false,
        }
    }

    pub(super) fn set(&mut self, name: &str, value: &str) -> Outcome {
        if self.set_switch(name, value)? || self.set_number(name, value)? {
            return Ok(());
        }
        self.set_choice(name, value)
    }

    /// Symbols that are a field by themselves. Whether this is one.
    fn set_switch(&mut self, name: &str, value: &str) -> Result<bool, ConfigErrorKind> {
        let c = &mut self.config;
        let arm = c.arch == Arch::Arm;
        let (symbol, field): (&'static str, &mut bool) = match name {
            "SPARSEMEM_EXTREME" => ("SPARSEMEM_EXTREME", &mut c.sparsemem_extreme),
            "NUMA" => ("NUMA", &mut c.numa),
            "NUMA_EMU" => ("NUMA_EMU", &mut c.numa_emu),
            "ZONE_DMA" => ("ZONE_DMA", &mut c.zone_dma),
            "ZONE_DMA32" => ("ZONE_DMA32", &mut c.zone_dma32),
            "HIGHMEM" => ("HIGHMEM", &mut c.highmem),
            "ZONE_DEVICE" => ("ZONE_DEVICE", &mut c.zone_device),
            "DMA_PERNUMA_CMA" => ("DMA_PERNUMA_CMA", &mut c.pernuma_cma),
            "DEFERRED_STRUCT_PAGE_INIT" => ("DEFERRED_STRUCT_PAGE_INIT", &mut c.deferred_struct_page_init),
            "ARM_LPAE" if arm => ("ARM_LPAE", &mut c.lpae),
            "X86_PAE" if c.arch == Arch::I386 => ("X86_PAE", &mut c.lpae),
            "THUMB2_KERNEL" => ("THUMB2_KERNEL", &mut c.thumb2),
            // One follows from the other.
            "HUGETLB_PAGE" | "HUGETLBFS" => ("HUGETLBFS", &mut c.hugetlb),
            "SMP" => ("SMP", &mut c.smp),
            "STRICT_KERNEL_RWX" => ("STRICT_KERNEL_RWX", &mut c.strict_kernel_rwx),
            "RODATA_FULL_DEFAULT_ENABLED" => ("RODATA_FULL_DEFAULT_ENABLED", &mut c.rodata_full),
            "RANDOMIZE_BASE" => ("RANDOMIZE_BASE", &mut c.randomize_base),
            "MEMORY_HOTPLUG" => ("MEMORY_HOTPLUG", &mut c.memory_hotplug),
            "ARCH_KEEP_MEMBLOCK" => ("ARCH_KEEP_MEMBLOCK", &mut c.keep_memblock),
            "LRU_GEN" => ("LRU_GEN", &mut c.lru_gen),
            "SWAP" => ("SWAP", &mut c.swap),
            "MEMCG" => ("MEMCG", &mut c.memcg),
            "COMPACTION" => ("COMPACTION", &mut c.compaction),
            "MEMORY_ISOLATION" => ("MEMORY_ISOLATION", &mut c.memory_isolation),
            "INIT_ON_ALLOC_DEFAULT_ON" => ("INIT_ON_ALLOC_DEFAULT_ON", &mut c.init_on_alloc),
            "INIT_ON_FREE_DEFAULT_ON" => ("INIT_ON_FREE_DEFAULT_ON", &mut c.init_on_free),
            "PAGE_TABLE_ISOLATION" | "UNMAP_KERNEL_AT_EL0" => {
                ("PAGE_TABLE_ISOLATION", &mut c.page_table_isolation)
            }
            "KEXEC_CORE" | "KEXEC" => ("KEXEC_CORE", &mut c.kexec_core),
            "CRASH_DUMP" => ("CRASH_DUMP", &mut c.crash_dump),
            "NUMA_BALANCING" => ("NUMA_BALANCING", &mut c.numa_balancing),
            "MEMORY_FAILURE" => ("MEMORY_FAILURE", &mut c.memory_failure),
            "PAGE_IDLE_FLAG" => ("PAGE_IDLE_FLAG", &mut c.page_idle_flag),
            "SHUFFLE_PAGE_ALLOCATOR" => ("SHUFFLE_PAGE_ALLOCATOR", &mut c.shuffle_page_allocator),
            "HIGHPTE" => ("HIGHPTE", &mut c.highpte),
            "KASAN" => ("KASAN", &mut c.kasan),
            "MEMTEST" => ("MEMTEST", &mut c.memtest),
            _ => return Ok(false),
        };
        *field = yes(symbol, value)?;
        Ok(true)
    }

    /// Symbols with a number. Whether this is one.
    fn set_number(&mut self, name: &str, value: &str) -> Result<bool, ConfigErrorKind> {
        let c = &mut self.config;
        match name {
            "NR_CPUS" => {
                c.nr_cpus = number("NR_CPUS", value)?;
                self.nr_cpus_given = true;
            }
            "NODES_SHIFT" => {
                c.nodes_shift = number("NODES_SHIFT", value)?;
                self.nodes_shift_given = true;
            }
            "ARCH_FORCE_MAX_ORDER" | "FORCE_MAX_ZONEORDER" => {
                c.max_order = number("ARCH_FORCE_MAX_ORDER", value)?;
                self.order_given = true;
            }
            "PGTABLE_LEVELS" => {
                c.pgtable_levels = number("PGTABLE_LEVELS", value)?;
                self.levels_given = true;
            }
            "PAGE_OFFSET" => {
                c.page_offset = number("PAGE_OFFSET", value)?;
                self.offset_given = true;
            }
            "LOG_BUF_SHIFT" => c.log_buf_shift = number("LOG_BUF_SHIFT", value)?,
            "PHYSICAL_START" => c.physical_start = number("PHYSICAL_START", value)?,
            "PHYSICAL_ALIGN" => c.physical_align = number("PHYSICAL_ALIGN", value)?,
            "CMA_AREAS" => self.cma_areas = Some(number("CMA_AREAS", value)?),
            "CMA_ALIGNMENT" => self.cma_alignment = Some(number("CMA_ALIGNMENT", value)?),
            "CMA_SIZE_MBYTES" => self.cma_mbytes = Some(number("CMA_SIZE_MBYTES", value)?),
            "CMA_SIZE_PERCENTAGE" => self.cma_percentage = Some(number("CMA_SIZE_PERCENTAGE", value)?),
            "ARM64_VA_BITS" if c.arch == Arch::Arm64 => {
                c.va_bits = number("ARM64_VA_BITS", value)?;
                self.va_given = true;
            }
            "ARM64_PA_BITS" if c.arch == Arch::Arm64 => c.pa_bits = number("ARM64_PA_BITS", value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Symbols that choose among several.
    fn set_choice(&mut self, name: &str, value: &str) -> Outcome {
        let arch = self.config.arch;
        let on = |symbol| yes(symbol, value);
        match name {
            "X86_64" => self.expect_arch(on("X86_64")?, Arch::X86_64)?,
            "X86_32" => self.expect_arch(on("X86_32")?, Arch::I386)?,
            "ARM64" => self.expect_arch(on("ARM64")?, Arch::Arm64)?,
            "ARM" => self.expect_arch(on("ARM")?, Arch::Arm)?,
            "FLATMEM" => self.flat = Some(on("FLATMEM")?),
            "DISCONTIGMEM" => self.discontig = Some(on("DISCONTIGMEM")?),
            "SPARSEMEM" => self.sparse = Some(on("SPARSEMEM")?),
            "SPARSEMEM_VMEMMAP" => self.vmemmap = Some(on("SPARSEMEM_VMEMMAP")?),
            "CMA" => self.cma = Some(on("CMA")?),
            "DMA_CMA" => self.dma_cma = Some(on("DMA_CMA")?),
            "TRANSPARENT_HUGEPAGE" => self.thp = Some(on("TRANSPARENT_HUGEPAGE")?),
            "TRANSPARENT_HUGEPAGE_ALWAYS" if on("TRANSPARENT_HUGEPAGE_ALWAYS")? => {
                self.thp_always = Some(true)
            }
            "TRANSPARENT_HUGEPAGE_MADVISE" if on("TRANSPARENT_HUGEPAGE_MADVISE")? => {
                self.thp_always = Some(false);
            }
            "NOHIGHMEM" if on("NOHIGHMEM")? => self.highmem_choice = Some(false),
            "HIGHMEM4G" if on("HIGHMEM4G")? => self.highmem_choice = Some(true),
            "HIGHMEM64G" if on("HIGHMEM64G")? => {
                self.highmem_choice = Some(true);
                self.config.lpae = true;
            }
            "X86_5LEVEL" if arch == Arch::X86_64 => {
                let five = on("X86_5LEVEL")?;
                self.config.va_bits = if five { 57 } else { 48 };
                self.config.pa_bits = if five { 52 } else { 46 };
            }
            _ => return self.set_one_of(name, value),
        }
        Ok(())
    }

    /// Members of a choice, which say something only when they are `y`.
    fn set_one_of(&mut self, name: &str, value: &str) -> Outcome {
        let c = &mut self.config;
        let arm64 = c.arch == Arch::Arm64;
        if value != "y" {
            return Ok(());
        }
        match name {
            "SLUB" => c.slab = Slab::Slub,
            "SLAB" => c.slab = Slab::Slab,
            "SLOB" => c.slab = Slab::Slob,
            "VMSPLIT_3G" => self.split = Some(0xc000_0000),
            "VMSPLIT_3G_OPT" => self.split = Some(0xb000_0000),
            "VMSPLIT_2G" => self.split = Some(0x8000_0000),
            "VMSPLIT_2G_OPT" => self.split = Some(0x7800_0000),
            "VMSPLIT_1G" => self.split = Some(0x4000_0000),
            "CMA_SIZE_SEL_MBYTES" => self.cma_select = Some(CmaSelect::Mbytes),
            "CMA_SIZE_SEL_PERCENTAGE" => self.cma_select = Some(CmaSelect::Percentage),
            "CMA_SIZE_SEL_MIN" => self.cma_select = Some(CmaSelect::Min),
            "CMA_SIZE_SEL_MAX" => self.cma_select = Some(CmaSelect::Max),
            "ARM64_4K_PAGES" if arm64 => c.page_shift = PageShift::SHIFT_4K,
            "ARM64_16K_PAGES" if arm64 => c.page_shift = PageShift::SHIFT_16K,
            "ARM64_64K_PAGES" if arm64 => c.page_shift = PageShift::SHIFT_64K,
            "ARM64_PA_BITS_48" if arm64 => c.pa_bits = 48,
            "ARM64_PA_BITS_52" if arm64 => c.pa_bits = 52,
            _ if arm64 => {
                let bits = name.strip_prefix("ARM64_VA_BITS_").and_then(|bits| bits.parse().ok());
                if let Some(bits) = bits.filter(|_| !self.va_given) {
                    c.va_bits = bits;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn expect_arch(&self, on: bool, found: Arch) -> Outcome {
        let expected = self.config.arch;
        if on && found != expected {
            return Err(ConfigErrorKind::Arch { found, expected });
        }
        Ok(())
    }

    /// Makes fields of what was gathered.
    pub(super) fn settle(mut self) -> KernelConfig {
        self.settle_model();
        self.settle_cma();
        let c = &mut self.config;
        if let Some(on) = self.highmem_choice {
            c.highmem = on;
        }
        if !c.highmem {
            c.highpte = false;
        }
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
        if !self.order_given && c.arch == Arch::Arm64 {
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
        if !c.is_sparse() {
            c.sparsemem_extreme = false;
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
        if !on {
            self.config.pernuma_cma = false;
        }
    }
}

/// The same architecture with every switch off and every number at what a kernel has that does not say.
fn all_off(config: KernelConfig) -> KernelConfig {
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
        ..defaults
    }
}
