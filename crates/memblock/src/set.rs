//! A sorted array of regions: the operations that need no memory.
//!
//! [`RegionSet`] owns the order: regions are sorted by base and never overlap. Whoever calls an operation that
//! can lengthen the array has made room before (`grow.rs`); from then on nothing can fail. As in Linux an empty
//! set holds one dummy region of size 0, which C code, dumps and counts see and [`RegionSet::live`] does not.

use crate::region::{Flags, Region};
use core::ops::Range;
use pagewright_addr::PhysRange;

/// A region array with its bookkeeping (`struct memblock_type`).
#[derive(Debug)]
pub(crate) struct RegionSet<'a> {
    /// All slots; the first `cnt` are in use.
    pub(crate) slots: &'a mut [Region],
    /// Slots in use, the dummy included.
    pub(crate) cnt: usize,
    /// Linux's `total_size`: what was added less what was removed. `trim_memory` does not adjust it.
    pub(crate) total: u64,
    /// Where the array lies, if memblock itself allocated it.
    pub(crate) block: Option<PhysRange>,
    /// Whether regions that could be merged may lie next to each other anywhere (see `cap_memory_range`).
    pub(crate) unmerged: bool,
    /// Whether nodes tell regions apart.
    numa: bool,
    /// The node number of a region without node.
    unset: i32,
}

impl<'a> RegionSet<'a> {
    /// An empty set over `slots`.
    pub(crate) fn new(slots: &'a mut [Region], numa: bool, unset: i32) -> Self {
        let mut set = Self { slots, cnt: 0, total: 0, block: None, unmerged: false, numa, unset };
        // Linux's first arrays are zeroed, so this dummy is on node 0; one that regions leave behind has no node.
        set.place_dummy(0);
        set
    }

    /// A set over an array that is in use; the caller has checked that `cnt` fits.
    pub(crate) fn adopt(
        slots: &'a mut [Region],
        cnt: usize,
        total: u64,
        block: Option<PhysRange>,
        numa: bool,
        unset: i32,
    ) -> Self {
        debug_assert!(cnt <= slots.len());
        Self { slots, cnt, total, block, unmerged: true, numa, unset }
    }

    fn place_dummy(&mut self, nid: i32) {
        let dummy = Region { base: 0, size: 0, flags: Flags::NONE, nid };
        if let Some(first) = self.slots.first_mut() {
            *first = dummy;
            self.cnt = 1;
        }
    }

    /// Room in regions (`max`).
    pub(crate) fn max(&self) -> usize {
        self.slots.len()
    }

    /// The regions, without the dummy of an empty set.
    pub(crate) fn live(&self) -> &[Region] {
        match self.slots.first() {
            Some(first) if first.size != 0 => &self.slots[..self.cnt],
            _ => &[],
        }
    }

    /// The regions as Linux counts them, with the dummy.
    pub(crate) fn counted(&self) -> &[Region] {
        &self.slots[..self.cnt]
    }

    /// Index of the first region that ends above `addr`.
    pub(crate) fn first_above(&self, addr: u64) -> usize {
        self.live().partition_point(|r| r.last() <= addr)
    }

    /// The regions that overlap `base..end`.
    pub(crate) fn overlapping(&self, base: u64, end: u64) -> impl Iterator<Item = &Region> {
        self.live()[self.first_above(base)..].iter().take_while(move |r| r.base < end)
    }

    /// The regions that overlap `base..end`, and how many gaps between them `base..end` would fill.
    fn overlap(&self, base: u64, end: u64) -> (Range<usize>, usize) {
        let live = self.live();
        let lo = self.first_above(base);
        let mut hi = lo;
        let mut at = base;
        let mut gaps = 0;
        while let Some(r) = live.get(hi).filter(|r| r.base < end) {
            gaps += usize::from(r.base > at);
            at = r.last();
            hi += 1;
        }
        (lo..hi, gaps + usize::from(at < end))
    }

    /// How many regions adding `base..end` would insert before merging.
    pub(crate) fn missing(&self, base: u64, end: u64) -> usize {
        self.overlap(base, end).1
    }

    /// Fills the gaps of `base..end` with new regions, keeps the overlapped ones as they are, and merges.
    ///
    /// Needs `missing(base, end)` free slots.
    pub(crate) fn insert(&mut self, base: u64, end: u64, nid: i32, flags: Flags) {
        let (over, gaps) = self.overlap(base, end);
        if gaps == 0 {
            return;
        }
        let used = self.live().len();
        debug_assert!(used + gaps <= self.max());
        self.slots.copy_within(over.end..used, over.end + gaps);
        let mut write = over.end + gaps;
        let mut top = end;
        let mut put = |slots: &mut [Region], r: Region| {
            write -= 1;
            slots[write] = r;
        };
        for i in over.clone().rev() {
            let r = self.slots[i];
            if r.last() < top {
                put(self.slots, Region { base: r.last(), size: top - r.last(), flags, nid });
                self.total += top - r.last();
            }
            put(self.slots, r);
            top = r.base;
        }
        if base < top {
            put(self.slots, Region { base, size: top - base, flags, nid });
            self.total += top - base;
        }
        self.cnt = used + gaps;
        self.merge(over.start..over.end + gaps);
    }

