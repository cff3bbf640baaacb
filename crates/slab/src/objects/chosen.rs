//! The design that serves a machine, where a configuration chooses it.

use super::ObjectAllocator;
use crate::account::SlabCounters;
use crate::memory::SlabMemory;
use crate::slab::Slab;
use crate::slabs::Slabs;
use crate::slob::Slob;
use pagewright_platform::{GracePeriods, Interrupts};

/// The design that a configuration chose.
// A machine has one of it.
#[expect(clippy::large_enum_variant)]
pub enum Objects<'k, 'a, I, M> {
    /// SLUB.
    Slub(Slabs<'k, 'a, I, M>),
    /// SLAB.
    Slab(Slab<'k, 'a, I, M>),
    /// SLOB.
    Slob(Slob<'k, 'a, I, M>),
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Objects<'k, 'a, I, M> {
    /// The memory of pages.
    pub const fn memory(&self) -> &M {
        match self {
            Self::Slub(slabs) => &slabs.memory,
            Self::Slab(slab) => &slab.memory,
            Self::Slob(slob) => &slob.memory,
        }
    }

    /// From here on there can be caches whose objects keep their type: whether these grace periods are the ones that slabs (SLOB: objects) wait for.
    pub const fn set_grace_periods(&mut self, grace: &'k dyn GracePeriods) -> bool {
        match self {
            Self::Slub(slabs) => slabs.set_grace_periods(grace),
            Self::Slab(slab) => slab.set_grace_periods(grace),
            Self::Slob(slob) => slob.set_grace_periods(grace),
        }
    }

    /// Counts the pages that objects take in these counters, those that they have taken so far included: whoever has the counters knows them without the design.
    pub fn count_in(&mut self, counters: &'k SlabCounters) {
        match self {
            Self::Slub(slabs) => slabs.account.count_in(counters),
            Self::Slab(slab) => slab.account.count_in(counters),
            Self::Slob(slob) => slob.account.count_in(counters),
        }
    }

    /// Whichever it is.
    pub const fn allocator<'s>(&'s self) -> &'s (dyn ObjectAllocator<'k, 'a> + 's) {
        match self {
            Self::Slub(slabs) => slabs,
            Self::Slab(slab) => slab,
            Self::Slob(slob) => slob,
        }
    }
}
