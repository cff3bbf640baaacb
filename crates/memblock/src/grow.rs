//! Growing a region array: `memblock_double_array`.
//!
//! The new array is memory that memblock itself hands out. Everything that can fail (finding a place for it,
//! and, if the set of reservations has no slot for it, a place for a larger set of reservations) is done
//! first; then the arrays are switched and the places reserved, which cannot fail.
//!
//! Two differences from Linux. An operation that needs more than twice the room gets it in one step instead of
//! several. And when RAM is removed, the new array is kept out of what is being removed, and the second new
//! array out of the first.

use crate::event::Event;
use crate::region::Region;
use crate::{Error, Memblock, Set};
use pagewright_addr::{PhysAddr, PhysRange};

/// Turns physical memory into slots of a region array.
///
/// Hosted machines answer from any store that lives long enough; on the metal it is the direct map.
pub trait RegionMemory<'a> {
    /// At least `slots` slots that live in the memory `at`, which is free and about to be reserved. `None` if
    /// that memory cannot be reached yet. The contents are overwritten.
    fn claim(&mut self, at: PhysRange, slots: usize) -> Option<&'a mut [Region]>;

    /// An array that [`Self::claim`] made for `at` is not used any more.
    fn release(&mut self, at: PhysRange, slots: &'a mut [Region]) {
        let _ = (at, slots);
    }
}

/// Where a grown array may go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// Into any free memory.
    Anywhere,
    /// Not between these addresses: the operation is about to take them out of use (or, freeing, to give them
    /// away).
    Outside(u64, u64),
    /// Only between these addresses: the operation is about to drop everything else.
    Within(u64, u64),
}

/// A place for a larger array, found and claimed but not yet reserved.
struct Growth<'a> {
    slots: &'a mut [Region],
    new_max: usize,
    /// Whole pages.
    block: PhysRange,
}

const DOUBLE: &str = "memblock_double_array";

impl<'a> Memblock<'a> {
    /// Makes sure that `which` has room for `needed` regions.
    pub(crate) fn make_room(&mut self, which: Set, needed: usize, place: Place) -> Result<(), Error> {
        let set = self.set_mut(which)?;
        let (max, owned) = (set.max(), set.block.is_some());
        if needed <= max {
            return Ok(());
        }
        if !self.can_resize {
            return Err(Error::Full { set: which, max });
        }
        // The array's own reservation takes a slot of the reserved set, and freeing the old one may take two.
        let own = 1 + 2 * usize::from(owned);
        if which == Set::Reserved {
            let growth = self.find_growth(which, needed + own, place)?;
            self.commit_growth(which, growth, None);
            return Ok(());
        }
        let growth = self.find_growth(which, needed, place)?;
        let reserved = if self.reserved.cnt + own > self.reserved.max() {
            let taken = (growth.block.start.get(), growth.block.end.get());
            let own = own + 1 + 2 * usize::from(self.reserved.block.is_some());
            match self.find_growth(Set::Reserved, self.reserved.cnt + own, Place::Outside(taken.0, taken.1)) {
                Ok(reserved) => Some(reserved),
                Err(e) => {
                    self.release(growth.block, growth.slots);
                    return Err(e);
                }
            }
        } else {
            None
        };
        self.commit_growth(which, growth, reserved);
        Ok(())
    }

    fn release(&mut self, at: PhysRange, slots: &'a mut [Region]) {
        if let Some(m) = self.region_memory.as_mut() {
            m.release(at, slots);
        }
    }

    /// Finds and claims a place for an array of `needed` regions or more. Changes nothing.
    fn find_growth(&mut self, which: Set, needed: usize, place: Place) -> Result<Growth<'a>, Error> {
        self.count_allocation()?;
        let max = self.set_mut(which)?.max();
        let mut new_max = max.saturating_mul(2).max(2);
        while new_max < needed {
            new_max = new_max.saturating_mul(2);
        }
        let growth = self.place_array(new_max, place).and_then(|block| {
            let slots = self.region_memory.as_mut()?.claim(block, new_max)?;
            let slots = slots.get_mut(..new_max)?;
            Some(Growth { slots, new_max, block })
        });
        growth.ok_or_else(|| {
            self.emit(Event::DoubleFailed { which, max, new_max });
            Error::CannotGrow { set: which, new_max }
        })
    }

    /// The highest free place below the current limit (with bottom-up allocation, the lowest). Of what is
    /// outside a range, first what is above it, then what is below.
    fn place_array(&self, new_max: usize, place: Place) -> Option<PhysRange> {
        let page = self.config.page_shift.bytes();
        let size = self.region_bytes.checked_mul(new_max as u64)?.checked_next_multiple_of(page)?;
        let limit = self.current_limit;
        let find = |start: u64, end: u64| {
            // An end of 0 or 1 would mean the current limit, and the first page is never handed out anyway.
            if end > page { self.find_mirrored_first(size, page, start, end) } else { None }
        };
        let at = match place {
            Place::Anywhere => find(0, limit),
            Place::Outside(start, end) => find(end, limit).or_else(|| find(0, start.min(limit))),
            Place::Within(start, end) => find(start, end.min(limit)),
        }?;
        Some(PhysRange::from_len(PhysAddr::new(at), size))
    }

    /// `memblock_find_in_range`: any node, mirrored memory if there is some.
    fn find_mirrored_first(&self, size: u64, align: u64, start: u64, end: u64) -> Option<u64> {
        let flags = self.preferred_flags();
        self.find_node(size, align, start, end, None, flags).or_else(|| {
            if flags.is_empty() {
                return None;
            }
            self.emit(Event::MirrorFallback { size });
            self.find_node(size, align, start, end, None, crate::Flags::NONE)
        })
    }

    /// Switches to the new array and reserves its place. `reserved` is the new array of the reserved set, where
    /// that one has to grow for this.
    fn commit_growth(&mut self, which: Set, growth: Growth<'a>, mut reserved: Option<Growth<'a>>) {
        let Growth { slots, new_max, block } = growth;
        let bytes = self.region_bytes.saturating_mul(new_max as u64);
        self.emit(Event::Doubled { which, new_max, range: PhysRange::from_len(block.start, bytes) });
        let Ok(set) = self.set_mut(which) else { return };
        let cnt = set.cnt;
        slots[..cnt].copy_from_slice(&set.slots[..cnt]);
        slots[cnt..].fill(Region::default());
        let old = core::mem::replace(&mut set.slots, slots);
        if let Some(old_block) = set.block.replace(block) {
            self.emit(Event::Free { range: old_block, caller: DOUBLE });
            if let Some(r) = reserved.take() {
                self.commit_growth(Set::Reserved, r, None);
            }
            self.reserved.remove(old_block.start.get(), old_block.end.get());
            self.release(old_block, old);
        }
        self.emit(Event::Reserve { range: block, caller: DOUBLE });
        if let Some(r) = reserved {
            self.commit_growth(Set::Reserved, r, None);
        }
        let nid = self.max_numnodes;
        self.reserved.insert(block.start.get(), block.end.get(), nid, crate::Flags::NONE);
    }
}
