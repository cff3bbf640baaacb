//! The page allocator under stress: blocks of random sizes come and go, each is memory that nobody else has, and at the end
//! everything is back.

use super::{Note, Numbers, Subject, note};
use crate::pages::Pages;
use arrayvec::ArrayVec;
use pagewright_addr::Order;
use pagewright_page::Frames;
use pagewright_zone::buddy::Request;

/// Steps of one run.
const STEPS: u32 = 3000;
/// Blocks that are held at a time.
const HELD: usize = 96;

/// What a block's frames hold while it is held.
fn mark(pages: &Pages, frames: &Frames<'_>, n: u64) -> u64 {
    pages.phys(frames).get() ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn write_marks(pages: &Pages, frames: &mut Frames<'_>) {
    for n in 0..frames.len() {
        let value = mark(pages, frames, n);
        pages.set_word(frames, n, value);
    }
}

fn marks_are_there(pages: &Pages, frames: &Frames<'_>) -> bool {
    (0..frames.len()).all(|n| pages.word(frames, n).is_none_or(|word| word == mark(pages, frames, n)))
}

/// Allocates and frees at random; gives everything back. Returns how many blocks there were.
///
/// # Errors
/// What is wrong.
pub fn stress(pages: &Pages, seed: u64, steps: u32) -> Result<u32, Note> {
    let mut numbers = Numbers::new(seed);
    let mut held: ArrayVec<Frames<'static>, HELD> = ArrayVec::new();
    let (zones, mut blocks) = (pages.zones() as u64, 0);
    let give_back = |frames: Frames<'static>| {
        if !marks_are_there(pages, &frames) {
            return Err(note(format_args!(
                "{frames:?} at {:#x} was written by somebody else",
                pages.phys(&frames)
            )));
        }
        pages.free(frames);
        Ok(())
    };
    for _ in 0..steps {
        if held.is_full() || (!held.is_empty() && numbers.below(5) < 2) {
            let at = numbers.below(held.len() as u64) as usize;
            give_back(held.swap_remove(at))?;
            continue;
        }
        // Small blocks are the most frequent; large ones come too.
        let order = numbers.below(4).min(numbers.below(10)) as u8;
        let order = Order::new(order).unwrap_or(Order::ZERO);
        let request = match numbers.below(3) {
            0 => Request::unmovable(order),
            1 => Request::movable(order),
            _ => Request::reclaimable(order),
        };
        // A zone without such a block says so; that is no fault.
        if let Ok(mut frames) = pages.alloc_in(numbers.below(zones) as usize, request) {
            write_marks(pages, &mut frames);
            held.push(frames);
            blocks += 1;
        }
    }
    while !held.is_empty() {
        let at = numbers.below(held.len() as u64) as usize;
        give_back(held.swap_remove(at))?;
    }
    Ok(blocks)
}

/// The test.
pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    let pages = subject.pages;
    let before = pages.free_pages();
    let mut blocks = 0;
    for seed in 1..=4 {
        blocks += stress(pages, seed, STEPS)?;
    }
    all_back(pages, before)?;
    Ok(note(format_args!("{blocks} blocks in {} zones, {before} pages free before and after", pages.zones())))
}

/// Whether as many pages are free as before, and the allocator's lists are right.
///
/// # Errors
/// What is wrong.
pub fn all_back(pages: &Pages, before: u64) -> Result<(), Note> {
    let after = pages.free_pages();
    if before != after {
        return Err(note(format_args!("{before} pages were free, {after} are")));
    }
    pages.with(|running| running.buddy.validate()).map_err(|e| note(format_args!("{e:?}")))
}
