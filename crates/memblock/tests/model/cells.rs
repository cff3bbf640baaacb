//! The naive model: an array of cells, and every operation written over them.

use crate::common::PAGE;
use pagewright_addr::NodeId;
use pagewright_memblock::Flags;

pub(crate) const CELL: u64 = 256;
pub(crate) const PAGE_CELLS: usize = (PAGE / CELL) as usize;
pub(crate) const CELLS: usize = 24 * PAGE_CELLS;

pub(crate) type Cell = Option<(Flags, Option<NodeId>)>;

/// What a machine's memory looks like, cell by cell.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) memory: Vec<Cell>,
    pub(crate) reserved: Vec<Cell>,
    pub(crate) memory_total: u64,
    pub(crate) limit: u64,
    pub(crate) bottom_up: bool,
    pub(crate) mirror: bool,
    pub(crate) movable: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) size: u64,
    pub(crate) align: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
    pub(crate) nid: Option<NodeId>,
    pub(crate) exact: bool,
}

/// The cells that `base` and `len` name, kept inside the machine.
pub(crate) fn cells(base: usize, len: usize) -> std::ops::Range<usize> {
    base.min(CELLS)..(base + len).min(CELLS)
}

/// The runs of equal cells.
pub(crate) fn runs(cells: &[Cell]) -> Vec<(usize, usize, (Flags, Option<NodeId>))> {
    let mut out: Vec<(usize, usize, _)> = vec![];
    for (i, cell) in cells.iter().enumerate() {
        let Some(what) = *cell else { continue };
        match out.last_mut() {
            Some((base, len, last)) if *base + *len == i && *last == what => *len += 1,
            _ => out.push((i, 1, what)),
        }
    }
    out
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            memory: vec![None; CELLS],
            reserved: vec![None; CELLS],
            memory_total: 0,
            limit: u64::MAX,
            bottom_up: false,
            mirror: false,
            movable: false,
        }
    }

    pub(crate) fn count(&self, r: std::ops::Range<usize>) -> u64 {
        self.memory[r].iter().flatten().count() as u64 * CELL
    }

    pub(crate) fn wanted(&self, cell: Cell, nid: Option<NodeId>, flags: Flags) -> bool {
        let Some((has, on)) = cell else { return false };
        (nid.is_none() || nid == on)
            && !(self.movable && has.contains(Flags::HOTPLUG))
            && (!flags.contains(Flags::MIRROR) || has.contains(Flags::MIRROR))
            && !has.contains(Flags::NOMAP)
            && !has.contains(Flags::DRIVER_MANAGED)
    }

    /// Tries every aligned address: the highest (or lowest) whose cells are alike, wanted and free.
    pub(crate) fn find(&self, ask: Ask, nid: Option<NodeId>, flags: Flags) -> Option<u64> {
        let end = if ask.max <= 1 { self.limit } else { ask.max }.min(CELLS as u64 * CELL);
        let start = ask.min.max(PAGE);
        let mut fits = (start.next_multiple_of(ask.align)..=end.saturating_sub(ask.size))
            .step_by(ask.align as usize)
            .filter(|&at| {
                let over = (at / CELL) as usize..(at + ask.size).div_ceil(CELL) as usize;
                let first = self.memory[over.start];
                self.wanted(first, nid, flags)
                    && self.memory[over.clone()].iter().all(|c| *c == first)
                    && self.reserved[over].iter().all(Option::is_none)
            });
        if self.bottom_up { fits.next() } else { fits.last() }
    }

    pub(crate) fn range_nid(&self, ask: Ask) -> Option<u64> {
        let passes: &[Flags] = if self.mirror { &[Flags::MIRROR, Flags::NONE] } else { &[Flags::NONE] };
        passes.iter().find_map(|&flags| {
            let first = self.find(ask, ask.nid, flags);
            let retry = || if ask.exact { None } else { self.find(ask, None, flags) };
            first.or_else(retry)
        })
    }

    pub(crate) fn alloc(&self, ask: Ask) -> Option<u64> {
        let ask = Ask { max: ask.max.min(self.limit), ..ask };
        self.range_nid(ask).or_else(|| self.range_nid(Ask { min: 0, ..ask }))
    }

    pub(crate) fn take(&mut self, at: Option<u64>, size: u64) {
        let Some(at) = at else { return };
        for c in &mut self.reserved[(at / CELL) as usize..(at + size).div_ceil(CELL) as usize] {
            *c = c.or(Some((Flags::NONE, None)));
        }
    }

    /// One past the cell with which the limit is reached; a limit of 0 means none.
    pub(crate) fn max_cell(&self, limit: u64) -> Option<usize> {
        if limit == 0 {
            return None;
        }
        let mut left = limit / CELL;
        for (i, c) in self.memory.iter().enumerate() {
            left -= u64::from(c.is_some());
            if left == 0 {
                return Some(i + 1);
            }
        }
        None
    }

    pub(crate) fn cut(&mut self, keep: std::ops::Range<usize>, spare: Flags) {
        for i in (0..CELLS).filter(|i| !keep.contains(i)) {
            if self.memory[i].is_some_and(|(f, _)| !f.intersects(spare)) {
                self.memory[i] = None;
                self.memory_total -= CELL;
            }
            self.reserved[i] = None;
        }
    }

    /// Trimming a run shortens it without the total noticing; a run that vanishes leaves the total.
    pub(crate) fn trim(&mut self) {
        for (base, len, _) in runs(&self.memory) {
            let start = base.next_multiple_of(PAGE_CELLS);
            let end = (base + len) / PAGE_CELLS * PAGE_CELLS;
            if start >= end {
                self.memory_total -= len as u64 * CELL;
            }
            for i in (base..base + len).filter(|i| !(start..end).contains(i)) {
                self.memory[i] = None;
            }
        }
    }
}
