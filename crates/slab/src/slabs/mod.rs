//! SLUB: caches of equal objects, cut from slabs, which are blocks of the page allocator.
//!
//! [`Slabs`] is one machine's: a table of caches, and for each processor a row of objects at hand for each of them.
//!
//! # An object's owners
//! A free object has one of four places, an allocated one none:
//! ```text
//!                                                        ◀──refill── node's barn ──reap───▶
//!   user ◀──pop── row of a processor (sheaf) ──flush──▶                          slab's own free list ◀──new slab── page allocator
//!        ──push─▶                            ◀───────────────refill──────────────                     ──discard──▶
//! ```
//! - A **row** is one processor's and holds addresses in an array. That processor alone takes from it and puts to it, without a lock or a
//!   locked instruction ([`pagewright_platform::PerCpu`]); it holds as many as SLUB lets a processor keep in partial slabs
//!   (`cpu_partial`). An object may be freed on any processor: it goes to that one's row, or home if it lies on another node, and no
//!   processor waits for another. Others post a request, by which a gate is closed that the owner passes with each operation (`cpu`).
//! - A node's **barn** holds the addresses of what its processors' rows gave up, under the lock of its lists, until a row needs them or
//!   nobody did for a while (`barn`).
//! - A **slab's free list** goes through the objects themselves: each has the distance of the next one from the slab's start, mixed with
//!   a secret and its own address. What does not lead to an object of the slab is never followed. First object and count are in
//!   the page metadata (`word`), all behind the lock of the cache's slabs on that node.
//! - A **slab** is in its node's list of partial slabs (something is free) or of full ones; between a step's beginning and end in none. More
//!   than `min_partial` partial slabs are not kept once they are empty.
//! - Slabs of caches whose objects keep their type wait for readers before their pages go ([`Slabs::set_grace_periods`]).
//! - A slab's **pages** are deposited in the page map under the cache's handle ([`PageMap::deposit_slab`]): the map gives
//!   them back to no other owner, and any address in them tells whose they are.
//!
//! # Locks
//! In this order: the registry (creation and destruction), a node's lists of one cache, the places in the code that used watched caches. Pages are
//! allocated and freed without them, findings are reported ([`report`]) with them. Whoever takes one keeps interrupts away. An
//! interrupt handler that finds the processor's rows in use goes to the slabs themselves.
//!
//! # What is promised
//! After an error nothing has changed. A request whose slab cannot be had takes from any other node's partial slabs first. Wrong
//! frees are reported and not done, where they are recognised; which are is in [`report::Damage`] and the debugging flags.
//!
//! A processor's row takes what is freed by its slab's owner and its alignment alone. So in caches that are not watched an address inside an object that is aligned as
//! objects are (8 bytes into one of 40, 32 bytes into one of `kmalloc-96`) is not recognised until it gets to its slab, and may be
//! handed out before. Linux's caches that are not watched do not look at all.

pub mod attributes;
mod barn;
pub(crate) mod bulk;
pub mod cache;
pub mod cpu;
pub mod cpu_slab;
mod create;
pub mod debug;
pub(crate) mod deferred;
mod error;
mod give;
mod keep;
mod kmalloc;
mod knobs;
pub(crate) mod node;
mod nodes;
mod places;
mod reclaim;
pub mod report;
mod requests;
mod row;
mod shared;
mod slabinfo;
mod slow;
pub(crate) mod tenancy;
mod traces;
mod view;
mod word;

pub use attributes::Attribute;
pub use cache::{CacheId, CacheName, CacheSpec, Ctor, NAME_BYTES, Slot};
pub use cpu::{Row, SlabContext, SlabCpu, SlabHere};
pub use cpu_slab::CpuSlab;
pub use create::Destroyed;
pub use debug::{BadOption, DebugOptions, Site, Track};
pub use error::{CreateError, DestroyError, SlabError};
pub(crate) use kmalloc::KmallocCaches;
pub use kmalloc::SlabState;
pub use knobs::AttributeError;
pub use node::NodeSlabs;
pub use report::{Damage, Overwritten, Report, Reports, Silent, Traced};
pub use slabinfo::SlabInfo;
pub use traces::{Trace, TraceSite, Traces};
pub use view::{Broken, CacheFigures};

use crate::HOST_WORD;
use crate::account::Account;
use crate::faults::Faults;
use crate::memory::SlabMemory;
use crate::slab::MOST_NODES;
use crate::slub::Slub;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use pagewright_page::PageMap;
use pagewright_platform::{GracePeriods, Interrupts, Mutex, WithoutInterrupts};
use pagewright_zone::Gfp;

/// What processors change, in cache lines of its own: beside it lies what all of them read with each operation.
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

