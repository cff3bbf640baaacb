use super::*;
use crate::layout::{KIB, LayoutError, MIB};

/// Documentation/arm64/memory of 6.1, "4KB pages + 4 levels (48-bit)".
#[test]
fn pages_of_4k_and_48_bits_are_as_documented() {
    let l = layout(&Facts::new(KernelConfig::debian(Flavour::Arm64)));
    assert_eq!(at(&l, Kind::User).1, 0x0000_ffff_ffff_ffff);
    assert_eq!(at(&l, Kind::LinearMap), (0xffff_0000_0000_0000, 0xffff_7fff_ffff_ffff));
    assert_eq!(at(&l, Kind::Modules), (0xffff_8000_0000_0000, 0xffff_8000_07ff_ffff));
    assert_eq!(at(&l, Kind::Vmalloc), (0xffff_8000_0800_0000, 0xffff_fbff_efff_ffff));
    assert_eq!(at(&l, Kind::Fixmap).1, 0xffff_fbff_fdff_ffff);
    assert_eq!(at(&l, Kind::Guard), (0xffff_fbff_fe00_0000, 0xffff_fbff_fe7f_ffff));
    assert_eq!(at(&l, Kind::PciIo), (0xffff_fbff_fe80_0000, 0xffff_fbff_ff7f_ffff));
    assert_eq!(at(&l, Kind::Vmemmap), (0xffff_fc00_0000_0000, 0xffff_fdff_ffff_ffff));
    let last = l.regions().last().unwrap();
    assert_eq!((last.kind, ends(last.range)), (Kind::Guard, (0xffff_fe00_0000_0000, u64::MAX)));
    assert!(l.get(Kind::BpfJit).is_none());
}

/// The same document, "64KB pages + 3 levels (52-bit with HW support)".
#[test]
fn pages_of_64k_and_52_bits_are_as_documented() {
    let mut f = with(Flavour::Arm64, "CONFIG_ARM64_64K_PAGES=y\nCONFIG_ARM64_VA_BITS_52=y");
    let l = layout(&f);
    assert_eq!(at(&l, Kind::User).1, 0x000f_ffff_ffff_ffff);
    assert_eq!(at(&l, Kind::LinearMap), (0xfff0_0000_0000_0000, 0xffff_7fff_ffff_ffff));
    assert_eq!(at(&l, Kind::Modules), (0xffff_8000_0000_0000, 0xffff_8000_07ff_ffff));
    assert_eq!(at(&l, Kind::Vmalloc), (0xffff_8000_0800_0000, 0xffff_fbff_efff_ffff));
    assert_eq!(at(&l, Kind::PciIo), (0xffff_fbff_fe80_0000, 0xffff_fbff_ff7f_ffff));
    assert_eq!(at(&l, Kind::Vmemmap), (0xffff_fc00_0000_0000, 0xffff_ffdf_ffff_ffff));
    assert_eq!(l.limits().map_window.get(), 1 << 48);
    // On a processor with 48 bits the rest is out of reach; what hangs from the top stays.
    f.wide = false;
    let narrow = layout(&f);
    assert_eq!(at(&narrow, Kind::LinearMap), (0xffff_0000_0000_0000, 0xffff_7fff_ffff_ffff));
    assert_eq!(at(&narrow, Kind::User).1, 0x0000_ffff_ffff_ffff);
    assert_eq!(narrow.get(Kind::Vmemmap), l.get(Kind::Vmemmap));
    // The part of vmemmap that is in use begins where the 48-bit half does in the 52-bit one.
    let used = layout(&f.with_ram(ram(0x4000_0000, 1 << 30))).get(Kind::VmemmapUsed).unwrap();
    assert_eq!(used.start.get(), 0xffff_fc00_0000_0000 + ((0xf_u64 << 48) >> 16) * 64);
    assert_eq!(used.len, ((1 << 30) >> 16) * 64);
}

/// Captured kernels: 6.1 says VmallocTotal in /proc/meminfo, and its tables say where I/O ports and struct pages are.
#[test]
fn what_6_1_shows_of_itself_is_where_the_layout_has_it() {
    let l = layout(&Facts::new(KernelConfig::debian(Flavour::Arm64)).with_ram(ram(0x4000_0000, 1 << 30)));
    assert_eq!(l.get(Kind::Vmalloc).unwrap().len >> 10, 133_143_592_960);
    assert_eq!(l.get(Kind::PciIo).unwrap().start.get(), 0xffff_fbff_fe80_0000);
    assert_eq!(ends(l.get(Kind::VmemmapUsed).unwrap()), (0xffff_fc00_0000_0000, 0xffff_fc00_00ff_ffff));
    assert_eq!(ends(l.get(Kind::LinearUsed).unwrap()), (0xffff_0000_0000_0000, 0xffff_0000_3fff_ffff));
}

