//! kmalloc: memory of any size, from the class that holds it, or from pages of its own.

use super::{Slab, SlabConfig};
use crate::kmalloc::Classes;
use crate::large::Large;
use crate::memory::SlabMemory;
use crate::objects::Design;
use crate::slabs::{CacheId, CacheSpec, CreateError, KmallocCaches, SlabContext, SlabError, SlabState};
use crate::slub::order_for;
use crate::usercopy::{Copied, Place, UsercopyError};
use core::ptr::NonNull;
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slab<'k, 'a, I, M> {
    /// How far slabs are.
    pub fn state(&self) -> SlabState {
        self.kmalloc.state
    }

    /// Makes kmalloc's caches (`create_kmalloc_caches`); SLAB's begin at 32 bytes, and are aligned as HWCACHE_ALIGN says. A kind that the kernel does not have is served by the normal one.
    ///
    /// # Errors
    /// [`CreateError`]: too few places for caches, or sizes that cannot be laid out. There are none of them then.
    pub fn create_kmalloc_caches(&mut self, classes: &Classes) -> Result<(), CreateError> {
        let create = |spec: &CacheSpec<'_>| {
            self.create(&CacheSpec { object: SlabConfig::kmalloc(spec.object), ..*spec })
        };
        let undo = |cache: CacheId| {
            let _quiet = self.quiet();
            let _registry = self.registry.lock();
            // Nobody else has the slabs, so nobody has seen it.
            self.space.slots[cache.index()].tenancy.move_out();
        };
        self.kmalloc = KmallocCaches::build(classes, create, undo)?;
        Ok(())
    }

    /// Ends the bootstrap (`kmem_cache_init_late`): caches have arrays from now on.
    pub fn init_late(&mut self) {
        if self.kmalloc.state == SlabState::Up {
            self.kmalloc.state = SlabState::Full;
        }
    }

    /// Allocates memory (`kmalloc`, `kmalloc_node`), aligned to at least 8 bytes, and to its size where that is a power of two. No bytes are had at an
    /// address that nobody may use.
    ///
    /// # Errors
    /// [`SlabError`]; nothing has changed then.
    #[inline]
    pub fn kmalloc(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        bytes: usize,
        gfp: Gfp,
        node: Option<NodeId>,
    ) -> Result<NonNull<u8>, SlabError> {
        match (self.kmalloc.cache_of(bytes, gfp), node) {
            (Some(cache), None) => self.alloc(cx, cache, gfp),
            (Some(cache), Some(node)) => self.alloc_node(cx, cache, gfp, node),
            (None, _) => self.large().kmalloc(cx.pages, bytes, (gfp, node), || {
                self.kmalloc.serves().and_then(|()| self.injected(cx))
            }),
        }
    }

    /// How many bytes of so many could be used, were they allocated (`kmalloc_size_roundup`); what is too large stays as it is.
    pub fn kmalloc_size_roundup(&self, bytes: usize) -> usize {
        if let Some(cache) = self.kmalloc.cache_of(bytes, Gfp::empty()).and_then(|id| self.cache(id)) {
            return cache.layout.object_size as usize;
        }
        let SlabConfig { page_shift, largest, .. } = self.config;
        let order = order_for(bytes as u64, page_shift).filter(|&order| bytes > 0 && order <= largest);
        order.map_or(bytes, |order| (page_shift.bytes() << order.get()) as usize)
    }

    /// How many bytes may be used of what was allocated (`ksize`), from this address to the object's end; 0 of what was not.
    pub fn ksize(&self, memory: NonNull<u8>) -> usize {
        let address = memory.addr().get();
        match (self.cache(self.owner_of(address)), self.block_at(address)) {
            (Some(cache), Some(block)) => {
                let within = self.within(cache, &block, self.word(&block), address);
                within.map_or(0, |within| (cache.layout.object_size as usize).saturating_sub(within))
            }
            _ => self.large().size(address).unwrap_or(0),
        }
    }

    /// Whether these bytes may be copied to user space, or from there: those of an object that its cache names, or of a block of pages (`__check_heap_object`).
    ///
    /// # Errors
    /// [`UsercopyError`].
    pub fn check_heap_object(
        &self,
        memory: NonNull<u8>,
        bytes: usize,
        to_user: bool,
    ) -> Result<(), UsercopyError> {
        let address = memory.addr().get();
        let copied = Copied { design: Design::Slab, address, bytes, to_user };
        let (Some(cache), Some(block)) = (self.cache(self.owner_of(address)), self.block_at(address)) else {
            return copied.in_block(&self.large());
        };
        // Colours, indices and the rest of the slab are no object's.
        match self.within(cache, &block, self.word(&block), address) {
            Some(within) => copied.within(cache.name, cache.usercopy, within),
            None => Err(copied.refused(Place::Beside(cache.name), address - block.base)),
        }
    }

    pub(super) fn large(&self) -> Large<'_, 'a, M> {
        let (page_shift, largest) = (self.config.page_shift, self.config.largest);
        Large { map: &self.map, memory: &self.memory, account: &self.account, page_shift, largest }
    }
}
