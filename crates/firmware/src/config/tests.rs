//! Tests of this module.

mod choices;
mod fuzzed;
mod refusals;

use super::*;
use crate::machine::BuildFacts;
use pagewright_addr::PageShift;
use std::string::ToString;
use std::vec::Vec;

/// The configuration of a flavour with `text` read over it.
fn with(flavour: Flavour, text: &str) -> KernelConfig {
    let mut config = KernelConfig::debian(flavour);
    config.apply(text).unwrap_or_else(|e| panic!("{e}"));
    config
}

/// What is wrong with `text` read over a flavour's configuration.
fn refused(flavour: Flavour, text: &str) -> std::string::String {
    let mut config = KernelConfig::debian(flavour);
    let before = config;
    let error = config.apply(text).unwrap_err();
    assert_eq!(config, before, "an error changes nothing");
    error.to_string()
}

#[test]
fn every_flavours_configuration_is_possible() {
    for flavour in Flavour::ALL {
        let config = KernelConfig::debian(flavour);
        assert_eq!(config.validate(), Ok(()), "{flavour:?}");
        assert_eq!(config.arch, flavour.arch());
        assert_eq!(Flavour::from_name(flavour.name()), Some(flavour));
        // Nothing said, nothing changed.
        assert_eq!(with(flavour, ""), config);
    }
    assert_eq!(Flavour::from_name("generic"), None);
}

#[test]
fn page_flag_widths_are_those_that_the_kernels_log() {
    let widths = |flavour| {
        let c = KernelConfig::debian(flavour);
        (
            c.effective_nodes_shift(),
            c.zones_shift(),
            c.last_cpupid_shift(),
            c.lru_gen_width(),
            c.lru_refs_width(),
            c.nr_pageflags(),
        )
    };
    assert_eq!(widths(Flavour::Amd64), (10, 3, 21, 3, 2, 25));
    assert_eq!(widths(Flavour::Arm64), (4, 2, 16, 3, 2, 24));
    assert_eq!(widths(Flavour::Armmp), (0, 2, 0, 3, 2, 22));
    assert_eq!(widths(Flavour::ArmmpLpae), (0, 2, 0, 3, 2, 22));
    assert_eq!(widths(Flavour::I686), (0, 2, 0, 3, 2, 24));
    assert_eq!(widths(Flavour::I686Pae), (0, 2, 0, 3, 2, 24));
}

#[test]
fn pageblocks_are_as_large_as_a_huge_page_if_there_are_huge_pages() {
    let orders: Vec<_> = Flavour::ALL.iter().map(|f| KernelConfig::debian(*f).pageblock_order()).collect();
    assert_eq!(orders, [9, 9, 11, 9, 10, 9]);
}

#[test]
fn sections_and_physical_addresses_have_the_architectures_sizes() {
    let bits = |f| {
        let c = KernelConfig::debian(f);
        (c.section_size_bits(), c.max_physmem_bits())
    };
    assert_eq!(bits(Flavour::Amd64), (27, 52));
    assert_eq!(bits(Flavour::Arm64), (27, 48));
    assert_eq!(bits(Flavour::Armmp), (28, 36));
    assert_eq!(bits(Flavour::I686), (26, 32));
    assert_eq!(bits(Flavour::I686Pae), (29, 36));
    assert_eq!(KernelConfig::for_arch(Arch::X86_64).sections_shift(46), 19);
    assert_eq!(KernelConfig::for_arch(Arch::X86_64).sections_shift(52), 25);
}

#[test]
fn zones_come_in_the_order_of_their_numbers() {
    use ZoneType::{Device, Dma, Dma32, HighMem, Movable, Normal};
    let zones = |f| KernelConfig::debian(f).zones().collect::<Vec<_>>();
    assert_eq!(zones(Flavour::Amd64), [Dma, Dma32, Normal, Movable, Device]);
    assert_eq!(zones(Flavour::Arm64), [Dma, Dma32, Normal, Movable]);
    assert_eq!(zones(Flavour::Armmp), [Dma, Normal, HighMem, Movable]);
    for flavour in Flavour::ALL {
        let config = KernelConfig::debian(flavour);
        assert_eq!(config.zones().count(), config.max_nr_zones() as usize);
    }
}

#[test]
fn build_facts_are_those_of_the_flavour() {
    let facts = |f| BuildFacts::for_config(&KernelConfig::debian(f));
    let sizes: Vec<_> = Flavour::ALL.iter().map(|f| facts(*f).struct_page).collect();
    assert_eq!(sizes, [64, 64, 36, 36, 40, 40]);
    assert_eq!(facts(Flavour::Amd64).pglist_data, 174_208);
    assert_eq!(facts(Flavour::Arm64).pglist_data, 11_392);
    assert_eq!(facts(Flavour::Armmp).pglist_data, 0);
    assert_eq!(facts(Flavour::Amd64).percpu_static, 217_088);
    assert_eq!(facts(Flavour::ArmmpLpae).percpu_static, 45_204);
    assert_eq!((facts(Flavour::I686).percpu_reserved, facts(Flavour::I686).percpu_dynamic), (0, 28 << 10));
    assert_eq!(
        (facts(Flavour::Armmp).percpu_reserved, facts(Flavour::Armmp).percpu_dynamic),
        (8192, 20 << 10)
    );
    assert_eq!((facts(Flavour::Amd64).real_mode_blob, facts(Flavour::I686).real_mode_blob), (28_672, 16_384));
}

