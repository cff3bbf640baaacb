//! Which combinations of choices are refused.

use super::{CmaSize, KernelConfig, MemoryModel, Thp};
use crate::machine::Arch;
use core::fmt;
use pagewright_addr::Order;

/// A combination that cannot exist, or that is not modelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The second choice excludes the first.
    Conflict {
        /// A symbol or choice.
        symbol: &'static str,
        /// What it cannot be combined with.
        with: &'static str,
    },
    /// The first choice needs the second.
    Needs {
        /// A symbol or choice.
        symbol: &'static str,
        /// What is missing.
        needs: &'static str,
    },
    /// A number outside its range.
    Range {
        /// The symbol.
        symbol: &'static str,
        /// Its value.
        value: u64,
        /// The smallest that is allowed.
        min: u64,
        /// The largest that is allowed.
        max: u64,
    },
    /// A real choice of real kernels that is not modelled here.
    NotModelled {
        /// The symbol.
        symbol: &'static str,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { symbol, with } => write!(f, "{symbol} cannot be combined with {with}"),
            Self::Needs { symbol, needs } => write!(f, "{symbol} needs {needs}"),
            Self::Range { symbol, value, min, max } => {
                write!(f, "{symbol} is {value}, expected {min} to {max}")
            }
            Self::NotModelled { symbol } => write!(f, "{symbol} is not modelled"),
        }
    }
}

impl core::error::Error for Refusal {}

/// Collects the first refusal.
struct Check(Result<(), Refusal>);

impl Check {
    fn conflict(&mut self, both: bool, symbol: &'static str, with: &'static str) {
        self.refuse(both, Refusal::Conflict { symbol, with });
    }

    fn needs(&mut self, missing: bool, symbol: &'static str, needs: &'static str) {
        self.refuse(missing, Refusal::Needs { symbol, needs });
    }

    fn range(&mut self, symbol: &'static str, value: impl Into<u64>, min: u64, max: u64) {
        let value = value.into();
        self.refuse(value < min || value > max, Refusal::Range { symbol, value, min, max });
    }

    fn refuse(&mut self, refuse: bool, refusal: Refusal) {
        if refuse && self.0.is_ok() {
            self.0 = Err(refusal);
        }
    }
}

impl KernelConfig {
    /// Refuses what cannot exist and what is not modelled, naming the symbols.
    ///
    /// The rules are Kconfig's of 6.1, except that memory models which older kernels offered stay possible (FLATMEM
    /// without NUMA on 64-bit, SPARSEMEM without VMEMMAP on arm64, DISCONTIGMEM except on arm64).
    ///
    /// # Errors
    /// The first [`Refusal`].
    pub fn validate(&self) -> Result<(), Refusal> {
        let mut check = Check(Ok(()));
        check.refuse(self.kasan, Refusal::NotModelled { symbol: "KASAN" });
        self.check_addresses(&mut check);
        self.check_memory_model(&mut check);
        self.check_numbers(&mut check);
        self.check_features(&mut check);
        check.0
    }

