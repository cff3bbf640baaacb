//! Kmaps of the machine that boots: where high memory gets its addresses, and how the windows come into service.
//!
//! The boot makes the windows' tables ([`Boot::run`], Linux's `kmap_init`) and leaves them empty. [`Boot::kmap_windows`] says where they are,
//! [`KmapWindows::open`] finds their entries, for as long as the tables are borrowed: from then on pages of high memory are mapped
//! by [`Kmap`] for all processors and by [`KmapLocal`] for one.

use crate::boot::Boot;
use core::fmt;
use pagewright_addr::{PhysAddr, VirtRange};
use pagewright_kspace::Kind;
pub use pagewright_kspace::highmem::*;
use pagewright_pagetable::{Attr, Format, LockError, SlotsError, TableMemory, Tables};

/// Why there are no kmaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KmapInitError {
    /// Somebody else holds a part of a window in the page tables.
    Locked(LockError),
    /// A window's entries cannot be used.
    Slots(SlotsError),
    /// So many entries for the pkmap window are not as many as it has pages.
    Entries(usize),
    /// The fixed addresses have no room for one processor's kmaps.
    NoCpu(VirtRange),
}

impl fmt::Display for KmapInitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(e) => e.fmt(f),
            Self::Slots(e) => e.fmt(f),
            Self::Entries(entries) => write!(f, "{entries} entries are too few for the pkmap window"),
            Self::NoCpu(range) => write!(f, "{range:?} is too small for one processor's local kmaps"),
        }
    }
}

impl core::error::Error for KmapInitError {}

/// Where high memory gets its addresses.
#[derive(Clone, Copy, Debug)]
pub struct KmapWindows {
    /// The memory that has addresses of its own.
    pub linear: Linear,
    /// The window of [`Kmap`] (PKMAP_BASE).
    pub pkmap: VirtRange,
    /// The slots of [`KmapLocal`], those of all processors (FIX_KMAP_BEGIN).
    pub local: VirtRange,
    /// How pages are mapped there (`kmap_prot`).
    pub attr: Attr,
    /// Behind the last byte of RAM.
    pub limit: PhysAddr,
}

/// Both kinds of kmaps.
pub type Kmaps<'t, F, M> = (Kmap<'t, F, M>, KmapLocal<'t, F, M>);

impl KmapWindows {
    /// Entries that the pkmap window needs with pages of so many bytes (LAST_PKMAP).
    pub const fn entries(&self, page_bytes: u64) -> usize {
        (self.pkmap.len / page_bytes) as usize
    }

    /// Puts both windows in service over the boot's tables, in which they are held until what is returned goes. `guards` leaves every second local slot empty
    /// (CONFIG_DEBUG_KMAP_LOCAL).
    ///
    /// # Errors
    /// [`KmapInitError`]; nothing is held then.
    pub fn open<'t, F: Format, M: TableMemory>(
        &self,
        tables: &'t Tables<F, M>,
        entries: &'t mut [PkmapEntry],
        guards: bool,
    ) -> Result<Kmaps<'t, F, M>, KmapInitError> {
        let slots = |range: VirtRange| {
            let cursor = tables.lock(range).map_err(KmapInitError::Locked)?;
            cursor.into_slots(range, self.attr, self.limit).map_err(KmapInitError::Slots)
        };
        let given = entries.len();
        let kmap = Kmap::new(self.linear, slots(self.pkmap)?, entries);
        let local = KmapLocal::new(self.linear, slots(self.local)?, guards);
        let kmap = kmap.ok_or(KmapInitError::Entries(given))?;
        Ok((kmap, local.ok_or(KmapInitError::NoCpu(self.local))?))
    }
}

impl Boot<'_> {
    /// The windows for high memory; `None` where the kernel has none, or its page tables are only counted.
    pub fn kmap_windows(&self) -> Option<KmapWindows> {
        let layout = self.virtual_layout(self.version).ok()?;
        let pkmap = layout.get(Kind::Pkmap)?;
        let local = layout.fixmap().range(pagewright_kspace::fixmap::Slot::Kmap)?;
        let (linear, attr) = (Linear::of(&layout)?, self.page_kernel()?);
        Some(KmapWindows { linear, pkmap, local, attr, limit: self.mb.end_of_dram() })
    }
}
