//! In which order an allocation tries zones, as places among the machine's zones.
//!
//! [`crate::zonelist`] decides the order of nodes; here it is spelled out zone by zone, so that an allocation
//! walks a short slice.

use crate::ZoneKind;
use crate::buddy::{BuddyZone, ZoneId};
use crate::layout::Layout;
use crate::zonelist::{ListKind, ZoneLists};
use core::fmt;
use pagewright_addr::NodeId;

/// The caller's slice for fallback orders is too short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FallbacksTooShort {
    /// Its length.
    pub len: usize,
    /// What [`Fallbacks::required_len`] asks for.
    pub required: usize,
}

impl fmt::Display for FallbacksTooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "room for {} entries of fallback orders, {} are needed", self.len, self.required)
    }
}

impl core::error::Error for FallbacksTooShort {}

/// An entry: a zone, and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneRef {
    /// Its place.
    pub zone: ZoneId,
    /// Its node.
    pub nid: NodeId,
    /// Its kind.
    pub kind: ZoneKind,
}

impl ZoneRef {
    /// An unused entry, to make room for a table.
    pub const EMPTY: Self = Self { zone: ZoneId::new(0), nid: NodeId::ZERO, kind: ZoneKind::Normal };
}

/// The orders of all nodes: one row for each node, as long as there are zones.
#[derive(Clone, Copy, Debug)]
pub struct Fallbacks<'z> {
    rows: &'z [ZoneRef],
    /// Entries in each row.
    stride: usize,
}

impl<'z> Fallbacks<'z> {
    /// How many entries the caller's slice needs.
    pub fn required_len(layout: &Layout<'_>, zones: usize) -> usize {
        layout.nodes().len() * zones
    }

    /// Spells out the lists of all nodes.
    ///
    /// # Errors
    /// [`FallbacksTooShort`].
    pub fn build(
        lists: &ZoneLists<'_>,
        layout: &Layout<'_>,
        zones: &[BuddyZone<'_, '_>],
        room: &'z mut [ZoneRef],
    ) -> Result<Self, FallbacksTooShort> {
        let (stride, required) = (zones.len(), Self::required_len(layout, zones.len()));
        let len = room.len();
        let Some(rows) = room.get_mut(..required) else { return Err(FallbacksTooShort { len, required }) };
        for (node, row) in layout.nodes().iter().zip(rows.chunks_exact_mut(stride.max(1))) {
            let mut used = 0;
            lists.for_each_zone(layout, node.nid, ListKind::Fallback, ZoneKind::Device, &mut |nid, kind| {
                let found = zones.iter().find(|z| z.nid() == nid && z.kind() == kind);
                if let (Some(zone), Some(slot)) = (found, row.get_mut(used)) {
                    *slot = ZoneRef { zone: zone.id(), nid, kind };
                    used += 1;
                }
            });
            // Every node's list has all zones; a node that cannot exist has none, and borrows nobody's.
            if let Some(&first) = row.first() {
                row[used..].fill(first);
            }
        }
        Ok(Self { rows, stride })
    }

    /// The zones that an allocation starting on `nid` tries, first choice first, those above `highest` among them.
    #[inline]
    pub fn of(&self, nid: NodeId) -> &'z [ZoneRef] {
        let from = nid.index() * self.stride;
        self.rows.get(from..from + self.stride).unwrap_or(&[])
    }

    /// The first zone for a request that may use zones up to `highest`.
    pub fn first(&self, nid: NodeId, highest: ZoneKind) -> Option<ZoneRef> {
        self.of(nid).iter().copied().find(|z| z.kind <= highest)
    }
}
