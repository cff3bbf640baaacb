use super::*;
use crate::layout::build::Builder;
use crate::layout::{ArmFacts, Bases, CacheWindows, LayoutError, Region};
use pagewright_addr::VirtAddr;
use std::collections::BTreeSet;

#[test]
fn every_address_belongs_to_one_region_of_every_kernel() {
    for flavour in Flavour::ALL {
        let l = layout(&Facts::new(KernelConfig::debian(flavour)));
        let top = if l.facts().config.is_64bit() { u64::MAX } else { u32::MAX.into() };
        assert_eq!(l.regions().last().unwrap().range.last().get(), top, "{}", flavour.name());
        for region in l.regions().iter().filter(|r| r.depth == 0) {
            let (first, last) = ends(region.range);
            assert!(l.at(VirtAddr::new(first)).is_some() && l.at(VirtAddr::new(last)).is_some());
        }
        if top != u64::MAX {
            assert!(l.at(VirtAddr::new(top + 1)).is_none());
        }
    }
}

#[test]
fn every_kind_has_a_word_of_its_own() {
    let mut words = BTreeSet::new();
    for flavour in Flavour::ALL {
        let l = layout(&Facts::new(KernelConfig::debian(flavour)));
        let kinds: BTreeSet<Kind> = l.regions().iter().map(|r| r.kind).collect();
        for kind in kinds {
            words.insert((kind.word(), kind));
            assert!(kind.word().chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            assert!(!kind.name().is_empty());
        }
    }
    let names: BTreeSet<_> = words.iter().map(|(word, _)| word).collect();
    assert_eq!(names.len(), words.len());
}

#[test]
fn regions_that_collide_are_named() {
    let region = |kind, start, len, depth| Region {
        kind,
        range: VirtRange::from_len(VirtAddr::new(start), len),
        depth,
    };
    let mut b = Builder::new();
    b.add(Kind::Vmalloc, 0x1000, 0x2000);
    b.add(Kind::Modules, 0x2000, 0x1000);
    let expected = LayoutError::Overlap(
        region(Kind::Vmalloc, 0x1000, 0x2000, 0),
        region(Kind::Modules, 0x2000, 0x1000, 0),
    );
    assert_eq!(b.finish(u64::MAX).unwrap_err(), expected);
    assert_eq!(
        std::string::ToString::to_string(&expected),
        "vmalloc at 0x1000+0x2000 and modules at 0x2000+0x1000 collide"
    );
    let mut b = Builder::new();
    b.add(Kind::Vmalloc, 0x1000, 0x2000);
    b.inside(Kind::PciIo, 0x2000, 0x2000);
    assert!(matches!(b.finish(u64::MAX), Err(LayoutError::Overlap(..))));
    // Beyond the last address.
    let mut b = Builder::new();
    b.add(Kind::User, 0xffff_f000, 0x2000);
    assert!(b.finish(u32::MAX.into()).is_err());
}

#[test]
fn gaps_become_holes_up_to_the_last_address() {
    let mut b = Builder::new();
    b.span(Kind::Vmemmap, 0xffff_ffff_ffff_0000, 0);
    b.add(Kind::User, 0x1000, 0x1000);
    b.inside(Kind::Text, 0x1800, 0x100);
    let regions = b.finish(u64::MAX).unwrap();
    let seen: std::vec::Vec<_> = regions.iter().map(|r| (r.kind, r.range.start.get(), r.depth)).collect();
    assert_eq!(
        seen,
        [
            (Kind::Hole, 0, 0),
            (Kind::User, 0x1000, 0),
            (Kind::Text, 0x1800, 1),
            (Kind::Hole, 0x2000, 0),
            (Kind::Vmemmap, 0xffff_ffff_ffff_0000, 0),
        ]
    );
}

#[test]
fn a_struct_page_without_a_size_is_refused() {
    let facts = Facts { struct_page: 0, ..Facts::new(KernelConfig::debian(Flavour::Arm64)) };
    assert_eq!(Layout::of(&facts).unwrap_err(), LayoutError::StructPage(0));
}

#[test]
fn a_configuration_that_cannot_be_is_refused_by_its_symbols() {
    let mut facts = Facts::new(KernelConfig::debian(Flavour::Arm64));
    facts.config.kasan = true;
    assert_eq!(std::string::ToString::to_string(&Layout::of(&facts).unwrap_err()), "KASAN is not modelled");
}

/// Facts come from outside: any of them give a layout that holds together, or an error.
#[test]
fn no_facts_make_it_panic_and_every_layout_holds_together() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Of any magnitude.
        state >> (state & 63)
    };
    let texts = [
        "",
        "CONFIG_ARM64_VA_BITS_39=y",
        "CONFIG_ARM64_64K_PAGES=y\nCONFIG_ARM64_VA_BITS_52=y",
        "CONFIG_ARM64_16K_PAGES=y\nCONFIG_ARM64_VA_BITS_47=y",
        "CONFIG_VMSPLIT_2G=y",
        "CONFIG_VMSPLIT_1G=y\nCONFIG_NR_CPUS=32\nCONFIG_DEBUG_KMAP_LOCAL=y",
        "CONFIG_RANDOMIZE_BASE=n\nCONFIG_EFI=n",
    ];
    let mut made = 0;
    for round in 0..40_000 {
        let flavour = Flavour::ALL[round % 6];
        let mut config = KernelConfig::debian(flavour);
        // What another architecture's choices make of this one is not of interest.
        let _ = config.apply(texts[(next() % 7) as usize]);
        if next() % 4 == 0 {
            config.mmap_min_addr = next() as u32;
        }
        let mut facts =
            Facts::new(config).at_version(Version::new(4 + (next() % 3) as u16, (next() % 20) as u16));
        facts.wide = next() % 2 == 0;
        if next() % 4 == 0 {
            (facts.struct_page, facts.possible_cpus) = (next() as u32 % 5000, next() as u32);
            (facts.vmalloc, facts.reservetop) = (Some(next()), next());
        }
        if next() % 2 == 0 {
            let at = |n| PhysAddr::new(n);
            facts.ram = Some(Ram { map_start: at(next()), start: at(next()), high_memory: at(next()) });
        }
        if next() % 4 == 0 {
            let at = |n| VirtAddr::new(n);
            facts.bases = Some(Bases {
                page_offset: at(next()),
                vmalloc: at(next()),
                vmemmap: at(next().wrapping_neg()),
            });
            let window = || VirtRange::from_len(VirtAddr::new(0xf500_0000), 1 << 20);
            facts.arm = ArmFacts {
                low_vectors: next() % 2 == 0,
                itcm_bytes: next() as u32,
                dtcm_bytes: next() as u32,
                cache: [CacheWindows::Aliasing, CacheWindows::Minicache][(next() % 2) as usize],
                cache_flush: Some([window(), window()]),
            };
        }
        if next() % 4 == 0 {
            let mut image = pagewright_firmware::KernelImage::default();
            (image.text_start, image.text_end) = (PhysAddr::new(next()), PhysAddr::new(next()));
            (image.bss_start, image.bss_end) = (PhysAddr::new(next()), PhysAddr::new(next()));
            (image.virt, image.head_len) = (next().wrapping_neg(), next());
            facts.image = Some(image);
        }
        if let Ok(l) = Layout::of(&facts) {
            l.validate().unwrap_or_else(|e| panic!("{e}: {facts:?}"));
            let _ = (l.limits(), l.markers().count());
            made += 1;
        }
    }
    assert!(made > 10_000, "{made}");
}
