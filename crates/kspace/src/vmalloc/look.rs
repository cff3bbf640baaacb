//! Looking at areas: by address, in order, and what is between them.

use super::area::{Life, Record};
use super::{VmArea, VmContext, VmFlags, Vmalloc};
use core::ops::ControlFlow;
use pagewright_addr::{NodeId, Pfn, PhysAddr, VirtAddr, VirtRange};
use pagewright_page::{FrameIdx, State};
use pagewright_pagetable::{Cursor, Format, TableMemory, Unmapped};

/// What of a region is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gaps {
    /// How many gaps there are.
    pub count: u64,
    /// Bytes in all of them.
    pub bytes: u64,
    /// The largest.
    pub largest: u64,
    /// Bytes of areas that wait for their flush or for the next area of their size.
    pub kept: u64,
}

/// What lies at some addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// An area in use.
    Area(VmArea),
    /// Addresses of `vm_map_ram`: a block of which it gives out pieces, or a mapping of its own.
    Ram(VirtRange),
    /// An area that waits for its flush.
    Unpurged(VirtRange),
    /// Flushed addresses that wait for the next area of their size.
    Ready(VirtRange),
}

impl<'v, 'a, F: Format, M: TableMemory> Vmalloc<'v, 'a, F, M> {
    /// Whether a page was taken before the page allocator existed (PageReserved).
    pub(crate) fn is_reserved(&self, page: PhysAddr) -> bool {
        self.map.idx(page.pfn(self.shift())).is_some_and(|idx| self.map.state(idx) == State::Reserved)
    }

