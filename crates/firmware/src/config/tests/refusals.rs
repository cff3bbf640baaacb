//! Combinations that are refused, by name.

use super::*;

#[test]
fn what_cannot_exist_is_refused_by_name() {
    for (flavour, text, words) in [
        (Flavour::ArmmpLpae, "CONFIG_VMSPLIT_3G_OPT=y", "VMSPLIT_3G_OPT cannot be combined with ARM_LPAE"),
        (Flavour::I686Pae, "CONFIG_VMSPLIT_3G_OPT=y", "VMSPLIT_3G_OPT cannot be combined with X86_PAE"),
        (Flavour::I686Pae, "CONFIG_VMSPLIT_2G_OPT=y", "VMSPLIT_2G_OPT cannot be combined with X86_PAE"),
        (Flavour::Armmp, "CONFIG_VMSPLIT_2G_OPT=y", "VMSPLIT_2G_OPT cannot be combined with arm"),
        (Flavour::Arm64, "CONFIG_VMSPLIT_2G=y", "VMSPLIT cannot be combined with a 64-bit kernel"),
        (Flavour::Arm64, "CONFIG_HIGHMEM=y", "HIGHMEM cannot be combined with a 64-bit kernel"),
        (Flavour::Armmp, "CONFIG_PAGE_OFFSET=0x12345678", "PAGE_OFFSET is 305419896"),
        (
            Flavour::Arm64,
            "CONFIG_ARM64_VA_BITS_52=y",
            "ARM64_VA_BITS_52 cannot be combined with pages other than",
        ),
        (
            Flavour::Arm64,
            "CONFIG_ARM64_VA_BITS_42=y",
            "ARM64_VA_BITS other than 39 and 48 cannot be combined",
        ),
        (
            Flavour::Arm64,
            "CONFIG_ARM64_64K_PAGES=y\nCONFIG_ARM64_VA_BITS_39=y",
            "ARM64_VA_BITS other than 42, 48",
        ),
        (
            Flavour::Arm64,
            "CONFIG_ARM64_16K_PAGES=y\nCONFIG_ARM64_VA_BITS_39=y",
            "ARM64_VA_BITS other than 36, 47",
        ),
        (Flavour::Arm64, "CONFIG_ARM64_PA_BITS_52=y", "ARM64_PA_BITS_52 needs ARM64_64K_PAGES"),
        (Flavour::Arm64, "CONFIG_PGTABLE_LEVELS=3", "PGTABLE_LEVELS is 3, expected 4 to 4"),
        (Flavour::Arm64, "CONFIG_FLATMEM=y", "FLATMEM cannot be combined with NUMA"),
        (
            Flavour::Arm64,
            "# CONFIG_NUMA is not set\nCONFIG_DISCONTIGMEM=y",
            "DISCONTIGMEM cannot be combined with arm64",
        ),
        (
            Flavour::Armmp,
            "CONFIG_SPARSEMEM_VMEMMAP=y",
            "SPARSEMEM_VMEMMAP cannot be combined with a 32-bit kernel",
        ),
        (
            Flavour::I686,
            "CONFIG_SPARSEMEM=y\nCONFIG_SPARSEMEM_EXTREME=y",
            "SPARSEMEM_EXTREME cannot be combined with",
        ),
        (Flavour::I686, "CONFIG_SPARSEMEM=y", "LRU_GEN on a 32-bit kernel needs a memory model"),
        (Flavour::Armmp, "CONFIG_DEFERRED_STRUCT_PAGE_INIT=y", "DEFERRED_STRUCT_PAGE_INIT needs SPARSEMEM"),
        (Flavour::Arm64, "# CONFIG_MEMORY_HOTPLUG is not set\nCONFIG_ZONE_DEVICE=y", "ZONE_DEVICE needs"),
        (Flavour::Armmp, "CONFIG_ZONE_DMA32=y", "ZONE_DMA32 cannot be combined with a 32-bit kernel"),
        (Flavour::Armmp, "CONFIG_NUMA=y", "FLATMEM cannot be combined with NUMA"),
        (Flavour::Armmp, "CONFIG_NUMA=y\nCONFIG_DISCONTIGMEM=y", "NUMA cannot be combined with arm"),
        (Flavour::Amd64, "# CONFIG_NUMA is not set\nCONFIG_NUMA_EMU=y", "NUMA_EMU needs NUMA on x86"),
        (Flavour::Arm64, "CONFIG_NUMA_EMU=y", "NUMA_EMU needs NUMA on x86"),
        (Flavour::Arm64, "# CONFIG_SMP is not set\nCONFIG_NUMA=y", "NUMA needs SMP"),
        (Flavour::Armmp, "CONFIG_HUGETLBFS=y", "HUGETLB_PAGE needs ARM_LPAE"),
        (Flavour::Armmp, "CONFIG_TRANSPARENT_HUGEPAGE=y", "TRANSPARENT_HUGEPAGE needs ARM_LPAE"),
        (
            Flavour::Arm64,
            "CONFIG_THUMB2_KERNEL=y",
            "THUMB2_KERNEL cannot be combined with an architecture other",
        ),
        (
            Flavour::I686,
            "CONFIG_PAGE_TABLE_ISOLATION=y",
            "PAGE_TABLE_ISOLATION needs a 64-bit kernel or X86_PAE",
        ),
        (Flavour::I686, "CONFIG_NOHIGHMEM=y\nCONFIG_HIGHPTE=y", "HIGHPTE needs HIGHMEM"),
        (Flavour::Amd64, "CONFIG_RODATA_FULL_DEFAULT_ENABLED=y", "RODATA_FULL_DEFAULT_ENABLED needs arm64"),
        (Flavour::Amd64, "CONFIG_PHYSICAL_ALIGN=0x300000", "PHYSICAL_ALIGN needs to be a power of two"),
    ] {
        let error = refused(flavour, text);
        assert!(error.starts_with(words), "{text}: {error}");
    }
}

