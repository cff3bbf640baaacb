//! What one attempt of an allocation may do (ALLOC_*), and what the task that asks may.

use crate::buddy::{MigrateType, Request};
use crate::gfp::Gfp;
use bitflags::bitflags;
use pagewright_addr::Order;

bitflags! {
    /// What an attempt may do beyond what its mask says.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct AllocFlags: u32 {
        /// Measure against the min watermark (ALLOC_WMARK_MIN).
        const WMARK_MIN = 1;
        /// Against the low watermark (ALLOC_WMARK_LOW).
        const WMARK_LOW = 2;
        /// Against the high watermark (ALLOC_WMARK_HIGH).
        const WMARK_HIGH = 4;
        /// Against none (ALLOC_NO_WATERMARKS).
        const NO_WATERMARKS = 8;
        /// A victim of the out-of-memory killer: half of min (ALLOC_OOM).
        const OOM = 0x10;
        /// Cannot wait: a quarter less than min, and the blocks kept for urgent allocations (ALLOC_HARDER).
        const HARDER = 0x20;
        /// `__GFP_HIGH`: half of min (ALLOC_HIGH).
        const HIGH = 0x40;
        /// Held to the cpuset's nodes (ALLOC_CPUSET).
        const CPUSET = 0x80;
        /// May be served from CMA areas (ALLOC_CMA).
        const CMA = 0x100;
        /// Do not mix migrate types within a pageblock (ALLOC_NOFRAGMENT).
        const NOFRAGMENT = 0x200;
        /// May wake kswapd (ALLOC_KSWAPD).
        const KSWAPD = 0x400;
        /// Keep away from nodes with too many dirty pages (`spread_dirty_pages`).
        const SPREAD_DIRTY = 0x800;
    }

    /// The state of the task for which memory is allocated.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct TaskFlags: u32 {
        /// It frees memory and may use all of it (PF_MEMALLOC).
        const MEMALLOC = 1;
        /// The out-of-memory killer chose it (`tsk_is_oom_victim`).
        const OOM_VICTIM = 2;
        /// It has a real-time priority.
        const REALTIME = 4;
        /// An interrupt handler: no task at all.
        const INTERRUPT = 8;
        /// A signal is about to kill it (`fatal_signal_pending`).
        const DYING = 0x10;
        /// It is past the point of return in exiting (PF_EXITING).
        const EXITING = 0x20;
        /// It writes a core dump (PF_DUMPCORE).
        const DUMPING = 0x40;
        /// Nothing it allocates may start I/O (PF_MEMALLOC_NOIO).
        const NOIO = 0x80;
        /// Nothing it allocates may call into file systems (PF_MEMALLOC_NOFS).
        const NOFS = 0x100;
        /// What it allocates is pinned for long and must not be movable (PF_MEMALLOC_PIN).
        const PIN = 0x200;
        /// Interrupted for deferred work (`in_serving_softirq`); goes with [`Self::INTERRUPT`].
        const SOFTIRQ = 0x400;
    }
}

impl TaskFlags {
    /// A mask without what the task may not do (`current_gfp_context`).
    pub fn limit(self, gfp: Gfp) -> Gfp {
        let mut gfp = gfp;
        if self.contains(Self::NOIO) {
            gfp.remove(Gfp::IO | Gfp::FS);
        }
        if self.contains(Self::NOFS) {
            gfp.remove(Gfp::FS);
        }
        if self.contains(Self::PIN) {
            gfp.remove(Gfp::MOVABLE);
        }
        gfp
    }
}

impl AllocFlags {
    /// What an attempt with these flags asks a zone for.
    #[inline]
    pub(super) const fn request(self, order: Order, migrate: MigrateType) -> Request {
        Request {
            order,
            migrate,
            cma: self.contains(Self::CMA),
            no_fragment: self.contains(Self::NOFRAGMENT),
        }
    }

    /// The first attempt: the low watermark.
    pub(super) fn first(gfp: Gfp, movable: bool) -> Self {
        let mut flags = Self::WMARK_LOW;
        flags.set(Self::CMA, movable);
        flags.set(Self::KSWAPD, gfp.contains(Gfp::KSWAPD_RECLAIM));
        flags
    }

    /// The attempts after it (`gfp_to_alloc_flags`): the min watermark, and for the urgent even less.
    pub(super) fn slow(gfp: Gfp, task: TaskFlags, movable: bool) -> Self {
        let mut flags = Self::WMARK_MIN | Self::CPUSET;
        flags.set(Self::CMA, movable);
        flags.set(Self::HIGH, gfp.contains(Gfp::HIGH));
        flags.set(Self::KSWAPD, gfp.contains(Gfp::KSWAPD_RECLAIM));
        if gfp.contains(Gfp::ATOMIC) {
            // What must not touch reserves is not urgent either.
            flags.set(Self::HARDER, !gfp.contains(Gfp::NOMEMALLOC));
            flags.remove(Self::CPUSET);
        } else if task.contains(TaskFlags::REALTIME) && !task.contains(TaskFlags::INTERRUPT) {
            flags.insert(Self::HARDER);
        }
        flags
    }

    /// The reserves that mask and task open (`__gfp_pfmemalloc_flags`).
    pub(super) fn reserves(gfp: Gfp, task: TaskFlags) -> Self {
        if gfp.contains(Gfp::NOMEMALLOC) {
            Self::empty()
        } else if gfp.contains(Gfp::MEMALLOC) {
            Self::NO_WATERMARKS
        } else if task.contains(TaskFlags::INTERRUPT) {
            // Deferred work may run for a task that frees memory, say by sending it over a network.
            let lent = task.contains(TaskFlags::SOFTIRQ | TaskFlags::MEMALLOC);
            if lent { Self::NO_WATERMARKS } else { Self::empty() }
        } else if task.contains(TaskFlags::MEMALLOC) {
            Self::NO_WATERMARKS
        } else if task.contains(TaskFlags::OOM_VICTIM) {
            Self::OOM
        } else {
            Self::empty()
        }
    }
}
