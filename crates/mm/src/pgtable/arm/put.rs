//! `create_mapping`: one mapping, where what was there before gives way.

use super::{MapType, PAGE, is_smp, of_domain};
use crate::boot::Boot;
use crate::error::BootError;
use crate::pgtable::{KernelTables, KernelTree, Source, TableError};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::{Attr, Level, MapError, MapOptions, NoTables, TableSource};

/// A part of a mapping: in whole sections or in pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// The step that makes it.
    pub(crate) step: &'static str,
    pub(crate) virt: u64,
    pub(crate) phys: u64,
    pub(crate) len: u64,
    pub(crate) ty: MapType,
    /// Whether sections map it. Both addresses and the length are multiples of a section then, else of a page.
    pub(crate) sections: bool,
}

/// The largest range that is taken out at once: so that none covers a table of the second level, which are there to stay.
const CHUNK: u64 = 512 << 20;

/// Takes out what is mapped from `start` up to `end`, as `pmd_clear` does for each PMD. Tables of pages go with it.
///
/// # Errors
/// [`TableError`].
pub(crate) fn clear(tables: &KernelTables<'_>, start: u64, end: u64) -> Result<(), TableError> {
    tables.with(|tree| {
        let mut at = start;
        while at < end {
            let next = ((at & !(CHUNK - 1)) + CHUNK).min(end);
            tree.unmap(VirtRange { start: VirtAddr::new(at), len: next - at }, true, &mut NoTables)?;
            at = next;
        }
        Ok(())
    })
}

/// Maps a range anew. Returns the number of new tables.
fn replace(
    tree: &mut dyn KernelTree,
    range: VirtRange,
    phys: PhysAddr,
    attr: Attr,
    options: &MapOptions,
    source: &mut dyn TableSource,
) -> Result<u64, TableError> {
    match tree.map(range, phys, attr, options, source) {
        Err(MapError::AlreadyMapped { .. }) => {
            tree.unmap(range, true, &mut NoTables)?;
            Ok(tree.map(range, phys, attr, options, source)?)
        }
        done => Ok(done?),
    }
}

/// Sections and no table.
const SECTIONS: MapOptions = MapOptions { max_leaf: Level::PMD, ..MapOptions::PAGES };

impl<'a> Boot<'a> {
    /// Maps a piece, if tables are built. `counted` says how many tables the census wants for it, and `take` gets a page for one.
    ///
    /// # Errors
    /// What `take` says, or [`BootError::PageTables`].
    pub(crate) fn arm_put(
        &mut self,
        piece: &Piece,
        counted: u64,
        take: &mut dyn FnMut(&mut Self) -> Result<PhysAddr, BootError>,
    ) -> Result<(), BootError> {
        let Some(tables) = self.pgtable else {
            for _ in 0..counted {
                take(self)?;
            }
            self.count(piece.step, counted, None);
            return Ok(());
        };
        let attr = piece.ty.attr(&tables.format, is_smp(self.machine));
        let range = VirtRange::from_len(VirtAddr::new(piece.virt), piece.len);
        let options = if piece.sections { SECTIONS } else { MapOptions::PAGES };
        let phys = PhysAddr::new(piece.phys);
        let mut source = Source { boot: self, take, refused: None, taken: 0 };
        let done = of_domain(&tables, piece.ty.domain())
            .with(|tree| replace(tree, range, phys, attr, &options, &mut source));
        let (refused, taken) = (source.refused, source.taken);
        self.tables_done(piece.step, counted, refused, taken, done.map(|_| ()))
    }

    /// Makes an empty table for the PMD at `virt` (`early_pte_alloc` alone): with a page that is mapped and taken out again.
    ///
    /// # Errors
    /// As for [`Self::arm_put`].
    pub(crate) fn arm_put_table(
        &mut self,
        step: &'static str,
        virt: u64,
        take: &mut dyn FnMut(&mut Self) -> Result<PhysAddr, BootError>,
    ) -> Result<(), BootError> {
        let Some(tables) = self.pgtable else {
            take(self)?;
            self.count(step, 1, None);
            return Ok(());
        };
        let mut source = Source { boot: self, take, refused: None, taken: 0 };
        let done = empty_table(&tables, virt, &mut source);
        let (refused, taken) = (source.refused, source.taken);
        self.tables_done(step, 1, refused, taken, done)
    }

    fn tables_done(
        &mut self,
        step: &'static str,
        counted: u64,
        refused: Option<BootError>,
        taken: u64,
        done: Result<(), TableError>,
    ) -> Result<(), BootError> {
        if let Some(refused) = refused {
            return Err(refused);
        }
        done.map_err(BootError::PageTables)?;
        self.count(step, counted, Some(taken));
        Ok(())
    }

    fn count(&mut self, step: &'static str, counted: u64, built: Option<u64>) {
        if counted != 0 || built.is_some_and(|n| n != 0) {
            self.table_counts.add(step, counted, built);
        }
    }
}

/// Links an empty table of pages for the PMD at `virt`, with a page of `source`.
pub(super) fn empty_table(
    tables: &KernelTables<'_>,
    virt: u64,
    source: &mut dyn TableSource,
) -> Result<(), TableError> {
    let page = VirtRange::from_len(VirtAddr::new(virt), PAGE);
    let attr = MapType::MemoryRw.attr(&tables.format, true);
    tables.with(|tree| {
        tree.map(page, PhysAddr::ZERO, attr, &MapOptions::PAGES, source)?;
        tree.unmap(page, true, &mut NoTables)?;
        Ok(())
    })
}
