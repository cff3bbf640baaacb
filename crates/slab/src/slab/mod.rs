//! SLAB: caches of equal objects whose free lists are indices beside the objects, and arrays of free objects on the way.
//!
//! # An object's owners
//! ```text
//!   user ◀─pop── array of a processor ◀─ batch ─ array of its node, shared ◀─▶ slab's free list ◀─▶ page allocator
//!        ─push─▶                      ── batch ▶
//!        ──── of another node ─▶ array for that node (alien) ── when it is full, or the reaper comes ─▶ that node
//! ```
//! - A **processor's array** is its row ([`crate::slabs::cpu`]): taken from and put to without a lock. It holds `limit` objects, of its node alone, and is filled and
//!   emptied by `batch` of them.
//! - The **shared array** of a node takes what its processors have too many of, and is the first place where one looks that has none; the objects in it are likely in
//!   a cache of the processor yet.
//! - **Alien arrays** collect what is freed on one node and lies on another, so that the other's lock is taken once for twelve.
//! - A **slab** is in its node's list of partial, full or free ones. Free ones are kept as long as the node has no more free objects than
//!   `(1 + its processors) * batch + objects of a slab`. How it looks inside is in [`layout`], what the page metadata says of it in `word`.
//! - The **reaper** ([`Slab::reap`]), called every two seconds on each processor, gives back a fifth of each array that was not used since, and some of the
//!   free slabs.
//!
//! Arrays are objects of kmalloc, those for other nodes of a cache of their own; processors have none before [`Slab::init_late`], until when objects come from slabs one by one. Shared and alien arrays are made when they
//! are needed first.
//!
//! # What is found
//! An index that is none of the slab's is not followed: what else is free of the slab is given up ([`Damage::FreePointer`]). One that was overwritten with that of
//! another object is believed; Linux's SLAB believes it too. An object freed twice is recognised while it is the last in its array or its slab's list.
//!
//! # Locks
//! In this order: the registry, an alien array, what a cache has on a node. Pages are allocated and freed without them; interrupts are off under them.

mod cache;
mod create;
mod deferred;
mod freelist;
mod give;
mod kmalloc;
pub mod layout;
mod node;
mod reap;
mod take;
mod tune;
mod view;
mod word;

use crate::account::Account;
use crate::faults::Faults;
use crate::memory::SlabMemory;
use crate::slabs::cpu::Requests;
use crate::slabs::deferred::Deferred;
use crate::slabs::{
    CacheId, CacheSpec, CreateError, Damage, KmallocCaches, Report, Reports, Row, SlabContext, SlabCpu,
    SlabError, Slot,
};
use crate::{CacheFlags, HOST_WORD};
pub use cache::SlabCache;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
pub use layout::{Layout, Management, SlabConfig};
pub use node::NodeCache;
use pagewright_page::{FrameIdx, OwnerHandle, PageMap};
use pagewright_platform::{GracePeriods, Interrupts, Mutex, WithoutInterrupts};
use pagewright_zone::Gfp;
use word::SlabWord;

/// So many nodes a slab's owner tells apart.
pub(crate) const MOST_NODES: usize = ((1 << OwnerHandle::INDEX_BITS) / CacheId::PLACES) as usize;

/// What SLAB is made of, all of it the caller's.
#[derive(Debug)]
pub struct ArraySpace<'k> {
    /// Places for caches.
    pub slots: &'k [Slot<SlabCache>],
    /// For each place as many as there are nodes.
    pub lists: &'k [Mutex<NodeCache>],
    /// Arrays for other nodes: for each place as many as nodes times nodes; none on machines with one node.
    pub aliens: &'k [Mutex<Row>],
    /// The processors, each with a row for each place.
    pub cpus: &'k [SlabCpu<'k>],
    /// How many processors each node has.
    pub node_cpus: &'k [u32],
}

