//! Freeing under a zone's lock: what lists have too much of, and what no list takes.

use super::pcp::Admitted;
use super::{Attention, Context, Hooks, PageAllocator, Reasons, ZoneCell};
use crate::buddy::{BuddyZone, Ground, MigrateType};
use pagewright_addr::Order;
use pagewright_page::{FrameIdx, Frames};
use pagewright_platform::{Interrupts, WithoutInterrupts};

impl<'m, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, 'm, 's, 'a, I, H> {
    /// Does something under a zone's lock, once all that was freed is in its lists, and tells everyone what it changed.
    pub(crate) fn with_zone<R>(
        &self,
        cell: &ZoneCell<'s, 'a>,
        f: impl FnOnce(&mut BuddyZone<'s, 'a>) -> R,
    ) -> R {
        self.settle_waiting(cell);
        self.with_unsettled(cell, |zone| {
            // What came in the meantime.
            self.ground.settle(zone);
            f(zone)
        })
    }

    /// Sees to it that what is known of a zone's blocks without its lock holds for all that was freed before.
    pub(super) fn settle_waiting(&self, cell: &ZoneCell<'s, 'a>) {
        self.settle_until(cell, &|| false);
    }

    /// The same for whoever wants something that he may find before all is merged: where much waits, no more is merged than he needs.
    pub(super) fn settle_until(&self, cell: &ZoneCell<'s, 'a>, found: &dyn Fn() -> bool) {
        if cell.occupied.has_waiting() {
            self.settle_in_parts(cell, found);
        }
    }

    /// The same for a block of a type's own.
    pub(super) fn settle_for(&self, cell: &ZoneCell<'s, 'a>, order: Order, migrate: MigrateType) {
        self.settle_until(cell, &|| cell.occupied.of(migrate) >> order.get() != 0);
    }

    /// Merges what waits in a zone: a part at a time, between which others have its lock and interrupts come.
    #[cold]
    #[inline(never)]
    fn settle_in_parts(&self, cell: &ZoneCell<'s, 'a>, found: &dyn Fn() -> bool) {
        let mut parts = None;
        loop {
            let quiet = WithoutInterrupts::new(&self.interrupts);
            let left = cell.settle_part(&self.ground, &mut parts);
            drop(quiet);
            if left == 0 || (left > Ground::MUCH && found()) {
                return;
            }
        }
    }

    /// The same where pages may still wait: frees whatever the lists have, or settles as far as needed.
    pub(super) fn with_unsettled<R>(
        &self,
        cell: &ZoneCell<'s, 'a>,
        f: impl FnOnce(&mut BuddyZone<'s, 'a>) -> R,
    ) -> R {
        let quiet = WithoutInterrupts::new(&self.interrupts);
        let mut zone = cell.lists.lock();
        let result = f(&mut zone);
        cell.publish(&mut zone, self.ground.largest);
        drop(zone);
        if cell.pressure_changed() {
            self.weigh(cell);
        }
        drop(quiet);
        result
    }

    /// Counts a zone among those below their low watermark, or no longer, and tells the CPUs when the first one
    /// comes or the last one goes. With interrupts off, and without the zone's lock: it is taken here, so that whoever changes the zone
    /// later finds what was noted now, and whoever changed it before was seen.
    #[cold]
    pub(super) fn weigh(&self, cell: &ZoneCell<'s, 'a>) {
        use core::sync::atomic::Ordering::Relaxed;
        let zone = cell.lists.lock();
        let mut pressed = self.pressed.lock();
        let is = cell.is_pressed();
        if cell.pressed.swap(is, Relaxed) == is {
            return;
        }
        drop(zone);
        let before = *pressed;
        *pressed = if is { before + 1 } else { before - 1 };
        let tell: Option<fn(&Attention)> = match (before, *pressed) {
            (0, 1) => Some(|word| word.post(Reasons::PRESSURE)),
            (1, 0) => Some(|word| _ = word.take(Reasons::PRESSURE)),
            _ => None,
        };
        if let Some(tell) = tell {
            self.cpus.iter().for_each(|cpu| tell(cpu.shared()));
        }
    }

