use super::*;
use crate::layout::{Bases, LayoutError, MIB};
use pagewright_addr::VirtAddr;

fn amd64(wide: bool) -> Facts {
    Facts { wide, ..Facts::new(KernelConfig::debian(Flavour::Amd64)) }
}

/// Documentation/x86/x86_64/mm, 4 levels, with KASLR built in (1 GiB for the image).
#[test]
fn four_levels_are_as_documented() {
    let l = layout(&amd64(false));
    for (kind, first, last) in [
        (Kind::UserGuard, 0x0000_7fff_ffff_f000, 0x0000_7fff_ffff_ffff),
        (Kind::NonCanonical, 0x0000_8000_0000_0000, 0xffff_7fff_ffff_ffff),
        (Kind::Hypervisor, 0xffff_8000_0000_0000, 0xffff_87ff_ffff_ffff),
        (Kind::LdtRemap, 0xffff_8800_0000_0000, 0xffff_887f_ffff_ffff),
        (Kind::LinearMap, 0xffff_8880_0000_0000, 0xffff_c87f_ffff_ffff),
        (Kind::Vmalloc, 0xffff_c900_0000_0000, 0xffff_e8ff_ffff_ffff),
        (Kind::Vmemmap, 0xffff_ea00_0000_0000, 0xffff_eaff_ffff_ffff),
        (Kind::CpuEntryArea, 0xffff_fe00_0000_0000, 0xffff_fe7f_ffff_ffff),
        (Kind::EspFix, 0xffff_ff00_0000_0000, 0xffff_ff7f_ffff_ffff),
        (Kind::Efi, 0xffff_ffef_0000_0000, 0xffff_fffe_ffff_ffff),
        (Kind::KernelText, 0xffff_ffff_8000_0000, 0xffff_ffff_bfff_ffff),
        (Kind::Modules, 0xffff_ffff_c000_0000, 0xffff_ffff_feff_ffff),
        (Kind::Vsyscall, 0xffff_ffff_ff60_0000, 0xffff_ffff_ff60_0fff),
    ] {
        assert_eq!(at(&l, kind), (first, last), "{kind:?}");
    }
    assert_eq!(at(&l, Kind::Fixmap).1, 0xffff_ffff_ff5f_ffff);
    assert_eq!(l.limits().task_size.get(), 0x0000_7fff_ffff_f000);
    assert_eq!(l.limits().task_size_32.unwrap().get(), 0xffff_e000);
}

/// The same document, 5 levels.
#[test]
fn five_levels_are_as_documented() {
    let l = layout(&amd64(true));
    for (kind, first, last) in [
        (Kind::NonCanonical, 0x0100_0000_0000_0000, 0xfeff_ffff_ffff_ffff),
        (Kind::Hypervisor, 0xff00_0000_0000_0000, 0xff0f_ffff_ffff_ffff),
        (Kind::LdtRemap, 0xff10_0000_0000_0000, 0xff10_ffff_ffff_ffff),
        (Kind::LinearMap, 0xff11_0000_0000_0000, 0xff90_ffff_ffff_ffff),
        (Kind::Vmalloc, 0xffa0_0000_0000_0000, 0xffd1_ffff_ffff_ffff),
        (Kind::Vmemmap, 0xffd4_0000_0000_0000, 0xffd5_ffff_ffff_ffff),
        (Kind::CpuEntryArea, 0xffff_fe00_0000_0000, 0xffff_fe7f_ffff_ffff),
        (Kind::EspFix, 0xffff_ff00_0000_0000, 0xffff_ff7f_ffff_ffff),
        (Kind::KernelText, 0xffff_ffff_8000_0000, 0xffff_ffff_bfff_ffff),
    ] {
        assert_eq!(at(&l, kind), (first, last), "{kind:?}");
    }
    assert_eq!(l.limits().task_size.get(), (1 << 56) - 4096);
    assert_eq!(l.limits().map_window.get(), (1 << 47) - 4096);
}

/// Captured kernels: VmallocTotal (of the last byte), the symbols `page_offset_base` and so on, the tables after boot.
#[test]
fn what_6_1_shows_of_itself_is_where_the_layout_has_it() {
    let total = |l: &Layout| (l.get(Kind::Vmalloc).unwrap().len - 1) >> 10;
    let ram = ram(0, 0x7ffd_f000);
    let facts = Facts { possible_cpus: 2, ..amd64(false) };
    let l = layout(&facts.with_ram(ram));
    assert_eq!(total(&l), 34_359_738_367);
    assert_eq!(total(&layout(&amd64(true))), 13_743_895_347_199);
    assert_eq!(at(&l, Kind::LinearUsed), (0xffff_8880_0000_0000, 0xffff_8880_7ffd_efff));
    // 2 MiB mappings round it up to ffffea0001ffffff.
    assert_eq!(at(&l, Kind::VmemmapUsed).0, 0xffff_ea00_0000_0000);
    assert_eq!(at(&l, Kind::VmemmapUsed).1 | 0x1f_ffff, 0xffff_ea00_01ff_ffff);
    // The second CPU's entry area begins 0x3b000 behind the first's.
    assert_eq!(at(&l, Kind::EntryCpus), (0xffff_fe00_0000_1000, 0xffff_fe00_0000_1000 + 2 * 0x3_b000 - 1));
    assert_eq!(l.at(VirtAddr::new(0xffff_fe00_0000_0123)).unwrap().kind, Kind::EntryIdt);
    assert_eq!(l.at(VirtAddr::new(0xffff_ffff_ff5f_d000)).unwrap().kind, Kind::Fixmap);
}

