//! The indexes on counts that can be checked by hand.

extern crate std;

use super::*;
use std::string::String;

fn info(free_blocks: &[u64], order: u8) -> ContigPageInfo {
    ContigPageInfo::new(free_blocks, Order::new(order).unwrap())
}

#[test]
fn counts_are_summed_up_for_an_order() {
    let blocks = [3, 2, 1, 1];
    let of = |order| {
        let ContigPageInfo { free_pages, free_blocks_total, free_blocks_suitable, .. } = info(&blocks, order);
        (free_pages, free_blocks_total, free_blocks_suitable)
    };
    assert_eq!([of(0), of(1), of(3)], [(19, 7, 19), (19, 7, 8), (19, 7, 1)]);
    assert_eq!(info(&blocks, 5).free_blocks_suitable, 0);
}

#[test]
fn an_index_tells_fragmentation_from_want_of_memory() {
    // 1000 single pages, none together: fragmentation.
    assert_eq!(info(&[1000], 9).fragmentation_index(), 1000 - (1000 + 1000 * 1000 / 512) / 1000);
    assert_eq!(info(&[1_000_000], 9).fragmentation_index(), 999);
    // One page where 512 are wanted: memory.
    assert_eq!(info(&[1], 9).fragmentation_index(), -1);
    assert_eq!(info(&[1], 1).fragmentation_index(), -500);
    assert_eq!(info(&[0, 3], 2).fragmentation_index(), 1000 - (1000 + 1500) / 3);
    // It can be had.
    assert_eq!(info(&[5, 1], 1).fragmentation_index(), -1000);
    assert_eq!(info(&[0, 0, 0], 1).fragmentation_index(), 0);
}

#[test]
fn unusable_is_what_lies_in_smaller_blocks() {
    assert_eq!(info(&[0, 0], 0).unusable_free_index(), 1000);
    assert_eq!(info(&[7, 3], 0).unusable_free_index(), 0);
    assert_eq!(info(&[2, 3], 1).unusable_free_index(), 250);
    assert_eq!(info(&[2, 3], 2).unusable_free_index(), 1000);
    assert_eq!(info(&[2, 3], 1).fragmentation_score(), 25);
    assert_eq!(info(&[], 1).fragmentation_score(), 0);
}

#[test]
fn an_index_never_leaves_its_range_and_grows_with_each_split() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..if cfg!(miri) { 30 } else { 3000 } {
        let mut blocks = [0u64; 11];
        for b in &mut blocks {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            *b = seed % 50;
        }
        for order in 0..11u8 {
            let before = info(&blocks, order);
            assert!((-1000..1000).contains(&before.fragmentation_index()), "{before:?}");
            assert!(before.unusable_free_index() <= 1000);
            assert!(before.fragmentation_score() <= 100);
            // Splitting a block of the order makes two that are too small for it.
            if order > 0 && blocks[usize::from(order)] > 0 {
                let mut split = blocks;
                split[usize::from(order)] -= 1;
                split[usize::from(order) - 1] += 2;
                let after = info(&split, order);
                assert_eq!(after.free_pages, before.free_pages);
                assert!(after.unusable_free_index() >= before.unusable_free_index());
                assert!(after.fragmentation_index() >= before.fragmentation_index());
            }
        }
    }
}

#[test]
fn proactive_compaction_has_marks_ten_apart() {
    let marks = |p| (ScoreMarks::new(p).low, ScoreMarks::new(p).high);
    assert_eq!(marks(COMPACTION_PROACTIVENESS), (80, 90));
    assert_eq!([marks(0), marks(95), marks(100)], [(100, 100), (5, 15), (5, 15)]);
    assert_eq!(weighted_score(50, 1000, 1999), 25);
}

#[test]
fn lines_read_as_linux_prints_them() {
    let text = |write: fn(&mut dyn Write, u32, &str, &[u64]) -> fmt::Result, blocks: &[u64]| {
        let mut out = String::new();
        write(&mut out, 0, "Normal", blocks).unwrap();
        out
    };
    assert_eq!(text(write_extfrag_index, &[4, 1, 0]), "Node 0, zone   Normal -1.000 -1.000  0.500 \n");
    assert_eq!(text(write_extfrag_index, &[1, 0, 0]), "Node 0, zone   Normal -1.000  0.-500  0.-250 \n");
    assert_eq!(text(write_unusable_index, &[4, 1, 0]), "Node 0, zone   Normal 0.000 0.666 1.000 \n");
    assert_eq!(text(write_unusable_index, &[0, 0]), "Node 0, zone   Normal 1.000 1.000 \n");
}
