//! Whether another round can help.

use super::super::compact::Outcome;
use super::super::flags::AllocFlags;
use super::super::hooks::{CompactPriority, CompactResult, Effort, Hooks, Progress, Step};
use super::super::prepare::Wanted;
use super::super::{Context, PageAllocator, TaskFlags};
use super::Rounds;
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;

/// Fruitless rounds of reclaim before an allocation gives up (MAX_RECLAIM_RETRIES).
const MAX_RECLAIM_RETRIES: u32 = 16;
/// Rounds of compaction before its priority rises (MAX_COMPACT_RETRIES).
const MAX_COMPACT_RETRIES: u32 = 16;

impl<'m, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, '_, 'a, I, H> {
    /// Whether more reclaim may do (`should_reclaim_retry`).
    pub(super) fn reclaim_again(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
        flags: AllocFlags,
        progress: Progress,
        rounds: &mut Rounds,
    ) -> bool {
        let costly = Self::is_costly(wanted.order);
        // Progress towards an order that is not costly is progress: blocks form by themselves.
        rounds.fruitless = if progress.freed > 0 && !costly { 0 } else { rounds.fruitless + 1 };
        if rounds.fruitless > MAX_RECLAIM_RETRIES {
            let some = self.unreserve_highatomic(cx, nid, wanted, Effort::Last);
            self.hooks.step(Step::LastReserves(some));
            return some;
        }
        // If all that could be reclaimed were free, would a zone have enough?
        self.zonelist(cx, nid, wanted, flags).any(|(at, cell)| {
            self.settle_waiting(cell);
            let free = cell.free_pages() + self.hooks.reclaimable_pages(at.zone);
            cell.watermark_ok_for(free, wanted.order, cell.mark(AllocFlags::WMARK_MIN), wanted.highest, flags)
        })
    }

    /// Whether more compaction may do (`should_compact_retry`).
    pub(super) fn compact_again(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
        flags: AllocFlags,
        compacted: CompactResult,
        rounds: &mut Rounds,
    ) -> bool {
        if wanted.order.is_zero() || cx.task.contains(TaskFlags::DYING) {
            return false;
        }
        let costly = Self::is_costly(wanted.order);
        let most = if costly { MAX_COMPACT_RETRIES / 4 } else { MAX_COMPACT_RETRIES };
        match compacted {
            // It lacked free pages to move others to: reclaim may make them.
            CompactResult::Skipped => return self.compaction_suitable(cx, nid, wanted, flags),
            // It made blocks, and somebody else took them.
            CompactResult::Success => {
                rounds.compactions += 1;
                if rounds.compactions <= most {
                    return true;
                }
            }
            // It would do the same again at this priority.
            CompactResult::Complete | CompactResult::Partial | CompactResult::Deferred => {}
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

    /// Whether compaction could work in some zone once reclaim has done what it can (`compaction_zonelist_suitable`). Reclaim is not expected to free all that could be, least for large blocks.
    fn compaction_suitable(
        &self,
        cx: &Context<'_, 'm, 'a>,
        nid: NodeId,
        wanted: &Wanted<'_>,
        flags: AllocFlags,
    ) -> bool {
        let Wanted { order, highest, .. } = *wanted;
        self.zonelist(cx, nid, wanted, flags).any(|(at, cell)| {
            self.settle_waiting(cell);
            let share = self.hooks.reclaimable_pages(at.zone) / u64::from(order.get().max(1));
            Self::suitable_with(cell, order, flags, highest, cell.free_pages() + share) != Outcome::Skipped
        })
    }
}
