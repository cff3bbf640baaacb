//! The kernel configuration: which kernel is modelled.
//!
//! [`KernelConfig`] holds one field for each choice that changes a fact of memory set-up. Defaults are those of
//! Debian's 6.1 kernels ([`KernelConfig::debian`]); [`KernelConfig::apply`] reads a `.config` over them. Combinations
//! that cannot exist, or that are not modelled, are refused by name ([`KernelConfig::validate`]). What follows from the
//! choices (the order of a pageblock, the size of a section, ...) is a method here and nowhere else.
//!
//! ```
//! use pagewright_firmware::{Arch, config::KernelConfig};
//!
//! let mut config = KernelConfig::for_arch(Arch::Arm64);
//! config.apply("CONFIG_ARM64_64K_PAGES=y").unwrap();
//! assert_eq!((config.pgtable_levels, config.pageblock_order()), (3, 13));
//! let refused = config.apply("CONFIG_HIGHMEM=y").unwrap_err();
//! assert_eq!(refused.to_string(), "HIGHMEM cannot be combined with a 64-bit kernel");
//! ```

mod apply;
mod build;
mod debian;
mod derived;
mod symbols;
mod validate;

pub use apply::{ConfigError, ConfigErrorKind, arch_of};
pub use debian::Flavour;
pub use derived::ZoneType;
pub use symbols::{Effect, effect};
pub use validate::Refusal;

use crate::machine::Arch;
use pagewright_addr::PageShift;

/// Kernel configuration, CONFIG_* by CONFIG_*. See [`KernelConfig::for_arch`] for the defaults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelConfig {
    /// Which architecture it configures.
    pub arch: Arch,
    /// CONFIG_ARM64_{4K,16K,64K}_PAGES; 4 KiB elsewhere.
    pub page_shift: PageShift,
    /// CONFIG_ARM64_VA_BITS (39, 42, 47, 48, 52); 48 or 57 on x86_64, 32 on 32-bit kernels.
    pub va_bits: u8,
    /// CONFIG_ARM64_PA_BITS (48 or 52); what phys_addr_t can hold elsewhere (32, 36, 40, 46, 52).
    pub pa_bits: u8,
    /// CONFIG_PGTABLE_LEVELS.
    pub pgtable_levels: u8,
    /// CONFIG_PAGE_OFFSET of 32-bit kernels: where the VMSPLIT choice puts the kernel. 0 on 64-bit.
    pub page_offset: u32,
    /// FLATMEM, DISCONTIGMEM, SPARSEMEM or SPARSEMEM_VMEMMAP.
    pub memory_model: MemoryModel,
    /// CONFIG_SPARSEMEM_EXTREME.
    pub sparsemem_extreme: bool,
    /// MAX_ORDER as Linux 6.1 counts: one more than the largest order (CONFIG_ARCH_FORCE_MAX_ORDER).
    pub max_order: u8,
    /// CONFIG_NR_CPUS.
    pub nr_cpus: u32,
    /// CONFIG_NUMA.
    pub numa: bool,
    /// CONFIG_NODES_SHIFT.
    pub nodes_shift: u8,
    /// CONFIG_NUMA_EMU (`numa=fake=`, x86).
    pub numa_emu: bool,
    /// CONFIG_ZONE_DMA.
    pub zone_dma: bool,
    /// CONFIG_ZONE_DMA32.
    pub zone_dma32: bool,
    /// CONFIG_HIGHMEM.
    pub highmem: bool,
    /// CONFIG_ZONE_DEVICE.
    pub zone_device: bool,
    /// CONFIG_CMA and CONFIG_DMA_CMA with their size and alignment.
    pub cma: Option<CmaConfig>,
    /// CONFIG_DMA_PERNUMA_CMA.
    pub pernuma_cma: bool,
    /// CONFIG_SLUB, CONFIG_SLAB or CONFIG_SLOB.
    pub slab: Slab,
    /// CONFIG_SLUB_CPU_PARTIAL: processors keep partial slabs.
    pub slub_cpu_partial: bool,
    /// CONFIG_SLUB_DEBUG: `slub_debug=` is honoured, caches have the files that look at objects, and there is /proc/slabinfo.
    pub slub_debug: bool,
    /// CONFIG_SLAB_MERGE_DEFAULT: caches that do as well as others are others, unless the command line says otherwise.
    pub slab_merge_default: bool,
    /// CONFIG_FAILSLAB.
    pub failslab: bool,
    /// CONFIG_DEFERRED_STRUCT_PAGE_INIT.
    pub deferred_struct_page_init: bool,
    /// CONFIG_ARM_LPAE or CONFIG_X86_PAE.
    pub lpae: bool,
    /// CONFIG_THUMB2_KERNEL.
    pub thumb2: bool,
    /// CONFIG_HUGETLB_PAGE.
    pub hugetlb: bool,
    /// CONFIG_TRANSPARENT_HUGEPAGE.
    pub thp: Thp,
    /// CONFIG_LOG_BUF_SHIFT.
    pub log_buf_shift: u8,
    /// CONFIG_SMP.
    pub smp: bool,
    /// CONFIG_STRICT_KERNEL_RWX.
    pub strict_kernel_rwx: bool,
    /// CONFIG_RODATA_FULL_DEFAULT_ENABLED (arm64).
    pub rodata_full: bool,
    /// CONFIG_RANDOMIZE_BASE.
    pub randomize_base: bool,
    /// CONFIG_MEMORY_HOTPLUG.
    pub memory_hotplug: bool,
    /// CONFIG_ARCH_KEEP_MEMBLOCK.
    pub keep_memblock: bool,
    /// CONFIG_LRU_GEN.
    pub lru_gen: bool,
    /// CONFIG_SWAP.
    pub swap: bool,
    /// CONFIG_MEMCG.
    pub memcg: bool,
    /// CONFIG_COMPACTION.
    pub compaction: bool,
    /// CONFIG_MEMORY_ISOLATION.
    pub memory_isolation: bool,
    /// CONFIG_INIT_ON_ALLOC_DEFAULT_ON.
    pub init_on_alloc: bool,
    /// CONFIG_INIT_ON_FREE_DEFAULT_ON.
    pub init_on_free: bool,
    /// CONFIG_PAGE_TABLE_ISOLATION (x86) or CONFIG_UNMAP_KERNEL_AT_EL0 (arm64).
    pub page_table_isolation: bool,
    /// CONFIG_PHYSICAL_START (x86).
    pub physical_start: u32,
    /// CONFIG_PHYSICAL_ALIGN (x86).
    pub physical_align: u32,
    /// CONFIG_KEXEC_CORE: `crashkernel=` is honoured.
    pub kexec_core: bool,
    /// CONFIG_CRASH_DUMP: `elfcorehdr=` is.
    pub crash_dump: bool,
    /// CONFIG_NUMA_BALANCING: page flags keep the last CPU and task.
    pub numa_balancing: bool,
    /// CONFIG_MEMORY_FAILURE: page flags have a bit for bad memory.
    pub memory_failure: bool,
    /// CONFIG_PAGE_IDLE_FLAG: page flags have two bits for it on 64-bit kernels.
    pub page_idle_flag: bool,
    /// CONFIG_SHUFFLE_PAGE_ALLOCATOR.
    pub shuffle_page_allocator: bool,
    /// CONFIG_HIGHPTE.
    pub highpte: bool,
    /// CONFIG_KASAN (software tags take flag bits); refused when set: not modelled.
    pub kasan: bool,
    /// CONFIG_MEMTEST.
    pub memtest: bool,
    /// CONFIG_DEFAULT_MMAP_MIN_ADDR: user mappings stay at or above this address.
    pub mmap_min_addr: u32,
    /// CONFIG_PCI.
    pub pci: bool,
    /// CONFIG_PCI_MMCONFIG (x86): i386 keeps a fixed slot for configuration space.
    pub pci_mmconfig: bool,
    /// CONFIG_EFI.
    pub efi: bool,
    /// CONFIG_ACPI_APEI_GHES: fixed slots for hardware error records.
    pub acpi_apei_ghes: bool,
    /// CONFIG_ARM_SDE_INTERFACE (arm64): two slots more for them.
    pub arm_sde_interface: bool,
    /// CONFIG_RELOCATABLE: arm64's entry trampoline has a slot more.
    pub relocatable: bool,
    /// CONFIG_KUSER_HELPERS (arm): user code may read the vectors page.
    pub kuser_helpers: bool,
    /// CONFIG_HAVE_TCM (arm).
    pub have_tcm: bool,
    /// CONFIG_X86_VSYSCALL_EMULATION (x86_64).
    pub vsyscall_emulation: bool,
    /// CONFIG_PARAVIRT_XXL (x86_64): a fixed slot for Xen's boot tables.
    pub paravirt_xxl: bool,
    /// CONFIG_PROVIDE_OHCI1394_DMA_INIT (x86): a fixed slot for FireWire.
    pub ohci1394_dma_init: bool,
    /// CONFIG_INTEL_TXT (x86_64): a fixed slot for the measured launch.
    pub intel_txt: bool,
    /// CONFIG_MODIFY_LDT_SYSCALL (x86).
    pub modify_ldt: bool,
    /// CONFIG_X86_ESPFIX64.
    pub espfix64: bool,
    /// CONFIG_DEBUG_KMAP_LOCAL: twice as many slots of short kmaps.
    pub debug_kmap_local: bool,
}

