//! Words worked out by hand from the Intel SDM, volume 3A, 4.3 and 4.4.

use crate::common::{agree, any_leaf, cases, every_leaf, goes_round};
use pagewright_addr::PhysAddr;
use pagewright_pagetable::format::x86::i386::{I386, I386Config, I386Pae, I386PaeConfig};
use pagewright_pagetable::{Attr, AttrError, AttrFlags, Entry, Format, Leaf, Level, MemoryType};
use pagewright_pagetable::{Shareability, Step, TableLimits, Window};
use proptest::prelude::*;

const DATA: AttrFlags =
    AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::ACCESSED).union(AttrFlags::GLOBAL);

fn leaf(phys: u64, flags: AttrFlags) -> Leaf {
    Leaf { phys: PhysAddr::new(phys), attr: Attr::normal(flags), contiguous: false }
}

fn expressible(bytes: u64, phys_bits: u32, no_execute: bool, leaf: &Leaf) -> bool {
    let Attr { flags, memory, share, key, software } = leaf.attr;
    let user = flags.contains(AttrFlags::USER);
    let (own, other) =
        if user { (AttrFlags::USER_EXEC, AttrFlags::EXEC) } else { (AttrFlags::EXEC, AttrFlags::USER_EXEC) };
    leaf.phys.is_aligned(bytes)
        && leaf.phys.get() < 1 << phys_bits
        && !leaf.contiguous
        && !flags.intersects(AttrFlags::GUARDED | AttrFlags::NON_SECURE | other)
        && (no_execute || flags.contains(own))
        && !matches!(memory, MemoryType::NormalTagged | MemoryType::Device)
        && share == Shareability::Inner
        && key == 0
        && software < 8
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_attribute_goes_round_with_two_levels(leaf in any_leaf(), blocks in any::<bool>()) {
        let f = I386 { config: I386Config { blocks } };
        goes_round(&f, &leaf, &|level, leaf| {
            let bytes = I386::SHAPE.level(level).bytes();
            (blocks || level == Level::PTE) && expressible(bytes, 32, false, leaf)
        });
    }

    #[test]
    fn every_attribute_goes_round_with_pae(leaf in any_leaf(), no_execute in any::<bool>(), phys_bits in 32u32..53) {
        let f = I386Pae { config: I386PaeConfig { no_execute, phys_bits } };
        goes_round(&f, &leaf, &|level, leaf| {
            let bytes = I386Pae::SHAPE.level(level).bytes();
            level != Level::PUD && expressible(bytes, phys_bits, no_execute, leaf)
        });
    }

    #[test]
    fn both_decoders_agree_about_any_word(word in any::<u64>(), clear in any::<u64>()) {
        for word in [word, word & clear, word & 0xf_ffff_ffff] {
            for n in 0..3 {
                agree(&I386Pae::default(), Level::new(n), word);
            }
            for blocks in [false, true] {
                agree(&I386 { config: I386Config { blocks } }, Level::PTE, word & 0xffff_ffff);
                agree(&I386 { config: I386Config { blocks } }, Level::PMD, word & 0xffff_ffff);
            }
        }
    }
}

#[test]
fn every_combination_of_attributes_goes_round() {
    every_leaf(0x4000_0000, |leaf| {
        goes_round(&I386::default(), leaf, &|level, leaf| {
            expressible(I386::SHAPE.level(level).bytes(), 32, false, leaf)
        });
        goes_round(&I386Pae::default(), leaf, &|level, leaf| {
            level != Level::PUD && expressible(I386Pae::SHAPE.level(level).bytes(), 36, true, leaf)
        });
    });
}

