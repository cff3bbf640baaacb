//! Words worked out by hand from ARMv8-A D8.3, for each granule.

use crate::common::{agree, any_leaf, cases, every_leaf, goes_round};
use pagewright_addr::PhysAddr;
use pagewright_pagetable::format::MemoryTypes;
use pagewright_pagetable::format::arm64::*;
use pagewright_pagetable::{Attr, AttrError, AttrFlags, Entry, Format, Leaf, Level, MemoryType};
use pagewright_pagetable::{Shareability, Step, TableLimits, Window};
use proptest::prelude::*;

type Kernel4k = Arm64Page4kVa48;

fn expressible<const P: u32, const V: u32>(format: &Arm64<P, V>, level: Level, leaf: &Leaf) -> bool {
    let size = Arm64::<P, V>::SHAPE.level(level);
    let offered = !matches!(
        leaf.attr.memory,
        MemoryType::WriteThrough | MemoryType::WriteProtect | MemoryType::UncachedMinus
    );
    size.leaf
        && offered
        && leaf.phys.is_aligned(size.bytes())
        && leaf.phys.get() < 1 << format.config.output_bits
        && (level.get() < 2 || !leaf.contiguous)
        && leaf.attr.key == 0
        && leaf.attr.software < 8
}

fn round<const P: u32, const V: u32>(leaf: &Leaf) {
    for half in [Half::Low, Half::High] {
        let format = Arm64::<P, V>::of(half);
        goes_round(&format, leaf, &|level, leaf| expressible(&format, level, leaf));
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_attribute_goes_round_with_every_granule(leaf in any_leaf()) {
        round::<12, 39>(&leaf);
        round::<12, 48>(&leaf);
        round::<14, 36>(&leaf);
        round::<14, 47>(&leaf);
        round::<14, 48>(&leaf);
        round::<16, 42>(&leaf);
        round::<16, 48>(&leaf);
        round::<16, 52>(&leaf);
    }

    #[test]
    fn both_decoders_agree_about_any_word(word in any::<u64>(), level in 0usize..4, clear in any::<u64>()) {
        // Fewer bits set, so that not all of them are reserved.
        for word in [word, word & clear, (word & 0x0000_ffff_ffff_f000) | (clear & 0xfff)] {
            agree(&Arm64Page4kVa48::default(), Level::new(level), word);
            agree(&Arm64Page16kVa48::default(), Level::new(level), word);
            agree(&Arm64Page64kVa48::default(), Level::new(level.min(2)), word);
            agree(&Arm64Page64kVa52::default(), Level::new(level.min(2)), word);
        }
    }
}

#[test]
fn every_combination_of_attributes_goes_round() {
    every_leaf(0x4_0000_0000, round::<12, 48>);
    every_leaf(0x4_0000_0000, round::<14, 47>);
    every_leaf(0x4_0000_0000, round::<16, 48>);
}

#[test]
fn bits_49_and_48_are_zero_and_so_are_those_below_a_larger_page() {
    let page = 0x0068_0000_0000_0703;
    for word in [page | 1 << 48, page | 1 << 49] {
        assert_eq!(Kernel4k::default().entry(Level::PTE, word), Entry::Reserved(word));
        assert_eq!(Kernel4k::default().entry(Level::PMD, word), Entry::Reserved(word));
        assert_eq!(Arm64Page64kVa52::default().entry(Level::PTE, word), Entry::Reserved(word));
    }
    for word in [page | 1 << 12, page | 1 << 13] {
        assert_eq!(Arm64Page16kVa47::default().entry(Level::PTE, word), Entry::Reserved(word));
        assert!(matches!(Arm64Page64kVa52::default().entry(Level::PTE, word), Entry::Leaf(_)));
    }
}

const DATA: AttrFlags =
    AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::ACCESSED).union(AttrFlags::GLOBAL);
const TEXT: AttrFlags = AttrFlags::EXEC.union(AttrFlags::ACCESSED).union(AttrFlags::GLOBAL);

fn leaf(phys: u64, attr: Attr) -> Leaf {
    Leaf { phys: PhysAddr::new(phys), attr, contiguous: false }
}

#[test]
fn a_kernel_page_of_data_is_this_word() {
    // UXN, PXN, DBM; AF, inner shareable, index 0; a page.
    let word = Kernel4k::default().leaf_word(Level::PTE, &leaf(0x4123_4000, Attr::normal(DATA)));
    assert_eq!(word, Ok(0x0068_0000_4123_4703));
}

#[test]
fn a_kernel_block_of_text_is_this_word() {
    // UXN, not PXN; AP[2]; AF, inner shareable, index 0; a block of 2 MiB.
    let word = Kernel4k::default().leaf_word(Level::PMD, &leaf(0x4040_0000, Attr::normal(TEXT)));
    assert_eq!(word, Ok(0x0040_0000_4040_0781));
}

