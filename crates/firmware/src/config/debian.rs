//! The configurations of Debian 12's kernels, which are the defaults.

use super::{CmaConfig, CmaSize, KernelConfig, MemoryModel, Slab, Thp};
use crate::machine::Arch;
use pagewright_addr::PageShift;

/// Which of Debian's 6.1 kernels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Flavour {
    /// `amd64`: x86_64.
    Amd64,
    /// `arm64`.
    Arm64,
    /// `armmp`: ARMv7, short descriptors.
    Armmp,
    /// `armmp-lpae`: ARMv7 with LPAE.
    ArmmpLpae,
    /// `686`: i386, two levels of tables.
    I686,
    /// `686-pae`: i386 with PAE.
    I686Pae,
}

impl Flavour {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Amd64, Self::Arm64, Self::Armmp, Self::ArmmpLpae, Self::I686, Self::I686Pae];

    /// Its name, as it stands at the end of a kernel release.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
            Self::Armmp => "armmp",
            Self::ArmmpLpae => "armmp-lpae",
            Self::I686 => "686",
            Self::I686Pae => "686-pae",
        }
    }

    /// The flavour of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    /// Its architecture.
    pub const fn arch(self) -> Arch {
        match self {
            Self::Amd64 => Arch::X86_64,
            Self::Arm64 => Arch::Arm64,
            Self::Armmp | Self::ArmmpLpae => Arch::Arm,
            Self::I686 | Self::I686Pae => Arch::I386,
        }
    }
}

/// What the six have in common, for a 32-bit Arm kernel without LPAE.
const BASE: KernelConfig = KernelConfig {
    arch: Arch::Arm,
    page_shift: PageShift::SHIFT_4K,
    va_bits: 32,
    pa_bits: 32,
    pgtable_levels: 2,
    page_offset: 0xc000_0000,
    memory_model: MemoryModel::Flat,
    sparsemem_extreme: false,
    max_order: 12,
    nr_cpus: 8,
    numa: false,
    nodes_shift: 0,
    numa_emu: false,
    zone_dma: true,
    zone_dma32: false,
    highmem: true,
    zone_device: false,
    cma: Some(CmaConfig { size: CmaSize::Mbytes(16), alignment: 8, areas: 7 }),
    pernuma_cma: false,
    slab: Slab::Slub,
    slub_cpu_partial: true,
    slub_debug: true,
    slab_merge_default: true,
    failslab: false,
    deferred_struct_page_init: false,
    lpae: false,
    thumb2: false,
    hugetlb: false,
    thp: Thp::Off,
    log_buf_shift: 17,
    smp: true,
    strict_kernel_rwx: true,
    rodata_full: false,
    randomize_base: false,
    memory_hotplug: false,
    keep_memblock: true,
    lru_gen: true,
    swap: true,
    memcg: true,
    compaction: true,
    memory_isolation: true,
    init_on_alloc: true,
    init_on_free: false,
    page_table_isolation: false,
    physical_start: 0,
    physical_align: 0,
    kexec_core: true,
    crash_dump: true,
    numa_balancing: false,
    memory_failure: false,
    page_idle_flag: false,
    shuffle_page_allocator: false,
    highpte: true,
    kasan: false,
    memtest: false,
    mmap_min_addr: 4096,
    pci: true,
    pci_mmconfig: false,
    efi: true,
    acpi_apei_ghes: false,
    arm_sde_interface: false,
    relocatable: false,
    kuser_helpers: true,
    have_tcm: false,
    vsyscall_emulation: false,
    paravirt_xxl: false,
    ohci1394_dma_init: false,
    intel_txt: false,
    modify_ldt: false,
    espfix64: false,
    debug_kmap_local: false,
};

const ARMMP_LPAE: KernelConfig =
    KernelConfig { pa_bits: 40, pgtable_levels: 3, lpae: true, hugetlb: true, thp: Thp::Always, ..BASE };

const ARM64: KernelConfig = KernelConfig {
    arch: Arch::Arm64,
    va_bits: 48,
    pa_bits: 48,
    pgtable_levels: 4,
    page_offset: 0,
    memory_model: MemoryModel::SparseVmemmap,
    sparsemem_extreme: true,
    max_order: 11,
    nr_cpus: 256,
    numa: true,
    nodes_shift: 4,
    zone_dma32: true,
    highmem: false,
    cma: Some(CmaConfig { size: CmaSize::Mbytes(64), alignment: 8, areas: 19 }),
    pernuma_cma: true,
    deferred_struct_page_init: true,
    hugetlb: true,
    thp: Thp::Always,
    rodata_full: true,
    randomize_base: true,
    memory_hotplug: true,
    page_table_isolation: true,
    numa_balancing: true,
    memory_failure: true,
    shuffle_page_allocator: true,
    highpte: false,
    acpi_apei_ghes: true,
    arm_sde_interface: true,
    relocatable: true,
    ..BASE
};

const I686: KernelConfig = KernelConfig {
    arch: Arch::I386,
    max_order: 11,
    nr_cpus: 32,
    cma: None,
    hugetlb: true,
    thp: Thp::Always,
    randomize_base: true,
    keep_memblock: false,
    physical_start: 0x100_0000,
    physical_align: 0x100_0000,
    memory_failure: true,
    memtest: true,
    mmap_min_addr: 65_536,
    pci_mmconfig: true,
    acpi_apei_ghes: true,
    relocatable: true,
    kuser_helpers: false,
    modify_ldt: true,
    ..BASE
};

const I686_PAE: KernelConfig =
    KernelConfig { pa_bits: 36, pgtable_levels: 3, lpae: true, page_table_isolation: true, ..I686 };

const AMD64: KernelConfig = KernelConfig {
    arch: Arch::X86_64,
    va_bits: 57,
    pa_bits: 52,
    pgtable_levels: 5,
    page_offset: 0,
    memory_model: MemoryModel::SparseVmemmap,
    sparsemem_extreme: true,
    nr_cpus: 8192,
    numa: true,
    nodes_shift: 10,
    numa_emu: true,
    zone_dma32: true,
    highmem: false,
    zone_device: true,
    deferred_struct_page_init: true,
    memory_hotplug: true,
    page_table_isolation: true,
    physical_align: 0x20_0000,
    numa_balancing: true,
    shuffle_page_allocator: true,
    highpte: false,
    vsyscall_emulation: true,
    paravirt_xxl: true,
    intel_txt: true,
    espfix64: true,
    ..I686
};

impl KernelConfig {
    /// The configuration of one of Debian's kernels.
    pub const fn debian(flavour: Flavour) -> Self {
        match flavour {
            Flavour::Amd64 => AMD64,
            Flavour::Arm64 => ARM64,
            Flavour::Armmp => BASE,
            Flavour::ArmmpLpae => ARMMP_LPAE,
            Flavour::I686 => I686,
            Flavour::I686Pae => I686_PAE,
        }
    }

    /// The default for an architecture: Debian's kernel without LPAE or PAE.
    pub const fn for_arch(arch: Arch) -> Self {
        match arch {
            Arch::X86_64 => AMD64,
            Arch::I386 => I686,
            Arch::Arm64 => ARM64,
            Arch::Arm => BASE,
        }
    }
}
