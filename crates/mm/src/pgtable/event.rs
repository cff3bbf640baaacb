//! What happens to page tables and is seen by nothing else: registers are written.

use super::arm64::mmu::MmuRegisters;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};

/// An event that a sink may want to know of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum TableEvent {
    /// arm64's head turns the MMU on (`__enable_mmu`): from here on addresses are translated.
    EnableMmu(MmuRegisters),
    /// arm64's kernel runs at its link address (`__primary_switched`) and sets up what `start_kernel` needs.
    PrimarySwitched(Switched),
    /// arm64's kernel half gets another top table (`cpu_replace_ttbr1`), while code runs in the identity map.
    ReplaceTtbr1 {
        /// The table that was in use.
        old: PhysAddr,
        /// The one from here on.
        new: PhysAddr,
    },
    /// x86_64's direct map is complete: the processor leaves the head's tables for those that stay (`load_cr3`), and forgets
    /// every translation.
    LoadCr3 {
        /// `init_top_pgt`.
        root: PhysAddr,
    },
}

/// What arm64's `__primary_switched` sets up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switched {
    /// VBAR_EL1: `vectors`, where exceptions enter the kernel; `None` if the image does not tell.
    pub vectors: Option<VirtAddr>,
    /// The stack of the first task (`init_stack`), which SP_EL1 starts at the end of: the first of the image's data.
    pub init_stack: VirtRange,
    /// `__fdt_pointer`: where the device tree lies, by physical address.
    pub fdt_pointer: Option<PhysAddr>,
    /// `kimage_voffset`: what the image's addresses are ahead of the physical ones.
    pub kimage_voffset: u64,
}
