use super::*;
use crate::layout::{CacheWindows, LayoutError, MIB, lowmem_reach, vmalloc_size};
use pagewright_addr::VirtAddr;
use std::string::ToString;

fn armmp() -> Facts {
    Facts::new(KernelConfig::debian(Flavour::Armmp))
}

/// The banner of 4.14 on a board with 1 GiB, high memory and the usual split.
#[test]
fn the_banner_of_4_14_is_reproduced() {
    let l = layout(&armmp().at_version(V4_14).with_ram(ram(0x4000_0000, 768 * MIB)));
    assert_eq!(at(&l, Kind::Vectors), (0xffff_0000, 0xffff_0fff));
    assert_eq!(at(&l, Kind::Fixmap), (0xffc0_0000, 0xffef_ffff));
    assert_eq!(at(&l, Kind::Vmalloc), (0xf080_0000, 0xff7f_ffff));
    assert_eq!(at(&l, Kind::LinearMap), (0xc000_0000, 0xefff_ffff));
    assert_eq!(at(&l, Kind::Pkmap), (0xbfe0_0000, 0xbfff_ffff));
    assert_eq!(at(&l, Kind::Modules), (0xbf00_0000, 0xbfdf_ffff));
    assert!(l.get(Kind::Fdt).is_none());
}

/// Documentation/arm/memory of 6.1.
#[test]
fn the_map_of_6_1_is_as_documented() {
    let l = layout(&armmp());
    assert_eq!(at(&l, Kind::User), (0x2000, 0xbeff_ffff));
    assert_eq!(at(&l, Kind::LinearMap), (0xc000_0000, 0xefff_ffff));
    assert_eq!(at(&l, Kind::VmallocHole), (0xf000_0000, 0xf07f_ffff));
    assert_eq!(at(&l, Kind::PciIo), (0xfee0_0000, 0xfeff_ffff));
    assert_eq!(at(&l, Kind::Fdt), (0xff80_0000, 0xffbf_ffff));
    assert_eq!(at(&l, Kind::Fixmap), (0xffc8_0000, 0xffef_ffff));
    assert_eq!(at(&l, Kind::Vectors), (0xffff_0000, 0xffff_0fff));
    assert_eq!(at(&l, Kind::VectorStubs), (0xffff_1000, 0xffff_1fff));
    assert_eq!(l.regions().last().unwrap().range.last().get(), 0xffff_ffff);
    assert_eq!(l.limits().io_space_limit, Some(0xf_ffff));
}

#[test]
fn the_zero_page_is_listed_where_the_boot_has_it() {
    let facts = armmp().with_ram(ram(0x4000_0000, 256 * MIB));
    assert!(layout(&facts).get(Kind::ZeroPage).is_none());
    let l = layout(&Facts { zero_page: Some(PhysAddr::new(0x4fdf_e000)), ..facts });
    assert_eq!(at(&l, Kind::ZeroPage), (0xcfdf_e000, 0xcfdf_efff));
}

/// VmallocTotal in the /proc/meminfo of captured kernels, with the low memory that their zones show.
#[test]
fn vmalloc_space_is_as_large_as_captured_kernels_say() {
    let kib = |facts: &Facts| layout(facts).get(Kind::Vmalloc).unwrap().len >> 10;
    // 1 GiB and more; 256 MiB; mem=300M, which ends in the middle of 8 MiB; vmalloc=512M.
    assert_eq!(kib(&armmp().with_ram(ram(0x4000_0000, 768 * MIB))), 245_760);
    assert_eq!(kib(&armmp().with_ram(ram(0x4000_0000, 256 * MIB))), 770_048);
    assert_eq!(kib(&armmp().with_ram(ram(0x4000_0000, 300 * MIB))), 729_088);
    let large = Facts { vmalloc: Some(512 * MIB), ..armmp() };
    assert_eq!(kib(&large), 524_288);
    assert_eq!(kib(&large.with_ram(ram(0x4000_0000, 496 * MIB))), 524_288);
    let lpae = Facts::new(KernelConfig::debian(Flavour::ArmmpLpae));
    assert_eq!(kib(&lpae.with_ram(ram(0x4000_0000, 768 * MIB))), 245_760);
}

