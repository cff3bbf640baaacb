//! The tables before the direct map: the decompressor's, and the head's with its early page faults.

use super::{
    ABOVE_FIXMAP, FIXMAP_PMD_NUM, KERNPG_TABLE, PAGE, PAGE_TABLE, PMD, Places, START_KERNEL_MAP, cleared,
    image_virt, set, table,
};
use crate::pgtable::TableError;
use core::sync::atomic::Ordering;
use pagewright_addr::PhysAddr;
use pagewright_firmware::Machine;
use pagewright_pagetable::TableMemory;
use pagewright_pagetable::format::x86::bits;

/// EARLY_DYNAMIC_PAGE_TABLES: how many tables early page faults may use at a time.
pub const EARLY_DYNAMIC_PAGE_TABLES: u64 = 64;

/// The decompressor's map of the first 4 GiB, in blocks of 2 MiB: writable, executable, global. Its tables lie side by side
/// from `at` on, top table first: six, and with 5 levels another on top. Returns the top table.
///
/// # Errors
/// [`TableError::NoMemory`].
pub fn identity_4g(memory: &dyn TableMemory, at: PhysAddr, la57: bool) -> Result<PhysAddr, TableError> {
    const TABLE: u64 = bits::PRESENT | bits::WRITE | bits::USER;
    const BLOCK: u64 = bits::PRESENT | bits::WRITE | bits::PAGE_SIZE | bits::GLOBAL;
    let page = |n: u64| at.saturating_add(n * PAGE);
    let top = u64::from(la57);
    if la57 {
        set(cleared(memory, page(0))?, 0, page(1).get() | TABLE);
    }
    set(cleared(memory, page(top))?, 0, page(top + 1).get() | TABLE);
    let puds = cleared(memory, page(top + 1))?;
    for gib in 0..4 {
        let pmds = cleared(memory, page(top + 2 + gib))?;
        set(puds, gib as usize, page(top + 2 + gib).get() | TABLE);
        for n in 0..512 {
            set(pmds, n, ((gib << 30) + n as u64 * PMD) | BLOCK);
        }
    }
    Ok(page(0))
}

/// The tables that the head uses until the direct map exists.
///
/// Addresses of the direct map that early code touches are mapped by the page faults that they cause, in blocks of 2 MiB. The tables for
/// them come from [`EARLY_DYNAMIC_PAGE_TABLES`] pages in the image; when those are used up, everything
/// but the image's mapping is forgotten and filled in anew (`reset_early_page_tables`).
#[derive(Clone, Copy, Debug)]
pub struct EarlyTables {
    places: Places,
    la57: bool,
    /// Where the direct map will be.
    page_offset: u64,
    encryption_mask: u64,
    /// `next_early_pgt`: pages in use.
    next: u64,
    /// How often all were forgotten because there was none left.
    resets: u64,
}

impl EarlyTables {
    /// What `startup_64` builds: the image at its link address in `level2_kernel_pgt` (512 blocks, those outside the image
    /// not present), the fixed mappings' tables, and the image one to one in `early_top_pgt`, for the switch to it.
    ///
    /// # Errors
    /// [`TableError::NoMemory`].
    pub fn startup_64(
        memory: &dyn TableMemory,
        machine: &Machine<'_>,
        places: Places,
    ) -> Result<Self, TableError> {
        let image = &machine.image;
        let la57 = machine.cpus.la57;
        let mask = machine.cpus.encryption_mask;
        let end = image.end.saturating_add(image.brk_used);
        // __PAGE_KERNEL_LARGE_EXEC
        let block = KERNPG_TABLE | bits::PAGE_SIZE | bits::GLOBAL | mask;

        let blocks = cleared(memory, places.level2_kernel)?;
        let (first, last) = (image_virt(machine, image.text_start), image_virt(machine, end).wrapping_sub(1));
        let offset = image.text_start.get().wrapping_sub(first);
        for n in 0..512u64 {
            let virt = START_KERNEL_MAP.wrapping_add(n * PMD);
            // Blocks before and after the image lose their present bit only, until cleanup_highmap.
            let inside = (first & !(PMD - 1)..=last).contains(&virt);
            let word =
                if inside { virt.wrapping_add(offset) | block } else { (n * PMD) | (block & !bits::PRESENT) };
            set(blocks, n as usize, word);
        }
        let fixmap = cleared(memory, places.level2_fixmap)?;
        for n in 0..FIXMAP_PMD_NUM {
            let at = places.level1_fixmap.saturating_add(n * PAGE);
            cleared(memory, at)?;
            let index = 512 - ABOVE_FIXMAP - (FIXMAP_PMD_NUM - n) as usize;
            set(fixmap, index, at.get() | PAGE_TABLE | mask);
        }
        let level3 = cleared(memory, places.level3_kernel)?;
        set(level3, 510, places.level2_kernel.get() | KERNPG_TABLE | mask);
        set(level3, 511, places.level2_fixmap.get() | PAGE_TABLE | mask);
        let mut kernel = places.level3_kernel;
        if la57 {
            set(cleared(memory, places.level4_kernel)?, 511, kernel.get() | PAGE_TABLE | mask);
            kernel = places.level4_kernel;
        }
        set(cleared(memory, places.early_top)?, 511, kernel.get() | PAGE_TABLE | mask);

        let mut tables = Self {
            places,
            la57,
            page_offset: crate::pgtable::x86::page_offset(la57),
            encryption_mask: mask,
            next: 0,
            resets: 0,
        };
        tables.identity(memory, image.text_start, end, block & !bits::GLOBAL)?;
        Ok(tables)
    }

