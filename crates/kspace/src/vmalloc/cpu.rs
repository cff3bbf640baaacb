//! What a CPU keeps: areas that wait for the flush, and flushed ones by size that wait for their next use.
//!
//! An area that is unmapped goes to its CPU's list, and one that a purge has flushed to a pool of areas of its size: its addresses stay taken
//! in the tree, and the next area of the size takes it from there without a look at the tree. With many areas
//! that is what makes a pair cheap (Linux 6.9 has such pools too, `vmap_node`).

use super::area::{NONE, Slots, VmSlot};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use pagewright_addr::VirtAddr;
use pagewright_pagetable::{PagesFlush, PendingFlush, TableMemory, Word};
use pagewright_platform::Mutex;

/// Areas of up to so many pages less one, guard pages included, are pooled.
pub(super) const CLASSES: usize = 260;

/// One CPU's row, in cache lines of its own.
#[repr(align(128))]
pub struct VmCpu<'v, W: Word> {
    pub(super) own: Mutex<Own<'v, W>>,
    /// Pages that areas got on this CPU, less those that were taken from areas here: modulo 2^64, the sum of all rows counts.
    pub(super) pages: AtomicU64,
}

impl<W: Word> VmCpu<'_, W> {
    /// An empty one.
    pub const fn new() -> Self {
        let own = Own {
            ready: [NONE; CLASSES],
            ready_pages: 0,
            lazy: NONE,
            uncounted: 0,
            flushing: NONE,
            blocks: NONE,
            pending: None,
            pages: None,
            slots: None,
        };
        Self { own: Mutex::new(own), pages: AtomicU64::new(0) }
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
    /// Pages of theirs that the region has not counted yet.
    pub(super) uncounted: u64,
    /// Areas whose flush has begun: the purge's.
    flushing: u32,
    /// Blocks of `vm_map_ram` in which something is free.
    pub(super) blocks: u32,
    /// What has to be flushed for them.
    pending: Option<PendingFlush<W>>,
    /// The same where single pages were mapped, which are most.
    pages: Option<PagesFlush>,
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
        *head = slot.next.load(Relaxed);
        self.ready_pages -= pages;
        Some((number, slot))
    }

    /// Keeps a flushed area; `false` if it is too large for that.
    #[inline]
    pub(super) fn keep_ready(&mut self, number: u32, slot: &VmSlot, pages: u64) -> bool {
        let Some(head) = self.ready.get_mut(pages as usize) else { return false };
        slot.next.store(*head, Relaxed);
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
                let next = slots.get(*head).next.swap(all, Relaxed);
                all = core::mem::replace(head, next);
            }
        }
        self.ready_pages = 0;
        all
    }

    /// Adds what has to be flushed for areas that are in the list, or of one that stays.
    pub(super) fn add_pending<M: TableMemory>(&mut self, memory: &M, pending: PendingFlush<W>) {
        self.pending = Some(match self.pending.take() {
            None => pending,
            Some(before) => before.merge(memory, pending),
        });
    }

    /// The same of single pages.
    #[inline]
    pub(super) fn add_pages(&mut self, pages: PagesFlush) {
        self.pages = Some(match self.pages.take() {
            None => pages,
            Some(before) => before.merge(pages),
        });
    }

    /// Adds an area that was unmapped.
    #[inline]
    pub(super) fn push_lazy(&mut self, number: u32, slot: &VmSlot) {
        slot.next.store(core::mem::replace(&mut self.lazy, number), Relaxed);
    }

    /// So many pages of a block that has them free.
    pub(super) fn take_piece(&mut self, pages: u64, page: u64) -> Option<VirtAddr> {
        let slots = self.slots?;
        let (mut number, mut before) = (self.blocks, NONE);
        while number != NONE {
            let slot = slots.get(number);
            let mut record = slot.record.lock();
            if u64::from(record.free) >= pages {
                let all = record.range.len / page;
                let at = record.range.start.get() + (all - u64::from(record.free)) * page;
                record.free -= pages as u16;
                let (full, next) = (record.free == 0, slot.next.load(Relaxed));
                drop(record);
                if full && before == NONE {
                    self.blocks = next;
                } else if full {
                    slots.get(before).next.store(next, Relaxed);
                }
                return Some(VirtAddr::new(at));
            }
            before = number;
            number = slot.next.load(Relaxed);
        }
        None
    }

    /// What has to be flushed for everything that waits, which is the purge's from here on ([`Self::take_flushing`]). For whoever holds the purge, once he has
    /// taken what he was to flush before.
    pub(super) fn begin_flush(&mut self) -> Option<PendingFlush<W>> {
        self.flushing = core::mem::replace(&mut self.lazy, NONE);
        let pages = self.pages.take();
        let mut pending = self.pending.take();
        if let Some(pages) = pages {
            pending.get_or_insert_default().add_pages(pages);
        }
        pending
    }

    /// The areas whose flush was begun.
    pub(super) fn take_flushing(&mut self) -> u32 {
        core::mem::replace(&mut self.flushing, NONE)
    }
}
