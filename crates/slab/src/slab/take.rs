//! What a processor's array does not serve: from the shared array, from slabs, from new slabs, from other nodes.

use super::cache::SlabCache;
use super::layout::Management;
use super::node::NodeCache;
use super::word::{PLACE_UNIT, SlabWord};
use super::{Block, Slab};
use crate::memory::{SlabMemory, zonelist};
use crate::slabs::cpu::CpuSlabs;
use crate::slabs::tenancy::CLOSING;
use crate::slabs::{CacheId, Row, SlabContext, SlabError, SlabState};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::NodeId;
use pagewright_page::FrameIdx;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

/// So many an array gets that was not used lately (BATCHREFILL_LIMIT).
const SMALL_BATCH: u32 = 16;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slab<'k, 'a, I, M> {
    /// The way of an allocation that no array serves.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_slow(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
    ) -> Result<NonNull<u8>, SlabError> {
        self.injected(cx)?;
        self.answer(cx);
        let address = match cx.cpu.enter() {
            Some(mut own) => self.refill(cx, &mut own, cache, gfp)?,
            None => self.one(cx, cache, None, gfp)?,
        };
        self.finish(cache, address, gfp)
    }

    /// Allocates an object on a node if that has memory (`kmem_cache_alloc_node`), with `__GFP_THISNODE` there or nowhere.
    ///
    /// # Errors
    /// As for [`Self::alloc`].
    pub fn alloc_node(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
        node: NodeId,
    ) -> Result<NonNull<u8>, SlabError> {
        if self.nodes <= 1 {
            return self.alloc(cx, cache, gfp);
        }
        let serves = if gfp.contains(Gfp::THISNODE) { node } else { cx.pages.memory_node(node) };
        if self.list_node(serves.index()) == self.here(cx) {
            return self.alloc_here(cx, cache, gfp);
        }
        self.injected(cx)?;
        self.answer(cx);
        let address = self.one(cx, cache, Some(node), gfp)?;
        self.finish(cache, address, gfp)
    }

    /// Allocates an object of the node whose objects this processor keeps at hand. Where that is another since it got its array (memory came or went), the array is given up.
    fn alloc_here(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
    ) -> Result<NonNull<u8>, SlabError> {
        let mark = self.mark_here(cx, cache);
        let is_here = |row: &mut Row| (row.home() == mark).then_some(());
        if cx.cpu.with_row(cache.index(), is_here).is_some() {
            return self.alloc(cx, cache, gfp);
        }
        self.alloc_slow(cx, cache, gfp)
    }

    /// What an allocation ends with.
    fn finish(&self, cache: CacheId, address: usize, gfp: Gfp) -> Result<NonNull<u8>, SlabError> {
        let object = NonNull::new(self.memory.pointer(address)).ok_or(SlabError::NoMemory)?;
        if gfp.contains(Gfp::ZERO)
            && let Some(cache) = self.cache(cache)
        {
            // SAFETY: the object was just taken, is nobody else's, and has so many bytes.
            unsafe { object.write_bytes(0, cache.layout.object_size as usize) };
        }
        Ok(object)
    }

    /// One object past this processor's array.
    pub(super) fn one(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
        node: Option<NodeId>,
        gfp: Gfp,
    ) -> Result<usize, SlabError> {
        let cache = self.cache(id).ok_or(SlabError::Stale)?;
        let mut place = [MaybeUninit::uninit()];
        if self.collect(cx, id, cache, (node, gfp), &mut place) == 0 {
            self.elsewhere(cx, id, cache, node, gfp, &mut place)?;
        }
        // SAFETY: one of the two wrote it.
        Ok(unsafe { place[0].assume_init() })
    }

    /// An object by way of this processor's array, which gets a batch if it is empty.
    fn refill(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        own: &mut CpuSlabs<'k>,
        id: CacheId,
        gfp: Gfp,
    ) -> Result<usize, SlabError> {
        let cache = self.cache(id).ok_or(SlabError::Stale)?;
        if !self.attach(cx, own, id, cache) {
            return self.one(cx, id, None, gfp);
        }
        let row = &mut own.rows[id.index()];
        if let Some(address) = row.pop() {
            row.touched = true;
            return Ok(address);
        }
        let batch = cache.tunables().batch;
        let batch = if row.touched { batch } else { batch.min(SMALL_BATCH) };
        let places = row.spare();
        let batch = places.len().min(batch as usize);
        let n = self.collect(cx, id, cache, (None, gfp), &mut places[..batch]);
        if n == 0 {
            let mut place = [MaybeUninit::uninit()];
            self.elsewhere(cx, id, cache, None, gfp, &mut place)?;
            // SAFETY: it was written.
            return Ok(unsafe { place[0].assume_init() });
        }
        // SAFETY: `collect` wrote so many free objects of the cache to the first places, and lent them out.
        unsafe { row.grow(n) };
        row.served += n as u64;
        row.touched = true;
        row.pop().ok_or(SlabError::NoMemory)
    }

    /// Free objects of a node (this processor's, if none is named) for `out`: of the shared array, of its slabs, of a new slab there; how many.
    fn collect(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
        cache: &SlabCache,
        (node, gfp): (Option<NodeId>, Gfp),
        out: &mut [MaybeUninit<usize>],
    ) -> usize {
        let home = match node {
            Some(node) if self.nodes <= 1 || gfp.contains(Gfp::THISNODE) => node,
            Some(node) => cx.pages.memory_node(node),
            // What comes so may be kept at hand.
            None if self.nodes <= 1 => cx.node,
            None => cx.pages.memory_node(cx.node),
        };
        let n = self.take_listed(id, cache, self.list_node(home.index()), true, out);
        if n > 0 {
            return n;
        }
        // On machines with several nodes others are asked only when this one has nothing (`elsewhere`).
        let (node, gfp) = if self.nodes > 1 { (Some(home), on_node_alone(gfp)) } else { (node, gfp) };
        self.new_slab(cx, id, cache, node, gfp, out)
    }

    /// One object of whichever node has any (`fallback_alloc`).
    fn elsewhere(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
        cache: &SlabCache,
        node: Option<NodeId>,
        gfp: Gfp,
        out: &mut [MaybeUninit<usize>; 1],
    ) -> Result<(), SlabError> {
        if gfp.contains(Gfp::THISNODE) || self.nodes <= 1 {
            return Err(SlabError::NoMemory);
        }
        // As Linux does, from where the processor is, whichever node was asked for; what lies near first.
        let mut nodes = zonelist(cx.pages, cx.pages.memory_node(cx.node), gfp);
        let found =
            nodes.any(|node| self.take_listed(id, cache, self.list_node(node.index()), false, out) > 0);
        if found || self.new_slab(cx, id, cache, node, gfp, out) > 0 {
            return Ok(());
        }
        Err(SlabError::NoMemory)
    }

    /// Objects that a node has free: of the shared array, if that may be used, else of partial slabs, then of free ones.
    fn take_listed(
        &self,
        id: CacheId,
        cache: &SlabCache,
        node: usize,
        shared: bool,
        out: &mut [MaybeUninit<usize>],
    ) -> usize {
        let _quiet = self.quiet();
        let mut lists = self.lists_of(id, node).lock();
        let mut n = 0;
        while shared
            && n < out.len()
            && let Some(address) = lists.shared.pop()
        {
            out[n].write(address);
            n += 1;
        }
        if n > 0 {
            lists.shared.touched = true;
            return n;
        }
        while n < out.len() {
            let head = lists.partial.first().or_else(|| {
                lists.free_touched = true;
                lists.free.first()
            });
            let Some(head) = head else { break };
            let Some(base) = self.memory.address(head) else { break };
            n += self.take_and_list(cache, &Block { head, base }, &mut lists, &mut out[n..]);
        }
        n
    }

    /// Takes objects out of a slab, and puts it into the list where it belongs then.
    fn take_and_list(
        &self,
        cache: &SlabCache,
        block: &Block,
        lists: &mut NodeCache,
        out: &mut [MaybeUninit<usize>],
    ) -> usize {
        let (n, word) = self.take_from(cache, block, self.word(block), lists, out);
        let word = lists.relist(&self.map, block.head, word, NodeCache::list_for(cache, word), false);
        self.set_word(block, word);
        n
    }

    /// Makes a slab, and gives objects of it to `out`; how many.
    #[inline(never)]
    fn new_slab(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
        cache: &SlabCache,
        node: Option<NodeId>,
        gfp: Gfp,
        out: &mut [MaybeUninit<usize>],
    ) -> usize {
        let layout = &cache.layout;
        let placed = (gfp & (Gfp::RECLAIM_MASK | Gfp::CONSTRAINT_MASK)) | cache.gfp;
        let Some(frames) = cx.pages.alloc(node, placed, layout.order) else { return 0 };
        let head = frames.start();
        let Some(base) = self.memory.address(head) else {
            cx.pages.free(frames);
            return 0;
        };
        let block = Block { head, base };
        let home = cx.pages.node_of(head);
        let owner = id.home(self.list_node(home.index()));
        let place = match self.place_of_list(cx, cache, home, gfp) {
            Ok(place) => place,
            Err(()) => {
                cx.pages.free(frames);
                return 0;
            }
        };
        let colour = {
            let _quiet = self.quiet();
            self.lists_of(id, self.list_node(CacheId::node_of_home(owner))).lock().next_colour(layout.colours)
        };
        let word = match place {
            Some((frame, unit)) => SlabWord::off_slab(colour, frame, unit),
            None => SlabWord::new(colour),
        };
        self.account.add(home, cache.gfp.contains(Gfp::RECLAIMABLE), frames.len());
        self.map.deposit_slab(frames, owner);
        // SAFETY: nobody else knows the slab.
        let word = unsafe { self.fill_list(cache, &block, word, self.random()) };
        if let Some(ctor) = cache.ctor {
            for number in 0..layout.objects {
                let object = self.memory.pointer(self.object_at(cache, &block, word, number));
                if let Some(object) = NonNull::new(object) {
                    // SAFETY: an object of the cache, in a slab that nobody else knows, and which has no list in it; the constructor
                    // keeps `Ctor`'s contract.
                    unsafe { ctor(object) };
                }
            }
        }
        let _quiet = self.quiet();
        let mut lists = self.lists_of(id, self.node_of(&block)).lock();
        lists.free_objects += u64::from(layout.objects);
        self.set_word(&block, word);
        self.take_and_list(cache, &block, &mut lists, out)
    }

    /// The place of a new slab's list, if that is off the slab: an object of kmalloc, of the slab's node if that has one.
    fn place_of_list(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: &SlabCache,
        home: NodeId,
        gfp: Gfp,
    ) -> Result<Option<(FrameIdx, usize)>, ()> {
        if cache.layout.management != Management::OffSlab {
            return Ok(None);
        }
        let lists = cache.freelists.ok_or(())?;
        // Where objects have to be is no concern of their list.
        let address = self.one(cx, lists, Some(home), gfp & Gfp::RECLAIM_MASK).map_err(|_| ())?;
        let frame = FrameIdx::from_usize(self.memory.frame_of(address));
        let within = frame.and_then(|frame| Some((frame, address - self.memory.address(frame)?)));
        match within.filter(|(_, at)| at.is_multiple_of(PLACE_UNIT)) {
            Some((frame, at)) => Ok(Some((frame, at / PLACE_UNIT))),
            None => {
                // SAFETY: it was just taken, and nobody knows it.
                unsafe { self.give_back(cx, lists, &[address]) };
                Err(())
            }
        }
    }

    /// The next random number (splitmix64): no secret, only no order that users rely on.
    fn random(&self) -> u64 {
        let mut mixed = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Makes a row the cache's array, with a room; whether it has one.
    pub(super) fn attach(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        own: &mut CpuSlabs<'k>,
        id: CacheId,
        cache: &SlabCache,
    ) -> bool {
        let places = cache.tunables().limit;
        if own.rows.get(id.index()).is_some_and(|row| row.id() == id && !self.fits(cx, cache, row)) {
            self.give_up_row(cx, own, id.index());
        }
        match own.rows.get(id.index()).map(|row| row.id()) {
            Some(living) if living == id => return true,
            Some(CacheId::NONE) if self.may_attach(id) => {}
            _ => return false,
        }
        let Some(room) = self.room(cx, places, None) else { return false };
        // SAFETY: it has just been allocated, for so many places.
        unsafe { self.attach_room(cx, own, id, cache, (room, places)) };
        true
    }

    /// Whether processors may have arrays of a cache.
    pub(super) fn may_attach(&self, id: CacheId) -> bool {
        let slot = self.space.slots.get(id.index());
        Some(id) != self.alien_rooms && slot.is_some_and(|slot| slot.tenancy.state() != CLOSING)
    }

    /// Makes a row that is nobody's the cache's array, in this room.
    ///
    /// # Safety
    /// The room is memory of [`Self::room`] for so many places, and nobody else's.
    pub(super) unsafe fn attach_room(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        own: &mut CpuSlabs<'k>,
        id: CacheId,
        cache: &SlabCache,
        (room, places): (usize, u32),
    ) {
        let (row, slot) = (&mut own.rows[id.index()], &self.space.slots[id.index()]);
        slot.tenancy.attach();
        let home = self.mark_here(cx, id);
        // SAFETY: as the caller says.
        unsafe { row.adopt((id, home), cache.misaligned(), self.memory.pointer(room).cast(), places) };
    }

    /// Memory for an array of so many places, of kmalloc; none before everything is up. It is worth no effort.
    pub(super) fn room(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        places: u32,
        node: Option<NodeId>,
    ) -> Option<usize> {
        if self.kmalloc.state < SlabState::Full {
            return None;
        }
        let bytes = (places as usize + 1) * size_of::<usize>();
        let rooms = self.kmalloc.cache_of(bytes, Gfp::empty())?;
        self.one(cx, rooms, node, Gfp::GFP_NOWAIT | Gfp::NOWARN).ok()
    }
}

/// The mask of a try on one node where there are others (`gfp_exact_node`): it neither waits nor complains, and it may fail, or those would not be asked.
fn on_node_alone(gfp: Gfp) -> Gfp {
    (gfp | Gfp::THISNODE | Gfp::NOWARN) - (Gfp::RECLAIM | Gfp::NOFAIL)
}
