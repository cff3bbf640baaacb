//! Many objects at once, as [`ObjectAllocator`] does it: what a processor has at hand is taken, and put there, in one go through its gate; what is not is
//! fetched and flushed by the greater part of a row at a time, by the way of single objects. SLAB's arrays are rows too.

use super::cache::CacheId;
use super::cpu::{Row, SlabContext};
use super::{SlabError, Slabs};
use crate::memory::SlabMemory;
use crate::objects::ObjectAllocator;
use core::ptr::NonNull;
use pagewright_page::PageMap;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

/// Objects of a processor's row for these places, from the first on; how many.
pub(crate) fn take_at_hand(
    cx: &SlabContext<'_, '_, '_>,
    memory: &impl SlabMemory,
    cache: CacheId,
    places: &mut [Option<NonNull<u8>>],
) -> usize {
    let taken = cx.cpu.with_row(cache.index(), |row: &mut Row| {
        if row.id() != cache {
            return None;
        }
        row.touched = true;
        let mut n = 0;
        for place in places {
            let Some(address) = row.pop() else { break };
            *place = NonNull::new(memory.pointer(address));
            n += 1;
        }
        Some(n)
    });
    taken.unwrap_or(0)
}

/// Puts the first of these objects into a processor's row, as far as they go there; how many. Their places are empty then. They are free, and nobody else's.
pub(crate) fn put_at_hand(
    cx: &SlabContext<'_, '_, '_>,
    map: &PageMap<'_>,
    memory: &impl SlabMemory,
    cache: CacheId,
    objects: &mut [Option<NonNull<u8>>],
) -> usize {
    let put = cx.cpu.with_row(cache.index(), |row: &mut Row| {
        if row.id() != cache {
            return None;
        }
        let mut n = 0;
        for place in objects {
            if let Some(object) = *place {
                let address = object.addr().get();
                if row.home() != memory.mark_of(map, address) || row.push(address).is_none() {
                    break;
                }
                *place = None;
            }
            n += 1;
        }
        Some(n)
    });
    put.unwrap_or(0)
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// Allocates as many objects as there are places (`kmem_cache_alloc_bulk`), all or none.
    ///
    /// # Errors
    /// As for [`Self::alloc`].
    #[track_caller]
    pub fn alloc_bulk(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
        objects: &mut [Option<NonNull<u8>>],
    ) -> Result<(), SlabError> {
        ObjectAllocator::alloc_bulk(self, cx, cache, gfp, objects)
    }

    /// Frees all of these objects (`kmem_cache_free_bulk`); the places are empty afterwards.
    ///
    /// # Safety
    /// As for [`Self::free`], for each of them.
    #[track_caller]
    pub unsafe fn free_bulk(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        objects: &mut [Option<NonNull<u8>>],
    ) {
        // SAFETY: as the caller says.
        unsafe { ObjectAllocator::free_bulk(self, cx, cache, objects) };
    }
}
