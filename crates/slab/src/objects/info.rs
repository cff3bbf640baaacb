//! Caches' figures, and `/proc/slabinfo`.

use super::{ObjectAllocator, Tunables};
use crate::slabs::CacheName;
use core::fmt;

/// A cache's figures, as a line of slabinfo has them. What a design does not have is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheRow {
    /// Its name.
    pub name: CacheName,
    /// Objects in use, and those that arrays of processors and nodes hold.
    pub active_objects: u64,
    /// Objects of all slabs.
    pub objects: u64,
    /// From one object to the next, in bytes.
    pub size: u64,
    /// Objects of a slab.
    pub per_slab: u32,
    /// Pages of a slab.
    pub pages: u64,
    /// What arrays hold.
    pub tunables: Tunables,
    /// Slabs with objects in use.
    pub active_slabs: u64,
    /// Slabs.
    pub slabs: u64,
    /// Objects in the shared arrays.
    pub shared_available: u64,
}

impl CacheRow {
    /// Of a cache without slabs.
    pub(crate) const fn new(name: CacheName, size: u64, per_slab: u32, pages: u64) -> Self {
        Self {
            name,
            active_objects: 0,
            objects: 0,
            size,
            per_slab,
            pages,
            tunables: Tunables { limit: 0, batch: 0, shared: 0 },
            active_slabs: 0,
            slabs: 0,
            shared_available: 0,
        }
    }
}

impl fmt::Display for CacheRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tunables { limit, batch, shared } = self.tunables;
        write!(f, "{:<17} {:>6} {:>6} ", self.name, self.active_objects, self.objects)?;
        write!(f, "{:>6} {:>4} {:>4}", self.size, self.per_slab, self.pages)?;
        write!(f, " : tunables {limit:>4} {batch:>4} {shared:>4}")?;
        write!(f, " : slabdata {:>6} {:>6} {:>6}", self.active_slabs, self.slabs, self.shared_available)
    }
}

/// The text of `/proc/slabinfo`, version 2.1, newest cache first, as it is when it is written.
pub struct SlabInfo<'s, 'k, 'a>(pub &'s dyn ObjectAllocator<'k, 'a>);

/// The lines above the caches'.
pub(crate) const SLABINFO_HEAD: &str = concat!(
    "slabinfo - version: 2.1\n",
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>",
    " : tunables <limit> <batchcount> <sharedfactor>",
    " : slabdata <active_slabs> <num_slabs> <sharedavail>\n",
);

impl fmt::Display for SlabInfo<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SLABINFO_HEAD)?;
        let mut done = Ok(());
        self.0.each_cache(&mut |_, row| {
            if done.is_ok() {
                done = writeln!(f, "{row}");
            }
        });
        done
    }
}

impl fmt::Debug for SlabInfo<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabInfo").finish_non_exhaustive()
    }
}
