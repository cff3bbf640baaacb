//! What a CPU keeps: areas that wait for the flush, flushed ones that it has not taken back yet, and those by size that wait for their next use.
//!
//! An area that is unmapped goes to the list of the CPU that freed it, whoever made it. A purge flushes for all rows' lists at once and notes in each which flush its areas
//! were in; the CPU itself looks whether that is over, and takes an area back whenever it wants one: its pages go to the CPU's own lists, and
//! its addresses, which stay taken in the tree, are the next area's of that size, or wait in a pool for one. So nobody looks
//! at the tree, and no CPU touches what another has used, but where one frees what another made, and where a purge finds areas that the flush before it has
//! reached and their CPU has not come by for. (Linux 6.9 has such pools too, `vmap_node`.)

use super::area::{NONE, Slots, VmSlot};
use core::fmt;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed};
use pagewright_addr::VirtAddr;
use pagewright_pagetable::{PagesFlush, PendingFlush, TableMemory, Word};
use pagewright_platform::Mutex;

/// Areas of up to so many pages less one, guard pages included, are pooled.
pub(super) const CLASSES: usize = 260;

/// One CPU's row, in cache lines of its own.
#[repr(align(128))]
pub struct VmCpu<'v, W: Word> {
    pub(super) own: Mutex<Own<'v, W>>,
    /// Pages that areas got on this CPU, less those that were taken from areas here: modulo what a word holds, the sum of all rows counts.
    pub(super) pages: AtomicUsize,
    /// Where the part of the region begins that it takes addresses from; 0 if there is none.
    pub(super) part: AtomicU64,
}

