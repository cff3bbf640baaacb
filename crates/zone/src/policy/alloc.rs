//! Allocating under a policy.

use super::bulk::lightly;
use super::text::policy_zone;
use super::{Mempolicy, Mode};
use crate::ZoneKind;
use crate::alloc::{AllocFailure, Context, Hooks, PageAllocator, Step, TaskFlags, ZoneCell};
use crate::gfp::{Gfp, GfpWarning};
use pagewright_addr::{NodeId, Order};
use pagewright_page::Frames;
use pagewright_platform::Interrupts;

impl<'m, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, 's, 'a, I, H> {
    /// The way of allocations that the fast path did not serve: by the task's policy, if it has one that counts (`alloc_pages`).
    #[track_caller]
    pub(crate) fn alloc_pages_placed(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        order: Order,
    ) -> Result<Frames<'a>, AllocFailure> {
        let Some(task) = cx.policy.filter(|_| !cx.task.contains(TaskFlags::INTERRUPT)) else {
            return self.alloc_pages_node(cx, cx.node, gfp, order);
        };
        if gfp.contains(Gfp::THISNODE) {
            if task.policy().mode() == Mode::Bind {
                self.hooks().step(Step::Warn(GfpWarning::BoundThisNode));
            }
            return self.alloc_pages_node(cx, cx.node, gfp, order);
        }
        let turn = match task.policy().mode() {
            Mode::Interleave => task.next(),
            Mode::WeightedInterleave => task.next_weighted(self.tuning().weights()),
            _ => None,
        };
        self.alloc_by(cx, task.policy(), turn, gfp, order)
    }

    /// Allocates for the `index`-th page of something with a policy of its own, an area of an address space or a file
    /// (`vma_alloc_folio`, `alloc_pages_mpol`): interleaving goes by the index, whoever asks. With `huge`, a huge page from the one node
    /// that the policy begins with is tried lightly first, since a far huge page is worth less than near small ones. [`Mode::Default`] is
    /// the task's policy, if it has one: interleaving goes by the index then too.
    ///
    /// # Errors
    /// As for [`Self::alloc_pages`].
    #[track_caller]
    pub fn alloc_pages_mpol(
        &self,
        cx: &Context<'_, 'm, 'a>,
        policy: &Mempolicy,
        index: u64,
        gfp: Gfp,
        order: Order,
        huge: bool,
    ) -> Result<Frames<'a>, AllocFailure> {
        let policy = match (policy.mode(), cx.policy) {
            (Mode::Default, Some(task)) if !cx.task.contains(TaskFlags::INTERRUPT) => task.policy(),
            _ => policy,
        };
        let turn = match policy.mode() {
            Mode::Interleave => policy.interleave_nid(index),
            Mode::WeightedInterleave => policy.weighted_interleave_nid(index, self.tuning().weights()),
            _ => None,
        };
        if huge && turn.is_none() && policy.mode() != Mode::PreferredMany {
            let nid = policy.start(cx.node);
            let mask = policy.mask(self.binds(policy, gfp), cx.nodes);
            if mask.is_none_or(|mask| mask.contains(nid)) {
                let here = gfp | Gfp::THISNODE | Gfp::NORETRY;
                let found = self.alloc_pages_node(cx, nid, here, order);
                return match found {
                    Err(AllocFailure::NoMemory { .. } | AllocFailure::Injected { .. }) if gfp.may_block() => {
                        self.alloc_pages_nodemask(cx, nid, mask, gfp, order)
                    }
                    found => found,
                };
            }
        }
        self.alloc_by(cx, policy, turn, gfp, order)
    }

    #[track_caller]
    fn alloc_by(
        &self,
        cx: &Context<'_, 'm, 'a>,
        policy: &Mempolicy,
        turn: Option<NodeId>,
        gfp: Gfp,
        order: Order,
    ) -> Result<Frames<'a>, AllocFailure> {
        if let Some(nid) = turn {
            let frames = self.alloc_pages_node(cx, nid, gfp, order)?;
            self.count_interleaved(&frames, nid);
            return Ok(frames);
        }
        let nid = policy.start(cx.node);
        let mask = policy.mask(self.binds(policy, gfp), cx.nodes);
        if policy.mode() != Mode::PreferredMany {
            return self.alloc_pages_nodemask(cx, nid, mask, gfp, order);
        }
        // From its nodes without effort; it is only a preference.
        match self.alloc_pages_nodemask(cx, nid, mask, lightly(gfp), order) {
            Err(AllocFailure::NoMemory { .. } | AllocFailure::Injected { .. }) => {
                self.alloc_pages_node(cx, nid, gfp, order)
            }
            found => found,
        }
    }

    /// Whether a policy binds what a mask asks for (`apply_policy_zone`).
    pub(super) fn binds(&self, policy: &Mempolicy, gfp: Gfp) -> bool {
        let ordinary = |nid: &ZoneCell<'s, 'a>| nid.kind() < ZoneKind::Movable;
        let has = |nid: NodeId| self.zones().iter().filter(|zone| ordinary(zone)).any(|z| z.nid() == nid);
        let least = if policy.nodes().iter().any(has) {
            policy_zone(self.zones().iter().map(ZoneCell::kind)).unwrap_or(ZoneKind::Normal)
        } else {
            // Its nodes have movable memory only.
            ZoneKind::Movable
        };
        gfp.zone(self.kinds()).is_ok_and(|highest| highest >= least)
    }
}