impl<T> core::ops::Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// What creating and destroying caches changes.
#[derive(Debug)]
pub(crate) struct Registry<'k> {
    pub(crate) random: u64,
    /// Which caches are watched.
    pub(crate) debug: DebugOptions<'k>,
    /// Whether caches that do as well as others are others (`slab_merge`).
    pub(crate) merges: bool,
}

/// The slabs of one machine. `I` keeps interrupt handlers away, `M` is the memory of pages.
pub struct Slabs<'k, 'a, I, M> {
    pub(crate) interrupts: I,
    pub(crate) map: PageMap<'a>,
    pub(crate) memory: M,
    pub(crate) slub: Slub,
    pub(crate) slots: &'k [Slot],
    /// For each slot as many as there are nodes.
    pub(crate) lists: &'k [Mutex<NodeSlabs>],
    pub(crate) nodes: usize,
    pub(crate) cpus: &'k [SlabCpu<'k>],
    /// Whether processors have slabs in place of rows.
    cpu_slabs: bool,
    pub(crate) reports: &'k dyn Reports,
    pub(crate) registry: Mutex<Registry<'k>>,
    pub(crate) secret: usize,
    /// The cache of rooms, once there is one.
    pub(crate) rooms: Option<CacheId>,
    pub(crate) kmalloc: kmalloc::KmallocCaches,
    faults: Faults,
    pub(crate) found: AtomicU64,
    /// Bytes of objects and blocks in barns, and how many there may be.
    pub(crate) kept: Apart<AtomicUsize>,
    /// How often barns were reaped, as processors' reapers count it.
    pub(crate) reaps: AtomicU32,
    pub(crate) barn_limit: AtomicUsize,
    /// Who knows when readers have left, if there are any.
    pub(crate) grace: Option<&'k dyn GracePeriods>,
    /// Slabs that wait for them; nothing else is locked inside.
    pub(crate) deferred: Mutex<deferred::Deferred>,
    /// Pages of slabs and blocks.
    pub(crate) account: Account<'k>,
    /// Places in the code that used watched caches; the innermost of all locks.
    pub(crate) sites: Mutex<debug::Sites>,
    /// How many records of users were made.
    pub(crate) recorded: AtomicUsize,
}

