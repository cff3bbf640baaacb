//! The invariants of watermarks, checked.

use super::{Watermarks, ZoneMarks, boot_pageset};
use crate::kind::ZoneKind;
use core::fmt;
use pagewright_addr::NodeId;

/// The most that a CPU's counters of a zone may drift.
const MOST_DRIFT: u64 = 125;

/// An invariant that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatermarkViolation {
    /// A zone that does not come after the one before it, by node and kind, or is of a kind that the kernel has not.
    Order {
        /// Its place in the list.
        index: usize,
    },
    /// Managed pages in a zone without memory.
    Empty {
        /// The zone's node.
        nid: NodeId,
        /// Its kind.
        kind: ZoneKind,
    },
    /// Watermarks that do not ascend from min by way of low and high to promo.
    Marks {
        /// The zone's node.
        nid: NodeId,
        /// Its kind.
        kind: ZoneKind,
    },
    /// Protection that shrinks towards higher zones, or is there against the zone itself or a lower one.
    Protection {
        /// The zone's node.
        nid: NodeId,
        /// Its kind.
        kind: ZoneKind,
        /// The zone that is protected against.
        against: ZoneKind,
    },
    /// Per-CPU lists that move nothing, or hold less than four times what they move.
    Pageset {
        /// The zone's node.
        nid: NodeId,
        /// Its kind.
        kind: ZoneKind,
    },
    /// A threshold above the largest.
    Threshold {
        /// The zone's node.
        nid: NodeId,
        /// Its kind.
        kind: ZoneKind,
    },
    /// The min watermarks of low memory are more than `min_free_kbytes`.
    Sum {
        /// `min_free_kbytes` in pages.
        pages_min: u64,
        /// The sum of the watermarks.
        summed: u64,
    },
}

impl fmt::Display for WatermarkViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Order { index } => write!(f, "zone {index} of the watermarks is out of order"),
            Self::Empty { nid, kind } => write!(f, "zone {kind} of node {nid} manages pages without memory"),
            Self::Marks { nid, kind } => write!(f, "watermarks of zone {kind} of node {nid} do not ascend"),
            Self::Protection { nid, kind, against } => {
                write!(f, "protection of zone {kind} of node {nid} against {against} does not grow")
            }
            Self::Pageset { nid, kind } => {
                write!(f, "per-CPU lists of zone {kind} of node {nid} are too short")
            }
            Self::Threshold { nid, kind } => {
                write!(f, "counters of zone {kind} of node {nid} drift too far")
            }
            Self::Sum { pages_min, summed } => {
                write!(f, "min watermarks add up to {summed} pages of {pages_min}")
            }
        }
    }
}

impl core::error::Error for WatermarkViolation {}

impl Watermarks<'_> {
    /// Checks order, that marks ascend and protection grows towards higher zones, the lists' sizes, and that low memory's
    /// min watermarks share out `min_free_kbytes`.
    ///
    /// # Errors
    /// The first [`WatermarkViolation`].
    pub fn validate(&self) -> Result<(), WatermarkViolation> {
        let t = &self.tunables;
        let mut before: Option<&ZoneMarks> = None;
        for (index, z) in self.zones.iter().enumerate() {
            if !t.zones.contains(z.kind) || before.is_some_and(|b| (b.nid, b.kind) >= (z.nid, z.kind)) {
                return Err(WatermarkViolation::Order { index });
            }
            before = Some(z);
            validate_zone(z)?;
        }
        let low = self.zones.iter().filter(|z| !t.is_highmem(z.kind));
        let summed = low.map(|z| z.min).fold(0, u64::saturating_add);
        let pages_min = self.min_free_kbytes >> (t.page_shift.get() - 10);
        if summed <= pages_min { Ok(()) } else { Err(WatermarkViolation::Sum { pages_min, summed }) }
    }
}

fn validate_zone(z: &ZoneMarks) -> Result<(), WatermarkViolation> {
    let (nid, kind) = (z.nid, z.kind);
    if !z.populated && z.managed > 0 {
        return Err(WatermarkViolation::Empty { nid, kind });
    }
    if z.min > z.low || z.low > z.high || z.high > z.promo {
        return Err(WatermarkViolation::Marks { nid, kind });
    }
    let mut most = 0;
    for against in ZoneKind::ALL {
        let pages = z.lowmem_reserve[against.index()];
        // Kinds that the kernel has not stay at 0.
        if pages != 0 && (against <= kind || pages < most) {
            return Err(WatermarkViolation::Protection { nid, kind, against });
        }
        most = most.max(pages);
    }
    let lists = z.pageset;
    if lists != boot_pageset() && (lists.batch == 0 || lists.high < lists.batch.saturating_mul(4)) {
        return Err(WatermarkViolation::Pageset { nid, kind });
    }
    if z.stat_threshold > MOST_DRIFT {
        return Err(WatermarkViolation::Threshold { nid, kind });
    }
    Ok(())
}
