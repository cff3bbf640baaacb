//! In which order an allocation tries zones, as places among the machine's zones.
//!
//! [`crate::zonelist`] decides the order of nodes; here it is spelled out zone by zone, so that an allocation
//! walks a short slice. When memory is plugged in or goes, entries are written anew.

use crate::buddy::{BuddyZone, ZoneId};
use crate::layout::Layout;
use crate::zonelist::{ListKind, Topology, ZoneLists, each_node_of};
use crate::{NodeMask, ZoneKind};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
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

/// A zone that an allocation may try, and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its place.
    pub zone: ZoneId,
    /// Its node.
    pub nid: NodeId,
    /// Its kind.
    pub kind: ZoneKind,
}

/// An entry of an order: a candidate, or none (`struct zoneref`). Written anew when memory comes or goes, while others read.
#[derive(Debug)]
pub struct ZoneRef(AtomicU64);

impl ZoneRef {
    /// An unused entry, to make room for a table.
    #[expect(
        clippy::declare_interior_mutable_const,
        reason = "what a table is filled with, never shared itself"
    )]
    pub const EMPTY: Self = Self(AtomicU64::new(0));
    const SOME: u64 = 1 << 63;

    /// The candidate.
    pub fn get(&self) -> Option<Candidate> {
        let bits = self.0.load(Relaxed);
        let kind = *ZoneKind::ALL.get((bits >> 32) as usize & 0xff).filter(|_| bits & Self::SOME != 0)?;
        Some(Candidate { zone: ZoneId::new(bits as u16), nid: NodeId::new((bits >> 16) as u16)?, kind })
    }

    fn set(&self, to: Option<Candidate>) {
        let bits = to.map_or(0, |to| {
            let place = to.zone.index() as u64 | (to.nid.get() as u64) << 16;
            Self::SOME | (to.kind.index() as u64) << 32 | place
        });
        self.0.store(bits, Relaxed);
    }
}

impl Clone for ZoneRef {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Relaxed)))
    }
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
        let Some(rows) = room.get(..required) else { return Err(FallbacksTooShort { len, required }) };
        for (node, row) in layout.nodes().iter().zip(rows.chunks_exact(stride.max(1))) {
            let mut row = row.iter();
            lists.for_each_zone(layout, node.nid, ListKind::Fallback, ZoneKind::Device, &mut |nid, kind| {
                let found = zones.iter().find(|z| z.nid() == nid && z.kind() == kind);
                if let Some(zone) = found
                    && let Some(slot) = row.next()
                {
                    slot.set(Some(Candidate { zone: zone.id(), nid, kind }));
                }
            });
            row.for_each(|slot| slot.set(None));
        }
        Ok(Self { rows, stride })
    }

    /// Spells them out again (`build_all_zonelists`) for the zones that have memory now, given in their order. Whoever walks a list at the same time
    /// may miss a zone, or see one twice.
    pub(super) fn rebuild(
        &self,
        topology: &Topology<'_>,
        possible: &NodeMask,
        zones: &dyn Fn(NodeId) -> [Option<Candidate>; ZoneKind::COUNT],
        memory: &NodeMask,
    ) {
        let mut load = [0; NodeId::LIMIT];
        for (nid, row) in self.rows.chunks_exact(self.stride.max(1)).enumerate() {
            let Some(nid) = NodeId::new(nid as u16).filter(|&nid| possible.contains(nid)) else { continue };
            let mut row = row.iter();
            each_node_of(nid, memory, topology, &mut load, &mut |next| {
                for zone in zones(next).into_iter().rev().flatten() {
                    if let Some(slot) = row.next() {
                        slot.set(Some(zone));
                    }
                }
                true
            });
            row.for_each(|slot| slot.set(None));
        }
    }

    /// The zones that an allocation starting on `nid` tries, first choice first, those above `highest` among them.
    #[inline]
    pub fn of(&self, nid: NodeId) -> impl Iterator<Item = Candidate> + use<'z> {
        let from = nid.index() * self.stride;
        self.rows.get(from..from + self.stride).unwrap_or(&[]).iter().map_while(ZoneRef::get)
    }

    /// The first zone for a request that may use zones up to `highest`.
    pub fn first(&self, nid: NodeId, highest: ZoneKind) -> Option<Candidate> {
        self.of(nid).find(|z| z.kind <= highest)
    }
}
