//! What the designs do alike: SLUB ([`Slabs`](crate::slabs::Slabs)), SLAB ([`Slab`](crate::slab::Slab)) and SLOB ([`Slob`](crate::slob::Slob)) behind one trait.
//!
//! Whoever knows the design calls it by its own functions, which the compiler can put in place; who lets a configuration choose has an [`Objects`]. A
//! [`SlabContext`] serves all of them.

use crate::account::SlabPages;
use crate::large::NO_BYTES;
use crate::slabs::{
    Broken, CacheId, CacheSpec, CreateError, DestroyError, Destroyed, SlabContext, SlabError,
};
use crate::usercopy::UsercopyError;
use core::fmt;
use core::ptr::NonNull;
use pagewright_addr::NodeId;
use pagewright_zone::Gfp;

mod chosen;
mod designs;
mod info;
mod table;
mod tune;

pub use chosen::Objects;
pub(crate) use info::SLABINFO_HEAD;
pub use info::{CacheRow, SlabInfo};
pub(crate) use table::CacheTable;
pub use tune::{Tunables, TuneError, write_slabinfo};

/// Which design.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Design {
    /// Free lists through the objects, an array of objects for each processor (CONFIG_SLUB).
    Slub,
    /// The same with a slab for each processor in place of the array, as Linux has it up to 6.17 ([`crate::slabs::cpu_slab`]).
    SlubCpuSlabs,
    /// Lists of indices beside the objects; arrays for processors, nodes and other nodes (CONFIG_SLAB).
    Slab,
    /// First fit in pages (CONFIG_SLOB).
    Slob,
}

impl Design {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Slub, Self::SlubCpuSlabs, Self::Slab, Self::Slob];
}

impl fmt::Display for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Slub => "SLUB",
            Self::SlubCpuSlabs => "SLUB, CPU slabs",
            Self::Slab => "SLAB",
            Self::Slob => "SLOB",
        })
    }
}

/// Objects of caches, and memory of any size.
///
/// After an error nothing has changed, unless it says otherwise.
pub trait ObjectAllocator<'k, 'a> {
    /// Which design it is.
    fn design(&self) -> Design;

