//! Looking at pages and caches: figures, and whether everything agrees.

use super::{OWNER, Slob};
use crate::memory::SlabMemory;
use crate::objects::CacheRow;
use crate::slabs::{Broken, CacheId, Slot};
use core::sync::atomic::Ordering::Relaxed;
use pagewright_platform::Interrupts;

impl<I: Interrupts, M: SlabMemory> Slob<'_, '_, I, M> {
    /// A cache's figures; `None` if it was destroyed. It has no slabs. Objects that wait for readers count, but are not active.
    pub fn row(&self, id: CacheId) -> Option<CacheRow> {
        let cache = self.cache(id)?;
        let out = cache.out.load(Relaxed);
        let objects = out + u64::from(self.slots.get(id.index()).map_or(0, Slot::waits));
        let size = cache.size() as u64;
        Some(CacheRow { active_objects: out, objects, ..CacheRow::new(cache.name(), size, 0, 0) })
    }

    pub(crate) fn each_cache(&self, each: &mut dyn FnMut(CacheId, &CacheRow)) {
        let _quiet = self.quiet();
        let _registry = self.registry.lock();
        for cache in (0..self.slots.len()).rev().filter_map(|at| Slot::living_at(self.slots, at)) {
            if let Some(row) = self.row(cache) {
                each(cache, &row);
            }
        }
    }

    /// How many pages blocks are cut from.
    pub fn pages(&self) -> u64 {
        let _quiet = self.quiet();
        self.lists.lock().held
    }

    /// How many findings were reported.
    pub fn findings(&self) -> u64 {
        self.found.load(Relaxed)
    }

    /// Checks the lists and every page in them.
    ///
    /// # Errors
    /// The first [`Broken`] page.
    pub fn validate(&self) -> Result<(), Broken> {
        let _quiet = self.quiet();
        let lists = self.lists.lock();
        let mut pages = 0;
        for (number, list) in lists.pages.iter().enumerate() {
            let mut len = 0;
            for idx in list.iter(&self.map) {
                let broken = |what| Err(Broken { slab: idx, what });
                if self.map.owner(idx) != OWNER || self.map.slab_head(idx).is_none() {
                    return broken("it is somebody else's");
                }
                let word = self.word_of(idx);
                if word.listed.index() != Some(number) {
                    return broken("it is in another list than it says");
                }
                let Some(base) = self.memory.address(idx) else { return broken("it has no memory") };
                let page = self.page_at(base);
                if word.free == 0 || word.free >= page.units(self.page_bytes()) {
                    return broken("it should be in no list");
                }
                if page.count(word.first) != Ok(word.free) {
                    return broken("free blocks are missing");
                }
                len += 1;
            }
            if len != list.len {
                return Err(Broken { slab: Default::default(), what: "a list counts otherwise" });
            }
            pages += len;
        }
        if pages > lists.held {
            return Err(Broken { slab: Default::default(), what: "more pages are listed than there are" });
        }
        Ok(())
    }
}
