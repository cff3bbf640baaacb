//! Stacks of blocks that one CPU keeps to itself.
//!
//! A [`Rack`] holds tokens: pushing consumes one, popping makes it again, and since both need the rack exclusively no
//! lock, no compare-and-exchange and no look at the metadata is needed. All its blocks are of one map, which is
//! checked when they come. The per-CPU lists of `zone` are shelves of racks.
//!
//! The top of a shelf is what was pushed last, and likely is in the cache; refilling puts blocks under the bottom and
//! draining takes them from there, those that lie there longest first.
//!
//! ```text
//!        bottom            top
//!  room: .. | a | b | c | d | ..........
//!             oldest      next out
//! ```
//! A shelf moves its blocks to the room's start when its top reaches the end. With room for twice as many blocks as it holds,
//! that is less than one move for each push.

use crate::{FrameIdx, Frames, PageMap, PageMeta, Word};
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::Order;

/// A stack of blocks of one order. It belongs to a [`Rack`], which fills it.
pub struct Shelf<'m> {
    room: &'m mut [FrameIdx],
    bottom: u32,
    top: u32,
    /// Where the top may rise to by pushing ([`Rack::set_limit`]); never below the top.
    limit: u32,
    /// Frames of each block.
    pages: u32,
    /// How often a block was popped.
    pops: u64,
}

impl<'m> Shelf<'m> {
    /// An empty shelf for blocks of `order`; of the room it uses 2^31 places at most.
    pub fn new(order: Order, room: &'m mut [FrameIdx]) -> Self {
        let places = room.len().min(1 << 31);
        Self {
            room: &mut room[..places],
            bottom: 0,
            top: 0,
            limit: places as u32,
            pages: order.pages() as u32,
            pops: 0,
        }
    }

    /// Frames of each block.
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    /// How many blocks lie here.
    #[inline]
    pub const fn len(&self) -> usize {
        (self.top - self.bottom) as usize
    }

    /// Whether none does.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.top == self.bottom
    }

    /// How many blocks more [`Rack::push`] takes.
    #[inline]
    pub const fn left(&self) -> usize {
        (self.limit - self.top) as usize
    }

    /// How often a block was taken from the top.
    pub const fn pops(&self) -> u64 {
        self.pops
    }

    /// How many blocks fit.
    pub const fn capacity(&self) -> usize {
        self.room.len()
    }

    /// The blocks, the next to be popped first.
    pub fn iter(&self) -> impl Iterator<Item = FrameIdx> + '_ {
        self.room[self.bottom as usize..self.top as usize].iter().rev().copied()
    }

    /// Moves the blocks so that they begin at place `to`; they must fit there.
    #[cold]
    #[inline(never)]
    fn shift(&mut self, to: usize) {
        let (from, len) = (self.bottom as usize, self.len());
        self.room.copy_within(from..from + len, to);
        self.limit = (self.limit - self.top) + (to + len) as u32;
        self.bottom = to as u32;
        self.top = (to + len) as u32;
        self.limit = self.limit.min(self.room.len() as u32);
    }
}

impl fmt::Debug for Shelf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shelf({} blocks of {} frames, room for {})", self.len(), self.pages, self.capacity())
    }
}

/// Shelves for blocks of one map.
///
/// # Invariants
/// Whatever lies on a shelf is the first index of a block of the map whose token was consumed, as long as the shelf says.
pub struct Rack<'m, 'a> {
    map: &'a [PageMeta],
    shelves: &'m mut [Shelf<'m>],
}

impl<'m, 'a> Rack<'m, 'a> {
    /// A rack of these shelves, which are emptied: the tokens of whatever lay there stay lost.
    pub fn new(map: &PageMap<'a>, shelves: &'m mut [Shelf<'m>]) -> Self {
        for shelf in shelves.iter_mut() {
            (shelf.bottom, shelf.top, shelf.pops) = (0, 0, 0);
            shelf.limit = shelf.room.len() as u32;
        }
        Self { map: map.slots, shelves }
    }

    /// The shelves.
    #[inline]
    pub fn shelves(&self) -> &[Shelf<'m>] {
        self.shelves
    }

    /// Lets a shelf take `blocks` blocks more by [`Self::push`], as far as there is room: how many.
    pub fn set_limit(&mut self, shelf: usize, blocks: usize) -> usize {
        let Some(shelf) = self.shelves.get_mut(shelf) else { return 0 };
        let blocks = blocks.min(shelf.room.len() - shelf.len());
        if shelf.top as usize + blocks > shelf.room.len() {
            shelf.shift(0);
        }
        shelf.limit = shelf.top + blocks as u32;
        blocks
    }

    /// Takes the block on top of a shelf; `None` if it is empty or there is no such shelf.
    #[inline(always)]
    pub fn pop(&mut self, shelf: usize) -> Option<Frames<'a>> {
        let shelf = self.shelves.get_mut(shelf)?;
        if shelf.is_empty() {
            return None;
        }
        let top = shelf.top - 1;
        let idx = *shelf.room.get(top as usize)?;
        let head = self.map.get(idx.index())?;
        shelf.top = top;
        shelf.pops += 1;
        Some(Frames::from_parts(head, idx, u64::from(shelf.pages)))
    }

