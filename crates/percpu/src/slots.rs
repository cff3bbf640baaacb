//! Chunks by the largest hole that they may have: one list for each power of two.

use crate::chunk::Chunk;
use crate::geometry::MIN_ALLOC;

/// How a chunk is found in its list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Link {
    slot: u8,
    previous: u16,
    next: u16,
}

const NONE: u16 = u16::MAX;
/// Slot of no list.
const OUT: u8 = u8::MAX;
/// The list of spare chunks, which are used last.
const SPARE: u8 = 31;

impl Link {
    /// In no list.
    pub(crate) const OUT: Self = Self { slot: OUT, previous: NONE, next: NONE };
}

/// The slot for a hole of so many pieces: 0 for none, 1 below 16 bytes, then one for each power of two (`pcpu_size_to_slot`).
#[inline]
pub(crate) const fn slot_of(pieces: u32) -> u8 {
    let bytes = pieces as u64 * MIN_ALLOC;
    let highest = (u64::BITS - bytes.leading_zeros()) as u8;
    match highest {
        0 => 0,
        1..=4 => 1,
        _ => highest - 3,
    }
}

/// The lists' heads.
#[derive(Debug)]
pub(crate) struct Slots {
    heads: [u16; 32],
    /// A bit for each list that is not empty.
    filled: u32,
}

impl Slots {
    pub(crate) const fn new() -> Self {
        Self { heads: [NONE; 32], filled: 0 }
    }

    /// Whether a spare chunk is kept.
    pub(crate) const fn has_spare(&self) -> bool {
        self.filled >> SPARE != 0
    }

    /// A spare chunk.
    pub(crate) fn spare(&self) -> Option<usize> {
        let head = self.heads[usize::from(SPARE)];
        (head != NONE).then(|| usize::from(head))
    }

    /// The first chunk that may hold `want` pieces, fuller ones first.
    #[inline]
    pub(crate) fn first(&self, want: u32) -> Option<usize> {
        self.at_least(slot_of(want))
    }

    /// The one after `number`. To be asked before the chunk is moved to another list.
    pub(crate) fn after<M>(&self, chunks: &[Option<Chunk<'_, M>>], number: usize) -> Option<usize> {
        let link = chunks[number].as_ref()?.link;
        if link.next != NONE {
            return Some(link.next.into());
        }
        self.at_least(link.slot + 1)
    }

    #[inline]
    fn at_least(&self, slot: u8) -> Option<usize> {
        let filled = self.filled & u32::MAX.checked_shl(slot.into())?;
        (filled != 0).then(|| self.heads[filled.trailing_zeros() as usize].into())
    }

    /// Puts a chunk into the list where it belongs, if it is in another.
    #[inline]
    pub(crate) fn place<M>(&mut self, chunks: &mut [Option<Chunk<'_, M>>], number: usize) {
        let Some(chunk) = &chunks[number] else { return };
        let slot = Self::belongs(chunk);
        if slot != chunk.link.slot {
            self.take_out(chunks, number);
            self.put_in(chunks, number, slot);
        }
    }

    /// Takes a chunk out of its list.
    pub(crate) fn take_out<M>(&mut self, chunks: &mut [Option<Chunk<'_, M>>], number: usize) {
        let Some(link) = chunks[number].as_mut().map(|chunk| core::mem::replace(&mut chunk.link, Link::OUT))
        else {
            return;
        };
        if link.slot == OUT {
            return;
        }
        match chunks.get_mut(usize::from(link.previous)).and_then(Option::as_mut) {
            Some(previous) => previous.link.next = link.next,
            None => {
                self.heads[usize::from(link.slot)] = link.next;
                if link.next == NONE {
                    self.filled &= !(1 << link.slot);
                }
            }
        }
        if let Some(next) = chunks.get_mut(usize::from(link.next)).and_then(Option::as_mut) {
            next.link.previous = link.previous;
        }
    }

    fn put_in<M>(&mut self, chunks: &mut [Option<Chunk<'_, M>>], number: usize, slot: u8) {
        let head = self.heads[usize::from(slot)];
        if let Some(chunk) = &mut chunks[number] {
            chunk.link = Link { slot, previous: NONE, next: head };
        }
        if let Some(next) = chunks.get_mut(usize::from(head)).and_then(Option::as_mut) {
            next.link.previous = number as u16;
        }
        self.heads[usize::from(slot)] = number as u16;
        self.filled |= 1 << slot;
    }

    /// The chunks of all lists with the list that each is in; at most `limit`, should a list bite its tail.
    pub(crate) fn iter<'c, M>(
        &'c self,
        chunks: &'c [Option<Chunk<'_, M>>],
        limit: usize,
    ) -> impl Iterator<Item = (u8, usize)> + 'c {
        (0..32_u8)
            .flat_map(move |slot| {
                let head = self.heads[usize::from(slot)];
                let next = move |at: &u16| {
                    chunks[usize::from(*at)].as_ref().map(|c| c.link.next).filter(|n| *n != NONE)
                };
                core::iter::successors((head != NONE).then_some(head), next)
                    .map(move |at| (slot, usize::from(at)))
            })
            .take(limit)
    }

    /// Where a chunk belongs.
    pub(crate) const fn belongs<M>(chunk: &Chunk<'_, M>) -> u8 {
        if chunk.is_spare() { SPARE } else { slot_of(chunk.map.largest()) }
    }
}
