//! kmalloc: memory of any size, from the class that holds it, or from pages of its own.

use super::cache::{CacheId, CacheName, CacheSpec};
use super::cpu::SlabContext;
use super::error::{packed, unpacked};
use super::report::Damage;
use super::{CreateError, SlabError, Slabs};
use crate::kmalloc::{Classes, KmallocKind, Name};
use crate::large::Large;
use crate::memory::SlabMemory;
use crate::objects::ObjectAllocator;
use crate::usercopy::{Copied, Place, UsercopyError};
use core::fmt::Write;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

/// Most classes that a kernel has, pages of 64 KiB included.
const MOST: usize = 18;
/// Up to so many bytes a table tells the class, one element for each 8 bytes.
const SMALL: usize = 1024;

/// How far slabs are (`enum slab_state`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SlabState {
    /// There is nothing yet.
    Down,
    /// Caches can be made; their processors' rooms come from the first of them.
    Partial,
    /// kmalloc serves.
    Up,
    /// All that boots is up: the caches of users come and go.
    Full,
}

/// What the normal caches do not serve.
const SPECIAL: Gfp = Gfp::DMA.union(Gfp::RECLAIMABLE).union(Gfp::ACCOUNT);

/// Which cache serves which size.
#[derive(Debug)]
pub(crate) struct KmallocCaches {
    pub(crate) state: SlabState,
    /// Whether the kernel has ZONE_DMA: without, nobody looks at `__GFP_DMA`.
    dma: bool,
    /// The normal caches, for which nearly all requests are: of sizes up to [`SMALL`], and of larger ones by the bits of their size less one.
    near: [CacheId; SMALL / 8],
    far: [CacheId; 32],
    /// The class of such sizes, and of larger ones by the bits of their size less one.
    small: [u8; SMALL / 8],
    large: [u8; 32],
    /// The largest size that a class serves.
    most: usize,
    /// By kind and class.
    caches: [[Option<CacheId>; MOST]; KmallocKind::ALL.len()],
}

impl KmallocCaches {
    pub(crate) const fn new() -> Self {
        let caches = [[None; MOST]; KmallocKind::ALL.len()];
        let (near, far) = ([CacheId::NONE; SMALL / 8], [CacheId::NONE; 32]);
        Self {
            state: SlabState::Down,
            dma: false,
            near,
            far,
            small: [0; SMALL / 8],
            large: [0; 32],
            most: 0,
            caches,
        }
    }

