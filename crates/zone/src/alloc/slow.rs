//! When no zone has memory to spare: kswapd, reserves, compaction, reclaim, the out-of-memory killer
//! (`__alloc_pages_slowpath`).
//!
//! What those do is other people's ([`Hooks`]); in which order they are asked, and when to give up, is decided here, as 6.1
//! decides it. Nothing sleeps in here: a hook that must wait does so itself. [`retry`] says whether another round can
//! help, [`oom`] when somebody is killed.
//!
//! A cpuset or a policy cannot change while an allocation borrows it, so there is no starting over because of one.

mod oom;
mod retry;

use super::flags::{AllocFlags, TaskFlags};
use super::hooks::{CompactPriority, CompactResult, Effort, Hooks, Progress, Step};
use super::prepare::Wanted;
use super::report::{Failure, InService};
use super::{Context, PageAllocator, ZoneCell};
use crate::buddy::MigrateType;
use crate::gfp::{Gfp, GfpWarning};
use crate::{NodeMask, ZoneKind};
use core::sync::atomic::Ordering::Acquire;
use pagewright_addr::NodeId;
use pagewright_page::Frames;
use pagewright_platform::Interrupts;

/// What a slow allocation remembers from round to round.
struct Rounds {
    fruitless: u32,
    compactions: u32,
    priority: CompactPriority,
}

/// What a round led to.
enum Round<'a> {
    Done(Frames<'a>),
    Again,
    /// Give up, unless the allocation may not fail.
    Hopeless,
}

/// Why the slow path found nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum GaveUp {
    /// It may have walked fallback orders that were being written anew; how often they were by now.
    ListsChanged(u32),
    /// There is none to be had, as was told.
    NoMemory,
}

