//! Two crates that describe the same bits, by people who read the same specifications.

use crate::common::{any_leaf, cases};
use aarch64_paging::descriptor::El1Attributes as Bits;
use aarch64_paging::idmap::IdMap;
use aarch64_paging::mair::{Mair, MairAttribute, NormalMemory};
use aarch64_paging::paging::{El1And0, MemoryRegion};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::format::MemoryTypes;
use pagewright_pagetable::format::arm64::{Arm64Page4kVa48, Half};
use pagewright_pagetable::format::x86::{X86Level4, X86Level5};
use pagewright_pagetable::{
    Attr, AttrFlags, Entry, Format, Leaf, Level, MapOptions, MemoryType, Pool, Shareability, TableLimits,
    Tables, Word,
};
use proptest::prelude::*;
use std::sync::atomic::AtomicU64;
use x86_64::structures::paging::PageTableFlags;

/// What aarch64-paging would set for a leaf.
fn arm64_bits(level: Level, leaf: &Leaf, index: u64) -> Bits {
    let flags = leaf.attr.flags;
    let has = |flag| flags.contains(flag);
    let mut bits = Bits::VALID | Bits::from_bits_retain((index as usize) << 2);
    bits |= match leaf.attr.share {
        Shareability::None => Bits::empty(),
        Shareability::Outer => Bits::OUTER_SHAREABLE,
        Shareability::Inner => Bits::INNER_SHAREABLE,
    };
    bits.set(Bits::TABLE_OR_PAGE, level == Level::PTE);
    bits.set(Bits::NS, has(AttrFlags::NON_SECURE));
    bits.set(Bits::USER, has(AttrFlags::USER));
    bits.set(Bits::READ_ONLY, !has(AttrFlags::WRITE | AttrFlags::DIRTY));
    bits.set(Bits::ACCESSED, has(AttrFlags::ACCESSED));
    bits.set(Bits::NON_GLOBAL, !has(AttrFlags::GLOBAL));
    bits.set(Bits::GP, has(AttrFlags::GUARDED));
    bits.set(Bits::DBM, has(AttrFlags::WRITE));
    bits.set(Bits::CONTIGUOUS_OR_PROTECTED, leaf.contiguous);
    bits.set(Bits::PXN, !has(AttrFlags::EXEC));
    bits.set(Bits::UXN, !has(AttrFlags::USER_EXEC));
    bits.set(Bits::SWFLAG_0, has(AttrFlags::DIRTY) && !has(AttrFlags::WRITE));
    bits.set(Bits::SWFLAG_1, leaf.attr.software & 1 != 0);
    bits.set(Bits::SWFLAG_2, leaf.attr.software & 2 != 0);
    bits.set(Bits::SWFLAG_3, leaf.attr.software & 4 != 0);
    bits
}

fn x86_bits(level: Level, leaf: &Leaf) -> PageTableFlags {
    use PageTableFlags as P;
    let flags = leaf.attr.flags;
    let mut bits = P::PRESENT;
    bits.set(P::WRITABLE, flags.contains(AttrFlags::WRITE));
    bits.set(P::USER_ACCESSIBLE, flags.contains(AttrFlags::USER));
    bits.set(P::ACCESSED, flags.contains(AttrFlags::ACCESSED));
    bits.set(P::DIRTY, flags.contains(AttrFlags::DIRTY));
    bits.set(P::GLOBAL, flags.contains(AttrFlags::GLOBAL));
    bits.set(P::HUGE_PAGE, level != Level::PTE);
    bits.set(P::NO_EXECUTE, !flags.intersects(AttrFlags::EXEC | AttrFlags::USER_EXEC));
    for (n, bit) in [P::BIT_9, P::BIT_10, P::BIT_11].into_iter().enumerate() {
        bits.set(bit, leaf.attr.software >> n & 1 != 0);
    }
    for (n, bit) in [P::BIT_59, P::BIT_60, P::BIT_61, P::BIT_62].into_iter().enumerate() {
        bits.set(bit, leaf.attr.key >> n & 1 != 0);
    }
    // Linux's PAT: index 1 is write-combining, 2 is UC-, 3 is UC.
    let (wt, cd) = match leaf.attr.memory {
        MemoryType::WriteCombine => (true, false),
        MemoryType::UncachedMinus => (false, true),
        MemoryType::StronglyOrdered => (true, true),
        _ => (false, false),
    };
    bits.set(P::WRITE_THROUGH, wt);
    bits.set(P::NO_CACHE, cd);
    bits
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn arm64_leaves_are_what_aarch64_paging_says(leaf in any_leaf()) {
        let f = Arm64Page4kVa48::default();
        for level in [Level::PTE, Level::PMD, Level::PUD] {
            if let Ok(word) = f.leaf_word(level, &leaf) {
                let index = f.config.memory.index(leaf.attr.memory).unwrap();
                prop_assert_eq!(word, leaf.phys.get() | arm64_bits(level, &leaf, index).bits() as u64);
            }
        }
    }

    #[test]
    fn x86_64_leaves_are_what_the_x86_64_crate_says(mut leaf in any_leaf()) {
        // The two types whose PAT bit is set have no word there.
        if matches!(leaf.attr.memory, MemoryType::WriteProtect | MemoryType::WriteThrough) {
            leaf.attr.memory = MemoryType::Normal;
        }
        let f = X86Level4::default();
        for level in [Level::PTE, Level::PMD, Level::PUD] {
            if let Ok(word) = f.leaf_word(level, &leaf) {
                prop_assert_eq!(word, leaf.phys.get() | x86_bits(level, &leaf).bits());
            }
        }
    }

    #[test]
    fn x86_64_indices_are_what_the_x86_64_crate_says(va in any::<u64>()) {
        let theirs = x86_64::VirtAddr::new_truncate(va);
        let indices = [theirs.p1_index(), theirs.p2_index(), theirs.p3_index(), theirs.p4_index()];
        for (n, index) in indices.into_iter().enumerate() {
            prop_assert_eq!(X86Level5::SHAPE.level(Level::new(n)).index(va), usize::from(u16::from(index)));
        }
        let window = X86Level4::default().window();
        prop_assert_eq!(window.contains(VirtAddr::new(va)), x86_64::VirtAddr::try_new(va).is_ok());
        prop_assert_eq!(window.extend(va).get(), theirs.as_u64());
    }
}

