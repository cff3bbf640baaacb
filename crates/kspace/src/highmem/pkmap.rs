//! The pkmap window: mappings that all CPUs see and that last.
//!
//! A slot's count is Linux's `pkmap_count`: 0, nothing is mapped and no TLB has it; 1, a page is mapped that nobody uses, and TLBs may have
//! it; more, one user for each above 1. Slots are taken one after the other. When the last one has been passed, all with a count of 1 are
//! unmapped, and one flush of the window makes them free: so a flush is paid for once in a window, and no slot is used again before its flush.
//!
//! One lock protects the counts and the hash. It is held while TLBs are flushed, so it must not be taken with interrupts off or from a
//! handler, or a CPU that waits for the lock could not answer the flush.

use super::Linear;
use super::error::{KmapError, KunmapError};
use super::hash::{Chains, NONE};
use core::fmt;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::{Format, SlotFlush, Slots, TableMemory, TlbFlush};
use pagewright_platform::Mutex;

/// What a slot of the window is used for.
#[derive(Clone, Copy, Debug)]
pub struct PkmapEntry {
    /// The page's number.
    pub(super) page: u64,
    /// `pkmap_count`.
    count: u32,
    /// The next slot whose page has the same hash.
    pub(super) next: u16,
}

impl PkmapEntry {
    /// A slot without a page.
    pub const EMPTY: Self = Self { page: u64::MAX, count: 0, next: NONE };
}

/// What a caller waits for that met a full window: that more pages are unmapped than had been when the key was made. Whoever goes to sleep
/// asks [`Kmap::may_go_on`] after it has joined the queue, so that no wake-up is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitKey(u64);

/// Whom `kunmap` leaves to wake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "whoever waits for a slot would sleep on"]
pub enum Wake {
    /// Nobody waits, or no slot came free.
    Nobody,
    /// Everybody who was told to wait (`pkmap_map_wait`).
    Waiters,
}

struct State<'k> {
    entries: &'k mut [PkmapEntry],
    chains: Chains,
    /// `last_pkmap_nr`: the slot that was given out last.
    last: u32,
    /// How often a slot came out of use.
    unused: u64,
    /// Whether somebody was told to wait since the last wake-up.
    waiting: bool,
}

/// The pkmap window of one kernel.
pub struct Kmap<'t, F: Format, M: TableMemory> {
    linear: Linear,
    slots: Slots<'t, F, M>,
    state: Mutex<State<'t>>,
}

