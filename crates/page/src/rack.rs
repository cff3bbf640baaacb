//! Stacks of blocks that one CPU keeps to itself.
//!
//! A [`Rack`] holds tokens: pushing consumes one, popping makes it again, and since both need the rack exclusively no
//! lock, no compare-and-exchange and no look at the metadata is needed. All its blocks are of one map, which is
//! checked when they come. The per-CPU lists of `zone` are shelves of racks.
//!
//! Shelves come in groups of eight, which differ in the order of their blocks ([`Rack::new`]). A *directory*, one word for each
//! so many frames of the map, says to which group a block goes; `zone`'s pageblock records are one. So a block finds its shelf by
//! itself, with one look at a word that its policy keeps.
//!
//! The top of a shelf is what was pushed last, and likely is in the cache; refilling puts blocks under the bottom and
//! draining takes them from there, those that lie there longest first.
//!
//! Whether a frame has flags, or others refer to it, is looked at when it leaves its shelf, not when it comes: whoever frees a pool in
//! random order would wait for each frame's metadata, which no cache has. (Linux looks at single pages when they move between a CPU's
//! lists and the free lists, for the same reason.) What is found then is a panic that names the frame.
//!
//! ```text
//!        bottom            top
//!  room: .. | a | b | c | d | ..........
//!             oldest      next out
//! ```
//! A shelf moves its blocks to the room's start when its top reaches the end. With room for twice as many blocks as it holds,
//! that is less than one move for each push.

mod many;
mod shelf;

pub use shelf::Shelf;

use crate::{FrameIdx, Frames, PageMap, PageMeta, Park, Word};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use pagewright_addr::Order;

/// An order, or 32 for as many frames as there is no block of.
const PLACES: usize = u32::BITS as usize + 1;

/// Shelves for blocks of one map.
///
/// # Invariants
/// - Whatever lies on a shelf is the first index of a block of the map whose token was consumed, as long as the shelf says.
/// - `bytes` is the size of the map's slots, and the directory has a word for each of them: `words[offset >> shift]` for a slot
///   at byte `offset`; `shift` is less than 21.
/// - The shelf of number `n` has blocks of the order at place `n % 8`; that at place 0 is 0.
pub struct Rack<'m, 'a> {
    map: &'a [PageMeta],
    bytes: usize,
    words: &'a [AtomicU32],
    shift: u32,
    /// Where in a group the shelf of each order is; [`Self::NOWHERE`] for those that have none.
    places: [u8; PLACES],
    shelves: &'m mut [Shelf<'m>],
}

impl<'m, 'a> Rack<'m, 'a> {
    /// How many shelves a group has.
    pub const GROUP: usize = 8;
    /// The bits of a directory's word that say which group a block goes to: the number of the group's first shelf.
    pub const GROUP_BITS: u32 = 0xff << Self::GROUP_BITS_SHIFT;
    /// Where in the word the group's number is.
    pub const GROUP_BITS_SHIFT: u32 = 3;
    /// The place of orders that have no shelf: what lies at it has no room.
    const NOWHERE: u8 = 7;