/// Documentation/x86/x86_64/mm of 4.19.
#[test]
fn before_4_20_the_direct_map_began_where_the_ldt_is_now() {
    let l = layout(&amd64(false).at_version(Version::new(4, 19)));
    assert_eq!(at(&l, Kind::LinearMap), (0xffff_8800_0000_0000, 0xffff_c7ff_ffff_ffff));
    assert_eq!(at(&l, Kind::LdtRemap), (0xffff_fe80_0000_0000, 0xffff_feff_ffff_ffff));
    let l = layout(&amd64(true).at_version(Version::new(4, 19)));
    assert_eq!(at(&l, Kind::LinearMap), (0xff10_0000_0000_0000, 0xff8f_ffff_ffff_ffff));
    assert_eq!(at(&l, Kind::LdtRemap), (0xff90_0000_0000_0000, 0xff9f_ffff_ffff_ffff));
}

#[test]
fn choices_leave_their_regions_out() {
    let l = layout(&with(
        Flavour::Amd64,
        "CONFIG_RANDOMIZE_BASE=n\nCONFIG_EFI=n\nCONFIG_X86_ESPFIX64=n\nCONFIG_MODIFY_LDT_SYSCALL=n\n\
         CONFIG_X86_VSYSCALL_EMULATION=n",
    ));
    for gone in [Kind::Efi, Kind::EspFix, Kind::LdtRemap, Kind::Vsyscall] {
        assert!(l.get(gone).is_none(), "{gone:?}");
    }
    // 512 MiB for the image, so modules begin at ffffffffa0000000.
    assert_eq!(at(&l, Kind::Modules), (0xffff_ffff_a000_0000, 0xffff_ffff_feff_ffff));
    assert_eq!(at(&l, Kind::Fixmap).1, 0xffff_ffff_ff7f_ffff);
}

#[test]
fn randomised_bases_move_three_regions_and_are_held_to_their_order() {
    let base = |a| VirtAddr::new(a);
    let moved = Bases {
        page_offset: base(0xffff_9d41_4000_0000),
        vmalloc: base(0xffff_b2c0_8000_0000),
        vmemmap: base(0xffff_e1c0_0000_0000),
    };
    let l = layout(&Facts { bases: Some(moved), ..amd64(false) });
    assert_eq!(at(&l, Kind::LinearMap).0, 0xffff_9d41_4000_0000);
    assert_eq!(at(&l, Kind::Vmalloc).0, 0xffff_b2c0_8000_0000);
    assert_eq!(at(&l, Kind::Vmemmap), (0xffff_e1c0_0000_0000, 0xffff_e2bf_ffff_ffff));
    let crossed = Bases { vmalloc: base(0xffff_9000_0000_0000), ..moved };
    assert!(matches!(
        Layout::of(&Facts { bases: Some(crossed), ..amd64(false) }),
        Err(LayoutError::Overlap(..))
    ));
}

/// VMALLOC_END as the machine description of Debian's kernels has it, and VmallocTotal and `mapped low ram` of the captures.
#[test]
fn i386_hangs_from_the_top() {
    let facts = Facts::new(KernelConfig::debian(Flavour::I686));
    let l = layout(&facts);
    assert_eq!(at(&l, Kind::LinearMap), (0xc000_0000, 0xf6bf_dfff));
    assert_eq!(at(&l, Kind::VmallocHole), (0xf6bf_e000, 0xf73f_dfff));
    assert_eq!(at(&l, Kind::Vmalloc), (0xf73f_e000, 0xfebf_dfff));
    assert_eq!(at(&l, Kind::Modules), at(&l, Kind::Vmalloc), "modules lie in vmalloc space");
    assert_eq!(l.get(Kind::Vmalloc).unwrap().len >> 10, 122_880);
    assert_eq!(at(&l, Kind::Pkmap), (0xfec0_0000, 0xfeff_ffff));
    assert_eq!(at(&l, Kind::LdtRemap), (0xff00_0000, 0xff3f_ffff));
    assert_eq!(at(&l, Kind::CpuEntryArea).0, 0xff40_0000);
    assert_eq!(at(&l, Kind::Fixmap).1, 0xffff_efff);
    let small = layout(&facts.with_ram(ram(0, 0x1ffd_f000)));
    assert_eq!(small.get(Kind::Vmalloc).unwrap().len >> 10, 495_740);

    let pae = Facts { vmalloc: Some(256 * MIB), ..Facts::new(KernelConfig::debian(Flavour::I686Pae)) };
    let l = layout(&pae);
    assert_eq!(at(&l, Kind::LinearMap), (0xc000_0000, 0xee7f_dfff));
    assert_eq!(at(&l, Kind::Vmalloc), (0xeeff_e000, 0xfeff_dfff));
    assert_eq!(l.get(Kind::Vmalloc).unwrap().len >> 10, 262_144);
    assert_eq!(l.get(Kind::Pkmap).unwrap().len, 2 * MIB);
}

