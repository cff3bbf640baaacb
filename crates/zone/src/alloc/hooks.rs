//! Who makes memory when there is none, and who is told how an allocation goes.
//!
//! [`PageAllocator`](super::PageAllocator) decides in which order these are asked; what they do is other people's: reclaim,
//! compaction, the out-of-memory killer, the embedder's log. All are called without any lock held, on the CPU of whoever
//! allocates, and may allocate themselves (as a task with [`TaskFlags::MEMALLOC`](super::TaskFlags), or they come back to
//! themselves).

use super::flags::{AllocFlags, TaskFlags};
use super::migrate::Migrate;
use super::report::Failure;
use crate::buddy::ZoneId;
use crate::gfp::{Gfp, GfpWarning};
use crate::{NodeMask, ZoneKind};
use core::fmt;
use pagewright_addr::{NodeId, Order};
use pagewright_page::Frames;

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
}

/// What reclaim on one node achieved, before an allocation goes to another (`node_reclaim`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NodeReclaim {
    /// Nothing was looked at: little could be freed there, or somebody is at it (NODE_RECLAIM_NOSCAN).
    NoScan,
    /// All was looked at, and nothing is left (NODE_RECLAIM_FULL).
    Full,
    /// Some pages came free (NODE_RECLAIM_SOME).
    Some,
    /// As many as were asked for (NODE_RECLAIM_SUCCESS).
    Success,
}

/// How hard blocks kept for urgent allocations are asked back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effort {
    /// Leave each zone one.
    Some,
    /// Take the last.
    Last,
}

/// Why the out-of-memory killer is not asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OomExclusion {
    /// The task writes a core dump, and would only use up what a victim frees.
    Dumping,
    /// The order is costly: a victim's pages make no such block.
    Costly,
    /// The mask would rather fail, or wants one node only.
    Mask,
    /// Only memory below Normal will do, which a victim need not have.
    LowMemory,
}

/// A decision on the way, for whoever wants to know which branches an allocation took.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// The mask is odd.
    Warn(GfpWarning),
    /// No zone suits the mask and the cpuset: nothing is tried but what NOFAIL brings.
    NoZone,
    /// A node's kswapd is woken.
    WakeKswapd(NodeId),
    /// An attempt against these marks.
    Attempt(AllocFlags),
    /// The nodes of the caller's policy no longer count: the task may use reserves, or is not held to its cpuset.
    AnyNode,
    /// A near node is asked for its caches before a farther one is used.
    ReclaimNode(NodeId, NodeReclaim),
    /// A node has as many dirty pages as it may: pages that will be dirtied come from another.
    DirtyNode(NodeId),
    /// Types were mixed within a pageblock, and the zone's watermarks are raised for a while.
    Boost(ZoneId),
    /// Direct compaction with this priority, and its result.
    Compact(CompactPriority, CompactResult),
    /// Direct reclaim, and what it freed.
    Reclaim(Progress),
    /// Per-CPU lists and blocks kept for urgent allocations are asked back.
    DrainReserves,
    /// Even the last blocks kept for urgent allocations are asked back; whether there were any.
    LastReserves(bool),
    /// Reclaim may yet free enough (`should_reclaim_retry`).
    RetryReclaim,
    /// Compaction may yet make a block (`should_compact_retry`), with this priority from now on.
    RetryCompact(CompactPriority),
    /// Somebody else is about to kill a task.
    OomBusy,
    /// The killer is not asked.
    OomExcluded(OomExclusion),
    /// Somebody gave memory back before a task had to be killed.
    OomNotify,
    /// The task may not use file systems: nobody is killed, and others get the time to free memory.
    OomNoFs,
    /// The out-of-memory killer is asked; whether it made progress.
    Oom(bool),
    /// A victim of the killer has had its share and gives up.
    VictimGivesUp,
    /// Others may free memory meanwhile; whether there are any.
    Wait(bool),
    /// One more round.
    Retry,
    /// The allocation fails.
    Fail,
}