/// How a frame number finds its page metadata.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemoryModel {
    /// One array for all frames.
    Flat,
    /// One array for each node.
    Discontig,
    /// One array for each section, found through a table.
    Sparse,
    /// Sections whose arrays are virtually contiguous.
    SparseVmemmap,
}

/// CONFIG_DMA_CMA's default area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CmaConfig {
    /// The choice CMA_SIZE_SEL_* with its values.
    pub size: CmaSize,
    /// CONFIG_CMA_ALIGNMENT: the largest order of alignment for a buffer.
    pub alignment: u8,
    /// CONFIG_CMA_AREAS.
    pub areas: u8,
}

/// The size of the default CMA area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CmaSize {
    /// CMA_SIZE_SEL_MBYTES.
    Mbytes(u32),
    /// CMA_SIZE_SEL_PERCENTAGE, of present memory.
    Percentage(u8),
    /// CMA_SIZE_SEL_MIN: the smaller of both.
    Min(u32, u8),
    /// CMA_SIZE_SEL_MAX: the larger of both.
    Max(u32, u8),
}

/// Which slab allocator is built.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Slab {
    /// CONFIG_SLUB.
    Slub,
    /// CONFIG_SLAB.
    Slab,
    /// CONFIG_SLOB.
    Slob,
}

/// CONFIG_TRANSPARENT_HUGEPAGE and its default.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Thp {
    /// Not built.
    Off,
    /// Built, `madvise` by default.
    Madvise,
    /// Built, `always` by default.
    Always,
}

#[cfg(test)]
mod tests;
