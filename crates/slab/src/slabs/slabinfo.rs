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
        writeln!(f, "slabinfo - version: 2.1")?;
        write!(f, "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>")?;
        write!(f, " : tunables <limit> <batchcount> <sharedfactor>")?;
        writeln!(f, " : slabdata <active_slabs> <num_slabs> <sharedavail>")?;
        let slabs = self.0;
        let _quiet = slabs.quiet();
        let _registry = slabs.registry.lock();
        for cache in (0..slabs.slots.len()).rev().filter_map(|at| slabs.living_at(at)) {
            let Some(c) = slabs.figures(cache) else { continue };
            let (objects, pages) = (c.geometry.objects, c.geometry.order.pages());
            write!(f, "{:<17} {:>6} {:>6} ", c.name, c.active_objects, c.objects)?;
            write!(f, "{:>6} {objects:>4} {pages:>4}", c.geometry.size)?;
            write!(f, " : tunables {:>4} {:>4} {:>4}", 0, 0, 0)?;
            writeln!(f, " : slabdata {:>6} {:>6} {:>6}", c.slabs, c.slabs, 0)?;
        }
        Ok(())
    }
}

impl<I, M> fmt::Debug for SlabInfo<'_, '_, '_, I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabInfo").finish_non_exhaustive()
    }
}
