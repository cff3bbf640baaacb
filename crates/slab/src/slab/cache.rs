//! A cache as all processors see it.

use super::layout::Layout;
use crate::CacheFlags;
use crate::objects::Tunables;
use crate::slabs::{CacheId, CacheName, CacheSpec, Ctor};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use pagewright_zone::Gfp;

/// A cache's figures, which do not change while it exists but for the tunables.
#[derive(Debug)]
pub struct SlabCache {
    pub(super) name: CacheName,
    pub(super) layout: Layout,
    pub(super) ctor: Option<Ctor>,
    /// Which bytes of an object user space may be given: first and length.
    pub(super) usercopy: (u32, u32),
    /// What every page allocation for it asks for.
    pub(super) gfp: Gfp,
    /// Whether objects keep their type until their readers have left.
    pub(super) typesafe: bool,
    /// The cache that free lists off the slab are objects of.
    pub(super) freelists: Option<CacheId>,
    /// What arrays hold, as one word, so that who reads it has three numbers that belong together.
    tunables: AtomicU64,
    /// 2^32 divided by the size, rounded up: what turns a distance from the first object into a number.
    reciprocal: u64,
}

impl SlabCache {
    pub(super) fn new(
        spec: &CacheSpec<'_>,
        name: CacheName,
        layout: Layout,
        freelists: Option<CacheId>,
    ) -> Self {
        let flags = spec.object.flags;
        let mut gfp = Gfp::empty();
        gfp.set(Gfp::DMA, flags.contains(CacheFlags::CACHE_DMA));
        gfp.set(Gfp::DMA32, flags.contains(CacheFlags::CACHE_DMA32));
        gfp.set(Gfp::RECLAIMABLE, flags.contains(CacheFlags::RECLAIM_ACCOUNT));
        let reciprocal = (1_u64 << 32).div_ceil(layout.size);
        let tunables = AtomicU64::new(packed(layout.tunables));
        Self {
            name,
            layout,
            ctor: spec.ctor,
            usercopy: spec.usercopy,
            gfp,
            typesafe: flags.contains(CacheFlags::TYPESAFE_BY_RCU),
            freelists,
            tunables,
            reciprocal,
        }
    }

    /// What arrays hold, or will once they are filled or emptied next.
    pub(super) fn tunables(&self) -> Tunables {
        let word = self.tunables.load(Relaxed);
        let field = |shift: u32| (word >> shift) as u32 & Tunables::MOST;
        Tunables { limit: field(0), batch: field(24), shared: (word >> 48) as u32 }
    }

    /// Has arrays hold something else from now on; the caller has checked it.
    pub(super) fn set_tunables(&self, tunables: Tunables) {
        self.tunables.store(packed(tunables), Relaxed);
    }

    /// The number of the object that begins at a distance from the slab's first object; `None` if none does. Exact for all of them: the
    /// reciprocal is less than one unit too large for each, and all together are smaller than 2^32.
    #[inline(always)]
    pub(super) fn number_of(&self, distance: usize) -> Option<u32> {
        let number = ((distance as u64).wrapping_mul(self.reciprocal)) >> 32;
        let starts = number * self.layout.size == distance as u64 && number < u64::from(self.layout.objects);
        starts.then_some(number as u32)
    }

    /// Where a distance from the slab's first object lies in an object: the distance from that one's start; `None` behind the last.
    pub(super) fn within(&self, distance: usize) -> Option<usize> {
        let size = self.layout.size as usize;
        (distance / size < self.layout.objects as usize).then(|| distance % size)
    }

    /// Bits that no object's address has.
    pub(super) fn misaligned(&self) -> usize {
        // A slab has at least a page, of 4 KiB or more; the first object lies whole steps behind its start.
        let steps = (self.layout.size | self.layout.colour_off).trailing_zeros().min(12);
        (1 << steps) - 1
    }

    /// How many objects a node keeps in slabs of which none are out, with so many processors.
    pub(super) fn free_limit(&self, cpus: u32) -> u64 {
        (1 + u64::from(cpus)) * u64::from(self.tunables().batch) + u64::from(self.layout.objects)
    }
}

/// The tunables as a word: 24 bits for each of the first two, 16 for the third.
fn packed(tunables: Tunables) -> u64 {
    let Tunables { limit, batch, shared } = tunables;
    u64::from(limit) | u64::from(batch) << 24 | u64::from(shared) << 48
}
