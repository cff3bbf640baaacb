//! When no zone has memory to spare: kswapd, reserves, compaction, reclaim, the out-of-memory killer
//! (`__alloc_pages_slowpath`).
//!
//! What those do is other people's ([`Hooks`]); in which order they are asked, and when to give up, is decided here, as 6.1
//! decides it. Nothing sleeps in here: a hook that must wait does so itself.

use super::flags::{AllocFlags, TaskFlags};
use super::get::Wanted;
use super::{Context, PageAllocator};
use crate::ZoneKind;
use crate::gfp::Gfp;
use pagewright_addr::{NodeId, Order};
use pagewright_page::Frames;
use pagewright_platform::Interrupts;

/// Fruitless rounds of reclaim before an allocation gives up (MAX_RECLAIM_RETRIES).
const MAX_RECLAIM_RETRIES: u32 = 16;
/// Rounds of compaction before its priority rises (MAX_COMPACT_RETRIES).
const MAX_COMPACT_RETRIES: u32 = 16;

/// How much effort compaction makes; later is more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CompactPriority {
    /// Without waiting for pages under write-back (COMPACT_PRIO_ASYNC).
    Async,
    /// Waiting where that is cheap (COMPACT_PRIO_SYNC_LIGHT).
    SyncLight,
    /// Everything (COMPACT_PRIO_SYNC_FULL).
    SyncFull,
}

/// What compaction achieved (`enum compact_result`, as far as an allocation cares).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CompactResult {
    /// No zone lacks a block rather than memory: reclaim first (COMPACT_SKIPPED).
    Skipped,
    /// It failed lately and is left alone for a while (COMPACT_DEFERRED).
    Deferred,
    /// It made no such block, and looked at everything (COMPACT_COMPLETE).
    Complete,
    /// It looked at a part only (COMPACT_CONTENDED, COMPACT_PARTIAL_SKIPPED).
    Partial,
    /// A zone has such a block now (COMPACT_SUCCESS).
    Success,
}

/// What a round of direct reclaim achieved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Progress {
    /// Pages that were freed.
    pub freed: u64,
    /// Pages that could be freed yet, over the zones of the request (`zone_reclaimable_pages`).
    pub reclaimable: u64,
}

/// How hard blocks kept for urgent allocations are asked back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effort {
    /// Leave each zone one.
    Some,
    /// Take the last.
    Last,
}

/// A decision on the way, for whoever wants to know which branches an allocation took.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// kswapd is woken.
    WakeKswapd,
    /// An attempt against these marks.
    Attempt(AllocFlags),
    /// Direct compaction with this priority, and its result.
    Compact(CompactPriority, CompactResult),
    /// Direct reclaim, and what it freed.
    Reclaim(Progress),
    /// Per-CPU lists and blocks kept for urgent allocations are asked back.
    DrainReserves,
    /// The out-of-memory killer is asked; whether it made progress.
    Oom(bool),
    /// One more round.
    Retry,
    /// The allocation fails.
    Fail,
}

/// Who makes memory when there is none. Every method has a default that makes nothing.
pub trait Hooks {
    /// Zeroes frames that were just allocated, through the platform's direct map.
    fn zero(&self, frames: &Frames<'_>) {
        let _ = frames;
    }

    /// Wakes the kswapd of a node's zones up to `highest` (`wakeup_kswapd`). Must not wait.
    fn wake_kswapd(&self, nid: NodeId, order: Order, highest: ZoneKind) {
        let _ = (nid, order, highest);
    }

    /// Compacts memory until a block of `order` is free (`try_to_compact_pages`).
    fn compact(&self, nid: NodeId, order: Order, gfp: Gfp, priority: CompactPriority) -> CompactResult {
        let _ = (nid, order, gfp, priority);
        CompactResult::Skipped
    }

    /// Frees pages (`try_to_free_pages`).
    fn reclaim(&self, nid: NodeId, order: Order, gfp: Gfp) -> Progress {
        let _ = (nid, order, gfp);
        Progress::default()
    }

    /// Kills a task (`out_of_memory`); whether memory will come free.
    fn out_of_memory(&self, order: Order, gfp: Gfp) -> bool {
        let _ = (order, gfp);
        false
    }

    /// Is told each decision of the slow path.
    fn step(&self, step: Step) {
        let _ = step;
    }

    /// An allocation failed and its mask does not forbid a report (`warn_alloc`).
    fn report(&self, gfp: Gfp, order: Order) {
        let _ = (gfp, order);
    }
}

/// A machine without reclaim: when memory is used up, allocations fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}

