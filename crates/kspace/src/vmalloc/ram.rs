//! `vm_map_ram`: short-lived mappings of the caller's pages, cut from blocks of addresses that each CPU has.
//!
//! A block is taken from the tree as a whole, and given out from its start on, in powers of two of pages; nothing is given out twice. When all of it has
//! been given back it goes the way of every area. So most mappings cost no look at the tree, and many share a flush. A block belongs to the row of the CPU
//! that took it; whoever frees a piece notes the flush there, so that a purge that meets the block meets the flushes of all its pieces.

use super::area::{Life, NONE, Record};
use super::get::Taken;
use super::{VfreeError, VmContext, VmFlags, Vmalloc, VmallocError};
use crate::areas::Wanted;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::{Pfn, PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::{Format, TableMemory};
use pagewright_zone::Gfp;

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// Pages of a piece at most (`VMAP_MAX_ALLOC`): larger mappings get areas of their own.
    pub const VMAP_MAX_ALLOC: u64 = if F::SHAPE.va_bits() > 32 { 64 } else { 32 };

    /// Pages of a block (`VMAP_BBMAP_BITS`): a sixteenth of a CPU's share of 128 GiB (128 MiB on 32-bit kernels), but room for two of the largest
    /// pieces and 1024 pages at most.
    pub fn vmap_block_pages(&self) -> u64 {
        let space: u64 = if F::SHAPE.va_bits() > 32 { 128 << 30 } else { 128 << 20 };
        let cpus = self.cpus.len().next_power_of_two() as u64;
        (space / Self::PAGE / cpus / 16).clamp(2 * Self::VMAP_MAX_ALLOC, 1024)
    }

    /// Maps the caller's pages one behind the other for a short time (`vm_map_ram`): where they begin. No guard page follows.
    ///
    /// # Errors
    /// As for [`Self::vmap`].
    pub fn vm_map_ram<C: VmContext<'a>>(&self, on: &mut C, pages: &[Pfn]) -> Result<VirtAddr, VmallocError> {
        let count = pages.len() as u64;
        let size = count * Self::PAGE;
        let most = self.range.len;
        if count == 0 || size > most {
            return Err(VmallocError::Size { size, most });
        }
        let large = count > Self::VMAP_MAX_ALLOC;
        let (start, taken) = if large {
            let wanted = Wanted { size, align: Self::PAGE, within: self.range };
            let taken = self.take(on, &wanted)?;
            (taken.range.start, Some(taken))
        } else {
            (self.take_piece(on, count.next_power_of_two())?, None)
        };
        let range = VirtRange { start, len: size };
        let highest = pages.iter().max().map_or(PhysAddr::ZERO, |pfn| pfn.phys(self.shift()));
        let mut rest = pages.iter();
        let mut next = || rest.next().map_or(PhysAddr::ZERO, |pfn| pfn.phys(self.shift()));
        let mapped = self.map_each(on, range, self.config.attr, highest, Gfp::GFP_KERNEL, &mut next);
        match (mapped, taken) {
            (Ok(()), Some(taken)) => {
                *taken.slot.record.lock() = Record {
                    life: Life::Ram,
                    flags: VmFlags::NO_GUARD,
                    range: taken.range,
                    pages: count as u32,
                    generation: taken.generation,
                    ..Record::default()
                };
                Ok(start)
            }
            (Ok(()), None) => Ok(start),
            (Err(why), Some(taken)) => {
                self.give_back(&taken);
                Err(why)
            }
            (Err(why), None) => {
                // The piece was given out and is not again; nothing is mapped there.
                let _ = self.give_piece_back(on, range, false);
                Err(why)
            }
        }
    }

    /// Takes such a mapping away (`vm_unmap_ram`): as many pages as were mapped, from its start. What was said of [`Self::vunmap`] holds.
    ///
    /// # Errors
    /// [`VfreeError`]: nothing was done.
    pub fn vm_unmap_ram<C: VmContext<'a>>(
        &self,
        on: &mut C,
        addr: VirtAddr,
        count: u64,
    ) -> Result<(), VfreeError> {
        if !addr.is_aligned(Self::PAGE) {
            return Err(VfreeError::Unaligned(addr));
        }
        let nonexistent = VfreeError::Nonexistent(addr);
        if count == 0 || count > self.range.len / Self::PAGE {
            return Err(nonexistent);
        }
        let range = VirtRange { start: addr, len: count * Self::PAGE };
        if count <= Self::VMAP_MAX_ALLOC {
            return self.give_piece_back(on, range, true);
        }
        let (area, slot) = self.find(addr).ok_or(nonexistent)?;
        let mut record = slot.record.lock();
        if record.life != Life::Ram || record.range != range {
            return Err(nonexistent);
        }
        record.life = Life::Lazy;
        let was = record.going();
        drop(record);
        self.retire(on, area, slot, &was).map_err(|why| {
            slot.record.lock().life = Life::Ram;
            VfreeError::Tables(why)
        })
    }

    /// Takes a piece of a block back, in which something is `mapped` unless that had failed.
    fn give_piece_back<C: VmContext<'a>>(
        &self,
        on: &mut C,
        range: VirtRange,
        mapped: bool,
    ) -> Result<(), VfreeError> {
        let addr = range.start;
        let nonexistent = VfreeError::Nonexistent(addr);
        let (area, slot) = self.find(addr).ok_or(nonexistent)?;
        let was = *slot.record.lock();
        let pages = (range.len / Self::PAGE).next_power_of_two();
        let given = (addr.get() - was.range.start.get()) / Self::PAGE + pages;
        let out_of = was.range.len / Self::PAGE;
        if was.life != Life::Block
            || given > out_of - u64::from(was.free)
            || self.translate(addr).is_ok() != mapped
        {
            return Err(nonexistent);
        }
        on.before_unmap();
        let unmapped = self.cursor.apart(range).and_then(|mut part| part.unmap(range, &mut |_| ()));
        let Ok(pending) = unmapped else { return Err(nonexistent) };
        let memory = self.cursor.tables().memory();
        let mut many = false;
        {
            let mut own = self.row(was.home.into()).own.lock();
            own.add_pending(memory, pending);
            let mut record = slot.record.lock();
            record.dirty += pages as u16;
            if u64::from(record.dirty) == out_of {
                // It is in no list of blocks: nothing is free in it.
                record.life = Life::Lazy;
                drop(record);
                own.push_lazy(area.number(), slot, out_of);
                // What was flushed of another CPU's is his to take back.
                many = if usize::from(was.home) == on.cpu() % self.cpus.len() {
                    self.too_many_wait(on, &mut own)
                } else {
                    self.too_many_told(&mut own)
                };
            }
        }
        if many {
            self.purge_if_possible(on);
        }
        Ok(())
    }

    /// A piece of so many pages, from this CPU's blocks.
    fn take_piece<C: VmContext<'a>>(&self, on: &mut C, pages: u64) -> Result<VirtAddr, VmallocError> {
        let cpu = on.cpu() % self.cpus.len();
        if let Some(at) = self.row(cpu).own.lock().take_piece(pages, Self::PAGE) {
            return Ok(at);
        }
        let size = self.vmap_block_pages() * Self::PAGE;
        let Taken { area, slot, range, generation, .. } =
            self.take(on, &Wanted { size, align: size.next_power_of_two(), within: self.range })?;
        let mut own = self.row(cpu).own.lock();
        *slot.record.lock() = Record {
            life: Life::Block,
            flags: VmFlags::NO_GUARD,
            range,
            generation,
            free: (size / Self::PAGE - pages) as u16,
            home: cpu as u16,
            ..Record::default()
        };
        slot.next.store(own.blocks, Relaxed);
        own.blocks = area.number();
        Ok(range.start)
    }

    /// Retires a CPU's blocks of which all that was given out has come back (`purge_fragmented_blocks`).
    pub(super) fn purge_fragmented_blocks(&self, cpu: usize) {
        let mut own = self.row(cpu).own.lock();
        if own.blocks == NONE {
            return;
        }
        let Some(slots) = own.slots else { return };
        let (mut number, mut kept) = (own.blocks, NONE);
        while number != NONE {
            let slot = slots.get(number);
            let mut record = slot.record.lock();
            let (next, all) = (slot.next.load(Relaxed), record.range.len / Self::PAGE);
            if u64::from(record.free) + u64::from(record.dirty) == all {
                record.life = Life::Lazy;
                own.push_lazy(number, slot, all);
            } else {
                slot.next.store(kept, Relaxed);
                kept = number;
            }
            number = next;
        }
        own.blocks = kept;
    }
}