#[test]
fn arm64_table_limits_are_what_aarch64_paging_says() {
    let of = |limits| Arm64Page4kVa48::default().table_word(Level::PMD, 0, PhysAddr::new(0x1000), limits);
    for (limit, bit) in [
        (TableLimits::NO_WRITE, Bits::AP_TABLE_NO_WRITE),
        (TableLimits::NO_USER, Bits::AP_TABLE_NO_EL0),
        (TableLimits::NO_EXEC, Bits::PXN_TABLE),
        (TableLimits::NO_USER_EXEC, Bits::XN_TABLE),
    ] {
        assert_eq!(of(limit), 0x1000 | (Bits::VALID | Bits::TABLE_OR_PAGE | bit).bits() as u64);
    }
}

#[test]
fn memory_types_are_what_aarch64_paging_puts_into_mair() {
    let normal = MairAttribute::normal;
    let wb = NormalMemory::WriteBackNonTransientReadWriteAllocate;
    let wt = NormalMemory::WriteThroughNonTransientReadWriteAllocate;
    let nc = NormalMemory::NonCacheable;
    let mair = Mair::new([
        MairAttribute::DEVICE_NGNRNE,
        MairAttribute::DEVICE_NGNRE,
        MairAttribute::DEVICE_GRE,
        normal(nc, nc),
        normal(wt, wt),
        normal(wb, wb),
        normal(wb, nc),
        MairAttribute::DEVICE_NGRE,
    ]);
    let types = MemoryTypes::from_mair(mair.0);
    assert_eq!(
        [0, 1, 2, 3, 4, 5, 6, 7].map(|n| types.get(n)),
        [
            Some(MemoryType::StronglyOrdered),
            Some(MemoryType::Device),
            None,
            Some(MemoryType::WriteCombine),
            Some(MemoryType::WriteThrough),
            Some(MemoryType::Normal),
            None,
            None,
        ]
    );
}

/// Ranges with ends that pages, 2 MiB blocks and 1 GiB blocks are needed for.
const RANGES: [(u64, u64); 5] = [
    (0x0000_0000_0800_0000, 0x1_0000),
    (0x0000_0000_401f_e000, 0x60_3000),
    (0x0000_0000_7fe0_0000, 0x8040_0000),
    (0x0000_0081_0000_0000, 0x1_4000_0000),
    (0x0000_ffff_ffff_f000, 0x1000),
];

#[test]
fn the_same_ranges_become_the_same_tree_as_in_aarch64_paging() {
    let format = Arm64Page4kVa48::of(Half::Low);
    let words: Vec<AtomicU64> = (0..64 * 512).map(|_| u64::zero()).collect();
    let pool = Pool::<u64>::new(&words, PhysAddr::new(0x1_0000_0000), 4096).unwrap();
    let root = pool.alloc_root(1, 4096).unwrap();
    let mut ours = Tables::new(format, &pool, root);
    let mut theirs = IdMap::with_asid(0, 0, El1And0);
    let attr = Attr::normal(AttrFlags::WRITE | AttrFlags::DIRTY | AttrFlags::ACCESSED);
    let options = MapOptions { contiguous: false, ..MapOptions::default() };
    let mut leaves = 0;
    for (start, len) in RANGES {
        let range = VirtRange::from_len(VirtAddr::new(start), len);
        ours.cursor().map(range, PhysAddr::new(start), attr, &options, &mut &pool).unwrap();
        let page = Leaf { phys: PhysAddr::ZERO, attr, contiguous: false };
        let region = MemoryRegion::new(start as usize, (start + len) as usize);
        // They set the bit that tells pages from blocks themselves.
        theirs.map_range(&region, arm64_bits(Level::PMD, &page, 0)).unwrap();
    }
    for (start, len) in RANGES {
        let region = MemoryRegion::new(start as usize, (start + len) as usize);
        theirs
            .walk_range(&region, &mut |part, descriptor, their_level| {
                if descriptor.is_table_or_page() && their_level < 3 {
                    return Ok(());
                }
                let (leaf, level, first) = ours.leaf(VirtAddr::new(part.start().0 as u64)).unwrap();
                assert_eq!(usize::from(level.get()), 3 - their_level, "{part:?}");
                assert_eq!(first.get(), part.start().0 as u64);
                assert_eq!(leaf.phys.get(), descriptor.output_address().0 as u64);
                let word = format.leaf_word(level, &leaf).unwrap();
                assert_eq!(word, leaf.phys.get() | descriptor.flags().bits() as u64);
                assert_eq!(format.entry(level, word), Entry::Leaf(leaf));
                leaves += 1;
                Ok(())
            })
            .unwrap();
    }
    // 16 pages; 2 + 3 blocks + 1; 1 + 2 GiB + 1; 5 GiB; 1.
    assert_eq!(leaves, 16 + 6 + 4 + 5 + 1);
}
