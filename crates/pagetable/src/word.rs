//! The two widths a table entry may have in memory.
//!
//! Entries are atomic because hardware walks the tables at any time and sets accessed and dirty bits by itself. Values
//! travel as `u64` whatever the width, so that the walker is written once.

use crate::flush::TlbFlush;
use crate::memory::TableMemory;
use crate::run;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use pagewright_addr::PhysAddr;
use pagewright_platform::KnownWords;

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
}

/// An entry's width: `u32` (i386 without PAE, arm's short descriptors) or `u64` (everything else).
pub trait Word: sealed::Sealed + Copy + Send + Sync + 'static {
    /// The cell in memory.
    type Atomic: Send + Sync + 'static;
    /// Bytes of one entry.
    const BYTES: u64;

    /// Cells as 32-bit ones, if they are.
    fn as_words32(cells: &[Self::Atomic]) -> Option<&[AtomicU32]>;
    /// Cells as 64-bit ones, if they are.
    fn as_words64(cells: &[Self::Atomic]) -> Option<&[AtomicU64]>;
    /// A cell that holds zero, for memory that a program makes itself.
    fn zero() -> Self::Atomic;
    /// The `count` entries at `at` in `memory`; `None` if they are not all memory.
    fn words<M: TableMemory + ?Sized>(memory: &M, at: PhysAddr, count: usize) -> Option<&[Self::Atomic]>;
    /// The entry at `at` in `memory`; `None` if that is no memory.
    fn word<M: TableMemory + ?Sized>(memory: &M, at: PhysAddr) -> Option<&Self::Atomic>;
    /// The entry at `at`, of which it is known that it is there.
    ///
    /// # Safety
    /// As for [`KnownWords::word64`], or `word32`.
    #[allow(unsafe_code)]
    unsafe fn known(words: KnownWords<'_>, at: PhysAddr) -> &Self::Atomic;
    /// Reads an entry that is not followed: nothing else that was written before it need be seen.
    fn peek(cell: &Self::Atomic) -> u64;
    /// Reads an entry. A table that it points to is seen as filled as it was when the entry was published.
    fn load(cell: &Self::Atomic) -> u64;
    /// Writes an entry that nobody can look at yet, or whose order does not matter.
    fn store(cell: &Self::Atomic, value: u64);
    /// Whether an entry that this CPU alone uses is empty.
    fn is_empty_own<T: TlbFlush + ?Sized>(cell: &Self::Atomic, tlb: &T) -> bool;
    /// Writes an entry that this CPU alone uses, whole as its walker sees it, with nothing said about when.
    fn store_own<T: TlbFlush + ?Sized>(cell: &Self::Atomic, value: u64, tlb: &mut T);
    /// Writes entries that nobody can look at yet, or whose order does not matter, each `step` more than the one before.
    fn store_counted(cells: &[Self::Atomic], first: u64, step: u64);
    /// Empties entries as long as each is `step` more than the one before, and returns how many. For tables that hardware does not change: an
    /// entry is not read and emptied in one step.
    fn take_counted(cells: &[Self::Atomic], first: u64, step: u64) -> usize;
    /// Writes an entry after everything that was written before it.
    fn publish(cell: &Self::Atomic, value: u64);
    /// Replaces an entry whatever it was and returns what it was.
    fn swap(cell: &Self::Atomic, value: u64) -> u64;
    /// Replaces `old` by `new`, or returns what was there instead.
    ///
    /// # Errors
    /// The entry as it was found, when it was not `old`.
    fn replace(cell: &Self::Atomic, old: u64, new: u64) -> Result<(), u64>;
}

/// Cells of the other width.
fn none<A, B>(_: &[A]) -> Option<&[B]> {
    None
}

