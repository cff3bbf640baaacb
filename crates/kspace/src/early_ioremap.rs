//! Mappings of early boot, before `ioremap` works: firmware tables, the RAM disk, the EFI map.
//!
//! Some fixed addresses are divided into areas of a few pages (FIX_BTMAPS). A mapping takes one area, whatever its size;
//! it is given back with the same address and size. Nothing is remembered but what each area holds, so a leak can be told
//! at the end of boot ([`EarlyIoremap::check_leak`]). What is refused is refused in the words of Linux's warnings.

mod error;

pub use error::{EarlyIoremapError, Leak};

use crate::fixmap::{FixedIndex, Fixmap, PagePurpose, Slot, SlotName};
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_firmware::config::KernelConfig;
use pagewright_pagetable::{Attr, Cursor, Format, MapOptions, PendingFlush, TableMemory, TableSource};

/// Areas that any kernel has, at most.
const MAX_AREAS: usize = 8;

/// How a range is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prot {
    /// As a device (`early_ioremap`).
    Io,
    /// As memory (`early_memremap`).
    Normal,
    /// As memory that is only read (`early_memremap_ro`).
    ReadOnly,
    /// With these attributes (`early_memremap_prot`).
    Attr(Attr),
}

/// What an area holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Area {
    /// The address that was given out.
    pub virt: VirtAddr,
    /// The bytes that were asked for (`prev_size`).
    pub bytes: u64,
    /// The whole pages behind them.
    pages: VirtRange,
}

/// The early mappings of one kernel.
#[derive(Clone, Debug)]
pub struct EarlyIoremap<'f> {
    fixmap: &'f Fixmap,
    config: KernelConfig,
    areas: [Option<Area>; MAX_AREAS],
    shut_down: bool,
}

impl<'f> EarlyIoremap<'f> {
    /// With every area free (`early_ioremap_setup`).
    pub const fn new(fixmap: &'f Fixmap, config: KernelConfig) -> Self {
        Self { fixmap, config, areas: [None; MAX_AREAS], shut_down: false }
    }

    /// What each area holds, lowest first.
    pub fn areas(&self) -> &[Option<Area>] {
        let count = self.fixmap.btmaps().areas as usize;
        &self.areas[..count.min(MAX_AREAS)]
    }

    /// Maps `bytes` bytes at `phys` as a device.
    ///
    /// # Errors
    /// As for [`Self::map`].
    pub fn early_ioremap<F: Format, M: TableMemory>(
        &mut self,
        cursor: &mut Cursor<'_, F, M>,
        phys: PhysAddr,
        bytes: u64,
        source: &mut dyn TableSource,
    ) -> Result<VirtAddr, EarlyIoremapError> {
        self.map(cursor, phys, bytes, Prot::Io, source)
    }

    /// Maps `bytes` bytes at `phys` as memory.
    ///
    /// # Errors
    /// As for [`Self::map`].
    pub fn early_memremap<F: Format, M: TableMemory>(
        &mut self,
        cursor: &mut Cursor<'_, F, M>,
        phys: PhysAddr,
        bytes: u64,
        source: &mut dyn TableSource,
    ) -> Result<VirtAddr, EarlyIoremapError> {
        self.map(cursor, phys, bytes, Prot::Normal, source)
    }

