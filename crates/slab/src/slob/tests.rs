//! The blocks of one page against a map of its units.

use super::blocks::{Fit, Page, Refused};
use super::word::{Listed, PageWord};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

#[repr(align(65536))]
struct Memory([u8; 65536]);

fn fit(bytes: usize, align: usize, behind: usize) -> Fit {
    Fit { bytes, align, behind }
}

fn page(memory: &mut Memory, bytes: usize) -> Page {
    // SAFETY: the memory lives as long as the tests use the page, and nobody else has it.
    unsafe { Page::new(memory.0.as_mut_ptr(), bytes) }
}

#[test]
fn a_page_is_counted_in_units_that_can_count_it() {
    assert_eq!([4096, 16384, 65536].map(Page::unit), [2, 2, 4]);
}

#[test]
fn the_first_block_that_fits_is_cut_and_what_is_freed_joins_its_neighbours() {
    for bytes in [4096, 65536] {
        let mut memory = std::boxed::Box::new(Memory([0; 65536]));
        let page = page(&mut memory, bytes);
        let first = page.clear();
        let (a, first) = page.take(first, fit(100, 8, 0)).unwrap().unwrap();
        let (b, first) = page.take(first, fit(60, 8, 0)).unwrap().unwrap();
        let (c, first) = page.take(first, fit(8, 8, 0)).unwrap().unwrap();
        assert_eq!((a, b, c), (0, 104, 168), "100 bytes end where the next multiple of 8 does not begin");
        // Four bytes lie free between the first two; with what is freed they are one block.
        let first = page.give(first, a, 100).unwrap();
        assert_eq!(page.take(first, fit(104, 8, 0)).unwrap().unwrap().0, 0);
        let first = page.clear();
        assert_eq!(page.count(first), Ok(page.units(bytes)));
    }
}

#[test]
fn a_size_lies_before_what_is_aligned() {
    let mut memory = std::boxed::Box::new(Memory([0; 65536]));
    let page = page(&mut memory, 4096);
    let first = page.clear();
    let (at, first) = page.take(first, fit(1024 + 8, 1024, 8)).unwrap().unwrap();
    assert_eq!(at, 1016);
    // What lies before it stays free, first in the list.
    assert_eq!(page.take(first, fit(1000, 8, 0)).unwrap().unwrap().0, 0);
}

#[test]
fn what_cannot_be_a_block_is_not_followed() {
    // The one free block, written over in every byte of its two words, leads nowhere or is as it was.
    for byte in 0..4 {
        for value in (0..=255).step_by(if cfg!(miri) { 85 } else { 1 }) {
            let mut memory = std::boxed::Box::new(Memory([0; 65536]));
            let start = memory.0.as_mut_ptr();
            // SAFETY: as in `page`.
            let page = unsafe { Page::new(start, 4096) };
            let (_, first) = page.take(page.clear(), fit(2048, 8, 0)).unwrap().unwrap();
            // SAFETY: inside the page's memory.
            unsafe { start.add(2048 + byte).write(value) };
            // 1024 units, and the page's end: 0x0400 and 0x0800, in the host's order of bytes.
            let own = [1024_i16.to_ne_bytes(), 2048_i16.to_ne_bytes()].concat()[byte] == value;
            if own {
                assert_eq!(page.count(first), Ok(1024));
            } else if let Ok(units) = page.count(first) {
                // Fewer units, or one that is said to be followed by the page's end.
                assert!(units < 1024, "byte {byte} is {value:#x}");
            }
        }
    }
}

#[test]
fn a_block_is_not_given_back_twice_nor_in_part() {
    let mut memory = std::boxed::Box::new(Memory([0; 65536]));
    let page = page(&mut memory, 4096);
    let (a, first) = page.take(page.clear(), fit(64, 8, 0)).unwrap().unwrap();
    let (b, first) = page.take(first, fit(64, 8, 0)).unwrap().unwrap();
    let first = page.give(first, a, 64).unwrap();
    for (at, bytes) in [(a, 64), (a + 32, 8), (a, 128), (b, 66), (a + 62, 4)] {
        assert_eq!(page.give(first, at, bytes), Err(Refused::Free), "{bytes} bytes at {at}");
    }
    assert_eq!(page.give(first, b, 64), Ok(0));
}

#[test]
fn parts_of_the_word_do_not_touch_each_other() {
    for listed in [Listed::Nowhere, Listed::Small, Listed::Medium, Listed::Large] {
        for (first, free) in [(0, 0), (16384, 16384), (2048, 1)] {
            let word = PageWord { first, free, listed };
            assert_eq!(PageWord::from_bits(word.bits()), word);
        }
    }
    assert_eq!([255, 256, 1023, 1024].map(|b| Listed::of(b).index()), [Some(0), Some(1), Some(1), Some(2)]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 300 },
        // Where files are out of reach.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn blocks_are_taken_first_fit_and_nothing_is_lost(
        wide in any::<bool>(),
        steps in prop::collection::vec((any::<bool>(), 1_usize..700, 3_u32..8, any::<prop::sample::Index>()), 1..if cfg!(miri) { 12 } else { 120 }),
    ) {
        let bytes = if wide && !cfg!(miri) { 65536 } else { 4096 };
        let mut memory = std::boxed::Box::new(Memory([0; 65536]));
        let page = page(&mut memory, bytes);
        let unit = Page::unit(bytes);
        let mut used = vec![false; bytes / unit];
        let mut held: Vec<(usize, usize)> = vec![];
        let mut first = page.clear();
        for (free, size, align, which) in steps {
            if free && !held.is_empty() {
                let (at, size) = held.swap_remove(which.index(held.len()));
                used[at / unit..(at + size).div_ceil(unit)].fill(false);
                first = page.give(first, at, size).unwrap();
            } else {
                let align = 1 << align;
                let fits = |at: &usize| {
                    at.is_multiple_of(align) && at + size <= bytes
                        && used[at / unit..(at + size).div_ceil(unit)].iter().all(|used| !used)
                };
                let expected = (0..bytes).step_by(unit).find(fits);
                let found = page.take(first, fit(size, align, 0)).unwrap();
                prop_assert_eq!(found.map(|f| f.0), expected);
                if let Some((at, now)) = found {
                    first = now;
                    used[at / unit..(at + size).div_ceil(unit)].fill(true);
                    held.push((at, size));
                }
            }
            prop_assert_eq!(page.count(first), Ok(used.iter().filter(|used| !**used).count()));
        }
    }
}
