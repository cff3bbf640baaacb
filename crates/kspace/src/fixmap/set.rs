//! Mapping and unmapping fixed addresses.
//!
//! The caller's cursor has to hold the slot; whoever drops the returned token without a flush leaves a stale translation in
//! use. Tables of the fixed mappings are never given back: early boot has no allocator to get them again.

use super::{FixedIndex, Fixmap, FixmapError, Slot, SlotName};
use crate::layout::MIB;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_pagetable::{
    Attr, Cursor, Format, Level, MapError, MapOptions, PendingFlush, TableMemory, TableSource, UnmapError,
};

/// MAX_FDT_SIZE.
const MAX_FDT_SIZE: u64 = 2 * MIB;
/// MIN_FDT_ALIGN.
const MIN_FDT_ALIGN: u64 = 8;

impl Fixmap {
    /// Maps a slot to the page that `phys` lies in and returns the address of that byte (`set_fixmap_offset`). Without a table
    /// for the slot one is taken from `source`.
    ///
    /// # Errors
    /// [`FixmapError`]; nothing was changed then.
    pub fn set_fixmap<F: Format, M: TableMemory>(
        &self,
        cursor: &mut Cursor<'_, F, M>,
        index: FixedIndex,
        phys: PhysAddr,
        attr: Attr,
        source: &mut dyn TableSource,
    ) -> Result<VirtAddr, FixmapError> {
        let (slot, at) = self.slot_page::<F>(index)?;
        let page = self.page_shift().bytes();
        let range = VirtRange::from_len(at, page);
        cursor
            .map(range, phys.align_down(page), attr, &MapOptions::PAGES, source)
            .map_err(|e| map_error(slot, at, e))?;
        Ok(VirtAddr::new(at.get() + (phys.get() & (page - 1))))
    }

    /// Takes a slot's mapping away; a slot without one is no error.
    ///
    /// # Errors
    /// [`FixmapError`].
    pub fn clear_fixmap<F: Format, M: TableMemory>(
        &self,
        cursor: &mut Cursor<'_, F, M>,
        index: FixedIndex,
    ) -> Result<PendingFlush<F::Word>, FixmapError> {
        let (slot, at) = self.slot_page::<F>(index)?;
        clear(cursor, VirtRange::from_len(at, self.page_shift().bytes()))
            .map_err(|e| FixmapError::Unmap(slot, e))
    }

    /// Maps a device tree of `bytes` bytes at `phys` into its window, read-only, in whole blocks where pages have 4 KiB
    /// (`fixmap_remap_fdt`, arm64), and returns the address of its first byte.
    ///
    /// # Errors
    /// [`FixmapError::Fdt`] for a tree that the boot protocol does not allow; else as for [`Self::set_fixmap`].
    pub fn fixmap_remap_fdt<F: Format, M: TableMemory>(
        &self,
        cursor: &mut Cursor<'_, F, M>,
        phys: PhysAddr,
        bytes: u64,
        attr: Attr,
        source: &mut dyn TableSource,
    ) -> Result<VirtAddr, FixmapError> {
        let group = self.groups().iter().find(|g| g.slot == Slot::Fdt).copied();
        let index = group.map_or(FixedIndex(self.end()), |g| FixedIndex(g.first.0 + g.count - 1));
        let (slot, window) = self.slot_page::<F>(index)?;
        if !phys.is_aligned(MIN_FDT_ALIGN) || bytes == 0 || bytes > MAX_FDT_SIZE {
            return Err(FixmapError::Fdt { at: phys, bytes });
        }
        let blocks = self.page_shift().get() == 12;
        let unit = if blocks { self.pmd_bytes } else { self.page_shift().bytes() };
        let offset = phys.get() & (unit - 1);
        let range = VirtRange::from_len(window, (offset + bytes).next_multiple_of(unit));
        let max_leaf = if blocks { Level::PMD } else { Level::PTE };
        let options = MapOptions { max_leaf, contiguous: false, ..MapOptions::PAGES };
        cursor
            .map(range, phys.align_down(unit), attr, &options, source)
            .map_err(|e| map_error(slot, window, e))?;
        Ok(VirtAddr::new(window.get() + offset))
    }

    /// A slot's name and address, if it may be mapped by tables of this format.
    fn slot_page<F: Format>(&self, index: FixedIndex) -> Result<(SlotName, VirtAddr), FixmapError> {
        let page = self.page_shift().bytes();
        if F::SHAPE.page_bytes() != page {
            return Err(FixmapError::PageSize { tables: F::SHAPE.page_bytes(), slot: page });
        }
        let at = self.fix_to_virt(index).ok_or(FixmapError::NoSlot { index, end: self.end() })?;
        let name = self.name(index);
        if matches!(name.slot, Some((Slot::Hole, _))) {
            return Err(FixmapError::Hole);
        }
        Ok((name, at))
    }
}

/// Takes what is mapped in `range` out and leaves the tables where they are.
pub(crate) fn clear<F: Format, M: TableMemory>(
    cursor: &mut Cursor<'_, F, M>,
    range: VirtRange,
) -> Result<PendingFlush<F::Word>, UnmapError> {
    cursor.part(range)?.unmap(range, &mut |_| ())
}

fn map_error(slot: SlotName, at: VirtAddr, e: MapError) -> FixmapError {
    match e {
        MapError::AlreadyMapped { .. } => FixmapError::Occupied { slot, at },
        e => FixmapError::Map(slot, e),
    }
}
