//! Tables of either width, entry by entry: for code that writes them as it likes, whatever stands there.

use super::{PAGE, PAGE_TABLE, pmd_bytes};
use crate::pgtable::{KernelFormat, KernelTables, TableError};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use pagewright_addr::PhysAddr;
use pagewright_pagetable::format::x86::bits;
use pagewright_pagetable::{Attr, Format, Leaf, Level, MapError, TableMemory};

/// The entries of one table.
#[derive(Clone, Copy)]
pub(super) enum Cells<'m> {
    /// Of two-level paging.
    Narrow(&'m [AtomicU32]),
    /// Of PAE.
    Wide(&'m [AtomicU64]),
}

impl<'m> Cells<'m> {
    /// A page of them at `at`.
    pub(super) fn at(memory: &'m dyn TableMemory, at: PhysAddr, pae: bool) -> Result<Self, TableError> {
        let cells = if pae {
            memory.words64(at, 512).map(Cells::Wide)
        } else {
            memory.words32(at, 1024).map(Cells::Narrow)
        };
        cells.ok_or(TableError::NoMemory(at))
    }

    /// The same, emptied.
    pub(super) fn cleared(memory: &'m dyn TableMemory, at: PhysAddr, pae: bool) -> Result<Self, TableError> {
        let cells = Self::at(memory, at, pae)?;
        (0..cells.len()).for_each(|n| cells.set(n, 0));
        Ok(cells)
    }

    pub(super) fn len(self) -> usize {
        match self {
            Self::Narrow(cells) => cells.len(),
            Self::Wide(cells) => cells.len(),
        }
    }

    pub(super) fn get(self, n: usize) -> u64 {
        match self {
            Self::Narrow(cells) => cells[n].load(Ordering::Acquire).into(),
            Self::Wide(cells) => cells[n].load(Ordering::Acquire),
        }
    }

    pub(super) fn set(self, n: usize, word: u64) {
        match self {
            // What does not fit was refused when the word was made.
            Self::Narrow(cells) => cells[n].store(word as u32, Ordering::Release),
            Self::Wide(cells) => cells[n].store(word, Ordering::Release),
        }
    }

    /// Makes the entries of `range` those of another table.
    pub(super) fn copy(self, from: Self, range: core::ops::Range<usize>) {
        range.for_each(|n| self.set(n, from.get(n)));
    }
}

/// One entry that leads to a table of pages or is a large page.
#[derive(Clone, Copy)]
pub(super) struct Pmd<'m> {
    cells: Cells<'m>,
    index: usize,
}

impl Pmd<'_> {
    pub(super) fn get(self) -> u64 {
        self.cells.get(self.index)
    }

    pub(super) fn set(self, word: u64) {
        self.cells.set(self.index, word);
    }

    /// Links a table of pages.
    pub(super) fn link(self, table: PhysAddr) {
        self.set(table.get() | PAGE_TABLE);
    }
}

/// A tree, seen from its top table.
#[derive(Clone, Copy)]
pub(super) struct Dir<'m> {
    memory: &'m dyn TableMemory,
    root: PhysAddr,
    format: KernelFormat,
    pub(super) pae: bool,
}

impl<'m> Dir<'m> {
    pub(super) fn of(tables: &KernelTables<'m>) -> Self {
        let pae = matches!(tables.format, KernelFormat::I386Pae(_));
        Self { memory: tables.memory, root: tables.root, format: tables.format, pae }
    }

    /// Bytes that one entry of a PMD maps.
    pub(super) fn pmd_bytes(self) -> u64 {
        pmd_bytes(self.pae)
    }

    pub(super) fn top(self) -> Result<Cells<'m>, TableError> {
        Cells::at(self.memory, self.root, self.pae)
    }

    /// The PMD of an address; `None` where PAE's top table has no entry.
    pub(super) fn pmd(self, va: u64) -> Result<Option<Pmd<'m>>, TableError> {
        let top = self.top()?;
        if !self.pae {
            return Ok(Some(Pmd { cells: top, index: (va >> 22) as usize & 1023 }));
        }
        let word = top.get((va >> 30) as usize & 3);
        if word & bits::PRESENT == 0 {
            return Ok(None);
        }
        let cells = self.table(word)?;
        Ok(Some(Pmd { cells, index: (va >> 21) as usize & 511 }))
    }

    /// The table that an entry leads to.
    pub(super) fn table(self, word: u64) -> Result<Cells<'m>, TableError> {
        Cells::at(self.memory, PhysAddr::new(word & bits::ADDRESS), self.pae)
    }

    /// An empty table of pages.
    pub(super) fn new_table(self, at: PhysAddr) -> Result<Cells<'m>, TableError> {
        Cells::cleared(self.memory, at, self.pae)
    }

    /// The number of an address's page in its table.
    pub(super) fn pte_index(self, va: u64) -> usize {
        ((va & (self.pmd_bytes() - 1)) / PAGE) as usize
    }

    /// A leaf's word.
    pub(super) fn leaf(self, level: Level, phys: u64, attr: Attr) -> Result<u64, TableError> {
        let leaf = Leaf { phys: PhysAddr::new(phys), attr, contiguous: false };
        let word = match self.format {
            KernelFormat::I386(format) => format.leaf_word(level, &leaf),
            KernelFormat::I386Pae(format) => format.leaf_word(level, &leaf),
            // A machine of another architecture has no such directory.
            _ => return Err(TableError::NoMemory(self.root)),
        };
        word.map_err(|e| TableError::Map(MapError::Attr(e)))
    }
}