    /// Splits the regions that cross `base` or `end`; returns the indices of those inside.
    ///
    /// Needs two free slots.
    pub(crate) fn isolate(&mut self, base: u64, end: u64) -> Range<usize> {
        if end <= base {
            return 0..0;
        }
        let mut lo = self.first_above(base);
        if self.live().get(lo).is_some_and(|r| r.base < base) {
            self.split(lo, base);
            lo += 1;
        }
        let mut hi = lo + self.live()[lo..].partition_point(|r| r.last() <= end);
        if self.live().get(hi).is_some_and(|r| r.base < end) {
            self.split(hi, end);
            hi += 1;
        }
        lo..hi
    }

    /// Splits region `i` in two at `at`, an address inside it.
    fn split(&mut self, i: usize, at: u64) {
        debug_assert!(self.cnt < self.max());
        self.slots.copy_within(i..self.cnt, i + 1);
        self.cnt += 1;
        let upper = &mut self.slots[i + 1];
        let cut = at - upper.base;
        upper.base = at;
        upper.size -= cut;
        self.slots[i].size = cut;
    }

    /// Drops regions `which`.
    pub(crate) fn delete(&mut self, which: Range<usize>) {
        if which.is_empty() {
            return;
        }
        let bytes: u64 = self.slots[which.clone()].iter().map(|r| r.size).sum();
        // C code may have changed sizes behind the total's back, and so does `trim_memory`.
        self.total = self.total.wrapping_sub(bytes);
        self.slots.copy_within(which.end..self.cnt, which.start);
        self.cnt -= which.len();
        if self.cnt == 0 {
            self.place_dummy(self.unset);
        }
    }

    /// Drops everything inside `base..end`. Needs two free slots.
    pub(crate) fn remove(&mut self, base: u64, end: u64) {
        let inside = self.isolate(base, end);
        self.delete(inside);
    }

    /// Joins neighbours that touch and agree in flags and node, among `changed` and the regions beside it.
    pub(crate) fn merge(&mut self, changed: Range<usize>) {
        let used = self.live().len();
        let (lo, hi) = if self.unmerged {
            (0, used)
        } else {
            (changed.start.saturating_sub(1), (changed.end + 1).min(used))
        };
        self.unmerged = false;
        if hi.saturating_sub(lo) < 2 {
            return;
        }
        let numa = self.numa;
        let mut kept = lo;
        for i in lo + 1..hi {
            let next = self.slots[i];
            let last = &mut self.slots[kept];
            let alike = last.flags == next.flags && (!numa || last.nid == next.nid);
            if last.last() == next.base && alike {
                last.size += next.size;
            } else {
                kept += 1;
                self.slots[kept] = next;
            }
        }
        self.slots.copy_within(hi..used, kept + 1);
        self.cnt = used - (hi - kept - 1);
    }

    /// Drops everything at and above `addr`; a region that reaches across is shortened.
    pub(crate) fn cut_above(&mut self, addr: u64) {
        let keep = self.live().partition_point(|r| r.base < addr);
        self.delete(keep..self.live().len());
        if let Some(last) = self.slots[..self.cnt].last_mut().filter(|r| r.size != 0 && r.last() > addr) {
            self.total = self.total.wrapping_sub(last.last() - addr);
            last.size = addr - last.base;
        }
    }

    /// Drops everything below `addr`; a region that reaches across is shortened.
    pub(crate) fn cut_below(&mut self, addr: u64) {
        self.delete(0..self.first_above(addr));
        if let Some(first) = self.slots[..self.cnt].first_mut().filter(|r| r.size != 0 && r.base < addr) {
            self.total = self.total.wrapping_sub(addr - first.base);
            first.size -= addr - first.base;
            first.base = addr;
        }
    }

    /// Replaces each region by what `change` makes of it, or drops it.
    pub(crate) fn rewrite(&mut self, mut change: impl FnMut(usize, Region) -> Option<Region>) {
        let mut kept = 0;
        for i in 0..self.live().len() {
            let old = self.slots[i];
            match change(i, old) {
                Some(new) => {
                    self.slots[kept] = new;
                    kept += 1;
                }
                None => self.total = self.total.wrapping_sub(old.size),
            }
        }
        self.cnt = kept;
        if kept == 0 {
            self.place_dummy(self.unset);
        }
    }
}
