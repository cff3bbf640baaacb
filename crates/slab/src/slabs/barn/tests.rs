//! A barn against a plain stack.

use super::Barn;
use core::mem::MaybeUninit;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const PLACES: usize = 5;

/// Takes up to `n` out.
fn pop(barn: &mut Barn, n: usize) -> Vec<usize> {
    let mut out = vec![MaybeUninit::uninit(); n];
    let got = barn.pop(&mut out, PLACES);
    // SAFETY: so many were written.
    out[..got].iter().map(|place| unsafe { place.assume_init() }).collect()
}

/// Blocks for barns, which outlive them.
fn block(blocks: &mut Vec<Vec<usize>>) -> *mut usize {
    blocks.push(vec![usize::MAX; PLACES + 1]);
    blocks.last_mut().unwrap().as_mut_ptr()
}

#[test]
fn a_barn_without_blocks_takes_nothing() {
    let mut barn = Barn::new();
    assert_eq!(barn.push(&[1, 2], PLACES), 0);
    assert_eq!((barn.len(), barn.idle(), pop(&mut barn, 3)), (0, 0, vec![]));
    assert_eq!(barn.take_block(), None);
}

#[test]
fn what_nobody_needed_between_two_looks_is_idle() {
    let (mut barn, mut blocks) = (Barn::new(), Vec::new());
    // SAFETY: of that many words, kept until the end.
    unsafe { barn.add(block(&mut blocks)) };
    assert_eq!(barn.push(&[1, 2, 3, 4], PLACES), 4);
    assert_eq!(barn.idle(), 0, "all of them have just come");
    assert_eq!(pop(&mut barn, 3), [2, 3, 4]);
    assert_eq!(barn.push(&[5, 6], PLACES), 2);
    assert_eq!(barn.idle(), 1);
    assert_eq!(barn.idle(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 256 }))]

    #[test]
    fn a_barn_is_a_stack_of_what_fits(steps in prop::collection::vec((0_u8..4, 0_usize..13), 1..60)) {
        let (mut barn, mut blocks) = (Barn::new(), Vec::new());
        let (mut stack, mut brought, mut next) = (Vec::new(), 0_usize, 1);
        for (what, n) in steps {
            match what {
                0 => {
                    // SAFETY: of that many words, kept until the end.
                    unsafe { barn.add(block(&mut blocks)) };
                    brought += 1;
                }
                1 => {
                    let objects: Vec<usize> = (next..next + n).collect();
                    next += n;
                    let fits = n.min(brought * PLACES - stack.len());
                    prop_assert_eq!(barn.push(&objects, PLACES), fits);
                    stack.extend(&objects[..fits]);
                }
                2 => {
                    let mut got = pop(&mut barn, n);
                    prop_assert_eq!(got.len(), n.min(stack.len()));
                    let mut expected = stack.split_off(stack.len() - got.len());
                    got.sort_unstable();
                    expected.sort_unstable();
                    prop_assert_eq!(got, expected);
                }
                _ => {
                    let empty = brought - stack.len().div_ceil(PLACES);
                    prop_assert_eq!(barn.take_block().is_some(), empty > 0);
                    brought -= usize::from(empty > 0);
                }
            }
            prop_assert_eq!(barn.len(), stack.len());
        }
    }
}