    fn check_addresses(&self, check: &mut Check) {
        let wide = self.is_64bit();
        let page_shift = self.page_shift.get();
        check.conflict(wide && self.highmem, "HIGHMEM", "a 64-bit kernel");
        check.conflict(wide && self.lpae, "ARM_LPAE or X86_PAE", "a 64-bit kernel");
        check.conflict(wide && self.page_offset != 0, "VMSPLIT", "a 64-bit kernel");
        check.conflict(
            self.thumb2 && self.arch != Arch::Arm,
            "THUMB2_KERNEL",
            "an architecture other than arm",
        );
        if self.arch != Arch::Arm64 {
            check.conflict(page_shift != 12, "pages larger than 4K", "an architecture other than arm64");
        }
        match self.arch {
            Arch::Arm64 => {
                let (symbol, with) = match (self.va_bits, page_shift) {
                    (39 | 48, 12) | (36 | 47 | 48, 14) | (42 | 48 | 52, 16) => ("", ""),
                    (52, _) => ("ARM64_VA_BITS_52", "pages other than ARM64_64K_PAGES"),
                    (_, 12) => ("ARM64_VA_BITS other than 39 and 48", "ARM64_4K_PAGES"),
                    (_, 14) => ("ARM64_VA_BITS other than 36, 47 and 48", "ARM64_16K_PAGES"),
                    _ => ("ARM64_VA_BITS other than 42, 48 and 52", "ARM64_64K_PAGES"),
                };
                check.conflict(!symbol.is_empty(), symbol, with);
                check.needs(self.pa_bits == 52 && page_shift != 16, "ARM64_PA_BITS_52", "ARM64_64K_PAGES");
                check.refuse(
                    !matches!(self.pa_bits, 48 | 52),
                    Refusal::Range { symbol: "ARM64_PA_BITS", value: self.pa_bits.into(), min: 48, max: 52 },
                );
            }
            Arch::X86_64 => check.needs(
                (self.va_bits, self.pgtable_levels) != (57, 5)
                    && (self.va_bits, self.pgtable_levels) != (48, 4),
                "PGTABLE_LEVELS of 5",
                "X86_5LEVEL",
            ),
            Arch::Arm | Arch::I386 => self.check_split(check),
        }
        check.refuse(
            self.pgtable_levels != self.natural_pgtable_levels(),
            Refusal::Range {
                symbol: "PGTABLE_LEVELS",
                value: self.pgtable_levels.into(),
                min: self.natural_pgtable_levels().into(),
                max: self.natural_pgtable_levels().into(),
            },
        );
    }

    fn check_split(&self, check: &mut Check) {
        let x86 = self.arch == Arch::I386;
        let large = if x86 { "X86_PAE" } else { "ARM_LPAE" };
        match self.page_offset {
            0xc000_0000 | 0x8000_0000 | 0x4000_0000 => {}
            0xb000_0000 => check.conflict(self.lpae, "VMSPLIT_3G_OPT", large),
            0x7800_0000 if x86 => check.conflict(self.lpae, "VMSPLIT_2G_OPT", large),
            0x7800_0000 => check.conflict(true, "VMSPLIT_2G_OPT", "arm"),
            other => check.refuse(
                true,
                Refusal::Range {
                    symbol: "PAGE_OFFSET",
                    value: other.into(),
                    min: 0x4000_0000,
                    max: 0xc000_0000,
                },
            ),
        }
    }

    fn check_memory_model(&self, check: &mut Check) {
        let wide = self.is_64bit();
        let model = self.memory_model;
        check.conflict(model == MemoryModel::Flat && self.numa, "FLATMEM", "NUMA");
        check.conflict(model == MemoryModel::Discontig && self.arch == Arch::Arm64, "DISCONTIGMEM", "arm64");
        check.conflict(model == MemoryModel::SparseVmemmap && !wide, "SPARSEMEM_VMEMMAP", "a 32-bit kernel");
        check.conflict(self.sparsemem_extreme && !wide, "SPARSEMEM_EXTREME", "a 32-bit kernel");
        check.needs(self.sparsemem_extreme && !self.is_sparse(), "SPARSEMEM_EXTREME", "SPARSEMEM");
        check.needs(
            self.deferred_struct_page_init && !(self.is_sparse() && wide),
            "DEFERRED_STRUCT_PAGE_INIT",
            "SPARSEMEM and a 64-bit kernel",
        );
        check.needs(
            self.zone_device && !(model == MemoryModel::SparseVmemmap && self.memory_hotplug),
            "ZONE_DEVICE",
            "SPARSEMEM_VMEMMAP and MEMORY_HOTPLUG",
        );
        check.needs(
            self.memory_hotplug && !(self.is_sparse() && wide),
            "MEMORY_HOTPLUG",
            "SPARSEMEM and a 64-bit kernel",
        );
        check.needs(
            self.lru_gen && !wide && self.is_sparse(),
            "LRU_GEN on a 32-bit kernel",
            "a memory model other than SPARSEMEM",
        );
        check.conflict(self.zone_dma32 && !wide, "ZONE_DMA32", "a 32-bit kernel");
        check.conflict(self.numa && self.arch == Arch::Arm, "NUMA", "arm");
        check.refuse(self.numa && self.arch == Arch::I386, Refusal::NotModelled { symbol: "NUMA on i386" });
        check.needs(self.numa && !self.smp, "NUMA", "SMP");
        check.needs(self.numa_emu && !(self.numa && self.is_x86()), "NUMA_EMU", "NUMA on x86");
        check.needs(self.numa_balancing && !self.numa, "NUMA_BALANCING", "NUMA");
    }

