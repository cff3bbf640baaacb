//! Contiguous ranges: isolate, move what is in use, take it all (`alloc_contig_range`).
//!
//! The range may have any length and need not begin at a pageblock. What comes is one [`Frames`] token, which goes back by
//! [`PageAllocator::free_pages`] like any other, whole or in parts (`free_contig_range`).
//!
//! Who may fail: everything up to the last step, under the zone's lock, which takes the whole range or nothing. After a failure the
//! pageblocks are of their old types and every page is where it was or, if it was moved already, in another place that
//! its owner knows.

use super::isolate::{IsolateFor, Isolated};
use super::migrate::{Batch, Migrate, MigrateMode, NoPlace, Places, block_of, is_movable};
use super::prepare::Wanted;
use super::{Context, Hooks, PageAllocator, TaskFlags};
use crate::buddy::{MigrateType, ZoneId};
use crate::gfp::Gfp;
use crate::{NodeMask, ZoneKind};
use core::fmt;
use pagewright_addr::{NodeId, Order, Pfn, PfnRange};
use pagewright_page::{FrameIdx, Frames, State};
use pagewright_platform::Interrupts;

/// How often what stays busy is tried again.
const TRIES: u32 = 5;

/// Why there is no contiguous range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContigError {
    /// Something in the range is in use and cannot be moved, or somebody else isolates it (`-EBUSY`).
    Busy {
        /// The range.
        pfns: PfnRange,
        /// The first frame in the way, where it is known.
        at: Option<Pfn>,
    },
    /// The task is being killed (`-EINTR`).
    Interrupted {
        /// The range.
        pfns: PfnRange,
    },
    /// There was no place to move a page to, or no range to be found (`-ENOMEM`).
    NoMemory {
        /// The range.
        pfns: PfnRange,
    },
    /// The frames are not of one zone without a gap, or none (`-EINVAL`).
    Range {
        /// The range.
        pfns: PfnRange,
    },
}

impl ContigError {
    /// Linux's number for it, negative.
    pub const fn errno(&self) -> i32 {
        match self {
            Self::Interrupted { .. } => -4,
            Self::NoMemory { .. } => -12,
            Self::Busy { .. } => -16,
            Self::Range { .. } => -22,
        }
    }

    /// What the error is about.
    pub const fn pfns(&self) -> PfnRange {
        match *self {
            Self::Busy { pfns, .. }
            | Self::Interrupted { pfns }
            | Self::NoMemory { pfns }
            | Self::Range { pfns } => pfns,
        }
    }
}

impl fmt::Display for ContigError {
    /// In the words of the kernel log. What is busy Linux told up to 5.12 only, with the range that was asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.pfns().start.get(), self.pfns().end.get());
        let what = match self {
            Self::Busy { .. } => "PFNs busy",
            Self::Interrupted { .. } => "interrupted",
            Self::NoMemory { .. } => "no memory to migrate to",
            Self::Range { .. } => "not of one zone",
        };
        write!(f, "alloc_contig_range: [{start:x}, {end:x}) {what}")
    }
}

impl core::error::Error for ContigError {}

/// Places that the page allocator gives, outside of what is isolated.
pub(super) struct Elsewhere<'q, 'c, 'z, 'm, 's, 'a, I, H> {
    pub(super) allocator: &'q PageAllocator<'z, 'm, 's, 'a, I, H>,
    pub(super) cx: &'q Context<'c, 'm, 'a>,
    pub(super) nid: NodeId,
    pub(super) gfp: Gfp,
    /// Nodes that are preferred.
    pub(super) nodes: Option<NodeMask>,
}

impl<'a, I: Interrupts, H: Hooks> Places<'a> for Elsewhere<'_, '_, '_, '_, '_, 'a, I, H> {
    fn get(&mut self, order: Order) -> Option<Frames<'a>> {
        let from =
            |nodes| self.allocator.alloc_pages_nodemask(self.cx, self.nid, nodes, self.gfp, order).ok();
        self.nodes.as_ref().and_then(|nodes| from(Some(nodes))).or_else(|| from(None))
    }

    fn put(&mut self, unused: Frames<'a>) {
        self.allocator.free_pages(self.cx, unused);
    }
}

