//! What EFI leaves in memory for the kernel, besides the memory that its map describes.

use super::EfiEntry;
use crate::devicetree::DeviceTree;
use core::fmt;
use pagewright_addr::{PhysAddr, PhysRange};

/// A descriptor's size where nothing says it: what every known firmware uses (UEFI leaves it open).
pub const DESCRIPTOR_LEN: u64 = 48;

/// What EFI hands over: its memory map and the configuration tables that bear on memory. Empty without EFI.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Efi<'a> {
    /// The memory map, one entry for each descriptor, in its order.
    pub map: &'a [EfiEntry],
    /// Where the boot loader put the map's descriptors. `None`: a device tree's /chosen says (see [`EfiParams`]), or
    /// nobody.
    pub map_at: Option<PhysRange>,
    /// The memory-attributes table with its header (`MEMATTR=`).
    pub memory_attributes: Option<PhysRange>,
    /// The TPM's event log and its final log, in that order (`TPMEventLog=`, `TPMFinalLog=`).
    pub tpm_logs: &'a [PhysRange],
    /// What an earlier kernel asked the next one to keep (`MEMRESERVE=`): each node of the list, and after it what it
    /// lists.
    pub mem_reserve: &'a [PhysRange],
    /// The table of firmware resources with its entries (`ESRT=`).
    pub esrt: Option<PhysRange>,
    /// The variables of shim's key list (`MOKvar=`).
    pub mok_variables: Option<PhysRange>,
    /// The boot logo that ACPI's BGRT points to.
    pub boot_logo: Option<PhysRange>,
}

impl<'a> Efi<'a> {
    /// Whether there is no map, hence no EFI for the kernel's memory management.
    pub const fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The first descriptor that covers the address (`efi_mem_desc_lookup`).
    pub fn descriptor(&self, at: PhysAddr) -> Option<&'a EfiEntry> {
        self.map.iter().find(|e| e.range.contains(at))
    }

    /// How many descriptors the map has where it lies. The kernel drops invalid ones when it prints the map, and a
    /// log may lack some.
    pub fn descriptors(&self) -> u64 {
        let by_place = self.map_at.map_or(0, |at| at.len() / DESCRIPTOR_LEN);
        by_place.max(self.map.len() as u64)
    }
}

/// Where the EFI stub of arm and arm64 says that the map is: `linux,uefi-...` in /chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EfiParams {
    /// The system table.
    pub system_table: PhysAddr,
    /// The descriptors of the memory map.
    pub map_at: PhysRange,
    /// Bytes of a descriptor.
    pub descriptor_len: u32,
    /// The descriptors' version.
    pub descriptor_version: u32,
}

/// /chosen has a system table, but lacks the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MissingEfiParam {
    /// The property that is missing.
    pub property: &'static str,
}

impl fmt::Display for MissingEfiParam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Can't find property '{}' in DT!", self.property)
    }
}

impl core::error::Error for MissingEfiParam {}

impl EfiParams {
    /// Reads /chosen; `None` without `linux,uefi-system-table`: the machine did not boot through EFI.
    ///
    /// # Errors
    /// [`MissingEfiParam`] names the first other property that is not there.
    pub fn read(tree: &DeviceTree<'_>) -> Result<Option<Self>, MissingEfiParam> {
        let chosen = tree.chosen_node();
        let find = |property: &'static str| {
            let found = chosen.and_then(|node| node.property(property));
            found.map(|p| p.as_number()).ok_or(MissingEfiParam { property })
        };
        let Ok(system_table) = find("linux,uefi-system-table") else { return Ok(None) };
        let start = find("linux,uefi-mmap-start")?;
        let len = find("linux,uefi-mmap-size")?;
        let cell = |property| find(property).map(|n| n as u32);
        Ok(Some(Self {
            system_table: PhysAddr::new(system_table),
            map_at: PhysRange::from_len(PhysAddr::new(start), len),
            descriptor_len: cell("linux,uefi-mmap-desc-size")?,
            descriptor_version: cell("linux,uefi-mmap-desc-ver")?,
        }))
    }
}