/// For whom memory is to be made (`struct oom_control`, what `try_to_free_pages` is told).
#[derive(Clone, Copy, Debug)]
pub struct AllocRequest<'r> {
    /// The node that it begins with.
    pub nid: NodeId,
    /// What is wanted.
    pub order: Order,
    /// How: without what the task may not do.
    pub gfp: Gfp,
    /// The highest zone that will do.
    pub highest: ZoneKind,
    /// The nodes that will do, if not all: pages of others are of no use.
    pub nodes: Option<&'r NodeMask>,
    /// The nodes of the task's cpuset, if it is in one.
    pub mems_allowed: Option<&'r NodeMask>,
    /// The task.
    pub task: TaskFlags,
}

/// Frames were not zeroed: whoever was asked does not reach them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NotZeroed;

impl fmt::Display for NotZeroed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody zeroes these pages")
    }
}

impl core::error::Error for NotZeroed {}

/// Who zeroes pages, and who makes memory when there is none. Every method but [`Self::zero`] has a default that makes nothing.
pub trait Hooks {
    /// Zeroes frames that were just allocated with `__GFP_ZERO`, through the platform's direct map. There is no default: only whoever reaches RAM
    /// can do it, and an allocator without such a hook hands out no page as zeroed that is not.
    ///
    /// # Errors
    /// [`NotZeroed`] if it does not reach them all; the frames then go back, and the allocation fails with
    /// [`AllocFailure::NotZeroed`](super::AllocFailure::NotZeroed), whatever else its mask says.
    fn zero(&self, frames: &Frames<'_>) -> Result<(), NotZeroed>;

    /// Whether there are kswapds. Without them watermarks are not boosted, since nobody would lower them.
    fn has_kswapd(&self) -> bool {
        false
    }

    /// Wakes the kswapd of a node's zones up to `highest` (`wakeup_kswapd`). Must not wait.
    fn wake_kswapd(&self, nid: NodeId, order: Order, highest: ZoneKind) {
        let _ = (nid, order, highest);
    }

    /// Compacts memory until such a block is free (`try_to_compact_pages`).
    fn compact(&self, request: &AllocRequest<'_>, priority: CompactPriority) -> CompactResult {
        let _ = (request, priority);
        CompactResult::Skipped
    }

    /// Whoever moves the pages that are in use. With one, the allocator compacts memory by itself and [`Self::compact`] is not asked.
    fn mover(&self) -> Option<&dyn Migrate> {
        None
    }

    /// Frees pages (`try_to_free_pages`).
    fn reclaim(&self, request: &AllocRequest<'_>) -> Progress {
        let _ = request;
        Progress::default()
    }

    /// How many pages of a zone reclaim could free yet (`zone_reclaimable_pages`).
    fn reclaimable_pages(&self, zone: ZoneId) -> u64 {
        let _ = zone;
        0
    }

    /// Frees unmapped cache pages and slabs of one node (`node_reclaim`), asked when zone reclaim is on.
    fn node_reclaim(&self, nid: NodeId, order: Order, gfp: Gfp) -> NodeReclaim {
        let _ = (nid, order, gfp);
        NodeReclaim::NoScan
    }

    /// How far it is from one node to another, as firmware says it (10 is local).
    fn node_distance(&self, from: NodeId, to: NodeId) -> u8 {
        if from == to { 10 } else { 20 }
    }

    /// Whether a node may have more dirty pages (`node_dirty_ok`).
    fn node_dirty_ok(&self, nid: NodeId) -> bool {
        let _ = nid;
        true
    }

    /// Takes the right to kill (`mutex_trylock(&oom_lock)`). `false`: somebody has it, and will make progress for all.
    fn oom_trylock(&self) -> bool {
        true
    }

    /// Gives the right to kill back.
    fn oom_unlock(&self) {}

    /// Asks whoever would rather give memory back than see a task killed (the OOM notifiers), and lets a task that is dying anyway use reserves to get
    /// on with it (`task_will_free_mem`); whether that frees memory. Asked before anybody is killed, and also for masks that nobody is killed for, so it must do no more than the mask
    /// allows.
    fn oom_notify(&self, request: &AllocRequest<'_>) -> bool {
        let _ = request;
        false
    }

    /// Kills a task (`out_of_memory`); whether memory will come free. Not asked for masks without `__GFP_FS`.
    fn out_of_memory(&self, request: &AllocRequest<'_>) -> bool {
        let _ = request;
        false
    }

    /// Lets others run who may free memory meanwhile, where Linux sleeps for a tick. `false` if there is nobody: then the
    /// allocation fails where Linux's would go on for ever.
    fn wait_for_others(&self) -> bool {
        false
    }

    /// Charges for frames that are about to be handed out to a mask with `__GFP_ACCOUNT` (`__memcg_kmem_charge_page`), and notes for them who pays: the task's
    /// control group, say. `false` if that would be too much: the allocation fails then, without a report, so a mask with `__GFP_NOFAIL` must be
    /// charged at any rate. Asked only while accounting is on ([`set_accounting`](super::PageAllocator::set_accounting)).
    fn charge(&self, gfp: Gfp, frames: &Frames<'_>) -> bool {
        let _ = (gfp, frames);
        true
    }

    /// Frames are given back, whole blocks or parts (`__memcg_kmem_uncharge_page`): who paid for them pays no more. Told of all that is freed while accounting is
    /// on, also of what nobody ever paid for. Who moves a page that is charged moves the note with it.
    fn uncharge(&self, frames: &Frames<'_>) {
        let _ = frames;
    }

    /// Waits until the other CPUs have given back the lists that they were just asked for; `pending` says whether a CPU has yet to. A CPU that is not online
    /// never answers: its lists are emptied by [`drain_cpu`](super::PageAllocator::drain_cpu) when it goes. By default nobody waits: what is on
    /// others' lists counts as in use then.
    fn wait_for_drain(&self, pending: &dyn Fn(usize) -> bool) {
        let _ = pending;
    }

    /// Is told each decision of the slow path.
    fn step(&self, step: Step) {
        let _ = step;
    }

    /// An allocation failed and its mask does not forbid a report (`warn_alloc`).
    fn report(&self, failure: &Failure<'_>) {
        let _ = failure;
    }
}

/// A machine without reclaim, whose RAM the allocator does not reach: when memory is used up, allocations fail, and so does each with
/// `__GFP_ZERO`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
        Err(NotZeroed)
    }
}

