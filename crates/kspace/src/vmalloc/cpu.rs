//! What a CPU keeps: areas that wait for the flush, and flushed ones by size that wait for their next use.
//!
//! An area that is unmapped goes to its CPU's list, and one that a purge has flushed to a pool of areas of its size: its addresses stay taken
//! in the tree, and the next area of the size takes it from there without a look at the tree. With many areas
//! that is what makes a pair cheap (Linux 6.9 has such pools too, `vmap_node`).

use super::area::{NONE, Record, Slots, VmSlot};
use core::fmt;
use pagewright_addr::VirtAddr;
use pagewright_pagetable::{PendingFlush, TableMemory, Word};
use pagewright_platform::Mutex;

/// Areas of up to so many pages less one, guard pages included, are pooled.
pub(super) const CLASSES: usize = 260;

/// One CPU's row.
pub struct VmCpu<'v, W: Word>(pub(super) Mutex<Own<'v, W>>);

impl<W: Word> VmCpu<'_, W> {
    /// An empty one.
    pub const fn new() -> Self {
        Self(Mutex::new(Own {
            ready: [NONE; CLASSES],
            ready_pages: 0,
            lazy: NONE,
            blocks: NONE,
            pending: None,
            slots: None,
        }))
    }
}

impl<W: Word> Default for VmCpu<'_, W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Word> fmt::Debug for VmCpu<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VmCpu")
    }
}

pub(super) struct Own<'v, W: Word> {
    /// Flushed areas by pages.
    ready: [u32; CLASSES],
    /// Pages of address space in them.
    pub(super) ready_pages: u64,
    /// Areas that wait for the flush.
    lazy: u32,
    /// Blocks of `vm_map_ram` in which something is free.
    pub(super) blocks: u32,
    /// What has to be flushed for them.
    pub(super) pending: Option<PendingFlush<W>>,
    pub(super) slots: Option<Slots<'v>>,
}

impl<'v, W: Word> Own<'v, W> {
    /// A flushed area of so many pages.
    #[inline]
    pub(super) fn take_ready(&mut self, pages: u64) -> Option<(u32, &'v VmSlot)> {
        let head = self.ready.get_mut(pages as usize)?;
        if *head == NONE {
            return None;
        }
        let number = *head;
        let slot = self.slots.as_ref()?.get(number);
        *head = slot.record.lock().next;
        self.ready_pages -= pages;
        Some((number, slot))
    }

    /// Keeps a flushed area; `false` if it is too large for that.
    #[inline]
    pub(super) fn keep_ready(&mut self, number: u32, record: &mut Record, pages: u64) -> bool {
        let Some(head) = self.ready.get_mut(pages as usize) else { return false };
        record.next = *head;
        *head = number;
        self.ready_pages += pages;
        true
    }

    /// All flushed areas, as one list.
    pub(super) fn take_all_ready(&mut self) -> u32 {
        let Some(slots) = &self.slots else { return NONE };
        let mut all = NONE;
        for head in &mut self.ready {
            while *head != NONE {
                let mut record = slots.get(*head).record.lock();
                let next = record.next;
                record.next = all;
                drop(record);
                all = core::mem::replace(head, next);
            }
        }
        self.ready_pages = 0;
        all
    }

    /// Adds an area that was unmapped.
    #[inline]
    pub(super) fn put_lazy<M: TableMemory>(
        &mut self,
        memory: &M,
        number: u32,
        record: &mut Record,
        pending: PendingFlush<W>,
    ) {
        self.push_lazy(number, record);
        self.add_pending(memory, pending);
    }

    /// Adds what has to be flushed, of an area that stays.
    pub(super) fn add_pending<M: TableMemory>(&mut self, memory: &M, pending: PendingFlush<W>) {
        self.pending = Some(match self.pending.take() {
            None => pending,
            Some(before) => before.merge(memory, pending),
        });
    }

    /// Adds an area of which all that has to be flushed was added before.
    pub(super) fn push_lazy(&mut self, number: u32, record: &mut Record) {
        record.next = core::mem::replace(&mut self.lazy, number);
    }

    /// So many pages of a block that has them free.
    pub(super) fn take_piece(&mut self, pages: u64, page: u64) -> Option<VirtAddr> {
        let slots = self.slots?;
        let (mut number, mut before) = (self.blocks, NONE);
        while number != NONE {
            let mut record = slots.get(number).record.lock();
            if u64::from(record.free) >= pages {
                let all = record.range.len / page;
                let at = record.range.start.get() + (all - u64::from(record.free)) * page;
                record.free -= pages as u16;
                let (full, next) = (record.free == 0, record.next);
                drop(record);
                if full && before == NONE {
                    self.blocks = next;
                } else if full {
                    slots.get(before).record.lock().next = next;
                }
                return Some(VirtAddr::new(at));
            }
            before = number;
            number = record.next;
        }
        None
    }

    /// Everything that waits for a flush.
    pub(super) fn take_lazy(&mut self) -> (u32, Option<PendingFlush<W>>) {
        (core::mem::replace(&mut self.lazy, NONE), self.pending.take())
    }
}
