//! Registers as a kernel sets them up.

use super::arm64::tcr;
use super::{Arm64Registers, ArmRegisters, Registers, X86Registers};
use pagewright_pagetable::format::FormatKind;

/// Linux's MAIR on arm64, and MAIR1 with MAIR0 on arm.
const ARM64_MAIR: u64 = 0x04_0044_f0ff;
const LPAE_MAIR: u64 = 0xff00_0004_eeaa_4400;

/// The registers of a CPU whose kernel addresses are translated by the tree at `root`, in one format's default configuration: as Linux sets them
/// up, with the accessed and dirty bits set by hardware where it can.
pub fn kernel_registers(kind: FormatKind, root: u64) -> Registers {
    match kind {
        FormatKind::X86Level4 => {
            Registers::X86(X86Registers { phys_bits: 52, ..X86Registers::long(root, false) })
        }
        FormatKind::X86Level5 => {
            Registers::X86(X86Registers { phys_bits: 52, ..X86Registers::long(root, true) })
        }
        FormatKind::I386 => Registers::X86(X86Registers::two_level(root)),
        FormatKind::I386Pae => Registers::X86(X86Registers { phys_bits: 52, ..X86Registers::pae(root) }),
        FormatKind::ArmShort => {
            Registers::Arm(ArmRegisters { dacr: 0x5555_5555, ..ArmRegisters::short(root) })
        }
        FormatKind::ArmLpae => Registers::Arm(ArmRegisters::long(root, 0, 0, LPAE_MAIR)),
        _ => {
            let granule = match kind.shape().page_shift() {
                12 => tcr::TG1_4K,
                14 => tcr::TG1_16K,
                _ => tcr::TG1_64K,
            };
            let bits = kind.shape().va_bits();
            let phys_bits = if bits == 52 { 52 } else { 48 };
            let tcr = tcr::sizes(bits) | granule | tcr::ips(phys_bits) | tcr::HA | tcr::HD;
            let registers = Arm64Registers::new(0, root, tcr, ARM64_MAIR);
            Registers::Arm64(Arm64Registers { phys_bits, large_va: bits == 52, ..registers })
        }
    }
}
