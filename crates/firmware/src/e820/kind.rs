//! The type numbers of map entries (ACPI 6.4, table 15.3, and the numbers that Linux adds for itself).

use core::fmt;

/// What kind of memory an entry describes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum E820Kind {
    /// 1: RAM that the kernel may use.
    Ram,
    /// 2: reserved by the firmware or a device.
    Reserved,
    /// 3: ACPI tables, reclaimable once they are read.
    Acpi,
    /// 4: ACPI non-volatile storage, kept across sleep.
    Nvs,
    /// 5: memory with errors.
    Unusable,
    /// 7: persistent memory (ACPI's number).
    Pmem,
    /// 12: persistent memory before ACPI had a number for it; also what `memmap=nn!ss` creates.
    Pram,
    /// 128: RAM that the kernel itself occupies before its allocator is up (Linux's own).
    ReservedKern,
    /// 0xefffffff: memory meant for a particular driver (EFI's specific-purpose attribute; Linux's own).
    SoftReserved,
    /// Any other number.
    Other(u32),
}

impl E820Kind {
    /// The kind with this type number.
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Ram,
            2 => Self::Reserved,
            3 => Self::Acpi,
            4 => Self::Nvs,
            5 => Self::Unusable,
            7 => Self::Pmem,
            12 => Self::Pram,
            128 => Self::ReservedKern,
            0xefff_ffff => Self::SoftReserved,
            n => Self::Other(n),
        }
    }

    /// The type number, by which overlaps are decided.
    pub const fn number(self) -> u32 {
        match self {
            Self::Ram => 1,
            Self::Reserved => 2,
            Self::Acpi => 3,
            Self::Nvs => 4,
            Self::Unusable => 5,
            Self::Pmem => 7,
            Self::Pram => 12,
            Self::ReservedKern => 128,
            Self::SoftReserved => 0xefff_ffff,
            Self::Other(n) => n,
        }
    }

    /// Whether neighbours of this kind stay apart when a map is sanitised: their bounds may mean something (a
    /// device, a NUMA node) that joining would lose.
    pub const fn keeps_bounds(self) -> bool {
        matches!(self, Self::Pmem | Self::Pram | Self::SoftReserved)
    }

    /// Whether the kernel's allocator takes it as memory (`e820__memblock_setup`).
    pub const fn is_memory(self) -> bool {
        matches!(self, Self::Ram | Self::ReservedKern)
    }
}

/// The kernel's words for it.
impl fmt::Display for E820Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ram | Self::ReservedKern => f.pad("usable"),
            Self::Reserved => f.pad("reserved"),
            Self::Acpi => f.pad("ACPI data"),
            Self::Nvs => f.pad("ACPI NVS"),
            Self::Unusable => f.pad("unusable"),
            Self::Pmem | Self::Pram => write!(f, "persistent (type {})", self.number()),
            Self::SoftReserved => f.pad("soft reserved"),
            Self::Other(n) => write!(f, "type {n}"),
        }
    }
}
