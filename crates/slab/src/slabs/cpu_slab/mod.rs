//! A slab for each processor (`struct kmem_cache_cpu`): the form that SLUB had before rows of objects, and has yet where nobody asks for rows.
//!
//! Processors that are made with [`CpuSlab`]s (`SlabCpu::with_slabs`) instead of rows have for each cache one slab of their own, whose free objects are in a list of the
//! processor's, and a list of slabs to go on with.
//! ```text
//!            fast way            slab's own list        partial slabs of the     those of the node,
//!   user ◀── processor's list ◀── taken whole ◀──────── processor ◀──────────── at the lock ◀── new slab
//!        ──▶ (its slab)
//!        ──▶ slab's own list, of any other slab; one that was full becomes the processor's ──over──▶ the node's
//! ```
//! # A slab's states
//! - **The processor's slab** is *frozen*: in no list, and nobody else takes objects from it. What others free goes to the slab's own list, which the processor takes whole when its
//!   own list is empty.
//! - **The processor's partial slabs** are frozen too, and hang together. Slabs that were full come here with the first object that is freed, and some that the node had, when the
//!   processor takes one from there. There are at most [`crate::slub::Geometry::cpu_partial_slabs`]; with one more all others go to their nodes.
//! - **A node's partial slabs** are in its list, behind its lock. More than `min_partial` are not kept once they are empty.
//! - **Full slabs** are nowhere: whoever looks for them walks through the page metadata.
//!
//! # Without locks
//! The processor's list is one word that changes by compare-and-swap with a transaction's number in it (`tid`): an interrupt handler may come at any step and do the same. The slab's
//! own word changes by compare-and-swap as well (`frozen`). Links are mixed with the cache's secret and checked, as everywhere.
//!
//! The slow way has the processor's part to itself: a flag that the fast way looks at sends interrupt handlers to the slabs' own lists, and to the nodes'. So do requests of others,
//! which are the rows' requests: flush, or fail.

mod alloc;
mod flush;
mod free;
mod frozen;
mod look;
mod node;
mod tid;

#[cfg(test)]
mod tests;

use super::cache::CacheId;
use super::cpu::{Requests, SlabHere};
use super::shared::Slab;
use super::tenancy::OPEN;
use super::{Slabs, cache::Info};
use crate::memory::SlabMemory;
use crate::random::next_random;
use core::fmt;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use pagewright_page::FrameIdx;
use pagewright_platform::Interrupts;
use tid::FreeList;

/// One cache's part on one processor.
// A cache line of its own.
#[repr(C, align(64))]
pub struct CpuSlab {
    list: FreeList,
    /// The slab's address, with the logarithm of its bytes in the lowest bits; 0 for none.
    slab: AtomicUsize,
    /// The first partial slab's frame and one more, 0 for none; the slow way's alone.
    partial: AtomicU64,
    partial_slabs: AtomicU32,
    /// Whether the place's cache counts this processor (not 0); the slow way's alone.
    attached: AtomicU32,
}

/// Bits of [`CpuSlab::slab`] that tell the slab's size.
const SIZE: usize = 63;

impl CpuSlab {
    /// Nobody's.
    pub const fn new() -> Self {
        Self::of_cpu(0)
    }

    const fn of_cpu(cpu: u32) -> Self {
        Self {
            list: FreeList::new(cpu),
            slab: AtomicUsize::new(0),
            partial: AtomicU64::new(0),
            partial_slabs: AtomicU32::new(0),
            attached: AtomicU32::new(0),
        }
    }

    /// Where the slab begins and how many bytes it has; one byte at 0 if there is none.
    #[inline(always)]
    fn place(&self) -> (usize, usize) {
        let word = self.slab.load(Acquire);
        (word & !SIZE, 1 << (word & SIZE))
    }

    /// Has another slab, whose list is empty yet, or none.
    fn set_slab(&self, slab: Option<&Slab>) {
        let word = slab.map_or(0, |slab| slab.base | slab.bytes.ilog2() as usize);
        self.slab.store(word, Release);
    }
}

impl Default for CpuSlab {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CpuSlab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.list.read();
        let (base, bytes) = self.place();
        write!(f, "CpuSlab(cpu {}, transaction {}: ", seen.cpu(), seen.tid())?;
        write!(f, "{:?} of {bytes} bytes at {base:#x}, ", seen.first())?;
        write!(f, "{} partial)", self.partial_slabs.load(Relaxed))
    }
}

