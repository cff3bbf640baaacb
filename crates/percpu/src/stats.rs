//! Counts, and their text in the form of `/sys/kernel/debug/percpu_stats`.

use crate::geometry::MIN_ALLOC;
use crate::map::{ChunkMap, RunKind};
use core::fmt;

/// Counts of an allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Allocations made.
    pub nr_alloc: u64,
    /// Allocations in use.
    pub nr_cur_alloc: usize,
    /// The most that were in use at a time.
    pub nr_max_alloc: usize,
    /// Chunks.
    pub nr_chunks: u32,
    /// The most chunks at a time.
    pub nr_max_chunks: u32,
    /// The smallest allocation in bytes; 0 before the first.
    pub min_alloc_size: u32,
    /// The largest allocation in bytes.
    pub max_alloc_size: u32,
    /// Pages of units that are wholly free, one for all CPUs, without the reserved part's.
    pub empty_pop_pages: u32,
}

impl Stats {
    /// Allocations given back.
    pub const fn nr_dealloc(&self) -> u64 {
        self.nr_alloc - self.nr_cur_alloc as u64
    }

    /// An allocation of `size` bytes.
    #[inline]
    pub(crate) fn allocated(&mut self, size: u32) {
        self.in_use_again();
        // 0 stands for none: as the largest number it never is the smaller one.
        self.min_alloc_size = self.min_alloc_size.wrapping_sub(1).min(size - 1).wrapping_add(1);
        self.max_alloc_size = self.max_alloc_size.max(size);
    }

    /// An allocation whose size was counted before.
    #[inline]
    pub(crate) fn in_use_again(&mut self) {
        self.nr_alloc += 1;
        self.nr_cur_alloc += 1;
        if self.nr_cur_alloc > self.nr_max_alloc {
            self.nr_max_alloc = self.nr_cur_alloc;
        }
    }

    /// An allocation was given back.
    #[inline]
    pub(crate) const fn freed(&mut self) {
        self.nr_cur_alloc -= 1;
    }

    /// A further chunk.
    pub(crate) fn chunk_came(&mut self) {
        self.nr_chunks += 1;
        self.nr_max_chunks = self.nr_max_chunks.max(self.nr_chunks);
    }
}

/// One `name : value` line.
fn line(f: &mut fmt::Formatter<'_>, name: &str, value: u64) -> fmt::Result {
    writeln!(f, "  {name:<20}: {value:12}")
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Global Stats:\n----------------------------------------")?;
        line(f, "nr_alloc", self.nr_alloc)?;
        line(f, "nr_dealloc", self.nr_dealloc())?;
        line(f, "nr_cur_alloc", self.nr_cur_alloc as u64)?;
        line(f, "nr_max_alloc", self.nr_max_alloc as u64)?;
        line(f, "nr_chunks", self.nr_chunks.into())?;
        line(f, "nr_max_chunks", self.nr_max_chunks.into())?;
        line(f, "min_alloc_size", self.min_alloc_size.into())?;
        line(f, "max_alloc_size", self.max_alloc_size.into())?;
        line(f, "empty_pop_pages", self.empty_pop_pages.into())
    }
}

/// Counts of one chunk; sizes in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChunkStats {
    /// Allocations in use.
    pub nr_alloc: u32,
    /// The largest ever made.
    pub max_alloc_size: u32,
    /// Wholly free pages.
    pub empty_pop_pages: u32,
    /// The first free piece.
    pub first_bit: u32,
    /// Free in all.
    pub free_bytes: u64,
    /// The largest hole.
    pub contig_bytes: u64,
    /// All holes before the last allocation.
    pub sum_frag: u64,
    /// The largest of them.
    pub max_frag: u64,
    /// The smallest allocation in use.
    pub cur_min_alloc: u64,
    /// The median of them, the upper one of an even number.
    pub cur_med_alloc: u64,
    /// The largest.
    pub cur_max_alloc: u64,
}

impl ChunkStats {
    /// Counts what a map shows.
    pub(crate) fn of(map: &ChunkMap<'_>, nr_alloc: u32, max_alloc_size: u32) -> Self {
        let bytes = |pieces: u32| u64::from(pieces) * MIN_ALLOC;
        let used = || map.runs().filter(|run| run.kind == RunKind::Used);
        let holes = || map.runs().filter(|run| run.kind == RunKind::Hole);
        let last = used().last().map_or(0, |run| run.at);
        let before = || holes().filter(|run| run.at < last).map(|run| run.len);
        // The smallest size that more than half of them do not exceed, found by halving.
        let (mut low, mut high) = (0, used().map(|run| run.len).max().unwrap_or(0));
        let largest = high;
        let half = used().count() / 2;
        while low < high {
            let middle = low.midpoint(high);
            match used().filter(|run| run.len <= middle).count() > half {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Self {
            nr_alloc,
            max_alloc_size,
            empty_pop_pages: map.empty_blocks(),
            first_bit: holes().next().map_or(map.bits(), |run| run.at),
            free_bytes: bytes(map.free_bits()),
            contig_bytes: bytes(holes().map(|run| run.len).max().unwrap_or(0)),
            sum_frag: bytes(before().sum()),
            max_frag: bytes(before().max().unwrap_or(0)),
            cur_min_alloc: bytes(used().map(|run| run.len).min().unwrap_or(0)),
            cur_med_alloc: bytes(low),
            cur_max_alloc: bytes(largest),
        }
    }
}

impl fmt::Display for ChunkStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "nr_alloc", self.nr_alloc.into())?;
        line(f, "max_alloc_size", self.max_alloc_size.into())?;
        line(f, "empty_pop_pages", self.empty_pop_pages.into())?;
        line(f, "first_bit", self.first_bit.into())?;
        line(f, "free_bytes", self.free_bytes)?;
        line(f, "contig_bytes", self.contig_bytes)?;
        line(f, "sum_frag", self.sum_frag)?;
        line(f, "max_frag", self.max_frag)?;
        line(f, "cur_min_alloc", self.cur_min_alloc)?;
        line(f, "cur_med_alloc", self.cur_med_alloc)?;
        line(f, "cur_max_alloc", self.cur_max_alloc)
    }
}
