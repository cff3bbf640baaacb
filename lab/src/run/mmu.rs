//! The registers with which a processor of the booted machine runs, for the software MMU.

use pagewright::pgtable::{KernelTables, arm64};
use pagewright_firmware::{Arch, Machine};
use pagewright_kspace::Version;
use pagewright_sim::mmu::arm64::tcr;
use pagewright_sim::mmu::x86::{cr4, efer};
use pagewright_sim::mmu::{Arm64Registers, ArmRegisters, Registers, X86Registers};

/// MAIR1 and MAIR0 as Linux fills them on arm with LPAE.
const MAIR_LPAE: u64 = 0xff00_0004_eeaa_4400;

/// The kernel's own address space, without a process in it.
pub(super) fn registers(machine: &Machine<'_>, version: Version, tables: &KernelTables<'_>) -> Registers {
    let (c, root) = (&machine.config, tables.root.get());
    match machine.arch {
        Arch::X86_64 => {
            let mut registers = X86Registers::long(root, machine.cpus.la57);
            registers.phys_bits = 52;
            registers.gigabyte_pages = machine.cpus.gbpages;
            registers.encryption_mask = machine.cpus.encryption_mask;
            Registers::X86(registers)
        }
        Arch::I386 => {
            let mut registers = if c.lpae { X86Registers::pae(root) } else { X86Registers::two_level(root) };
            registers.phys_bits = 52;
            let has = machine.cpus.i386;
            for (there, bit) in [(has.pse, cr4::PSE), (has.pge, cr4::PGE)] {
                if !there {
                    registers.cr4 &= !bit;
                }
            }
            if !has.nx {
                registers.efer &= !efer::NXE;
            }
            Registers::X86(registers)
        }
        Arch::Arm64 => {
            let granule = match c.page_shift.get() {
                12 => tcr::TG1_4K,
                14 => tcr::TG1_16K | tcr::TG0_16K,
                _ => tcr::TG1_64K | tcr::TG0_64K,
            };
            let bits = u32::from(c.pa_bits);
            let tcr = tcr::sizes(c.va_bits.into()) | granule | tcr::ips(bits) | tcr::EPD0 | tcr::HA | tcr::HD;
            Registers::Arm64(Arm64Registers {
                phys_bits: bits,
                large_va: c.va_bits > 48,
                ..Arm64Registers::new(0, root, tcr, arm64::mmu::mair(version))
            })
        }
        Arch::Arm if c.lpae => Registers::Arm(ArmRegisters::long(root, root, 0, MAIR_LPAE)),
        // Domains of the kernel and the vectors are clients too.
        Arch::Arm => Registers::Arm(ArmRegisters { dacr: 0x55, ..ArmRegisters::short(root) }),
    }
}