/// What `mapped low ram` of captured kernels says: low memory ends 128 MiB below, or at what `vmalloc=` leaves.
#[test]
fn i386s_vmalloc_space_ends_where_captured_kernels_have_it_and_lower_with_more_cpus() {
    let end = |flavour, nr_cpus| {
        let config = KernelConfig { nr_cpus, ..KernelConfig::debian(flavour) };
        let fixmap = crate::Fixmap::of(&Facts::new(config)).unwrap();
        crate::I386Areas::of(&config, &fixmap).vmalloc_end
    };
    assert_eq!(end(Flavour::I686, 32), 0xc000_0000 + 0x36bf_e000 + 128 * MIB);
    assert_eq!(end(Flavour::I686Pae, 32), 0xc000_0000 + 0x2e7f_e000 + (256 + 8) * MIB);
    assert_eq!(end(Flavour::I686Pae, 8), 0xff5f_e000);
    assert_eq!(end(Flavour::I686Pae, 64), 0xfe7f_e000);
}

#[test]
fn reservetop_moves_everything_that_hangs_from_the_top() {
    let facts = Facts { reservetop: 16 * MIB, ..Facts::new(KernelConfig::debian(Flavour::I686)) };
    let l = layout(&facts);
    assert_eq!(at(&l, Kind::Fixmap).1, 0xfeff_efff);
    assert_eq!(at(&l, Kind::Vmalloc).1, 0xfebf_dfff - 16 * MIB);
    let all = Facts { reservetop: u64::MAX, ..facts };
    assert!(matches!(Layout::of(&all), Err(LayoutError::Fixmap(_))));
}

#[test]
fn every_i386_split_has_its_map() {
    for (choice, offset) in [
        ("CONFIG_VMSPLIT_3G_OPT=y", 0xb000_0000u64),
        ("CONFIG_VMSPLIT_2G=y", 0x8000_0000),
        ("CONFIG_VMSPLIT_2G_OPT=y", 0x7800_0000),
        ("CONFIG_VMSPLIT_1G=y", 0x4000_0000),
    ] {
        let l = layout(&with(Flavour::I686, choice));
        assert_eq!(at(&l, Kind::LinearMap), (offset, 0xf6bf_dfff), "{choice}");
        assert_eq!(at(&l, Kind::User).1, offset - 1);
    }
    let l = layout(&with(Flavour::I686, "CONFIG_NOHIGHMEM=y\nCONFIG_CRASH_DUMP=n\nCONFIG_HIGHPTE=n"));
    assert!(l.get(Kind::Pkmap).is_none());
    let ldt = l.get(Kind::LdtRemap).unwrap().start.get();
    assert_eq!(at(&l, Kind::Vmalloc).1, ldt - 2 * 4096 - 1);
}

#[test]
fn the_dumps_of_the_tables_have_their_headings() {
    let names = |l: &Layout| l.markers().map(|m| m.name).collect::<std::vec::Vec<_>>();
    let l = layout(&amd64(false));
    assert!(l.markers().map(|m| m.at).is_sorted());
    assert_eq!(
        names(&l),
        [
            "User Space",
            "Kernel Space",
            "LDT remap",
            "Low Kernel Mapping",
            "vmalloc() Area",
            "Vmemmap",
            "CPU entry Area",
            "ESPfix Area",
            "EFI Runtime Services",
            "High Kernel Mapping",
            "Modules",
            "End Modules",
            "Fixmap Area",
        ]
    );
    let i386 = layout(&Facts::new(KernelConfig::debian(Flavour::I686)));
    assert_eq!(
        names(&i386),
        [
            "User Space",
            "Kernel Mapping",
            "vmalloc() Area",
            "vmalloc() End",
            "Persistent kmap() Area",
            "LDT remap",
            "CPU entry area",
            "Fixmap area",
        ]
    );
}
