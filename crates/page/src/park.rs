//! Frames that wait to become a free block together.
//!
//! A [`Park`] holds tokens of single frames and short runs, as a [`Rack`](crate::Rack) does: putting one consumes it, and since that
//! needs the park exclusively, no lock and no look at metadata is needed. It notes a bit for each frame. The map is cut into
//! *spans* of so many frames (`zone`'s pageblocks): when all frames of one lie here they come out as one token, and
//! what else lies here comes out in runs that are as long as can be. So a page that is freed alone costs a bit, and the metadata of
//! a span is written once, in order, for all of its pages.
//!
//! ```text
//!  touched: a bit for each slot that is not empty
//!  slot n:  | span | how many frames | a bit for each frame of the span |      for the spans n, n + slots, n + 2 * slots ...
//! ```
//! A slot serves one span at a time: there are a power of two of them, and a span goes to the slot of its number modulo that, or nowhere
//! while another's frames lie there. So a park has as much memory as its caller can spare, and what lies there is bounded by it.

use crate::rack::expect_unused;
use crate::{FrameIdx, Frames, PageMap, PageMeta, Word};
use core::fmt;
use pagewright_addr::Order;

/// Frames of one map that wait for others of their spans.
///
/// # Invariants
/// - A frame whose bit is set is one of the map whose token was consumed: no other token covers it, and its state word is still
///   that of a token's frame ([`Word::OWNED`], perhaps with flags, or [`Word::INNER`]).
/// - Of a slot that is not empty the first word is the number of the span, the second how many bits are set; that is 0 in an
///   empty one. `touched` has a bit for each that is not empty, none in a word before `lowest`, and `frames` is how many there are in all.
pub struct Park<'s, 'a> {
    map: &'a [PageMeta],
    touched: &'s mut [u32],
    /// Where whoever looks for a slot that is not empty begins: of a large park it would look at all words each time.
    lowest: usize,
    slots: &'s mut [u32],
    /// Words of each slot.
    stride: usize,
    /// How many slots there are, less one.
    mask: u32,
    span: Order,
    frames: usize,
}

impl Default for Park<'_, '_> {
    /// A park without slots: it takes nothing.
    fn default() -> Self {
        let (touched, slots) = (&mut [][..], &mut [][..]);
        Self { map: &[], touched, lowest: 0, slots, stride: 1, mask: 0, span: Order::ZERO, frames: 0 }
    }
}

impl<'s, 'a> Park<'s, 'a> {
    /// Longer runs are not taken: they are blocks, which cost less each by themselves.
    const MOST: u64 = 16;

    /// Words of memory for a park with so many slots, rounded up to a power of two.
    pub const fn required_words(span: Order, slots: usize) -> usize {
        let slots = slots.next_power_of_two();
        slots.div_ceil(32) + slots * Self::stride_of(span)
    }

    const fn stride_of(span: Order) -> usize {
        2 + (span.pages() as usize).div_ceil(32)
    }

    /// An empty park for spans of `2^span` frames, with as many slots as there is room for: a power of two, or none.
    pub fn new(map: &PageMap<'a>, span: Order, room: &'s mut [u32]) -> Self {
        let fitting =
            (0..31).map(|n| 1_usize << n).take_while(|&n| Self::required_words(span, n) <= room.len());
        let Some(count) = fitting.last() else { return Self::default() };
        let (touched, rest) = room.split_at_mut(count.div_ceil(32));
        let stride = Self::stride_of(span);
        let slots = &mut rest[..count * stride];
        touched.fill(0);
        slots.fill(0);
        Self { map: map.slots, touched, lowest: 0, slots, stride, mask: count as u32 - 1, span, frames: 0 }
    }

    /// How many frames lie here.
    #[inline]
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// How many spans can have frames here at a time.
    pub fn slots(&self) -> usize {
        self.slots.len() / self.stride
    }

    /// Puts frames beside others of their span.
    ///
    /// Returns the whole span if they were the last of it: one block, of which nothing lies here any more.
    ///
    /// # Errors
    /// The frames themselves if none of their span lie here ([`Self::begin`]), if they are many or of two spans, or belong to another map.
    #[inline]
    pub fn put(&mut self, frames: Frames<'a>) -> Result<Option<Frames<'a>>, Frames<'a>> {
        self.add(frames, |of, lying, span| of == span && lying != 0)
    }

    /// Puts the first frames of a span into an empty slot.
    ///
    /// # Errors
    /// The frames themselves if the slot is not empty, if they are many or of two spans, or belong to another map.
    pub fn begin(&mut self, frames: Frames<'a>) -> Result<Option<Frames<'a>>, Frames<'a>> {
        let at = (self.span_of(&frames) & self.mask) as usize;
        let begun = self.add(frames, |_, lying, _| lying == 0)?;
        if begun.is_none() {
            self.touched[at / 32] |= 1 << (at % 32);
            self.lowest = self.lowest.min(at / 32);
        }
        Ok(begun)
    }

    fn span_of(&self, frames: &Frames<'_>) -> u32 {
        frames.start().get() >> self.span.get()
    }

