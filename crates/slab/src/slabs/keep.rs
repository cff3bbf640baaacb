//! What goes into nodes' barns, how much, and how it goes back to the slabs.

use super::Slabs;
use super::barn::Barn;
use super::cache::{CacheId, Info};
use super::cpu::SlabContext;
use crate::memory::SlabMemory;
use crate::objects::CacheTable;
use crate::random::next_random;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

/// Barns keep this part of all memory at most, unless told otherwise.
pub(super) const PART: u64 = 64;
/// How many objects go back to their slabs at a time.
const STEP: usize = 32;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// How many bytes of free objects all barns may keep together, the blocks with their addresses included; 0 for none. If this is not called, a 64th of the memory
    /// that the page map had room for when the slabs were made. Processors that come at once may each put one step more in; what is there by now stays until it is
    /// needed or reaped.
    pub fn set_barn_limit(&self, bytes: usize) {
        self.barn_limit.store(bytes, Relaxed);
    }

    /// How many bytes of free objects and their addresses all barns keep.
    pub fn kept_in_barns(&self) -> usize {
        self.kept.load(Relaxed)
    }

    /// [`Self::reap_barns`], unless another processor did since this one asked last: so of all processors that ask every few seconds one does it each time.
    pub(crate) fn reap_barns_in_turn(&self, cx: &SlabContext<'_, 'k, 'a>) {
        let reaps = self.reaps.load(Relaxed);
        let Some(mut own) = cx.cpu.enter() else { return };
        let nobody = core::mem::replace(&mut own.reaps_seen, reaps) == reaps;
        if nobody {
            own.reaps_seen = reaps.wrapping_add(1);
            self.reaps.store(own.reaps_seen, Relaxed);
            drop(own);
            self.reap_barns(cx);
        }
    }

    /// Gives objects in barns back that nobody needed since this was called last. Meant to be called every few seconds.
    pub fn reap_barns(&self, cx: &SlabContext<'_, 'k, 'a>) {
        self.each_barn(cx, Barn::idle);
    }

    /// Gives all objects in barns back (where memory is short).
    pub fn empty_barns(&self, cx: &SlabContext<'_, 'k, 'a>) {
        self.each_barn(cx, |barn| barn.len());
    }

    /// Gives as many objects of each barn back as `many` says, and the blocks that are empty then.
    fn each_barn(&self, cx: &SlabContext<'_, 'k, 'a>, many: impl Fn(&mut Barn) -> usize) {
        for at in 0..self.slots.len() {
            self.holding(cx, at, &mut |cache, _| {
                for node in 0..self.nodes {
                    let n = {
                        let _quiet = self.quiet();
                        many(&mut self.lists_of(cache, node).lock().barn)
                    };
                    self.empty_barn(cx, cache, node, n);
                }
            });
        }
    }

    /// Puts free objects of a cache into the barn of the node whose objects this processor keeps, where they lie; how many of them, from the first on. The others stay the caller's.
    pub(super) fn keep(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        (cache, info): (CacheId, &Info),
        objects: &[usize],
        random: &mut u64,
    ) -> usize {
        let size = info.geometry.size as usize;
        let near = || objects.iter().all(|&address| self.is_near(cx, cache, address));
        let all = objects.len() * size;
        let most = self.kept.load(Relaxed).saturating_add(all + self.block_bytes());
        if most > self.barn_limit.load(Relaxed) || self.nodes > 1 && !near() {
            return 0;
        }
        // Before others can take them out: what is counted is never less than what is there.
        self.kept.fetch_add(all, Relaxed);
        let (lists, places) = (self.lists_of(cache, self.here(cx)), self.slub.rooms() as usize);
        let mut kept = {
            let _quiet = self.quiet();
            lists.lock().barn.push(objects, places)
        };
        if kept < objects.len()
            && let Some(block) = self.room(cx, next_random(random))
        {
            self.kept.fetch_add(self.block_bytes(), Relaxed);
            let _quiet = self.quiet();
            let mut lists = lists.lock();
            // SAFETY: a room was just allocated, and has a word more than places.
            unsafe { lists.barn.add(block) };
            kept += lists.barn.push(&objects[kept..], places);
        }
        if kept < objects.len() {
            self.unkept(info, objects.len() - kept);
        }
        kept
    }

    /// Notes that so many objects are in no barn any more.
    pub(super) fn unkept(&self, info: &Info, objects: usize) {
        self.kept.fetch_sub(objects * info.geometry.size as usize, Relaxed);
    }

    const fn block_bytes(&self) -> usize {
        (self.slub.rooms() as usize + 1) * size_of::<usize>()
    }

    /// Gives up to `most` objects of a barn back to their slabs, and all empty blocks to the cache of rooms.
    pub(super) fn empty_barn(&self, cx: &SlabContext<'_, '_, 'a>, cache: CacheId, node: usize, most: usize) {
        let (Some(info), Some(rooms)) = (self.info(cache), self.rooms) else { return };
        let (lists, places) = (self.lists_of(cache, node), self.slub.rooms() as usize);
        let mut left = most;
        while left > 0 {
            let mut some = [MaybeUninit::uninit(); STEP];
            let some = &mut some[..left.min(STEP)];
            let n = {
                let _quiet = self.quiet();
                lists.lock().barn.pop(some, places)
            };
            if n == 0 {
                break;
            }
            left -= n;
            self.unkept(info, n);
            // SAFETY: so many were written.
            let objects = unsafe { core::slice::from_raw_parts(some.as_ptr().cast::<usize>(), n) };
            // SAFETY: they are free, and were the barn's alone.
            unsafe { self.give_back(cx, cache, info, objects) };
        }
        let block = || {
            let _quiet = self.quiet();
            lists.lock().barn.take_block()
        };
        while let (Some(info), Some(block)) = (self.info(rooms), block()) {
            self.kept.fetch_sub(self.block_bytes(), Relaxed);
            // SAFETY: an object of the cache of rooms, which was the barn's alone.
            unsafe { self.give_back(cx, rooms, info, &[block.addr()]) };
        }
    }

    /// A room for addresses, for which nobody works hard.
    #[track_caller]
    pub(super) fn room(&self, cx: &SlabContext<'_, 'k, 'a>, random: u64) -> Option<*mut usize> {
        let light = (None, Gfp::GFP_NOWAIT | Gfp::NOWARN, random);
        let block = self.one(cx, self.rooms?, light).ok()?;
        Some(self.memory.pointer(block).cast())
    }
}
