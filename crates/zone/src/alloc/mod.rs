//! The zoned page allocator: what a kernel calls for pages, from all CPUs at once.
//!
//! [`PageAllocator`] serves an allocation from this CPU's own lists ([`pcp`]), without a lock or a locked instruction, as long as
//! nothing asks for attention ([`attention`]). Else it goes through the zones in fallback order, looks at their
//! watermarks, and takes a block under the zone's lock ([`cell`], over the core of [`crate::buddy`]); when no zone
//! has memory to spare it wakes kswapd, opens reserves, and asks whoever reclaims ([`Hooks`]).
//!
//! # Who owns what
//! - A block is with its user (a [`Frames`] token), in one CPU's lists, or in a zone's lists. Only `pagewright-page` makes
//!   tokens, so a mistake here panics and never hands a frame out twice.
//! - A CPU's lists are its own. An interrupt handler that finds them in use takes the way under the lock; others post a
//!   request in the CPU's attention word.
//! - A zone's lists are behind its lock, which is taken with interrupts off and holds no other lock inside.
//! - Watermarks and counts are read without the lock. They are as old as the last operation under it.
//!
//! Most watermarks need no look: a zone's free pages change under its lock only, so that is where it is
//! noticed that they fall below low, and every CPU is told. Pages on CPUs' lists are not among them, as in Linux.
//!
//! Memory comes and goes while all this runs ([`hotplug`]): a zone that may have memory one day has its cell from the start, without any.

mod account;
pub mod attention;
mod boost;
mod bulk;
pub mod cell;
pub mod cma;
pub mod compact;
mod context;
mod contig;
mod drain;
mod error;
mod events;
mod exact;
pub mod extfrag;
pub mod fallback;
mod figures;
mod flags;
mod free;
mod get;
mod highatomic;
mod hooks;
pub mod hotplug;
mod isolate;
mod linear;
mod look;
mod marks;
mod migrate;
mod numa;
mod number;
mod occupied;
pub mod pcp;
mod prepare;
pub mod report;
pub mod reporting;
mod slow;
mod table;

pub use attention::{Attention, Reasons};
pub use boost::Tuning;
pub use cell::ZoneCell;
use cma::CmaEvents;
pub use compact::{CompactEvents, CompactState};
pub use context::Context;
pub use contig::ContigError;
pub use error::AllocFailure;
pub use events::{PageEvent, PageEvents};
pub use fallback::{Candidate, Fallbacks, ZoneRef};
pub use flags::{AllocFlags, TaskFlags};
pub use hooks::{
    AllocRequest, CompactPriority, CompactResult, Effort, Hooks, NoHooks, NodeReclaim, NotZeroed,
    OomExclusion, Progress, Step,
};
pub use isolate::{IsolateFor, Isolated};
pub use linear::LinearPages;
pub use migrate::{Migrate, MigrateEvents, MigrateMode, Migrated};
pub use numa::NumaStat;
pub use pcp::{CpuPages, ZoneFigures};
pub use report::Failure;

use crate::buddy::{Base, FreeAreas, Ground, Violation, ZoneId};
use crate::debug::Debugging;
use crate::gfp::Gfp;
use crate::{ZoneKind, ZoneSet};
use core::sync::atomic::{AtomicU32, AtomicU64};
use pagewright_addr::{Order, PfnRange};
use pagewright_page::{FrameIdx, Frames};
use pagewright_platform::{Interrupts, Mutex, PerCpu, WithoutInterrupts};

/// A CPU's part of the page allocator.
pub type Cpu<'m, 'a> = PerCpu<Attention, CpuPages<'m, 'a>>;