/// Documentation/arm64/memory of 5.4 to 5.10: the linear map is below, what hangs from the top does so more closely.
#[test]
fn the_map_of_5_4_has_the_linear_map_below_and_small_guards() {
    let facts = Facts::new(KernelConfig::debian(Flavour::Arm64)).at_version(Version::new(5, 4));
    let l = layout(&facts);
    assert_eq!(at(&l, Kind::LinearMap), (0xffff_0000_0000_0000, 0xffff_7fff_ffff_ffff));
    assert_eq!(at(&l, Kind::BpfJit), (0xffff_8000_0000_0000, 0xffff_8000_07ff_ffff));
    assert_eq!(at(&l, Kind::Modules), (0xffff_8000_0800_0000, 0xffff_8000_0fff_ffff));
    assert_eq!(at(&l, Kind::Vmalloc), (0xffff_8000_1000_0000, 0xffff_fdff_bffe_ffff));
    assert_eq!(at(&l, Kind::Fixmap).1, 0xffff_fdff_fe9f_ffff);
    assert_eq!(at(&l, Kind::PciIo), (0xffff_fdff_fec0_0000, 0xffff_fdff_ffbf_ffff));
    assert_eq!(at(&l, Kind::Vmemmap), (0xffff_fdff_ffe0_0000, 0xffff_ffff_ffdf_ffff));
}

/// The banner of 4.x: modules, vmalloc, fixed, PCI I/O, vmemmap, memory.
#[test]
fn before_5_4_the_linear_map_is_the_upper_half() {
    let facts = Facts::new(KernelConfig::debian(Flavour::Arm64)).at_version(V4_14);
    let l = layout(&facts);
    assert_eq!(at(&l, Kind::Modules), (0xffff_0000_0000_0000, 0xffff_0000_07ff_ffff));
    assert_eq!(at(&l, Kind::Vmalloc), (0xffff_0000_0800_0000, 0xffff_7dff_bffe_ffff));
    assert_eq!(at(&l, Kind::Fixmap).1, 0xffff_7dff_febf_ffff);
    assert_eq!(at(&l, Kind::PciIo), (0xffff_7dff_fee0_0000, 0xffff_7dff_ffdf_ffff));
    assert_eq!(at(&l, Kind::Vmemmap), (0xffff_7e00_0000_0000, 0xffff_7fff_ffff_ffff));
    assert_eq!(at(&l, Kind::LinearMap), (0xffff_8000_0000_0000, u64::MAX));
    assert!(l.get(Kind::BpfJit).is_none());
    let l = layout(&facts.at_version(Version::new(5, 3)));
    assert_eq!(at(&l, Kind::BpfJit), (0xffff_0000_0000_0000, 0xffff_0000_07ff_ffff));
    assert_eq!(at(&l, Kind::Modules).0, 0xffff_0000_0800_0000);
}

/// Before 4.6 the image was in the linear map, with the modules right below it.
#[test]
fn before_4_6_modules_end_where_the_linear_map_begins() {
    let l = layout(&Facts::new(KernelConfig::debian(Flavour::Arm64)).at_version(Version::new(4, 1)));
    assert_eq!(at(&l, Kind::Vmalloc), (0xffff_0000_0000_0000, 0xffff_7bff_bffe_ffff));
    assert_eq!(at(&l, Kind::Vmemmap), (0xffff_7bff_c000_0000, 0xffff_7fff_bfff_ffff));
    assert_eq!(at(&l, Kind::Fixmap).1, 0xffff_7fff_fabf_ffff);
    assert_eq!(at(&l, Kind::PciIo), (0xffff_7fff_fae0_0000, 0xffff_7fff_fbdf_ffff));
    assert_eq!(at(&l, Kind::Modules), (0xffff_7fff_fc00_0000, 0xffff_7fff_ffff_ffff));
}

#[test]
fn modules_have_2_gib_since_6_5() {
    let l = layout(&Facts::new(KernelConfig::debian(Flavour::Arm64)).at_version(Version::new(6, 6)));
    assert_eq!(at(&l, Kind::Modules), (0xffff_8000_0000_0000, 0xffff_8000_7fff_ffff));
    assert_eq!(at(&l, Kind::Vmalloc).0, 0xffff_8000_8000_0000);
}