#[test]
fn two_level_words_are_these() {
    let f = I386::default();
    // G, D, A, R/W, P: everything is executable.
    let data = DATA | AttrFlags::EXEC;
    assert_eq!(f.leaf_word(Level::PTE, &leaf(0x1234_5000, data)), Ok(0x1234_5163));
    assert_eq!(f.leaf_word(Level::PTE, &leaf(0x1234_5000, DATA)), Err(AttrError::Flags(DATA)));
    // PS: 4 MiB.
    assert_eq!(f.leaf_word(Level::PMD, &leaf(0x0840_0000, data)), Ok(0x0840_01e3));
    // PAT is bit 12 of a block: write-protect is PAT 5.
    let wp =
        Leaf { attr: Attr::normal(data).with_memory(MemoryType::WriteProtect), ..leaf(0x0840_0000, data) };
    assert_eq!(f.leaf_word(Level::PMD, &wp), Ok(0x0840_11eb));
    let wp = Leaf { phys: PhysAddr::new(0x1000), ..wp };
    assert_eq!(f.leaf_word(Level::PTE, &wp), Ok(0x0000_11eb));
    assert_eq!(f.table_word(Level::PMD, 0, PhysAddr::new(0x3f_f000), TableLimits::empty()), 0x003f_f067);
    assert_eq!(
        f.entry(Level::PMD, 0x003f_f063),
        Entry::Table(PhysAddr::new(0x3f_f000), TableLimits::NO_USER)
    );
}

#[test]
fn address_bits_inside_a_4_mib_block_are_reserved() {
    // Bit 13 would be address bit 32 with PSE-36.
    assert_eq!(I386::default().entry(Level::PMD, 0x0840_21e3), Entry::Reserved(0x0840_21e3));
    // Without CR4.PSE the bit 7 of a root entry means nothing.
    let f = I386 { config: I386Config { blocks: false } };
    assert_eq!(f.step(Level::PMD, 0x0840_21e3), Step::Table(PhysAddr::new(0x0840_2000)));
}

#[test]
fn pae_words_are_these() {
    let f = I386Pae::default();
    assert_eq!(f.leaf_word(Level::PTE, &leaf(0xa_1234_5000, DATA)), Ok(0x8000_000a_1234_5163));
    assert_eq!(f.leaf_word(Level::PMD, &leaf(0xa_1220_0000, DATA)), Ok(0x8000_000a_1220_01e3));
    let far = leaf(0x10_0000_0000, DATA);
    assert_eq!(f.leaf_word(Level::PTE, &far), Err(AttrError::Address(far.phys)));
    assert_eq!(f.table_word(Level::PMD, 0, PhysAddr::new(0x5000), TableLimits::empty()), 0x5067);
    let none = TableLimits::NO_EXEC | TableLimits::NO_USER_EXEC;
    assert_eq!(f.table_word(Level::PMD, 0, PhysAddr::new(0x5000), none), 0x8000_0000_0000_5067);
}

#[test]
fn paes_root_has_no_permissions() {
    let f = I386Pae::default();
    assert_eq!(f.table_word(Level::PUD, 3, PhysAddr::new(0x5000), TableLimits::all()), 0x5001);
    // PWT, PCD and software's bits may be set; R/W, U/S, A, D, PS, G and XD may not.
    let next = Entry::Table(PhysAddr::new(0x5000), TableLimits::empty());
    assert_eq!(f.entry(Level::PUD, 0x5e19), next);
    for bit in [1, 2, 5, 6, 7, 8, 63] {
        let word = 0x5001 | (1 << bit);
        assert_eq!(f.entry(Level::PUD, word), Entry::Reserved(word), "bit {bit}");
    }
}

#[test]
fn pae_has_no_protection_keys() {
    let word = 0x0800_0000_0000_5163;
    assert_eq!(I386Pae::default().entry(Level::PTE, word), Entry::Reserved(word));
    let word = 0x8000_0000_0000_5163;
    let old = I386Pae { config: I386PaeConfig { no_execute: false, phys_bits: 36 } };
    assert_eq!(old.entry(Level::PTE, word), Entry::Reserved(word));
}

#[test]
fn all_32_bits_are_translated() {
    assert_eq!(I386::default().window(), Window::Canonical { bits: 32 });
    assert_eq!(I386::SHAPE.va_bits(), 32);
    assert_eq!(I386Pae::SHAPE.va_bits(), 32);
}
