//! Words worked out by hand from ARMv7-AR B3.6, figures B3-14 to B3-18, and the split of B3.5.4 and B3.6.4.

use crate::common::{agree, any_leaf, cases, every_leaf, goes_round};
use pagewright_addr::PhysAddr;
use pagewright_pagetable::format::arm::lpae::{ArmLpae, ArmLpaeConfig};
use pagewright_pagetable::format::arm::ttbcr::{LongSplit, ShortSplit, Ttbr};
use pagewright_pagetable::{Attr, AttrError, AttrFlags, Entry, Format, Leaf, Level, MemoryType};
use pagewright_pagetable::{Step, TableLimits};
use proptest::prelude::*;

const DATA: AttrFlags =
    AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::ACCESSED).union(AttrFlags::GLOBAL);

fn leaf(phys: u64, flags: AttrFlags) -> Leaf {
    Leaf { phys: PhysAddr::new(phys), attr: Attr::normal(flags), contiguous: false }
}

fn format(contiguous: bool, gigabyte_blocks: bool) -> ArmLpae {
    ArmLpae { config: ArmLpaeConfig { contiguous, gigabyte_blocks, ..ArmLpaeConfig::default() } }
}

fn expressible(f: &ArmLpae, level: Level, leaf: &Leaf) -> bool {
    use AttrFlags as A;
    let Attr { flags, memory, key, software, .. } = leaf.attr;
    let exec = match (flags.contains(A::USER), flags.contains(A::EXEC), flags.contains(A::USER_EXEC)) {
        (_, false, false) | (true, _, true) | (false, true, false) => true,
        (true, true, false) | (false, _, true) => false,
    };
    exec && !flags.contains(A::GUARDED)
        && (level != Level::PUD || (f.config.gigabyte_blocks && !leaf.contiguous))
        && leaf.phys.is_aligned(ArmLpae::SHAPE.level(level).bytes())
        && leaf.phys.get() < 1 << 40
        && (f.config.contiguous || !leaf.contiguous)
        && !matches!(memory, MemoryType::NormalTagged | MemoryType::WriteProtect | MemoryType::UncachedMinus)
        && key == 0
        && software < 2
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_attribute_goes_round(leaf in any_leaf(), contiguous in any::<bool>(), gigabyte in any::<bool>()) {
        let f = format(contiguous, gigabyte);
        goes_round(&f, &leaf, &|level, leaf| expressible(&f, level, leaf));
    }

    #[test]
    fn both_decoders_agree_about_any_word(word in any::<u64>(), clear in any::<u64>(), n in 0usize..3) {
        for word in [word, word & clear, word & 0xfff0_00ff_ffff_ffff] {
            agree(&format(true, true), Level::new(n), word);
            agree(&format(false, false), Level::new(n), word);
        }
    }
}

#[test]
fn every_combination_of_attributes_goes_round() {
    for (contiguous, gigabyte) in [(false, false), (true, true)] {
        let f = format(contiguous, gigabyte);
        every_leaf(0x4000_0000, |leaf| goes_round(&f, leaf, &|level, leaf| expressible(&f, level, leaf)));
    }
}

#[test]
fn a_kernel_page_of_data_is_this_word() {
    // XN, Linux's dirty; AF, inner shareable, index 7; a page.
    let word = ArmLpae::default().leaf_word(Level::PTE, &leaf(0x7e80_0000, DATA));
    assert_eq!(word, Ok(0x00c0_0000_7e80_071f));
}

#[test]
fn kernel_sections_are_these_words() {
    let f = ArmLpae::default();
    // AP[2], Linux's dirty and read-only; executable by the kernel.
    let text = (DATA - AttrFlags::WRITE) | AttrFlags::EXEC;
    assert_eq!(f.leaf_word(Level::PMD, &leaf(0x4040_0000, text)), Ok(0x0480_0000_4040_079d));
    // As the kernel's own tables have them, without software's bits: writable now is writable and dirty.
    assert_eq!(f.entry(Level::PMD, 0x0040_0000_4040_071d), Entry::Leaf(leaf(0x4040_0000, DATA)));
    // Read-only as Linux makes it.
    let rodata = leaf(0x4040_0000, DATA - AttrFlags::WRITE - AttrFlags::DIRTY);
    assert_eq!(f.entry(Level::PMD, 0x0440_0000_4040_079d), Entry::Leaf(rodata));
}

