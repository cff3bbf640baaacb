//! Memory goes: `offline_pages`, `remove_memory`.

use super::notify::{HotplugLine, MemoryEvent, MemoryNotify};
use super::{
    BlockState, Hooks, HotplugError, MemoryBlocks, OfflineFailure, OnlineType, PageAllocator, Plug, Settle,
    ZoneCell,
};
use crate::ZoneKind;
use crate::alloc::{Context, ContigError, IsolateFor, Isolated, Migrate};
use crate::gfp::Gfp;
use pagewright_addr::PfnRange;
use pagewright_page::{FrameIdx, Frames};
use pagewright_platform::Interrupts;

/// How many rounds that change nothing are enough.
const PATIENCE: u32 = 5;

impl<'m, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, 's, 'a, I, H> {
    /// Takes a memory block from its zone: isolates it, moves what is in use elsewhere, other nodes first, and keeps the frames in the table. One
    /// that is offline already stays so.
    ///
    /// Linux goes on until everything has moved or a signal comes; here rounds in which nothing changes come to an end, since nothing may
    /// wait in here. The caller tries again.
    ///
    /// # Errors
    /// [`HotplugError::NoBlock`], and [`HotplugError::Offline`] with the reason. Everything is as it was then, but for pages that moved.
    pub fn offline_pages(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        blocks: &mut MemoryBlocks<'_, 'a>,
        number: u64,
        plug: &mut Plug<'_, '_>,
    ) -> Result<(), HotplugError> {
        if blocks.present(number)?.state() == BlockState::Offline {
            return Ok(());
        }
        let (pfns, shift) = (blocks.pfns(number), blocks.shift);
        match self.offline_range(cx, mover, pfns, plug) {
            Ok(frames) => {
                let memory = self.ground.map.erase(frames);
                let block = blocks.present(number)?;
                (block.online, block.zone, block.memory) = (false, None, Some(memory));
                Ok(())
            }
            Err(why) => {
                let e = HotplugError::Offline { pfns, why, shift };
                plug.notifier.say(&HotplugLine::Failed(e));
                Err(e)
            }
        }
    }

    fn offline_range(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        pfns: PfnRange,
        plug: &mut Plug<'_, '_>,
    ) -> Result<Frames<'a>, OfflineFailure> {
        let cell = self.whole_zone(pfns)?;
        let nid = cell.nid();
        let others = self.zones.iter().filter(|z| z.nid() == nid).map(ZoneCell::present_pages).sum::<u64>();
        let last = (others == pfns.len()).then_some(nid);
        let what = MemoryNotify { pfns, status_change_nid: last };
        self.drain_all(cx, Some(cell.id()));
        let isolated =
            self.start_isolate_page_range(pfns, IsolateFor::Offline).map_err(|_| OfflineFailure::Isolate)?;
        let agreed = plug.notifier.notify(MemoryEvent::GoingOffline, &what).map_err(OfflineFailure::Notifier);
        let taken = agreed.and_then(|()| self.empty_and_withdraw(cx, mover, cell, &isolated));
        let frames = match taken {
            Ok(frames) => frames,
            Err(why) => {
                self.undo_isolate_page_range(isolated, None);
                let _ = plug.notifier.notify(MemoryEvent::CancelOffline, &what);
                return Err(why);
            }
        };
        self.forget_debugging(&frames);
        plug.notifier.say(&HotplugLine::Offlined(frames.len()));
        self.recount(cell);
        self.settle(plug, Settle::Offline, !cell.is_populated());
        let _ = plug.notifier.notify(MemoryEvent::Offline, &what);
        Ok(frames)
    }

    /// The zone that has all of these frames.
    fn whole_zone(&self, pfns: PfnRange) -> Result<&ZoneCell<'s, 'a>, OfflineFailure> {
        let map = &self.ground.map;
        let start = map.idx(pfns.start).ok_or(OfflineFailure::Holes)?;
        if map.sections().run(pfns.start, pfns.len()) < pfns.len() {
            return Err(OfflineFailure::Holes);
        }
        let (zone, run) = self.ground.blocks.stretch(start, pfns.len());
        let cell = zone.and_then(|zone| self.zones.get(zone.index())).ok_or(OfflineFailure::Holes)?;
        if run == pfns.len() {
            return Ok(cell);
        }
        let next = FrameIdx::new(start.get() + run as u32);
        let other = self.ground.blocks.zone_of(next);
        Err(if other.is_some() { OfflineFailure::MultiZone } else { OfflineFailure::Holes })
    }

    /// Empties an isolated range, and takes its frames from the zone.
    fn empty_and_withdraw(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        cell: &ZoneCell<'s, 'a>,
        isolated: &Isolated,
    ) -> Result<Frames<'a>, OfflineFailure> {
        let (start, end) = (isolated.start, isolated.end);
        let (mut stuck, mut fruitless) = (None, 0);
        loop {
            let moved = match self.empty_range(cx, mover, isolated, Gfp::GFP_USER | Gfp::NOWARN) {
                Err(ContigError::Interrupted { .. }) => return Err(OfflineFailure::Signal),
                other => other,
            };
            self.drain_all(cx, Some(cell.id()));
            let taken = self.with_zone(cell, |z| {
                if let Some(at) = self.ground.first_busy(z, start, end, |_| None) {
                    return Err(at);
                }
                let frames = self.ground.take_range(z, start, end).ok_or(start)?;
                self.ground.blocks.assign(start, end, None);
                let (from, to) = z.span();
                let (first, last, _) = self.ground.blocks.extent_of(cell.id(), from, to);
                z.narrow((first, last), end - start);
                Ok(frames)
            });
            let at = match taken {
                Ok(frames) => return Ok(frames),
                Err(at) => at,
            };
            fruitless = if stuck == Some(at) { fruitless + 1 } else { 0 };
            stuck = Some(at);
            if fruitless == PATIENCE {
                let pfns = self.pfns_of(start, end);
                let busy = ContigError::Busy { pfns, at: Some(self.pfns_of(at, end).start) };
                return Err(OfflineFailure::Unmovable(moved.err().unwrap_or(busy)));
            }
        }
    }

    /// Counts the memory that a zone has left.
    fn recount(&self, cell: &ZoneCell<'s, 'a>) {
        let (from, to) = self.with_zone(cell, |z| z.span());
        let (mut start, mut end, mut count, mut at) = (u64::MAX, 0, 0, from);
        while at < to {
            let (zone, run) = self.ground.blocks.stretch(FrameIdx::new(at as u32), to - at);
            let pfn = self.ground.map.pfn(FrameIdx::new(at as u32));
            let run = self.ground.map.sections().run(pfn, run).max(1);
            if zone == Some(cell.id()) {
                (start, end, count) = (start.min(pfn.get()), end.max(pfn.get() + run), count + run);
            }
            at += run;
        }
        cell.set_present((start, end), count);
    }

    /// Takes offline blocks away. Their metadata keeps its place.
    ///
    /// # Errors
    /// [`HotplugError::Online`] for a block that is online, [`HotplugError::NoBlock`], [`HotplugError::Unaligned`]. Nothing has changed then.
    pub fn remove_memory(
        &self,
        blocks: &mut MemoryBlocks<'_, 'a>,
        pfns: PfnRange,
        plug: &Plug<'_, '_>,
    ) -> Result<(), HotplugError> {
        let numbers = blocks.numbers(pfns).inspect_err(|&e| plug.notifier.say(&HotplugLine::Failed(e)))?;
        let shift = blocks.shift;
        for number in numbers.clone() {
            if blocks.present(number)?.online {
                let e = HotplugError::Online { pfns: blocks.pfns(number), shift };
                plug.notifier.say(&HotplugLine::Failed(e));
                return Err(e);
            }
        }
        for number in numbers {
            blocks.present(number)?.present = false;
        }
        Ok(())
    }

    /// Takes blocks offline and away, or leaves all of them online (`offline_and_remove_memory`).
    ///
    /// # Errors
    /// That of the block that would not go.
    pub fn offline_and_remove_memory(
        &self,
        cx: &Context<'_, 'm, 'a>,
        mover: &dyn Migrate,
        blocks: &mut MemoryBlocks<'_, 'a>,
        pfns: PfnRange,
        plug: &mut Plug<'_, '_>,
    ) -> Result<(), HotplugError> {
        let numbers = blocks.numbers(pfns)?;
        for number in numbers.clone() {
            blocks.present(number)?;
        }
        // A bit would do, but there may be any number of blocks: what went offline here remembers its zone.
        for number in numbers.clone() {
            let zone = blocks.present(number)?.zone;
            let was_online = blocks.present(number)?.online;
            match self.offline_pages(cx, mover, blocks, number, plug) {
                Ok(()) if was_online => blocks.present(number)?.zone = zone,
                Ok(()) => {}
                Err(e) => {
                    for done in numbers.start..number {
                        let zone = blocks.present(done)?.zone.take();
                        let kind = zone.and_then(|zone| self.zones.get(zone.index())).map(ZoneCell::kind);
                        let how = match kind {
                            Some(ZoneKind::Movable) => OnlineType::Movable,
                            Some(_) => OnlineType::Kernel,
                            None => continue,
                        };
                        let _ = self.online_pages(blocks, done, how, plug);
                    }
                    return Err(e);
                }
            }
        }
        for number in numbers {
            blocks.present(number)?.zone = None;
        }
        self.remove_memory(blocks, pfns, plug)
    }
}
