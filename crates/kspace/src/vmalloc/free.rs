//! Taking areas apart: entries go at once, addresses and pages after the flush.

use super::area::{Life, NONE, Record, VmSlot};
use super::context::Shared;
use super::{VfreeError, VmArea, VmContext, VmFlags, Vmalloc};
use crate::areas::AreaId;
use core::cell::RefCell;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_page::{FrameIdx, Frames, OwnerHandle, PageMap, Use};
use pagewright_pagetable::{Format, PendingFlush, TableMemory, UnmapError};
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
        self.remove(on, addr, VmFlags::ALLOC).map(|_| ())
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
        self.remove(on, addr, VmFlags::MAP | VmFlags::IOREMAP | VmFlags::DMA_COHERENT).map(|_| ())
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
        if !addr.is_aligned(Self::PAGE) {
            return Err(VfreeError::Unaligned(addr));
        }
        let (area, slot, mut record) = self.live_at(addr).ok_or(VfreeError::Nonexistent(addr))?;
        if !kinds.is_empty() && !record.flags.intersects(kinds) {
            return Err(VfreeError::Nonexistent(addr));
        }
        record.life = Life::Making;
        let was = *record;
        drop(record);
        if let Err(why) = self.retire(on, area, slot, &was) {
            slot.record.lock().life = Life::Live;
            return Err(VfreeError::Tables(why));
        }
        Ok(was.view(Self::PAGE))
    }

    /// Pages that an area counts as its own (`nr_vmalloc_pages`).
    pub(super) fn own_pages(&self, record: &Record) -> u64 {
        // An early area of vmalloc's kind has none that were counted.
        if record.first.is_some() { record.pages.into() } else { 0 }
    }

    /// The area that an address is in.
    pub(super) fn find(&self, addr: VirtAddr) -> Option<(AreaId, &'v VmSlot)> {
        let book = self.book.lock();
        let area = book.tree.at(addr)?;
        Some((area, book.slots.get(area.number())))
    }

    /// Unmaps an area that nobody else looks at any more, and lets it wait for the flush. It is not to be touched afterwards: another CPU's purge may
    /// have given it to somebody else.
    ///
    /// # Errors
    /// The page tables': all is as it was then.
    pub(super) fn retire<C: VmContext<'a>>(
        &self,
        on: &mut C,
        area: AreaId,
        slot: &'v VmSlot,
        was: &Record,
    ) -> Result<(), UnmapError> {
        // Single pages, mapped by this crate: nothing else is in the table there.
        let quick = was.table.and_then(|table| {
            let usable = VirtRange { start: was.range.start, len: u64::from(was.pages) * Self::PAGE };
            self.cursor.apart(usable).ok()?.unmap_pages_in(table, usable).ok()
        });
        let memory = self.cursor.tables().memory();
        let pages = was.range.len / Self::PAGE;
        let waiting;
        if let Some(flush) = quick {
            let mut own = self.row(on.cpu()).0.lock();
            let mut record = slot.record.lock();
            record.life = Life::Lazy;
            waiting = self.count_lazy(pages);
            own.push_lazy(area.number(), &mut record);
            own.pending.get_or_insert_default().add_pages(flush);
        } else {
            let pending = self.cursor.apart(was.range)?.unmap(was.range, &mut |_| ())?;
            let mut own = self.row(on.cpu()).0.lock();
            let mut record = slot.record.lock();
            record.life = Life::Lazy;
            waiting = self.count_lazy(pages);
            own.put_lazy(memory, area.number(), &mut record, pending);
        }
        self.pages.fetch_sub(self.own_pages(was), Relaxed);
        self.purge_if_many(on, waiting);
        Ok(())
    }

    /// Counts pages that are going to wait: how many do then. For whoever holds the row in whose list they come, so that no purge, which takes
    /// the list under the same lock, counts off what was not counted yet.
    pub(super) fn count_lazy(&self, pages: u64) -> u64 {
        self.lazy.fetch_add(pages, Relaxed).wrapping_add(pages)
    }

    /// Purges when many pages wait.
    pub(super) fn purge_if_many<C: VmContext<'a>>(&self, on: &mut C, waiting: u64) {
        if waiting > self.config.lazy_pages
            && let Some(guard) = self.purging.try_lock()
        {
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
        let mut lists = NONE;
        for (number, cpu) in self.cpus.iter().enumerate() {
            self.purge_fragmented_blocks(number);
            let mut own = cpu.0.lock();
            let (head, pending) = own.take_lazy();
            if let Some(slots) = own.slots.as_ref().filter(|_| head != NONE) {
                // One list of all: the end of this one leads to the others.
                let mut at = head;
                loop {
                    let mut record = slots.get(at).record.lock();
                    if record.next == NONE {
                        record.next = lists;
                        break;
                    }
                    at = record.next;
                }
                lists = head;
            }
            drop(own);
            all = match (all, pending) {
                (None, other) | (other, None) => other,
                (Some(one), Some(other)) => Some(one.merge(memory, other)),
            };
        }
        if let Some(pending) = all {
            self.finish(on, pending);
            self.purges.fetch_add(1, Relaxed);
        }
        self.release(on, lists)
    }

    /// Gives back the page tables that lie wholly in gaps; how many they were. When an area goes, so do tables that lie
    /// wholly in it; those that reach beyond it stay, since others may need them, and so do tables of pages that are known to hold it all.
    ///
    /// Tables of every level go, also those that hang below the root. Where processes have copies of the root's entries, as on x86, those must
    /// have been made for good by the boot, or lie outside the region.
    pub fn release_tables<C: VmContext<'a>>(&self, on: &mut C) -> u64 {
        self.give_all_back(on);
        let memory = self.cursor.tables().memory();
        let mut all: Option<PendingFlush<F::Word>> = None;
        // Nobody takes addresses meanwhile, so nobody is in the tables of a gap.
        let book = self.book.lock();
        for gap in book.tree.gaps() {
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

    /// Frees the pages of flushed areas, and keeps their addresses for others or gives them back. How many areas that were.
    fn release<C: VmContext<'a>>(&self, on: &mut C, mut number: u32) -> u64 {
        let (mut areas, mut pages) = (0, 0);
        // Areas that were made one after the other have pages that follow each other: those are freed together.
        let mut open = None;
        let row = self.row(on.cpu());
        // Most of a small region is not kept in pieces of some size.
        let most_ready = self.range.len / Self::PAGE / 16 / self.cpus.len() as u64;
        while number != NONE {
            let Some(slot) = row.0.lock().slots.as_ref().map(|slots| slots.get(number)) else { break };
            let was = {
                let mut record = slot.record.lock();
                record.life = Life::Making;
                *record
            };
            let area = AreaId::new(number);
            for frames in (Blocks { map: self.map, at: was.first, owner: was.owner(area) }) {
                open = match open {
                    Some(before) => match self.join(before, frames) {
                        Ok(both) => Some(both),
                        Err((before, frames)) => {
                            on.free(core::iter::once(before));
                            Some(frames)
                        }
                    },
                    None => Some(frames),
                };
            }
            let size = was.range.len / Self::PAGE;
            pages += size;
            areas += 1;
            number = was.next;
            let kept = self.config.pools && {
                let mut own = row.0.lock();
                let mut record = slot.record.lock();
                record.first = None;
                record.life = Life::Ready;
                own.ready_pages + size <= most_ready && own.keep_ready(area.number(), &mut record, size)
            };
            if !kept {
                let mut book = self.book.lock();
                self.forget(&mut book, area, slot);
            }
        }
        on.free(open.into_iter());
        self.lazy.fetch_sub(pages, Relaxed);
        self.given.fetch_add(areas, Relaxed);
        areas
    }

    /// Two tokens as one, if one follows the other and nothing about them is special.
    #[inline]
    #[allow(clippy::result_large_err, reason = "four words")]
    fn join(&self, one: Frames<'a>, other: Frames<'a>) -> Result<Frames<'a>, (Frames<'a>, Frames<'a>)> {
        let (a, b) = (u64::from(one.start().get()), u64::from(other.start().get()));
        if one.len() + other.len() > Frames::MAX / 2 {
            Err((one, other))
        } else if a + one.len() == b {
            Ok(self.map.merge(one, other))
        } else if b + other.len() == a {
            Ok(self.map.merge(other, one))
        } else {
            Err((one, other))
        }
    }
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
