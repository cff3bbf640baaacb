//! Addresses for areas.

use super::area::{Life, Record, VmSlot};
use super::cpu::CLASSES;
use super::{VmContext, Vmalloc, VmallocError};
use crate::areas::{AreaError, AreaId, Wanted};
use arrayvec::ArrayVec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use pagewright_addr::{VirtAddr, VirtRange};
use pagewright_page::OwnerHandle;
use pagewright_pagetable::{Format, LeafTables, Level, TableMemory};

/// Areas of a size that a CPU takes from the tree beside the one that it wants.
const TOGETHER: usize = 15;

/// An area's addresses, nobody else's from here on.
#[derive(Clone, Copy)]
pub(super) struct Taken<'v> {
    pub(super) area: AreaId,
    pub(super) slot: &'v VmSlot,
    pub(super) range: VirtRange,
    pub(super) generation: u16,
    /// Known of addresses that were mapped before.
    pub(super) tables: Option<LeafTables>,
}

impl<'v> Taken<'v> {
    /// Addresses that were an area's before.
    #[inline]
    pub(super) fn anew(number: u32, slot: &'v VmSlot, record: &mut Record) -> Self {
        record.life = Life::Making;
        record.generation = following(record.generation);
        Self {
            area: AreaId::new(number),
            slot,
            range: record.range,
            generation: record.generation,
            tables: record.tables,
        }
    }
}

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// Takes addresses: flushed ones of the size, or the lowest gap with room. If there is none, everything that waits or is kept is given
    /// back first.
    pub(super) fn take<C: VmContext<'a>>(
        &self,
        on: &mut C,
        wanted: &Wanted,
    ) -> Result<Taken<'v>, VmallocError> {
        if wanted.align <= Self::PAGE
            && wanted.within == self.range
            && let Some(taken) = self.take_kept(on, wanted.size)
        {
            return Ok(taken);
        }
        self.take_from_tree(on, wanted)
    }

    /// Takes flushed addresses of just this size: what this CPU freed last of what was flushed since, or what it keeps.
    #[inline]
    pub(super) fn take_kept<C: VmContext<'a>>(&self, on: &mut C, size: u64) -> Option<Taken<'v>> {
        if !self.config.pools {
            return None;
        }
        let pages = size >> const { F::SHAPE.page_shift() };
        let mut own = self.row(on.cpu()).own.lock();
        if let Some(taken) = self.take_back(on, &mut own, pages) {
            return Some(taken);
        }
        let (number, slot) = own.take_ready(pages)?;
        let mut record = slot.record.lock();
        Some(Taken::anew(number, slot, &mut record))
    }

    pub(super) fn take_from_tree<C: VmContext<'a>>(
        &self,
        on: &mut C,
        wanted: &Wanted,
    ) -> Result<Taken<'v>, VmallocError> {
        let given = self.given();
        let cpu = on.cpu();
        let take = || self.growing(1, &mut || self.take_gap(cpu, wanted));
        match take() {
            Err(AreaError::NoGap { .. } | AreaError::NoNode { .. }) if self.all_back_since(on, given) => {
                take()
            }
            other => other,
        }
        .map_err(|why| VmallocError::Space { region: self.config.name, range: self.range, why })
    }

    /// Takes so many areas of the tree. Memory for more is appended as long as that is what it lacks, and there is some.
    pub(super) fn growing<T>(
        &self,
        areas: usize,
        take: &mut dyn FnMut() -> Result<T, AreaError>,
    ) -> Result<T, AreaError> {
        loop {
            match take() {
                Err(AreaError::NoNode { .. }) if self.more_areas(areas) => {}
                other => return other,
            }
        }
    }

    /// Whether trying again makes sense: somebody gave areas back or appended some meanwhile, or this has appended some.
    fn more_areas(&self, areas: usize) -> bool {
        let book = self.book.lock();
        let Some(more) = book.more else { return false };
        if book.tree.free_nodes() >= areas {
            return true;
        }
        let room = book.slots.has_room(self.first);
        drop(book);
        room && more.section(self.first.len()).is_some_and(|section| self.add_section(section))
    }

    fn take_gap(&self, cpu: usize, wanted: &Wanted) -> Result<Taken<'v>, AreaError> {
        let mut book = self.book.lock();
        let Some(area) = self.take_apart(&mut book, cpu, wanted) else {
            let area = book.tree.alloc(wanted, ())?;
            return Ok(self.enter(&mut book, area));
        };
        let taken = self.enter(&mut book, area);
        // Some more of the size, whose records and entries lie side by side like this one's: what the next CPU gets begins behind them.
        let size = wanted.size >> const { F::SHAPE.page_shift() };
        let mut own = self.row(cpu).own.lock();
        let room = self.most_ready.saturating_sub(own.ready_pages) / size.max(1);
        let mut more = ArrayVec::<_, TOGETHER>::new();
        while (more.len() as u64) < room
            && !more.is_full()
            && let Some(area) = self.take_apart(&mut book, cpu, wanted)
        {
            more.push(self.enter(&mut book, area));
        }
        // The lowest is the next.
        for Taken { area, slot, .. } in more.into_iter().rev() {
            slot.record.lock().life = Life::Ready;
            own.keep_ready(area.number(), slot, size);
        }
        Ok(taken)
    }

    /// The lowest place in the part of the region that this CPU took addresses from last, or in a part that is free as yet: what one table of pages maps. Else
    /// entries of areas that two CPUs use lie in one cache line, and go back and forth between them. `None` if it is to lie somewhere else, or the
    /// region is too small.
    fn take_apart(&self, book: &mut super::Book<'v>, cpu: usize, wanted: &Wanted) -> Option<AreaId> {
        let size = wanted.size >> const { F::SHAPE.page_shift() };
        let part = const { F::SHAPE.level(Level::PTE).bytes() * F::SHAPE.level(Level::PTE).entries() as u64 };
        if !self.config.pools
            || wanted.within != self.range
            || wanted.align > Self::PAGE
            || size >= CLASSES as u64
            || part > self.most_ready * Self::PAGE
        {
            return None;
        }
        let row = self.row(cpu);
        let inside =
            |start| Wanted { within: VirtRange { start: VirtAddr::new(start), len: part }, ..*wanted };
        let last = row.part.load(Relaxed);
        if last != 0
            && let Ok(area) = book.tree.alloc(&inside(last), ())
        {
            return Some(area);
        }
        let whole = book.tree.alloc(&Wanted { size: part, align: part, within: self.range }, ()).ok()?;
        let start = book.tree.remove(whole)?.0.start.get();
        row.part.store(start, Relaxed);
        book.tree.alloc(&inside(start), ()).ok()
    }

    /// Takes just these addresses.
    pub(super) fn take_range<C: VmContext<'a>>(
        &self,
        on: &mut C,
        range: VirtRange,
    ) -> Result<Taken<'v>, VmallocError> {
        let mut insert = || {
            let mut book = self.book.lock();
            let area = book.tree.insert(range, ())?;
            Ok(self.enter(&mut book, area))
        };
        let given = self.given();
        match self.growing(1, &mut insert) {
            // What is in the way may only wait for its flush.
            Err(AreaError::Taken(_) | AreaError::NoNode { .. }) if self.all_back_since(on, given) => {
                self.growing(1, &mut insert)
            }
            other => other,
        }
        .map_err(|why| VmallocError::Space { region: self.config.name, range: self.range, why })
    }

    pub(super) fn enter(&self, book: &mut super::Book<'v>, area: AreaId) -> Taken<'v> {
        let slot = book.slots.get(area.number());
        let range = book.tree.area(area).unwrap_or_default();
        let mut record = slot.record.lock();
        let generation = following(record.generation);
        *record = Record { life: Life::Making, range, generation, ..Record::default() };
        drop(record);
        self.index_enter(book, area, slot, range.start);
        Taken { area, slot, range, generation, tables: None }
    }

    /// Gives addresses back that were never mapped.
    pub(super) fn give_back(&self, taken: &Taken<'v>) {
        let mut book = self.book.lock();
        self.forget(&mut book, taken.area, taken.slot);
    }

    /// Flushes everything that waits, and gives all flushed areas back to the tree. Whether that was anything.
    pub fn give_all_back<C: VmContext<'a>>(&self, on: &mut C) -> bool {
        let any = self.purge_vmap_area_lazy(on) > 0;
        self.give_ready_back(on) || any
    }

    /// Areas that were given back so far, for [`Self::purged_since`].
    pub(super) fn given(&self) -> u64 {
        self.purged.given.load(Acquire)
    }

    /// Flushes everything that waits. Whether anything was given back since [`Self::given`] said so, by this CPU or another: what one has
    /// looked for in vain may be there now.
    pub(super) fn purged_since<C: VmContext<'a>>(&self, on: &mut C, given: u64) -> bool {
        self.purge_vmap_area_lazy(on);
        // Others count before they let go of the purge's lock, which was held here since.
        self.given() != given
    }

    /// The same, once all flushed addresses are back in the tree.
    pub(super) fn all_back_since<C: VmContext<'a>>(&self, on: &mut C, given: u64) -> bool {
        self.give_all_back(on);
        self.given() != given
    }

    /// Gives flushed addresses that wait for the next area of their size back to the tree. Whether there were any; when it returns, those that
    /// somebody else was giving back are in the tree as well.
    pub fn give_ready_back<C: VmContext<'a>>(&self, _: &mut C) -> bool {
        let _purging = self.purging.lock();
        let mut any = false;
        for cpu in self.cpus {
            let mut number = cpu.own.lock().take_all_ready();
            if number == super::area::NONE {
                continue;
            }
            any = true;
            let mut book = self.book.lock();
            while number != super::area::NONE {
                let slot = book.slots.get(number);
                let next = slot.next.load(Relaxed);
                self.forget(&mut book, AreaId::new(number), slot);
                number = next;
                self.purged.given.fetch_add(1, Release);
            }
        }
        any
    }
}

/// The generation of the next area of a number.
#[inline]
fn following(generation: u16) -> u16 {
    if u32::from(generation) >= OwnerHandle::MAX_GENERATION { 1 } else { generation + 1 }
}