/// A processor's part of all caches.
#[derive(Debug)]
pub(crate) struct CpuSlabParts<'k> {
    /// One for each place in the table of caches; none where there are rows.
    slabs: &'k [CpuSlab],
    /// For whoever has no rows, or not now: a handler that comes in between may be handed the same number.
    random: AtomicU64,
}

impl<'k> CpuSlabParts<'k> {
    /// Where there are rows.
    pub(crate) const fn none(seed: u64) -> Self {
        Self { slabs: &[], random: AtomicU64::new(seed | 1) }
    }

    #[cfg(feature = "cpu-slabs")]
    pub(crate) fn new(number: u32, slabs: &'k mut [CpuSlab], seed: u64) -> Self {
        slabs.fill_with(|| CpuSlab::of_cpu(number));
        Self { slabs, random: AtomicU64::new(seed | 1) }
    }

    /// Whether there are any.
    pub(crate) const fn is_some(&self) -> bool {
        !self.slabs.is_empty()
    }

    /// The part of a place, which the fast way may use.
    #[inline(always)]
    fn ready(&self, requests: &Requests, at: usize) -> Option<&'k CpuSlab> {
        self.slabs.get(at).filter(|_| requests.is_quiet())
    }

    /// The next random number.
    pub(crate) fn random(&self) -> u64 {
        let mut state = self.random.load(Relaxed);
        let random = next_random(&mut state);
        self.random.store(state, Relaxed);
        random
    }
}

/// A processor's part while the slow way has it to itself: interrupt handlers go elsewhere.
pub(crate) struct Inside<'c, 'k> {
    requests: &'c Requests,
    parts: &'c CpuSlabParts<'k>,
}

impl<'c, 'k> Inside<'c, 'k> {
    /// `None` if this interrupts such a use, or there is nothing to use.
    pub(crate) fn enter(here: SlabHere<'c, 'k>) -> Option<Self> {
        let (requests, parts) = (here.requests(), here.cpu().slabs());
        (parts.is_some() && requests.begin()).then_some(Self { requests, parts })
    }
}

impl Drop for Inside<'_, '_> {
    fn drop(&mut self) {
        self.requests.end();
    }
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// The slab that a processor has.
    fn slab_of(&self, cpu: &CpuSlab) -> Option<Slab> {
        let (base, bytes) = cpu.place();
        let head = FrameIdx::from_usize(self.memory.frame_of(base)).filter(|_| base != 0)?;
        Some(Slab { head, base, bytes })
    }

    /// How many objects a slab has.
    fn objects_of(&self, info: &Info, slab: &Slab) -> u32 {
        info.objects(self.map.word(slab.head).order())
    }

    /// A processor's part of a cache, which counts it from then on; `None` if the cache is about to go.
    fn attached<'i>(&self, inside: &'i Inside<'_, 'k>, cache: CacheId) -> Option<&'i CpuSlab> {
        let cpu = inside.parts.slabs.get(cache.index())?;
        if cpu.attached.load(Relaxed) == 0 {
            let slot = self.slots.get(cache.index()).filter(|slot| slot.tenancy.state() == OPEN)?;
            slot.tenancy.attach();
            cpu.attached.store(1, Relaxed);
        }
        Some(cpu)
    }

    fn push_partial(&self, cpu: &CpuSlab, head: FrameIdx) {
        let first = cpu.partial.load(Relaxed).checked_sub(1);
        self.map.set_next(head, first.map(|first| FrameIdx::new(first as u32)));
        cpu.partial.store(u64::from(head.get()) + 1, Relaxed);
        cpu.partial_slabs.store(cpu.partial_slabs.load(Relaxed) + 1, Relaxed);
    }

    fn pop_partial(&self, cpu: &CpuSlab) -> Option<Slab> {
        let head = FrameIdx::new(cpu.partial.load(Relaxed).checked_sub(1)? as u32);
        let slab = self.slab(head, self.map.word(head).order())?;
        cpu.partial.store(self.map.next(head).map_or(0, |next| u64::from(next.get()) + 1), Relaxed);
        cpu.partial_slabs.store(cpu.partial_slabs.load(Relaxed) - 1, Relaxed);
        self.map.set_next(head, None);
        Some(slab)
    }
}
