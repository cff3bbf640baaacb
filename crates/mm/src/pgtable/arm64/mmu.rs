//! What the system registers hold that translation depends on, once the head has turned the MMU on (`__cpu_setup`,
//! `__enable_mmu`).
//!
//! Sources: Arm ARM D13.2 (TCR_EL1, MAIR_EL1, TTBR0_EL1, TTBR1_EL1).

use super::Arm64Format;
use pagewright_addr::PhysAddr;
use pagewright_kspace::Version;
use pagewright_pagetable::format::MemoryTypes;

/// Registers of a processor that translates addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmuRegisters {
    /// TTBR0_EL1: the identity map.
    pub ttbr0: PhysAddr,
    /// TTBR1_EL1: the kernel's half.
    pub ttbr1: PhysAddr,
    /// TCR_EL1, without what processors turn on besides where they have it (HA, HD).
    pub tcr: u64,
    /// MAIR_EL1.
    pub mair: u64,
}

/// MAIR_EL1, byte `n` for the type that entries call `n`:
///
/// - up to 5.9: Device-nGnRnE, Device-nGnRE, Device-GRE, Normal Non-cacheable, Normal, Normal Write-Through;
/// - from 5.10 on (memory with allocation tags): Normal, Normal Tagged, Normal Non-cacheable, Normal Write-Through,
///   Device-nGnRnE, Device-nGnRE, Device-GRE;
/// - from 5.14 on the same without Write-Through and GRE.
pub const fn mair(version: Version) -> u64 {
    if version.since(5, 14) {
        0x04_0044_f0ff
    } else if version.since(5, 10) {
        0x0c_0400_bb44_f0ff
    } else {
        0xbbff_440c_0400
    }
}

/// The types behind the indices that entries hold.
pub const fn memory_types(version: Version) -> MemoryTypes {
    MemoryTypes::from_mair(mair(version))
}

/// TCR_EL1 for these two trees: the sizes of their addresses and granules; walks through caches that write back and
/// allocate, and that all processors share; 16-bit ASIDs, those in TTBR1; user addresses may have a tag.
pub fn tcr(idmap: &Arm64Format, kernel: &Arm64Format) -> u64 {
    const WALKS: u64 = 1 << 8 | 1 << 10 | 3 << 12;
    const A1: u64 = 1 << 22;
    const AS: u64 = 1 << 36;
    const TBI0: u64 = 1 << 37;
    // TG0 and TG1 count in different orders.
    let granules = match kernel.shape().page_shift() {
        12 => 2 << 30,
        14 => 2 << 14 | 1 << 30,
        _ => 1 << 14 | 3 << 30,
    };
    let ips: u64 = match kernel.config().output_bits {
        ..=32 => 0,
        33..=36 => 1,
        37..=40 => 2,
        41..=42 => 3,
        43..=44 => 4,
        45..=48 => 5,
        _ => 6,
    };
    let size = |format: &Arm64Format| u64::from(64 - format.va_bits());
    size(idmap) | size(kernel) << 16 | granules | ips << 32 | WALKS | WALKS << 16 | A1 | AS | TBI0
}
