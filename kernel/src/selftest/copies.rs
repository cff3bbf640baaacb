//! What is copied arrives, apart and where both overlap: on arm the image has its own way for whole words (`entry.s`).

use super::{Note, Subject, note};
use core::hint::black_box;

/// Words of the array in which others are moved.
const WORDS: usize = 48;
/// Most words that are moved, in several steps of the longest kind, and how far apart at most.
const MOST: usize = 36;
const APART: usize = 10;

/// As aligned as words are, so that the compiler knows that the first of them is.
#[derive(Clone, Copy)]
#[repr(align(4))]
struct Bytes([u8; 72]);

/// The test.
pub(super) fn run(_: &Subject<'_>) -> Result<Note, Note> {
    let numbers: [u32; WORDS] = core::array::from_fn(|at| 0x5a00_0000 | at as u32);
    let mut tried = 0;
    for len in 0..=MOST {
        for (from, to) in (0..=APART).flat_map(|from| (0..=APART).map(move |to| (from, to))) {
            let mut words = black_box(numbers);
            words.copy_within(from..from + len, to);
            let expected = |at: usize| if (to..to + len).contains(&at) { at - to + from } else { at };
            if let Some(at) = (0..WORDS).find(|&at| words[at] != numbers[expected(at)]) {
                return Err(note(format_args!(
                    "{len} words from {from} to {to}: word {at} is {:#x}",
                    words[at]
                )));
            }
            tried += 1;
        }
    }
    let bytes = Bytes(core::array::from_fn(|at| at as u8 | 0x80));
    for len in 0..=bytes.0.len() {
        let mut copy = Bytes([0; 72]);
        black_box(&mut copy).0[..len].copy_from_slice(&black_box(&bytes).0[..len]);
        let expected = |at: usize| if at < len { bytes.0[at] } else { 0 };
        if let Some(at) = (0..bytes.0.len()).find(|&at| copy.0[at] != expected(at)) {
            return Err(note(format_args!("{len} bytes: byte {at} is {:#x}", copy.0[at])));
        }
        tried += 1;
    }
    Ok(note(format_args!("{tried} copies")))
}
