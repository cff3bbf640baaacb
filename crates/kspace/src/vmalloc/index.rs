//! Areas by where they begin: what `vfree` gets is an address.
//!
//! The tree knows, but takes a look at each of its levels, under the lock that all CPUs share. So the slots of the first section are the buckets of a hash table
//! too: an area is entered when it gets its addresses and leaves when it gives them back, both under the tree's lock, while areas that wait for
//! the next of their size stay. Whoever looks takes no lock but the record's, and goes to the tree where nothing was found: a chain may change under him.

use super::area::{Life, NONE, Record, VmSlot};
use super::{Book, Vmalloc};
use crate::areas::AreaId;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use pagewright_addr::VirtAddr;
use pagewright_pagetable::{Format, TableMemory};
use pagewright_platform::MutexGuard;

/// Links that are followed before the tree is asked.
const PATIENCE: u32 = 8;

impl<'v, F: Format, M: TableMemory> Vmalloc<'v, '_, F, M> {
    /// The bucket of an address.
    #[inline]
    fn bucket(&self, start: VirtAddr) -> &'v VmSlot {
        let page = start.get().wrapping_sub(self.range.start.get()) >> const { F::SHAPE.page_shift() };
        // Multiplicative hashing: the upper bits of the product depend on all of the number.
        let hash = (page as u32).wrapping_mul(0x9e37_79b1) >> self.index_shift;
        &self.first[hash as usize & (self.first.len() - 1)]
    }

    /// Enters an area under the tree's lock.
    pub(super) fn index_enter(&self, _: &mut Book<'v>, area: AreaId, slot: &VmSlot, start: VirtAddr) {
        if (area.number() as usize) < self.first.len() {
            let bucket = self.bucket(start);
            slot.link.store(bucket.head.load(Relaxed), Relaxed);
            bucket.head.store(area.number(), Release);
        }
    }

    /// Takes an area out of tree and table, under the tree's lock: its number is nobody's then.
    pub(super) fn forget(&self, book: &mut Book<'v>, area: AreaId, slot: &VmSlot) {
        let start = {
            let mut record = slot.record.lock();
            let was = *record;
            *record = Record { generation: was.generation, ..Record::default() };
            was.range.start
        };
        book.tree.remove(area);
        if (area.number() as usize) < self.first.len() {
            let mut at = &self.bucket(start).head;
            loop {
                let number = at.load(Relaxed);
                if number == area.number() {
                    at.store(slot.link.load(Relaxed), Relaxed);
                    break;
                }
                let Some(next) = self.first.get(number as usize) else { break };
                at = &next.link;
            }
        }
    }

    /// The area in use that begins at an address, and its record.
    #[inline]
    pub(super) fn live_at(&self, start: VirtAddr) -> Option<(AreaId, &'v VmSlot, MutexGuard<'v, Record>)> {
        let mut number = self.bucket(start).head.load(Acquire);
        for _ in 0..PATIENCE {
            let Some(slot) = self.first.get(number as usize) else { break };
            let record = slot.record.lock();
            if record.range.start == start && record.life == Life::Live {
                return Some((AreaId::new(number), slot, record));
            }
            number = slot.link.load(Acquire);
        }
        self.live_in_tree(start)
    }

    #[cold]
    #[inline(never)]
    fn live_in_tree(&self, start: VirtAddr) -> Option<(AreaId, &'v VmSlot, MutexGuard<'v, Record>)> {
        let (area, slot) = self.find(start)?;
        let record = slot.record.lock();
        (record.range.start == start && record.life == Life::Live && area.number() != NONE)
            .then_some((area, slot, record))
    }
}
