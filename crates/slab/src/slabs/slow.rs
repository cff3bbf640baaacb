//! What a processor's rows do not serve: they are filled and emptied here, requests are answered.

use super::cache::{CacheId, Info};
use super::cpu::{CpuSlabs, Requests, SlabContext};
use super::error::packed;
use super::report::Damage;
use super::tenancy::OPEN;
use super::{SlabError, Slabs};
use crate::memory::SlabMemory;
use core::mem::MaybeUninit;
use core::panic::Location;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// The way of an allocation that no row serves: [`packed`], so that the fast way's result needs no place in memory.
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(crate) fn alloc_slow(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId, gfp: Gfp) -> *mut u8 {
        packed(self.fetch(cx, cache, gfp))
    }

    #[track_caller]
    fn fetch(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
    ) -> Result<NonNull<u8>, SlabError> {
        self.injected(cx, Some(cache))?;
        self.answer(cx);
        let address = match cx.cpu.enter() {
            None if self.has_cpu_slabs() => self.fetch_from_cpu_slab(cx, cache, gfp, None)?,
            Some(mut own) => self.refill(cx, &mut own, cache, gfp)?,
            None => self.one(cx, cache, (None, gfp, cx.cpu.cpu().slabs().random()))?,
        };
        self.finish(cache, address, gfp)
    }

    /// Allocates an object on a node if that has memory (`kmem_cache_alloc_node`), with `__GFP_THISNODE` there or nowhere.
    ///
    /// # Errors
    /// As for [`Self::alloc`].
    #[track_caller]
    pub fn alloc_node(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
        node: NodeId,
    ) -> Result<NonNull<u8>, SlabError> {
        if self.nodes == 1 && !cx.cpu.requests().has(Requests::FAULT) {
            return self.alloc(cx, cache, gfp);
        }
        self.injected(cx, Some(cache))?;
        self.answer(cx);
        let address = if self.has_cpu_slabs() {
            self.fetch_from_cpu_slab(cx, cache, gfp, Some(node))?
        } else {
            let random = cx.cpu.enter().map(|mut own| own.random());
            let random = random.unwrap_or_else(|| cx.cpu.cpu().slabs().random());
            self.one(cx, cache, (Some(node), gfp, random))?
        };
        self.finish(cache, address, gfp)
    }

    /// The way of an object that no row took.
    ///
    /// # Safety
    /// As for [`Self::free`].
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(crate) unsafe fn free_slow(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        asked: Option<CacheId>,
        address: usize,
    ) {
        self.answer(cx);
        if self.put_after_flush(cx, asked, address) {
            return;
        }
        let cache = self.owner_of(address);
        let Some(info) = self.info(cache) else {
            return self.free_other(cx, asked, address);
        };
        if asked.is_some_and(|asked| asked != cache) {
            self.report(Damage::WrongCache, Some(info), address);
        }
        let slab =
            self.slab_at(address).filter(|slab| info.places.is_inside(address - slab.base, slab.bytes));
        let Some(slab) = slab else {
            return self.report(Damage::InvalidPointer, Some(info), address);
        };
        if info.is_watched() {
            // SAFETY: freed, as the caller says.
            return unsafe { self.put_watched(cx, cache, info, (slab, address), Location::caller()) };
        }
        if self.has_cpu_slabs() {
            // SAFETY: freed, as the caller says; the place was just looked at.
            return unsafe { self.free_to_slab(cx, cache, info, &slab, address) };
        }
        if info.knobs.cpu_partial() > 0
            && self.is_near(cx, cache, address)
            && let Some(mut own) = cx.cpu.enter()
            && self.attach(cx, &mut own, cache)
        {
            if own.rows[cache.index()].objects().last() == Some(&address) {
                return self.report(Damage::DoubleFree, Some(info), address);
            }
            if own.rows[cache.index()].is_full() {
                self.flush_oldest(cx, &mut own, (cache, info));
            }
            if own.rows[cache.index()].push(address).is_some() {
                return;
            }
        }
        // SAFETY: freed, as the caller says.
        unsafe { self.give_back(cx, cache, info, &[address]) };
    }

    /// Puts an object into the row that it belongs to, after what a full one has had longest has gone; whether it is there.
    fn put_after_flush(&self, cx: &SlabContext<'_, 'k, 'a>, asked: Option<CacheId>, address: usize) -> bool {
        let mark = self.memory.mark_of(&self.map, address);
        let at = CacheId::index_of_mark(mark);
        let Some(mut own) = cx.cpu.enter() else { return false };
        let Some(row) = own.rows.get(at).filter(|row| row.home() == mark && row.is_full()) else {
            return false;
        };
        let cache = row.id();
        let Some(info) = self.info(cache).filter(|_| asked.is_none_or(|asked| asked == cache)) else {
            return false;
        };
        self.flush_oldest(cx, &mut own, (cache, info));
        own.rows[at].push(address).is_some()
    }

    /// Makes place in a full row: what it has had longest goes into the node's barn, or to its slabs.
    fn flush_oldest(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        own: &mut CpuSlabs<'k>,
        (cache, info): (CacheId, &Info),
    ) {
        let CpuSlabs { rows, random, .. } = own;
        let row = &mut rows[cache.index()];
        let oldest = row.step();
        let kept = self.keep(cx, (cache, info), &row.objects()[..oldest], random);
        if kept < oldest {
            // SAFETY: they were freed, and this row alone has them until they are dropped from it, in the next line.
            unsafe { self.give_back(cx, cache, info, &row.objects()[kept..oldest]) };
        }
        row.drop_oldest(oldest);
    }

    /// What an allocation ends with.
    fn finish(&self, cache: CacheId, address: usize, gfp: Gfp) -> Result<NonNull<u8>, SlabError> {
        let object = NonNull::new(self.memory.pointer(address)).ok_or(SlabError::NoMemory)?;
        if gfp.contains(Gfp::ZERO)
            && let Some(info) = self.info(cache)
        {
            // SAFETY: the object was just taken, is nobody else's, and has so many bytes.
            unsafe { object.write_bytes(0, info.object_size.load(Relaxed)) };
        }
        Ok(object)
    }

    /// One object past the rows.
    #[track_caller]
    pub(super) fn one(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        at: (Option<NodeId>, Gfp, u64),
    ) -> Result<usize, SlabError> {
        if let Some(info) = self.info(cache).filter(|info| info.is_watched()) {
            return self.take_watched(cx, cache, info, at, Location::caller());
        }
        let mut place = [MaybeUninit::uninit()];
        self.collect(cx, cache, (at.0, at.1), &mut { at.2 }, 1, &mut place)?;
        // SAFETY: `collect` wrote at least one.
        Ok(unsafe { place[0].assume_init() })
    }

    /// An object by way of this processor's row, which is filled by [`Row::step`] if it is empty.
    #[track_caller]
    fn refill(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        own: &mut CpuSlabs<'k>,
        cache: CacheId,
        gfp: Gfp,
    ) -> Result<usize, SlabError> {
        let attached = own.rows.get(cache.index()).is_some_and(|row| row.id() == cache && row.limit() > 0);
        if !attached && !self.attach(cx, own, cache) {
            return self.one(cx, cache, (None, gfp, own.random()));
        }
        let CpuSlabs { rows, random, .. } = own;
        let row = &mut rows[cache.index()];
        if let Some(address) = row.pop() {
            return Ok(address);
        }
        let wanted = row.step();
        let n = self.collect(cx, cache, (None, gfp), random, wanted, row.spare())?;
        // SAFETY: `collect` wrote so many free objects of the cache to the first places, and lent them out.
        unsafe { row.grow(n) };
        row.served += n as u64;
        row.pop().ok_or(SlabError::NoMemory)
    }

    /// Makes a row the cache's, with a room; whether it has one.
    fn attach(&self, cx: &SlabContext<'_, 'k, 'a>, own: &mut CpuSlabs<'k>, cache: CacheId) -> bool {
        let home = self.mark_here(cx, cache);
        if own.rows.get(cache.index()).is_some_and(|row| row.id() == cache && row.home() != home) {
            // Since it was made, memory of the processor's node came or went.
            self.flush_row(cx, own, cache.index());
        }
        let (Some(row), Some(slot)) = (own.rows.get_mut(cache.index()), self.slots.get(cache.index())) else {
            return false;
        };
        if row.id() == cache {
            return row.limit() > 0;
        }
        let Some(info) = slot.get(cache) else { return false };
        let places = info.knobs.cpu_partial().min(self.slub.rooms());
        if row.id() != CacheId::NONE || places == 0 || slot.tenancy.state() != OPEN {
            return false;
        }
        // A room is worth no effort: without it objects come from their slabs one by one.
        let random = own.random();
        let Some(room) = (self.rooms != Some(cache)).then(|| self.room(cx, random)).flatten() else {
            return false;
        };
        slot.tenancy.attach();
        let misaligned = info.misaligned();
        // SAFETY: it is an object of the cache of rooms, large enough for all of them, and has just been allocated.
        unsafe { own.rows[cache.index()].adopt((cache, home), misaligned, room, places) };
        true
    }

    /// Answers requests of others: gives everything back, and rows of caches that are about to go.
    #[inline]
    pub(crate) fn answer(&self, cx: &SlabContext<'_, 'k, 'a>) {
        if cx.cpu.requests().has(Requests::FLUSH) {
            self.answer_flush(cx);
        }
    }

    #[cold]
    fn answer_flush(&self, cx: &SlabContext<'_, 'k, 'a>) {
        if self.has_cpu_slabs() {
            return self.flush_cpu_slabs(cx, false);
        }
        if let Some(mut own) = cx.cpu.enter() {
            // Before the looks at what was asked for: how much is kept, which caches are about to go.
            cx.cpu.requests().take(Requests::FLUSH);
            for at in 0..own.rows.len() {
                self.flush_row(cx, &mut own, at);
            }
            drop(own);
            self.bury(cx);
        }
    }

    /// Does what others asked of this processor (`flush_all_cpus_locked`'s part); harmless at any time.
    pub fn poll(&self, cx: &SlabContext<'_, 'k, 'a>) {
        self.answer(cx);
        self.reap(cx);
    }

    /// Gives this processor's free objects of all caches back to their slabs, and its rooms (a processor that goes offline).
    pub fn flush_cpu(&self, cx: &SlabContext<'_, 'k, 'a>) {
        if self.has_cpu_slabs() {
            return self.flush_cpu_slabs(cx, true);
        }
        if let Some(mut own) = cx.cpu.enter() {
            for at in 0..own.rows.len() {
                self.empty_row(cx, &mut own, at);
                self.leave_row(cx, &mut own, at);
            }
            drop(own);
            self.bury(cx);
        }
    }

    /// Gives a row's objects back, and the row itself if its cache is about to go, or is to have another row here.
    pub(crate) fn flush_row(&self, cx: &SlabContext<'_, 'k, 'a>, own: &mut CpuSlabs<'k>, at: usize) {
        self.empty_row(cx, own, at);
        let Some(row) = own.rows.get(at) else { return };
        let wanted = |info: &Info| info.knobs.cpu_partial().min(self.slub.rooms()) as usize;
        let moved = row.home() != self.mark_here(cx, row.id());
        let unfit = self.info(row.id()).is_some_and(|info| moved || wanted(info) != row.limit());
        if unfit || self.slots.get(at).is_some_and(|slot| slot.tenancy.state() != OPEN) {
            self.leave_row(cx, own, at);
        }
    }

    fn empty_row(&self, cx: &SlabContext<'_, 'k, 'a>, own: &mut CpuSlabs<'k>, at: usize) {
        let Some(row) = own.rows.get_mut(at) else { return };
        let cache = row.id();
        let Some(info) = self.info(cache) else { return };
        // SAFETY: they are free, and this row alone has them until they are dropped from it, in the next line.
        unsafe { self.give_back(cx, cache, info, row.objects()) };
        row.drop_oldest(usize::MAX);
    }

    /// Gives an empty row and its room up.
    fn leave_row(&self, cx: &SlabContext<'_, 'k, 'a>, own: &mut CpuSlabs<'k>, at: usize) {
        let Some(row) = own.rows.get_mut(at).filter(|row| row.id() != CacheId::NONE) else { return };
        let block = row.leave();
        if let Some(rooms) = self.rooms
            && let Some(info) = self.info(rooms)
            && !block.is_null()
        {
            // SAFETY: it was the row's room, which has left.
            unsafe { self.give_back(cx, rooms, info, &[block.addr()]) };
        }
        // Last: who sees it may end the cache.
        if let Some(slot) = self.slots.get(at) {
            slot.tenancy.leave();
        }
    }

    /// Makes the `n`-th allocation from now on fail that takes the slower way, and sends all that way; 1 is the next, 0 ends it.
    pub fn fail_nth(&self, n: u32) {
        self.faults.set(n, self.cpus);
    }

    /// Whether only caches that are marked count and fail then (failslab's `cache-filter`): by `A` of `slub_debug=`, or by their attribute `failslab`.
    pub fn fail_marked(&self, only: bool) {
        self.faults.only_marked(only);
    }

    /// Whether an allocation goes on: of a cache, or of pages alone.
    pub(crate) fn injected(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: Option<CacheId>,
    ) -> Result<(), SlabError> {
        if !cx.cpu.requests().has(Requests::FAULT) {
            return Ok(());
        }
        let marked = cache.and_then(|cache| self.info(cache)).is_some_and(|info| info.knobs.fails());
        self.faults.pass_for(marked)
    }
}
