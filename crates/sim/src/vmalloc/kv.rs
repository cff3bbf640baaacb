//! Memory by the kernel's virtual addresses, as a simulated CPU sees it.

use crate::mmu::Mmu;
use core::fmt;
use pagewright::vmalloc::VirtMemory;
use pagewright_addr::VirtAddr;

/// What a CPU's software MMU maps.
pub struct CpuMemory<'r, 'm> {
    /// The MMUs.
    pub mmu: &'r Mmu<'m>,
    /// The CPU.
    pub cpu: usize,
}

impl fmt::Debug for CpuMemory<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuMemory").field("cpu", &self.cpu).finish_non_exhaustive()
    }
}

impl VirtMemory for CpuMemory<'_, '_> {
    fn read(&self, at: VirtAddr, into: &mut [u8]) -> bool {
        self.mmu.load(self.cpu, at, false, into).is_ok()
    }

    fn write(&self, at: VirtAddr, bytes: &[u8]) -> bool {
        self.mmu.store(self.cpu, at, false, bytes).is_ok()
    }
}
