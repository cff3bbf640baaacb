//! EFI memory maps, as the kernel prints them and as the boot path judges them.
//!
//! An [`EfiEntry`] is one descriptor of the map (UEFI specification, GetMemoryMap). [`parse_dmesg_line`] reads the
//! lines that Linux prints with `efi=debug`, in the forms of several kernel versions. [`Efi`] is all that a machine's
//! EFI leaves behind: the map, where it lies, and the tables that the kernel must not overwrite.

mod tables;
mod text;

use crate::e820::E820Kind;
use pagewright_addr::PhysRange;

pub use tables::{DESCRIPTOR_LEN, Efi, EfiParams, MissingEfiParam};
pub use text::{EfiLineError, parse_dmesg_line};

/// Bits of [`EfiEntry::attributes`], named as in the UEFI specification.
pub mod attribute {
    /// Uncacheable.
    pub const UC: u64 = 1;
    /// Write combining.
    pub const WC: u64 = 1 << 1;
    /// Write through.
    pub const WT: u64 = 1 << 2;
    /// Write back.
    pub const WB: u64 = 1 << 3;
    /// Uncacheable, exported, with fetch-and-add semaphores.
    pub const UCE: u64 = 1 << 4;
    /// Write protected.
    pub const WP: u64 = 1 << 12;
    /// Read protected.
    pub const RP: u64 = 1 << 13;
    /// Execute protected.
    pub const XP: u64 = 1 << 14;
    /// Non-volatile.
    pub const NV: u64 = 1 << 15;
    /// More reliable than other memory: mirrored.
    pub const MORE_RELIABLE: u64 = 1 << 16;
    /// Read only.
    pub const RO: u64 = 1 << 17;
    /// Specific purpose.
    pub const SP: u64 = 1 << 18;
    /// Protected by the CPU's memory encryption.
    pub const CPU_CRYPTO: u64 = 1 << 19;
    /// Can be unplugged, by way of ACPI.
    pub const HOT_PLUGGABLE: u64 = 1 << 20;
    /// Needed by runtime services.
    pub const RUNTIME: u64 = 1 << 63;
}

/// The type of a memory descriptor, by the UEFI specification's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EfiKind {
    /// 0: not to be used.
    Reserved,
    /// 1: code of the boot loader.
    LoaderCode,
    /// 2: data of the boot loader.
    LoaderData,
    /// 3: code of boot services, free after ExitBootServices.
    BootServicesCode,
    /// 4: data of boot services, free after ExitBootServices.
    BootServicesData,
    /// 5: code of runtime services.
    RuntimeServicesCode,
    /// 6: data of runtime services.
    RuntimeServicesData,
    /// 7: free memory.
    Conventional,
    /// 8: memory with errors.
    Unusable,
    /// 9: ACPI tables, free once they are read.
    AcpiReclaim,
    /// 10: memory of the firmware.
    AcpiNvs,
    /// 11: memory-mapped I/O.
    Mmio,
    /// 12: memory-mapped I/O ports.
    MmioPort,
    /// 13: firmware code of Itanium.
    PalCode,
    /// 14: persistent memory.
    Persistent,
    /// 15: memory that a confidential guest has not accepted yet.
    Unaccepted,
    /// Any other number.
    Other(u32),
}

impl EfiKind {
    const KNOWN: [Self; 16] = [
        Self::Reserved,
        Self::LoaderCode,
        Self::LoaderData,
        Self::BootServicesCode,
        Self::BootServicesData,
        Self::RuntimeServicesCode,
        Self::RuntimeServicesData,
        Self::Conventional,
        Self::Unusable,
        Self::AcpiReclaim,
        Self::AcpiNvs,
        Self::Mmio,
        Self::MmioPort,
        Self::PalCode,
        Self::Persistent,
        Self::Unaccepted,
    ];

    /// The kind of that number.
    pub fn from_number(number: u32) -> Self {
        Self::KNOWN.get(number as usize).copied().unwrap_or(Self::Other(number))
    }

    /// The UEFI specification's number.
    pub fn number(self) -> u32 {
        match self {
            Self::Other(number) => number,
            known => Self::KNOWN.iter().position(|k| *k == known).unwrap_or(0) as u32,
        }
    }
}

/// One descriptor of an EFI memory map.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EfiEntry {
    /// Its type.
    pub kind: EfiKind,
    /// Its attributes, bits of [`attribute`].
    pub attributes: u64,
    /// Its bytes, a multiple of 4 KiB.
    pub range: PhysRange,
}

impl EfiEntry {
    fn has(&self, bits: u64) -> bool {
        self.attributes & bits != 0
    }

    /// Whether the memory is for a specific purpose, and so left alone where the kernel honours that
    /// (CONFIG_EFI_SOFT_RESERVE without `efi=nosoftreserve`).
    pub fn is_specific_purpose(&self) -> bool {
        self.has(attribute::SP)
    }

    /// Whether runtime services need it.
    pub fn is_runtime(&self) -> bool {
        self.has(attribute::RUNTIME)
    }

    /// Whether the memory belonged to boot services, which are over.
    pub const fn is_boot_services(&self) -> bool {
        matches!(self.kind, EfiKind::BootServicesCode | EfiKind::BootServicesData)
    }

    /// arm64: whether the descriptor is memory at all, cacheable in some way or write combining.
    pub fn is_memory(&self) -> bool {
        self.has(attribute::WB | attribute::WT | attribute::WC)
    }

    /// arm64: whether the kernel may use the memory as its own. What is memory but not usable is marked NOMAP.
    /// `soft_reserve` is CONFIG_EFI_SOFT_RESERVE without `efi=nosoftreserve`.
    pub fn is_usable(&self, soft_reserve: bool) -> bool {
        use EfiKind::*;
        matches!(
            self.kind,
            LoaderCode
                | LoaderData
                | AcpiReclaim
                | BootServicesCode
                | BootServicesData
                | Conventional
                | Persistent
        ) && !(soft_reserve && self.has(attribute::SP))
            && self.has(attribute::WB)
    }

    /// arm64: whether the kernel reserves the range although it is usable, to keep ACPI tables for kexec.
    pub fn is_kept(&self) -> bool {
        self.is_memory() && self.kind == EfiKind::AcpiReclaim
    }

    /// x86: the type that the kernel enters into its e820 map for the descriptor (`do_add_efi_memmap`).
    pub fn e820(&self, soft_reserve: bool) -> E820Kind {
        use EfiKind::*;
        match self.kind {
            LoaderCode | LoaderData | BootServicesCode | BootServicesData | Conventional => {
                if soft_reserve && self.has(attribute::SP) {
                    E820Kind::SoftReserved
                } else if self.has(attribute::WB) {
                    E820Kind::Ram
                } else {
                    E820Kind::Reserved
                }
            }
            AcpiReclaim => E820Kind::Acpi,
            AcpiNvs => E820Kind::Nvs,
            Unusable => E820Kind::Unusable,
            Persistent => E820Kind::Pmem,
            _ => E820Kind::Reserved,
        }
    }

    /// Whether the range is mirrored (`efi_find_mirror`): `kernelcore=mirror` keeps the kernel to such memory.
    pub fn is_mirrored(&self) -> bool {
        self.has(attribute::MORE_RELIABLE)
    }
}
