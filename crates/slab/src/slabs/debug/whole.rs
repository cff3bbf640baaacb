//! Looking at all there is of a watched cache, or of one of its slabs.

use super::super::Slabs;
use super::super::cache::{CacheId, Info};
use super::super::word::Listed;
use super::Object;
use crate::memory::SlabMemory;
use pagewright_page::FrameIdx;
use pagewright_platform::Interrupts;

impl<I: Interrupts, M: SlabMemory> Slabs<'_, '_, I, M> {
    /// Looks at every slab and every object of a watched cache, and reports what is damaged (`validate_slab_cache`): how many findings. Others may use
    /// the cache meanwhile.
    pub fn validate_objects(&self, cache: CacheId) -> u64 {
        let Some(info) = self.info(cache).filter(|info| info.is_watched()) else { return 0 };
        let mut found = 0;
        for node in 0..self.nodes {
            let _quiet = self.quiet();
            let lists = self.lists_of(cache, node).lock();
            for head in lists.partial.iter(&self.map).chain(lists.full.iter(&self.map)) {
                found += self.check_all(info, head, node);
            }
        }
        found
    }

    /// Looks at a slab and all of its objects, under its lock or when nobody else knows it.
    fn check_all(&self, info: &Info, head: FrameIdx, node: usize) -> u64 {
        let order = self.map.word(head).order();
        let Some(slab) = self.slab(head, order) else { return 0 };
        let word = self.word(&slab);
        if let Err(why) = self.check_slab(info, &slab, word, (node, word.belongs())) {
            self.tell(info, &slab, slab.base, why);
            return 1;
        }
        let mut found = 0;
        for number in 0..info.objects(order) {
            let offset = info.places.offset_of(number);
            let free = self.is_listed_free(info, &slab, word, offset);
            let object = if free { Object::Free } else { Object::InUse };
            if let Err(why) = self.check_object(info, &slab, offset, object) {
                self.tell(info, &slab, slab.base + offset, why);
                found += 1;
            }
        }
        found
    }

    /// The last look at a slab that is in no list and whose objects are all free, before its pages go (`free_slab`).
    pub(crate) fn check_last(&self, info: &Info, head: FrameIdx) {
        // Records of users take a lock.
        let _quiet = self.quiet();
        let order = self.map.word(head).order();
        let Some(slab) = &self.slab(head, order) else { return };
        let node = CacheId::node_of_home(self.map.owner(head));
        if let Err(why) = self.check_slab(info, slab, self.word(slab), (node, Listed::Nowhere)) {
            self.tell(info, slab, slab.base, why);
        }
        for number in 0..info.objects(order) {
            let offset = info.places.offset_of(number);
            if let Err(why) = self.check_object(info, slab, offset, Object::Free) {
                self.tell(info, slab, slab.base + offset, why);
            }
        }
    }
}
