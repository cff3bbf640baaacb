//! Which pieces of a unit are in use.
//!
//! A bit of `alloc` says that a piece is in use, one of `bound` that an allocation begins there; together they give
//! the size of what is freed, without a header. A *block* is a page's worth of pieces with four hints. Of these
//! `left` and `right`, the free pieces at its two ends, are exact, and `first` (none before it is free) and
//! `largest` (no hole inside the block has more) are bounds: allocating never looks for the next largest hole, a search that
//! fails has seen all holes and writes down what it found. The map's own `first` and `largest` are bounds likewise.

use crate::error::Violation;

/// Hints for a page's worth of pieces, all in pieces (the fields that Linux calls `left_free`, `right_free`, `first_free` and
/// `contig_hint`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub(crate) struct Block {
    left: u16,
    right: u16,
    first: u16,
    largest: u16,
}

/// The map of a unit's pieces, in memory that the caller brought.
#[derive(Debug)]
pub struct ChunkMap<'m> {
    alloc: &'m mut [u64],
    bound: &'m mut [u64],
    blocks: &'m mut [Block],
    bits: u32,
    /// Where the hidden pieces at the beginning end, and those at the end begin.
    shown: (u32, u32),
    shift: u32,
    free: u32,
    first: u32,
    largest: u32,
}

/// What adjacent pieces are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunKind {
    /// An allocation.
    Used,
    /// Free pieces between others.
    Hole,
    /// Pieces that are never given out: of another chunk that shares the unit, or behind the chunk's end.
    Hidden,
}

/// Adjacent pieces of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The first.
    pub at: u32,
    /// How many.
    pub len: u32,
    /// What they are.
    pub kind: RunKind,
}

/// Words of the two bit maps, and blocks, that a map of `bits` pieces takes.
pub(crate) const fn needs(bits: u32, block_bits: u32) -> (usize, usize, usize) {
    ((bits / 64) as usize, (bits / 64) as usize + 1, (bits / block_bits) as usize)
}

impl<'m> ChunkMap<'m> {
    /// A map of `bits` free pieces, a multiple of `block_bits`, which is a power of two from 64 on.
    pub(crate) fn new(
        bits: u32,
        block_bits: u32,
        alloc: &'m mut [u64],
        bound: &'m mut [u64],
        blocks: &'m mut [Block],
    ) -> Self {
        debug_assert_eq!((alloc.len(), bound.len(), blocks.len()), needs(bits, block_bits));
        alloc.fill(0);
        bound.fill(0);
        let whole = block_bits as u16;
        blocks.fill(Block { left: whole, right: whole, first: 0, largest: whole });
        let shift = block_bits.trailing_zeros();
        Self { alloc, bound, blocks, bits, shown: (0, bits), shift, free: bits, first: 0, largest: bits }
    }

    /// Pieces in all.
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// Free pieces.
    pub const fn free_bits(&self) -> u32 {
        self.free
    }

    /// A number that no hole exceeds.
    pub const fn largest(&self) -> u32 {
        self.largest
    }

    /// Before this piece none is free.
    pub const fn first(&self) -> u32 {
        self.first
    }

    /// Takes the lowest `want` adjacent free pieces whose first is a multiple of `align`; `None` if there are none.
    pub fn alloc(&mut self, want: u32, align: u32) -> Option<u32> {
        let at = self.find(want, align)?;
        self.take(at, want);
        Some(at)
    }

    /// The lowest place for `want` pieces. Where there is none, what was learnt about holes is kept.
    fn find(&mut self, want: u32, align: u32) -> Option<u32> {
        let size = 1 << self.shift;
        let mut number = self.first >> self.shift;
        // The hole that reaches up to the block that is looked at begins here.
        let mut hole = number << self.shift;
        let mut largest = 0;
        while let Some(block) = self.blocks.get(number as usize).copied() {
            let base = number << self.shift;
            let len = base - hole + u32::from(block.left);
            if len >= want && hole.next_multiple_of(align) + want <= hole + len {
                return Some(hole.next_multiple_of(align));
            }
            largest = largest.max(len);
            number += 1;
            if u32::from(block.left) == size {
                continue;
            }
            if u32::from(block.largest) >= want
                && let Some(at) = self.find_inside(number - 1, want, align)
            {
                return Some(at);
            }
            largest = largest.max(u32::from(self.blocks[number as usize - 1].largest));
            hole = base + size - u32::from(block.right);
        }
        self.largest = largest.max(self.bits - hole.min(self.bits));
        None
    }

    /// The lowest place inside one block, which has pieces in use.
    fn find_inside(&mut self, number: u32, want: u32, align: u32) -> Option<u32> {
        let base = number << self.shift;
        let end = base + (1 << self.shift);
        let mut at = base + u32::from(self.blocks[number as usize].first);
        let mut largest = 0;
        loop {
            let start = next_zero(self.alloc, at, end);
            if start >= end {
                break;
            }
            let place = start.next_multiple_of(align);
            // No further than needed: most holes are long and most wants small.
            let enough = (place + want).min(end);
            let stop = next_one(self.alloc, start, enough);
            if stop >= place + want {
                return Some(place);
            }
            let stop = next_one(self.alloc, stop, end);
            largest = largest.max(stop - start);
            at = stop;
        }
        self.blocks[number as usize].largest = largest as u16;
        None
    }

