//! Local kmaps: a CPU's own slots in the fixed mappings, used as a stack.
//!
//! Each CPU has KM_MAX_IDX slots from FIX_KMAP_BEGIN on. The task that runs there maps into the next one and unmaps the last one; an
//! interrupt handler's come on top of those of the task it interrupted and go before it ends. A task that holds some stays on its CPU; while
//! others run there its slots are theirs ([`KmapCpu::sched_out`], [`KmapCpu::sched_in`]). So no other CPU ever uses a slot, and only the
//! own TLB has to forget it.
//!
//! With guards (CONFIG_DEBUG_KMAP_LOCAL) every second slot stays empty, so that running off a page faults.
//!
//! What is common is a page of high memory, and a slot in the first table that the CPU's slots lie in: that takes few instructions, in numbers that fit into a
//! register of a 32-bit processor. Everything else (low memory, guards, the second table, what is refused) goes a slower way, which begins anew: nothing was changed before.

use super::Linear;
use super::error::{KmapLocalError, NotTop, SchedError};
use super::stack::{KmapStack, MOST};
use crate::fixmap::{Fixmap, Slot};
use core::fmt;
use core::hint::cold_path;
use core::sync::atomic::Ordering::{Relaxed, Release};
use core::sync::atomic::compiler_fence;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::{Format, Row, SlotError, Slots, TableMemory, TlbFlush, Vacant};

/// A page's address, for the task that mapped it.
#[must_use = "the slot stays taken until this is given to kunmap_local"]
#[derive(PartialEq, Eq, Debug)]
pub struct LocalMap {
    at: usize,
    /// The complement of its slot's number, with the CPU's slots counted from 0 downwards; [`LOW`] for low memory, which takes none.
    down: usize,
}

/// No slot: what comes before the first.
const LOW: usize = 0;

impl LocalMap {
    /// Where the page's first byte is.
    #[inline(always)]
    pub const fn address(&self) -> VirtAddr {
        VirtAddr::new(self.at as u64)
    }
}

/// The same from `kmap_atomic`: its holder may not be scheduled.
#[must_use = "the slot stays taken until this is given to kunmap_atomic"]
#[derive(PartialEq, Eq, Debug)]
pub struct AtomicMap(LocalMap);

impl AtomicMap {
    /// Where the page's first byte is.
    pub const fn address(&self) -> VirtAddr {
        self.0.address()
    }
}

/// The local kmaps of one kernel.
pub struct KmapLocal<'t, F: Format, M: TableMemory> {
    linear: Linear,
    slots: Slots<'t, F, M>,
    cpus: u32,
    /// KM_MAX_IDX.
    max_index: u32,
    /// KM_INCR: 2 with guards.
    step: u32,
}

impl<F: Format, M: TableMemory> fmt::Debug for KmapLocal<'_, F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmapLocal")
            .field("slots", &self.slots)
            .field("cpus", &self.cpus)
            .finish_non_exhaustive()
    }
}

impl<'t, F: Format, M: TableMemory> KmapLocal<'t, F, M> {
    /// The slots' addresses in a kernel with these fixed mappings: all of FIX_KMAP_BEGIN's. `None` without high memory.
    pub fn range(fixmap: &Fixmap) -> Option<VirtRange> {
        fixmap.range(Slot::Kmap)
    }

    /// Local kmaps in `slots` ([`Self::range`]), for as many CPUs as there are slots for. `guards` is CONFIG_DEBUG_KMAP_LOCAL. `None` if there
    /// are too few slots for one CPU, or they lie in the linear map, or that has addresses that are no `usize` (on a host that is smaller than the machine).
    pub fn new(linear: Linear, slots: Slots<'t, F, M>, guards: bool) -> Option<Self> {
        let mapped = VirtRange { start: linear.base, len: linear.end.get().checked_sub(linear.start.get())? };
        let end = mapped.start.get().checked_add(mapped.len)?;
        let own = VirtRange { start: slots.start(), len: u64::from(slots.count()) * F::SHAPE.page_bytes() };
        if usize::try_from(end).is_err() || mapped.overlaps(&own) {
            return None;
        }
        let (max_index, step) = if guards { (MOST as u32, 2) } else { (16, 1) };
        let cpus = slots.count() / max_index;
        (cpus > 0).then_some(Self { linear, slots, cpus, max_index, step })
    }

