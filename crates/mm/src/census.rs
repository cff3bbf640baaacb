//! How many early page-table pages a mapping needs.
//!
//! Linux takes one memblock page for each page table it fills while it builds the kernel's mappings, and those pages
//! decide where everything allocated after them comes to lie. The tables themselves are built by the page-table
//! layer; here it is only counted which table pages exist. For every level the census keeps the set of table slots
//! that are in use, as sorted ranges of slot numbers (address divided by what one table covers), so that a mapping of
//! 16 TiB costs no more than one of 16 MiB.

use arrayvec::ArrayVec;

/// More disjoint runs of tables than any board has banks.
const RUNS: usize = 512;

/// The set of slot numbers in use at one level, as disjoint sorted half-open runs.
#[derive(Clone, Debug)]
struct Slots<const N: usize> {
    runs: ArrayVec<(u64, u64), N>,
}

/// Too many disjoint mappings for the census.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CensusFull;

impl<const N: usize> Slots<N> {
    const EMPTY: Self = Self { runs: ArrayVec::new_const() };

    /// Adds `[first, last]`; returns how many slots were new.
    fn insert(&mut self, first: u64, last: u64) -> Result<u64, CensusFull> {
        let (mut lo, mut hi) = (first, last + 1);
        let mut present = 0;
        let from = self.runs.partition_point(|r| r.1 < lo);
        let mut to = from;
        while to < self.runs.len() && self.runs[to].0 <= hi {
            let (s, e) = self.runs[to];
            present += e.min(last + 1).saturating_sub(s.max(first));
            lo = lo.min(s);
            hi = hi.max(e);
            to += 1;
        }
        if from == to {
            self.runs.try_insert(from, (lo, hi)).map_err(|_| CensusFull)?;
        } else {
            self.runs[from] = (lo, hi);
            self.runs.drain(from + 1..to);
        }
        Ok(last + 1 - first - present)
    }
}

/// The shape of a table tree and the table pages it has so far, in at most `N` runs at each level.
///
/// Level 0 is the leaf table (PTEs); level `n` is the table whose entries point to tables of level `n - 1`. The top
/// table is static in every kernel and not counted.
#[derive(Clone, Debug)]
pub struct Census<const N: usize = RUNS> {
    page_shift: u32,
    bits: u32,
    /// Levels below the top one.
    levels: usize,
    slots: [Slots<N>; 4],
}

/// Which leaf sizes a mapping may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaves {
    /// Single pages only (NO_BLOCK_MAPPINGS).
    Pages,
    /// Pages and blocks up to the given level (1: a block in the place of a leaf table).
    Blocks(u8),
}

impl<const N: usize> Census<N> {
    /// No tree yet: [`Self::reset`] gives it a shape.
    pub const EMPTY: Self = Self { page_shift: 0, bits: 0, levels: 0, slots: [const { Slots::EMPTY }; 4] };

    /// A tree with `levels` levels in all, of tables with `2^bits` entries.
    pub fn new(page_shift: u32, bits: u32, levels: u8) -> Self {
        let mut census = Self::EMPTY;
        census.reset(page_shift, bits, levels);
        census
    }

    /// Begins anew with a tree of that shape, see [`Self::new`].
    pub fn reset(&mut self, page_shift: u32, bits: u32, levels: u8) {
        (self.page_shift, self.bits) = (page_shift, bits);
        self.levels = usize::from(levels).saturating_sub(1).min(4);
        self.slots.iter_mut().for_each(|slots| slots.runs.clear());
    }

    /// Bytes that one table of `level` covers, as a shift.
    fn span_shift(&self, level: usize) -> u32 {
        self.page_shift + self.bits * (level as u32 + 1)
    }

    /// Counts a mapping of `[virt, virt + len)` to `phys`; returns how many new table pages it takes.
    ///
    /// # Errors
    /// [`CensusFull`] when the address space is more fragmented than the census can hold.
    pub fn map(&mut self, virt: u64, phys: u64, len: u64, leaves: Leaves) -> Result<u64, CensusFull> {
        if len == 0 {
            return Ok(0);
        }
        let page = 1u64 << self.page_shift;
        // The last byte rather than the end, which may lie at the top of the address space and so be no number.
        let (start, last_byte) = (virt & !(page - 1), virt.saturating_add(len - 1) | (page - 1));
        let largest = match leaves {
            Leaves::Pages => 0,
            Leaves::Blocks(l) => usize::from(l),
        };
        let mut new = 0;
        for level in 0..self.levels {
            // A table of this level is needed wherever no block of its span can stand in its place: at blocks that
            // the mapping covers in part, and everywhere when blocks of that size are out of the question.
            let shift = self.span_shift(level);
            let span = 1u64 << shift;
            let (first, last) = (start >> shift, last_byte >> shift);
            let congruent = (virt ^ phys) & (span - 1) == 0;
            if level + 1 > largest || !congruent {
                new += self.slots[level].insert(first, last)?;
                continue;
            }
            let (head_cut, tail_cut) = (start & (span - 1) != 0, last_byte & (span - 1) != span - 1);
            if head_cut || (tail_cut && last == first) {
                new += self.slots[level].insert(first, first)?;
            }
            if tail_cut && last != first {
                new += self.slots[level].insert(last, last)?;
            }
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Census<8> {
        Census::new(12, 9, 4)
    }

    #[test]
    fn a_gibibyte_in_pages_takes_a_table_for_each_two_mebibytes_and_one_for_each_level_above() {
        assert_eq!(tree().map(0, 0, 1 << 30, Leaves::Pages), Ok(512 + 1 + 1));
    }

    #[test]
    fn a_gibibyte_in_blocks_takes_no_leaf_tables() {
        assert_eq!(tree().map(0, 0, 1 << 30, Leaves::Blocks(1)), Ok(2));
        assert_eq!(tree().map(0, 0, 1 << 30, Leaves::Blocks(2)), Ok(1));
    }

    #[test]
    fn unaligned_ends_take_a_leaf_table_each_and_share_them_with_neighbours() {
        let mut t = tree();
        assert_eq!(t.map(0x21_0000, 0x21_0000, 0xcf_0000, Leaves::Blocks(1)), Ok(2 + 2));
        // The neighbour starts in the table that already holds the end of the first.
        assert_eq!(t.map(0xf0_0000, 0xf0_0000, 0x10_0000, Leaves::Blocks(1)), Ok(0));
    }

    #[test]
    fn addresses_that_are_not_congruent_cannot_use_blocks() {
        assert_eq!(tree().map(0, 0x1000, 4 << 20, Leaves::Blocks(1)), Ok(2 + 2));
    }

    #[test]
    fn a_small_mapping_inside_one_table_takes_one_leaf_table() {
        let mut t = tree();
        assert_eq!(t.map(0x1000, 0x1000, 0x1000, Leaves::Blocks(1)), Ok(3));
        assert_eq!(t.map(0x3000, 0x3000, 0x1000, Leaves::Blocks(1)), Ok(0));
    }
}
