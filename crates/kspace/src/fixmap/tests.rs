//! Slot numbers and addresses of 6.1, and single pages set and cleared through a cursor.

use super::{FixedIndex, Fixmap, FixmapError, PagePurpose, Slot};
use crate::layout::{Facts, MIB};
use crate::version::Version;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::Arch;
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_pagetable::format::arm64::{Arm64Page4kVa48, Arm64Page64kVa48};
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_pagetable::{
    Format, Level, MapError, NoTables, NotLive, Pool, TableMemory, TableSource, Tables, Unmapped,
};
use std::string::ToString;
use std::sync::atomic::AtomicU64;
use std::vec::Vec;

fn fixmap(flavour: Flavour, text: &str) -> Fixmap {
    let mut config = KernelConfig::debian(flavour);
    config.apply(text).unwrap();
    Fixmap::of(&Facts::new(config)).unwrap()
}

#[track_caller]
fn address(fixmap: &Fixmap, slot: Slot) -> u64 {
    fixmap.address(slot).unwrap_or_else(|| panic!("no {slot:?}")).get()
}

const PHYS: PhysAddr = PhysAddr::new(0x4200_0000);

fn words(pages: usize) -> Vec<AtomicU64> {
    (0..pages * 512).map(|_| AtomicU64::new(0)).collect()
}

/// The tables of captured kernels show the device tree at fffffbfffdc00000, and the entry trampoline: three pages of text from
/// fffffbfffdbf6000 and its data page at fffffbfffdbf9000.
#[test]
fn arm64_has_its_slots_where_captured_kernels_map_them() {
    let f = fixmap(Flavour::Arm64, "");
    assert_eq!(f.top().get(), 0xffff_fbff_fe00_0000);
    assert_eq!(
        f.range(Slot::Fdt).unwrap(),
        VirtRange::from_len(VirtAddr::new(0xffff_fbff_fdc0_0000), 4 * MIB)
    );
    assert_eq!(address(&f, Slot::EarlyconMemBase), 0xffff_fbff_fdbf_f000);
    assert_eq!(address(&f, Slot::EntryTrampText4), 0xffff_fbff_fdbf_9000);
    assert_eq!(address(&f, Slot::EntryTrampText1), 0xffff_fbff_fdbf_6000);
    assert_eq!(f.permanent(), 1035);
    assert_eq!(f.start().get(), 0xffff_fbff_fdbf_5000);
    assert_eq!(f.end(), 1035 + 7 * 64 + 4);
    assert_eq!(f.name(FixedIndex(f.end() - 1)).to_string(), "FIX_PGD");
}

#[test]
fn the_device_trees_window_starts_at_a_multiple_of_2_mib_with_every_granule() {
    for (page, bits, areas) in
        [(4, 39, 64), (4, 48, 64), (16, 47, 16), (16, 48, 16), (64, 42, 4), (64, 48, 4)]
    {
        let text = std::format!("CONFIG_ARM64_{page}K_PAGES=y\nCONFIG_ARM64_VA_BITS={bits}");
        let f = fixmap(Flavour::Arm64, &text);
        let fdt = f.range(Slot::Fdt).unwrap();
        assert!(fdt.start.is_aligned(2 * MIB) && fdt.len == 4 * MIB, "{page}K {bits}: {fdt:?}");
        assert_eq!(fdt.last().get() + 1, f.top().get());
        assert_eq!((f.btmaps().areas, f.btmaps().pages), (7, areas));
    }
}

#[test]
fn choices_of_the_configuration_shift_what_comes_after_them() {
    let f = fixmap(Flavour::Arm64, "CONFIG_UNMAP_KERNEL_AT_EL0=n\nCONFIG_ACPI_APEI_GHES=n");
    assert_eq!(f.permanent(), 1027);
    assert_eq!(f.slot(Slot::ApeiGhesIrq), None);
    assert_eq!(f.slot(Slot::Btmap), Some(FixedIndex(1027)));
    let f = fixmap(Flavour::Amd64, "CONFIG_PROVIDE_OHCI1394_DMA_INIT=y");
    assert_eq!(address(&f, Slot::ApicBase), 0xffff_ffff_ff5f_c000);
}

