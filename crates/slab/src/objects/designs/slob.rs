//! SLOB, as the trait calls it. Free pages never stay, nothing is at hand, and no node has structures, as the trait's defaults say.

use crate::account::SlabPages;
use crate::memory::SlabMemory;
use crate::objects::{CacheRow, Design, ObjectAllocator};
use crate::slabs::{
    Broken, CacheId, CacheSpec, CreateError, DestroyError, Destroyed, SlabContext, SlabError,
};
use crate::slob::Slob;
use crate::usercopy::UsercopyError;
use core::ptr::NonNull;
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

impl<'k, 'a, I: Interrupts, M: SlabMemory> ObjectAllocator<'k, 'a> for Slob<'k, 'a, I, M> {
    fn design(&self) -> Design {
        Design::Slob
    }

    fn create(&self, spec: &CacheSpec<'_>) -> Result<CacheId, CreateError> {
        self.create(spec)
    }

    fn alloc(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
    ) -> Result<NonNull<u8>, SlabError> {
        self.alloc(cx, cache, gfp, None)
    }

    fn alloc_node(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
        node: NodeId,
    ) -> Result<NonNull<u8>, SlabError> {
        self.alloc(cx, cache, gfp, Some(node))
    }

    unsafe fn free(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId, object: NonNull<u8>) {
        // SAFETY: as the caller says.
        unsafe { self.free(cx, cache, object) }
    }

    fn shrink(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId) -> bool {
        self.release_deferred(cx);
        self.row(cache).is_some_and(|row| row.objects > 0)
    }

    unsafe fn destroy(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
    ) -> Result<Destroyed, DestroyError> {
        // SAFETY: as the caller says.
        unsafe { self.destroy(cx, cache) }
    }

    fn poll(&self, cx: &SlabContext<'_, 'k, 'a>) {
        self.release_deferred(cx);
    }

    fn kmalloc(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        bytes: usize,
        gfp: Gfp,
        node: Option<NodeId>,
    ) -> Result<NonNull<u8>, SlabError> {
        self.kmalloc(cx, bytes, gfp, node)
    }

    unsafe fn kfree(&self, cx: &SlabContext<'_, 'k, 'a>, memory: NonNull<u8>) {
        // SAFETY: as the caller says.
        unsafe { self.kfree(cx, memory) }
    }

    fn kmalloc_size_roundup(&self, bytes: usize) -> usize {
        self.kmalloc_size_roundup(bytes)
    }

    unsafe fn ksize(&self, memory: NonNull<u8>) -> usize {
        // SAFETY: as the caller says.
        unsafe { self.ksize(memory) }
    }

    fn check_heap_object(
        &self,
        memory: NonNull<u8>,
        bytes: usize,
        to_user: bool,
    ) -> Result<(), UsercopyError> {
        self.check_heap_object(memory, bytes, to_user)
    }

    fn slab_pages(&self, nid: NodeId) -> SlabPages {
        self.account.of(nid)
    }

    fn object_size(&self, cache: CacheId) -> Option<u64> {
        self.row(cache).map(|row| row.size)
    }

    fn row(&self, cache: CacheId) -> Option<CacheRow> {
        self.row(cache)
    }

    fn each_cache(&self, each: &mut dyn FnMut(CacheId, &CacheRow)) {
        self.each_cache(each);
    }

    fn fail_nth(&self, n: u32) {
        self.fail_nth(n);
    }

    fn findings(&self) -> u64 {
        self.findings()
    }

    fn validate(&self, _: CacheId) -> Result<(), Broken> {
        self.validate()
    }
}
