//! Objects by way of the processor's slab (`slab_alloc_node`, `___slab_alloc`).

use super::frozen;
use super::{CpuSlab, Inside};
use crate::memory::SlabMemory;
use crate::slabs::cache::{CacheId, Info};
use crate::slabs::cpu::SlabContext;
use crate::slabs::places::Places;
use crate::slabs::report::Damage;
use crate::slabs::shared::Slab;
use crate::slabs::{SlabError, Slabs};
use core::panic::Location;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;
use pagewright_zone::Gfp;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// The way of an allocation that no row serves: of the processor's slab, if it has one. `packed`, as in the slow way.
    // Cold for the rows' sake, whose way is laid out first then.
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(crate) fn alloc_by_cpu_slab(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
    ) -> *mut u8 {
        if !gfp.contains(Gfp::ZERO)
            && let Some(address) = self.pop_cpu_slab(cx, cache)
        {
            return self.memory.pointer(address);
        }
        self.alloc_slow(cx, cache, gfp)
    }

    /// The fast way: the first object of the processor's list.
    #[inline(always)]
    fn pop_cpu_slab(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId) -> Option<usize> {
        let cpu = cx.cpu.cpu().slabs().ready(cx.cpu.requests(), cache.index())?;
        let info = self.info(cache)?;
        loop {
            let seen = cpu.list.read();
            let (base, bytes) = cpu.place();
            // Read again: then the slab is the one that the first object is of.
            if cpu.list.read() != seen {
                continue;
            }
            let offset = seen.first()?;
            // What leads nowhere is reported where there is time.
            let next = self.next_free(&info.places, base, bytes, offset).ok()?;
            if cpu.list.swap(seen, next) {
                return Some(base + offset);
            }
        }
    }

    /// Where an object's link leads. Of an object that is not free any more, it says anything, and whoever asked finds out by the swap that fails.
    #[inline(always)]
    pub(super) fn next_free(
        &self,
        places: &Places,
        base: usize,
        bytes: usize,
        offset: usize,
    ) -> Result<Option<usize>, ()> {
        let at: *mut usize = self.memory.pointer(places.link(base + offset)).cast();
        // SAFETY: inside an object of a slab that was the processor's a moment ago, so the memory's contract makes the pointer good, and all of it is initialised; aligned as
        // words are, since objects and the link's place in them are. The object is free, or a handler on this processor has given it away since. Then its user may
        // write it on another processor at the same time: what is read is a mixture that nobody uses, since the swap fails. For that race the language has no
        // word (its user does not write atomically); a load that is atomic, as this, is what processors make of it. It is in CAVEATS.
        let stored = unsafe { AtomicUsize::from_ptr(at) }.load(Relaxed);
        places.decode(at.addr(), stored, bytes)
    }

    /// An object, by whichever way there is: `node` is the one that is asked for, if any is.
    #[track_caller]
    pub(crate) fn fetch_from_cpu_slab(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        gfp: Gfp,
        node: Option<NodeId>,
    ) -> Result<usize, SlabError> {
        let info = self.info(cache).ok_or(SlabError::Stale)?;
        let at = (node, gfp, cx.cpu.cpu().slabs().random());
        if info.is_watched() {
            return self.take_watched(cx, cache, info, at, Location::caller());
        }
        if let Some(inside) = Inside::enter(cx.cpu)
            && let Some(cpu) = self.attached(&inside, cache)
        {
            return self.refill_cpu_slab(cx, cache, info, at, cpu);
        }
        self.take_past_cpu_slab(cx, cache, info, at)
    }

    /// An object of the processor's slab, after it got one that has any.
    fn refill_cpu_slab(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        info: &Info,
        at: (Option<NodeId>, Gfp, u64),
        cpu: &CpuSlab,
    ) -> Result<usize, SlabError> {
        let (asked, gfp, _) = at;
        let wanted = asked.map(|node| self.serving(cx, Some(node), gfp));
        loop {
            let Some(slab) = self.slab_of(cpu) else {
                let Some(next) = self.pop_partial(cpu) else { break };
                cpu.set_slab(Some(&next));
                continue;
            };
            if wanted.is_some_and(|node| self.word(&slab).node() != node) {
                self.deactivate(cx, cache, info, cpu);
                continue;
            }
            if let Some(address) = self.pop_slowly(info, cpu, &slab) {
                return Ok(address);
            }
            // What others have freed.
            match frozen::take_all(self.map.data_word(slab.head), self.objects_of(info, &slab)) {
                Some(first) => drop(cpu.list.replace(Some(first))),
                None => cpu.set_slab(None),
            }
        }
        let node = wanted.unwrap_or_else(|| self.serving(cx, None, gfp));
        if let Some(slab) = self.take_partial_slabs(cache, info, node, cpu) {
            return self.pop_slowly(info, cpu, &slab).ok_or(SlabError::NoMemory);
        }
        let mut richer = self.with_slabs_to_spare(cx, (cache, info), (node, gfp), asked, at.2);
        if let Some(slab) = richer.find_map(|other| self.take_partial_slabs(cache, info, other, cpu)) {
            return self.pop_slowly(info, cpu, &slab).ok_or(SlabError::NoMemory);
        }
        if let Some((slab, first)) = self.new_frozen(cx, cache, info, at) {
            cpu.set_slab(Some(&slab));
            cpu.list.replace(Some(first));
            return self.pop_slowly(info, cpu, &slab).ok_or(SlabError::NoMemory);
        }
        let slab =
            self.others(cx, node, gfp).find_map(|other| self.take_partial_slabs(cache, info, other, cpu));
        slab.and_then(|slab| self.pop_slowly(info, cpu, &slab)).ok_or(SlabError::NoMemory)
    }

    /// The first object of the processor's list. A link that leads nowhere ends the list.
    fn pop_slowly(&self, info: &Info, cpu: &CpuSlab, slab: &Slab) -> Option<usize> {
        loop {
            let seen = cpu.list.read();
            let offset = seen.first()?;
            let next = self.next_free_or_end(info, slab, offset);
            if cpu.list.swap(seen, next) {
                return Some(slab.base + offset);
            }
        }
    }

    /// Where a free object's link leads; nowhere is reported, and what followed is lost: its objects count as out for good.
    pub(super) fn next_free_or_end(&self, info: &Info, slab: &Slab, offset: usize) -> Option<usize> {
        self.next_free(&info.places, slab.base, slab.bytes, offset).unwrap_or_else(|()| {
            self.report(Damage::FreePointer, Some(info), slab.base + offset);
            None
        })
    }

    /// One object past the processor's slab, whose use this interrupts: of a node's partial slabs, or of a new one.
    fn take_past_cpu_slab(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        info: &Info,
        at: (Option<NodeId>, Gfp, u64),
    ) -> Result<usize, SlabError> {
        let (asked, gfp, _) = at;
        let node = self.serving(cx, asked, gfp);
        if let Some(address) = self.take_one_partial(cache, info, node) {
            return Ok(address);
        }
        let mut richer = self.with_slabs_to_spare(cx, (cache, info), (node, gfp), asked, at.2);
        if let Some(address) = richer.find_map(|other| self.take_one_partial(cache, info, other)) {
            return Ok(address);
        }
        if let Some((slab, first)) = self.new_frozen(cx, cache, info, at) {
            let rest = self.next_free_or_end(info, &slab, first);
            self.put_back(cx, cache, info, &slab, rest);
            return Ok(slab.base + first);
        }
        self.others(cx, node, gfp)
            .find_map(|other| self.take_one_partial(cache, info, other))
            .ok_or(SlabError::NoMemory)
    }
}