/// The slabs of one machine. `I` keeps interrupt handlers away, `M` is the memory of pages.
pub struct Slab<'k, 'a, I, M> {
    interrupts: I,
    pub(crate) map: PageMap<'a>,
    pub(crate) memory: M,
    config: SlabConfig,
    pub(crate) space: ArraySpace<'k>,
    pub(crate) nodes: usize,
    reports: &'k dyn Reports,
    /// Held while caches are made, end, or are listed.
    registry: Mutex<()>,
    /// What the order of objects in new slabs begins with.
    random: AtomicU64,
    /// The cache of arrays for other nodes, in the first place of the table, for which processors have no arrays: a request is heeded in all others
    /// (`slabs::cpu`).
    alien_rooms: Option<CacheId>,
    kmalloc: KmallocCaches,
    /// Pages of slabs and blocks.
    pub(crate) account: Account<'k>,
    /// Who knows when readers have left, if there are any.
    grace: Option<&'k dyn GracePeriods>,
    /// Slabs that wait for them; nothing else is locked inside.
    deferred: Mutex<Deferred>,
    faults: Faults,
    found: AtomicU64,
}

/// A slab as it is looked at under its node's lock.
#[derive(Clone, Copy)]
struct Block {
    head: FrameIdx,
    /// The address of its first byte.
    base: usize,
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slab<'k, 'a, I, M> {
    /// Slabs without any cache but one for their own needs. `seed` makes the order of objects in new slabs.
    ///
    /// # Errors
    /// [`CreateError`] if there is no room for that cache, there are more than 64 nodes (a slab's owner tells no more of them apart), or objects are laid out for a
    /// machine whose words are longer than this one's.
    pub fn new(
        map: PageMap<'a>,
        memory: M,
        interrupts: I,
        config: SlabConfig,
        space: ArraySpace<'k>,
        reports: &'k dyn Reports,
        seed: u64,
    ) -> Result<Self, CreateError> {
        // Free lists are made of indices: shorter words only lay objects out.
        if config.word > HOST_WORD {
            return Err(CreateError::Word { wanted: config.word, host: HOST_WORD });
        }
        let nodes = space.lists.len().checked_div(space.slots.len()).unwrap_or(0);
        if nodes > MOST_NODES {
            return Err(CreateError::Nodes { nodes, most: MOST_NODES });
        }
        let mut slab = Self {
            interrupts,
            map,
            memory,
            config,
            space,
            nodes,
            reports,
            registry: Mutex::new(()),
            random: AtomicU64::new(seed),
            alien_rooms: None,
            kmalloc: KmallocCaches::new(),
            account: Account::new(),
            grace: None,
            deferred: Mutex::new(Deferred::new()),
            faults: Faults::none(),
            found: AtomicU64::new(0),
        };
        let bytes = (u64::from(give::ALIEN_LIMIT) + 1) * size_of::<usize>() as u64;
        slab.alien_rooms =
            Some(slab.create(&CacheSpec::new("alien_cache", bytes, 0, CacheFlags::empty()))?);
        Ok(slab)
    }

    /// Allocates an object (`kmem_cache_alloc`).
    ///
    /// # Errors
    /// [`SlabError`]; nothing has changed then.
    #[inline]
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
        self.alloc_slow(cx, cache, gfp)
    }

    /// An object of this processor's array.
    #[inline(always)]
    fn at_hand(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId) -> Option<NonNull<u8>> {
        let pop = |row: &mut Row| {
            let object = if row.id() == cache { row.pop() } else { None }?;
            row.touched = true;
            Some(object)
        };
        let object = self.memory.pointer(cx.cpu.with_row(cache.index(), pop)?);
        // SAFETY: an address of the memory is never 0.
        Some(unsafe { NonNull::new_unchecked(object) })
    }

    /// Frees an object of a cache (`kmem_cache_free`). An object of another cache is reported, and given to its own.
    ///
    /// # Safety
    /// The object was allocated from these slabs, and nobody uses it from now on.
    #[inline]
    pub unsafe fn free(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId, object: NonNull<u8>) {
        let address = object.addr().get();
        let mark = self.memory.mark_of(&self.map, address);
        let push =
            |row: &mut Row| if row.id() == cache && row.home() == mark { row.push(address) } else { None };
        if cx.cpu.with_row(cache.index(), push).is_none() {
            // SAFETY: as the caller says.
            unsafe { self.free_slow(cx, Some(cache), address) };
        }
    }