    /// Makes a cache (`kmem_cache_create_usercopy`), or finds one to share where the design does that.
    ///
    /// # Errors
    /// [`CreateError`].
    fn create(&self, spec: &CacheSpec<'_>) -> Result<CacheId, CreateError>;

    /// Allocates an object (`kmem_cache_alloc`), of this processor's node if it has any.
    ///
    /// # Errors
    /// [`SlabError`].
    #[track_caller]
    fn alloc(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId, gfp: Gfp)
    -> Result<NonNull<u8>, SlabError>;

    /// Allocates an object on a node if that has memory (`kmem_cache_alloc_node`).
    ///
    /// # Errors
    /// [`SlabError`].
    #[track_caller]
    fn alloc_node(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
        node: NodeId,
    ) -> Result<NonNull<u8>, SlabError>;

    /// Frees an object of a cache (`kmem_cache_free`).
    ///
    /// # Safety
    /// The object was allocated from this cache, and nobody uses it from now on.
    #[track_caller]
    unsafe fn free(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId, object: NonNull<u8>);

    /// Allocates as many objects as there are places (`kmem_cache_alloc_bulk`), all or none. SLUB and SLAB take what a processor has at hand in one go.
    ///
    /// # Errors
    /// As for [`Self::alloc`].
    #[track_caller]
    fn alloc_bulk(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
        objects: &mut [Option<NonNull<u8>>],
    ) -> Result<(), SlabError> {
        let mut n = 0;
        while n < objects.len() {
            // What is zeroed goes the way of single objects.
            if !gfp.contains(Gfp::ZERO) {
                n += self.take_at_hand(cx, cache, &mut objects[n..]);
            }
            let Some(place) = objects.get_mut(n) else { break };
            match self.alloc(cx, cache, gfp) {
                Ok(object) => *place = Some(object),
                Err(why) => {
                    // SAFETY: they have just been allocated, and nobody else knows them.
                    unsafe { self.free_bulk(cx, cache, &mut objects[..n]) };
                    return Err(why);
                }
            }
            n += 1;
        }
        Ok(())
    }

    /// Frees all of these objects (`kmem_cache_free_bulk`); the places are empty afterwards.
    ///
    /// # Safety
    /// As for [`Self::free`], for each of them.
    #[track_caller]
    unsafe fn free_bulk(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        objects: &mut [Option<NonNull<u8>>],
    ) {
        let mut n = 0;
        while n < objects.len() {
            // SAFETY: freed, as the caller says; so is what follows.
            n += unsafe { self.put_at_hand(cx, cache, &mut objects[n..]) };
            if let Some(object) = objects.get_mut(n).and_then(Option::take) {
                // SAFETY: as above.
                unsafe { self.free(cx, cache, object) };
            }
            n += 1;
        }
    }

    /// Objects that this processor has at hand, for the first of these places; how many. Designs without such have none.
    fn take_at_hand(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        places: &mut [Option<NonNull<u8>>],
    ) -> usize {
        let _ = (cx, cache, places);
        0
    }

    /// Frees the first of these objects, as far as this processor takes them at hand; how many places are empty then.
    ///
    /// # Safety
    /// As for [`Self::free`], for each of them.
    unsafe fn put_at_hand(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        objects: &mut [Option<NonNull<u8>>],
    ) -> usize {
        let _ = (cx, cache, objects);
        0
    }

    /// Pages of slabs of which no object is out, and as many as objects in nodes' barns take: about what [`Self::shrink_all`] gives back.
    fn empty_pages(&self, cx: &SlabContext<'_, 'k, 'a>) -> u64 {
        let _ = cx;
        0
    }

    /// Gives back what caches have free, one after the other, until it is at least so many pages; how many it was. Caches may come and go meanwhile.
    fn shrink_all(&self, cx: &SlabContext<'_, 'k, 'a>, most: u64) -> u64 {
        let _ = (cx, most);
        0
    }

    /// Whether there are structures for slabs of a node, or none are needed.
    fn has_node(&self, nid: NodeId) -> bool {
        let _ = nid;
        true
    }

    /// How many slabs lie on a node; 0 where designs do not know.
    fn node_slabs(&self, nid: NodeId) -> u64 {
        let _ = nid;
        0
    }

    /// Pages of a node that objects take.
    fn slab_pages(&self, nid: NodeId) -> SlabPages;

    /// What is to be done every two seconds on each processor, with the number of the round: SLAB's reaper (`cache_reap`), SLUB's for what barns
    /// keep; what others asked for.
    fn reap(&self, cx: &SlabContext<'_, 'k, 'a>, round: u64) {
        let _ = round;
        self.poll(cx);
    }

    /// Gives back what a cache has free (`kmem_cache_shrink`), as far as other processors need not do it; whether it has memory yet.
    fn shrink(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId) -> bool {
        let _ = cx;
        self.row(cache).is_some_and(|row| row.objects > 0)
    }

    /// Ends a cache, or one user's share of it (`kmem_cache_destroy`).
    ///
    /// # Errors
    /// [`DestroyError`]; the cache is as it was then, but for free objects that were given back.
    ///
    /// # Safety
    /// Nobody uses the cache meanwhile, and whoever uses its handle later does so after this call (and then learns that it is stale).
    unsafe fn destroy(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId)
    -> Result<Destroyed, DestroyError>;

    /// Allocates memory (`kmalloc`, `kmalloc_node`).
    ///
    /// # Errors
    /// [`SlabError`].
    #[track_caller]
    fn kmalloc(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        bytes: usize,
        gfp: Gfp,
        node: Option<NodeId>,
    ) -> Result<NonNull<u8>, SlabError>;

    /// Frees it (`kfree`).
    ///
    /// # Safety
    /// It was allocated by [`Self::kmalloc`], and nobody uses it from now on.
    #[track_caller]
    unsafe fn kfree(&self, cx: &SlabContext<'_, 'k, 'a>, memory: NonNull<u8>);

    /// How many bytes of so many could be used, were they allocated (`kmalloc_size_roundup`); what is too large stays as it is.
    fn kmalloc_size_roundup(&self, bytes: usize) -> usize;

    /// How many bytes of it may be used (`ksize`).
    ///
    /// # Safety
    /// It was allocated by [`Self::kmalloc`] and not freed yet.
    unsafe fn ksize(&self, memory: NonNull<u8>) -> usize;

    /// Makes memory larger or smaller (`krealloc`): the contents that both have stay. `None` is allocated anew; no bytes free it. With SLUB and SLAB it may
    /// be an object of any cache, as for [`Self::kfree`].
    ///
    /// # Errors
    /// [`SlabError`]; the memory is as it was then.
    ///
    /// # Safety
    /// As for [`Self::kfree`], if it succeeds, but for what it returns.
    #[track_caller]
    unsafe fn krealloc(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        memory: Option<NonNull<u8>>,
        bytes: usize,
        gfp: Gfp,
    ) -> Result<NonNull<u8>, SlabError> {
        // SAFETY: as the caller says.
        unsafe { resize(self, cx, memory, bytes, gfp) }
    }

    /// Frees memory as [`Self::kfree`] does, with all of it zeroed before (`kfree_sensitive`).
    ///
    /// # Safety
    /// As for [`Self::kfree`].
    #[track_caller]
    unsafe fn kfree_sensitive(&self, cx: &SlabContext<'_, 'k, 'a>, memory: NonNull<u8>) {
        // SAFETY: so many bytes of it are the caller's, who gives them up. Of what was not allocated there are none.
        unsafe {
            memory.write_bytes(0, self.ksize(memory));
            // Nobody reads the zeroes by a name that the compiler knows, but they are to be there.
            self.kfree(cx, core::hint::black_box(memory));
        }
    }

    /// Whether these bytes may be copied to user space, or from there (`__check_heap_object`). SLOB does not know whose an object is: it refuses what is free, and what goes
    /// beyond a page.
    ///
    /// # Errors
    /// [`UsercopyError`].
    fn check_heap_object(
        &self,
        memory: NonNull<u8>,
        bytes: usize,
        to_user: bool,
    ) -> Result<(), UsercopyError>;

    /// Changes how much of a cache's objects SLAB keeps near processors and nodes (`do_tune_cpucache`). The processor that asks has its array of the new size when this returns, others
    /// when they come by. SLUB has attributes instead, SLOB has nothing to tune.
    ///
    /// # Errors
    /// [`TuneError`]; nothing has changed then.
    fn tune(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        tunables: Tunables,
    ) -> Result<(), TuneError> {
        let _ = (cx, cache, tunables);
        Err(TuneError::Design)
    }

    /// Bytes of an object as the cache's users know it (`kmem_cache_size`), the most that any of them said; `None` if it was destroyed.
    fn object_size(&self, cache: CacheId) -> Option<u64>;

    /// Calls `each` with the address of every object that is in use, or at hand of a processor or a node. SLOB knows none.
    fn objects_in_use(&self, cache: CacheId, each: &mut dyn FnMut(usize)) {
        let _ = (cache, each);
    }

    /// A cache's figures; `None` if it was destroyed.
    fn row(&self, cache: CacheId) -> Option<CacheRow>;

    /// Calls `each` with every cache and its figures, newest place first. No cache comes or goes meanwhile: the registry is locked and interrupts are off, so `each` makes and ends no cache,
    /// and allocates nothing, since reclaim may end one.
    fn each_cache(&self, each: &mut dyn FnMut(CacheId, &CacheRow));

    /// Does what other processors asked of this one; harmless at any time.
    fn poll(&self, cx: &SlabContext<'_, 'k, 'a>) {
        let _ = cx;
    }

    /// Gives up what this processor has at hand (a processor that goes offline).
    fn flush_cpu(&self, cx: &SlabContext<'_, 'k, 'a>) {
        let _ = cx;
    }

    /// Makes the `n`-th allocation from now on fail; 1 is the next, 0 ends it.
    fn fail_nth(&self, n: u32);

    /// How many findings were reported.
    fn findings(&self) -> u64;

    /// Checks what there is of a cache, while nobody uses it.
    ///
    /// # Errors
    /// What is [`Broken`] first.
    fn validate(&self, cache: CacheId) -> Result<(), Broken>;
}

/// [`ObjectAllocator::krealloc`] by way of the others.
///
/// # Safety
/// As there.
#[track_caller]
pub(crate) unsafe fn resize<'k, 'a, O: ObjectAllocator<'k, 'a> + ?Sized>(
    objects: &O,
    cx: &SlabContext<'_, 'k, 'a>,
    memory: Option<NonNull<u8>>,
    bytes: usize,
    gfp: Gfp,
) -> Result<NonNull<u8>, SlabError> {
    let Some(old) = memory.filter(|old| old.addr().get() != NO_BYTES) else {
        return objects.kmalloc(cx, bytes, gfp, None);
    };
    // SAFETY: as the caller says.
    let had = unsafe { objects.ksize(old) };
    if bytes > 0 && bytes <= had {
        return Ok(old);
    }
    let new = objects.kmalloc(cx, bytes, gfp, None)?;
    if bytes > 0 {
        // SAFETY: both are allocated, apart, and have so many bytes.
        unsafe { old.copy_to_nonoverlapping(new, had.min(bytes)) };
    }
    // SAFETY: as the caller says.
    unsafe { objects.kfree(cx, old) };
    Ok(new)
}