impl<'m, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, 's, 'a, I, H> {
    /// Allocates exactly these frames. Their pageblocks become `migrate`: Movable, or Cma for an area's, which others refuse.
    ///
    /// `gfp` says how hard places for what must be moved are looked for.
    ///
    /// # Errors
    /// [`ContigError`].
    pub fn alloc_contig_range(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        pfns: PfnRange,
        migrate: MigrateType,
        gfp: Gfp,
    ) -> Result<Frames<'a>, ContigError> {
        // Pages on CPUs' lists look like pages in use.
        let zone = self.ground.map.idx(pfns.start).and_then(|idx| self.ground.blocks.zone_of(idx));
        self.drain_all(cx, Some(zone.ok_or(ContigError::Range { pfns })?));
        let isolated = self.start_isolate_page_range(pfns, IsolateFor::Contig(migrate))?;
        let result = self.empty_and_take(cx, mover, &isolated, gfp);
        self.undo_isolate_page_range(isolated, result.is_ok().then_some(migrate));
        result
    }

    /// Finds and allocates `pages` contiguous frames, on the node or those after it (`alloc_contig_pages`). They are aligned to their
    /// number if that is a power of two.
    ///
    /// # Errors
    /// [`ContigError::NoMemory`] if no range of any zone can be had; [`ContigError::Interrupted`].
    pub fn alloc_contig_pages(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        nid: NodeId,
        gfp: Gfp,
        pages: u64,
    ) -> Result<Frames<'a>, ContigError> {
        let none = ContigError::NoMemory { pfns: PfnRange::from_len(Pfn::ZERO, pages) };
        let highest = gfp.zone(self.kinds).map_err(|_| none)?;
        let preferred = self.first_zone(nid, highest, gfp, None);
        // More than there are at all must not even be added to a frame's number.
        if preferred.is_none() || pages == 0 || pages > self.ground.map.len() {
            return Err(none);
        }
        let wanted = Wanted {
            gfp,
            order: Order::ZERO,
            migrate: MigrateType::Movable,
            highest,
            preferred,
            nodes: None,
        };
        for (at, cell) in self.zonelist(cx, nid, &wanted, super::AllocFlags::CPUSET) {
            let (mut from, zone_end) = self.with_zone(cell, |z| z.span());
            while from < zone_end {
                let (zone, run) = self.ground.blocks.stretch(FrameIdx::new(from as u32), zone_end - from);
                let (here, end) = (from, from + run);
                from = end.max(from + 1);
                if zone != Some(at.zone) {
                    continue;
                }
                let first = self.ground.map.pfn(FrameIdx::new(here as u32)).get();
                let aligned = if pages.is_power_of_two() { first.next_multiple_of(pages) } else { first };
                let mut start = here + (aligned - first);
                while start + pages <= end {
                    let pfns = self.pfns_of(start, start + pages);
                    if self.may_be_contig(at.zone, start, start + pages) {
                        match self.alloc_contig_range(cx, mover, pfns, MigrateType::Movable, gfp) {
                            Err(e @ ContigError::Interrupted { .. }) => return Err(e),
                            Err(_) => {}
                            got => return got,
                        }
                    }
                    start += pages;
                }
            }
        }
        Err(none)
    }

    /// Whether a range is worth trying: no reserved frames and no huge pages, which would be moved in vain
    /// (`pfn_range_valid_contig`).
    fn may_be_contig(&self, zone: ZoneId, start: u64, end: u64) -> bool {
        let mut at = start;
        while at < end {
            let idx = FrameIdx::new(at as u32);
            if self.ground.blocks.zone_of(idx) != Some(zone) {
                return false;
            }
            match block_of(&self.ground.map, idx, self.ground.largest) {
                Some((_, word)) if matches!(word.state(), State::Reserved | State::Hugetlb) => return false,
                Some((head, word)) => at = u64::from(head.get()) + word.order().pages(),
                None => at += 1,
            }
        }
        true
    }

    fn empty_and_take(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        isolated: &Isolated,
        gfp: Gfp,
    ) -> Result<Frames<'a>, ContigError> {
        let Isolated { zone, start, end, .. } = *isolated;
        let pfns = self.pfns_of(start, end);
        let cell = self.zones.get(zone.index()).ok_or(ContigError::Range { pfns })?;
        self.drain_all(cx, Some(zone));
        match self.empty_range(cx, mover, isolated, gfp) {
            // Somebody may have freed it meanwhile.
            Ok(()) | Err(ContigError::Busy { .. }) => {}
            Err(e) => return Err(e),
        }
        let taken = self.with_zone(cell, |z| match self.ground.first_busy(z, start, end, |_| None) {
            None => self.ground.take_range(z, start, end).ok_or(start),
            Some(at) => Err(at),
        });
        let taken = taken.map_err(|at| ContigError::Busy { pfns, at: Some(self.pfns_of(at, end).start) })?;
        Ok(self.watch_allocated(taken, gfp))
    }

    /// Moves everything that is movable out of an isolated range (`__alloc_contig_migrate_range`).
    pub(super) fn empty_range(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        isolated: &Isolated,
        gfp: Gfp,
    ) -> Result<(), ContigError> {
        let Isolated { zone, start, end, .. } = *isolated;
        let pfns = self.pfns_of(start, end);
        let cell = self.zones.get(zone.index()).ok_or(ContigError::Range { pfns })?;
        let high = matches!(cell.kind(), ZoneKind::HighMem | ZoneKind::Movable);
        let mut gfp = (gfp & (Gfp::RECLAIM | Gfp::IO | Gfp::FS | Gfp::NOWARN)) | Gfp::MOVABLE | Gfp::HARDWALL;
        gfp |= Gfp::RETRY_MAYFAIL;
        gfp.set(Gfp::HIGHMEM, high);
        // A node that loses memory may lose more: what is in it goes to others if there are any.
        let mut others = self.memory_nodes();
        others.remove(cell.nid());
        let nodes = Some(others).filter(|nodes| isolated.purpose == IsolateFor::Offline && !nodes.is_empty());
        let mut places = Elsewhere { allocator: self, cx, nid: cell.nid(), gfp, nodes };
        let (mut batch, mut at, mut tries) = (Batch::new(), start, 0);
        let result = loop {
            if mover.interrupted() || cx.task.contains(TaskFlags::DYING) {
                break Err(ContigError::Interrupted { pfns });
            }
            if batch.is_empty() {
                if at >= end {
                    break Ok(());
                }
                (at, tries) = (self.isolate_movable(mover, at, end, &mut batch), 0);
                continue;
            }
            if tries == TRIES {
                break Err(ContigError::Busy { pfns, at: None });
            }
            tries += 1;
            if let Err(NoPlace) = self.migrate_pages(cx, mover, &mut batch, MigrateMode::Sync, &mut places) {
                break Err(ContigError::NoMemory { pfns });
            }
        };
        self.putback(cx, mover, &mut batch);
        result
    }

    /// Fills a batch with movable pages from `at` on; returns where to go on.
    fn isolate_movable(&self, mover: &dyn Migrate, at: u64, end: u64, batch: &mut Batch) -> u64 {
        let map = &self.ground.map;
        let mut at = at;
        while at < end && !batch.is_full() {
            let Some((head, word)) = block_of(map, FrameIdx::new(at as u32), self.ground.largest) else {
                at += 1;
                continue;
            };
            if is_movable(word) && mover.isolate(map, head, MigrateMode::Sync) {
                batch.push(head);
            }
            at = at.max(u64::from(head.get()) + word.order().pages()).max(at + 1);
        }
        at
    }
}