impl<H: Hooks> Hooks for &H {
    fn zero(&self, frames: &Frames<'_>) -> Result<(), NotZeroed> {
        (**self).zero(frames)
    }
    fn has_kswapd(&self) -> bool {
        (**self).has_kswapd()
    }
    fn wake_kswapd(&self, nid: NodeId, order: Order, highest: ZoneKind) {
        (**self).wake_kswapd(nid, order, highest);
    }
    fn compact(&self, request: &AllocRequest<'_>, priority: CompactPriority) -> CompactResult {
        (**self).compact(request, priority)
    }
    fn mover(&self) -> Option<&dyn Migrate> {
        (**self).mover()
    }
    fn reclaim(&self, request: &AllocRequest<'_>) -> Progress {
        (**self).reclaim(request)
    }
    fn reclaimable_pages(&self, zone: ZoneId) -> u64 {
        (**self).reclaimable_pages(zone)
    }
    fn node_reclaim(&self, nid: NodeId, order: Order, gfp: Gfp) -> NodeReclaim {
        (**self).node_reclaim(nid, order, gfp)
    }
    fn node_distance(&self, from: NodeId, to: NodeId) -> u8 {
        (**self).node_distance(from, to)
    }
    fn node_dirty_ok(&self, nid: NodeId) -> bool {
        (**self).node_dirty_ok(nid)
    }
    fn oom_trylock(&self) -> bool {
        (**self).oom_trylock()
    }
    fn oom_unlock(&self) {
        (**self).oom_unlock();
    }
    fn oom_notify(&self, request: &AllocRequest<'_>) -> bool {
        (**self).oom_notify(request)
    }
    fn out_of_memory(&self, request: &AllocRequest<'_>) -> bool {
        (**self).out_of_memory(request)
    }
    fn wait_for_others(&self) -> bool {
        (**self).wait_for_others()
    }
    fn charge(&self, gfp: Gfp, frames: &Frames<'_>) -> bool {
        (**self).charge(gfp, frames)
    }
    fn uncharge(&self, frames: &Frames<'_>) {
        (**self).uncharge(frames);
    }
    fn wait_for_drain(&self, pending: &dyn Fn(usize) -> bool) {
        (**self).wait_for_drain(pending);
    }
    fn step(&self, step: Step) {
        (**self).step(step);
    }
    fn report(&self, failure: &Failure<'_>) {
        (**self).report(failure);
    }
}
