//! What the designs do alike: SLUB ([`Slabs`]), SLAB ([`Slab`]) and SLOB ([`Slob`]) behind one trait.
//!
//! Whoever knows the design calls it by its own functions, which the compiler can put in place; who lets a configuration choose has an [`Objects`]. A
//! [`SlabContext`] serves all of them.

use crate::memory::SlabMemory;
use crate::slab::Slab;
use crate::slabs::{
    Broken, CacheId, CacheName, CacheSpec, CreateError, DestroyError, Destroyed, SlabContext, SlabError,
    Slabs,
};
use crate::slob::Slob;
use core::fmt;
use core::ptr::NonNull;
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

mod designs;

/// Which design.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Design {
    /// Free lists through the objects, an array of objects for each processor (CONFIG_SLUB).
    Slub,
    /// Lists of indices beside the objects; arrays for processors, nodes and other nodes (CONFIG_SLAB).
    Slab,
    /// First fit in pages (CONFIG_SLOB).
    Slob,
}

impl Design {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Slub, Self::Slab, Self::Slob];
}

impl fmt::Display for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Slub => "SLUB",
            Self::Slab => "SLAB",
            Self::Slob => "SLOB",
        })
    }
}

/// A cache's figures, as a line of slabinfo has them. What a design does not have is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheRow {
    /// Its name.
    pub name: CacheName,
    /// Objects in use, and those that arrays of processors and nodes hold.
    pub active_objects: u64,
    /// Objects of all slabs.
    pub objects: u64,
    /// From one object to the next, in bytes.
    pub size: u64,
    /// Objects of a slab.
    pub per_slab: u32,
    /// Pages of a slab.
    pub pages: u64,
    /// Most objects that a processor's array holds, how many it moves at a time, and how many times as many the array that a node's
    /// processors share holds.
    pub tunables: (u32, u32, u32),
    /// Slabs with objects in use.
    pub active_slabs: u64,
    /// Slabs.
    pub slabs: u64,
    /// Objects in the shared arrays.
    pub shared_available: u64,
}

impl CacheRow {
    /// Of a cache without slabs.
    pub(crate) const fn new(name: CacheName, size: u64, per_slab: u32, pages: u64) -> Self {
        Self {
            name,
            active_objects: 0,
            objects: 0,
            size,
            per_slab,
            pages,
            tunables: (0, 0, 0),
            active_slabs: 0,
            slabs: 0,
            shared_available: 0,
        }
    }
}

impl fmt::Display for CacheRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, batch, shared) = self.tunables;
        write!(f, "{:<17} {:>6} {:>6} ", self.name, self.active_objects, self.objects)?;
        write!(f, "{:>6} {:>4} {:>4}", self.size, self.per_slab, self.pages)?;
        write!(f, " : tunables {limit:>4} {batch:>4} {shared:>4}")?;
        write!(f, " : slabdata {:>6} {:>6} {:>6}", self.active_slabs, self.slabs, self.shared_available)
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

    /// Allocates as many objects as there are places (`kmem_cache_alloc_bulk`), all or none.
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
        for n in 0..objects.len() {
            match self.alloc(cx, cache, gfp) {
                Ok(object) => objects[n] = Some(object),
                Err(why) => {
                    // SAFETY: they have just been allocated, and nobody else knows them.
                    unsafe { self.free_bulk(cx, cache, &mut objects[..n]) };
                    return Err(why);
                }
            }
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
        for object in objects.iter_mut().filter_map(Option::take) {
            // SAFETY: as the caller says.
            unsafe { self.free(cx, cache, object) };
        }
    }

    /// Gives back what a cache has free (`kmem_cache_shrink`), as far as other processors need not do it; whether it has memory yet.
    fn shrink(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId) -> bool;

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

    /// How many bytes of it may be used (`ksize`).
    ///
    /// # Safety
    /// It was allocated by [`Self::kmalloc`] and not freed yet.
    unsafe fn ksize(&self, memory: NonNull<u8>) -> usize;

    /// A cache's figures; `None` if it was destroyed.
    fn row(&self, cache: CacheId) -> Option<CacheRow>;

    /// Calls `each` with every cache and its figures, newest place first. No cache comes or goes meanwhile, so `each` makes and ends none.
    fn each_cache(&self, each: &mut dyn FnMut(CacheId, &CacheRow));

    /// Does what other processors asked of this one; harmless at any time.
    fn poll(&self, cx: &SlabContext<'_, 'k, 'a>);

    /// Gives up what this processor has at hand (a processor that goes offline).
    fn flush_cpu(&self, cx: &SlabContext<'_, 'k, 'a>);

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

/// The text of `/proc/slabinfo`, version 2.1, newest cache first, as it is when it is written.
pub struct SlabInfo<'s, 'k, 'a>(pub &'s dyn ObjectAllocator<'k, 'a>);

/// The lines above the caches'.
pub(crate) const SLABINFO_HEAD: &str = concat!(
    "slabinfo - version: 2.1\n",
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>",
    " : tunables <limit> <batchcount> <sharedfactor>",
    " : slabdata <active_slabs> <num_slabs> <sharedavail>\n",
);

impl fmt::Display for SlabInfo<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SLABINFO_HEAD)?;
        let mut done = Ok(());
        self.0.each_cache(&mut |_, row| {
            if done.is_ok() {
                done = writeln!(f, "{row}");
            }
        });
        done
    }
}

impl fmt::Debug for SlabInfo<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabInfo").finish_non_exhaustive()
    }
}

/// The design that a configuration chose.
// A machine has one of it.
#[expect(clippy::large_enum_variant)]
pub enum Objects<'k, 'a, I, M> {
    /// SLUB.
    Slub(Slabs<'k, 'a, I, M>),
    /// SLAB.
    Slab(Slab<'k, 'a, I, M>),
    /// SLOB.
    Slob(Slob<'k, 'a, I, M>),
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Objects<'k, 'a, I, M> {
    /// The memory of pages.
    pub const fn memory(&self) -> &M {
        match self {
            Self::Slub(slabs) => &slabs.memory,
            Self::Slab(slab) => &slab.memory,
            Self::Slob(slob) => &slob.memory,
        }
    }

    /// Whichever it is.
    pub const fn allocator<'s>(&'s self) -> &'s (dyn ObjectAllocator<'k, 'a> + 's) {
        match self {
            Self::Slub(slabs) => slabs,
            Self::Slab(slab) => slab,
            Self::Slob(slob) => slob,
        }
    }
}