#[test]
fn every_split_has_its_map() {
    for (choice, offset) in [
        ("CONFIG_VMSPLIT_3G=y", 0xc000_0000u64),
        ("CONFIG_VMSPLIT_3G_OPT=y", 0xb000_0000),
        ("CONFIG_VMSPLIT_2G=y", 0x8000_0000),
        ("CONFIG_VMSPLIT_1G=y", 0x4000_0000),
    ] {
        for flavour in [Flavour::Armmp, Flavour::ArmmpLpae] {
            if flavour == Flavour::ArmmpLpae && offset == 0xb000_0000 {
                continue;
            }
            let l = layout(&with(flavour, choice));
            assert_eq!(at(&l, Kind::LinearMap), (offset, 0xff80_0000 - 248 * MIB - 1), "{choice}");
            assert_eq!(at(&l, Kind::Modules), (offset - 16 * MIB, offset - 2 * MIB - 1));
            assert_eq!(l.limits().task_size.get(), offset - 16 * MIB);
        }
    }
}

#[test]
fn thumb_2_halves_the_modules_and_leaves_a_gap_above_user_space() {
    let l = layout(&with(Flavour::Armmp, "CONFIG_THUMB2_KERNEL=y"));
    assert_eq!(at(&l, Kind::Modules), (0xbf80_0000, 0xbfdf_ffff));
    let gap = l.at(VirtAddr::new(0xbf00_0000)).unwrap();
    assert_eq!((gap.kind, ends(gap.range)), (Kind::Hole, (0xbf00_0000, 0xbf7f_ffff)));
}

#[test]
fn without_highmem_modules_reach_up_to_the_kernel() {
    let l = layout(&with(Flavour::Armmp, "CONFIG_HIGHMEM=n\nCONFIG_HIGHPTE=n"));
    assert_eq!(at(&l, Kind::Modules), (0xbf00_0000, 0xbfff_ffff));
    assert!(l.get(Kind::Pkmap).is_none());
}

/// The helpers stay where programs look for them.
#[test]
fn low_vectors_lie_at_zero_and_the_helpers_at_the_top() {
    let mut f = armmp();
    f.arm.low_vectors = true;
    let l = layout(&f);
    assert_eq!(l.at(VirtAddr::new(0)).unwrap().kind, Kind::Vectors);
    assert_eq!(l.at(VirtAddr::new(0x1fff)).unwrap().kind, Kind::VectorStubs);
    assert_eq!(l.at(VirtAddr::new(0x2000)).unwrap().kind, Kind::User);
    // kuser_cmpxchg and the helpers' version.
    assert_eq!(l.at(VirtAddr::new(0xffff_0fc0)).unwrap().kind, Kind::KuserHelpers);
    assert_eq!(l.at(VirtAddr::new(0xffff_0ffc)).unwrap().kind, Kind::KuserHelpers);
    f.config.kuser_helpers = false;
    assert_eq!(layout(&f).at(VirtAddr::new(0xffff_0ffc)).unwrap().kind, Kind::Reserved);
    let high = layout(&armmp());
    assert_eq!(high.at(VirtAddr::new(0)).unwrap().kind, Kind::Null);
}

