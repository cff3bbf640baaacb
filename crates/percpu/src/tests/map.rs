//! The map against a list of pieces that is searched from its beginning each time.

use crate::map::{Block, ChunkMap, RunKind, needs};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

#[derive(Clone, Copy, Debug)]
enum Op {
    Alloc(u32, u32),
    Free(usize),
    FreeAt(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![4 => 1_u32..20, 2 => 20_u32..200, 1 => 200_u32..3000];
    prop_oneof![
        6 => (size, 0_u32..7).prop_map(|(size, align)| Op::Alloc(size, 1 << align)),
        5 => any::<usize>().prop_map(Op::Free),
        1 => (0_u32..4200).prop_map(Op::FreeAt),
    ]
}

/// The lowest fit in a plain list.
fn first_fit(used: &[bool], want: u32, align: u32) -> Option<u32> {
    let fits = |at: &u32| (*at..at + want).all(|piece| !used[piece as usize]);
    (0..=(used.len() as u32).checked_sub(want)?).step_by(align as usize).find(fits)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 400 }) })]
    #[test]
    fn every_allocation_is_the_lowest_that_fits(
        ops in proptest::collection::vec(op(), 0..if cfg!(miri) { 15 } else { 300 }),
        blocks in 1_u32..5,
        block_bits in prop_oneof![Just(64_u32), Just(128), Just(1024)],
        hidden in (0_u32..64, 0_u32..64),
    ) {
        let bits = blocks * block_bits;
        let (alloc, bound, count) = needs(bits, block_bits);
        let (mut alloc, mut bound, mut hints) = (vec![9; alloc], vec![9; bound], vec![Block::default(); count]);
        let mut map = ChunkMap::new(bits, block_bits, &mut alloc, &mut bound, &mut hints);
        map.validate(0).unwrap();
        let mut used = vec![false; bits as usize];
        let (front, back) = (hidden.0 / 2, hidden.1 / 2);
        map.hide(front, back);
        used[..front as usize].fill(true);
        used[(bits - back) as usize..].fill(true);
        let mut held: BTreeMap<u32, u32> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Alloc(want, align) => {
                    let expected = first_fit(&used, want, align);
                    prop_assert_eq!(map.alloc(want, align), expected);
                    if let Some(at) = expected {
                        used[at as usize..(at + want) as usize].fill(true);
                        held.insert(at, want);
                    }
                }
                Op::Free(pick) if !held.is_empty() => {
                    let at = *held.keys().nth(pick % held.len()).unwrap();
                    let len = held.remove(&at).unwrap();
                    prop_assert_eq!(map.size_at(at), Some(len));
                    prop_assert_eq!(map.free(at), Some(len));
                    used[at as usize..(at + len) as usize].fill(false);
                }
                Op::Free(_) => {}
                Op::FreeAt(at) => {
                    let expected = held.remove(&at);
                    prop_assert_eq!(map.free(at), expected);
                    if let Some(len) = expected {
                        used[at as usize..(at + len) as usize].fill(false);
                    }
                }
            }
            map.validate(0).map_err(|violation| TestCaseError::fail(std::format!("{violation}")))?;
            let runs: Vec<_> = map.runs().filter(|run| run.kind == RunKind::Used).map(|run| (run.at, run.len)).collect();
            prop_assert_eq!(runs, held.iter().map(|(at, len)| (*at, *len)).collect::<Vec<_>>());
        }
        for at in held.into_keys() {
            map.free(at).unwrap();
        }
        prop_assert_eq!(map.free_bits(), bits - front - back);
        map.validate(0).unwrap();
    }
}

#[test]
fn a_search_in_vain_learns_how_large_the_largest_hole_is() {
    let (mut alloc, mut bound, mut hints) = ([0; 4], [0; 5], [Block::default(); 4]);
    let mut map = ChunkMap::new(256, 64, &mut alloc, &mut bound, &mut hints);
    let all: Vec<u32> = (0..64).map(|_| map.alloc(4, 1).unwrap()).collect();
    assert_eq!((map.free_bits(), map.largest(), map.alloc(1, 1)), (0, 0, None));
    // Two holes: 8 pieces across the border of two blocks, and 4.
    for at in [all[15], all[16], all[40]] {
        map.free(at).unwrap();
    }
    assert_eq!(map.largest(), 8);
    assert_eq!(map.alloc(9, 1), None);
    assert_eq!(map.alloc(8, 8), None, "60 is no multiple of 8");
    assert_eq!(map.alloc(8, 4), Some(60));
    assert_eq!(map.largest(), 8, "a bound, until the next search in vain");
    assert_eq!(map.alloc(5, 1), None);
    assert_eq!(map.largest(), 4);
}
