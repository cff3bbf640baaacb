//! A processor's own list of free objects, as one word: the first of them and the number of the transaction that put it there.
//!
//! ```text
//!  63                          22 21            0
//! +------------------------------+---------------+
//! | transaction                  | first free    |
//! +------------------------------+---------------+
//! ```
//! *First free* is a distance from the start of the slab that the processor has, in units of 8 bytes; all ones is none. Transactions of a processor begin with its
//! number and go on in steps of a power of two above all of them, so that no two processors ever have the same one.
//!
//! # The protocol
//! Whoever changes the list reads the word, finds out what it shall be next, and swaps the two if the word is still the one that was read. Every change makes
//! another transaction. So what was found out meanwhile (which slab the processor has, what the first object's link says) holds if the swap succeeds: neither did
//! an interrupt handler use the list in between, nor anybody else. The same first object with another list behind it is another word.
//!
//! A transaction's number comes back after 2^30 of them: whoever is interrupted for exactly so many would swap wrongly.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire};

const FIRST_BITS: u32 = 22;
const NONE: u64 = (1 << FIRST_BITS) - 1;
/// Objects lie at multiples of this.
const UNIT: usize = 8;
/// From one transaction of a processor to the next: more than there are processors' numbers.
const TID_STEP: u64 = 1 << 12;

/// What was read, and can be swapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Transaction(u64);

impl Transaction {
    /// A processor's first one, without objects.
    const fn of_cpu(cpu: u32) -> Self {
        Self((cpu as u64 % TID_STEP) << FIRST_BITS | NONE)
    }

    /// The first free object's distance from the slab's start, in bytes.
    #[inline(always)]
    pub(crate) const fn first(self) -> Option<usize> {
        match self.0 & NONE {
            NONE => None,
            units => Some(units as usize * UNIT),
        }
    }

    /// Its number.
    pub(crate) const fn tid(self) -> u64 {
        self.0 >> FIRST_BITS
    }

    /// Whose it is.
    pub(crate) const fn cpu(self) -> u32 {
        (self.tid() % TID_STEP) as u32
    }

    /// The same processor's next one, with another first object.
    #[inline(always)]
    const fn next(self, first: Option<usize>) -> Self {
        let units = match first {
            Some(offset) => (offset / UNIT) as u64,
            None => NONE,
        };
        Self((self.0 & !NONE).wrapping_add(TID_STEP << FIRST_BITS) | units)
    }
}

/// The list.
#[derive(Debug)]
pub(crate) struct FreeList {
    word: AtomicU64,
}

impl FreeList {
    /// Nothing, of a processor.
    pub(crate) const fn new(cpu: u32) -> Self {
        Self { word: AtomicU64::new(Transaction::of_cpu(cpu).0) }
    }

    /// How it is.
    #[inline(always)]
    pub(crate) fn read(&self) -> Transaction {
        Transaction(self.word.load(Acquire))
    }

    /// Makes another object the first, if nothing has happened since `seen`; whether it did.
    #[inline(always)]
    pub(crate) fn swap(&self, seen: Transaction, first: Option<usize>) -> bool {
        self.word.compare_exchange(seen.0, seen.next(first).0, AcqRel, Acquire).is_ok()
    }

    /// Makes another object the first, whatever is there; what was. Whoever is in the middle of a transaction begins again.
    pub(crate) fn replace(&self, first: Option<usize>) -> Option<usize> {
        loop {
            let seen = self.read();
            if self.swap(seen, first) {
                return seen.first();
            }
        }
    }
}