impl<W: Word> VmCpu<'_, W> {
    /// An empty one.
    pub const fn new() -> Self {
        let own = Own {
            lazy: List::EMPTY,
            told: 0,
            flushed: List::EMPTY,
            surplus: 0,
            flushing: List::EMPTY,
            flush: 0,
            pages: None,
            active: false,
            blocks: NONE,
            pending: None,
            slots: None,
            late: List::EMPTY,
            ready: [NONE; CLASSES],
            ready_pages: 0,
        };
        Self { own: Mutex::new(own), pages: AtomicUsize::new(0), part: AtomicU64::new(0) }
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

/// What a purge has to do with comes first, in as few cache lines as it fits: each of them comes and goes with every purge.
#[repr(C)]
pub(super) struct Own<'v, W: Word> {
    /// Areas that wait for a flush.
    lazy: List,
    /// As many of their pages as the region knows of.
    told: u64,
    /// Areas that were flushed, with their pages.
    flushed: List,
    /// Pages of those that the CPU is to take back beside what it wants: none of what a later flush was for.
    surplus: u64,
    /// Areas that are flushed when the purge of that number has ended.
    flushing: List,
    flush: u64,
    /// What has to be flushed of single pages, which are most.
    pages: Option<PagesFlush>,
    /// Whether the CPU has taken an area back since the last purge.
    active: bool,
    /// Blocks of `vm_map_ram` in which something is free.
    pub(super) blocks: u32,
    /// What has to be flushed of everything else.
    pending: Option<PendingFlush<W>>,
    pub(super) slots: Option<Slots<'v>>,
    /// Flushed areas that the purge is going to release, since the CPU does not come by or does not come by often enough.
    late: List,
    /// Flushed areas without pages, by the size of their addresses.
    ready: [u32; CLASSES],
    /// Pages of address space in them.
    pub(super) ready_pages: u64,
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

    /// Adds an area that was unmapped, of so many pages.
    #[inline]
    pub(super) fn push_lazy(&mut self, number: u32, slot: &VmSlot, pages: u64) {
        self.lazy.push(number, slot, pages);
    }

    /// Pages that wait for a flush and that the region does not know of.
    #[inline]
    pub(super) fn untold(&self) -> u64 {
        self.lazy.pages - self.told
    }

    /// The same, which it does from here on.
    pub(super) fn tell(&mut self) -> u64 {
        let more = self.untold();
        self.told = self.lazy.pages;
        more
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

    /// Lets everything that waits be flushed by the purge of this number: what has to be flushed for it, and how many pages the region was told of. Areas that were
    /// flushed before are late if the CPU has not come by for any, or if they are more pages than there is `room` for beside those of other rows, where each brings its `share`; of more than
    /// that it is to take some back. For whoever holds the purge.
    pub(super) fn begin_flush(
        &mut self,
        number: u64,
        share: u64,
        room: &mut u64,
    ) -> (Option<PendingFlush<W>>, u64) {
        let flushing = core::mem::replace(&mut self.flushing, core::mem::take(&mut self.lazy));
        self.flush = number;
        if let Some(slots) = &self.slots {
            self.flushed.join(flushing, slots);
        }
        *room = room.saturating_add(share);
        if !core::mem::take(&mut self.active) || self.flushed.pages > *room {
            self.late = core::mem::take(&mut self.flushed);
        }
        *room -= self.flushed.pages;
        self.surplus = self.flushed.pages.saturating_sub(share);
        let pages = self.pages.take();
        // Mostly there is none, and a line that nobody writes is in all caches.
        let mut pending = if self.pending.is_some() { self.pending.take() } else { None };
        if let Some(pages) = pages {
            pending.get_or_insert_default().add_pages(pages);
        }
        (pending, core::mem::take(&mut self.told))
    }

    /// Whether a purge has something to release.
    pub(super) fn has_late(&self) -> bool {
        self.late.first != NONE
    }

    /// That, and with `all` what the purge has flushed as well; lists of areas.
    pub(super) fn take_late(&mut self, all: bool) -> [u32; 3] {
        let late = self.late.take();
        if !all {
            return [late, NONE, NONE];
        }
        self.surplus = 0;
        [late, self.flushed.take(), self.flushing.take()]
    }

    /// Whether the CPU has more of what was flushed some time ago than its share.
    pub(super) fn has_surplus(&self) -> bool {
        self.surplus > 0
    }

    /// An area that was flushed, for this row's CPU; `ended` counts the purges that are over.
    #[inline]
    pub(super) fn first_flushed(&mut self, ended: &AtomicU64) -> Option<(u32, &'v VmSlot)> {
        if self.flushed.first == NONE {
            // With everything that was done before the end.
            if self.flushing.first == NONE || ended.load(Acquire) < self.flush {
                return None;
            }
            self.flushed = core::mem::take(&mut self.flushing);
            self.surplus = 0;
        }
        Some((self.flushed.first, self.slots.as_ref()?.get(self.flushed.first)))
    }

    /// Takes it out, an area of so many pages. Whether it was the last.
    #[inline]
    pub(super) fn pop_flushed(&mut self, slot: &VmSlot, pages: u64) -> bool {
        self.flushed.first = slot.next.load(Relaxed);
        self.flushed.pages -= pages;
        self.surplus = self.surplus.saturating_sub(pages);
        self.active = true;
        self.flushed.first == NONE
    }

    /// Puts it back.
    pub(super) fn push_flushed(&mut self, number: u32, slot: &VmSlot, pages: u64) {
        self.flushed.push(number, slot, pages);
    }
}

/// Areas, each linked to the next.
struct List {
    first: u32,
    /// Of a list that has any.
    last: u32,
    /// Pages of address space in them.
    pages: u64,
}

impl List {
    const EMPTY: Self = Self { first: NONE, last: NONE, pages: 0 };

    #[inline]
    fn push(&mut self, number: u32, slot: &VmSlot, pages: u64) {
        if self.first == NONE {
            self.last = number;
        }
        slot.next.store(core::mem::replace(&mut self.first, number), Relaxed);
        self.pages += pages;
    }

    /// Adds another list before this one.
    fn join(&mut self, other: Self, slots: &Slots<'_>) {
        if other.first == NONE {
            return;
        }
        slots.get(other.last).next.store(self.first, Relaxed);
        let last = if self.first == NONE { other.last } else { self.last };
        *self = Self { first: other.first, last, pages: self.pages + other.pages };
    }

    /// The first of them, and none are left.
    fn take(&mut self) -> u32 {
        core::mem::take(self).first
    }
}

impl Default for List {
    fn default() -> Self {
        Self::EMPTY
    }
}
