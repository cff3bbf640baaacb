//! What comes before an attempt and after it: a mask is worked out once, mistakes are injected, and what was found is made ready
//! (`prepare_alloc_pages`, `prep_new_page`).

use super::flags::{AllocFlags, TaskFlags};
use super::hooks::AllocRequest;
use super::{AllocFailure, Candidate, Context, Hooks, PageAllocator, Reasons, Step};
use crate::buddy::MigrateType;
use crate::debug::Debugging;
use crate::gfp::{Gfp, GfpWarning};
use crate::{NodeMask, ZoneKind};
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::{NodeId, Order};
use pagewright_page::Frames;
use pagewright_platform::Interrupts;

/// What an allocation asks for, worked out once (`struct alloc_context`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'w> {
    pub(super) gfp: Gfp,
    pub(super) order: Order,
    pub(super) migrate: MigrateType,
    /// The highest zone that will do.
    pub(super) highest: ZoneKind,
    /// The zone that is tried first, if any will do.
    pub(super) preferred: Option<Candidate>,
    /// The nodes that will do, if not all.
    pub(super) nodes: Option<&'w NodeMask>,
}

impl Wanted<'_> {
    /// What whoever makes memory is told.
    pub(super) fn request<'r>(&'r self, cx: &Context<'r, '_, '_>, nid: NodeId) -> AllocRequest<'r> {
        let Self { order, gfp, highest, nodes, .. } = *self;
        AllocRequest { nid, order, gfp, highest, nodes, mems_allowed: cx.nodes, task: cx.task }
    }
}

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// Works a mask out, answers what this CPU was asked, and fails where a failure is injected: once for each request, however often
    /// it is tried.
    pub(super) fn prepare<'w>(
        &self,
        cx: &Context<'w, 'm, 'a>,
        nid: NodeId,
        nodes: Option<&'w NodeMask>,
        gfp: Gfp,
        order: Order,
    ) -> Result<Wanted<'w>, AllocFailure> {
        self.injected(cx)?;
        if let Some(warning) = GfpWarning::of(gfp, order, self.ground.largest) {
            self.hooks.step(Step::Warn(warning));
        }
        let wanted = self.work_out(cx, nid, nodes, gfp, order)?;
        self.answer(cx);
        if let Some(failure) = self.debugging_now(cx).and_then(|debugging| debugging.fails(wanted.gfp, order))
        {
            return Err(failure);
        }
        Ok(wanted)
    }

    /// What a mask asks for, with the fallback orders of now.
    pub(super) fn work_out<'w>(
        &self,
        cx: &Context<'w, 'm, 'a>,
        nid: NodeId,
        nodes: Option<&'w NodeMask>,
        gfp: Gfp,
        order: Order,
    ) -> Result<Wanted<'w>, AllocFailure> {
        let largest = self.ground.largest;
        if order > largest {
            return Err(AllocFailure::TooLarge { order, largest });
        }
        let gfp = cx.task.limit(gfp);
        let highest = gfp.zone(self.kinds).map_err(|_| AllocFailure::Mask(gfp))?;
        let migrate = gfp.migrate_type(self.ground.mobility_grouping).map_err(|_| AllocFailure::Mask(gfp))?;
        let preferred = self.first_zone(nid, highest, gfp, nodes);
        Ok(Wanted { gfp, order, migrate, highest, preferred, nodes })
    }

    /// What the first attempt may do. A cpuset counts like the caller's nodes: even for the kernel's own allocations its nodes come
    /// first. If it has no zone that will do, none is preferred.
    pub(super) fn in_cpuset<'w>(
        &self,
        cx: &Context<'w, 'm, 'a>,
        nid: NodeId,
        wanted: &mut Wanted<'w>,
    ) -> AllocFlags {
        let mut flags = AllocFlags::first(wanted.gfp, wanted.migrate == MigrateType::Movable);
        if let Some(nodes) = cx.nodes {
            wanted.gfp |= Gfp::HARDWALL;
            if wanted.nodes.is_none() && !cx.task.contains(TaskFlags::INTERRUPT) {
                wanted.preferred = self.first_zone(nid, wanted.highest, wanted.gfp, Some(nodes));
                wanted.nodes = Some(nodes);
            } else {
                flags.insert(AllocFlags::CPUSET);
            }
        }
        flags
    }

    /// Makes a block ready for whoever asked for it (`prep_new_page`). One that cannot be zeroed goes back.
    #[track_caller]
    pub(super) fn finish(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        mut frames: Frames<'a>,
    ) -> Result<Frames<'a>, AllocFailure> {
        if let Some(debugging) = self.debugging_now(cx) {
            debugging.allocated(&self.ground.map, &mut frames, gfp, core::panic::Location::caller());
        }
        if gfp.contains(Gfp::ZERO) && self.hooks.zero(&frames).is_err() {
            let order = frames.order().unwrap_or_default();
            self.free_pages(cx, frames);
            return Err(AllocFailure::NotZeroed { order, gfp });
        }
        if gfp.contains(Gfp::COMP) {
            self.ground.map.make_compound(&mut frames);
        }
        if let Some(events) = self.events_now(cx) {
            self.tell_alloc(events, gfp, frames.order().unwrap_or_default(), Some(&frames));
        }
        Ok(frames)
    }

    /// Makes the `n`-th allocation from now on that takes the slower way fail, and sends all that way; 1 is the next, 0
    /// ends it.
    pub fn fail_nth(&self, n: u32) {
        self.asked.store(0, Relaxed);
        self.fail_at.store(n, Relaxed);
        for cpu in self.cpus {
            if n == 0 {
                cpu.shared().take(Reasons::FAULT);
            } else {
                cpu.shared().post(Reasons::FAULT);
            }
        }
    }

    /// Debugging, if it is on.
    pub(super) fn debugging_now(&self, cx: &Context<'_, 'm, 'a>) -> Option<&Debugging<'_>> {
        self.debugging.filter(|_| cx.cpu.shared().reasons().contains(Reasons::DEBUG))
    }

    fn injected(&self, cx: &Context<'_, 'm, 'a>) -> Result<(), AllocFailure> {
        if !cx.cpu.shared().reasons().contains(Reasons::FAULT) {
            return Ok(());
        }
        let nth = self.asked.fetch_add(1, Relaxed) + 1;
        if self.fail_at.load(Relaxed) == nth { Err(AllocFailure::Injected { nth }) } else { Ok(()) }
    }
}
