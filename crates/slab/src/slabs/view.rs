//! Looking at caches: figures, and whether everything agrees.

use super::Slabs;
use super::cache::{CacheId, CacheName, Info};
use super::shared::Slab;
use super::word::{Listed, SlabWord};
use crate::CacheFlags;
use crate::memory::SlabMemory;
use crate::slub::Geometry;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_page::FrameIdx;
use pagewright_platform::Interrupts;

/// A cache's figures, as slabinfo has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheFigures {
    /// Its name.
    pub name: CacheName,
    /// What it was asked to be.
    pub flags: CacheFlags,
    /// How its slabs are laid out.
    pub geometry: Geometry,
    /// Bytes of an object: as many as any wanted who share it (`kmem_cache_size`).
    pub object_size: u64,
    /// Objects that are in use, or with a processor: in no slab's free list and no barn.
    pub active_objects: u64,
    /// Objects of all slabs.
    pub objects: u64,
    /// Slabs.
    pub slabs: u64,
    /// Slabs with free objects.
    pub partial: u64,
    /// How many were created that share it.
    pub users: u32,
}

/// What [`Slabs::validate`] found to be wrong with a slab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The slab's first frame.
    pub slab: FrameIdx,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the slab at frame index {}: {}", self.slab, self.what)
    }
}

impl core::error::Error for Broken {}

impl<'a, I: Interrupts, M: SlabMemory> Slabs<'_, 'a, I, M> {
    /// A cache's figures; `None` if it was destroyed.
    pub fn figures(&self, cache: CacheId) -> Option<CacheFigures> {
        let info = self.info(cache)?;
        let mut figures = CacheFigures {
            name: info.name,
            flags: info.flags,
            geometry: info.geometry,
            object_size: info.object_size.load(Relaxed) as u64,
            active_objects: 0,
            objects: 0,
            slabs: 0,
            partial: 0,
            users: info.users.load(Relaxed),
        };
        for node in 0..self.nodes {
            let _quiet = self.quiet();
            let lists = self.lists_of(cache, node).lock();
            let mut free = lists.barn.len() as u64;
            for head in lists.partial.iter(&self.map) {
                let word = SlabWord::from_bits(self.map.data(head));
                free += u64::from(info.objects(self.map.word(head).order()) - word.out());
            }
            figures.objects += lists.objects;
            figures.active_objects += lists.objects - free;
            figures.slabs += lists.slabs();
            figures.partial += lists.partial.len;
        }
        Some(figures)
    }

    /// Calls `each` with every cache's figures. No cache comes or goes meanwhile.
    pub fn each_cache(&self, mut each: impl FnMut(&CacheFigures)) {
        let _quiet = self.quiet();
        let _registry = self.registry.lock();
        self.living().filter_map(|id| self.figures(id)).for_each(|figures| each(&figures));
    }

    /// How many findings were reported.
    pub fn findings(&self) -> u64 {
        self.found.load(Relaxed)
    }

    /// Whether an object is in its slab's free list, under its lock.
    pub(crate) fn is_listed_free(&self, info: &Info, slab: &Slab, word: SlabWord, offset: usize) -> bool {
        self.free_list(info, slab, word).any(|free| free == Ok(offset))
    }

    /// The slab's free objects as their links have them; at most as many as there can be.
    pub(super) fn free_list<'i>(
        &'i self,
        info: &'i Info,
        slab: &Slab,
        word: SlabWord,
    ) -> impl Iterator<Item = Result<usize, ()>> + 'i {
        let (slab, most) = (*slab, info.objects(self.map.word(slab.head).order()));
        let mut at = word.first_free().map(Ok);
        core::iter::from_fn(move || {
            let now = at?;
            at = match now {
                Ok(offset) => {
                    let link = self.memory.pointer(info.places.link(slab.base + offset));
                    // SAFETY: a free object of the slab, whose link was written when it was freed; under the lock.
                    let stored = unsafe { link.cast::<usize>().read() };
                    info.places
                        .decode(link.addr(), stored, slab.bytes)
                        .map_or(Some(Err(())), |next| next.map(Ok))
                }
                Err(()) => None,
            };
            Some(now)
        })
        .take(most as usize + 1)
    }

    /// Checks the lists and every slab of a cache, while nobody uses it.
    ///
    /// # Errors
    /// The first [`Broken`] slab.
    pub fn validate(&self, cache: CacheId) -> Result<(), Broken> {
        let Some(info) = self.info(cache) else { return Ok(()) };
        for node in 0..self.nodes {
            let _quiet = self.quiet();
            let lists = self.lists_of(cache, node).lock();
            let partial = lists.partial.iter(&self.map).map(|head| (head, Listed::Partial));
            let full = lists.full.iter(&self.map).map(|head| (head, Listed::Full));
            let (mut slabs, mut objects) = (0, 0);
            for (head, listed) in partial.chain(full) {
                let broken = |what| Err(Broken { slab: head, what });
                let Some((at, order)) = self.map.slab_head(head) else { return broken("it is none") };
                let Some(slab) = self.slab(head, order) else { return broken("it has no memory") };
                let word = self.word(&slab);
                if at != head || !self.is_of(cache, head) {
                    return broken("its frames are somebody else's");
                }
                if word.listed() != listed || word.node() != node {
                    return broken("it is in another list than it says");
                }
                if (word.first_free().is_none()) != (listed == Listed::Full) {
                    return broken("it is in the wrong list");
                }
                let free = self.free_list(info, &slab, word).count() as u32;
                if self.free_list(info, &slab, word).any(|free| free.is_err()) {
                    return broken("a link leads nowhere");
                }
                if free + word.out() != info.objects(order) {
                    return broken("objects are missing");
                }
                slabs += 1;
                objects += u64::from(info.objects(order));
            }
            let apart = self.validate_apart(cache, info, node)?;
            (slabs, objects) = (slabs + apart.0, objects + apart.1);
            if slabs != lists.slabs() || objects != lists.objects {
                return Err(Broken { slab: FrameIdx::default(), what: "the lists count otherwise" });
            }
        }
        Ok(())
    }
}
