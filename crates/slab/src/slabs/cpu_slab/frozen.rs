//! What happens to a slab's own word where processors have slabs: plain steps from one value to the next, and the loops that swap them in.
//!
//! | the word says | who takes objects from its list | who puts them there |
//! |---|---|---|
//! | *frozen* | the processor that has the slab, all of them at once | anybody |
//! | *partial* | who holds the lock of its node's lists, in which it is | anybody; the last of its objects, who holds the lock |
//! | *nowhere*, nothing free | nobody | whoever puts the first there has it frozen, or holds the lock and makes it partial |
//! | *nowhere*, all free | nobody: it is being given up | nobody |
//!
//! Objects that nobody puts there are *out*: in use, or in the list of the processor that has the slab. Nobody but those named takes objects from a list, so the first
//! object of one that is still the first has the same link as before: the word needs no number of its own.

use super::super::word::{Listed, SlabWord};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire};

/// What became of an object that was to be put into its slab's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Freed {
    /// It is there.
    Done,
    /// It is there, and the slab, which was full, is the caller's, frozen.
    Frozen,
    /// Nothing was done: it takes the lock.
    Locked,
}

/// It is free already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FreeAlready;

fn read(word: &AtomicU64) -> SlabWord {
    SlabWord::from_bits(word.load(Acquire))
}

fn swap(word: &AtomicU64, seen: SlabWord, new: SlabWord) -> bool {
    word.compare_exchange(seen.bits(), new.bits(), AcqRel, Acquire).is_ok()
}

/// The word with one more object in its list.
fn with_object(seen: SlabWord, offset: usize) -> Result<SlabWord, FreeAlready> {
    let given_up = seen.listed() == Listed::Nowhere && seen.first_free().is_some();
    if seen.out() == 0 || seen.first_free() == Some(offset) || given_up {
        return Err(FreeAlready);
    }
    Ok(seen.take_back(1).with_first_free(Some(offset)))
}

/// Puts an object into its slab's list without a lock, if that can be. `link` makes the object lead to another, or to none. A slab that was full is frozen for the caller if
/// that is wanted.
#[inline]
pub(crate) fn free(
    word: &AtomicU64,
    offset: usize,
    freezes: bool,
    link: impl Fn(Option<usize>),
) -> Result<Freed, FreeAlready> {
    loop {
        let seen = read(word);
        let new = with_object(seen, offset)?;
        let (new, freed) = match seen.listed() {
            Listed::Frozen => (new, Freed::Done),
            Listed::Partial if new.out() > 0 => (new, Freed::Done),
            Listed::Nowhere if freezes => (new.with_listed(Listed::Frozen), Freed::Frozen),
            _ => return Ok(Freed::Locked),
        };
        link(seen.first_free());
        if swap(word, seen, new) {
            return Ok(freed);
        }
    }
}

/// The same under the lock of the node's lists: the word before and after. A slab that was nowhere is partial afterwards, and to be put into the list.
pub(crate) fn free_locked(
    word: &AtomicU64,
    offset: usize,
    link: impl Fn(Option<usize>),
) -> Result<(SlabWord, SlabWord), FreeAlready> {
    loop {
        let seen = read(word);
        let mut new = with_object(seen, offset)?;
        if seen.listed() != Listed::Frozen {
            new = new.with_listed(Listed::Partial);
        }
        link(seen.first_free());
        if swap(word, seen, new) {
            return Ok((seen, new));
        }
    }
}

/// Takes all of a slab's list for the processor that has it; its first. There being none, the slab, which is full, is nobody's from then on.
pub(crate) fn take_all(word: &AtomicU64, objects: u32) -> Option<usize> {
    loop {
        let seen = read(word);
        let first = seen.first_free();
        let new = match first {
            Some(_) => all_out(seen, objects),
            None => seen.with_listed(Listed::Nowhere),
        };
        if swap(word, seen, new) {
            return first;
        }
    }
}

/// Freezes a slab that was just taken out of its node's list, under the lock; with `takes` all of its list goes to the caller: its first.
pub(crate) fn freeze(word: &AtomicU64, objects: u32, takes: bool) -> Option<usize> {
    loop {
        let seen = read(word);
        let new = if takes { all_out(seen, objects) } else { seen };
        if swap(word, seen, new.with_listed(Listed::Frozen)) {
            return seen.first_free();
        }
    }
}

fn all_out(seen: SlabWord, objects: u32) -> SlabWord {
    seen.lend(objects.saturating_sub(seen.out())).with_first_free(None)
}

/// Objects that hang together, to be put into a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) count: u32,
}

/// Makes a frozen slab nobody's if that takes no lock, because nothing is free in it; whether it did.
pub(crate) fn unfreeze_full(word: &AtomicU64) -> bool {
    loop {
        let seen = read(word);
        if seen.first_free().is_some() {
            return false;
        }
        if swap(word, seen, seen.with_listed(Listed::Nowhere)) {
            return true;
        }
    }
}

/// Makes a frozen slab nobody's under the lock, and puts what its processor had of it into its list: the word before and after. If something is free, it is partial afterwards,
/// and to be put into the list. `link` makes the last of the objects lead to another, or to none.
pub(crate) fn unfreeze(
    word: &AtomicU64,
    back: Option<Chain>,
    link: impl Fn(usize, Option<usize>),
) -> (SlabWord, SlabWord) {
    loop {
        let seen = read(word);
        let mut new = seen;
        if let Some(chain) = back {
            link(chain.last, seen.first_free());
            new = new.take_back(chain.count.min(seen.out())).with_first_free(Some(chain.first));
        }
        let to = if new.first_free().is_some() { Listed::Partial } else { Listed::Nowhere };
        let new = new.with_listed(to);
        if swap(word, seen, new) {
            return (seen, new);
        }
    }
}

/// Takes the first object of a partial slab's list, under the lock; `next` tells where an object leads. `empties` is called before the last is taken, whereupon the slab is nobody's.
pub(crate) fn take_one(
    word: &AtomicU64,
    next: impl Fn(usize) -> Option<usize>,
    mut empties: impl FnMut(),
) -> Option<(usize, SlabWord)> {
    loop {
        let seen = read(word);
        let first = seen.first_free()?;
        let then = next(first);
        let to = if then.is_some() { Listed::Partial } else { Listed::Nowhere };
        if then.is_none() {
            empties();
        }
        let new = seen.lend(1).with_first_free(then).with_listed(to);
        if swap(word, seen, new) {
            return Some((first, new));
        }
    }
}
