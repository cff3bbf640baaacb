//! Words worked out by hand from ARMv7-AR B3.5, figures B3-4 and B3-5, and Linux's words beside them.

use crate::common::{agree, any_leaf, cases, every_leaf};
use pagewright_addr::PhysAddr;
use pagewright_pagetable::format::MemoryTypes;
use pagewright_pagetable::format::arm::short::{ArmShort, ArmShortConfig};
use pagewright_pagetable::{Attr, AttrError, AttrFlags, Entry, Format, Leaf, Level, MemoryType};
use pagewright_pagetable::{Shareability, Step, TableLimits, Word};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};

const STATE: AttrFlags = AttrFlags::ACCESSED.union(AttrFlags::DIRTY);
const DATA: AttrFlags = AttrFlags::WRITE.union(AttrFlags::GLOBAL).union(STATE);
const TEXT: AttrFlags = AttrFlags::EXEC.union(AttrFlags::GLOBAL).union(STATE);

fn leaf(phys: u64, flags: AttrFlags) -> Leaf {
    Leaf { phys: PhysAddr::new(phys), attr: Attr::normal(flags), contiguous: false }
}

fn format(pxn: bool, supersections: bool, table_domain: u8) -> ArmShort {
    ArmShort { config: ArmShortConfig { pxn, supersections, table_domain, ..ArmShortConfig::default() } }
}

fn expressible(f: &ArmShort, level: Level, leaf: &Leaf) -> bool {
    use AttrFlags as A;
    let Attr { flags, memory, share, key, software } = leaf.attr;
    let has = |flag| flags.contains(flag);
    let common = software == 0
        && share != Shareability::Outer
        && !flags.intersects(A::GUARDED | A::NON_SECURE)
        && !matches!(memory, MemoryType::NormalTagged | MemoryType::WriteProtect | MemoryType::UncachedMinus);
    let phys = leaf.phys.get();
    if level == Level::PTE {
        let user = has(A::USER);
        return common
            && !leaf.contiguous
            && phys & 0xfff == 0
            && phys < 1 << 32
            && key == f.config.table_domain
            && !has(if user { A::EXEC } else { A::USER_EXEC })
            && (has(A::ACCESSED) || has(A::GLOBAL) != user);
    }
    let exec = !has(if has(A::USER) { A::EXEC } else { A::USER_EXEC });
    let place = if leaf.contiguous {
        // Inside a group the word holds the group's address: goes round only for its first entry.
        f.config.supersections && phys < 1 << 40 && key == 0
    } else {
        phys < 1 << 32 && key < 16
    };
    common && exec && place && phys & 0xf_ffff == 0 && flags.contains(STATE)
}

/// Both words go round, and the hardware's alone says the same as both, but for pages that are old.
fn round(f: &ArmShort, leaf: &Leaf) {
    for level in [Level::PTE, Level::PMD] {
        let word = f.leaf_word(level, leaf);
        assert_eq!(word.is_ok(), expressible(f, level, leaf), "{level:?} {leaf:?} {word:?}");
        let Ok(word) = word else { continue };
        assert_eq!(f.entry(level, word), Entry::Leaf(*leaf), "{level:?} {word:#x}");
        let young = leaf.attr.flags.contains(AttrFlags::ACCESSED);
        let sees = if young { Step::Leaf(leaf.phys) } else { Step::Absent };
        assert_eq!((f.step(level, word), f.step(level, word & 0xffff_ffff)), (sees, sees));
    }
}

