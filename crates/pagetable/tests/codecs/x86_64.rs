//! Words worked out by hand from the Intel SDM, volume 3A, 4.5 (tables 4-14 to 4-20).

use crate::common::{agree, any_leaf, cases, every_leaf, goes_round};
use pagewright_addr::PhysAddr;
use pagewright_pagetable::format::x86::{X86Config, X86Level4, X86Level5};
use pagewright_pagetable::{Attr, AttrError, AttrFlags, Entry, Format, Leaf, Level, MemoryType};
use pagewright_pagetable::{Shareability, Step, TableLimits, Window};
use proptest::prelude::*;

const DATA: AttrFlags =
    AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::ACCESSED).union(AttrFlags::GLOBAL);

fn leaf(phys: u64, flags: AttrFlags) -> Leaf {
    Leaf { phys: PhysAddr::new(phys), attr: Attr::normal(flags), contiguous: false }
}

fn format(config: X86Config) -> X86Level4 {
    X86Level4 { config }
}

fn expressible(f: &X86Level4, level: Level, leaf: &Leaf) -> bool {
    let Attr { flags, memory, share, key, software } = leaf.attr;
    let user = flags.contains(AttrFlags::USER);
    let (own, other) =
        if user { (AttrFlags::USER_EXEC, AttrFlags::EXEC) } else { (AttrFlags::EXEC, AttrFlags::USER_EXEC) };
    let c = &f.config;
    let phys = leaf.phys;
    level <= (if c.gigabyte_pages { Level::PUD } else { Level::PMD })
        && phys.is_aligned(X86Level4::SHAPE.level(level).bytes())
        && phys.get() < 1 << c.phys_bits
        && phys.get() & c.encryption_mask == 0
        && !leaf.contiguous
        && !flags.intersects(AttrFlags::GUARDED | other)
        && (c.no_execute || flags.contains(own))
        && (c.encryption_mask != 0 || !flags.contains(AttrFlags::NON_SECURE))
        && !matches!(memory, MemoryType::NormalTagged | MemoryType::Device)
        && share == Shareability::Inner
        && key < 16
        && software < 8
}

fn any_config() -> impl Strategy<Value = X86Config> {
    let mask = prop_oneof![Just(0u64), Just(1 << 47), Just(1 << 51)];
    (any::<bool>(), any::<bool>(), mask, 36u32..53).prop_map(
        |(no_execute, gigabyte_pages, encryption_mask, phys_bits)| X86Config {
            no_execute,
            gigabyte_pages,
            encryption_mask,
            phys_bits,
        },
    )
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_attribute_goes_round(leaf in any_leaf(), config in any_config()) {
        let f = format(config);
        goes_round(&f, &leaf, &|level, leaf| expressible(&f, level, leaf));
        let five = X86Level5 { config };
        goes_round(&five, &leaf, &|level, leaf| level < Level::PGD && expressible(&f, level, leaf));
    }

    #[test]
    fn both_decoders_agree_about_any_word(
        word in any::<u64>(), clear in any::<u64>(), level in 0usize..5, config in any_config()
    ) {
        for word in [word, word & clear, word & 0x7_ffff_ffff] {
            agree(&format(config), Level::new(level.min(3)), word);
            agree(&X86Level5 { config }, Level::new(level), word);
        }
    }
}

#[test]
fn every_combination_of_attributes_goes_round() {
    let encrypted = X86Config { encryption_mask: 1 << 47, phys_bits: 43, ..X86Config::default() };
    let old = X86Config { no_execute: false, gigabyte_pages: false, ..X86Config::default() };
    for config in [X86Config::default(), encrypted, old] {
        let f = format(config);
        every_leaf(0x40_0000_0000, |leaf| goes_round(&f, leaf, &|level, leaf| expressible(&f, level, leaf)));
    }
}

#[test]
fn kernel_leaves_are_these_words() {
    let f = X86Level4::default();
    // XD; G, D, A, R/W, P.
    assert_eq!(f.leaf_word(Level::PTE, &leaf(0x1234_5000, DATA)), Ok(0x8000_0000_1234_5163));
    // PS.
    assert_eq!(f.leaf_word(Level::PMD, &leaf(0x1220_0000, DATA)), Ok(0x8000_0000_1220_01e3));
    let text = (DATA - AttrFlags::WRITE) | AttrFlags::EXEC;
    assert_eq!(f.leaf_word(Level::PUD, &leaf(0x4000_0000, text)), Ok(0x4000_01e1));
    assert_eq!(f.leaf_word(Level::P4D, &leaf(0, text)), Err(AttrError::Level(Level::P4D)));
    let user = AttrFlags::USER | AttrFlags::USER_EXEC | AttrFlags::ACCESSED;
    let keyed = Leaf { attr: Attr { key: 5, software: 0b101, ..Attr::normal(user) }, ..leaf(0x1000, user) };
    assert_eq!(f.leaf_word(Level::PTE, &keyed), Ok(0x2800_0000_0000_1a25));
}

