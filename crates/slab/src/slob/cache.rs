//! Caches: a size, an alignment and a count.

use super::blocks::Fit;
use super::deferred::with_footer;
use super::{Slob, SlobConfig};
use crate::memory::SlabMemory;
use crate::slabs::{
    CacheId, CacheName, CacheSpec, CreateError, Ctor, Damage, DestroyError, Destroyed, SlabContext,
    SlabError, Slot,
};
use crate::slub::{ObjectSpec, alignment, check_align};
use crate::{CacheFlags, GeometryError};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

/// A cache's figures.
#[derive(Debug)]
pub struct SlobCache {
    name: CacheName,
    size: usize,
    /// Bytes that an object takes, with what lies behind it.
    pub(super) block: usize,
    /// Where what lies behind it begins, of objects that keep their type.
    pub(super) footer: Option<usize>,
    align: usize,
    ctor: Option<Ctor>,
    /// What every page allocation for it asks for.
    gfp: Gfp,
    /// Objects in use.
    pub(super) out: AtomicU64,
}

impl SlobCache {
    pub(super) const fn name(&self) -> CacheName {
        self.name
    }

    pub(super) const fn size(&self) -> usize {
        self.size
    }

    fn gfp(&self, gfp: Gfp) -> Gfp {
        gfp | self.gfp
    }
}

impl SlobConfig {
    /// The bytes of an object, those that it takes, and its alignment.
    fn layout(&self, spec: &ObjectSpec) -> Result<(usize, usize, usize), GeometryError> {
        let (page, limit) = (self.page_shift.bytes(), self.page_shift.bytes() << self.largest.get());
        if spec.size == 0 {
            return Err(GeometryError::NoBytes);
        }
        if spec.size > limit {
            return Err(GeometryError::TooLarge { bytes: spec.size, limit });
        }
        let behind = spec.flags.contains(CacheFlags::TYPESAFE_BY_RCU);
        let block = if behind { with_footer(spec.size as usize).1 as u64 } else { spec.size };
        if block > limit {
            return Err(GeometryError::TooLarge { bytes: block, limit });
        }
        let align = alignment(spec, self.cache_line, self.word);
        // A block of pages lies at a multiple of its size, a page at a multiple of its own.
        let most = if block < page { page } else { block.next_power_of_two() };
        check_align(spec.align, limit)?;
        if align > most {
            return Err(GeometryError::AlignmentTooLarge { bytes: align, limit: most });
        }
        Ok((spec.size as usize, block as usize, align as usize))
    }
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slob<'k, 'a, I, M> {
    /// Makes a cache (`kmem_cache_create`). None is ever merged with another: there is nothing to gain. Flags that ask for debugging ask for nothing.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn create(&self, spec: &CacheSpec<'_>) -> Result<CacheId, CreateError> {
        let name = CacheName::new(spec.name).ok_or(CreateError::Name)?;
        let typesafe = spec.object.flags & CacheFlags::TYPESAFE_BY_RCU;
        if !typesafe.is_empty() && self.grace.is_none() {
            return Err(CreateError::Unsupported(typesafe));
        }
        let (first, len) = spec.usercopy;
        if u64::from(first) + u64::from(len) > spec.object.size {
            return Err(CreateError::Usercopy { first, len });
        }
        let (size, block, align) = self.config.layout(&spec.object)?;
        let footer = (!typesafe.is_empty()).then(|| with_footer(size).0);
        let mut gfp = Gfp::empty();
        gfp.set(Gfp::DMA, spec.object.flags.contains(CacheFlags::CACHE_DMA));
        gfp.set(Gfp::DMA32, spec.object.flags.contains(CacheFlags::CACHE_DMA32));
        let cache =
            SlobCache { name, size, block, footer, align, ctor: spec.ctor, gfp, out: AtomicU64::new(0) };
        let _quiet = self.quiet();
        let _registry = self.registry.lock();
        Slot::open_first(self.slots, cache)
    }

    pub(super) fn cache(&self, id: CacheId) -> Option<&SlobCache> {
        self.slots.get(id.index())?.get(id)
    }

