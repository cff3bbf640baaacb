//! The linear map's conversion between physical and virtual addresses.

use super::AddrBits;
use pagewright_addr::{PhysAddr, VirtAddr};

/// `virtual = physical + offset`, modulo the pointer width. Physical addresses are not cut: with LPAE, RAM and the linear map of it
/// may begin above 4 GiB.
///
/// x86_64 adds PAGE_OFFSET; arm subtracts PHYS_OFFSET and adds PAGE_OFFSET; arm64 subtracts memstart_addr, which may lie
/// above RAM or below zero. All three are one wrapping addition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PhysToVirt {
    offset: u64,
    bits: AddrBits,
}

impl PhysToVirt {
    /// The map that takes `phys` to `virt`.
    pub const fn new(phys: PhysAddr, virt: VirtAddr, bits: AddrBits) -> Self {
        Self { offset: virt.get().wrapping_sub(phys.get()), bits }
    }

    /// Where the linear map shows this physical address (__phys_to_virt). High memory has no such address, and
    /// the answer for it means nothing.
    pub const fn virt(&self, phys: PhysAddr) -> VirtAddr {
        VirtAddr::new(self.bits.wrap(phys.get().wrapping_add(self.offset)))
    }

    /// The physical address behind an address of the linear map (__virt_to_phys).
    pub const fn phys(&self, virt: VirtAddr) -> PhysAddr {
        PhysAddr::new(virt.get().wrapping_sub(self.offset))
    }
}
