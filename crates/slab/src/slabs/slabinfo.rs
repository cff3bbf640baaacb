//! `/proc/slabinfo`, version 2.1.

use super::Slabs;
use crate::memory::SlabMemory;
use core::fmt;
use pagewright_platform::Interrupts;

/// The file's text, as it is when it is written.
pub struct SlabInfo<'s, 'k, 'a, I, M>(&'s Slabs<'k, 'a, I, M>);

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// The caches as slabtop reads them, newest first. Objects that a processor has at hand count as active, as they do in Linux.
    pub const fn slabinfo(&self) -> SlabInfo<'_, 'k, 'a, I, M> {
        SlabInfo(self)
    }
}

impl<I: Interrupts, M: SlabMemory> fmt::Display for SlabInfo<'_, '_, '_, I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::objects::SLABINFO_HEAD)?;
        let slabs = self.0;
        let _quiet = slabs.quiet();
        let _registry = slabs.registry.lock();
        for cache in (0..slabs.slots.len()).rev().filter_map(|at| slabs.living_at(at)) {
            if let Some(row) = crate::objects::ObjectAllocator::row(slabs, cache) {
                writeln!(f, "{row}")?;
            }
        }
        Ok(())
    }
}

impl<I, M> fmt::Debug for SlabInfo<'_, '_, '_, I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabInfo").finish_non_exhaustive()
    }
}
