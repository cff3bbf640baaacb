//! What EFI left on a small machine.

use super::spec::range;
use pagewright_addr::PhysRange;
use pagewright_firmware::efi::{Efi, EfiEntry, EfiKind, attribute};

/// EFI's map and tables, owned.
#[derive(Clone, Debug, Default)]
pub(crate) struct EfiSpec {
    pub(crate) map: Vec<EfiEntry>,
    pub(crate) map_at: Option<PhysRange>,
    pub(crate) memory_attributes: Option<PhysRange>,
    pub(crate) tpm_logs: Vec<PhysRange>,
    pub(crate) mem_reserve: Vec<PhysRange>,
    pub(crate) esrt: Option<PhysRange>,
    pub(crate) mok_variables: Option<PhysRange>,
    pub(crate) boot_logo: Option<PhysRange>,
}

impl EfiSpec {
    pub(crate) fn lend(&self) -> Efi<'_> {
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

/// Write-back memory of a kind.
pub(crate) fn descriptor(kind: EfiKind, start: u64, len: u64) -> EfiEntry {
    EfiEntry { kind, attributes: attribute::WB, range: range(start, len) }
}
