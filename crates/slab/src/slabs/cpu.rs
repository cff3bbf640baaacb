//! A processor's own part: its rows, and the gate before them.

use super::cpu_slab::{CpuSlabParts, Inside};
pub(crate) use super::requests::Requests;
pub use super::row::Row;
use crate::memory::PageSource;
use crate::random::next_random;
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use pagewright_addr::NodeId;

/// One processor's rows, one for each place in the table of caches.
#[derive(Debug)]
pub(crate) struct CpuSlabs<'k> {
    pub(crate) rows: &'k mut [Row],
    pub(crate) random: u64,
    /// How often barns had been reaped when this processor's reaper came last.
    pub(crate) reaps_seen: u32,
}

impl CpuSlabs<'_> {
    /// The next random number.
    pub(crate) fn random(&mut self) -> u64 {
        next_random(&mut self.random)
    }
}

/// A processor as slabs see it.
///
/// # Invariants
/// The gate's number is at most that of the rows.
// Two cache lines, which processors fetch together: where the gates of two processors shared one, each operation waited for the other's (two threads took
// 5 times as long as one).
#[repr(align(128))]
pub struct SlabCpu<'k> {
    requests: Requests,
    own: UnsafeCell<CpuSlabs<'k>>,
    slabs: CpuSlabParts<'k>,
}

// SAFETY: `own` is reached through `SlabHere` alone, of which the caller of `here` promises that all that exist at a time are on one processor; there the gate
// lets one user in at a time. Rows may move between threads (`Row`). The rest is atomic.
unsafe impl Sync for SlabCpu<'_> {}

impl<'k> SlabCpu<'k> {
    /// A processor with these rows, one for each place in the table of caches, all of them nobody's (places beyond the rows are served from slabs, rows beyond the places are
    /// not used); and what the order of objects in its new slabs begins with.
    pub fn new(rows: &'k mut [Row], seed: u64) -> Self {
        rows.fill_with(Row::new);
        let requests = Requests::new(rows.len());
        let own = CpuSlabs { rows, random: seed | 1, reaps_seen: 0 };
        Self { requests, own: UnsafeCell::new(own), slabs: CpuSlabParts::none(seed.rotate_left(32)) }
    }

    /// (With the feature `cpu-slabs`.) A processor that has a slab of each cache in place of a row ([`super::cpu_slab`]), with this number; the rest as for [`Self::new`]. All processors of a machine are made alike.
    #[cfg(feature = "cpu-slabs")]
    pub fn with_slabs(number: u32, slabs: &'k mut [super::CpuSlab], seed: u64) -> Self {
        let slabs = CpuSlabParts::new(number, slabs, seed);
        Self { slabs, ..Self::new(&mut [], seed) }
    }

    pub(crate) const fn slabs(&self) -> &CpuSlabParts<'k> {
        &self.slabs
    }

    pub(crate) const fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The right of the processor that this belongs to.
    ///
    /// # Safety
    /// As for [`pagewright_platform::PerCpu::here`]: as long as the handle lives, handles to this value are used on one processor only, where an interrupt handler's is
    /// used inside the use that it interrupts; a later one on another processor happens after everything that was done with the earlier ones.
    pub const unsafe fn here(&self) -> SlabHere<'_, 'k> {
        SlabHere { cpu: self, not_send: PhantomData }
    }
}

impl fmt::Debug for SlabCpu<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabCpu").field("requests", &self.requests).finish_non_exhaustive()
    }
}

/// The right to a processor's rows, on that processor ([`SlabCpu::here`]).
#[derive(Clone, Copy, Debug)]
pub struct SlabHere<'c, 'k> {
    cpu: &'c SlabCpu<'k>,
    /// It must not leave the processor, so it is neither Send nor Sync.
    not_send: PhantomData<*mut ()>,
}

impl<'c, 'k> SlabHere<'c, 'k> {
    pub(crate) const fn cpu(self) -> &'c SlabCpu<'k> {
        self.cpu
    }

    pub(crate) const fn requests(self) -> &'c Requests {
        &self.cpu.requests
    }

    /// Does something with the row of a place, unless there is a reason not to, or the rows are in use. It must not panic: the gate would stay closed.
    #[inline(always)]
    pub(crate) fn with_row<R>(self, at: usize, f: impl FnOnce(&mut Row) -> Option<R>) -> Option<R> {
        let open = self.cpu.requests.pass_in(at)?;
        // SAFETY: the gate was open, so on this processor nobody is inside: a handler that came between the load and the store has returned, leaving
        // it open again. On other processors there is nobody (`here`). The place is below the gate's number, so there is a row (the invariant of `SlabCpu`).
        let row = unsafe { (&mut *self.cpu.own.get()).rows.get_unchecked_mut(at) };
        let done = f(row);
        self.cpu.requests.pass_out(open);
        done
    }

    /// The processor's rows; `None` if this interrupts their use, or is inside it.
    #[inline]
    pub(crate) fn enter(self) -> Option<InUse<'c, 'k>> {
        if !self.cpu.requests.enter() {
            return None;
        }
        Some(InUse { cpu: self.cpu, not_send: PhantomData })
    }
}

/// A processor's rows in use; dropping it ends the use and opens the gate, unless there is a reason not to.
pub(crate) struct InUse<'c, 'k> {
    cpu: &'c SlabCpu<'k>,
    not_send: PhantomData<*mut ()>,
}

impl<'k> Deref for InUse<'_, 'k> {
    type Target = CpuSlabs<'k>;

    fn deref(&self) -> &CpuSlabs<'k> {
        // SAFETY: see `deref_mut`.
        unsafe { &*self.cpu.own.get() }
    }
}

impl<'k> DerefMut for InUse<'_, 'k> {
    fn deref_mut(&mut self) -> &mut CpuSlabs<'k> {
        // SAFETY: as in `with_row`: the gate says that they are in use until this value is dropped, so it is the only one, and the borrow of it
        // makes this the only reference.
        unsafe { &mut *self.cpu.own.get() }
    }
}

impl Drop for InUse<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        self.cpu.requests.leave(self.rows.len() as u32);
    }
}

/// On whose behalf objects are allocated and freed: a processor, and its way to the page allocator.
#[derive(Clone, Copy)]
pub struct SlabContext<'c, 'k, 'a> {
    pub(crate) cpu: SlabHere<'c, 'k>,
    pub(crate) node: NodeId,
    pub(crate) pages: &'c dyn PageSource<'a>,
    pub(crate) task: u32,
}

impl<'c, 'k, 'a> SlabContext<'c, 'k, 'a> {
    /// A processor of a node, which whoever holds this stays on.
    pub const fn new(cpu: SlabHere<'c, 'k>, node: NodeId, pages: &'c dyn PageSource<'a>) -> Self {
        Self { cpu, node, pages, task: 0 }
    }

    /// The same for a task, whose number records of watched caches keep.
    #[must_use]
    pub const fn for_task(self, task: u32) -> Self {
        Self { task, ..self }
    }

    /// Does something as an interrupt handler does that comes while this processor's rows are in use.
    pub fn interrupted<R>(&self, f: impl FnOnce(&Self) -> R) -> R {
        let (_in_use, _inside) = (self.cpu.enter(), Inside::enter(self.cpu));
        f(self)
    }
}

impl fmt::Debug for SlabContext<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabContext").field("node", &self.node).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
