//! Flushing what waits, for all CPUs at once, and taking it back, each CPU its own.
//!
//! A purge takes the lists of all rows, flushes for all of them at once, and is over. What was flushed stays in its row: whenever the row's CPU wants addresses it
//! takes an area back, the pages into its own lists and the addresses for itself, or until somebody wants that many. Both are what it used last, and nobody
//! else's caches have any of it. Where a CPU has not come by for any until the next purge, or has too many of them, whoever that is releases what was flushed
//! before; and whoever finds no addresses or no pages releases everything.
//!
//! While a CPU takes an area back it holds its row: to others it waits, or is released.

use super::area::{Life, NONE};
use super::context::Shared;
use super::cpu::{Own, VmCpu};
use super::get::Taken;
use super::pages::Blocks;
use super::{VmContext, Vmalloc};
use crate::areas::AreaId;
use core::cell::RefCell;
use core::sync::atomic::Ordering::{Relaxed, Release};
use pagewright_page::Frames;
use pagewright_pagetable::{Format, PendingFlush, TableMemory};
use pagewright_zone::Gfp;

/// So many areas are taken back at most by whoever wants one of another size: more than come while that happens, or some would always wait for a purge.
const TURNS: u32 = 4;

/// So many are taken back at most by whoever has too much and wants none: others wait for his row meanwhile.
const SURPLUS_TURNS: u32 = 64;

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// Whether too many pages wait, for whoever has just added some to this CPU's row.
    #[inline]
    pub(super) fn too_many_wait<C: VmContext<'a>>(&self, on: &mut C, own: &mut Own<'v, F::Word>) -> bool {
        own.untold() >= self.step && self.tell_and_take_back(on, own)
    }

    /// The same, for whoever has added them to another CPU's row.
    pub(super) fn too_many_told(&self, own: &mut Own<'v, F::Word>) -> bool {
        own.untold() >= self.step && self.tell(own) > self.config.lazy_pages
    }

    /// Tells of them, and takes back what the CPU has too much of: more was flushed for it than it has wanted since.
    #[cold]
    #[inline(never)]
    fn tell_and_take_back<C: VmContext<'a>>(&self, on: &mut C, own: &mut Own<'v, F::Word>) -> bool {
        for _ in 0..SURPLUS_TURNS {
            if !own.has_surplus() || !matches!(self.take_one_back(on, own, |_| false), Some(Back::Aside)) {
                break;
            }
        }
        self.tell(own) > self.config.lazy_pages
    }

    /// Tells the region of pages that wait in a row, under the row's lock, so that no purge counts off what was not counted yet: how many do in all.
    fn tell(&self, own: &mut Own<'_, F::Word>) -> u64 {
        let more = own.tell();
        self.lazy.fetch_add(more, Relaxed).wrapping_add(more)
    }

    /// Takes back what was flushed of this CPU's, up to an area that has so many pages of addresses: it is the caller's.
    #[inline]
    pub(super) fn take_back<C: VmContext<'a>>(
        &self,
        on: &mut C,
        own: &mut Own<'v, F::Word>,
        pages: u64,
    ) -> Option<Taken<'v>> {
        for _ in 0..TURNS {
            match self.take_one_back(on, own, |size| size == pages)? {
                Back::Taken(taken) => return Some(taken),
                Back::Aside => (),
                Back::Waits => break,
            }
        }
        None
    }

    /// Takes one area back that was flushed, and frees its pages. If its pages of addresses are as many as `wanted` it is the caller's, else it is put aside.
    #[inline]
    fn take_one_back<C: VmContext<'a>>(
        &self,
        on: &mut C,
        own: &mut Own<'v, F::Word>,
        wanted: impl FnOnce(u64) -> bool,
    ) -> Option<Back<'v>> {
        let (number, slot) = own.first_flushed(&self.purged.ended)?;
        let area = AreaId::new(number);
        let mut record = slot.record.lock();
        let size = record.range.len >> const { F::SHAPE.page_shift() };
        let (at, owner, count) = (record.first.take(), record.owner(area), record.pages);
        let taken = wanted(size).then(|| Taken::anew(number, slot, &mut record));
        drop(record);
        let last = own.pop_flushed(slot, size);
        self.free_pages(on, at, owner, count);
        let back = match taken {
            Some(taken) => Back::Taken(taken),
            None if self.put_aside(own, area, size) => Back::Aside,
            None => Back::Waits,
        };
        if last {
            // Whoever finds nothing here to release knows that there was something. Not before it can be had: who saw the number grow already does not try again.
            self.purged.given.fetch_add(1, Release);
        }
        Some(back)
    }

    /// Keeps the addresses of an area without pages for others of the row, or gives them back. `false` if somebody has the tree: the area waits on.
    #[cold]
    fn put_aside(&self, own: &mut Own<'v, F::Word>, area: AreaId, size: u64) -> bool {
        let Some(slot) = own.slots.as_ref().map(|slots| slots.get(area.number())) else { return false };
        if own.ready_pages + size <= self.most_ready {
            slot.record.lock().life = Life::Ready;
            if own.keep_ready(area.number(), slot, size) {
                return true;
            }
        }
        // The tree comes before rows, so nobody waits for it here.
        let Some(mut book) = self.book.try_lock() else {
            slot.record.lock().life = Life::Lazy;
            own.push_flushed(area.number(), slot, size);
            return false;
        };
        self.forget(&mut book, area, slot);
        true
    }

    /// Flushes what waits unless somebody does. Where a quarter more waits he is waited for.
    #[cold]
    #[inline(never)]
    pub(super) fn purge_if_possible<C: VmContext<'a>>(&self, on: &mut C) {
        let most = self.config.lazy_pages;
        let guard = match self.purging.try_lock() {
            Some(guard) => guard,
            None if self.lazy.load(Relaxed) <= most.saturating_add(most / 4) => return,
            None => {
                let guard = self.purging.lock();
                if self.lazy.load(Relaxed) <= most {
                    return;
                }
                guard
            }
        };
        // Where no row keeps anything each area lies as low as it can: those that were flushed are out of the way at once.
        self.purge(on, !self.config.pools);
        drop(guard);
    }

    /// Flushes everything that waits, on all CPUs, and frees it. How many areas that were; when it returns, a purge that somebody else had
    /// begun is over as well.
    pub fn purge_vmap_area_lazy<C: VmContext<'a>>(&self, on: &mut C) -> u64 {
        let guard = self.purging.lock();
        let areas = self.purge(on, true);
        drop(guard);
        areas
    }

    /// The same, for whoever is going to use pages otherwise that were mapped here (`vm_unmap_aliases`).
    pub fn vm_unmap_aliases<C: VmContext<'a>>(&self, on: &mut C) {
        self.purge_vmap_area_lazy(on);
    }

    /// Flushes everything that waits, and releases what was flushed before and not taken back; with `all` what is flushed now as well. How many areas
    /// were released. For whoever holds the purge.
    fn purge<C: VmContext<'a>>(&self, on: &mut C, all: bool) -> u64 {
        let memory = self.cursor.tables().memory();
        let number = self.purged.ended.load(Relaxed) + 1;
        let mut freed = Freed { areas: 0, open: None };
        let (mut waiting, mut told, mut late, mut room) = (None, 0, false, 0);
        for (cpu, row) in self.cpus.iter().enumerate() {
            self.purge_fragmented_blocks(cpu);
            let mut own = row.own.lock();
            self.tell(&mut own);
            let (pending, pages) = own.begin_flush(number, 2 * self.step, &mut room);
            late |= own.has_late();
            drop(own);
            told += pages;
            waiting = match (waiting, pending) {
                (None, other) | (other, None) => other,
                (Some(one), Some(other)) => Some(PendingFlush::merge(one, memory, other)),
            };
        }
        if let Some(pending) = waiting {
            self.finish(on, pending);
            self.purged.flushes.fetch_add(1, Relaxed);
        }
        self.lazy.fetch_sub(told, Relaxed);
        self.purged.ended.store(number, Release);
        if late || all {
            for row in self.cpus {
                let [late, flushed, flushing] = row.own.lock().take_late(all);
                self.release(on, row, late, &mut freed);
                self.release(on, row, flushed, &mut freed);
                self.release(on, row, flushing, &mut freed);
            }
        }
        on.free(freed.open.into_iter());
        if freed.areas > 0 {
            self.purged.given.fetch_add(freed.areas, Release);
        }
        freed.areas
    }

    /// Flushes, and frees the tables that were emptied.
    pub(super) fn finish<C: VmContext<'a>>(&self, on: &mut C, pending: PendingFlush<F::Word>) -> u64 {
        let shared = RefCell::new(on);
        let mut tlb = Shared { on: &shared, map: self.map, shift: self.shift(), gfp: Gfp::GFP_KERNEL };
        let mut source = Shared { on: &shared, map: self.map, shift: self.shift(), gfp: Gfp::GFP_KERNEL };
        pending.finish(self.cursor.tables().memory(), &mut tlb, &mut source)
    }

    /// Frees the pages of a list of flushed areas, and keeps their addresses for others of the row or gives them back.
    fn release<C: VmContext<'a>>(
        &self,
        on: &mut C,
        row: &VmCpu<'v, F::Word>,
        mut number: u32,
        freed: &mut Freed<'a>,
    ) {
        if number == NONE {
            return;
        }
        let Some(slots) = row.own.lock().slots else { return };
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
            freed.areas += 1;
            let kept = self.config.pools && {
                let mut own = row.own.lock();
                own.ready_pages + size <= self.most_ready && own.keep_ready(area.number(), slot, size)
            };
            if !kept {
                let mut book = self.book.lock();
                self.forget(&mut book, area, slot);
            }
        }
    }
}

/// What became of an area that was taken back.
enum Back<'v> {
    /// It is the caller's.
    Taken(Taken<'v>),
    /// Its addresses are kept for others, or free.
    Aside,
    /// It has no pages any more, and is to be taken back once more: somebody has the tree.
    Waits,
}

/// What a purge has released so far.
struct Freed<'a> {
    areas: u64,
    /// Frames that more may be joined to.
    open: Option<Frames<'a>>,
}
