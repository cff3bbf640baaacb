//! What happens to pages on their way out of the lists and back.

use super::{DebugMemory, Debugging, Marks, PAGE_POISON, Record, Switches, Trouble};
use crate::alloc::{AllocFailure, Hooks, PageAllocator, Reasons};
use crate::buddy::{MigrateCounts, MigrateType, ZoneId};
use crate::gfp::Gfp;
use core::fmt;
use core::panic::Location;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use pagewright_addr::{Order, Pfn};
use pagewright_page::{FrameIdx, Frames, PageMap};
use pagewright_platform::{Interrupts, WithoutInterrupts};

fn marks_in(mark: &AtomicU8) -> Marks {
    Marks::from_bits_truncate(mark.load(Relaxed))
}

impl Debugging<'_> {
    /// Whether this allocation is to fail (`should_fail_alloc_page`).
    pub(crate) fn fails(&self, gfp: Gfp, order: Order) -> Option<AllocFailure> {
        let fault = self.fault.filter(|_| self.on(Switches::FAULT))?;
        let failed = || self.failed.fetch_add(1, Relaxed) + 1;
        fault.should_fail(gfp, order).then(|| AllocFailure::Injected { nth: failed() })
    }

    /// Before a block goes to whoever asked for it (`post_alloc_hook`).
    pub(crate) fn allocated(
        &self,
        map: &PageMap<'_>,
        frames: &mut Frames<'_>,
        gfp: Gfp,
        caller: &'static Location<'static>,
    ) {
        if let Some(memory) = self.memory {
            self.runs(frames, Marks::UNMAPPED, |first, len| {
                memory.map(Pfn::new(map.pfn(frames.start()).get() + first), len, true);
            });
            self.check_poison(map, memory, frames);
            if self.on(Switches::INIT_ON_ALLOC) && !self.on(Switches::POISON) && !gfp.contains(Gfp::ZERO) {
                memory.fill(frames, 0);
            }
            self.marks_of(frames).iter().for_each(|mark| mark.store(0, Relaxed));
        }
        self.check_unmapped(frames, map);
        if self.on(Switches::OWNER) {
            let order = frames.order().unwrap_or_default();
            let record = Record::of(self.observer, order, gfp, caller);
            for owner in self.owners_of(frames) {
                let mut owner = owner.lock();
                *owner = Record { free_ts_ns: owner.free_ts_ns, free_stack: owner.free_stack, ..record };
            }
        }
    }

    /// After a block became single pages (`split_page_owner`).
    pub(crate) fn split(&self, frames: &Frames<'_>) {
        if self.on(Switches::OWNER) {
            self.owners_of(frames).iter().for_each(|owner| owner.lock().order = Order::ZERO);
        }
    }

    /// Before a block enters the lists (`free_pages_prepare`).
    pub(crate) fn freed(&self, map: &PageMap<'_>, frames: &mut Frames<'_>) {
        self.check_unmapped(frames, map);
        if self.on(Switches::OWNER) {
            let (now, stack) = (self.observer.now_ns(), self.observer.stack());
            for owner in self.owners_of(frames) {
                let mut owner = owner.lock();
                (owner.allocated, owner.free_ts_ns, owner.free_stack) = (false, now, stack);
            }
        }
        let Some(memory) = self.memory else { return };
        let mut marks = Marks::empty();
        if self.on(Switches::POISON) {
            memory.fill(frames, PAGE_POISON);
            marks |= Marks::POISONED;
        } else if self.on(Switches::INIT_ON_FREE) {
            memory.fill(frames, 0);
        }
        if self.on(Switches::PAGEALLOC) {
            memory.map(map.pfn(frames.start()), frames.len(), false);
            marks |= Marks::UNMAPPED;
        }
        self.marks_of(frames).iter().for_each(|mark| mark.store(marks.bits(), Relaxed));
    }

    /// Runs of frames that have a mark: where each begins among them, and how long it is.
    fn runs(&self, frames: &Frames<'_>, mark: Marks, mut each: impl FnMut(u64, u64)) {
        let mut first = 0;
        for run in self.marks_of(frames).chunk_by(|a, b| marks_in(a) == marks_in(b)) {
            if run.first().is_some_and(|marks| marks_in(marks).contains(mark)) {
                each(first, run.len() as u64);
            }
            first += run.len() as u64;
        }
    }

    /// Looks for writes to what was free. Memory that was free before anybody looked holds no pattern.
    fn check_poison(&self, map: &PageMap<'_>, memory: &dyn DebugMemory, frames: &Frames<'_>) {
        self.runs(frames, Marks::POISONED, |first, len| {
            if let Some(damage) = memory.differs(frames, first, len, PAGE_POISON) {
                let pfn = Pfn::new(map.pfn(frames.start()).get() + first);
                self.observer.found(&Trouble::Poison { pfn, damage });
            }
        });
    }

    fn check_unmapped(&self, frames: &Frames<'_>, map: &PageMap<'_>) {
        let Some(tables) = self.tables.filter(|_| self.on(Switches::TABLE_CHECK)) else { return };
        for n in 0..frames.len() {
            let idx = FrameIdx::new(frames.start().get() + n as u32);
            if let Err(e) = tables.check_unmapped(idx, map.pfn(idx)) {
                self.observer.found(&Trouble::Mapped(e));
            }
        }
    }
}

