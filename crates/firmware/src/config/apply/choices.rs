//! Symbols on their way to fields. Several symbols together make one field (a choice and its value, a page size and
//! what follows from it), so they are gathered first and settled at the end.

use super::ConfigErrorKind;
use super::settle::all_off;
use crate::cmdline::strtoull;
use crate::config::{KernelConfig, Slab};
use crate::machine::Arch;
use arrayvec::ArrayVec;
use pagewright_addr::PageShift;

/// The choice CMA_SIZE_SEL_*.
#[derive(Clone, Copy)]
pub(super) enum CmaSelect {
    Mbytes,
    Percentage,
    Min,
    Max,
}

/// A configuration being read.
pub(super) struct Choices {
    pub(super) config: KernelConfig,
    /// Fields that the text states, which then do not follow from others.
    pub(super) levels_given: bool,
    pub(super) offset_given: bool,
    pub(super) order_given: bool,
    pub(super) va_given: bool,
    pub(super) split: Option<u32>,
    pub(super) flat: Option<bool>,
    pub(super) discontig: Option<bool>,
    pub(super) sparse: Option<bool>,
    pub(super) vmemmap: Option<bool>,
    pub(super) cma: Option<bool>,
    pub(super) dma_cma: Option<bool>,
    pub(super) cma_select: Option<CmaSelect>,
    pub(super) cma_mbytes: Option<u32>,
    pub(super) cma_percentage: Option<u8>,
    pub(super) cma_alignment: Option<u8>,
    pub(super) cma_areas: Option<u8>,
    pub(super) thp: Option<bool>,
    pub(super) thp_always: Option<bool>,
    pub(super) highmem_choice: Option<bool>,
    pub(super) page_size_given: bool,
    pub(super) nodes_shift_given: bool,
    pub(super) nr_cpus_given: bool,
    /// Switches that the text turns on; they do not go off by themselves.
    pub(super) stated: ArrayVec<&'static str, 72>,
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
            page_size_given: false,
            nodes_shift_given: false,
            nr_cpus_given: false,
            stated: ArrayVec::new(),
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
            "SLUB_CPU_PARTIAL" => ("SLUB_CPU_PARTIAL", &mut c.slub_cpu_partial),
            "SLUB_DEBUG" => ("SLUB_DEBUG", &mut c.slub_debug),
            "SLAB_MERGE_DEFAULT" => ("SLAB_MERGE_DEFAULT", &mut c.slab_merge_default),
            "FAILSLAB" => ("FAILSLAB", &mut c.failslab),
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
            "PCI" => ("PCI", &mut c.pci),
            "PCI_MMCONFIG" => ("PCI_MMCONFIG", &mut c.pci_mmconfig),
            "EFI" => ("EFI", &mut c.efi),
            "ACPI_APEI_GHES" => ("ACPI_APEI_GHES", &mut c.acpi_apei_ghes),
            "ARM_SDE_INTERFACE" => ("ARM_SDE_INTERFACE", &mut c.arm_sde_interface),
            "RELOCATABLE" => ("RELOCATABLE", &mut c.relocatable),
            "KUSER_HELPERS" => ("KUSER_HELPERS", &mut c.kuser_helpers),
            "HAVE_TCM" => ("HAVE_TCM", &mut c.have_tcm),
            "X86_VSYSCALL_EMULATION" => ("X86_VSYSCALL_EMULATION", &mut c.vsyscall_emulation),
            "PARAVIRT_XXL" => ("PARAVIRT_XXL", &mut c.paravirt_xxl),
            "PROVIDE_OHCI1394_DMA_INIT" => ("PROVIDE_OHCI1394_DMA_INIT", &mut c.ohci1394_dma_init),
            "INTEL_TXT" => ("INTEL_TXT", &mut c.intel_txt),
            "MODIFY_LDT_SYSCALL" => ("MODIFY_LDT_SYSCALL", &mut c.modify_ldt),
            "X86_ESPFIX64" => ("X86_ESPFIX64", &mut c.espfix64),
            "DEBUG_KMAP_LOCAL" => ("DEBUG_KMAP_LOCAL", &mut c.debug_kmap_local),
            _ => return Ok(false),
        };
        *field = yes(symbol, value)?;
        if *field && !self.stated.contains(&symbol) {
            // There is room for each symbol once.
            let _ = self.stated.try_push(symbol);
        }
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
            "DEFAULT_MMAP_MIN_ADDR" => c.mmap_min_addr = number("DEFAULT_MMAP_MIN_ADDR", value)?,
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
        self.page_size_given |= matches!(name, "ARM64_4K_PAGES" | "ARM64_16K_PAGES" | "ARM64_64K_PAGES");
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
}