impl<H: Hooks> Hooks for &H {
    fn zero(&self, frames: &Frames<'_>) {
        (**self).zero(frames);
    }
    fn wake_kswapd(&self, nid: NodeId, order: Order, highest: ZoneKind) {
        (**self).wake_kswapd(nid, order, highest);
    }
    fn compact(&self, nid: NodeId, order: Order, gfp: Gfp, priority: CompactPriority) -> CompactResult {
        (**self).compact(nid, order, gfp, priority)
    }
    fn reclaim(&self, nid: NodeId, order: Order, gfp: Gfp) -> Progress {
        (**self).reclaim(nid, order, gfp)
    }
    fn out_of_memory(&self, order: Order, gfp: Gfp) -> bool {
        (**self).out_of_memory(order, gfp)
    }
    fn step(&self, step: Step) {
        (**self).step(step);
    }
    fn report(&self, gfp: Gfp, order: Order) {
        (**self).report(gfp, order);
    }
}

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

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// The slow path. `None` if the allocation fails.
    pub(super) fn alloc_slow(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted,
    ) -> Option<Frames<'a>> {
        let found = self.slow_rounds(cx, nid, wanted);
        if found.is_none() {
            self.hooks.step(Step::Fail);
            if !wanted.gfp.contains(Gfp::NOWARN) {
                self.hooks.report(wanted.gfp, wanted.order);
            }
        }
        found
    }

    fn attempt(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted,
        flags: AllocFlags,
    ) -> Option<Frames<'a>> {
        self.hooks.step(Step::Attempt(flags));
        self.get_page(cx, nid, wanted, flags)
    }

    fn wake(&self, nid: NodeId, wanted: &Wanted) {
        if wanted.gfp.contains(Gfp::KSWAPD_RECLAIM) {
            self.hooks.step(Step::WakeKswapd);
            self.hooks.wake_kswapd(nid, wanted.order, wanted.highest);
        }
    }

    fn slow_rounds(&self, cx: &Context<'_, 'm, 'a>, nid: NodeId, wanted: &Wanted) -> Option<Frames<'a>> {
        let (gfp, order, task) = (wanted.gfp, wanted.order, cx.task);
        let movable = wanted.migrate == crate::buddy::MigrateType::Movable;
        let costly = Self::is_costly(order);
        let can_reclaim = gfp.contains(Gfp::DIRECT_RECLAIM) && !task.contains(TaskFlags::INTERRUPT);
        let mut flags = AllocFlags::slow(gfp, task, movable);
        let mut rounds = Rounds { fruitless: 0, compactions: 0, priority: CompactPriority::SyncLight };

        self.wake(nid, wanted);
        if let Some(frames) = self.attempt(cx, nid, wanted, flags) {
            return Some(frames);
        }

        // A large block may be a matter of order rather than of memory: compaction costs less than reclaim.
        let compact_first = can_reclaim
            && AllocFlags::reserves(gfp, task).is_empty()
            && (costly || (!order.is_zero() && !movable));
        if compact_first {
            let (found, result) = self.compacted(cx, nid, wanted, flags, CompactPriority::Async);
            if found.is_some() {
                return found;
            }
            // Huge pages are an optimisation: their masks say NORETRY, and get a light attempt only.
            if costly && gfp.contains(Gfp::NORETRY) {
                if matches!(result, CompactResult::Skipped | CompactResult::Deferred) {
                    return None;
                }
                rounds.priority = CompactPriority::Async;
            }
        }

        loop {
            // kswapd must not sleep while this goes on.
            self.wake(nid, wanted);
            let reserves = AllocFlags::reserves(gfp, task);
            if !reserves.is_empty() {
                // Whoever may use reserves is not held to its nodes either.
                flags = reserves | flags & (AllocFlags::CMA | AllocFlags::KSWAPD);
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
            // NOFAIL without reclaim is a contradiction that Linux warns about, and fails.
            if !gfp.contains(Gfp::NOFAIL) || !can_reclaim {
                return None;
            }
            // Some of the reserves, but not all: others that may use them make progress with the rest.
            let some = AllocFlags::HARDER;
            let found = self.attempt(cx, nid, wanted, some | AllocFlags::CPUSET);
            if let Some(frames) = found.or_else(|| self.attempt(cx, nid, wanted, some)) {
                return Some(frames);
            }
            self.hooks.step(Step::Retry);
        }
    }

    /// One round of reclaim and compaction, and what is left to do after it.
    fn round(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted,
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
        if self.should_retry(cx, nid, wanted, progress, compacted, rounds) {
            return Round::Again;
        }
        let last = self.last_resort(cx, nid, wanted);
        match last {
            // The victim itself has had its share of the reserves.
            Round::Again if cx.task.contains(TaskFlags::OOM_VICTIM) => Round::Hopeless,
            Round::Again => {
                rounds.fruitless = 0;
                Round::Again
            }
            last => last,
        }
    }

    /// Compaction, and an attempt after it (`__alloc_pages_direct_compact`).
    fn compacted(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted,
        flags: AllocFlags,
        priority: CompactPriority,
    ) -> (Option<Frames<'a>>, CompactResult) {
        if wanted.order.is_zero() {
            return (None, CompactResult::Skipped);
        }
        let result = self.hooks.compact(nid, wanted.order, wanted.gfp, priority);
        self.hooks.step(Step::Compact(priority, result));
        if result == CompactResult::Skipped {
            return (None, result);
        }
        (self.get_page(cx, nid, wanted, flags), result)
    }

    /// Reclaim, and an attempt after it (`__alloc_pages_direct_reclaim`): free pages may sit on CPUs' lists or be kept for
    /// urgent allocations, so both are asked back once.
    fn reclaimed(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted,
        flags: AllocFlags,
    ) -> (Option<Frames<'a>>, Progress) {
        let progress = self.hooks.reclaim(nid, wanted.order, wanted.gfp);
        self.hooks.step(Step::Reclaim(progress));
        if progress.freed == 0 {
            return (None, progress);
        }
        if let Some(frames) = self.get_page(cx, nid, wanted, flags) {
            return (Some(frames), progress);
        }
        self.hooks.step(Step::DrainReserves);
        self.unreserve_highatomic(cx, nid, wanted, Effort::Some);
        self.post_drain();
        self.drain_local_pages(cx);
        (self.get_page(cx, nid, wanted, flags), progress)
    }

    /// Whether another round can help (`should_reclaim_retry`, `should_compact_retry`).
    fn should_retry(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted,
        progress: Progress,
        compacted: CompactResult,
        rounds: &mut Rounds,
    ) -> bool {
        let costly = Self::is_costly(wanted.order);
        // Progress towards an order that is not costly is progress: blocks form by themselves.
        rounds.fruitless = if progress.freed > 0 && !costly { 0 } else { rounds.fruitless + 1 };
        if rounds.fruitless > MAX_RECLAIM_RETRIES {
            return self.unreserve_highatomic(cx, nid, wanted, Effort::Last);
        }
        let flags = AllocFlags::slow(wanted.gfp, cx.task, false);
        // If all that could be reclaimed were free, would a zone have enough?
        let enough = self.zonelist(cx, nid, wanted, flags).any(|(_, cell)| {
            cell.would_do(
                progress.reclaimable,
                wanted.order,
                cell.mark(AllocFlags::WMARK_MIN),
                wanted.highest,
            )
        });
        if enough {
            return true;
        }
        progress.freed > 0 && Self::compact_again(wanted.order, compacted, rounds)
    }

    fn compact_again(order: Order, compacted: CompactResult, rounds: &mut Rounds) -> bool {
        if order.is_zero() {
            return false;
        }
        if compacted == CompactResult::Complete {
            rounds.compactions += 1;
        }
        let costly = Self::is_costly(order);
        let most = if costly { MAX_COMPACT_RETRIES / 4 } else { MAX_COMPACT_RETRIES };
        let more = match compacted {
            // Reclaim makes room for it.
            CompactResult::Skipped => return true,
            CompactResult::Success | CompactResult::Partial => rounds.compactions <= most,
            CompactResult::Complete | CompactResult::Deferred => false,
        };
        if more {
            return true;
        }
        let least = if costly { CompactPriority::SyncLight } else { CompactPriority::SyncFull };
        if rounds.priority >= least {
            return false;
        }
        rounds.priority = match rounds.priority {
            CompactPriority::Async => CompactPriority::SyncLight,
            _ => CompactPriority::SyncFull,
        };
        rounds.compactions = 0;
        true
    }

    /// The out-of-memory killer (`__alloc_pages_may_oom`).
    fn last_resort(&self, cx: &Context<'_, 'm, 'a>, nid: NodeId, wanted: &Wanted) -> Round<'a> {
        let (gfp, order) = (wanted.gfp, wanted.order);
        // Somebody else's victim may have freed memory meanwhile; only if that is plenty.
        let flags = AllocFlags::WMARK_HIGH | AllocFlags::CPUSET;
        if let Some(frames) = self.attempt(cx, nid, wanted, flags) {
            return Round::Done(frames);
        }
        // The killer cannot help a costly order, low memory, a node, those who would rather fail, or the dying; and whoever
        // may not use file systems leaves others the time to.
        let hopeless = cx.task.contains(TaskFlags::DYING)
            || Self::is_costly(order)
            || gfp.intersects(Gfp::RETRY_MAYFAIL | Gfp::THISNODE)
            || wanted.highest < ZoneKind::Normal
            || !gfp.contains(Gfp::FS);
        if hopeless {
            return Round::Hopeless;
        }
        let progress = self.hooks.out_of_memory(order, gfp);
        self.hooks.step(Step::Oom(progress));
        if progress { Round::Again } else { Round::Hopeless }
    }
}