    fn check_numbers(&self, check: &mut Check) {
        let most_cpus = match self.arch {
            Arch::X86_64 => 8192,
            Arch::Arm64 => 4096,
            Arch::I386 => 64,
            Arch::Arm => 32,
        };
        check.range("NR_CPUS", self.nr_cpus, 1, if self.smp { most_cpus } else { 1 });
        if self.numa {
            check.range("NODES_SHIFT", self.nodes_shift, 1, 10);
        }
        check.range("ARCH_FORCE_MAX_ORDER", self.max_order, 2, Order::LIMIT as u64);
        if self.is_sparse() {
            // The largest block lies in one section.
            let most = self.section_size_bits() - self.page_shift.get() + 1;
            check.range("ARCH_FORCE_MAX_ORDER with SPARSEMEM", self.max_order, 2, most.into());
        }
        check.range("LOG_BUF_SHIFT", self.log_buf_shift, 12, 25);
        if let Some(cma) = self.cma {
            check.range("CMA_ALIGNMENT", cma.alignment, 2, 12);
            if let CmaSize::Percentage(percent) | CmaSize::Min(_, percent) | CmaSize::Max(_, percent) =
                cma.size
            {
                check.range("CMA_SIZE_PERCENTAGE", percent, 0, 100);
            }
        }
        if self.is_x86() {
            let least = if self.arch == Arch::X86_64 { 0x20_0000 } else { 0x2000 };
            check.range("PHYSICAL_ALIGN", self.physical_align, least, 0x100_0000);
            check.needs(!self.physical_align.is_power_of_two(), "PHYSICAL_ALIGN", "to be a power of two");
        }
    }

    fn check_features(&self, check: &mut Check) {
        let plain_arm = self.arch == Arch::Arm && !self.lpae;
        check.needs(plain_arm && self.hugetlb, "HUGETLB_PAGE", "ARM_LPAE");
        check.needs(plain_arm && self.thp != Thp::Off, "TRANSPARENT_HUGEPAGE", "ARM_LPAE");
        check.needs(
            self.pernuma_cma && !(self.numa && self.cma.is_some()),
            "DMA_PERNUMA_CMA",
            "NUMA and DMA_CMA",
        );
        check.needs(
            self.page_table_isolation && !(self.is_64bit() || self.is_x86() && self.lpae),
            "PAGE_TABLE_ISOLATION",
            "a 64-bit kernel or X86_PAE",
        );
        check.needs(self.highpte && !self.highmem, "HIGHPTE", "HIGHMEM");
        check.needs(self.rodata_full && self.arch != Arch::Arm64, "RODATA_FULL_DEFAULT_ENABLED", "arm64");
        check.needs(
            self.crash_dump && self.is_x86() && !self.is_64bit() && !self.highmem,
            "CRASH_DUMP",
            "HIGHMEM",
        );
    }

    /// PGTABLE_LEVELS that the other choices lead to.
    pub(super) const fn natural_pgtable_levels(&self) -> u8 {
        match self.arch {
            Arch::X86_64 => {
                if self.va_bits > 48 {
                    5
                } else {
                    4
                }
            }
            Arch::Arm | Arch::I386 => {
                if self.lpae {
                    3
                } else {
                    2
                }
            }
            // Each level translates as many bits as a table of eight-byte entries has index bits; four bits of the
            // last level's table may be missing at the top.
            Arch::Arm64 => {
                let bits_per_level = self.page_shift.get() as u8 - 3;
                self.va_bits.saturating_sub(4) / bits_per_level
            }
        }
    }
}