    /// Puts the first `front` and the last `back` pieces of a new map out of reach for good.
    pub(crate) fn hide(&mut self, front: u32, back: u32) {
        self.shown = (front, self.bits - back);
        for (at, count) in [(0, front), (self.bits - back, back)] {
            if count > 0 {
                self.take(at, count);
            }
        }
    }

    /// Whether an allocation begins at a piece.
    #[inline]
    fn begins(&self, at: u32) -> bool {
        let (word, bit) = ((at / 64) as usize, 1 << (at % 64));
        self.shown.0 <= at && at < self.shown.1 && self.alloc[word] & self.bound[word] & bit != 0
    }

    /// Puts pieces that are free to use.
    fn take(&mut self, at: u32, count: u32) {
        let end = at + count;
        set(self.alloc, at, end);
        clear(self.bound, at, end);
        self.bound[(at / 64) as usize] |= 1 << (at % 64);
        self.bound[(end / 64) as usize] |= 1 << (end % 64);
        self.free -= count;
        if self.first == at {
            self.first = end;
        }
        let size = 1 << self.shift;
        for number in at >> self.shift..=(end - 1) >> self.shift {
            let base = number << self.shift;
            let (lo, hi) = (at.max(base) - base, end.min(base + size) - base);
            let block = &mut self.blocks[number as usize];
            block.left = block.left.min(lo as u16);
            block.right = block.right.min((size - hi) as u16);
            if u32::from(block.first) == lo {
                block.first = hi as u16;
            }
            if hi - lo == size {
                block.largest = 0;
            }
        }
        if self.free == 0 {
            self.largest = 0;
        }
    }

    /// Frees what begins at piece `at`; its number of pieces. `None` if no allocation begins there.
    pub fn free(&mut self, at: u32) -> Option<u32> {
        if !self.begins(at) {
            return None;
        }
        let end = next_one(self.bound, at + 1, self.bits);
        clear(self.alloc, at, end);
        self.free += end - at;
        self.first = self.first.min(at);
        let (first, last) = (at >> self.shift, (end - 1) >> self.shift);
        let (mut lo, mut hi) = (at, end);
        for number in first..=last {
            (lo, hi) = self.freed_inside(number, at, end, (lo, hi));
        }
        // No hole has more than all free pieces: in a chunk that never was searched in vain nothing is to be found out.
        if self.largest < self.free {
            self.largest = self.largest.max(self.widen(lo, hi));
        }
        Some(end - at)
    }

    /// One block's hints after the pieces from `at` to `end` became free. `hole` is the hole around these pieces as far as it is known.
    fn freed_inside(&mut self, number: u32, at: u32, end: u32, hole: (u32, u32)) -> (u32, u32) {
        let size = 1 << self.shift;
        let base = number << self.shift;
        let (from, to) = (at.max(base), end.min(base + size));
        let block = &mut self.blocks[number as usize];
        let lo = match from <= base + u32::from(block.left) {
            true => base,
            false => previous_one(self.alloc, base, from).map_or(base, |used| used + 1),
        };
        let hi = match to + u32::from(block.right) >= base + size {
            true => base + size,
            false => next_one(self.alloc, to, base + size),
        };
        if lo == base {
            block.left = (hi - base) as u16;
        }
        if hi == base + size {
            block.right = (base + size - lo) as u16;
        }
        block.first = block.first.min((lo - base) as u16);
        block.largest = block.largest.max((hi - lo) as u16);
        (hole.0.min(lo), hole.1.max(hi))
    }

    /// The size of the hole from `lo` to `hi` with what adjoins it in other blocks.
    fn widen(&self, mut lo: u32, mut hi: u32) -> u32 {
        let size = 1 << self.shift;
        while lo > 0 && lo.is_multiple_of(size) {
            let right = u32::from(self.blocks[(lo >> self.shift) as usize - 1].right);
            lo -= right;
            if right != size {
                break;
            }
        }
        while hi < self.bits && hi.is_multiple_of(size) {
            let left = u32::from(self.blocks[(hi >> self.shift) as usize].left);
            hi += left;
            if left != size {
                break;
            }
        }
        hi - lo
    }

    /// Whether an allocation begins at piece `at`, and how many pieces it has.
    pub fn size_at(&self, at: u32) -> Option<u32> {
        self.begins(at).then(|| next_one(self.bound, at + 1, self.bits) - at)
    }

    /// Blocks without a piece in use.
    pub fn empty_blocks(&self) -> u32 {
        self.blocks.iter().filter(|block| u32::from(block.left) == 1 << self.shift).count() as u32
    }

