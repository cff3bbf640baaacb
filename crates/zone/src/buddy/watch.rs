//! What a fallback did and what it looked at, for whoever watches.
//!
//! A watched zone tells of every block that a request takes from another type's lists: the block, the lists as they were, and each
//! place that the search looked at, in its order. So somebody else can make the choice again and compare
//! (`pagewright-sim`'s ageing workload does). Unwatched, a fallback tests one pointer.

use super::{MigrateType, Request, ZoneId};
use core::fmt;
use pagewright_addr::Order;
use pagewright_page::FrameIdx;

/// A list that a search looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Examined {
    /// The list's order.
    pub order: Order,
    /// The list's type.
    pub list: MigrateType,
    /// Its first block; none if it was empty.
    pub block: Option<FrameIdx>,
}

/// How many lists a search looks at: two types of each order, downwards and perhaps upwards again (then of one or both types).
const MOST: usize = 4 * Order::LIMIT;

/// Lists in the order in which they were looked at.
#[derive(Clone, Copy)]
pub(crate) struct Trail {
    seen: [Examined; MOST],
    len: usize,
}

impl Trail {
    pub(super) const fn new() -> Self {
        let none = Examined { order: Order::ZERO, list: MigrateType::Unmovable, block: None };
        Self { seen: [none; MOST], len: 0 }
    }

    pub(super) fn push(&mut self, seen: Examined) {
        if let Some(slot) = self.seen.get_mut(self.len) {
            *slot = seen;
            self.len += 1;
        }
    }

    fn all(&self) -> &[Examined] {
        &self.seen[..self.len]
    }
}

/// A request that found nothing of its own type took a block of another (what the tracepoint `mm_page_alloc_extfrag` tells).
#[derive(Clone, Copy)]
pub struct Fallback {
    /// The zone.
    pub zone: ZoneId,
    /// What was asked for.
    pub request: Request,
    /// The first frame of the block that was chosen.
    pub block: FrameIdx,
    /// Its order (`fallback_order`).
    pub order: Order,
    /// The type of the list it was in (`fallback_migratetype`).
    pub list: MigrateType,
    /// The type of its pageblock before.
    pub before: MigrateType,
    /// The type of its pageblock now.
    pub after: MigrateType,
    /// `pageblock_order`.
    pub pageblock: Order,
    /// Which orders had blocks before, for each type a bit for each order; untouched memory counts among Movable's largest.
    pub occupied: [u16; MigrateType::COUNT],
    pub(super) trail: Trail,
}

impl Fallback {
    /// The lists that were looked at, in that order. The chosen block is that of the last one that had any.
    pub fn examined(&self) -> &[Examined] {
        self.trail.all()
    }

    /// Whether only a part of a pageblock was taken (`fragmenting`).
    pub fn is_fragmenting(&self) -> bool {
        self.order < self.pageblock
    }

    /// Whether the pageblock is of the request's type now (`change_ownership`).
    pub fn changes_ownership(&self) -> bool {
        self.after == self.request.migrate
    }

    /// Whether pages of the request will lie in a pageblock of another type.
    pub fn mixes(&self) -> bool {
        self.after != self.request.migrate
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("zone", &self.zone)
            .field("request", &self.request)
            .field("block", &self.block)
            .field("order", &self.order)
            .field("list", &self.list)
            .field("before", &self.before)
            .field("after", &self.after)
            .field("occupied", &self.occupied)
            .field("examined", &self.examined())
            .finish()
    }
}

/// Who is told, under the zone's lock with interrupts off: it must neither allocate pages from the same machine nor wait.
pub trait WatchFallbacks: Sync {
    /// A block was taken from another type's lists.
    fn fallback(&self, event: &Fallback);
}

/// A watcher, or none.
#[derive(Clone, Copy, Default)]
pub(crate) struct Watch<'s>(pub(crate) Option<&'s dyn WatchFallbacks>);

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "watched" } else { "not watched" })
    }
}
