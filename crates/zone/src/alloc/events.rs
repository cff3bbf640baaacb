//! Events: what the allocator tells while it works, switched on and off at run time.
//!
//! Off is the beginning, and costs nothing: the fast path tests the CPU's attention word anyway, and events are one more reason in it
//! ([`Reasons::EVENTS`]). On, every allocation and free takes the slower way, where it is told of; fallbacks are told of where they are made,
//! under the zone's lock.
//!
//! An event's `Display` is the line that tracefs shows for Linux's tracepoint of it, from the event's name on. The address of a `struct page` is not
//! known here, so `page=` is left out.

use super::{Hooks, PageAllocator, Reasons};
use crate::buddy::{Fallback, MigrateType, WatchFallbacks};
use crate::gfp::Gfp;
use core::fmt;
use pagewright_addr::{Order, Pfn};
use pagewright_page::Frames;
use pagewright_platform::Interrupts;

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum PageEvent<'e> {
    /// A request was served, or failed (`mm_page_alloc`).
    Alloc {
        /// The block's first frame; none if there was none.
        pfn: Option<Pfn>,
        /// Its order.
        order: Order,
        /// The type that the mask asks for; none if the mask is contradictory.
        migrate: Option<MigrateType>,
        /// The mask.
        gfp: Gfp,
    },
    /// A block came back (`mm_page_free`).
    Free {
        /// Its first frame.
        pfn: Pfn,
        /// Its order.
        order: Order,
    },
    /// A block was taken from another type's lists (`mm_page_alloc_extfrag`).
    Fallback {
        /// The block's first frame.
        pfn: Pfn,
        /// What was chosen, and what was looked at.
        fallback: &'e Fallback,
    },
}

impl fmt::Display for PageEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Alloc { pfn, order, migrate, gfp } => {
                let migrate = migrate.map_or(0, MigrateType::index);
                let pfn = pfn.map_or(0, Pfn::get);
                write!(
                    f,
                    "mm_page_alloc: pfn={pfn:#x} order={} migratetype={migrate} gfp_flags={gfp}",
                    order.get()
                )
            }
            Self::Free { pfn, order } => {
                write!(f, "mm_page_free: pfn={:#x} order={}", pfn.get(), order.get())
            }
            Self::Fallback { pfn, fallback: b } => write!(
                f,
                "mm_page_alloc_extfrag: pfn={:#x} alloc_order={} fallback_order={} pageblock_order={} \
                 alloc_migratetype={} fallback_migratetype={} fragmenting={} change_ownership={}",
                pfn.get(),
                b.request.order.get(),
                b.order.get(),
                b.pageblock.get(),
                b.request.migrate.index(),
                b.list.index(),
                u8::from(b.is_fragmenting()),
                u8::from(b.changes_ownership())
            ),
        }
    }
}

/// Who is told. Fallbacks come under a zone's lock with interrupts off, so nothing here may allocate pages from the same machine or wait.
pub trait PageEvents: WatchFallbacks {
    /// A request was served or failed, or a block came back. Of fallbacks [`WatchFallbacks::fallback`] is told.
    fn event(&self, event: &PageEvent<'_>);
}

impl<'z, 'm, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'z, 'm, 's, 'a, I, H> {
    /// The same with somebody to tell, who is told nothing yet.
    #[must_use]
    pub fn with_events(mut self, events: &'s dyn PageEvents) -> Self {
        self.events = Some(events);
        self
    }

    /// Tells from now on, or no longer. Operations that other CPUs have begun may yet be told of, or not.
    pub fn set_events(&self, on: bool) {
        let Some(events) = self.events else { return };
        for cell in self.zones {
            self.with_zone(cell, |zone| zone.watch(on.then_some(events)));
        }
        for cpu in self.cpus {
            if on {
                cpu.shared().post(Reasons::EVENTS);
            } else {
                cpu.shared().take(Reasons::EVENTS);
            }
        }
    }

    pub(super) fn tell_alloc(
        &self,
        events: &dyn PageEvents,
        gfp: Gfp,
        order: Order,
        frames: Option<&Frames<'a>>,
    ) {
        let pfn = frames.map(|frames| self.ground.map.pfn(frames.start()));
        let migrate = gfp.migrate_type(self.ground.mobility_grouping).ok();
        events.event(&PageEvent::Alloc { pfn, order, migrate, gfp });
    }

    /// Whom to tell of an operation, if anybody.
    pub(super) fn events_now(&self, cx: &super::Context<'_, 'm, 'a>) -> Option<&'s dyn PageEvents> {
        self.events.filter(|_| cx.cpu.shared().reasons().contains(Reasons::EVENTS))
    }
}