/// Captured kernels map the local APIC (fee00000) at ffffffffff5fd000 and the first IO APIC (fec00000) at ffffffffff5fc000.
#[test]
fn x86_64_has_its_slots_where_captured_kernels_map_them() {
    let f = fixmap(Flavour::Amd64, "");
    assert_eq!(f.top().get(), 0xffff_ffff_ff7f_f000);
    assert_eq!(address(&f, Slot::VsyscallPage), 0xffff_ffff_ff60_0000);
    assert_eq!(f.slot(Slot::VsyscallPage), Some(FixedIndex(511)));
    assert_eq!(address(&f, Slot::ApicBase), 0xffff_ffff_ff5f_d000);
    assert_eq!(f.fix_to_virt(f.slot(Slot::IoApicBase).unwrap()).unwrap().get(), 0xffff_ffff_ff5f_c000);
    assert_eq!(f.permanent(), 646);
    // One table of PTEs holds every early mapping.
    let early = f.range(Slot::Btmap).unwrap();
    assert_eq!((early.start.get(), early.len), (0xffff_ffff_ff20_0000, 2 * MIB));
    assert_eq!(f.end(), 1537);
    assert_eq!(f.static_tables(), 2);
    // The vsyscall page's, two that the image brings, and one for FIX_TBOOT_BASE.
    assert_eq!(f.page_tables(), 4);
    let old = Facts::new(KernelConfig::debian(Flavour::Amd64)).at_version(Version::new(4, 18));
    assert_eq!(Fixmap::of(&old).unwrap().static_tables(), 1);
}

#[test]
fn i386_has_a_hole_at_the_top_and_kmaps_for_every_cpu() {
    let f = fixmap(Flavour::I686, "");
    assert_eq!(f.top().get(), 0xffff_f000);
    assert_eq!(f.slot(Slot::ApicBase), Some(FixedIndex(3)));
    assert_eq!(f.slot(Slot::Kmap), Some(FixedIndex(68)));
    assert_eq!(f.permanent(), 583);
    assert_eq!(f.slot(Slot::Btmap), Some(FixedIndex(1024)));
    assert_eq!(f.end(), 1537);
    let fewer = fixmap(Flavour::I686, "CONFIG_NR_CPUS=8");
    assert_eq!(fewer.permanent(), 583 - 24 * 16);
    // 512 early pages from 199 on would lie in one table of 1024, so they stay where they are.
    assert_eq!(fewer.slot(Slot::Btmap), Some(FixedIndex(199)));
}

/// Documentation/arm/memory: ffc80000 to ffefffff.
#[test]
fn arm_shares_early_pages_with_the_kmaps() {
    let f = fixmap(Flavour::Armmp, "");
    assert_eq!((f.start().get(), f.top().get()), (0xffc8_0000, 0xffef_f000));
    assert_eq!(address(&f, Slot::EarlyconMemBase), 0xffef_f000);
    assert_eq!(f.slot(Slot::Kmap), f.slot(Slot::Btmap));
    assert_eq!((f.btmaps().areas, f.btmaps().pages), (7, 32));
    assert_eq!(f.end(), 1 + 7 * 32);
    // 32 processors have more kmaps than there are early pages.
    assert_eq!(fixmap(Flavour::Armmp, "CONFIG_NR_CPUS=32").end(), 1 + 32 * 16 + 2);
}

#[test]
fn more_kmaps_than_addresses_are_refused_with_both_numbers() {
    let mut config = KernelConfig::debian(Flavour::Armmp);
    config.apply("CONFIG_NR_CPUS=32\nCONFIG_DEBUG_KMAP_LOCAL=y").unwrap();
    let refused = Fixmap::of(&Facts::new(config)).unwrap_err();
    assert_eq!(refused, FixmapError::NoRoom { slots: 1059, room: 640 });
    assert_eq!(
        refused.to_string(),
        "1059 fixed addresses, there is room for 640: fewer processors are needed"
    );
}

#[test]
fn numbers_and_addresses_are_each_others_inverse() {
    for flavour in Flavour::ALL {
        let f = fixmap(flavour, "");
        for n in 0..f.end() {
            let at = f.fix_to_virt(FixedIndex(n)).unwrap();
            assert_eq!(f.virt_to_fix(at), Some(FixedIndex(n)));
            assert_eq!(f.virt_to_fix(VirtAddr::new(at.get() + 0xfff)), Some(FixedIndex(n)));
        }
        assert_eq!(f.fix_to_virt(FixedIndex(f.end())), None);
        assert_eq!(f.virt_to_fix(VirtAddr::ZERO), None);
        let above = f.top().get() + f.page_shift().bytes();
        assert_eq!(f.virt_to_fix(VirtAddr::new(above)), None);
    }
}

