//! Each choice changes a fact.

use super::*;

#[test]
fn the_split_moves_the_kernels_half() {
    let offset =
        |flavour, choice: &str| with(flavour, &std::format!("CONFIG_VMSPLIT_{choice}=y")).page_offset;
    assert_eq!(offset(Flavour::Armmp, "3G"), 0xc000_0000);
    assert_eq!(offset(Flavour::Armmp, "3G_OPT"), 0xb000_0000);
    assert_eq!(offset(Flavour::Armmp, "2G"), 0x8000_0000);
    assert_eq!(offset(Flavour::Armmp, "1G"), 0x4000_0000);
    assert_eq!(offset(Flavour::I686, "2G_OPT"), 0x7800_0000);
    assert_eq!(with(Flavour::Armmp, "CONFIG_PAGE_OFFSET=0x80000000").page_offset, 0x8000_0000);
}

#[test]
fn highmem_is_a_zone() {
    for (flavour, text) in [
        (Flavour::Armmp, "# CONFIG_HIGHMEM is not set"),
        (Flavour::I686, "CONFIG_NOHIGHMEM=y"),
        (Flavour::I686, "# CONFIG_HIGHMEM is not set"),
    ] {
        let config = with(flavour, text);
        assert!(!config.has_zone(ZoneType::HighMem) && !config.highpte, "{text}");
        assert_eq!(config.max_nr_zones(), 3);
    }
    assert!(with(Flavour::I686, "CONFIG_HIGHMEM4G=y").highmem);
}

#[test]
fn large_addresses_change_tables_sections_and_pageblocks() {
    let lpae = with(Flavour::Armmp, "CONFIG_ARM_LPAE=y");
    assert_eq!((lpae.pgtable_levels, lpae.pa_bits), (3, 40));
    let plain = with(Flavour::ArmmpLpae, "# CONFIG_ARM_LPAE is not set");
    assert_eq!((plain.pgtable_levels, plain.pa_bits, plain.pageblock_order()), (2, 32, 11));
    let pae = with(Flavour::I686, "CONFIG_HIGHMEM64G=y\nCONFIG_X86_PAE=y");
    assert_eq!((pae.pgtable_levels, pae.max_physmem_bits(), pae.pageblock_order()), (3, 36, 9));
    assert_eq!(with(Flavour::I686, "CONFIG_HIGHMEM64G=y"), pae);
}

#[test]
fn arm64s_page_size_changes_levels_orders_and_sections() {
    let facts = |text: &str| {
        let c = with(Flavour::Arm64, text);
        (c.page_shift.get(), c.pgtable_levels, c.max_order, c.pageblock_order(), c.section_size_bits())
    };
    assert_eq!(facts("CONFIG_ARM64_4K_PAGES=y"), (12, 4, 11, 9, 27));
    assert_eq!(facts("CONFIG_ARM64_16K_PAGES=y"), (14, 4, 12, 11, 27));
    assert_eq!(facts("CONFIG_ARM64_64K_PAGES=y"), (16, 3, 14, 13, 29));
}

#[test]
fn arm64s_address_bits_change_the_levels() {
    let levels = |text: &str| with(Flavour::Arm64, text).pgtable_levels;
    assert_eq!(levels("CONFIG_ARM64_VA_BITS_39=y"), 3);
    assert_eq!(levels("CONFIG_ARM64_VA_BITS=39"), 3);
    assert_eq!(levels("CONFIG_ARM64_16K_PAGES=y\nCONFIG_ARM64_VA_BITS_36=y"), 2);
    assert_eq!(levels("CONFIG_ARM64_16K_PAGES=y\nCONFIG_ARM64_VA_BITS_47=y"), 3);
    assert_eq!(levels("CONFIG_ARM64_64K_PAGES=y\nCONFIG_ARM64_VA_BITS_42=y"), 2);
    let large = with(
        Flavour::Arm64,
        "CONFIG_ARM64_64K_PAGES=y\nCONFIG_ARM64_VA_BITS_52=y\nCONFIG_ARM64_PA_BITS_52=y",
    );
    assert_eq!((large.va_bits, large.pgtable_levels, large.max_physmem_bits()), (52, 3, 52));
}

#[test]
fn five_levels_widen_physical_addresses() {
    let four = with(Flavour::Amd64, "# CONFIG_X86_5LEVEL is not set");
    assert_eq!((four.pgtable_levels, four.va_bits, four.max_physmem_bits()), (4, 48, 46));
    assert_eq!(with(Flavour::Amd64, "CONFIG_X86_5LEVEL=y").pgtable_levels, 5);
}

