//! Shortening memory: trim to pages, enforce `mem=`, cap to a range.

use crate::event::Event;
use crate::grow::Place;
use crate::{Error, Flags, Memblock, Region, Set};
use pagewright_addr::{PhysAddr, PhysRange};

impl Memblock<'_> {
    /// Cuts every memory region to whole multiples of `align`; regions without one are dropped
    /// (`memblock_trim_memory`).
    ///
    /// As in Linux, [`phys_mem_size`](Self::phys_mem_size) still counts what is trimmed off regions that stay:
    /// the dump's `memory size` shows it.
    ///
    /// # Errors
    /// [`Error::BadAlign`], [`Error::WrongPhase`].
    pub fn trim_memory(&mut self, align: u64) -> Result<(), Error> {
        self.require_memblock("memblock_trim_memory")?;
        if !align.is_power_of_two() {
            return Err(Error::BadAlign { align });
        }
        self.emit(Event::Trim { align, caller: self.caller });
        self.memory.rewrite(|_, r| {
            let base = r.base.checked_next_multiple_of(align)?;
            let end = r.last() & !(align - 1);
            (base < end).then(|| Region { base, size: end - base, ..r })
        });
        Ok(())
    }

    /// The address up to which the lowest `limit` bytes of memory lie; `None` if there is less memory
    /// (`__find_max_addr`).
    fn find_max_addr(&self, limit: u64) -> Option<u64> {
        let mut left = limit;
        for r in self.memory.live() {
            if left <= r.size {
                return Some(r.base + left);
            }
            left -= r.size;
        }
        None
    }

    /// Keeps the lowest `limit` bytes of memory, whatever their flags, and drops memory and reservations above
    /// (`memblock_enforce_memory_limit`). A limit of 0 means none.
    ///
    /// Where Linux gives up silently for want of a slot, this does not need one.
    ///
    /// # Errors
    /// [`Error::WrongPhase`].
    pub fn enforce_memory_limit(&mut self, limit: u64) -> Result<(), Error> {
        self.require_memblock("memblock_enforce_memory_limit")?;
        if limit == 0 {
            return Ok(());
        }
        let Some(max) = self.find_max_addr(limit) else { return Ok(()) };
        self.emit(Event::LimitEnforced { max: PhysAddr::new(max), caller: self.caller });
        self.memory.cut_above(max);
        self.reserved.cut_above(max);
        Ok(())
    }

    /// Drops memory and reservations outside `range`, except memory that is marked NOMAP
    /// (`memblock_cap_memory_range`). An empty range changes nothing.
    ///
    /// A NOMAP region that crosses the range's border stays as two regions until something else is merged.
    ///
    /// # Errors
    /// [`Error::NoMemoryYet`] if there is no memory; [`Error::HoldsArray`] if a region array lies in unmapped
    /// memory outside the range; as [`Self::remove`] otherwise.
    pub fn cap_memory_range(&mut self, range: PhysRange) -> Result<(), Error> {
        self.require_memblock("memblock_cap_memory_range")?;
        let (base, size) = (range.start, range.len());
        if size == 0 {
            return Ok(());
        }
        if self.memory.total == 0 {
            self.emit(Event::CapWithoutMemory);
            return Err(Error::NoMemoryYet);
        }
        self.emit(Event::Capped { range: self.shown(base, size), caller: self.caller });
        let (start, end) = self.cap(base, size)?;
        // NOMAP memory stays and its reservations go: no array may be left without one.
        self.spare_arrays(PhysAddr::ZERO, u64::MAX, |first, last| {
            let outside = first < start || end < last;
            outside && self.memory.overlapping(first, last).any(|r| r.flags.contains(Flags::NOMAP))
        })?;
        let inside = self.isolate_range(Set::Memory, base, size, Place::Within(start, end))?;
        self.memory.rewrite(|i, r| (inside.contains(&i) || r.flags.contains(Flags::NOMAP)).then_some(r));
        self.memory.unmerged = true;
        self.reserved.cut_below(start);
        self.reserved.cut_above(end);
        Ok(())
    }

    /// Keeps the lowest `limit` bytes of memory and drops the rest, except what is marked NOMAP
    /// (`memblock_mem_limit_remove_map`). A limit of 0 means none.
    ///
    /// # Errors
    /// As [`Self::cap_memory_range`].
    pub fn mem_limit_remove_map(&mut self, limit: u64) -> Result<(), Error> {
        self.require_memblock("memblock_mem_limit_remove_map")?;
        if limit == 0 {
            return Ok(());
        }
        let Some(max) = self.find_max_addr(limit) else { return Ok(()) };
        self.cap_memory_range(PhysRange::new(PhysAddr::ZERO, PhysAddr::new(max)))
    }
}