#[test]
fn groups_have_distinct_names_and_follow_each_other() {
    for flavour in Flavour::ALL {
        let f = fixmap(flavour, "");
        let mut names: Vec<_> = f.groups().iter().map(|g| g.slot.name()).collect();
        assert!(f.groups().iter().all(|g| g.first.0 + g.count <= f.end()));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), f.groups().len());
        let permanent: Vec<_> = f.groups().iter().filter(|g| g.permanent).collect();
        for pair in permanent.windows(2) {
            assert_eq!(pair[0].first.0 + pair[0].count, pair[1].first.0);
        }
        assert_eq!(permanent.last().map(|g| g.first.0 + g.count), Some(f.permanent()));
    }
}

/// Through `dyn` memory, as a boot does it whose memory comes from elsewhere.
#[test]
fn a_slot_is_set_read_and_cleared_and_its_table_stays() {
    let f = fixmap(Flavour::Amd64, "");
    let memory = words(8);
    let pool = Pool::<u64>::new(&memory, PHYS, 4096).unwrap();
    let root = pool.alloc_root(1, 4096).unwrap();
    let dynamic: &dyn TableMemory = &pool;
    let mut tables = Tables::new(X86Level4::default(), dynamic, root);
    let attr = PagePurpose::NoCache.attr(Arch::X86_64).unwrap();
    let apic = f.slot(Slot::ApicBase).unwrap();
    let at = f.set_fixmap(&mut tables.cursor(), apic, PhysAddr::new(0xfee0_0020), attr, &mut &pool).unwrap();
    assert_eq!(at.get(), 0xffff_ffff_ff5f_d020);
    assert_eq!(tables.translate(at).unwrap().phys.get(), 0xfee0_0020);
    // The captured tables' entry: writable, global, PCD and PWT.
    let word = tables.format().leaf_word(Level::PTE, &tables.leaf(at).unwrap().0).unwrap();
    assert_eq!(word & 0x1ff, 0x17b);
    assert_eq!(word >> 63, 1);
    let held = pool.in_use();
    let again = f.set_fixmap(&mut tables.cursor(), apic, PHYS, attr, &mut &pool).unwrap_err();
    assert_eq!(again.to_string(), "FIX_APIC_BASE at 0xffffffffff5fd000 is mapped already, clear it first");
    let pending = f.clear_fixmap(&mut tables.cursor(), apic).unwrap();
    assert_eq!(pending.scope().unwrap().range.len, 4096);
    assert_eq!(pending.finish(&dynamic, &mut NotLive, &mut &pool), 0);
    assert_eq!(pool.in_use(), held);
    assert!(matches!(tables.translate(at), Err(Unmapped::Absent(Level::PTE, 0))));
    // Nothing there any more, which is no error; the next page needs no table.
    let nothing = f.clear_fixmap(&mut tables.cursor(), apic).unwrap();
    assert!(nothing.scope().is_none());
    let _ = nothing.finish(&dynamic, &mut NotLive, &mut &pool);
    let next = f.slot(Slot::IoApicBase).unwrap();
    f.set_fixmap(&mut tables.cursor(), next, PhysAddr::new(0xfec0_0000), attr, &mut NoTables).unwrap();
}

#[test]
fn what_cannot_be_set_is_refused_with_the_slots_name() {
    let f = fixmap(Flavour::Arm64, "");
    let memory = words(8);
    let pool = Pool::<u64>::new(&memory, PHYS, 4096).unwrap();
    let root = pool.alloc_root(1, 4096).unwrap();
    let mut tables = Tables::new(Arm64Page4kVa48::default(), &pool, root);
    let attr = PagePurpose::Normal.attr(Arch::Arm64).unwrap();
    let mut set = |index| f.set_fixmap(&mut tables.cursor(), index, PHYS, attr, &mut NoTables).unwrap_err();
    assert_eq!(set(FixedIndex(0)), FixmapError::Hole);
    assert_eq!(set(FixedIndex(f.end())).to_string(), "fixed address 1487, expected one below 1487");
    let pte = f.slot(Slot::Pte).unwrap();
    let refused = set(pte);
    assert!(matches!(refused, FixmapError::Map(_, MapError::NoTables { needed: 3, got: 0 })));
    assert_eq!(refused.to_string(), "FIX_PTE: 3 new tables are needed, there was memory for 0");
    let early = FixedIndex(f.slot(Slot::Btmap).unwrap().0 + 5);
    assert!(set(early).to_string().starts_with("FIX_BTMAP_END + 5: "));

    let mut other = Tables::new(Arm64Page64kVa48::default(), &pool, root);
    let wrong = f.set_fixmap(&mut other.cursor(), pte, PHYS, attr, &mut NoTables).unwrap_err();
    assert_eq!(wrong, FixmapError::PageSize { tables: 65536, slot: 4096 });
}