/// PAGE_OFFSET is -2^VA_BITS, the other half begins at -2^(VA_BITS - 1), and each of the linear map's pages has its struct page.
#[test]
fn every_granule_and_address_size_has_a_layout_in_every_version() {
    let sizes = [(4, 39), (4, 48), (16, 36), (16, 47), (16, 48), (64, 42), (64, 48)];
    for (page, bits) in sizes {
        let mut text = std::format!("CONFIG_ARM64_{page}K_PAGES=y\nCONFIG_ARM64_VA_BITS={bits}\n");
        text.push_str("CONFIG_ARM64_PA_BITS=48\n");
        let facts = with(Flavour::Arm64, &text);
        for version in [(6, 6), (6, 1), (5, 15), (5, 10), (5, 4), (5, 3), (4, 19), (4, 6), (4, 5), (4, 0)] {
            let version = Version::new(version.0, version.1);
            let facts = facts.at_version(version);
            if (page, bits) == (16, 36) && !version.since(4, 6) {
                // What lies between vmemmap and the linear map was given one entry of the table above the PMDs, and that
                // is only 32 MiB here: the regions of those kernels collide.
                assert!(matches!(Layout::of(&facts), Err(LayoutError::Overlap(..))));
                continue;
            }
            let l = Layout::of(&facts).unwrap_or_else(|e| panic!("{page}K {bits} {version}: {e}"));
            l.validate().unwrap();
            let linear = l.get(Kind::LinearMap).unwrap();
            assert_eq!(linear.len, 1 << (bits - 1), "{page}K {bits} {version}");
            let vmemmap = l.get(Kind::Vmemmap).unwrap();
            let pages = linear.len / (page * KIB);
            assert!(vmemmap.len >= pages * 64, "{page}K {bits} {version}");
            assert!(l.get(Kind::Vmalloc).unwrap().len > 64 * MIB, "{page}K {bits} {version}");
            assert_eq!(l.get(Kind::PciIo).unwrap().len, 16 * MIB);
        }
    }
}

/// 39 bits, from the definitions: vmemmap at -2^(39 - 6), the rest below it at the same distances.
#[test]
fn with_39_bits_everything_above_the_modules_moves_to_the_top() {
    let l = layout(&with(Flavour::Arm64, "CONFIG_ARM64_VA_BITS_39=y"));
    assert_eq!(at(&l, Kind::LinearMap), (0xffff_ff80_0000_0000, 0xffff_ffbf_ffff_ffff));
    assert_eq!(at(&l, Kind::Modules).0, 0xffff_ffc0_0000_0000);
    assert_eq!(at(&l, Kind::Vmalloc), (0xffff_ffc0_0800_0000, 0xffff_fffd_efff_ffff));
    assert_eq!(at(&l, Kind::PciIo).0, 0xffff_fffd_fe80_0000);
    assert_eq!(at(&l, Kind::Vmemmap), (0xffff_fffe_0000_0000, 0xffff_fffe_ffff_ffff));
    assert_eq!(l.limits().task_size.get(), 1 << 39);
}

#[test]
fn a_52_bit_kernel_needs_5_4() {
    let f = with(Flavour::Arm64, "CONFIG_ARM64_64K_PAGES=y\nCONFIG_ARM64_VA_BITS_52=y");
    let refused = Layout::of(&f.at_version(Version::new(5, 3))).unwrap_err();
    assert_eq!(std::string::ToString::to_string(&refused), "ARM64_VA_BITS_52 needs Linux 5.4");
}

#[test]
fn ram_beyond_the_linear_map_is_refused_with_both_sizes() {
    let f = with(Flavour::Arm64, "CONFIG_ARM64_VA_BITS_39=y").with_ram(ram(0, (1 << 38) + 4096));
    let refused = Layout::of(&f).unwrap_err();
    let expected = "0x4000001000 bytes are mapped permanently, there is room for 0x4000000000";
    assert_eq!(std::string::ToString::to_string(&refused), expected);
}

/// Linux's dump of the tables has these headings in this order.
#[test]
fn the_dump_of_the_tables_has_its_headings() {
    let l = layout(&Facts::new(KernelConfig::debian(Flavour::Arm64)));
    let names: std::vec::Vec<_> = l.markers().map(|m| m.name).collect();
    assert_eq!(
        names,
        [
            "Linear Mapping start",
            "Linear Mapping end",
            "Modules start",
            "Modules end",
            "vmalloc() area",
            "vmalloc() end",
            "Fixmap start",
            "Fixmap end",
            "PCI I/O start",
            "PCI I/O end",
            "vmemmap start",
            "vmemmap end",
        ]
    );
    assert!(l.markers().map(|m| m.at).is_sorted());
}