#[test]
fn symbols_say_what_they_do() {
    assert_eq!(effect("CONFIG_HIGHMEM"), Effect::Field);
    assert_eq!(effect("HIGHMEM"), Effect::Field);
    assert_eq!(effect("CONFIG_ZSWAP"), Effect::NoEffect);
    assert_eq!(effect("CONFIG_SOUND"), Effect::Unknown);
}

#[test]
fn what_slabs_are_configured_with_is_read() {
    let of = |text| {
        let c = with(Flavour::Amd64, text);
        [c.slub_cpu_partial, c.slub_debug, c.slab_merge_default, c.failslab]
    };
    assert_eq!(of(""), [true, true, true, false]);
    assert_eq!(of("# CONFIG_SLUB_CPU_PARTIAL is not set"), [false, true, true, false]);
    assert_eq!(of("# CONFIG_SLUB_DEBUG is not set"), [true, false, true, false]);
    assert_eq!(of("# CONFIG_SLAB_MERGE_DEFAULT is not set"), [true, true, false, false]);
    assert_eq!(of("CONFIG_FAILSLAB=y"), [true, true, true, true]);
    assert_eq!(of("# CONFIG_SMP is not set"), [false, true, true, false], "it needs other processors");
    for symbol in ["SLUB_CPU_PARTIAL", "SLUB_DEBUG", "SLAB_MERGE_DEFAULT", "FAILSLAB"] {
        assert_eq!(effect(symbol), Effect::Field, "{symbol}");
    }
}

#[test]
fn a_file_says_its_architecture() {
    assert_eq!(arch_of("CONFIG_FOO=y\nCONFIG_ARM64=y\n"), Some(Arch::Arm64));
    assert_eq!(arch_of("CONFIG_X86=y\nCONFIG_X86_32=y\n"), Some(Arch::I386));
    assert_eq!(arch_of("# CONFIG_ARM is not set\nCONFIG_X86_64=y"), Some(Arch::X86_64));
    assert_eq!(arch_of("CONFIG_RISCV=y"), None);
    // An excerpt without that line is told by what only one architecture has; the line itself counts more.
    assert_eq!(arch_of("CONFIG_SMP=y\n# CONFIG_ARM_LPAE is not set\n"), Some(Arch::Arm));
    assert_eq!(arch_of("CONFIG_HIGHMEM64G=y\n"), Some(Arch::I386));
    assert_eq!(arch_of("CONFIG_ARM_THUMB=y\nCONFIG_ARM64=y\n"), Some(Arch::Arm64));
    assert_eq!(arch_of("CONFIG_HIGHMEM=y\n"), None);
    assert_eq!(
        refused(Flavour::Amd64, "CONFIG_ARM64=y"),
        "line 1: the configuration is for Arm64, the machine is X86_64"
    );
}

#[test]
fn of_a_complete_file_what_is_missing_is_off() {
    const HEAD: &str =
        "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/arm64 6.1.0 Kernel Configuration\n#\n";
    let text = [
        HEAD,
        "CONFIG_ARM64=y\nCONFIG_SMP=y\nCONFIG_NR_CPUS=4\nCONFIG_SPARSEMEM=y\nCONFIG_SPARSEMEM_VMEMMAP=y\n",
    ]
    .concat();
    let config = with(Flavour::Arm64, &text);
    assert!(!config.numa && !config.zone_dma && !config.hugetlb && !config.memcg);
    assert_eq!((config.cma, config.thp, config.nr_cpus), (None, Thp::Off, 4));
    // The same without the head keeps what it does not mention.
    let config = with(Flavour::Arm64, text.strip_prefix(HEAD).unwrap());
    assert!(config.numa && config.zone_dma && config.cma.is_some());
}

#[test]
fn lines_that_are_no_configuration_are_errors_with_their_number() {
    let expected = "expected CONFIG_NAME=value, # CONFIG_NAME is not set, or a comment";
    assert_eq!(refused(Flavour::Arm64, "\n# comment\nHIGHMEM=y"), std::format!("line 3: {expected}"));
    assert_eq!(refused(Flavour::Arm64, "CONFIG_NUMA"), std::format!("line 1: {expected}"));
    assert_eq!(refused(Flavour::Arm64, "CONFIG_=y"), std::format!("line 1: {expected}"));
    assert_eq!(refused(Flavour::Arm64, "CONFIG_NUMA=3"), "line 1: CONFIG_NUMA takes y or n");
    assert_eq!(refused(Flavour::Arm64, "CONFIG_NR_CPUS=y"), "line 1: CONFIG_NR_CPUS takes a number");
    assert_eq!(refused(Flavour::Arm64, "CONFIG_NR_CPUS="), "line 1: CONFIG_NR_CPUS takes a number");
    assert_eq!(
        refused(Flavour::Arm64, "CONFIG_ARCH_FORCE_MAX_ORDER=300"),
        "line 1: CONFIG_ARCH_FORCE_MAX_ORDER takes a number"
    );
}

#[test]
fn values_may_be_quoted_modules_or_hexadecimal() {
    let config = with(
        Flavour::Amd64,
        "CONFIG_LOCALVERSION=\"-x=y\"\nCONFIG_MEMTEST=m\nCONFIG_PHYSICAL_START=0x2000000",
    );
    assert!(config.memtest);
    assert_eq!(config.physical_start, 0x200_0000);
}
