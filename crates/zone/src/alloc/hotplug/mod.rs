//! Memory that comes and goes while the machine runs: plugged in, online, offline, gone.
//!
//! ```text
//!            add_memory            online_pages
//!   unknown ───────────▶ offline ───────────────▶ online, in a zone
//!    (absent) ◀─────────         ◀───────────────
//!           remove_memory          offline_pages
//! ```
//! Memory moves in *blocks* of a size that the machine chooses ([`MemoryBlocks`]), whole pageblocks and blocks of the largest order. An offline block's frames
//! are a token in the table of blocks; online they are the page allocator's. Metadata is appended when a block is first known and never moves;
//! it keeps its place when the block is gone, for when it comes back.
//!
//! # Who is excluded
//! `&mut MemoryBlocks` is the lock of all this (`mem_hotplug_begin`, `device_hotplug_lock`): one change at a time. Everybody else goes on
//! allocating and freeing. What they read without a lock is replaced piece by piece: the fallback orders, which an allocation that failed looks
//! at once more if they changed meanwhile; watermarks; and each CPU's own view of where to go first, which the CPU replaces itself when its
//! attention word says so. Nothing of it is looked at on the fast path.
//!
//! # What must be there from the start
//! A [`ZoneCell`] and an entry among the [`Watermarks`] for each zone that may have memory one day, room on the CPUs' lists for it, slots of metadata and
//! pageblock records ([`PageMap::capacity`](pagewright_page::PageMap::capacity)). What is missing is named when it is needed, and nothing has changed then.

mod block;
mod error;
mod notify;
mod offline;
mod online;
mod policy;

pub use block::{BlockState, MemoryBlock, MemoryBlocks, MemoryBlocksError};
pub use error::{HotplugError, OfflineFailure};
pub use notify::{HotplugLine, HotplugNotifier, MemoryEvent, MemoryNotify, NoNotifier};
pub use policy::{OnlinePolicy, OnlineType};

use super::{Candidate, Hooks, PageAllocator, Reasons, ZoneCell};
use crate::watermark::{Cpus, Watermarks};
use crate::zonelist::{BuiltLine, Topology};
use crate::{NodeMask, ZoneKind};
use core::sync::atomic::Ordering::{AcqRel, Relaxed};
use pagewright_addr::NodeId;
use pagewright_platform::Interrupts;

/// What depends on how much memory there is, and who wants to know.
pub struct Plug<'q, 'w> {
    /// The figures of all zones.
    pub marks: &'q mut Watermarks<'w>,
    /// The CPUs.
    pub cpus: Cpus<'q>,
    /// How far nodes are from each other.
    pub topology: Topology<'q>,
    /// The nodes that can exist.
    pub possible: NodeMask,
    /// Who is told.
    pub notifier: &'q dyn HotplugNotifier,
}

/// In which order zonelists and watermarks follow what changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Settle {
    Online,
    Offline,
}

impl<'s, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, '_, 's, 'a, I, H> {
    /// The cell of a node's zone of a kind.
    pub(super) fn cell_of(&self, nid: NodeId, kind: ZoneKind) -> Option<&ZoneCell<'s, 'a>> {
        self.zones.iter().find(|cell| cell.nid() == nid && cell.kind() == kind)
    }

    /// The nodes that have memory (N_MEMORY).
    pub fn memory_nodes(&self) -> NodeMask {
        self.zones.iter().filter(|cell| cell.is_populated()).map(ZoneCell::nid).collect()
    }

    /// Everything that follows from how much memory each zone has, after one of them changed: fallback orders if a zone got its first memory
    /// or lost its last, watermarks and protection, per-CPU lists.
    fn settle(&self, plug: &mut Plug<'_, '_>, order: Settle, rebuild: bool) {
        for cell in self.zones {
            let managed = self.with_zone(cell, |z| z.managed_pages());
            plug.marks.set_present(cell.nid(), cell.kind(), managed, cell.is_populated());
        }
        if rebuild && order == Settle::Online {
            self.rebuild_zonelists(plug);
        }
        if let Some(kept) = plug.marks.init_per_zone_wmark_min(&plug.cpus) {
            plug.notifier.say(&HotplugLine::MinFreeKept(kept));
        }
        for cell in self.zones {
            cell.keeps_apart.store(self.keeps_apart(cell), Relaxed);
        }
        self.apply_marks(plug.marks);
        if rebuild && order == Settle::Offline {
            self.rebuild_zonelists(plug);
            self.cpus.iter().for_each(|cpu| cpu.shared().post(Reasons::ZONES));
        }
    }

    /// `build_all_zonelists` of a running machine.
    fn rebuild_zonelists(&self, plug: &Plug<'_, '_>) {
        let memory = self.memory_nodes();
        let zones = |nid: NodeId| {
            ZoneKind::ALL.map(|kind| {
                let cell = self.cell_of(nid, kind).filter(|cell| cell.is_populated())?;
                Some(Candidate { zone: cell.id(), nid, kind })
            })
        };
        self.fallbacks.rebuild(&plug.topology, &plug.possible, &zones, &memory);
        self.zonelists.fetch_add(1, AcqRel);
        let beyond = |cell: &ZoneCell<'s, 'a>| {
            let managed = self.with_zone(cell, |z| z.managed_pages());
            managed.saturating_sub(cell.high_pages())
        };
        plug.notifier.say(&HotplugLine::Built(BuiltLine {
            nodes: plug.topology.online.len(),
            mobility_grouping: self.ground.mobility_grouping,
            total_pages: self.zones.iter().filter(|cell| cell.is_populated()).map(beyond).sum(),
        }));
    }
}