    /// Makes the caches of all classes and kinds, by `create`, and the tables. A kind that the kernel does not have is served by the normal one. If one cannot be made,
    /// `undo` gets those that were.
    pub(crate) fn build(
        classes: &Classes,
        mut create: impl FnMut(&CacheSpec<'_>) -> Result<CacheId, CreateError>,
        undo: impl FnMut(CacheId),
    ) -> Result<Self, CreateError> {
        let mut table = Self { dma: classes.has(KmallocKind::Dma), ..Self::new() };
        let place = |size| classes.sizes().position(|s| s == size).filter(|&at| at < MOST);
        for (kind, size) in classes.caches() {
            let Some(at) = place(size) else { continue };
            let mut name = CacheName::new("k").ok_or(CreateError::Name)?;
            name.clear();
            write!(name, "{}", Name(kind, size)).map_err(|_| CreateError::Name)?;
            let (name, object) = (name.as_str(), classes.spec(size, kind));
            let spec = CacheSpec { name, object, ctor: None, usercopy: (0, size) };
            match create(&spec) {
                Ok(cache) => table.caches[kind as usize][at] = Some(cache),
                Err(why) => {
                    table.caches.into_iter().flatten().flatten().for_each(undo);
                    return Err(why);
                }
            }
        }
        for kind in KmallocKind::ALL.into_iter().filter(|&kind| !classes.has(kind)) {
            table.caches[kind as usize] = table.caches[KmallocKind::Normal as usize];
        }
        let class_of = |bytes: u64| {
            let size = classes.class_of(bytes);
            classes.sizes().position(|s| Some(s) == size).unwrap_or(0) as u8
        };
        for (n, class) in table.small.iter_mut().enumerate() {
            *class = class_of(8 * (n as u64 + 1));
        }
        for (bits, class) in table.large.iter_mut().enumerate() {
            *class = class_of(2 << bits);
        }
        let normal = |class: u8| table.caches[KmallocKind::Normal as usize][usize::from(class)];
        table.near = table.small.map(|class| normal(class).unwrap_or(CacheId::NONE));
        table.far = table.large.map(|class| normal(class).unwrap_or(CacheId::NONE));
        table.most = classes.max_size() as usize;
        table.state = SlabState::Up;
        Ok(table)
    }

    /// Whether kmalloc serves.
    pub(crate) fn serves(&self) -> Result<(), SlabError> {
        if self.state < SlabState::Up { Err(SlabError::Stale) } else { Ok(()) }
    }

    /// The cache that serves a request; `None` for no bytes and for more than any class has.
    #[inline(always)]
    pub(crate) fn cache_of(&self, bytes: usize, gfp: Gfp) -> Option<CacheId> {
        let last = bytes.wrapping_sub(1);
        if gfp.intersects(SPECIAL) {
            return self.special_cache(last, gfp);
        }
        if let Some(cache) = self.near.get(last / 8) {
            return Some(*cache);
        }
        if last >= self.most {
            return None;
        }
        Some(self.far[last.ilog2() as usize % 32])
    }

    /// The normal cache of a small size, for a request that wants nothing but memory.
    #[inline(always)]
    fn near_cache(&self, bytes: usize, gfp: Gfp) -> Option<CacheId> {
        if gfp.intersects(SPECIAL.union(Gfp::ZERO)) {
            return None;
        }
        self.near.get(bytes.wrapping_sub(1) / 8).copied()
    }

    /// The same for [`SPECIAL`] requests: `last` is one less than the size.
    #[cold]
    fn special_cache(&self, last: usize, gfp: Gfp) -> Option<CacheId> {
        if last >= self.most {
            return None;
        }
        let class = match self.small.get(last / 8) {
            Some(class) => *class,
            None => self.large[last.ilog2() as usize % 32],
        };
        self.caches[kind_of(gfp, self.dma) as usize].get(usize::from(class)).copied().flatten()
    }
}

/// For whom a request is (`kmalloc_type`), on a kernel with ZONE_DMA or without.
#[cold]
const fn kind_of(gfp: Gfp, dma: bool) -> KmallocKind {
    if dma && gfp.contains(Gfp::DMA) {
        KmallocKind::Dma
    } else if gfp.contains(Gfp::RECLAIMABLE) {
        KmallocKind::Reclaimable
    } else if gfp.contains(Gfp::ACCOUNT) {
        KmallocKind::Accounted
    } else {
        KmallocKind::Normal
    }
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// How far slabs are.
    pub fn state(&self) -> SlabState {
        self.kmalloc.state
    }

    /// Makes kmalloc's caches (`create_kmalloc_caches`). A kind that the kernel does not have is served by the normal one.
    ///
    /// # Errors
    /// [`CreateError`]: too few places for caches, or sizes that cannot be laid out. There are none of them then.
    pub fn create_kmalloc_caches(&mut self, classes: &Classes) -> Result<(), CreateError> {
        let undo = |cache: CacheId| {
            let _quiet = self.quiet();
            let _registry = self.registry.lock();
            // Nobody else has the slabs, so nobody has seen it.
            self.slots[cache.index()].tenancy.move_out();
        };
        self.kmalloc = KmallocCaches::build(classes, |spec| self.create_unmerged(spec), undo)?;
        Ok(())
    }

    /// Ends the bootstrap (`kmem_cache_init_late`).
    pub fn init_late(&mut self) {
        self.kmalloc.state = SlabState::Full;
    }

    /// Allocates memory (`kmalloc`), aligned to at least 8 bytes, and to its size where that is a power of two. No bytes are had at an
    /// address that nobody may use.
    ///
    /// # Errors
    /// [`SlabError`]; nothing has changed then.
    #[inline]
    #[track_caller]
    pub fn kmalloc(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        bytes: usize,
        gfp: Gfp,
    ) -> Result<NonNull<u8>, SlabError> {
        if let Some(cache) = self.kmalloc.near_cache(bytes, gfp)
            && let Some(object) = self.at_hand(cx, cache)
        {
            return Ok(object);
        }
        unpacked(self.kmalloc_slow(cx, bytes, gfp))
    }

    /// What is not at hand, is of another kind, or is too large for the small table.
    #[inline(never)]
    #[track_caller]
    fn kmalloc_slow(&self, cx: &SlabContext<'_, 'k, 'a>, bytes: usize, gfp: Gfp) -> *mut u8 {
        let cache = self.kmalloc.cache_of(bytes, gfp);
        // What lies in a row is not watched, so nobody keeps what was asked for.
        if !gfp.contains(Gfp::ZERO)
            && let Some(object) = cache.and_then(|cache| self.at_hand(cx, cache))
        {
            return object.as_ptr();
        }
        packed(match cache {
            Some(cache) => {
                let object = self.alloc(cx, cache, gfp);
                object.inspect(|object| self.keep_asked(cache, object.addr().get(), bytes))
            }
            None => self.kmalloc_large(cx, bytes, (gfp, None)),
        })
    }

    /// The same on a node, if that has memory (`kmalloc_node`).
    ///
    /// # Errors
    /// As for [`Self::kmalloc`].
    #[track_caller]
    pub fn kmalloc_node(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        bytes: usize,
        gfp: Gfp,
        node: NodeId,
    ) -> Result<NonNull<u8>, SlabError> {
        match self.kmalloc.cache_of(bytes, gfp) {
            Some(cache) => {
                let object = self.alloc_node(cx, cache, gfp, node);
                object.inspect(|object| self.keep_asked(cache, object.addr().get(), bytes))
            }
            None => self.kmalloc_large(cx, bytes, (gfp, Some(node))),
        }
    }

    /// Frees memory of [`Self::kmalloc`] and its relatives, or any object (`kfree`).
    ///
    /// # Safety
    /// It was allocated from these slabs, and nobody uses it from now on.
    #[inline]
    #[track_caller]
    pub unsafe fn kfree(&self, cx: &SlabContext<'_, 'k, 'a>, memory: NonNull<u8>) {
        // SAFETY: as the caller says.
        unsafe { self.free_any(cx, memory) };
    }

    /// How many bytes could be used of so many if they were allocated: those of their class, or of a block of pages. No bytes stay none, and what is too large stays
    /// what it is (`kmalloc_size_roundup`).
    pub fn kmalloc_size_roundup(&self, bytes: usize) -> usize {
        if let Some(info) = self.kmalloc.cache_of(bytes, Gfp::empty()).and_then(|cache| self.info(cache)) {
            return info.geometry.object_size as usize;
        }
        let order =
            self.slub.order_for(bytes as u64).filter(|&order| bytes > 0 && order <= self.slub.largest);
        order.map_or(bytes, |order| self.slub.bytes(order) as usize)
    }

    /// How many bytes may be used of what was allocated (`ksize`), from this address to the object's end; 0 of what was not. Where kmalloc keeps what was asked for, it counts as all of
    /// them from now on.
    pub fn ksize(&self, memory: NonNull<u8>) -> usize {
        let address = memory.addr().get();
        let (Some(info), Some(slab)) = (self.info(self.owner_of(address)), self.slab_at(address)) else {
            return self.large().size(address).unwrap_or(0);
        };
        let Some(from) = (address - slab.base).checked_sub(info.places.offset_of(0)) else { return 0 };
        let (object, size) = (info.geometry.object_size as usize, info.geometry.size as usize);
        let within = from % size;
        if within == 0 {
            self.keep_asked(self.owner_of(address), address, object);
        }
        // What is not the user's is looked at.
        let usable = if info.is_watched() { object } else { size };
        usable.saturating_sub(within)
    }

    /// Makes memory larger or smaller (`krealloc`): the contents that both have stay. `None` is allocated anew; no bytes free it.
    ///
    /// # Errors
    /// [`SlabError`]; the memory is as it was then.
    ///
    /// # Safety
    /// As for [`Self::kfree`], if it succeeds, but for what it returns.
    #[track_caller]
    pub unsafe fn krealloc(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        memory: Option<NonNull<u8>>,
        bytes: usize,
        gfp: Gfp,
    ) -> Result<NonNull<u8>, SlabError> {
        // SAFETY: as the caller says.
        let moved = unsafe { crate::objects::resize(self, cx, memory, bytes, gfp) }?;
        let address = moved.addr().get();
        self.keep_asked(self.owner_of(address), address, bytes);
        Ok(moved)
    }

    /// Memory that no class has.
    fn kmalloc_large(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        bytes: usize,
        at: (Gfp, Option<NodeId>),
    ) -> Result<NonNull<u8>, SlabError> {
        self.large()
            .kmalloc(cx.pages, bytes, at, || self.kmalloc.serves().and_then(|()| self.injected(cx, None)))
    }

    fn large(&self) -> Large<'_, 'a, M> {
        let (page_shift, largest) = (self.slub.page_shift, self.slub.largest);
        Large { map: &self.map, memory: &self.memory, account: &self.account, page_shift, largest }
    }

    /// Frees what is no object: no bytes, a block of pages, or nothing that was allocated.
    pub(crate) fn free_other(&self, cx: &SlabContext<'_, 'k, 'a>, asked: Option<CacheId>, address: usize) {
        if asked.is_none() && self.large().free(cx.pages, address) {
            return;
        }
        self.report(Damage::NotAllocated, asked.and_then(|id| self.info(id)), address);
    }

    /// Whether these bytes may be copied to or from user space.
    pub fn may_copy(&self, memory: NonNull<u8>, bytes: usize) -> bool {
        self.check_heap_object(memory, bytes, true).is_ok()
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
        let copied = Copied { design: ObjectAllocator::design(self), address, bytes, to_user };
        let (Some(info), Some(slab)) = (self.info(self.owner_of(address)), self.slab_at(address)) else {
            return copied.in_block(&self.large());
        };
        // Red zones are nobody's.
        let (number, within) = {
            let (from, size) = (address - slab.base, info.geometry.size as usize);
            (from / size, from % size)
        };
        let objects = info.objects(self.map.word(slab.head).order()) as usize;
        let within = within.checked_sub(info.places.offset_of(0)).filter(|_| number < objects);
        let Some(within) = within else {
            return Err(copied.refused(Place::Beside(info.name), address - slab.base));
        };
        let (first, len) = info.usercopy;
        let room = (info.object_size.load(Relaxed) as u32).saturating_sub(first);
        copied.within(info.name, (first, len.min(room)), within)
    }
}