impl<'m, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, 's, 'a, I, H> {
    /// The slow path. `lists` says how often the fallback orders had been written when the request began.
    ///
    /// # Errors
    /// [`GaveUp`]; only the last attempt's failure is told.
    pub(super) fn alloc_slow(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
        lists: u32,
    ) -> Result<Frames<'a>, GaveUp> {
        let mut wanted = *wanted;
        for warning in GfpWarning::of_waiting(wanted.gfp) {
            self.hooks.step(Step::Warn(warning));
        }
        if wanted.gfp.contains(Gfp::ATOMIC | Gfp::DIRECT_RECLAIM) {
            wanted.gfp.remove(Gfp::ATOMIC);
        }
        let nodes = wanted.nodes;
        if let Some(frames) = self.slow_rounds(cx, nid, &mut wanted) {
            return Ok(frames);
        }
        let now = self.zonelists.load(Acquire);
        if now != lists {
            return Err(GaveUp::ListsChanged(now));
        }
        self.hooks.step(Step::Fail);
        if !wanted.gfp.contains(Gfp::NOWARN) && self.may_have_been_served(wanted.gfp) {
            let Wanted { gfp, order, highest, .. } = wanted;
            let mem = InService { allocator: self, cx };
            let task = cx.task;
            self.hooks.report(&Failure {
                gfp,
                order,
                nodes,
                mems_allowed: cx.nodes,
                task,
                highest,
                mem: &mem,
            });
        }
        Err(GaveUp::NoMemory)
    }

    /// Whether a failure is worth telling: not if it asked for ZONE_DMA where no node has memory there (`has_managed_dma`).
    fn may_have_been_served(&self, gfp: Gfp) -> bool {
        let managed = |cell: &ZoneCell<'s, 'a>| self.with_zone(cell, |zone| zone.managed_pages());
        !gfp.contains(Gfp::DMA) || self.zones.iter().any(|z| z.kind() == ZoneKind::Dma && managed(z) > 0)
    }

    fn attempt(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
        flags: AllocFlags,
    ) -> Option<Frames<'a>> {
        self.hooks.step(Step::Attempt(flags));
        self.get_page_from_freelist(cx, nid, wanted, flags)
    }

    /// Wakes the kswapd of each node that the request may use (`wake_all_kswapds`), the cpuset's others as well.
    fn wake(&self, cx: &Context<'_, 'm, 'a>, nid: NodeId, wanted: &Wanted<'_>) {
        if !wanted.gfp.contains(Gfp::KSWAPD_RECLAIM) {
            return;
        }
        let mut woken = NodeMask::EMPTY;
        for (at, _) in self.zonelist(cx, nid, wanted, AllocFlags::CPUSET) {
            if woken.insert(at.nid) {
                self.hooks.step(Step::WakeKswapd(at.nid));
                self.hooks.wake_kswapd(at.nid, wanted.order, wanted.highest);
            }
        }
    }

    fn slow_rounds(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &mut Wanted<'_>,
    ) -> Option<Frames<'a>> {
        let (gfp, task) = (wanted.gfp, cx.task);
        let movable = wanted.migrate == MigrateType::Movable;
        let can_reclaim = gfp.contains(Gfp::DIRECT_RECLAIM) && !task.contains(TaskFlags::INTERRUPT);
        let mut flags = AllocFlags::slow(gfp, task, movable);
        let mut rounds = Rounds { fruitless: 0, compactions: 0, priority: CompactPriority::SyncLight };

        // A movable zone only, say, for a mask that cannot use it, or nodes without memory: no reclaim will ever help.
        let walled_in =
            || gfp.contains(Gfp::HARDWALL) && self.zonelist(cx, nid, wanted, flags).next().is_none();
        if wanted.preferred.is_none() || walled_in() {
            self.hooks.step(Step::NoZone);
            if let Some(done) = self.refuse(cx, nid, wanted, can_reclaim) {
                return done;
            }
        } else if let Some(done) = self.lightly(cx, nid, wanted, flags, can_reclaim, &mut rounds) {
            return done;
        }

        loop {
            // kswapd must not sleep while this goes on.
            self.wake(cx, nid, wanted);
            let reserves = AllocFlags::reserves(gfp, task);
            if !reserves.is_empty() {
                // Whoever may use reserves is not held to its nodes either.
                flags = reserves | flags & (AllocFlags::CMA | AllocFlags::KSWAPD);
            }
            if !flags.contains(AllocFlags::CPUSET) && wanted.nodes.is_some() {
                // Nor to those of its policy, which is about where, not about whether.
                self.hooks.step(Step::AnyNode);
                wanted.nodes = None;
                wanted.preferred = self.first_zone(nid, wanted.highest, gfp, None);
            }
            if let Some(frames) = self.attempt(cx, nid, wanted, flags) {
                return Some(frames);
            }
            if can_reclaim && !task.contains(TaskFlags::MEMALLOC) {
                match self.round(cx, nid, wanted, flags, &mut rounds) {
                    Round::Done(frames) => return Some(frames),
                    Round::Again => {
                        self.hooks.step(Step::Retry);
                        continue;
                    }
                    Round::Hopeless => {}
                }
            }
            if let Some(done) = self.refuse(cx, nid, wanted, can_reclaim) {
                return done;
            }
        }
    }

    /// What costs little, before any reclaim: the min watermark and, for a block, light compaction. `None` if there is more to be done.
    fn lightly(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
        flags: AllocFlags,
        can_reclaim: bool,
        rounds: &mut Rounds,
    ) -> Option<Option<Frames<'a>>> {
        let (gfp, order) = (wanted.gfp, wanted.order);
        let (costly, movable) = (Self::is_costly(order), wanted.migrate == MigrateType::Movable);
        self.wake(cx, nid, wanted);
        if let Some(frames) = self.attempt(cx, nid, wanted, flags) {
            return Some(Some(frames));
        }
        // A large block may be a matter of order rather than of memory: compaction costs less than reclaim.
        let compact_first = can_reclaim
            && AllocFlags::reserves(gfp, cx.task).is_empty()
            && (costly || (!order.is_zero() && !movable));
        if !compact_first {
            return None;
        }
        let (found, result) = self.compacted(cx, nid, wanted, flags, CompactPriority::Async);
        if found.is_some() {
            return Some(found);
        }
        // Huge pages are an optimisation: their masks say NORETRY, and get a light attempt only.
        if costly && gfp.contains(Gfp::NORETRY) {
            rounds.priority = CompactPriority::Async;
            if matches!(result, CompactResult::Skipped | CompactResult::Deferred) {
                return self.refuse(cx, nid, wanted, can_reclaim);
            }
        }
        None
    }

    /// The end, unless the allocation may not fail: then some of the reserves are tried, but not all, since others that may use them
    /// make progress with the rest; and `None` stands for another round.
    fn refuse(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
        can_reclaim: bool,
    ) -> Option<Option<Frames<'a>>> {
        // NOFAIL without reclaim is a contradiction that Linux warns about, and fails.
        if !wanted.gfp.contains(Gfp::NOFAIL) || !can_reclaim {
            return Some(None);
        }
        if cx.task.contains(TaskFlags::MEMALLOC) {
            self.hooks.step(Step::Warn(GfpWarning::NofailMemalloc));
        }
        if Self::is_costly(wanted.order) && !wanted.gfp.contains(Gfp::NOWARN) {
            self.hooks.step(Step::Warn(GfpWarning::NofailCostly));
        }
        if let Some(frames) = self.anywhere(cx, nid, wanted, AllocFlags::HARDER) {
            return Some(Some(frames));
        }
        self.hooks.step(Step::Retry);
        None
    }

    /// From the cpuset's nodes or, if they have nothing, from any (`__alloc_pages_cpuset_fallback`).
    fn anywhere(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
        flags: AllocFlags,
    ) -> Option<Frames<'a>> {
        let found = self.attempt(cx, nid, wanted, flags | AllocFlags::CPUSET);
        found.or_else(|| self.attempt(cx, nid, wanted, flags))
    }

    /// One round of reclaim and compaction, and what is left to do after it.
    fn round(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
        flags: AllocFlags,
        rounds: &mut Rounds,
    ) -> Round<'a> {
        let (gfp, costly) = (wanted.gfp, Self::is_costly(wanted.order));
        let (found, progress) = self.reclaimed(cx, nid, wanted, flags);
        if let Some(frames) = found {
            return Round::Done(frames);
        }
        let (found, compacted) = self.compacted(cx, nid, wanted, flags, rounds.priority);
        if let Some(frames) = found {
            return Round::Done(frames);
        }
        // A costly order is not worth reclaiming the world.
        if gfp.contains(Gfp::NORETRY) || costly && !gfp.contains(Gfp::RETRY_MAYFAIL) {
            return Round::Hopeless;
        }
        if self.reclaim_again(cx, nid, wanted, flags, progress, rounds) {
            self.hooks.step(Step::RetryReclaim);
            return Round::Again;
        }
        // Compaction needs free pages to move others to: without any progress it will not do better.
        if progress.freed > 0 && self.compact_again(cx, nid, wanted, flags, compacted, rounds) {
            self.hooks.step(Step::RetryCompact(rounds.priority));
            return Round::Again;
        }
        let last = self.last_resort(cx, nid, wanted);
        let had_its_share = flags.contains(AllocFlags::OOM) || gfp.contains(Gfp::NOMEMALLOC);
        match last {
            Round::Done(frames) => Round::Done(frames),
            _ if cx.task.contains(TaskFlags::OOM_VICTIM) && had_its_share => {
                self.hooks.step(Step::VictimGivesUp);
                Round::Hopeless
            }
            Round::Again => {
                rounds.fruitless = 0;
                Round::Again
            }
            Round::Hopeless => Round::Hopeless,
        }
    }

    /// Compaction, and an attempt after it (`__alloc_pages_direct_compact`).
    fn compacted(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
        flags: AllocFlags,
        priority: CompactPriority,
    ) -> (Option<Frames<'a>>, CompactResult) {
        if wanted.order.is_zero() {
            return (None, CompactResult::Skipped);
        }
        let mover = self.hooks.mover();
        let result = match mover {
            Some(mover) => self.try_to_compact_pages(cx, mover, nid, wanted, (flags, priority)),
            None => self.hooks.compact(&wanted.request(cx, nid), priority),
        };
        self.hooks.step(Step::Compact(priority, result));
        if result == CompactResult::Skipped {
            return (None, result);
        }
        if mover.is_some() {
            // What was freed on the way lies on this CPU's lists.
            self.drain_local_pages(cx);
        }
        let found = self.get_page_from_freelist(cx, nid, wanted, flags);
        self.count_compaction(wanted.order, found.as_ref());
        (found, result)
    }

    /// Reclaim, and an attempt after it (`__alloc_pages_direct_reclaim`): free pages may sit on CPUs' lists or be kept for
    /// urgent allocations, so both are asked back once.
    fn reclaimed(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
        flags: AllocFlags,
    ) -> (Option<Frames<'a>>, Progress) {
        self.stalled[wanted.highest.index()].fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        let progress = self.hooks.reclaim(&wanted.request(cx, nid));
        self.hooks.step(Step::Reclaim(progress));
        if progress.freed == 0 {
            return (None, progress);
        }
        if let Some(frames) = self.get_page_from_freelist(cx, nid, wanted, flags) {
            return (Some(frames), progress);
        }
        self.hooks.step(Step::DrainReserves);
        self.unreserve_highatomic(cx, nid, wanted, Effort::Some);
        self.drain_all(cx, None);
        (self.get_page_from_freelist(cx, nid, wanted, flags), progress)
    }
}
