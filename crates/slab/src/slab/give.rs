//! What a processor's array does not take: objects go to the shared array, to their slabs, to arrays for other nodes; free slabs that are too many go back.

use super::cache::SlabCache;
use super::freelist::Refused;
use super::node::NodeCache;
use super::word::Listed;
use super::{Block, Slab};
use crate::memory::SlabMemory;
use crate::objects::Tunables;
use crate::slabs::cpu::{CpuSlabs, Requests};
use crate::slabs::tenancy::OPEN;
use crate::slabs::{CacheId, Damage, Row, SlabContext};
use core::ptr::NonNull;
use pagewright_page::FrameIdx;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

/// So many objects of another node are collected before they are brought there, unless they are so large that processors keep only one.
pub(super) const ALIEN_LIMIT: u32 = 12;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slab<'k, 'a, I, M> {
    /// The way of an object that no array took.
    ///
    /// # Safety
    /// As for [`Self::free`].
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn free_slow(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        asked: Option<CacheId>,
        address: usize,
    ) {
        self.answer(cx);
        let id = self.owner_of(address);
        let Some(cache) = self.cache(id) else {
            return self.free_other(cx, asked, address);
        };
        if asked.is_some_and(|asked| asked != id) {
            self.report(Damage::WrongCache, Some(cache), address);
        }
        let block = self.block_at(address);
        let Some(block) =
            block.filter(|block| self.number_at(cache, block, self.word(block), address).is_some())
        else {
            return self.report(Damage::InvalidPointer, Some(cache), address);
        };
        let (home, here) = (self.node_of(&block), self.here(cx));
        if home != here {
            // SAFETY: freed, as the caller says.
            return unsafe { self.free_alien(cx, id, cache, (here, home), address) };
        }
        if let Some(mut own) = cx.cpu.enter()
            && self.attach(cx, &mut own, id, cache)
        {
            let row = &mut own.rows[id.index()];
            if row.objects().last() == Some(&address) {
                return self.report(Damage::DoubleFree, Some(cache), address);
            }
            if row.len() == row.limit() {
                self.spill(cx, id, cache, here, row);
            }
            if row.push(address).is_some() {
                return;
            }
        }
        // SAFETY: freed, as the caller says.
        unsafe { self.give_back(cx, id, &[address]) };
    }

    /// Frees what is no object: no bytes, a block of pages, or nothing that was allocated.
    fn free_other(&self, cx: &SlabContext<'_, 'k, 'a>, asked: Option<CacheId>, address: usize) {
        if asked.is_none() && self.large().free(cx.pages, address) {
            return;
        }
        self.report(Damage::NotAllocated, asked.and_then(|id| self.cache(id)), address);
    }

    /// Moves the oldest objects of a full array on: to the shared array as far as it has room, else to their slabs.
    fn spill(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
        cache: &SlabCache,
        node: usize,
        row: &mut Row,
    ) {
        let batch = row.len().min(cache.tunables().batch as usize);
        self.share(cx, id, cache, node);
        let moved = {
            let _quiet = self.quiet();
            let mut lists = self.lists_of(id, node).lock();
            move_to(&mut lists.shared, &row.objects()[..batch])
        };
        if moved > 0 {
            row.drop_oldest(moved);
            return;
        }
        // SAFETY: they were freed, and this array alone has them until they are dropped from it, in the next line.
        unsafe { self.give_back(cx, id, &row.objects()[..batch]) };
        row.drop_oldest(batch);
    }

    /// Sees that a node has its shared array, if the cache is to have one.
    fn share(&self, cx: &SlabContext<'_, 'k, 'a>, id: CacheId, cache: &SlabCache, node: usize) {
        let Tunables { batch, shared, .. } = cache.tunables();
        let places = shared * batch;
        let lists = self.lists_of(id, node);
        let had = {
            let _quiet = self.quiet();
            let shared = &lists.lock().shared;
            if shared.id() == CacheId::NONE { 0 } else { shared.limit() }
        };
        if had == places as usize {
            return;
        }
        if had > 0 {
            // Of a size that is no longer wanted.
            self.drop_shared(cx, id, node);
        }
        if places == 0 {
            return;
        }
        let Some(block) = self.room(cx, places, None) else { return };
        let used = {
            let _quiet = self.quiet();
            self.furnish(&mut lists.lock().shared, (id, node), cache, block, places)
        };
        if !used {
            self.free_room(cx, block);
        }
    }

    /// Gives an array a room, under its lock, unless somebody else was faster; whether it took it.
    fn furnish(
        &self,
        row: &mut Row,
        (id, node): (CacheId, usize),
        cache: &SlabCache,
        block: usize,
        places: u32,
    ) -> bool {
        if row.id() != CacheId::NONE {
            return false;
        }
        let home = id.home(node).slab_mark();
        // SAFETY: the block is memory of kmalloc or the cache of such arrays, large enough for all of them, and has just been allocated.
        unsafe { row.adopt((id, home), cache.misaligned(), self.memory.pointer(block).cast(), places) };
        true
    }

    /// Memory for an array that collects for another node. It is worth no effort.
    fn alien_room(&self, cx: &SlabContext<'_, 'k, 'a>) -> Option<usize> {
        self.one(cx, self.alien_rooms?, None, Gfp::GFP_NOWAIT | Gfp::NOWARN).ok()
    }

    /// Gives the memory of an array back.
    pub(super) fn free_room(&self, cx: &SlabContext<'_, 'k, 'a>, block: usize) {
        // SAFETY: it was an array's, which has left it, or none's yet.
        unsafe { self.give_back(cx, self.owner_of(block), &[block]) };
    }

    /// Frees an object that lies on another node (`cache_free_alien`): `at` is this node and that.
    ///
    /// # Safety
    /// As for [`Self::free`].
    unsafe fn free_alien(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
        cache: &SlabCache,
        at: (usize, usize),
        address: usize,
    ) {
        let mut full = [0; ALIEN_LIMIT as usize];
        let mut taken = 0;
        let mut done = false;
        if let Some(alien) = self.alien_of(id, at.0, at.1) {
            let missing = {
                let _quiet = self.quiet();
                alien.lock().id() == CacheId::NONE
            };
            if missing && let Some(block) = self.alien_room(cx) {
                let used = {
                    let _quiet = self.quiet();
                    let places = if cache.tunables().limit > 1 { ALIEN_LIMIT } else { 1 };
                    self.furnish(&mut alien.lock(), (id, at.1), cache, block, places)
                };
                if !used {
                    self.free_room(cx, block);
                }
            }
            let _quiet = self.quiet();
            let mut row = alien.lock();
            if row.objects().last() == Some(&address) {
                return self.report(Damage::DoubleFree, Some(cache), address);
            }
            if row.len() == row.limit() {
                taken = empty_into(&mut row, &mut full);
            }
            done = row.push(address).is_some();
        }
        // SAFETY: freed objects that were the array's alone, and no longer are.
        unsafe { self.bring(cx, id, at.1, &full[..taken]) };
        if !done {
            // SAFETY: freed, as the caller says.
            unsafe { self.give_back(cx, id, &[address]) };
        }
    }

    /// Brings objects to their node: to its shared array, what that has no room for to their slabs.
    ///
    /// # Safety
    /// As for [`Self::give_back`].
    pub(super) unsafe fn bring(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
        node: usize,
        objects: &[usize],
    ) {
        if objects.is_empty() {
            return;
        }
        let moved = {
            let _quiet = self.quiet();
            move_to(&mut self.lists_of(id, node).lock().shared, objects)
        };
        // SAFETY: as the caller says.
        unsafe { self.give_back(cx, id, &objects[moved..]) };
    }

    /// Gives objects back to their slabs, and slabs to the page allocator that are free and too many. What is no object of the cache, or
    /// free already, is reported and left alone.
    ///
    /// # Safety
    /// Nobody uses the objects, and each is either nobody's or no object that somebody else has.
    pub(super) unsafe fn give_back(&self, cx: &SlabContext<'_, 'k, 'a>, id: CacheId, mut objects: &[usize]) {
        let Some(cache) = self.cache(id) else { return };
        while let Some(&first) = objects.first() {
            let of_cache = |block: &Block| self.is_of(id, block);
            let Some(block) = self.block_at(first).filter(of_cache) else {
                self.report(Damage::NotAllocated, Some(cache), first);
                objects = &objects[1..];
                continue;
            };
            let node = self.node_of(&block);
            let mut empty = None;
            {
                let _quiet = self.quiet();
                let mut lists = self.lists_of(id, node).lock();
                while let Some(&address) = objects.first() {
                    let Some(block) = self.block_at(address).filter(of_cache) else { break };
                    if self.node_of(&block) != node {
                        break;
                    }
                    objects = &objects[1..];
                    // SAFETY: as the caller says.
                    match unsafe { self.put_back(cache, &block, self.word(&block), address) } {
                        Ok(word) => {
                            lists.free_objects += 1;
                            let list = NodeCache::list_for(cache, word);
                            let word = lists.relist(&self.map, block.head, word, list, true);
                            self.set_word(&block, word);
                        }
                        Err(Refused::NoObject) => self.report(Damage::InvalidPointer, Some(cache), address),
                        Err(Refused::Free) => self.report(Damage::DoubleFree, Some(cache), address),
                    }
                }
                let limit = cache.free_limit(self.space.node_cpus.get(node).copied().unwrap_or(1));
                while lists.free_objects > limit && self.give_up(cache, &mut lists, &mut empty) {}
            }
            self.discard(cx, id, cache, empty);
        }
    }

    /// Takes the oldest free slab out of its list and puts it before `empty`, a chain of such; whether there was one.
    pub(super) fn give_up(
        &self,
        cache: &SlabCache,
        lists: &mut NodeCache,
        empty: &mut Option<FrameIdx>,
    ) -> bool {
        let Some(head) = lists.free.last() else { return false };
        let word = super::SlabWord::from_bits(self.map.data(head));
        let word = lists.relist(&self.map, head, word, Listed::Nowhere, false);
        self.map.set_data(head, word.bits());
        lists.free_objects = lists.free_objects.saturating_sub(u64::from(cache.layout.objects));
        self.map.set_next(head, *empty);
        *empty = Some(head);
        true
    }

    /// Answers requests of others: gives everything back, and arrays of caches that are about to go.
    pub(super) fn answer(&self, cx: &SlabContext<'_, 'k, 'a>) {
        if cx.cpu.requests().has(Requests::FLUSH)
            && let Some(mut own) = cx.cpu.enter()
        {
            // Before the looks at what was asked for: arrays of which size, which caches are about to go.
            cx.cpu.requests().take(Requests::FLUSH);
            for at in 0..own.rows.len() {
                self.flush_row(cx, &mut own, at);
            }
        }
    }

    /// Does what others asked of this processor; harmless at any time.
    pub fn poll(&self, cx: &SlabContext<'_, 'k, 'a>) {
        self.answer(cx);
        self.release_deferred(cx);
    }

    /// Gives up this processor's arrays (a processor that goes offline).
    pub fn flush_cpu(&self, cx: &SlabContext<'_, 'k, 'a>) {
        if let Some(mut own) = cx.cpu.enter() {
            for at in 0..own.rows.len() {
                self.give_up_row(cx, &mut own, at);
            }
        }
    }

    /// Gives an array's objects back, and the array itself if its cache is about to go, or is to have another array here.
    pub(super) fn flush_row(&self, cx: &SlabContext<'_, 'k, 'a>, own: &mut CpuSlabs<'k>, at: usize) {
        self.empty_row(cx, own, at);
        let Some(row) = own.rows.get(at) else { return };
        let unfit = self.cache(row.id()).is_some_and(|cache| !self.fits(cx, cache, row));
        if unfit || self.space.slots.get(at).is_some_and(|slot| slot.tenancy.state() != OPEN) {
            self.leave_row(cx, own, at);
        }
    }

    /// Gives an array's objects back, and the array itself.
    pub(super) fn give_up_row(&self, cx: &SlabContext<'_, 'k, 'a>, own: &mut CpuSlabs<'k>, at: usize) {
        self.empty_row(cx, own, at);
        self.leave_row(cx, own, at);
    }

    fn empty_row(&self, cx: &SlabContext<'_, 'k, 'a>, own: &mut CpuSlabs<'k>, at: usize) {
        let Some(row) = own.rows.get_mut(at) else { return };
        // SAFETY: they are free, and this array alone has them until they are dropped from it, in the next line.
        unsafe { self.give_back(cx, row.id(), row.objects()) };
        row.drop_oldest(usize::MAX);
    }

    /// Gives an empty array up.
    fn leave_row(&self, cx: &SlabContext<'_, 'k, 'a>, own: &mut CpuSlabs<'k>, at: usize) {
        let Some(row) = own.rows.get_mut(at).filter(|row| row.id() != CacheId::NONE) else { return };
        let block = row.leave();
        if let Some(slot) = self.space.slots.get(at) {
            slot.tenancy.leave();
        }
        if let Some(block) = NonNull::new(block) {
            self.free_room(cx, block.addr().get());
        }
    }
}

/// Moves as many objects into an array as it has places; how many, from the first on.
fn move_to(row: &mut Row, objects: &[usize]) -> usize {
    objects.iter().take_while(|&&object| row.push(object).is_some()).count()
}

/// Takes all objects out of an array that holds no more than `out`; how many.
pub(super) fn empty_into(row: &mut Row, out: &mut [usize; ALIEN_LIMIT as usize]) -> usize {
    let n = row.objects().len().min(out.len());
    out[..n].copy_from_slice(&row.objects()[..n]);
    row.drop_oldest(n);
    n
}
