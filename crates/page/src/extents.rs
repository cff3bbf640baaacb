//! Free memory that nobody has looked at yet.
//!
//! A zone counts these frames as free without a single list entry or metadata write; when its lists run dry it takes
//! a block off an extent and initialises that block only. This is how deferred initialisation works, and why a
//! described terabyte costs nothing until it is used. The zone's lock protects it.

use crate::{FrameIdx, Pristine};
use core::fmt;
use core::ops::Range;

/// Pristine frames in ascending runs, in slots that the caller brings.
pub struct PristineExtents<'s, 'a> {
    /// The first `used` slots hold a token each, ascending and without overlap; the others hold none.
    slots: &'s mut [Option<Pristine<'a>>],
    used: usize,
    frames: u64,
}

/// What [`PristineExtents::validate`] found to be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExtentViolation {
    /// The extent in this slot is missing, empty, or starts below the end of the one before.
    OutOfOrder {
        /// The slot.
        slot: usize,
    },
    /// The frame counter differs from the sum of the extents.
    Counter {
        /// What the counter says.
        counted: u64,
        /// What the extents add up to.
        summed: u64,
    },
}

impl fmt::Display for ExtentViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder { slot } => write!(f, "pristine extent {slot} is missing or out of order"),
            Self::Counter { counted, summed } => {
                write!(f, "pristine frames counted {counted}, extents add up to {summed}")
            }
        }
    }
}

impl core::error::Error for ExtentViolation {}

impl<'s, 'a> PristineExtents<'s, 'a> {
    /// No extents yet. The slots' former contents are dropped, so they should be `None`.
    pub fn new(slots: &'s mut [Option<Pristine<'a>>]) -> Self {
        slots.fill_with(|| None);
        Self { slots, used: 0, frames: 0 }
    }

    /// How many frames all extents have: they count as free.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// How many extents there are.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The extents as index ranges, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> {
        self.slots[..self.used].iter().flatten().map(|p| p.start()..p.end())
    }

    /// Whether `idx` is in an extent. Logarithmic.
    pub fn contains(&self, idx: FrameIdx) -> bool {
        self.find(idx).is_some()
    }

    /// Adds frames. An empty token vanishes.
    ///
    /// # Errors
    /// The token itself if every slot is in use; the caller then initialises those frames instead.
    pub fn insert(&mut self, pristine: Pristine<'a>) -> Result<(), Pristine<'a>> {
        if pristine.is_empty() {
            return Ok(());
        }
        if self.used == self.slots.len() {
            return Err(pristine);
        }
        let at = self.first_at_or_above(pristine.start());
        self.frames += pristine.len();
        self.slots[self.used] = Some(pristine);
        self.slots[at..=self.used].rotate_right(1);
        self.used += 1;
        Ok(())
    }

    /// Takes up to `n` frames from the low end of the lowest extent.
    pub fn take_lowest(&mut self, n: u64) -> Option<Pristine<'a>> {
        let first = self.slots[..self.used].first_mut()?.as_mut()?;
        let taken = first.take_front(n);
        self.frames -= taken.len();
        if first.is_empty() {
            self.remove(0);
        }
        Some(taken)
    }

    /// Takes up to `n` frames from the high end of the highest extent.
    pub fn take_highest(&mut self, n: u64) -> Option<Pristine<'a>> {
        let last = self.slots[..self.used].last_mut()?.as_mut()?;
        let taken = last.take_back(n);
        self.frames -= taken.len();
        if last.is_empty() {
            self.remove(self.used - 1);
        }
        Some(taken)
    }

    /// Takes the whole extent that holds `idx`: the caller cuts out what it needs and inserts the rest again.
    /// With two pieces left over and no slot free, [`Self::insert`] gives one of them back.
    pub fn take_containing(&mut self, idx: FrameIdx) -> Option<Pristine<'a>> {
        let slot = self.find(idx)?;
        let taken = self.remove(slot)?;
        self.frames -= taken.len();
        Some(taken)
    }

    /// Checks order and counter.
    ///
    /// # Errors
    /// The first violation.
    pub fn validate(&self) -> Result<(), ExtentViolation> {
        let (mut summed, mut end) = (0, 0);
        for (slot, entry) in self.slots[..self.used].iter().enumerate() {
            match entry {
                Some(p) if p.start() >= end && !p.is_empty() => {
                    summed += p.len();
                    end = p.end();
                }
                _ => return Err(ExtentViolation::OutOfOrder { slot }),
            }
        }
        if summed != self.frames {
            return Err(ExtentViolation::Counter { counted: self.frames, summed });
        }
        Ok(())
    }

    fn first_at_or_above(&self, start: u64) -> usize {
        self.slots[..self.used].partition_point(|s| s.as_ref().is_some_and(|p| p.start() < start))
    }

    fn find(&self, idx: FrameIdx) -> Option<usize> {
        let index = u64::from(idx.get());
        let slot = self.first_at_or_above(index + 1).checked_sub(1)?;
        (index < self.slots[slot].as_ref()?.end()).then_some(slot)
    }

    /// Takes a slot's token and closes the gap; the frame counter is the caller's.
    fn remove(&mut self, slot: usize) -> Option<Pristine<'a>> {
        let taken = self.slots[slot].take();
        self.slots[slot..self.used].rotate_left(1);
        self.used -= 1;
        taken
    }
}

impl fmt::Debug for PristineExtents<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