#[test]
fn every_combination_of_attributes_goes_round() {
    for (pxn, supersections, domain) in [(true, true, 0), (false, false, 3)] {
        let f = format(pxn, supersections, domain);
        every_leaf(0x4000_0000, |leaf| {
            round(&f, leaf);
            let attr = Attr { key: domain, ..leaf.attr };
            round(&f, &Leaf { attr, ..*leaf });
        });
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_address_goes_round(
        leaf in any_leaf(), pxn in any::<bool>(), supersections in any::<bool>(), domain in 0u8..16
    ) {
        let f = format(pxn, supersections, domain);
        let mut leaf = leaf;
        if leaf.contiguous {
            leaf.phys = leaf.phys.align_down(16 << 20);
        }
        round(&f, &leaf);
        let attr = Attr { key: domain, ..Attr::normal(DATA) };
        round(&f, &Leaf { attr, ..leaf });
        round(&f, &Leaf { attr: Attr::normal(DATA), ..leaf });
    }

    #[test]
    fn both_decoders_agree_about_any_hardware_word(word in any::<u32>(), clear in any::<u32>()) {
        for word in [word, word & clear] {
            for level in [Level::PTE, Level::PMD] {
                agree(&format(true, true, 0), level, word.into());
                agree(&format(false, false, 0), level, word.into());
            }
        }
    }
}

#[test]
fn kernel_sections_are_these_words() {
    let f = ArmShort::default();
    let of = |phys, flags| f.leaf_word(Level::PMD, &leaf(phys, flags));
    // S, TEX[0], AP 01, XN, C, B, section.
    assert_eq!(of(0x4000_0000, DATA), Ok(0x4001_141e));
    // The same without XN.
    assert_eq!(of(0x4000_0000, DATA | AttrFlags::EXEC), Ok(0x4001_140e));
    // AP[2].
    assert_eq!(of(0x4030_0000, TEXT), Ok(0x4031_940e));
    assert_eq!(of(0x40e0_0000, TEXT - AttrFlags::EXEC), Ok(0x40e1_941e));
}

#[test]
fn user_sections_are_kept_from_the_kernel_where_there_is_pxn() {
    let text = AttrFlags::USER | AttrFlags::USER_EXEC | STATE;
    // S, nG, AP 111, TEX[0], C, B, section; PXN.
    assert_eq!(ArmShort::default().leaf_word(Level::PMD, &leaf(0x10_0000, text)), Ok(0x0013_9c0f));
    assert_eq!(format(false, false, 0).leaf_word(Level::PMD, &leaf(0x10_0000, text)), Ok(0x0013_9c0e));
    assert_eq!(ArmShort::default().entry(Level::PMD, 0x0013_9c0e), Entry::Leaf(leaf(0x10_0000, text)));
    // Without PXN, bit 0 makes the type reserved; a kernel section that has it is not executable.
    assert!(matches!(format(false, false, 0).entry(Level::PMD, 0x0013_9c0f), Entry::Reserved(_)));
    let Entry::Leaf(seen) = ArmShort::default().entry(Level::PMD, 0x4001_140f) else { panic!("no leaf") };
    assert!(!seen.attr.flags.contains(AttrFlags::EXEC));
}

#[test]
fn a_kernel_page_is_a_pair() {
    let f = ArmShort::default();
    let of = |flags| f.leaf_word(Level::PTE, &leaf(0x7e80_0000, flags)).map(|w| ((w >> 32) as u32, w as u32));
    // Linux: present, young, write-allocate, dirty, XN, shared. Hardware: S, TEX[0], AP 001, C, B, small, XN.
    assert_eq!(of(DATA), Ok((0x7e80_065f, 0x7e80_045f)));
    // Read-only: Linux's bit 7, AP[2].
    assert_eq!(of(DATA - AttrFlags::WRITE), Ok((0x7e80_06df, 0x7e80_065f)));
    // The vectors: executable by user code, global.
    let vectors = (TEXT - AttrFlags::EXEC) | AttrFlags::USER | AttrFlags::USER_EXEC;
    assert_eq!(of(vectors), Ok((0x7e80_05df, 0x7e80_067e)));
    // A user's page: nG is the hardware's alone.
    let user = AttrFlags::USER | AttrFlags::WRITE | STATE;
    assert_eq!(of(user), Ok((0x7e80_075f, 0x7e80_0c7f)));
}

#[test]
fn a_clean_page_is_read_only_for_hardware_and_an_old_one_absent() {
    let f = ArmShort::default();
    let of = |flags| f.leaf_word(Level::PTE, &leaf(0x1000, flags)).map(|w| ((w >> 32) as u32, w as u32));
    assert_eq!(of(DATA - AttrFlags::DIRTY), Ok((0x161f, 0x165f)));
    assert_eq!(of(DATA - AttrFlags::ACCESSED), Ok((0x165d, 0)));
    // An old page has nowhere to keep nG.
    let flags = DATA - AttrFlags::ACCESSED - AttrFlags::GLOBAL;
    assert_eq!(of(flags), Err(AttrError::Flags(flags)));
}

#[test]
fn memory_types_take_tex0_c_and_b() {
    let f = ArmShort::default();
    let page = |m| {
        let leaf = Leaf { attr: Attr::normal(DATA).with_memory(m), ..leaf(0, DATA) };
        let w = f.leaf_word(Level::PTE, &leaf).unwrap() as u32;
        let s = f.leaf_word(Level::PMD, &leaf).unwrap() as u32;
        // TEX[0], C, B of both.
        let page = ((w >> 6) & 1, (w >> 3) & 1, (w >> 2) & 1);
        assert_eq!(page, ((s >> 12) & 1, (s >> 3) & 1, (s >> 2) & 1));
        page
    };
    assert_eq!(page(MemoryType::StronglyOrdered), (0, 0, 0));
    assert_eq!(page(MemoryType::WriteCombine), (0, 0, 1));
    assert_eq!(page(MemoryType::WriteThrough), (0, 1, 0));
    assert_eq!(page(MemoryType::Device), (1, 0, 0));
    assert_eq!(page(MemoryType::Normal), (1, 1, 1));
    // Write-back without write-allocation is Normal too, and what a kernel without SMP writes.
    let mut up = f;
    up.config.memory = MemoryTypes::ARM_TEX_REMAP.with_normal(3);
    let word = up.leaf_word(Level::PTE, &leaf(0, DATA)).unwrap();
    assert_eq!(word as u32, 0x41f);
    assert_eq!(f.entry(Level::PTE, word), Entry::Leaf(leaf(0, DATA)));
}

#[test]
fn linuxs_own_memory_types_mean_what_the_hardware_sees() {
    // Linux's DEV_WC (9), DEV_NONSHARED (12): the fourth bit is not the hardware's.
    let of = |mt: u64, hardware: u64| match ArmShort::default()
        .entry(Level::PTE, ((0x1643 | (mt << 2)) << 32) | 0x1413 | hardware)
    {
        Entry::Leaf(leaf) => leaf.attr.memory,
        other => panic!("{other:?}"),
    };
    assert_eq!(of(9, 0b0100), MemoryType::WriteCombine);
    assert_eq!(of(12, 1 << 6), MemoryType::Device);
}

#[test]
fn index_6_is_for_each_processor_to_define() {
    let word = hardware_page(6);
    assert_eq!(ArmShort::default().entry(Level::PTE, word), Entry::Reserved(word));
    assert!(matches!(ArmShort::default().entry(Level::PTE, hardware_page(7)), Entry::Leaf(_)));
}

/// A hardware page with a memory type's index.
fn hardware_page(index: u64) -> u64 {
    0x7e80_0413 | ((index & 3) << 2) | ((index >> 2) << 6)
}

#[test]
fn tables_point_into_the_hardwares_half_of_the_page() {
    let f = format(true, false, 3);
    let page = PhysAddr::new(0x4abc_d000);
    assert_eq!(f.table_word(Level::PMD, 4, page, TableLimits::empty()), 0x4abc_d861);
    assert_eq!(f.table_word(Level::PMD, 5, page, TableLimits::empty()), 0x4abc_dc61);
    assert_eq!(f.table_word(Level::PMD, 5, page, TableLimits::NO_EXEC), 0x4abc_dc65);
    assert_eq!(ArmShort::domain(0x4abc_dc65), 3);
    assert_eq!(
        f.entry(Level::PMD, 0x4abc_dc65),
        Entry::Table(PhysAddr::new(0x4abc_dc00), TableLimits::NO_EXEC)
    );
    assert_eq!(f.locate(Level::PTE, PhysAddr::new(0x4abc_d800)), (page, 0));
    assert_eq!(f.locate(Level::PTE, PhysAddr::new(0x4abc_dc00)), (page, 256));
    // Linux's half holds no table.
    assert_eq!(f.entry(Level::PMD, 0x4abc_d461), Entry::Reserved(0x4abc_d461));
}

#[test]
fn a_supersection_keeps_its_upper_address_in_two_places() {
    let f = format(true, true, 0);
    let at = Leaf { contiguous: true, ..leaf(0x9a_4500_0000, DATA) };
    // 39:36 = 9 in 8:5, 35:32 = a in 23:20.
    assert_eq!(f.leaf_word(Level::PMD, &at), Ok(0x45a5_153e));
    assert_eq!(f.entry(Level::PMD, 0x45a5_153e), Entry::Leaf(at));
    // All sixteen entries are equal.
    let third = Leaf { phys: PhysAddr::new(0x9a_4530_0000), ..at };
    assert_eq!(f.leaf_word(Level::PMD, &third), Ok(0x45a5_153e));
    assert_eq!(f.leaf_step(Level::PMD, true), 0);
    // Where there are none, the word is reserved.
    assert!(matches!(ArmShort::default().entry(Level::PMD, 0x45a5_153e), Entry::Reserved(_)));
}

#[test]
fn domains_are_bits_eight_to_five_of_a_section() {
    let with = |key| {
        let leaf = Leaf { attr: Attr { key, ..Attr::normal(DATA) }, ..leaf(0x100_0000, DATA) };
        ArmShort::default().leaf_word(Level::PMD, &leaf)
    };
    assert_eq!(with(15), Ok(0x0101_15fe));
    assert_eq!(with(16), Err(AttrError::Key(16)));
}

#[test]
fn what_only_the_hardware_knows_is_understood_as_young() {
    let f = ArmShort::default();
    assert_eq!(f.entry(Level::PTE, 0x7e80_045f), Entry::Leaf(leaf(0x7e80_0000, DATA)));
    let page: Vec<AtomicU32> = (0..1024).map(|_| AtomicU32::new(0)).collect();
    f.store_run(Level::PTE, &page, 256, 4, 0x7e80_045f, 0x1000);
    let step = f.leaf_step(Level::PTE, false);
    assert_eq!(f.count_run(Level::PTE, &page, 256, 8, 0x7e80_045f, step), 4);
    assert_eq!(f.take_run(Level::PTE, &page, 256, 8, 0x7e80_045f, step), 4);
    // AP 010, readable by user code and writable by the kernel, has no words here; AP 000 is for nobody.
    assert!(matches!(f.entry(Level::PTE, 0x7e80_046f), Entry::Reserved(_)));
    assert!(matches!(f.entry(Level::PTE, 0x7e80_044f), Entry::Reserved(_)));
}

#[test]
fn words_that_mean_different_pages_are_damage() {
    let pair = (0x7e80_065f_u64 << 32) | 0x7e80_145f;
    assert_eq!(ArmShort::default().entry(Level::PTE, pair), Entry::Reserved(pair));
    // A swapped page: Linux's word without its present bit.
    assert_eq!(ArmShort::default().entry(Level::PTE, 0x1234_5678 << 34), Entry::Software(0x1234_5678 << 34));
}

#[test]
fn a_slot_is_both_words_and_linuxs_is_512_before_the_hardwares() {
    let page: Vec<AtomicU32> = (0..1024).map(|_| AtomicU32::new(0)).collect();
    let f = ArmShort::default();
    let word = f.leaf_word(Level::PTE, &leaf(0x7e80_0000, DATA)).unwrap();
    f.store(Level::PTE, &page, 300, word);
    assert_eq!(page[300].load(Ordering::Relaxed), 0x7e80_065f);
    assert_eq!(page[812].load(Ordering::Relaxed), 0x7e80_045f);
    assert!((0..1024).filter(|i| ArmShort::is_used(&page, *i)).eq([300, 812]));
    assert_eq!(f.replace(Level::PTE, &page, 300, 0, 1), Err(word));
    let old = f.leaf_word(Level::PTE, &leaf(0x7e80_0000, DATA - AttrFlags::ACCESSED)).unwrap();
    assert_eq!(f.replace(Level::PTE, &page, 300, word, old), Ok(()));
    assert_eq!(page[812].load(Ordering::Relaxed), 0);
    assert_eq!(f.take(Level::PTE, &page, 300), old);
    assert!(page.iter().all(|w| <u32 as Word>::load(w) == 0));
}

#[test]
fn ageing_a_run_empties_the_hardwares_words_and_using_it_fills_them() {
    let page: Vec<AtomicU32> = (0..1024).map(|_| AtomicU32::new(0)).collect();
    let f = ArmShort::default();
    let young = leaf(0x4000_0000, DATA);
    let old = leaf(0x4000_0000, DATA - AttrFlags::ACCESSED);
    let (young, old) = (f.leaf_word(Level::PTE, &young).unwrap(), f.leaf_word(Level::PTE, &old).unwrap());
    let step = f.leaf_step(Level::PTE, false);
    f.store_run(Level::PTE, &page, 0, 256, young, step);
    assert_eq!(f.count_run(Level::PTE, &page, 0, 256, young, step), 256);
    assert_eq!(f.change_run(Level::PTE, &page, 0, 256, young, step, young ^ old), 256);
    assert_eq!(
        (f.load(Level::PTE, &page, 9), page[521].load(Ordering::Relaxed)),
        (old + ((9 * 4096) << 32), 0)
    );
    assert_eq!(f.count_run(Level::PTE, &page, 0, 256, old, step), 256);
    assert_eq!(f.change_run(Level::PTE, &page, 0, 256, old, step, young ^ old), 256);
    assert_eq!(f.load(Level::PTE, &page, 9), young + 9 * step);
    assert_eq!(f.take_run(Level::PTE, &page, 0, 512, young, step), 256);
    assert!(page.iter().all(|w| <u32 as Word>::load(w) == 0));
}
