//! The page allocator under stress: blocks of random sizes come and go, each is memory that nobody else has, and at the end
//! everything is back.

use super::{Note, Numbers, Subject, census, note};
use crate::pages::Pages;
use arrayvec::ArrayVec;
use pagewright_addr::Order;
use pagewright_page::Frames;
use pagewright_platform::Mutex;
use pagewright_zone::Gfp;

/// Steps of one run.
const STEPS: u32 = 3000;
/// Blocks that are held at a time.
const HELD: usize = 96;
/// What is asked for: each migrate type, each zone, zeroed, without waiting.
const MASKS: [Gfp; 8] = [
    Gfp::GFP_KERNEL,
    Gfp::GFP_HIGHUSER_MOVABLE,
    Gfp::GFP_KERNEL.union(Gfp::RECLAIMABLE),
    Gfp::GFP_KERNEL.union(Gfp::DMA),
    Gfp::GFP_KERNEL.union(Gfp::DMA32),
    Gfp::GFP_KERNEL.union(Gfp::ZERO),
    Gfp::GFP_NOWAIT.union(Gfp::MOVABLE),
    Gfp::GFP_KERNEL.union(Gfp::THISNODE),
];

/// Where processors leave blocks for each other: what one allocates another frees.
pub type Mailbox = Mutex<ArrayVec<Frames<'static>, 8>>;

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

/// Gives back a block in which everything is as it was left.
fn give_back(pages: &Pages, frames: Frames<'static>) -> Result<(), Note> {
    if !marks_are_there(pages, &frames) {
        let at = pages.phys(&frames);
        return Err(note(format_args!("{frames:?} at {at:#x} was written by somebody else")));
    }
    pages.free(frames);
    Ok(())
}

/// Allocates and frees at random; gives everything back, or leaves it in `post`, the others' mailboxes and at `me` this one's. Returns
/// how many blocks there were.
///
/// # Errors
/// What is wrong.
pub fn stress(pages: &Pages, seed: u64, steps: u32, post: &[Mailbox], me: usize) -> Result<u32, Note> {
    let mut numbers = Numbers::new(seed);
    let mut held: ArrayVec<Frames<'static>, HELD> = ArrayVec::new();
    let mut blocks = 0;
    for _ in 0..steps {
        if held.is_full() || (!held.is_empty() && numbers.below(5) < 2) {
            let at = numbers.below(held.len() as u64) as usize;
            let frames = held.swap_remove(at);
            // To another processor now and then, if it takes more.
            let full = match post.get(numbers.below(2 * post.len() as u64) as usize) {
                Some(other) => other.lock().try_push(frames).err().map(|e| e.element()),
                None => Some(frames),
            };
            if let Some(frames) = full {
                give_back(pages, frames)?;
            }
            continue;
        }
        while let Some(frames) = post.get(me).and_then(|mine| mine.lock().pop()) {
            give_back(pages, frames)?;
        }
        // Small blocks are the most frequent; large ones come too, and the sizes of huge pages.
        let order = match numbers.below(200) {
            0 => 9,
            _ => numbers.below(4).min(numbers.below(10)) as u8,
        };
        let order = Order::new(order).unwrap_or(Order::ZERO);
        let gfp = MASKS[numbers.below(MASKS.len() as u64) as usize];
        // Where there is no such block that is said; it is no fault.
        if let Ok(mut frames) = pages.alloc_pages(gfp | Gfp::NOWARN, order) {
            let zeroed = (0..frames.len()).all(|n| pages.word(&frames, n).unwrap_or(0) == 0);
            if gfp.contains(Gfp::ZERO) && !zeroed {
                return Err(note(format_args!("{frames:?} should hold zeroes")));
            }
            write_marks(pages, &mut frames);
            held.push(frames);
            blocks += 1;
        }
    }
    while !held.is_empty() {
        let at = numbers.below(held.len() as u64) as usize;
        give_back(pages, held.swap_remove(at))?;
    }
    Ok(blocks)
}

/// Empties mailboxes.
///
/// # Errors
/// What is wrong with a block in them.
pub fn empty(pages: &Pages, post: &[Mailbox]) -> Result<(), Note> {
    for mailbox in post {
        while let Some(frames) = mailbox.lock().pop() {
            give_back(pages, frames)?;
        }
    }
    Ok(())
}

/// The test.
pub(super) fn run(subject: &Subject<'_>) -> Result<Note, Note> {
    let pages = subject.pages;
    let before = census::take(subject);
    let mut blocks = 0;
    for seed in 1..=4 {
        blocks += stress(pages, seed, STEPS, &[], 0)?;
    }
    census::all_back(subject, &before)?;
    let zones = pages.allocator().zones().len();
    Ok(note(format_args!("{blocks} blocks in {zones} zones, {} pages free before and after", before.pages())))
}
