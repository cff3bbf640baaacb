//! Areas taken and given back, and what is refused in which words.

use super::{EarlyIoremap, EarlyIoremapError, Prot};
use crate::fixmap::{Fixmap, Slot};
use crate::layout::Facts;
use pagewright_addr::{PhysAddr, VirtAddr};
use pagewright_firmware::config::{Flavour, KernelConfig};
use pagewright_pagetable::format::arm64::Arm64Page4kVa48;
use pagewright_pagetable::format::x86::X86Level4;
use pagewright_pagetable::{AttrFlags, Format, MemoryType, NoTables, NotLive, Pool, Tables};
use std::string::ToString;
use std::sync::atomic::AtomicU64;
use std::vec::Vec;

const PHYS: PhysAddr = PhysAddr::new(0x4200_0000);

/// A tree whose tables for early mappings are there, as the image brings them.
fn with<F: Format<Word = u64> + Default>(
    flavour: Flavour,
    check: impl FnOnce(&Fixmap, &mut EarlyIoremap<'_>, &mut Tables<F, &Pool<'_, u64>>, &Pool<'_, u64>),
) {
    let config = KernelConfig::debian(flavour);
    let fixmap = Fixmap::of(&Facts::new(config)).unwrap();
    let words: Vec<AtomicU64> = (0..16 * 512).map(|_| AtomicU64::new(0)).collect();
    let pool = Pool::<u64>::new(&words, PHYS, 4096).unwrap();
    let root = pool.alloc_root(1, 4096).unwrap();
    let mut tables = Tables::new(F::default(), &pool, root);
    let mut early = EarlyIoremap::new(&fixmap, config);
    let at = early.early_memremap(&mut tables.cursor(), PhysAddr::ZERO, 1, &mut &pool).unwrap();
    let pending = early.early_iounmap(&mut tables.cursor(), at, 1).unwrap();
    assert_eq!(pending.finish(&&pool, &mut NotLive, &mut &pool), 0);
    check(&fixmap, &mut early, &mut tables, &pool);
}

#[test]
fn the_first_area_has_the_lowest_addresses_and_keeps_the_offset() {
    with::<X86Level4>(Flavour::Amd64, |fixmap, early, tables, _| {
        let low = fixmap.address(Slot::Btmap).unwrap();
        let a =
            early.early_ioremap(&mut tables.cursor(), PhysAddr::new(0xf_5a10), 0x20, &mut NoTables).unwrap();
        assert_eq!(a.get(), low.get() + 0xa10);
        assert_eq!(tables.translate(a).unwrap().phys.get(), 0xf_5a10);
        // Two pages, since the range crosses into the second.
        let b =
            early.early_memremap(&mut tables.cursor(), PhysAddr::new(0xf_5fff), 2, &mut NoTables).unwrap();
        assert_eq!(b.get(), low.get() + 64 * 4096 + 0xfff);
        assert_eq!(tables.translate(VirtAddr::new(b.get() + 1)).unwrap().phys.get(), 0xf_6000);
        assert!(tables.translate(VirtAddr::new(b.get() + 0x1001)).is_err());
    });
}

#[test]
fn areas_are_used_again_and_every_one_can_be_full() {
    with::<X86Level4>(Flavour::Amd64, |_, early, tables, pool| {
        let held = pool.in_use();
        let bytes = 64 * 4096;
        for round in 0..3u64 {
            let phys = PhysAddr::new(0x10_0000 * (round + 1));
            let mapped: Vec<_> = (0..8)
                .map(|_| early.early_memremap(&mut tables.cursor(), phys, bytes, &mut NoTables).unwrap())
                .collect();
            assert_eq!(early.check_leak().unwrap_err().areas, 8);
            let refused =
                early.early_memremap(&mut tables.cursor(), phys, 0x1000, &mut NoTables).unwrap_err();
            let expected = std::format!("__early_ioremap({:#018x}, 00001000) not found slot", phys.get());
            assert_eq!(refused.to_string(), expected);
            for at in mapped {
                let pending = early.early_iounmap(&mut tables.cursor(), at, bytes).unwrap();
                assert_eq!(pending.scope().unwrap().range.len, bytes);
                assert_eq!(pending.finish(&pool, &mut NotLive, &mut (&*pool)), 0);
            }
            assert_eq!(early.check_leak(), Ok(()));
            assert_eq!(pool.in_use(), held);
        }
    });
}

#[test]
fn arm64_has_seven_areas_of_256_kib() {
    with::<Arm64Page4kVa48>(Flavour::Arm64, |_, early, tables, _| {
        assert_eq!(early.areas().len(), 7);
        let mut map = |bytes| early.early_memremap(&mut tables.cursor(), PHYS, bytes, &mut NoTables);
        assert!(map(64 * 4096).is_ok());
        assert_eq!(
            map(64 * 4096 + 1).unwrap_err().to_string(),
            "__early_ioremap(0x42000000, 00040001) does not fit an area of 0x40000 bytes"
        );
        for _ in 0..6 {
            map(1).unwrap();
        }
        assert!(matches!(map(1), Err(EarlyIoremapError::NoSlot { .. })));
    });
}

#[test]
fn unmapping_with_another_address_or_size_is_refused_and_changes_nothing() {
    with::<X86Level4>(Flavour::Amd64, |_, early, tables, _| {
        let at = early.early_memremap(&mut tables.cursor(), PHYS, 0x100, &mut NoTables).unwrap();
        let unmap = |early: &mut EarlyIoremap<'_>, tables: &mut Tables<X86Level4, _>, at, bytes| {
            early.early_iounmap(&mut tables.cursor(), at, bytes).err().unwrap().to_string()
        };
        assert_eq!(
            unmap(early, tables, VirtAddr::new(at.get() + 8), 0x100),
            "early_iounmap(ffffffffff200008, 00000100) not found slot"
        );
        assert_eq!(
            unmap(early, tables, at, 0x80),
            "early_iounmap(ffffffffff200000, 00000080) [0] size not consistent 00000100"
        );
        assert!(tables.translate(at).is_ok());
        assert_eq!(
            early.check_leak().unwrap_err().to_string(),
            "Debug warning: early ioremap leak of 1 areas detected.\n\
             please boot with early_ioremap_debug and report the dmesg."
        );
    });
}