    /// A rack of these shelves, which are emptied: the tokens of whatever lay there stay lost. `directory` has a word for each
    /// `2^span` frames of the map; the shelf of number `8 * group + place` has blocks of the order `orders[place]`.
    ///
    /// # Panics
    /// If the directory has too few words, a shelf with room has another order, or the orders do not begin with 0 or are more
    /// than seven: each is a mistake in whoever laid out the lists.
    pub fn new(
        map: &PageMap<'a>,
        directory: &'a [AtomicU32],
        span: Order,
        orders: &[Order],
        shelves: &'m mut [Shelf<'m>],
    ) -> Self {
        let slots = map.slots;
        let last = slots.len().saturating_sub(1) >> span.get();
        assert!(last < directory.len(), "a directory of {} words ends before word {last}", directory.len());
        assert!(
            orders.first() == Some(&Order::ZERO) && orders.len() <= usize::from(Self::NOWHERE),
            "a group's orders cannot be {orders:?}"
        );
        for (n, shelf) in shelves.iter_mut().enumerate() {
            (shelf.bottom, shelf.top) = (0, 0);
            (shelf.pops, shelf.pops_high) = (0, 0);
            shelf.limit = shelf.room.len() as u32;
            let wanted = orders.get(n % Self::GROUP);
            assert!(
                shelf.room.is_empty() || wanted == Some(&shelf.order),
                "shelf {n} is for blocks of order {}",
                shelf.order.get()
            );
        }
        let mut places = [Self::NOWHERE; PLACES];
        for (place, order) in orders.iter().enumerate().rev() {
            places[order.index()] = place as u8;
        }
        // An order is below 16.
        let shift = PageMeta::BYTES.trailing_zeros() + u32::from(span.get());
        Self { map: slots, bytes: size_of_val(slots), words: directory, shift, places, shelves }
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

    /// The shelf of an order in the group whose first shelf is `first`, if it has room.
    pub fn shelf_of_order(&self, first: usize, order: Order) -> Option<usize> {
        let shelf = first + usize::from(self.places[order.index() & 15]);
        self.shelves.get(shelf).filter(|shelf| shelf.capacity() > 0).map(|_| shelf)
    }

    /// Takes the block on top of a shelf; `None` if it is empty, there is no such shelf, or the block has flags, or is referenced or
    /// mapped: [`Self::expect_top`] names it.
    // No panic here, for the same reason as in `push`.
    #[inline(always)]
    pub fn pop(&mut self, shelf: usize) -> Option<Frames<'a>> {
        let shelf = self.shelves.get_mut(shelf)?;
        if shelf.is_empty() {
            return None;
        }
        let top = shelf.top - 1;
        // SAFETY: the top was above the bottom and at most the room's length (the shelf's invariant), so one less is inside it.
        let idx = unsafe { *shelf.room.get_unchecked(top as usize) };
        // SAFETY: what lies on a shelf is an index of this map (the rack's invariant).
        let head = unsafe { self.map.get_unchecked(idx.index()) };
        if !is_unused(head) {
            return None;
        }
        shelf.top = top;
        shelf.count_pops(1);
        Some(Frames::from_extent(head, Frames::extent_of(idx, shelf.tail)))
    }

    /// Says why [`Self::pop`] gave nothing from a shelf that has something.
    ///
    /// # Panics
    /// If the block on its top has flags, or is referenced or mapped ("Bad page state").
    #[cold]
    pub fn expect_top(&self, shelf: usize) {
        if let Some(idx) = self.shelves.get(shelf).and_then(|shelf| shelf.iter().next()) {
            expect_unused(idx, &self.map[idx.index()]);
        }
    }

    /// Puts a block on top of the shelf that it belongs to: of the group that the directory says, and of its order.
    ///
    /// # Errors
    /// The block itself if the shelf's limit is reached, if there is no such shelf, or if the block may not lie there: its frames are
    /// no aligned block of a power of two, belong to another map, or are more than one and have flags or are a compound page.
    // Always inline: out of line, and with a panic instead of the error, it was three times as many instructions.
    #[inline(always)]
    pub fn push(&mut self, frames: Frames<'a>) -> Result<(), Frames<'a>> {
        let Some(mut shelf) = self.group_of(&frames) else { return Err(frames) };
        if frames.extent() != u64::from(frames.start().get()) {
            // More than one frame: perhaps a compound page, which its shelf must not have.
            let Some(place) = self.place_of(&frames) else { return Err(frames) };
            shelf += place;
            if frames.head().word() != Word::OWNED {
                return Err(frames);
            }
        }
        let Some(shelf) = self.shelves.get_mut(shelf) else { return Err(frames) };
        let top = shelf.top;
        if top >= shelf.limit {
            return Err(frames);
        }
        // Before the block is noted, which might be anywhere as far as the compiler knows.
        shelf.top = top + 1;
        // SAFETY: the top was below the limit, which is at most the room's length (the shelf's invariant).
        *unsafe { shelf.room.get_unchecked_mut(top as usize) } = frames.start();
        Ok(())
    }

    /// The first shelf of the group that a block belongs to; `None` if it is of another map.
    #[inline(always)]
    fn group_of(&self, frames: &Frames<'_>) -> Option<usize> {
        // A token's head is its first frame's slot, so its place tells map and frame at once.
        let offset = core::ptr::from_ref(frames.head()).addr().wrapping_sub(self.map.as_ptr().addr());
        if offset >= self.bytes {
            return None;
        }
        // SAFETY: a slot's 5 bits and those of an order, which is below 16 (the rack's invariant). Else it would be masked.
        unsafe { core::hint::assert_unchecked(self.shift < usize::BITS) };
        // SAFETY: the offset is that of one of the map's slots, for each of which there is a word (the rack's invariant).
        let word = unsafe { self.words.get_unchecked(offset >> self.shift) };
        Some((word.load(Relaxed) & Self::GROUP_BITS) as usize)
    }

    /// Where in its group the shelf of a block is; `None` if the frames are no block.
    #[inline(always)]
    fn place_of(&self, frames: &Frames<'_>) -> Option<usize> {
        let rest = (frames.extent() >> 32) as u32;
        // All ones below the length's only bit, and none of them in the index.
        if rest & (rest.wrapping_add(1) | frames.start().get()) != 0 {
            return None;
        }
        // A place has blocks of its order only, or no room.
        // Of a number of 32 bits at most 32 are zero.
        let place = self.places.get(rest.wrapping_add(1).trailing_zeros() as usize)?;
        Some(usize::from(*place))
    }

    /// The number of the shelf that a block belongs to.
    #[inline]
    pub fn shelf_of(&self, frames: &Frames<'_>) -> Option<usize> {
        let place = self.place_of(frames)?;
        if place == usize::from(Self::NOWHERE) {
            return None;
        }
        let shelf = self.group_of(frames)? + place;
        self.shelves.get(shelf).filter(|shelf| shelf.capacity() > 0).map(|_| shelf)
    }

    /// Cuts a block into blocks of a shelf's size and puts them under those that lie there, so that they come out lowest first.
    ///
    /// # Errors
    /// The frames themselves if they are no multiple of the shelf's blocks, do not fit, or may not lie there
    /// ([`Self::push`]). [`Self::make_room`] makes room.
    pub fn push_bottom(&mut self, shelf: usize, frames: Frames<'a>) -> Result<(), Frames<'a>> {
        let Some(shelf) = self.shelves.get_mut(shelf) else { return Err(frames) };
        let (start, len, pages) = (frames.start(), frames.len(), shelf.order.pages());
        let blocks = len >> shelf.order.get();
        if blocks * pages != len || !start.is_aligned(shelf.order) || blocks > u64::from(shelf.bottom) {
            return Err(frames);
        }
        let ours = self.map.get(start.index()).is_some_and(|slot| core::ptr::eq(slot, frames.head()));
        if !ours || !is_unused(frames.head()) {
            return Err(frames);
        }
        let bottom = shelf.bottom as usize - blocks as usize;
        let slots = &self.map[start.index()..start.index() + len as usize];
        let places = &mut shelf.room[bottom..shelf.bottom as usize];
        // Single frames have a loop of their own, in which nothing needs to be checked.
        match shelf.order {
            Order::ZERO => lay(slots.iter(), places, start, 1),
            _ => lay(slots.iter().step_by(pages as usize), places, start, pages as u32),
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

    /// Moves single frames from the bottom of a shelf, where they lie longest, to a park where some of their span lie: `most` of them, as long as
    /// none is part of a run or makes its span whole. How many there were.
    pub fn park(&mut self, shelf: usize, most: usize, park: &mut Park<'_, 'a>) -> usize {
        let Some(shelf) = self.shelves.get_mut(shelf) else { return 0 };
        if !shelf.order.is_zero() || !park.is_of(self.map) {
            return 0;
        }
        let lying = &shelf.room[shelf.bottom as usize..shelf.top as usize];
        let moved = park.add_singles(&lying[..most.min(lying.len())]);
        shelf.bottom += moved as u32;
        moved
    }

    /// Takes blocks from the bottom of a shelf, where they lie longest: one, and with it those after it, `most` in
    /// all, as long as each continues the run of frames upwards or downwards. The run is one token.
    ///
    /// # Panics
    /// If one has flags, or is referenced or mapped ("Bad page state").
    pub fn pop_bottom_run(&mut self, shelf: usize, most: usize) -> Option<Frames<'a>> {
        let shelf = self.shelves.get_mut(shelf)?;
        let most = most.min(shelf.len());
        let lying = shelf.room.get(shelf.bottom as usize..)?.get(..most)?;
        let (first, pages) = (*lying.first()?, shelf.order.pages() as u32);
        // The second tells the direction, or that there is none: freed in random order, blocks come one by one.
        let step = lying.get(1).map_or(0, |second| second.get().wrapping_sub(first.get()));
        if step != pages && step != pages.wrapping_neg() {
            shelf.bottom += 1;
            let head = &self.map[first.index()];
            expect_unused(first, head);
            return Some(Frames::from_parts(head, first, u64::from(pages)));
        }
        let down = step != pages;
        let mut next = first.get();
        let going_on = |at: &&FrameIdx| {
            next = next.wrapping_add(step);
            at.get() == next
        };
        let blocks = 1 + lying[1..].iter().take_while(going_on).count();
        let low = if down { lying[blocks - 1] } else { first };
        let len = blocks as u64 * u64::from(pages);
        let slots = &self.map[low.index()..low.index() + len as usize];
        expect_unused(low, &slots[0]);
        match shelf.order {
            Order::ZERO => bury(slots[1..].iter(), low, pages),
            _ => bury(slots.iter().step_by(pages as usize).skip(1), low, pages),
        }
        shelf.bottom += blocks as u32;
        Some(Frames::from_parts(&slots[0], low, len))
    }
}

/// Whether a token's block has no flags and is used by nobody else.
#[inline(always)]
fn is_unused(head: &PageMeta) -> bool {
    head.word() == Word::OWNED && head.has_no_others()
}

/// Looks at what was not looked at when it came.
#[inline(always)]
pub(crate) fn expect_unused(idx: FrameIdx, head: &PageMeta) {
    if !is_unused(head) {
        in_use(idx, head);
    }
}

#[cold]
#[inline(never)]
fn in_use(idx: FrameIdx, head: &PageMeta) -> ! {
    panic!(
        "bad page state: freed while it has flags, references or mappings, frame index {idx}: found {head:?}"
    )
}

/// Makes these slots heads of single tokens, and notes their blocks from the last place on: the lowest goes nearest to the top.
#[inline(always)]
fn lay<'s>(heads: impl Iterator<Item = &'s PageMeta>, places: &mut [FrameIdx], start: FrameIdx, pages: u32) {
    let mut idx = start.get().wrapping_add(pages.wrapping_mul(places.len() as u32));
    for place in places.iter_mut() {
        idx = idx.wrapping_sub(pages);
        *place = FrameIdx::new(idx);
    }
    // Nobody refers to any but the first, which has its reference.
    for head in heads {
        head.set_word(Word::OWNED);
        head.set_referenced();
    }
}

/// Makes heads of single tokens inner frames of a longer one: those of blocks of so many pages that follow the one at `start`.
#[inline(always)]
fn bury<'s>(heads: impl Iterator<Item = &'s PageMeta> + Clone, start: FrameIdx, pages: u32) {
    for (nth, head) in heads.clone().enumerate() {
        if !is_unused(head) {
            exhume(heads, nth);
            in_use(FrameIdx::new(start.get() + (nth as u32 + 1) * pages), head);
        }
        head.set_word(Word::INNER);
        head.set_unreferenced();
    }
}

/// Makes the first `count` of them heads again: the one after them is in use, and all stay where they are.
#[cold]
fn exhume<'s>(heads: impl Iterator<Item = &'s PageMeta>, count: usize) {
    for head in heads.take(count) {
        head.set_word(Word::OWNED);
        head.set_referenced();
    }
}

impl fmt::Debug for Rack<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.shelves.iter()).finish()
    }
}