impl<'z, 'm, 's, 'a, I: Interrupts, H: Hooks> PageAllocator<'z, 'm, 's, 'a, I, H> {
    /// The same with debugging, switched on.
    #[must_use]
    pub fn with_debugging(mut self, debugging: &'z Debugging<'z>) -> Self {
        self.debugging = Some(debugging);
        self.set_debugging(true);
        self
    }

    /// The debugging that it came with.
    pub fn debugging(&self) -> Option<&'z Debugging<'z>> {
        self.debugging
    }

    /// Switches debugging on or off, while nobody allocates or frees. Off, every operation takes the way that it took without
    /// it, and what was known of free pages is forgotten.
    pub fn set_debugging(&self, on: bool) {
        let Some(debugging) = self.debugging else { return };
        if !on {
            debugging.forget(&self.ground.map);
        }
        for cpu in self.cpus {
            if on {
                cpu.shared().post(Reasons::DEBUG);
            } else {
                cpu.shared().take(Reasons::DEBUG);
            }
        }
    }

    /// Looks at frames that left the lists past [`Self::alloc_pages`], block by block.
    #[track_caller]
    pub(crate) fn watch_allocated(&self, frames: Frames<'a>, gfp: Gfp) -> Frames<'a> {
        let posted = |cpu: &crate::alloc::Cpu<'m, 'a>| cpu.shared().reasons().contains(Reasons::DEBUG);
        let Some(debugging) = self.debugging.filter(|_| self.cpus.first().is_some_and(posted)) else {
            return frames;
        };
        let (map, caller) = (&self.ground.map, Location::caller());
        let cut = |frames: Frames<'a>| {
            let order = self.ground.largest_order_at(frames.start(), frames.len());
            let (mut block, rest) = map.split_front(frames, order.pages());
            debugging.allocated(map, &mut block, gfp, caller);
            (block, rest)
        };
        let (mut whole, mut rest) = cut(frames);
        while let Some(frames) = rest {
            let (block, later) = cut(frames);
            (whole, rest) = (map.merge(whole, block), later);
        }
        whole
    }

    /// Forgets what is known of frames that leave the machine, and maps those again that are not.
    pub(crate) fn forget_debugging(&self, frames: &Frames<'a>) {
        if let Some(debugging) = self.debugging {
            let start = frames.start().index();
            debugging.forget_some(&self.ground.map, start..start + frames.len() as usize);
        }
    }

    /// Checks the neighbours of each free block that is linked or unlinked from now on (CONFIG_DEBUG_LIST), or no longer.
    /// A corrupted neighbour is a panic that names both. Single pages are checked when they are freed, too: else they are when they leave
    /// their CPU's list.
    pub fn set_hardened(&self, on: bool) {
        for cpu in self.cpus {
            if on {
                cpu.shared().post(Reasons::HARDENED);
            } else {
                cpu.shared().take(Reasons::HARDENED);
            }
        }
        for cell in self.zones {
            self.with_zone(cell, |zone| zone.set_hardened(on));
        }
    }

    /// What is known of a frame's owner.
    pub fn page_owner(&self, idx: FrameIdx) -> Option<Record> {
        let owner = self.debugging?.owners.get(idx.index())?;
        // A handler that allocates this frame would wait for ever.
        let _quiet = WithoutInterrupts::new(&self.interrupts);
        Some(*owner.lock())
    }

    /// How many pageblocks of a zone have pages that were asked for with another type than theirs ([`ZoneSource::mixed_pageblocks`](crate::figures::ZoneSource::mixed_pageblocks),
    /// `pagetypeinfo_showmixedcount`).
    pub fn mixed_pageblocks(&self, zone: ZoneId) -> Option<MigrateCounts> {
        self.debugging.filter(|debugging| debugging.keeps_owners())?;
        let (ground, mut counts) = (&self.ground, MigrateCounts::default());
        let frames = |start: u64, len: u64| {
            (start..ground.map.len().min(start + len)).map(|at| FrameIdx::new(at as u32))
        };
        let pages = ground.blocks.order().pages();
        for start in (0..ground.map.len()).step_by(pages as usize) {
            let block = ground.blocks.migrate_type(FrameIdx::new(start as u32));
            let is_foreign = |idx: FrameIdx| {
                let here = ground.blocks.zone_of(idx) == Some(zone);
                let record = here.then(|| self.page_owner(idx)).flatten().filter(|record| record.allocated);
                record.is_some_and(|record| record.gfp.migrate_type(ground.mobility_grouping) != Ok(block))
            };
            if frames(start, pages).any(is_foreign) {
                let told = if block == MigrateType::Cma { MigrateType::Movable } else { block };
                counts[told.index()] += 1;
            }
        }
        Some(counts)
    }

    /// Writes what /sys/kernel/debug/page_owner shows: a block of lines for each allocation.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_page_owners(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Some(debugging) = self.debugging else { return Ok(()) };
        for at in 0..debugging.owners.len().min(self.ground.map.len() as usize) {
            let idx = FrameIdx::new(at as u32);
            let Some(record) = self.page_owner(idx).filter(|record| record.allocated) else { continue };
            let pfn = self.ground.map.pfn(idx);
            // Of a block only the first frame is shown.
            if pfn.get() & (record.order.pages() - 1) == 0 {
                record.write(&self.ground, idx, debugging.observer, out)?;
            }
        }
        Ok(())
    }
}