#[test]
fn each_memory_model_can_be_chosen() {
    let model = |flavour, text| with(flavour, text).memory_model;
    assert_eq!(
        model(Flavour::Arm64, "# CONFIG_SPARSEMEM_VMEMMAP is not set\n# CONFIG_ZONE_DEVICE is not set"),
        MemoryModel::Sparse
    );
    assert_eq!(model(Flavour::Arm64, "# CONFIG_NUMA is not set\nCONFIG_FLATMEM=y"), MemoryModel::Flat);
    assert_eq!(
        model(Flavour::I686, "CONFIG_SPARSEMEM=y\n# CONFIG_FLATMEM is not set\n# CONFIG_LRU_GEN is not set"),
        MemoryModel::Sparse
    );
    assert_eq!(model(Flavour::Armmp, "CONFIG_DISCONTIGMEM=y"), MemoryModel::Discontig);
    let flat = with(Flavour::Amd64, "# CONFIG_NUMA is not set\nCONFIG_FLATMEM=y");
    assert!(
        !flat.sparsemem_extreme && !flat.deferred_struct_page_init && !flat.zone_device && !flat.numa_emu
    );
    assert!(!with(Flavour::Arm64, "# CONFIG_SPARSEMEM_EXTREME is not set").sparsemem_extreme);
}

#[test]
fn page_flags_of_32_bit_sections_leave_less_room() {
    let sparse = with(Flavour::I686, "CONFIG_SPARSEMEM=y\n# CONFIG_LRU_GEN is not set");
    assert_eq!(sparse.sections_shift(sparse.max_physmem_bits()), 6);
    assert_eq!(sparse.lru_gen_width(), 0);
}

#[test]
fn the_slab_allocator_and_memcg_change_struct_page() {
    let bytes = |flavour, text| with(flavour, text).struct_page_bytes();
    assert_eq!(bytes(Flavour::Amd64, "# CONFIG_MEMCG is not set"), 64);
    assert_eq!(bytes(Flavour::Amd64, "# CONFIG_MEMCG is not set\nCONFIG_SLAB=y"), 56);
    assert_eq!(bytes(Flavour::Armmp, "# CONFIG_MEMCG is not set"), 32);
    assert_eq!(bytes(Flavour::I686, "# CONFIG_MEMCG is not set"), 32);
    assert_eq!(with(Flavour::Armmp, "CONFIG_SLOB=y").slab, Slab::Slob);
}

#[test]
fn the_last_cpu_has_a_field_of_its_own_where_flags_are_full() {
    let wide = "CONFIG_SPARSEMEM=y\n# CONFIG_SPARSEMEM_VMEMMAP is not set\n# CONFIG_SLUB is not set\nCONFIG_SLAB=y\n";
    let full = with(Flavour::Amd64, wide);
    assert_eq!(full.struct_page_bytes(), 72);
}

#[test]
fn cma_sizes_follow_their_selector() {
    let size = |text| with(Flavour::Arm64, text).cma.map(|c| c.size);
    assert_eq!(size("CONFIG_CMA_SIZE_MBYTES=128"), Some(CmaSize::Mbytes(128)));
    assert_eq!(
        size("CONFIG_CMA_SIZE_SEL_PERCENTAGE=y\nCONFIG_CMA_SIZE_PERCENTAGE=10"),
        Some(CmaSize::Percentage(10))
    );
    assert_eq!(size("CONFIG_CMA_SIZE_SEL_MIN=y\nCONFIG_CMA_SIZE_PERCENTAGE=5"), Some(CmaSize::Min(64, 5)));
    assert_eq!(size("CONFIG_CMA_SIZE_SEL_MAX=y"), Some(CmaSize::Max(64, 10)));
    assert_eq!(size("# CONFIG_CMA is not set"), None);
    assert!(!with(Flavour::Arm64, "# CONFIG_DMA_CMA is not set").pernuma_cma);
    let own =
        with(Flavour::Amd64, "CONFIG_CMA=y\nCONFIG_DMA_CMA=y\nCONFIG_CMA_ALIGNMENT=10\nCONFIG_CMA_AREAS=3")
            .cma;
    assert_eq!(own, Some(CmaConfig { size: CmaSize::Mbytes(16), alignment: 10, areas: 3 }));
}

