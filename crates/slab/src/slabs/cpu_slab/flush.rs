//! Processors give up what they have (`flush_cpu_slab`, `flush_all`).

use super::Inside;
use crate::memory::SlabMemory;
use crate::slabs::Slabs;
use crate::slabs::cache::CacheId;
use crate::slabs::cpu::{Requests, SlabContext};
use crate::slabs::tenancy::OPEN;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_platform::Interrupts;

impl<'k, 'a, I: Interrupts, M: SlabMemory> Slabs<'k, 'a, I, M> {
    /// Gives up this processor's slabs of one cache; whether it could: interrupt handlers may come while they are in use.
    pub(crate) fn flush_cpu_slab(&self, cx: &SlabContext<'_, 'k, 'a>, cache: CacheId) -> bool {
        let inside = Inside::enter(cx.cpu);
        inside.inspect(|inside| self.flush_slab_at(cx, inside, cache.index(), false)).is_some()
    }

    /// Gives up this processor's slabs of all caches, and with `leaves` the caches themselves.
    pub(crate) fn flush_cpu_slabs(&self, cx: &SlabContext<'_, 'k, 'a>, leaves: bool) {
        let Some(inside) = Inside::enter(cx.cpu) else { return };
        // Before the looks at which caches are about to go.
        cx.cpu.requests().take(Requests::FLUSH);
        for at in 0..inside.parts.slabs.len() {
            self.flush_slab_at(cx, &inside, at, leaves);
        }
        drop(inside);
        self.bury(cx);
    }

    fn flush_slab_at(&self, cx: &SlabContext<'_, 'k, 'a>, inside: &Inside<'_, 'k>, at: usize, leaves: bool) {
        let (Some(cpu), Some(slot)) = (inside.parts.slabs.get(at), self.slots.get(at)) else { return };
        // It counts this processor, so it is the cache that the slabs are of.
        let Some(cache) = self.living_at(at).filter(|_| cpu.attached.load(Relaxed) != 0) else { return };
        if let Some(info) = self.info(cache) {
            self.deactivate(cx, cache, info, cpu);
            self.unfreeze_partials(cx, cache, info, cpu);
        }
        if leaves || slot.tenancy.state() != OPEN {
            cpu.attached.store(0, Relaxed);
            // Last: who sees it may end the cache.
            slot.tenancy.leave();
        }
    }
}