#[test]
fn what_may_be_written_but_was_not_is_read_only_for_hardware() {
    let f = ArmLpae::default();
    let clean = leaf(0x1000, DATA - AttrFlags::DIRTY);
    assert_eq!(f.leaf_word(Level::PTE, &clean), Ok(0x0040_0000_0000_179f));
    // Written before, and not writable now: software would have let it be written.
    let Entry::Leaf(seen) = f.entry(Level::PTE, 0x00c0_0000_0000_179f) else { panic!("no leaf") };
    assert!(!seen.attr.flags.contains(AttrFlags::WRITE) && seen.attr.flags.contains(AttrFlags::DIRTY));
    // Software's "read-only" is not what hardware goes by.
    let Entry::Leaf(seen) = f.entry(Level::PTE, 0x0440_0000_0000_171f) else { panic!("no leaf") };
    assert!(seen.attr.flags.contains(AttrFlags::WRITE | AttrFlags::DIRTY));
}

#[test]
fn user_pages_have_ap1_ng_and_pxn() {
    let f = ArmLpae::default();
    let text = AttrFlags::USER | AttrFlags::USER_EXEC | AttrFlags::ACCESSED;
    assert_eq!(f.leaf_word(Level::PTE, &leaf(0x1000, text)), Ok(0x0420_0000_0000_1fdf));
    // The kernel cannot be let in where the user is kept out.
    let flags = AttrFlags::USER | AttrFlags::EXEC | AttrFlags::ACCESSED;
    assert_eq!(f.leaf_word(Level::PTE, &leaf(0x1000, flags)), Err(AttrError::Flags(flags)));
}

#[test]
fn the_vectors_page_is_for_both() {
    // As a running kernel has it: AP[2:1] 3, neither XN nor PXN, index 7, inner shareable, global.
    let vectors =
        AttrFlags::USER | AttrFlags::USER_EXEC | AttrFlags::EXEC | AttrFlags::ACCESSED | AttrFlags::GLOBAL;
    let word = ArmLpae::default().leaf_word(Level::PTE, &leaf(0x7fff_e000, vectors)).unwrap();
    assert_eq!(word & !(0b1111 << 55), 0x7fff_e7df);
}

#[test]
fn memory_types_take_linuxs_indices() {
    let index = |m| {
        let leaf = Leaf { attr: Attr::normal(DATA).with_memory(m), ..leaf(0, DATA) };
        (ArmLpae::default().leaf_word(Level::PTE, &leaf).unwrap() >> 2) & 7
    };
    assert_eq!(index(MemoryType::StronglyOrdered), 0);
    assert_eq!(index(MemoryType::WriteCombine), 1);
    assert_eq!(index(MemoryType::WriteThrough), 2);
    assert_eq!(index(MemoryType::Device), 4);
    assert_eq!(index(MemoryType::Normal), 7);
    // Write-back without write-allocation is Normal too.
    assert_eq!(ArmLpae::default().entry(Level::PTE, 0x00c0_0000_0000_070f), Entry::Leaf(leaf(0, DATA)));
}

#[test]
fn addresses_have_40_bits() {
    let f = ArmLpae::default();
    assert_eq!(f.leaf_word(Level::PTE, &leaf(0xff_ffff_f000, DATA)), Ok(0x00c0_00ff_ffff_f71f));
    let far = leaf(0x100_0000_0000, DATA);
    assert_eq!(f.leaf_word(Level::PTE, &far), Err(AttrError::Address(far.phys)));
    assert!(matches!(f.entry(Level::PTE, 0x00c0_0100_0000_071f), Entry::Reserved(_)));
}