#[test]
fn device_and_tagged_memory_take_their_indices() {
    let f = Kernel4k::default();
    let of = |memory| f.leaf_word(Level::PTE, &leaf(0x0900_0000, Attr::normal(DATA).with_memory(memory)));
    assert_eq!(of(MemoryType::NormalTagged), Ok(0x0068_0000_0900_0707));
    assert_eq!(of(MemoryType::WriteCombine), Ok(0x0068_0000_0900_070b));
    assert_eq!(of(MemoryType::StronglyOrdered), Ok(0x0068_0000_0900_070f));
    assert_eq!(of(MemoryType::Device), Ok(0x0068_0000_0900_0713));
    assert_eq!(of(MemoryType::WriteProtect), Err(AttrError::Memory(MemoryType::WriteProtect)));
}

#[test]
fn another_mair_gives_other_indices() {
    let mut f = Kernel4k::default();
    f.config.memory = MemoryTypes::ARM64_DEVICE_FIRST;
    let of = |memory| f.leaf_word(Level::PTE, &leaf(0, Attr::normal(DATA).with_memory(memory)));
    assert_eq!(of(MemoryType::StronglyOrdered), Ok(0x0068_0000_0000_0703));
    assert_eq!(of(MemoryType::Device), Ok(0x0068_0000_0000_0707));
    assert_eq!(of(MemoryType::WriteCombine), Ok(0x0068_0000_0000_070f));
    assert_eq!(of(MemoryType::Normal), Ok(0x0068_0000_0000_0713));
    // Index 2 is Device-GRE, which has no name here.
    assert_eq!(f.entry(Level::PTE, 0x0068_0000_0000_070b), Entry::Reserved(0x0068_0000_0000_070b));
}

#[test]
fn a_user_page_has_ap1_and_ng() {
    let attr = Attr::normal(
        AttrFlags::USER | AttrFlags::USER_EXEC | AttrFlags::ACCESSED | AttrFlags::WRITE | AttrFlags::DIRTY,
    );
    // DBM, PXN; nG, AF, SH 3, AP[1].
    assert_eq!(
        Arm64Page4kVa39::of(Half::Low).leaf_word(Level::PTE, &leaf(0x1000, attr)),
        Ok(0x0028_0000_0000_1f43)
    );
}

#[test]
fn what_may_be_written_but_was_not_is_read_only_with_dbm() {
    let f = Kernel4k::default();
    let clean = Attr::normal(DATA - AttrFlags::DIRTY);
    assert_eq!(f.leaf_word(Level::PTE, &leaf(0, clean)), Ok(0x0068_0000_0000_0783));
    let protected = Attr::normal(DATA - AttrFlags::WRITE);
    // Bit 55 remembers.
    assert_eq!(f.leaf_word(Level::PTE, &leaf(0, protected)), Ok(0x00e0_0000_0000_0783));
}

#[test]
fn a_block_without_dbm_that_may_be_written_counts_as_dirty() {
    // The first tables of old kernels: AF, SH, no DBM, executable by everyone.
    let Entry::Leaf(leaf) = Kernel4k::default().entry(Level::PMD, 0x4000_0701) else { panic!("no leaf") };
    assert_eq!(leaf.attr.flags, DATA | AttrFlags::EXEC | AttrFlags::USER_EXEC);
}

#[test]
fn shareability_is_bits_nine_and_eight_and_one_is_reserved() {
    let f = Kernel4k::default();
    let of =
        |share| f.leaf_word(Level::PTE, &leaf(0, Attr::normal(DATA).with_share(share))).map(|w| (w >> 8) & 3);
    assert_eq!(of(Shareability::None), Ok(0));
    assert_eq!(of(Shareability::Outer), Ok(2));
    assert_eq!(of(Shareability::Inner), Ok(3));
    assert_eq!(f.entry(Level::PTE, 0x0068_0000_0000_0503), Entry::Reserved(0x0068_0000_0000_0503));
}

#[test]
fn the_remaining_bits_lie_where_the_manual_has_them() {
    let f = Kernel4k::default();
    let base = f.leaf_word(Level::PTE, &leaf(0, Attr::normal(DATA))).unwrap();
    let guarded = f.leaf_word(Level::PTE, &leaf(0, Attr::normal(DATA | AttrFlags::GUARDED))).unwrap();
    assert_eq!(guarded ^ base, 1 << 50);
    let outside = f.leaf_word(Level::PTE, &leaf(0, Attr::normal(DATA | AttrFlags::NON_SECURE))).unwrap();
    assert_eq!(outside ^ base, 1 << 5);
    let software = Attr { software: 0b101, ..Attr::normal(DATA) };
    assert_eq!(f.leaf_word(Level::PTE, &leaf(0, software)).unwrap() ^ base, (1 << 56) | (1 << 58));
    let hint = Leaf { contiguous: true, ..leaf(0, Attr::normal(DATA)) };
    assert_eq!(f.leaf_word(Level::PTE, &hint).unwrap() ^ base, 1 << 52);
}