    /// The allocations, holes and hidden pieces in order.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let mut end = 0;
        core::iter::from_fn(move || {
            let at = end;
            if at >= self.bits {
                return None;
            }
            let hole = next_one(self.alloc, at, self.bits);
            let (kind, stop) = match self.size_at(at) {
                Some(size) => (RunKind::Used, at + size),
                None if hole > at => (RunKind::Hole, hole),
                None if at < self.shown.0 => (RunKind::Hidden, self.shown.0),
                None => (RunKind::Hidden, self.bits),
            };
            end = stop;
            Some(Run { at, len: end - at, kind })
        })
    }

    /// Compares every hint with the bits.
    ///
    /// # Errors
    /// The first that is not what the module's head says.
    pub fn validate(&self, chunk: usize) -> Result<(), Violation> {
        let size = 1_u32 << self.shift;
        let wrong = |what, at: u32, found: u32, expected: u32| Violation {
            chunk,
            what,
            at: at.into(),
            found: found.into(),
            expected: expected.into(),
        };
        let (mut free, mut largest, mut first) = (0, 0, self.bits);
        for Run { at, len, .. } in self.runs().filter(|run| run.kind == RunKind::Hole) {
            (free, largest, first) = (free + len, largest.max(len), first.min(at));
        }
        if free != self.free {
            return Err(wrong("free pieces", 0, self.free, free));
        }
        if self.largest < largest {
            return Err(wrong("bound of holes", 0, self.largest, largest));
        }
        if self.first > first {
            return Err(wrong("bound of the first hole", 0, self.first, first));
        }
        for (number, block) in self.blocks.iter().enumerate() {
            let base = number as u32 * size;
            let end = base + size;
            let left = next_one(self.alloc, base, end) - base;
            let right = end - previous_one(self.alloc, base, end).map_or(base, |used| used + 1);
            let first = next_zero(self.alloc, base, end) - base;
            let (mut at, mut largest) = (base, 0);
            while at < end {
                let start = next_zero(self.alloc, at, end);
                at = next_one(self.alloc, start, end);
                largest = largest.max(at - start);
            }
            for (what, found, expected, right) in [
                ("free pieces at a block's left", block.left, left, u32::from(block.left) == left),
                ("free pieces at a block's right", block.right, right, u32::from(block.right) == right),
                ("bound of a block's first", block.first, first, u32::from(block.first) <= first),
                ("bound of a block's holes", block.largest, largest, u32::from(block.largest) >= largest),
            ] {
                if !right {
                    return Err(wrong(what, number as u32, found.into(), expected));
                }
            }
        }
        Ok(())
    }
}

/// The bits from `from` on, in one word.
const fn from(bit: u32) -> u64 {
    u64::MAX << (bit % 64)
}

/// The bits before `end`, in the word of the last of them.
const fn before(end: u32) -> u64 {
    u64::MAX >> ((64 - end % 64) % 64)
}

/// Calls `change` with each word that has bits from `at` to `end`, and those bits.
#[inline]
fn each_word(words: &mut [u64], at: u32, end: u32, change: impl Fn(&mut u64, u64)) {
    let (first, last) = ((at / 64) as usize, ((end - 1) / 64) as usize);
    if first == last {
        return change(&mut words[first], from(at) & before(end));
    }
    change(&mut words[first], from(at));
    for word in &mut words[first + 1..last] {
        change(word, u64::MAX);
    }
    change(&mut words[last], before(end));
}

fn set(words: &mut [u64], at: u32, end: u32) {
    each_word(words, at, end, |word, bits| *word |= bits);
}

fn clear(words: &mut [u64], at: u32, end: u32) {
    each_word(words, at, end, |word, bits| *word &= !bits);
}

/// The first bit from `at` on that is set, or `end`.
#[inline]
fn next_one(words: &[u64], at: u32, end: u32) -> u32 {
    next(words, at, end, 0)
}

/// The first bit from `at` on that is not set, or `end`.
#[inline]
fn next_zero(words: &[u64], at: u32, end: u32) -> u32 {
    next(words, at, end, u64::MAX)
}

#[inline]
fn next(words: &[u64], at: u32, end: u32, invert: u64) -> u32 {
    if at >= end {
        return end;
    }
    let mut number = at / 64;
    let mut found = (words[number as usize] ^ invert) & from(at);
    while found == 0 {
        number += 1;
        if number * 64 >= end {
            return end;
        }
        found = words[number as usize] ^ invert;
    }
    (number * 64 + found.trailing_zeros()).min(end)
}

/// The last set bit from `least` on and before `end`.
fn previous_one(words: &[u64], least: u32, end: u32) -> Option<u32> {
    if end <= least {
        return None;
    }
    let mut number = (end - 1) / 64;
    let mut found = words[number as usize] & before(end);
    while found == 0 {
        if number * 64 <= least {
            return None;
        }
        number -= 1;
        found = words[number as usize];
    }
    let bit = number * 64 + 63 - found.leading_zeros();
    (bit >= least).then_some(bit)
}
