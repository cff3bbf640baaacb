//! SLAB, as the trait calls it.

use crate::account::SlabPages;
use crate::memory::SlabMemory;
use crate::objects::{CacheRow, CacheTable, Design, ObjectAllocator, Tunables, TuneError};
use crate::slab::Slab;
use crate::slabs::bulk::{put_at_hand, take_at_hand};
use crate::slabs::{
    Broken, CacheId, CacheSpec, CreateError, DestroyError, Destroyed, SlabContext, SlabError,
};
use crate::usercopy::UsercopyError;
use core::ptr::NonNull;
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

impl<'k, 'a, I: Interrupts, M: SlabMemory> ObjectAllocator<'k, 'a> for Slab<'k, 'a, I, M> {
    fn design(&self) -> Design {
        Design::Slab
    }

    fn create(&self, spec: &CacheSpec<'_>) -> Result<CacheId, CreateError> {
        self.create(spec)
    }

    #[inline]
    fn alloc(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
    ) -> Result<NonNull<u8>, SlabError> {
        self.alloc(cx, cache, gfp)
    }

    fn alloc_node(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
        node: NodeId,
    ) -> Result<NonNull<u8>, SlabError> {
        self.alloc_node(cx, cache, gfp, node)
    }

    #[inline]
    unsafe fn free(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId, object: NonNull<u8>) {
        // SAFETY: as the caller says.
        unsafe { self.free(cx, cache, object) }
    }

    fn take_at_hand(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        places: &mut [Option<NonNull<u8>>],
    ) -> usize {
        take_at_hand(cx, &self.memory, cache, places)
    }

    unsafe fn put_at_hand(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        objects: &mut [Option<NonNull<u8>>],
    ) -> usize {
        put_at_hand(cx, &self.map, &self.memory, cache, objects)
    }

    fn has_node(&self, nid: NodeId) -> bool {
        nid.index() < self.nodes
    }

    fn node_slabs(&self, nid: NodeId) -> u64 {
        self.all_slabs_on(nid)
    }

    fn empty_pages(&self, cx: &SlabContext<'_, 'k, 'a>) -> u64 {
        self.all_empty_pages(cx)
    }

    fn shrink_all(&self, cx: &SlabContext<'_, 'k, 'a>, most: u64) -> u64 {
        self.shrink_until(cx, most)
    }

    fn reap(&self, cx: &SlabContext<'_, 'k, 'a>, round: u64) {
        self.reap(cx, round);
    }

    fn shrink(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId) -> bool {
        self.shrink(cx, cache)
    }

    unsafe fn destroy(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
    ) -> Result<Destroyed, DestroyError> {
        // SAFETY: as the caller says.
        unsafe { self.destroy(cx, cache) }
    }

    #[inline]
    fn kmalloc(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        bytes: usize,
        gfp: Gfp,
        node: Option<NodeId>,
    ) -> Result<NonNull<u8>, SlabError> {
        self.kmalloc(cx, bytes, gfp, node)
    }

    #[inline]
    unsafe fn kfree(&self, cx: &SlabContext<'_, 'k, 'a>, memory: NonNull<u8>) {
        // SAFETY: as the caller says.
        unsafe { self.kfree(cx, memory) }
    }

    fn kmalloc_size_roundup(&self, bytes: usize) -> usize {
        self.kmalloc_size_roundup(bytes)
    }

    unsafe fn ksize(&self, memory: NonNull<u8>) -> usize {
        self.ksize(memory)
    }

    fn check_heap_object(
        &self,
        memory: NonNull<u8>,
        bytes: usize,
        to_user: bool,
    ) -> Result<(), UsercopyError> {
        self.check_heap_object(memory, bytes, to_user)
    }

    fn tune(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        tunables: Tunables,
    ) -> Result<(), TuneError> {
        self.tune(cx, cache, tunables)
    }

    fn slab_pages(&self, nid: NodeId) -> SlabPages {
        self.account.of(nid)
    }

    fn object_size(&self, cache: CacheId) -> Option<u64> {
        self.layout(cache).map(|layout| layout.object_size)
    }

    fn objects_in_use(&self, cache: CacheId, each: &mut dyn FnMut(usize)) {
        self.each_out(cache, each);
    }

    fn row(&self, cache: CacheId) -> Option<CacheRow> {
        self.row(cache)
    }

    fn each_cache(&self, each: &mut dyn FnMut(CacheId, &CacheRow)) {
        self.each_cache(each);
    }

    fn poll(&self, cx: &SlabContext<'_, 'k, 'a>) {
        self.poll(cx);
    }

    fn flush_cpu(&self, cx: &SlabContext<'_, 'k, 'a>) {
        self.flush_cpu(cx);
    }

    fn fail_nth(&self, n: u32) {
        self.fail_nth(n);
    }

    fn findings(&self) -> u64 {
        self.findings()
    }

    fn validate(&self, cache: CacheId) -> Result<(), Broken> {
        self.validate(cache)
    }
}
