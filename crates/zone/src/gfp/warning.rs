//! Masks that are served although they ask for something odd.

use super::Gfp;
use core::fmt;
use pagewright_addr::Order;

/// Something odd about an allocation that Linux warns about once (WARN_ON_ONCE) and then serves, or fails, all the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GfpWarning {
    /// `__GFP_ATOMIC` with `__GFP_DIRECT_RECLAIM`: who may reclaim is not atomic; the former is ignored.
    AtomicReclaims,
    /// `__GFP_NOFAIL` by somebody who may not reclaim: it fails nevertheless.
    NofailCannotReclaim,
    /// `__GFP_NOFAIL` by a task that frees memory for others (PF_MEMALLOC): nobody is left to ask.
    NofailMemalloc,
    /// `__GFP_NOFAIL` of an order above 1: it may loop for long.
    NofailLarge,
    /// `__GFP_NOFAIL` of a costly order, and it does.
    NofailCostly,
    /// An order that no block has, of a caller who does not say that he can do without.
    TooLarge,
    /// `__GFP_NOFAIL` and the killer found nobody: it goes on with the last reserves.
    NofailNoVictim,
    /// `__GFP_THISNODE` by a task whose policy binds it to nodes: the mask decides.
    BoundThisNode,
    /// `__GFP_COMP` or `__GFP_HIGHMEM` for an exact number of pages, which are neither one page nor without an address: both are
    /// ignored.
    Exact,
}

impl GfpWarning {
    /// What is odd about a request by itself, if the largest blocks are of order `largest`. What a CPU's lists serve at once is not looked at.
    pub fn of(gfp: Gfp, order: Order, largest: Order) -> Option<Self> {
        if order > largest {
            Some(Self::TooLarge).filter(|_| !gfp.contains(Gfp::NOWARN))
        } else {
            Some(Self::NofailLarge).filter(|_| gfp.contains(Gfp::NOFAIL) && order.get() > 1)
        }
    }

    /// What is odd about a mask when it comes to waiting.
    pub fn of_waiting(gfp: Gfp) -> impl Iterator<Item = Self> {
        [
            (Self::AtomicReclaims, gfp.contains(Gfp::ATOMIC | Gfp::DIRECT_RECLAIM)),
            (Self::NofailCannotReclaim, gfp.contains(Gfp::NOFAIL) && !gfp.contains(Gfp::DIRECT_RECLAIM)),
        ]
        .into_iter()
        .filter_map(|(warning, holds)| holds.then_some(warning))
    }
}

impl fmt::Display for GfpWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtomicReclaims => "__GFP_ATOMIC by somebody who may reclaim is ignored",
            Self::NofailCannotReclaim => "__GFP_NOFAIL by somebody who may not reclaim fails",
            Self::NofailMemalloc => "__GFP_NOFAIL by a task that frees memory itself",
            Self::NofailLarge => "__GFP_NOFAIL of an order above 1",
            Self::NofailCostly => "__GFP_NOFAIL of a costly order",
            Self::TooLarge => "an order that no block has",
            Self::NofailNoVictim => "__GFP_NOFAIL when there is nobody left to kill",
            Self::Exact => "__GFP_COMP or __GFP_HIGHMEM for an exact number of pages is ignored",
            Self::BoundThisNode => "__GFP_THISNODE against the task's memory policy",
        })
    }
}