    /// Frees memory of [`Self::kmalloc`], or an object of whichever cache it belongs to (`kfree`).
    ///
    /// # Safety
    /// As for [`Self::free`].
    #[inline]
    pub unsafe fn kfree(&self, cx: &SlabContext<'_, 'k, 'a>, memory: NonNull<u8>) {
        let address = memory.addr().get();
        let mark = self.memory.mark_of(&self.map, address);
        let push = |row: &mut Row| if row.home() == mark { row.push(address) } else { None };
        if cx.cpu.with_row(CacheId::index_of_mark(mark), push).is_none() {
            // SAFETY: as the caller says.
            unsafe { self.free_slow(cx, None, address) };
        }
    }

    fn quiet(&self) -> WithoutInterrupts<'_, I> {
        WithoutInterrupts::new(&self.interrupts)
    }

    /// The cache that an address belongs to; no cache has that handle if it belongs to none.
    #[inline(always)]
    fn owner_of(&self, address: usize) -> CacheId {
        CacheId::of_home(self.map.slab_owner(self.memory.frame_of(address)))
    }

    fn cache(&self, id: CacheId) -> Option<&SlabCache> {
        self.space.slots.get(id.index())?.get(id)
    }

    /// What a cache has on a node.
    fn lists_of(&self, cache: CacheId, node: usize) -> &Mutex<NodeCache> {
        &self.space.lists[cache.index() * self.nodes + node]
    }

    /// The array for objects of a node that are freed on another.
    fn alien_of(&self, cache: CacheId, from: usize, to: usize) -> Option<&Mutex<Row>> {
        self.space.aliens.get((cache.index() * self.nodes + from) * self.nodes + to)
    }

    /// The node in whose lists slabs of a node are: its own, or the last that has any.
    fn list_node(&self, node: usize) -> usize {
        node.min(self.nodes.saturating_sub(1))
    }

    /// The node whose objects this processor keeps at hand: its own if that has memory, else the nearest that has (`numa_mem_id`).
    fn here(&self, cx: &SlabContext<'_, '_, '_>) -> usize {
        if self.nodes <= 1 { 0 } else { self.list_node(cx.pages.memory_node(cx.node).index()) }
    }

    /// How frames of a cache's slabs there are marked.
    fn mark_here(&self, cx: &SlabContext<'_, '_, '_>, cache: CacheId) -> u32 {
        cache.home(self.here(cx)).slab_mark()
    }

    /// Whether an array of a cache is of the size and for the node that are wanted.
    fn fits(&self, cx: &SlabContext<'_, '_, '_>, cache: &SlabCache, row: &Row) -> bool {
        row.limit() == cache.tunables().limit as usize && row.home() == self.mark_here(cx, row.id())
    }

    /// The slab that an address lies in.
    fn block_at(&self, address: usize) -> Option<Block> {
        let idx = FrameIdx::from_usize(self.memory.frame_of(address))?;
        let (head, _) = self.map.slab_head(idx)?;
        Some(Block { head, base: self.memory.address(head)? })
    }

    /// The node in whose lists a slab is: its owner tells.
    fn node_of(&self, block: &Block) -> usize {
        self.list_node(CacheId::node_of_home(self.map.owner(block.head)))
    }

    /// Whether a slab is a cache's.
    fn is_of(&self, cache: CacheId, block: &Block) -> bool {
        CacheId::of_home(self.map.owner(block.head)) == cache
    }

    fn word(&self, block: &Block) -> SlabWord {
        SlabWord::from_bits(self.map.data(block.head))
    }

    fn set_word(&self, block: &Block, word: SlabWord) {
        self.map.set_data(block.head, word.bits());
    }

    fn report(&self, damage: Damage, cache: Option<&SlabCache>, address: usize) {
        self.found.fetch_add(1, Relaxed);
        self.reports.report(&Report::new(damage, cache.map(|cache| cache.name), address));
    }

    /// Makes the `n`-th allocation from now on fail that takes the slower way, and sends all that way; 1 is the next, 0 ends it.
    pub fn fail_nth(&self, n: u32) {
        self.faults.set(n, self.space.cpus);
    }

    fn injected(&self, cx: &SlabContext<'_, 'k, 'a>) -> Result<(), SlabError> {
        if cx.cpu.requests().has(Requests::FAULT) { self.faults.pass() } else { Ok(()) }
    }
}
