//! Telling a hypervisor which memory nobody uses, so that it can use it (free page reporting, `page_reporting_process`).
//!
//! Free blocks that are large enough and were not reported yet are taken out of the lists, up to [`CAPACITY`] at a time, handed to a
//! [`Reporter`] while nobody can allocate them, and put back, marked. The mark goes with the next use of the block, or when it grows: then the
//! larger block is reported. Memory that nobody ever touched is not reported: there is nothing behind it yet. Whoever poisons free pages
//! must not report them, unless what comes back holds the pattern.
//!
//! When to do it is the embedder's: Linux waits two seconds ([`DELAY_MS`]) after a block that is large enough was freed.
//! [`PageAllocator::unreported_pages`] says whether it is worth it.

use super::{AllocFlags, Hooks, PageAllocator, ZoneCell};
use crate::ZoneKind;
use crate::buddy::{BuddyZone, MigrateType};
use arrayvec::ArrayVec;
use pagewright_addr::{Order, PfnRange};
use pagewright_page::Frames;
use pagewright_platform::Interrupts;

/// Blocks in one report (PAGE_REPORTING_CAPACITY).
pub const CAPACITY: usize = 32;
/// Milliseconds between a free and the report that it leads to (PAGE_REPORTING_DELAY).
pub const DELAY_MS: u64 = 2000;
/// Of each list a sixteenth at a time is reported, so that a burst of frees does not keep the reporter busy.
const PARTS: u64 = 16;

/// Who provides the memory: a balloon device, a hypervisor's interface.
pub trait Reporter {
    /// Nobody uses these blocks; their contents are no longer needed. They are nobody's until this returns.
    ///
    /// # Errors
    /// Linux's number, negative: none of them is marked as reported then.
    fn report(&self, blocks: &[PfnRange]) -> Result<(), i32>;
}

/// What a pass did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reported {
    /// Blocks that were reported.
    pub blocks: u64,
    /// Their pages.
    pub pages: u64,
    /// There is more: another pass is due after the delay.
    pub again: bool,
}

/// One report in the making.
struct Batch<'a> {
    frames: ArrayVec<(Frames<'a>, Order), CAPACITY>,
    done: Reported,
}

impl<'s, 'a, I: Interrupts, H: Hooks> PageAllocator<'_, '_, 's, 'a, I, H> {
    /// Reports free blocks of at least `least` (`page_reporting_order`, the pageblock order at first) in all zones, a part of each list.
    /// Zones that are short of memory are left alone: what is being reported cannot be allocated.
    ///
    /// # Errors
    /// The reporter's number. What was taken for that report is free again and not marked; what was reported before is.
    pub fn report_free_pages(&self, reporter: &dyn Reporter, least: Order) -> Result<Reported, i32> {
        let mut done = Reported::default();
        for cell in self.zones.iter().filter(|cell| cell.is_populated()) {
            let one = self.report_zone(reporter, cell, least)?;
            done.blocks += one.blocks;
            done.pages += one.pages;
            done.again |= one.again;
        }
        Ok(done)
    }

    /// Pages in free blocks of at least `least` that were not reported, untouched memory apart; `least` is what is reported with.
    pub fn unreported_pages(&self, least: Order) -> u64 {
        let of = |cell: &ZoneCell<'s, 'a>| {
            self.with_zone(cell, |z| {
                let orders = (least.get()..=self.ground.largest.get()).filter_map(Order::new);
                let blocks = |order| reported_types().map(move |migrate| (order, migrate));
                let lists = orders.flat_map(blocks);
                let free: u64 = lists.map(|(order, m)| z.listed_blocks(order, m) << order.get()).sum();
                free.saturating_sub(z.reported_pages())
            })
        };
        self.zones.iter().map(of).sum()
    }

    fn report_zone(
        &self,
        reporter: &dyn Reporter,
        cell: &ZoneCell<'s, 'a>,
        least: Order,
    ) -> Result<Reported, i32> {
        let mark = cell.mark(AllocFlags::WMARK_LOW) + ((CAPACITY as u64) << least.get());
        let mut batch = Batch { frames: ArrayVec::new(), done: Reported::default() };
        if !cell.watermark_ok(Order::ZERO, mark, ZoneKind::Dma, AllocFlags::CMA) {
            return Ok(batch.done);
        }
        for order in (least.get()..=self.ground.largest.get()).filter_map(Order::new) {
            for migrate in reported_types() {
                let listed = self.with_zone(cell, |z| z.listed_blocks(order, migrate));
                let mut left = listed.div_ceil(PARTS * CAPACITY as u64) * CAPACITY as u64;
                loop {
                    let short = self.with_zone(cell, |z| {
                        while left > 0 && !batch.frames.is_full() {
                            let Some(frames) = self.ground.take_unreported(z, order, migrate) else { break };
                            batch.frames.push((frames, order));
                            left -= 1;
                        }
                        !batch.frames.is_full()
                    });
                    if short {
                        break;
                    }
                    self.hand_over(reporter, cell, &mut batch)?;
                }
                let more =
                    |z: &mut BuddyZone<'s, 'a>| self.ground.first_unreported(z, order, migrate).is_some();
                batch.done.again |= left == 0 && listed > 0 && self.with_zone(cell, more);
            }
        }
        self.hand_over(reporter, cell, &mut batch)?;
        Ok(batch.done)
    }

    /// Reports what was taken, and puts it back.
    fn hand_over(
        &self,
        reporter: &dyn Reporter,
        cell: &ZoneCell<'s, 'a>,
        batch: &mut Batch<'a>,
    ) -> Result<(), i32> {
        if batch.frames.is_empty() {
            return Ok(());
        }
        let pfns = |(frames, _): &(Frames<'a>, Order)| {
            PfnRange::from_len(self.ground.map.pfn(frames.start()), frames.len())
        };
        let blocks: ArrayVec<_, CAPACITY> = batch.frames.iter().map(pfns).collect();
        let result = reporter.report(&blocks);
        self.with_zone(cell, |z| {
            for (frames, order) in batch.frames.drain(..) {
                self.ground.put_reported(z, frames, order, result.is_ok());
            }
        });
        result?;
        batch.done.blocks += blocks.len() as u64;
        batch.done.pages += blocks.iter().map(PfnRange::len).sum::<u64>();
        Ok(())
    }
}

/// Types whose lists are reported: isolated blocks are somebody else's.
fn reported_types() -> impl Iterator<Item = MigrateType> {
    MigrateType::ALL.into_iter().filter(|&migrate| migrate != MigrateType::Isolate)
}
