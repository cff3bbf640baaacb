//! Caches come and go.

use super::cache::{CacheId, CacheName, CacheSpec, Info};
use super::cpu::{Requests, SlabContext};
use super::debug::DebugOptions;
use super::node::List;
use super::tenancy::{CLOSING, DYING, OPEN};
use super::word::Listed;
use super::{CreateError, DestroyError, Slabs};
use crate::memory::SlabMemory;
use crate::random::next_bits;
use crate::{CacheFlags, HOST_WORD};
use core::sync::atomic::Ordering::Relaxed;
use pagewright_platform::Interrupts;

/// What became of a cache that one of its users destroyed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destroyed {
    /// It is gone, its pages are the page allocator's.
    Gone,
    /// Others that were merged with it use it yet.
    Shared,
}

// What layouts allow is what a slab's word and a processor's list can say.
const _: () = assert!(crate::slub::REACH == super::word::REACH);

/// A shrink sorts slabs with up to so many free objects (SHRINK_PROMOTE_MAX).
const PROMOTED: usize = 32;

/// What merged caches must have alike (SLAB_MERGE_SAME).
const ALIKE: CacheFlags = CacheFlags::RECLAIM_ACCOUNT
    .union(CacheFlags::CACHE_DMA)
    .union(CacheFlags::CACHE_DMA32)
    .union(CacheFlags::ACCOUNT);