#[test]
fn memory_types_take_linuxs_pat_indices_and_pat_moves_in_blocks() {
    let f = X86Level4::default();
    let of =
        |level, m| f.leaf_word(level, &Leaf { attr: Attr::normal(DATA).with_memory(m), ..leaf(0, DATA) });
    for (memory, page, block) in [
        (MemoryType::Normal, 0x163, 0x1e3),
        (MemoryType::WriteCombine, 0x16b, 0x1eb),
        (MemoryType::UncachedMinus, 0x173, 0x1f3),
        (MemoryType::StronglyOrdered, 0x17b, 0x1fb),
        (MemoryType::WriteProtect, 0x1eb, 0x11eb),
        (MemoryType::WriteThrough, 0x1fb, 0x11fb),
    ] {
        assert_eq!(of(Level::PTE, memory), Ok(0x8000_0000_0000_0000 | page), "{memory:?}");
        assert_eq!(of(Level::PMD, memory), Ok(0x8000_0000_0000_0000 | block), "{memory:?}");
    }
    assert_eq!(of(Level::PTE, MemoryType::Device), Err(AttrError::Memory(MemoryType::Device)));
}

#[test]
fn tables_allow_all_but_their_limits() {
    let f = X86Level5::default();
    let page = PhysAddr::new(0x5000);
    assert_eq!(f.table_word(Level::PGD, 0, page, TableLimits::empty()), 0x5067);
    assert_eq!(f.table_word(Level::PGD, 0, page, TableLimits::NO_USER), 0x5063);
    assert_eq!(f.table_word(Level::PGD, 0, page, TableLimits::NO_WRITE), 0x5065);
    let none = TableLimits::NO_EXEC | TableLimits::NO_USER_EXEC;
    assert_eq!(f.table_word(Level::PGD, 0, page, none), 0x8000_0000_0000_5067);
    assert_eq!(f.entry(Level::PGD, 0x8000_0000_0000_5063), Entry::Table(page, none | TableLimits::NO_USER));
}

#[test]
fn what_the_processor_has_not_is_reserved() {
    let small = format(X86Config { phys_bits: 40, ..X86Config::default() });
    assert!(matches!(small.entry(Level::PTE, 0x0000_0100_0000_0001), Entry::Reserved(_)));
    assert!(matches!(small.entry(Level::PMD, 0x0000_0100_0000_0001), Entry::Reserved(_)));
    let old = format(X86Config { no_execute: false, gigabyte_pages: false, ..X86Config::default() });
    assert!(matches!(old.entry(Level::PTE, 0x8000_0000_0000_1001), Entry::Reserved(_)));
    assert!(matches!(old.entry(Level::PUD, 0x4000_0081), Entry::Reserved(_)));
    // PS in the two highest levels, and address bits inside a block (bit 13 of 2 MiB).
    let f = X86Level5::default();
    assert!(matches!(f.entry(Level::P4D, 0x81), Entry::Reserved(_)));
    assert!(matches!(f.entry(Level::PGD, 0x81), Entry::Reserved(_)));
    assert!(matches!(f.entry(Level::PMD, 0x2081), Entry::Reserved(_)));
}

#[test]
fn the_encryption_bit_is_no_address() {
    let f = format(X86Config { encryption_mask: 1 << 47, phys_bits: 43, ..X86Config::default() });
    let word = 0x8000_8000_1234_5163;
    assert_eq!(f.leaf_word(Level::PTE, &leaf(0x1234_5000, DATA)), Ok(word));
    assert_eq!(f.entry(Level::PTE, word), Entry::Leaf(leaf(0x1234_5000, DATA)));
    assert_eq!(f.step(Level::PTE, word), Step::Leaf(PhysAddr::new(0x1234_5000)));
    assert_eq!(f.table_word(Level::PMD, 0, PhysAddr::new(0x5000), TableLimits::empty()), 0x8000_0000_5067);
    let wide = format(X86Config { encryption_mask: 1 << 47, phys_bits: 52, ..X86Config::default() });
    let inside = leaf(0x8000_1234_5000, DATA);
    assert_eq!(wide.leaf_word(Level::PTE, &inside), Err(AttrError::Address(inside.phys)));
    // Without it, memory is shared with the outside.
    let plain = leaf(0x1234_5000, DATA | AttrFlags::NON_SECURE);
    assert_eq!(f.leaf_word(Level::PTE, &plain), Ok(0x8000_0000_1234_5163));
    assert_eq!(X86Level4::default().leaf_word(Level::PTE, &plain), Err(AttrError::Flags(plain.attr.flags)));
}

#[test]
fn both_halves_are_canonical() {
    assert_eq!(X86Level4::default().window(), Window::Canonical { bits: 48 });
    assert_eq!(X86Level5::default().window(), Window::Canonical { bits: 57 });
}