    /// The way of frames that no list took, or that came while there is a request.
    #[cold]
    #[inline(never)]
    pub(super) fn free_slow(&self, cx: &Context<'_, 'm, 'a>, mut frames: Frames<'a>) {
        self.ground.map.prepare_free(&mut frames);
        if cx.cpu.shared().for_freeing() != 0 {
            match self.look_at_freed(cx, frames) {
                Some(unseen) => frames = unseen,
                None => return,
            }
        }
        // An interrupt handler finds the lists in use where what it interrupted uses them.
        if frames.fit_in(self.listed)
            && let Some(mut own) = cx.cpu.enter()
            && own.has_list(&frames)
        {
            match own.admit(frames) {
                Admitted::Yes => return,
                Admitted::TooMany { zone, pages, shelf } => {
                    let Some(cell) = self.zones.get(zone) else { return };
                    return self.drain_pages(&mut own, cell, (pages, shelf));
                }
                Admitted::No(refused) => frames = refused,
            }
        }
        self.free_to_zones(frames);
    }

    /// Shows frames that are freed to who watches, and does what this CPU was asked for. `None` if that has freed them.
    #[cold]
    #[inline(never)]
    fn look_at_freed(&self, cx: &Context<'_, 'm, 'a>, mut frames: Frames<'a>) -> Option<Frames<'a>> {
        if let Some(debugging) = self.debugging_now(cx) {
            if frames.order().is_none_or(|order| order > self.ground.largest) {
                self.free_block_by_block(cx, frames);
                return None;
            }
            debugging.freed(&self.ground.map, &mut frames);
        }
        if let Some(events) = self.events_now(cx) {
            let Some(order) = frames.order().filter(|&order| order <= self.ground.largest) else {
                self.free_block_by_block(cx, frames);
                return None;
            };
            events.event(&super::PageEvent::Free { pfn: self.ground.map.pfn(frames.start()), order });
        }
        self.uncharge(cx, &frames);
        self.answer(cx);
        Some(frames)
    }

    /// Gives frames back as the blocks that they are made of, for whoever looks at memory in blocks.
    fn free_block_by_block(&self, cx: &Context<'_, 'm, 'a>, frames: Frames<'a>) {
        let mut rest = Some(frames);
        while let Some(frames) = rest {
            let order = self.ground.largest_order_at(frames.start(), frames.len());
            let (block, later) = self.ground.map.split_front(frames, order.pages());
            rest = later;
            self.free_slow(cx, block);
        }
    }

    /// Gives frames to the free lists of the zones they are in.
    #[inline]
    pub(super) fn free_to_zones(&self, frames: Frames<'a>) {
        let quiet = WithoutInterrupts::new(&self.interrupts);
        match ZoneCell::put(&self.ground, self.zones, frames) {
            Ok(cell) => {
                if cell.pressure_changed() {
                    self.weigh(cell);
                }
            }
            Err(frames) => {
                drop(quiet);
                self.free_in_parts(frames);
            }
        }
    }

    /// Gives frames that are more or less than one block to the zones they are in.
    #[cold]
    #[inline(never)]
    fn free_in_parts(&self, frames: Frames<'a>) {
        let mut rest = Some(frames);
        while let Some(frames) = rest {
            let start = frames.start();
            let (zone, run) = self.ground.blocks.stretch(start, frames.len());
            let (part, later) = self.ground.map.split_front(frames, run.max(1));
            rest = later;
            // Frames in no zone cannot come from an allocation: they are nobody's from here on.
            let Some(cell) = zone.and_then(|zone| self.zones.get(zone.index())) else { continue };
            self.with_unsettled(cell, |zone| self.ground.free_run(zone, part));
        }
    }
}

impl Ground<'_> {
    /// The largest aligned block that begins at `start` and has at most `len` frames.
    pub(crate) fn largest_order_at(&self, start: FrameIdx, len: u64) -> Order {
        let order =
            (len.max(1).ilog2() as u8).min(start.get().trailing_zeros() as u8).min(self.largest.get());
        Order::new(order).unwrap_or_default()
    }
}
