//! Caches come and go.

use super::Slab;
use super::cache::SlabCache;
use super::layout::Management;
use crate::CacheFlags;
use crate::memory::SlabMemory;
use crate::slabs::cpu::Requests;
use crate::slabs::tenancy::{CLOSING, LEAVING, OPEN};
use crate::slabs::{CacheId, CacheName, CacheSpec, CreateError, DestroyError, Destroyed, SlabContext, Slot};
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slab<'k, 'a, I, M> {
    /// Makes a cache (`kmem_cache_create_usercopy`). Flags that ask for debugging ask for nothing, as in a kernel without CONFIG_DEBUG_SLAB.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn create(&self, spec: &CacheSpec<'_>) -> Result<CacheId, CreateError> {
        let name = CacheName::new(spec.name).ok_or(CreateError::Name)?;
        let (first, len) = spec.usercopy;
        if u64::from(first) + u64::from(len) > spec.object.size {
            return Err(CreateError::Usercopy { first, len });
        }
        let typesafe = spec.object.flags & CacheFlags::TYPESAFE_BY_RCU;
        if !typesafe.is_empty() && self.grace.is_none() {
            return Err(CreateError::Unsupported(typesafe));
        }
        // Lists off a slab are objects of caches that have theirs not there: making one slab would go on for ever.
        let class = |bytes: u64| {
            let id = self.kmalloc.cache_of(bytes as usize, Gfp::empty())?;
            let layout = self.cache(id)?.layout;
            (layout.management != Management::OffSlab).then_some((id, layout.size))
        };
        let layout = self.config.layout(&spec.object, |bytes| class(bytes).map(|(_, size)| size))?;
        let freelists = match layout.management {
            Management::OffSlab => class(layout.freelist()).map(|(id, _)| id),
            Management::OnSlab | Management::InObject => None,
        };
        let cache = SlabCache::new(spec, name, layout, freelists);
        let _quiet = self.quiet();
        let _registry = self.registry.lock();
        Slot::open_first(self.space.slots, cache)
    }

    /// Ends a cache (`kmem_cache_destroy`).
    ///
    /// # Errors
    /// [`DestroyError`]; the cache is as it was then, but for free objects that were given back.
    ///
    /// # Safety
    /// Nobody uses the cache meanwhile, and whoever uses its handle later does so after this call (and then learns that it is stale).
    pub unsafe fn destroy(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
    ) -> Result<Destroyed, DestroyError> {
        let cache = self.cache(id).ok_or(DestroyError::Stale)?;
        let slot = &self.space.slots[id.index()];
        slot.tenancy.set(CLOSING);
        if let Some(mut own) = cx.cpu.enter() {
            self.flush_row(cx, &mut own, id.index());
        }
        // Processors that have an array of it, or reap it.
        let cpus = slot.tenancy.attached();
        if cpus > 0 {
            // Whoever uses the cache nevertheless opens it again (`attach`), if he comes after this; who came before is asked now, gives his array up, and opens it with the next.
            slot.tenancy.set(LEAVING);
            self.space.cpus.iter().for_each(|cpu| cpu.requests().post(Requests::FLUSH));
            return Err(DestroyError::Retry { cpus });
        }
        self.drop_arrays(cx, id);
        let left = self.drain_nodes(cx, id, cache);
        if left > 0 {
            slot.tenancy.set(OPEN);
            let (mut objects, mut first) = (0, 0);
            self.objects_out(id, cache, |address| {
                first = if objects == 0 { address } else { first };
                objects += 1;
            });
            return Err(DestroyError::InUse { objects, first });
        }
        self.release_deferred(cx);
        let slabs = slot.waits();
        if slabs > 0 {
            slot.tenancy.set(OPEN);
            return Err(DestroyError::Readers { slabs });
        }
        let _quiet = self.quiet();
        let _registry = self.registry.lock();
        slot.tenancy.move_out();
        Ok(Destroyed::Gone)
    }
}
