//! Arbitrary configurations.

use super::*;
use proptest::prelude::*;

const SYMBOLS: [&str; 40] = [
    "ARM64_64K_PAGES",
    "ARM64_16K_PAGES",
    "ARM64_VA_BITS",
    "ARM64_VA_BITS_52",
    "ARM64_PA_BITS",
    "PGTABLE_LEVELS",
    "PAGE_OFFSET",
    "VMSPLIT_1G",
    "FLATMEM",
    "DISCONTIGMEM",
    "SPARSEMEM",
    "SPARSEMEM_VMEMMAP",
    "SPARSEMEM_EXTREME",
    "ARCH_FORCE_MAX_ORDER",
    "NR_CPUS",
    "NUMA",
    "NODES_SHIFT",
    "ZONE_DMA",
    "ZONE_DMA32",
    "HIGHMEM",
    "NOHIGHMEM",
    "HIGHMEM64G",
    "ZONE_DEVICE",
    "CMA",
    "DMA_CMA",
    "CMA_SIZE_MBYTES",
    "CMA_SIZE_SEL_MAX",
    "CMA_ALIGNMENT",
    "SLAB",
    "SLOB",
    "ARM_LPAE",
    "X86_PAE",
    "HUGETLBFS",
    "SMP",
    "LRU_GEN",
    "MEMCG",
    "LOG_BUF_SHIFT",
    "PHYSICAL_ALIGN",
    "MEMORY_HOTPLUG",
    "X86_5LEVEL",
];

/// Every derived fact of a configuration that was accepted can be computed and is plausible.
fn check(config: &KernelConfig) {
    assert_eq!(config.validate(), Ok(()));
    assert!(u32::from(config.max_order) > config.pageblock_order());
    assert!((1..=3).contains(&config.zones_shift()));
    assert!((2..=5).contains(&config.pgtable_levels));
    assert!((32..=80).contains(&config.struct_page_bytes()));
    assert!(config.section_size_bits() < config.max_physmem_bits());
    assert!(config.max_numnodes() <= 1024);
    let facts = BuildFacts::for_config(config);
    assert_eq!(facts.pglist_data == 0, !config.numa);
}

proptest! {
    #[test]
    fn no_text_panics(text in "(CONFIG_[A-Z0-9_]{0,12}=?|# CONFIG_|[\\PC\n]{0,10}){0,8}") {
        for flavour in Flavour::ALL {
            let _ = KernelConfig::debian(flavour).apply(&text);
        }
    }

    #[test]
    fn accepted_choices_have_plausible_facts_and_refused_ones_change_nothing(
        lines in prop::collection::vec(
            (
                prop::sample::select(Vec::from(SYMBOLS)),
                prop_oneof![
                    Just("y".to_string()),
                    Just("n".to_string()),
                    (0u64..70).prop_map(|n| n.to_string()),
                    any::<u64>().prop_map(|n| std::format!("{n:#x}")),
                ],
            ),
            0..6,
        ),
        complete in any::<bool>(),
    ) {
        let head = if complete { "# Automatically generated file; DO NOT EDIT.\n" } else { "" };
        let body: std::string::String = lines.iter().map(|(s, v)| std::format!("CONFIG_{s}={v}\n")).collect();
        for flavour in Flavour::ALL {
            let before = KernelConfig::debian(flavour);
            let mut config = before;
            match config.apply(&[head, &body].concat()) {
                Ok(()) => check(&config),
                Err(_) => prop_assert_eq!(config, before),
            }
        }
    }

    #[test]
    fn reading_a_file_twice_is_reading_it_once(
        symbols in prop::collection::vec((prop::sample::select(Vec::from(SYMBOLS)), any::<bool>()), 0..5)
    ) {
        let text: std::string::String =
            symbols.iter().map(|(s, on)| std::format!("CONFIG_{s}={}\n", if *on { 'y' } else { 'n' })).collect();
        for flavour in Flavour::ALL {
            let mut once = KernelConfig::debian(flavour);
            if once.apply(&text).is_ok() {
                let mut twice = once;
                prop_assert_eq!(twice.apply(&text), Ok(()));
                prop_assert_eq!(twice, once);
            }
        }
    }
}
