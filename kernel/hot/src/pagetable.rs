//! Page tables in any format: filled, read and emptied, with the time that it takes.
//!
//! The tree is a [`Tables`] of its format over the direct map, as a kernel has it that knows its format.

use core::hint::black_box;
use pagewright::pgtable::KernelFormat;
use pagewright_addr::{PageShift, PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::format::WithFormat;
use pagewright_pagetable::{
    Attr, AttrChange, AttrFlags, Format, Level, Live, MapOptions, NoTables, NotLive, Proven, TableSource,
    Tables, Translation, Unmapped,
};
use pagewright_platform::DirectMap;

/// Where is mapped: free in every format's address space.
const AT: u64 = 512 << 20;
/// Where it leads to; nobody goes there.
const PHYS: u64 = 1 << 30;
/// Bytes that are mapped by pages.
const BY_PAGES: u64 = 32 << 20;
/// Bytes that are mapped by blocks, and where addresses have 32 bits.
const BY_BLOCKS: [u64; 2] = [64 << 30, 2 << 30];
/// Bytes of a block.
const BLOCK: u64 = 2 << 20;
/// Translations that are measured together.
const TRANSLATIONS: u64 = 4096;
/// What a program's data may be.
const DATA: Attr = Attr::normal(AttrFlags::WRITE.union(AttrFlags::DIRTY).union(AttrFlags::ACCESSED));

/// What was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timed {
    /// What was done.
    pub what: &'static str,
    /// To leaves of which size.
    pub size: &'static str,
    /// What all of it took.
    pub ticks: u64,
    /// How often it was done.
    pub count: u64,
}

/// A tree to be measured.
#[expect(missing_debug_implementations, reason = "functions have nothing to show")]
pub struct PageTables<'a> {
    /// The direct map that its tables lie in.
    pub ram: &'a DirectMap,
    /// Its root: zeroed, in the direct map, and nobody else's.
    pub root: PhysAddr,
    /// Its smallest pages.
    pub page_shift: PageShift,
    /// Tables, in the direct map.
    pub source: &'a mut dyn TableSource,
    /// The time.
    pub ticks: &'a dyn Fn() -> u64,
    /// Is told what was measured.
    pub see: &'a mut dyn FnMut(Timed),
}

impl PageTables<'_> {
    /// Fills a tree of that format by pages and by blocks, translates addresses, and empties it again.
    ///
    /// # Errors
    /// What could not be done.
    ///
    /// # Safety
    /// What the fields say holds: only this function writes to the root's memory, and to what `source` gives until it has it back.
    pub unsafe fn measure(self, format: KernelFormat) -> Result<(), &'static str> {
        format.with(Work(self))
    }
}

/// The work, for any format.
struct Work<'a>(PageTables<'a>);

impl WithFormat for Work<'_> {
    type Out = Result<(), &'static str>;

    fn run<F: Format>(mut self, format: F) -> Self::Out {
        let mut tree = Tables::new(format, self.0.ram, self.0.root);
        let far = VirtAddr::new(AT + BY_BLOCKS[0]);
        let by_blocks = BY_BLOCKS[usize::from(!format.window().contains(far))];
        let page = self.0.page_shift.bytes();
        let blocks = MapOptions { max_leaf: Level::PMD, ..MapOptions::default() };
        for (size, len, each, options) in
            [("4k", BY_PAGES, page, MapOptions::PAGES), ("2m", by_blocks, BLOCK, blocks)]
        {
            let range = VirtRange::from_len(VirtAddr::new(AT), len);
            let measured = self.leaves(&mut tree, size, range, each, &options);
            if measured.is_err() {
                // What is mapped still goes, tables included.
                let _ = unmap(&mut tree, range, self.0.source);
                return measured;
            }
        }
        Ok(())
    }
}

impl Work<'_> {
    /// What each leaf of `each` bytes takes.
    fn leaves<F: Format>(
        &mut self,
        tree: &mut Tables<F, &DirectMap>,
        size: &'static str,
        range: VirtRange,
        each: u64,
        options: &MapOptions,
    ) -> Result<(), &'static str> {
        let count = range.len / each;
        self.once("map", size, count, |source| {
            tree.cursor().map(range, PhysAddr::new(PHYS), DATA, options, source).is_ok()
        })?;
        self.once("protect", size, count, |_| protect(tree, range))?;
        let words = tree.memory().known();
        // SAFETY: the tree's tables lie in the direct map, and nobody else writes to them (`PageTables::measure`); nothing is unmapped
        // while it is read.
        let proven = unsafe { Proven::new(tree, words) };
        self.translate("translate", size, range, move |va| proven.translate(va))?;
        self.translate("checked", size, range, |va| tree.translate(va))?;
        self.once("unmap", size, count, |source| unmap(tree, range, source))
    }

    /// Does something once, to `count` leaves.
    fn once(
        &mut self,
        what: &'static str,
        size: &'static str,
        count: u64,
        work: impl FnOnce(&mut dyn TableSource) -> bool,
    ) -> Result<(), &'static str> {
        let start = (self.0.ticks)();
        let done = work(self.0.source);
        let ticks = (self.0.ticks)().wrapping_sub(start);
        if !done {
            return Err(what);
        }
        (self.0.see)(Timed { what, size, ticks, count });
        Ok(())
    }

    /// Translates scattered addresses. Choosing them is not counted.
    fn translate(
        &mut self,
        what: &'static str,
        size: &'static str,
        range: VirtRange,
        translate: impl Fn(VirtAddr) -> Result<Translation, Unmapped>,
    ) -> Result<(), &'static str> {
        let times = [(self.0.ticks)(); 3];
        let found = sum(range, |va| translate(va).map_or(0, |hit| hit.phys.get()));
        let times = [times[0], (self.0.ticks)(), times[2]];
        let expected = sum(range, |va| black_box(va.get() - AT + PHYS));
        let times = [times[0], times[1], (self.0.ticks)()];
        if found != expected {
            return Err(what);
        }
        let [all, around] = [times[1].wrapping_sub(times[0]), times[2].wrapping_sub(times[1])];
        (self.0.see)(Timed { what, size, ticks: all.saturating_sub(around), count: TRANSLATIONS });
        Ok(())
    }
}

/// The sum of what comes of scattered addresses in a range. A function of its own, so that nothing else wants its registers.
#[inline(never)]
fn sum(range: VirtRange, of: impl Fn(VirtAddr) -> u64) -> u64 {
    let (mut at, mut sum) = (0, 0_u64);
    for _ in 0..TRANSLATIONS {
        // An odd multiple of a page and some: every table is visited.
        at = (at + 0x1_3579_b123) & (range.len - 1);
        sum = sum.wrapping_add(of(VirtAddr::new(range.start.get() + at)));
    }
    sum
}

/// Makes what is mapped read-only. That it is dirty stays: sections of arm's short descriptors have nowhere to note anything else.
fn protect<F: Format>(tree: &mut Tables<F, &DirectMap>, range: VirtRange) -> bool {
    let read_only = AttrChange::flags(AttrFlags::empty(), AttrFlags::WRITE);
    let Ok((_, pending)) = tree.cursor().protect(range, &read_only, Live::No) else { return false };
    pending.finish(tree.memory(), &mut NotLive, &mut NoTables);
    true
}

fn unmap<F: Format>(
    tree: &mut Tables<F, &DirectMap>,
    range: VirtRange,
    source: &mut dyn TableSource,
) -> bool {
    let Ok(pending) = tree.cursor().unmap(range, &mut |_| ()) else { return false };
    pending.finish(tree.memory(), &mut NotLive, source);
    true
}