    /// The same, with slots for pages of low memory as well (CONFIG_DEBUG_KMAP_LOCAL_FORCE_MAP).
    #[must_use]
    pub const fn force_map(mut self) -> Self {
        self.linear.end = self.linear.start;
        self
    }

    /// How many CPUs have slots.
    pub const fn cpus(&self) -> u32 {
        self.cpus
    }

    /// How many a task may hold at a time.
    pub const fn depth(&self) -> u32 {
        (self.max_index - 1) / self.step
    }

    /// A CPU's part, for whoever runs there. It is a small value that a CPU keeps with its own data.
    ///
    /// # Errors
    /// [`KmapLocalError::NoCpu`].
    pub fn on_cpu(&self, cpu: u32) -> Result<KmapCpu<'_, F>, KmapLocalError> {
        let none = KmapLocalError::NoCpu { cpu, cpus: self.cpus };
        if cpu >= self.cpus {
            return Err(none);
        }
        // `kmap_ctrl.idx` counts from 1; fixed addresses count downwards, so the slots of the first CPU are the last ones.
        let count = self.max_index - 1;
        let first = self.slots.count() - cpu * self.max_index - count;
        // Where they reach into a second table, those above its beginning are used first.
        let below = match self.slots.run_from(first) {
            run if run < count => run,
            _ => 0,
        };
        let row = |first, count| self.slots.row(first, count, self.linear.end);
        let first_used = row(first + below, count - below).ok_or(none)?;
        let rows = [Some(first_used), if below > 0 { row(first, below) } else { None }];
        let row = if self.step == 1 { first_used } else { first_used.without_slots() };
        let (linear, step) = (self.linear, self.step);
        Ok(KmapCpu { row, rows, linear, step, cpu, format: *self.slots.format() })
    }
}

/// The local kmaps of one CPU.
#[derive(Clone, Copy, Debug)]
pub struct KmapCpu<'k, F: Format> {
    /// The slots of `kmap_ctrl.idx` from 1 on that are taken the fast way: those of the first table; none with guards.
    row: Row<'k, F>,
    /// All slots, those that are used first in the first row; the second lies in the table below.
    rows: [Option<Row<'k, F>>; 2],
    linear: Linear,
    step: u32,
    cpu: u32,
    format: F,
}

