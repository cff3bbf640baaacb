//! The out-of-memory killer: when it is asked, and what follows.

use super::super::flags::AllocFlags;
use super::super::hooks::{Hooks, OomExclusion, Step};
use super::super::prepare::Wanted;
use super::super::{Context, PageAllocator, TaskFlags};
use super::Round;
use crate::ZoneKind;
use crate::gfp::{Gfp, GfpWarning};
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// `__alloc_pages_may_oom`.
    pub(super) fn last_resort(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
    ) -> Round<'a> {
        if !self.hooks.oom_trylock() {
            self.hooks.step(Step::OomBusy);
            return self.leave_it_to_others();
        }
        let round = self.may_kill(cx, nid, wanted);
        self.hooks.oom_unlock();
        round
    }

    fn may_kill(&self, cx: &Context<'_, 'm, 'a>, nid: NodeId, wanted: &Wanted<'_>) -> Round<'a> {
        let (gfp, request) = (wanted.gfp, wanted.request(cx, nid));
        // Somebody else's victim may have freed memory meanwhile; only if that is plenty. Nobody may reclaim for it while
        // holding the right to kill.
        let quick = Wanted { gfp: (gfp | Gfp::HARDWALL) - Gfp::DIRECT_RECLAIM, ..*wanted };
        let flags = AllocFlags::WMARK_HIGH | AllocFlags::CPUSET;
        if let Some(frames) = self.attempt(cx, nid, &quick, flags) {
            return Round::Done(frames);
        }
        if let Some(why) = self.exclusion(cx, wanted) {
            self.hooks.step(Step::OomExcluded(why));
            return Round::Hopeless;
        }
        let nofail = gfp.contains(Gfp::NOFAIL);
        let (mut left_alone, mut progress) = (false, true);
        // Who gives memory back by himself is asked first, whatever the mask says.
        if self.hooks.oom_notify(&request) {
            self.hooks.step(Step::OomNotify);
        } else if !gfp.contains(Gfp::FS) {
            // The round was half a round only; whoever may do more does it. That counts as progress.
            self.hooks.step(Step::OomNoFs);
            left_alone = true;
        } else {
            progress = self.hooks.out_of_memory(&request);
            self.hooks.step(Step::Oom(progress));
            if nofail && !progress {
                self.hooks.step(Step::Warn(GfpWarning::NofailNoVictim));
            }
        }
        if nofail && let Some(frames) = self.anywhere(cx, nid, wanted, AllocFlags::NO_WATERMARKS) {
            return Round::Done(frames);
        }
        if left_alone {
            self.leave_it_to_others()
        } else if progress || nofail {
            Round::Again
        } else {
            Round::Hopeless
        }
    }

    /// Whom killing cannot help.
    fn exclusion(&self, cx: &Context<'_, 'm, 'a>, wanted: &Wanted<'_>) -> Option<OomExclusion> {
        if cx.task.contains(TaskFlags::DUMPING) {
            Some(OomExclusion::Dumping)
        } else if Self::is_costly(wanted.order) {
            Some(OomExclusion::Costly)
        } else if wanted.gfp.intersects(Gfp::RETRY_MAYFAIL | Gfp::THISNODE) {
            Some(OomExclusion::Mask)
        } else if wanted.highest < ZoneKind::Normal {
            Some(OomExclusion::LowMemory)
        } else {
            None
        }
    }

    fn leave_it_to_others(&self) -> Round<'a> {
        let any = self.hooks.wait_for_others();
        self.hooks.step(Step::Wait(any));
        if any { Round::Again } else { Round::Hopeless }
    }
}