/// The page allocator of one machine.
pub struct PageAllocator<'z, 'm, 's, 'a, I, H> {
    pub(crate) ground: Ground<'a>,
    pub(crate) zones: &'z [ZoneCell<'s, 'a>],
    pub(crate) cpus: &'z [Cpu<'m, 'a>],
    pub(super) fallbacks: Fallbacks<'z>,
    /// No larger blocks have lists.
    pub(super) listed: Order,
    pub(super) kinds: ZoneSet,
    pub(crate) interrupts: I,
    pub(super) hooks: H,
    /// How many zones are below their low watermark.
    pub(super) pressed: Mutex<usize>,
    /// How many slow allocations there were, and which of them fails.
    pub(super) asked: AtomicU32,
    pub(super) fail_at: AtomicU32,
    pub(super) migrated: MigrateEvents,
    /// How often an allocation went to reclaim itself, by the highest zone that it could use.
    pub(super) stalled: [AtomicU64; ZoneKind::COUNT],
    tuning: Tuning,
    pub(super) compacting: CompactEvents,
    pub(super) cma: CmaEvents,
    /// How often the fallback orders were written anew.
    pub(super) zonelists: AtomicU32,
    pub(crate) debugging: Option<&'z Debugging<'z>>,
    pub(super) events: Option<&'s dyn PageEvents>,
}

impl<'z, 'm, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'z, 'm, 's, 'a, I, H> {
    /// Puts the parts together. `zones` are the cells of all zones of `base`, in their order, and `cpus` those of all CPUs
    /// that will use it ([`CpuPages`] with as many elements).
    pub fn new(
        base: Base<'a>,
        kinds: ZoneSet,
        fallbacks: Fallbacks<'z>,
        zones: &'z [ZoneCell<'s, 'a>],
        cpus: &'z [Cpu<'m, 'a>],
        interrupts: I,
        hooks: H,
    ) -> Self {
        let listed = base.ground.blocks.order().max(Order::new(pcp::COSTLY_ORDER).unwrap_or_default());
        let allocator = Self {
            ground: base.ground,
            listed,
            zones,
            cpus,
            fallbacks,
            kinds,
            interrupts,
            hooks,
            pressed: Mutex::new(0),
            asked: AtomicU32::new(0),
            fail_at: AtomicU32::new(0),
            migrated: MigrateEvents::new(),
            stalled: [const { AtomicU64::new(0) }; ZoneKind::COUNT],
            tuning: Tuning::default(),
            compacting: CompactEvents::default(),
            cma: CmaEvents::default(),
            zonelists: AtomicU32::new(0),
            debugging: None,
            events: None,
        };
        for piece in allocator.ground.blocks.pieces() {
            let range = piece.range();
            let end = allocator.ground.map.pfn(FrameIdx::new((range.end - 1) as u32)).saturating_add(1);
            let pfns = PfnRange::new(allocator.ground.map.pfn(FrameIdx::new(range.start as u32)), end);
            if let Some(cell) = zones.get(piece.zone().index()) {
                cell.add_present(pfns, range.end - range.start);
            }
        }
        zones.iter().for_each(ZoneCell::has_booted);
        for cell in zones {
            cell.keeps_apart.store(allocator.keeps_apart(cell), core::sync::atomic::Ordering::Relaxed);
            allocator.weigh(cell);
        }
        allocator
    }

    /// The same where CPUs keep no lists but these: so larger blocks are not looked for there. Without it any up to a pageblock's may have some.
    #[must_use]
    pub fn with_lists(self, listed: pcp::Listed) -> Self {
        Self { listed: listed.largest(), ..self }
    }

