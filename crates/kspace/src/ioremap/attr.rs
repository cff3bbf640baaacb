//! In which ways a device may be mapped.

use pagewright_firmware::Arch;
use pagewright_pagetable::MemoryType;

/// How a device's memory is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IoKind {
    /// Registers (`ioremap`): in order, not cached; on x86 a memory-type register may say otherwise.
    Device,
    /// Writes may be gathered (`ioremap_wc`).
    WriteCombine,
    /// Write-back (`ioremap_cache`).
    Cached,
    /// Write-through (`ioremap_wt`): x86 only; elsewhere as a device.
    WriteThrough,
    /// Writes are acknowledged by the device only (`ioremap_np`): arm64.
    NonPosted,
    /// Never cached, whatever memory-type registers say (`ioremap_uc`): x86.
    Uncached,
}

impl IoKind {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Device, Self::WriteCombine, Self::Cached, Self::WriteThrough, Self::NonPosted, Self::Uncached];

    /// The memory type; `None` where the architecture has none.
    pub const fn memory(self, arch: Arch) -> Option<MemoryType> {
        let x86 = matches!(arch, Arch::X86_64 | Arch::I386);
        Some(match self {
            Self::Device if x86 => MemoryType::UncachedMinus,
            Self::WriteThrough if x86 => MemoryType::WriteThrough,
            Self::Device | Self::WriteThrough => MemoryType::Device,
            Self::WriteCombine => MemoryType::WriteCombine,
            Self::Cached => MemoryType::Normal,
            Self::NonPosted if matches!(arch, Arch::Arm64) => MemoryType::StronglyOrdered,
            Self::Uncached if x86 => MemoryType::StronglyOrdered,
            Self::NonPosted | Self::Uncached => return None,
        })
    }
}