impl<F: Format> KmapCpu<'_, F> {
    /// The CPU's number.
    pub const fn cpu(&self) -> u32 {
        self.cpu
    }

    /// The slot of a `kmap_ctrl.idx`.
    fn slot(&self, index: u32) -> Option<(&Row<'_, F>, usize)> {
        let mut slot = (index as usize).checked_sub(1)?;
        for row in self.rows.iter().flatten() {
            if slot < row.count() {
                return Some((row, slot));
            }
            slot -= row.count();
        }
        None
    }

    /// Gives the page that `page` lies in an address, which is there until [`Self::kunmap_local`] (`kmap_local_page`). This runs on the CPU, and the
    /// task stays on it as long as it holds any. `tlb` is the CPU's own: its walker is told of the entry ([`TlbFlush::publish`]).
    ///
    /// # Errors
    /// [`KmapLocalError`]; nothing was changed then.
    #[inline(always)]
    pub fn kmap_local_page<T: TlbFlush + ?Sized>(
        &self,
        stack: &KmapStack,
        page: PhysAddr,
        tlb: &mut T,
    ) -> Result<LocalMap, KmapLocalError> {
        let down = stack.down.load(Relaxed);
        match self.row.vacant(!down, page, tlb) {
            Ok(vacant) => Ok(Self::take(vacant, stack, down, tlb)),
            Err(_) => {
                cold_path();
                match self.linear.address(page.align_down(const { F::SHAPE.page_bytes() })) {
                    // The linear map's addresses were compared with `usize` when the slots were made.
                    Some(at) => Ok(LocalMap { at: at.get() as usize, down: LOW }),
                    None => self.map_other(stack, page, tlb),
                }
            }
        }
    }

    /// Takes a slot.
    #[inline(always)]
    fn take<T: TlbFlush + ?Sized>(
        vacant: Vacant<'_, F>,
        stack: &KmapStack,
        down: usize,
        tlb: &mut T,
    ) -> LocalMap {
        // Before the entry is written: a handler that comes in between uses the next slot. (One that came before has emptied it again.)
        stack.down.store(down.wrapping_sub(1), Relaxed);
        compiler_fence(Release);
        let at = vacant.fill(tlb);
        tlb.publish();
        LocalMap { at, down }
    }

    /// [`Self::kmap_local_page`] with guards, beyond the first table, and whatever is refused.
    #[cold]
    #[inline(never)]
    fn map_other<T: TlbFlush + ?Sized>(
        &self,
        stack: &KmapStack,
        page: PhysAddr,
        tlb: &mut T,
    ) -> Result<LocalMap, KmapLocalError> {
        let page = page.align_down(F::SHAPE.page_bytes());
        let held = stack.index();
        let index = held + self.step;
        let (row, slot) = self.slot(index).ok_or(KmapLocalError::TooDeep { held: held / self.step })?;
        let vacant = row.vacant(slot, page, tlb).map_err(KmapLocalError::Slot)?;
        Ok(Self::take(vacant, stack, !(index as usize - 1), tlb))
    }

    /// Gives an address back: the last one that was given out first. `tlb` is this CPU's own.
    ///
    /// # Errors
    /// [`NotTop`], with the map, which stays.
    ///
    /// # Panics
    /// Where assertions are checked, if another CPU mapped it.
    #[inline(always)]
    pub fn kunmap_local<T: TlbFlush + ?Sized>(
        &self,
        stack: &KmapStack,
        map: LocalMap,
        tlb: &mut T,
    ) -> Result<(), NotTop> {
        let down = stack.down.load(Relaxed).wrapping_add(1);
        if down != map.down || !map.down >= self.row.count() {
            cold_path();
            return if map.down == LOW { Ok(()) } else { self.unmap_other(stack, map, tlb) };
        }
        Self::give_back(&self.row, !map.down, map.at, tlb);
        // After the flush: a handler that comes in between uses the next slot.
        stack.down.store(map.down, Relaxed);
        Ok(())
    }

    /// Empties a slot.
    #[inline(always)]
    fn give_back<T: TlbFlush + ?Sized>(row: &Row<'_, F>, slot: usize, at: usize, tlb: &mut T) {
        tlb.before_unmap(VirtRange { start: VirtAddr::new(at as u64), len: const { F::SHAPE.page_bytes() } });
        row.clear(slot, at, tlb).finish(tlb);
        compiler_fence(Release);
    }

    /// [`Self::kunmap_local`] with guards, beyond the first table, or of what is not the last one.
    #[cold]
    #[inline(never)]
    fn unmap_other<T: TlbFlush + ?Sized>(
        &self,
        stack: &KmapStack,
        map: LocalMap,
        tlb: &mut T,
    ) -> Result<(), NotTop> {
        let index = stack.index();
        match self.slot(index) {
            Some((row, slot)) if row.address(slot) == map.at => {
                Self::give_back(row, slot, map.at, tlb);
                stack.down.store(!(index.wrapping_sub(self.step) as usize), Relaxed);
                Ok(())
            }
            _ => Err(NotTop { map, held: index / self.step }),
        }
    }

    /// The same as [`Self::kmap_local_page`] for a task that is not scheduled until it has given the address back: the caller keeps preemption
    /// and page faults off (`kmap_atomic`).
    ///
    /// # Errors
    /// As for [`Self::kmap_local_page`].
    #[inline]
    pub fn kmap_atomic<T: TlbFlush + ?Sized>(
        &self,
        stack: &KmapStack,
        page: PhysAddr,
        tlb: &mut T,
    ) -> Result<AtomicMap, KmapLocalError> {
        let map = self.kmap_local_page(stack, page, tlb)?;
        stack.atomic.store(stack.atomic.load(Relaxed) + 1, Relaxed);
        Ok(AtomicMap(map))
    }

    /// Gives it back (`kunmap_atomic`).
    ///
    /// # Errors
    /// The map, which stays atomic, and how many are held, if it is not the last one.
    #[inline]
    pub fn kunmap_atomic<T: TlbFlush + ?Sized>(
        &self,
        stack: &KmapStack,
        map: AtomicMap,
        tlb: &mut T,
    ) -> Result<(), (AtomicMap, u32)> {
        self.kunmap_local(stack, map.0, tlb).map_err(|e| (AtomicMap(e.map), e.held))?;
        stack.atomic.store(stack.atomic.load(Relaxed) - 1, Relaxed);
        Ok(())
    }

    /// The slots that a task holds: `kmap_ctrl.idx`, and where it is.
    fn held<'s>(
        &'s self,
        stack: &KmapStack,
    ) -> impl Iterator<Item = (usize, &'s Row<'s, F>, usize)> + use<'s, F> {
        let top = stack.index();
        (1..=top).filter(|i| i.is_multiple_of(self.step)).filter_map(|index| {
            let (row, slot) = self.slot(index)?;
            Some((index as usize, row, slot))
        })
    }

    /// Empties the slots of a task that leaves the CPU to another (`kmap_local_sched_out`); its addresses lead nowhere until it is back.
    ///
    /// # Errors
    /// [`SchedError::Atomic`] for a task that holds atomic ones; nothing was changed.
    pub fn sched_out<T: TlbFlush + ?Sized>(&self, stack: &KmapStack, tlb: &mut T) -> Result<(), SchedError> {
        let atomic = stack.atomic.load(Relaxed);
        if atomic > 0 {
            return Err(SchedError::Atomic(atomic));
        }
        stack.cpu.store(self.cpu, Relaxed);
        for (index, row, slot) in self.held(stack) {
            if let Some(page) = row.page(&self.format, slot) {
                stack.pages[index].store(page.get(), Relaxed);
                Self::give_back(row, slot, row.address(slot), tlb);
            }
        }
        Ok(())
    }

    /// Fills the slots of a task that is back on its CPU (`kmap_local_sched_in`): every address leads where it did.
    ///
    /// # Errors
    /// [`SchedError::Moved`]: another CPU; [`SchedError::Slot`]: slots that whoever ran there left behind. Nothing was changed then.
    pub fn sched_in<T: TlbFlush + ?Sized>(&self, stack: &KmapStack, tlb: &mut T) -> Result<(), SchedError> {
        let held_on = stack.cpu.load(Relaxed);
        if !stack.is_empty() && self.cpu != held_on {
            return Err(SchedError::Moved { cpu: self.cpu, held_on });
        }
        for (_, row, slot) in self.held(stack) {
            if row.page(&self.format, slot).is_some() {
                return Err(SchedError::Slot(SlotError::InUse(slot as u32)));
            }
        }
        for (index, row, slot) in self.held(stack) {
            // The page was in this slot before, so the slot takes it.
            let page = PhysAddr::new(stack.pages[index].load(Relaxed));
            row.vacant(slot, page, tlb).map_err(SchedError::Slot)?.fill(tlb);
        }
        if !stack.is_empty() {
            tlb.publish();
        }
        Ok(())
    }

    /// The page that an address of the CPU's slots leads to, if the task holds it (`kmap_to_page`).
    pub fn page_of(&self, stack: &KmapStack, at: VirtAddr) -> Option<PhysAddr> {
        let at = at.align_down(F::SHAPE.page_bytes());
        let (_, row, slot) = self.held(stack).find(|(_, row, slot)| row.address(*slot) as u64 == at.get())?;
        row.page(&self.format, slot)
    }
}
