//! Objects come back (`do_slab_free`, `__slab_free`, `put_cpu_partial`).

use super::frozen::{self, FreeAlready, Freed};
use super::{CpuSlab, Inside};
use crate::memory::SlabMemory;
use crate::slabs::Slabs;
use crate::slabs::cache::{CacheId, Info};
use crate::slabs::cpu::SlabContext;
use crate::slabs::report::Damage;
use crate::slabs::shared::Slab;
use crate::slabs::word::{Listed, SlabWord};
use core::sync::atomic::Ordering::Relaxed;
use pagewright_platform::Interrupts;

/// What became of an object that was to be put into the processor's list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pushed {
    /// It is there.
    Done,
    /// It is not of the processor's slab, or that is not to be used.
    Elsewhere,
    /// It is there already, as the first.
    Twice,
}

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// The fast way: an object of the processor's slab becomes the first of its list.
    ///
    /// # Safety
    /// As for [`Self::free`].
    #[inline(always)]
    unsafe fn push_cpu_slab(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId, address: usize) -> Pushed {
        let ready = cx.cpu.cpu().slabs().ready(cx.cpu.requests(), cache.index());
        let Some((cpu, info)) = ready.zip(self.info(cache)) else { return Pushed::Elsewhere };
        loop {
            let seen = cpu.list.read();
            let (base, bytes) = cpu.place();
            let offset = address.wrapping_sub(base);
            if !info.places.is_inside(offset, bytes) {
                return Pushed::Elsewhere;
            }
            if seen.first() == Some(offset) {
                return Pushed::Twice;
            }
            let link = self.memory.pointer(info.places.link(address)).cast::<usize>();
            let next = seen.first().map_or(0, |next| next + 1);
            // SAFETY: an object of a slab of the cache begins there, which is the caller's and becomes free; the link is inside it and aligned.
            unsafe { link.write(info.places.encode(link.addr(), next)) };
            if cpu.list.swap(seen, Some(offset)) {
                return Pushed::Done;
            }
        }
    }

    /// The way of an object that no row took: to the processor's slab, or its own.
    ///
    /// # Safety
    /// As for [`Self::free`].
    // Cold for the rows' sake, whose way is laid out first then.
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(crate) unsafe fn free_by_cpu_slab(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        asked: Option<CacheId>,
        address: usize,
    ) {
        if self.has_cpu_slabs() {
            // An object of the slab that the processor has of a cache is that cache's.
            let cache = asked.unwrap_or_else(|| self.owner_of(address));
            // SAFETY: as the caller says.
            match unsafe { self.push_cpu_slab(cx, cache, address) } {
                Pushed::Done => return,
                Pushed::Twice => return self.report(Damage::DoubleFree, self.info(cache), address),
                Pushed::Elsewhere => {}
            }
            if cx.cpu.requests().is_quiet()
                && let Some(info) = self.info(cache).filter(|info| !info.is_watched())
                && let Some(slab) = self.slab_at(address).filter(|slab| self.is_of(cache, slab.head))
                && info.places.is_inside(address - slab.base, slab.bytes)
            {
                // SAFETY: as the caller says; the place was just looked at.
                return unsafe { self.free_to_slab(cx, cache, info, &slab, address) };
            }
        }
        // SAFETY: as the caller says.
        unsafe { self.free_slow(cx, asked, address) };
    }

    /// Puts an object of a slab into the slab's own list.
    ///
    /// # Safety
    /// As for [`Self::free`]; the object begins in that slab, at one of its places.
    pub(crate) unsafe fn free_to_slab(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        info: &Info,
        slab: &Slab,
        address: usize,
    ) {
        let (word, offset) = (self.map.data_word(slab.head), address - slab.base);
        let link = |next: Option<usize>| {
            // SAFETY: an object of the slab, which is the caller's and becomes free.
            unsafe { self.set_link(&info.places, slab, offset, next.map_or(0, |next| next + 1)) };
        };
        // Only one that is full becomes this processor's, and only there its part is needed.
        let full = SlabWord::from_bits(word.load(Relaxed)).listed() == Listed::Nowhere;
        let inside = (full && info.knobs.cpu_partial_slabs() > 0).then(|| Inside::enter(cx.cpu)).flatten();
        let cpu = inside.as_ref().and_then(|inside| self.attached(inside, cache));
        match (frozen::free(word, offset, cpu.is_some(), link), cpu) {
            (Ok(Freed::Done), _) => {}
            (Ok(Freed::Frozen), Some(cpu)) => self.put_cpu_partial(cx, cache, info, cpu, slab),
            (Ok(_), _) => {
                let mut empty = None;
                let freed = {
                    let _quiet = self.quiet();
                    let mut lists = self.lists_of(cache, self.word(slab).node()).lock();
                    let freed = frozen::free_locked(word, offset, link);
                    if let Ok((seen, new)) = freed {
                        match seen.listed() {
                            Listed::Nowhere => self.list_again(info, &mut lists, slab, new, true, &mut empty),
                            Listed::Partial
                                if new.out() == 0 && lists.partial.len > info.knobs.min_partial() =>
                            {
                                self.give_up(info, &mut lists, slab, new, &mut empty);
                            }
                            _ => {}
                        }
                    }
                    freed
                };
                self.discard(cx, cache, empty);
                if let Err(FreeAlready) = freed {
                    self.report(Damage::DoubleFree, Some(info), address);
                }
            }
            (Err(FreeAlready), _) => self.report(Damage::DoubleFree, Some(info), address),
        }
    }

    /// A slab that this processor has just frozen becomes one of its partial ones; where that is one too many, the others go to their nodes.
    fn put_cpu_partial(
        &self,
        cx: &SlabContext<'_, 'k, 'a>,
        cache: CacheId,
        info: &Info,
        cpu: &CpuSlab,
        slab: &Slab,
    ) {
        if cpu.partial_slabs.load(Relaxed) >= info.knobs.cpu_partial_slabs() {
            self.unfreeze_partials(cx, cache, info, cpu);
        }
        self.push_partial(cpu, slab.head);
    }
}
