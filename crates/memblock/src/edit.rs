//! Changing the sets: add, remove, reserve, free, flags and nodes.
//!
//! Each function exists for a [`PhysRange`] and, with `_sized` in its name, for a base and a size as Linux
//! takes them. The second form exists because sizes may reach past the top of the address space (callers say
//! `ULLONG_MAX` for "everything above"): the effect is cut at `PHYS_ADDR_MAX`, the log shows the wrapped sum.

use crate::event::Event;
use crate::grow::Place;
use crate::{Error, Flags, Memblock, Phase, Set};
use core::ops::Range;
use pagewright_addr::{NodeId, PhysAddr, PhysRange};

impl Memblock<'_> {
    /// Adds RAM (`memblock_add`). What is there already keeps its flags and node.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::CannotGrow`] or [`Error::Injected`] if there is no slot for the region,
    /// [`Error::TooWide`], [`Error::WrongPhase`] after the hand-over, and [`Error::HoldsArray`] if a region
    /// array lies there that a memory limit has cut off before.
    pub fn add(&mut self, range: PhysRange) -> Result<(), Error> {
        self.add_sized(range.start, range.len())
    }

    /// [`Self::add`] by base and size.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_sized(&mut self, base: PhysAddr, size: u64) -> Result<(), Error> {
        self.require_memblock("memblock_add")?;
        self.emit(Event::Add { range: self.shown(base, size), caller: self.caller });
        self.add_range(Set::Memory, base, size, self.max_numnodes, Flags::NONE)
    }

    /// Adds RAM with a node and flags (`memblock_add_node`). `None` adds it without a node.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_node(&mut self, range: PhysRange, nid: Option<NodeId>, flags: Flags) -> Result<(), Error> {
        let nid = nid.map_or(self.max_numnodes, |n| i32::from(n.get()));
        self.add_node_sized(range.start, range.len(), nid, flags)
    }

    /// [`Self::add_node`] by base and size; `nid` is stored as given.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_node_sized(&mut self, base: PhysAddr, size: u64, nid: i32, flags: Flags) -> Result<(), Error> {
        self.require_memblock("memblock_add_node")?;
        self.emit(Event::AddNode { range: self.shown(base, size), nid, flags, caller: self.caller });
        self.add_range(Set::Memory, base, size, nid, flags)
    }

    /// Records RAM as the firmware described it (`memblock_physmem_add`).
    ///
    /// # Errors
    /// As [`Self::add`], and [`Error::NoPhysmem`].
    pub fn physmem_add(&mut self, range: PhysRange) -> Result<(), Error> {
        self.require_memblock("memblock_physmem_add")?;
        let (base, size) = (range.start, range.len());
        self.emit(Event::PhysmemAdd { range: self.shown(base, size), caller: self.caller });
        self.add_range(Set::Physmem, base, size, self.max_numnodes, Flags::NONE)
    }

    /// Takes RAM away (`memblock_remove`); reservations stay.
    ///
    /// # Errors
    /// As [`Self::add`]: cutting a hole into a region takes slots, and like Linux this insists on two free ones.
    pub fn remove(&mut self, range: PhysRange) -> Result<(), Error> {
        self.remove_sized(range.start, range.len())
    }

    /// [`Self::remove`] by base and size.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn remove_sized(&mut self, base: PhysAddr, size: u64) -> Result<(), Error> {
        self.require_memblock("memblock_remove")?;
        self.emit(Event::Remove { range: self.shown(base, size), caller: self.caller });
        self.remove_range(Set::Memory, base, size)
    }

    /// Marks a range as in use, whether or not it is RAM (`memblock_reserve`).
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn reserve(&mut self, range: PhysRange) -> Result<(), Error> {
        self.reserve_sized(range.start, range.len())
    }

    /// [`Self::reserve`] by base and size.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn reserve_sized(&mut self, base: PhysAddr, size: u64) -> Result<(), Error> {
        self.require_memblock("memblock_reserve")?;
        self.reserve_for(self.caller, base, size)
    }

    /// Reserves with another function's name in the log.
    pub(crate) fn reserve_for(
        &mut self,
        caller: &'static str,
        base: PhysAddr,
        size: u64,
    ) -> Result<(), Error> {
        self.emit(Event::Reserve { range: self.shown(base, size), caller });
        self.add_range(Set::Reserved, base, size, self.max_numnodes, Flags::NONE)
    }

    /// Gives a range back (`memblock_phys_free`). The log shows even an empty one.
    ///
    /// Also works in the buddy phase, where it only keeps the record straight, as on kernels that keep
    /// memblock after boot.
    ///
    /// # Errors
    /// As [`Self::remove`], and [`Error::HoldsArray`].
    pub fn phys_free(&mut self, range: PhysRange) -> Result<(), Error> {
        self.phys_free_sized(range.start, range.len())
    }

    /// [`Self::phys_free`] by base and size.
    ///
    /// # Errors
    /// As [`Self::phys_free`].
    pub fn phys_free_sized(&mut self, base: PhysAddr, size: u64) -> Result<(), Error> {
        if self.phase == Phase::Discarded {
            self.require_memblock("memblock_phys_free")?;
        }
        self.emit(Event::Free { range: self.shown(base, size), caller: self.caller });
        self.spare_arrays(base, size, |_, _| true)?;
        self.remove_range(Set::Reserved, base, size)
    }

    /// Marks RAM as hot-pluggable (`memblock_mark_hotplug`).
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn mark_hotplug(&mut self, range: PhysRange) -> Result<(), Error> {
        self.set_flag(range.start, range.len(), Flags::HOTPLUG, true)
    }

    /// The opposite of [`Self::mark_hotplug`] (`memblock_clear_hotplug`).
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn clear_hotplug(&mut self, range: PhysRange) -> Result<(), Error> {
        self.set_flag(range.start, range.len(), Flags::HOTPLUG, false)
    }

    /// Marks RAM as mirrored and makes allocations prefer such memory (`memblock_mark_mirror`). Does nothing
    /// unless [`Self::set_mirrored_kernelcore`] said that mirroring is wanted.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn mark_mirror(&mut self, range: PhysRange) -> Result<(), Error> {
        self.require_memblock("memblock_mark_mirror")?;
        if !self.mirrored_kernelcore {
            return Ok(());
        }
        self.set_flag(range.start, range.len(), Flags::MIRROR, true)?;
        self.has_mirror = true;
        Ok(())
    }

    /// Takes RAM out of the kernel's linear map and out of all allocations (`memblock_mark_nomap`).
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn mark_nomap(&mut self, range: PhysRange) -> Result<(), Error> {
        self.set_flag(range.start, range.len(), Flags::NOMAP, true)
    }

    /// The opposite of [`Self::mark_nomap`] (`memblock_clear_nomap`).
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn clear_nomap(&mut self, range: PhysRange) -> Result<(), Error> {
        self.set_flag(range.start, range.len(), Flags::NOMAP, false)
    }

    /// Sets or clears flags of RAM (what the mark and clear functions share), by base and size.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn set_flag(&mut self, base: PhysAddr, size: u64, flag: Flags, set: bool) -> Result<(), Error> {
        self.require_memblock(if set { "memblock_mark" } else { "memblock_clear" })?;
        self.emit(Event::SetFlag { range: self.shown(base, size), flag, set, caller: self.caller });
        let inside = self.isolate_range(Set::Memory, base, size, Place::Anywhere)?;
        for r in &mut self.memory.slots[inside.clone()] {
            r.flags.set(flag, set);
        }
        self.memory.merge(inside);
        Ok(())
    }

    /// Gives the regions of a range to a node, or with `None` to no node (`memblock_set_node`).
    ///
    /// # Errors
    /// As [`Self::remove`], and [`Error::NoPhysmem`].
    pub fn set_node(&mut self, range: PhysRange, which: Set, nid: Option<NodeId>) -> Result<(), Error> {
        let nid = nid.map_or(self.max_numnodes, |n| i32::from(n.get()));
        self.set_node_sized(range.start, range.len(), which, nid)
    }

    /// [`Self::set_node`] by base and size; `nid` is stored as given.
    ///
    /// # Errors
    /// As [`Self::set_node`].
    pub fn set_node_sized(&mut self, base: PhysAddr, size: u64, which: Set, nid: i32) -> Result<(), Error> {
        self.require_memblock("memblock_set_node")?;
        self.set_mut(which)?;
        let node = crate::region::node_from_number(nid);
        self.emit(Event::SetNode { range: self.shown(base, size), which, nid: node, caller: self.caller });
        if !self.config.numa {
            return Ok(());
        }
        let inside = self.isolate_range(which, base, size, Place::Anywhere)?;
        let set = self.set_mut(which)?;
        for r in &mut set.slots[inside.clone()] {
            r.nid = nid;
        }
        set.merge(inside);
        Ok(())
    }

    /// Refuses a range with a grown array in it, if `exposed` says that the array would end up in free memory.
    pub(crate) fn spare_arrays(
        &self,
        base: PhysAddr,
        size: u64,
        exposed: impl Fn(u64, u64) -> bool,
    ) -> Result<(), Error> {
        let (start, end) = self.cap(base, size)?;
        for set in [Set::Memory, Set::Reserved, Set::Physmem] {
            let Some(block) = self.set(set).and_then(|s| s.block) else { continue };
            let (first, last) = (block.start.get(), block.end.get());
            if first < end && start < last && exposed(first, last) {
                return Err(Error::HoldsArray { set });
            }
        }
        Ok(())
    }

    /// Makes room and adds, all or nothing (`memblock_add_range`).
    pub(crate) fn add_range(
        &mut self,
        which: Set,
        base: PhysAddr,
        size: u64,
        nid: i32,
        flags: Flags,
    ) -> Result<(), Error> {
        let (start, end) = self.cap(base, size)?;
        if which == Set::Memory {
            self.spare_arrays(base, size, |start, end| !self.is_reserved_throughout(start, end))?;
        }
        let set = self.set_mut(which)?;
        if start >= end {
            return Ok(());
        }
        let missing = set.missing(start, end);
        if missing == 0 {
            return Ok(());
        }
        let needed = set.live().len() + missing;
        // A grown array must not land in what is being reserved. Memory that is being added is not there yet.
        let place = if which == Set::Reserved { Place::Outside(start, end) } else { Place::Anywhere };
        self.make_room(which, needed, place)?;
        self.set_mut(which)?.insert(start, end, nid, flags);
        Ok(())
    }

    /// Makes room for two splits and splits (`memblock_isolate_range`). `place` is where a grown array may go.
    ///
    /// Like Linux, it insists on the room even when nothing needs a split.
    pub(crate) fn isolate_range(
        &mut self,
        which: Set,
        base: PhysAddr,
        size: u64,
        place: Place,
    ) -> Result<Range<usize>, Error> {
        let (start, end) = self.cap(base, size)?;
        let set = self.set_mut(which)?;
        if start >= end {
            return Ok(0..0);
        }
        let needed = set.cnt + 2;
        self.make_room(which, needed, place)?;
        Ok(self.set_mut(which)?.isolate(start, end))
    }

    /// Removes without a line in the log (`memblock_remove_range`).
    pub(crate) fn remove_range(&mut self, which: Set, base: PhysAddr, size: u64) -> Result<(), Error> {
        // What leaves a set is no place for a grown array: it is about to be no memory, or free.
        let (start, end) = self.cap(base, size)?;
        let inside = self.isolate_range(which, base, size, Place::Outside(start, end))?;
        self.set_mut(which)?.delete(inside);
        Ok(())
    }
}
