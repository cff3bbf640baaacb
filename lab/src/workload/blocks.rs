//! What the workload holds: blocks by number, which compaction may move.
//!
//! A block is deposited in the page map, as movable memory or as the kernel's own, and found by its first frame. Only whoever frees a block
//! takes it out of the table, so a block that is freed twice, or moved to where another is, is found out by the page map.

use super::watch::Reports;
use pagewright_addr::{NodeId, Order};
use pagewright_page::{FrameIdx, Frames, OwnerHandle, PageMap, Use};
use pagewright_zone::ZoneKind;
use pagewright_zone::alloc::compact::Kcompactd;
use pagewright_zone::alloc::report::Failure;
use pagewright_zone::alloc::{Hooks, Migrate, MigrateMode, Migrated, NotZeroed, Step};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A block's number.
pub(super) type Number = u32;

#[derive(Clone, Copy)]
struct Block {
    at: FrameIdx,
    pages: u64,
    movable: bool,
    pinned: bool,
    isolated: bool,
    /// It was to be freed while it was isolated.
    gone: bool,
}

impl Block {
    const fn usage(&self) -> Use {
        if self.movable { Use::Movable } else { Use::Kernel }
    }
}

#[derive(Default)]
struct Table {
    blocks: Vec<Option<Block>>,
    unused: Vec<Number>,
    by_frame: HashMap<FrameIdx, Number>,
    pages: u64,
}

/// The blocks of one machine.
pub(super) struct Blocks<'a> {
    map: PageMap<'a>,
    owner: OwnerHandle,
    table: Mutex<Table>,
    /// Each node's kcompactd, and what its kswapd was woken for.
    nodes: Vec<(Kcompactd, Mutex<Option<Wake>>)>,
    reports: Reports,
    boosts: AtomicU64,
}

/// What a kswapd was woken for: the largest order, and the highest zone that anybody who asked may use.
pub(super) type Wake = (Order, ZoneKind);

impl<'a> Blocks<'a> {
    /// None yet, on a machine with these nodes; failures go to `reports`.
    pub(super) fn new(map: PageMap<'a>, nodes: impl Iterator<Item = NodeId>, reports: Reports) -> Self {
        let nodes: BTreeSet<_> = nodes.collect();
        let nodes = nodes.into_iter().map(|nid| (Kcompactd::new(nid), Mutex::new(None))).collect();
        let boosts = AtomicU64::new(0);
        Self { map, owner: OwnerHandle::NONE, table: Mutex::default(), nodes, reports, boosts }
    }

    /// The kernel's reports of failures.
    pub(super) const fn reports(&self) -> &Reports {
        &self.reports
    }

    /// How often watermarks were raised since types were mixed within a pageblock.
    pub(super) fn boosts(&self) -> u64 {
        self.boosts.load(Relaxed)
    }

    /// The nodes' kcompactds, each with what its kswapd was woken for since the last call.
    pub(super) fn woken(&self) -> impl Iterator<Item = (&Kcompactd, Option<Wake>)> {
        self.nodes
            .iter()
            .map(|(thread, wake)| (thread, wake.lock().unwrap_or_else(PoisonError::into_inner).take()))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pages that are held.
    pub(super) fn pages(&self) -> u64 {
        self.table().pages
    }

    /// Keeps a block; its number.
    pub(super) fn keep(&self, frames: Frames<'a>, movable: bool, pinned: bool) -> Number {
        let mut table = self.table();
        let pages = frames.len();
        let mut block = Block { at: frames.start(), pages, movable, pinned, isolated: false, gone: false };
        block.at = self.map.deposit(frames, block.usage(), self.owner);
        let number = match table.unused.pop() {
            Some(number) => number,
            None => {
                table.blocks.push(None);
                (table.blocks.len() - 1) as Number
            }
        };
        table.blocks[number as usize] = Some(block);
        table.by_frame.insert(block.at, number);
        table.pages += pages;
        number
    }

    /// Gives a block up. Its frames, unless compaction has it just now: then that frees them.
    pub(super) fn give_up(&self, number: Number) -> Option<Frames<'a>> {
        let mut table = self.table();
        let block = table.blocks.get_mut(number as usize)?.as_mut()?;
        if block.isolated {
            block.gone = true;
            return None;
        }
        let block = *block;
        table.forget(number, &block);
        Some(self.map.withdraw(block.at, block.usage(), self.owner))
    }

    /// The numbers of all blocks.
    pub(super) fn numbers(&self) -> Vec<Number> {
        let table = self.table();
        (0..).zip(&table.blocks).filter(|(_, block)| block.is_some()).map(|(number, _)| number).collect()
    }
}

impl Table {
    fn forget(&mut self, number: Number, block: &Block) {
        self.by_frame.remove(&block.at);
        self.pages -= block.pages;
        self.blocks[number as usize] = None;
        self.unused.push(number);
    }

    fn at(&self, page: FrameIdx) -> Option<(Number, Block)> {
        let number = *self.by_frame.get(&page)?;
        Some((number, self.blocks[number as usize]?))
    }

    fn set(&mut self, number: Number, block: Block) {
        self.blocks[number as usize] = Some(block);
    }
}

impl Migrate for Blocks<'_> {
    fn isolate(&self, _: &PageMap<'_>, page: FrameIdx, _: MigrateMode) -> bool {
        let mut table = self.table();
        let Some((number, block)) = table.at(page).filter(|(_, b)| b.movable && !b.pinned && !b.isolated)
        else {
            return false;
        };
        table.set(number, Block { isolated: true, ..block });
        true
    }

    fn migrate<'b>(&self, map: &PageMap<'b>, page: FrameIdx, to: Frames<'b>, _: MigrateMode) -> Migrated<'b> {
        let mut table = self.table();
        let Some((number, block)) = table.at(page) else { return Migrated::Busy(to) };
        let old = map.withdraw(page, block.usage(), self.owner);
        if block.gone {
            table.forget(number, &block);
            return Migrated::Gone { old, unused: to };
        }
        let at = map.deposit(to, block.usage(), self.owner);
        table.by_frame.remove(&page);
        table.by_frame.insert(at, number);
        table.set(number, Block { at, isolated: false, ..block });
        Migrated::Moved(old)
    }

    fn putback<'b>(&self, map: &PageMap<'b>, page: FrameIdx) -> Option<Frames<'b>> {
        let mut table = self.table();
        let (number, block) = table.at(page)?;
        if block.gone {
            table.forget(number, &block);
            return Some(map.withdraw(page, block.usage(), self.owner));
        }
        table.set(number, Block { isolated: false, ..block });
        None
    }
}

impl Hooks for Blocks<'_> {
    /// The machine's frames have no contents: there is nothing to zero, and nobody to read it.
    fn zero(&self, _: &Frames<'_>) -> Result<(), NotZeroed> {
        Ok(())
    }

    fn report(&self, failure: &Failure<'_>) {
        self.reports.say(failure);
    }

    fn mover(&self) -> Option<&dyn Migrate> {
        Some(self)
    }

    fn step(&self, step: Step) {
        if let Step::Boost(_) = step {
            self.boosts.fetch_add(1, Relaxed);
        }
    }

    fn has_kswapd(&self) -> bool {
        true
    }

    fn wake_kswapd(&self, nid: NodeId, order: Order, highest: ZoneKind) {
        let Some((_, wake)) = self.nodes.iter().find(|(thread, _)| thread.nid() == nid) else { return };
        let mut wake = wake.lock().unwrap_or_else(PoisonError::into_inner);
        *wake = Some(wake.map_or((order, highest), |(o, h)| (o.max(order), h.max(highest))));
    }
}
