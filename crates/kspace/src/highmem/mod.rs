//! High memory: RAM that has no address of its own, and gets one while it is used.
//!
//! A 32-bit kernel maps as much RAM permanently as fits ([`Linear`]); the rest is mapped a page at a time:
//!
//! - [`Kmap`]: for as long as one likes and for all CPUs (`kmap`), in the pkmap window. Users of a page share its mapping, which are
//!   counted; what nobody uses stays mapped, until the window was gone through and all of it is unmapped with one flush on every CPU. A
//!   window whose slots are all in use is an answer, [`KmapError::Wait`]: nothing sleeps here.
//! - [`KmapLocal`]: for a few instructions of one task on one CPU (`kmap_local_page`, `kmap_atomic`), in fixed slots of that CPU. The last one
//!   mapped is the first one unmapped ([`KmapStack`] checks it); only this CPU's TLB forgets it.
//!
//! A page of low memory costs nothing in either: its address is the linear map's. [`KmapCpu::clear_highpage`] and its relatives zero and copy
//! pages wherever they are. The entries are changed through [`pagewright_pagetable::Slots`].

mod contents;
mod error;
mod hash;
mod local;
mod pkmap;
mod stack;

pub use contents::{ContentsError, OnCpu};
pub use error::{KmapError, KmapLocalError, KunmapError, NotTop, SchedError};
pub use local::{AtomicMap, KmapCpu, KmapLocal, LocalMap};
pub use pkmap::{Kmap, PkmapEntry, WaitKey, Wake};
pub use stack::KmapStack;

use crate::layout::{Kind, Layout};
use pagewright_addr::{PhysAddr, VirtAddr};

/// The RAM that is mapped permanently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Linear {
    /// Its first byte (PHYS_OFFSET).
    pub start: PhysAddr,
    /// The first byte of high memory (`__pa(high_memory - 1) + 1`).
    pub end: PhysAddr,
    /// Where the first byte is mapped (PAGE_OFFSET).
    pub base: VirtAddr,
}

impl Linear {
    /// The linear map of a layout; `None` if the layout was made without knowing its RAM.
    pub fn of(layout: &Layout) -> Option<Self> {
        let ram = layout.facts().ram?;
        let base = layout.get(Kind::LinearMap)?.start;
        Some(Self { start: ram.map_start, end: ram.high_memory, base })
    }

    /// The address of a byte of low memory (`lowmem_page_address`); `None` for high memory, and for what lies below the map.
    #[inline(always)]
    pub const fn address(&self, phys: PhysAddr) -> Option<VirtAddr> {
        let offset = phys.get().wrapping_sub(self.start.get());
        if offset < self.end.get() - self.start.get() {
            Some(VirtAddr::new(self.base.get() + offset))
        } else {
            None
        }
    }

    /// The byte that an address of the map means.
    pub const fn phys(&self, at: VirtAddr) -> Option<PhysAddr> {
        let offset = at.get().wrapping_sub(self.base.get());
        if offset < self.end.get() - self.start.get() {
            Some(PhysAddr::new(self.start.get() + offset))
        } else {
            None
        }
    }
}
