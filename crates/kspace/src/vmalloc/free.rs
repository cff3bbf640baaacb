//! Taking areas apart: entries go at once, addresses and pages after the flush.

use super::area::{Going, Life, Record, VmSlot};
use super::{VfreeError, VmArea, VmContext, VmFlags, Vmalloc};
use crate::areas::AreaId;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_pagetable::{
    Format, LeafTables, PageEntries, PagesFlush, PendingFlush, TableMemory, UnmapError,
};

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// Frees what [`Self::vmalloc`] and its relatives gave (`vfree`); address 0 is nothing. The pages are free when a purge has flushed what was mapped and
    /// this CPU takes them back, or another that finds no others.
    ///
    /// # Errors
    /// [`VfreeError`]: nothing was freed.
    pub fn vfree<C: VmContext<'a>>(&self, on: &mut C, addr: VirtAddr) -> Result<(), VfreeError> {
        if addr == VirtAddr::ZERO {
            return Ok(());
        }
        self.remove_unless(on, addr, VmFlags::ALLOC, VmFlags::all())
    }

    /// Takes the mapping of [`Self::vmap`] or [`Self::map_phys`] away (`vunmap`, `iounmap`), or any other area that has no pages of its own;
    /// address 0 is nothing. The caller's pages must
    /// not be used for anything else before the next purge, or somebody whose TLB is old reads that: whoever cannot wait calls
    /// [`Self::vm_unmap_aliases`].
    ///
    /// # Errors
    /// As for [`Self::vfree`].
    pub fn vunmap<C: VmContext<'a>>(&self, on: &mut C, addr: VirtAddr) -> Result<(), VfreeError> {
        if addr == VirtAddr::ZERO {
            return Ok(());
        }
        self.remove_unless(on, addr, VmFlags::empty(), VmFlags::ALLOC)
    }

    /// Takes an area away that begins at `addr` and is of any of these kinds, or of any at all if none is named (`remove_vm_area`): what it was.
    ///
    /// # Errors
    /// As for [`Self::vfree`].
    pub fn remove<C: VmContext<'a>>(
        &self,
        on: &mut C,
        addr: VirtAddr,
        kinds: VmFlags,
    ) -> Result<VmArea, VfreeError> {
        self.take_out(on, addr, kinds, VmFlags::all(), |was| was.view(Self::PAGE))
    }

    /// The same, but an area that has all of the flags `unless` stays, as if it were of another kind. No area has every flag there is.
    pub(crate) fn remove_unless<C: VmContext<'a>>(
        &self,
        on: &mut C,
        addr: VirtAddr,
        kinds: VmFlags,
        unless: VmFlags,
    ) -> Result<(), VfreeError> {
        self.take_out(on, addr, kinds, unless, |_| ())
    }

    /// The same; `see` is shown what it was.
    #[inline]
    fn take_out<C: VmContext<'a>, R>(
        &self,
        on: &mut C,
        addr: VirtAddr,
        kinds: VmFlags,
        unless: VmFlags,
        see: impl FnOnce(&Record) -> R,
    ) -> Result<R, VfreeError> {
        if !addr.is_aligned(Self::PAGE) {
            return Err(VfreeError::Unaligned(addr));
        }
        let (area, slot, mut record) = self.live_at(addr).ok_or(VfreeError::Nonexistent(addr))?;
        if (!kinds.is_empty() && !record.flags.intersects(kinds)) || record.flags.contains(unless) {
            return Err(VfreeError::Nonexistent(addr));
        }
        let seen = see(&record);
        on.before_unmap();
        let known = self.unmap_known(record.range.start, record.mapped, record.tables);
        record.life = Life::Lazy;
        if let Some(flush) = known {
            let (size, own) = (record.range.len, record.own_pages());
            drop(record);
            self.wait_for_flush(on, area, slot, flush, (size, own));
            return Ok(seen);
        }
        let was = record.going();
        drop(record);
        if let Err(why) = self.retire_slowly(on, area, slot, &was) {
            slot.record.lock().life = Life::Live;
            return Err(VfreeError::Tables(why));
        }
        Ok(seen)
    }

    /// The area that an address is in.
    pub(super) fn find(&self, addr: VirtAddr) -> Option<(AreaId, &'v VmSlot)> {
        let book = self.book.lock();
        let area = book.tree.at(addr)?;
        Some((area, book.slots.get(area.number())))
    }

    /// Unmaps an area whose life is [`Life::Lazy`] by now, so that nobody else looks at it, and lets it wait for the flush. It is not to be touched
    /// afterwards: another CPU's purge may have given it to somebody else.
    ///
    /// # Errors
    /// The page tables': all is as it was then.
    #[inline]
    pub(super) fn retire<C: VmContext<'a>>(
        &self,
        on: &mut C,
        area: AreaId,
        slot: &'v VmSlot,
        was: &Going,
    ) -> Result<(), UnmapError> {
        on.before_unmap();
        if let Some(flush) = self.unmap_known(was.range.start, was.mapped, was.tables) {
            self.wait_for_flush(on, area, slot, flush, (was.range.len, was.own));
            return Ok(());
        }
        self.retire_slowly(on, area, slot, was)
    }

    /// The same by a walk, where tables are not known.
    fn retire_slowly<C: VmContext<'a>>(
        &self,
        on: &mut C,
        area: AreaId,
        slot: &'v VmSlot,
        was: &Going,
    ) -> Result<(), UnmapError> {
        let many = self.unmap_slowly(on, area, slot, was)?;
        if was.own > 0 {
            self.row(on.cpu()).pages.fetch_sub(was.own as usize, Relaxed);
        }
        if many {
            self.purge_if_possible(on);
        }
        Ok(())
    }

    /// Takes out what is mapped from `start` on, so many pages, if the tables are known: single pages, mapped by this crate, and nothing else is in the tables there.
    #[inline(always)]
    fn unmap_known(&self, start: VirtAddr, mapped: u32, tables: Option<LeafTables>) -> Option<PagesFlush> {
        match mapped {
            0 => None,
            1 => self.cursor.unmap_one(tables?, start).ok(),
            _ => self.unmap_many_known(start, mapped, tables?),
        }
    }

    #[inline(never)]
    fn unmap_many_known(&self, start: VirtAddr, mapped: u32, tables: LeafTables) -> Option<PagesFlush> {
        let len = u64::from(mapped) << const { F::SHAPE.page_shift() };
        self.cursor.page_entries(tables, VirtRange { start, len }).ok().map(PageEntries::unmap)
    }

    /// Lets an area of `size` bytes that was unmapped wait for its flush on this CPU; `own` of its pages counted as its own.
    #[inline]
    fn wait_for_flush<C: VmContext<'a>>(
        &self,
        on: &mut C,
        area: AreaId,
        slot: &VmSlot,
        flush: PagesFlush,
        (size, own_pages): (u64, u32),
    ) {
        let row = self.row(on.cpu());
        let mut own = row.own.lock();
        own.add_pages(flush);
        own.push_lazy(area.number(), slot, size >> const { F::SHAPE.page_shift() });
        let many = self.too_many_wait(on, &mut own);
        drop(own);
        if own_pages > 0 {
            row.pages.fetch_sub(own_pages as usize, Relaxed);
        }
        if many {
            self.purge_if_possible(on);
        }
    }

    /// By a walk.
    #[cold]
    #[inline(never)]
    fn unmap_slowly<C: VmContext<'a>>(
        &self,
        on: &mut C,
        area: AreaId,
        slot: &VmSlot,
        was: &Going,
    ) -> Result<bool, UnmapError> {
        let pending = self.cursor.apart(was.range)?.unmap(was.range, &mut |_| ())?;
        let mut own = self.row(on.cpu()).own.lock();
        own.add_pending(self.cursor.tables().memory(), pending);
        own.push_lazy(area.number(), slot, was.range.len >> const { F::SHAPE.page_shift() });
        Ok(self.too_many_wait(on, &mut own))
    }

    /// Gives back the page tables that lie wholly in gaps; how many they were. When an area goes, so do tables that lie
    /// wholly in it; those that reach beyond it stay, since others may need them, and so do tables of pages that are known to hold it all.
    ///
    /// Tables of every level go, also those that hang below the root. Where processes have copies of the root's entries, as on x86, those must
    /// have been made for good by the boot, or lie outside the region.
    pub fn release_tables<C: VmContext<'a>>(&self, on: &mut C) -> u64 {
        self.release_tables_in(on, self.range)
    }

    /// The same of tables that lie wholly in gaps of `range`.
    pub fn release_tables_in<C: VmContext<'a>>(&self, on: &mut C, range: VirtRange) -> u64 {
        self.give_all_back(on);
        let memory = self.cursor.tables().memory();
        let mut all: Option<PendingFlush<F::Word>> = None;
        // Nobody takes addresses meanwhile, so nobody is in the tables of a gap.
        let book = self.book.lock();
        for gap in book.tree.gaps() {
            let start = gap.start.max(range.start);
            let Some(len) = (gap.last().min(range.last()).get() + 1).checked_sub(start.get()) else {
                continue;
            };
            let gap = VirtRange { start, len };
            if gap.is_empty() {
                continue;
            }
            let unmapped = self.cursor.apart(gap).and_then(|mut part| part.unmap(gap, &mut |_| ()));
            if let Ok(pending) = unmapped {
                all = Some(match all {
                    None => pending,
                    Some(before) => before.merge(memory, pending),
                });
            }
        }
        let tables = all.map_or(0, |pending| self.finish(on, pending));
        drop(book);
        tables
    }
}