#[test]
fn processors_and_nodes_change_widths() {
    let config = with(Flavour::Amd64, "CONFIG_NR_CPUS=64\nCONFIG_NODES_SHIFT=6");
    assert_eq!(
        (config.nr_cpus_bits(), config.last_cpupid_shift(), config.effective_nodes_shift()),
        (6, 14, 6)
    );
    assert_eq!(BuildFacts::for_config(&config).pglist_data, 10_336 + (64 * 5 + 1) * 16 * 2);
    let single = with(Flavour::Arm64, "# CONFIG_NUMA is not set");
    assert_eq!(
        (single.effective_nodes_shift(), single.max_numnodes(), single.last_cpupid_shift()),
        (0, 1, 0)
    );
    assert_eq!(with(Flavour::Armmp, "# CONFIG_SMP is not set").nr_cpus, 1);
}

#[test]
fn zones_come_and_go() {
    assert_eq!(
        with(Flavour::Arm64, "# CONFIG_ZONE_DMA is not set\n# CONFIG_ZONE_DMA32 is not set").max_nr_zones(),
        2
    );
    assert_eq!(with(Flavour::Arm64, "CONFIG_ZONE_DEVICE=y").zones_shift(), 3);
}

#[test]
fn page_flags_follow_their_features() {
    let flags = |text| with(Flavour::Arm64, text).nr_pageflags();
    assert_eq!(flags("CONFIG_PAGE_IDLE_FLAG=y"), 26);
    assert_eq!(flags("# CONFIG_MEMORY_FAILURE is not set"), 23);
    assert_eq!(with(Flavour::Armmp, "CONFIG_PAGE_IDLE_FLAG=y").nr_pageflags(), 22);
}

#[test]
fn transparent_huge_pages_have_a_default_mode() {
    let thp = |text| with(Flavour::Arm64, text).thp;
    assert_eq!(thp("# CONFIG_TRANSPARENT_HUGEPAGE is not set"), Thp::Off);
    assert_eq!(
        thp("CONFIG_TRANSPARENT_HUGEPAGE_MADVISE=y\n# CONFIG_TRANSPARENT_HUGEPAGE_ALWAYS is not set"),
        Thp::Madvise
    );
}

#[test]
fn the_largest_order_bounds_pageblocks() {
    assert_eq!(with(Flavour::Arm64, "CONFIG_ARCH_FORCE_MAX_ORDER=8").pageblock_order(), 7);
    assert_eq!(with(Flavour::Arm64, "# CONFIG_HUGETLBFS is not set").pageblock_order(), 10);
}

#[test]
fn every_plain_switch_reaches_its_field() {
    let off = with(
        Flavour::Arm64,
        "# CONFIG_DEFERRED_STRUCT_PAGE_INIT is not set\n# CONFIG_STRICT_KERNEL_RWX is not set\n\
         # CONFIG_RODATA_FULL_DEFAULT_ENABLED is not set\n# CONFIG_RANDOMIZE_BASE is not set\n\
         # CONFIG_MEMORY_HOTPLUG is not set\n# CONFIG_ARCH_KEEP_MEMBLOCK is not set\n# CONFIG_SWAP is not set\n\
         # CONFIG_COMPACTION is not set\n# CONFIG_MEMORY_ISOLATION is not set\n\
         # CONFIG_INIT_ON_ALLOC_DEFAULT_ON is not set\nCONFIG_INIT_ON_FREE_DEFAULT_ON=y\n\
         # CONFIG_UNMAP_KERNEL_AT_EL0 is not set\n# CONFIG_KEXEC is not set\n# CONFIG_KEXEC_CORE is not set\n\
         # CONFIG_CRASH_DUMP is not set\n# CONFIG_NUMA_BALANCING is not set\n\
         # CONFIG_SHUFFLE_PAGE_ALLOCATOR is not set\nCONFIG_MEMTEST=y\nCONFIG_LOG_BUF_SHIFT=20\n\
         # CONFIG_DMA_PERNUMA_CMA is not set\n# CONFIG_LRU_GEN is not set\n",
    );
    assert!(
        !off.deferred_struct_page_init && !off.strict_kernel_rwx && !off.rodata_full && !off.randomize_base
    );
    assert!(
        !off.memory_hotplug && !off.keep_memblock && !off.swap && !off.compaction && !off.memory_isolation
    );
    assert!(!off.init_on_alloc && off.init_on_free && !off.page_table_isolation && !off.kexec_core);
    assert!(
        !off.crash_dump
            && !off.numa_balancing
            && !off.shuffle_page_allocator
            && off.memtest
            && !off.pernuma_cma
    );
    assert_eq!((off.log_buf_shift, off.lru_gen_width()), (20, 0));
    assert!(with(Flavour::Armmp, "CONFIG_THUMB2_KERNEL=y").thumb2);
    assert_eq!(with(Flavour::I686, "CONFIG_PHYSICAL_ALIGN=0x200000").physical_align, 0x20_0000);
}