impl<F: Format, M: TableMemory> fmt::Debug for Kmap<'_, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kmap").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl<'t, F: Format, M: TableMemory> Kmap<'t, F, M> {
    /// The window `slots`, with an entry for each; `None` if there are fewer entries than slots, none, or more than 65535.
    pub fn new(linear: Linear, slots: Slots<'t, F, M>, entries: &'t mut [PkmapEntry]) -> Option<Self> {
        let count = usize::from(u16::try_from(slots.count()).ok().filter(|n| *n != NONE)?);
        let entries = entries.get_mut(..count)?;
        entries.fill(PkmapEntry::EMPTY);
        // The first slot that is given out is 1: Linux counts up before it looks.
        let state = State { entries, chains: Chains::new(), last: 0, unused: 0, waiting: false };
        Some(Self { linear, slots, state: Mutex::new(state) })
    }

    /// Which memory has addresses of its own.
    pub const fn linear(&self) -> &Linear {
        &self.linear
    }

    /// How many slots there are (LAST_PKMAP).
    pub const fn slots(&self) -> u32 {
        self.slots.count()
    }

    const fn number(page: PhysAddr) -> u64 {
        page.get() >> F::SHAPE.page_shift()
    }

    /// Gives the page that `page` lies in an address until it is given back with [`Self::kunmap`]; the page's first byte is there. `tlb` reaches
    /// every CPU; a new entry is published on all ([`TlbFlush::publish`]). Pages of low memory have theirs already.
    ///
    /// # Errors
    /// [`KmapError`]; nothing was changed then but for unused pages that may have been unmapped and flushed.
    pub fn kmap(&self, page: PhysAddr, tlb: &mut dyn TlbFlush) -> Result<VirtAddr, KmapError> {
        let page = page.align_down(F::SHAPE.page_bytes());
        if let Some(at) = self.linear.address(page) {
            return Ok(at);
        }
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(slot) = state.chains.find(state.entries, Self::number(page)) {
            let entry = &mut state.entries[usize::from(slot)];
            entry.count = entry.count.checked_add(1).ok_or(KmapError::TooManyUsers(page))?;
            return Ok(self.slots.address(slot.into()));
        }
        let slot = self.free_slot(state, tlb)?;
        let at = self.slots.set(slot.into(), page).map_err(KmapError::Slot)?;
        state.entries[usize::from(slot)] = PkmapEntry { page: Self::number(page), count: 2, next: NONE };
        state.chains.insert(state.entries, slot);
        // Before the lock goes: who finds the page's address next uses it at once.
        tlb.publish();
        Ok(at)
    }

    /// The mapping of a page that has one already, with one more user, or `None` (`kmap_high_get`). Takes nothing but the lock.
    pub fn kmap_high_get(&self, page: PhysAddr) -> Option<VirtAddr> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let slot = state.chains.find(state.entries, Self::number(page))?;
        let entry = &mut state.entries[usize::from(slot)];
        entry.count = entry.count.checked_add(1)?;
        Some(self.slots.address(slot.into()))
    }

    /// Does something at the address of a page of high memory that has one in the window, which it keeps meanwhile: the window's lock is held, so
    /// that it is to be short, and to leave the window alone.
    pub(crate) fn with_high(&self, page: PhysAddr, work: &mut dyn FnMut(VirtAddr)) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(slot) = state.chains.find(state.entries, Self::number(page)) {
            work(self.slots.address(slot.into()));
        }
    }

    /// The next slot with count 0, as `map_new_virtual` looks for it.
    fn free_slot(&self, state: &mut State<'_>, tlb: &mut dyn TlbFlush) -> Result<u16, KmapError> {
        let slots = self.slots.count();
        let mut left = slots;
        loop {
            state.last = if state.last + 1 >= slots { 0 } else { state.last + 1 };
            if state.last == 0 {
                self.flush_all_zero_pkmaps(state, tlb);
                left = slots;
            }
            if state.entries[state.last as usize].count == 0 {
                // There are fewer than 65536.
                return Ok(state.last as u16);
            }
            left -= 1;
            if left == 0 {
                state.waiting = true;
                return Err(KmapError::Wait { key: WaitKey(state.unused), slots });
            }
        }
    }

    /// Unmaps what nobody uses, and flushes once.
    fn flush_all_zero_pkmaps(&self, state: &mut State<'_>, tlb: &mut dyn TlbFlush) -> u32 {
        let mut pending: Option<SlotFlush> = None;
        let mut freed = 0;
        for slot in 0..self.slots.count() as u16 {
            if state.entries[usize::from(slot)].count == 1 {
                state.chains.remove(state.entries, slot);
                state.entries[usize::from(slot)] = PkmapEntry::EMPTY;
                tlb.before_unmap(VirtRange {
                    start: self.slots.address(slot.into()),
                    len: F::SHAPE.page_bytes(),
                });
                let gone = self.slots.clear(slot.into());
                pending = Some(match pending {
                    Some(before) => before.merge(gone),
                    None => gone,
                });
                freed += 1;
            }
        }
        if let Some(pending) = pending {
            pending.finish(tlb);
        }
        freed
    }

    /// Unmaps what nobody uses, with one flush on every CPU, and says how many pages that were (`kmap_flush_unused`).
    pub fn kmap_flush_unused(&self, tlb: &mut dyn TlbFlush) -> u32 {
        self.flush_all_zero_pkmaps(&mut self.state.lock(), tlb)
    }

    /// Gives an address back that [`Self::kmap`] gave out. The page stays mapped for whoever wants it next.
    ///
    /// # Errors
    /// [`KunmapError`] for a page that nobody uses.
    pub fn kunmap(&self, page: PhysAddr) -> Result<Wake, KunmapError> {
        let page = page.align_down(F::SHAPE.page_bytes());
        if self.linear.address(page).is_some() {
            return Ok(Wake::Nobody);
        }
        let mut state = self.state.lock();
        let state = &mut *state;
        let slot =
            state.chains.find(state.entries, Self::number(page)).ok_or(KunmapError::NotMapped(page))?;
        let entry = &mut state.entries[usize::from(slot)];
        if entry.count < 2 {
            return Err(KunmapError::NotMapped(page));
        }
        entry.count -= 1;
        if entry.count > 1 {
            return Ok(Wake::Nobody);
        }
        state.unused += 1;
        Ok(if core::mem::take(&mut state.waiting) { Wake::Waiters } else { Wake::Nobody })
    }

    /// Whether something was unmapped since a caller was told to wait: it is worth trying again.
    pub fn may_go_on(&self, key: WaitKey) -> bool {
        self.state.lock().unused != key.0
    }

    /// The address of a page that has one (`page_address`): always in low memory; in high memory from its first user until the flush after its
    /// last.
    pub fn page_address(&self, page: PhysAddr) -> Option<VirtAddr> {
        let page = page.align_down(F::SHAPE.page_bytes());
        if let Some(at) = self.linear.address(page) {
            return Some(at);
        }
        let mut state = self.state.lock();
        let state = &mut *state;
        let slot = state.chains.find(state.entries, Self::number(page))?;
        Some(self.slots.address(slot.into()))
    }

    /// The page that an address of the window or of the linear map leads to (`kmap_to_page`).
    pub fn kmap_to_page(&self, at: VirtAddr) -> Option<PhysAddr> {
        if let Some(phys) = self.linear.phys(at) {
            return Some(phys.align_down(F::SHAPE.page_bytes()));
        }
        let slot = self.slots.slot_of(at)?;
        let entry = self.state.lock().entries[slot as usize];
        (entry.count > 0).then(|| PhysAddr::new(entry.page << F::SHAPE.page_shift()))
    }

    /// How many slots have users, and how many are mapped for nobody.
    pub fn in_use(&self) -> (u32, u32) {
        let state = self.state.lock();
        let used = state.entries.iter().filter(|e| e.count > 1).count();
        let unused = state.entries.iter().filter(|e| e.count == 1).count();
        (used as u32, unused as u32)
    }

    /// Whether counts, hash and tables agree.
    ///
    /// # Errors
    /// The first slot that does not.
    pub fn validate(&self) -> Result<(), u32> {
        let mut state = self.state.lock();
        let state = &mut *state;
        for slot in 0..self.slots.count() {
            let entry = state.entries[slot as usize];
            let found = state.chains.find(state.entries, entry.page) == Some(slot as u16);
            let mapped = entry.count > 0;
            if mapped != self.slots.is_set(slot) || mapped != found {
                return Err(slot);
            }
        }
        Ok(())
    }
}
