//! Addresses that are known when the kernel is compiled.
//!
//! Slots are numbered downward from FIXADDR_TOP, a page each. Some stay for good (a local APIC, the entry trampoline),
//! those after them serve early boot ([`crate::EarlyIoremap`]). Which slots there are follows from the configuration; the
//! order is Linux 6.1's. Nothing here owns page tables: [`Fixmap::set_fixmap`] and [`Fixmap::clear_fixmap`] change one page
//! through a cursor, and never give a table back, because the tables of the fixed mappings are there to stay. Whoever holds the cursor has the
//! walkers told of a new entry ([`TlbFlush::publish`](pagewright_pagetable::TlbFlush::publish)) before the address is used.

mod attr;
mod error;
mod numbers;
mod set;
mod slot;

pub use attr::PagePurpose;
pub use error::FixmapError;
pub(crate) use set::clear;
pub use slot::{FixedIndex, Slot, SlotName};

use crate::layout::Facts;
use arrayvec::ArrayVec;
use pagewright_addr::{PageShift, VirtAddr, VirtRange};

/// Groups of slots that a kernel has, at most.
const MAX_GROUPS: usize = 32;

/// Adjacent slots of one purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// Their name.
    pub slot: Slot,
    /// The first one's number, which has the highest address.
    pub first: FixedIndex,
    /// How many there are.
    pub count: u32,
    /// Whether Linux counts them among the permanent ones: not those of early boot, nor arm's kmaps and text pokes.
    pub permanent: bool,
}

/// Early_ioremap's part: areas of so many pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Btmaps {
    /// FIX_BTMAP_BEGIN: the number of the first area's first page, which has the lowest address of all.
    pub begin: FixedIndex,
    /// FIX_BTMAPS_SLOTS: how many areas.
    pub areas: u32,
    /// NR_FIX_BTMAPS: pages of an area.
    pub pages: u32,
}

/// The fixed mappings of a kernel.
#[derive(Clone, Debug)]
pub struct Fixmap {
    /// The address of slot 0.
    top: VirtAddr,
    page_shift: PageShift,
    /// FIXADDR_START, where it does not follow from the number of slots.
    start: Option<VirtAddr>,
    groups: ArrayVec<Group, MAX_GROUPS>,
    permanent: u32,
    end: u32,
    btmaps: Btmaps,
    static_tables: u32,
    /// Bytes that one table of PTEs maps.
    pmd_bytes: u64,
}

impl Fixmap {
    /// The fixed mappings of a kernel.
    ///
    /// # Errors
    /// [`FixmapError::NoRoom`] if there are more slots than addresses (too many processors on arm and i386).
    pub fn of(facts: &Facts) -> Result<Self, FixmapError> {
        numbers::fixmap(facts)
    }

    /// FIXADDR_TOP as slots are counted from it: the address of slot 0. (arm's FIXADDR_END is the page after it.)
    pub fn top(&self) -> VirtAddr {
        self.top
    }

    /// FIXADDR_START: below the slots that stay; on arm where the region begins.
    pub fn start(&self) -> VirtAddr {
        self.start.unwrap_or(VirtAddr::new(self.top.get() - self.bytes(self.permanent)))
    }

    /// FIXADDR_TOT_START: below all slots.
    pub fn tot_start(&self) -> VirtAddr {
        self.start.unwrap_or(VirtAddr::new(self.top.get() - self.bytes(self.end)))
    }

    fn bytes(&self, slots: u32) -> u64 {
        u64::from(slots) << self.page_shift.get()
    }

    /// The page size.
    pub fn page_shift(&self) -> PageShift {
        self.page_shift
    }

    /// All groups of slots, in the order of their numbers. On arm the temporary ones share numbers with the kmaps.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// How many slots stay (`__end_of_permanent_fixed_addresses`).
    pub fn permanent(&self) -> u32 {
        self.permanent
    }

    /// How many slots there are (`__end_of_fixed_addresses`).
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The pages of `early_ioremap`.
    pub fn btmaps(&self) -> Btmaps {
        self.btmaps
    }

    /// How many tables of PTEs the image brings for fixed mappings: level1_fixmap_pgt on x86_64 (FIXMAP_PMD_NUM), `bm_pte` on
    /// the others.
    pub fn static_tables(&self) -> u32 {
        self.static_tables
    }

    /// How many tables of PTEs it takes to map every slot.
    pub fn page_tables(&self) -> u64 {
        let lowest = self.top.get() - self.bytes(self.end.saturating_sub(1));
        self.top.get() / self.pmd_bytes - lowest / self.pmd_bytes + 1
    }

    /// The number of a slot, or of the first of its group; `None` if this kernel has no such slot.
    pub fn slot(&self, slot: Slot) -> Option<FixedIndex> {
        self.groups.iter().find(|g| g.slot == slot).map(|g| g.first)
    }

    /// The lowest address of a slot or of its group.
    pub fn address(&self, slot: Slot) -> Option<VirtAddr> {
        let group = self.groups.iter().find(|g| g.slot == slot)?;
        self.fix_to_virt(FixedIndex(group.first.0 + group.count - 1))
    }

    /// The addresses of a slot or of its group.
    pub fn range(&self, slot: Slot) -> Option<VirtRange> {
        let count = self.groups.iter().find(|g| g.slot == slot)?.count;
        Some(VirtRange::from_len(self.address(slot)?, self.bytes(count)))
    }

    /// The address of a number; `None` for numbers that there are not.
    pub fn fix_to_virt(&self, index: FixedIndex) -> Option<VirtAddr> {
        (index.0 < self.end).then(|| VirtAddr::new(self.top.get() - self.bytes(index.0)))
    }

    /// The number of the page that an address lies in; `None` if it is no fixed address.
    pub fn virt_to_fix(&self, va: VirtAddr) -> Option<FixedIndex> {
        let page = va.align_down(self.page_shift.bytes());
        let below = self.top.get().checked_sub(page.get())? >> self.page_shift.get();
        let index = u32::try_from(below).ok()?;
        (index < self.end).then_some(FixedIndex(index))
    }

    /// The number's name.
    pub fn name(&self, index: FixedIndex) -> SlotName {
        let group = self.groups.iter().find(|g| index.0.wrapping_sub(g.first.0) < g.count);
        SlotName { slot: group.map(|g| (g.slot, index.0 - g.first.0)), index }
    }
}

#[cfg(test)]
mod tests;
