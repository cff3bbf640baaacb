//! Taking areas apart: entries go at once, addresses and pages after the flush.

use super::area::{Going, Life, NONE, Record, VmSlot};
use super::context::Shared;
use super::cpu::{Own, VmCpu};
use super::{VfreeError, VmArea, VmContext, VmFlags, Vmalloc};
use crate::areas::AreaId;
use core::cell::RefCell;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_page::{FrameIdx, Frames, OwnerHandle, PageMap, Use};
use pagewright_pagetable::{Format, PageEntries, PendingFlush, TableMemory, UnmapError};
use pagewright_zone::Gfp;

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// Frees what [`Self::vmalloc`] and its relatives gave (`vfree`); address 0 is nothing. The pages are free after the next purge.
    ///
    /// # Errors
    /// [`VfreeError`]: nothing was freed.
    pub fn vfree<C: VmContext<'a>>(&self, on: &mut C, addr: VirtAddr) -> Result<(), VfreeError> {
        if addr == VirtAddr::ZERO {
            return Ok(());
        }
        self.remove_unless(on, addr, VmFlags::ALLOC, VmFlags::all())
    }

    /// Takes the mapping of [`Self::vmap`] or [`Self::map_phys`] away (`vunmap`, `iounmap`); address 0 is nothing. The caller's pages must
    /// not be used for anything else before the next purge, or somebody whose TLB is old reads that: whoever cannot wait calls
    /// [`Self::vm_unmap_aliases`].
    ///
    /// # Errors
    /// As for [`Self::vfree`].
    pub fn vunmap<C: VmContext<'a>>(&self, on: &mut C, addr: VirtAddr) -> Result<(), VfreeError> {
        if addr == VirtAddr::ZERO {
            return Ok(());
        }
        let kinds = VmFlags::MAP | VmFlags::IOREMAP | VmFlags::DMA_COHERENT;
        self.remove_unless(on, addr, kinds, VmFlags::all())
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
        record.life = Life::Lazy;
        let (was, seen) = (record.going(), see(&record));
        drop(record);
        if let Err(why) = self.retire(on, area, slot, &was) {
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
        // Single pages, mapped by this crate: nothing else is in the tables there.
        let start = was.range.start;
        let quick = match (was.tables, was.mapped) {
            (None, _) | (_, 0) => None,
            (Some(tables), 1) => self.cursor.unmap_one(tables, start).ok(),
            (Some(tables), mapped) => {
                let len = u64::from(mapped) << const { F::SHAPE.page_shift() };
                let entries = self.cursor.page_entries(tables, VirtRange { start, len });
                entries.ok().map(PageEntries::unmap)
            }
        };
        let row = self.row(on.cpu());
        let pages = was.range.len >> const { F::SHAPE.page_shift() };
        let many = if let Some(flush) = quick {
            let mut own = row.own.lock();
            own.add_pages(flush);
            own.push_lazy(area.number(), slot);
            self.count_lazy(&mut own, pages)
        } else {
            self.unmap_slowly(area, slot, was, row)?
        };
        if was.own > 0 {
            row.pages.fetch_sub(was.own.into(), Relaxed);
        }
        if many {
            self.purge_if_possible(on);
        }
        Ok(())
    }

    /// By a walk.
    #[cold]
    #[inline(never)]
    fn unmap_slowly(
        &self,
        area: AreaId,
        slot: &VmSlot,
        was: &Going,
        row: &VmCpu<'v, F::Word>,
    ) -> Result<bool, UnmapError> {
        let pending = self.cursor.apart(was.range)?.unmap(was.range, &mut |_| ())?;
        let mut own = row.own.lock();
        own.add_pending(self.cursor.tables().memory(), pending);
        own.push_lazy(area.number(), slot);
        Ok(self.count_lazy(&mut own, was.range.len >> const { F::SHAPE.page_shift() }))
    }

    /// Counts pages that are going to wait: whether too many do then. For whoever holds the row in whose list they come, so that no purge, which takes
    /// the list under the same lock, counts off what was not counted yet.
    #[inline]
    pub(super) fn count_lazy(&self, own: &mut Own<'_, F::Word>, pages: u64) -> bool {
        own.uncounted += pages;
        own.uncounted >= self.step && self.tell_lazy(own) > self.config.lazy_pages
    }

    /// Tells the region of pages that wait in a row: how many do in all.
    fn tell_lazy(&self, own: &mut Own<'_, F::Word>) -> u64 {
        let more = core::mem::take(&mut own.uncounted);
        self.lazy.fetch_add(more, Relaxed).wrapping_add(more)
    }

    /// Purges unless somebody does.
    #[cold]
    #[inline(never)]
    pub(super) fn purge_if_possible<C: VmContext<'a>>(&self, on: &mut C) {
        if let Some(guard) = self.purging.try_lock() {
            self.purge(on);
            drop(guard);
        }
    }

    /// Flushes everything that waits, on all CPUs, and frees it. How many areas that were; when it returns, a purge that somebody else had
    /// begun is over as well.
    pub fn purge_vmap_area_lazy<C: VmContext<'a>>(&self, on: &mut C) -> u64 {
        let guard = self.purging.lock();
        let areas = self.purge(on);
        drop(guard);
        areas
    }

    /// The same, for whoever is going to use pages otherwise that were mapped here (`vm_unmap_aliases`).
    pub fn vm_unmap_aliases<C: VmContext<'a>>(&self, on: &mut C) {
        self.purge_vmap_area_lazy(on);
    }

    fn purge<C: VmContext<'a>>(&self, on: &mut C) -> u64 {
        let memory = self.cursor.tables().memory();
        let mut all = None;
        for (number, cpu) in self.cpus.iter().enumerate() {
            self.purge_fragmented_blocks(number);
            let mut own = cpu.own.lock();
            let pending = own.begin_flush();
            self.tell_lazy(&mut own);
            drop(own);
            all = match (all, pending) {
                (None, other) | (other, None) => other,
                (Some(one), Some(other)) => Some(PendingFlush::merge(one, memory, other)),
            };
        }
        if let Some(pending) = all {
            self.finish(on, pending);
            self.purges.fetch_add(1, Relaxed);
        }
        let mut freed = Freed { areas: 0, pages: 0, open: None };
        for row in self.cpus {
            self.release(on, row, &mut freed);
        }
        on.free(freed.open.into_iter());
        self.lazy.fetch_sub(freed.pages, Relaxed);
        self.given.fetch_add(freed.areas, Relaxed);
        freed.areas
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

    /// Flushes, and frees the tables that were emptied.
    pub(super) fn finish<C: VmContext<'a>>(&self, on: &mut C, pending: PendingFlush<F::Word>) -> u64 {
        let shared = RefCell::new(on);
        let mut tlb = Shared { on: &shared, map: self.map, shift: self.shift(), gfp: Gfp::GFP_KERNEL };
        let mut source = Shared { on: &shared, map: self.map, shift: self.shift(), gfp: Gfp::GFP_KERNEL };
        pending.finish(self.cursor.tables().memory(), &mut tlb, &mut source)
    }

    /// Frees the pages of a row's flushed areas, and keeps their addresses for others of the row or gives them back.
    fn release<C: VmContext<'a>>(&self, on: &mut C, row: &VmCpu<'v, F::Word>, freed: &mut Freed<'a>) {
        let (mut number, slots) = {
            let mut own = row.own.lock();
            (own.take_flushing(), own.slots)
        };
        let Some(slots) = slots else { return };
        // Most of a small region is not kept in pieces of some size.
        let most_ready = self.range.len / Self::PAGE / 16 / self.cpus.len() as u64;
        while number != NONE {
            let (slot, area) = (slots.get(number), AreaId::new(number));
            let (at, owner, size) = {
                let mut record = slot.record.lock();
                record.life = Life::Ready;
                let size = record.range.len >> const { F::SHAPE.page_shift() };
                (record.first.take(), record.owner(area), size)
            };
            number = slot.next.load(Relaxed);
            for frames in (Blocks { map: self.map, at, owner }) {
                // Areas that were made one after the other have pages that follow each other: those are freed together.
                freed.open = match freed.open.take() {
                    None => Some(frames),
                    Some(before) => match self.map.try_merge(before, frames) {
                        Ok(both) => Some(both),
                        Err((before, frames)) => {
                            on.free(core::iter::once(before));
                            Some(frames)
                        }
                    },
                };
            }
            freed.pages += size;
            freed.areas += 1;
            let kept = self.config.pools && {
                let mut own = row.own.lock();
                own.ready_pages + size <= most_ready && own.keep_ready(area.number(), slot, size)
            };
            if !kept {
                let mut book = self.book.lock();
                self.forget(&mut book, area, slot);
            }
        }
    }
}

/// What a purge has freed so far.
struct Freed<'a> {
    areas: u64,
    /// Pages of address space.
    pages: u64,
    /// Frames that more may be joined to.
    open: Option<Frames<'a>>,
}

/// The blocks of an area, each taken back as it is asked for: pages that follow each other at once.
pub(super) struct Blocks<'a> {
    pub(super) map: PageMap<'a>,
    pub(super) at: Option<FrameIdx>,
    pub(super) owner: OwnerHandle,
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Frames<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frames<'a>> {
        let (frames, next) = self.map.withdraw_run(self.at?, Use::Kernel, self.owner);
        self.at = next;
        Some(frames)
    }
}