    /// The image one to one. Every table has a second entry for its successor, so that the image may cross any boundary; what
    /// else they map is harmless.
    fn identity(
        &mut self,
        memory: &dyn TableMemory,
        text: PhysAddr,
        end: PhysAddr,
        block: u64,
    ) -> Result<(), TableError> {
        let mut upper = table(memory, self.places.early_top)?;
        let start = text.get();
        let shifts: &[u32] = if self.la57 { &[48, 39, 30] } else { &[39, 30] };
        for shift in shifts {
            let next = self.take();
            let word = next.get() | KERNPG_TABLE | self.encryption_mask;
            let index = (start >> shift) as usize;
            set(upper, index, word);
            set(upper, index + 1, word);
            upper = cleared(memory, next)?;
        }
        let count = end.get().saturating_sub(start).div_ceil(PMD);
        for n in 0..count.min(512) {
            set(upper, (start / PMD + n) as usize, ((start & !(PMD - 1)) + n * PMD) | block);
        }
        Ok(())
    }

    /// The next page of `early_dynamic_pgts`.
    fn take(&mut self) -> PhysAddr {
        let at = self.places.early_dynamic.saturating_add(self.next * PAGE);
        self.next += 1;
        at
    }

    /// `reset_early_page_tables`: all is forgotten but the last entry of the top table, which leads to the image.
    ///
    /// # Errors
    /// [`TableError::NoMemory`].
    pub fn reset(&mut self, memory: &dyn TableMemory) -> Result<(), TableError> {
        let top = table(memory, self.places.early_top)?;
        top[..511].iter().for_each(|cell| cell.store(0, Ordering::Release));
        self.next = 0;
        Ok(())
    }

    /// What C code does first: the identity mapping goes, and `init_top_pgt` gets the image's mapping. Returns that
    /// top table.
    ///
    /// # Errors
    /// [`TableError::NoMemory`].
    pub fn start_kernel(&mut self, memory: &dyn TableMemory) -> Result<PhysAddr, TableError> {
        self.reset(memory)?;
        let image = table(memory, self.places.early_top)?[511].load(Ordering::Acquire);
        set(cleared(memory, self.places.init_top)?, 511, image);
        Ok(self.places.init_top)
    }

    /// `__early_make_pgtable`: maps the 2 MiB around an address of the direct map. Returns how many tables that took.
    ///
    /// # Errors
    /// [`TableError::NoMemory`].
    pub fn fault(&mut self, memory: &dyn TableMemory, virt: u64) -> Result<u64, TableError> {
        // PAGE_KERNEL_LARGE without the global and no-execute bits, which the processor may not have been asked for yet.
        let block = KERNPG_TABLE | bits::PAGE_SIZE | self.encryption_mask;
        let shifts: &[u32] = if self.la57 { &[48, 39, 30] } else { &[39, 30] };
        'again: loop {
            let before = self.next;
            let mut cells = table(memory, self.places.early_top)?;
            for shift in shifts {
                let index = (virt >> shift) as usize & 511;
                let word = cells[index].load(Ordering::Acquire);
                let next = if word != 0 {
                    PhysAddr::new(word & bits::ADDRESS & !self.encryption_mask)
                } else {
                    if self.next >= EARLY_DYNAMIC_PAGE_TABLES {
                        self.reset(memory)?;
                        self.resets += 1;
                        continue 'again;
                    }
                    let next = self.take();
                    cleared(memory, next)?;
                    set(cells, index, next.get() | KERNPG_TABLE | self.encryption_mask);
                    next
                };
                cells = table(memory, next)?;
            }
            let phys = virt.wrapping_sub(self.page_offset) & !(PMD - 1);
            set(cells, (virt / PMD) as usize & 511, phys | block);
            return Ok(self.next - before);
        }
    }

    /// The top table in use.
    pub fn root(&self) -> PhysAddr {
        self.places.early_top
    }

    /// Pages of `early_dynamic_pgts` in use.
    pub fn in_use(&self) -> u64 {
        self.next
    }

    /// How often all tables were used up.
    pub fn resets(&self) -> u64 {
        self.resets
    }
}