    /// Maps `bytes` bytes at `phys`, which need not be aligned, and returns the address of the first. The tables of the fixed
    /// mappings are there already in most kernels; then `source` gives none. The caller has the processor's walker told of the entries
    /// ([`TlbFlush::publish`](pagewright_pagetable::TlbFlush::publish)) before the address is used.
    ///
    /// # Errors
    /// [`EarlyIoremapError`]; nothing was changed then.
    pub fn map<F: Format, M: TableMemory>(
        &mut self,
        cursor: &mut Cursor<'_, F, M>,
        phys: PhysAddr,
        bytes: u64,
        prot: Prot,
        source: &mut dyn TableSource,
    ) -> Result<VirtAddr, EarlyIoremapError> {
        if self.shut_down {
            return Err(EarlyIoremapError::Running);
        }
        let wide_phys = self.config.is_64bit() || self.config.lpae;
        let most = if wide_phys { u64::MAX } else { u32::MAX.into() };
        let end = phys.checked_add(bytes.wrapping_sub(1)).filter(|last| bytes != 0 && last.get() <= most);
        if end.is_none() {
            return Err(EarlyIoremapError::Size { phys, bytes });
        }
        let Some(area) = self.areas().iter().position(Option::is_none) else {
            return Err(EarlyIoremapError::NoSlot { phys, bytes, wide_phys });
        };
        let shift = self.fixmap.page_shift();
        let offset = phys.get() & (shift.bytes() - 1);
        let most = u64::from(self.fixmap.btmaps().pages) * shift.bytes();
        let whole = offset.saturating_add(bytes).checked_next_multiple_of(shift.bytes());
        let Some(whole) = whole.filter(|w| *w <= most) else {
            return Err(EarlyIoremapError::TooLarge { phys, bytes, most });
        };
        let (slot, at) = self.area_start(area).ok_or(EarlyIoremapError::NoSlot { phys, bytes, wide_phys })?;
        let purpose = match prot {
            Prot::Io => PagePurpose::Io,
            Prot::Normal => PagePurpose::Normal,
            Prot::ReadOnly => PagePurpose::ReadOnly,
            Prot::Attr(_) => PagePurpose::Clear,
        };
        let attr = match prot {
            Prot::Attr(attr) => attr,
            _ => purpose.attr(self.config.arch).unwrap_or_default(),
        };
        let pages = VirtRange::from_len(at, whole);
        cursor
            .map(pages, phys.align_down(shift.bytes()), attr, &MapOptions::PAGES, source)
            .map_err(|e| EarlyIoremapError::Map(slot, e))?;
        let virt = VirtAddr::new(at.get() + offset);
        self.areas[area] = Some(Area { virt, bytes, pages });
        Ok(virt)
    }

    /// Gives back what was mapped at `virt` with this size (`early_iounmap`, `early_memunmap`). The area is free at once;
    /// who maps it again has flushed before.
    ///
    /// # Errors
    /// [`EarlyIoremapError`]; the mapping stays then.
    pub fn early_iounmap<F: Format, M: TableMemory>(
        &mut self,
        cursor: &mut Cursor<'_, F, M>,
        virt: VirtAddr,
        bytes: u64,
    ) -> Result<PendingFlush<F::Word>, EarlyIoremapError> {
        let held =
            self.areas.iter().enumerate().find_map(|(i, a)| a.filter(|a| a.virt == virt).map(|a| (i, a)));
        let wide = self.config.is_64bit();
        let Some((area, held)) = held else {
            return Err(EarlyIoremapError::NotMapped { virt, bytes, wide });
        };
        if held.bytes != bytes {
            return Err(EarlyIoremapError::Inconsistent { virt, bytes, area, mapped: held.bytes, wide });
        }
        let slot = self.area_start(area).map_or(self.fixmap.name(FixedIndex(0)), |(slot, _)| slot);
        let pending =
            crate::fixmap::clear(cursor, held.pages).map_err(|e| EarlyIoremapError::Unmap(slot, e))?;
        self.areas[area] = None;
        Ok(pending)
    }

    /// Refuses every further mapping: the system runs. What is mapped can still be given back.
    pub fn shut_down(&mut self) {
        self.shut_down = true;
    }

    /// Whether everything was given back (`check_early_ioremap_leak`).
    ///
    /// # Errors
    /// How many areas were not.
    pub fn check_leak(&self) -> Result<(), Leak> {
        let areas = self.areas.iter().flatten().count();
        if areas == 0 { Ok(()) } else { Err(Leak { areas }) }
    }

    /// An area's slot and lowest address (`slot_virt`).
    fn area_start(&self, area: usize) -> Option<(SlotName, VirtAddr)> {
        let btmaps = self.fixmap.btmaps();
        let index = btmaps.begin.0.checked_sub(area as u32 * btmaps.pages)?;
        let at = self.fixmap.fix_to_virt(FixedIndex(index))?;
        let first = self.fixmap.slot(Slot::Btmap)?;
        let name = SlotName { slot: Some((Slot::Btmap, index - first.0)), index: FixedIndex(index) };
        Some((name, at))
    }
}

#[cfg(test)]
mod tests;