    /// Puts a block on top of a shelf.
    ///
    /// # Errors
    /// The block itself if the shelf's limit is reached, if there is no such shelf, or if the block may not lie there: its frames are not
    /// as many as the shelf's blocks have, belong to another map, have flags, or are referenced or mapped.
    // Always inline: out of line, and with a panic instead of the error, it was three times as many instructions.
    #[inline(always)]
    pub fn push(&mut self, shelf: usize, frames: Frames<'a>) -> Result<(), Frames<'a>> {
        let Some(shelf) = self.shelves.get_mut(shelf) else { return Err(frames) };
        if !may_lie(self.map, shelf.pages, &frames) || shelf.top >= shelf.limit {
            return Err(frames);
        }
        let Some(place) = shelf.room.get_mut(shelf.top as usize) else { return Err(frames) };
        *place = frames.start();
        shelf.top += 1;
        Ok(())
    }

    /// Cuts a block into blocks of a shelf's size and puts them under those that lie there, so that they come out lowest first.
    ///
    /// # Errors
    /// The frames themselves if they are no multiple of the shelf's blocks, do not fit, or may not lie there
    /// ([`Self::push`]). [`Self::make_room`] makes room.
    pub fn push_bottom(&mut self, shelf: usize, frames: Frames<'a>) -> Result<(), Frames<'a>> {
        let Some(shelf) = self.shelves.get_mut(shelf) else { return Err(frames) };
        let (start, len, pages) = (frames.start(), frames.len(), u64::from(shelf.pages));
        let blocks = len / pages;
        if blocks * pages != len || blocks > u64::from(shelf.bottom) {
            return Err(frames);
        }
        if !may_lie(self.map, len as u32, &frames) {
            return Err(frames);
        }
        let bottom = shelf.bottom as usize - blocks as usize;
        // The lowest goes nearest to the top.
        let mut idx = start.get();
        let heads = self.map[start.index()..start.index() + len as usize].iter().step_by(pages as usize);
        for (place, head) in shelf.room[bottom..shelf.bottom as usize].iter_mut().rev().zip(heads) {
            head.set_word(Word::OWNED);
            head.refcount.store(1, Relaxed);
            *place = FrameIdx::new(idx);
            idx = idx.wrapping_add(pages as u32);
        }
        shelf.bottom = bottom as u32;
        // What lies there is limited, not where its top is.
        shelf.limit = (shelf.limit - blocks as u32).max(shelf.top);
        Ok(())
    }

    /// Makes room under the bottom of a shelf for `blocks` blocks, as far as there is any: how many fit.
    pub fn make_room(&mut self, shelf: usize, blocks: usize) -> usize {
        let Some(shelf) = self.shelves.get_mut(shelf) else { return 0 };
        let blocks = blocks.min(shelf.room.len() - shelf.len());
        if (shelf.bottom as usize) < blocks {
            shelf.shift(blocks);
        }
        blocks
    }

    /// Takes blocks from the bottom of a shelf, where they lie longest: one, and with it those after it, `most` in
    /// all, as long as each continues the run of frames upwards or downwards. The run is one token.
    pub fn pop_bottom_run(&mut self, shelf: usize, most: usize) -> Option<Frames<'a>> {
        let shelf = self.shelves.get_mut(shelf)?;
        let most = most.min(shelf.len());
        let lying = shelf.room.get(shelf.bottom as usize..)?.get(..most)?;
        let (first, pages) = (*lying.first()?, shelf.pages);
        let run = |step: u32| {
            let mut next = first.get();
            let going_on = |at: &&FrameIdx| {
                next = next.wrapping_add(step);
                at.get() == next
            };
            1 + lying[1..].iter().take_while(going_on).count()
        };
        let (up, down) = (run(pages), run(pages.wrapping_neg()));
        let blocks = up.max(down);
        let low = if up >= down { first } else { lying[blocks - 1] };
        let len = blocks as u64 * u64::from(pages);
        let slots = &self.map[low.index()..low.index() + len as usize];
        for head in slots.iter().step_by(pages as usize).skip(1) {
            head.set_word(Word::INNER);
            head.refcount.store(0, Relaxed);
        }
        shelf.bottom += blocks as u32;
        Some(Frames::from_parts(&slots[0], low, len))
    }
}

/// Whether a token may lie on a shelf of blocks of `pages` frames: of this map, of that length, used by nobody.
#[inline(always)]
fn may_lie(map: &[PageMeta], pages: u32, frames: &Frames<'_>) -> bool {
    let head = frames.head();
    // Two maps do not begin at the same address, so a token whose index counts from this map's first slot is of this map.
    let first = (head as *const PageMeta).wrapping_sub(frames.start().index());
    core::ptr::eq(first, map.as_ptr())
        && frames.len() == u64::from(pages)
        && head.word.load(Relaxed) == Word::OWNED.bits()
        && head.refcount.load(Relaxed) == 1
        && head.mapcount.load(Relaxed) == 0
}

impl fmt::Debug for Rack<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.shelves.iter()).finish()
    }
}