#[test]
fn the_windows_for_aliasing_caches_are_at_the_top() {
    let mut f = armmp();
    f.arm.cache = CacheWindows::Aliasing;
    let l = layout(&f);
    assert_eq!(at(&l, Kind::FlushAlias), (0xffff_4000, 0xffff_7fff));
    assert_eq!(at(&l, Kind::CopyPageFrom), (0xffff_8000, 0xffff_bfff));
    assert_eq!(at(&l, Kind::CopyPageTo), (0xffff_c000, 0xffff_ffff));
    f.arm.cache = CacheWindows::Minicache;
    let l = layout(&f);
    assert_eq!(at(&l, Kind::CopyPageMinicache), (0xffff_8000, 0xffff_8fff));
    assert_eq!(at(&l, Kind::Reserved), (0xffff_2000, 0xffff_7fff));
    // StrongARM boards flush by reading from two windows among their static mappings.
    let window = |at| VirtRange::from_len(VirtAddr::new(at), MIB);
    f.arm.cache_flush = Some([window(0xf500_0000), window(0xf510_0000)]);
    let l = layout(&f);
    assert_eq!(l.at(VirtAddr::new(0xf500_0000)).unwrap().kind, Kind::CacheFlush);
    assert_eq!(l.at(VirtAddr::new(0xf510_0000)).unwrap().kind, Kind::CacheFlushMinicache);
    f.arm.cache_flush = Some([window(0xf07f_8000), window(0xf510_0000)]);
    assert!(matches!(Layout::of(&f), Err(LayoutError::Overlap(..))));
}

#[test]
fn tightly_coupled_memory_is_below_the_vectors() {
    let mut f = with(Flavour::Armmp, "CONFIG_HAVE_TCM=y");
    (f.arm.itcm_bytes, f.arm.dtcm_bytes) = (0x4000, 0x2000);
    let l = layout(&f);
    assert_eq!(at(&l, Kind::Itcm), (0xfffe_0000, 0xfffe_3fff));
    assert_eq!(at(&l, Kind::Dtcm), (0xfffe_8000, 0xfffe_9fff));
    f.arm.itcm_bytes = 1 << 20;
    assert_eq!(at(&layout(&f), Kind::Itcm), (0xfffe_0000, 0xfffe_7fff));
}

#[test]
fn vmalloc_is_held_between_16_mib_and_what_leaves_32_mib_of_low_memory() {
    let c = KernelConfig::debian(Flavour::Armmp);
    let size = |asked| vmalloc_size(&c, Version::V6_1, asked) / MIB;
    assert_eq!(size(None), 240);
    assert_eq!(size(Some(1)), 16);
    assert_eq!(size(Some(512 * MIB)), 512);
    assert_eq!(size(Some(2 << 30)), 0x3f8 - 32 - 8);
    // The kernel takes the value modulo 2^32.
    assert_eq!(size(Some((1 << 32) + 32 * MIB)), 32);
    assert_eq!(lowmem_reach(&c, Version::V6_1, 240 * MIB), 768 * MIB);
    let l = layout(&Facts { vmalloc: Some(2 << 30), ..armmp() });
    assert_eq!(l.get(Kind::LinearMap).unwrap().len, 32 * MIB);
}

#[test]
fn more_low_memory_than_addresses_is_refused() {
    let refused = Layout::of(&armmp().with_ram(ram(0, 1 << 30))).unwrap_err();
    assert_eq!(refused.to_string(), "0x40000000 bytes are mapped permanently, there is room for 0x3f000000");
}

#[test]
fn versions_before_the_oldest_are_refused_by_name() {
    let refused = Layout::of(&armmp().at_version(Version::new(3, 18))).unwrap_err();
    assert_eq!(refused.to_string(), "the layout of Arm in 3.18 is not modelled, expected 4.0 or later");
    assert_eq!(at(&layout(&armmp().at_version(Version::new(4, 3))), Kind::Vmalloc).1, 0xfeff_ffff);
}

#[test]
fn the_dump_of_the_tables_has_its_headings() {
    let l = layout(&armmp());
    let markers: std::vec::Vec<_> = l.markers().map(|m| (m.at.get(), m.name)).collect();
    assert_eq!(
        markers,
        [
            (0xbf00_0000, "Modules"),
            (0xc000_0000, "Kernel Mapping"),
            (0xf080_0000, "vmalloc() Area"),
            (0xff80_0000, "vmalloc() End"),
            (0xffc8_0000, "Fixmap Area"),
            (0xffff_0000, "Vectors"),
            (0xffff_2000, "Vectors End"),
        ]
    );
}