#[test]
fn tables_carry_their_limits_and_xn_is_for_everyone() {
    let f = ArmLpae::default();
    let page = PhysAddr::new(0x12_3456_7000);
    let of = |limits| f.table_word(Level::PUD, 3, page, limits);
    assert_eq!(of(TableLimits::empty()), 0x12_3456_7003);
    assert_eq!(of(TableLimits::NO_WRITE), 0x4000_0012_3456_7003);
    assert_eq!(of(TableLimits::NO_USER), 0x2000_0012_3456_7003);
    assert_eq!(of(TableLimits::NO_EXEC), 0x0800_0012_3456_7003);
    let both = TableLimits::NO_EXEC | TableLimits::NO_USER_EXEC;
    assert_eq!(f.entry(Level::PUD, 0x1000_0012_3456_7003), Entry::Table(page, both));
    assert_eq!(f.entry(Level::PUD, of(both)), Entry::Table(page, both));
    assert_eq!(f.step(Level::PUD, 0x12_3456_7003), Step::Table(page));
}

#[test]
fn linux_puts_no_gigabyte_block_into_the_pgd() {
    assert_eq!(
        ArmLpae::default().leaf_word(Level::PUD, &leaf(1 << 30, DATA)),
        Err(AttrError::Level(Level::PUD))
    );
    assert_eq!(format(false, true).leaf_word(Level::PUD, &leaf(1 << 30, DATA)), Ok(0x00c0_0000_4000_071d));
}

#[test]
fn ttbcr_n_gives_ttbr0_the_lowest_part_and_a_smaller_root() {
    let whole = ShortSplit::new(0);
    assert_eq!((whole.select(u32::MAX), whole.low_root_bytes()), (Ttbr::Ttbr0, 16384));
    let quarter = ShortSplit::new(2);
    assert_eq!(quarter.select(0x3fff_ffff), Ttbr::Ttbr0);
    assert_eq!(quarter.select(0x4000_0000), Ttbr::Ttbr1);
    assert_eq!((quarter.low_bits(), quarter.low_root_bytes()), (30, 4096));
    assert_eq!(ShortSplit::new(7).low_root_bytes(), 128);
}

#[test]
fn t1sz_gives_ttbr1_the_kernels_part() {
    let c000 = LongSplit::for_page_offset(0xc000_0000);
    assert_eq!(c000, LongSplit::new(0, 2));
    assert_eq!(c000.select(0xbfff_ffff), Some(Ttbr::Ttbr0));
    assert_eq!(c000.select(0xc000_0000), Some(Ttbr::Ttbr1));
    // A GiB needs no PGD: the walk begins at the PMD table.
    assert_eq!((c000.start(Ttbr::Ttbr1).va_bits, c000.start(Ttbr::Ttbr1).level), (30, Level::PMD));
    assert_eq!((c000.start(Ttbr::Ttbr0).va_bits, c000.start(Ttbr::Ttbr0).level), (32, Level::PUD));
    let half = LongSplit::for_page_offset(0x8000_0000);
    assert_eq!((half, half.start(Ttbr::Ttbr1).level), (LongSplit::new(0, 1), Level::PUD));
    assert_eq!(LongSplit::for_page_offset(0x4000_0000).select(u32::MAX), Some(Ttbr::Ttbr0));
}

#[test]
fn two_sizes_may_leave_a_gap_that_nobody_translates() {
    let split = LongSplit::new(2, 2);
    assert_eq!(split.select(0x3fff_ffff), Some(Ttbr::Ttbr0));
    assert_eq!(split.select(0x4000_0000), None);
    assert_eq!(split.select(0xc000_0000), Some(Ttbr::Ttbr1));
    // With T1SZ 0, what TTBR0 leaves is TTBR1's.
    assert_eq!(LongSplit::new(1, 0).select(0x8000_0000), Some(Ttbr::Ttbr1));
}
