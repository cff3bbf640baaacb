//! One attempt: through the zones in fallback order, to the first that has memory to spare (`get_page_from_freelist`).

use super::flags::{AllocFlags, TaskFlags};
use super::hooks::{Hooks, NodeReclaim, Step};
use super::pcp::COSTLY_ORDER;
use super::prepare::Wanted;
use super::slow::GaveUp;
use super::{AllocFailure, Candidate, Context, PageAllocator, ZoneCell};
use crate::buddy::MigrateType;
use crate::gfp::Gfp;
use crate::{NodeMask, ZoneKind};
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use pagewright_addr::{NodeId, Order};
use pagewright_page::Frames;
use pagewright_platform::{Interrupts, WithoutInterrupts};

impl<'m, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, 's, 'a, I, H> {
    /// Allocates `2^order` frames near a node (`__alloc_pages_node`): the zones of that node first, then those of the
    /// nodes in its fallback order; `__GFP_THISNODE` ends with the node itself. The task's memory policy does not count.
    ///
    /// # Errors
    /// As for [`Self::alloc_pages`].
    #[track_caller]
    pub fn alloc_pages_node(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        gfp: Gfp,
        order: Order,
    ) -> Result<Frames<'a>, AllocFailure> {
        self.alloc_pages_nodemask(cx, nid, None, gfp, order)
    }

    /// The way of what the fast path did not serve. A failure is left in `why`, so that what is returned fits in registers: through
    /// memory the fast path would pay for the slow one's result.
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(super) fn alloc_somewhere(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        order: Order,
        why: &mut AllocFailure,
    ) -> Option<Frames<'a>> {
        if let Some(frames) = self.alloc_beside_lists(cx, gfp, order) {
            return Some(frames);
        }
        match self.alloc_pages_placed(cx, gfp, order) {
            Ok(frames) => Some(frames),
            Err(failure) => {
                *why = failure;
                None
            }
        }
    }

    /// The first zone's free lists, for orders that no CPU has lists of: what [`Self::get_page_from_freelist`] would try first, without working
    /// out what comes after it, as long as there is plenty and the request's own type has a block.
    #[inline]
    fn alloc_beside_lists(&self, cx: &Context<'_, 'm, 'a>, gfp: Gfp, order: Order) -> Option<Frames<'a>> {
        let ordinary = cx.gate.for_allocation() == 0
            && !gfp.intersects(Gfp::ZERO | Gfp::COMP | Gfp::THISNODE | Gfp::WRITE)
            && order <= self.ground.largest;
        if !ordinary {
            return None;
        }
        let first = cx.cpu.enter()?.first_beside_lists(gfp.class(), order)?;
        let cell = self.zones.get(first.zone.index())?;
        let quiet = WithoutInterrupts::new(&self.interrupts);
        // Nothing of another type, so that nothing is mixed.
        let found = cell.take_own(&self.ground, order, first.migrate, first.highest)?;
        if cell.pressure_changed() {
            self.weigh(cell);
        }
        drop(quiet);
        if cell.boosted.load(Relaxed) {
            self.tell_boost(cell, AllocFlags::first(gfp, false), false);
        }
        // It is the zone that was wanted; whether it is near is all there is to note.
        if cell.nid() != cx.node {
            self.count_numa(cell, first.zone, cx.node, 1);
        }
        Some(found)
    }

    /// Allocates near a node, from these nodes only (`__alloc_pages`).
    ///
    /// # Errors
    /// As for [`Self::alloc_pages`].
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub fn alloc_pages_nodemask(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        nodes: Option<&NodeMask>,
        gfp: Gfp,
        order: Order,
    ) -> Result<Frames<'a>, AllocFailure> {
        let result = self.alloc_among(cx, nid, nodes, gfp, order);
        // What is refused before a list was looked at is not told.
        use AllocFailure::{NoMemory, NotCharged, NotZeroed};
        if matches!(result, Err(NoMemory { .. } | NotCharged { .. } | NotZeroed { .. }))
            && let Some(events) = self.events_now(cx)
        {
            self.tell_alloc(events, gfp, order, None);
        }
        result
    }

    #[track_caller]
    fn alloc_among(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        nodes: Option<&NodeMask>,
        gfp: Gfp,
        order: Order,
    ) -> Result<Frames<'a>, AllocFailure> {
        let mut lists = self.zonelists.load(Acquire);
        let mut wanted = self.prepare(cx, nid, nodes, gfp, order)?;
        let frames = loop {
            if let Some(frames) = self.first_attempt(cx, nid, wanted) {
                break frames;
            }
            match self.alloc_slow(cx, nid, &wanted, lists) {
                Ok(frames) => break frames,
                // The same request once more: it is not counted again, and its failure told once.
                Err(GaveUp::ListsChanged(now)) => {
                    lists = now;
                    wanted = self.work_out(cx, nid, nodes, gfp, order)?;
                }
                Err(GaveUp::NoMemory) => return Err(AllocFailure::NoMemory { order, gfp: wanted.gfp }),
            }
        };
        let frames = self.charged(cx, wanted.gfp, order, frames)?;
        self.finish(cx, wanted.gfp, frames)
    }

    /// The attempt that nearly always succeeds.
    fn first_attempt<'w>(
        &self,
        cx: &Context<'w, 'm, 'a>,
        nid: NodeId,
        mut wanted: Wanted<'w>,
    ) -> Option<Frames<'a>> {
        let mut flags = self.in_cpuset(cx, nid, &mut wanted);
        flags.set(AllocFlags::SPREAD_DIRTY, wanted.gfp.contains(Gfp::WRITE));
        flags |= self.nofragment(&wanted);
        self.get_page_from_freelist(cx, nid, &wanted, flags)
    }

    /// The first zone of a node's list that will do, whatever the task's cpuset says.
    pub(super) fn first_zone(
        &self,
        nid: NodeId,
        highest: ZoneKind,
        gfp: Gfp,
        nodes: Option<&NodeMask>,
    ) -> Option<Candidate> {
        let here = gfp.contains(Gfp::THISNODE);
        let mut zones = self.fallbacks.of(nid).filter(|z| z.kind <= highest && (!here || z.nid == nid));
        zones.find(|z| nodes.is_none_or(|nodes| nodes.contains(z.nid)))
    }

    /// Whether the first attempt keeps migrate types apart.
    fn nofragment(&self, wanted: &Wanted<'_>) -> AllocFlags {
        let first = wanted.preferred.and_then(|first| self.zones.get(first.zone.index()));
        let keeps = first.is_some_and(|cell| cell.keeps_apart.load(Relaxed));
        if keeps { AllocFlags::NOFRAGMENT } else { AllocFlags::empty() }
    }

    /// Whether allocations that prefer a zone keep migrate types apart at first (`alloc_flags_nofragment`): only where a lower zone
    /// can serve instead, DMA32 below Normal.
    pub(super) fn keeps_apart(&self, cell: &ZoneCell<'s, 'a>) -> bool {
        let (nid, kind) = (cell.nid(), cell.kind());
        let populated = || self.zones.iter().filter(|z| z.is_populated());
        let nodes_differ = populated().any(|z| z.nid() != nid);
        let lower = populated().any(|z| z.nid() == nid && z.kind() == ZoneKind::Dma32);
        let built = self.kinds.contains(ZoneKind::Dma32);
        built && kind == ZoneKind::Normal && (lower || !nodes_differ)
    }

    /// The zones that a request may use, in order.
    pub(super) fn zonelist<'q>(
        &'q self,
        cx: &Context<'q, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'q>,
        flags: AllocFlags,
    ) -> impl Iterator<Item = (Candidate, &'q ZoneCell<'s, 'a>)> + use<'q, 'm, 's, 'a, I, H> {
        let Wanted { highest, gfp, nodes, .. } = *wanted;
        let cx = *cx;
        self.fallbacks
            .of(nid)
            .filter(move |z| z.kind <= highest)
            .filter(move |z| !gfp.contains(Gfp::THISNODE) || z.nid == nid)
            .filter(move |z| nodes.is_none_or(|nodes| nodes.contains(z.nid)))
            .filter(move |z| cx.allows(z.nid, gfp, flags))
            .filter_map(|z| Some((z, self.zones.get(z.zone.index())?)))
    }

    /// The attempt.
    pub(super) fn get_page_from_freelist(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
        flags: AllocFlags,
    ) -> Option<Frames<'a>> {
        let first = wanted.preferred?;
        let mut flags = flags;
        loop {
            let mut again = false;
            let mut dirty = None;
            for (at, cell) in self.zonelist(cx, nid, wanted, flags) {
                if flags.contains(AllocFlags::SPREAD_DIRTY) {
                    if dirty == Some(at.nid) {
                        continue;
                    }
                    if !self.hooks.node_dirty_ok(at.nid) {
                        self.hooks.step(Step::DirtyNode(at.nid));
                        dirty = Some(at.nid);
                        continue;
                    }
                }
                if flags.contains(AllocFlags::NOFRAGMENT) && at.zone != first.zone && at.nid != first.nid {
                    // Local memory matters more than keeping types apart.
                    flags.remove(AllocFlags::NOFRAGMENT);
                    again = true;
                    break;
                }
                if self.has_enough(cx, cell, first.nid, wanted, flags)
                    && let Some(frames) = self.rmqueue(cx, cell, at, wanted, flags)
                {
                    self.count_numa(cell, first.zone, cx.node, 1);
                    if !wanted.order.is_zero() && flags.contains(AllocFlags::HARDER) {
                        self.reserve_highatomic(cell, &frames);
                    }
                    return Some(frames);
                }
            }
            if again {
                continue;
            }
            if !flags.contains(AllocFlags::NOFRAGMENT) {
                return None;
            }
            // It cannot be had without mixing types.
            flags.remove(AllocFlags::NOFRAGMENT);
        }
    }

    /// Whether a zone has memory to spare, if need be after its node gave up caches.
    fn has_enough(
        &self,
        cx: &Context<'_, 'm, 'a>,
        cell: &ZoneCell<'s, 'a>,
        nearest: NodeId,
        wanted: &Wanted<'_>,
        flags: AllocFlags,
    ) -> bool {
        if flags.contains(AllocFlags::NO_WATERMARKS) {
            return true;
        }
        let Wanted { gfp, order, highest, .. } = *wanted;
        let enough = || {
            let look = || cell.watermark_ok(order, cell.mark(flags), highest, flags);
            // One page there is as soon as one is free.
            if order.is_zero() { look() } else { cell.occupied.find(look, || self.settle_until(cell, &look)) }
        };
        if enough() {
            return true;
        }
        // A boost is to keep memory from fragmenting, not to refuse the urgent a page.
        let urgent = order.is_zero() && gfp.contains(Gfp::ATOMIC) && flags.contains(AllocFlags::WMARK_MIN);
        if urgent && cell.boost_pages() > 0 && cell.watermark_ok(order, cell.min_pages(), highest, flags) {
            return true;
        }
        if self.tuning.node_reclaim_mode() == 0
            || !self.near(nearest, cell.nid())
            || !gfp.may_block()
            || cx.task.contains(TaskFlags::MEMALLOC)
        {
            return false;
        }
        let result = self.hooks.node_reclaim(cell.nid(), order, gfp);
        self.hooks.step(Step::ReclaimNode(cell.nid(), result));
        matches!(result, NodeReclaim::Some | NodeReclaim::Success) && enough()
    }

    /// Takes a block from a zone: through this CPU's lists, or under the lock (`rmqueue`).
    fn rmqueue(
        &self,
        cx: &Context<'_, 'm, 'a>,
        cell: &ZoneCell<'s, 'a>,
        at: Candidate,
        wanted: &Wanted<'_>,
        flags: AllocFlags,
    ) -> Option<Frames<'a>> {
        let request = flags.request(wanted.order, wanted.migrate);
        // Movable lists may hold CMA pages, which not every movable request can have.
        let lists = request.cma || wanted.migrate != MigrateType::Movable;
        if lists
            && let Some(mut own) = cx.cpu.enter()
            && let Some(shelf) = own.shelf(at.zone, wanted.order, wanted.migrate)
        {
            if let Some(frames) = own.pop_from(shelf) {
                return Some(frames);
            }
            if !wanted.order.is_zero() {
                self.settle_for(cell, wanted.order, wanted.migrate);
            }
            let (mut boosted, mut merged) = (false, false);
            loop {
                let mut waits = false;
                boosted |= self.with_unsettled(cell, |zone| {
                    self.ground.settle_some(zone);
                    own.refill(shelf, |pages| {
                        // Before other types' blocks all that waits is merged, but not in here.
                        waits = !merged && self.ground.has_much_to_settle(zone, request);
                        if waits { None } else { self.ground.rmqueue_run(zone, request, pages) }
                    });
                    self.boost(cell, zone, flags)
                });
                if !waits || !own.has_none(shelf) {
                    break;
                }
                merged = true;
                self.settle_waiting(cell);
            }
            let found = own.pop_from(shelf);
            drop(own);
            self.tell_boost(cell, flags, boosted);
            // Lists are not filled with what is kept for the urgent.
            if found.is_some() {
                return found;
            }
        }
        self.rmqueue_locked(cell, wanted.order, wanted.migrate, flags)
    }

    /// Takes a block out of a zone's free lists, past the CPUs'.
    fn rmqueue_locked(
        &self,
        cell: &ZoneCell<'s, 'a>,
        order: Order,
        migrate: MigrateType,
        flags: AllocFlags,
    ) -> Option<Frames<'a>> {
        let request = flags.request(order, migrate);
        self.settle_for(cell, order, migrate);
        let mut merged = false;
        loop {
            let (found, boosted, waits) = self.with_unsettled(cell, |zone| {
                self.ground.settle_some(zone);
                let urgent = !order.is_zero() && flags.contains(AllocFlags::HARDER);
                let kept = urgent.then(|| self.ground.take_smallest(zone, order, MigrateType::HighAtomic));
                // As above.
                let waits = !merged && self.ground.has_much_to_settle(zone, request);
                let other = || if waits { None } else { self.ground.rmqueue(zone, request) };
                let found = kept.flatten().or_else(other);
                zone.count_direct(order, usize::from(found.is_some()));
                (found, self.boost(cell, zone, flags), waits)
            });
            self.tell_boost(cell, flags, boosted);
            if found.is_some() || !waits {
                return found;
            }
            merged = true;
            self.settle_waiting(cell);
        }
    }

    /// Whether an order has per-CPU lists or is costly.
    pub(super) fn is_costly(order: Order) -> bool {
        order.get() > COSTLY_ORDER
    }
}