/// What slabs are made of, all of it the caller's.
#[derive(Debug)]
pub struct SlabSpace<'k> {
    /// Places for caches.
    pub slots: &'k [Slot],
    /// For each place as many as there are nodes.
    pub lists: &'k [Mutex<NodeSlabs>],
    /// The processors, each with a row for each place.
    pub cpus: &'k [SlabCpu<'k>],
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// Slabs without any cache but one for their own needs. `seed` makes the secrets that free pointers are mixed with.
    ///
    /// # Errors
    /// [`CreateError`] if there is no room for that cache, there are more nodes than slabs' owners tell apart, some processors have slabs and others do not, or objects are laid out
    /// for a machine whose words are longer than this one's. Where they are shorter, caches are made whose free objects have room for this machine's links: those
    /// with neither a link nor records behind their objects.
    pub fn new(
        map: PageMap<'a>,
        memory: M,
        interrupts: I,
        slub: Slub,
        space: SlabSpace<'k>,
        reports: &'k dyn Reports,
        seed: u64,
    ) -> Result<Self, CreateError> {
        if slub.word > HOST_WORD {
            return Err(CreateError::Word { wanted: slub.word, host: HOST_WORD });
        }
        let SlabSpace { slots, lists, cpus } = space;
        let nodes = lists.len().checked_div(slots.len()).unwrap_or(0);
        if nodes > MOST_NODES {
            return Err(CreateError::Nodes { nodes, most: MOST_NODES });
        }
        let with_slabs = cpus.iter().filter(|cpu| cpu.slabs().is_some()).count();
        if with_slabs != 0 && with_slabs != cpus.len() {
            return Err(CreateError::Processors { with_slabs, of: cpus.len() });
        }
        let mut slabs = Self {
            interrupts,
            map,
            memory,
            slub,
            slots,
            lists,
            nodes,
            cpus,
            cpu_slabs: with_slabs > 0,
            reports,
            registry: Mutex::new(Registry { random: seed | 1, debug: DebugOptions::NONE, merges: true }),
            secret: (seed ^ (seed << 32)) as usize,
            rooms: None,
            kmalloc: kmalloc::KmallocCaches::new(),
            faults: Faults::none(),
            found: AtomicU64::new(0),
            kept: Apart(AtomicUsize::new(0)),
            reaps: AtomicU32::new(0),
            barn_limit: AtomicUsize::new((map.len() * slub.page_shift.bytes() / keep::PART) as usize),
            grace: None,
            deferred: Mutex::new(deferred::Deferred::new()),
            account: Account::new(),
            sites: Mutex::new(debug::Sites::new()),
            recorded: AtomicUsize::new(0),
        };
        let places = slub.rooms() as u64 + 1;
        let bytes = places * size_of::<usize>() as u64;
        let spec = CacheSpec::new("kmem_cache_cpu", bytes, 0, crate::CacheFlags::empty());
        slabs.rooms = Some(slabs.create_unmerged(&spec)?);
        slabs.kmalloc.state = SlabState::Partial;
        Ok(slabs)
    }

    /// Watches the caches that are made from now on as the command line asks.
    pub fn watch(&self, options: DebugOptions<'k>) {
        let _quiet = self.quiet();
        self.registry.lock().debug = options;
    }

    /// Whether caches that are made from now on may be merged with others (`slab_merge`, as it is; `slab_nomerge`).
    pub fn set_merging(&self, merges: bool) {
        let _quiet = self.quiet();
        self.registry.lock().merges = merges;
    }

    /// Allocates an object (`kmem_cache_alloc`).
    ///
    /// # Errors
    /// [`SlabError`]; nothing has changed then.
    #[inline]
    #[track_caller]
    pub fn alloc(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
    ) -> Result<NonNull<u8>, SlabError> {
        if !gfp.contains(Gfp::ZERO)
            && let Some(object) = self.at_hand(cx, cache)
        {
            return Ok(object);
        }
        error::unpacked(self.alloc_past_row(cx, cache, gfp))
    }

    /// An object of this processor's row.
    #[inline(always)]
    pub(crate) fn at_hand(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId) -> Option<NonNull<u8>> {
        let pop = |row: &mut Row| if row.id() == cache { row.pop() } else { None };
        let object = self.memory.pointer(cx.cpu.with_row(cache.index(), pop)?);
        // SAFETY: an address of the memory is never 0.
        Some(unsafe { NonNull::new_unchecked(object) })
    }

    /// Frees an object of a cache (`kmem_cache_free`). An object of another cache is reported, and given to its own.
    ///
    /// # Safety
    /// The object was allocated from these slabs, and nobody uses it from now on.
    #[inline]
    #[track_caller]
    pub unsafe fn free(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId, object: NonNull<u8>) {
        let address = object.addr().get();
        let mark = self.memory.mark_of(&self.map, address);
        // A row whose home is marked so has the cache that the object belongs to.
        let push = |row: &mut Row| if row.home() == mark { row.push(address) } else { None };
        if cx.cpu.with_row(cache.index(), push).is_none() {
            // SAFETY: as the caller says.
            unsafe { self.free_past_row(cx, Some(cache), address) };
        }
    }

    /// Frees an object of whichever cache it belongs to.
    ///
    /// # Safety
    /// As for [`Self::free`].
    #[inline]
    #[track_caller]
    pub unsafe fn free_any(&self, cx: &SlabContext<'_, 'k, 'a>, object: NonNull<u8>) {
        let address = object.addr().get();
        let mark = self.memory.mark_of(&self.map, address);
        let push = |row: &mut Row| if row.home() == mark { row.push(address) } else { None };
        if cx.cpu.with_row(CacheId::index_of_mark(mark), push).is_none() {
            // SAFETY: as the caller says.
            unsafe { self.free_past_row(cx, None, address) };
        }
    }

    /// An object that no row serves. Whether processors have slabs is asked for further on: the rows' way has nothing to spare for it.
    #[inline(always)]
    #[track_caller]
    pub(crate) fn alloc_past_row(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId, gfp: Gfp) -> *mut u8 {
        if cfg!(feature = "cpu-slabs") {
            self.alloc_by_cpu_slab(cx, cache, gfp)
        } else {
            self.alloc_slow(cx, cache, gfp)
        }
    }

    /// An object that no row took.
    ///
    /// # Safety
    /// As for [`Self::free`].
    #[inline(always)]
    #[track_caller]
    unsafe fn free_past_row(&self, cx: &SlabContext<'_, 'k, 'a>, asked: Option<CacheId>, address: usize) {
        // SAFETY: as the caller says.
        unsafe {
            if cfg!(feature = "cpu-slabs") {
                self.free_by_cpu_slab(cx, asked, address);
            } else {
                self.free_slow(cx, asked, address);
            }
        }
    }

    /// The memory of pages.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Whether processors have slabs in place of rows.
    #[inline(always)]
    pub const fn has_cpu_slabs(&self) -> bool {
        cfg!(feature = "cpu-slabs") && self.cpu_slabs
    }

    /// Keeps interrupt handlers away: they use slabs too, and locks are taken then.
    pub(crate) fn quiet(&self) -> WithoutInterrupts<'_, I> {
        WithoutInterrupts::new(&self.interrupts)
    }

    /// The cache that an address belongs to; no cache has that handle if it belongs to none.
    pub(crate) fn owner_of(&self, address: usize) -> CacheId {
        CacheId::of_home(self.map.slab_owner(self.memory.frame_of(address)))
    }
}
