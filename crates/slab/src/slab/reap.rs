//! The reaper, and giving back on request: shrinking, ending a cache.

use super::Slab;
use super::cache::SlabCache;
use super::give::{ALIEN_LIMIT, empty_into};
use crate::memory::SlabMemory;
use crate::objects::CacheTable;
use crate::slabs::cpu::Requests;
use crate::slabs::{CacheId, Row, SlabContext, Slot};
use core::ptr::NonNull;
use pagewright_platform::{Interrupts, Mutex};

/// Every so many rounds the reaper looks at what a node has (REAPTIMEOUT_NODE, in units of REAPTIMEOUT_AC).
const NODE_ROUNDS: u64 = 2;
/// The reaper takes one part of so many.
const PART: usize = 5;
/// Objects that are moved at a time out of a shared array.
const STEP: usize = 32;

/// How much of an array the reaper takes: nothing if it was used since it came by, else a fifth of what it could hold, but at most
/// half of what it holds.
fn share_of(row: &mut Row) -> usize {
    if core::mem::take(&mut row.touched) {
        return 0;
    }
    let part = row.limit().div_ceil(PART);
    if part > row.len() { row.len().div_ceil(2) } else { part }
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> CacheTable<'k, 'a> for Slab<'k, 'a, I, M> {
    type Cache = SlabCache;

    fn slots(&self) -> &'k [Slot<SlabCache>] {
        self.space.slots
    }

    fn nodes(&self) -> usize {
        self.nodes
    }

    fn let_go(&self, _: &SlabContext<'_, 'k, 'a>, _: usize) {}

    fn slabs_on(&self, id: CacheId, node: usize) -> u64 {
        let _quiet = self.quiet();
        self.lists_of(id, node).lock().slabs()
    }

    fn empty_pages_on(&self, id: CacheId, cache: &SlabCache, node: usize) -> u64 {
        let _quiet = self.quiet();
        self.lists_of(id, node).lock().free.len * cache.layout.order.pages()
    }

    fn shrink_one(&self, cx: &SlabContext<'_, 'k, 'a>, id: CacheId) -> bool {
        self.shrink(cx, id)
    }
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slab<'k, 'a, I, M> {
    /// Gives some of what is not used back (`cache_reap`): of this processor's arrays, of its node's and of one that collects for another node. Called on each
    /// processor every two seconds, with the number of the round.
    pub fn reap(&self, cx: &SlabContext<'_, 'k, 'a>, round: u64) {
        for at in 0..self.space.slots.len() {
            self.holding(cx, at, &mut |id, cache| self.reap_cache(cx, id, cache, round));
        }
        self.release_deferred(cx);
    }

    fn reap_cache(&self, cx: &SlabContext<'_, 'k, 'a>, id: CacheId, cache: &SlabCache, round: u64) {
        let node = self.here(cx);
        if self.nodes > 1 {
            self.drain_alien(cx, id, (node, (round % self.nodes as u64) as usize));
        }
        if let Some(mut own) = cx.cpu.enter()
            && let Some(row) = own.rows.get_mut(id.index()).filter(|row| row.id() == id)
        {
            let n = share_of(row);
            // SAFETY: they are free, and this array alone has them until they are dropped from it, in the next line.
            unsafe { self.give_back(cx, id, &row.objects()[..n]) };
            row.drop_oldest(n);
        }
        let (shared, touched) = {
            let _quiet = self.quiet();
            let mut lists = self.lists_of(id, node).lock();
            if round < lists.next_reap {
                return;
            }
            lists.next_reap = round + NODE_ROUNDS;
            (share_of(&mut lists.shared), core::mem::take(&mut lists.free_touched))
        };
        self.drain_shared(cx, id, node, shared);
        if !touched {
            let objects = u64::from(cache.layout.objects);
            let limit = cache.free_limit(self.space.node_cpus.get(node).copied().unwrap_or(1));
            self.drop_free(cx, id, cache, node, limit.div_ceil(PART as u64 * objects));
        }
    }

    /// Brings what was collected for another node there.
    fn drain_alien(&self, cx: &SlabContext<'_, 'k, 'a>, id: CacheId, (from, to): (usize, usize)) {
        let Some(alien) = self.alien_of(id, from, to) else { return };
        let mut objects = [0; ALIEN_LIMIT as usize];
        let n = {
            let _quiet = self.quiet();
            empty_into(&mut alien.lock(), &mut objects)
        };
        // SAFETY: free objects that were the array's alone, and no longer are.
        unsafe { self.bring(cx, id, to, &objects[..n]) };
    }

    /// Gives the oldest objects of a shared array back to their slabs, at most so many.
    fn drain_shared(&self, cx: &SlabContext<'_, 'k, 'a>, id: CacheId, node: usize, mut most: usize) {
        while most > 0 {
            let mut objects = [0; STEP];
            let n = {
                let _quiet = self.quiet();
                let mut lists = self.lists_of(id, node).lock();
                let n = lists.shared.len().min(most.min(STEP));
                objects[..n].copy_from_slice(&lists.shared.objects()[..n]);
                lists.shared.drop_oldest(n);
                n
            };
            // SAFETY: free objects that were the array's alone, and no longer are.
            unsafe { self.give_back(cx, id, &objects[..n]) };
            most = if n == 0 { 0 } else { most - n };
        }
    }

    /// Gives the oldest free slabs of a node back, at most so many.
    fn drop_free(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        id: CacheId,
        cache: &SlabCache,
        node: usize,
        most: u64,
    ) {
        let mut empty = None;
        {
            let _quiet = self.quiet();
            let mut lists = self.lists_of(id, node).lock();
            let mut n = 0;
            while n < most && self.give_up(cache, &mut lists, &mut empty) {
                n += 1;
            }
        }
        self.discard(cx, id, cache, empty);
    }

    /// Gives everything back that a cache has free: this processor's array, those of nodes and for nodes, all free slabs (`kmem_cache_shrink`). Other
    /// processors are asked, and do their part at the latest with the next operation that no array serves, or a poll. Returns whether the cache has slabs yet, besides those that wait for readers.
    pub fn shrink(&self, cx: &SlabContext<'_, 'k, 'a>, id: CacheId) -> bool {
        let Some(cache) = self.cache(id) else { return false };
        if let Some(mut own) = cx.cpu.enter() {
            self.flush_row(cx, &mut own, id.index());
        }
        for cpu in self.space.cpus.iter().filter(|&cpu| !core::ptr::eq(cpu, cx.cpu.cpu())) {
            cpu.requests().post(Requests::FLUSH);
        }
        let left = self.drain_nodes(cx, id, cache);
        // Also those of earlier: nothing may have become free just now.
        self.release_deferred(cx);
        left > 0
    }

    /// Gives back what nodes have free; how many slabs they have yet.
    pub(super) fn drain_nodes(&self, cx: &SlabContext<'_, 'k, 'a>, id: CacheId, cache: &SlabCache) -> u64 {
        for from in 0..self.nodes {
            (0..self.nodes).for_each(|to| self.drain_alien(cx, id, (from, to)));
        }
        let mut left = 0;
        for node in 0..self.nodes {
            self.drain_shared(cx, id, node, usize::MAX);
            self.drop_free(cx, id, cache, node, u64::MAX);
            let _quiet = self.quiet();
            left += self.lists_of(id, node).lock().slabs();
        }
        left
    }

    /// Gives up the arrays that nodes have of a cache, which nobody uses.
    pub(super) fn drop_arrays(&self, cx: &SlabContext<'_, 'k, 'a>, id: CacheId) {
        let leave = |row: &mut Row| NonNull::new(row.leave());
        for from in 0..self.nodes {
            for to in 0..self.nodes {
                self.drain_alien(cx, id, (from, to));
                let block = self.alien_of(id, from, to).and_then(|alien: &Mutex<Row>| {
                    let _quiet = self.quiet();
                    leave(&mut alien.lock())
                });
                block.into_iter().for_each(|block| self.free_room(cx, block.addr().get()));
            }
        }
        for node in 0..self.nodes {
            self.drop_shared(cx, id, node);
        }
    }

    /// Gives up the array that a node's processors share; its objects go to their slabs.
    pub(super) fn drop_shared(&self, cx: &SlabContext<'_, 'k, 'a>, id: CacheId, node: usize) {
        loop {
            self.drain_shared(cx, id, node, usize::MAX);
            let block = {
                let _quiet = self.quiet();
                let shared = &mut self.lists_of(id, node).lock().shared;
                // Others may have brought some meanwhile.
                (shared.len() == 0).then(|| shared.leave())
            };
            if let Some(block) = block {
                return NonNull::new(block)
                    .into_iter()
                    .for_each(|block| self.free_room(cx, block.addr().get()));
            }
        }
    }

    /// Gives up all arrays of nodes, so that kmalloc's caches, whose objects they are, can end too: the last thing before a machine does. Processors have given up theirs
    /// ([`Self::flush_cpu`]).
    ///
    /// # Safety
    /// Nobody uses these slabs meanwhile.
    pub unsafe fn retire(&self, cx: &SlabContext<'_, 'k, 'a>) {
        for at in 0..self.space.slots.len() {
            if let Some(id) = Slot::living_at(self.space.slots, at) {
                self.drop_arrays(cx, id);
            }
        }
    }
}