    /// The zones.
    pub fn zones(&self) -> &'z [ZoneCell<'s, 'a>] {
        self.zones
    }

    /// The kinds of zones that the kernel has.
    pub fn kinds(&self) -> ZoneSet {
        self.kinds
    }

    /// Who makes memory when there is none.
    pub fn hooks(&self) -> &H {
        &self.hooks
    }

    /// Allocates `2^order` frames near this CPU (`alloc_pages`).
    ///
    /// With `__GFP_COMP` the block is a compound page, which only [`Self::free_pages`] takes apart. With `__GFP_ZERO` it is zeroed by
    /// [`Hooks::zero`]; where that does not reach RAM, as [`NoHooks`] never does, such an allocation fails.
    ///
    /// The fast path is inline: a look at the attention word, the class's list, one frame's metadata. Masks with
    /// actions (zeroing, compound pages), tasks held to nodes and those with a memory policy ([`Context::with_policy`]) take the slower one.
    ///
    /// # Errors
    /// [`AllocFailure`]; nothing has changed then but what reclaim freed.
    // Always: where code is compiled for size, as in the images, it was not on arm, and a pair of order 0 took 101 instructions instead of 68.
    #[inline(always)]
    #[track_caller]
    pub fn alloc_pages(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        order: Order,
    ) -> Result<Frames<'a>, AllocFailure> {
        if !gfp.intersects(Gfp::ZERO | Gfp::COMP)
            && let Some(mut own) = cx.cpu.enter_unless(cx.gate.for_allocation())
            && let Some(frames) = own.pop(gfp.class(), order)
        {
            return Ok(frames);
        }
        let mut why = AllocFailure::TooLarge { order, largest: order };
        self.alloc_somewhere(cx, gfp, order, &mut why).ok_or(why)
    }

    /// A block that this CPU's lists have for a request that may be served by them alone, of the zone that it prefers: `None` if there is none, or anything else would have to be done for it.
    #[inline]
    pub fn alloc_listed(&self, cx: &Context<'_, 'm, 'a>, gfp: Gfp, order: Order) -> Option<Frames<'a>> {
        if gfp.intersects(Gfp::ZERO | Gfp::COMP) {
            return None;
        }
        cx.cpu.enter_unless(cx.gate.for_allocation())?.pop(gfp.class(), order)
    }

    /// Gives frames back (`__free_pages`), in whatever number and alignment.
    ///
    /// # Panics
    /// If frames are still referenced or mapped (what Linux reports as "Bad page state"), or belong to another machine. A single page that a
    /// CPU's list took without looking at it is found when it leaves the list, unless lists are hardened or debugging is on.
    #[inline]
    pub fn free_pages(&self, cx: &Context<'_, 'm, 'a>, frames: Frames<'a>) {
        let mut frames = frames;
        if let Some(mut own) = cx.cpu.enter_unless(cx.cpu.shared().for_freeing()) {
            match own.push(frames) {
                Ok(()) => return,
                Err(refused) => frames = refused,
            }
        }
        self.free_slow(cx, frames);
    }

    /// Pages of a zone that CPUs gave back one by one and that wait to be merged ([`crate::buddy`]): free, and in no list until somebody looks.
    pub fn waiting_pages(&self, zone: ZoneId) -> u64 {
        self.zones.get(zone.index()).map_or(0, |cell| {
            let _quiet = WithoutInterrupts::new(&self.interrupts);
            cell.lists.lock().parked_pages() as u64
        })
    }

    /// A zone's free blocks, all of one moment; none of a zone that there is not.
    pub fn free_areas(&self, zone: ZoneId) -> FreeAreas {
        let largest = self.ground.largest;
        self.zones
            .get(zone.index())
            .map_or(FreeAreas::none(largest), |cell| self.with_zone(cell, |zone| zone.free_areas(largest)))
    }

    /// Checks the map, the pageblock records and every list of every zone, while nobody allocates or frees.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn validate(&self) -> Result<(), Violation> {
        let told = |cell: &ZoneCell<'_, '_>| {
            let _quiet = WithoutInterrupts::new(&self.interrupts);
            cell.tells(&cell.lists.lock(), self.ground.largest)
        };
        for cell in self.zones {
            let before = told(cell);
            self.settle_waiting(cell);
            if !(before && told(cell)) {
                return Err(Violation::Told { zone: cell.id() });
            }
        }
        self.ground.validate(self.zones.len())?;
        let mut in_lists = 0;
        for cell in self.zones {
            let _quiet = WithoutInterrupts::new(&self.interrupts);
            in_lists += self.ground.validate_zone(&cell.lists.lock())?;
        }
        self.ground.validate_count(in_lists)
    }
}