    /// Allocates an object (`kmem_cache_alloc`, `kmem_cache_alloc_node`). The constructor fills it each time.
    ///
    /// # Errors
    /// [`SlabError`]; nothing has changed then.
    pub fn alloc(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
        gfp: Gfp,
        node: Option<NodeId>,
    ) -> Result<NonNull<u8>, SlabError> {
        let cache = self.cache(id).ok_or(SlabError::Stale)?;
        let gfp = cache.gfp(gfp);
        let object = if cache.block < self.page_bytes() {
            let fit = Fit { bytes: cache.block, align: cache.align, behind: 0 };
            let address = self.take(cx.pages, node, gfp, fit)?;
            let object = NonNull::new(self.memory.pointer(address)).ok_or(SlabError::NoMemory)?;
            if gfp.contains(Gfp::ZERO) {
                // SAFETY: so many bytes that were just taken.
                unsafe { object.write_bytes(0, cache.size) };
            }
            object
        } else {
            self.injected()?;
            self.large().alloc(cx.pages, cache.block, gfp, node)?
        };
        // SAFETY: it was just taken, with as many bytes as objects of the cache take.
        unsafe { self.wear_footer(cache, object.addr().get()) };
        if let Some(ctor) = cache.ctor {
            // SAFETY: an object of the cache, nobody else's; the constructor keeps `Ctor`'s contract.
            unsafe { ctor(object) };
        }
        cache.out.fetch_add(1, Relaxed);
        Ok(object)
    }

    /// Frees an object (`kmem_cache_free`).
    ///
    /// # Safety
    /// It was allocated from this cache, and nobody uses it from now on.
    pub unsafe fn free(&self, cx: &SlabContext<'_, 'k, 'a>, id: CacheId, object: NonNull<u8>) {
        let address = object.addr().get();
        let Some(cache) = self.cache(id) else {
            return self.report(Damage::NotAllocated, None, address);
        };
        if !address.is_multiple_of(cache.align) {
            return self.report(Damage::InvalidPointer, Some(cache), address);
        }
        // SAFETY: as the caller says.
        let done = unsafe {
            match cache.footer {
                Some(footer) => self.defer(id, cache, address, footer),
                None => self.give_object(cx, cache, address),
            }
        };
        if done {
            cache.out.fetch_sub(1, Relaxed);
        }
        if cache.footer.is_some() {
            self.release_deferred(cx);
        }
    }

    /// Gives an object's memory back; whether it was one.
    ///
    /// # Safety
    /// It was allocated from this cache, and nobody uses it from now on.
    pub(super) unsafe fn give_object(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: &SlobCache,
        address: usize,
    ) -> bool {
        if cache.block < self.page_bytes() {
            // SAFETY: as the caller says.
            return unsafe { self.give(cx.pages, Some(cache), address, cache.block) };
        }
        // What an object of no bytes would be is none of a cache's.
        let done = self.large().block(address).is_some() && self.large().free(cx.pages, address);
        if !done {
            self.report(Damage::NotAllocated, Some(cache), address);
        }
        done
    }

    /// Ends a cache (`kmem_cache_destroy`).
    ///
    /// # Errors
    /// [`DestroyError::InUse`] with how many objects are in use; which they are is not known, `first` is 0. [`DestroyError::Readers`] with how many wait for
    /// readers. Nothing has changed.
    ///
    /// # Safety
    /// Nobody uses the cache meanwhile, and whoever uses its handle later does so after this call (and then learns that it is stale).
    pub unsafe fn destroy(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
    ) -> Result<Destroyed, DestroyError> {
        let cache = self.cache(id).ok_or(DestroyError::Stale)?;
        let objects = cache.out.load(Relaxed);
        if objects > 0 {
            return Err(DestroyError::InUse { objects, first: 0 });
        }
        self.release_deferred(cx);
        let waits = self.slots.get(id.index()).map_or(0, Slot::waits);
        if waits > 0 {
            return Err(DestroyError::Readers { slabs: waits });
        }
        let _quiet = self.quiet();
        let _registry = self.registry.lock();
        if let Some(slot) = self.slots.get(id.index()) {
            slot.tenancy.move_out();
        }
        Ok(Destroyed::Gone)
    }

    /// Makes the `n`-th allocation from now on fail; 1 is the next, 0 ends it.
    pub fn fail_nth(&self, n: u32) {
        self.faults.set(n, &[]);
    }
}