#[test]
fn numbers_outside_their_range_are_refused() {
    for (flavour, text, words) in [
        (Flavour::Armmp, "CONFIG_NR_CPUS=64", "NR_CPUS is 64, expected 1 to 32"),
        (Flavour::Amd64, "CONFIG_NR_CPUS=0", "NR_CPUS is 0, expected 1 to 8192"),
        (Flavour::Amd64, "CONFIG_NODES_SHIFT=11", "NODES_SHIFT is 11, expected 1 to 10"),
        (Flavour::Arm64, "CONFIG_ARCH_FORCE_MAX_ORDER=17", "ARCH_FORCE_MAX_ORDER is 17, expected 2 to 16"),
        (
            Flavour::Arm64,
            "CONFIG_ARM64_64K_PAGES=y\nCONFIG_ARCH_FORCE_MAX_ORDER=15",
            "ARCH_FORCE_MAX_ORDER with",
        ),
        (Flavour::Arm64, "CONFIG_LOG_BUF_SHIFT=26", "LOG_BUF_SHIFT is 26, expected 12 to 25"),
        (Flavour::Arm64, "CONFIG_CMA_ALIGNMENT=13", "CMA_ALIGNMENT is 13, expected 2 to 12"),
        (
            Flavour::Arm64,
            "CONFIG_CMA_SIZE_SEL_PERCENTAGE=y\nCONFIG_CMA_SIZE_PERCENTAGE=101",
            "CMA_SIZE_PERCENTAGE is 101, expected 0 to 100",
        ),
        (Flavour::Amd64, "CONFIG_PHYSICAL_ALIGN=0x100000", "PHYSICAL_ALIGN is 1048576"),
    ] {
        let error = refused(flavour, text);
        assert!(error.starts_with(words), "{text}: {error}");
    }
}

#[test]
fn what_is_not_modelled_is_refused_by_name() {
    assert_eq!(refused(Flavour::Amd64, "CONFIG_KASAN=y"), "KASAN is not modelled");
    assert_eq!(
        refused(Flavour::I686Pae, "CONFIG_NUMA=y\nCONFIG_DISCONTIGMEM=y\nCONFIG_NODES_SHIFT=3"),
        "NUMA on i386 is not modelled"
    );
}

#[test]
fn a_configuration_made_by_hand_is_checked_too() {
    let config = KernelConfig { page_shift: PageShift::SHIFT_64K, ..KernelConfig::for_arch(Arch::X86_64) };
    let error = config.validate().unwrap_err();
    assert_eq!(
        error.to_string(),
        "pages larger than 4K cannot be combined with an architecture other than arm64"
    );
    let config = KernelConfig { va_bits: 52, ..KernelConfig::for_arch(Arch::X86_64) };
    assert!(config.validate().is_err());
}
