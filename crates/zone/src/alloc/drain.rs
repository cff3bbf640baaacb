//! What CPUs keep goes back to the zones: this CPU's lists, everybody's, one zone's (`drain_local_pages`, `drain_all_pages`), and less stays
//! in them while kswapd works.
//!
//! A CPU's lists are its own, so others only ask. For each zone it is counted how often ([`Asked`]); a CPU that finds [`Reasons::DRAIN`] in
//! its word compares that with what it has answered, and empties the lists of those zones. While it does, its word says
//! [`Reasons::DRAINING`], so whoever waits for it ([`Hooks::wait_for_drain`]) sees one of the two until all is done.

use super::pcp::CpuPages;
use super::{Context, Hooks, PageAllocator, Reasons, ZoneCell};
use crate::buddy::ZoneId;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32, fence};
use pagewright_platform::Interrupts;

/// What all CPUs are asked about one zone's lists.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// How often they were asked to empty them, modulo 2^32.
    drains: AtomicU32,
    /// Whether kswapd is at work in the zone (ZONE_RECLAIM_ACTIVE).
    reclaim: AtomicBool,
}

impl Asked {
    pub(super) fn reclaim_is_active(&self) -> bool {
        self.reclaim.load(Relaxed)
    }
}

impl<'m, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, 's, 'a, I, H> {
    /// Gives everything in this CPU's lists back to the zones (`drain_local_pages`).
    pub fn drain_local_pages(&self, cx: &Context<'_, 'm, 'a>) {
        if let Some(mut own) = cx.cpu.enter() {
            self.drain_cpu(&mut own);
        }
        self.answer(cx);
    }

    /// The same for the lists of one zone.
    pub fn drain_local_zone(&self, cx: &Context<'_, 'm, 'a>, zone: ZoneId) {
        if let (Some(mut own), Some(cell)) = (cx.cpu.enter(), self.zones.get(zone.index())) {
            self.drain_cpu_zone(&mut own, cell);
        }
        self.answer(cx);
    }

    /// Gives everything in a CPU's lists back, for whoever has them: an offline CPU's for instance.
    pub fn drain_cpu(&self, own: &mut CpuPages<'m, 'a>) {
        self.zones.iter().for_each(|cell| self.drain_cpu_zone(own, cell));
    }

    fn drain_cpu_zone(&self, own: &mut CpuPages<'m, 'a>, cell: &ZoneCell<'s, 'a>) {
        if own.count(cell.id()) > 0 {
            self.drain_pages(own, cell, (u32::MAX, 0));
        }
    }

    /// Gives back so many pages of a CPU's lists of a zone, beginning with a shelf: a part at a time, between which others have the zone's lock and
    /// interrupts come.
    pub(super) fn drain_pages(
        &self,
        own: &mut CpuPages<'m, 'a>,
        cell: &ZoneCell<'s, 'a>,
        (pages, shelf): (u32, usize),
    ) {
        let mut left = pages;
        while left > 0 {
            left = self.with_unsettled(cell, |zone| own.drain(&self.ground, zone, left, shelf));
        }
    }

    /// Asks all CPUs to give their lists back (`drain_all_pages`); each does so with its next allocation or free.
    pub fn post_drain(&self) {
        self.ask(self.zones);
    }

    /// The same for the lists of one zone: those of others keep what they have.
    pub fn post_drain_zone(&self, zone: ZoneId) {
        self.ask(self.zones.get(zone.index()..=zone.index()).unwrap_or(&[]));
    }

    fn ask(&self, zones: &[ZoneCell<'s, 'a>]) {
        for cell in zones {
            cell.asked.drains.fetch_add(1, Relaxed);
        }
        // Who takes the reason out of its word sees what was counted.
        fence(Release);
        self.cpus.iter().for_each(|cpu| cpu.shared().post(Reasons::DRAIN));
    }

    /// Empties every CPU's lists, or those of one zone: this CPU's at once; for the others it waits as long as the hooks do.
    pub(super) fn drain_all(&self, cx: &Context<'_, 'm, 'a>, only: Option<ZoneId>) {
        match only {
            Some(zone) => self.post_drain_zone(zone),
            None => self.post_drain(),
        }
        self.answer(cx);
        let at_it = Reasons::DRAIN | Reasons::DRAINING;
        let pending =
            |cpu: usize| self.cpus.get(cpu).is_some_and(|cpu| cpu.shared().reasons().intersects(at_it));
        self.hooks.wait_for_drain(&pending);
        fence(Acquire);
    }

    /// Empties those of this CPU's lists that others asked for.
    pub(super) fn answer_drain(&self, cx: &Context<'_, 'm, 'a>, own: &mut CpuPages<'m, 'a>) {
        let word = cx.cpu.shared();
        word.post(Reasons::DRAINING);
        if word.take(Reasons::DRAIN) {
            fence(Acquire);
            for cell in self.zones {
                if own.note_drain(cell.id(), cell.asked.drains.load(Relaxed)) {
                    self.drain_cpu_zone(own, cell);
                }
            }
        }
        fence(Release);
        word.take(Reasons::DRAINING);
    }

    /// Says that kswapd works in a zone, or no longer (ZONE_RECLAIM_ACTIVE): as long as it does no CPU keeps more than four batches of the zone's pages,
    /// so that what is freed can be found by all. For whoever is kswapd to say, at the beginning and the end of its work on a node.
    pub fn set_reclaim_active(&self, zone: ZoneId, active: bool) {
        let Some(cell) = self.zones.get(zone.index()) else { return };
        if cell.asked.reclaim.swap(active, Relaxed) != active {
            fence(Release);
            self.cpus.iter().for_each(|cpu| cpu.shared().post(Reasons::ZONES));
        }
    }
}
