//! How many bytes were asked for of kmalloc's memory (`orig_size`): a class is larger than most requests, and what lies between is nobody's.
//!
//! A cache of kmalloc that stores users keeps the number behind their records, under the sum of the first; reports show it. With red zones, the bytes from there to the
//! object's end are one more, until somebody asks how many may be used ([`Slabs::ksize`]): then all may. Linux 6.1 keeps the number, the red zone came with 6.2.

use super::super::Slabs;
use super::super::cache::{CacheId, Info};
use super::super::report::Damage;
use super::super::shared::Slab;
use super::{Found, Object, Track};
use crate::CacheFlags;
use crate::memory::SlabMemory;
use pagewright_platform::Interrupts;

/// Bytes of the number in memory.
pub(super) const BYTES: usize = size_of::<u32>();

impl Info {
    /// Whether objects keep how many of their bytes were asked for (`slub_debug_orig_size`).
    pub(crate) const fn keeps_asked(&self) -> bool {
        self.flags.contains(CacheFlags::STORE_USER.union(CacheFlags::KMALLOC))
    }
}

impl<I: Interrupts, M: SlabMemory> Slabs<'_, '_, I, M> {
    /// Keeps how many bytes were asked for of an object that is its caller's, if the cache does that; of other addresses nothing.
    pub(crate) fn keep_asked(&self, cache: CacheId, address: usize, bytes: usize) {
        let Some(info) = self.info(cache).filter(|info| info.keeps_asked()) else { return };
        let Some(slab) = self.slab_at(address) else { return };
        let offset = address - slab.base;
        if !info.places.is_inside(offset, slab.bytes) {
            return;
        }
        let _quiet = self.quiet();
        let _lists = self.lists_of(cache, self.word(&slab).node()).lock();
        if self.is_listed_free(info, &slab, self.word(&slab), offset) {
            return;
        }
        // A record that was written over stays as it is, to be found.
        let Some(track) = self.read_track(info, &slab, offset, 0) else { return };
        let size = info.geometry.object_size as usize;
        let bytes = bytes.min(size);
        self.write_track(info, &slab, offset, 0, Track { bytes: bytes as u32, ..track });
        if info.flags.contains(CacheFlags::RED_ZONE) {
            // SAFETY: the object is the caller's, who has asked for no more of it.
            unsafe { self.fill(&slab, offset + bytes..offset + size, Object::InUse.red()) };
        }
    }

    /// Whether an object in use is whole behind what was asked for.
    pub(super) fn check_asked(&self, info: &Info, slab: &Slab, offset: usize) -> Result<(), Found> {
        if !info.keeps_asked() || !info.flags.contains(CacheFlags::RED_ZONE) {
            return Ok(());
        }
        // One that was written over is found as such.
        let asked = self.read_track(info, slab, offset, 0).map_or(0, |track| track.bytes as usize);
        let size = info.geometry.object_size as usize;
        let from = if asked == 0 { size } else { asked.min(size) };
        self.look(slab, offset + from..offset + size, Object::InUse.red(), Damage::KmallocRedZone)
    }
}