    /// What the region is called: "vmalloc", "modules".
    pub const fn name(&self) -> &'static str {
        self.config.name
    }

    /// Whether an address is in the region (`is_vmalloc_addr`), whatever is there.
    pub const fn is_vmalloc_addr(&self, addr: VirtAddr) -> bool {
        self.range.contains(addr)
    }

    /// The area in use that an address is in (`find_vm_area`), its guard page included.
    pub fn find_vm_area(&self, addr: VirtAddr) -> Option<VmArea> {
        let (_, slot) = self.find(addr)?;
        let record = slot.record.lock();
        // The number may have become another area's since.
        (record.life == Life::Live && record.range.contains(addr)).then(|| record.view(Self::PAGE))
    }

    /// The byte of memory behind an address.
    ///
    /// # Errors
    /// [`Unmapped`] says where the page tables end.
    pub fn translate(&self, addr: VirtAddr) -> Result<PhysAddr, Unmapped> {
        self.cursor.tables().translate(addr).map(|hit| hit.phys)
    }

    /// The page behind an address (`vmalloc_to_pfn`, `vmalloc_to_page`); `None` if none is mapped there.
    pub fn vmalloc_to_pfn(&self, addr: VirtAddr) -> Option<Pfn> {
        Some(self.translate(addr).ok()?.pfn(self.shift()))
    }

    /// The cursor that the region's tables are changed by.
    pub const fn cursor(&self) -> &Cursor<'v, F, M> {
        &self.cursor
    }

    /// Copies what is in the region from `addr` on, as whoever dumps the kernel's memory does (`vread`): bytes of areas by way of `copy`, which
    /// is told where in memory they are; zeroes for gaps, guard pages and registers of devices. How many bytes from the start of `into`
    /// the copy reaches, up to the last area's end; 0 if none of it is in an area. No area is freed while it is copied: whoever frees it waits. `copy`
    /// must not call back.
    pub fn vread(&self, addr: VirtAddr, into: &mut [u8], copy: &mut dyn FnMut(PhysAddr, &mut [u8])) -> usize {
        into.fill(0);
        let wanted = VirtRange::from_len(addr, into.len() as u64);
        let mut reached = 0;
        self.records_in(wanted, &mut |record| {
            if record.life != Life::Live {
                return ControlFlow::Continue(());
            }
            let area = record.view(Self::PAGE);
            let range = area.range();
            let mut at = range.start.max(wanted.start).get();
            let last = range.last().min(wanted.last()).get();
            while !range.is_empty() && at <= last {
                let page_last = at | (Self::PAGE - 1);
                let end = page_last.min(last);
                let (from, to) = (at - addr.get(), end - addr.get() + 1);
                if !area.flags.contains(VmFlags::IOREMAP)
                    && let Ok(phys) = self.translate(VirtAddr::new(at))
                {
                    copy(phys, &mut into[from as usize..to as usize]);
                }
                reached = to as usize;
                let Some(next) = end.checked_add(1) else { break };
                at = next;
            }
            ControlFlow::Continue(())
        });
        reached
    }

    /// Tells all areas in order of address, those that wait included, while nobody makes or takes one. `see` must not call back.
    pub fn areas(&self, see: &mut dyn FnMut(Seen) -> ControlFlow<()>) {
        self.areas_in(self.range, see);
    }

    /// The same for areas that have a part of `range`.
    pub fn areas_in(&self, range: VirtRange, see: &mut dyn FnMut(Seen) -> ControlFlow<()>) {
        self.records_in(range, &mut |record| {
            let seen = match record.life {
                Life::Live => Seen::Area(record.view(Self::PAGE)),
                Life::Block | Life::Ram => Seen::Ram(record.range),
                Life::Lazy => Seen::Unpurged(record.range),
                Life::Ready => Seen::Ready(record.range),
                Life::Free | Life::Making => return ControlFlow::Continue(()),
            };
            see(seen)
        });
    }

    /// The first area that ends behind an address, those that wait included: for whoever looks at one at a time, and asks more of each.
    pub fn next_area(&self, from: VirtAddr) -> Option<Seen> {
        let mut found = None;
        let range = VirtRange::from_len(from, u64::MAX);
        self.areas_in(range, &mut |seen| {
            found = Some(seen);
            ControlFlow::Break(())
        });
        found
    }

    /// Tells records, each under its lock: an area that is in use stays so meanwhile, since its life changes under the same lock.
    fn records_in(&self, range: VirtRange, see: &mut dyn FnMut(&Record) -> ControlFlow<()>) {
        if range.is_empty() {
            return;
        }
        let book = self.book.lock();
        let mut at = book.tree.from(range.start);
        while let Some(area) = at {
            if book.tree.area(area).is_none_or(|place| place.start > range.last()) {
                break;
            }
            if see(&book.slots.get(area.number()).record.lock()).is_break() {
                break;
            }
            at = book.tree.next(area);
        }
    }

    /// How many pages of its own the area at `addr` has on each node: told node by node, runs of one node together (`N0=4` of
    /// `/proc/vmallocinfo`). Whoever frees the area meanwhile waits; of one that is no longer in use there is nothing to tell. `see` must not call back.
    pub fn pages_by_node<C: VmContext<'a>>(&self, on: &C, addr: VirtAddr, see: &mut dyn FnMut(NodeId, u64)) {
        let Some((_, slot)) = self.find(addr) else { return };
        // Pages leave the list after the area's life has changed, which it does under this lock.
        let record = slot.record.lock();
        let here = record.life == Life::Live && record.range.contains(addr);
        let mut at: Option<FrameIdx> = record.first.filter(|_| here);
        let mut run: Option<(NodeId, u64)> = None;
        let mut left = record.pages >> record.order;
        while let Some(idx) = at
            && left > 0
        {
            left -= 1;
            let (node, pages) = (on.node_of(idx), 1 << record.order);
            run = match run {
                Some((same, before)) if same == node => Some((same, before + pages)),
                other => {
                    if let Some((node, pages)) = other {
                        see(node, pages);
                    }
                    Some((node, pages))
                }
            };
            at = self.map.next(idx);
        }
        if let Some((node, pages)) = run {
            see(node, pages);
        }
    }

    /// What is free.
    pub fn gaps(&self) -> Gaps {
        let mut gaps = Gaps::default();
        let book = self.book.lock();
        for gap in book.tree.gaps() {
            gaps.count += 1;
            gaps.bytes += gap.len;
            gaps.largest = gaps.largest.max(gap.len);
        }
        for (area, range, ()) in book.tree.iter() {
            if matches!(book.slots.get(area.number()).record.lock().life, Life::Lazy | Life::Ready) {
                gaps.kept += range.len;
            }
        }
        gaps
    }

    /// Tells every gap, lowest first.
    pub fn each_gap(&self, see: &mut dyn FnMut(VirtRange)) {
        self.book.lock().tree.gaps().for_each(see);
    }

    /// Checks the tree, and that each area in it has a record that says the same, while nobody makes or takes one.
    ///
    /// # Errors
    /// The first that does not.
    pub fn validate(&self) -> Result<(), VmallocViolation> {
        let book = self.book.lock();
        book.tree.validate().map_err(VmallocViolation::Tree)?;
        for (area, range, ()) in book.tree.iter() {
            let record = *book.slots.get(area.number()).record.lock();
            if record.range != range || matches!(record.life, Life::Free | Life::Making) {
                return Err(VmallocViolation::Record { tree: range, record: record.range });
            }
        }
        Ok(())
    }
}

impl Seen {
    /// Its addresses, the guard page included.
    pub const fn range(&self) -> VirtRange {
        match *self {
            Self::Area(area) => VirtRange { start: area.addr, len: area.size },
            Self::Ram(range) | Self::Unpurged(range) | Self::Ready(range) => range,
        }
    }
}

/// What is wrong with a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmallocViolation {
    /// The tree of its areas.
    Tree(crate::areas::Broken),
    /// An area's record does not say what the tree says, or that the area is nobody's.
    Record {
        /// Where the tree has it.
        tree: VirtRange,
        /// Where the record has it.
        record: VirtRange,
    },
}

impl core::fmt::Display for VmallocViolation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Tree(e) => e.fmt(f),
            Self::Record { tree, record } => write!(f, "the area {tree:?} has a record of {record:?}"),
        }
    }
}

impl core::error::Error for VmallocViolation {}