#[test]
fn no_bytes_and_ranges_that_wrap_are_refused() {
    with::<X86Level4>(Flavour::Amd64, |_, early, tables, _| {
        for (phys, bytes) in [(PHYS, 0), (PhysAddr::new(u64::MAX - 1), 3), (PhysAddr::new(1), u64::MAX)] {
            let refused = early.early_ioremap(&mut tables.cursor(), phys, bytes, &mut NoTables).unwrap_err();
            match refused {
                EarlyIoremapError::Size { .. } | EarlyIoremapError::TooLarge { .. } => {}
                other => panic!("{other}"),
            }
        }
        assert_eq!(early.check_leak(), Ok(()));
    });
    // A kernel whose physical addresses have 32 bits.
    let config = KernelConfig::debian(Flavour::I686);
    let fixmap = Fixmap::of(&Facts::new(config)).unwrap();
    let mut early = EarlyIoremap::new(&fixmap, config);
    let words: Vec<AtomicU64> = (0..512).map(|_| AtomicU64::new(0)).collect();
    let pool = Pool::<u64>::new(&words, PHYS, 4096).unwrap();
    let mut tables = Tables::new(X86Level4::default(), &pool, PHYS);
    let wraps = early.early_ioremap(&mut tables.cursor(), PhysAddr::new(0xffff_ffff), 2, &mut NoTables);
    assert!(matches!(wraps, Err(EarlyIoremapError::Size { .. })));
}

#[test]
fn each_purpose_has_its_attributes() {
    with::<Arm64Page4kVa48>(Flavour::Arm64, |_, early, tables, _| {
        let mut leaf = |prot| {
            let at = early.map(&mut tables.cursor(), PHYS, 1, prot, &mut NoTables).unwrap();
            tables.leaf(at).unwrap().0.attr
        };
        assert_eq!(leaf(Prot::Io).memory, MemoryType::Device);
        let normal = leaf(Prot::Normal);
        assert!(normal.memory == MemoryType::Normal && normal.flags.contains(AttrFlags::WRITE));
        let read_only = leaf(Prot::ReadOnly);
        assert!(read_only.memory == MemoryType::Normal && !read_only.flags.contains(AttrFlags::WRITE));
        assert_eq!(leaf(Prot::Attr(normal)), normal);
    });
}

#[test]
fn once_the_system_runs_nothing_is_mapped_any_more() {
    with::<X86Level4>(Flavour::Amd64, |_, early, tables, pool| {
        let at = early.early_memremap(&mut tables.cursor(), PHYS, 1, &mut NoTables).unwrap();
        early.shut_down();
        let refused = early.early_memremap(&mut tables.cursor(), PHYS, 1, &mut NoTables).unwrap_err();
        assert_eq!(refused, EarlyIoremapError::Running);
        let pending = early.early_iounmap(&mut tables.cursor(), at, 1).unwrap();
        let _ = pending.finish(&pool, &mut NotLive, &mut (&*pool));
        assert_eq!(early.check_leak(), Ok(()));
    });
}

#[test]
fn without_tables_nothing_is_taken() {
    let config = KernelConfig::debian(Flavour::Amd64);
    let fixmap = Fixmap::of(&Facts::new(config)).unwrap();
    let words: Vec<AtomicU64> = (0..512).map(|_| AtomicU64::new(0)).collect();
    let pool = Pool::<u64>::new(&words, PHYS, 4096).unwrap();
    let mut tables = Tables::new(X86Level4::default(), &pool, PHYS);
    let mut early = EarlyIoremap::new(&fixmap, config);
    let refused = early.early_memremap(&mut tables.cursor(), PHYS, 1, &mut NoTables).unwrap_err();
    assert_eq!(refused.to_string(), "FIX_BTMAP_END + 511: 3 new tables are needed, there was memory for 0");
    assert_eq!(early.check_leak(), Ok(()));
}