macro_rules! word {
    ($int:ident, $atomic:ident, $words:ident, $word:ident, $narrow:expr, $wide:expr, $is_empty_own:expr, $store_own:expr) => {
        #[allow(unsafe_code)]
        impl Word for $int {
            type Atomic = $atomic;
            const BYTES: u64 = $int::BITS as u64 / 8;

            #[inline]
            fn as_words32(cells: &[$atomic]) -> Option<&[AtomicU32]> {
                $narrow(cells)
            }

            #[inline]
            fn as_words64(cells: &[$atomic]) -> Option<&[AtomicU64]> {
                $wide(cells)
            }

            fn zero() -> $atomic {
                $atomic::new(0)
            }

            #[inline]
            fn words<M: TableMemory + ?Sized>(memory: &M, at: PhysAddr, count: usize) -> Option<&[$atomic]> {
                memory.$words(at, count)
            }

            #[inline]
            fn word<M: TableMemory + ?Sized>(memory: &M, at: PhysAddr) -> Option<&$atomic> {
                memory.$word(at)
            }

            #[inline]
            unsafe fn known(words: KnownWords<'_>, at: PhysAddr) -> &$atomic {
                // SAFETY: the caller's promise.
                unsafe { words.$word(at) }
            }

            #[inline]
            fn peek(cell: &$atomic) -> u64 {
                u64::from(cell.load(Ordering::Relaxed))
            }

            #[inline]
            fn load(cell: &$atomic) -> u64 {
                u64::from(cell.load(Ordering::Acquire))
            }

            #[inline]
            fn store(cell: &$atomic, value: u64) {
                cell.store(value as $int, Ordering::Relaxed);
            }

            #[inline(always)]
            fn is_empty_own<T: TlbFlush + ?Sized>(cell: &$atomic, tlb: &T) -> bool {
                $is_empty_own(cell, tlb)
            }

            #[inline(always)]
            fn store_own<T: TlbFlush + ?Sized>(cell: &$atomic, value: u64, tlb: &mut T) {
                $store_own(cell, value, tlb);
            }

            #[inline]
            fn store_counted(cells: &[$atomic], first: u64, step: u64) {
                let store = |cell: &$atomic, value| cell.store(value, Ordering::Relaxed);
                run::store_counted(cells, first as $int, |word| word.wrapping_add(step as $int), store);
            }

            #[inline]
            fn take_counted(cells: &[$atomic], first: u64, step: u64) -> usize {
                let mut expected = first as $int;
                run::count_while(cells, |cell| {
                    let as_expected = cell.load(Ordering::Relaxed) == expected;
                    if as_expected {
                        cell.store(0, Ordering::Relaxed);
                        expected = expected.wrapping_add(step as $int);
                    }
                    as_expected
                })
            }

            #[inline]
            fn publish(cell: &$atomic, value: u64) {
                cell.store(value as $int, Ordering::Release);
            }

            #[inline]
            fn swap(cell: &$atomic, value: u64) -> u64 {
                u64::from(cell.swap(value as $int, Ordering::AcqRel))
            }

            #[inline]
            fn replace(cell: &$atomic, old: u64, new: u64) -> Result<(), u64> {
                cell.compare_exchange(old as $int, new as $int, Ordering::AcqRel, Ordering::Acquire)
                    .map(|_| ())
                    .map_err(u64::from)
            }
        }
    };
}

/// An entry of 32 bits is written whole by any store.
#[inline(always)]
fn is_empty32<T: ?Sized>(cell: &AtomicU32, _: &T) -> bool {
    cell.load(Ordering::Relaxed) == 0
}

#[inline(always)]
fn store32<T: ?Sized>(cell: &AtomicU32, value: u64, _: &mut T) {
    cell.store(value as u32, Ordering::Relaxed);
}

#[inline(always)]
fn is_empty64<T: TlbFlush + ?Sized>(cell: &AtomicU64, tlb: &T) -> bool {
    tlb.is_empty64(cell)
}

#[inline(always)]
fn store64<T: TlbFlush + ?Sized>(cell: &AtomicU64, value: u64, tlb: &mut T) {
    tlb.store64(cell, value);
}

word!(u32, AtomicU32, words32, word32, Some, none, is_empty32, store32);
word!(u64, AtomicU64, words64, word64, none, Some, is_empty64, store64);
