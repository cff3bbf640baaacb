//! What EFI and, on arm64, ACPI left in memory, owned.

use pagewright_addr::PhysRange;
use pagewright_firmware::acpi::{NumaTables, Slit, SratCpu, SratMemory};
use pagewright_firmware::efi::{Efi, EfiEntry};
use pagewright_firmware::{ArmAcpi, ArmCpu};

/// EFI's map and tables.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OwnedEfi {
    /// The memory map; empty without EFI.
    pub map: Vec<EfiEntry>,
    /// Where its descriptors lie.
    pub map_at: Option<PhysRange>,
    /// The memory-attributes table.
    pub memory_attributes: Option<PhysRange>,
    /// The TPM's logs.
    pub tpm_logs: Vec<PhysRange>,
    /// What an earlier kernel wants kept.
    pub mem_reserve: Vec<PhysRange>,
    /// The table of firmware resources.
    pub esrt: Option<PhysRange>,
    /// shim's key list.
    pub mok_variables: Option<PhysRange>,
    /// The boot logo.
    pub boot_logo: Option<PhysRange>,
}

impl OwnedEfi {
    /// Whether nothing tells of EFI.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The same, borrowed.
    pub fn lend(&self) -> Efi<'_> {
        Efi {
            map: &self.map,
            map_at: self.map_at,
            memory_attributes: self.memory_attributes,
            tpm_logs: &self.tpm_logs,
            mem_reserve: &self.mem_reserve,
            esrt: self.esrt,
            mok_variables: self.mok_variables,
            boot_logo: self.boot_logo,
        }
    }
}

/// ACPI's tables of an arm64 machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OwnedArmAcpi {
    /// SRAT's memory entries.
    pub srat_memory: Vec<SratMemory>,
    /// SRAT's processor entries.
    pub srat_cpus: Vec<SratCpu>,
    /// SLIT: how many domains, and the matrix.
    pub slit: Option<(u32, Vec<u8>)>,
    /// The MADT's processors by the kernel's numbers.
    pub cpus: Vec<ArmCpu>,
}

impl OwnedArmAcpi {
    /// The same, borrowed.
    pub fn lend(&self) -> ArmAcpi<'_> {
        ArmAcpi {
            numa: NumaTables {
                memory: &self.srat_memory,
                cpus: &self.srat_cpus,
                distances: self.slit.as_ref().and_then(|(n, matrix)| Slit::from_matrix(*n, matrix)),
            },
            cpus: &self.cpus,
        }
    }
}