#[test]
fn tables_carry_their_limits_from_bit_59_up() {
    let f = Kernel4k::default();
    let page = PhysAddr::new(0x8_4000_1000);
    let of = |limits| f.table_word(Level::PUD, 5, page, limits);
    assert_eq!(of(TableLimits::empty()), 0x0000_0008_4000_1003);
    assert_eq!(of(TableLimits::NO_EXEC), 0x0800_0008_4000_1003);
    assert_eq!(of(TableLimits::NO_USER_EXEC), 0x1000_0008_4000_1003);
    assert_eq!(of(TableLimits::NO_USER), 0x2000_0008_4000_1003);
    assert_eq!(of(TableLimits::NO_WRITE), 0x4000_0008_4000_1003);
    for bits in 0..16 {
        let limits = TableLimits::from_bits_truncate(bits);
        assert_eq!(f.entry(Level::PUD, of(limits)), Entry::Table(page, limits));
    }
    // A page descriptor's bits mean a table one level higher.
    assert_eq!(f.step(Level::PMD, 0x4123_4703), Step::Table(PhysAddr::new(0x4123_4000)));
}

#[test]
fn pages_of_64k_keep_the_upper_address_bits_in_15_to_12() {
    let f = Arm64Page64kVa52::default();
    let word = f.leaf_word(Level::PTE, &leaf(0x000a_1234_5678_0000, Attr::normal(DATA)));
    assert_eq!(word, Ok(0x0068_1234_5678_a703));
    assert_eq!(f.step(Level::PTE, 0x0068_1234_5678_a703), Step::Leaf(PhysAddr::new(0x000a_1234_5678_0000)));
    let table = f.table_word(Level::PMD, 0, PhysAddr::new(0x000f_0000_0001_0000), TableLimits::empty());
    assert_eq!(table, 0x0000_0000_0001_f003);
    // With 48 bits of output those bits are no address.
    let f = Arm64Page64kVa48::default();
    assert!(matches!(f.entry(Level::PTE, 0x0068_1234_5678_a703), Entry::Reserved(_)));
    let far = leaf(0x000a_1234_5678_0000, Attr::normal(DATA));
    assert_eq!(f.leaf_word(Level::PTE, &far), Err(AttrError::Address(far.phys)));
}

#[test]
fn blocks_stand_where_the_granule_has_them() {
    let attr = Attr::normal(DATA);
    let at = |phys| leaf(phys, attr);
    assert_eq!(Kernel4k::default().leaf_word(Level::PUD, &at(1 << 30)), Ok(0x0068_0000_4000_0701));
    assert_eq!(Kernel4k::default().leaf_word(Level::P4D, &at(1 << 39)), Err(AttrError::Level(Level::P4D)));
    assert_eq!(Arm64Page16kVa47::default().leaf_word(Level::PMD, &at(32 << 20)), Ok(0x0068_0000_0200_0701));
    assert!(Arm64Page16kVa47::default().leaf_word(Level::PUD, &at(0)).is_err());
    assert_eq!(Arm64Page64kVa42::default().leaf_word(Level::PMD, &at(512 << 20)), Ok(0x0068_0000_2000_0701));
    assert!(Arm64Page64kVa48::default().leaf_word(Level::PUD, &at(0)).is_err());
}

#[test]
fn a_lowest_descriptor_that_says_block_is_reserved() {
    assert_eq!(Kernel4k::default().entry(Level::PTE, 0x4000_0701), Entry::Reserved(0x4000_0701));
    // An invalid word that is not empty is software's: a swapped page.
    assert_eq!(Kernel4k::default().entry(Level::PTE, 0x4000_0700), Entry::Software(0x4000_0700));
}

#[test]
fn each_half_translates_its_end_of_the_addresses() {
    assert_eq!(Kernel4k::of(Half::Low).window(), Window::Low { bits: 48 });
    assert_eq!(Arm64Page64kVa52::default().window(), Window::High { bits: 52 });
}

#[test]
fn contiguous_groups_are_as_long_as_the_manual_says() {
    let of = |shape: pagewright_pagetable::Shape| {
        [shape.level(Level::PTE).contiguous, shape.level(Level::PMD).contiguous]
    };
    assert_eq!(of(Arm64Page4kVa48::SHAPE), [16, 16]);
    assert_eq!(of(Arm64Page16kVa48::SHAPE), [128, 32]);
    assert_eq!(of(Arm64Page64kVa48::SHAPE), [32, 32]);
    assert_eq!(Arm64Page4kVa48::SHAPE.level(Level::PUD).contiguous, 0);
}
