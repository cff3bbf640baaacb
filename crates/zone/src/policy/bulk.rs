//! Many pages at once under a task's policy.

use super::{Mode, TaskPolicy, Weights};
use crate::NodeMask;
use crate::alloc::{Context, Hooks, PageAllocator, TaskFlags};
use crate::gfp::Gfp;
use core::sync::atomic::Ordering::Relaxed;
use pagewright_addr::NodeId;
use pagewright_page::Frames;
use pagewright_platform::Interrupts;

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// As [`Self::alloc_pages_bulk`], from where the task's policy says (`alloc_pages_bulk_array_mempolicy`). Interleaving asks each of
    /// its nodes once, for an equal share or one by its weight; many preferred nodes are asked without effort, and the near ones for what
    /// those do not have. Nobody is asked for what another node could not give in bulk, so fewer slots may be filled than there is memory for.
    ///
    /// Equal shares leave the turn where it was, and what is left over goes to the nodes whose turn is next, a page each (6.1);
    /// shares by weight are those that pages one by one would make (6.9).
    #[track_caller]
    pub fn alloc_pages_bulk_mempolicy(
        &self,
        cx: &Context<'_, 'm, 'a>,
        gfp: Gfp,
        slots: &mut [Option<Frames<'a>>],
    ) -> usize {
        let counts = !cx.task.contains(TaskFlags::INTERRUPT) && !gfp.contains(Gfp::THISNODE);
        let Some(task) = cx.policy.filter(|_| counts) else {
            return self.alloc_pages_bulk(cx, gfp, slots);
        };
        let (policy, pages) = (task.policy(), slots.len());
        let mut filled = 0;
        let mut ask = |nid: NodeId, nodes: Option<&NodeMask>, gfp: Gfp, most: usize| {
            let end = pages.min(filled + most);
            filled += self.alloc_pages_bulk_nodemask(cx, nid, nodes, gfp, &mut slots[filled..end]);
        };
        match policy.mode() {
            Mode::Interleave => task.share(pages, |nid, share| ask(nid, None, gfp, share)),
            Mode::WeightedInterleave => {
                task.share_weighted(pages, self.tuning().weights(), |nid, share| ask(nid, None, gfp, share));
            }
            Mode::PreferredMany => {
                ask(cx.node, Some(policy.nodes()), lightly(gfp), pages);
                ask(cx.node, None, gfp, pages);
            }
            _ => ask(policy.start(cx.node), policy.mask(self.binds(policy, gfp), cx.nodes), gfp, pages),
        }
        filled
    }
}

/// A mask that asks without effort: what is only a preference is worth no more.
pub(super) fn lightly(gfp: Gfp) -> Gfp {
    (gfp | Gfp::NOWARN) - (Gfp::DIRECT_RECLAIM | Gfp::NOFAIL)
}

impl TaskPolicy {
    /// Equal shares of so many pages, each node's in turn.
    fn share(&self, pages: usize, mut give: impl FnMut(NodeId, usize)) {
        let nodes = self.policy.nodes.len();
        for at in 0..nodes {
            let Some(nid) = self.next() else { return };
            give(nid, pages / nodes + usize::from(at < pages % nodes));
        }
    }

    /// Shares by weight, each node's in turn after what is left of the present one's; the next page goes to where it would go had
    /// these been single ones.
    fn share_weighted(&self, pages: usize, weights: &Weights, mut give: impl FnMut(NodeId, usize)) {
        let (mut rest, prev, left) = (pages, self.prev(), self.left.load(Relaxed));
        if left > 0 && self.policy.nodes.contains(prev) {
            let now = rest.min(left.into());
            self.left.store(left - now as u8, Relaxed);
            rest -= now;
            give(prev, now);
        }
        if rest > 0 {
            self.left.store(0, Relaxed);
        }
        let weight = |nid| usize::from(weights.get(nid));
        let total: usize = self.policy.nodes.iter().map(weight).sum();
        let (Some(rounds), Some(mut over)) = (rest.checked_div(total), rest.checked_rem(total)) else {
            return;
        };
        let mut nid = prev;
        for _ in 0..self.policy.nodes.len().min(rest) {
            let Some(next) = self.policy.nodes.next_in(nid) else { return };
            nid = next;
            let more = over.min(weight(nid));
            if more > 0 {
                self.prev.store(nid.get(), Relaxed);
                self.left.store((weight(nid) - more) as u8, Relaxed);
            }
            over -= more;
            give(nid, rounds * weight(nid) + more);
        }
    }
}