    /// Adds frames to their slot if its span and the number of frames there are as they should be for the frames' own span.
    #[inline(always)]
    fn add(
        &mut self,
        frames: Frames<'a>,
        may: impl FnOnce(u32, u32, u32) -> bool,
    ) -> Result<Option<Frames<'a>>, Frames<'a>> {
        let (span, behind, pages) = (self.span_of(&frames), frames.len() - 1, self.span.pages() as u32);
        let ours =
            self.map.get(frames.start().index()).is_some_and(|slot| core::ptr::eq(slot, frames.head()));
        let Some([of, lying, bits @ ..]) = self.slot(span) else { return Err(frames) };
        let first = frames.start().get() & (pages - 1);
        // A short run of one span: each of its frames has a bit.
        if !ours || !may(*of, *lying, span) || behind >= Self::MOST || first + behind as u32 >= pages {
            return Err(frames);
        }
        for at in first..=first + behind as u32 {
            bits[at as usize / 32] |= 1 << (at % 32);
        }
        *of = span;
        *lying += behind as u32 + 1;
        let whole = *lying == pages;
        self.frames += behind as usize + 1;
        Ok(if whole { self.take_run_of(span) } else { None })
    }

    /// Adds single frames to those of their spans, from the first of `lying` on, as long as some of the span lie here and it is not whole
    /// with them, and the one behind does not follow or precede it: how many. Their tokens were consumed: each is the caller's alone, who
    /// must forget those that were added.
    pub(crate) fn add_singles(&mut self, lying: &[FrameIdx]) -> usize {
        let (order, pages) = (self.span.get(), self.span.pages() as u32);
        let mut added = 0;
        while let Some(idx) = lying.get(added) {
            if lying.get(added + 1).is_some_and(|next| next.get().abs_diff(idx.get()) == 1) {
                break;
            }
            let span = idx.get() >> order;
            let Some([of, here, bits @ ..]) = self.slot(span) else { break };
            let after = *here + 1;
            if *of != span || after == 1 || after == pages {
                break;
            }
            let first = idx.get() & (pages - 1);
            let Some(word) = bits.get_mut(first as usize / 32) else { break };
            *word |= 1 << (first % 32);
            *here = after;
            added += 1;
        }
        self.frames += added;
        added
    }

    /// Whether it is for frames of this map.
    pub(crate) fn is_of(&self, map: &[PageMeta]) -> bool {
        core::ptr::eq(self.map, map)
    }

    /// The slot that a span goes to.
    #[inline(always)]
    fn slot(&mut self, span: u32) -> Option<&mut [u32]> {
        let start = (span & self.mask) as usize * self.stride;
        self.slots.get_mut(start..start + self.stride)
    }

    /// Takes frames of one span out, as many that follow each other as there are; the lowest first. `None` if no frame is left.
    ///
    /// # Panics
    /// If one of them has flags, or is referenced or mapped (what Linux reports as "Bad page state"); all stay where they are.
    pub fn take_run(&mut self) -> Option<Frames<'a>> {
        let from = self.lowest;
        let Some(ahead) = self.touched[from..].iter().position(|&word| word != 0) else {
            self.lowest = self.touched.len();
            return None;
        };
        self.lowest = from + ahead;
        self.take_run_of(self.lowest as u32 * 32 + self.touched[self.lowest].trailing_zeros())
    }

    /// The first run in the slot of a span.
    fn take_run_of(&mut self, span: u32) -> Option<Frames<'a>> {
        let (map, order, at) = (self.map, self.span.get(), (span & self.mask) as usize);
        let [of, lying, bits @ ..] = self.slot(span)? else { return None };
        let word = bits.iter().position(|&word| word != 0)?;
        let first = word * 32 + bits[word].trailing_zeros() as usize;
        let mut end = first;
        for word in &bits[word..] {
            let from = end % 32;
            let ones = (*word >> from).trailing_ones() as usize;
            end += ones;
            if from + ones < 32 {
                break;
            }
        }
        let (start, len) = (((*of as usize) << order) + first, end - first);
        let run = &map[start..start + len];
        // Before anything is changed: if one is in use, all stay where they are.
        for (idx, slot) in (start as u32..).zip(run) {
            // Of a run that came as one, all but the first are inner frames already.
            if slot.word() != Word::INNER || !slot.is_unreferenced() {
                expect_unused(FrameIdx::new(idx), slot);
            }
        }
        for slot in run {
            slot.set_word(Word::INNER);
            slot.set_refcount(0);
        }
        for (at, word) in (first / 32..).zip(&mut bits[first / 32..end.div_ceil(32)]) {
            let (from, to) = (first.max(at * 32), end.min(at * 32 + 32));
            *word &= !(u32::MAX >> (32 - (to - from)) << (from - at * 32));
        }
        *lying -= len as u32;
        if *lying == 0 {
            self.touched[at / 32] &= !(1 << (at % 32));
        }
        self.frames -= len;
        Some(Frames::mint(&run[0], FrameIdx::new(start as u32), len as u64))
    }
}

impl fmt::Debug for Park<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Park({} frames, {} slots)", self.frames, self.slots())
    }
}