/// As captured: 2 MiB read-only at the window's start, for a tree at a multiple of 2 MiB.
#[test]
fn a_device_tree_is_mapped_in_blocks_at_its_offset_in_the_window() {
    let f = fixmap(Flavour::Arm64, "");
    let attr = PagePurpose::ReadOnly.attr(Arch::Arm64).unwrap();
    for (phys, bytes, first, blocks) in [
        (0x4820_0000u64, 0x10_0000, 0xffff_fbff_fdc0_0000u64, 1u64),
        (0x4830_0008, 0x10_0000, 0xffff_fbff_fdd0_0008, 2),
        (0x483f_fff8, 0x20_0000, 0xffff_fbff_fddf_fff8, 2),
    ] {
        let memory = words(8);
        let pool = Pool::<u64>::new(&memory, PHYS, 4096).unwrap();
        let root = pool.alloc_root(1, 4096).unwrap();
        let mut tables = Tables::new(Arm64Page4kVa48::default(), &pool, root);
        let phys = PhysAddr::new(phys);
        let at = f.fixmap_remap_fdt(&mut tables.cursor(), phys, bytes, attr, &mut &pool).unwrap();
        assert_eq!(at.get(), first);
        let mut seen = (0, 0);
        tables.walk_all(100, &mut |run| seen = (run.range.len, run.level.get())).unwrap();
        assert_eq!(seen, (blocks * 2 * MIB, 1));
        assert_eq!(tables.translate(at).unwrap().phys, phys);
        let last = VirtAddr::new(at.get() + bytes - 1);
        assert_eq!(tables.translate(last).unwrap().phys.get(), phys.get() + bytes - 1);
    }
}

#[test]
fn device_trees_that_the_boot_protocol_does_not_allow_are_refused() {
    let f = fixmap(Flavour::Arm64, "");
    let attr = PagePurpose::ReadOnly.attr(Arch::Arm64).unwrap();
    let memory = words(8);
    let pool = Pool::<u64>::new(&memory, PHYS, 4096).unwrap();
    let root = pool.alloc_root(1, 4096).unwrap();
    let mut tables = Tables::new(Arm64Page4kVa48::default(), &pool, root);
    for (phys, bytes) in [(0x4820_0004, 0x1000), (0x4820_0000, 0), (0x4820_0000, 2 * MIB + 1)] {
        let phys = PhysAddr::new(phys);
        let refused =
            f.fixmap_remap_fdt(&mut tables.cursor(), phys, bytes, attr, &mut (&pool as &_)).unwrap_err();
        assert_eq!(refused, FixmapError::Fdt { at: phys, bytes });
    }
    // No such window on other architectures.
    let x86 = fixmap(Flavour::Amd64, "");
    let mut tables = Tables::new(X86Level4::default(), &pool, root);
    let phys = PhysAddr::new(0x4820_0000);
    let refused = x86.fixmap_remap_fdt(&mut tables.cursor(), phys, 0x1000, attr, &mut &pool).unwrap_err();
    assert!(matches!(refused, FixmapError::NoSlot { .. }));
}

/// The n-th table cannot be had: nothing is mapped, nothing is lost.
#[test]
fn a_slot_without_memory_for_its_tables_stays_as_it_was() {
    struct Few<'p>(&'p Pool<'p, u64>, u32);
    impl TableSource for Few<'_> {
        fn alloc_table(&mut self) -> Option<PhysAddr> {
            self.1 = self.1.checked_sub(1)?;
            self.0.alloc()
        }
        fn free_table(&mut self, page: PhysAddr) {
            self.1 += 1;
            self.0.free(page);
        }
    }
    let f = fixmap(Flavour::Amd64, "");
    let attr = PagePurpose::Normal.attr(Arch::X86_64).unwrap();
    for n in 0..=3 {
        let memory = words(8);
        let pool = Pool::<u64>::new(&memory, PHYS, 4096).unwrap();
        let root = pool.alloc_root(1, 4096).unwrap();
        let mut tables = Tables::new(X86Level4::default(), &pool, root);
        let index = f.slot(Slot::EarlyconMemBase).unwrap();
        let got = f.set_fixmap(&mut tables.cursor(), index, PHYS, attr, &mut Few(&pool, n));
        assert_eq!(got.is_ok(), n == 3, "{n}");
        assert_eq!(pool.in_use(), if n == 3 { 3 } else { 0 });
        assert_eq!(tables.translate(f.fix_to_virt(index).unwrap()).is_ok(), n == 3);
    }
}