/// Caches with these are never merged (SLAB_NEVER_MERGE).
const APART: CacheFlags = CacheFlags::WATCHED
    .difference(CacheFlags::CONSISTENCY_CHECKS)
    .union(CacheFlags::FAILSLAB)
    .union(CacheFlags::NOLEAKTRACE)
    .union(CacheFlags::TYPESAFE_BY_RCU)
    .union(CacheFlags::KMALLOC);

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// Makes a cache (`kmem_cache_create_usercopy`), or finds one whose objects do as well: of the same kind, nowhere a word larger, at multiples of
    /// the alignment, without constructor, and of which users are given nothing.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn create(&self, spec: &CacheSpec<'_>) -> Result<CacheId, CreateError> {
        // Whether it is merged or not: what a name may be does not depend on which caches there are.
        let name = CacheName::new(spec.name).ok_or(CreateError::Name)?;
        let spec = &self.watched(self.options(), spec);
        if let Some(merged) = self.merge(spec)? {
            return Ok(merged);
        }
        self.make_named(spec, name)
    }

    fn options(&self) -> DebugOptions<'k> {
        let _quiet = self.quiet();
        self.registry.lock().debug
    }

    /// What is asked for, and what [`DebugOptions`] ask of such a cache.
    fn watched<'n>(&self, options: DebugOptions<'_>, spec: &CacheSpec<'n>) -> CacheSpec<'n> {
        CacheSpec { object: options.watched(&self.slub, spec.name, spec.object), ..*spec }
    }

    /// Makes a cache of its own.
    ///
    /// # Errors
    /// [`CreateError`].
    pub fn create_unmerged(&self, spec: &CacheSpec<'_>) -> Result<CacheId, CreateError> {
        self.make(&self.watched(self.options(), spec))
    }

    pub(crate) fn make(&self, spec: &CacheSpec<'_>) -> Result<CacheId, CreateError> {
        self.make_named(spec, CacheName::new(spec.name).ok_or(CreateError::Name)?)
    }

    fn make_named(&self, spec: &CacheSpec<'_>, name: CacheName) -> Result<CacheId, CreateError> {
        let (first, len) = spec.usercopy;
        if u64::from(first) + u64::from(len) > spec.object.size {
            return Err(CreateError::Usercopy { first, len });
        }
        self.allows(spec.object.flags)?;
        let geometry = self.slub.geometry(&spec.object)?;
        // In the middle of an object there is room for a longer word (no object takes less than 8 bytes), behind it only for what was laid out.
        let behind =
            geometry.free_pointer >= geometry.inuse || spec.object.flags.contains(CacheFlags::STORE_USER);
        if self.slub.word != HOST_WORD && behind && self.memory.is_seen() {
            return Err(CreateError::Word { wanted: self.slub.word, host: HOST_WORD });
        }
        let _quiet = self.quiet();
        let mut registry = self.registry.lock();
        let secret = self.secret ^ next_bits(&mut registry.random) as usize;
        let info = Info::new(spec, name, geometry, secret);
        super::Slot::open_first(self.slots, info)
    }

    /// A cache that does as well, one user more of which there is then.
    fn merge(&self, spec: &CacheSpec<'_>) -> Result<Option<CacheId>, CreateError> {
        let object = &spec.object;
        if spec.ctor.is_some() || object.flags.intersects(APART) || spec.usercopy.1 > 0 {
            return Ok(None);
        }
        let geometry = self.slub.geometry(object)?;
        let size =
            geometry.object_size.next_multiple_of(self.slub.word.into()).next_multiple_of(geometry.align);
        let _quiet = self.quiet();
        let registry = self.registry.lock();
        if !registry.merges {
            return Ok(None);
        }
        // Slabs begin at multiples of whatever their objects' size is a multiple of, so objects that are as far apart as an alignment asks for have it.
        let does = |info: &Info| {
            info.ctor.is_none()
                && !info.flags.intersects(APART)
                && !info.knobs.fails()
                && info.usercopy.1 == 0
                && (info.flags ^ object.flags) & ALIKE == CacheFlags::empty()
                && size <= info.geometry.size
                && info.geometry.size.is_multiple_of(geometry.align)
                && info.geometry.size - size < self.slub.word.into()
        };
        // One that is about to go would take the new user with it.
        let stays = |id: CacheId| {
            Some(id) != self.rooms
                && self.slots.get(id.index()).is_some_and(|slot| slot.tenancy.state() == OPEN)
        };
        let found = self.living().find(|&id| stays(id) && self.info(id).is_some_and(does));
        if let Some(info) = found.and_then(|id| self.info(id)) {
            info.users.fetch_add(1, Relaxed);
            info.object_size.fetch_max(object.size as usize, Relaxed);
        }
        Ok(found)
    }

    /// The caches that there are, to look at.
    ///
    /// # Safety
    /// Whoever uses a handle for anything does so while nobody destroys that cache.
    pub unsafe fn ids(&self) -> impl Iterator<Item = CacheId> + '_ {
        self.living()
    }

    pub(crate) fn living(&self) -> impl Iterator<Item = CacheId> + '_ {
        (0..self.slots.len()).filter_map(|at| self.living_at(at))
    }

    /// The cache at a place of the table.
    pub(crate) fn living_at(&self, at: usize) -> Option<CacheId> {
        super::Slot::living_at(self.slots, at)
    }

    /// Gives everything back that a cache has free: this processor's objects, nodes' barns, and all empty slabs (`kmem_cache_shrink`); the fullest of the others are used first from then on. Other
    /// processors are asked, and do their part at the latest with the next operation that no row serves, or a poll. Returns whether the cache has slabs yet,
    /// besides those that wait for readers.
    pub fn shrink(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId) -> bool {
        if self.has_cpu_slabs() {
            self.flush_cpu_slab(cx, cache);
        } else if let Some(mut own) = cx.cpu.enter() {
            self.flush_row(cx, &mut own, cache.index());
        }
        self.cpus.iter().filter(|&cpu| !core::ptr::eq(cpu, cx.cpu.cpu())).for_each(|cpu| {
            cpu.requests().post(Requests::FLUSH);
        });
        let left = self.drop_empty(cx, cache);
        // Also those of earlier: nothing may have become empty just now.
        self.release_deferred(cx);
        left > 0
    }

    /// Gives empty slabs back, and sorts others by how full they are; how many these are.
    fn drop_empty(&self, cx: &SlabContext<'_, '_, 'a>, cache: CacheId) -> u64 {
        let Some(info) = self.info(cache) else { return 0 };
        let mut left = 0;
        for node in 0..self.nodes {
            self.empty_barn(cx, cache, node, usize::MAX);
            let mut empty = None;
            {
                let _quiet = self.quiet();
                let mut lists = self.lists_of(cache, node).lock();
                // Those with few free objects, by how many, so that they are filled up first and others may become empty.
                let mut promoted = [const { List::new() }; PROMOTED];
                let mut at = lists.partial.first();
                while let Some(head) = at {
                    at = self.map.next(head);
                    let Some(slab) = self.slab(head, self.map.word(head).order()) else { continue };
                    let word = self.word(&slab);
                    let free = info.objects(self.map.word(head).order()).saturating_sub(word.out());
                    if word.out() == 0 {
                        self.give_up(info, &mut lists, &slab, word, &mut empty);
                    } else if let Some(list) = promoted.get_mut((free as usize).saturating_sub(1)) {
                        lists.partial.remove(&self.map, head);
                        list.push_back(&self.map, head);
                    }
                }
                for list in promoted.iter_mut().rev() {
                    while let Some(head) = list.last() {
                        list.remove(&self.map, head);
                        lists.partial.push_front(&self.map, head);
                    }
                }
                left += lists.slabs();
            }
            self.discard(cx, cache, empty);
        }
        left
    }

    /// Ends a cache (`kmem_cache_destroy`). Where others were merged with it, only the caller's share ends.
    ///
    /// # Errors
    /// [`DestroyError`]; the cache is as it was then, but for free objects that were given back. After [`DestroyError::Retry`] its place stays closed:
    /// objects come from slabs one by one, without rows, and no other cache is merged with it, until this is called again.
    ///
    /// # Safety
    /// Nobody uses the cache meanwhile, and whoever uses its handle later does so after this call (and then learns that it is stale).
    pub unsafe fn destroy(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
    ) -> Result<Destroyed, DestroyError> {
        let Some(slot) = self.user_leaves(cache, CLOSING)? else { return Ok(Destroyed::Shared) };
        self.rows_left(cx, slot, cache)?;
        let ended = self.end(cx, slot, cache);
        if ended.is_err() {
            slot.tenancy.set(OPEN);
        }
        ended.map(|()| Destroyed::Gone)
    }

    /// Ends a cache as soon as it can be ended, whoever finds that: the last processor that gives up its row, or whoever sees the last reader
    /// leave. With objects in use it stays.
    ///
    /// # Safety
    /// Nobody uses the cache or its handle any more.
    pub(crate) unsafe fn abandon(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId) {
        if let Ok(Some(slot)) = self.user_leaves(cache, DYING)
            && self.rows_left(cx, slot, cache).is_ok()
        {
            self.bury_at(cx, cache.index());
        }
    }

    /// A user leaves a cache. The last one closes its place, and has it.
    fn user_leaves(&self, cache: CacheId, closing: u32) -> Result<Option<&super::Slot>, DestroyError> {
        let slot = self.slots.get(cache.index()).ok_or(DestroyError::Stale)?;
        let info = slot.get(cache).ok_or(DestroyError::Stale)?;
        let _quiet = self.quiet();
        let _registry = self.registry.lock();
        // Under the lock, under which others are merged with it: there are none from here on.
        let shared = info.users.load(Relaxed) > 1;
        if shared {
            info.users.fetch_sub(1, Relaxed);
        }
        slot.tenancy.set(if shared { OPEN } else { closing });
        Ok((!shared).then_some(slot))
    }

    /// Gives up this processor's row of a cache whose place is closed, and asks the others for theirs.
    fn rows_left(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        slot: &super::Slot,
        cache: CacheId,
    ) -> Result<(), DestroyError> {
        if self.has_cpu_slabs() {
            self.flush_cpu_slab(cx, cache);
        } else if let Some(mut own) = cx.cpu.enter() {
            self.flush_row(cx, &mut own, cache.index());
        }
        let cpus = slot.tenancy.attached();
        if cpus > 0 {
            self.cpus.iter().for_each(|cpu| cpu.requests().post(Requests::FLUSH));
            return Err(DestroyError::Retry { cpus });
        }
        Ok(())
    }

    /// Ends a cache whose place is closed, and of which no processor has a row. After an error the place is closed yet.
    fn end(
        &self,
        cx: &SlabContext<'_, '_, 'a>,
        slot: &super::Slot,
        cache: CacheId,
    ) -> Result<(), DestroyError> {
        if self.drop_empty(cx, cache) > 0 {
            return Err(self.in_use(cache));
        }
        self.release_deferred(cx);
        let slabs = Self::waits(slot);
        if slabs > 0 {
            return Err(DestroyError::Readers { slabs });
        }
        let _quiet = self.quiet();
        let _registry = self.registry.lock();
        slot.tenancy.move_out();
        Ok(())
    }

    /// Ends the caches that nobody has any more and no processor has a row of.
    pub(super) fn bury(&self, cx: &SlabContext<'_, '_, 'a>) {
        (0..self.slots.len()).for_each(|at| self.bury_at(cx, at));
    }

    /// The same of one place.
    pub(super) fn bury_at(&self, cx: &SlabContext<'_, '_, 'a>, at: usize) {
        let Some(slot) = self.slots.get(at) else { return };
        // Who left a row looks here afterwards, and so does who took the last slab from its readers. One of them does it.
        while slot.tenancy.take_over() {
            let Some(cache) = self.living_at(at) else { return };
            match self.end(cx, slot, cache) {
                Ok(()) => return,
                Err(DestroyError::Readers { .. }) => {
                    slot.tenancy.set(DYING);
                    // The last of them may have left before it said so.
                    if Self::waits(slot) > 0 {
                        return;
                    }
                }
                Err(_) => return slot.tenancy.set(OPEN),
            }
        }
    }

    /// Which objects are out, once no processor has any.
    fn in_use(&self, cache: CacheId) -> DestroyError {
        let (mut objects, mut first) = (0, 0);
        self.objects_in_use(cache, |address| {
            first = if objects == 0 { address } else { first };
            objects += 1;
        });
        DestroyError::InUse { objects, first }
    }

    /// Calls `each` with the address of every object that is not in its slab's free list: in use, or with a processor or in a barn. Where processors have slabs,
    /// all objects of these are such.
    pub fn objects_in_use(&self, cache: CacheId, mut each: impl FnMut(usize)) {
        let Some(info) = self.info(cache) else { return };
        for node in 0..self.nodes {
            let _quiet = self.quiet();
            let lists = self.lists_of(cache, node).lock();
            for head in lists.partial.iter(&self.map).chain(lists.full.iter(&self.map)) {
                let order = self.map.word(head).order();
                let Some(slab) = self.slab(head, order) else { continue };
                let word = self.word(&slab);
                debug_assert!(!matches!(word.listed(), Listed::Nowhere | Listed::Frozen));
                for offset in (0..info.objects(order)).map(|number| info.places.offset_of(number)) {
                    if !self.is_listed_free(info, &slab, word, offset) {
                        each(slab.base + offset);
                    }
                }
            }
            for (slab, _) in self.slabs_apart(cache, node) {
                let all = info.objects(self.map.word(slab.head).order());
                (0..all).for_each(|number| each(slab.base + info.places.offset_of(number)));
            }
        }
    }
}
