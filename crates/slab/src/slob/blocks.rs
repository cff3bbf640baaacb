//! The blocks of one page, as they lie in it.
//!
//! A page is counted in units of 2 bytes, or of 4 where 2 cannot count it (pages of 64 KiB). A free block begins with how many units it has and where
//! the next free one begins, in units from the page's start; one that has a single unit has the negative of the latter alone. The last one names the page's
//! end. They ascend and never touch each other. A block in use has nothing of ours in it.
//!
//! Nothing that lies there is trusted: a block that is not inside the page, or a next one that is not behind it, is damage, and is not followed.

use core::mem::size_of;

/// What lies in a free block cannot be so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Damaged {
    /// The block's distance from the page's start in bytes.
    pub(super) at: usize,
}

/// Why a block cannot be given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// A part of it is free already.
    Free,
    /// The list cannot be followed.
    Damaged(Damaged),
}

/// A free block. Positions and lengths are in units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Block {
    at: usize,
    units: usize,
    next: usize,
}

/// One page's memory.
///
/// # Invariants
/// `start` points to `bytes` bytes that may be read and written wherever they are free, as long as the value lives: whoever has it holds the lock, or is the
/// only one who knows the page.
#[derive(Clone, Copy)]
pub(super) struct Page {
    start: *mut u8,
    bytes: usize,
}

/// What a request takes: bytes, and where it may begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    pub(super) bytes: usize,
    /// The alignment, a power of two, of what is [`Self::behind`] bytes behind its first byte.
    pub(super) align: usize,
    pub(super) behind: usize,
}

impl Page {
    /// The page at an address.
    ///
    /// # Safety
    /// As the type's invariant says.
    pub(super) const unsafe fn new(start: *mut u8, bytes: usize) -> Self {
        Self { start, bytes }
    }

    /// Bytes of a unit (SLOB_UNIT).
    pub(super) const fn unit(bytes: usize) -> usize {
        if bytes <= 2 * i16::MAX as usize { size_of::<i16>() } else { size_of::<i32>() }
    }

    /// How many units so many bytes take, in a page like this one.
    pub(super) const fn units(self, bytes: usize) -> usize {
        bytes.div_ceil(Self::unit(self.bytes))
    }

    fn all(self) -> usize {
        self.units(self.bytes)
    }

    fn word(self, at: usize) -> i32 {
        // SAFETY: inside the page (`read` looks first), at a multiple of the unit from its start, which is aligned to more;
        // free, by the invariant.
        unsafe {
            match Self::unit(self.bytes) {
                2 => self.start.cast::<i16>().add(at).read().into(),
                _ => self.start.cast::<i32>().add(at).read(),
            }
        }
    }

    fn set_word(self, at: usize, value: i32) {
        // SAFETY: as for `word`.
        unsafe {
            match Self::unit(self.bytes) {
                2 => self.start.cast::<i16>().add(at).write(value as i16),
                _ => self.start.cast::<i32>().add(at).write(value),
            }
        }
    }

    /// The free block that begins at a position, if it can be one.
    fn read(self, at: usize) -> Result<Block, Damaged> {
        let damaged = Damaged { at: at * Self::unit(self.bytes) };
        let all = self.all();
        if at >= all {
            return Err(damaged);
        }
        let first = self.word(at);
        let (units, next) = match usize::try_from(first) {
            Err(_) => (1, first.unsigned_abs() as usize),
            Ok(units) if units < 2 || units > all - at => return Err(damaged),
            Ok(units) => (units, usize::try_from(self.word(at + 1)).map_err(|_| damaged)?),
        };
        let end = at + units;
        // Neighbours that touch would be one block.
        let leads = next == all || next > end && next < all;
        if leads { Ok(Block { at, units, next }) } else { Err(damaged) }
    }

    fn write(self, block: Block) {
        if block.units == 1 {
            self.set_word(block.at, -(block.next as i32));
        } else {
            self.set_word(block.at, block.units as i32);
            self.set_word(block.at + 1, block.next as i32);
        }
    }

    /// Makes the page one free block; its position.
    pub(super) fn clear(self) -> usize {
        self.write(Block { at: 0, units: self.all(), next: self.all() });
        0
    }

    /// Takes the first block that a request fits, of a list that begins at `first`: its distance in bytes, and where the list begins now, which is the page's
    /// end if nothing is left.
    pub(super) fn take(self, first: usize, fit: Fit) -> Result<Option<(usize, usize)>, Damaged> {
        let (wanted, all) = (self.units(fit.bytes), self.all());
        let mut prev: Option<Block> = None;
        let mut at = first;
        while at < all {
            let block = self.read(at)?;
            // The page lies at a multiple of every alignment that is asked for.
            let begin = at * Self::unit(self.bytes) + fit.behind;
            let skip = self.units(begin.next_multiple_of(fit.align) - begin);
            if block.units < wanted + skip {
                prev = Some(block);
                at = block.next;
                continue;
            }
            let behind = block.units - wanted - skip;
            let mut next = block.next;
            if behind > 0 {
                let rest = Block { at: at + skip + wanted, units: behind, next };
                self.write(rest);
                next = rest.at;
            }
            if skip > 0 {
                self.write(Block { at, units: skip, next });
                next = at;
            }
            let first = match prev {
                Some(prev) => {
                    self.write(Block { next, ..prev });
                    first
                }
                None => next,
            };
            return Ok(Some(((at + skip) * Self::unit(self.bytes), first)));
        }
        Ok(None)
    }

    /// Gives a block back that has `bytes` bytes from a distance on, which are inside the page, to a list that begins at `first`; where the list begins now.
    /// Neighbours that touch become one block.
    pub(super) fn give(self, first: usize, from: usize, bytes: usize) -> Result<usize, Refused> {
        let unit = Self::unit(self.bytes);
        let mut block = Block { at: from / unit, units: self.units(bytes), next: first };
        let mut prev: Option<Block> = None;
        while block.next < self.all() {
            let next = self.read(block.next).map_err(Refused::Damaged)?;
            if next.at < block.at + block.units {
                if next.at + next.units > block.at {
                    return Err(Refused::Free);
                }
                prev = Some(next);
                block.next = next.next;
                continue;
            }
            if next.at == block.at + block.units {
                block.units += next.units;
                block.next = next.next;
            }
            break;
        }
        Ok(match prev {
            Some(prev) if prev.at + prev.units == block.at => {
                self.write(Block { units: prev.units + block.units, next: block.next, ..prev });
                first
            }
            Some(prev) => {
                self.write(block);
                self.write(Block { next: block.at, ..prev });
                first
            }
            None => {
                self.write(block);
                block.at
            }
        })
    }

    /// Whether nothing is free of so many bytes from a distance on, in a list that begins at `first`.
    pub(super) fn is_used(self, first: usize, from: usize, bytes: usize) -> Result<bool, Damaged> {
        let unit = Self::unit(self.bytes);
        let mut at = first;
        while at < self.all() {
            let block = self.read(at)?;
            if block.at * unit < from + bytes && from < (block.at + block.units) * unit {
                return Ok(false);
            }
            at = block.next;
        }
        Ok(true)
    }

    /// How many units the list has that begins at `first`.
    pub(super) fn count(self, first: usize) -> Result<usize, Damaged> {
        let (mut at, mut units) = (first, 0);
        while at < self.all() {
            let block = self.read(at)?;
            units += block.units;
            at = block.next;
        }
        Ok(units)
    }
}
